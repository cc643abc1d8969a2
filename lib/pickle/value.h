/*
 * value: what a pickle denotes, as plain data.
 *
 * Nodes live in a vtree and are named by handles (uint32_t), so that cycles and
 * shared objects are ordinary. Small integers are kept in the handle itself.
 * Nothing is ever imported or called: a reduction stays a VALUE_OBJECT that can
 * be written back. Tensors and storages are leaves that a layer above
 * numbers (VALUE_LEAF); this layer does not know what they are.
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
	VALUE_DICT, /* flags: VALUE_ORDERED for collections.OrderedDict; may have a state */
	VALUE_SET,
	VALUE_FROZENSET,
	VALUE_GLOBAL, /* module, name */
	VALUE_OBJECT, /* something that a class or function would have made */
	VALUE_PERSID, /* a persistent id nobody took: one item, the id */
	VALUE_LEAF,   /* numbered by the layer above */
};

enum value_leaf { LEAF_NONE, LEAF_STORAGE, LEAF_TENSOR };

/* How an object was made. */
enum value_how {
	HOW_REDUCE,    /* callable(*args) */
	HOW_NEWOBJ,    /* callable.__new__(callable, *args) */
	HOW_NEWOBJ_EX, /* callable.__new__(callable, *args, **kwargs) */
	HOW_OBJ,       /* OBJ and INST without arguments: as NEWOBJ if callable is a class, else callable() */
};

/* Absent handle. */
#define VALUE_ABSENT UINT32_MAX

/* What can be asked of an object. Handles are VALUE_ABSENT where there is nothing. */
struct vobject {
	enum value_how how;
	uint32_t callable; /* usually a VALUE_GLOBAL */
	uint32_t args;     /* tuple */
	uint32_t kwargs;   /* NEWOBJ_EX: dict */
	uint32_t state;    /* of the last BUILD */
	uint32_t appended; /* list of items that APPEND(S) or ADDITEMS gave it */
	uint32_t items;    /* dict of items that SETITEM(S) gave it */
	uint32_t contents; /* dict that stands for the object where its tensors are looked for; copies have none */
};

struct vtree; /* nodes */

/* The texts that a vtree's strings point to live in its own arena unless said otherwise. */
struct vtree *vtree_new(void);
void vtree_free(struct vtree *t); /* may be NULL */
struct arena *vtree_arena(struct vtree *t);
uint32_t vtree_count(const struct vtree *t); /* nodes so far */

/* ---- asking. A question that does not fit the kind gets 0, "", NULL or VALUE_ABSENT; VALUE_ABSENT asks like None. */
enum value_kind value_kind(const struct vtree *t, uint32_t h);
bool value_bool(const struct vtree *t, uint32_t h);
int64_t value_int(const struct vtree *t, uint32_t h);             /* VALUE_INT, VALUE_BOOL */
bool value_u64(const struct vtree *t, uint32_t h, uint64_t *out); /* an integer >= 0 that fits, no bool */
double value_float(const struct vtree *t, uint32_t h);
struct str value_text(const struct vtree *t, uint32_t h);         /* STR, PYSTR, BYTES, BYTEARRAY, BIGINT */
bool value_is_text(const struct vtree *t, uint32_t h);            /* STR or PYSTR */
size_t value_len(const struct vtree *t, uint32_t h);              /* items; pairs of a dict */
uint32_t value_item(const struct vtree *t, uint32_t h, size_t i); /* TUPLE LIST SET FROZENSET PERSID */
uint32_t value_key(const struct vtree *t, uint32_t h, size_t i);  /* DICT */
uint32_t value_val(const struct vtree *t, uint32_t h, size_t i);  /* DICT */
bool value_ordered(const struct vtree *t, uint32_t h);            /* DICT: an OrderedDict? */
uint32_t value_state(const struct vtree *t, uint32_t h);          /* DICT: of a BUILD, or VALUE_ABSENT */
struct str value_module(const struct vtree *t, uint32_t h);       /* GLOBAL */
struct str value_name(const struct vtree *t, uint32_t h);         /* GLOBAL */
bool value_is_global(const struct vtree *t, uint32_t h, const char *module, const char *name);
struct vobject *value_object(const struct vtree *t, uint32_t h);
enum value_leaf value_leaf(const struct vtree *t, uint32_t h, uint32_t *index);

/* The value of text key in dict d (the last if it occurs twice), or VALUE_ABSENT; also when d is no dict. */
uint32_t value_get(const struct vtree *t, uint32_t d, struct str key);

/*
 * Where what is below h is looked for: h itself if it is a dict, list or tuple, or what an object of a subclass of these
 * carries, then the attributes of an object. Place i of these, or VALUE_ABSENT behind the last.
 */
uint32_t value_within(const struct vtree *t, uint32_t h, size_t i);

/*
 * Follows a dotted path through dicts (text keys; int keys by their digits), lists and tuples (by index) and attributes of
 * objects (value_within); "" is h itself. Keys may contain dots: at every dict the longest key that fits is tried first.
 */
uint32_t value_path(const struct vtree *t, uint32_t h, struct str path);

/* The key of h that value_path takes first on this path; the path's first component if it leads nowhere. */
struct str value_path_key(const struct vtree *t, uint32_t h, struct str path);

/* ---- making: returns the new handle */
uint32_t value_new_none(struct vtree *t);
uint32_t value_new_bool(struct vtree *t, bool b);
uint32_t value_new_int(struct vtree *t, int64_t i);
uint32_t value_new_float(struct vtree *t, double d);
uint32_t value_new_text(struct vtree *t, enum value_kind kind, struct str s); /* text is borrowed */
uint32_t value_new_tuple(struct vtree *t, const uint32_t *items, size_t n);   /* items are copied */
uint32_t value_new_persid(struct vtree *t, uint32_t id);
uint32_t value_new_seq(struct vtree *t, enum value_kind kind);                  /* empty LIST, SET, FROZENSET, DICT */
uint32_t value_new_ordered(struct vtree *t);                                    /* empty OrderedDict */
uint32_t value_new_global(struct vtree *t, struct str module, struct str name); /* texts are borrowed */
uint32_t value_new_object(struct vtree *t, const struct vobject *o);
uint32_t value_new_leaf(struct vtree *t, enum value_leaf leaf, uint32_t index);
void value_set_leaf(struct vtree *t, uint32_t h, uint32_t index); /* renumbers a leaf */

void value_append(struct vtree *t, uint32_t seq, uint32_t item);            /* LIST SET FROZENSET */
void value_set(struct vtree *t, uint32_t dict, uint32_t key, uint32_t val); /* a new pair, even if key is there */
void value_set_state(struct vtree *t, uint32_t dict_or_object, uint32_t state);
void value_put(struct vtree *t, uint32_t container, size_t i, uint32_t val); /* item i of a LIST or TUPLE, value i of a DICT */
void value_replace(struct vtree *t, uint32_t h, uint32_t with);   /* h, an object or leaf, becomes what the text or leaf with is */
void value_remove(struct vtree *t, uint32_t container, size_t i); /* of a LIST or DICT; in a TUPLE it becomes None */
void value_remove_all(struct vtree *t, uint32_t dict, const bool *which); /* every pair i of a DICT for which which[i] is true */

/*
 * Most values of a pickle are arguments of calls of which something else is made. value_consume drops the tuple and its
 * items as far as they are the last nodes of the tree, plain, and not shared. None of them may be looked at again. Texts
 * stay. Whoever makes a tree whose values are consumed says of each that is referred to twice that it is shared;
 * VALUE_ABSENT stands for all, now and later.
 */
void vtree_share(struct vtree *t, uint32_t h);
void value_consume(struct vtree *t, uint32_t tuple);

/*
 * Drops all nodes that cannot be reached from the n handles at roots, which are changed to what they are
 * now called; every other handle is void. Decoding leaves many nodes behind that tensors were made from.
 * Texts stay where they are.
 */
void vtree_compact(struct vtree *t, uint32_t *const *roots, size_t n);

/*
 * Copies the value h of src, with all it reaches, into dst; identity and cycles survive. Texts stay
 * borrowed from src's arena unless texts is set. Leaves go through leaf(), which returns the new leaf's index, or
 * LEAF_DROP to leave it out: dict pairs and list items whose value is a dropped leaf vanish, anywhere else it becomes None.
 */
#define LEAF_DROP UINT32_MAX
struct value_copier {
	uint32_t (*leaf)(void *arg, enum value_leaf kind, uint32_t index);
	struct str (*global)(void *arg, struct str module, struct str name); /* NULL, or gives globals another name */
	void *arg;
	bool texts; /* are copied, too: src may go before dst */
	struct vtree *dst;
	const struct vtree *src;
	uint32_t *map;     /* by src node; made by the first copy, NULL before */
	uint32_t mapped;   /* entries of map, 0 before the first copy */
	uint32_t *reached; /* src nodes that were copied */
	size_t nreached, cap_reached;
};
/*
 * Any depth will do, so this does not fail at present; VALUE_ABSENT if it should. leaf() is called in the order of the
 * old handles.
 */
uint32_t value_copy(struct value_copier *c, uint32_t h, struct err *e);
/* Has node h of src count as copied to the node that is called to. */
void value_copier_seed(struct value_copier *c, uint32_t h, uint32_t to);
uint32_t value_copied(const struct value_copier *c, uint32_t h); /* what node h became, or VALUE_ABSENT */
void value_copier_release(struct value_copier *c);

/* Begins again with another destination. Takes as long as what was copied, however large src is. */
void value_copier_reset(struct value_copier *c, struct vtree *dst);

#endif
