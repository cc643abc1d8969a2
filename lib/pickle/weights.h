/*
 * pickle_weights: would torch's weights_only unpickler take this opcode? It looks
 * at a machine's stack before an opcode is executed, and puts in place of what a
 * call would return a leaf that says what that is.
 *
 * The rules are those of Unpickler.load in torch/_weights_only_unpickler.py (PyTorch 2.6 to 2.13) and of
 * persistent_load in torch/serialization.py, checked against PyTorch 2.13 by tests/torch/test_pickle_scan.py.
 */
#ifndef LNN_PICKLE_WEIGHTS_H
#define LNN_PICKLE_WEIGHTS_H

#include "pickle/allow.h"
#include "pickle/machine.h"

/* What a value is to Python. The first follow enum value_kind. */
enum thing {
	THING_NONE,
	THING_BOOL,
	THING_INT,
	THING_FLOAT,
	THING_STR,
	THING_BYTES,
	THING_BYTEARRAY,
	THING_TUPLE,
	THING_LIST,
	THING_DICT,
	THING_ORDERED,
	THING_SET,
	THING_FROZENSET,
	THING_GLOBAL,
	THING_OTHER,
	/* made by calls */
	THING_STORAGE,
	THING_TENSOR,
	THING_PARAMETER,
	THING_COUNTER,
	THING_COMPLEX,
	THING_SIZE,
	THING_DEVICE,
	THING_LAYOUT,
};

struct weights_storage {
	uint64_t numel;
	unsigned size;
	bool grad, complex;
	unsigned each; /* elements a byte holds, of types smaller than one; else 1 */
};

/* Globals looked up lately, by node: a checkpoint calls the same few for every tensor. */
enum { WEIGHTS_LATELY = 16 };

struct weights {
	struct pickle_machine *m;
	unsigned wraps;        /* calls within calls that are being looked at */
	bool legacy;           /* ids of the legacy stream: six parts */
	struct weights_storage *storages;
	size_t storages_n, storages_cap;
	uint32_t *sizes;       /* tuples that became torch.Size */
	size_t sizes_n, sizes_cap;
	uint32_t made_size;    /* the one that is being made; VALUE_ABSENT: longer than any shape */
	struct weights_storage asked; /* by the persistent id that is being looked at */
	enum thing made;       /* what the opcode will leave on the stack; THING_OTHER: what the machine leaves */
	bool made_grad;        /* a tensor of floating or complex elements */
	char why[512];         /* of the first refusal */
	char path[PICKLE_GLOBAL_TEXT];
	struct {
		uint32_t node; /* 0: none */
		struct pickle_allowed allowed;
	} lately[WEIGHTS_LATELY];
};

void weights_init(struct weights *w, struct pickle_machine *m, bool legacy);
void weights_release(struct weights *w);

/* Before the machine executes its opcode: false, with why set, if torch would refuse it or fail on it. */
bool weights_check(struct weights *w);

/* After it was executed: the same for what can only be seen then; puts the leaf in place. */
bool weights_after(struct weights *w);

/* ---- shared by its files */

/* Sets why; returns false. */
bool weights_no(struct weights *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
enum thing weights_thing(const struct weights *w, uint32_t h);
/* Python's name of its type, for messages. */
const char *weights_type(const struct weights *w, uint32_t h);
/* What a torch.Size was made of, VALUE_ABSENT if that is not known; what is no torch.Size itself. */
uint32_t weights_size(const struct weights *w, uint32_t h);
/* Can it be a key? */
bool weights_hashable(const struct weights *w, uint32_t h);
/* False to Python, among what can be told. */
bool weights_empty(const struct weights *w, uint32_t h);
/* A tensor whose elements can have gradients? */
bool weights_grad(const struct weights *w, uint32_t h);
/* pickle_allowed of the global h; false, too, if it is none. */
bool weights_allowed(struct weights *w, uint32_t h, struct pickle_allowed *a);
/* The name as torch has it; borrowed until the next call. */
const char *weights_global(struct weights *w, uint32_t h);

/* pickle_weights_call.c, pickle_weights_tensor.c: callable(*args), callable.__new__(callable, *args); sets made. */
bool weights_call(struct weights *w, uint32_t callable, uint32_t args);
bool weights_new(struct weights *w, uint32_t callable, uint32_t args);
/* tensor.set_(*state) with storage, offset, size and stride; makes nothing. */
bool weights_set(struct weights *w, uint32_t state);

#endif
