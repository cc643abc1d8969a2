/*
 * pickles: the pickles of a file, as bytes, for those who look at them without believing them. Also of files that
 * cannot be opened as checkpoints.
 */
#ifndef LNN_FORMAT_PICKLES_H
#define LNN_FORMAT_PICKLES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/diag.h"
#include "base/err.h"
#include "io/source.h"

enum pickles_kind {
	PICKLES_NONE,   /* a format without pickles: safetensors */
	PICKLES_ZIP,    /* torch zip */
	PICKLES_CUT,    /* a zip without a usable directory: only its first record is looked at */
	PICKLES_SCRIPT, /* TorchScript archive */
	PICKLES_LEGACY, /* torch.save before 1.6: five pickles one after the other */
	PICKLES_BARE,   /* a pickle without torch's wrapper, or what could be one */
};

struct pickle_part {
	const char *record; /* "archive/data.pkl", "pickle 4 of 5"; or "". Raw bytes of names may occur in it */
	struct source *src;
	uint64_t off, limit; /* limit: where the record ends; UINT64_MAX if that is not known */
	bool unpacked;       /* offsets count from the beginning of the record, unpacked */
	bool legacy;         /* its persistent ids are those of a legacy stream */
	bool object;         /* the one that torch.load makes the object of */
	uint64_t end;        /* to be set by each(): behind STOP; 0: it has none */
};

/*
 * Calls each for the pickles of src, in the order of the file, at most until one of a legacy stream has no end.
 * -1 if each says so, or if src cannot be read. *kind is set before the first call. What is wrong with the container is
 * left to format_open.
 */
int pickles_each(struct source *src, const struct diag *diag, enum pickles_kind *kind,
		 int (*each)(void *arg, struct pickle_part *part, struct err *e), void *arg, struct err *e);

/*
 * Like pickles_each, but perhaps of the object's pickle only. It is the first record of torch's own zips, so that a stream of
 * such a zip is not read to its end.
 */
int pickles_object(struct source *src, enum pickles_kind *kind, int (*each)(void *arg, struct pickle_part *part, struct err *e),
		   void *arg, struct err *e);

#endif
