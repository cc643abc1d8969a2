#include "adapt.h"
#include "shards.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/out.h"
#include "common/tool.h"

static int
print_map(const char *name, struct err *e)
{
	const char *text = keymap_text(name);
	struct keymap *none;
	struct out out;

	if (text == NULL)
		return keymap_builtin(&none, name, e);
	if (out_open(&out, NULL, NULL, 0, e) != 0)
		return -1;
	out_puts(&out, text);
	return out_end(&out, e);
}

static bool
same_file(const char *a, const char *b)
{
	struct stat x, y;

	if (a == NULL || b == NULL)
		return false;
	return strcmp(a, b) == 0 || (stat(a, &x) == 0 && stat(b, &y) == 0 && S_ISREG(x.st_mode) &&
				     x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

static int
check_options(const struct adapt_options *o, const struct operands *operands, struct err *e)
{
	if (o->report != NULL && strcmp(o->report, "-") != 0 &&
	    (same_file(o->report, tool_settings.output) || (operands->n > 0 && same_file(o->report, operands->v[0]))))
		return err_set(e, ERR_USAGE, "--report %s: the report would replace a checkpoint", o->report);
	if (o->compat && o->ddp)
		return err_set(e, ERR_USAGE, "--ddp: linnaeus's loader cannot (--compat=linnaeus)");
	if (o->report != NULL && strcmp(o->report, "-") == 0 &&
	    (o->dry_run || tool_settings.output == NULL || strcmp(tool_settings.output, "-") == 0))
		return err_set(e, ERR_USAGE, "--report -: standard output has the %s already",
			       o->dry_run ? "list" : "checkpoint");
	return 0;
}

/*
 * The report is written whether the answer is yes or no, but not after trouble; where there is an output, before that is
 * complete (adapt_write), as a report that cannot be written is trouble.
 */
static int
run(struct adapt *a, const struct operands *operands, struct err *e)
{
	struct err answer = ERR_INIT;
	int rc, verdict;

	if (adapt_prepare(a, operands, e) != 0 || adapt_edit(a, e) != 0)
		return -1;
	adapt_check(a);
	if (adapt_prefix(a, e) != 0)
		return -1;
	rc = verdict = adapt_verdict(a, &answer);
	if (rc == 0)
		rc = adapt_write(a, &answer);
	if (rc != 0 && answer.code == ERR_ANSWER && adapt_report(a, e) != 0)
		return -1;
	if (verdict != 0)
		adapt_say_load(a, adapt_refused(a));
	if (rc != 0)
		*e = answer;
	return rc;
}

/* The one part of the load check that a shard does for itself. */
static bool
drop_misfits(struct adapt *a)
{
	if (a->o->drop_mismatched)
		adapt_check(a);
	return true;
}

/* One shard of a set: what needs all names waits for --write-index. A shard that leaves nothing is done, too. */
static int
run_share(struct adapt *a, const struct operands *operands, struct err *e)
{
	struct buf path = BUF_INIT, name = BUF_INIT;
	const struct format_writer *w;
	struct err own = ERR_INIT;
	int rc = -1;

	if (adapt_prepare(a, operands, e) == 0 && adapt_edit(a, e) == 0 && drop_misfits(a) && adapt_prefix(a, e) == 0 &&
	    (w = emit_writer(a->o->to, a->inputs[0].ckpt, e)) != NULL) {
		shard_name(&name, w, a->share->number, a->share->total);
		buf_addf(&path, "%s/%s", a->share->dir, name.p);
		tool_settings.output = path.p;
		rc = adapt_write(a, e);
		if ((rc == 0 || e->code == ERR_ANSWER) && share_note(a, rc == 0 ? name.p : "", &own) != 0) {
			*e = own;
			rc = -1;
		}
	}
	buf_release(&path);
	buf_release(&name);
	return rc;
}

void
adapt_init(struct adapt *a, const struct adapt_options *o)
{
	*a = (struct adapt){ .o = o };
	arena_init(&a->arena);
	config_init(&a->config);
	model_init(&a->model);
	plan_init(&a->plan, tool_diag());
}

void
adapt_release(struct adapt *a)
{
	sealed_release(&a->sealed);
	load_check_release(&a->load);
	plan_release(&a->plan);
	keymap_free(a->map);
	for (size_t i = 0; i < a->ninputs; i++)
		input_close(&a->inputs[i]);
	free(a->inputs);
	free(a->labels);
	model_release(&a->model);
	config_release(&a->config);
	arena_release(&a->arena);
}

int
adapt_run_one(const struct adapt_options *o, const struct operands *operands, const struct share *share, struct err *e)
{
	struct adapt a;
	int rc;

	adapt_init(&a, o);
	a.share = share;
	rc = share == NULL ? run(&a, operands, e) : run_share(&a, operands, e);
	adapt_release(&a);
	return rc;
}

int
adapt_run(const struct adapt_options *o, const struct operands *operands, struct err *e)
{
	if (o->print_map != NULL)
		return print_map(o->print_map, e);
	if (check_options(o, operands, e) != 0)
		return -1;
	if (o->write_index != NULL)
		return shards_write_index(o, e);
	if (o->shard != NULL)
		return shards_run_share(o, operands, e);
	return adapt_run_one(o, operands, NULL, e);
}
