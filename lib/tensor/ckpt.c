#include "tensor/ckpt.h"

#include <stdlib.h>

#include "base/xalloc.h"

struct ckpt *
ckpt_new(struct source *src, const struct diag *diag)
{
	struct ckpt *c = xcalloc(1, sizeof(*c));

	c->file = source_name(src);
	c->src = src;
	c->diag = diag;
	c->root = VALUE_ABSENT;
	arena_init(&c->arena);
	return c;
}

void
ckpt_close(struct ckpt *c)
{
	if (c == NULL)
		return;
	if (c->ops != NULL && c->ops->close != NULL)
		c->ops->close(c);
	vtree_free(c->tree);
	arena_release(&c->arena);
	free(c->done);
	free(c->owned[0]);
	free(c->owned[1]);
	free(c);
}

int
ckpt_locate(struct ckpt *c, uint32_t storage, struct err *e)
{
	if (c->storages[storage].offset != OFFSET_UNKNOWN || c->ops->locate == NULL)
		return 0;
	return c->ops->locate(c, storage, e);
}

struct source *
ckpt_range(struct ckpt *c, uint32_t storage, uint64_t *offset)
{
	const struct storage *s = &c->storages[storage];

	if ((s->flags & STORAGE_DEFLATED) || s->offset == OFFSET_UNKNOWN)
		return NULL;
	*offset = s->offset;
	return c->ops->range != NULL ? c->ops->range(c, storage) : c->src;
}

/* Locates a storage from which n bytes at off are to be read. */
static int
begin_read(struct ckpt *c, uint32_t storage, uint64_t off, size_t n, struct err *e)
{
	const struct storage *s = &c->storages[storage];

	if (off > s->nbytes || n > s->nbytes - off)
		return err_input(e, c->file, "a read beyond the end of storage %.*s", STR_ARG(s->key));
	return n == 0 ? 0 : ckpt_locate(c, storage, e);
}

int
ckpt_read(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *e)
{
	const struct storage *s = &c->storages[storage];
	struct source *src;
	uint64_t start;

	if (begin_read(c, storage, off, n, e) < 0)
		return -1;
	if (n == 0)
		return 0;
	src = ckpt_range(c, storage, &start);
	if (c->ops->read != NULL)
		return c->ops->read(c, storage, off, p, n, e);
	if (src == NULL)
		return err_input(e, c->file, "storage %.*s cannot be read", STR_ARG(s->key));
	return source_read(src, start + off, p, n, e);
}

int
ckpt_next(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *e)
{
	struct source *src;
	uint64_t start;

	if (begin_read(c, storage, off, n, e) < 0)
		return -1;
	src = n == 0 ? NULL : ckpt_range(c, storage, &start);
	if (src != NULL && source_is_stream(src))
		return source_next(src, start + off, p, n, e);
	return ckpt_read(c, storage, off, p, n, e);
}

int
ckpt_crc(struct ckpt *c, uint32_t storage, uint32_t *crc, bool *known, struct err *e)
{
	const struct storage *s = &c->storages[storage];

	if (c->ops->crc != NULL)
		return c->ops->crc(c, storage, crc, known, e);
	*crc = s->crc;
	*known = (s->flags & STORAGE_CRC) != 0;
	return 0;
}

static int
pass_to(struct ckpt *c, uint32_t to, struct err *e)
{
	uint32_t from = c->passed;

	if (to <= from)
		return 0;
	c->passed = to;
	return c->ops->pass != NULL ? c->ops->pass(c, from, to, e) : 0;
}

int
ckpt_done(struct ckpt *c, uint32_t storage, struct err *e)
{
	uint32_t to = c->passed;

	if (c->done == NULL)
		c->done = xcalloc(c->nstorages, 1);
	c->done[storage] = 1;
	while (to < c->nstorages && c->done[to])
		to++;
	return pass_to(c, to, e);
}

int
ckpt_pass(struct ckpt *c, uint32_t storage, uint64_t off, struct err *e)
{
	struct source *src;
	uint64_t start;

	if (pass_to(c, storage, e) < 0)
		return -1;
	if (off > 0 && storage == c->passed && (src = ckpt_range(c, storage, &start)) != NULL)
		source_forget(src, start + off);
	return 0;
}

void
ckpt_keep(struct ckpt *c, uint32_t storage, uint64_t off)
{
	struct source *src;
	uint64_t start;

	src = ckpt_range(c, storage, &start);
	if (src != NULL)
		source_keep(src, start + off);
}

int
ckpt_finish(struct ckpt *c, struct err *e)
{
	return c->ops->finish != NULL ? c->ops->finish(c, e) : source_verify(c->src, e);
}
