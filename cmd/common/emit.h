/*
 * emit: the second half of a program that writes a checkpoint: a plan is sealed, an output opened, the bytes pumped,
 * the output committed. And the first half: operands become open state dicts.
 */
#ifndef LNN_COMMON_EMIT_H
#define LNN_COMMON_EMIT_H

#include "base/err.h"
#include "write/pump.h"

/* An open checkpoint and its state dict. */
struct input {
	struct source *src;
	struct ckpt *ckpt;
	struct statedict sd;
};

/* operand as for file_input; key as for statedict_open. input_close is due in either case. */
int input_open(struct input *in, const char *operand, const char *key, struct err *e);
/* The same for a source opened already, which in takes over. */
int input_open_source(struct input *in, struct source *src, const char *key, struct err *e);
void input_close(struct input *in); /* of a zeroed struct input, too */

/* The writer called to; NULL: the one of the input's own container, torch for legacy. */
const struct format_writer *emit_writer(const char *to, const struct ckpt *c, struct err *e);

struct emit {
	const struct input *inputs;
	size_t ninputs;
	const char *what; /* for the progress line: "adapting" */
	bool dry_run;     /* the tensor list of what would be written goes to standard output */
	bool rehearse;    /* with dry_run: the bytes are made, too, and thrown away */
	/* Called when all but the end of the output is there, so that its failure is in time; may be NULL. */
	int (*ready)(void *arg, struct err *e);
	void *ready_arg;
	char *output; /* set by emit_run: the name of what was written; the caller frees it */
};

/*
 * Writes a sealed plan to -o or standard output, with -j threads. Warns of values that overflowed. After a failure
 * no file was made or replaced.
 */
int emit_run(struct emit *m, struct plan *p, const struct sealed *s, struct err *e);

#endif
