/*
 * torch_write: writes files as torch.save does: a zip with data.pkl, byteorder, version, and then the storages. Tensors and
 * storages are pickled as torch does it, the reverse of rebuild.h. Facts: lib/format/README.md, sections 2 and 3.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/xalloc.h"
#include "format/format.h"
#include "io/crc32.h"
#include "pickle/opcode.h"
#include "format/scan.h"
#include "pickle/writer.h"
#include "zip/patch.h"
#include "zip/write.h"

/* ---- tensors and storages in the pickle */

/* The tensors and storages of a manifest that are pickled. */
struct torch_tensors {
	const struct manifest *m;
	/* By storage: write it as UntypedStorage, because no storage class fits all its tensors. Set by tensors_init. */
	uint8_t *untyped;
};

/*
 * Prepares p; m is borrowed. Fails if torch lacks a dtype, or if a tensor has no data. The caller must call tensors_release in any
 * case.
 */
static int
tensors_init(struct torch_tensors *p, const struct manifest *m, struct err *err)
{
	uint32_t i;

	p->m = m;
	p->untyped = xcalloc(m->nstorages, 1);
	for (i = 0; i < m->nstorages; i++)
		p->untyped[i] = m->storages[i].untyped || dtype_info((enum dtype)m->storages[i].dtype)->storage == NULL;
	for (i = 0; i < m->ntensors; i++) {
		const struct tensor *t = &m->tensors[i];
		const struct dtype_info *info = dtype_info((enum dtype)t->dtype);

		if (!info->torch)
			return err_set(err, ERR_INPUT, "torch has no dtype %s: safetensors can hold it", info->name);
		if (t->storage >= m->nstorages)
			return err_set(err, ERR_INPUT, "a tensor of the output has no data");
		if (t->dtype != m->storages[t->storage].dtype)
			p->untyped[t->storage] = 1;
	}
	return 0;
}

static void
tensors_release(struct torch_tensors *p)
{
	free(p->untyped);
	p->untyped = NULL;
}

/* A plain or wrapped tensor that is being written. */
struct writing {
	const struct torch_tensors *p;
	struct pickle_out *o;
	const struct tensor *t;
	struct err *err;
};

static void
put_storage(const struct torch_tensors *p, struct pickle_out *o, uint32_t i)
{
	const struct manifest_storage *s = &p->m->storages[i];
	const struct dtype_info *info = dtype_info((enum dtype)s->dtype);
	const struct storage *kept = p->m->kept != NULL ? p->m->kept[i] : NULL;
	char key[16];

	snprintf(key, sizeof(key), "%" PRIu32, i);
	pickle_put(o, "(%t%g%s%T%itQ", "storage", p->untyped[i] ? "torch.storage" : "torch",
		   p->untyped[i] ? "UntypedStorage" : info->storage, kept != NULL ? kept->key : str_c(key),
		   kept != NULL ? p->m->locations[kept->location] : str_c("cpu"),
		   p->untyped[i] ? s->nbytes : s->nbytes / info->size);
}

static void
put_ints(struct pickle_out *o, const uint64_t *v, unsigned n)
{
	static const char *const ops[] = { ")", PICKLE_TUPLE1, PICKLE_TUPLE2, PICKLE_TUPLE3 };

	pickle_put(o, n > 3 ? "(" : "");
	for (unsigned i = 0; i < n; i++)
		pickle_put(o, "%i", v[i]);
	pickle_put(o, n > 3 ? "t" : ops[n]);
}

/* Writes requires_grad, and the empty OrderedDict for the hooks. */
static void
put_grad(struct pickle_out *o, bool grad)
{
	pickle_put(o, grad ? PICKLE_TRUE : PICKLE_FALSE);
	pickle_put(o, "%g)R", "collections", "OrderedDict");
}

static void
put_geometry(const struct writing *w)
{
	put_storage(w->p, w->o, w->t->storage);
	pickle_put(w->o, "%i", w->t->offset);
	put_ints(w->o, w->t->shape, w->t->ndim);
	put_ints(w->o, w->t->stride, w->t->ndim);
}

/* A typed storage determines the dtype of the tensor (_v2), an untyped one does not (_v3). */
static void
put_function(const struct writing *w)
{
	pickle_put(w->o, "%g", "torch._utils", w->p->untyped[w->t->storage] ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2");
}

static void
put_arguments(const struct writing *w, bool grad)
{
	pickle_put(w->o, "(");
	put_geometry(w);
	put_grad(w->o, grad);
	if (w->p->untyped[w->t->storage])
		pickle_put(w->o, "%g", "torch", dtype_name((enum dtype)w->t->dtype));
	/* {'conj': True, 'neg': True}, or one of the two */
	if (w->t->flags & (TENSOR_CONJ | TENSOR_NEG))
		pickle_put(w->o, "}");
	if (w->t->flags & TENSOR_CONJ)
		pickle_put(w->o, "%t" PICKLE_TRUE "s", "conj");
	if (w->t->flags & TENSOR_NEG)
		pickle_put(w->o, "%t" PICKLE_TRUE "s", "neg");
	pickle_put(w->o, "t");
}

static void
put_plain(const struct writing *w, bool grad)
{
	put_function(w);
	put_arguments(w, grad);
	pickle_put(w->o, "R");
}

static bool
has_grad(const struct writing *w)
{
	return (w->t->flags & TENSOR_REQUIRES_GRAD) != 0;
}

/* ---- wrapped tensors (rebuild.h) */

static int put_wrap(const struct writing *w, uint32_t call, unsigned depth);

/* Writes the items of a form from number first on. */
static int
put_rest(const struct writing *w, uint32_t form, size_t first)
{
	size_t i, n = value_len(w->p->m->tree, form);

	for (i = first; i < n; i++)
		if (pickle_value(w->o, value_item(w->p->m->tree, form, i), w->err) < 0)
			return -1;
	return 0;
}

static int
put_form(const struct writing *w, struct str function, uint32_t form, unsigned depth)
{
	const struct vtree *tree = w->p->m->tree;
	uint32_t inner = value_item(tree, form, 0), func;

	if (depth == TENSOR_WRAPS_MAX)
		return err_set(w->err, ERR_INPUT, "a tensor is wrapped in more than %d calls", TENSOR_WRAPS_MAX);
	pickle_put(w->o, "(");
	if (str_eqc(function, "_rebuild_qtensor")) {
		put_geometry(w);
		if (put_rest(w, form, 4) < 0)
			return -1;
	} else if (str_starts(function, str_c("_rebuild_parameter"))) {
		if (value_kind(tree, inner) == VALUE_NONE)
			put_plain(w, false);
		else if (put_wrap(w, inner, depth + 1) < 0)
			return -1;
		if (put_rest(w, form, 1) < 0)
			return -1;
	} else { /* _rebuild_from_type_v2: func, type, arguments, state */
		func = inner;
		inner = value_item(tree, form, 2);
		if (value_kind(tree, inner) == VALUE_NONE)
			put_function(w);
		else if (pickle_value(w->o, func, w->err) < 0)
			return -1;
		if (pickle_value(w->o, value_item(tree, form, 1), w->err) < 0)
			return -1;
		if (value_kind(tree, inner) == VALUE_NONE)
			put_arguments(w, has_grad(w));
		else if (put_form(w, value_name(tree, func), inner, depth + 1) < 0)
			return -1;
		if (put_rest(w, form, 3) < 0)
			return -1;
	}
	pickle_put(w->o, "t");
	return 0;
}

static int
put_wrap(const struct writing *w, uint32_t call, unsigned depth)
{
	const struct vobject *v = value_object(w->p->m->tree, call);

	if (v == NULL)
		return err_set(w->err, ERR_INPUT, "a tensor's wrap is no call");
	if (pickle_value(w->o, v->callable, w->err) < 0 || put_form(w, value_name(w->p->m->tree, v->callable), v->args, depth) < 0)
		return -1;
	pickle_put(w->o, "R");
	return 0;
}

static void
put_parameter(const struct writing *w)
{
	pickle_put(w->o, "%g", "torch._utils", "_rebuild_parameter");
	put_plain(w, false);
	put_grad(w->o, has_grad(w));
	pickle_put(w->o, PICKLE_TUPLE3 "R");
}

/* Callback of struct pickle_leaves; arg is a struct torch_tensors. */
static int
put_leaf(void *arg, struct pickle_out *o, enum value_leaf kind, uint32_t index, struct err *err)
{
	const struct torch_tensors *p = arg;
	struct writing w = { p, o, NULL, err };

	if (index >= (kind == LEAF_STORAGE ? p->m->nstorages : p->m->ntensors))
		return err_set(err, ERR_INPUT, "the output's pickle has a tensor or storage too many");
	if (kind == LEAF_STORAGE) {
		put_storage(p, o, index);
		return 0;
	}
	w.t = &p->m->tensors[index];
	if (w.t->wrap != VALUE_ABSENT && p->m->tree != NULL)
		return put_wrap(&w, w.t->wrap, 0);
	if (w.t->flags & TENSOR_PARAMETER)
		put_parameter(&w);
	else
		put_plain(&w, has_grad(&w));
	return 0;
}

/* ---- the zip */

/*
 * The records are data.pkl, byteorder, version, and then the storages. Because version precedes the storages, the forward reader of
 * torch_zip.c knows that they come in the order of their numbers. torch puts version after the storages, and up to 2.6 sorts them
 * as text.
 */
enum { RECORD_PICKLE, RECORD_BYTEORDER, RECORD_VERSION, RECORD_OWN, RECORD_STORAGES };

/* The record OWN is only written if there is something to state. */
#define ROOT "archive/"
#define OWN ROOT CKPT_RECORD
static const char *const names[] = { ROOT "data.pkl", ROOT "byteorder", ROOT "version", OWN };
#define DATA ROOT "data/"

struct torch_out {
	struct zip_writer zip;
	struct torch_tensors pickle;
	bool started;
	uint64_t hold;
	uint32_t crc; /* CRC of the pickle so far */
};

static size_t
digits(uint32_t i)
{
	size_t n = 1;

	while (i >= 10) {
		i /= 10;
		n++;
	}
	return n;
}

static void
name_record(void *arg, size_t i, struct buf *name)
{
	const struct writer *w = arg;

	if (w->m->record.len == 0 && i >= RECORD_OWN)
		i++;
	if (i < RECORD_STORAGES) {
		buf_adds(name, names[i]);
		return;
	}
	buf_adds(name, DATA);
	buf_u64(name, i - RECORD_STORAGES);
}

static int
check(const struct manifest *m, struct err *err)
{
	struct torch_tensors p;
	int rc = tensors_init(&p, m, err);

	tensors_release(&p);
	return rc;
}

/* Returns true for a dict whose keys are texts or integers and whose state, if any, is a dict. */
static bool
is_plain_dict(const struct vtree *t, uint32_t h)
{
	uint32_t state = value_state(t, h);
	size_t i, n = value_len(t, h);

	for (i = 0; i < n; i++) {
		enum value_kind kind = value_kind(t, value_key(t, h, i));

		if (kind != VALUE_STR && kind != VALUE_INT)
			return false;
	}
	return state == VALUE_ABSENT || value_kind(t, state) == VALUE_DICT;
}

/* Returns true if requires_grad is only set for tensors of typed storages, as torch itself saves them. */
static bool
plain_gradients(const struct manifest *m)
{
	uint32_t i;

	for (i = 0; i < m->ntensors; i++)
		if ((m->tensors[i].flags & TENSOR_REQUIRES_GRAD) != 0 && m->storages[m->tensors[i].storage].untyped)
			return false;
	return true;
}

/* Returns true if weights_only certainly accepts the tree, because it has only plain values and tensors. */
static bool
is_plain(const struct vtree *t)
{
	uint32_t i, n = vtree_count(t);

	for (i = 0; i < n; i++) {
		switch (value_kind(t, i)) {
		case VALUE_DICT:
			if (!is_plain_dict(t, i))
				return false;
			break;
		case VALUE_PYSTR:
		case VALUE_BYTES:
		case VALUE_BYTEARRAY:
		case VALUE_SET:
		case VALUE_FROZENSET:
		case VALUE_GLOBAL:
		case VALUE_OBJECT:
		case VALUE_PERSID: return false;
		default: break;
		}
	}
	return true;
}

static int
append(void *arg, const void *p, size_t n, struct err *err)
{
	(void)err;
	buf_add(arg, p, n);
	return 0;
}

/* Makes the whole pickle in memory. */
static int
make_pickle(const struct manifest *m, struct buf *pickle, struct err *err)
{
	struct torch_tensors p;
	struct pickle_leaves leaves = { put_leaf, &p };
	int rc = tensors_init(&p, m, err);

	if (rc == 0)
		rc = pickle_encode(m->tree, m->root, &leaves, append, pickle, err);
	tensors_release(&p);
	return rc;
}

static int
caveat(const struct manifest *m, struct buf *say, struct err *err)
{
	struct pickle_scan scan = { .found = NULL };
	struct buf pickle = BUF_INIT;
	struct source *src;
	int rc;

	if (is_plain(m->tree) && plain_gradients(m))
		return 0;
	rc = make_pickle(m, &pickle, err);
	if (rc == 0) {
		src = source_memory(pickle.p, pickle.len, "data.pkl");
		rc = pickle_scan(&scan, src, 0, pickle.len, err);
		source_close(src);
		if (rc == 0 && scan.nowhere)
			buf_adds(say, "no program can load the output: it has classes of TorchScript, which cannot be imported "
				      "(lnn-ckpt-adapt writes the state dict without them)");
		else if (rc == 0 && !scan.loads)
			buf_addf(say, "the output %s with weights_only=False only: %s%s%s", scan.unknown ? "may load" : "loads",
				 scan.why, scan.imports[0] ? "; and only where these can be imported: " : "", scan.imports);
	}
	buf_release(&pickle);
	return rc;
}

static int
write_pickle(void *arg, const void *p, size_t n, struct err *err)
{
	struct torch_out *t = arg;

	t->crc = crc32_add(t->crc, p, n);
	return sink_write(t->zip.out, p, n, err);
}

static int
put_pickle(struct writer *w, struct err *err)
{
	struct torch_out *t = w->priv;
	struct pickle_leaves leaves = { put_leaf, &t->pickle };

	if (zip_record_begin(&t->zip, str_c(names[RECORD_PICKLE]), ZIP_SIZE_LATER, err) < 0 ||
	    pickle_encode(w->m->tree, w->m->root, &leaves, write_pickle, t, err) < 0)
		return -1;
	return zip_record_end(&t->zip, t->crc, err);
}

static int
put_small(struct torch_out *t, const char *name, struct str text, struct err *err)
{
	if (zip_record_begin(&t->zip, str_c(name), text.len, err) < 0 || sink_write(t->zip.out, text.p, text.len, err) < 0)
		return -1;
	return zip_record_end(&t->zip, crc32_add(0, text.p, text.len), err);
}

/* Returns the offset of the directory. All sizes are known at that time. */
static uint64_t
directory_at(const struct writer *w)
{
	const struct torch_out *t = w->priv;
	uint64_t at = zip_writer_at(&t->zip), header, size;
	uint32_t i;

	for (i = 0; i < w->m->nstorages; i++) {
		header = at;
		size = w->m->storages[i].nbytes;
		at += zip_record_size(header, sizeof(DATA) - 1 + digits(i), size);
	}
	return t->zip.base + at;
}

static int
begin(struct writer *w, struct err *err)
{
	struct torch_out *t = w->priv;

	if (w->m->tree == NULL)
		return err_set(err, ERR_USAGE, "a torch file needs an object to pickle");
	t->started = true;
	zip_writer_init(&t->zip, w->out);
	if (tensors_init(&t->pickle, w->m, err) < 0 || put_pickle(w, err) < 0 ||
	    put_small(t, names[RECORD_BYTEORDER], str_c("little"), err) < 0 ||
	    put_small(t, names[RECORD_VERSION], str_c("3\n"), err) < 0)
		return -1;
	if (w->m->record.len > 0 && put_small(t, names[RECORD_OWN], w->m->record, err) < 0)
		return -1;
	t->hold = directory_at(w);
	return 0;
}

static int
storage(struct writer *w, uint32_t i, struct err *err)
{
	struct torch_out *t = w->priv;
	struct buf name = BUF_INIT;
	int rc;

	name_record(w, (size_t)RECORD_STORAGES + i - (w->m->record.len == 0), &name);
	rc = zip_record_begin(&t->zip, buf_str(&name), w->m->storages[i].nbytes, err);
	buf_release(&name);
	return rc;
}

static int
stored(struct writer *w, uint32_t i, uint32_t crc, struct err *err)
{
	struct torch_out *t = w->priv;

	(void)i;
	return zip_record_end(&t->zip, crc, err);
}

static int
finish(struct writer *w, struct err *err)
{
	struct torch_out *t = w->priv;

	return zip_directory(&t->zip, name_record, w, err);
}

static void
release(struct writer *w)
{
	struct torch_out *t = w->priv;

	if (!t->started)
		return;
	zip_writer_release(&t->zip);
	tensors_release(&t->pickle);
}

static uint64_t
hold(struct writer *w)
{
	const struct torch_out *t = w->priv;

	return t->hold;
}

/* ---- editing in place */

/* Returns true if the record, whose name is relative to the root, belongs to a dropped storage. arg is a strmap of their keys. */
static bool
is_gone(void *arg, struct str name)
{
	static const char data[] = "data/";

	return str_starts(name, str_c(data)) && strmap_get(arg, str_from(name, sizeof(data) - 1), NULL);
}

static int
patch(const struct manifest *m, const struct ckpt *c, struct undo_edit *u, struct err *err)
{
	struct buf pickle = BUF_INIT;
	struct strmap gone = STRMAP_INIT;
	struct zip_replace records[] = { { "data.pkl", STR_LIT(""), '\0', true }, { CKPT_RECORD, STR_LIT(""), ' ', false } };
	const bool has_record = c->tables.len > 0 || c->note.len > 0, same = str_eq(c->tables, m->record) && c->note.len == 0;
	struct zip_patch patch = { records, has_record && !same ? 2 : 1, is_gone, &gone };
	uint32_t k = 0;
	int rc = make_pickle(m, &pickle, err);

	records[0].bytes = buf_str(&pickle);
	records[1].bytes = m->record.len > 0 ? m->record : str_c("{}");
	if (m->record.len > 0 && !has_record)
		diag_warn(c->diag, "%s: there is no space for the record %s, which states layouts of tables: -o FILE writes it",
			  c->file, CKPT_RECORD);
	for (uint32_t i = 0; i < c->nstorages; i++) {
		if (k < m->nstorages && m->kept[k] == &c->storages[i])
			k++;
		else
			strmap_add(&gone, c->storages[i].key, 0);
	}
	if (rc == 0)
		rc = zip_patch(c->src, &patch, u, err);
	strmap_release(&gone);
	buf_release(&pickle);
	return rc;
}

const struct format_writer writer_torch = {
	.name = "torch",
	.shares = true,
	.pickles = true,
	.priv_size = sizeof(struct torch_out),
	.check = check,
	.caveat = caveat,
	.begin = begin,
	.storage = storage,
	.stored = stored,
	.finish = finish,
	.release = release,
	.needs_crc = true,
	.patch = patch,
	.hold = hold,
};
