/*
 * container: lists, dicts and the like that are items of a state dict and hold tensors (_extra_state, _packed_params).
 *
 * Their tensors are entries of the plan under dotted names. A container stays whole, and is written back as what it was,
 * if all its entries that are left still have one beginning, its key, before what they were called in it: drops and casts
 * inside it, and edits that change its key alone, keep it. Else it is taken apart: what is left of it is written as
 * entries of their own.
 */
#ifndef LNN_PLAN_CONTAINER_H
#define LNN_PLAN_CONTAINER_H

#include "plan/plan.h"

struct plan_container {
	uint32_t input, number; /* of the input's state dict */
	struct str key;         /* under which it is written; borrowed from an entry's name */
	size_t first;           /* the entry of the plan that it stands at: the first that is left; SIZE_MAX: none is */
	size_t low, high;       /* its entries, left or not, are from low to before high; others may stand between them */
	bool whole;
};

struct plan_containers {
	struct plan_container *v;
	size_t n;
	size_t *by_input; /* number of an input's first container in v */
};

/* As the plan is now. */
void plan_containers(const struct plan *p, struct plan_containers *c);
void plan_containers_release(struct plan_containers *c);

/* The container that entry i was in when it was read, whole or not; NULL if it was in none. */
struct plan_container *plan_container_at(const struct plan *p, const struct plan_containers *c, size_t i);

/* The container that entry i is in and stays in; NULL if it is not in one, or in one that is taken apart. */
const struct plan_container *plan_container_of(const struct plan *p, const struct plan_containers *c, size_t i);

/*
 * The name under which the index of a set of shards lists entry i of the plan; p is NULL if it does not. A container is listed
 * once, by its key. What is no tensor is listed, or readers would not look for it. c is NULL for formats that have neither.
 */
struct str plan_listed_name(const struct plan *p, const struct plan_containers *c, size_t i);

#endif
