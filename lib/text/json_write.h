/*
 * json_write: JSON into a buf, which the caller writes out and clears whenever
 * it likes, also in the middle of a document.
 *
 * Output is valid JSON whatever the strings hold. Escaped as \uXXXX: C0 and C1
 * controls, DEL, line separators, bidirectional controls and the byte order mark,
 * so that no name reaches a terminal with effect. A byte that is not part of valid
 * UTF-8 is written as the lone surrogate \udcXX (XX: the byte), as Python writes
 * text that it read with errors="surrogateescape"; json.loads and os.fsencode
 * give the byte back. Other readers refuse or replace it: who writes for them
 * checks utf8_valid first.
 *
 * The caller keeps begin and end in balance and gives every object value a key.
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
	bool first; /* nothing stands in the innermost object or array yet */
	bool keyed; /* a key waits for its value */
	unsigned depth;
	unsigned inlined; /* open levels counted from an inline array on */
};

/* pretty: indented by two spaces. Otherwise there is no white space at all. */
void json_writer_init(struct json_writer *w, struct buf *out, bool pretty);

void json_open(struct json_writer *w, char bracket, bool on_one_line);
void json_close(struct json_writer *w, char bracket);
#define json_begin_object(w) json_open(w, '{', false)
#define json_begin_array(w) json_open(w, '[', false)
#define json_begin_inline_object(w) json_open(w, '{', true) /* on one line with all it holds, also when pretty */
#define json_begin_inline_array(w) json_open(w, '[', true)
#define json_end_object(w) json_close(w, '}')
#define json_end_array(w) json_close(w, ']')

/* Both return w, for the value: json_put_u64(json_key(w, "schema"), 1). */
struct json_writer *json_key(struct json_writer *w, const char *key);
struct json_writer *json_key_str(struct json_writer *w, struct str key);

void json_put_str(struct json_writer *w, struct str s);
void json_put_cstr(struct json_writer *w, const char *s); /* NULL is written as null */
void json_put_u64(struct json_writer *w, uint64_t v);
void json_put_i64(struct json_writer *w, int64_t v);
void json_put_double(struct json_writer *w, double v);     /* Python's repr; else "NaN", "Infinity", "-Infinity" */
void json_put_raw(struct json_writer *w, struct str text); /* a value that is JSON already, such as a long integer */
#define json_put_bool(w, v) json_put_raw(w, str_c((v) ? "true" : "false"))
#define json_put_null(w) json_put_raw(w, str_c("null"))
void json_put_sizes(struct json_writer *w, const uint64_t *v, size_t n); /* an array on one line */

/* Ends the document with a newline; another may follow (JSON lines). */
void json_finish(struct json_writer *w);

#endif
