/*
 * Text files compiled into the library: the built-in key maps
 * (lib/plan/maps/NAME.yaml) and model descriptions
 * (lib/model/builtin/NAME.yaml). lib/base/embed.sh writes the definitions at
 * build time. The tables are sorted by name in byte order and are static.
 */
#ifndef LNN_BASE_EMBEDDED_H
#define LNN_BASE_EMBEDDED_H

#include <stddef.h>
#include <string.h>

struct embedded {
	const char *name; /* file name without .yaml */
	const char *text; /* file contents, followed by a NUL that len does not count */
	size_t len;
};

extern const struct embedded embedded_maps[];
extern const size_t embedded_maps_count;
extern const struct embedded embedded_models[];
extern const size_t embedded_models_count;

/* Returns the file of that name among the n of a table, or NULL. */
static inline const struct embedded *
embedded_find(const struct embedded *table, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

#endif
