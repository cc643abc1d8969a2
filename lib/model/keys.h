/*
 * keys: strict reading of YAML maps: which keys may stand in one, and what was
 * meant by one that may not.
 */
#ifndef LNN_MODEL_KEYS_H
#define LNN_MODEL_KEYS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/text.h"
#include "text/yaml.h"

/*
 * Every key of map must be one of allowed (ended by NULL). Else "FILE:LINE:COLUMN: KEY: unknown key in WHERE; did you
 * mean OTHER?" at the key.
 */
int keys_check(const struct ynode *map, const char *const *allowed, const char *where, struct err *err);

/* Is key one of allowed? */
bool keys_known(struct str key, const char *const *allowed);

/* What to add to a message about query: "; did you mean X?", or nothing. Letter case does not count. */
void keys_suggest(struct buf *b, struct str query, const char *const *allowed);
void keys_suggest_nearest(struct buf *b, const struct nearest *near);

/* Text for a message: escaped, and cut where it is very long. */
struct shown {
	char text[128];
};
const char *keys_show(struct shown *to, struct str s);

/* Says "FILE:LINE:COLUMN: KEY: must be EXPECTED, not TEXT" (or "not a list") at the value of the key; returns -1. */
int keys_wrong(const struct ynode *value, const char *key, const char *expected, struct err *err);

#endif
