#include "format/dcp_metadata.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "pickle/machine.h"
#include "tensor/tensor.h"

/* State while one metadata file is added. */
struct adding {
	struct dcp_metadata *m;
	const char *file;
	struct vtree *t;
	bool flat;               /* planner_data is missing */
	struct strmap texts;     /* maps handles of keys to their texts in the arena */
	struct dcp_item *boxes;  /* boxes of tensors, whose place in the files is not known yet */
	struct dcp_item *stored; /* places of items in the files; their sizes are not known yet */
	size_t nboxes, nstored, cap_boxes, cap_stored;
	struct err *err;
};

void
dcp_metadata_init(struct dcp_metadata *m)
{
	*m = (struct dcp_metadata){ .by_name = STRMAP_INIT, .by_file = STRMAP_INIT };
	arena_init(&m->arena);
}

void
dcp_metadata_release(struct dcp_metadata *m)
{
	free(m->names);
	free(m->items);
	free(m->files);
	strmap_release(&m->by_name);
	strmap_release(&m->by_file);
	arena_release(&m->arena);
}

/* ---- values */

/* Callback pickle_hooks.reduce. Replaces torch.Size(tuple) by the tuple. */
static int
take_size(void *arg, struct vtree *t, const struct pickle_call *call, uint32_t *out, struct err *err)
{
	(void)arg;
	(void)err;
	if (!value_is_global(t, call->callable, "torch", "Size") || value_len(t, call->args) != 1 ||
	    value_kind(t, value_item(t, call->args, 0)) != VALUE_TUPLE)
		return 0;
	*out = value_item(t, call->args, 0);
	return 1;
}

/* Returns a field of an object. */
static uint32_t
field(const struct adding *a, uint32_t h, const char *name)
{
	const struct vobject *o = value_object(a->t, h);

	return o == NULL ? VALUE_ABSENT : value_get(a->t, o->state, str_c(name));
}

static bool
is_class(const struct adding *a, uint32_t h, const char *name)
{
	const struct vobject *o = value_object(a->t, h);

	return o != NULL && value_kind(a->t, o->callable) == VALUE_GLOBAL &&
	       str_starts(value_module(a->t, o->callable), str_c("torch.distributed.")) &&
	       str_eqc(value_name(a->t, o->callable), name);
}

static int
bad(const struct adding *a, struct str name, const char *what)
{
	return err_input(a->err, a->file, "'%.*s': %s", STR_ARG(name), what);
}

/*
 * Reads sizes from h: *ndim of them, or any number if *ndim is UINT32_MAX. They are allocated from the arena. Returns NULL if h has
 * no such sizes.
 */
static const uint64_t *
sizes(const struct adding *a, uint32_t h, unsigned *ndim)
{
	enum value_kind kind = value_kind(a->t, h);
	size_t n = value_len(a->t, h);
	uint64_t *v;

	if ((kind != VALUE_TUPLE && kind != VALUE_LIST) || n > TENSOR_NDIM_MAX || (*ndim != UINT32_MAX && n != *ndim))
		return NULL;
	v = arena_alloc(&a->m->arena, (n + 1) * sizeof(*v));
	for (size_t i = 0; i < n; i++)
		if (!value_u64(a->t, value_item(a->t, h, i), &v[i]))
			return NULL;
	*ndim = (unsigned)n;
	return v;
}

/* ---- names */

static struct dcp_name *
add_name(struct dcp_metadata *m, struct str name)
{
	name = arena_str(&m->arena, name);
	strmap_add(&m->by_name, name, m->nnames);
	*xpush(m->names, m->nnames, m->cap_names) = (struct dcp_name){ .name = name };
	return &m->names[m->nnames - 1];
}

static struct dcp_name *
find_name(struct dcp_metadata *m, struct str name)
{
	uint64_t i;

	return strmap_get(&m->by_name, name, &i) ? &m->names[i] : NULL;
}

static bool
same_path(const struct dcp_name *n, const struct dcp_step *path, size_t nsteps)
{
	if (n->nsteps != nsteps)
		return false;
	for (size_t i = 0; i < nsteps; i++)
		if (n->path[i].list != path[i].list || n->path[i].index != path[i].index || !str_eq(n->path[i].key, path[i].key))
			return false;
	return true;
}

/* Returns the text of key h. It is copied only once for each handle. */
static struct str
step_text(struct adding *a, uint32_t h)
{
	struct str text = value_text(a->t, h), key = str_n((const char *)&h, sizeof(h));
	uint64_t at;

	if (strmap_get(&a->texts, key, &at))
		return str_n((const char *)(uintptr_t)at, text.len);
	text = arena_str(&a->m->arena, text);
	strmap_add(&a->texts, arena_str(&a->m->arena, key), (uintptr_t)text.p);
	return text;
}

static int
set_path(struct adding *a, struct dcp_name *n, uint32_t h)
{
	size_t nsteps = value_len(a->t, h);
	struct dcp_step *path;

	if (value_kind(a->t, h) != VALUE_TUPLE || nsteps == 0 || nsteps > PICKLE_DEPTH_MAX)
		return bad(a, n->name, "its path in planner_data is not a tuple of keys");
	path = arena_calloc(&a->m->arena, nsteps, sizeof(*path));
	for (size_t i = 0; i < nsteps; i++) {
		uint32_t step = value_item(a->t, h, i);

		path[i].list = value_u64(a->t, step, &path[i].index);
		if (!path[i].list && value_kind(a->t, step) != VALUE_STR)
			return bad(a, n->name, "its path in planner_data is not a tuple of keys");
		path[i].key = path[i].list ? str_c("") : step_text(a, step);
	}
	if (n->path != NULL && !same_path(n, path, nsteps))
		return bad(a, n->name, "the metadata of another rank gives it another path");
	n->path = path;
	n->nsteps = nsteps;
	return 0;
}

/* Reads the names in the order of the state dict, and their paths in it. */
static int
read_planner(struct adding *a, uint32_t h)
{
	size_t n = value_len(a->t, h);
	int rc = 0;

	a->flat = value_kind(a->t, h) == VALUE_NONE;
	if (!a->flat && value_kind(a->t, h) != VALUE_DICT)
		return err_input(a->err, a->file, "its planner_data is not a dict");
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct str name = value_text(a->t, value_key(a->t, h, i));
		struct dcp_name *there = find_name(a->m, name);

		rc = set_path(a, there != NULL ? there : add_name(a->m, name), value_val(a->t, h, i));
	}
	return rc;
}

/* ---- tensors */

static int
read_dtype(const struct adding *a, uint32_t h, uint8_t *dtype)
{
	uint32_t properties = field(a, h, "properties"), value = field(a, properties, "dtype");
	const struct vobject *o = value_object(a->t, properties);
	enum dtype d;

	if (o != NULL && value_kind(a->t, o->state) == VALUE_TUPLE)
		value = value_item(a->t, o->state, 0);
	if (value_kind(a->t, value) != VALUE_GLOBAL || !str_eqc(value_module(a->t, value), "torch"))
		return -1;
	d = dtype_by_name(value_name(a->t, value));
	*dtype = (uint8_t)d;
	return d == DTYPE_UNKNOWN ? -1 : 0;
}

static int
read_boxes(struct adding *a, uint32_t number, uint32_t chunks)
{
	const struct dcp_name *n = &a->m->names[number];
	unsigned ndim = n->ndim;

	if (value_kind(a->t, chunks) != VALUE_LIST)
		return bad(a, n->name, "it has no list of chunks");
	for (size_t i = 0; i < value_len(a->t, chunks); i++) {
		uint32_t chunk = value_item(a->t, chunks, i);
		struct dcp_item box = { .name = number, .source = a->m->sources };

		box.low = sizes(a, field(a, chunk, "offsets"), &ndim);
		box.size = sizes(a, field(a, chunk, "sizes"), &ndim);
		if (box.low == NULL || box.size == NULL)
			return bad(a, n->name, "the offsets or sizes of a chunk have another number of dimensions than its shape");
		/* One list may be shared by any number of tensors. */
		if (a->nboxes > 2 * a->cap_stored)
			return bad(a, n->name, "the tensors have more chunks than there are items");
		*xpush(a->boxes, a->nboxes, a->cap_boxes) = box;
	}
	return 0;
}

static int
read_tensor(struct adding *a, struct dcp_name *n, uint32_t h)
{
	unsigned ndim = UINT32_MAX;
	const uint64_t *shape = sizes(a, field(a, h, "size"), &ndim);
	uint8_t dtype;

	if (shape == NULL)
		return bad(a, n->name, "its size is not a tuple of numbers");
	if (read_dtype(a, h, &dtype) < 0)
		return bad(a, n->name, "it has no known dtype");
	if (n->listed > 0 && (!shape_eq(shape, ndim, n->shape, n->ndim) || dtype != n->dtype))
		return bad(a, n->name, "the metadata of another rank gives it another size or dtype");
	n->shape = shape;
	n->ndim = (uint8_t)ndim;
	n->dtype = dtype;
	return read_boxes(a, (uint32_t)(n - a->m->names), field(a, h, "chunks"));
}

static int
read_entry(struct adding *a, struct str name, uint32_t h)
{
	struct dcp_name *n = find_name(a->m, name);
	bool tensor = is_class(a, h, "TensorStorageMetadata");

	if (n == NULL && !a->flat)
		return bad(a, name, "planner_data lacks it");
	if (n == NULL) {
		struct dcp_step *path = arena_calloc(&a->m->arena, 1, sizeof(*path));

		n = add_name(a->m, name);
		path->key = n->name;
		n->path = path;
		n->nsteps = 1;
	}
	if (!tensor && !is_class(a, h, "BytesStorageMetadata"))
		return bad(a, name, "it is neither a tensor nor another value that torch writes");
	if (n->listed == a->m->sources + 1)
		return bad(a, name, "it occurs twice");
	if (n->listed > 0 && n->tensor != tensor)
		return bad(a, name, "the metadata of another rank says that it is something else");
	n->tensor = tensor;
	if (tensor && read_tensor(a, n, h) < 0)
		return -1;
	n->listed = a->m->sources + 1;
	return 0;
}

static int
read_entries(struct adding *a, uint32_t h)
{
	size_t n = value_len(a->t, h);
	int rc = 0;

	if (value_kind(a->t, h) != VALUE_DICT)
		return err_input(a->err, a->file, "it has no state_dict_metadata");
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = read_entry(a, value_text(a->t, value_key(a->t, h, i)), value_val(a->t, h, i));
	/* Names from another metadata file need not occur in this one. */
	for (size_t i = 0; rc == 0 && i < a->m->nnames; i++)
		if (a->m->names[i].listed == 0)
			rc = bad(a, a->m->names[i].name, "planner_data has it, but state_dict_metadata lacks it");
	return rc;
}

/* ---- places of items in the files */

static int
find_file(const struct adding *a, struct str name, uint32_t *file)
{
	struct dcp_metadata *m = a->m;
	uint64_t i;

	if (name.len == 0 || memchr(name.p, '/', name.len) != NULL || memchr(name.p, '\0', name.len) != NULL ||
	    str_eqc(name, "..") || str_eqc(name, "."))
		return err_input(a->err, a->file, "'%.*s' is not the name of a file in the folder", STR_ARG(name));
	if (!strmap_get(&m->by_file, name, &i)) {
		i = m->nfiles;
		*xpush(m->files, m->nfiles, m->cap_files) = arena_str(&m->arena, name).p;
		strmap_add(&m->by_file, str_c(m->files[i]), i);
	}
	*file = (uint32_t)i;
	return 0;
}

static int
read_place(const struct adding *a, uint32_t info, struct dcp_item *item)
{
	struct dcp_metadata *m = a->m;
	uint32_t path = field(a, info, "relative_path"), transforms = field(a, info, "transform_descriptors");

	if (!value_is_text(a->t, path) || !value_u64(a->t, field(a, info, "offset"), &item->offset) ||
	    !value_u64(a->t, field(a, info, "length"), &item->length) || item->offset > INT64_MAX ||
	    item->length > INT64_MAX - item->offset)
		return bad(a, m->names[item->name].name, "its entry in storage_data is not a file, an offset and a length");
	if (value_len(a->t, transforms) > 0 && m->transform.len == 0) {
		struct str text = value_text(a->t, value_item(a->t, transforms, 0));

		m->transform = arena_str(&m->arena, text.len > 0 ? text : str_c("something unknown"));
	}
	return find_file(a, value_text(a->t, path), &item->file);
}

static int
read_stored(struct adding *a, uint32_t index, uint32_t info)
{
	struct str name = value_text(a->t, field(a, index, "fqn"));
	const struct dcp_name *n = find_name(a->m, name);
	struct dcp_item *item = &a->stored[a->nstored];
	unsigned ndim;

	if (n == NULL || n->listed != a->m->sources + 1)
		return bad(a, name, "storage_data has it, but state_dict_metadata lacks it");
	ndim = n->ndim;
	*item = (struct dcp_item){ .name = (uint32_t)(n - a->m->names), .source = a->m->sources };
	if (n->tensor) {
		item->low = sizes(a, field(a, index, "offset"), &ndim);
		if (item->low == NULL)
			return bad(a, name, "the offset of a stored item does not fit its shape");
	}
	a->nstored++;
	return read_place(a, info, item);
}

static int
read_storage(struct adding *a, uint32_t h)
{
	size_t n = value_len(a->t, h);
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = read_stored(a, value_key(a->t, h, i), value_val(a->t, h, i));
	return rc;
}

/* ---- joining boxes and places */

/* Compares by name and first index. */
static int
compare_place(const struct dcp_item *x, const struct dcp_item *y, unsigned ndim)
{
	if (x->name != y->name)
		return x->name < y->name ? -1 : 1;
	for (unsigned d = 0; x->low != NULL && d < ndim; d++)
		if (x->low[d] != y->low[d])
			return x->low[d] < y->low[d] ? -1 : 1;
	return 0;
}

static int
by_place(const void *p, const void *q, void *arg)
{
	const struct dcp_name *names = arg;
	const struct dcp_item *x = p, *y = q;
	int c = compare_place(x, y, names[x->name].ndim);

	return c != 0 ? c : (x->source > y->source) - (x->source < y->source);
}

static int
not_stored(const struct adding *a, const struct dcp_item *box)
{
	const struct dcp_name *n = &a->m->names[box->name];
	struct buf b = BUF_INIT;

	shape_put(&b, box->size, n->ndim);
	buf_adds(&b, " at ");
	shape_put(&b, box->low, n->ndim);
	err_input(a->err, a->file, "tensor '%.*s': storage_data lacks its box %.*s", STR_ARG(n->name), STR_ARG(buf_str(&b)));
	buf_release(&b);
	return -1;
}

/* Joins boxes and places. Every box must have a place, and every place must belong to a box or to another value. */
static int
join(struct adding *a)
{
	struct dcp_metadata *m = a->m;
	size_t k = 0;

	qsort_r(a->stored, a->nstored, sizeof(*a->stored), by_place, m->names);
	if (a->nboxes > 0)
		qsort_r(a->boxes, a->nboxes, sizeof(*a->boxes), by_place, m->names);
	for (size_t i = 0; i < a->nstored; i++) {
		const struct dcp_item *s = &a->stored[i];
		const struct dcp_name *n = &m->names[s->name];
		size_t first = k;

		if (i > 0 && compare_place(s - 1, s, n->ndim) == 0)
			return bad(a, n->name, "two stored items have the same offset");
		if (!n->tensor) {
			*xpush(m->items, m->nitems, m->cap_items) = *s;
			continue;
		}
		for (; k < a->nboxes && compare_place(&a->boxes[k], s, n->ndim) == 0; k++) {
			struct dcp_item item = *s;

			item.size = a->boxes[k].size;
			*xpush(m->items, m->nitems, m->cap_items) = item;
		}
		if (first == k && (k == a->nboxes || compare_place(&a->boxes[k], s, n->ndim) > 0))
			return bad(a, n->name, "a stored item is not one of its chunks");
		if (first == k)
			break;
	}
	return k < a->nboxes ? not_stored(a, &a->boxes[k]) : 0;
}

/* Checks that all values other than tensors are stored. */
static int
check_values(const struct adding *a)
{
	struct dcp_metadata *m = a->m;
	uint8_t *there = xcalloc(m->nnames + 1, 1);
	int rc = 0;

	for (size_t i = 0; i < a->nstored; i++)
		there[a->stored[i].name] = 1;
	for (size_t i = 0; rc == 0 && i < m->nnames; i++)
		if (!m->names[i].tensor && m->names[i].listed == m->sources + 1 && !there[i])
			rc = bad(a, m->names[i].name, "storage_data lacks it");
	free(there);
	return rc;
}

static int
read_root(struct adding *a, uint32_t root)
{
	uint32_t storage = field(a, root, "storage_data");

	if (!is_class(a, root, "Metadata"))
		return err_input(a->err, a->file, "it is not the metadata of a distributed checkpoint");
	if (value_kind(a->t, storage) != VALUE_DICT)
		return err_input(a->err, a->file, "it has no storage_data");
	a->cap_stored = value_len(a->t, storage) + 1;
	a->stored = xcalloc(a->cap_stored, sizeof(*a->stored));
	if (read_planner(a, field(a, root, "planner_data")) < 0 || read_entries(a, field(a, root, "state_dict_metadata")) < 0 ||
	    read_storage(a, storage) < 0)
		return -1;
	/* The data taken out of the pickle is smaller than the pickle's tree. */
	vtree_free(a->t);
	a->t = NULL;
	return join(a) < 0 || check_values(a) < 0 ? -1 : 0;
}

int
dcp_metadata_add(struct dcp_metadata *m, struct source *src, struct err *err)
{
	struct adding a = { .m = m, .file = source_name(src), .t = vtree_new(), .texts = STRMAP_INIT, .err = err };
	struct pickle_hooks hooks = { .reduce = take_size };
	struct pickle_place place = { .src = src };
	uint32_t root = VALUE_ABSENT;
	int rc = source_size(src, &place.limit, err);

	if (rc == 0)
		rc = pickle_decode(a.t, &place, &hooks, &root, err);
	if (rc == 0)
		rc = read_root(&a, root);
	m->sources++;
	free(a.boxes);
	free(a.stored);
	strmap_release(&a.texts);
	vtree_free(a.t);
	return rc;
}

void
dcp_metadata_sort(struct dcp_metadata *m)
{
	if (m->nitems > 0)
		qsort_r(m->items, m->nitems, sizeof(*m->items), by_place, m->names);
	for (size_t i = m->nitems; i-- > 0;) {
		m->names[m->items[i].name].first = i;
		m->names[m->items[i].name].nitems++;
	}
}
