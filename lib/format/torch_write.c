#include "format/readers.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pickle/pickle.h"
#include "pickle/scan.h"
#include "zip/write.h"
#include "format/torch_pickle.h"
#include "io/crc32.h"

/*
 * The records: data.pkl, byteorder, version, then the storages. That version comes before them is what
 * tells a forward reader of ours that they come in the order of their numbers; torch sorts them as
 * text up to 2.6, and has version behind them.
 */
enum { RECORD_PICKLE, RECORD_BYTEORDER, RECORD_VERSION, RECORD_STORAGES };

static const char *const names[] = { "archive/data.pkl", "archive/byteorder", "archive/version" };
#define DATA "archive/data/"

struct torch_out {
	struct zip_writer zip;
	struct torch_pickle pickle;
	bool started;
	uint64_t hold;
	uint32_t crc; /* of the pickle so far */
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
	(void)arg;
	if (i < RECORD_STORAGES) {
		buf_adds(name, names[i]);
		return;
	}
	buf_adds(name, DATA);
	buf_u64(name, i - RECORD_STORAGES);
}

static int
check(const struct manifest *m, struct err *e)
{
	struct torch_pickle p;
	int r = torch_pickle_init(&p, m, e);

	torch_pickle_release(&p);
	return r;
}

/* A dict whose keys are texts or numbers, and whose state, if it has one, is a dict. */
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

/* Gradients as torch saves them itself: of floating tensors of typed storages. */
static bool
plain_gradients(const struct manifest *m)
{
	uint32_t i;

	for (i = 0; i < m->ntensors; i++) {
		if ((m->tensors[i].flags & TENSOR_REQUIRES_GRAD) != 0 && m->storages[m->tensors[i].storage].untyped)
			return false;
	}
	return true;
}

/* May torch's weights_only object to something? Not if there are but plain values and tensors. */
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
		case VALUE_PERSID:
			return false;
		default:
			break;
		}
	}
	return true;
}

static int
append(void *arg, const void *p, size_t n, struct err *e)
{
	(void)e;
	buf_add(arg, p, n);
	return 0;
}

static int
caveat(const struct manifest *m, struct buf *say, struct err *e)
{
	struct pickle_scan scan = { .found = NULL };
	struct buf pickle = BUF_INIT;
	struct torch_pickle p;
	struct pickle_leaves leaves = { torch_pickle_leaf, &p };
	struct source *src;
	int r;

	if (is_plain(m->tree) && plain_gradients(m))
		return 0;
	r = torch_pickle_init(&p, m, e);
	if (r == 0)
		r = pickle_encode(m->tree, m->root, &leaves, append, &pickle, e);
	torch_pickle_release(&p);
	if (r == 0) {
		src = source_memory(pickle.p, pickle.len, "data.pkl");
		r = pickle_scan(&scan, src, 0, pickle.len, e);
		source_close(src);
		if (r == 0 && !scan.loads)
			buf_addf(say, "the output loads with weights_only=False only: %s", scan.why);
	}
	buf_release(&pickle);
	return r;
}

static int
write_pickle(void *arg, const void *p, size_t n, struct err *e)
{
	struct torch_out *t = arg;

	t->crc = crc32_add(t->crc, p, n);
	return sink_write(t->zip.out, p, n, e);
}

static int
put_pickle(struct writer *w, struct err *e)
{
	struct torch_out *t = w->priv;
	struct pickle_leaves leaves = { torch_pickle_leaf, &t->pickle };

	if (zip_record_begin(&t->zip, str_c(names[RECORD_PICKLE]), ZIP_SIZE_LATER, e) < 0 ||
		pickle_encode(w->m->tree, w->m->root, &leaves, write_pickle, t, e) < 0)
		return -1;
	return zip_record_end(&t->zip, t->crc, e);
}

static int
put_small(struct torch_out *t, const char *name, const char *text, struct err *e)
{
	size_t n = strlen(text);

	if (zip_record_begin(&t->zip, str_c(name), n, e) < 0 || sink_write(t->zip.out, text, n, e) < 0)
		return -1;
	return zip_record_end(&t->zip, crc32_add(0, text, n), e);
}

/* Where the directory will begin: all sizes are known. */
static uint64_t
directory_at(const struct writer *w)
{
	const struct torch_out *t = w->priv;
	uint64_t at = zip_writer_at(&t->zip), header, size;
	uint32_t i;

	for (i = 0; i < w->m->nstorages; i++) {
		header = at;
		size = w->m->storages[i].nbytes;
		at += zip_before(header, sizeof(DATA) - 1 + digits(i), size) + size + zip_behind(header, size);
	}
	return t->zip.base + at;
}

static int
begin(struct writer *w, struct err *e)
{
	struct torch_out *t = w->priv;

	if (w->m->tree == NULL)
		return err_set(e, ERR_USAGE, "a torch file needs an object to pickle");
	t->started = true;
	zip_writer_init(&t->zip, w->out);
	if (torch_pickle_init(&t->pickle, w->m, e) < 0 || put_pickle(w, e) < 0 ||
		put_small(t, names[RECORD_BYTEORDER], "little", e) < 0 ||
		put_small(t, names[RECORD_VERSION], "3\n", e) < 0)
		return -1;
	t->hold = directory_at(w);
	return 0;
}

static int
storage(struct writer *w, uint32_t i, struct err *e)
{
	struct torch_out *t = w->priv;
	struct buf name = BUF_INIT;
	int r;

	name_record(NULL, (size_t)RECORD_STORAGES + i, &name);
	r = zip_record_begin(&t->zip, buf_str(&name), w->m->storages[i].nbytes, e);
	buf_release(&name);
	return r;
}

static int
stored(struct writer *w, uint32_t i, uint32_t crc, struct err *e)
{
	struct torch_out *t = w->priv;

	(void)i;
	return zip_record_end(&t->zip, crc, e);
}

static int
finish(struct writer *w, struct err *e)
{
	struct torch_out *t = w->priv;

	return zip_directory(&t->zip, name_record, NULL, e);
}

static void
release(struct writer *w)
{
	struct torch_out *t = w->priv;

	if (!t->started)
		return;
	zip_writer_release(&t->zip);
	torch_pickle_release(&t->pickle);
}

static uint64_t
hold(struct writer *w)
{
	const struct torch_out *t = w->priv;

	return t->hold;
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
	.wants_crc = true,
	.hold = hold,
};
