/*
 * box_set: files that each hold boxes of the same tensors, to be read as one checkpoint. It is handed to its reader as a
 * text (file_set.h), whose first line is one of these.
 */
#ifndef LNN_FORMAT_BOX_SET_H
#define LNN_FORMAT_BOX_SET_H

/* Shards of Hugging Face's writer of torch.distributed.checkpoint; __metadata__ says of which boxes their tensors are. */
#define BOX_SET_SHARDS "shards of a distributed checkpoint\n"

/* Files of torch.save whose tensors are DTensors; that of rank 0 first, then the others in order. */
#define BOX_SET_RANKS "rank files of a distributed checkpoint\n"

#endif
