#include "data.h"

#include <stdlib.h>

#include "base/xalloc.h"
#include "common/progress.h"
#include "report.h"

static int
take_figures(struct job *j, struct pool *pool, struct err *err)
{
	struct figures_opts o = { .pool = pool, .tick = progress_tick };
	const struct tensor **tensors = xcalloc(j->rows.n + 1, sizeof(const struct tensor *));
	int rc;

	for (size_t i = 0; i < j->rows.n; i++)
		tensors[i] = j->rows.v[i].t;
	o.crcs = (j->in->needs & NEEDS_CRCS) != 0;
	rc = figures_take(&j->data.figures, j->input.ckpt, tensors, j->rows.n, &o, err);
	free(tensors);
	return rc;
}

static int
take_differences(struct job *j, struct pool *pool, struct err *err)
{
	const struct inspect_opts *o = j->in->o;
	struct compare_opts c = { .here = j->input.ckpt, .there = j->data.there, .atol = o->atol, .rtol = o->rtol,
				  .nan_equal = !o->nan_differs, .pool = pool, .tick = progress_tick };
	struct data *d = &j->data;

	d->differences = xcalloc(d->npairs + 1, sizeof(*d->differences));
	return compare_tensors(d->pairs, d->npairs, &c, d->differences, err);
}

int
data_take(struct job *j, struct err *err)
{
	struct pool *pool;
	int rc = 0;

	if (j->data.taken)
		return 0;
	j->data.taken = true;
	pool = pool_new(tool_settings.jobs);
	progress_start(j->data.there != NULL ? "comparing" : "reading");
	if (j->in->needs & NEEDS_FIGURES)
		rc = take_figures(j, pool, err);
	if (rc == 0 && j->data.there != NULL)
		rc = take_differences(j, pool, err);
	progress_end();
	pool_free(pool);
	return rc;
}

void
data_release(struct data *d)
{
	figures_release(&d->figures);
	free(d->differences);
	free(d->pairs);
	*d = (struct data){ 0 };
}
