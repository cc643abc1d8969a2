#include "text/json_write.h"

#include <math.h>

#include "base/num.h"
#include "base/text.h"

void
json_writer_init(struct json_writer *w, struct buf *out, bool pretty)
{
	*w = (struct json_writer){ .out = out, .pretty = pretty, .first = true };
}

static void
newline(struct json_writer *w)
{
	buf_addc(w->out, '\n');
	buf_fill(w->out, ' ', (size_t)2 * w->depth);
}

/* Writes the comma and white space before a key or an array element. */
static void
separate(struct json_writer *w)
{
	if (!w->first)
		buf_addc(w->out, ',');
	if (w->pretty && w->inlined > 0 && !w->first)
		buf_addc(w->out, ' ');
	else if (w->pretty && w->inlined == 0 && w->depth > 0)
		newline(w);
	w->first = false;
}

static void
before_value(struct json_writer *w)
{
	if (!w->keyed)
		separate(w);
	w->keyed = false;
}

void
json_open(struct json_writer *w, char bracket, bool on_one_line)
{
	before_value(w);
	buf_addc(w->out, bracket);
	w->depth++;
	w->inlined += w->inlined > 0 || on_one_line;
	w->first = true;
}

void
json_close(struct json_writer *w, char bracket)
{
	w->depth--;
	if (w->pretty && w->inlined == 0 && !w->first)
		newline(w);
	w->inlined -= w->inlined > 0;
	buf_addc(w->out, bracket);
	w->first = false;
}

static void
put_escape(struct buf *b, uint32_t c)
{
	int short_form = c < 0x80 ? text_map((char)c, "\"\\\b\f\n\r\t", "\"\\bfnrt") : -1;

	if (short_form >= 0)
		buf_addf(b, "\\%c", short_form);
	else
		buf_addf(b, "\\u%04x", (unsigned)c);
}

/* Writes s quoted and escaped. */
static void
put_quoted(struct buf *b, struct str s)
{
	const uint8_t *p = (const uint8_t *)s.p;
	size_t i, n, start = 0;
	uint32_t c;

	buf_addc(b, '"');
	for (i = 0; i < s.len; i += n) {
		n = utf8_len(p + i, s.len - i);
		c = n > 0 ? utf8_decode(p + i, n) : 0xdc00u + p[i];
		n = n > 0 ? n : 1;
		if (c != '"' && c != '\\' && !utf8_steers(c) && (c & 0xffffff00) != 0xdc00)
			continue;
		buf_add(b, s.p + start, i - start);
		put_escape(b, c);
		start = i + n;
	}
	if (s.len > 0)
		buf_add(b, s.p + start, s.len - start);
	buf_addc(b, '"');
}

struct json_writer *
json_key_str(struct json_writer *w, struct str key)
{
	separate(w);
	put_quoted(w->out, key);
	buf_adds(w->out, w->pretty ? ": " : ":");
	w->keyed = true;
	return w;
}

struct json_writer *
json_key(struct json_writer *w, const char *key)
{
	return json_key_str(w, str_c(key));
}

void
json_put_str(struct json_writer *w, struct str s)
{
	before_value(w);
	put_quoted(w->out, s);
}

void
json_put_cstr(struct json_writer *w, const char *s)
{
	if (s == NULL)
		json_put_null(w);
	else
		json_put_str(w, str_c(s));
}

void
json_put_raw(struct json_writer *w, struct str text)
{
	before_value(w);
	buf_addstr(w->out, text);
}

void
json_put_u64(struct json_writer *w, uint64_t v)
{
	before_value(w);
	buf_u64(w->out, v);
}

void
json_put_i64(struct json_writer *w, int64_t v)
{
	before_value(w);
	if (v < 0)
		buf_addc(w->out, '-');
	buf_u64(w->out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void
json_put_double(struct json_writer *w, double v)
{
	char text[32];

	if (isnan(v) || isinf(v)) {
		json_put_cstr(w, isnan(v) ? "NaN" : v < 0 ? "-Infinity" : "Infinity");
		return;
	}
	num_repr(v, text);
	json_put_raw(w, str_c(text));
}

void
json_put_sizes(struct json_writer *w, const uint64_t *v, size_t n)
{
	json_begin_inline_array(w);
	for (size_t i = 0; i < n; i++)
		json_put_u64(w, v[i]);
	json_end_array(w);
}

void
json_finish(struct json_writer *w)
{
	buf_addc(w->out, '\n');
	json_writer_init(w, w->out, w->pretty);
}
