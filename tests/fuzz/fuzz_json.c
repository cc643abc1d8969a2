/* JSON: a document that was read can be written, and is equal when it is read again. */
#include "fuzz.h"

#include "base/text.h"
#include "text/json_read.h"
#include "text/json_write.h"

/* Writes the document in p to out. Returns false if p is not valid. */
static bool
copy(const void *p, size_t n, struct buf *out, size_t *tokens)
{
	struct json_reader r;
	struct json_writer w;
	struct err err = ERR_INIT;
	enum json_token t;
	size_t last = 0;
	uint64_t number;

	json_begin(&r, "json", 0, p, n);
	json_writer_init(&w, out, false);
	*tokens = 0;
	while ((t = json_next(&r, &err)) > JSON_END) {
		++*tokens;
		promise(r.start >= last && r.start < n, "tokens follow each other");
		last = r.start;
		switch (t) {
		case JSON_OBJECT: json_begin_object(&w); break;
		case JSON_OBJECT_END: json_end_object(&w); break;
		case JSON_ARRAY: json_begin_array(&w); break;
		case JSON_ARRAY_END: json_end_array(&w); break;
		case JSON_KEY:
		case JSON_STRING:
			promise(utf8_valid(r.text), "text is UTF-8");
			if (t == JSON_KEY)
				json_key_str(&w, r.text);
			else
				json_put_str(&w, r.text);
			break;
		case JSON_NUMBER:
			(void)json_u64(r.text, &number);
			json_put_raw(&w, r.text);
			break;
		case JSON_TRUE: json_put_bool(&w, true); break;
		case JSON_FALSE: json_put_bool(&w, false); break;
		default: json_put_null(&w); break;
		}
	}
	fuzz_judge(t == JSON_ERROR ? -1 : 0, &err);
	promise(json_next(&r, &err) == t, "the end of the document is reported again");
	json_release(&r);
	return t == JSON_END;
}

static bool
skips(const void *p, size_t n)
{
	struct json_reader r;
	struct err err = ERR_INIT;
	bool good;

	json_begin(&r, "json", 0, p, n);
	good = json_next(&r, &err) != JSON_ERROR && json_skip(&r, &err) == 0 && json_next(&r, &err) == JSON_END;
	json_release(&r);
	return good;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf one = BUF_INIT, two = BUF_INIT;
	size_t n, again;
	bool good = copy(data, size, &one, &n);

	promise(skips(data, size) == good, "skipping a value is as strict as reading it");
	if (good) {
		promise(copy(one.p, one.len, &two, &again) && n == again, "a document that was written is read again");
		promise(one.len == two.len && memcmp(one.p, two.p, one.len) == 0,
			"a document that is written again has the same bytes");
	}
	buf_release(&one);
	buf_release(&two);
	return 0;
}
