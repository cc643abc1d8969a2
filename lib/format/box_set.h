/*
 * box_set: reads files that each hold boxes of the same tensors as one checkpoint. The reader gets the set as a text (file_set.h),
 * whose first line is one of the following.
 */
#ifndef LNN_FORMAT_BOX_SET_H
#define LNN_FORMAT_BOX_SET_H

/* Shards written by Hugging Face's writer for torch.distributed.checkpoint. __metadata__ tells which boxes their tensors are. */
#define BOX_SET_SHARDS "shards of a distributed checkpoint\n"

/* Files of torch.save with DTensors: that of rank 0 first, the others in the order of their ranks. */
#define BOX_SET_RANKS "rank files of a distributed checkpoint\n"

#endif
