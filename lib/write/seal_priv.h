/*
 * What the files of seal share: the tensors and storages that the output wants, before they have places.
 */
#ifndef LNN_WRITE_SEAL_PRIV_H
#define LNN_WRITE_SEAL_PRIV_H

#include "write/seal.h"

/* A tensor of the output. Its number is that of the manifest's tensor. */
struct want {
	uint32_t input, tensor;   /* of the input's checkpoint */
	uint32_t next;            /* further want of the same tensor, with another cast or table; UINT32_MAX: none */
	uint32_t wrap;            /* in the output's tree: the call that wraps it, or VALUE_ABSENT */
	uint8_t to;               /* enum dtype */
	struct plan_entry *entry; /* NULL: it belongs to the rest */
};

/* A storage that the rest refers to by itself. */
struct bare {
	uint32_t input, storage, out;
};

struct seal;

/* Whose leaves a copier meets. */
struct seal_leaves {
	struct seal *l;
	uint32_t input;
	uint32_t *fates; /* NULL, or by tensor: what an edit in place made of it */
	uint8_t to;      /* floating tensors are cast to this enum dtype; DTYPE_UNKNOWN: none is */
};

/* Copies tensors that are made of parts, cast. */
struct seal_cast {
	uint32_t input;
	struct seal_leaves leaves;
	struct value_copier copier;
};

struct seal {
	struct plan *p;
	const struct seal_opts *o;
	struct sealed *s;
	struct want *wants;
	size_t nwants, cap_wants;
	uint32_t **heads; /* by input and tensor: first want, or UINT32_MAX */
	struct bare *bares;
	size_t nbares, cap_bares;
	struct seal_leaves *leaves;   /* by input; for the copiers */
	struct value_copier *copiers; /* by input; into s->tree */
	struct seal_cast **casts;     /* by input and dtype, as they were needed */
	size_t ncasts, cap_casts;
	struct err wrap_err;          /* the first failure of copying a wrap */
};

/* Is entry i of the plan written (in this shard)? Modules are entries, too. */
bool seal_writes(const struct seal *l, size_t i);

/* The number of the output tensor for a tensor of an input; entry as in struct want. The same question gives the same number. */
uint32_t seal_want(struct seal *l, uint32_t input, uint32_t tensor, struct plan_entry *entry);

/* value_copier.leaf; arg is a struct seal_leaves. Tensors of a wrap are wanted, too. */
uint32_t seal_leaf(void *arg, enum value_leaf kind, uint32_t index);

/* The copier of an input whose floating tensors, and dtypes that calls name, become to. */
struct value_copier *seal_cast_copier(struct seal *l, uint32_t input, enum dtype to);

/* Builds l->s->tree and its root, wanting tensors as it meets them. */
int seal_tree(struct seal *l, struct err *e);

/* Gives all wants storages: fills manifest storages, tensors and transforms. */
void seal_places(struct seal *l);

#endif
