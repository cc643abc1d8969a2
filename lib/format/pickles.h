/*
 * pickles: locates the pickles of a possibly malformed file for scanning. Nothing is decoded. Also handles files that cannot be
 * opened as checkpoints.
 */
#ifndef LNN_FORMAT_PICKLES_H
#define LNN_FORMAT_PICKLES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/diag.h"
#include "base/err.h"
#include "io/source.h"

enum pickles_kind {
	PICKLES_NONE,   /* a format without pickles, such as safetensors */
	PICKLES_ZIP,    /* torch zip */
	PICKLES_CUT,    /* a zip without a usable directory: only its first record is visited */
	PICKLES_SCRIPT, /* TorchScript archive */
	PICKLES_LEGACY, /* torch.save before 1.6: five consecutive pickles */
	PICKLES_BARE,   /* a pickle without torch's wrapper, or something that could be one */
};

struct pickle_part {
	const char *record; /* such as "archive/data.pkl" or "pickle 4 of 5"; or "". May contain raw bytes of names */
	struct source *src;
	uint64_t off, limit; /* limit: end of the record; UINT64_MAX if not known */
	bool unpacked;       /* the record was unpacked, and offsets count from its beginning */
	bool legacy;         /* its persistent ids are those of the legacy format */
	bool object;         /* the pickle from which torch.load makes the object */
	uint64_t end;        /* set by each(): offset after STOP; 0 if there is no STOP */
};

/*
 * Calls each for the pickles of src, in the order of the file. Stops at a pickle of a legacy file that has no end. Returns -1 if
 * each does, or if src cannot be read. *kind is set before the first call. Errors in the container are not reported; format_open
 * does that.
 */
int pickles_each(struct source *src, const struct diag *diag, enum pickles_kind *kind,
		 int (*each)(void *arg, struct pickle_part *part, struct err *e), void *arg, struct err *e);

/*
 * Like pickles_each, but may visit only the pickle of the object. In zips written by torch this is the first record, so a stream of
 * such a zip is not read to its end.
 */
int pickles_object(struct source *src, enum pickles_kind *kind, int (*each)(void *arg, struct pickle_part *part, struct err *e),
		   void *arg, struct err *e);

#endif
