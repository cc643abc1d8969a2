/*
 * value: the contents of a pickle, as plain data.
 *
 * Nodes are stored in a vtree and referred to by handles (uint32_t), so that
 * cycles and shared objects need no special care. Small integers are stored in
 * the handle itself. Nothing is ever imported or called: a call stays a
 * VALUE_OBJECT that can be written back. Tensors and storages are leaves
 * (VALUE_LEAF) with indices of a layer above. This layer does not know what
 * they are.
 */
#ifndef LNN_PICKLE_VALUE_H
#define LNN_PICKLE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum value_kind {
	VALUE_NONE,
	VALUE_BOOL,
	VALUE_INT,    /* fits int64_t */
	VALUE_BIGINT, /* little-endian two's complement bytes */
	VALUE_FLOAT,
	VALUE_STR,   /* UTF-8; lone surrogates may occur as ED A0 80 .. ED BF BF */
	VALUE_PYSTR, /* a Python 2 str: bytes that torch decodes as UTF-8 */
	VALUE_BYTES,
	VALUE_BYTEARRAY,
	VALUE_TUPLE,
	VALUE_LIST,
	VALUE_DICT, /* flag VALUE_ORDERED for collections.OrderedDict; may have a state */
	VALUE_SET,
	VALUE_FROZENSET,
	VALUE_GLOBAL, /* module and name */
	VALUE_OBJECT, /* result of a call of a class or function */
	VALUE_PERSID, /* a persistent id that no hook handled; its one item is the id */
	VALUE_LEAF,   /* a tensor or storage; the layer above defines the index */
};

enum value_leaf { LEAF_NONE, LEAF_STORAGE, LEAF_TENSOR };

/* How an object was made. */
enum value_how {
	HOW_REDUCE,    /* callable(*args) */
	HOW_NEWOBJ,    /* callable.__new__(callable, *args) */
	HOW_NEWOBJ_EX, /* callable.__new__(callable, *args, **kwargs) */
	HOW_OBJ,       /* OBJ and INST without arguments: as NEWOBJ if callable is a class, else callable() */
};

#define VALUE_ABSENT UINT32_MAX

/* The parts of an object. A missing part is VALUE_ABSENT. */
struct vobject {
	enum value_how how;
	uint32_t callable; /* usually a VALUE_GLOBAL */
	uint32_t args;     /* tuple */
	uint32_t kwargs;   /* NEWOBJ_EX: dict */
	uint32_t state;    /* argument of the last BUILD */
	uint32_t appended; /* list of the items added by APPEND(S) or ADDITEMS */
	uint32_t items;    /* dict of the pairs added by SETITEM(S) */
	uint32_t contents; /* dict in which the object's tensors are looked for; copies have none */
};

struct vtree; /* a tree of values */

/* Strings in nodes point into the vtree's arena, unless stated otherwise. */
struct vtree *vtree_new(void);
void vtree_free(struct vtree *t); /* t may be NULL */
struct arena *vtree_arena(struct vtree *t);
uint32_t vtree_count(const struct vtree *t);   /* number of nodes */
void vtree_reserve(struct vtree *t, size_t n); /* makes room for n more nodes, for memory only */

/* ---- queries. If the kind does not fit, they return 0, "", NULL or VALUE_ABSENT. VALUE_ABSENT as h is treated like None. */
enum value_kind value_kind(const struct vtree *t, uint32_t h);
bool value_bool(const struct vtree *t, uint32_t h);
int64_t value_int(const struct vtree *t, uint32_t h);             /* VALUE_INT, VALUE_BOOL */
bool value_u64(const struct vtree *t, uint32_t h, uint64_t *out); /* a non-negative integer that fits, no bool */
double value_float(const struct vtree *t, uint32_t h);
struct str value_text(const struct vtree *t, uint32_t h);         /* STR, PYSTR, BYTES, BYTEARRAY, BIGINT */
bool value_is_text(const struct vtree *t, uint32_t h);            /* STR or PYSTR */
size_t value_len(const struct vtree *t, uint32_t h);              /* number of items, or of pairs of a dict */
uint32_t value_item(const struct vtree *t, uint32_t h, size_t i); /* TUPLE LIST SET FROZENSET PERSID */
uint32_t value_key(const struct vtree *t, uint32_t h, size_t i);  /* DICT */
uint32_t value_val(const struct vtree *t, uint32_t h, size_t i);  /* DICT */
bool value_ordered(const struct vtree *t, uint32_t h);            /* DICT: true for an OrderedDict */
uint32_t value_state(const struct vtree *t, uint32_t h);          /* DICT: state given by BUILD, or VALUE_ABSENT */
struct str value_module(const struct vtree *t, uint32_t h);       /* GLOBAL */
struct str value_name(const struct vtree *t, uint32_t h);         /* GLOBAL */
bool value_is_global(const struct vtree *t, uint32_t h, const char *module, const char *name);
struct vobject *value_object(const struct vtree *t, uint32_t h);
enum value_leaf value_leaf(const struct vtree *t, uint32_t h, uint32_t *index);

/*
 * Returns the value of string key in dict d (the last one if key occurs twice). Returns VALUE_ABSENT if there is none or d is no
 * dict.
 */
uint32_t value_get(const struct vtree *t, uint32_t d, struct str key);

/*
 * Enumerates the containers in which value_path looks for the children of h: h itself if it is a dict, list or tuple, or the
 * contents of an object of a subclass of these, then the attributes of an object. Returns container i, or VALUE_ABSENT after the
 * last.
 */
uint32_t value_within(const struct vtree *t, uint32_t h, size_t i);

/*
 * Follows a dotted path through dicts (string keys, or integer keys in decimal), lists and tuples (by index) and attributes of
 * objects (value_within). An empty path is h itself. Keys may contain dots: in every dict the longest matching key is tried first.
 */
uint32_t value_path(const struct vtree *t, uint32_t h, struct str path);

/* Returns the key of h that value_path follows first on this path, or the first component of the path if nothing is found. */
struct str value_path_key(const struct vtree *t, uint32_t h, struct str path);

/* ---- constructors; they return the new handle */
uint32_t value_new_none(struct vtree *t);
uint32_t value_new_bool(struct vtree *t, bool b);
uint32_t value_new_int(struct vtree *t, int64_t i);
uint32_t value_new_float(struct vtree *t, double d);
uint32_t value_new_text(struct vtree *t, enum value_kind kind, struct str s); /* s is borrowed */
uint32_t value_new_tuple(struct vtree *t, const uint32_t *items, size_t n);   /* items are copied */
uint32_t value_new_persid(struct vtree *t, uint32_t id);
uint32_t value_new_seq(struct vtree *t, enum value_kind kind);                  /* empty LIST, SET, FROZENSET, DICT */
uint32_t value_new_ordered(struct vtree *t);                                    /* empty OrderedDict */
uint32_t value_new_global(struct vtree *t, struct str module, struct str name); /* both are borrowed */
uint32_t value_new_object(struct vtree *t, const struct vobject *o);
uint32_t value_new_leaf(struct vtree *t, enum value_leaf leaf, uint32_t index);
void value_set_leaf(struct vtree *t, uint32_t h, uint32_t index); /* changes the index of a leaf */

void value_append(struct vtree *t, uint32_t seq, uint32_t item);            /* LIST SET FROZENSET */
void value_set(struct vtree *t, uint32_t dict, uint32_t key, uint32_t val); /* adds a pair, even if key exists */
void value_set_state(struct vtree *t, uint32_t dict_or_object, uint32_t state);
/* Replaces item i of a LIST or TUPLE, or value i of a DICT. */
void value_put(struct vtree *t, uint32_t container, size_t i, uint32_t val);
/* Copies the node of with, a text or leaf, over h, an object or leaf. */
void value_replace(struct vtree *t, uint32_t h, uint32_t with);
/* Removes every item i of a LIST or DICT for which gone[i] is true; an item of a TUPLE becomes None. */
void value_remove(struct vtree *t, uint32_t container, const bool *gone);

/*
 * Most values of a pickle are only arguments of calls that a hook replaces. value_consume drops the tuple and its items as long as
 * they are the last nodes of the tree, plain data, and not shared. The caller must not use them again. Texts stay in the arena.
 * Code that builds a tree whose values are consumed must call vtree_share for each value that is referred to twice; VALUE_ABSENT
 * marks all values as shared, now and later.
 */
void vtree_share(struct vtree *t, uint32_t h);
void value_consume(struct vtree *t, uint32_t tuple);

/*
 * Drops all nodes that cannot be reached from the n handles at roots. The handles at roots are updated; all others become invalid.
 * This frees the many nodes that remain after decoding and from which tensors were made. Texts stay in the arena.
 */
void vtree_compact(struct vtree *t, uint32_t *const *roots, size_t n);

/*
 * Copies value h of src, with everything it refers to, into dst. Identity and cycles are preserved. Texts stay borrowed from src's
 * arena unless texts is set. leaf() is called for each leaf and returns the index of the copy, or LEAF_DROP to drop it: a dict pair
 * or list item with a dropped leaf is left out; elsewhere the leaf becomes None.
 */
#define LEAF_DROP UINT32_MAX
struct value_copier {
	uint32_t (*leaf)(void *arg, enum value_leaf kind, uint32_t index);
	struct str (*global)(void *arg, struct str module, struct str name); /* returns the new name of a global; may be NULL */
	void *arg;
	bool texts; /* copy texts too, so that src may be freed before dst */
	struct vtree *dst;
	const struct vtree *src;
	uint32_t *map;     /* by node of src; allocated by the first copy */
	uint32_t mapped;   /* number of entries of map */
	uint32_t *reached; /* nodes of src that were copied */
	size_t nreached, cap_reached;
};
/* Copies any depth and currently never fails; a failure would be VALUE_ABSENT. leaf() is called in the order of the old handles. */
uint32_t value_copy(struct value_copier *c, uint32_t h, struct err *err);
/* Declares node to as the copy of node h of src. */
void value_copier_seed(struct value_copier *c, uint32_t h, uint32_t to);
uint32_t value_copied(const struct value_copier *c, uint32_t h); /* returns the copy of node h, or VALUE_ABSENT */
void value_copier_release(struct value_copier *c);

/* Starts again with another destination. The cost depends on the number of copied nodes only. */
void value_copier_reset(struct value_copier *c, struct vtree *dst);

#endif
