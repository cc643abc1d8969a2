/*
 * hint: why do names not match a model? Simple changes are tried on them in memory; the one with which most match is told.
 */
#ifndef LNN_PLAN_HINT_H
#define LNN_PLAN_HINT_H

#include "base/buf.h"
#include "model/model.h"

/* What is tried: names of tensors, and other places of the state dict that they are from. */
struct hint_names {
	const struct str *names;
	const struct tensor *const *tensors; /* by name; NULL: no tensor, or one without a shape */
	size_t n;
	const struct statedict *sd; /* NULL: no other place is tried */
};

/* A prefix is taken off, a component is taken out wherever it stands, a prefix is put in front, another place is read. */
enum hint_kind { HINT_STRIP, HINT_COMPONENT, HINT_PUT, HINT_PLACE };

struct hint {
	enum hint_kind kind;
	struct str text;                 /* with its dot; of a place its key */
	size_t matching, named, tensors; /* with it: by name and shape; by name; of how many */
};

/*
 * The change with which more tensors match m, by name and shape, than without it and not fewer than with any other one.
 * False if there is none.
 */
bool hint_find(const struct hint_names *in, const struct model *m, struct hint *h);

/*
 * Adds the option and its effect to b: "--strip-prefix=model. (310 of 312 would match)". add: a prefix is put in front
 * with --add-prefix; else with --rename, which the load check of lnn-ckpt-adapt sees.
 */
void hint_put(const struct hint *h, bool add, struct buf *b);

#endif
