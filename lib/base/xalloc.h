/*
 * xalloc: allocation that cannot return NULL. Callers check sizes from the
 * input against the input and the stated limits first. If an allocation fails
 * nevertheless, the handler set by the program is called (it removes temporary
 * files, prints one line and exits), and then abort().
 */
#ifndef LNN_BASE_XALLOC_H
#define LNN_BASE_XALLOC_H

#include <stddef.h>

/* Sets the handler, which must not return. */
void xalloc_handler(void (*handler)(size_t size));

/*
 * All results are owned by the caller, who frees them with free(). n * size is checked for overflow. xmalloc(0) returns a valid
 * pointer.
 */
void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xreallocn(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);

/*
 * Makes room for one more element in a growing array: if n == *cap, reallocates
 * p to about 1.5 times the capacity. Returns the array.
 */
void *xgrow(void *p, size_t n, size_t *cap, size_t size);

/* Appends an element to the growing array v, which has n elements, and returns its address. v, n and cap are plain variables. */
#define xpush(v, n, cap) ((v) = xgrow((v), (n), &(cap), sizeof(*(v))), &(v)[(n)++])

/* Gives the growing array v room for exactly n elements. cap is a plain variable. */
#define xfit(v, n, cap) ((cap) = (n), (v) = xreallocn((v), (cap), sizeof(*(v))))

#endif
