/*
 * yaml: reads one YAML document as a tree, with libyaml's parser.
 *
 * The meaning is that of YAML 1.1 as PyYAML implements it: anchors and aliases
 * (nodes are shared and keep the position of the anchored text), merge keys
 * `<<`, and yes/no/on/off. There are intentional differences: a duplicate key,
 * a tag outside YAML's own and a second document are errors, `None` is null,
 * and 5e-5 is a number.
 *
 * All errors are "FILE:LINE:COLUMN: MESSAGE". Lines and columns count from 1,
 * columns in characters.
 */
#ifndef LNN_TEXT_YAML_H
#define LNN_TEXT_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/str.h"

enum ynode_kind {
	YN_SCALAR,
	YN_SEQ,
	YN_MAP,
};

struct ypair {
	const struct ynode *key, *value; /* the key is always a scalar */
};

struct ynode {
	enum ynode_kind kind;
	bool quoted;           /* scalar that is always text: quoted, a block scalar, or tagged !!str */
	uint16_t height;       /* 1 for a scalar or an empty node, else 1 + the largest height of its children */
	uint32_t expanded;     /* number of nodes in the subtree; an alias counts as the subtree of its anchor */
	unsigned line, column; /* position of the first character; an anchor or tag is part of the node */
	const char *file;
	struct str text;            /* scalar; valid UTF-8, may contain NUL, followed by a NUL that len does not count */
	size_t n;                   /* number of items or pairs */
	const struct ynode **items; /* sequence */
	struct ypair *pairs;        /* map: merged keys come first, as in PyYAML */
};

/*
 * Parses text, which must be a single document. An empty document is a null
 * scalar. The tree and a copy of file are allocated from a. For the text of `-e
 * RULE`, file is "-e".
 */
int yaml_parse(struct arena *a, const char *file, struct str text, const struct ynode **root, struct err *err);

/* Return NULL if there is no such key, or if map is NULL or no map. Keys are compared as text. */
const struct ynode *ymap_get(const struct ynode *map, const char *key);
const struct ypair *ymap_pair(const struct ynode *map, struct str key);

/* Follows a dotted path of keys. An empty path is the node itself. Returns NULL if there is no such node. */
const struct ynode *ynode_path(const struct ynode *node, const char *path);

/* Returns true if node is NULL, or plain and one of: the empty text, ~ null Null NULL None. */
bool ynode_is_null(const struct ynode *node);

/*
 * Return true and set *out if the node is a plain scalar of that type. bool:
 * true false yes no on off, each in lower, Title or UPPER case. int: as in YAML
 * 1.1 (sign, 0x1f, 0b11, leading 0 for octal, 1_000). double: integers, decimal
 * floats with or without exponent sign, .inf, -.inf, .nan.
 */
bool ynode_bool(const struct ynode *node, bool *out);
bool ynode_int(const struct ynode *node, int64_t *out);
bool ynode_double(const struct ynode *node, double *out);

/* Returns "a list", "a map", "null" or "a scalar" for messages; "nothing" for NULL. */
const char *ynode_what(const struct ynode *node);

/*
 * Reads a list of scalars as texts, each as written. It is an error if node is
 * no list, or if an item is null, a list or a map. Messages call the list what.
 * The array is allocated from a.
 */
int ynode_strings(const struct ynode *node, const char *what, struct arena *a, struct str **out, size_t *n, struct err *err);

/* Returns the position of the node, for messages. */
static inline struct err_place
ynode_place(const struct ynode *node)
{
	return (struct err_place){ node->file, ERR_LINE, node->line, node->column, NULL };
}

/* Sets "FILE:LINE:COLUMN: MESSAGE" at the node, and returns -1. */
#define ynode_fail(node, err, ...) err_failed(err_place(err, ynode_place(node), __VA_ARGS__))

/*
 * Merges over into base: two maps are merged key by key; anything else is
 * replaced by over. Keys keep the order of base; new ones follow. Existing
 * nodes are shared. New ones are allocated from a and have the position of
 * over.
 */
const struct ynode *yaml_merge(struct arena *a, const struct ynode *base, const struct ynode *over);

/*
 * Appends s as a scalar that every YAML parser reads back as text, in flow and
 * block context: plain if that is safe, else double quoted with escapes.
 * Returns false and appends nothing if s is not UTF-8.
 */
bool yaml_put_scalar(struct buf *b, struct str s);

#endif
