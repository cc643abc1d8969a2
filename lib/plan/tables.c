#include "plan/tables.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "plan/tables_priv.h"
#include "tensor/boxes.h"
#include "tensor/convert.h"

#define TABLE_ADDRESS(name) &table_kind_##name,
static const struct table_kind *const table_kinds[] = { TABLE_KINDS(TABLE_ADDRESS) };
#undef TABLE_ADDRESS

/* The maximum number of different remarks about tables. */
enum { REMARKS_MAX = 64 };

/* ---- functions for the kinds */

int
tables_refuse(const struct plan *p, const struct plan_entry *en, struct err *err, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_input(err, plan_file(p, en), "%.*s: %s", STR_ARG(en->name), what);
}

void
tables_remark(struct tables *t, const struct table_case *c, enum diag_level level, const char *fmt, ...)
{
	struct table_remark **at = &t->remarks;
	size_t n = 0;
	char text[256];
	va_list ap;

	if (c->probe)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (; *at != NULL && !str_eqc((*at)->text, text) && n < REMARKS_MAX; n++)
		at = &(*at)->next;
	if (n == REMARKS_MAX)
		return;
	if (*at != NULL) {
		(*at)->others += !str_eq((*at)->last, c->en->name);
		(*at)->last = c->en->name;
		return;
	}
	*at = arena_calloc(&t->p->arena, 1, sizeof(**at));
	**at = (struct table_remark){ NULL, level, arena_str(&t->p->arena, str_c(text)), c->en->name, c->en->name, 0 };
}

static void
say_remarks(const struct tables *t)
{
	for (const struct table_remark *r = t->remarks; r != NULL; r = r->next) {
		if (r->others > 0)
			diag_say(t->p->diag, r->level, "%.*s: %.*s (and %zu %s)", STR_ARG(r->first), STR_ARG(r->text), r->others,
				 r->others == 1 ? "other" : "others");
		else
			diag_say(t->p->diag, r->level, "%.*s: %.*s", STR_ARG(r->first), STR_ARG(r->text));
	}
}

int
tables_leave(struct tables *t, const struct table_case *c, const char *why)
{
	struct table_left **at = &t->tally->left;

	if (c->probe)
		return 0;
	while (*at != NULL && strcmp((*at)->why, why) != 0)
		at = &(*at)->next;
	if (*at == NULL) {
		*at = arena_calloc(&t->p->arena, 1, sizeof(**at));
		(*at)->why = why;
		(*at)->first = c->en->name;
	}
	(*at)->n++;
	return 0;
}

int
tables_misfit(struct tables *t, const struct table_case *c, const char *why, struct err *err)
{
	const struct tensor *x = c->tensor;

	if (c->named || (c->target != NULL && !shape_eq(c->target->shape, c->target->ndim, x->shape, x->ndim)))
		return tables_refuse(t->p, c->en, err, "%s", why);
	return tables_leave(t, c, why);
}

bool
tables_method(const struct tables *t, enum position_kind kind, struct like_rule *rule)
{
	const struct tables_opts *o = t->o;

	*rule = (o->like != NULL ? o->like : &like_default)->kinds[kind];
	if (rule->method < 0)
		return false;
	if (o->has_method && (kind <= POSITION_BIAS3 || !resample_is_geometric(o->method)))
		rule->method = (int)o->method;
	return true;
}

bool
tables_target_fits(const struct table_case *c, unsigned mask)
{
	if (c->target == NULL || c->target->ndim != c->tensor->ndim)
		return false;
	for (unsigned d = 0; d < c->target->ndim; d++)
		if ((mask >> d & 1) == 0 && c->target->shape[d] != c->tensor->shape[d])
			return false;
	return true;
}

struct grid
tables_image_grid(struct tables *t, const struct table_case *c, struct grid patch)
{
	const struct grid image = t->o->image;
	bool exact;
	struct grid grid = grid_of_image(image, patch, &exact);

	if (exact)
		return grid;
	if (image.h == image.w && patch.h == patch.w)
		tables_remark(t, c, DIAG_WARNING, "image size %" PRIu32 " is no multiple of %" PRIu32 "; %" PRIu32 " tokens a side",
			      image.h, patch.h, grid.h);
	else
		tables_remark(t, c, DIAG_WARNING,
			      "image size %" PRIu32 "x%" PRIu32 " is no multiple of %" PRIu32 "x%" PRIu32 "; %" PRIu32 "x%" PRIu32
			      " tokens",
			      image.h, image.w, patch.h, patch.w, grid.h, grid.w);
	return grid;
}

int
tables_beside(struct tables *t, const struct table_case *c, struct grid from, int axis, struct grid *to, struct err *err)
{
	const struct table_image *image = c->image;

	if (image->known && !c->named) {
		if ((axis != 'w' && from.h != image->from.h) || (axis != 'h' && from.w != image->from.w))
			return tables_leave(t, c, "not of the size of the image's grid");
		*to = image->to;
		return 1;
	}
	if (t->o->grid == NULL)
		return tables_leave(t, c, "its new size is unknown; --grid HxW or a description sets it");
	if (!c->named && t->named[c->kind])
		return tables_leave(t, c, "--match names other tables");
	if (!c->named && t->uneven[c->kind])
		return tables_refuse(
			t->p, c->en, err,
			"tables of its kind have several sizes: --match REGEX=%s chooses those that get the new grid, or -m "
			"gives their shapes",
			position_kind_name(c->kind));
	*to = *t->o->grid;
	return 1;
}

/* Buffers that a model rebuilds when its grid changes. They are beside a table; attn_mask may also be in the enclosing block. */
static const struct str buffers[] = { STR_LIT("relative_position_index"), STR_LIT("attention_bias_idxs"),
				      STR_LIT("relative_coords_table"), STR_LIT("attn_mask") };

enum { BUFFERS = sizeof(buffers) / sizeof(buffers[0]) };

/* Returns the part of name up to the dot before its last component. It is empty if there is none. A dot at the end is ignored. */
static struct str
folder_of(struct str name)
{
	const char *dot = name.len < 2 ? NULL : memrchr(name.p, '.', name.len - 1);

	return str_n(name.p, dot == NULL ? 0 : (size_t)(dot + 1 - name.p));
}

static struct str
last_of(struct str name)
{
	return str_from(name, folder_of(name).len);
}

static bool
is_buffer(struct str name)
{
	for (size_t i = 0; i < BUFFERS; i++)
		if (str_eq(last_of(name), buffers[i]))
			return true;
	return false;
}

/* Returns the origin of the tensor with this name in the folder, in the input of en. Returns NULL if there is none. */
static struct plan_origin *
beside(const struct plan *p, const struct plan_entry *en, struct str folder, struct str name)
{
	const struct sd_entry *found;
	struct buf b = BUF_INIT;

	buf_addstr(&b, folder);
	buf_addstr(&b, name);
	found = statedict_find(plan_input_of(p, en)->sd, buf_str(&b));
	buf_release(&b);
	/* The origins of an input are in the order of its entries. */
	return found == NULL || found->kind != SD_TENSOR ? NULL : &p->origins[en->origin + (found - plan_source(p, en))];
}

bool
tables_beside_token(const struct plan *p, const struct plan_entry *en)
{
	return beside(p, en, folder_of(plan_source(p, en)->name), str_c("token_embedding.weight")) != NULL;
}

void
tables_stale(struct tables *t, const struct plan_entry *en)
{
	const struct str folder = folder_of(plan_source(t->p, en)->name);
	const struct plan_origin *o;

	for (size_t i = 0; i < BUFFERS; i++) {
		o = beside(t->p, en, folder, buffers[i]);
		if (o != NULL)
			t->stale[o - t->p->origins] = true;
	}
	o = beside(t->p, en, folder_of(folder), buffers[BUFFERS - 1]);
	if (o != NULL)
		t->stale[o - t->p->origins] = true;
}

int
tables_sheet(struct tables *t, struct table_case *c, struct make_sheet *s, struct err *err)
{
	struct like_rule rule;
	struct err why = ERR_INIT;
	int rc;

	if (!tables_method(t, c->kind, &rule))
		return tables_leave(t, c, "--like has no tables of its kind");
	s->make.name = c->en->name;
	s->kind = c->kind;
	s->job.method = (enum resample_method)rule.method;
	s->show = t->o->show;
	s->show_arg = t->o->show_arg;
	rc = sheet_check(&s->job, &why);
	if (rc < 0)
		return err_set(err, why.code, "%s: %.*s: %s", plan_file(t->p, c->en), STR_ARG(c->en->name), why.msg);
	plan_describe(t->p, &s->make);
	t->tally->fit += rc == 1;
	t->tally->resized += rc == 0;
	if (rc == 1)
		return 0;
	plan_make(t->p, c->en, &s->make, position_kind_name(c->kind));
	tables_stale(t, c->en);
	return 0;
}

/* ---- patch embeddings */

enum { DEEP = 64 };

/* Is end a suffix of name that consists of whole components? */
static bool
ends_in(struct str name, struct str end)
{
	return str_ends(name, end) && (name.len == end.len || name.p[name.len - end.len - 1] == '.');
}

static bool
is_patch(const struct plan *p, const struct plan_entry *en, size_t which)
{
	const struct tensor *x = en->module ? NULL : plan_result(p, en);

	return x != NULL && x->ndim == 4 && ends_in(en->name, str_c(position_patches[which])) && x->shape[2] > 0 &&
	       x->shape[3] > 0 && x->shape[2] <= UINT32_MAX && x->shape[3] <= UINT32_MAX;
}

/* Returns the first DEEP components of a name. Only these are used to find images. */
static struct str
shallow(struct str name)
{
	size_t depth = 0, i = 0;

	while (i < name.len && depth < DEEP)
		depth += name.p[i++] == '.';
	return str_n(name.p, i);
}

/*
 * Maps each prefix of a name to the image. If several images share a prefix, the first one in the order of position_patches keeps
 * it.
 */
static void
add_near(struct tables *t, struct str name, size_t image)
{
	for (name = folder_of(shallow(name)); name.len > 0; name = folder_of(name))
		strmap_add(&t->near, name, image);
	strmap_add(&t->near, name, image);
}

static struct table_image *
image_near(const struct tables *t, struct str name)
{
	uint64_t image;

	for (name = folder_of(shallow(name)); name.len > 0; name = folder_of(name))
		if (strmap_get(&t->near, name, &image))
			return &t->images[image];
	return strmap_get(&t->near, name, &image) ? &t->images[image] : &t->images[0];
}

/* Notes class and distillation tokens, which precede those of the image. */
static void
note_token(struct tables *t, struct str name)
{
	const struct str last = last_of(name);

	if (str_eqc(last, "cls_token") || str_eqc(last, "class_token") || str_eqc(last, "class_embedding"))
		image_near(t, name)->cls = true;
	else if (str_eqc(last, "dist_token") || str_eqc(last, "distillation_token"))
		image_near(t, name)->dist = true;
}

static void
find_images(struct tables *t)
{
	const struct plan *p = t->p;
	size_t cap = 0;

	*xpush(t->images, t->nimages, cap) = (struct table_image){ 0 };
	for (size_t which = 0; which < POSITION_PATCHES && !t->o->same_size; which++) {
		for (size_t i = 0; i < p->nentries; i++) {
			if (!is_patch(p, &p->entries[i], which))
				continue;
			add_near(t, p->entries[i].name, t->nimages);
			*xpush(t->images, t->nimages, cap) = (struct table_image){ .patch = plan_result(p, &p->entries[i]) };
		}
	}
	for (size_t i = 0; i < p->nentries; i++)
		if (!p->entries[i].module)
			note_token(t, p->entries[i].name);
}

/* ---- finding the tables */

/*
 * Returns 1 if a pattern selects name, 0 if none does, -1 after an error. Sets *only if there are patterns without a kind, so that
 * names alone do not decide.
 */
static int
match(const struct tables_opts *o, struct str name, const struct table_match **found, bool *only, struct err *err)
{
	int rc;

	*only = false;
	*found = NULL;
	for (size_t i = 0; i < o->nmatches; i++) {
		*only |= !o->matches[i].has_kind;
		rc = *found != NULL ? 0 : pyre_search(o->matches[i].re, name, NULL, 0, err);
		if (rc < 0)
			return -1;
		if (rc > 0)
			*found = &o->matches[i];
	}
	return *found != NULL;
}

/* Explains why a tensor that is no supported table is related to positions. Returns NULL if it is not. */
static const char *
other_positions(struct str name)
{
	const struct str last = last_of(name);

	if (str_contains(name, str_c("cpb_mlp.")) || str_contains(name, str_c("rpe_mlp.")))
		return "SwinV2 computes its bias; the size is a setting of the model, pretrained_window";
	if (str_eqc(last, "freqs") || str_starts(last, str_c("freqs_")) || str_eqc(last, "inv_freq") || str_eqc(last, "periods"))
		return "rotary frequencies";
	if (str_contains(name, str_c("relative_attention_bias.")))
		return "distances in text";
	return NULL;
}

/* Sets c for the entry en. Returns 1 if it is a table, 0 if it is none, -1 after an error. */
static int
classify(struct tables *t, struct plan_entry *en, struct table_case *c, struct err *err)
{
	const struct table_match *m;
	bool only;

	*c = (struct table_case){ .en = en, .tensor = plan_result(t->p, en), .kind = POSITION_BIAS };
	if (str_contains(en->name, buffers[0]) || is_buffer(en->name))
		return 0;
	if (match(t->o, en->name, &m, &only, err) < 0)
		return -1;
	c->named = m != NULL;
	if (m != NULL && m->has_kind) {
		c->kind = m->kind;
		c->order = m->order;
		return 1;
	}
	if (only && m == NULL)
		return 0;
	return position_kind_of(en->name, c->tensor == NULL ? 0 : c->tensor->ndim, &c->kind) || c->named;
}

static void
complete(struct tables *t, struct table_case *c)
{
	const struct entry *target = t->o->model == NULL ? NULL : model_find(t->o->model, c->en->name);

	c->target = target != NULL && target->has_shape ? target : NULL;
	c->image = image_near(t, c->en->name);
	t->named[c->kind] |= c->named;
}

/* Notes kinds whose tables have several sizes along one axis. */
static void
note_sizes(struct tables *t)
{
	uint64_t sizes[POSITION_KINDS][2] = { { 0 } }, n;

	for (size_t i = 0; i < t->ncases; i++) {
		const struct table_case *c = &t->cases[i];
		uint64_t *size = &sizes[c->kind][str_ends(c->en->name, str_c("_w"))];

		if (c->tensor == NULL || c->tensor->ndim != 2 || c->target != NULL)
			continue;
		n = c->tensor->shape[c->kind == POSITION_OFFSETS ? 1 : 0];
		t->uneven[c->kind] |= *size != 0 && *size != n;
		*size = n;
	}
}

static int
collect(struct tables *t, struct err *err)
{
	struct table_case c;
	const char *why;
	int found;

	for (struct plan_entry *en = plan_next(t->p, NULL); en != NULL; en = plan_next(t->p, en)) {
		if (plan_source(t->p, en)->kind == SD_OTHER)
			continue;
		found = classify(t, en, &c, err);
		if (found < 0)
			return -1;
		why = found || t->o->same_size || t->o->kinds != POSITION_ALL ? NULL : other_positions(en->name);
		if (why != NULL)
			tables_leave(t, &c, why);
		if (!found)
			continue;
		complete(t, &c);
		*xpush(t->cases, t->ncases, t->cap_cases) = c;
	}
	note_sizes(t);
	return 0;
}

/* ---- planning all tables */

/* Is this a non-empty table of floating-point numbers that can be read? table_bias.c has its own checks. */
static bool
is_plain(const struct table_case *c)
{
	const struct tensor *x = c->tensor;

	return x != NULL && boxes_count(x) > 0 && dtype_is_float(x->dtype) && convert_known(x->dtype) && tensor_count(x) > 0;
}

static int
plan_case(struct tables *t, struct table_case *c, struct err *err)
{
	struct err hidden = ERR_INIT;

	if (c->kind == POSITION_BIAS)
		return table_kinds[c->kind]->plan(t, c, err);
	if (!is_plain(c))
		return c->named ? tables_refuse(t->p, c->en, err, "a plain floating table was expected")
				: tables_leave(t, c, "not a plain floating table");
	return table_kinds[c->kind]->plan(t, c, c->probe ? &hidden : err);
}

static int
plan_cases(struct tables *t, struct err *err)
{
	for (int kind = 0; kind < POSITION_KINDS; kind++) {
		bool selected = (t->o->kinds >> kind & 1) != 0;

		/* Embeddings that keep their size are planned as probes, because other tables need their grids. */
		for (size_t i = 0; i < t->ncases; i++) {
			struct table_case *c = &t->cases[i];

			if ((int)c->kind != kind)
				continue;
			if (!selected)
				tables_leave(t, c, "of a kind that was not requested");
			c->probe = !selected;
			if ((selected || kind == POSITION_EMBED) && plan_case(t, c, err) < 0 && selected)
				return -1;
		}
	}
	return 0;
}

static void
drop_stale(struct tables *t)
{
	const struct plan *p = t->p;
	const struct model *m = t->o->same_size ? NULL : t->o->model;

	if (t->o->index != INDEX_DROP)
		return;
	for (struct plan_entry *en = plan_next(p, NULL); en != NULL; en = plan_next(p, en)) {
		const struct tensor *x = plan_result(p, en);
		const struct entry *target = x == NULL || m == NULL ? NULL : model_find(m, en->name);
		bool stale = x != NULL && t->stale[en->origin];

		if (target != NULL && target->has_shape && !shape_eq(target->shape, target->ndim, x->shape, x->ndim))
			stale |= is_buffer(en->name);
		if (stale)
			plan_drop(t->p, en, PLAN_DROPPED, "stale buffer: rebuilt by the model");
	}
}

/* ---- BEiT's shared table */

/* A model has one shared table. At most this many are searched for. */
enum { SHARED_MAX = 16 };

static bool
is_block_table(struct str name, struct str prefix)
{
	static const struct str end = STR_LIT(".attn.relative_position_bias_table");
	struct str number;

	if (!str_starts(name, prefix) || !str_starts(str_from(name, prefix.len), str_c("blocks.")) || !str_ends(name, end))
		return false;
	number = str_from(name, prefix.len + strlen("blocks."));
	return number.len > end.len && memchr(number.p, '.', number.len - end.len) == NULL;
}

/* Adds another output from the origin of the entry at `at`. */
static void
add_output(struct plan *p, size_t at, struct str name, const char *by)
{
	struct plan_entry *en = plan_append(p, p->entries[at]);

	en->name = arena_str(&p->arena, name);
	p->origins[en->origin].outputs++;
	plan_note(p, en, PLAN_RENAMED, NULL, by);
}

/* Moves the last n entries of a plan to the places after the entry at `at`. */
static void
move_behind(struct plan *p, size_t at, size_t n)
{
	struct plan_entry *moved = xreallocn(NULL, n + 1, sizeof(*moved));

	memcpy(moved, p->entries + p->nentries - n, n * sizeof(*moved));
	memmove(p->entries + at + 1 + n, p->entries + at + 1, (p->nentries - n - at - 1) * sizeof(*moved));
	memcpy(p->entries + at + 1, moved, n * sizeof(*moved));
	free(moved);
}

/* Gives the table at `at` the names of all blocks below prefix that the description lists and the plan lacks. */
static void
share(struct tables *t, size_t at, struct str prefix, const struct strmap *names)
{
	static const char by[] = "the table that all blocks share";
	const struct model *m = t->o->model;
	const size_t before = t->p->nentries;
	struct str first = { NULL, 0 };

	for (size_t i = 0; i < m->n; i++) {
		const struct str name = m->entries[i].name;

		if (!is_block_table(name, prefix) || strmap_get(names, name, NULL))
			continue;
		if (first.p != NULL)
			add_output(t->p, at, name, by);
		else
			first = name;
	}
	if (first.p == NULL)
		return;
	plan_rename(t->p, &t->p->entries[at], first, by);
	move_behind(t->p, at, t->p->nentries - before);
	tables_stale(t, &t->p->entries[at]);
}

static int
share_beit(struct tables *t, struct err *err)
{
	static const struct str shared = STR_LIT("rel_pos_bias.relative_position_bias_table");
	struct strmap names = STRMAP_INIT;
	size_t n = 0;
	int rc = 0;

	if (t->o->same_size || t->o->model == NULL || (t->o->kinds & 1u << POSITION_BIAS) == 0)
		return 0;
	rc = plan_map_names(t->p, &names, err);
	for (size_t i = 0; rc == 0 && i < t->p->nentries && n < SHARED_MAX; i++) {
		const struct plan_entry *en = &t->p->entries[i];

		if (en->alive && !en->module && plan_result(t->p, en) != NULL && ends_in(en->name, shared) &&
		    model_find(t->o->model, en->name) == NULL && n++ < SHARED_MAX)
			share(t, i, str_n(en->name.p, en->name.len - shared.len), &names);
	}
	strmap_release(&names);
	return rc;
}

int
plan_tables(struct plan *p, const struct tables_opts *o, struct tables_tally *tally, struct err *err)
{
	struct tables t = { .p = p, .o = o, .tally = tally, .near = STRMAP_INIT };
	int rc;

	*tally = (struct tables_tally){ 0 };
	t.stale = xcalloc(p->norigins + 1, sizeof(*t.stale));
	rc = share_beit(&t, err);
	if (rc == 0) {
		find_images(&t);
		rc = collect(&t, err);
	}
	if (rc == 0)
		rc = plan_cases(&t, err);
	if (rc == 0)
		drop_stale(&t);
	say_remarks(&t);
	rc = rc < 0 ? -1 : t.ncases > 0;
	strmap_release(&t.near);
	free(t.images);
	free(t.cases);
	free(t.stale);
	return rc;
}
