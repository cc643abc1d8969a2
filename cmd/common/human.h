/*
 * human: numbers as a person likes to read them.
 */
#ifndef LNN_COMMON_HUMAN_H
#define LNN_COMMON_HUMAN_H

#include <stdint.h>

/* Bytes of the longest result of the functions below, with its NUL. */
enum { HUMAN_SIZE = 32 };

/* "999", "12.3k", "86.6M", "7.24G": three digits. Returns out. */
const char *human_count(uint64_t n, char out[HUMAN_SIZE]);

/* "999 B", "12.3 KiB", "1.05 GiB". Returns out. */
const char *human_bytes(uint64_t n, char out[HUMAN_SIZE]);

#endif
