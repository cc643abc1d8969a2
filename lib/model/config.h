/*
 * config: an experiment file as linnaeus's authors write it, put together from its bases.
 *
 * MODEL.BASE names files, a path or a list of them. As in linnaeus, only the MODEL section of a base counts; a base
 * without one is that section as a whole. The experiment stands over the last base: maps are merged key by key,
 * anything else is replaced. Earlier bases are read, but have no effect, and bases of bases are not followed.
 */
#ifndef LNN_MODEL_CONFIG_H
#define LNN_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/str.h"
#include "text/yaml.h"
#include "io/source.h"

struct config {
	struct arena arena;
	const char *file;         /* the experiment's */
	const struct ynode *root; /* merged */
};

struct config_opts {
	const char *dir;                  /* where relative bases are looked up; NULL: in the folder of the experiment */
	const struct source_opts *source; /* for opening bases; may be NULL */
};

void config_init(struct config *c);
void config_release(struct config *c);

/*
 * Reads the experiment in src (borrowed for the call) and its bases. ERR_INPUT "FILE:LINE:COLUMN: ...", or
 * ERR_SYSTEM. For a base that is not there the error names the nearest folder above the experiment that has it. After a
 * failure c can only be released.
 */
int config_load(struct config *c, struct source *src, const struct config_opts *opts, struct err *err);

/* The node at a dotted path ("MODEL.ROPE_STAGES.DEPTHS"); NULL where there is none or it is null. */
const struct ynode *config_get(const struct config *c, const char *path);

/*
 * Values at a dotted path. 1 and *out set; 0 where there is none or it is null (an empty text counts as none for
 * config_text); -1 with "FILE:LINE:COLUMN: PATH: must be ..., not ..." where it is something else.
 * *out borrows from c.
 */
int config_text(const struct config *c, const char *path, struct str *out, struct err *err);
int config_u64(const struct config *c, const char *path, uint64_t *out, struct err *err);

/* Adds the whole of a source to text. ERR_INPUT above YAML_MAX_BYTES. For YAML files of all kinds. */
int config_slurp(struct source *src, struct buf *text, struct err *err);

#endif
