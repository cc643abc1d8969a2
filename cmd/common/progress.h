/*
 * progress: one line on standard error, rewritten in place, about work that
 * takes over a second. Messages take the line away first (tool_clear).
 */
#ifndef LNN_COMMON_PROGRESS_H
#define LNN_COMMON_PROGRESS_H

#include <stdint.h>

/* what: "adapting", borrowed. Whether anything is shown follows --progress, -q and the terminal. One at a time. */
void progress_start(const char *what);

/* To be called often, with bytes done and in total (0: not known); arg is ignored: it fits the library's callbacks. */
void progress_tick(void *arg, uint64_t done, uint64_t total);

/* Takes the line away. */
void progress_end(void);

#endif
