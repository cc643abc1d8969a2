/*
 * ckpt_in: opens operands as checkpoints with their state dicts.
 */
#ifndef LNN_COMMON_CKPT_IN_H
#define LNN_COMMON_CKPT_IN_H

#include "base/err.h"
#include "format/format.h"
#include "io/source.h"
#include "tensor/ckpt.h"

struct place_ask;

/* An open checkpoint and its state dict. */
struct input {
	struct source *src;
	struct ckpt *ckpt;
	struct statedict sd;
};

/*
 * Is an input with this beginning a checkpoint or another binary file? The index of a sharded checkpoint, which is text, counts as
 * a checkpoint.
 */
bool input_probe(const uint8_t *head, size_t n);

/*
 * Opens the checkpoint at operand (see file_checkpoint) and its state dict at key (see statedict_open). The caller must call
 * input_close even after an error.
 */
int input_open(struct input *in, const char *operand, const char *key, struct err *err);

/* Like input_open, for an open source and the place that ask describes (tensor/place.h). in owns src, even after an error. */
int input_open_source(struct input *in, struct source *src, const struct place_ask *ask, struct err *err);

/* Like input_open_source, but opens no state dict. */
int input_open_index(struct input *in, struct source *src, struct err *err);

/*
 * Reads a stream to its end, so that damage is detected and the writing program can finish. Checks that a file has not changed
 * since it was opened.
 */
int input_finish(const struct input *in, struct err *err);

/* Closes what is open. in may be all zero. */
void input_close(struct input *in);

/*
 * Prints a notice if the tensors of an open input are boxes of larger tensors or parts of one rank. Fails for tensors that do not
 * say which part of which parameter they are (ZeRO, FSDP 1). If lists is set, the caller only lists them, and they too are reported
 * by a notice only.
 */
int input_check_pieces(const struct input *in, bool lists, struct err *err);

#endif
