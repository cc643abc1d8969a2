/*
 * statedict_walk: what the two halves of statedict_open share. Not for others.
 */
#ifndef LNN_TENSOR_STATEDICT_WALK_H
#define LNN_TENSOR_STATEDICT_WALK_H

#include "base/buf.h"
#include "tensor/tree.h"

struct walk {
	struct statedict *sd;
	struct tree tree; /* zeroed but for nodes where there is none (safetensors) */
	size_t cap;     /* of sd->entries */
	struct buf path; /* dotted path of the container being walked, with its dot */
	uint64_t text;  /* bytes of names made so far */
	struct err *e;
};

/* Appends an entry; refuses a name that is there, and more names than the file can stand for. */
int walk_add(struct walk *w, struct str name, enum sd_kind kind, uint32_t tensor, uint32_t value);

/* Appends an SD_PART for every tensor inside call, an object of the tree or VALUE_ABSENT; name is that of the whole. */
int walk_add_parts(struct walk *w, struct str name, uint32_t call);

#endif
