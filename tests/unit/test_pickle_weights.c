/*
 * pickle_weights: whether torch.load(weights_only=True) accepts every kind of call. Expected answers are in
 * tests/fixtures/weights_only.tsv, which real PyTorch wrote. Legacy streams and the cost of hostile pickles are tested, too.
 */
#include "format/scan.h"

#include "base/buf.h"
#include "base/limits.h"
#include "table.h"
#include "tap.h"

static struct pickle_scan
scan(struct str data, bool legacy)
{
	struct pickle_scan s = { .legacy = legacy };
	struct source *src = source_memory(data.p, data.len, "mem");
	struct err err = ERR_INIT;

	if (pickle_scan(&s, src, 0, data.len, &err) < 0)
		tap_bail(err.msg);
	source_close(src);
	return s;
}

/* One row: VERDICT, NAME, BYTES. We must not say "loads" if torch refuses. "unknown" is allowed in that case. */
static void
check(struct str verdict, struct str name, struct str data)
{
	struct pickle_scan s = scan(data, false);
	bool good = str_eqc(verdict, "loads")           ? s.loads
		    : str_eqc(verdict, "unknown loads") ? s.unknown
							: str_eqc(verdict, "refused") && !s.loads;

	if (!ok_msg(good, "%.*s: %.*s", STR_ARG(name), STR_ARG(verdict)))
		tap_note("we say: %s%s", s.loads ? "loads" : s.unknown ? "unknown: " : "refused: ", s.why);
}

static void
table(void)
{
	struct buf text = BUF_INIT, data = BUF_INIT;
	struct str rest, row, verdict, name;

	table_read("tests/fixtures/weights_only.tsv", &text);
	rest = buf_str(&text);
	while (table_row(&rest, &row)) {
		if (!str_split(&row, '\t', &verdict) || !str_split(&row, '\t', &name))
			tap_bail("a row of the table has no three columns");
		buf_clear(&data);
		table_bytes(buf_str(&text), row, &data);
		check(verdict, name, buf_str(&data));
	}
	ok(tap.run >= 390);
	buf_release(&data);
	buf_release(&text);
}

static void
refused(const char *p, size_t n, bool legacy, const char *why)
{
	struct pickle_scan s = scan(str_n(p, n), legacy);

	is_str(s.loads ? NULL : s.why, why, why);
}

#define BYTES(literal) literal, sizeof(literal) - 1

/* In a legacy stream, torch reads ids of six parts, but no storage without elements and no nested tensor. */
static void
legacy(void)
{
	refused(BYTES("(X\7\0\0\0storagectorch.storage\nUntypedStorage\nX\1\0\0\0000X\3\0\0\0cpuK\4NtQ."), true,
		"a persistent id with such parts: torch.save writes nothing of the kind");
	refused(BYTES("(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\4K\1tQ."), true,
		"a persistent id with such parts: torch.save writes nothing of the kind");
	refused(BYTES("ctorch._utils\n_rebuild_nested_tensor\n)R."), true,
		"a nested tensor, whose sizes torch needs before it has read them from a legacy file");
}

/* Nested calls. The scanner's own stack must not grow with the file. */
static void
deep(void)
{
	enum { DEEP = 300000 };
	struct buf b = BUF_INIT;
	struct pickle_scan s;

	/* A name may be written with a dot. torch looks up the complete name. */
	buf_adds(&b, "(ctorch\n_tensor._rebuild_from_type_v2\nq");
	buf_addc(&b, 0);
	buf_adds(&b, "ctorch\nTensor\nq\1th");
	buf_addc(&b, 0);
	for (size_t i = 0; i < DEEP; i++)
		buf_add(&b, "(h\0h\1", 5);
	buf_adds(&b, ")");
	for (size_t i = 0; i < DEEP; i++)
		buf_adds(&b, "Nt");
	buf_adds(&b, "R.");
	s = scan(buf_str(&b), false);
	is_str(s.why, "_rebuild_from_type_v2 in so many others: torch.save writes nothing of the kind",
	       "calls that are nested too deep are refused");
	buf_clear(&b);
	buf_adds(&b, "})");
	for (size_t i = 0; i < DEEP; i++)
		buf_adds(&b, "\x85");
	buf_adds(&b, "K\1s.");
	ok_msg(scan(buf_str(&b), false).unknown, "the answer to a key of deeply nested tuples is unknown");
	buf_release(&b);
}

/* One text, dict or tuple is used again and again. The work must not grow with the product of size and uses. */
static void
repeated(void)
{
	enum { LONG = 5000, TIMES = 200 };
	struct buf b = BUF_INIT;

	buf_adds(&b, "](X");
	buf_add(&b, BYTES("\x88\x13\0\0"));
	for (size_t i = 0; i < LONG; i++)
		buf_addc(&b, 'x');
	buf_add(&b, BYTES("q\0c_codecs\nencode\nq\1X\6\0\0\0latin1q\2"));
	for (size_t i = 0; i < TIMES; i++)
		buf_add(&b, BYTES("h\1h\0h\2\x86R"));
	buf_adds(&b, "e.");
	ok_msg(scan(buf_str(&b), false).unknown, "the answer to one text that is encoded again and again is unknown");
	buf_clear(&b);
	buf_adds(&b, "](ctorch._utils\n_rebuild_parameter_with_state\nq");
	buf_add(&b, BYTES("\0ctorch\nTensor\n)Rq\1}q\2("));
	for (size_t i = 0; i < LONG; i++) {
		buf_add(&b, BYTES("X\5\0\0\0"));
		buf_addf(&b, "a%04zuN", i);
	}
	buf_addc(&b, 'u');
	for (size_t i = 0; i < TIMES; i++)
		buf_add(&b, BYTES("h\0(h\1\x89Nh\2tR"));
	buf_adds(&b, "e.");
	ok_msg(scan(buf_str(&b), false).unknown, "the answer to one dict of attributes for many parameters is unknown");
	buf_release(&b);
}

int
main(void)
{
	table();
	legacy();
	deep();
	repeated();
	return tap_done();
}
