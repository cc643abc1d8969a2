/*
 * against: how a state dict differs from a model or from another checkpoint.
 */
#ifndef LNN_AGAINST_H
#define LNN_AGAINST_H

#include "model/model.h"
#include "report.h"

enum differing { DIFF_MISSING, DIFF_UNEXPECTED, DIFF_MISMATCHED, DIFF_DTYPE, DIFF_VALUES, DIFF_KINDS };

struct deviation {
	enum differing what;
	struct str name;            /* after --strip-prefix */
	const struct tensor *ours;  /* NULL: missing here, or no tensor of one piece */
	const struct entry *theirs; /* NULL: unexpected */
	const struct difference *difference; /* DIFF_VALUES */
};

struct against {
	struct job *j;
	const char *target;      /* as the user wrote it; the first of several */
	struct model model;
	struct input other;      /* if the target is a checkpoint */
	bool is_ckpt;
	struct str *names;       /* by entry of the state dict, prefixes off; p NULL: not compared */
	struct str *pair_names;  /* by pair of job.data */
	struct strmap ours;      /* those names to the index of the entry */
	struct strmap modules;   /* of _metadata, with a dot: to their handle */
	struct arena arena;
	struct deviation *v;
	size_t n, cap, counts[DIFF_KINDS];
	size_t matched;
};

/* Adds to b what is systematic about the deviations, a line each; nothing if nothing is. */
void against_hints(const struct against *a, struct buf *b);

#endif
