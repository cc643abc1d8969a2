/*
 * suggest: which tensors of a checkpoint make those of another model, found by names, shapes, order and contents.
 *
 * Names that differ in a prefix only are paired as they are. Else, tensors whose names differ only in numbers of layers are a
 * family. Families of the two sides are paired whose members have the same shapes one by one, by what their words mean, by
 * what is paired around them, and by their place. Numbers of single modules (conv1, downsample.0) do not make families, but
 * count as words. Queries, keys and values that one side joins take part as one tensor beside their own.
 */
#ifndef LNN_PLAN_SUGGEST_H
#define LNN_PLAN_SUGGEST_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "model/entry.h"

enum suggest_op { SUGGEST_COPY, SUGGEST_RESHAPE, SUGGEST_TRANSPOSE, SUGGEST_PERMUTE };
enum suggest_grade { SUGGEST_GUESS, SUGGEST_LIKELY, SUGGEST_SURE };

enum { SUGGEST_JOIN_MAX = 3 };

/* Longer names, and names with as many dots or numbers, take no part. */
enum { SUGGEST_NAME_MAX = 512, SUGGEST_DEPTH_MAX = 24 };

/* Beyond this many pairs of families, only equal names are paired. */
enum { SUGGEST_PAIRS_MAX = 1 << 24 };

/* What one or several targets are made of. */
struct suggest_match {
	size_t from[SUGGEST_JOIN_MAX], to[SUGGEST_JOIN_MAX]; /* indexes of entries */
	uint8_t nfrom, nto; /* several of one side: joined, or split, along dimension 0; then there is one of the other */
	uint8_t op;         /* enum suggest_op, after join or split */
	uint8_t grade;      /* enum suggest_grade */
	const char *why;    /* of the grade */
};

/* Names that a key map cannot say, with braces or control bytes, take no part. */
struct suggest_side {
	const struct entry *v; /* in the order of the state dict; those without shapes take no part */
	size_t n;
};

struct suggest {
	struct arena arena;
	struct suggest_side source, target; /* matches are of these, whose order may be another than that of what was given */
	struct suggest_match *v;
	size_t n, cap;
	bool limited; /* there were too many families */
};

/* Fills s, which is to be released. Entries are borrowed. */
void suggest_make(struct suggest *s, const struct suggest_side *source, const struct suggest_side *target);
void suggest_release(struct suggest *s);

/*
 * Appends the map as YAML: rules for whole layers where they say the same, each below a comment with its count and grade.
 * Returns how many targets have a source.
 */
size_t suggest_put(const struct suggest *s, struct buf *b);

/* Appends comments for what has no partner on the other side. */
void suggest_put_rest(const struct suggest *s, struct buf *b);

#endif
