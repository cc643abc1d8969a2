/*
 * heat: draws a position table as a picture in the terminal, one square for each head. For embeddings it draws norms.
 */
#ifndef LNN_COMMON_HEAT_H
#define LNN_COMMON_HEAT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "position/picture.h"

struct heat {
	struct buf text;
	bool to_stdout; /* draw on standard output; otherwise on standard error, because standard output has the checkpoint */
	bool color;
	size_t width; /* columns of the terminal */
};

void heat_init(struct heat *h, bool to_stdout);

/* Draws a table. May be used as struct tables_opts.show; arg points to a struct heat. */
void heat_table(void *arg, const struct table_picture *p);

/* Prints what was drawn, unless e is set. Frees it in any case. */
int heat_end(struct heat *h, struct err *err);

#endif
