/*
 * json_write: writes JSON into a buf. The caller may write the buf out and
 * clear it at any time, even in the middle of a document.
 *
 * The output is valid JSON for any strings. C0 and C1 controls, DEL, line
 * separators, bidirectional controls and the byte order mark are escaped as
 * \uXXXX, so that no name affects a terminal. A byte that is not part of valid
 * UTF-8 is written as the lone surrogate \udcXX (XX: the byte), like text that
 * Python read with errors="surrogateescape"; json.loads and os.fsencode restore
 * the byte. Other readers refuse or replace it, so a caller that writes for
 * them must check utf8_valid first.
 *
 * The caller must balance begin and end, and give every value in an object a
 * key.
 */
#ifndef LNN_TEXT_JSON_WRITE_H
#define LNN_TEXT_JSON_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

struct json_writer {
	struct buf *out;
	bool pretty;
	/* private */
	bool first; /* the innermost object or array is still empty */
	bool keyed; /* a key was written, and its value is missing */
	unsigned depth;
	unsigned inlined; /* number of open levels from the outermost inline array or object on */
};

/* pretty indents by two spaces. Without it, no white space is written. */
void json_writer_init(struct json_writer *w, struct buf *out, bool pretty);

void json_open(struct json_writer *w, char bracket, bool on_one_line);
void json_close(struct json_writer *w, char bracket);
#define json_begin_object(w) json_open(w, '{', false)
#define json_begin_array(w) json_open(w, '[', false)
#define json_begin_inline_object(w) json_open(w, '{', true) /* on one line with everything in it, even if pretty */
#define json_begin_inline_array(w) json_open(w, '[', true)
#define json_end_object(w) json_close(w, '}')
#define json_end_array(w) json_close(w, ']')

/* Both return w, for use as in json_put_u64(json_key(w, "schema"), 1). */
struct json_writer *json_key(struct json_writer *w, const char *key);
struct json_writer *json_key_str(struct json_writer *w, struct str key);

void json_put_str(struct json_writer *w, struct str s);
void json_put_cstr(struct json_writer *w, const char *s); /* NULL is written as null */
void json_put_u64(struct json_writer *w, uint64_t v);
void json_put_i64(struct json_writer *w, int64_t v);
void json_put_double(struct json_writer *w, double v);     /* like Python's repr; or "NaN", "Infinity", "-Infinity" */
void json_put_raw(struct json_writer *w, struct str text); /* text that is already JSON, such as a long integer */
#define json_put_bool(w, v) json_put_raw(w, str_c((v) ? "true" : "false"))
#define json_put_null(w) json_put_raw(w, str_c("null"))
void json_put_sizes(struct json_writer *w, const uint64_t *v, size_t n); /* an array on one line */

/* Ends the document with a newline. Another document may follow (JSON lines). */
void json_finish(struct json_writer *w);

#endif
