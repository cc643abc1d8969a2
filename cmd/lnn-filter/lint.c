/* --lint: prints mistakes and unused parts of a rule file, one per line. */
#include "rule/lint.h"

#include "filter.h"

static int
lint_line(struct filter *f, const struct operand_item *item, struct err *err)
{
	struct buf where = BUF_INIT;

	(void)err;
	filter_where(item, &where);
	lint_name(f->work, &f->subject, where.p);
	buf_release(&where);
	return 0;
}

int
lint_run(struct filter *f, const struct operands *operands, int *status, struct err *err)
{
	struct lint *lint = lint_new(f->rules, &f->groups, f->exclude, filter_enabled(f),
				     f->whole ? filter_get(f, "LR_SCHEDULER.PARAMETER_GROUPS") : NULL);
	int rc;

	rc = filter_run(f, operands, lint_line, lint, status, err);
	lint_finish(lint, rc == 0);
	if (rc == 0 && f->findings)
		*status = tool_worst(*status, TOOL_NO);
	return rc;
}
