/*
 * xalloc: allocation that cannot return NULL. What input asks for is checked
 * against the input and the stated limits first; if memory is short all the
 * same, the handler set by the program is called (it removes temporaries,
 * prints one line and exits) and then abort().
 */
#ifndef LNN_BASE_XALLOC_H
#define LNN_BASE_XALLOC_H

#include <stddef.h>

/* The handler must not return. */
void xalloc_handler(void (*handler)(size_t size));

/* All results are the caller's, to be freed with free(). n*size is checked. xmalloc(0) is a valid pointer. */
void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xreallocn(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);

/*
 * Reserves space for one more element in a growing array: when *cap == n, p is
 * reallocated to about 1.5 times the capacity. Returns the array.
 */
void *xgrow(void *p, size_t n, size_t *cap, size_t size);

/* The place of a new element of the growing array v, which has n elements; counts it. v, n and cap are plain variables. */
#define xpush(v, n, cap) ((v) = xgrow((v), (n), &(cap), sizeof(*(v))), &(v)[(n)++])

#endif
