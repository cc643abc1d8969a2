/*
 * models: what -m names becomes one description.
 */
#ifndef LNN_COMMON_MODELS_H
#define LNN_COMMON_MODELS_H

#include <stddef.h>

#include "base/err.h"
#include "model/model.h"

/*
 * Loads names in order over m (initialised by the caller): a built-in description, else a file: a description, or a
 * checkpoint, which serves for its names, shapes and dtypes. Each replaces the sections that it has.
 */
int models_load(struct model *m, const char *const *names, size_t n, struct err *e);

#endif
