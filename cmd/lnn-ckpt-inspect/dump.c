/*
 * --dump: prints the contents of one tensor.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "model/keys.h"
#include "report.h"
#include "tensor/boxes.h"
#include "tensor/composite.h"
#include "tensor/convert.h"

struct dump {
	struct job *j;
	const struct tensor *t;
	enum dump_form as;
	uint64_t at;     /* number of elements printed so far */
	uint64_t column; /* number of elements in a line, which is the last dimension */
	struct buf text;
};

static int
take_raw(void *arg, void *p, size_t n, struct err *err)
{
	struct dump *d = arg;

	(void)err;
	out_write(&d->j->in->out, p, n);
	return out_failed(&d->j->in->out) ? -1 : 0;
}

/* ---- text: one line for each row of the last dimension */

/*
 * Writes a number that gives the element at p again when it is read and rounded to t. A few precisions are tried, and the shortest
 * that works is used.
 */
static void
put_float(struct buf *b, enum dtype t, unsigned digits, double v)
{
	unsigned char was[8], is[8];
	char text[288];
	double read;

	num_repr(v, text);
	(void)convert_encode(t, &v, 1, was);
	for (unsigned d = digits > 3 ? digits - 3 : 1; v - v == 0 && t != DTYPE_FLOAT64 && d <= digits; d++) {
		snprintf(text, sizeof(text), "%.*g", (int)d, v);
		read = strtod(text, NULL);
		(void)convert_encode(t, &read, 1, is);
		if (memcmp(was, is, dtype_size(t)) == 0) {
			num_repr(read, text);
			break;
		}
	}
	buf_adds(b, text);
}

static uint64_t
bits_at(const unsigned char *p, size_t size)
{
	uint64_t v = 0;

	for (size_t i = size; i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

static void
put_integer(struct buf *b, enum dtype t, const unsigned char *p)
{
	size_t size = dtype_size(t);
	uint64_t v = bits_at(p, size), sign = (uint64_t)1 << (8 * size - 1);
	bool is_signed = t == DTYPE_INT64 || t == DTYPE_INT32 || t == DTYPE_INT16 || t == DTYPE_INT8 || t == DTYPE_QINT8 ||
			 t == DTYPE_QINT32;

	if (is_signed && (v & sign) != 0) {
		buf_addc(b, '-');
		v = size == 8 ? -v : (sign << 1) - v;
	}
	buf_u64(b, v);
}

static enum dtype
part_of(enum dtype t)
{
	return t == DTYPE_COMPLEX128 ? DTYPE_FLOAT64 : t == DTYPE_COMPLEX64 ? DTYPE_FLOAT32 : DTYPE_FLOAT16;
}

static void
put_element(struct buf *b, enum dtype t, const unsigned char *p)
{
	const struct dtype_info *info = dtype_info(t);
	double v[2];

	switch (info->class) {
	case DTYPE_CLASS_FLOAT:
		if (!convert_known(t)) {
			buf_addf(b, "0x%02x", p[0]);
			return;
		}
		convert_decode(t, p, 1, v);
		put_float(b, t, info->digits, v[0]);
		return;
	case DTYPE_CLASS_COMPLEX:
		convert_decode(part_of(t), p, 2, v);
		put_float(b, part_of(t), info->digits, v[0]);
		if (v[1] >= 0 || v[1] != v[1])
			buf_addc(b, '+');
		put_float(b, part_of(t), info->digits, v[1]);
		buf_addc(b, 'j');
		return;
	case DTYPE_CLASS_BOOL: buf_adds(b, p[0] ? "true" : "false"); return;
	case DTYPE_CLASS_BITS: buf_addf(b, "0x%0*" PRIx64, (int)(2 * info->size), bits_at(p, info->size)); return;
	default: put_integer(b, t, p);
	}
}

static int
take_text(void *arg, void *p, size_t n, struct err *err)
{
	struct dump *d = arg;
	size_t size = dtype_size(d->t->dtype);

	(void)err;
	for (size_t i = 0; i < n; i += size) {
		put_element(&d->text, d->t->dtype, (const unsigned char *)p + i);
		buf_addc(&d->text, ++d->at % d->column == 0 ? '\n' : ' ');
		if (d->text.len >= 1 << 15) {
			out_write(&d->j->in->out, d->text.p, d->text.len);
			buf_clear(&d->text);
		}
	}
	return out_failed(&d->j->in->out) ? -1 : 0;
}

/* ---- npy, version 1.0: NumPy Enhancement Proposal 1 */

static void
npy_header(struct dump *d)
{
	struct buf head = BUF_INIT;
	const struct tensor *t = d->t;

	buf_addf(&head, "{'descr': '%s', 'fortran_order': False, 'shape': (", dtype_info(t->dtype)->numpy);
	for (unsigned i = 0; i < t->ndim; i++)
		buf_addf(&head, "%" PRIu64 "%s", t->shape[i], t->ndim == 1 ? "," : i + 1 < t->ndim ? ", " : "");
	buf_adds(&head, "), }");
	/* Magic, version and length take 10 bytes. The data must begin at a multiple of 64. */
	while ((10 + head.len + 1) % 64 != 0)
		buf_addc(&head, ' ');
	buf_addc(&head, '\n');
	buf_add(&d->text, "\x93NUMPY\x01", 7);
	buf_addc(&d->text, '\0');
	buf_le16(&d->text, (uint16_t)head.len);
	buf_addstr(&d->text, buf_str(&head));
	out_write(&d->j->in->out, d->text.p, d->text.len);
	buf_clear(&d->text);
	buf_release(&head);
}

static int
check(const struct dump *d, struct err *err)
{
	const struct inspect_opts *o = d->j->in->o;
	const struct dtype_info *info = dtype_info(d->t->dtype);

	if (boxes_count(d->t) == 0)
		return err_input(err, d->j->file, "%s: has no data in the file (a meta tensor)", o->path);
	if (d->as == DUMP_NPY && info->numpy == NULL)
		return err_input(err, d->j->file, "%s: numpy has no %s: use '--dump-as raw'", o->path, info->name);
	if (d->as != DUMP_RAW && info->size == 0)
		return err_input(err, d->j->file, "%s: elements of %s are not whole bytes: use '--dump-as raw'", o->path,
				 info->name);
	if (d->as != DUMP_TEXT && d->j->in->out.tty)
		return err_set(err, ERR_USAGE, "binary data is not written to a terminal: use '-o FILE' or a pipe");
	return 0;
}

static int
put(struct dump *d, struct err *err)
{
	struct ckpt *c = d->j->input.ckpt;
	struct boxes_range all = boxes_whole(d->t);
	int rc;

	/* On a stream, storages before that of the tensor need not be kept. */
	for (uint32_t i = 0; source_is_stream(d->j->input.src) && i < d->t->storage; i++)
		if (ckpt_done(c, i, err) < 0)
			return -1;
	if (d->t->storage != STORAGE_NONE && ckpt_locate(c, d->t->storage, err) < 0)
		return -1;
	if (d->as == DUMP_NPY)
		npy_header(d);
	rc = boxes_read(c, &all, d->as == DUMP_TEXT ? take_text : take_raw, d, err);
	out_write(&d->j->in->out, d->text.p ? d->text.p : "", d->text.len);
	return rc;
}

static int
no_tensor(const struct job *j, struct err *err)
{
	const struct statedict *sd = &j->input.sd;
	const struct vtree *t = sd->ckpt->tree;
	struct str name = str_c(j->in->o->path), first;
	struct buf hint = BUF_INIT;
	struct nearest near;
	uint32_t index, h = t != NULL ? value_path(t, sd->ckpt->root, str_c(j->in->o->path)) : VALUE_ABSENT;

	if (h != VALUE_ABSENT && value_leaf(t, h, &index) == LEAF_TENSOR)
		return err_set(err, ERR_ANSWER, "%s: %s: is not in the state dict %.*s: -k '' takes names from the root", j->file,
			       j->in->o->path, STR_ARG(sd->key));
	if (h != VALUE_ABSENT)
		return err_set(err, ERR_ANSWER, "%s: %s: is not a tensor: --get shows it", j->file, j->in->o->path);
	do { /* the name may begin with components that the state dict lacks, such as "module." */
		nearest_init(&near, name);
		for (size_t i = 0; i < sd->n; i++)
			if (sd->entries[i].kind != SD_OTHER)
				nearest_try(&near, sd->entries[i].name);
		(void)str_split(&name, '.', &first);
	} while (!nearest_found(&near) && name.p != NULL);
	keys_suggest_nearest(&hint, &near);
	err_set(err, ERR_ANSWER, "%s: %s: there is no such tensor%s", j->file, j->in->o->path, hint.len > 0 ? hint.p : "");
	buf_release(&hint);
	return -1;
}

static int
run(void *state, struct job *j, struct err *err)
{
	const char *name = j->in->o->path;
	const struct sd_entry *entry = statedict_find(&j->input.sd, str_c(name));
	const struct tensor_part *part = NULL;
	struct dump *d = state;
	int rc;

	if (entry == NULL)
		entry = composite_owner(&j->input.sd, str_c(name), &part);
	*d = (struct dump){ .j = j, .column = 1, .as = j->in->o->dump_as, .text = BUF_INIT };
	if (d->as == DUMP_UNSAID)
		d->as = DUMP_TEXT;
	if (entry == NULL)
		return no_tensor(j, err);
	d->t = part != NULL ? part->tensor : sd_tensor(&j->input.sd, entry);
	if (d->t == NULL)
		return err_input(err, j->file, "%s: is not a tensor", name);
	if (boxes_count(d->t) == 0 && d->t->more != NULL && d->t->more->nparts > 0)
		return err_input(err, j->file, "%s: has no data of its own: dump its parts (%s.%.*s, ...)%s", name, name,
				 STR_ARG(d->t->more->parts[0].name), composite_way(d->t));
	if (d->t->ndim > 0 && d->t->shape[d->t->ndim - 1] > 0)
		d->column = d->t->shape[d->t->ndim - 1];
	rc = check(d, err);
	if (rc == 0)
		rc = put(d, err);
	/* A failure of the output is reported by out_end. */
	return rc < 0 && err->code == ERR_NONE && out_failed(&j->in->out) ? 0 : rc;
}

static void
release(void *state)
{
	struct dump *d = state;

	buf_release(&d->text);
}

const struct report report_dump = {
	.option = OPTION_TEXT("dump", 0, "NAME", "contents of one tensor", path),
	.needs = NEEDS_INDEX | NEEDS_DICT,
	.piped = RECORD_LINES,
	.alone = true,
	.single = true,
	.size = sizeof(struct dump),
	.run = run,
	.release = release,
};
