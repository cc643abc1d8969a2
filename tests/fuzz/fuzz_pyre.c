/* Regular expressions. The first line is the pattern, the second the replacement, the rest the subject. */
#include "fuzz.h"

#include "text/pyre.h"

enum { SPANS = 8, SUBJECT_MAX = 256, PATTERN_MAX = 1024 };

static void
search(struct pyre *re, struct str subject)
{
	struct pyre_span spans[SPANS];
	struct err err = ERR_INIT;
	int found = pyre_search(re, subject, spans, SPANS, &err);

	fuzz_judge(found, &err);
	for (size_t i = 0; found > 0 && i < SPANS; i++) {
		if (spans[i].start == PYRE_UNSET)
			promise(i > 0 && spans[i].end == PYRE_UNSET, "a group that did not match has no place");
		else
			promise(spans[i].start <= spans[i].end && spans[i].end <= subject.len, "a match is inside the subject");
	}
	if (found >= 0)
		promise(pyre_search(re, subject, NULL, 0, &err) == found, "a search without spans has the same result");
}

static void
replace(struct pyre *re, struct str replacement, struct str subject)
{
	struct pyre_sub *sub;
	struct pyre_error why = { 0, "" };
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	size_t count = 0;
	int rc;

	if (pyre_sub_compile(re, replacement, &sub, &why) < 0) {
		promise(why.offset <= replacement.len && why.reason[0] != '\0', "the place is in the replacement");
		return;
	}
	rc = pyre_sub(sub, subject, true, &out, &count, &err);
	fuzz_judge(rc, &err);
	promise(rc < 0 || count > 0 || (out.len == subject.len && (out.len == 0 || memcmp(out.p, subject.p, out.len) == 0)),
		"without a match nothing changes");
	buf_release(&out);
	pyre_sub_free(sub);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = { (const char *)data, size }, pattern, replacement;
	struct pyre *re;
	struct pyre_error why = { 0, "" };

	if (!str_split(&rest, '\n', &pattern) || !str_split(&rest, '\n', &replacement) || pattern.len > PATTERN_MAX)
		return 0;
	if (rest.p == NULL)
		rest = str_c("");
	rest.len = rest.len < SUBJECT_MAX ? rest.len : SUBJECT_MAX;
	if (pyre_compile(pattern, &re, &why) < 0) {
		promise(why.offset <= pattern.len && why.reason[0] != '\0', "the place is in the pattern");
		return 0;
	}
	search(re, rest);
	replace(re, replacement, rest);
	pyre_free(re);
	return 0;
}
