/*
 * operand: a list, a checkpoint or a description, told apart by what is in it, as a sequence of items.
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
	const char *file; /* for messages */
	struct source *src;
	struct input input; /* OPERAND_CKPT */
	struct model model; /* OPERAND_MODEL */
};

struct operand_item {
	struct str raw; /* the line as it goes out, without what ends it */
	const struct entry *entry;
	const char *file;
	uint64_t line; /* 0: of a checkpoint or description */
};

/* name NULL or "-" is standard input; s says -k and -0. operand_close is due in any case. */
int operand_open(struct operand *x, const char *name, const struct tool_settings *s, struct err *e);
void operand_close(struct operand *x); /* of a zeroed operand, too */

/* Called before the list has to be waited for. */
struct operand_reader {
	int (*each)(void *arg, const struct operand_item *item, struct err *e); /* 0, 1 to stop, -1 */
	void (*wait)(void *arg);
	void *arg;
	bool null; /* records end in NUL */
};

/* 0 at the end, 1 if it was stopped, -1. *n counts the items. */
int operand_each(struct operand *x, const struct operand_reader *r, uint64_t *n, struct err *e);

#endif
