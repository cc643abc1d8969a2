/*
 * salvage: which tensors of a checkpoint that is cut off or damaged are whole. It was opened with format_opts.salvage.
 */
#ifndef LNN_FORMAT_SALVAGE_H
#define LNN_FORMAT_SALVAGE_H

#include "tensor/ckpt.h"

/* The worst of what a tensor is made of counts. */
enum salvage_state {
	SALVAGE_WHOLE,    /* the CRC is that of the bytes */
	SALVAGE_UNPROVED, /* all bytes are there, but no CRC is */
	SALVAGE_DAMAGED,  /* the CRC is another one */
	SALVAGE_MISSING,  /* bytes are missing */
};

struct salvage {
	struct ckpt *c;
	uint8_t *states; /* enum salvage_state, by storage */
	uint64_t saved;  /* bytes of the storages that are not lost */
	bool loses;      /* a storage, or what the container knows to be lost or damaged */
	/* Counted by salvage_take_out: */
	uint64_t kept, unproved, lost; /* tensors, by the names that they have */
};

/* Reads all storages of c. salvage_release is due. */
void salvage_read(struct salvage *s, struct ckpt *c);
void salvage_release(struct salvage *s);

/*
 * Takes what is lost out of the tree of the checkpoint, or out of its tensors. In a list or tuple it becomes None. An object
 * that was made of something lost is lost. Each loss, and each tensor that is not proved, is told to diag.
 */
void salvage_take_out(struct salvage *s, const struct diag *diag);

#endif
