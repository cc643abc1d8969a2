/*
 * seal: turns a plan into a manifest and the transforms that make its bytes. After this nothing changes any more.
 */
#ifndef LNN_WRITE_SEAL_H
#define LNN_WRITE_SEAL_H

#include "format/format.h"
#include "plan/plan.h"
#include "write/split.h"
#include "write/transform.h"

enum seal_shape {
	SEAL_BARE,     /* the state dict is the root */
	SEAL_UNDER,    /* {under: state dict, carried entries...} */
	SEAL_IN_PLACE, /* the first input's whole object, its state dict edited where it stands */
};

struct seal_opts {
	const struct format_writer *writer;
	enum seal_shape shape;
	struct str under;
	const struct str *carry; /* root entries of the first input that are taken along (SEAL_UNDER) */
	size_t ncarry;
	bool carry_all;
	bool drop_rest;            /* SEAL_IN_PLACE: only the state dict, at the place where it stood */
	const struct split *split; /* NULL, or: only the entries of this shard are written */
	uint32_t shard;
	bool compact; /* views of a larger storage become tensors of their own */
};

struct sealed {
	struct arena arena;
	struct manifest m;
	struct transform *transforms; /* of m.storages, parallel */
	struct vtree *tree;
	const struct plan *plan;
	uint64_t compacted; /* tensors that --compact freed of a larger storage */
	const struct tensor **rest; /* tensors of the inputs that go along outside the state dict */
	size_t nrest;
};

/*
 * ERR_INPUT: two entries of one name; something that the container cannot say.
 * ERR_ANSWER: nothing left to write. ERR_USAGE: carrying what is not there.
 */
int plan_seal(struct plan *p, const struct seal_opts *o, struct sealed *s, struct err *e);
void sealed_release(struct sealed *s);

/* Total bytes of the output's storages. */
uint64_t sealed_bytes(const struct sealed *s);

#endif
