/*
 * statedict_walk: what the two halves of statedict_open share. Not for others.
 */
#ifndef LNN_TENSOR_STATEDICT_WALK_H
#define LNN_TENSOR_STATEDICT_WALK_H

#include "base/buf.h"
#include "tensor/ckpt.h"

/* What is known of a node of the tree while looking for tensors. */
enum { UNSEEN, OPEN, WITHOUT, WITH };

struct walk {
	struct statedict *sd;
	const struct vtree *t;
	uint8_t *seen;  /* by node */
	uint32_t nodes;
	size_t cap;     /* of sd->entries */
	struct buf path; /* dotted path of the container being walked, with its dot */
	uint64_t text;  /* bytes of names made so far */
	struct err *e;
};

/* Item i of a dict (its value), list or tuple. */
uint32_t walk_child(const struct vtree *t, uint32_t container, size_t i);

bool walk_is_tensor(const struct vtree *t, uint32_t h, uint32_t *index);

/* Appends an entry; refuses a name that is there, and more names than the file can stand for. */
int walk_add(struct walk *w, struct str name, enum sd_kind kind, uint32_t tensor, uint32_t value);

/* Appends an SD_PART for every tensor inside call, an object of the tree or VALUE_ABSENT; name is that of the whole. */
int walk_add_parts(struct walk *w, struct str name, uint32_t call);

#endif
