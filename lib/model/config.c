#include "model/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "model/keys.h"

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
config_slurp(struct source *src, struct buf *text, struct err *err)
{
	int rc = source_slurp(src, YAML_MAX_BYTES, text, err);

	return rc <= 0 ? rc
		       : err_input(err, source_name(src), "more than %d MiB are too much for a YAML file", YAML_MAX_BYTES >> 20);
}

/* ---- MODEL.BASE */

/* Returns the path of a base that the experiment names. */
static const char *
base_path(struct config *c, const struct config_opts *opts, struct str base)
{
	const char *dir = opts != NULL ? opts->dir : NULL;

	if (base.p[0] == '/')
		return base.p;
	if (dir && *dir)
		return arena_printf(&c->arena, "%s/%s", dir, base.p);
	return arena_printf(&c->arena, "%.*s%s", (int)path_folder(c->file), c->file, base.p);
}

/*
 * Finds the nearest folder above the experiment that contains the relative path base. Returns NULL if there is none. The result is
 * in the arena.
 */
static const char *
folder_above(struct config *c, struct str base)
{
	char *real = realpath(c->file, NULL), *slash;
	const char *found = NULL;

	while (real != NULL && found == NULL && base.p[0] != '/' && (slash = strrchr(real, '/')) != NULL) {
		*slash = '\0';
		if (access(arena_printf(&c->arena, "%s/%s", real, base.p), R_OK) == 0)
			found = *real ? arena_cstr(&c->arena, real) : "/";
	}
	free(real);
	return found;
}

static int
no_base(struct config *c, const struct ynode *node, const char *why, struct err *err)
{
	const char *folder = folder_above(c, node->text);

	if (folder != NULL)
		return ynode_fail(node, err, "MODEL.BASE: %s; it is below %s: give --config-dir %s, or set CONFIG_DIR", why, folder,
				  folder);
	return ynode_fail(node, err, "MODEL.BASE: %s; --config-dir or CONFIG_DIR names the folder that relative bases start from",
			  why);
}

static int
read_yaml(struct config *c, struct source *src, const struct ynode **root, struct err *err)
{
	struct buf text = BUF_INIT;
	int rc = config_slurp(src, &text, err);

	if (rc == 0)
		rc = yaml_parse(&c->arena, source_name(src), buf_str(&text), root, err);
	buf_release(&text);
	if (rc < 0)
		return -1;
	if (!ynode_is_null(*root) && (*root)->kind != YN_MAP)
		return ynode_fail(*root, err, "an experiment file is a map, not %s", ynode_what(*root));
	return 0;
}

static int
read_base(struct config *c, const struct config_opts *opts, const struct ynode *node, const struct ynode **base, struct err *err)
{
	struct err inner = ERR_INIT;
	struct source *src = NULL;
	int rc;

	if (node->kind != YN_SCALAR)
		return ynode_fail(node, err, "MODEL.BASE: must be a list of files, not %s", ynode_what(node));
	if (strlen(node->text.p) != node->text.len)
		return ynode_fail(node, err, "MODEL.BASE: no file has a name with a NUL in it");
	if (source_open(&src, base_path(c, opts, node->text), opts != NULL ? opts->source : NULL, &inner) < 0)
		return no_base(c, node, inner.msg, err);
	rc = read_yaml(c, src, base, err);
	source_close(src);
	return rc;
}

/* Returns a map {MODEL: section}. section is the MODEL of base, or all of base if it has none. */
static const struct ynode *
model_section(struct arena *a, const struct ynode *base)
{
	const struct ypair *own = ymap_pair(base, str_c("MODEL"));
	struct ynode *map = arena_alloc(a, sizeof(*map)), *key;

	*map = *base;
	map->n = 1;
	map->pairs = arena_alloc(a, sizeof(*map->pairs));
	if (own != NULL) {
		map->pairs[0] = *own;
		return map;
	}
	key = arena_alloc(a, sizeof(*key));
	*key = (struct ynode){ .kind = YN_SCALAR,
			       .height = 1,
			       .expanded = 1,
			       .text = str_c("MODEL"),
			       .file = base->file,
			       .line = base->line,
			       .column = base->column };
	map->height++;
	map->expanded += 2;
	map->pairs[0] = (struct ypair){ key, base };
	return map;
}

/* Reads the bases. Sets *last to the last base that is not empty, or to NULL. */
static int
read_bases(struct config *c, const struct config_opts *opts, const struct ynode **last, struct err *err)
{
	const struct ynode *list = ynode_path(c->root, "MODEL.BASE"), *base;
	size_t n = list == NULL ? 0 : list->kind == YN_SEQ ? list->n : 1;

	*last = NULL;
	for (size_t i = 0; i < n; i++) {
		const struct ynode *item = list->kind == YN_SEQ ? list->items[i] : list;

		/* An empty name means no base; linnaeus's default is [""]. */
		if (ynode_is_null(item) || (item->kind == YN_SCALAR && item->text.len == 0))
			continue;
		if (i + 1 >= CONFIG_MAX_FILES)
			return ynode_fail(item, err, "MODEL.BASE: more than %d files", CONFIG_MAX_FILES);
		if (read_base(c, opts, item, &base, err) < 0)
			return -1;
		if (ynode_is_null(base))
			continue;
		if (base->height >= YAML_MAX_DEPTH && ymap_get(base, "MODEL") == NULL)
			return ynode_fail(base, err, "nested more than %d deep below MODEL", YAML_MAX_DEPTH - 1);
		*last = base;
	}
	return 0;
}

int
config_load(struct config *c, struct source *src, const struct config_opts *opts, struct err *err)
{
	const struct ynode *base;

	c->file = arena_cstr(&c->arena, source_name(src));
	if (read_yaml(c, src, &c->root, err) < 0 || read_bases(c, opts, &base, err) < 0)
		return -1;
	if (base != NULL)
		c->root = yaml_merge(&c->arena, model_section(&c->arena, base), c->root);
	return 0;
}

const struct ynode *
config_get(const struct config *c, const char *path)
{
	const struct ynode *node = ynode_path(c->root, path);

	return ynode_is_null(node) ? NULL : node;
}

int
config_text(const struct config *c, const char *path, struct str *out, struct err *err)
{
	const struct ynode *node = config_get(c, path);

	if (node == NULL)
		return 0;
	if (node->kind != YN_SCALAR)
		return keys_wrong(node, path, "a text", err);
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
		return keys_wrong(node, path, "a whole number from 0 on", err);
	*out = (uint64_t)value;
	return 1;
}
