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
enum pytype {
	PY_NONE,
	PY_BOOL,
	PY_INT,
	PY_FLOAT,
	PY_STR,
	PY_BYTES,
	PY_BYTEARRAY,
	PY_TUPLE,
	PY_LIST,
	PY_DICT,
	PY_ORDERED,
	PY_SET,
	PY_FROZENSET,
	PY_GLOBAL,
	PY_OTHER,
	/* made by calls */
	PY_STORAGE,
	PY_TENSOR,
	PY_PARAMETER,
	PY_COUNTER,
	PY_COMPLEX,
	PY_SIZE,
	PY_DEVICE,
	PY_LAYOUT,
};

struct weights_storage {
	uint64_t numel;
	unsigned size;
	bool grad, complex;
	unsigned each; /* elements a byte holds, of types smaller than one; else 1 */
};

/* Globals looked up recently, by node: a checkpoint calls the same few for every tensor. */
enum { WEIGHTS_RECENT = 16 };

struct weights {
	struct pickle_machine *m; /* of the present opcode */
	unsigned wraps;        /* calls within calls that are being looked at */
	bool legacy;           /* ids of the legacy stream: six parts */
	struct weights_storage *storages;
	size_t storages_n, storages_cap;
	uint32_t *sizes;       /* tuples that became torch.Size */
	size_t sizes_n, sizes_cap;
	uint32_t made_size;    /* the one that is being made; VALUE_ABSENT: longer than any shape */
	struct weights_storage asked; /* by the persistent id that is being looked at */
	enum pytype made;       /* what the opcode will leave on the stack; PY_OTHER: what the machine leaves */
	bool made_grad;        /* a tensor of floating or complex elements */
	char why[512];         /* of the first refusal */
	char path[PICKLE_GLOBAL_TEXT];
	struct {
		uint32_t node; /* 0: none */
		struct pickle_allowed allowed;
	} recent[WEIGHTS_RECENT];
};

void weights_init(struct weights *w, bool legacy);
void weights_release(struct weights *w);

/* Before the machine executes its opcode: false, with why set, if torch would refuse it or fail on it. */
bool weights_check(struct weights *w, struct pickle_machine *m);

/* After it was executed: the same for what can only be seen then; puts the leaf in place. */
bool weights_after(struct weights *w, struct pickle_machine *m);

#endif
