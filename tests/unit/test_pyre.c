/*
 * Answers of Python 3.11's re. pyre_vs_python.py compares both with thousands of further questions.
 */
#include "pyre_groups.h"
#include "text/pyre.h"

#include "tap.h"

static struct err err;

/* The first match as text, "none" or "error"; a note if the effort was too great. */
static const char *
search(struct str pattern, struct str subject)
{
	static char out[400];
	struct pyre_span span;
	struct pyre_error why;
	struct pyre *re = NULL;
	int found;

	err_clear(&err);
	if (pyre_compile(pattern, &re, &why) != 0)
		return "error";
	found = pyre_search(re, subject, &span, 1, &err);
	out[0] = '\0';
	if (found > 0 && span.end > span.start)
		snprintf(out, sizeof(out), "%.*s", (int)(span.end - span.start), subject.p + span.start);
	pyre_free(re);
	return found > 0 ? out : found == 0 ? "none" : "limit";
}

static void
finds(const char *pattern, const char *subject, const char *expected)
{
	is_str(search(str_c(pattern), str_c(subject)), expected, pattern);
}

static void
test_search(void)
{
	finds("head", "x.head.bias", "head");
	finds("^head\\.", "x.head.bias", "none");
	finds("^stages\\.(\\d+)\\.", "stages.12.attn", "stages.12.");
	finds("\\.weight$", "a.weight\n", ".weight");
	finds("\\.weight\\Z", "a.weight\n", "none");
	finds("\\bqkv\\b", "attn.qkv.weight", "qkv");
	finds("\\bqkv\\b", "attn_qkv.weight", "none");
	finds("\\bt\xc3\xa9\\b", "t\xc3\xa9t\xc3\xa9", "none");
	finds("\\d+", "a\xd9\xa4\xd9\xa5", "\xd9\xa4\xd9\xa5");
	finds("\\w+", "-\xc3\xa9t\xc3\xa9_1-", "\xc3\xa9t\xc3\xa9_1");
	finds("e\\w", "e\xcc\x81", "none");
	finds("\\s", "a\x1c", "\x1c");
	finds("\\s", "a\xe1\xa0\x8e", "none");
	finds("a{,2}b", "aaab", "aab");
	finds("a{,}", "aaa", "aaa");
	finds("x{2,", "x{2,", "x{2,");
	finds("[[:alpha:]]", "a]", "a]");
	finds("[[:alpha:]]", "b]", "none");
	finds("[]a]+", "x]a", "]a");
	finds("(?i)HEAD", "head", "head");
	finds("(?P<b>['\"]).*?(?P=b)", "a 'b\"' c", "'b\"'");
	finds("(?<=\\.)\\d+", "blocks.10", "10");
	finds("\\x41\\u0041\\U00000041", "AAA", "AAA");
	finds("a.c", "a\nc", "none");
	finds("(?:ab|)a*a", "abbA1", "a"); /* PCRE2 10.42 alone finds nothing */
	finds("(?s)a.c", "a\nc", "a\nc");
	finds("(?m)^b$", "a\nb\nc", "b");
	finds("", "abc", "");
	finds("\\B", "", "none");
	finds("[\\w-]+", "a-b c", "a-b");
	finds("\\.\\*\\_\\-\\/", ".*_-/", ".*_-/");
	is_str(search(str_n("a\0b", 3), str_n("xa\0b", 4)), "a", "a NUL in pattern and name is found");
	is_str(search(str_n("", 0), str_n(NULL, 0)), "", "the empty pattern matches the empty text");
}

static void
test_errors(void)
{
	static const struct {
		const char *pattern, *reason;
		size_t offset;
	} cases[] = {
		{ "(", "missing ), unterminated subpattern", 0 },
		{ "a)", "unbalanced parenthesis", 1 },
		{ "[a", "unterminated character set", 0 },
		{ "*a", "nothing to repeat", 0 },
		{ "a**", "multiple repeat", 2 },
		{ "^*", "nothing to repeat", 1 },
		{ "a{3,2}", "min repeat greater than max repeat", 2 },
		{ "a{70000}", "the repetition number is too large (at most 65535)", 1 },
		{ "[z-a]", "bad character range z-a", 1 },
		{ "[\\d-z]", "bad character range \\d-z", 1 },
		{ "\\", "bad escape (end of pattern)", 0 },
		{ "a\\q", "bad escape \\q", 1 },
		{ "\\Qa\\E", "bad escape \\Q", 0 },
		{ "\\p{L}", "bad escape \\p", 0 },
		{ "\\z", "bad escape \\z", 0 },
		{ "\\K", "bad escape \\K", 0 },
		{ "\\h", "bad escape \\h", 0 },
		{ "\\R", "bad escape \\R", 0 },
		{ "\\x4", "incomplete escape \\x4", 0 },
		{ "\\ud800", "\\ud800 is a surrogate, which no text holds", 0 },
		{ "\\U00110000", "bad escape \\U00110000", 0 },
		{ "\\1", "invalid group reference 1", 1 },
		{ "(\\1)", "cannot refer to an open group", 1 },
		{ "(?P<n>a)(?P<n>b)", "redefinition of group name n as group 2; was group 1", 12 },
		{ "(?P<1>a)", "bad character in group name 1", 4 },
		{ "(?P=n)", "unknown group name n", 4 },
		{ "(?<n>a)", "unknown extension ?<n", 1 },
		{ "(?|a)", "unknown extension ?|; flags other than i, m and s are not supported", 1 },
		{ "(?R)", "unknown extension ?R; flags other than i, m and s are not supported", 1 },
		{ "(?P>n)", "unknown extension ?P>", 1 },
		{ "(*FAIL)", "nothing to repeat", 1 },
		{ "a(?i)b", "global flags not at the start of the expression", 1 },
		{ "(?<=a+)b", "look-behind requires fixed-width pattern", 0 },
		{ "(?<=a|bc)d", "look-behind requires fixed-width pattern", 0 },
		{ "^(?<!a)e(?<=c*)f", "look-behind requires fixed-width pattern", 8 },
		{ "^(?<!a)(?<=b(?<=c*)d)e(?<=f)", "look-behind requires fixed-width pattern", 12 },
		{ "(?#remark)a", "(?# is not supported", 0 },
		{ "a\xff", "invalid UTF-8", 1 },
		/* Constructs that Python has and pyre refuses. */
		{ "a\\N{DASH}", "\\N{NAME} is not supported: write \\uXXXX", 1 },
		{ "(a)?(?(1)b|c)", "(?( is not supported", 4 },
		{ "(?(1)a)", "(?( is not supported", 0 },
		{ "(a)(?(1)b|c|d)", "(?( is not supported", 3 },
		{ "(?>a+)ab", "(?> is not supported", 0 },
		{ "a(?>\\w*|)\\w", "(?> is not supported", 1 },
		{ "(?<=(?:a+){0}b)c", "{0} is not supported", 10 },
		{ "a++b", "possessive quantifiers, as in a++, are not supported", 1 },
		{ "(?:y*+Q)|b", "possessive quantifiers, as in a++, are not supported", 4 },
		{ "(?:((?:y)?)*+Q)|b", "possessive quantifiers, as in a++, are not supported", 11 },
		{ "(?m)(?P<n>^|a){,2}", "{0,2} after an item that can match the empty text is not supported", 14 },
		{ "a(?:b?|c){1,3}?", "{1,3} after an item that can match the empty text is not supported", 9 },
		{ "(a)(?:\\1){2,4}", "{2,4} after an item that can match the empty text is not supported", 9 },
		{ "a{,2}+", "possessive quantifiers, as in a++, are not supported", 1 },
		{ "(?i:H)EAD", "flags for a part of a pattern, as in (?i:...), are not supported", 0 },
		{ "a(?-i:b)", "flags for a part of a pattern, as in (?i:...), are not supported", 1 },
		{ "(?s-i:b)", "flags for a part of a pattern, as in (?i:...), are not supported", 0 },
		{ "(?x) h e a d  # all of it", "unknown extension ?x; flags other than i, m and s are not supported", 1 },
		{ "(?ix)a", "unknown extension ?x; flags other than i, m and s are not supported", 1 },
		{ "(?a)\\d+", "unknown extension ?a; flags other than i, m and s are not supported", 1 },
		{ "(?u)a", "unknown extension ?u; flags other than i, m and s are not supported", 1 },
		{ "(?L)a", "unknown extension ?L; flags other than i, m and s are not supported", 1 },
		{ "(a)(?<=\\1)b", "references inside a lookbehind are not supported", 7 },
		{ "(?P<n>a)(?<!b(?=(?P=n)))", "references inside a lookbehind are not supported", 20 },
		{ "A\\101", "octal escapes are not supported", 1 },
		{ "(a)\\101", "octal escapes are not supported", 3 },
		{ "\\400", "octal escapes are not supported", 0 },
		{ "\\0", "octal escapes are not supported", 0 },
		{ "[\\1]", "octal escapes are not supported", 1 },
	};
	struct pyre_error why;
	struct pyre *re = NULL;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!ok_msg(pyre_compile(str_c(cases[i].pattern), &re, &why) == -1, "refused: %s", cases[i].pattern))
			continue;
		is_str(why.reason, cases[i].reason, "  why");
		is_uint(why.offset, cases[i].offset, "  where");
	}
}

static void
test_deep(void)
{
	struct buf b = BUF_INIT;
	struct pyre_error why;
	struct pyre *re = NULL;

	buf_fill(&b, '(', 150);
	buf_fill(&b, ')', 150);
	is_str(search(buf_str(&b), str_c("a")), "", "150 nested groups are accepted");
	buf_clear(&b);
	buf_fill(&b, '(', 100000);
	ok(pyre_compile(buf_str(&b), &re, &why) == -1);
	is_str(why.reason, "groups nested deeper than 200 levels", "groups that are nested too deep are refused");
	buf_clear(&b);
	buf_adds(&b, "((((a{1000}){1000}){1000}){1000})");
	ok(pyre_compile(buf_str(&b), &re, &why) == -1);
	ok_msg(strstr(why.reason, "beyond what PCRE2 can do") != NULL, "an expression that is too large is refused: %s",
	       why.reason);
	buf_release(&b);
}

static void
test_limit(void)
{
	struct pyre_span span;
	struct pyre_error why;
	struct pyre *re = NULL;

	err_clear(&err);
	if (!ok(pyre_compile(str_c("(a+)+$"), &re, &why) == 0))
		return;
	ok(pyre_search(re, str_c("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), &span, 1, &err) == -1);
	is_str(err.msg, "regular expression (a+)+$ needs too many steps for aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
	       "too much effort is an error");
	err_clear(&err);
	ok(pyre_search(re, str_c("aab"), &span, 1, &err) == 0 && err.code == ERR_NONE);
	ok(pyre_search(re, str_c("aa"), NULL, 0, &err) == 1);
	pyre_free(re);
}

static void
test_bytes(void)
{
	is_str(search(str_c("weight"), str_c("\xff.weight")), "weight", "a match beside an invalid byte is found");
	is_str(search(str_c("a.b"), str_c("a\xff"
					  "b")),
	       "none", "an invalid byte does not match a dot");
	is_str(search(str_c("^b"), str_c("\xff"
					 "b")),
	       "none", "an invalid byte does not count as the beginning");
	is_str(search(str_c("a$"), str_c("a\xff")), "none", "an invalid byte does not count as the end");
}

static void
test_groups(void)
{
	struct pyre_span spans[5];
	struct pyre_error why;
	struct pyre *re = NULL;

	if (!ok(pyre_compile(str_c("(a)|(?P<n>b)(c)?"), &re, &why) == 0))
		return;
	is_uint(pyre_groups(re), 3, "groups are counted");
	ok(pyre_search(re, str_c("xb"), spans, 5, &err) == 1);
	ok(spans[0].start == 1 && spans[0].end == 2);
	ok(spans[1].start == PYRE_UNSET && spans[1].end == PYRE_UNSET);
	ok(spans[2].start == 1 && spans[2].end == 2);
	ok(spans[3].start == PYRE_UNSET && spans[4].start == PYRE_UNSET);
	pyre_free(re);
}

static void
replaces(const char *pattern, const char *replacement, const char *subject, bool all, const char *expected)
{
	struct buf out = BUF_INIT;
	struct pyre_error why = { 0, "" };
	struct pyre_sub *sub = NULL;
	struct pyre *re = NULL;
	size_t count;

	if (!ok_msg(pyre_compile(str_c(pattern), &re, &why) == 0, "s/%s/%s/", pattern, replacement))
		return;
	if (pyre_sub_compile(re, str_c(replacement), &sub, &why) != 0) {
		is_str(why.reason, expected, "the replacement is refused with the right reason");
	} else {
		buf_adds(&out, "");
		ok(pyre_sub(sub, str_c(subject), all, &out, &count, &err) == 0);
		is_str(out.p, expected, "the substitution has the right result");
		ok((count == 0) == (strcmp(search(str_c(pattern), str_c(subject)), "none") == 0));
		pyre_sub_free(sub);
	}
	buf_release(&out);
	pyre_free(re);
}

static void
test_sub(void)
{
	struct buf out = BUF_INIT;
	struct pyre_error why;
	struct pyre_sub *sub = NULL;
	struct pyre *re = NULL;

	replaces("^blocks\\.(\\d+)", "stages.2.\\1", "blocks.7.attn", false, "stages.2.7.attn");
	replaces("a", "b", "aaa", false, "baa");
	replaces("a", "b", "aaa", true, "bbb");
	replaces("x*", "-", "abxd", true, "-a-b--d-");
	replaces("(?P<n>a)(b)?", "[\\g<n>\\2\\g<0>]", "aab", true, "[aa][abab]");
	replaces("a", "&\\&$1", "a", true, "&\\&$1");
	replaces("a", "\\n\\t\\\\x", "a", true, "\n\t\\x");
	replaces("zz", "b", "aaa", true, "aaa");
	replaces("\\b", "|", "ab cd", true, "|ab| |cd|");
	replaces("(a)", "\\2", "", true, "invalid group reference 2");
	replaces("(a)", "\\q", "", true, "bad escape \\q");
	replaces("(a)", "\\", "", true, "bad escape (end of pattern)");
	replaces("(a)", "\\g<n>", "", true, "unknown group name n");
	replaces("(a)", "\\g1", "", true, "missing <");
	replaces("(a)", "\\g<1", "", true, "missing >, unterminated name");
	replaces("(a)", "\\g<-1>", "", true, "bad character in group name -1");
	replaces("(a)", "\\400", "", true, "octal escapes are not supported");
	replaces("(a)", "\\101", "", true, "octal escapes are not supported");
	replaces("(a)", "\\0", "", true, "octal escapes are not supported");
	ok(pyre_compile(str_c("(a+)+$|b"), &re, &why) == 0 && pyre_sub_compile(re, str_c("x"), &sub, &why) == 0);
	buf_adds(&out, "kept ");
	err_clear(&err);
	ok(pyre_sub(sub, str_c("baaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"), true, &out, NULL, &err) == -1);
	is_str(out.p, "kept ", "a failed substitution adds nothing");
	pyre_sub_free(sub);
	pyre_free(re);
	buf_release(&out);
}

int
main(void)
{
	test_search();
	test_errors();
	test_deep();
	test_limit();
	test_bytes();
	test_groups();
	test_sub();
	pyre_free(NULL);
	pyre_sub_free(NULL);
	return tap_done();
}
