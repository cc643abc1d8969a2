/*
 * hint: explains why names do not match a model. Simple changes of the names are tried in memory, and the one with the most matches
 * is suggested.
 */
#ifndef LNN_PLAN_HINT_H
#define LNN_PLAN_HINT_H

#include "base/buf.h"
#include "model/model.h"

/* The names of tensors to be tried, and the state dict that they come from. */
struct hint_names {
	const struct str *names;
	const struct tensor *const *tensors; /* by name; NULL: the value is no tensor, or one without a shape */
	size_t n;
	const struct statedict *sd; /* used to try other places of the checkpoint; NULL: none are tried */
};

/* The kinds of changes: strip a prefix, remove a component anywhere, add a prefix, read another place of the checkpoint. */
enum hint_kind { HINT_STRIP, HINT_COMPONENT, HINT_PUT, HINT_PLACE };

struct hint {
	enum hint_kind kind;
	struct str text; /* the prefix or component with its dot; for HINT_PLACE the key */
	/* after the change: tensors that match by name and shape; tensors that match by name; all tensors */
	size_t matching, named, tensors;
};

/*
 * Finds the change after which most tensors match m by name and shape. Returns false if no change gives more matches than the names
 * have already.
 */
bool hint_find(const struct hint_names *in, const struct model *m, struct hint *h);

/*
 * Appends the option and its effect: "--strip-prefix=model. (310 of 312 would match)". If add is set, a prefix is added by
 * --add-prefix, else by --rename, whose effect the load check of lnn-ckpt-adapt includes.
 */
void hint_put(const struct hint *h, bool add, struct buf *b);

#endif
