/*
 * models: loads the descriptions that -m names.
 */
#ifndef LNN_COMMON_MODELS_H
#define LNN_COMMON_MODELS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "common/ckpt_in.h"
#include "model/model.h"

/*
 * Loads descriptions into m, which the caller has initialised, in the order of names. A name is that of a built-in description or
 * of a file. The file is a description, or a checkpoint of which names, shapes and dtypes are used. Each load replaces the sections
 * that it has.
 */
int models_load(struct model *m, const char *const *names, size_t n, struct err *err);

/*
 * Loads one file. If it is a checkpoint, in is open afterwards; the caller must close in in any case. If root is set, the file may
 * be a tensor list, and the root of a checkpoint serves as the state dict if no rule selects another place. key is the path of the
 * state dict, or NULL.
 */
int models_open(struct model *m, struct input *in, const char *name, bool root, const char *key, struct err *err);

/*
 * Is name that of a built-in description, or meant as one because it is neither a file nor a path? models_load opens no file for
 * such a name. If there is no such description, its error lists those that exist.
 */
bool models_knows(const char *name);

#endif
