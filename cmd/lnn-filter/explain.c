/* --explain: prints the verdict on each line and the steps that led to it. */
#include "filter.h"

#include "base/text.h"

struct explaining {
	struct rule_trace trace;
	unsigned char *in; /* by group: whether the line belongs to it */
};

static void
put_steps(struct filter *f, struct rule_trace *trace, unsigned indent)
{
	for (size_t i = 0; i < trace->n; i++) {
		const struct str line = rule_explain(trace, i, &f->subject, indent);

		out_style(&f->out, trace->steps[i].matched ? STYLE_PLAIN : STYLE_DIM);
		out_write(&f->out, line.p, line.len);
		out_style(&f->out, STYLE_PLAIN);
	}
}

static void
put_verdict(struct filter *f, const char *verdict, const struct operand_item *item)
{
	out_style(&f->out, STYLE_BOLD);
	out_puts(&f->out, verdict);
	out_putc(&f->out, '\t');
	out_style(&f->out, STYLE_PLAIN);
	if (f->o->common.null) {
		out_field(&f->out, item->entry->name);
		out_putc(&f->out, '\n');
	} else {
		filter_put(f, item);
	}
}

static bool
is_passed_over(struct filter *f, const struct operand_item *item)
{
	if (f->o->buffers || !entry_is_buffer(&f->subject.entry))
		return false;
	f->buffers++;
	put_verdict(f, "-", item);
	out_puts(&f->out, "\ta buffer: rules see parameters only (--buffers takes it in)\n");
	return true;
}

static int
explain_rule(struct filter *f, const struct operand_item *item, struct err *err)
{
	struct rule_trace *trace = &((struct explaining *)f->work)->trace;
	int got;

	if (is_passed_over(f, item))
		return 0;
	got = rule_match(f->rule, &f->subject, trace, &f->why);
	if (got < 0)
		return filter_fail(item, &f->why, err);
	f->hits += got == 1;
	put_verdict(f, got ? "yes" : "no", item);
	put_steps(f, trace, 0);
	return 0;
}

static int
explain_groups(struct filter *f, const struct operand_item *item, struct err *err)
{
	const struct groups *g = &f->groups;
	long only = f->o->group ? groups_find(g, str_c(f->o->group)) : -1;
	struct buf verdict = BUF_INIT;
	struct explaining *x = f->work;
	struct rule_trace *trace = &x->trace;
	size_t count;

	if (is_passed_over(f, item))
		return 0;
	if (groups_assign(g, &f->subject, f->o->first, x->in, &count, &f->why) < 0)
		return filter_fail(item, &f->why, err);
	for (size_t i = 0; i < g->n; i++) {
		if (!x->in[i])
			continue;
		buf_adds(&verdict, verdict.len ? "," : "");
		text_escape(&verdict, g->v[i].name);
	}
	if (count == 0)
		buf_adds(&verdict, groups_takes_rest(&f->subject) ? "DEFAULT" : "-");
	f->hits += count > 0 || groups_takes_rest(&f->subject);
	put_verdict(f, verdict.p, item);
	for (size_t i = 0; i < g->n; i++) {
		if (only >= 0 && only != (long)i)
			continue;
		if (rule_match(g->v[i].rule, &f->subject, trace, &f->why) < 0)
			break;
		out_putc(&f->out, '\t');
		out_show(&f->out, g->v[i].name);
		out_puts(&f->out, trace->steps[0].matched ? ": yes\n" : ": no\n");
		put_steps(f, trace, 1);
		if (f->o->first && x->in[i])
			break;
	}
	if (count == 0 && !groups_takes_rest(&f->subject))
		out_puts(&f->out, "\trequires_grad is false: not in DEFAULT either\n");
	buf_release(&verdict);
	return 0;
}

int
explain_run(struct filter *f, const struct operands *operands, int *status, struct err *err)
{
	struct explaining x = { .trace = RULE_TRACE_INIT };
	int rc;

	x.in = arena_calloc(&f->arena, f->groups.n + 1, 1);
	rc = filter_run(f, operands, f->form == FORM_RULE ? explain_rule : explain_groups, &x, status, err);
	if (rc == 0 && f->hits == 0)
		*status = tool_worst(*status, TOOL_NO);
	rule_trace_release(&x.trace);
	return rc;
}
