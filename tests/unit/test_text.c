/* Expected escapes are from lnn-tensors(5), UTF-8 from RFC 3629. */
#include "base/text.h"

#include "tap.h"

#define BYTES(literal) str_n(literal, sizeof(literal) - 1)

static void
test_utf8(void)
{
	static const struct {
		struct str s;
		size_t len;
	} cases[] = {
		{ STR_LIT("a"), 1 },
		{ STR_LIT("\0"), 1 },
		{ STR_LIT("\x7f"), 1 },
		{ STR_LIT("\x80"), 0 },
		{ STR_LIT("\xbf"), 0 },
		{ STR_LIT("\xc0\x80"), 0 },
		{ STR_LIT("\xc1\xbf"), 0 },
		{ STR_LIT("\xc2\x80"), 2 },
		{ STR_LIT("\xdf\xbf"), 2 },
		{ STR_LIT("\xc2"), 0 },
		{ STR_LIT("\xc2\x41"), 0 },
		{ STR_LIT("\xe0\x9f\xbf"), 0 },
		{ STR_LIT("\xe0\xa0\x80"), 3 },
		{ STR_LIT("\xed\x9f\xbf"), 3 },
		{ STR_LIT("\xed\xa0\x80"), 0 },
		{ STR_LIT("\xed\xbf\xbf"), 0 },
		{ STR_LIT("\xee\x80\x80"), 3 },
		{ STR_LIT("\xef\xbf\xbf"), 3 },
		{ STR_LIT("\xe2\x82"), 0 },
		{ STR_LIT("\xf0\x8f\xbf\xbf"), 0 },
		{ STR_LIT("\xf0\x90\x80\x80"), 4 },
		{ STR_LIT("\xf4\x8f\xbf\xbf"), 4 },
		{ STR_LIT("\xf4\x90\x80\x80"), 0 },
		{ STR_LIT("\xf5\x80\x80\x80"), 0 },
		{ STR_LIT("\xff"), 0 },
		{ STR_LIT("\xf0\x9f\x98"), 0 },
		{ STR_LIT(""), 0 },
	};
	struct buf b = BUF_INIT;
	bool all = true;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ok_msg(utf8_len((const uint8_t *)cases[i].s.p, cases[i].s.len) == cases[i].len, "UTF-8 case %zu", i);
	for (uint32_t c = 0; c < 0x110000; c++) {
		buf_clear(&b);
		utf8_put(&b, c);
		if (c < 0xd800 || c > 0xdfff)
			all = all && utf8_len((const uint8_t *)b.p, b.len) == b.len;
	}
	ok_msg(all, "every code point is written as valid UTF-8");
	buf_clear(&b);
	utf8_put(&b, 0xe9);
	utf8_put(&b, 0x65e5);
	utf8_put(&b, 0x1f600);
	is_str(b.p, "\xc3\xa9\xe6\x97\xa5\xf0\x9f\x98\x80", "three code points are written as UTF-8");
	ok(utf8_valid(BYTES("a\xc3\xa9")) && !utf8_valid(BYTES("a\xc3")) && utf8_valid(BYTES("")));
	buf_release(&b);
}

static void
escapes(struct str name, const char *field)
{
	struct buf b = BUF_INIT, back = BUF_INIT;

	text_escape(&b, name);
	is_str(b.p, field, field);
	ok(text_unescape(&back, buf_str(&b)) && str_eq(buf_str(&back), name));
	buf_release(&b);
	buf_release(&back);
}

static void
test_escape(void)
{
	static const char *const bad[] = { "\\", "a\\", "\\q", "\\x", "\\x1", "\\xg0", "\\x0g", "a\\eb", "\\e ", "\\u0041" };
	static const char special[] = "\\#\t\nex0\xc3";
	struct buf b = BUF_INIT, back = BUF_INIT;
	uint64_t state = 99;
	bool same = true, clean = true;
	char name[16];

	escapes(BYTES("stages.0.weight"), "stages.0.weight");
	escapes(BYTES(""), "\\e");
	escapes(BYTES("a\tb\nc\rd\\e"), "a\\tb\\nc\\rd\\\\e");
	escapes(BYTES("#a#b"), "\\#a#b");
	escapes(BYTES("  "), "\\x20 ");
	escapes(BYTES(" a "), " a ");
	escapes(BYTES("\\#"), "\\\\#");
	escapes(BYTES("\x01\x1b[1m\x7f"), "\\x01\\x1b[1m\\x7f");
	escapes(BYTES("a\0b"), "a\\x00b");
	escapes(BYTES("\xc2\x85"), "\\xc2\\x85");
	escapes(BYTES("\xc2\xa0\xc3\xa9\xf0\x9f\x98\x80"), "\xc2\xa0\xc3\xa9\xf0\x9f\x98\x80");
	escapes(BYTES("\xff\xc3"), "\\xff\\xc3");
	escapes(BYTES("a b"), "a b");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		buf_clear(&back);
		ok_msg(!text_unescape(&back, str_c(bad[i])), "no escape: %s", bad[i]);
	}
	buf_clear(&back);
	ok(text_unescape(&back, str_c("\\xC3\\xa9")) && str_eqc(buf_str(&back), "\xc3\xa9"));
	for (int i = 0; i < 50000; i++) {
		size_t n = (size_t)(state >> 33 & 15);

		for (size_t k = 0; k < n; k++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			name[k] = special[state >> 50 & 7];
			if (state >> 40 & 1)
				name[k] = (char)(unsigned char)(state >> 56);
		}
		state = state * 6364136223846793005u + 1442695040888963407u;
		buf_clear(&b);
		buf_clear(&back);
		text_escape(&b, str_n(name, n));
		same = same && text_unescape(&back, buf_str(&b)) && str_eq(buf_str(&back), str_n(name, n));
		clean = clean && b.len > 0 && b.p[0] != '#' && utf8_valid(buf_str(&b)) && strpbrk(b.p, "\t\n\r") == NULL &&
			strlen(b.p) == b.len;
	}
	ok_msg(same, "any bytes are the same after escaping and unescaping");
	ok_msg(clean, "an escaped field is never empty, never a comment, and one line");
	buf_release(&b);
	buf_release(&back);
}

static void
test_show(void)
{
	struct buf b = BUF_INIT;

	text_show(&b, BYTES("a\x1b[31m\xc3\xa9\xe2\x80\xae"
			    "x\xff\xc2\x9b\\"));
	is_str(b.p, "a\\x1b[31m\xc3\xa9\\xe2\\x80\\xaex\\xff\\xc2\\x9b\\",
	       "control characters and invalid bytes are escaped for a terminal");
	buf_release(&b);
	is_uint(text_width(BYTES("abc")), 3, "the width of ASCII letters is 1");
	is_uint(text_width(BYTES("\xc3\xa9t\xc3\xa9")), 3, "the width of letters with accents is 1");
	is_uint(text_width(BYTES("\xe6\x97\xa5\xe6\x9c\xac")), 2, "the width of characters of three bytes is 1");
	is_uint(text_width(BYTES("")), 0, "the width of the empty text is 0");
}

static void
test_distance(void)
{
	static const struct {
		const char *a, *b;
		unsigned expected;
	} cases[] = {
		{ "", "", 0 },         { "abc", "abc", 0 }, { "abc", "", 3 },       { "kitten", "sitting", 3 },
		{ "TYPE", "TPYE", 1 }, { "ab", "ba", 1 },   { "head", "heads", 1 }, { "PATERNS", "PATTERNS", 1 },
		{ "flaw", "lawn", 2 },
	};
	char long_a[600];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		is_uint(text_distance(str_c(cases[i].a), str_c(cases[i].b), 20), cases[i].expected, cases[i].a);
		is_uint(text_distance(str_c(cases[i].b), str_c(cases[i].a), 20), cases[i].expected,
			"the distance is the same with the texts exchanged");
	}
	is_uint(text_distance(str_c("kitten"), str_c("sitting"), 2), 3, "a distance above the limit is the limit and 1");
	is_uint(text_distance(str_c("abc"), str_c("xyzuvw"), 1), 2, "a distance far above the limit is the limit and 1");
	memset(long_a, 'a', sizeof(long_a));
	is_uint(text_distance(str_n(long_a, 600), str_n(long_a, 599), 3), 4, "texts that are too long are not compared");
	is_uint(text_distance(str_n(long_a, 255), str_n(long_a, 255), 3), 0, "texts of the greatest length are compared");
}

static const char *
guess(const char *query, const char *const *candidates)
{
	static char out[64];
	struct nearest n;

	nearest_init(&n, str_c(query));
	for (; *candidates != NULL; candidates++)
		nearest_try(&n, str_c(*candidates));
	if (!nearest_found(&n))
		return "none";
	snprintf(out, sizeof(out), "%.*s", STR_ARG(n.best));
	return out;
}

static void
test_nearest(void)
{
	static const char *const keys[] = { "TYPE", "PATTERNS", "MATCH_TYPE", "FILTERS", "FILTER", NULL };
	static const char *const names[] = { "stages.0.norm.weight", "head.weight", "head.bias", "cls_token", NULL };

	is_str(guess("PATERNS", keys), "PATTERNS", "a missing letter is guessed");
	is_str(guess("FILTRE", keys), "FILTER", "two swapped letters are guessed");
	is_str(guess("MATCHTYPE", keys), "MATCH_TYPE", "a missing letter counts less than a missing part");
	is_str(guess("LAYER_NAMES_OF_ALL", keys), "none", "nothing is guessed if nothing is similar");
	is_str(guess("module.head.weight", names), "head.weight", "a superfluous prefix is guessed");
	is_str(guess("head.wieght", names), "head.weight", "swapped letters in a long name are guessed");
	is_str(guess("x", names), "none", "nothing is guessed from a short text");
}

int
main(void)
{
	test_utf8();
	test_escape();
	test_show();
	test_distance();
	test_nearest();
	return tap_done();
}
