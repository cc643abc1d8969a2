/*
 * dcp_write: writes a folder as torch.distributed.checkpoint does: a data file __0_0.distcp, and .metadata, which describes its
 * contents. Facts: lib/format/README.md, section 8.
 *
 * torch flattens the object that it saves. It opens dicts, and lists that contain a tensor or a dict at some depth. Everything else
 * is an item: a tensor, or any other value. An item is written like a file of torch.save (writer_torch) at any offset of the
 * .distcp. Items without tensors come first, then those with tensors in the order of the storages. One object under two names is
 * one item with two names.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/strmap.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "format/format.h"
#include "pickle/opcode.h"
#include "tensor/tree.h"

/* ---- cutting the object into items */

enum opens { OPENS_UNKNOWN, OPENS_BUSY, OPENS_NOT, OPENS };

struct flatten {
	struct manifest *m;
	struct arena *arena;
	size_t cap; /* capacity of m->items */
	struct strmap names;
	uint32_t *item; /* by node: 1 + the first item that has it as value; 0 if there is none */
	uint8_t *opens; /* by node: enum opens, whether torch opens this list */
	struct value_copier copier;
	struct manifest_step path[PICKLE_DEPTH_MAX];
	unsigned depth;
	uint64_t budget; /* how many more values and bytes may be used for shared objects */
	uint32_t holder; /* the current item, whose tensors are being assigned */
	struct err *err;
	int rc;
};

static int
refuse(struct flatten *f, struct str name, const char *why)
{
	if (f->rc == 0)
		f->rc = err_set(f->err, ERR_INPUT, "'%.*s': %s; drop it or use --to torch", STR_ARG(name), why);
	return -1;
}

/* Limits the work and the output for objects that are reached on many paths. */
static int
spend(struct flatten *f, uint64_t n)
{
	if (n > f->budget) {
		f->rc = err_set(f->err, ERR_INPUT, "shared objects expand to more items than a distributed folder can hold");
		return -1;
	}
	f->budget -= n;
	return 0;
}

/*
 * Returns the dict or list that h is, or that an object of a subclass carries. Returns VALUE_ABSENT for tuples and everything else.
 */
static uint32_t
container_of(const struct vtree *t, uint32_t h)
{
	uint32_t c = tree_is_composite(t, h) || tree_is_script(t, h) ? VALUE_ABSENT : tree_container(t, h);

	return c != VALUE_ABSENT && value_kind(t, c) == VALUE_TUPLE ? VALUE_ABSENT : c;
}

/* Returns true if torch opens the list: it contains a tensor, a dict, or a list that is opened. */
static bool
opens(struct flatten *f, uint32_t list, unsigned depth)
{
	const struct vtree *t = f->m->tree;
	uint32_t item, inner, index;

	if (f->opens[list] != OPENS_UNKNOWN || depth == PICKLE_DEPTH_MAX)
		return f->opens[list] == OPENS;
	f->opens[list] = OPENS_BUSY;
	for (size_t i = 0; i < value_len(t, list) && f->opens[list] != OPENS; i++) {
		item = value_item(t, list, i);
		inner = container_of(t, item);
		if (tree_is_tensor(t, item, &index) || tree_is_composite(t, item) || value_kind(t, inner) == VALUE_DICT ||
		    (inner != VALUE_ABSENT && value_kind(t, inner) == VALUE_LIST && opens(f, inner, depth + 1)))
			f->opens[list] = OPENS;
	}
	if (f->opens[list] != OPENS)
		f->opens[list] = OPENS_NOT;
	return f->opens[list] == OPENS;
}

/* Assigns the storage of tensor number index to the current item. */
static void
take_tensor(struct flatten *f, uint32_t index)
{
	struct manifest *m = f->m;
	const struct tensor *t = &m->tensors[index];
	struct manifest_item *item = &m->items[f->holder];

	if ((t->flags & (TENSOR_QUANTISED | TENSOR_WRAPPED)) != 0 || t->storage >= m->nstorages)
		refuse(f, item->name, "is or holds a tensor that is not plain, which a distributed folder cannot");
	else if (m->item_of[t->storage] == MANIFEST_NO_ITEM)
		item->nstorages++;
	else if (m->item_of[t->storage] != f->holder)
		refuse(f, item->name, "shares a tensor with another item of a distributed folder");
	if (f->rc == 0)
		m->item_of[t->storage] = f->holder;
}

/* Callback value_copier.leaf. */
static uint32_t
take_leaf(void *arg, enum value_leaf kind, uint32_t index)
{
	struct flatten *f = arg;

	if (kind == LEAF_TENSOR)
		take_tensor(f, index);
	else
		refuse(f, f->m->items[f->holder].name, "holds a storage without its tensor");
	return index;
}

/* Assigns the storages of all tensors in value h to the current item. */
static int
take_value(struct flatten *f, uint32_t h)
{
	struct vtree *copy = vtree_new();
	uint64_t size;

	value_copier_reset(&f->copier, copy);
	(void)value_copy(&f->copier, h, f->err);
	size = f->copier.nreached;
	for (uint32_t i = 0; i < vtree_count(copy); i++)
		size += value_text(copy, i).len;
	vtree_free(copy);
	return f->rc == 0 ? spend(f, size) : -1;
}

/* Makes the current item a tensor. If another item is the same tensor, its bytes are used for both. */
static int
take_item(struct flatten *f, uint32_t tensor)
{
	struct manifest_item *items = f->m->items;
	uint32_t storage = f->m->tensors[tensor].storage, other;

	other = storage < f->m->nstorages ? f->m->item_of[storage] : MANIFEST_NO_ITEM;
	items[f->holder].tensor = tensor;
	if (other != MANIFEST_NO_ITEM && items[other].tensor == tensor)
		items[f->holder].bytes = other;
	else
		take_tensor(f, tensor);
	return f->rc;
}

static int
add_item(struct flatten *f, struct str name, uint32_t h)
{
	struct manifest *m = f->m;
	uint32_t number = (uint32_t)m->nitems, nodes = vtree_count(m->tree), tensor;
	size_t size = f->depth * sizeof(*f->path);

	if (!strmap_add(&f->names, name, number))
		return refuse(f, name, "two entries would have this name in a distributed folder");
	if (!utf8_valid(name))
		return refuse(f, name, "the name is not UTF-8, which a distributed folder needs");
	*xpush(m->items, m->nitems, f->cap) = (struct manifest_item){
		name, memcpy(arena_alloc(f->arena, size), f->path, size), f->depth, h, UINT32_MAX, number, 0
	};
	f->holder = number;
	if (tree_is_tensor(m->tree, h, &tensor))
		return take_item(f, tensor);
	if (tree_is_composite(m->tree, h))
		return refuse(f, name,
			      value_is_global(m->tree, value_item(m->tree, value_object(m->tree, h)->args, 1),
					      "torch.distributed.tensor", "DTensor")
				      ? "is a DTensor, of which a file has the part of one rank: --ranks joins the files of all"
				      : "is not a plain tensor, and a distributed folder holds no others");
	if (h >= nodes) /* a small integer is its own handle */
		return 0;
	if (f->item[h] != 0) {
		m->items[number].bytes = f->item[h] - 1;
		return 0;
	}
	f->item[h] = number + 1;
	return take_value(f, h);
}

/* torch converts every key to text. Returns true for kinds of keys that tree_put_key converts in the same way. */
static bool
is_plain_key(const struct vtree *t, uint32_t container, size_t i)
{
	switch (value_kind(t, container) == VALUE_DICT ? value_kind(t, value_key(t, container, i)) : VALUE_INT) {
	case VALUE_STR:
	case VALUE_PYSTR:
	case VALUE_INT:
	case VALUE_BOOL:
	case VALUE_FLOAT:
	case VALUE_NONE: return true;
	default: return false;
	}
}

static int flatten_all(struct flatten *f, uint32_t container, struct str name);

static int
flatten_value(struct flatten *f, uint32_t h, struct str name)
{
	uint32_t inner = container_of(f->m->tree, h);

	if (spend(f, 1 + name.len) < 0)
		return -1;
	if (inner == VALUE_ABSENT || (value_kind(f->m->tree, inner) == VALUE_LIST && !opens(f, inner, 0)))
		return add_item(f, name, h);
	return flatten_all(f, inner, name);
}

/* Flattens a dict or list. f->path and name are the path to it. */
static int
flatten_all(struct flatten *f, uint32_t container, struct str name)
{
	const struct vtree *t = f->m->tree;
	struct manifest_step *step = &f->path[f->depth];
	struct buf b = BUF_INIT;
	size_t begin;
	int rc = 0;

	if (f->depth == PICKLE_DEPTH_MAX)
		return refuse(f, name, "is nested too deeply");
	f->depth++;
	for (size_t i = 0; rc == 0 && i < value_len(t, container); i++) {
		buf_clear(&b);
		buf_addstr(&b, name);
		if (f->depth > 1)
			buf_addc(&b, '.');
		begin = b.len;
		tree_put_key(&b, t, container, i);
		*step = (struct manifest_step){ .position = i, .is_position = value_kind(t, container) == VALUE_LIST };
		step->key = str_from(arena_str(f->arena, buf_str(&b)), begin);
		rc = is_plain_key(t, container, i)
			     ? flatten_value(f, tree_child(t, container, i), str_n(step->key.p - begin, b.len))
			     : refuse(f, step->key, "the key is neither text nor a number");
	}
	f->depth--;
	buf_release(&b);
	return rc;
}

/* Returns the budget for shared objects, from the size of all values of the tree. */
static uint64_t
budget(const struct vtree *t)
{
	uint64_t n = (uint64_t)64 << 20;

	for (uint32_t i = 0; i < vtree_count(t); i++)
		n += 4 * (1 + value_len(t, i) + value_text(t, i).len);
	return n;
}

static int
itemise(struct manifest *m, struct arena *a, struct err *err)
{
	uint32_t nodes = vtree_count(m->tree), root = container_of(m->tree, m->root);
	struct flatten f = { .m = m, .arena = a, .budget = budget(m->tree), .err = err };
	struct manifest_item *items;

	if (root == VALUE_ABSENT || value_kind(m->tree, root) != VALUE_DICT)
		return err_set(err, ERR_INPUT,
			       "torch.distributed.checkpoint saves dictionaries, and this object is not one; --to torch keeps it");
	f.item = xcalloc(nodes, sizeof(*f.item));
	f.opens = xcalloc(nodes, sizeof(*f.opens));
	f.copier = (struct value_copier){ .leaf = take_leaf, .arg = &f, .src = m->tree };
	m->item_of = arena_alloc(a, (m->nstorages + 1) * sizeof(*m->item_of));
	memset(m->item_of, 0xff, m->nstorages * sizeof(*m->item_of));
	f.rc = flatten_all(&f, root, str_c("")) < 0 ? -1 : f.rc;
	items = arena_calloc(a, m->nitems, sizeof(*items));
	if (m->nitems > 0)
		memcpy(items, m->items, m->nitems * sizeof(*items));
	free(m->items);
	m->items = items;
	value_copier_release(&f.copier);
	strmap_release(&f.names);
	free(f.item);
	free(f.opens);
	return f.rc;
}

static int
check(const struct manifest *m, struct err *err)
{
	for (uint32_t i = 0; i < m->ntensors; i++) {
		const struct dtype_info *info = dtype_info((enum dtype)m->tensors[i].dtype);

		if (!info->torch)
			return err_set(err, ERR_INPUT, "torch has no dtype %s: safetensors can hold it", info->name);
	}
	return 0;
}

/* ---- items */

struct item_place {
	uint64_t offset, length;
};

struct dcp_out {
	struct item_place *places; /* by item */
	struct value_copier copier;
	/* State of the item that is being written. */
	struct writer item;
	struct manifest m;
	struct vtree *tree; /* NULL if no item is being written */
	const struct manifest *all;
	uint32_t number, first; /* number of the item, and its first storage */
	size_t cap;             /* capacity of m.tensors */
};

/* Callback value_copier.leaf. Numbers the tensors and storages of an item from 0. */
static uint32_t
give_leaf(void *arg, enum value_leaf kind, uint32_t index)
{
	struct dcp_out *d = arg;
	struct tensor *t;

	(void)kind;
	d->m.tensors = xgrow(d->m.tensors, d->m.ntensors, &d->cap, sizeof(*d->m.tensors));
	t = &d->m.tensors[d->m.ntensors];
	*t = d->all->tensors[index];
	t->storage -= d->first;
	t->wrap = VALUE_ABSENT;
	if (d->all->items[d->number].tensor != UINT32_MAX) /* torch saves detached tensors */
		t->flags &= (uint8_t) ~(TENSOR_PARAMETER | TENSOR_REQUIRES_GRAD);
	return d->m.ntensors++;
}

/* Begins item number, whose first storage is first. */
static int
begin_item(struct writer *w, uint32_t number, uint32_t first, struct err *err)
{
	struct dcp_out *d = w->priv;
	const struct manifest_item *item = &w->m->items[number];

	d->number = number;
	d->first = first;
	d->places[number].offset = sink_at(w->out);
	d->tree = vtree_new();
	value_copier_reset(&d->copier, d->tree);
	d->m.ntensors = 0;
	d->m.root = value_copy(&d->copier, item->value, err);
	d->m.tree = d->tree;
	d->m.storages = w->m->storages == NULL ? NULL : w->m->storages + first;
	d->m.nstorages = item->nstorages;
	d->item = (struct writer){ .format = &writer_torch, .m = &d->m, .out = w->out };
	d->item.priv = xcalloc(1, writer_torch.priv_size);
	return writer_torch.begin(&d->item, err);
}

static void
drop_item(struct dcp_out *d)
{
	writer_release(&d->item);
	vtree_free(d->tree);
	d->tree = NULL;
}

static int
end_item(struct writer *w, struct err *err)
{
	struct dcp_out *d = w->priv;
	int rc = writer_finish(&d->item, err);

	d->places[d->number].length = sink_at(w->out) - d->places[d->number].offset;
	drop_item(d);
	return rc;
}

static int
begin(struct writer *w, struct err *err)
{
	struct dcp_out *d = w->priv;
	const struct manifest_item *item;

	d->places = xcalloc(w->m->nitems, sizeof(*d->places));
	d->all = w->m;
	d->copier = (struct value_copier){ .leaf = give_leaf, .arg = d, .src = w->m->tree };
	for (uint32_t i = 0; i < w->m->nitems; i++) {
		item = &w->m->items[i];
		if (item->nstorages == 0 && item->bytes == i && (begin_item(w, i, 0, err) < 0 || end_item(w, err) < 0))
			return -1;
	}
	return 0;
}

static int
storage(struct writer *w, uint32_t i, struct err *err)
{
	struct dcp_out *d = w->priv;

	if (d->tree == NULL && begin_item(w, w->m->item_of[i], i, err) < 0)
		return -1;
	return writer_storage(&d->item, i - d->first, err);
}

static int
stored(struct writer *w, uint32_t i, uint32_t crc, struct err *err)
{
	struct dcp_out *d = w->priv;

	if (writer_stored(&d->item, i - d->first, crc, err) < 0)
		return -1;
	return d->item.next == d->m.nstorages ? end_item(w, err) : 0;
}

/* ---- .metadata: a pickle of protocol 4, with the opcodes that Python's pickler uses */

#define CHECKPOINT "torch.distributed.checkpoint."

enum metadata_class {
	CLASS_METADATA,
	CLASS_TENSOR,
	CLASS_PROPERTIES,
	CLASS_FORMAT,
	CLASS_CHUNK,
	CLASS_BYTES,
	CLASS_INDEX,
	CLASS_PLACE,
	CLASS_SIZE,
	CLASS_LAYOUT,
	CLASS_DTYPES, /* class of dtype d is CLASS_DTYPES + d */
};

static const char *const class_names[][2] = {
	[CLASS_METADATA] = { CHECKPOINT "metadata", "Metadata" },
	[CLASS_TENSOR] = { CHECKPOINT "metadata", "TensorStorageMetadata" },
	[CLASS_PROPERTIES] = { CHECKPOINT "metadata", "TensorProperties" },
	[CLASS_FORMAT] = { CHECKPOINT "metadata", "_MEM_FORMAT_ENCODING" },
	[CLASS_CHUNK] = { CHECKPOINT "metadata", "ChunkStorageMetadata" },
	[CLASS_BYTES] = { CHECKPOINT "metadata", "BytesStorageMetadata" },
	[CLASS_INDEX] = { CHECKPOINT "metadata", "MetadataIndex" },
	[CLASS_PLACE] = { CHECKPOINT "filesystem", "_StorageInfo" },
	[CLASS_SIZE] = { "torch", "Size" },
	[CLASS_LAYOUT] = { "torch.serialization", "_get_layout" },
};

/* State of writing .metadata. Names are memoised when the first table writes them, classes at their first use. */
struct metadata_out {
	struct buf b;
	uint32_t memo;         /* next memo number */
	uint32_t classes[256]; /* 1 + memo number; 0 if not yet written */
	uint32_t *names;       /* by item: memo number */
	const struct writer *w;
};

static void
put_text(struct metadata_out *o, struct str s)
{
	buf_addc(&o->b, (char)(s.len < 256 ? OP_SHORT_BINUNICODE : OP_BINUNICODE));
	if (s.len < 256)
		buf_addc(&o->b, (char)s.len);
	else
		buf_le32(&o->b, (uint32_t)s.len);
	buf_addstr(&o->b, s);
}

static void
put_op(struct metadata_out *o, unsigned char op)
{
	buf_addc(&o->b, (char)op);
}

static void
put_memoised(struct metadata_out *o, uint32_t number)
{
	put_op(o, number < 256 ? OP_BINGET : OP_LONG_BINGET);
	if (number < 256)
		buf_addc(&o->b, (char)number);
	else
		buf_le32(&o->b, number);
}

static void
put_class(struct metadata_out *o, unsigned number)
{
	bool dtype = number >= CLASS_DTYPES;

	if (o->classes[number] != 0) {
		put_memoised(o, o->classes[number] - 1);
		return;
	}
	put_text(o, str_c(dtype ? "torch" : class_names[number][0]));
	put_text(o, str_c(dtype ? dtype_name((enum dtype)(number - CLASS_DTYPES)) : class_names[number][1]));
	put_op(o, OP_STACK_GLOBAL);
	put_op(o, OP_MEMOIZE);
	o->classes[number] = ++o->memo;
}

static void
put_int(struct metadata_out *o, uint64_t v)
{
	unsigned n = 8;

	if (v <= UINT8_MAX) {
		put_op(o, OP_BININT1);
		buf_addc(&o->b, (char)v);
	} else if (v <= UINT16_MAX) {
		put_op(o, OP_BININT2);
		buf_le16(&o->b, (uint16_t)v);
	} else if (v <= INT32_MAX) {
		put_op(o, OP_BININT);
		buf_le32(&o->b, (uint32_t)v);
	} else { /* two's complement, so the highest bit must be 0 */
		while (n > 0 && v >> (8 * n - 1) == 0)
			n--;
		put_op(o, OP_LONG1);
		buf_addc(&o->b, (char)(n + 1));
		for (unsigned i = 0; i <= n; i++)
			buf_addc(&o->b, (char)(i < 8 ? v >> (8 * i) : 0));
	}
}

/* Writes the opcode for a tuple of n values. If n > 3, a MARK must precede them. */
static void
put_tuple(struct metadata_out *o, unsigned n)
{
	static const unsigned char ops[] = { OP_EMPTY_TUPLE, OP_TUPLE1, OP_TUPLE2, OP_TUPLE3 };

	put_op(o, n > 3 ? OP_TUPLE : ops[n]);
}

/* Writes a torch.Size. If shape is NULL, its n sizes are 0. */
static void
put_size(struct metadata_out *o, const uint64_t *shape, unsigned n)
{
	put_class(o, CLASS_SIZE);
	if (n > 3)
		put_op(o, OP_MARK);
	for (unsigned i = 0; i < n; i++)
		put_int(o, shape == NULL ? 0 : shape[i]);
	put_tuple(o, n);
	put_tuple(o, 1);
	put_op(o, OP_REDUCE);
}

/*
 * Writes the opcodes in what. It may contain %c for a class, %s for a text, %i for a uint64_t, %m for a memo number, and %z for a
 * size (its numbers and their count).
 */
static void
put(struct metadata_out *o, const char *what, ...)
{
	const uint64_t *shape;
	va_list ap;

	va_start(ap, what);
	for (; *what != '\0'; what++) {
		if (*what != '%') {
			buf_addc(&o->b, *what);
			continue;
		}
		switch (*++what) {
		case 'c': put_class(o, va_arg(ap, unsigned)); break;
		case 's': put_text(o, str_c(va_arg(ap, const char *))); break;
		case 'i': put_int(o, va_arg(ap, uint64_t)); break;
		case 'm': put_memoised(o, va_arg(ap, uint32_t)); break;
		default: shape = va_arg(ap, const uint64_t *); put_size(o, shape, va_arg(ap, unsigned));
		}
	}
	va_end(ap);
}

/*
 * Writes the description of an item. A tensor has one chunk. An object is made by NEWOBJ, and BUILD (b) sets its fields from a dict
 * or tuple.
 */
static void
put_kind(struct metadata_out *o, const struct manifest_item *item)
{
	const struct tensor *t = &o->w->m->tensors[item->tensor];
	const bool grad = item->tensor != UINT32_MAX && (t->flags & TENSOR_REQUIRES_GRAD) != 0;
	const uint64_t contiguous = 0, *zeros = NULL;

	if (item->tensor == UINT32_MAX) {
		put(o, "%c)" PICKLE_NEWOBJ, CLASS_BYTES);
		return;
	}
	put(o, "%c)" PICKLE_NEWOBJ "}(%s%c)" PICKLE_NEWOBJ "(", CLASS_TENSOR, "properties", CLASS_PROPERTIES);
	put(o, "%c%c%s" PICKLE_TUPLE1 "R", CLASS_DTYPES + t->dtype, CLASS_LAYOUT, "torch.strided");
	put(o, grad ? PICKLE_TRUE : PICKLE_FALSE);
	put(o, "%c%i" PICKLE_TUPLE1 "R" PICKLE_FALSE "tb", CLASS_FORMAT, contiguous); /* pinned memory: false */
	put(o, "%s%z%s]", "size", t->shape, (unsigned)t->ndim, "chunks");
	put(o, "%c)" PICKLE_NEWOBJ "}(%s%z", CLASS_CHUNK, "offsets", zeros, (unsigned)t->ndim);
	put(o, "%s%zubaub", "sizes", t->shape, (unsigned)t->ndim);
}

static void
put_path(struct metadata_out *o, const struct manifest_item *item)
{
	if (item->npath > 3)
		put_op(o, OP_MARK);
	for (unsigned i = 0; i < item->npath; i++) {
		if (item->path[i].is_position)
			put_int(o, item->path[i].position);
		else
			put_text(o, item->path[i].key);
	}
	put_tuple(o, item->npath);
}

/* Writes the place of an item. The key names the item and, for a tensor, its chunk. */
static void
put_place(struct metadata_out *o, uint32_t i)
{
	const struct manifest_item *item = &o->w->m->items[i];
	const struct dcp_out *d = o->w->priv;
	const struct item_place *place = &d->places[item->bytes];
	const uint64_t chunk = 0, *zeros = NULL;

	put(o, "%c)" PICKLE_NEWOBJ "}(%s%m%s", CLASS_INDEX, "fqn", o->names[i], "index");
	if (item->tensor == UINT32_MAX)
		put(o, "Nub");
	else
		put(o, "%i%s%zub", chunk, "offset", zeros, (unsigned)o->w->m->tensors[item->tensor].ndim);
	put(o, "%c)" PICKLE_NEWOBJ "}(%s%s", CLASS_PLACE, "relative_path", "__0_0.distcp");
	put(o, "%s%i%s%iub", "offset", place->offset, "length", place->length);
}

/* The number of pairs of one SETITEMS, as in Python's pickler. */
enum { BATCH = 1000 };

enum metadata_table { TABLE_KINDS, TABLE_PATHS, TABLE_PLACES };

static void
put_table(struct metadata_out *o, enum metadata_table table)
{
	const struct manifest *m = o->w->m;

	put_op(o, OP_EMPTY_DICT);
	for (uint32_t i = 0; i < m->nitems; i++) {
		if (i % BATCH == 0)
			put_op(o, OP_MARK);
		if (table == TABLE_KINDS) {
			put_text(o, m->items[i].name);
			put_op(o, OP_MEMOIZE);
			o->names[i] = o->memo++;
			put_kind(o, &m->items[i]);
		} else if (table == TABLE_PATHS) {
			put_memoised(o, o->names[i]);
			put_path(o, &m->items[i]);
		} else {
			put_place(o, i);
		}
		if (i % BATCH == BATCH - 1 || i + 1 == m->nitems)
			put_op(o, OP_SETITEMS);
	}
}

static void
put_tables(struct metadata_out *o)
{
	put(o, "%c)" PICKLE_NEWOBJ "}(%s", CLASS_METADATA, "state_dict_metadata");
	put_table(o, TABLE_KINDS);
	put(o, "%s", "planner_data");
	put_table(o, TABLE_PATHS);
	put(o, "%s", "storage_data");
	put_table(o, TABLE_PLACES);
	put(o, "%sN%s%sub.", "storage_meta", "version", "1.0.0");
}

static int
finish(struct writer *w, struct err *err)
{
	struct metadata_out o = { .w = w };
	struct buf head = BUF_INIT;
	int rc;

	if (w->beside == NULL)
		return 0;
	o.names = xcalloc(w->m->nitems, sizeof(*o.names));
	put_tables(&o);
	buf_addc(&head, (char)OP_PROTO);
	buf_addc(&head, 4);
	buf_addc(&head, (char)OP_FRAME);
	buf_le64(&head, o.b.len);
	rc = sink_write(w->beside, head.p, head.len, err);
	if (rc == 0)
		rc = sink_write(w->beside, o.b.p, o.b.len, err);
	buf_release(&head);
	buf_release(&o.b);
	free(o.names);
	return rc;
}

static void
release(struct writer *w)
{
	struct dcp_out *d = w->priv;

	drop_item(d);
	value_copier_release(&d->copier);
	free(d->m.tensors);
	free(d->places);
}

const struct format_writer writer_dcp = {
	.name = "dcp",
	.shares = false,
	.pickles = true,
	.folder = true,
	.priv_size = sizeof(struct dcp_out),
	.itemise = itemise,
	.check = check,
	.begin = begin,
	.storage = storage,
	.stored = stored,
	.finish = finish,
	.release = release,
	.needs_crc = true,
};
