#include "rule/literals.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

void
literals_release(struct literals *s)
{
	free(s->texts);
	strmap_release(&s->ids);
	free(s->next);
	free(s->hit);
	free(s->text);
	free(s->chain);
	free(s->loose);
	memset(s, 0, sizeof(*s));
}

uint32_t
literals_add(struct literals *s, struct str text)
{
	uint64_t id;

	if (strmap_get(&s->ids, text, &id))
		return (uint32_t)id;
	s->texts = xgrow(s->texts, s->n, &s->cap, sizeof(*s->texts));
	s->texts[s->n] = text;
	strmap_add(&s->ids, text, s->n);
	return (uint32_t)s->n++;
}

/* Bytes that no text has are of class 0. */
static void
make_classes(struct literals *s)
{
	unsigned n = 1;

	for (size_t i = 0; i < s->n; i++) {
		for (size_t k = 0; k < s->texts[i].len; k++) {
			uint8_t *class = &s->class_of[(uint8_t)s->texts[i].p[k]];

			/* All 256 bytes in use: two may share class 0 of the rest, as there is no rest. */
			if (*class == 0 && n < 256)
				*class = (uint8_t)n++;
		}
	}
	s->width = n + 1;
}

/* Spells out a text from the root; false if there are not enough states. */
static bool
spell(struct literals *s, size_t id)
{
	struct str text = s->texts[id];
	uint32_t at = 0;

	for (size_t i = 0; i < text.len; i++) {
		uint32_t *to = &s->next[at * s->width + s->class_of[(uint8_t)text.p[i]]];

		if (*to == 0) {
			if (s->states == LITERALS_STATES)
				return false;
			*to = s->states++;
		}
		at = *to;
	}
	s->text[at] = (uint32_t)id + 1;
	return true;
}

/* Breadth first: where to go on when a text breaks off, worked into the table itself. */
static void
link_states(struct literals *s)
{
	uint32_t *queue = xmalloc(s->states * sizeof(*queue)), *fail = xcalloc(s->states, sizeof(*fail));
	size_t head = 0, tail = 0;

	for (unsigned c = 0; c + 1 < s->width; c++) {
		if (s->next[c])
			queue[tail++] = s->next[c];
	}
	while (head < tail) {
		uint32_t at = queue[head++], back = fail[at];

		s->chain[at] = s->hit[back];
		s->hit[at] = s->text[at] ? at : s->hit[back];
		for (unsigned c = 0; c + 1 < s->width; c++) {
			uint32_t *to = &s->next[at * s->width + c], other = s->next[back * s->width + c];

			if (*to == 0) {
				*to = other;
				continue;
			}
			fail[*to] = other;
			queue[tail++] = *to;
		}
	}
	for (uint32_t at = 0; at < s->states; at++) {
		uint32_t *row = &s->next[at * s->width];

		for (unsigned c = 0; c + 1 < s->width; c++)
			row[c] *= s->width;
		row[s->width - 1] = s->hit[at];
	}
	free(queue);
	free(fail);
}

static size_t
words_of(const struct literals *s)
{
	return s->n / 64 + 1;
}

size_t
literals_build(struct literals *s)
{
	size_t most = 1;

	make_classes(s);
	for (size_t i = 0; i < s->n && most < LITERALS_STATES; i++)
		most += s->texts[i].len;
	most = most < LITERALS_STATES ? most : LITERALS_STATES;
	s->next = xcalloc(most * s->width, sizeof(*s->next));
	s->hit = xcalloc(most, sizeof(*s->hit));
	s->text = xcalloc(most, sizeof(*s->text));
	s->chain = xcalloc(most, sizeof(*s->chain));
	s->loose = xcalloc(s->n + 1, sizeof(*s->loose));
	s->states = 1;
	for (size_t i = 0; i < s->n; i++)
		if (s->texts[i].len == 0 || !spell(s, i))
			s->loose[s->nloose++] = i;
	link_states(s);
	s->built = true;
	return words_of(s);
}

static void
set_bit(uint64_t *bits, size_t id)
{
	bits[id / 64] |= (uint64_t)1 << (id % 64);
}

void
literals_find(const struct literals *s, struct str name, uint64_t *bits)
{
	const uint8_t *p = (const uint8_t *)name.p;
	const uint32_t *next = s->next;
	const unsigned last = s->width - 1;
	uint32_t row = 0;

	memset(bits, 0, words_of(s) * sizeof(*bits));
	for (size_t i = 0; i < name.len; i++) {
		row = next[row + s->class_of[p[i]]];
		for (uint32_t at = next[row + last]; at; at = s->chain[at])
			set_bit(bits, s->text[at] - 1);
	}
	for (size_t i = 0; i < s->nloose; i++)
		if (str_contains(name, s->texts[s->loose[i]]))
			set_bit(bits, s->loose[i]);
}
