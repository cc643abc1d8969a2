#include "base/xalloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The size in bytes from which an allocation is large: that of a huge page. */
enum { LARGE = 2 << 20 };

static void (*out_of_memory)(size_t size);

void
xalloc_handler(void (*handler)(size_t size))
{
	out_of_memory = handler;
}

static void *
checked(void *p, size_t size)
{
	if (p == NULL) {
		if (out_of_memory != NULL)
			out_of_memory(size);
		abort();
	}
	return p;
}

/*
 * Asks for huge pages for a large allocation, because the first touch of each page takes time. The range covers whole pages, so
 * that realloc keeps the memory in one mapping.
 */
static void *
large(void *p, size_t size)
{
	const uintptr_t page = 4096, start = (uintptr_t)p & ~(page - 1);

	if (size >= LARGE)
		(void)madvise((void *)start, ((uintptr_t)p + size - start + page - 1) & ~(page - 1), MADV_HUGEPAGE);
	return p;
}

void *
xmalloc(size_t size)
{
	return large(checked(malloc(size ? size : 1), size), size);
}

void *
xcalloc(size_t n, size_t size)
{
	if (n == 0 || size == 0)
		n = size = 1;
	return large(checked(calloc(n, size), n > SIZE_MAX / size ? SIZE_MAX : n * size), n * size);
}

void *
xreallocn(void *p, size_t n, size_t size)
{
	if (size != 0 && n > SIZE_MAX / size)
		return checked(NULL, SIZE_MAX);
	size *= n;
	return large(checked(realloc(p, size ? size : 1), size), size);
}

char *
xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *
xstrndup(const char *s, size_t n)
{
	char *p = xmalloc(n + 1);

	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

void *
xgrow(void *p, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return p;
	*cap = n < 16 ? 16 : n + n / 2;
	return xreallocn(p, *cap, size);
}
