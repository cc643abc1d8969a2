#include "adapt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "common/file.h"
#include "model/list.h"
#include "plan/cast.h"
#include "plan/drop.h"
#include "plan/fit.h"
#include "plan/names.h"
#include "plan/prefix.h"
#include "plan/rename.h"
#include "shard_jobs.h"

/* ---- steps 2 and 3 */

int
adapt_strip_prefixes(struct adapt *a, struct err *err)
{
	(void)err;
	if (!a->o->compat && !a->o->keep_wrappers && !a->o->salvage)
		plan_unwrap(&a->plan, a->job == NULL ? NULL : &a->job->set);
	for (size_t i = 0; i < a->o->strip.n; i++)
		plan_strip_prefix(&a->plan, a->o->strip.v[i], NULL);
	/* linnaeus strips "module." from two inputs before it maps their names, but from a single input afterwards. */
	if (a->o->compat && a->ninputs > 1)
		plan_strip_prefix(&a->plan, "module.", "module. taken off");
	return 0;
}

int
adapt_map(struct adapt *a, struct err *err)
{
	struct keymap_env env = { a->has_config ? &a->config : NULL, &a->model };

	if (a->map != NULL && keymap_apply(a->map, &a->plan, &env, err) != 0)
		return -1;
	if (a->o->compat && a->ninputs == 1)
		plan_strip_prefix(&a->plan, "module.", "module. taken off");
	return 0;
}

/* ---- steps 4 and 5 */

/* The source of patterns, for messages: the key of the description and the option. */
struct drop_origin {
	const char *key, *option;
	enum drop_syntax syntax;
};

static int
drop(struct adapt *a, const struct drop_origin *from, const struct model_list *described, const struct strs *given, struct err *err)
{
	struct drop_pattern *list = xcalloc(described->n + given->n, sizeof(*list));
	size_t n = 0, i;
	int rc;

	for (i = 0; i < described->n; i++)
		list[n++] = (struct drop_pattern){ described->items[i], from->key, from->syntax, false, true };
	for (i = 0; i < given->n; i++)
		list[n++] = (struct drop_pattern){ str_c(given->v[i]), from->option, from->syntax, false, false };
	rc = plan_drop_patterns(&a->plan, list, n, err);
	free(list);
	return rc;
}

int
adapt_drop_params(struct adapt *a, struct err *err)
{
	const struct drop_origin from = { "drop_params", "--drop-params", a->o->compat ? DROP_LINNAEUS : DROP_COMPONENT };

	return drop(a, &from, model_drop_params(&a->model, a->o->compat), &a->o->drop_params, err);
}

int
adapt_drop_buffers(struct adapt *a, struct err *err)
{
	static const struct drop_origin from = { "drop_buffers", "--drop-buffers", DROP_CONTAINS };

	return drop(a, &from, &a->model.handling.drop_buffers, &a->o->drop_buffers, err);
}

/* ---- step 6 */

/*
 * Checks that the input is a list. If it is a checkpoint or another binary file, the error says so instead of quoting a bad line.
 */
static int
check_list(const struct adapt *a, struct source *src, struct err *err)
{
	const uint8_t *head;
	size_t n;

	if (source_look(src, 0, FORMAT_PROBE, &head, &n, err) != 0)
		return -1;
	if (a->o->common.null)
		return 0;
	if (format_foreign(head, n) != NULL)
		return err_input(err, source_name(src), "a list of names was expected: %s", format_foreign(head, n));
	if (format_is_no_text(head, n))
		return err_input(
			err, source_name(src),
			"a list of names was expected, and this is binary (lnn-ckpt-inspect lists a checkpoint's; -0 reads names that end in NUL)");
	return 0;
}

/* Reports a missing list. The user may have given a name in place of a file of names. */
static int
no_list(const char *operand, struct err *err)
{
	err_clear(err);
	return err_set(err, ERR_SYSTEM,
		       "%s: there is no such list (LIST is a file of names, or - for standard input: echo NAME | %s ...)", operand,
		       tool_name());
}

static int
read_names(struct adapt *a, const char *operand, struct str **names, size_t *n, struct err *err)
{
	struct list_reader r;
	struct list_line line;
	struct source *src;
	size_t cap = 0;
	int rc;

	*names = NULL;
	*n = 0;
	if (file_input(operand, FILE_TEXT, &src, err) != 0)
		return err->sysno == ENOENT ? no_list(operand, err) : -1;
	list_open(&r, src, a->o->common.null);
	rc = check_list(a, src, err);
	while (rc == 0 && (rc = list_next(&r, &line, err)) > 0) {
		rc = 0;
		*names = xgrow(*names, *n, &cap, sizeof(**names));
		(*names)[(*n)++] = arena_str(&a->arena, line.entry.name);
	}
	if (rc == 0 && *n == 0 && !a->o->allow_empty)
		rc = err_input(err, source_name(src), "no name in the list; did the program before it fail? (--allow-empty)");
	list_release(&r);
	source_close(src);
	return rc;
}

static int
name_list(struct adapt *a, const char *operand, bool keep, struct err *err)
{
	struct name_list l = { .option = keep ? "--keep-names" : "--drop-names",
			       .keep = keep,
			       .ignore_missing = a->o->ignore_missing,
			       .elsewhere = a->job == NULL ? NULL : a->job->elsewhere };
	struct str *names;
	int rc = read_names(a, operand, &names, &l.n, err);

	l.names = names;
	if (rc == 0)
		rc = plan_name_list(&a->plan, &l, err);
	free(names);
	return rc;
}

int
adapt_edit_names(struct adapt *a, struct err *err)
{
	const struct name_option *n;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < a->o->nnames; i++) {
		n = &a->o->names[i];
		if (n->what == NAMES_DROP || n->what == NAMES_KEEP)
			rc = name_list(a, n->arg, n->what == NAMES_KEEP, err);
	}
	for (size_t i = 0; rc == 0 && i < a->o->nnames; i++)
		if (a->o->names[i].what == NAMES_RENAME)
			rc = plan_rename_regex(&a->plan, a->o->names[i].arg, err);
	return rc;
}

/* Refuses equal names of two tensors, before later steps interpret names. */
int
adapt_check_names(const struct adapt *a, struct err *err)
{
	struct strmap names = STRMAP_INIT;
	int rc = plan_map_names(&a->plan, &names, err);

	strmap_release(&names);
	return rc;
}

/* ---- step 7 */

static bool
needs_tables(const struct adapt *a)
{
	if (a->o->interpolate != OVERRIDE_NONE)
		return a->o->interpolate == OVERRIDE_YES;
	if (a->o->fit)
		return true;
	if (a->o->compat && (a->map == NULL || !keymap_head(a->map)->interpolates))
		return false;
	return a->model.handling.interpolate_rel_pos_bias > 0;
}

static int
image_size(struct adapt *a, struct tables_opts *t, struct err *err)
{
	uint64_t size;
	int rc;

	if (t->grid != NULL || t->image.h != 0 || !a->has_config)
		return 0;
	rc = config_u64(&a->config, "DATA.IMG_SIZE", &size, err);
	if (rc > 0 && (size == 0 || size > 1 << 20))
		return ynode_fail(config_get(&a->config, "DATA.IMG_SIZE"), err, "DATA.IMG_SIZE: %llu is out of range",
				  (unsigned long long)size);
	if (rc > 0)
		t->image = (struct grid){ (uint32_t)size, (uint32_t)size };
	return rc < 0 ? -1 : 0;
}

/* Warns that tables keep their size because no new size is known. With --interpolate this is an error. */
static int
size_missing(const struct adapt *a, struct err *err)
{
	if (a->o->interpolate == OVERRIDE_YES)
		return err_set(err, ERR_USAGE,
			       "--interpolate: the new size is missing: --img-size N, --grid HxW, or -m with shapes");
	tool_warn("relative position bias tables keep their grids: --img-size N sets the new size");
	return 0;
}

/* Decides whether tables are resized. Even if no size is requested or known, they get the layout that the model states. */
static int
choose_sizes(struct adapt *a, struct tables_opts *t, struct err *err)
{
	const struct adapt_options *o = a->o;

	t->anyway = !o->compat;
	if (!needs_tables(a)) {
		if (o->interpolate == OVERRIDE_NONE && (o->bias.image.h != 0 || o->bias.grid.h != 0))
			tool_warn("%s: nothing asks for interpolation (--interpolate, or the description): tables keep "
				  "their grids",
				  o->bias.grid.h != 0 ? "--grid" : "--img-size");
		t->same_size = true;
		return 0;
	}
	if (t->grid != NULL || t->image.h != 0 || a->model.has_state_dict)
		return 0;
	t->same_size = true;
	return size_missing(a, err);
}

/* Reads index buffers now if all inputs are seekable. Otherwise the pump reads them. */
static int
learn_tables(struct adapt *a, struct err *err)
{
	for (size_t i = 0; i < a->ninputs; i++)
		if (source_is_stream(a->inputs[i].src))
			return 0;
	return plan_learn_all(&a->plan, err);
}

int
adapt_resize_tables(struct adapt *a, struct err *err)
{
	const bool asked = a->o->interpolate == OVERRIDE_YES;
	struct tables_opts t = { .model = &a->model };
	int found;

	if (a->o->fit)
		plan_fit(&a->plan, &a->model);
	if (bias_resolve(&a->o->bias, &t, err) != 0 || image_size(a, &t, err) != 0 || choose_sizes(a, &t, err) < 0)
		return -1;
	if (t.same_size && (!t.anyway || a->o->interpolate == OVERRIDE_NO))
		return 0;
	if (a->o->compat && t.layout.kind == LAYOUT_AUTO)
		t.layout = (struct layout){ LAYOUT_FIRST, 1 };
	if (a->o->compat && t.to.kind == LAYOUT_AUTO)
		t.to = (struct layout){ LAYOUT_FIRST, 1 };
	if (a->o->compat || t.same_size)
		t.kinds = 1u << POSITION_BIAS; /* only bias tables have a layout */
	else if (!asked && !a->o->fit)
		t.kinds = 1u << POSITION_BIAS | 1u << POSITION_BIAS3;
	found = plan_tables(&a->plan, &t, &a->tables, err);
	if (found < 0 || (asked && bias_verdict(&a->tables, &t, a->inputs[0].ckpt->file, err) < 0))
		return -1;
	if (found == 0 && asked)
		tool_warn("%s: --interpolate: no position table found", a->inputs[0].ckpt->file);
	return learn_tables(a, err);
}

static int
cast_dtype(struct str word, enum dtype *to)
{
	static const struct {
		const char *name;
		enum dtype dtype;
	} known[] = {
		{ "keep", DTYPE_UNKNOWN },
		{ "float64", DTYPE_FLOAT64 },
		{ "fp64", DTYPE_FLOAT64 },
		{ "float32", DTYPE_FLOAT32 },
		{ "fp32", DTYPE_FLOAT32 },
		{ "float16", DTYPE_FLOAT16 },
		{ "fp16", DTYPE_FLOAT16 },
		{ "half", DTYPE_FLOAT16 },
		{ "bfloat16", DTYPE_BFLOAT16 },
		{ "bf16", DTYPE_BFLOAT16 },
		{ "float8_e4m3fn", DTYPE_FLOAT8_E4M3FN },
		{ "float8_e5m2", DTYPE_FLOAT8_E5M2 },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		*to = known[i].dtype;
		if (str_eqc(word, known[i].name))
			return 0;
	}
	return -1;
}

/* Parses "DTYPE" or "REGEX=DTYPE". DTYPE follows the last "=". */
static int
cast_rule(struct adapt *a, const char *text, struct cast_rule *rule, struct pyre **name, struct err *err)
{
	const char *eq = strrchr(text, '=');
	struct pyre_error why;

	*rule = (struct cast_rule){ .by = arena_printf(&a->arena, "--dtype %s", text) };
	if (cast_dtype(str_c(eq != NULL ? eq + 1 : text), &rule->to) < 0)
		return err_set(err, ERR_USAGE,
			       "--dtype %s: float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2 or keep "
			       "was expected",
			       text);
	if (eq == NULL)
		return 0;
	if (pyre_compile(str_n(text, (size_t)(eq - text)), name, &why) < 0)
		return err_set(err, ERR_USAGE, "--dtype %s: at byte %zu: %s", text, why.offset, why.reason);
	rule->name = *name;
	return 0;
}

int
adapt_cast(struct adapt *a, struct err *err)
{
	const struct strs *given = &a->o->dtype;
	struct cast_rule *rules = arena_calloc(&a->arena, given->n + 1, sizeof(*rules));
	struct pyre **names = arena_calloc(&a->arena, given->n + 1, sizeof(struct pyre *));
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < given->n; i++)
		rc = cast_rule(a, given->v[i], &rules[i], &names[i], err);
	if (rc == 0 && given->n > 0)
		rc = plan_cast(&a->plan, rules, given->n, err);
	for (size_t i = 0; i < given->n; i++)
		pyre_free(names[i]);
	return rc;
}

/* ---- step 8 */

int
adapt_add_prefixes(struct adapt *a, struct err *err)
{
	if (a->o->ddp && a->model.handling.supports_module_prefix == 0)
		return err_set(err, ERR_USAGE, "--ddp: the description says supports_module_prefix: false");
	if (a->o->ddp)
		plan_add_prefix(&a->plan, str_c("module."), "--ddp");
	for (size_t i = 0; i < a->o->add_prefix.n; i++)
		plan_add_prefix(&a->plan, str_c(a->o->add_prefix.v[i]), "--add-prefix");
	return 0;
}

/* ---- __metadata__ */

/* Does the output have an entry of this key after the first n edits? Ties are entries whose key is the name of a tensor. */
static bool
has_metadata(const struct adapt *a, const struct plan_meta *edits, size_t n, struct str key)
{
	const struct ckpt *c = a->inputs[0].ckpt;
	bool found = c->nmeta == 0 && str_eqc(key, "format");

	for (size_t i = 0; i < c->nmeta; i++)
		found = found || str_eq(c->meta_keys[i], key);
	for (size_t i = 0; i < a->plan.nentries; i++)
		found = found || (a->plan.entries[i].module && str_eq(a->plan.entries[i].name, key));
	for (size_t i = 0; i < n; i++)
		found = str_eq(edits[i].key, key) ? !edits[i].drop : found;
	return found;
}

int
adapt_edit_metadata(struct adapt *a, struct err *err)
{
	struct plan_meta *edits = arena_calloc(&a->arena, a->o->nnames + 1, sizeof(*edits));
	size_t n = 0;

	for (size_t i = 0; i < a->o->nnames; i++) {
		const struct name_option *o = &a->o->names[i];
		struct plan_meta *edit = &edits[n];

		if (o->what != META_SET && o->what != META_DROP)
			continue;
		edit->drop = o->what == META_DROP;
		edit->key = edit->value = str_c(o->arg);
		if (edit->drop) {
			plan_rule_new(&a->plan, str_c(""), "--drop-metadata %s", o->arg)->matched =
				has_metadata(a, edits, n, edit->key);
		} else if (!str_split(&edit->value, '=', &edit->key) || edit->value.p == NULL) {
			return err_set(err, ERR_USAGE, "--set-metadata %s: KEY=VALUE was expected", o->arg);
		} else if (str_starts(edit->key, str_c("lnn."))) {
			return err_set(err, ERR_USAGE, "--set-metadata %s: keys that begin with lnn. are the programs' own",
				       o->arg);
		}
		n++;
	}
	a->plan.meta = edits;
	a->plan.nmeta = n;
	return 0;
}
