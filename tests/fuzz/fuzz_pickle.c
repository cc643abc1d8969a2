/*
 * Pickles: file and pipe agree. A decoded value is encoded, decoded and encoded again. Without objects, the second encoding has the
 * same bytes. (Dotted globals become calls, and the arguments of an object in a cycle are written twice.)
 */
#include "fuzz.h"

#include "pickle/machine.h"
#include "pickle/writer.h"

static int
add(void *arg, const void *p, size_t n, struct err *err)
{
	(void)err;
	buf_add(arg, p, n);
	return 0;
}

/* Decodes src and encodes the value into out. Returns 1 if it is refused, -1 if it cannot be written. */
static int
copy(struct source *src, struct buf *out, uint64_t *end)
{
	struct vtree *t = vtree_new();
	struct err err = ERR_INIT;
	uint32_t root = VALUE_ABSENT;
	struct pickle_place place = { .src = src, .limit = UINT64_MAX };
	int rc = pickle_decode(t, &place, NULL, &root, &err) < 0 ? 1 : 0;

	*end = place.end;
	fuzz_judge(-rc, &err);
	if (rc == 0) {
		promise(root != VALUE_ABSENT, "a decoded pickle has a value");
		rc = pickle_encode(t, root, NULL, add, out, &err);
		fuzz_judge(rc, &err);
	}
	vtree_free(t);
	source_close(src);
	return rc;
}

static bool
has_objects(const struct buf *b)
{
	for (size_t i = 0; i < b->len; i++)
		if (strchr("RQo\x81", b->p[i]) != NULL)
			return true;
	return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf one = BUF_INIT, two = BUF_INIT;
	uint64_t end = 0, end_pipe = 0;
	int rc = copy(source_memory(data, size, "memory"), &one, &end);

	if (size <= FUZZ_PIPE) {
		promise(copy(fuzz_pipe(data, size), &two, &end_pipe) == rc, "file and pipe agree");
		promise(rc != 0 || (end == end_pipe && end <= size), "file and pipe end at the same place");
		promise(one.len == two.len && (one.len == 0 || memcmp(one.p, two.p, one.len) == 0),
			"file and pipe give the same value");
	}
	if (rc == 0) {
		buf_clear(&two);
		promise(copy(source_memory(one.p, one.len, "again"), &two, &end) == 0, "a value that was encoded is decoded");
		promise(end == one.len, "an encoded pickle ends at the end of its bytes");
		promise(has_objects(&one) || (one.len == two.len && memcmp(one.p, two.p, one.len) == 0),
			"a value that is encoded again has the same bytes");
	}
	buf_release(&one);
	buf_release(&two);
	return 0;
}
