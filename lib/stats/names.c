#include "stats/names.h"

#include <string.h>

/* Beginnings of a name that are tried as prefixes. */
enum { TRIES = 8 };

static size_t
count(const struct str *names, size_t n, const struct strmap *there, struct str prefix)
{
	size_t fits = 0;

	for (size_t i = 0; i < n; i++) {
		struct str name = str_starts(names[i], prefix) ? str_from(names[i], prefix.len) : names[i];

		fits += strmap_get(there, name, NULL);
	}
	return fits;
}

struct str
names_prefix(const struct str *names, size_t n, const struct strmap *there, struct str sample, size_t *fits)
{
	struct str best = { NULL, 0 };
	size_t most = count(names, n, there, str_n(sample.p, 0)), tries = 0;

	for (size_t i = 0; i < sample.len && tries < TRIES; i++) {
		size_t with;

		if (sample.p[i] != '.')
			continue;
		tries++;
		with = count(names, n, there, str_n(sample.p, i + 1));
		if (with > most) {
			most = with;
			best = str_n(sample.p, i + 1);
		}
	}
	*fits = most;
	return best;
}

struct str
names_common(const struct str *names, size_t n)
{
	size_t len = n > 0 ? names[0].len : 0;

	for (size_t i = 1; i < n; i++) {
		size_t k = 0;

		while (k < len && k < names[i].len && names[i].p[k] == names[0].p[k])
			k++;
		len = k;
	}
	while (len > 0 && names[0].p[len - 1] != '.')
		len--;
	return str_n(n > 0 ? names[0].p : "", len);
}
