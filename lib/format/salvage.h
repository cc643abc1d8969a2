/*
 * salvage: finds the intact tensors of a checkpoint that is cut off or damaged. It must have been opened with format_opts.salvage.
 */
#ifndef LNN_FORMAT_SALVAGE_H
#define LNN_FORMAT_SALVAGE_H

#include "tensor/ckpt.h"

/* The state of a storage. The state of a tensor or other value is the worst state of its storages. */
enum salvage_state {
	SALVAGE_WHOLE,    /* the CRC matches the bytes */
	SALVAGE_UNPROVED, /* all bytes exist, but there is no CRC */
	SALVAGE_DAMAGED,  /* the CRC does not match */
	SALVAGE_MISSING,  /* bytes are missing */
};

struct salvage {
	struct ckpt *c;
	uint8_t *states; /* enum salvage_state, by storage */
	uint64_t saved;  /* total size of the storages that are not lost */
	bool loses;      /* a storage, or something that the container reports, is lost or damaged */
	/* Set by salvage_take_out: */
	uint64_t kept, unproved, lost; /* numbers of tensors, counted by name */
};

/* Reads all storages of c. The caller must call salvage_release. */
void salvage_read(struct salvage *s, struct ckpt *c);
void salvage_release(struct salvage *s);

/*
 * Removes lost values from the tree, or lost tensors from the list. In a list or tuple they become None. An object made from
 * something lost is lost, too. Each loss, and each tensor without a CRC, is reported to diag.
 */
void salvage_take_out(struct salvage *s, const struct diag *diag);

#endif
