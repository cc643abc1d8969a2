/*
 * keys: strict reading of YAML maps: which keys a map may have, and suggestions for misspelled ones.
 */
#ifndef LNN_MODEL_KEYS_H
#define LNN_MODEL_KEYS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/text.h"
#include "text/yaml.h"

/*
 * Checks that every key of map is in allowed, which NULL ends. Otherwise fails at the key with "FILE:LINE:COLUMN: KEY: unknown key
 * in WHERE; did you mean OTHER?".
 */
int keys_check(const struct ynode *map, const char *const *allowed, const char *where, struct err *err);

/* Is key one of allowed? */
bool keys_known(struct str key, const char *const *allowed);

/* Append "; did you mean X?" to a message about query, or nothing if no key is similar. Letter case is ignored. */
void keys_suggest(struct buf *b, struct str query, const char *const *allowed);
void keys_suggest_nearest(struct buf *b, const struct nearest *near);

/* The escaped text of a string for a message, shortened if it is very long. */
struct shown {
	char text[128];
};
const char *keys_show(struct shown *to, struct str s);

/* Fails with "FILE:LINE:COLUMN: KEY: must be EXPECTED, not TEXT" (or "not a list") at the value of the key. Returns -1. */
int keys_wrong(const struct ynode *value, const char *key, const char *expected, struct err *err);

#endif
