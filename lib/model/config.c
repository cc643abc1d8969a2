#include "model/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "model/keys.h"

/* A file being read, and the one that named it. */
struct chain {
	const struct chain *up;
	const char *path; /* resolved */
};

struct loading {
	struct config *c;
	const struct config_opts *opts;
	unsigned files;
};

void
config_init(struct config *c)
{
	memset(c, 0, sizeof(*c));
	arena_init(&c->arena);
}

void
config_release(struct config *c)
{
	arena_release(&c->arena);
	memset(c, 0, sizeof(*c));
}

int
config_slurp(struct source *src, struct arena *a, struct str *out, struct err *err)
{
	size_t cap = 64 * 1024, len = 0, got;
	char *p = NULL;
	int rc = -1;

	for (;;) {
		p = xreallocn(p, cap, 1);
		if (source_read_some(src, len, p + len, cap - len, &got, err) < 0)
			goto out;
		len += got;
		source_forget(src, len);
		if (len > YAML_MAX_BYTES) {
			err_input(err, source_name(src), "more than %d MiB are too much for a YAML file", YAML_MAX_BYTES >> 20);
			goto out;
		}
		if (len < cap)
			break;
		cap *= 2;
	}
	*out = arena_str(a, str_n(p, len));
	rc = 0;
out:
	free(p);
	return rc;
}

/* Where a base lies. */
static const char *
base_path(struct loading *l, const char *file, struct str base)
{
	const char *slash = strrchr(file, '/');
	const char *dir = l->opts ? l->opts->dir : NULL;

	if (base.p[0] == '/')
		return base.p;
	if (dir && *dir)
		return arena_printf(&l->c->arena, "%s/%s", dir, base.p);
	if (slash == NULL)
		return base.p;
	return arena_printf(&l->c->arena, "%.*s/%s", (int)(slash - file), file, base.p);
}

/* A base that is the MODEL section itself gets its key. */
static const struct ynode *
as_experiment(struct arena *a, const struct ynode *base)
{
	static const char *const top[] = {
		"MODEL", "OPTIMIZER", "LR_SCHEDULER", "LOSS", "DATA", "TRAIN", "ENV", "SCHEDULE", "EXPERIMENT", NULL,
	};
	struct ynode *map, *key;

	if (base->kind != YN_MAP || base->n == 0 || base->height >= YAML_MAX_DEPTH)
		return base;
	for (size_t i = 0; i < base->n; i++) {
		if (keys_known(base->pairs[i].key->text, top))
			return base;
	}
	key = arena_alloc(a, sizeof(*key));
	*key = *base;
	key->kind = YN_SCALAR;
	key->height = 1;
	key->expanded = 1;
	key->text = str_c("MODEL");
	key->n = 0;
	key->pairs = NULL;
	map = arena_alloc(a, sizeof(*map));
	*map = *base;
	map->height++;
	map->expanded += 2;
	map->n = 1;
	map->pairs = arena_alloc(a, sizeof(*map->pairs));
	map->pairs[0].key = key;
	map->pairs[0].value = base;
	return map;
}

static int load_source(struct loading *l, struct source *src, const struct chain *chain, const struct ynode **out,
	struct err *err);

static int
load_base(struct loading *l, const struct ynode *node, const struct chain *chain, const struct ynode **out,
	struct err *err)
{
	const char *path = base_path(l, node->file, node->text);
	struct chain link = { chain, NULL };
	struct source *src = NULL;
	struct err inner = ERR_INIT;
	char *real;
	int rc = -1;

	if (strlen(node->text.p) != node->text.len)
		return ynode_fail(node, err, "MODEL.BASE: no file has a name with a NUL in it");
	real = realpath(path, NULL);
	link.path = real ? real : path;
	for (const struct chain *c = chain; c; c = c->up) {
		if (strcmp(c->path, link.path) == 0) {
			ynode_fail(node, err, "MODEL.BASE: %s leads back to itself", node->text.p);
			goto out;
		}
	}
	if (++l->files > CONFIG_MAX_FILES) {
		ynode_fail(node, err, "MODEL.BASE: more than %d files", CONFIG_MAX_FILES);
		goto out;
	}
	if (source_open(&src, path, l->opts ? l->opts->source : NULL, &inner) < 0) {
		ynode_fail(node, err, "MODEL.BASE: %s; --config-dir or CONFIG_DIR names the folder that bases lie below",
			   inner.msg);
		goto out;
	}
	rc = load_source(l, src, &link, out, err);
	source_close(src);
out:
	free(real);
	return rc;
}

/* The experiment over what is already merged of its bases. */
static int
load_source(struct loading *l, struct source *src, const struct chain *chain, const struct ynode **out,
	struct err *err)
{
	struct arena *a = &l->c->arena;
	const struct ynode *own, *base, *below = NULL;
	struct str text;

	if (config_slurp(src, a, &text, err) < 0 || yaml_parse(a, source_name(src), text, &own, err) < 0)
		return -1;
	if (!ynode_is_null(own) && own->kind != YN_MAP)
		return ynode_fail(own, err, "an experiment file is a map, not %s", ynode_what(own));
	base = ynode_path(own, "MODEL.BASE");
	for (size_t i = 0; base && i < (base->kind == YN_SEQ ? base->n : 1); i++) {
		const struct ynode *item = base->kind == YN_SEQ ? base->items[i] : base, *got;

		/* linnaeus's own default is [""]. */
		if (ynode_is_null(item) || (item->kind == YN_SCALAR && item->text.len == 0))
			continue;
		if (item->kind != YN_SCALAR)
			return ynode_fail(item, err, "MODEL.BASE: must be a list of files, not %s", ynode_what(item));
		if (load_base(l, item, chain, &got, err) < 0)
			return -1;
		if (ynode_is_null(got))
			continue;
		got = as_experiment(a, got);
		below = below ? yaml_merge(a, below, got) : got;
	}
	*out = below && ynode_is_null(own) ? below : below ? yaml_merge(a, below, own) : own;
	return 0;
}

int
config_load(struct config *c, struct source *src, const struct config_opts *opts, struct err *err)
{
	struct loading l = { c, opts, 1 };
	char *real = realpath(source_name(src), NULL);
	struct chain chain = { NULL, real ? real : source_name(src) };
	int rc;

	c->file = arena_cstr(&c->arena, source_name(src));
	rc = load_source(&l, src, &chain, &c->root, err);
	free(real);
	return rc;
}

const struct ynode *
config_get(const struct config *c, const char *path)
{
	const struct ynode *node = ynode_path(c->root, path);

	return ynode_is_null(node) ? NULL : node;
}

static int
wrong(const struct ynode *node, const char *path, const char *expected, struct err *err)
{
	struct shown shown;

	return ynode_fail(node, err, "%s: must be %s, not %s", path, expected,
			  node->kind == YN_SCALAR ? keys_show(&shown, node->text) : ynode_what(node));
}

int
config_text(const struct config *c, const char *path, struct str *out, struct err *err)
{
	const struct ynode *node = config_get(c, path);

	if (node == NULL)
		return 0;
	if (node->kind != YN_SCALAR)
		return wrong(node, path, "a text", err);
	*out = node->text;
	return node->text.len > 0;
}

int
config_u64(const struct config *c, const char *path, uint64_t *out, struct err *err)
{
	const struct ynode *node = config_get(c, path);
	int64_t value;

	if (node == NULL)
		return 0;
	if (!ynode_int(node, &value) || value < 0)
		return wrong(node, path, "a whole number from 0 on", err);
	*out = (uint64_t)value;
	return 1;
}
