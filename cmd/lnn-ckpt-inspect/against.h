/*
 * against: how a state dict differs from a model or another checkpoint; shared by the file that finds out and the one
 * that says it.
 */
#ifndef LNN_AGAINST_H
#define LNN_AGAINST_H

#include "inspect.h"
#include "model/model.h"
#include "stats/compare.h"

enum differing { DIFF_MISSING, DIFF_UNEXPECTED, DIFF_MISMATCHED, DIFF_DTYPE, DIFF_VALUES, DIFF_KINDS };

struct finding {
	enum differing what;
	struct str name;             /* after --strip-prefix */
	const struct tensor *ours;   /* NULL: missing here, or no tensor of one piece */
	const struct entry *theirs;  /* NULL: unexpected */
	struct difference difference; /* DIFF_VALUES */
};

struct against {
	struct job *j;
	const char *target;      /* as the user wrote it; the first of several */
	struct model model;
	struct input other;      /* if the target is a checkpoint */
	bool is_ckpt;
	struct str *names;       /* by entry of the state dict, prefixes off; p NULL: not compared */
	struct strmap ours;      /* those names to the index of the entry */
	struct strmap modules;   /* of _metadata, with a dot: to their handle */
	struct arena arena;
	struct finding *v;
	size_t n, cap, counts[DIFF_KINDS];
	size_t matched;
};

/* Says it all; lines, table and JSON. */
int against_put(struct against *a, struct err *e);

/* What is systematic about it, a line each, in b; empty if nothing is. */
void against_hints(const struct against *a, struct buf *b);

#endif
