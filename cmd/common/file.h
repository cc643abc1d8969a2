/*
 * file: opens operands as sources and -o as a sink.
 */
#ifndef LNN_COMMON_FILE_H
#define LNN_COMMON_FILE_H

#include <stddef.h>

#include "base/err.h"
#include "io/sink.h"
#include "io/source.h"

/* The kind of data in a file. */
enum file_kind { FILE_TEXT, FILE_BINARY /* neither read from nor written to a terminal */ };

/*
 * Opens operand as a source. NULL or "-" is standard input, which can be opened only once. Streams spool into TMPDIR. The caller
 * closes the source.
 */
int file_input(const char *operand, enum file_kind kind, struct source **out, struct err *err);

/*
 * Like file_input, for operands that may be checkpoints. A folder stands for the checkpoint that it holds (common/ckpt_folder.h); a
 * notice says which file that is.
 */
int file_checkpoint(const char *operand, enum file_kind kind, struct source **out, struct err *err);

/*
 * Checks that n operands (none: standard input) can be read one after the other while results go to output. Fails if standard
 * output is one of the operands, which would then grow while it is read, or if two of them are standard input. Opens nothing.
 */
int file_operands(const char *const *operands, size_t n, const char *output, struct err *err);

/*
 * Opens path for writing. NULL or "-" is standard output, which must not be one of the n inputs. A named file may be one of them,
 * because sink_commit replaces it. The caller commits or aborts the sink.
 */
int file_output(const char *path, enum file_kind kind, struct source *const *inputs, size_t n, struct sink **out, struct err *err);

/* Commits out if rc is 0, else aborts it. Returns rc, or -1 if the commit fails. */
int file_end(struct sink *out, int rc, struct err *err);

/* Writes text to path (see file_output). The file is written completely or not at all. */
int file_write(const char *path, struct str text, struct err *err);

/* Reads all of a small text file, such as YAML, into text. Fails with ERR_INPUT if it has more than most bytes. */
int file_text(const char *operand, uint64_t most, struct buf *text, struct err *err);

#endif
