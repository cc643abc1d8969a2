/* The expected texts of doubles are Python's repr. All other values were computed by hand. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/num.h"
#include "base/str.h"
#include "base/strmap.h"
#include "base/xalloc.h"

#include <errno.h>

#include "tap.h"

static void
test_err(void)
{
	struct err err = ERR_INIT;
	char long_name[4000];

	ok(err_at(&err, "a.pth", 17, "%s", "broken") == -1);
	is_str(err.msg, "a.pth: at byte 17: broken", "an error has the offset of a byte");
	ok(err.code == ERR_INPUT);
	ok(err_set(&err, ERR_USAGE, "later") == -1 && err.code == ERR_INPUT);
	is_str(err.msg, "a.pth: at byte 17: broken", "the first error wins");
	err_clear(&err);
	err_line(&err, "c.yaml", 3, 4, "what");
	is_str(err.msg, "c.yaml:3:4: what", "an error has line and column");
	err_clear(&err);
	errno = ENOENT;
	err_sys(&err, "f", "cannot open");
	is_str(err.msg, "f: cannot open: No such file or directory", "an error of the system has the text of errno");
	ok(err.code == ERR_SYSTEM && err.sysno == ENOENT);
	err_clear(&err);
	ok(err.code == ERR_NONE && err.msg[0] == '\0');
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	err_set(&err, ERR_ANSWER, "%s", long_name);
	is_uint(strlen(err.msg), sizeof(err.msg) - 1, "a message that is too long is cut");
	is_str(err.msg + sizeof(err.msg) - 6, "xx...", "a message that is cut ends in dots");
	err_clear(&err);
	err_input(&err, long_name, "%s", long_name);
	ok(strlen(err.msg) < sizeof(err.msg));
	err_clear(&err);
	err_at(&err, long_name, 5, "gone");
	ok(strlen(err.msg) < sizeof(err.msg));
}

static void
remember(void *arg, enum diag_level level, const char *msg)
{
	buf_addf(arg, "%d %s|", (int)level, msg);
}

static void
test_diag(void)
{
	struct buf said = BUF_INIT;
	struct diag d = { remember, &said };

	diag_warn(&d, "%d names", 3);
	diag_verbose(&d, "more");
	is_str(said.p, "0 3 names|1 more|", "messages arrive with their levels");
	diag_warn(NULL, "not delivered %d", 1);
	d.say = NULL;
	diag_verbose(&d, "not delivered");
	is_str(said.p, "0 3 names|1 more|", "a diag without a function drops messages");
	buf_release(&said);
}

static void
test_str(void)
{
	static const char *const natural[] = {
		"",
		"blocks",
		"blocks.1",
		"blocks.2.a",
		"blocks.9",
		"blocks.10",
		"blocks.10.b",
		"blocks.011",
		"blocks.18446744073709551616",
		"blocks.18446744073709551617",
		"blocksa",
		"c1d2",
		"c1d10",
	};
	size_t n = sizeof(natural) / sizeof(natural[0]);
	struct str rest = str_c("a..b"), part;

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			int c = str_cmp_natural(str_c(natural[i]), str_c(natural[j]));

			if ((c > 0) - (c < 0) != (i > j) - (i < j))
				ok_msg(false, "order of \"%s\" and \"%s\"", natural[i], natural[j]);
		}
	ok(str_cmp_natural(str_c("a.2"), str_c("a.10")) < 0);
	ok(str_cmp_natural(str_c("a.02"), str_c("a.2")) != 0);
	ok(str_cmp_natural(str_c("a.007b"), str_c("a.8a")) < 0);
	ok(str_cmp(str_c("a"), str_c("ab")) < 0 && str_cmp(str_n("a\0", 2), str_c("a")) > 0);
	ok(str_cmp(str_c("\xff"), str_c("a")) > 0);
	ok(str_eq(str_n(NULL, 0), str_c("")) && str_eqc(str_n("abc", 2), "ab"));
	ok(str_eqc_nocase(str_c("StartsWith"), "startswith") && !str_eqc_nocase(str_c("a"), "ab"));
	ok(str_starts(str_c("module.x"), str_c("module.")) && !str_starts(str_c("mod"), str_c("module.")));
	ok(str_ends(str_c("a.weight"), str_c(".weight")) && str_ends(str_c("a"), str_n(NULL, 0)));
	ok(str_contains(str_c("a.b.c"), str_c(".b")) && str_contains(str_c("a"), str_c("")));
	is_int(str_find(str_c("abcabc"), str_c("bc"), 2), 4, "find from an offset");
	is_int(str_find(str_c("abc"), str_c("x"), 0), -1, "find nothing");
	is_int(str_find(str_c("abc"), str_c("c"), 9), -1, "find after the end");
	ok(str_eqc(str_from(str_c("abc"), 1), "bc") && str_from(str_c("abc"), 9).len == 0);
	ok(str_split(&rest, '.', &part) && str_eqc(part, "a"));
	ok(str_split(&rest, '.', &part) && part.len == 0);
	ok(str_split(&rest, '.', &part) && str_eqc(part, "b") && !str_split(&rest, '.', &part));
	rest = str_c("a.");
	ok(str_split(&rest, '.', &part) && str_split(&rest, '.', &part) && part.len == 0);
	ok(!str_split(&rest, '.', &part));
}

static void
test_buf(void)
{
	struct buf b = BUF_INIT;
	char *buffer;

	buf_addf(&b, "%s-%d", "a", 5);
	buf_addc(&b, '!');
	buf_u64(&b, UINT64_MAX);
	is_str(b.p, "a-5!18446744073709551615", "pieces");
	buf_clear(&b);
	buf_u64(&b, 0);
	buf_fill(&b, ' ', 3);
	buf_adds(&b, "x");
	is_str(b.p, "0   x", "numbers in hexadecimal and decimal, with padding");
	buf_clear(&b);
	buf_le16(&b, 0x0102);
	buf_le32(&b, 0x03040506);
	buf_le64(&b, 0x0708090a0b0c0d0eu);
	is_mem(b.p, "\x02\x01\x06\x05\x04\x03\x0e\x0d\x0c\x0b\x0a\x09\x08\x07", 14, "little-endian fields");
	buf_clear(&b);
	for (int i = 0; i < 100000; i++)
		buf_add(&b, "0123456789", 10);
	ok(b.len == 1000000 && b.p[999999] == '9' && b.p[1000000] == '\0');
	buffer = buf_reserve(&b, 5);
	memcpy(buffer, "hello", 5);
	b.len += 5;
	ok(str_ends(buf_str(&b), str_c("9hello")));
	buf_release(&b);
	ok(b.p == NULL && b.len == 0 && b.cap == 0);
}

static void
test_cursor(void)
{
	static const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
	struct cursor c = cursor_of(bytes, 15);
	uint8_t out[8];

	is_mem(cursor_bytes(&c, 1), bytes, 1, "a byte");
	is_uint(cursor_u16(&c), 0x0302, "u16");
	is_mem(cursor_bytes(&c, 4), bytes + 3, 4, "four bytes");
	is_uint(cursor_u64(&c), 0x0f0e0d0c0b0a0908u, "u64");
	ok(cursor_left(&c) == 0 && !c.failed);
	ok(cursor_bytes(&c, 0) != NULL && !c.failed);
	is_uint(cursor_u16(&c), 0, "a read past the end gives 0");
	ok(c.failed && cursor_u64(&c) == 0 && cursor_bytes(&c, 1) == NULL);
	c = cursor_of(bytes, 3);
	ok(cursor_u64(&c) == 0 && c.failed && cursor_u16(&c) == 0);
	c = cursor_of(bytes, 3);
	ok(cursor_bytes(&c, SIZE_MAX) == NULL && c.failed);
	is_uint(get_le64(bytes + 1), 0x0908070605040302u, "le64 at an odd address");
	put_le64(out, 0x1122334455667788u);
	is_mem(out, "\x88\x77\x66\x55\x44\x33\x22\x11", 8, "put_le64");
	put_le32(out, 0xdeadbeef);
	put_le16(out + 4, 0xcafe);
	is_mem(out, "\xef\xbe\xad\xde\xfe\xca", 6, "put_le32 and put_le16");
	ok(get_le32(out) == 0xdeadbeef && get_le16(out + 4) == 0xcafe);
}

static void
test_arena(void)
{
	struct arena a = ARENA_INIT;
	bool aligned = true, zero = true;
	struct str s;

	for (size_t i = 1; i < 2000; i++) {
		uint8_t *p = arena_alloc(&a, i), *q;

		memset(p, 0xaa, i);
		/* No type of less than 16 bytes needs more than 8. */
		aligned = aligned && (uintptr_t)p % (i < 16 ? 8 : _Alignof(max_align_t)) == 0;
		arena_bytes(&a, 3);
		q = arena_calloc(&a, i, 1);
		for (size_t k = 0; k < i; k++)
			zero = zero && q[k] == 0;
	}
	ok(aligned);
	ok(zero);
	s = arena_str(&a, str_n("a\0b", 3));
	ok(s.len == 3 && memcmp(s.p, "a\0b", 4) == 0);
	ok(arena_str(&a, str_n(NULL, 0)).len == 0);
	is_str(arena_cstr(&a, "text"), "text", "a C string");
	is_str(arena_printf(&a, "%s.%d", "x", 7), "x.7", "a formatted one");
	ok(arena_alloc(&a, (size_t)10 << 20) != NULL && a.total > (size_t)10 << 20);
	arena_release(&a);
	ok(a.chunks == NULL && a.total == 0);
}

static void
test_integers(void)
{
	static const struct {
		const char *text;
		int good;
		uint64_t v;
	} sizes[] = {
		{ "5GB", 1, 5000000000 },
		{ "5kB", 1, 5000 },
		{ "5MB", 1, 5000000 },
		{ "5GiB", 1, 5368709120 },
		{ "5G", 1, 5368709120 },
		{ "5M", 1, 5242880 },
		{ "5K", 1, 5120 },
		{ "0", 1, 0 },
		{ "17", 1, 17 },
		{ "1TB", 1, 1000000000000 },
		{ "16777215T", 1, 18446742974197923840u },
		{ "16777216T", 0, 0 },
		{ "", 0, 0 },
		{ "G", 0, 0 },
		{ "5 GB", 0, 0 },
		{ "5gb", 0, 0 },
		{ "-5", 0, 0 },
		{ "1.5G", 0, 0 },
	};
	uint64_t u;

	ok(num_u64(str_c("18446744073709551615"), &u) && u == UINT64_MAX);
	ok(!num_u64(str_c("18446744073709551616"), &u) && !num_u64(str_c(""), &u) && !num_u64(str_c("+1"), &u));
	ok(!num_u64(str_c("1 "), &u) && !num_u64(str_n("1\0", 2), &u));
	ok(num_add(UINT64_MAX, 0, &u) && !num_add(UINT64_MAX, 1, &u));
	ok(num_mul(UINT64_MAX, 1, &u) && !num_mul((uint64_t)1 << 32, (uint64_t)1 << 32, &u));
	ok(num_align(0, 64) == 0 && num_align(1, 64) == 64 && num_align(64, 64) == 64 && num_align(65, 64) == 128);
	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		u = 0;
		ok_msg(num_size(str_c(sizes[k].text), &u) == sizes[k].good && (!sizes[k].good || u == sizes[k].v), "size \"%s\"",
		       sizes[k].text);
	}
}

static void
test_doubles(void)
{
	static const struct {
		double v;
		const char *repr;
	} reprs[] = {
		{ 0.0, "0.0" },
		{ -0.0, "-0.0" },
		{ 1.0, "1.0" },
		{ -1.5, "-1.5" },
		{ 0.1, "0.1" },
		{ 0.1 + 0.2, "0.30000000000000004" },
		{ 1.0 / 3.0, "0.3333333333333333" },
		{ 5e-5, "5e-05" },
		{ 0.0001, "0.0001" },
		{ 0.00012345, "0.00012345" },
		{ 9.9e-5, "9.9e-05" },
		{ 1e15, "1000000000000000.0" },
		{ 1e16, "1e+16" },
		{ 123456789012345680.0, "1.2345678901234568e+17" },
		{ 9007199254740993.0, "9007199254740992.0" },
		{ 9999999999999998.0, "9999999999999998.0" },
		{ 1e22, "1e+22" },
		{ 1e23, "1e+23" },
		{ 1.7976931348623157e308, "1.7976931348623157e+308" },
		{ 2.2250738585072014e-308, "2.2250738585072014e-308" },
		{ 5e-324, "5e-324" },
		{ 3.141592653589793, "3.141592653589793" },
		{ 100.0, "100.0" },
		{ 123456.789, "123456.789" },
		{ 1.1754943508222875e-38, "1.1754943508222875e-38" },
		{ 3.4028234663852886e38, "3.4028234663852886e+38" },
		{ 0.30000001192092896, "0.30000001192092896" },
		{ (double)NAN, "nan" },
		{ (double)INFINITY, "inf" },
		{ -(double)INFINITY, "-inf" },
	};
	static const char *const bad[] = {
		"", ".", "e5", "1e", "0x10", "1_0", "1 ", " 1", "1,5", "infinit", "--1", "1e5.0", "+-1", "1f",
	};
	uint64_t bits, state = 12345;
	char text[32];
	double v, back;
	bool same = true;

	for (size_t i = 0; i < sizeof(reprs) / sizeof(reprs[0]); i++) {
		num_repr(reprs[i].v, text);
		is_str(text, reprs[i].repr, reprs[i].repr);
	}
	for (int i = 0; i < 20000; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		bits = state ^ state >> 29;
		memcpy(&v, &bits, sizeof(v));
		if (isnan(v) || isinf(v))
			continue;
		num_repr(v, text);
		same = same && num_double(str_c(text), &back) && memcmp(&back, &v, sizeof(v)) == 0;
	}
	ok_msg(same, "the text of num_repr reads back as the same double");
	ok(num_double(str_c("5e-5"), &v) && v == 5e-5);
	ok(num_double(str_c("1."), &v) && v == 1.0 && num_double(str_c(".5"), &v) && v == 0.5);
	ok(num_double(str_c("-1E+3"), &v) && v == -1000.0);
	ok(num_double(str_c("-Infinity"), &v) && isinf(v) && v < 0 && num_double(str_c("NaN"), &v) && isnan(v));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok_msg(!num_double(str_c(bad[i]), &v), "\"%s\" is refused as a double", bad[i]);
}

static void
test_strmap(void)
{
	enum { COUNT = 100000 };
	struct arena a = ARENA_INIT;
	struct strmap m = STRMAP_INIT;
	char text[40];
	uint64_t v = 7;
	bool added = true, again = false, found = true;

	ok(!strmap_get(&m, str_c("x"), &v) && v == 7);
	for (uint64_t i = 0; i < COUNT; i++) {
		snprintf(text, sizeof(text), "blocks.%" PRIu64 ".weight", i);
		added = strmap_add(&m, arena_str(&a, str_c(text)), i * 3) && added;
	}
	for (uint64_t i = 0; i < COUNT; i++) {
		snprintf(text, sizeof(text), "blocks.%" PRIu64 ".weight", i);
		again = strmap_add(&m, str_c(text), 0) || again;
		found = strmap_get(&m, str_c(text), &v) && v == i * 3 && found;
	}
	ok_msg(added, "%d names are added", COUNT);
	ok_msg(!again, "no name is added a second time");
	ok_msg(found, "all names keep their numbers");
	is_uint(m.count, COUNT, "all names are counted");
	ok(!strmap_get(&m, str_c("blocks.100000.weight"), NULL) && strmap_get(&m, str_c("blocks.0.weight"), NULL));
	ok(strmap_add(&m, str_n(NULL, 0), 1) && !strmap_add(&m, str_c(""), 2) && strmap_get(&m, str_c(""), &v) && v == 1);
	ok(strmap_add(&m, str_n("a\0", 2), 5) && strmap_add(&m, str_c("a"), 6));
	ok(strmap_get(&m, str_n("a\0", 2), &v) && v == 5);
	strmap_release(&m);
	ok(m.count == 0 && !strmap_get(&m, str_c("a"), NULL));
	arena_release(&a);
}

/* The keys are members of an array of structs, which realloc moves. */
static void
test_strmap_lent(void)
{
	enum { N = 1000 };
	struct named {
		struct str name;
		int other;
	} *v = NULL;
	struct strmap m = STRMAP_INIT;
	struct arena a = ARENA_INIT;
	bool added = true, found = true;
	char text[32];
	uint64_t at;

	m.stride = sizeof(*v);
	for (unsigned i = 0; i < N; i++) {
		snprintf(text, sizeof(text), i % 2 == 0 ? "%u.weight" : "layer.%u", i);
		m.lent = v = xreallocn(v, i + 1, sizeof(*v));
		v[i] = (struct named){ arena_str(&a, str_c(text)), 1 };
		added = strmap_add(&m, v[i].name, i) && !strmap_add(&m, str_c(text), N) && added;
	}
	ok(added && m.count == N && m.keys == NULL);
	for (unsigned i = 0; i < N; i++)
		found = strmap_get(&m, arena_str(&a, v[i].name), &at) && at == i && found;
	ok(found && !strmap_get(&m, str_c("1.weight"), NULL) && !strmap_get(&m, str_c("layer.0"), NULL));
	strmap_release(&m);
	/* All at once; then with one that occurs twice, of either way. */
	for (unsigned twice = N; twice >= N - 2; twice--) {
		if (twice < N)
			v[twice].name = v[twice % 2 + 2].name;
		m = (struct strmap){ .lent = v, .stride = sizeof(*v) };
		ok(strmap_fill(&m, N) == twice);
		for (unsigned i = 0; i < twice; i++)
			found = strmap_get(&m, arena_str(&a, v[i].name), &at) && at == i && found;
		ok(found && m.count == twice);
		strmap_release(&m);
	}
	arena_release(&a);
	free(v);
}

/* Keys that differ only in their last number are stored in a special way. In any order, each must be found once. */
static void
test_strmap_numbers(void)
{
	static const char *const keys[] = {
		"data/3",
		"data/03",
		"data/00",
		"data/0",
		"data/",
		"data",
		"3",
		"03",
		"data/4294967299",
		"data/999999999",
		"data/1000000003",
		"data/5000",
		"Data/3",
		"data/3x",
		"data/-3",
		"data/12345678901",
		"",
	};
	enum { N = sizeof(keys) / sizeof(keys[0]), MANY = 20000 };
	struct strmap m = STRMAP_INIT;
	struct arena a = ARENA_INIT;
	char text[40];
	uint64_t v;
	bool good = true;

	for (size_t i = 0; i < N; i++)
		ok_msg(strmap_add(&m, str_c(keys[i]), i == 3 ? (uint64_t)1 << 40 : i), "\"%s\" is new", keys[i]);
	for (size_t i = 0; i < N; i++)
		ok_msg(!strmap_add(&m, str_c(keys[i]), 0) && strmap_get(&m, str_c(keys[i]), &v) &&
			       v == (i == 3 ? (uint64_t)1 << 40 : i),
		       "\"%s\" is found with its value", keys[i]);
	/* Large numbers come first. So 5000 and others were added as ordinary keys. */
	for (uint64_t i = MANY; i-- > 6;) {
		snprintf(text, sizeof(text), "data/%" PRIu64, i);
		good = strmap_add(&m, arena_str(&a, str_c(text)), i) == (i != 5000) && good;
	}
	for (uint64_t i = 6; i < MANY; i++) {
		snprintf(text, sizeof(text), "data/%" PRIu64, i);
		good = !strmap_add(&m, str_c(text), 1) && strmap_get(&m, str_c(text), &v) && v == (i == 5000 ? 11 : i) && good;
	}
	ok_msg(good, "keys with numbers in any order are found");
	is_uint(m.count, N + MANY - 7, "all keys with numbers are counted");
	ok(!strmap_get(&m, str_c("data/1"), NULL) && !strmap_get(&m, str_c("data/20000"), NULL));
	strmap_release(&m);
	arena_release(&a);
}

static void
test_xgrow(void)
{
	size_t cap = 0, n;
	int *p = NULL;
	char *s;

	for (n = 0; n < 10000; n++) {
		p = xgrow(p, n, &cap, sizeof(*p));
		p[n] = (int)n;
	}
	ok(cap >= n && cap < 2 * n && p[0] == 0 && p[9999] == 9999);
	free(p);
	s = xstrndup("abcdef", 3);
	is_str(s, "abc", "xstrndup copies a part of a text");
	free(s);
	s = xmalloc(0);
	ok(s != NULL);
	free(s);
	s = xcalloc(4, 2);
	is_mem(s, "\0\0\0\0\0\0\0\0", 8, "xcalloc clears");
	free(s);
}

int
main(void)
{
	test_err();
	test_diag();
	test_str();
	test_buf();
	test_cursor();
	test_arena();
	test_integers();
	test_doubles();
	test_strmap();
	test_strmap_lent();
	test_strmap_numbers();
	test_xgrow();
	return tap_done();
}
