/*
 * zip_end: the records behind a zip's central directory. Shared by the files of zip only.
 */
#ifndef LNN_ZIP_END_H
#define LNN_ZIP_END_H

#include <stdint.h>

#include "base/diag.h"
#include "base/err.h"
#include "io/source.h"

struct zip_end {
	uint64_t n;           /* entries */
	uint64_t start, size; /* of the directory */
	uint64_t at;          /* where the first of these records begins */
	uint64_t record;      /* where the last of them (the end record) begins */
	uint64_t end;         /* behind the last, comment included */
};

/* Finds the records at the end of an input of that size. */
int zip_end_find(struct source *src, uint64_t size, struct zip_end *z, struct err *e);

/* Tells diag of bytes between end and size. */
void zip_trailing(const struct source *src, const struct diag *diag, uint64_t end, uint64_t size);

/* Reads those that begin at off. */
int zip_end_read(struct source *src, uint64_t off, struct zip_end *z, struct err *e);

#endif
