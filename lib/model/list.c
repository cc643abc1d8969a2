#include "model/list.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/xalloc.h"
#include "model/keys.h"

enum { BLOCK = 128 * 1024 };

/* Sets an error without a column. */
#define line_error(err, file, number, ...) err_line(err, file, number, 0, __VA_ARGS__)

void
list_open(struct list_reader *r, struct source *src, bool null)
{
	*r = (struct list_reader){ .src = src, .file = source_name(src), .null = null, .size = BLOCK, .block = xmalloc(BLOCK) };
}

void
list_release(struct list_reader *r)
{
	free(r->block);
	r->block = NULL;
	buf_release(&r->scratch);
}

/* Appends input to block. Moves the bytes not yet returned to its beginning, and enlarges it if it is full. */
static int
fill(struct list_reader *r, struct err *err)
{
	const uint8_t *p;
	uint64_t ready;
	size_t got, space;

	if (r->start > 0) {
		memmove(r->block, r->block + r->start, r->end - r->start);
		r->end -= r->start;
		r->start = 0;
	}
	if (r->end == r->size) {
		if (r->size >= LIST_MAX_LINE)
			return line_error(err, r->file, r->number + 1,
					  "a line of more than %d bytes cannot be part of a tensor list", LIST_MAX_LINE);
		r->size *= 2;
		r->block = xreallocn(r->block, r->size, 1);
	}
	space = r->size - r->end;
	/* Reads only what is available now, since a pipe or a terminal may provide a few lines at a time. */
	if (source_look(r->src, r->at, 1, &p, &got, err) < 0)
		return -1;
	ready = source_ready(r->src, r->at);
	if (source_read_some(r->src, r->at, r->block + r->end, ready < space ? (size_t)ready : space, &got, err) < 0)
		return -1;
	r->eof = got == 0;
	r->end += got;
	r->at += got;
	source_forget(r->src, r->at);
	return 0;
}

/* Reads the next record without its terminator. Returns 1, 0 at the end, or -1. */
static int
next_record(struct list_reader *r, struct str *raw, struct err *err)
{
	const int ends = r->null ? '\0' : '\n';
	size_t seen = 0;

	for (;;) {
		const char *from = r->block + r->start;
		const char *end = memchr(from + seen, ends, r->end - r->start - seen);

		if (end) {
			*raw = str_n(from, (size_t)(end - from));
			r->start += raw->len + 1;
			break;
		}
		seen = r->end - r->start;
		if (r->eof) {
			if (seen == 0)
				return 0;
			if (r->null && from[seen - 1] == '\n')
				return err_input(err, r->file,
						 "it ends in a newline instead of a NUL: lists of lines are read without -0");
			*raw = str_n(from, seen);
			r->start = r->end;
			break;
		}
		if (fill(r, err) < 0)
			return -1;
	}
	r->number++;
	return 1;
}

static bool
is_blank(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] != ' ' && s.p[i] != '\t' && s.p[i] != '\r')
			return false;
	return true;
}

/* Resolves the escapes of a field. scratch already has room for the whole line, so that pointers into it stay valid. */
static bool
unescape(struct buf *scratch, struct str *field)
{
	size_t at = scratch->len;

	if (field->len == 0 || memchr(field->p, '\\', field->len) == NULL)
		return true;
	if (!text_unescape(scratch, *field))
		return false;
	*field = str_n(scratch->p + at, scratch->len - at);
	return true;
}

static bool
is_sha256(struct str s)
{
	size_t digits = 0;

	while (digits < s.len && memchr("0123456789abcdef", s.p[digits], 16) != NULL)
		digits++;
	return digits == 64 && s.len == 64;
}

static int
parse_key(struct str field, size_t eq, struct buf *scratch, struct entry *e)
{
	struct str key = str_n(field.p, eq), value = str_from(field, eq + 1);

	if (str_eqc(key, "layer_type")) {
		if (!unescape(scratch, &value))
			return -1;
		if (value.len > 0)
			e->layer_type = value;
	} else if (str_eqc(key, "sha256")) {
		e->sha256 = value;
		return str_eqc(value, "-") || is_sha256(value) ? 0 : -1;
	} else if (str_eqc(key, "kind")) {
		if (str_eqc(value, "buffer"))
			e->kind = ENTRY_BUFFER;
		else if (str_eqc(value, "parameter"))
			e->kind = ENTRY_PARAMETER;
	} else if (str_eqc(key, "requires_grad")) {
		if (str_eqc_nocase(value, "false"))
			e->requires_grad = GRAD_FALSE;
		else if (str_eqc_nocase(value, "true"))
			e->requires_grad = GRAD_TRUE;
		else
			return -1;
	}
	return 0;
}

/* Parses field number at; the field after the name is number 1. */
static int
parse_field(struct list_reader *r, struct str field, unsigned at, struct entry *e, const char **why)
{
	const char *eq = field.len ? memchr(field.p, '=', field.len) : NULL;
	unsigned ndim;

	if (eq) {
		*why = str_starts(field, str_c("requires_grad=")) ? "requires_grad is true or false"
		       : str_starts(field, str_c("sha256="))      ? "sha256 is 64 digits, or -"
								  : "is a bad escape";
		return parse_key(field, (size_t)(eq - field.p), &r->scratch, e);
	}
	if (field.len == 0)
		return 0;
	if (at == 1) {
		*why = "a dtype comes before the shape";
		e->dtype = (uint8_t)dtype_by_name(field);
		return field.p[0] == '[' ? -1 : 0;
	}
	if (at == 2) {
		*why = "a shape looks like [3,4]";
		if (!shape_parse(field, r->shape, &ndim))
			return -1;
		e->has_shape = true;
		e->ndim = (uint8_t)ndim;
		e->shape = r->shape;
		return 0;
	}
	*why = "KEY=VALUE was expected";
	return -1;
}

/* Parses the fields of the record that was just read. */
static int
parse_line(struct list_reader *r, struct str raw, struct entry *entry, struct err *err)
{
	struct str rest = raw, field;
	const char *why = NULL;
	struct shown shown;

	if (rest.len > 0 && rest.p[rest.len - 1] == '\r')
		rest.len--;
	buf_clear(&r->scratch);
	*entry = entry_named(rest);
	if (str_split(&rest, '\t', &field))
		entry->name = field;
	if (entry->name.len == 0)
		return line_error(err, r->file, r->number, "the name is missing (\\e stands for the empty name)");
	if (memchr(raw.p, '\\', raw.len))
		(void)buf_reserve(&r->scratch, raw.len);
	if (!unescape(&r->scratch, &entry->name))
		return line_error(err, r->file, r->number, "%s: a bad escape (known are \\t \\n \\r \\\\ \\# \\e \\xHH)",
				  keys_show(&shown, entry->name));
	for (unsigned at = 1; str_split(&rest, '\t', &field); at++)
		if (parse_field(r, field, at, entry, &why) < 0)
			return line_error(err, r->file, r->number, "%s: %s", keys_show(&shown, field), why);
	return 0;
}

int
list_next(struct list_reader *r, struct list_line *out, struct err *err)
{
	int got;

	while ((got = next_record(r, &out->raw, err)) == 1) {
		out->number = r->number;
		if (r->null) {
			out->entry = entry_named(out->raw);
			return 1;
		}
		if (out->raw.len == 0 || out->raw.p[0] == '#' || (out->raw.p[0] <= ' ' && is_blank(out->raw)))
			continue;
		return parse_line(r, out->raw, &out->entry, err) < 0 ? -1 : 1;
	}
	return got;
}

bool
list_pending(const struct list_reader *r)
{
	if (!source_is_stream(r->src) || r->eof)
		return true;
	return memchr(r->block + r->start, r->null ? '\0' : '\n', r->end - r->start) != NULL || source_ready(r->src, r->at) > 0;
}

static void
put_fields(struct buf *out, const struct entry *e)
{
	bool more = e->layer_type.p || e->kind == ENTRY_BUFFER || e->requires_grad == GRAD_FALSE;

	if (e->dtype != DTYPE_UNKNOWN || e->has_shape || more) {
		buf_addc(out, '\t');
		if (e->dtype != DTYPE_UNKNOWN)
			buf_adds(out, dtype_name(e->dtype));
	}
	if (e->has_shape || more) {
		buf_addc(out, '\t');
		if (e->has_shape)
			shape_put(out, e->shape, e->ndim);
	}
	if (e->layer_type.p) {
		buf_adds(out, "\tlayer_type=");
		text_escape(out, e->layer_type);
	}
	if (e->kind == ENTRY_BUFFER)
		buf_adds(out, "\tkind=buffer");
	if (e->requires_grad == GRAD_FALSE)
		buf_adds(out, "\trequires_grad=false");
}

int
list_put(struct buf *out, const struct entry *e, enum list_end end, struct err *err)
{
	struct shown shown;

	if (e->name.len > 0 && memchr(e->name.p, '\0', e->name.len))
		return err_set(err, ERR_INPUT, "the name %s contains a NUL byte: only JSON can show it",
			       keys_show(&shown, e->name));
	if (end == LIST_NULL) {
		buf_add(out, e->name.p, e->name.len);
	} else {
		text_escape(out, e->name);
		put_fields(out, e);
	}
	if (end != LIST_OPEN)
		buf_addc(out, end == LIST_NULL ? '\0' : '\n');
	return 0;
}
