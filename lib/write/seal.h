/*
 * seal: turns a plan into what is written: the manifest, how the bytes of each storage come about, and in which order.
 * After this nothing changes any more.
 *
 * Order. The storages of the output follow the input: inputs in order, within one its storages in their order (a stream
 * has them in the order of its bytes). What is made of several tensors of an input stands where the last of them does.
 * Alignment may force another order on safetensors. Writing goes in steps. A step
 * writes a storage, or reads contents that a maker waits for. It lists the bytes that it reads.
 *
 * What a stream may forget is decided here and nowhere else: after each step, what no later step reads. The inputs of a
 * split plan are passed on from file to file.
 *
 * To write a plan to one file: plan_seal, plan_pump (pump.h), sealed_release. To several: seal_new, then for each file
 * seal_file, plan_pump and sealed_release, then seal_free. Each file takes as long as its own entries, however many there
 * are.
 */
#ifndef LNN_WRITE_SEAL_H
#define LNN_WRITE_SEAL_H

#include "format/format.h"
#include "plan/plan.h"
#include "write/split.h"

enum seal_shape {
	SEAL_BARE,     /* the state dict is the root */
	SEAL_UNDER,    /* {under: state dict, carried entries...} */
	SEAL_IN_PLACE, /* the first input's whole object, its state dict edited where it stands */
	SEAL_KEPT,     /* the same, its state dict with other names; no bytes are made, and no storage changes its place */
};

struct seal_opts {
	const struct format_writer *writer;
	enum seal_shape shape;
	struct str under;
	const struct str *below; /* SEAL_UNDER: keys below that one, down to the state dict */
	size_t nbelow;
	const struct str *carry; /* root entries of the first input that are taken along (SEAL_UNDER) */
	size_t ncarry;
	bool carry_all;
	bool drop_rest;            /* SEAL_IN_PLACE, SEAL_KEPT: only the state dict, at the place where it stood */
	const struct split *split; /* of seal_new; SEAL_BARE only */
	struct make *views;        /* works on tensors that look at a part of their storage, also beside the state dict; NULL */
	const char *views_by;      /* who asked for it, for the report */
};

/* How the bytes of one storage of the output come about. */
struct sealed_output {
	uint32_t input, storage;
	uint32_t last;               /* of that input: the last storage that is read; its place in the order */
	uint64_t off, len;           /* no tensor: this range of the storage is copied */
	const struct tensor *tensor; /* its elements go through make */
	const struct make_chain *make;
};

/* Bytes of an input that a step reads: of a storage, up to end. */
struct sealed_read {
	uint32_t input, storage;
	uint64_t end;
	bool again; /* a later step reads some of what stands before end */
	bool frees; /* after the step nothing before byte free_off of free_storage is read any more */
	uint32_t free_storage;
	uint64_t free_off;
};

struct sealed_step {
	uint32_t output;                /* that is written; no learns */
	const struct plan_entry *entry; /* whose maker learns */
	struct make *learns;
	size_t reads_end; /* its reads: from those of the step before to here */
};

/* A byte of an input. */
struct sealed_place {
	uint32_t storage;
	uint64_t off;
};

struct sealed {
	struct arena arena;
	const struct format_writer *writer;
	struct manifest m;
	uint64_t bytes;                /* of all storages */
	struct sealed_output *outputs; /* of m.storages, parallel */
	struct sealed_step *steps;
	size_t nsteps;
	struct sealed_read *reads;
	struct sealed_place *start; /* by input: the first byte that is read */
	bool last;                  /* no further file reads the inputs */
	struct vtree *tree;
	struct plan *plan;
	const struct tensor **rest; /* tensors of the inputs that go along outside the state dict */
	size_t nrest;
};

/*
 * ERR_INPUT: two entries of one name; something that the container cannot say.
 * ERR_ANSWER: nothing left to write. ERR_USAGE: carrying what is not there.
 */
int plan_seal(struct plan *p, const struct seal_opts *o, struct sealed *s, struct err *e);
void sealed_release(struct sealed *s);

/* o->split says which entries go to which file. p and what o refers to must outlive it. */
struct seal *seal_new(struct plan *p, const struct seal_opts *o);

/* Seals file k of a split plan, from 1. Errors as plan_seal, which gives the warnings and must have been called before. */
int seal_file(struct seal *l, uint32_t k, struct sealed *s, struct err *e);
void seal_free(struct seal *l);

#endif
