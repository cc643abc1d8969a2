/*
 * arena: memory that belongs to one struct and dies with it.
 */
#ifndef LNN_BASE_ARENA_H
#define LNN_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/str.h"

struct arena {
	struct arena_chunk *chunks; /* newest first */
	size_t total;               /* bytes handed out so far */
};

#define ARENA_INIT      \
	{               \
		NULL, 0 \
	}

#define arena_init(x) (*(x) = (struct arena)ARENA_INIT)
void arena_release(struct arena *a);                                /* frees everything ever handed out */
void *arena_alloc(struct arena *a, size_t size);                    /* aligned for any type, not cleared */
void *arena_calloc(struct arena *a, size_t n, size_t size);         /* cleared; n*size is checked */
void *arena_bytes(struct arena *a, size_t size);                    /* unaligned: for text */
void arena_return(struct arena *a, const void *p, size_t size);     /* takes back what was handed out last; else does nothing */
struct str arena_str(struct arena *a, struct str s);                /* a copy, followed by a NUL that does not count */
struct str arena_join(struct arena *a, struct str x, struct str y); /* likewise, of x and what follows it */
char *arena_cstr(struct arena *a, const char *s);
char *arena_vprintf(struct arena *a, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
