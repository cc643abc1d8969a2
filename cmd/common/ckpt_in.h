/*
 * ckpt_in: operands become open checkpoints with their state dicts.
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

/* Is an input that begins like head a checkpoint, or any other binary? An index of a sharded checkpoint is text. */
bool input_probe(const uint8_t *head, size_t n);

/* operand as for file_checkpoint; key as for statedict_open. input_close is due in either case. */
int input_open(struct input *in, const char *operand, const char *key, struct err *e);

/* Like input_open, for an open source and the place that ask names (tensor/place.h). in owns src afterwards. */
int input_open_source(struct input *in, struct source *src, const struct place_ask *ask, struct err *e);

/* The same without a state dict. */
int input_open_index(struct input *in, struct source *src, struct err *e);

/*
 * Reads a stream to its end, so that damage there is noticed and the program that writes it can finish. Of a file it
 * checks that it has not changed since it was opened.
 */
int input_finish(const struct input *in, struct err *e);

/* Closes what is open; in may be zeroed. */
void input_close(struct input *in);

/*
 * Says in a notice that the tensors of an open input are boxes of larger ones, or parts of one rank. Those that do not say
 * what they are pieces of (ZeRO, FSDP 1) are refused, or said in a notice if the caller only lists them.
 */
int input_check_pieces(const struct input *in, bool lists, struct err *e);

#endif
