/*
 * suggest: finds which tensors of a checkpoint correspond to those of another model, by names, shapes, order and contents.
 *
 * Tensors whose names differ only in layer numbers form a family, and families of the two sides are paired. Their members must have
 * the same shapes one by one. Pairs are chosen by the meaning of the words in the names and by the pairs of tensors around them. Numbers of
 * single modules (conv1, downsample.0) do not form families, but count as words. If one side joins queries, keys and values, those
 * of the other side take part as one tensor in addition to the separate ones.
 */
#ifndef LNN_PLAN_SUGGEST_H
#define LNN_PLAN_SUGGEST_H

#include "base/arena.h"
#include "base/buf.h"
#include "model/entry.h"

enum suggest_op { SUGGEST_COPY, SUGGEST_RESHAPE, SUGGEST_TRANSPOSE, SUGGEST_PERMUTE };
enum suggest_grade { SUGGEST_GUESS, SUGGEST_LIKELY, SUGGEST_SURE };

enum { SUGGEST_JOIN_MAX = 3 };

/* Longer names, and names with as many dots or numbers, are ignored. */
enum { SUGGEST_NAME_MAX = 512, SUGGEST_DEPTH_MAX = 24 };

/* If there are more pairs of families than this, only equal names are paired. */
enum { SUGGEST_PAIRS_MAX = 1 << 24 };

/* A suggested correspondence between tensors of the source and of the target. */
struct suggest_match {
	size_t from[SUGGEST_JOIN_MAX], to[SUGGEST_JOIN_MAX]; /* indices of entries */
	/* if there are several on one side, they are joined or split along dimension 0, and the other side has only one */
	uint8_t nfrom, nto;
	uint8_t op;      /* enum suggest_op, applied after a join or split */
	uint8_t grade;   /* enum suggest_grade */
	const char *why; /* reason for the grade */
};

/* The tensors of one model. Names that a key map cannot express, because they have braces or control bytes, are ignored. */
struct suggest_side {
	const struct entry *v; /* in the order of the state dict; entries without shapes are ignored */
	size_t n;
};

struct suggest {
	struct arena arena;
	struct suggest_side source, target; /* the sides that matches refer to; their order may differ from that of the arguments */
	struct suggest_match *v;
	size_t n, cap;
	bool limited; /* there were too many families, so only equal names were paired */
};

/* Fills s. The caller releases it. Entries are borrowed. */
void suggest_make(struct suggest *s, const struct suggest_side *source, const struct suggest_side *target);
void suggest_release(struct suggest *s);

/*
 * Appends the map to b as YAML. A rule covers many layers if they correspond in the same way. A comment above each rule gives its
 * number of tensors and its grade. Appends to rest comments that list the tensors without a partner on the other side. Returns the
 * number of targets that have a source.
 */
size_t suggest_put(const struct suggest *s, struct buf *b, struct buf *rest);

#endif
