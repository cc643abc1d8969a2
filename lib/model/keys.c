#include "model/keys.h"

#include <string.h>

bool
keys_known(struct str key, const char *const *allowed)
{
	for (; *allowed; allowed++)
		if (str_eqc(key, *allowed))
			return true;
	return false;
}

static void
suggest(struct buf *b, struct str best)
{
	buf_adds(b, "; did you mean ");
	text_show(b, best);
	buf_addc(b, '?');
}

void
keys_suggest_nearest(struct buf *b, const struct nearest *near)
{
	if (nearest_found(near))
		suggest(b, near->best);
}

void
keys_suggest(struct buf *b, struct str query, const char *const *allowed)
{
	struct nearest near;
	struct str longer = { NULL, 0 };

	nearest_init(&near, query);
	for (size_t i = 0; allowed[i]; i++) {
		struct str key = str_c(allowed[i]);

		if (str_eqc_nocase(query, allowed[i])) {
			suggest(b, key);
			return;
		}
		nearest_try(&near, key);
		if (query.len >= 4 && longer.p == NULL && str_starts(key, query))
			longer = key;
	}
	if (longer.p != NULL && !nearest_found(&near))
		suggest(b, longer);
	keys_suggest_nearest(b, &near);
}

const char *
keys_show(struct shown *to, struct str s)
{
	struct buf b = BUF_INIT;
	size_t n;

	text_show(&b, s);
	n = b.len;
	if (n >= sizeof(to->text)) {
		/* The text is cut between characters, never within one. */
		for (n = sizeof(to->text) - 4; n > 0 && ((unsigned char)b.p[n] & 0xc0) == 0x80; n--)
			;
	}
	if (n > 0)
		memcpy(to->text, b.p, n);
	strcpy(to->text + n, n < b.len ? "..." : "");
	buf_release(&b);
	return to->text;
}

int
keys_wrong(const struct ynode *value, const char *key, const char *expected, struct err *err)
{
	struct shown shown;

	return ynode_fail(value, err, "%s: must be %s, not %s", key, expected,
			  value->kind == YN_SCALAR ? keys_show(&shown, value->text) : ynode_what(value));
}

int
keys_check(const struct ynode *map, const char *const *allowed, const char *where, struct err *err)
{
	for (size_t i = 0; i < map->n; i++) {
		const struct ynode *key = map->pairs[i].key;
		struct buf hint = BUF_INIT;
		struct shown shown;

		if (keys_known(key->text, allowed))
			continue;
		keys_suggest(&hint, key->text, allowed);
		ynode_fail(key, err, "%s: unknown key in %s%s", keys_show(&shown, key->text), where, hint.len ? hint.p : "");
		buf_release(&hint);
		return -1;
	}
	return 0;
}
