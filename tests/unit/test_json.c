/* The grammar of RFC 8259, sections 2 to 8. Offsets were counted by hand. */
#include "text/json_read.h"
#include "text/json_write.h"

#include "base/text.h"
#include "tap.h"

#define BYTES(literal) str_n(literal, sizeof(literal) - 1)

static struct err err;

/* Reads all tokens into a line such as {k(a)1[t]}. Returns -1 if the text is refused. */
static int
read_all(struct str text, struct buf *out)
{
	static const char marks[] = { 0, '{', '}', '[', ']', 'k', 's', 'n', 't', 'f', '0' };
	struct json_reader r;
	enum json_token t;

	err_clear(&err);
	buf_clear(out);
	json_begin(&r, "f", 8, text.p, text.len);
	while ((t = json_next(&r, &err)) > JSON_END) {
		buf_addc(out, marks[t]);
		if (t == JSON_KEY || t == JSON_STRING || t == JSON_NUMBER) {
			buf_addc(out, '(');
			buf_addstr(out, r.text);
			buf_addc(out, ')');
		}
	}
	if (t == JSON_ERROR)
		ok(json_next(&r, &err) == JSON_ERROR && err.code == ERR_INPUT);
	else
		ok(json_next(&r, &err) == JSON_END);
	json_release(&r);
	return t == JSON_END ? 0 : -1;
}

static void
test_accepted(void)
{
	static const struct {
		struct str text, tokens;
	} cases[] = {
		{ STR_LIT("{}"), STR_LIT("{}") },
		{ STR_LIT(" \t\r\n[ ] \n"), STR_LIT("[]") },
		{ STR_LIT("0"), STR_LIT("n(0)") },
		{ STR_LIT("-0"), STR_LIT("n(-0)") },
		{ STR_LIT("-12.50e+03"), STR_LIT("n(-12.50e+03)") },
		{ STR_LIT("1E9"), STR_LIT("n(1E9)") },
		{ STR_LIT("123456789012345678901234567890"), STR_LIT("n(123456789012345678901234567890)") },
		{ STR_LIT("true"), STR_LIT("t") },
		{ STR_LIT("[null,false]"), STR_LIT("[0f]") },
		{ STR_LIT("\"\""), STR_LIT("s()") },
		{ STR_LIT("\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\""), STR_LIT("s(a\"\\/\b\f\n\r\tz)") },
		{ STR_LIT("\"\\u0041\\u00e9\\u65E5\\uD83d\\uDE00\""), STR_LIT("s(A\xc3\xa9\xe6\x97\xa5\xf0\x9f\x98\x80)") },
		{ STR_LIT("\"\\u0000\""), STR_LIT("s(\0)") },
		{ STR_LIT("\"\xc3\xa9\xf0\x9f\x98\x80\x7f\""), STR_LIT("s(\xc3\xa9\xf0\x9f\x98\x80\x7f)") },
		{ STR_LIT("{\"a\":1,\"a\" : [ 2 , {\"\":\"x\"} ]}"), STR_LIT("{k(a)n(1)k(a)[n(2){k()s(x)}]}") },
		{ STR_LIT("[[],[[]],{}]"), STR_LIT("[[][[]]{}]") },
		{ STR_LIT("{\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}"),
		  STR_LIT("{k(w){k(dtype)s(F32)k(shape)[n(2)n(3)]k(data_offsets)[n(0)n(24)]}}") },
		{ STR_LIT("\"\\uffff\\uE000\""), STR_LIT("s(\xef\xbf\xbf\xee\x80\x80)") },
		/* Section 2: white space; 3: single values; 6: all forms of numbers; 8.2: escapes that are not characters. */
		{ STR_LIT("\t{\n\"a\"\r: \n1\t, \"b\" :2 } \r\n"), STR_LIT("{k(a)n(1)k(b)n(2)}") },
		{ STR_LIT("null"), STR_LIT("0") },
		{ STR_LIT(" false "), STR_LIT("f") },
		{ STR_LIT("[-1,0.1,-0.0,0e0,0E+1,1e-2,1.0E01,1e400,-1e-400]"),
		  STR_LIT("[n(-1)n(0.1)n(-0.0)n(0e0)n(0E+1)n(1e-2)n(1.0E01)n(1e400)n(-1e-400)]") },
		{ STR_LIT("{\"\\u0000\":1,\"\\u0000\":2}"), STR_LIT("{k(\0)n(1)k(\0)n(2)}") },
		{ STR_LIT("\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""),
		  STR_LIT("s(\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf)") },
		{ STR_LIT("\"\\uDBFF\\uDFFF\\ud800\\udc00\""), STR_LIT("s(\xf4\x8f\xbf\xbf\xf0\x90\x80\x80)") },
		{ STR_LIT("\"/\xe2\x80\xa8\xe2\x80\xa9\xef\xbb\xbf\""), STR_LIT("s(/\xe2\x80\xa8\xe2\x80\xa9\xef\xbb\xbf)") },
		{ STR_LIT("{\"a\":{\"a\":{}},\"\":[{},[]]}"), STR_LIT("{k(a){k(a){}}k()[{}[]]}") },
	};
	struct buf out = BUF_INIT;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ok_msg(read_all(cases[i].text, &out) == 0, "accepted: case %zu %s", i, err.msg);
		ok_msg(str_eq(buf_str(&out), cases[i].tokens), "the tokens are right: case %zu", i);
	}
	buf_release(&out);
}

static void
test_refused(void)
{
	static const struct {
		struct str text;
		unsigned offset; /* of the error, without the base of 8 */
	} cases[] = {
		{ STR_LIT(""), 0 },
		{ STR_LIT("  "), 2 },
		{ STR_LIT("\xef\xbb\xbf{}"), 0 },
		{ STR_LIT("{} x"), 3 },
		{ STR_LIT("{}{}"), 2 },
		{ STR_LIT("1 2"), 2 },
		{ STR_LIT("{}\0"), 2 },
		{ STR_LIT("{}\f"), 2 },
		{ STR_LIT("["), 1 },
		{ STR_LIT("[1"), 2 },
		{ STR_LIT("[1,"), 3 },
		{ STR_LIT("[1,]"), 3 },
		{ STR_LIT("[,1]"), 1 },
		{ STR_LIT("[1 2]"), 3 },
		{ STR_LIT("[1}"), 2 },
		{ STR_LIT("]"), 0 },
		{ STR_LIT("{"), 1 },
		{ STR_LIT("{1:2}"), 1 },
		{ STR_LIT("{\"a\"}"), 4 },
		{ STR_LIT("{\"a\" 1}"), 5 },
		{ STR_LIT("{\"a\":}"), 5 },
		{ STR_LIT("{\"a\":1,}"), 7 },
		{ STR_LIT("{\"a\":1 \"b\":2}"), 7 },
		{ STR_LIT("{\"a\":1]"), 6 },
		{ STR_LIT("{a:1}"), 1 },
		{ STR_LIT("{'a':1}"), 1 },
		{ STR_LIT("{,}"), 1 },
		{ STR_LIT("{\"a\"::1}"), 5 },
		{ STR_LIT("[1:2]"), 2 },
		{ STR_LIT("{\"a\":1:2}"), 6 },
		{ STR_LIT("01"), 0 },
		{ STR_LIT("-01"), 1 },
		{ STR_LIT("-"), 1 },
		{ STR_LIT("+1"), 0 },
		{ STR_LIT(".5"), 0 },
		{ STR_LIT("1."), 2 },
		{ STR_LIT("1.e3"), 2 },
		{ STR_LIT("1e"), 2 },
		{ STR_LIT("1e+"), 3 },
		{ STR_LIT("0x10"), 1 },
		{ STR_LIT("1_0"), 1 },
		{ STR_LIT("NaN"), 0 },
		{ STR_LIT("-Infinity"), 1 },
		{ STR_LIT("tru"), 0 },
		{ STR_LIT("True"), 0 },
		{ STR_LIT("nullx"), 4 },
		{ STR_LIT("// c\n1"), 0 },
		{ STR_LIT("[1]//"), 3 },
		{ STR_LIT("\v1"), 0 },
		{ STR_LIT("\xc2\xa0"
			  "1"),
		  0 },
		{ STR_LIT("\"a"), 0 },
		{ STR_LIT("\"a\\"), 3 },
		{ STR_LIT("\"\\x41\""), 1 },
		{ STR_LIT("\"\\\0\""), 1 },
		{ STR_LIT("\"\\u12g4\""), 1 },
		{ STR_LIT("\"\\u123"), 1 },
		{ STR_LIT("\"a\tb\""), 2 },
		{ STR_LIT("\"a\nb\""), 2 },
		{ STR_LIT("\"\0\""), 1 },
		{ STR_LIT("\"\x1f\""), 1 },
		{ STR_LIT("\"\\ud800\""), 1 },
		{ STR_LIT("\"\\udc00\""), 1 },
		{ STR_LIT("\"x\\ud83d\\u0041\""), 2 },
		{ STR_LIT("\"\\ud83d\\ud83d\""), 1 },
		{ STR_LIT("\"\\ud83dx\""), 1 },
		{ STR_LIT("\"\xff\""), 1 },
		{ STR_LIT("\"ab\xc3\""), 3 },
		{ STR_LIT("\"\xc0\xaf\""), 1 },
		{ STR_LIT("\"\xed\xa0\x80\""), 1 },
		{ STR_LIT("\"\xf4\x90\x80\x80\""), 1 },
		{ STR_LIT("\"\xe6\x97\""), 1 },
		{ STR_LIT("'a'"), 0 },
		{ STR_LIT("[\"a\",\n\"b\" \"c\"]"), 10 },
		/* numbers */
		{ STR_LIT("-a"), 1 },
		{ STR_LIT("--1"), 1 },
		{ STR_LIT("1+2"), 1 },
		{ STR_LIT("0e"), 2 },
		{ STR_LIT("0.e1"), 2 },
		{ STR_LIT("-.5"), 1 },
		{ STR_LIT("1e1.5"), 3 },
		{ STR_LIT("1,000"), 1 },
		{ STR_LIT("00"), 0 },
		{ STR_LIT("[1e"), 3 },
		{ STR_LIT("1 000"), 2 },
		{ STR_LIT("1f"), 1 },
		{ STR_LIT("Infinity"), 0 },
		{ STR_LIT("nan"), 0 },
		{ STR_LIT("\xef\xbc\x91"), 0 },
		{ STR_LIT("[-]"), 2 },
		{ STR_LIT("1e-"), 3 },
		{ STR_LIT("1ee2"), 2 },
		/* structure */
		{ STR_LIT("[1,,2]"), 3 },
		{ STR_LIT("[,]"), 1 },
		{ STR_LIT("[\"a\":1]"), 4 },
		{ STR_LIT("{\"a\",\"b\"}"), 4 },
		{ STR_LIT("{\"a\":1,,\"b\":2}"), 7 },
		{ STR_LIT("{null:1}"), 1 },
		{ STR_LIT("{[]:1}"), 1 },
		{ STR_LIT("[[]"), 3 },
		{ STR_LIT("{\"a\":["), 6 },
		{ STR_LIT("{\"a\":1"), 6 },
		{ STR_LIT("{\"a\":"), 5 },
		{ STR_LIT("{\"a\""), 4 },
		{ STR_LIT("[true"), 5 },
		{ STR_LIT("[\"a\",\"b\"]]"), 9 },
		{ STR_LIT("{}}"), 2 },
		{ STR_LIT("}"), 0 },
		{ STR_LIT("{\"a\":1,\"b\"}"), 10 },
		{ STR_LIT(","), 0 },
		{ STR_LIT(":"), 0 },
		{ STR_LIT("[1];"), 3 },
		/* words and comments */
		{ STR_LIT("t"), 0 },
		{ STR_LIT("nul"), 0 },
		{ STR_LIT("fals"), 0 },
		{ STR_LIT("FALSE"), 0 },
		{ STR_LIT("undefined"), 0 },
		{ STR_LIT("#1"), 0 },
		{ STR_LIT("/**/1"), 0 },
		{ STR_LIT("[1/**/]"), 2 },
		{ STR_LIT("truefalse"), 4 },
		/* strings */
		{ STR_LIT("\""), 0 },
		{ STR_LIT("[\"a"), 1 },
		{ STR_LIT("\"\\u\""), 1 },
		{ STR_LIT("\"\\U0041\""), 1 },
		{ STR_LIT("\"\\a\""), 1 },
		{ STR_LIT("\"\\'\""), 1 },
		{ STR_LIT("\"\\ud800\\u\""), 1 },
		{ STR_LIT("\"\\ud800\\n\""), 1 },
		{ STR_LIT("\"\\u 041\""), 1 },
		{ STR_LIT("\"\\\n\""), 1 },
		{ STR_LIT("\"a\"b\""), 3 },
		/* encodings */
		{ STR_LIT("\"\xe0\x80\x80\""), 1 },
		{ STR_LIT("\"\xe0\x9f\xbf\""), 1 },
		{ STR_LIT("\"\xf0\x80\x80\x80\""), 1 },
		{ STR_LIT("\"\xf0\x8f\xbf\xbf\""), 1 },
		{ STR_LIT("\"\xf8\x88\x80\x80\x80\""), 1 },
		{ STR_LIT("\"\x80\""), 1 },
		{ STR_LIT("\"\xed\xbf\xbf\""), 1 },
		{ STR_LIT("\"\xc1\xbf\""), 1 },
		{ STR_LIT("\"\xf5\x80\x80\x80\""), 1 },
		{ STR_LIT("\"\xc3\xa9\xe9\""), 3 },
		{ STR_LIT("\xff\xfe[\0]\0"), 0 },
		{ STR_LIT("\xfe\xff\0[\0]"), 0 },
		{ STR_LIT("\0[\0]"), 0 },
		{ STR_LIT("[\0]\0"), 1 },
		{ STR_LIT("[1]\xef\xbb\xbf"), 3 },
		{ STR_LIT("[\xef\xbb\xbf"
			  "1]"),
		  1 },
		/* characters that are not white space */
		{ STR_LIT("[1]\xc2\x85"), 3 },
		{ STR_LIT("\xe2\x80\xa8"
			  "1"),
		  0 },
		{ STR_LIT("[1]\v"), 3 },
		{ STR_LIT("[\f1]"), 1 },
		{ STR_LIT("\x1f"
			  "1"),
		  0 },
		{ STR_LIT("1\x7f"), 1 },
		{ STR_LIT("\xe3\x80\x80"
			  "1"),
		  0 },
	};
	struct buf out = BUF_INIT;
	char expected[40];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ok_msg(read_all(cases[i].text, &out) == -1, "refused: case %zu", i);
		snprintf(expected, sizeof(expected), "f: at byte %u: ", cases[i].offset + 8);
		if (!ok_msg(strncmp(err.msg, expected, strlen(expected)) == 0, "the error has the right offset: case %zu", i))
			tap_note("got \"%s\", expected \"%s\"", err.msg, expected);
	}
	buf_release(&out);
}

/* Section 7: control characters must be escaped in a string. DEL is not a control character. */
static void
test_controls(void)
{
	struct buf out = BUF_INIT;
	char text[] = "\"a?\"", key[] = "{\"?\":1}";

	for (int c = 0; c < 0x20; c++) {
		text[2] = key[2] = (char)c;
		ok_msg(read_all(str_n(text, 4), &out) == -1, "a string with a raw 0x%02x", c);
		ok_msg(read_all(str_n(key, 7), &out) == -1, "a key with a raw 0x%02x", c);
	}
	buf_release(&out);
}

static void
test_depth(void)
{
	struct buf text = BUF_INIT, out = BUF_INIT;

	buf_fill(&text, '[', JSON_MAX_DEPTH);
	buf_fill(&text, ']', JSON_MAX_DEPTH);
	ok_msg(read_all(buf_str(&text), &out) == 0, "%d levels", JSON_MAX_DEPTH);
	buf_clear(&text);
	buf_fill(&text, '[', JSON_MAX_DEPTH + 1);
	ok(read_all(buf_str(&text), &out) == -1);
	is_str(err.msg, "f: at byte 136: JSON nested deeper than 128 levels", "one level more is refused");
	buf_release(&text);
	buf_release(&out);
}

static void
test_u64(void)
{
	static const struct {
		const char *text;
		int good;
		uint64_t v;
	} cases[] = {
		{ "0", 1, 0 },
		{ "7", 1, 7 },
		{ "18446744073709551615", 1, UINT64_MAX },
		{ "18446744073709551616", 0, 0 },
		{ "99999999999999999999", 0, 0 },
		{ "-0", 0, 0 },
		{ "-1", 0, 0 },
		{ "1.0", 0, 0 },
		{ "1e3", 0, 0 },
		{ "", 0, 0 },
		{ "00", 0, 0 },
		{ "01", 0, 0 },
		{ "+1", 0, 0 },
	};
	uint64_t v;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		v = 0;
		ok_msg(json_u64(str_c(cases[i].text), &v) == cases[i].good && v == cases[i].v, "u64 \"%s\"", cases[i].text);
	}
}

static void
test_walking(void)
{
	static const char text[] = " {\"a\": {\"x\": [1, {\"y\": 2}]}, \"b\\u0041\": [3], \"c\": 4, \"d\": 5}";
	struct json_reader r;

	err_clear(&err);
	json_begin(&r, "m.json", 100, text, strlen(text));
	ok(json_expect(&r, JSON_OBJECT, "the header", &err) == 0);
	is_uint(r.start, 1, "a token has its offset");
	ok(json_next(&r, &err) == JSON_KEY && str_eqc(r.text, "a") && r.borrowed && r.text.p == text + 3);
	ok(json_skip(&r, &err) == 0);
	ok(json_next(&r, &err) == JSON_KEY && str_eqc(r.text, "bA") && !r.borrowed);
	is_uint(r.start, 29, "a second key has its offset");
	ok(json_next(&r, &err) == JSON_ARRAY && json_skip(&r, &err) == 0);
	ok(json_next(&r, &err) == JSON_KEY && str_eqc(r.text, "c") && json_skip(&r, &err) == 0);
	ok(json_next(&r, &err) == JSON_KEY && str_eqc(r.text, "d"));
	ok(json_expect(&r, JSON_STRING, "d", &err) == -1);
	is_str(err.msg, "m.json: at byte 158: d must be a string, not a number", "an error names the expected type");
	err_clear(&err);
	ok(json_next(&r, &err) == JSON_OBJECT_END && json_next(&r, &err) == JSON_END);
	json_release(&r);
	json_begin(&r, "m.json", 0, "[[1,", 4);
	ok(json_next(&r, &err) == JSON_ARRAY && json_skip(&r, &err) == -1);
	is_str(err.msg, "m.json: at byte 4: JSON ends where a value is expected", "a broken value is refused when it is skipped");
	json_release(&r);
}

static void
write_sample(struct json_writer *w)
{
	json_begin_object(w);
	json_key(w, "schema");
	json_put_u64(w, 1);
	json_key(w, "none");
	json_begin_array(w);
	json_end_array(w);
	json_key(w, "tensors");
	json_begin_array(w);
	json_begin_object(w);
	json_key(w, "shape");
	json_begin_inline_array(w);
	json_put_u64(w, 2);
	json_begin_array(w);
	json_put_i64(w, INT64_MIN);
	json_end_array(w);
	json_end_array(w);
	json_key(w, "ok");
	json_put_bool(w, true);
	json_end_object(w);
	json_put_cstr(w, NULL);
	json_begin_object(w);
	json_end_object(w);
	json_end_array(w);
	json_end_object(w);
	json_finish(w);
}

static void
test_layout(void)
{
	struct buf out = BUF_INIT;
	struct json_writer w;

	json_writer_init(&w, &out, false);
	write_sample(&w);
	json_put_bool(&w, false);
	json_finish(&w);
	is_str(out.p,
	       "{\"schema\":1,\"none\":[],\"tensors\":[{\"shape\":[2,[-9223372036854775808]],\"ok\":true},null,{}]}\n"
	       "false\n",
	       "documents are written in compact form, a line each");
	buf_clear(&out);
	json_writer_init(&w, &out, true);
	write_sample(&w);
	is_str(out.p,
	       "{\n  \"schema\": 1,\n  \"none\": [],\n  \"tensors\": [\n    {\n"
	       "      \"shape\": [2, [-9223372036854775808]],\n      \"ok\": true\n    },\n    null,\n    {}\n  ]\n}\n",
	       "a document is written indented, with shapes on one line");
	buf_clear(&out);
	json_begin_inline_object(&w);
	json_key(&w, "a");
	json_put_u64(&w, 1);
	json_key(&w, "b");
	json_begin_array(&w);
	json_end_array(&w);
	json_end_object(&w);
	is_str(out.p, "{\"a\": 1, \"b\": []}", "an object is written on one line");
	buf_release(&out);
}

static void
quoted(struct str s, const char *expected)
{
	struct buf out = BUF_INIT;
	struct json_writer w;

	json_writer_init(&w, &out, false);
	json_put_str(&w, s);
	is_str(out.p, expected, expected);
	buf_release(&out);
}

static void
test_strings(void)
{
	struct buf out = BUF_INIT, all = BUF_INIT;
	struct json_writer w;
	struct json_reader r;

	quoted(BYTES(""), "\"\"");
	quoted(BYTES("a/\"\\\b\f\n\r\t"), "\"a/\\\"\\\\\\b\\f\\n\\r\\t\"");
	quoted(BYTES("\0\x01\x1b[2J\x7f"), "\"\\u0000\\u0001\\u001b[2J\\u007f\"");
	quoted(BYTES("\xc2\x80\xc2\x9f\xc2\xa0"), "\"\\u0080\\u009f\xc2\xa0\"");
	quoted(BYTES("\xe2\x80\xae\xe2\x81\xa6\xe2\x80\xa8\xef\xbb\xbf\xd8\x9c"), "\"\\u202e\\u2066\\u2028\\ufeff\\u061c\"");
	quoted(BYTES("\xc3\xa9\xf0\x9f\x98\x80"), "\"\xc3\xa9\xf0\x9f\x98\x80\"");
	quoted(BYTES("a\xff\xc3"), "\"a\\udcff\\udcc3\"");
	quoted(BYTES("\xed\xb0\x80"), "\"\\udced\\udcb0\\udc80\"");
	for (uint32_t c = 0; c < 0x3000; c++)
		if (c != 0xfffe)
			utf8_put(&all, c);
	json_writer_init(&w, &out, false);
	json_put_str(&w, buf_str(&all));
	json_begin(&r, "f", 0, out.p, out.len);
	ok(json_next(&r, &err) == JSON_STRING && str_eq(r.text, buf_str(&all)));
	json_release(&r);
	buf_release(&all);
	buf_release(&out);
}

static void
test_doubles(void)
{
	static const struct {
		double v;
		const char *expected;
	} cases[] = {
		{ 0.1, "0.1" },
		{ -0.0, "-0.0" },
		{ 1, "1.0" },
		{ 1e22, "1e+22" },
		{ 5e-5, "5e-05" },
		{ (double)NAN, "\"NaN\"" },
		{ (double)INFINITY, "\"Infinity\"" },
		{ -(double)INFINITY, "\"-Infinity\"" },
	};
	struct buf out = BUF_INIT;
	struct json_writer w;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		buf_clear(&out);
		json_writer_init(&w, &out, false);
		json_put_double(&w, cases[i].v);
		is_str(out.p, cases[i].expected, cases[i].expected);
	}
	buf_release(&out);
}

int
main(void)
{
	test_accepted();
	test_refused();
	test_controls();
	test_depth();
	test_u64();
	test_walking();
	test_layout();
	test_strings();
	test_doubles();
	return tap_done();
}
