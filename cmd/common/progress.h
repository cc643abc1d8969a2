/*
 * progress: one line on standard error, rewritten in place, about work that takes more than a second. Messages clear the line first
 * (tool_clear).
 */
#ifndef LNN_COMMON_PROGRESS_H
#define LNN_COMMON_PROGRESS_H

#include <stdint.h>

/*
 * Starts progress reports. what is a borrowed text such as "adapting". --progress, -q and the terminal decide whether anything is
 * shown. Only one report can be active at a time.
 */
void progress_start(const char *what);

/*
 * To be called often. done and total are in bytes; total is 0 if unknown. arg is ignored; it is there to match the library's
 * callbacks.
 */
void progress_tick(void *arg, uint64_t done, uint64_t total);

/* Clears the line. */
void progress_end(void);

#endif
