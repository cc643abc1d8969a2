#include "data.h"

#include <math.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "common/progress.h"
#include "report.h"

int
data_take(struct job *j, int (*known)(void *arg, size_t n, struct err *err), void *arg, struct err *err)
{
	const struct inspect_opts *o = j->in->o;
	const size_t n = j->in->needs & NEEDS_FIGURES ? j->rows.n : 0;
	struct data *d = &j->data;
	struct compare_opts compare = { .here = j->input.ckpt, .there = d->there, .atol = fmax(o->atol, 0),
					.rtol = fmax(o->rtol, 0), .nan_equal = o->nans != NAN_DIFFER };
	struct figures_opts f = { .tick = progress_tick, .crcs = (j->in->needs & NEEDS_CRCS) != 0, .pairs = d->pairs,
				  .npairs = d->npairs, .known = known, .known_arg = arg };
	const struct tensor **tensors;
	int rc;

	if (d->taken)
		return 0;
	d->taken = true;
	tensors = xcalloc(n + 1, sizeof(const struct tensor *));
	for (size_t i = 0; i < n; i++)
		tensors[i] = j->rows.v[i].t;
	f.compare = d->there != NULL ? &compare : NULL;
	f.pool = pool_new((unsigned)o->common.jobs);
	progress_start(n == 0 ? "comparing" : "reading");
	rc = figures_take(&d->figures, j->input.ckpt, tensors, n, &f, err);
	progress_end();
	pool_free(f.pool);
	free(tensors);
	return rc;
}

void
data_release(struct data *d)
{
	figures_release(&d->figures);
	free(d->pairs);
	*d = (struct data){ 0 };
}
