/*
 * human: formats numbers for people.
 */
#ifndef LNN_COMMON_HUMAN_H
#define LNN_COMMON_HUMAN_H

#include <stdint.h>

/* Size of the longest result of the functions below, including its NUL. */
enum { HUMAN_SIZE = 32 };

/* Formats "999", "12.3k", "86.6M" or "7.24G", with three digits. Returns out. */
const char *human_count(uint64_t n, char out[HUMAN_SIZE]);

/* Formats "999 B", "12.3 KiB" or "1.05 GiB". Returns out. */
const char *human_bytes(uint64_t n, char out[HUMAN_SIZE]);

#endif
