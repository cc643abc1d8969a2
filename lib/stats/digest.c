#include "stats/digest.h"

#include <nettle/sha2.h>
#include <stdlib.h>

#include "base/text.h"

void
digest_put(struct buf *b, const struct digest *d)
{
	static const char digits[] = "0123456789abcdef";

	if (!d->known)
		buf_addc(b, '-');
	for (size_t i = 0; d->known && i < sizeof(d->sha256); i++) {
		buf_addc(b, digits[d->sha256[i] >> 4]);
		buf_addc(b, digits[d->sha256[i] & 15]);
	}
}

void
digest_line(struct buf *b, struct str name, const struct tensor *t, const struct digest *d)
{
	text_escape(b, name);
	buf_addc(b, '\t');
	buf_adds(b, dtype_name(t->dtype));
	buf_addc(b, '\t');
	shape_put(b, t->shape, t->ndim);
	buf_addc(b, '\t');
	digest_put(b, d);
	buf_addc(b, '\n');
}

static int
by_bytes(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

struct digest
digest_of(struct str *texts, size_t n)
{
	struct digest d = { .known = true };
	struct sha256_ctx ctx;

	if (n > 1)
		qsort(texts, n, sizeof(*texts), by_bytes);
	sha256_init(&ctx);
	for (size_t i = 0; i < n; i++)
		sha256_update(&ctx, texts[i].len, (const uint8_t *)texts[i].p);
	sha256_digest(&ctx, sizeof(d.sha256), d.sha256);
	return d;
}
