#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

enum { CHUNK_MIN = 4096, CHUNK_MAX = 4096 * 1024 };

struct arena_chunk {
	struct arena_chunk *next;
	size_t used, size;
	_Alignas(max_align_t) char data[];
};

void
arena_release(struct arena *a)
{
	struct arena_chunk *c, *next;

	for (c = a->chunks; c != NULL; c = next) {
		next = c->next;
		free(c);
	}
	arena_init(a);
}

/* A large request gets a chunk of its own. That chunk goes behind the current one, whose free space can still be used. */
static struct arena_chunk *
chunk_for(struct arena *a, size_t size)
{
	struct arena_chunk *c;
	/* An eighth of what is used, so that little is left over. */
	size_t capacity = a->total / 8;
	bool own = size > CHUNK_MAX / 4;

	if (capacity < CHUNK_MIN)
		capacity = CHUNK_MIN;
	if (capacity > CHUNK_MAX)
		capacity = CHUNK_MAX;
	if (own || capacity < size)
		capacity = size;
	if (capacity > SIZE_MAX - sizeof(*c))
		capacity = SIZE_MAX - sizeof(*c);
	c = xmalloc(sizeof(*c) + capacity);
	c->used = 0;
	c->size = capacity;
	if (own && a->chunks != NULL) {
		c->next = a->chunks->next;
		a->chunks->next = c;
	} else {
		c->next = a->chunks;
		a->chunks = c;
	}
	return c;
}

static void *
take(struct arena *a, size_t size, size_t align)
{
	struct arena_chunk *c = a->chunks;
	size_t at = c == NULL ? 0 : (c->used + align - 1) & ~(align - 1);

	if (c == NULL || at > c->size || size > c->size - at) {
		c = chunk_for(a, size);
		at = 0;
	}
	c->used = at + size;
	a->total += size;
	return c->data + at;
}

void
arena_return(struct arena *a, const void *p, size_t size)
{
	struct arena_chunk *c = a->chunks;

	if (c == NULL || c->used < size || (const char *)p != c->data + (c->used - size))
		return;
	c->used -= size;
	a->total -= size;
}

void *
arena_alloc(struct arena *a, size_t size)
{
	return take(a, size, size < 16 ? 8 : 16);
}

void *
arena_bytes(struct arena *a, size_t size)
{
	return take(a, size, 1);
}

void *
arena_calloc(struct arena *a, size_t n, size_t size)
{
	void *p;

	if (size != 0 && n > SIZE_MAX / size)
		n = SIZE_MAX / size;
	p = arena_alloc(a, n * size);
	memset(p, 0, n * size);
	return p;
}

struct str
arena_str(struct arena *a, struct str s)
{
	char *p = arena_bytes(a, s.len + 1);

	if (s.len > 0)
		memcpy(p, s.p, s.len);
	p[s.len] = '\0';
	return str_n(p, s.len);
}

char *
arena_cstr(struct arena *a, const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(arena_bytes(a, n), s, n);
}

struct str
arena_take(struct arena *a, struct buf *b)
{
	const struct str text = arena_str(a, buf_str(b));

	buf_release(b);
	return text;
}

struct str
arena_join(struct arena *a, struct str x, struct str y)
{
	char *p = arena_bytes(a, x.len + y.len + 1);

	if (x.len > 0)
		memcpy(p, x.p, x.len);
	if (y.len > 0)
		memcpy(p + x.len, y.p, y.len);
	p[x.len + y.len] = '\0';
	return str_n(p, x.len + y.len);
}

char *
arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
	va_list again;
	char *p;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	p = arena_bytes(a, n < 0 ? 1 : (size_t)n + 1);
	p[0] = '\0';
	vsnprintf(p, n < 0 ? 1 : (size_t)n + 1, fmt, ap);
	return p;
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *p;

	va_start(ap, fmt);
	p = arena_vprintf(a, fmt, ap);
	va_end(ap);
	return p;
}
