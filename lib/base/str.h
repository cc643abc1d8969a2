/*
 * str: a pointer and a length that borrow text. Tensor names may contain any
 * byte, NUL included, so names are never C strings.
 */
#ifndef LNN_BASE_STR_H
#define LNN_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>

struct str {
	const char *p;
	size_t len;
};

/* Arguments for printf's "%.*s". Text after 512 bytes is cut. */
#define STR_ARG(s) (int)((s).len > 512 ? 512 : (s).len), (s).p

/* Initialiser from a string literal. */
#define STR_LIT(literal)                     \
	{                                    \
		literal, sizeof(literal) - 1 \
	}

struct str str_c(const char *s); /* from a C string */
struct str str_n(const char *p, size_t len);
bool str_eq(struct str a, struct str b);
bool str_eqc(struct str a, const char *b);
bool str_eqc_nocase(struct str a, const char *b); /* ASCII letters only */
/* Returns true if s equals one of the n strings of list. str_in takes a static array. */
bool str_listed(struct str s, const char *const *list, size_t n);
#define str_in(s, list) str_listed((s), (list), sizeof(list) / sizeof((list)[0]))
int str_cmp(struct str a, struct str b); /* byte order; a prefix sorts before longer strings */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_contains(struct str s, struct str part); /* the empty part is always contained */
/* Returns the index of the first part in s at or after from, or -1. */
long str_find(struct str s, struct str part, size_t from);
struct str str_from(struct str s, size_t start); /* s without its first start bytes */
/* Natural order: runs of digits compare as numbers, so blocks.9 < blocks.10. */
int str_cmp_natural(struct str a, struct str b);
/* Returns the length of the folder part of path, up to and including the last slash; 0 if path has no slash. */
size_t path_folder(const char *path);
/* Moves the text before the first sep from *rest to *part. Returns false when *rest is used up (p == NULL). */
bool str_split(struct str *rest, char sep, struct str *part);

#endif
