/*
 * Scans of untrusted pickles: memory and pipe give the same result for any bytes. If a pickle can be decoded, the scan accepts it,
 * ends at the same place, and reports every global in it.
 */
#include "fuzz.h"

#include "pickle/machine.h"
#include "format/scan.h"

struct seen {
	uint64_t sum;
	unsigned count;
};

static int
found(void *arg, const struct pickle_found *f, struct err *err)
{
	struct seen *s = arg;

	(void)err;
	promise(f->ref != REF_COMPUTED || f->verdict == GLOBAL_UNSAFE, "a computed global is unsafe");
	s->sum = s->sum * 31 + f->off * 7 + (uint64_t)f->verdict + f->module.len + f->name.len;
	s->count += f->pickle == 0;
	return 0;
}

static struct pickle_scan
scan(struct source *src, struct seen *seen)
{
	struct pickle_scan s = { .found = found, .arg = seen, .rest = true };
	struct err err = ERR_INIT;
	int rc = pickle_scan(&s, src, 0, UINT64_MAX, &err);

	promise(rc == 0 && err.code == ERR_NONE, "damage is reported and is not an error");
	promise(s.loads == (s.why[0] == '\0'), "a refusal has a reason");
	promise(!s.broken || (!s.loads && s.damage[0] != '\0'), "a damaged pickle does not load");
	source_close(src);
	return s;
}

/* The number of globals in a tree. */
static unsigned
globals(const struct vtree *t)
{
	unsigned n = 0;

	for (uint32_t h = 0; h < vtree_count(t); h++)
		n += value_kind(t, h) == VALUE_GLOBAL;
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen one = { 0, 0 }, two = { 0, 0 };
	struct pickle_scan s = scan(source_memory(data, size, "memory"), &one), p;
	struct source *src = source_memory(data, size, "memory");
	struct vtree *t = vtree_new();
	struct err err = ERR_INIT;
	uint32_t root;
	struct pickle_place place = { .src = src, .limit = UINT64_MAX };

	if (pickle_decode(t, &place, NULL, &root, &err) == 0) {
		promise(!s.broken && s.end == place.end && s.extra == size - place.end, "scan and decoder end at the same place");
		promise(one.count == globals(t), "every global is reported");
	}
	vtree_free(t);
	source_close(src);
	if (size <= FUZZ_PIPE) {
		p = scan(fuzz_pipe(data, size), &two);
		promise(p.loads == s.loads && p.broken == s.broken && p.end == s.end && p.extra == s.extra && p.more == s.more,
			"file and pipe agree");
		promise(one.sum == two.sum && one.count == two.count, "file and pipe report the same globals");
	}
	return 0;
}
