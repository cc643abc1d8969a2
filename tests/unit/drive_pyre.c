/*
 * Answers questions about regular expressions, one a line, for pyre_vs_python.py.
 * All operands are hexadecimal, "-" is the empty text.
 *
 *	m PATTERN SUBJECT              match START END [START END]... | none | error REASON | limit
 *	s PATTERN REPLACEMENT SUBJECT  text HEX | error REASON | limit
 *	f PATTERN REPLACEMENT SUBJECT  like s, but replaces only the first match
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pyre_groups.h"
#include "text/pyre.h"
#include "text/finder.h"

static struct str
unhex(const char *word)
{
	size_t n = word == NULL || strcmp(word, "-") == 0 ? 0 : strlen(word) / 2;
	char *p = malloc(n + 1);
	unsigned v;

	if (p == NULL)
		abort();
	for (size_t i = 0; i < n; i++) {
		if (sscanf(word + 2 * i, "%2x", &v) != 1)
			abort();
		p[i] = (char)(unsigned char)v;
	}
	return str_n(p, n);
}

/* A reason quotes the pattern, which may contain newlines. */
static void
answer_error(const char *reason)
{
	printf("error ");
	for (; *reason != '\0'; reason++)
		putchar((unsigned char)*reason < ' ' ? '?' : *reason);
	putchar('\n');
}

/* Whether the automaton of finder.h finds the pattern; -1 if the effort is too great for PCRE2. */
static int
ask_scan(const struct pyre *re, struct str subject)
{
	struct finder *scan = finder_new();
	struct err err = ERR_INIT;
	size_t id = finder_regex(scan, re);
	int found;

	finder_name(scan, subject);
	found = finder_found(scan, id, &err);
	finder_free(scan);
	return found;
}

static void
answer_match(const struct pyre *re, struct str subject)
{
	struct pyre_span spans[40];
	size_t n = pyre_groups(re) + 1;
	struct err err = ERR_INIT;
	int found;

	n = n > 40 ? 40 : n;
	found = pyre_search(re, subject, spans, n, &err);
	if (found >= 0 && found != ask_scan(re, subject)) {
		puts("the finder differs");
		return;
	}
	if (found <= 0) {
		puts(found == 0 ? "none" : "limit");
		return;
	}
	printf("match");
	for (size_t i = 0; i < n; i++) {
		if (spans[i].start == PYRE_UNSET)
			printf(" -1 -1");
		else
			printf(" %zu %zu", spans[i].start, spans[i].end);
	}
	putchar('\n');
}

static void
answer_sub(const struct pyre *re, struct str replacement, struct str subject, bool all)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	struct pyre_sub *sub;
	struct pyre_error why;

	if (pyre_sub_compile(re, replacement, &sub, &why) != 0) {
		answer_error(why.reason);
		return;
	}
	if (pyre_sub(sub, subject, all, &out, NULL, &err) != 0) {
		puts("limit");
	} else {
		printf("text ");
		for (size_t i = 0; i < out.len; i++)
			printf("%02x", (unsigned char)out.p[i]);
		putchar('\n');
	}
	buf_release(&out);
	pyre_sub_free(sub);
}

int
main(void)
{
	char *line = NULL, *save = NULL;
	size_t cap = 0;

	while (getline(&line, &cap, stdin) > 0) {
		const char *what = strtok_r(line, " \n", &save);
		struct str args[3];
		struct pyre_error why;
		struct pyre *re;

		if (what == NULL)
			continue;
		for (int i = 0; i < 3; i++)
			args[i] = unhex(strtok_r(NULL, " \n", &save));
		if (pyre_compile(args[0], &re, &why) != 0) {
			answer_error(why.reason);
		} else {
			if (*what == 'm')
				answer_match(re, args[1]);
			else
				answer_sub(re, args[1], args[2], *what == 's');
			pyre_free(re);
		}
		fflush(stdout);
		for (int i = 0; i < 3; i++)
			free((void *)(uintptr_t)args[i].p);
	}
	free(line);
	return 0;
}
