/*
 * rebuild: what torch's pickles say of tensors, made into struct tensor and
 * struct storage while the pickle machine runs (pickle/machine.h). Shared by the
 * zip and the legacy reader. Facts: lib/format/README.md, sections 3 and 4.
 *
 * Calls that make a tensor with data become LEAF_TENSOR, persistent ids of storages LEAF_STORAGE. All that is
 * not understood stays the object it is in the pickle (value.h).
 *
 * A tensor made by more than one plain call keeps that call as its wrap, an
 * object of the tree in which None stands for what struct tensor says:
 *
 *	_rebuild_qtensor(None, None, None, None, qparams, requires_grad, hooks)
 *	_rebuild_parameter(INNER, requires_grad, hooks)
 *	_rebuild_parameter_with_state(INNER, requires_grad, hooks, state)
 *	_rebuild_from_type_v2(func, type, ARGS, state)
 *
 * INNER is None (the plain tensor) or again such a call; ARGS is None when func makes a plain tensor, else the
 * arguments of func in the form above. So a wrap can be copied without its tensor's storage. A tensor with
 * TENSOR_PARAMETER and no wrap was made by _rebuild_parameter alone.
 */
#ifndef LNN_FORMAT_REBUILD_H
#define LNN_FORMAT_REBUILD_H

#include "base/strmap.h"
#include "pickle/machine.h"
#include "tensor/ckpt.h"

struct rebuild {
	struct ckpt *c;             /* its tree, storages and tensors are filled */
	bool legacy;                /* persistent ids are the 6-tuples of the legacy stream, else the 5-tuples of zips */
	const char *where;          /* file name for errors with an offset (of the source that is decoded) */
	struct strmap keys;         /* storage key -> number of first use */
	uint32_t *leaves;           /* by storage: the handle of its leaf */
	struct rebuild_view *views; /* legacy: leaves that begin inside their storage, by handle */
	size_t nviews;
	/* Names are compared once: Python writes a global's text once and refers to it afterwards. */
	uint32_t class, callable; /* handles of the storage class and of the function seen last; VALUE_ABSENT */
	enum dtype class_dtype;
	bool class_untyped;
	const struct rebuild_function *function;
	uint32_t dataless; /* tensors made without data that still wait for it (very old files) */
	size_t storage_cap, leaf_cap, tensor_cap, view_cap;
};

/* c->tree is made. Until rebuild_finish, storages are numbered by first use and c->storages and c->tensors move. */
void rebuild_init(struct rebuild *r, struct ckpt *c, bool legacy);

/* For pickle_decode; borrowed from r, which must not move. */
struct pickle_hooks rebuild_hooks(struct rebuild *r);

/*
 * After decoding, when c->root is set: storage i (by first use) becomes storage place[i], a permutation of 0..nstorages-1; NULL
 * leaves the order. The arrays become those of c; r may be released then.
 */
int rebuild_finish(struct rebuild *r, const uint32_t *place, struct err *e);

/* Frees what r holds; safe at any time after rebuild_init, also after failures (c then has no storages and tensors). */
void rebuild_release(struct rebuild *r);

#endif
