#include "adapt.h"

#include <ctype.h>
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "common/file.h"
#include "common/models.h"
#include "inplace.h"

/* ---- config, descriptions, key map */

static int
load_config(struct adapt *a, struct err *err)
{
	struct source_opts sopts = { .spool_dir = getenv("TMPDIR"), .diag = tool_diag() };
	struct config_opts opts = { a->o->config_dir != NULL ? a->o->config_dir : getenv("CONFIG_DIR"), &sopts };
	struct source *src;
	int rc;

	if (a->o->config == NULL)
		return 0;
	if (file_input(a->o->config, FILE_TEXT, &src, err) != 0)
		return -1;
	a->has_config = true;
	rc = config_load(&a->config, src, &opts, err);
	source_close(src);
	return rc;
}

/* Reads a text of the config. Sets *out to NULL if there is none. */
static int
setting(struct adapt *a, const char *path, const char **out, struct err *err)
{
	struct str s;
	int rc = a->has_config ? config_text(&a->config, path, &s, err) : 0;

	*out = rc > 0 ? arena_printf(&a->arena, "%.*s", (int)s.len, s.p) : NULL;
	return rc < 0 ? -1 : 0;
}

static int
load_models(struct adapt *a, struct err *err)
{
	const struct strs *given = &a->o->models;
	const char *type;

	if (setting(a, "MODEL.TYPE", &type, err) != 0)
		return -1;
	for (size_t i = 0; type != NULL && i < given->n; i++)
		if (model_is_builtin(given->v[i]))
			type = NULL;
	/* Descriptions given by options override the one of the experiment's MODEL.TYPE. */
	if (type != NULL && model_is_builtin(type) && model_load_builtin(&a->model, type, err) != 0)
		return -1;
	return models_load(&a->model, given->v, given->n, err);
}

/*
 * Determines the key map that the config requests: by its name, or by naming checkpoints of ConvNeXt and RoPE-ViT. Sets *name to
 * NULL if it requests none.
 */
static int
map_of_config(struct adapt *a, const char **name, struct err *err)
{
	const char *convnext, *ropevit;

	if (setting(a, "MODEL.PRETRAINED_SOURCE", name, err) != 0 || setting(a, "MODEL.PRETRAINED_CONVNEXT", &convnext, err) != 0 ||
	    setting(a, "MODEL.PRETRAINED_ROPEVIT", &ropevit, err) != 0)
		return -1;
	if (*name == NULL && convnext != NULL && ropevit != NULL)
		*name = "stitched_convnext_ropevit";
	return 0;
}

static int
load_map(struct adapt *a, const struct operands *operands, struct err *err)
{
	const char *name = a->o->source;
	struct buf text = BUF_INIT;
	struct err inner = ERR_INIT;
	int rc;

	if (name == NULL && operands->n == 0 && map_of_config(a, &name, err) != 0)
		return -1;
	if (name == NULL && setting(a, "MODEL.PRETRAINED_SOURCE", &name, err) != 0)
		return -1;
	if (name == NULL)
		return 0;
	if (strchr(name, '/') == NULL && !str_ends(str_c(name), str_c(".yaml"))) {
		if (keymap_builtin(&a->map, name, &inner) == 0)
			return 0;
		return a->o->source != NULL ? err_set(err, inner.code, "%s", inner.msg)
					    : ynode_fail(config_get(&a->config, "MODEL.PRETRAINED_SOURCE"), err, "%s", inner.msg);
	}
	rc = file_text(name, YAML_MAX_BYTES, &text, err);
	if (rc == 0)
		rc = keymap_load(&a->map, name, buf_str(&text), err);
	buf_release(&text);
	return rc;
}

/* ---- files named by the config */

/* State of a search. It is static because nftw passes no argument to its callback. */
static struct {
	const char *name;
	char *first, *second;
} search;

static int
visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	if (type != FTW_F || strcmp(path + ftw->base, search.name) != 0)
		return 0;
	if (search.first == NULL) {
		search.first = xstrdup(path);
		return 0;
	}
	search.second = xstrdup(path);
	return 1;
}

static int
find_below(struct adapt *a, const char *dir, const char *name, const char **out, struct err *err)
{
	int rc = 0;

	search.name = name;
	search.first = search.second = NULL;
	if (nftw(dir, visit, 32, 0) < 0)
		rc = err_sys(err, dir, "cannot look for %s (ENV.INPUT.CACHE_DIR)", name);
	else if (search.second != NULL && strcmp(search.first, search.second) > 0)
		rc = err_set(err, ERR_INPUT, "%s: two files of that name: %s and %s; give the path", name, search.second,
			     search.first);
	else if (search.second != NULL)
		rc = err_set(err, ERR_INPUT, "%s: two files of that name: %s and %s; give the path", name, search.first,
			     search.second);
	else if (search.first == NULL)
		rc = err_set(err, ERR_INPUT, "%s: no such file below %s (ENV.INPUT.CACHE_DIR); nothing is downloaded", name, dir);
	else
		*out = arena_cstr(&a->arena, search.first);
	free(search.first);
	free(search.second);
	return rc;
}

static int
resolve(struct adapt *a, const char *name, const char **out, struct err *err)
{
	const char *dir;

	*out = name;
	if (strstr(name, "://") != NULL)
		return err_set(err, ERR_INPUT, "%s: nothing is downloaded; fetch the file and name it", name);
	if (strchr(name, '/') == NULL) {
		if (setting(a, "ENV.INPUT.CACHE_DIR", &dir, err) != 0)
			return -1;
		if (dir != NULL)
			return find_below(a, dir, name, out, err);
	}
	if (strcmp(name, "-") != 0 && access(name, F_OK) < 0)
		return err_set(err, ERR_SYSTEM, "%s: cannot open: %s (the experiment file names it)", name, strerror(errno));
	return 0;
}

/* Resolves the checkpoint that the config names at path. If it names none, fails with ERR_USAGE and the message what. */
static int
from_config(struct adapt *a, const char *path, const char *what, const char **out, struct err *err)
{
	const char *name;

	if (setting(a, path, &name, err) != 0)
		return -1;
	if (name == NULL)
		return err_set(err, ERR_USAGE, "%s", what);
	return resolve(a, name, out, err);
}

/* ---- inputs */

static int
open_one(struct adapt *a, const char *label, const char *operand, struct err *err)
{
	size_t i = a->ninputs++;

	a->labels[i] = label;
	if (a->o->salvage)
		return salvage_input(a, &a->inputs[i], operand, err);
	if (a->o->in_place)
		return inplace_open(a, &a->inputs[i], operand, err);
	return input_open(&a->inputs[i], operand, a->o->common.key, err);
}

/* Appends an --input option for each input of the key map: " --input a=FILE --input b=FILE". */
static void
put_inputs(struct buf *b, const struct keymap *map)
{
	const struct keymap_head *head = keymap_head(map);

	for (size_t i = 0; i < head->ninputs; i++)
		buf_addf(b, " --input %.*s=FILE", STR_ARG(head->inputs[i]));
	if (head->any_input)
		buf_adds(b, " --input NAME=FILE for each");
}

/* Fails with the message what, followed by the --input options that the key map needs. */
static int
wrong_inputs(const struct adapt *a, const char *what, struct err *err)
{
	struct buf b = BUF_INIT;

	put_inputs(&b, a->map);
	err_set(err, ERR_USAGE, "%s:%s", what, b.p);
	buf_release(&b);
	return -1;
}

/* Splits NAME=FILE of --input. NAME must be an input of the key map. */
static int
split_input(struct adapt *a, const char *option, const char **label, const char **file, struct err *err)
{
	const char *eq = strchr(option, '=');
	const struct keymap_head *head = keymap_head(a->map);
	struct str name;
	size_t i;

	if (eq == NULL || eq == option)
		return err_set(err, ERR_USAGE, "--input %s: NAME=FILE was expected", option);
	name = str_n(option, (size_t)(eq - option));
	*file = eq + 1;
	for (i = 0; i < head->ninputs && !str_eq(head->inputs[i], name); i++)
		;
	if (i < head->ninputs || head->any_input) {
		*label = arena_printf(&a->arena, "%.*s", STR_ARG(name));
		return 0;
	}
	return wrong_inputs(
		a, arena_printf(&a->arena, "--input %s: the key map %s has no input of that name", option, keymap_name(a->map)),
		err);
}

static int
open_missing(struct adapt *a, struct str name, struct err *err)
{
	struct buf path = BUF_INIT;
	const char *file, *what, *label = arena_printf(&a->arena, "%.*s", STR_ARG(name));
	int rc;

	for (size_t i = 0; i < a->ninputs; i++)
		if (strcmp(a->labels[i], label) == 0)
			return 0;
	buf_adds(&path, "MODEL.PRETRAINED_");
	for (size_t i = 0; i < name.len; i++)
		buf_addc(&path, (char)toupper((unsigned char)name.p[i]));
	what = arena_printf(&a->arena, "the key map %s needs --input %s=FILE", keymap_name(a->map), label);
	rc = from_config(a, path.p, what, &file, err);
	buf_release(&path);
	return rc == 0 ? open_one(a, label, file, err) : -1;
}

static int
open_named(struct adapt *a, const struct str *names, size_t n, const struct operands *operands, struct err *err)
{
	const char *label = NULL, *file = NULL;
	size_t i;

	if (operands->n > 0 || (n == 0 && a->o->inputs.n == 0))
		return wrong_inputs(a, arena_printf(&a->arena, "the key map %s has several inputs", keymap_name(a->map)), err);
	for (i = 0; i < a->o->inputs.n; i++) {
		if (split_input(a, a->o->inputs.v[i], &label, &file, err) != 0)
			return -1;
		for (size_t j = 0; j < a->ninputs; j++)
			if (strcmp(a->labels[j], label) == 0)
				return err_set(err, ERR_USAGE, "--input %s: given twice", label);
		if (open_one(a, label, file, err) != 0)
			return -1;
	}
	for (i = 0; i < n; i++)
		if (open_missing(a, names[i], err) != 0)
			return -1;
	return 0;
}

static int
open_single(struct adapt *a, const struct operands *operands, struct err *err)
{
	const char *file = operands->n > 0 ? operands->v[0] : NULL, *name;

	if (a->o->inputs.n > 0)
		return err_set(err, ERR_USAGE, "--input needs a key map with several inputs (-s)");
	if (file == NULL) {
		if (setting(a, "MODEL.PRETRAINED", &name, err) != 0 || (name != NULL && resolve(a, name, &file, err) != 0))
			return -1;
	}
	return open_one(a, NULL, file, err);
}

/* Reads the values of the first input that --carry copies. */
static int
read_carried(struct adapt *a, struct err *err)
{
	struct ckpt *c = a->inputs[0].ckpt;
	int rc = a->o->carry_all ? ckpt_fill(c, str_c(""), SIZE_MAX, err) : 0;

	for (size_t i = 0; rc == 0 && i < a->o->carry.n; i++)
		rc = ckpt_fill(c, str_c(a->o->carry.v[i]), SIZE_MAX, err);
	return rc;
}

int
adapt_open(struct adapt *a, const struct operands *operands, struct err *err)
{
	struct keymap_head head = { .ninputs = 0 };

	if (load_config(a, err) != 0 || load_models(a, err) != 0 || load_map(a, operands, err) != 0)
		return -1;
	if ((a->o->strict == OVERRIDE_YES || a->o->drop_mismatched || a->o->fit) && !a->model.has_state_dict)
		return err_set(err, ERR_USAGE, "%s: a description that lists the state dict (-m) must say what the model has",
			       a->o->strict == OVERRIDE_YES ? "--strict"
			       : a->o->fit                  ? "--fit"
							    : "--drop-mismatched");
	if (a->map != NULL)
		head = *keymap_head(a->map);
	a->inputs = xcalloc(head.ninputs + a->o->inputs.n + 1, sizeof(*a->inputs));
	a->labels = xcalloc(head.ninputs + a->o->inputs.n + 1, sizeof(*a->labels));
	if ((head.ninputs > 0 || head.any_input ? open_named(a, head.inputs, head.ninputs, operands, err)
						: open_single(a, operands, err)) != 0)
		return -1;
	if (read_carried(a, err) != 0)
		return -1;
	for (size_t i = 0; i < a->ninputs; i++)
		plan_add_input(&a->plan, &a->inputs[i].sd, a->labels[i]);
	return 0;
}
