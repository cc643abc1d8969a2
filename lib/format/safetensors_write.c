/*
 * Writes safetensors: a JSON header in the notation of the reference writer (lib/format/README.md, section 6.3), then the tensors
 * in the order of the manifest. The header is generated twice, the first time only for its length, so that it need not be kept.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "format/format.h"

/* The approximate size of the pieces in which the header is written. */
enum { PIECE = 64 * 1024 };

/* The number of bytes that are held until the input is verified. Without them no reader accepts the file. */
enum { HELD = 8 };

struct safetensors_out {
	uint32_t *tensor; /* by storage: index of its tensor */
	uint64_t hold;    /* position in the sink from which bytes are held */
};

/* Output of the header. It is only counted if out is NULL. */
struct header_out {
	struct buf text;
	uint64_t len; /* bytes written or counted so far */
	struct sink *out;
};

static int
emit_flush(struct header_out *m, size_t least, struct err *err)
{
	if (m->text.len < least)
		return 0;
	if (m->out != NULL && m->text.len > 0 && sink_write(m->out, m->text.p, m->text.len, err) < 0)
		return -1;
	m->len += m->text.len;
	buf_clear(&m->text);
	return 0;
}

/* Writes s quoted. Escapes only what JSON requires. */
static void
put_text(struct buf *b, struct str s)
{
	static const char short_form[] = "btn\0fr"; /* letters of the escapes from \b on */
	size_t plain = 0;

	buf_addc(b, '"');
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_add(b, s.p + plain, i - plain);
		plain = i + 1;
		if (c >= 0x20)
			buf_addf(b, "\\%c", c);
		else if (c >= '\b' && c <= '\r' && short_form[c - '\b'] != '\0')
			buf_addf(b, "\\%c", short_form[c - '\b']);
		else
			buf_addf(b, "\\u%04x", c);
	}
	buf_add(b, s.p + plain, s.len - plain);
	buf_addc(b, '"');
}

static void
put_meta(struct buf *b, const struct manifest *m)
{
	buf_adds(b, "\"__metadata__\":{");
	for (size_t i = 0; i < m->nmeta; i++) {
		if (i > 0)
			buf_addc(b, ',');
		put_text(b, m->meta_keys[i]);
		buf_addc(b, ':');
		put_text(b, m->meta_values[i]);
	}
	buf_addc(b, '}');
}

static void
put_tensor(struct buf *b, struct str name, const struct tensor *t, uint64_t begin, uint64_t end)
{
	const struct dtype_info *info = dtype_info(t->dtype);

	put_text(b, name);
	buf_adds(b, ":{\"dtype\":\"");
	buf_adds(b, info->safetensors);
	buf_adds(b, "\",\"shape\":[");
	for (unsigned i = 0; i < t->ndim; i++) {
		if (i > 0)
			buf_addc(b, ',');
		buf_u64(b, i + 1u == t->ndim ? t->shape[i] * info->pack : t->shape[i]);
	}
	buf_adds(b, "],\"data_offsets\":[");
	buf_u64(b, begin);
	buf_addc(b, ',');
	buf_u64(b, end);
	buf_adds(b, "]}");
}

/* Writes the header without padding. */
static int
put_header(struct header_out *o, const struct manifest *m, const uint32_t *tensor, struct err *err)
{
	uint64_t at = 0;

	buf_addc(&o->text, '{');
	if (m->nmeta > 0)
		put_meta(&o->text, m);
	for (uint32_t i = 0; i < m->nstorages; i++) {
		uint32_t t = tensor[i];

		if (i > 0 || m->nmeta > 0)
			buf_addc(&o->text, ',');
		put_tensor(&o->text, m->names[t], &m->tensors[t], at, at + m->storages[i].nbytes);
		at += m->storages[i].nbytes;
		if (emit_flush(o, PIECE, err) < 0)
			return -1;
	}
	buf_addc(&o->text, '}');
	return emit_flush(o, 0, err);
}

/* ---- checks before writing */

static int
refuse(struct str name, struct err *err, const char *why)
{
	return err_set(err, ERR_INPUT, "tensor '%.*s': %s", STR_ARG(name), why);
}

static int
check_tensor(const struct manifest *m, uint32_t i, struct err *err)
{
	const struct tensor *t = &m->tensors[i];
	const struct dtype_info *info = dtype_info(t->dtype);
	struct str name = m->names[i];
	uint64_t wide;

	if (info->safetensors == NULL)
		return err_set(err, ERR_INPUT, "tensor '%.*s': safetensors has no type for %s; --to torch keeps it", STR_ARG(name),
			       info->name);
	if (str_eqc(name, "__metadata__"))
		return refuse(name, err, "safetensors keeps this name for itself; rename the tensor or use --to torch");
	if (!utf8_valid(name))
		return refuse(name, err, "the name is not UTF-8, which safetensors needs; rename the tensor or use --to torch");
	if (t->storage == STORAGE_NONE)
		return refuse(name, err, "it has no data; --to torch keeps it");
	if (info->pack > 1 && (t->ndim == 0 || !num_mul(t->shape[t->ndim - 1], info->pack, &wide)))
		return refuse(name, err, "its last dimension cannot be multiplied as safetensors counts it");
	if (t->offset != 0 || !tensor_contiguous(t) || tensor_nbytes(t) != m->storages[t->storage].nbytes)
		return refuse(name, err, "safetensors takes only whole, contiguous tensors");
	return 0;
}

/* Returns the tensor of each storage, or NULL with an error unless there is exactly one. The caller frees the result. */
static uint32_t *
assign(const struct manifest *m, struct err *err)
{
	uint32_t *tensor = xcalloc((size_t)m->nstorages + 1, sizeof(*tensor));
	uint32_t i, s;

	memset(tensor, 0xff, m->nstorages * sizeof(*tensor));
	for (i = 0; i < m->ntensors; i++) {
		s = m->tensors[i].storage;
		if (s < m->nstorages && tensor[s] == UINT32_MAX) {
			tensor[s] = i;
			continue;
		}
		refuse(m->names[i], err, "safetensors cannot share data between tensors");
		goto fail;
	}
	if (m->ntensors != m->nstorages) {
		err_set(err, ERR_INPUT, "safetensors cannot hold bytes that belong to no tensor");
		goto fail;
	}
	return tensor;
fail:
	free(tensor);
	return NULL;
}

static int
check(const struct manifest *m, struct err *err)
{
	uint32_t *tensor;

	for (size_t i = 0; i < m->nmeta; i++)
		if (!utf8_valid(m->meta_keys[i]) || !utf8_valid(m->meta_values[i]))
			return err_set(err, ERR_INPUT, "__metadata__: '%.*s' is not UTF-8", STR_ARG(m->meta_keys[i]));
	for (uint32_t i = 0; i < m->ntensors; i++)
		if (check_tensor(m, i, err) < 0)
			return -1;
	tensor = assign(m, err);
	free(tensor);
	return tensor == NULL ? -1 : 0;
}

/* ---- writing */

static int
data_size(const struct manifest *m, uint64_t *size, struct err *err)
{
	*size = 0;
	for (uint32_t i = 0; i < m->nstorages; i++)
		if (!num_add(*size, m->storages[i].nbytes, size))
			return err_set(err, ERR_INPUT, "the tensors' sizes add up to more than 2^64 bytes");
	return 0;
}

static int
begin(struct writer *w, struct err *err)
{
	struct safetensors_out *s = w->priv;
	struct header_out count = { BUF_INIT, 0, NULL }, write = { BUF_INIT, 0, w->out };
	uint64_t data, total = 0, padded = 0;
	uint8_t length[8];
	int rc;

	s->tensor = assign(w->m, err);
	if (s->tensor == NULL || data_size(w->m, &data, err) < 0)
		return -1;
	rc = put_header(&count, w->m, s->tensor, err);
	if (rc == 0) {
		padded = num_align(count.len, 8);
		if (padded > SAFETENSORS_HEADER_MAX || !num_add(8 + padded, data, &total))
			rc = err_set(err, ERR_INPUT,
				     "the header would take %" PRIu64 " bytes; safetensors allows %" PRIu64
				     "; --to torch has no such limit",
				     padded, SAFETENSORS_HEADER_MAX);
	}
	if (rc == 0) {
		/* Call sink_hold before the first byte: if the data is short, the end of the header must be held, too. */
		s->hold = sink_at(w->out) + total - HELD;
		sink_hold(w->out, s->hold);
		put_le64(length, padded);
		buf_add(&write.text, length, sizeof(length));
		rc = put_header(&write, w->m, s->tensor, err);
	}
	if (rc == 0) {
		buf_fill(&write.text, ' ', padded - count.len);
		rc = emit_flush(&write, 0, err);
	}
	buf_release(&count.text);
	buf_release(&write.text);
	return rc;
}

static int
storage(struct writer *w, uint32_t i, struct err *err)
{
	(void)w, (void)i, (void)err;
	return 0;
}

static int
stored(struct writer *w, uint32_t i, uint32_t crc, struct err *err)
{
	(void)w, (void)i, (void)crc, (void)err;
	return 0;
}

static int
finish(struct writer *w, struct err *err)
{
	(void)w, (void)err;
	return 0;
}

static void
release(struct writer *w)
{
	struct safetensors_out *s = w->priv;

	free(s->tensor);
	s->tensor = NULL;
}

static uint64_t
hold(struct writer *w)
{
	const struct safetensors_out *s = w->priv;

	return s->hold;
}

/* ---- editing in place */

/* Cuts out the data of dropped tensors, which must be whole blocks. */
static int
cut_dropped(const struct manifest *m, const struct ckpt *c, struct undo_edit *u, struct err *err)
{
	uint32_t k = 0;

	for (uint32_t i = 0; i < c->nstorages; i++) {
		const struct storage *s = &c->storages[i];
		struct undo_range *last = u->ncuts > 0 ? &u->cuts[u->ncuts - 1] : NULL;

		if (k < m->nstorages && m->kept[k] == s)
			k++;
		else if (last != NULL && last->off + last->len == s->offset)
			last->len += s->nbytes;
		else if (s->nbytes > 0)
			*xpush(u->cuts, u->ncuts, u->cap_cuts) = (struct undo_range){ s->offset, s->nbytes };
	}
	for (size_t i = 0; i < u->ncuts; i++) {
		const struct undo_range *r = &u->cuts[i];

		if (r->off + r->len < u->size && (r->off % u->block != 0 || r->len % u->block != 0))
			return err_at(err, c->file, r->off,
				      "the bytes to drop are not whole blocks of the file system (%" PRIu64
				      " bytes), and only those can be removed in place: -o FILE",
				      u->block);
	}
	return 0;
}

/* Determines the length of the header in the file: the present one, or enlarged by whole blocks. */
static int
grow_header(const struct ckpt *c, uint64_t need, struct undo_edit *u, uint64_t *len, struct err *err)
{
	uint8_t first[HELD];

	if (source_read(c->src, 0, first, sizeof(first), err) < 0)
		return -1;
	*len = get_le64(first);
	if (need <= *len)
		return 0;
	if (u->ncuts > 0)
		return err_input(err, c->file, "the header becomes longer, so nothing can be removed in place: -o FILE");
	u->insert = num_align(need - *len, u->block);
	*len += u->insert;
	if (*len > SAFETENSORS_HEADER_MAX)
		return err_input(err, c->file, "the header would take more than %" PRIu64 " bytes", SAFETENSORS_HEADER_MAX);
	return 0;
}

static int
patch(const struct manifest *m, const struct ckpt *c, struct undo_edit *u, struct err *err)
{
	struct buf text = BUF_INIT;
	struct header_out out = { BUF_INIT, 0, sink_memory(&text, c->file) };
	uint32_t *tensor = assign(m, err);
	int rc = tensor == NULL ? -1 : put_header(&out, m, tensor, err);
	uint64_t len = 0;

	if (rc == 0)
		rc = sink_flush(out.out, err);
	if (rc == 0)
		rc = cut_dropped(m, c, u, err);
	if (rc == 0)
		rc = grow_header(c, text.len, u, &len, err);
	if (rc == 0) {
		buf_fill(&text, ' ', (size_t)len - text.len);
		undo_write(u, HELD, buf_str(&text));
		u->guard_at = 0;
		u->guard = len;
		u->bad = UINT64_MAX;
	}
	free(tensor);
	sink_abort(out.out);
	buf_release(&out.text);
	buf_release(&text);
	return rc;
}

const struct format_writer writer_safetensors = {
	.name = "safetensors",
	.shares = false,
	.pickles = false,
	.priv_size = sizeof(struct safetensors_out),
	.check = check,
	.begin = begin,
	.storage = storage,
	.stored = stored,
	.finish = finish,
	.release = release,
	.needs_crc = false,
	.patch = patch,
	.hold = hold,
};
