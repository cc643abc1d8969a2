/*
 * seal: turns a plan into the description of one output file: the manifest, how the bytes of each storage are produced, and in
 * which order. A sealed plan no longer changes.
 *
 * Order. The storages of the output follow the inputs: the first input comes first, and within an input its storages keep their
 * order (that of the bytes in a stream). A storage that is made of several tensors of one input stands where the last of these
 * tensors stands. For safetensors, alignment may require another order. The pump works in steps. A step either writes a storage, or
 * reads the contents that a maker waits for. The bytes that steps read from streams are listed.
 *
 * Only this module decides which bytes a stream may forget: after each step, the bytes that no later step reads. If a plan is split
 * into several files, all of them read the same open inputs, one file after the other.
 *
 * To write a plan: seal_new, then for each file seal_file, plan_pump (pump.h) and sealed_release, then seal_free. The time that a
 * file takes depends on its own entries only, not on those of the whole plan.
 */
#ifndef LNN_WRITE_SEAL_H
#define LNN_WRITE_SEAL_H

#include "format/format.h"
#include "plan/plan.h"
#include "write/split.h"

enum seal_shape {
	SEAL_BARE,     /* the state dict is the root */
	SEAL_UNDER,    /* {under: state dict, carried entries...} */
	SEAL_IN_PLACE, /* the first input's whole object; its state dict is edited where it stands */
	/* like SEAL_IN_PLACE, but only names change or entries are dropped: no bytes are made, and every storage keeps its place */
	SEAL_KEPT,
};

struct seal_opts {
	const struct format_writer *writer;
	enum seal_shape shape;
	struct str under;
	const struct str *below; /* SEAL_UNDER: keys of the dicts between under and the state dict, outermost first */
	size_t nbelow;
	const struct str *carry; /* SEAL_UNDER: root entries of the first input that are written, too */
	size_t ncarry;
	bool carry_all;
	bool drop_rest;            /* SEAL_IN_PLACE, SEAL_KEPT: write the state dict alone, at its old path */
	const struct split *split; /* for seal_new; SEAL_BARE only */
	/* maker for tensors that cover a part of their storage, also outside the state dict; NULL: none */
	struct make *views;
	const char *views_by; /* the option that asked for views, for the report */
};

/* A tensor of an input and the makers that change its elements. */
struct sealed_made {
	const struct tensor *tensor;
	const struct make_chain *make;
};

/* Describes how the bytes of one storage of the output are produced. */
struct sealed_output {
	uint32_t input, storage;
	uint64_t off;                   /* if made is NULL: offset of the bytes to copy in the storage of the input */
	const struct sealed_made *made; /* NULL: bytes are copied */
};

/* A maker that waits for contents, and the output before which they are read. */
struct sealed_lesson {
	uint32_t before;
	uint64_t key; /* private: position of the contents in the inputs */
	const struct plan_entry *entry;
	struct make *make;
};

/* A read of a step: bytes of one storage of a stream, up to end. */
struct sealed_read {
	uint32_t input, storage;
	uint64_t end;
	bool again; /* a later step reads some of the bytes before end */
	bool frees; /* after the step, no byte before byte free_off of free_storage is read any more */
	uint32_t free_storage;
	uint64_t free_off;
};

/* The position of a byte in an input. */
struct sealed_place {
	uint32_t storage;
	uint64_t off;
};

struct sealed {
	struct arena arena;
	const struct format_writer *writer;
	struct manifest m;
	uint64_t bytes;                /* total size of the storages */
	struct sealed_output *outputs; /* parallel to m.storages */
	struct sealed_lesson *lessons; /* sorted by before */
	size_t nlessons;
	struct sealed_read *reads;
	size_t *reads_end;          /* by step: index in reads after its last read; NULL if no input is a stream */
	struct sealed_place *start; /* by input: the position of the first byte that is read from a stream */
	bool last;                  /* no later file reads the inputs */
	struct vtree *tree;
	struct plan *plan;
	const struct tensor **rest; /* tensors of the inputs that are written although they are outside the state dict */
	size_t nrest;
};

/*
 * Prepares to seal a plan. o->split says which entries of a split plan go to which file. p and what o points to must outlive the
 * result.
 */
struct seal *seal_new(struct plan *p, const struct seal_opts *o);

/*
 * Seals file k of a split plan; the first is 1. With k 0 seals the whole plan and gives the warnings, which must be done before the
 * files of a split plan. Fails with ERR_INPUT if two entries have one name, if an entry to carry does not exist, or if the container
 * cannot hold an entry; with ERR_USAGE if an entry to carry would stand where the state dict is written; with ERR_ANSWER if no
 * tensor is left to write.
 */
int seal_file(struct seal *l, uint32_t k, struct sealed *s, struct err *err);
void seal_free(struct seal *l);
void sealed_release(struct sealed *s);

#endif
