/*
 * readers: the containers there are, for the table in format.c. Each is defined in the file of its name.
 */
#ifndef LNN_FORMAT_READERS_H
#define LNN_FORMAT_READERS_H

#include "format/format.h"

extern const struct format_reader format_torch_zip;   /* torch.save since 1.6, TorchScript */
extern const struct format_reader format_legacy;      /* torch.save before 1.6 */
extern const struct format_reader format_safetensors;
extern const struct format_reader format_sharded;     /* *.index.json */

extern const struct format_writer writer_torch;
extern const struct format_writer writer_safetensors;

#endif
