/*
 * pickles: locates the pickles of a possibly malformed file for scanning. Nothing is decoded. Also handles files that cannot be
 * opened as checkpoints.
 */
#ifndef LNN_FORMAT_PICKLES_H
#define LNN_FORMAT_PICKLES_H

#include <stdbool.h>
#include <stdint.h>

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

struct pickles_visit {
	struct source *src;
	int (*each)(void *arg, struct pickle_part *part, struct err *err);
	void *arg;
	bool object; /* only the object's pickle is needed, so that a stream of torch's own zip need not be read to its end */
	enum pickles_kind kind; /* set before the first call of each */
};

/*
 * Calls each for the pickles of src, in the order of the file. Stops at a pickle of a legacy file that has no end. Returns -1 if
 * each does, or if src cannot be read. Errors in the container are not reported; format_open does that.
 */
int pickles_each(struct pickles_visit *v, struct err *err);

#endif
