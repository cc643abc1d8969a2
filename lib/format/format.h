/*
 * format: the containers. A reader recognises its container by content and fills a
 * ckpt; a writer emits a manifest and then takes the storages' bytes in order.
 * To add a container: one file that defines the const struct format_NAME (or writer_NAME), and one line in
 * FORMAT_READERS (or FORMAT_WRITERS) below.
 */
#ifndef LNN_FORMAT_FORMAT_H
#define LNN_FORMAT_FORMAT_H

#include "base/buf.h"
#include "io/sink.h"
#include "io/source.h"
#include "io/undo.h"
#include "tensor/ckpt.h"
#include "tensor/manifest.h"

enum { FORMAT_PROBE = 512 }; /* bytes a probe may look at */

struct format_reader {
	const char *name;
	/* Does it begin like one of ours? n < FORMAT_PROBE only if the input is shorter. */
	bool (*probe)(const uint8_t *head, size_t n);
	/* Fills c (made by ckpt_new), sets c->ops and c->priv. After a failure ckpt_close(c) is called by the caller. */
	int (*open)(struct ckpt *c, struct err *e);
};

/*
 * The containers that are read, in the order in which they are asked: numpy.savez; torch.save since 1.6 and TorchScript;
 * torch.save before 1.6; safetensors; the index of a sharded set (*.index.json); a distributed checkpoint; files with boxes;
 * numpy.save; pickles of arrays. NAME.c defines format_NAME, npz.c format_npy, too.
 */
#define FORMAT_READERS(line)                                                                                      \
	line(format_npz) line(format_torch_zip) line(format_legacy) line(format_safetensors) line(format_sharded) \
		line(format_distributed) line(format_box_set) line(format_npy) line(format_plain_pickle)

#define FORMAT_DECLARE(name) extern const struct format_reader name;
FORMAT_READERS(FORMAT_DECLARE)
#undef FORMAT_DECLARE

/* How other files of a sharded set are opened: relative to the index. */
struct format_opts {
	const struct diag *diag;
	const struct source_opts *source;
	enum ckpt_salvage salvage; /* see struct ckpt */
};

/*
 * Recognises and opens the checkpoint in src (borrowed, must outlive *out). For anything else the
 * error says what it looks like and what would help (gzip: zcat; a Git LFS pointer: git lfs pull; HTML; GGUF; HDF5;
 * torch tar; empty input).
 */
int format_open(struct ckpt **out, struct source *src, const struct format_opts *opts, struct err *e);

/*
 * What an input that begins like head is, if it is something that people often take for a checkpoint or a list (gzip, a
 * Git LFS pointer, a web page, ...), and what would help: a sentence for a message. NULL for anything else.
 */
const char *format_foreign(const uint8_t *head, size_t n);

/* True if head is that of a checkpoint, of any binary, or of something foreign: then it is no list and no YAML. */
bool format_is_no_text(const uint8_t *head, size_t n);

/* ---- writing */

struct writer;

struct format_writer {
	const char *name; /* "torch", "safetensors", "dcp" */
	bool shares;      /* several tensors may look at one storage; strides are kept */
	bool pickles;     /* takes a tree */
	size_t priv_size;
	bool folder; /* what is written is one file of a folder; the other one goes to writer.beside */
	/*
	 * Cuts the object into items: sets items, nitems and item_of of m, in a. Storages are in no order yet. NULL: it is
	 * written as one.
	 */
	int (*itemise)(struct manifest *m, struct arena *a, struct err *e);
	/* Is every dtype and name sayable? Before any byte is written. */
	int (*check)(const struct manifest *m, struct err *e);
	/* Adds to say what whoever loads the output has to know, if there is anything. NULL: there never is. */
	int (*caveat)(const struct manifest *m, struct buf *say, struct err *e);
	int (*begin)(struct writer *w, struct err *e);                            /* what comes before the first storage */
	int (*storage)(struct writer *w, uint32_t i, struct err *e);              /* what comes before storage i's bytes */
	int (*stored)(struct writer *w, uint32_t i, uint32_t crc, struct err *e); /* what comes behind them */
	int (*finish)(struct writer *w, struct err *e);
	void (*release)(struct writer *w);
	bool needs_crc; /* stored() needs the CRC-32 of the bytes */
	/*
	 * Adds to u what changes in the file of c, so that it holds m, whose storages stay where they are (manifest.kept).
	 * NULL: a file cannot be edited in place.
	 */
	int (*patch)(const struct manifest *m, const struct ckpt *c, struct undo_edit *u, struct err *e);
	/* Position from which bytes must wait for the end; UINT64_MAX: none. Known after begin. */
	uint64_t (*hold)(struct writer *w);
};

/*
 * The containers that are written: torch.save since 1.6; safetensors; a folder of torch.distributed.checkpoint. The file
 * NAME_write.c defines writer_NAME.
 */
#define FORMAT_WRITERS(line) line(writer_torch) line(writer_safetensors) line(writer_dcp)

#define WRITER_DECLARE(name) extern const struct format_writer name;
FORMAT_WRITERS(WRITER_DECLARE)
#undef WRITER_DECLARE

struct writer {
	const struct format_writer *format;
	const struct manifest *m; /* borrowed */
	struct sink *out;         /* borrowed */
	struct sink *beside;      /* of a folder: its other file, which writer_finish writes; borrowed; NULL: it is not written */
	uint32_t next;            /* storage to come */
	uint64_t due;             /* sink position at which the current storage must end */
	void *priv;
};

/* "torch", "safetensors" or "dcp"; NULL if there is none of that name. */
const struct format_writer *format_writer(const char *name);

/*
 * Emits header or data.pkl. Then, for each storage in order: writer_storage, exactly its bytes to the
 * sink, writer_stored. At the end writer_finish; for a folder the caller sets w->beside before. Writing another number of
 * bytes than the manifest says is an error.
 */
int writer_begin(struct writer *w, const struct format_writer *f, const struct manifest *m, struct sink *out, struct err *e);
int writer_storage(struct writer *w, uint32_t i, struct err *e);
int writer_stored(struct writer *w, uint32_t i, uint32_t crc, struct err *e);
int writer_finish(struct writer *w, struct err *e);
void writer_release(struct writer *w);

#endif
