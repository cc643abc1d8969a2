/*
 * yaml: one YAML document as a tree, over libyaml's parser.
 *
 * Meaning is YAML 1.1's, as PyYAML has it: anchors and aliases (the nodes are
 * shared, with the position of the anchored text), merge keys `<<`, yes/no/on/off.
 * Differences, all on purpose: a key given twice is an error, `None` is null,
 * 5e-5 is a number, a tag outside YAML's own is an error, as is a second document.
 *
 * All errors are "FILE:LINE:COLUMN: what"; lines and columns (characters, not
 * bytes) count from 1.
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
	bool quoted;           /* scalar that is text whatever it looks like: quoted, a block scalar, or tagged !!str */
	uint16_t height;       /* 1 for a scalar or an empty node, else 1 + the highest child's */
	uint32_t expanded;     /* nodes from here down, aliases counted as what they stand for */
	unsigned line, column; /* of the first character; an anchor or tag is part of the node */
	const char *file;
	struct str text;            /* scalar; valid UTF-8, may hold NUL, followed by a NUL that does not count */
	size_t n;                   /* items or pairs */
	const struct ynode **items; /* sequence */
	struct ypair *pairs;        /* map: merged keys stand first, as PyYAML orders them */
};

/*
 * The only document of text; an empty one is a null scalar. The tree and a copy
 * of file live in a. For text of `-e RULE` file is "-e".
 */
int yaml_parse(struct arena *a, const char *file, struct str text, const struct ynode **root, struct err *err);

/* NULL where there is none, or where the node is NULL or no map. Keys compare by text. */
const struct ynode *ymap_get(const struct ynode *map, const char *key);
const struct ypair *ymap_pair(const struct ynode *map, struct str key);

/* Follows a dotted path of keys; the empty path is the node itself. NULL where there is none. */
const struct ynode *ynode_path(const struct ynode *node, const char *path);

/* Absent (NULL), or plain and one of: nothing, ~ null Null NULL None. */
bool ynode_is_null(const struct ynode *node);

/*
 * True and *out set if the node is a plain scalar of that type.
 * bool: true false yes no on off, each lower, Title or UPPER. int: YAML 1.1's
 * (sign, 0x1f, 0b11, leading 0 octal, 1_000). double: those, and decimal floats
 * with or without exponent sign, .inf, -.inf, .nan.
 */
bool ynode_bool(const struct ynode *node, bool *out);
bool ynode_int(const struct ynode *node, int64_t *out);
bool ynode_double(const struct ynode *node, double *out);

/* "a list", "a map", "null" or "a scalar", for messages; "nothing" for NULL. */
const char *ynode_what(const struct ynode *node);

/*
 * A list of scalars as text, each as written. Error, naming what (the key, say):
 * no list, or an item that is null, a list or a map. The array lives in a.
 */
int ynode_strings(const struct ynode *node, const char *what, struct arena *a, struct str **out, size_t *n, struct err *err);

/* Where the node stands. */
static inline struct err_place
ynode_place(const struct ynode *node)
{
	return (struct err_place){ node->file, ERR_LINE, node->line, node->column, NULL };
}

/* Sets "FILE:LINE:COLUMN: MESSAGE" at the node; returns -1. */
#define ynode_fail(node, err, ...) err_failed(err_place(err, ynode_place(node), __VA_ARGS__))

/*
 * over on top of base: two maps are merged key by key, anything else is over's.
 * Keys keep the order of base, new ones follow. Nodes are shared with both; new
 * ones live in a and have over's position.
 */
const struct ynode *yaml_merge(struct arena *a, const struct ynode *base, const struct ynode *over);

/*
 * Adds s as a scalar that every YAML parser reads back as the text s, in flow
 * and block context: plain where that is safe, else double quoted with escapes.
 * False, and nothing added, if s is not UTF-8.
 */
bool yaml_put_scalar(struct buf *b, struct str s);

#endif
