/*
 * rebuild: converts the calls in torch's pickles to struct tensor and struct storage while the pickle machine runs
 * (pickle/machine.h). Used by the zip and the legacy reader. Facts: lib/format/README.md, sections 3 and 4.
 *
 * Calls that make a tensor with data become LEAF_TENSOR; persistent ids of storages become LEAF_STORAGE. Everything else stays an
 * object (value.h).
 *
 * If a tensor was made by more than one plain call, the call is kept as its wrap. A wrap is an object of the tree in which None
 * replaces what struct tensor states:
 *
 *	_rebuild_qtensor(None, None, None, None, qparams, requires_grad, hooks)
 *	_rebuild_parameter(INNER, requires_grad, hooks)
 *	_rebuild_parameter_with_state(INNER, requires_grad, hooks, state)
 *	_rebuild_from_type_v2(func, type, ARGS, state)
 *
 * INNER is None (the plain tensor) or another such call. ARGS is None if func makes a plain tensor, else the arguments of func in
 * the form above. A wrap can therefore be copied without the storage of its tensor. A tensor with TENSOR_PARAMETER but without wrap
 * was made by _rebuild_parameter alone.
 */
#ifndef LNN_FORMAT_REBUILD_H
#define LNN_FORMAT_REBUILD_H

#include "base/strmap.h"
#include "pickle/machine.h"
#include "tensor/ckpt.h"

struct rebuild {
	struct ckpt *c;             /* its tree, storages and tensors are filled */
	bool legacy;                /* persistent ids are the 6-tuples of the legacy format, not the 5-tuples of zips */
	const char *where;          /* name of the decoded source for errors with an offset */
	struct strmap keys;         /* maps storage keys to numbers by first use */
	uint32_t *leaves;           /* by storage: handle of its leaf; VALUE_ABSENT if there is none yet */
	struct rebuild_view *views; /* legacy format: leaves that begin inside their storage */
	size_t nviews;
	/* Caches, so that names are compared once: Python writes the text of a global once and refers to it afterwards. */
	uint32_t class, callable; /* handles of the last storage class and function; VALUE_ABSENT at first */
	enum dtype class_dtype;
	bool class_untyped;
	const struct rebuild_function *function;
	struct pickle_plain plain; /* the last call read at once; its handles are known to be right */
	uint32_t dataless;         /* number of tensors made without data that still need it (very old files) */
	size_t storage_cap, leaf_cap, tensor_cap, view_cap;
};

/*
 * c->tree must exist. Until rebuild_finish, storages are numbered by first use, and c->storages and c->tensors may be reallocated.
 */
void rebuild_init(struct rebuild *r, struct ckpt *c, bool legacy);

/* Announces that there are at most n storages, and about as many tensors. n must be bounded by the size of the input. */
void rebuild_reserve(struct rebuild *r, size_t n);

/* Returns hooks for pickle_decode. They borrow r, which must not move. */
struct pickle_hooks rebuild_hooks(struct rebuild *r);

/*
 * Called after decoding, when c->root is set. Storage i (by first use) becomes storage place[i], where place is a permutation of
 * 0..nstorages-1; NULL keeps the order. The arrays become those of c. r may be released afterwards.
 */
int rebuild_finish(struct rebuild *r, const uint32_t *place, struct err *err);

/*
 * Frees what r holds. May be called at any time after rebuild_init. If rebuild_finish was not called, c has no storages and tensors
 * afterwards.
 */
void rebuild_release(struct rebuild *r);

#endif
