/*
 * config: reads a linnaeus experiment file and merges it with its bases.
 *
 * MODEL.BASE names one file or a list of files. As in linnaeus, only the MODEL section of a base is used; a base without such a
 * section is taken as the section itself. The experiment is merged over the last base: maps are merged key by key, other values are
 * replaced. Earlier bases are read but have no effect, and bases of bases are not followed.
 */
#ifndef LNN_MODEL_CONFIG_H
#define LNN_MODEL_CONFIG_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "text/yaml.h"
#include "io/source.h"

struct config {
	struct arena arena;
	const char *file;         /* name of the experiment file */
	const struct ynode *root; /* the merged tree */
};

struct config_opts {
	const char *dir;                  /* folder for relative paths of bases; NULL: that of the experiment */
	const struct source_opts *source; /* for opening bases; may be NULL */
};

void config_init(struct config *c);
void config_release(struct config *c);

/*
 * Reads the experiment in src, which is borrowed for the call, and its bases. Fails with ERR_INPUT "FILE:LINE:COLUMN: ..." or
 * ERR_SYSTEM. If a base does not exist, the error names the nearest folder above the experiment that contains it. After a failure c
 * can only be released.
 */
int config_load(struct config *c, struct source *src, const struct config_opts *opts, struct err *err);

/* Returns the node at a dotted path ("MODEL.ROPE_STAGES.DEPTHS"), or NULL if it does not exist or is null. */
const struct ynode *config_get(const struct config *c, const char *path);

/*
 * Read the value at a dotted path. Return 1 and set *out, which borrows from c. Return 0 if the value does not exist or is null;
 * for config_text also if it is empty. Return -1 with "FILE:LINE:COLUMN: PATH: must be ..., not ..." if it has another type.
 */
int config_text(const struct config *c, const char *path, struct str *out, struct err *err);
int config_u64(const struct config *c, const char *path, uint64_t *out, struct err *err);

/* Appends all of a source to text. Serves all programs that read YAML. Fails with ERR_INPUT above YAML_MAX_BYTES. */
int config_slurp(struct source *src, struct buf *text, struct err *err);

#endif
