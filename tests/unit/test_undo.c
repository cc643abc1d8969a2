/*
 * undo: journals that are built by hand. undo_recover changes a file only if the journal is whole and belongs to the file.
 */
#include "io/undo.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "tap.h"

/* The numbers of a journal for a file of 64 bytes. Its ranges follow, and then the old bytes of the first range. */
enum {
	FILE_SIZE,
	INSERT,
	GUARD_AT,
	GUARD_OLD,
	GUARD_NEW,
	GUARD_BAD,
	NCUTS,
	NOLD,
	INODE,
	TIME,
	FIRST,
	FIRST_LEN,
	FIRST_CRC,
	LAST,
	LAST_LEN,
	LAST_CRC,
	RANGES,
	NUMBERS = RANGES + 4,
};
enum { SIZE = 64, PROLOGUE = 24, OLD = 4, MAGIC = 8 };

static char folder[] = "/tmp/lnn-test-undo-XXXXXX";
static unsigned char edited[SIZE], original[SIZE], back[4096];
static const char journal[] = ".f.lnn-undo";

static void
put(const char *name, const void *p, size_t n)
{
	FILE *f = fopen(name, "w");

	if (f == NULL || fwrite(p, 1, n, f) != n || fclose(f) != 0)
		tap_bail("cannot write a file");
}

static size_t
get(const char *name)
{
	FILE *f = fopen(name, "r");
	size_t n = f == NULL ? 0 : fread(back, 1, sizeof(back), f);

	if (f != NULL)
		fclose(f);
	return n;
}

/* Builds a journal of those numbers, the old bytes and a mark. Returns its length. */
static size_t
make(unsigned char *p, const uint64_t *numbers, const char *mark)
{
	uint64_t body[NUMBERS], head[2] = { sizeof(body) + OLD, 0 };
	size_t n = strlen(mark);

	memcpy(body, numbers, sizeof(body));
	tap_le(body, NUMBERS, 8);
	memcpy(p + PROLOGUE, body, sizeof(body));
	memcpy(p + PROLOGUE + sizeof(body), "old!", OLD);
	head[1] = crc32(0, p + PROLOGUE, sizeof(body) + OLD);
	tap_le(head, 2, 8);
	memcpy(p, "LNNUNDO1", MAGIC);
	memcpy(p + MAGIC, head, sizeof(head));
	memcpy(p + PROLOGUE + sizeof(body) + OLD, mark, n);
	return PROLOGUE + sizeof(body) + OLD + n;
}

/* The bytes 16 to 19 are restored. No range is removed. The first of the two ranges of old bytes is empty. */
static void
numbers_init(uint64_t *v)
{
	const uint64_t all[NUMBERS] = {
		SIZE,
		0,
		0,
		0x1111111111111111,
		0x2222222222222222,
		UINT64_MAX,
		0,
		2,
		0,
		0,
		24,
		8,
		crc32(0, original + 24, 8),
		56,
		8,
		crc32(0, original + 56, 8),
		8,
		0,
		16,
		OLD,
	};

	memcpy(v, all, sizeof(all));
}

/* True if undo_recover refuses the file with this word, and changes neither the file nor the journal. */
static bool
refuses(const void *p, size_t n, const char *word)
{
	struct err err = ERR_INIT;
	bool finished;

	put("f", edited, SIZE);
	put(journal, p, n);
	return undo_recover("f", &finished, &err) < 0 && err.code == ERR_INPUT && strstr(err.msg, word) != NULL &&
	       get("f") == SIZE && memcmp(back, edited, SIZE) == 0 && get(journal) == n && memcmp(back, p, n) == 0;
}

static void
test_whole(void)
{
	static const char *const marks[] = { "", "LNND", "LNNDONE", "LNNDONE0" };
	unsigned char p[4096];
	uint64_t v[NUMBERS];
	bool finished = true;

	numbers_init(v);
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		struct err err = ERR_INIT;

		put("f", edited, SIZE);
		put(journal, p, make(p, v, marks[i]));
		ok_msg(undo_notice("f", false, NULL, &err) < 0 && strstr(err.msg, "brings back") != NULL, "%s", err.msg);
		err_clear(&err);
		ok_msg(undo_recover("f", &finished, &err) == 0 && !finished, "mark '%s': %s", marks[i], err.msg);
		ok(get("f") == SIZE && memcmp(back, original, SIZE) == 0 && access(journal, F_OK) < 0);
	}
}

static void
test_damaged(void)
{
	unsigned char p[4096];
	uint64_t v[NUMBERS];
	size_t n, good = 0;

	numbers_init(v);
	n = make(p, v, "");
	for (size_t i = 0; i < n; i++)
		good += refuses(p, i, "not a valid undo journal");
	is_uint(good, n, "a journal cut off anywhere is refused");
	good = 0;
	for (size_t i = 0; i < n; i++) {
		p[i] ^= 0x40;
		good += refuses(p, n, "not a valid undo journal");
		p[i] ^= 0x40;
	}
	is_uint(good, n, "a journal altered anywhere is refused");
	unlink(journal);
	ok(mkdir(journal, 0777) == 0 && undo_notice("f", false, NULL, &(struct err)ERR_INIT) < 0 && rmdir(journal) == 0);
	ok(mkfifo(journal, 0666) == 0 && undo_notice("f", false, NULL, &(struct err)ERR_INIT) < 0 && unlink(journal) == 0);
}

/* Journals with a correct CRC and impossible numbers. */
static void
test_hostile(void)
{
	static const struct {
		int at;
		uint64_t value;
		const char *mark, *word;
	} cases[] = {
		{ FILE_SIZE, 7, "", "not a valid" },
		{ FILE_SIZE, UINT64_MAX, "", "not a valid" },
		{ FILE_SIZE, SIZE + 1, "", "another file" },
		{ INSERT, INT64_MAX, "", "not a valid" },
		{ INSERT, UINT64_MAX, "", "not a valid" },
		{ GUARD_AT, SIZE - UNDO_GUARD + 1, "", "not a valid" },
		{ GUARD_AT, UINT64_MAX - 3, "", "not a valid" },
		{ NCUTS, 11, "", "not a valid" },
		{ NCUTS, UINT64_MAX, "", "not a valid" },
		{ NCUTS, (uint64_t)1 << 60, "", "not a valid" },
		{ NOLD, 3, "", "not a valid" },
		{ NOLD, UINT64_MAX / 16 + 1, "", "not a valid" },
		{ FIRST, UINT64_MAX, "", "another file" },
		{ FIRST, SIZE, "", "another file" },
		{ FIRST_LEN, 4097, "", "another file" },
		{ FIRST_LEN, UINT64_MAX, "", "another file" },
		{ LAST_CRC, 1, "", "another file" },
		{ RANGES, SIZE + 1, "", "not a valid" },
		{ RANGES + 1, UINT64_MAX, "", "not a valid" },
		{ RANGES + 2, SIZE - OLD + 1, "", "not a valid" },
		{ RANGES + 2, UINT64_MAX, "", "not a valid" },
		{ RANGES + 3, OLD + 1, "", "not a valid" },
		{ INODE, 0, "LNNDONE1", "not a valid" }, /* committed, but no range is to be removed */
	};
	unsigned char p[4096];
	uint64_t v[NUMBERS];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		numbers_init(v);
		v[cases[i].at] = cases[i].value;
		ok_msg(refuses(p, make(p, v, cases[i].mark), cases[i].word), "number %d: %" PRIu64 "%s", cases[i].at,
		       cases[i].value, cases[i].mark);
	}
}

/* Journals with two ranges that are to be removed. */
static void
test_cuts(void)
{
	static const uint64_t cuts[][4] = {
		{ 16, 4, 8, 4 }, { 8, 9, 16, 4 }, { 8, SIZE - 7, 64, 0 }, { 8, UINT64_MAX, 16, 4 }, { UINT64_MAX, 2, 16, 4 },
	};
	unsigned char p[4096];
	uint64_t v[NUMBERS];

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		numbers_init(v);
		v[NCUTS] = 2;
		v[NOLD] = 0;
		memcpy(v + RANGES, cuts[i], sizeof(cuts[i]));
		ok_msg(refuses(p, make(p, v, "LNNDONE1"), "not a valid"), "impossible ranges to be removed are refused, %zu", i);
	}
}

int
main(void)
{
	if (mkdtemp(folder) == NULL || chdir(folder) < 0)
		tap_bail("no temporary folder");
	for (unsigned i = 0; i < SIZE; i++)
		edited[i] = original[i] = (unsigned char)i;
	memset(original, 0x11, UNDO_GUARD);
	memset(edited, 0xff, UNDO_GUARD);
	memcpy(original + 16, "old!", OLD);
	memcpy(edited + 16, "new", OLD);
	test_whole();
	test_damaged();
	test_hostile();
	test_cuts();
	unlink("f");
	unlink(journal);
	if (chdir("/") < 0 || rmdir(folder) < 0)
		tap_bail("the folder is not empty");
	return tap_done();
}
