#include "common/bias.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/strmap.h"
#include "base/xalloc.h"
#include "common/tool.h"

/* Parses N or HxW, in pixels. */
static int
image_parse(const char *arg, struct grid *image, struct err *err)
{
	const struct str text = str_c(arg);
	struct str rest = text, first;
	uint64_t h = 0, w;
	bool good;

	str_split(&rest, 'x', &first);
	good = num_u64(first, &h);
	w = h;
	if (rest.p != NULL)
		good = good && num_u64(rest, &w);
	if (!good || h == 0 || w == 0 || h > 1 << 20 || w > 1 << 20)
		return err_set(err, ERR_USAGE, "--img-size %s: N or HxW was expected, in pixels from 1 to %d", arg, 1 << 20);
	*image = (struct grid){ (uint32_t)h, (uint32_t)w };
	return 0;
}

/*
 * Parses REGEX or REGEX=KIND and adds it. The text after the last = belongs to the pattern, unless it is a kind or looks like one.
 */
static int
match_add(struct bias_options *o, const char *arg, struct err *err)
{
	struct table_match m = { .has_kind = false };
	struct str pattern = str_c(arg);
	struct pyre_error why;
	struct err none = ERR_INIT;
	const char *equals = strrchr(arg, '=');

	if (equals != NULL && position_kind_parse(str_c(equals + 1), &m.kind, &m.order, &none) == 0) {
		m.has_kind = true;
		pattern.len = (size_t)(equals - arg);
	} else if (equals != NULL && strspn(equals + 1, "abcdefghijklmnopqrstuvwxyz0123456789:") == strlen(equals + 1)) {
		return err_set(err, ERR_USAGE, "--match %s: %s", arg, none.msg);
	}
	if (pyre_compile(pattern, &m.re, &why) != 0)
		return err_set(err, ERR_USAGE, "--match %s: at byte %zu: %s", arg, why.offset, why.reason);
	*xpush(o->matches, o->nmatches, o->cap_matches) = m;
	return 0;
}

int
bias_read(const struct option_entry *entry, void *place, const char *arg, struct err *err)
{
	struct bias_options *o = place;

	switch ((enum bias_option)entry->value) {
	case BIAS_IMG_SIZE: return image_parse(arg, &o->image, err);
	case BIAS_GRID: return grid_parse(str_c(arg), &o->grid, err);
	case BIAS_FROM_GRID: return grid_parse(str_c(arg), &o->from_grid, err);
	case BIAS_STAGE: return stages_add(&o->stages, str_c(arg), err);
	case BIAS_LAYOUT: return layout_parse(str_c(arg), &o->layout, err);
	case BIAS_TO_LAYOUT: return layout_parse(str_c(arg), &o->to, err);
	case BIAS_LIKE: return like_by_name(arg, &o->like, err);
	case BIAS_MATCH: return match_add(o, arg, err);
	case BIAS_KINDS: return position_kinds_parse(str_c(arg), &o->kinds, err);
	case BIAS_PREFIX: break;
	}
	o->has_prefix = true;
	return option_u64(entry, arg, &o->prefix, err);
}

void
bias_release(struct bias_options *o)
{
	for (size_t i = 0; i < o->nmatches; i++)
		pyre_free(o->matches[i].re);
	free(o->matches);
	stages_release(&o->stages);
}

static int
choose_method(const struct bias_options *o, struct tables_opts *t, struct err *err)
{
	const char *method = o->method == NULL ? "bicubic" : o->method;

	t->has_method = o->method != NULL || o->align_corners || o->antialias;
	if (resample_method_by(str_c(method), o->align_corners, o->antialias, &t->method))
		return 0;
	return err_set(err, ERR_USAGE,
		       "--method %s%s%s: no such method; bicubic goes with either of --align-corners and --antialias, "
		       "bilinear with --align-corners, geometric and geometric-linear with none",
		       method, o->align_corners ? " --align-corners" : "", o->antialias ? " --antialias" : "");
}

int
bias_resolve(const struct bias_options *o, struct tables_opts *t, struct err *err)
{
	if (o->image.h != 0 && o->grid.h != 0)
		return err_set(err, ERR_USAGE, "--img-size and --grid both set the new size; give one");
	if (choose_method(o, t, err) < 0)
		return -1;
	t->image = o->image;
	t->grid = o->grid.h != 0 ? &o->grid : NULL;
	t->from_grid = o->from_grid.h != 0 ? &o->from_grid : NULL;
	t->prefix = o->has_prefix ? &o->prefix : NULL;
	t->like = o->like;
	t->matches = o->matches;
	t->nmatches = o->nmatches;
	t->kinds = o->kinds == 0 ? POSITION_ALL : o->kinds;
	t->index = o->keep_index ? INDEX_KEEP : INDEX_DROP;
	t->stages = &o->stages;
	t->layout = o->layout;
	t->to = o->to;
	return 0;
}

/* Appends "NAME and 3 others (WHY), ...". */
static void
put_left(const struct tables_tally *tally, struct buf *b)
{
	for (const struct table_left *l = tally->left; l != NULL; l = l->next) {
		buf_addf(b, "%.*s", STR_ARG(l->first));
		if (l->n > 1)
			buf_addf(b, " and %zu %s", l->n - 1, l->n == 2 ? "other" : "others");
		buf_addf(b, " (%s)%s", l->why, l->next == NULL ? "" : ", ");
	}
}

void
bias_closing(const struct tables_tally *tally, struct buf *b)
{
	buf_addf(b, "position tables: %zu resampled, %zu %s already", tally->resized, tally->fit, tally->fit == 1 ? "fits" : "fit");
	if (tally->left != NULL)
		buf_adds(b, "; left alone: ");
	put_left(tally, b);
}

int
bias_verdict(const struct tables_tally *tally, const struct tables_opts *o, const char *file, struct err *err)
{
	struct buf b = BUF_INIT;

	if ((o->grid == NULL && o->image.h == 0) || tally->resized + tally->fit > 0)
		return 0;
	put_left(tally, &b);
	err_set(err, ERR_ANSWER,
		"%s: no position table gets the new size: %s; --grid HxW and --stage SUBSTRING=RATIO set sizes, "
		"--match REGEX=KIND names further tables",
		file, b.len == 0 ? "none was found" : b.p);
	buf_release(&b);
	return -1;
}

void
bias_report(const struct plan *p)
{
	const struct make *m;
	char text[MAKE_TEXT];

	for (size_t i = 0; i < p->ndescribed; i++) {
		m = p->described[i];
		m->kind->describe(m, text);
		tool_summary("%.*s: %s", STR_ARG(m->name), text);
	}
}

/* Returns the bytes of a shape, as a key for a map. */
static struct str
shape_key(const uint64_t *shape, unsigned ndim)
{
	return str_n((const char *)shape, ndim * sizeof(*shape));
}

/* Maps the old shape of each tensor whose shape changes to the first entry with that shape. */
static void
map_old_shapes(const struct plan *p, struct strmap *map)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	const struct tensor *t;
	enum dtype dtype;
	unsigned ndim;

	for (size_t i = 0; i < p->nentries; i++) {
		if ((make_traits(plan_makers(&p->entries[i])) & MAKE_ANY_NEW) == 0)
			continue;
		t = plan_tensor(p, &p->entries[i]);
		plan_shape(p, &p->entries[i], &dtype, shape, &ndim);
		if (!shape_eq(t->shape, t->ndim, shape, ndim))
			strmap_add(map, shape_key(t->shape, t->ndim), i);
	}
}

void
bias_warn_rest(const struct plan *p, const struct sealed *s)
{
	const struct plan_entry *example = NULL;
	struct strmap old = STRMAP_INIT;
	unsigned n = 0;
	uint64_t i;

	map_old_shapes(p, &old);
	for (size_t k = 0; k < s->nrest; k++) {
		if (!strmap_get(&old, shape_key(s->rest[k]->shape, s->rest[k]->ndim), &i))
			continue;
		n++;
		example = &p->entries[i];
	}
	strmap_release(&old);
	if (example != NULL)
		tool_warn("%u %s outside the state dict (optimizer, EMA copy) still %s the old shape of %.*s: resuming "
			  "from the result would fail",
			  n, n == 1 ? "tensor" : "tensors", n == 1 ? "has" : "have", STR_ARG(example->name));
}
