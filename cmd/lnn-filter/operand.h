/*
 * operand: reads a list, a checkpoint or a description as a sequence of items. The format is recognised by content.
 */
#ifndef LNN_FILTER_OPERAND_H
#define LNN_FILTER_OPERAND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ckpt_in.h"
#include "common/tool.h"
#include "model/entry.h"
#include "model/model.h"

enum operand_kind { OPERAND_LIST, OPERAND_CKPT, OPERAND_MODEL };

struct operand {
	enum operand_kind kind;
	const char *file; /* name for messages */
	struct source *src;
	struct input input; /* with OPERAND_CKPT */
	struct model model; /* with OPERAND_MODEL */
};

struct operand_item {
	struct str raw; /* the line to print, without its terminator */
	const struct entry *entry;
	const char *file;
	uint64_t line; /* line number; 0 for items of a checkpoint or description */
};

/* Opens an operand. NULL or "-" is standard input. s provides -k and -0. The caller must call operand_close even after an error. */
int operand_open(struct operand *x, const char *name, const struct tool_settings *s, struct err *err);
void operand_close(struct operand *x); /* x may be all zero. */

/* wait is called before waiting for input. */
struct operand_reader {
	int (*each)(void *arg, const struct operand_item *item, struct err *err); /* returns 0, 1 to stop, or -1 */
	void (*wait)(void *arg);
	void *arg;
	bool null; /* NUL ends records of a list */
};

/* Passes all items to r->each. Returns 0 at the end, 1 if it was stopped, or -1. Adds the number of items to *n. */
int operand_each(struct operand *x, const struct operand_reader *r, uint64_t *n, struct err *err);

#endif
