/*
 * models: what -m names becomes one description.
 */
#ifndef LNN_COMMON_MODELS_H
#define LNN_COMMON_MODELS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "common/ckpt_in.h"
#include "model/model.h"

/*
 * Loads names in order over m (initialised by the caller): a built-in description, else a file: a description, or a
 * checkpoint, which serves for its names, shapes and dtypes. Each replaces the sections that it has.
 */
int models_load(struct model *m, const char *const *names, size_t n, struct err *e);

/*
 * The same of one file. If it is a checkpoint, in is open afterwards, and is to be closed in any case. root: where no rule
 * says which value of it is the state dict, the root will do; and the file may be a tensor list. key: of the state dict, or
 * NULL.
 */
int models_open(struct model *m, struct input *in, const char *name, bool root, const char *key, struct err *e);

/*
 * Is name that of a built-in description, or meant to be (neither a file nor like one)? Then models_load opens no file
 * for it; if there is no such description its error lists those that there are.
 */
bool models_knows(const char *name);

#endif
