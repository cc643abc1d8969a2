/*
 * strs: lists of borrowed C strings that options collect.
 */
#ifndef LNN_COMMON_STRS_H
#define LNN_COMMON_STRS_H

#include <stddef.h>

struct strs {
	const char **v;
	size_t n, cap;
};

void strs_add(struct strs *s, const char *text);
void strs_release(struct strs *s);

#endif
