/*
 * names: is there a system in how the names of one state dict differ from those of another?
 */
#ifndef LNN_STATS_NAMES_H
#define LNN_STATS_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "base/strmap.h"

/*
 * The prefix (ending in a dot) that, taken off names that begin with it, gives most names of the map there; str.p NULL
 * if there is none that gives more than match without it. *fits: how many names then are there. sample: a name that is
 * not there; its beginnings are what is tried.
 */
struct str names_prefix(const struct str *names, size_t n, const struct strmap *there, struct str sample, size_t *fits);

/*
 * The longest run of whole components that all names begin with, dot included: "head." of head.weight and head.bias.
 * Empty if they have none in common.
 */
struct str names_common(const struct str *names, size_t n);

#endif
