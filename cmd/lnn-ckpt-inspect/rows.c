#include "rows.h"

#include <stdlib.h>

#include "base/num.h"
#include "base/xalloc.h"
#include "inspect.h"
#include "values.h"

int
rows_chosen(const struct inspect *in, struct str name, bool *yes, struct err *err)
{
	int found = 0;

	*yes = in->o->exprs.n == 0;
	for (size_t i = 0; i < in->o->exprs.n && !*yes; i++) {
		found = pyre_search(in->exprs[i], name, NULL, 0, err);
		if (found < 0)
			return -1;
		*yes = found > 0;
	}
	if (in->o->exprs.n > 0 && in->o->invert)
		*yes = !*yes;
	return 0;
}

int
rows_choose(struct rows *r, const struct inspect *in, const struct statedict *sd, struct err *err)
{
	*r = (struct rows){ .v = xcalloc(sd->n ? sd->n : 1, sizeof(*r->v)) };
	arena_init(&r->arena);
	for (size_t i = 0; i < sd->n; i++) {
		const struct tensor *t = sd_tensor(sd, &sd->entries[i]);
		bool yes;

		if (t == NULL)
			continue;
		if (rows_chosen(in, sd->entries[i].name, &yes, err) < 0)
			return -1;
		if (yes)
			r->v[r->n++] = (struct row){ sd->entries[i].name, t, values_nbytes(t), (uint32_t)i, 1, { 0 } };
	}
	return 0;
}

void
rows_release(struct rows *r)
{
	free(r->v);
	if (r->v != NULL)
		arena_release(&r->arena);
	*r = (struct rows){ 0 };
}

/* ---- order; equal rows stay in the order of the file */

static int
by_order(const void *a, const void *b, void *arg)
{
	const enum rows_order order = *(const enum rows_order *)arg;
	const struct row *x = a, *y = b;
	int c = 0;

	if (order == SORT_SIZE)
		c = (x->nbytes < y->nbytes) - (x->nbytes > y->nbytes);
	if (order == SORT_NATURAL)
		c = str_cmp_natural(x->name, y->name);
	if (c == 0 && order != SORT_SIZE)
		c = str_cmp(x->name, y->name);
	return c != 0 ? c : (x->entry > y->entry) - (x->entry < y->entry);
}

void
rows_sort(struct rows *r, enum rows_order order)
{
	if (order != SORT_FILE)
		qsort_r(r->v, r->n, sizeof(*r->v), by_order, &order);
}

/* ---- folding */

/* A numeric component of a name. */
struct digits {
	struct str text;
	size_t at;
};

/* Finds the next component from *at on that is a decimal number without leading zeros. */
static bool
next_number(struct str name, size_t *at, struct digits *d)
{
	while (*at < name.len) {
		size_t start = *at, end = start;

		while (end < name.len && name.p[end] >= '0' && name.p[end] <= '9')
			end++;
		if (end > start && (end == name.len || name.p[end] == '.') && end - start < 10 &&
		    (name.p[start] != '0' || end == start + 1)) {
			*d = (struct digits){ str_n(name.p + start, end - start), start };
			*at = end + 1;
			return true;
		}
		while (end < name.len && name.p[end] != '.')
			end++;
		*at = end + 1;
	}
	return false;
}

/* A family of rows whose names differ only in the number at one place. */
struct family {
	uint64_t members;
	uint64_t *numbers; /* numbers of the rows that joined the family */
	size_t n, cap;
	size_t row; /* the row that stands for the family; SIZE_MAX: no row has joined it */
};

struct folding {
	struct rows *r;
	struct arena keys;
	struct strmap map; /* from key to index in families */
	struct family *families;
	size_t n, cap;
	struct buf key;
};

/* Returns the family of a row whose names differ at d. May move the families in memory, which invalidates pointers to them. */
static struct family *
family_of(struct folding *f, const struct row *row, const struct digits *d)
{
	uint64_t i;

	buf_clear(&f->key);
	buf_add(&f->key, row->name.p, d->at);
	buf_addc(&f->key, '\0');
	buf_add(&f->key, row->name.p + d->at + d->text.len, row->name.len - d->at - d->text.len);
	buf_addc(&f->key, '\0');
	buf_addstr(&f->key, row->like);
	if (row->like.len == 0) {
		buf_adds(&f->key, dtype_name(row->t->dtype));
		shape_put(&f->key, row->t->shape, row->t->ndim);
	}
	if (strmap_get(&f->map, buf_str(&f->key), &i))
		return &f->families[i];
	strmap_add(&f->map, arena_str(&f->keys, buf_str(&f->key)), f->n);
	*xpush(f->families, f->n, f->cap) = (struct family){ .row = SIZE_MAX };
	return &f->families[f->n - 1];
}

/* Joins a row to the largest of its possible families. */
static void
join(struct folding *f, size_t i)
{
	struct row *row = &f->r->v[i];
	struct family *best = NULL;
	struct digits d, with = { .at = 0 };

	for (size_t at = 0; next_number(row->name, &at, &d);) {
		struct family *m = family_of(f, row, &d);

		if (m->members > 1 && (best == NULL || m->members > best->members)) {
			best = m;
			with = d;
		}
	}
	if (best == NULL)
		return;
	(void)num_u64(with.text, xpush(best->numbers, best->n, best->cap));
	if (best->row == SIZE_MAX) {
		best->row = i;
		return;
	}
	f->r->v[best->row].count++;
	row->count = 0;
	if (f->r->joined != NULL)
		f->r->joined(f->r->joined_arg, f->r->v[best->row].entry, row->entry);
}

/* Writes a set of numbers: "{0..3,5}". */
static void
put_numbers(struct buf *b, uint64_t *v, size_t n)
{
	qsort(v, n, sizeof(*v), num_cmp64);
	buf_addc(b, '{');
	for (size_t i = 0; i < n;) {
		size_t end = i + 1;

		while (end < n && v[end] == v[end - 1] + 1)
			end++;
		buf_adds(b, i ? "," : "");
		buf_u64(b, v[i]);
		if (end - i > 1) {
			buf_adds(b, end - i > 2 ? ".." : ",");
			buf_u64(b, v[end - 1]);
		}
		i = end;
	}
	buf_addc(b, '}');
}

/* Renames the row that stands for a family: its number is replaced by the set of all numbers. */
static void
rename_row(struct folding *f, struct family *m)
{
	struct row *row = &f->r->v[m->row];
	struct digits d;

	if (row->count < 2)
		return;
	for (size_t at = 0; next_number(row->name, &at, &d);) {
		if (family_of(f, row, &d) != m)
			continue;
		buf_clear(&f->key);
		buf_add(&f->key, row->name.p, d.at);
		put_numbers(&f->key, m->numbers, m->n);
		buf_add(&f->key, row->name.p + d.at + d.text.len, row->name.len - d.at - d.text.len);
		row->name = arena_str(&f->r->arena, buf_str(&f->key));
		return;
	}
}

void
rows_fold(struct rows *r)
{
	struct folding f = { .r = r, .keys = ARENA_INIT, .map = STRMAP_INIT, .key = BUF_INIT };
	struct digits d;
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		for (size_t at = 0; next_number(r->v[i].name, &at, &d);)
			family_of(&f, &r->v[i], &d)->members++;
	for (size_t i = 0; i < r->n; i++)
		join(&f, i);
	for (size_t i = 0; i < f.n; i++) {
		if (f.families[i].row != SIZE_MAX)
			rename_row(&f, &f.families[i]);
		free(f.families[i].numbers);
	}
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].count > 0)
			r->v[n++] = r->v[i];
	r->n = n;
	free(f.families);
	strmap_release(&f.map);
	arena_release(&f.keys);
	buf_release(&f.key);
}
