/*
 * file: operands and -o become sources and sinks.
 */
#ifndef LNN_COMMON_FILE_H
#define LNN_COMMON_FILE_H

#include <stddef.h>

#include "base/err.h"
#include "io/sink.h"
#include "io/source.h"

/* What may be behind a name. */
enum file_kind { FILE_TEXT, FILE_BINARY /* neither read from nor written to a terminal */ };

/*
 * Opens operand; NULL or "-" is standard input, which can be had once only. Streams spool into TMPDIR. The caller
 * closes.
 */
int file_input(const char *operand, enum file_kind kind, struct source **out, struct err *e);

/*
 * file_input for what may be a checkpoint: a folder stands for the checkpoint that it holds (common/ckpt_folder.h), and a
 * notice says which.
 */
int file_checkpoint(const char *operand, enum file_kind kind, struct source **out, struct err *e);

/*
 * Whether n operands (none: standard input) can be read one after the other and their answer go to output: an error if
 * standard output is one of them, which would grow as it is read, or two are standard input. Nothing is opened.
 */
int file_operands(const char *const *operands, size_t n, const char *output, struct err *e);

/*
 * Opens path for writing; NULL or "-" is standard output, which must not be one of the n inputs. Another file may be:
 * it is replaced by sink_commit. The caller commits or aborts.
 */
int file_output(const char *path, enum file_kind kind, struct source *const *inputs, size_t n, struct sink **out, struct err *e);

/* Commits out if rc is 0, else aborts it. Returns rc, or -1. */
int file_end(struct sink *out, int rc, struct err *e);

/* Writes text to path (as file_output), whole or not at all. */
int file_write(const char *path, struct str text, struct err *e);

/*
 * All of a (small) text file, for YAML and the like: *text is a buf's contents. ERR_INPUT if there are more than most
 * bytes.
 */
int file_text(const char *operand, uint64_t most, struct buf *text, struct err *e);

#endif
