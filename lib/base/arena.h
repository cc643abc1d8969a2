/* arena: memory that is allocated piece by piece and freed all at once. */
#ifndef LNN_BASE_ARENA_H
#define LNN_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"

struct arena {
	struct arena_chunk *chunks; /* newest first */
	size_t total;               /* bytes handed out and not returned */
};

#define ARENA_INIT      \
	{               \
		NULL, 0 \
	}

#define arena_init(x) (*(x) = (struct arena)ARENA_INIT)
void arena_release(struct arena *a);                            /* frees everything that was handed out */
void *arena_alloc(struct arena *a, size_t size);                /* aligned for any type, not cleared */
void *arena_calloc(struct arena *a, size_t n, size_t size);     /* zeroed; n * size is checked for overflow */
void *arena_bytes(struct arena *a, size_t size);                /* unaligned: for text */
void arena_return(struct arena *a, const void *p, size_t size); /* gives back the last allocation; else does nothing */
struct str arena_str(struct arena *a, struct str s);            /* copies s and adds a NUL, which len does not count */
struct str arena_take(struct arena *a, struct buf *b); /* copies the text of b, with a NUL as in arena_str, and releases b */
struct str arena_join(struct arena *a, struct str x, struct str y); /* copies x followed by y; NUL as in arena_str */
char *arena_cstr(struct arena *a, const char *s);
char *arena_vprintf(struct arena *a, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
