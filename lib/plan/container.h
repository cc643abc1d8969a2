/*
 * container: lists, dicts and similar values that are items of a state dict and hold tensors (_extra_state, _packed_params).
 *
 * Their tensors are entries of the plan with dotted names. The name of such an entry is the key of the container, followed by the
 * name inside it. A container is written whole, as the value that it was, if all its remaining entries still have one common key
 * and their original names inside. Drops and casts inside a container and edits that change only its key therefore preserve it.
 * Otherwise it is taken apart: its remaining tensors are written as separate entries.
 */
#ifndef LNN_PLAN_CONTAINER_H
#define LNN_PLAN_CONTAINER_H

#include "plan/plan.h"

struct plan_container {
	uint32_t input, number; /* number of the container in the input's state dict */
	struct str key;         /* key under which it is written; borrowed from an entry's name */
	size_t first;           /* index of its first living entry, which determines its place; SIZE_MAX: no entry is left */
	size_t low, high;       /* its entries, living or not, are in [low, high); entries of others may be between them */
	bool whole;
};

struct plan_containers {
	struct plan_container *v;
	size_t n;
	size_t *by_input; /* by input: index in v of its first container */
};

/* Determines the containers for the present state of the plan. */
void plan_containers(const struct plan *p, struct plan_containers *c);
void plan_containers_release(struct plan_containers *c);

/* Returns the container that entry i was in when it was read, even if it is taken apart; NULL if it was in none. */
struct plan_container *plan_container_at(const struct plan *p, const struct plan_containers *c, size_t i);

/* Returns the container of entry i if it is written whole; NULL if the entry is in none or it is taken apart. */
const struct plan_container *plan_container_of(const struct plan *p, const struct plan_containers *c, size_t i);

/*
 * Returns the name of entry i in the index of a set of shards; p is NULL if it is not listed. A container is listed once, by its
 * key. Values that are not tensors are listed, too, because readers would otherwise not look for them. c is NULL for formats that
 * hold tensors only.
 */
struct str plan_listed_name(const struct plan *p, const struct plan_containers *c, size_t i);

#endif
