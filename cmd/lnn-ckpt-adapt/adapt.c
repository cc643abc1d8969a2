#include "adapt.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/out.h"
#include "inplace.h"
#include "shard_jobs.h"

static int
print_map(const char *name, struct err *err)
{
	struct keymap *map;
	struct out out;
	int rc = keymap_builtin(&map, name, err);

	if (rc < 0)
		return -1;
	rc = out_open(&out, NULL, err);
	if (rc == 0) {
		out_puts(&out, keymap_head(map)->text);
		rc = out_end(&out, err);
	}
	keymap_free(map);
	return rc;
}

static bool
same_file(const char *a, const char *b)
{
	struct stat x, y;

	if (a == NULL || b == NULL)
		return false;
	return strcmp(a, b) == 0 ||
	       (stat(a, &x) == 0 && stat(b, &y) == 0 && S_ISREG(x.st_mode) && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

static int
check_options(const struct adapt_options *o, const struct operands *operands, struct err *err)
{
	if (o->report != NULL && strcmp(o->report, "-") != 0 &&
	    (same_file(o->report, o->common.output) || (operands->n > 0 && same_file(o->report, operands->v[0]))))
		return err_set(err, ERR_USAGE, "--report %s: the report would replace a checkpoint", o->report);
	if (o->compat && o->ddp)
		return err_set(err, ERR_USAGE, "--ddp does not go with --compat=linnaeus: linnaeus's loader cannot add module.");
	if (o->salvage && salvage_check(o, err) != 0)
		return -1;
	if (o->report != NULL && strcmp(o->report, "-") == 0 &&
	    (o->dry_run || o->common.output == NULL || strcmp(o->common.output, "-") == 0))
		return err_set(err, ERR_USAGE, "--report -: the %s already goes to standard output",
			       o->dry_run ? "list" : "checkpoint");
	return inplace_check_options(o, operands, err);
}

/* Performs the steps of lnn-ckpt-adapt(1). The comments give their numbers. */
static int
run_steps(struct adapt *a, const struct operands *operands, struct err *err)
{
	if (adapt_open(a, operands, err) != 0 ||                                  /* 1: read inputs, choose the state dict */
	    adapt_strip_prefixes(a, err) != 0 ||                                  /* 2: strip prefixes */
	    adapt_map(a, err) != 0 ||                                             /* 3: key map */
	    adapt_drop_params(a, err) != 0 ||                                     /* 4: drop parameters */
	    adapt_drop_buffers(a, err) != 0 ||                                    /* 5: drop buffers */
	    adapt_edit_names(a, err) != 0 ||                                      /* 6: lists of names, --rename */
	    adapt_check_names(a, err) != 0 || adapt_resize_tables(a, err) != 0 || /* 7: resize tables */
	    adapt_cast(a, err) != 0)
		return -1;
	adapt_check(a);                        /* 9: load check, with the names before step 8 */
	if (adapt_add_prefixes(a, err) != 0 || /* 8: add prefixes */
	    adapt_edit_metadata(a, err) != 0)
		return -1;
	return a->job == NULL ? adapt_finish(a, err) : adapt_finish_job(a, err); /* 10: write */
}

void
adapt_init(struct adapt *a, const struct adapt_options *o)
{
	*a = (struct adapt){ .o = o, .fd = -1 };
	arena_init(&a->arena);
	config_init(&a->config);
	model_init(&a->model);
	plan_init(&a->plan, tool_diag());
}

void
adapt_release(struct adapt *a)
{
	plan_release(&a->plan);
	keymap_free(a->map);
	for (size_t i = 0; i < a->ninputs; i++)
		input_close(&a->inputs[i]);
	if (a->fd >= 0)
		close(a->fd);
	free(a->inputs);
	free(a->labels);
	model_release(&a->model);
	config_release(&a->config);
	arena_release(&a->arena);
}

int
adapt_run_steps(const struct adapt_options *o, const struct operands *operands, const struct shard_job *job, int *status,
		struct err *err)
{
	struct adapt a;
	int rc;

	adapt_init(&a, o);
	a.job = job;
	rc = run_steps(&a, operands, err);
	if (a.imperfect)
		*status = TOOL_NO;
	adapt_release(&a);
	return rc;
}

int
adapt_run(void *opts, const struct operands *operands, int *status, struct err *err)
{
	const struct adapt_options *o = opts;

	if (o->print_map != NULL)
		return print_map(o->print_map, err);
	if (check_options(o, operands, err) != 0)
		return -1;
	if (o->recover != NULL)
		return inplace_recover(o->recover, err);
	if (o->write_index != NULL)
		return shard_jobs_write_index(o, err);
	if (o->shard != NULL)
		return shard_jobs_run(o, operands, err);
	return adapt_run_steps(o, operands, NULL, status, err);
}
