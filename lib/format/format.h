/*
 * format: the containers. A reader recognises its container by content and fills a ckpt. A writer writes what precedes the storages
 * of a manifest, and then takes the bytes of the storages in order. To add a container, write one file that defines the const
 * struct format_NAME (or writer_NAME), and add one line to FORMAT_READERS (or FORMAT_WRITERS) below.
 */
#ifndef LNN_FORMAT_FORMAT_H
#define LNN_FORMAT_FORMAT_H

#include "base/buf.h"
#include "io/sink.h"
#include "io/source.h"
#include "io/undo.h"
#include "tensor/ckpt.h"
#include "tensor/manifest.h"

enum { FORMAT_PROBE = 512 }; /* number of bytes that a probe may look at */

/* The end of a message about a file that is cut off. */
#define SALVAGE_HINT " (lnn-ckpt-adapt --salvage writes what is whole)"

struct format_reader {
	const char *name;
	/* Returns true if head begins a file of this format. n < FORMAT_PROBE only if the input is shorter. */
	bool (*probe)(const uint8_t *head, size_t n);
	/* Fills c (made by ckpt_new) and sets c->ops and c->priv. After a failure the caller calls ckpt_close(c). */
	int (*open)(struct ckpt *c, struct err *err);
};

/*
 * The containers that are read, in the order of their probes: numpy.savez; torch.save since 1.6 and TorchScript; torch.save before
 * 1.6; safetensors; the index of a sharded set (*.index.json); a distributed checkpoint; files with boxes; numpy.save; pickles of
 * arrays. NAME.c defines format_NAME; npz.c also defines format_npy.
 */
#define FORMAT_READERS(line)                                                                                      \
	line(format_npz) line(format_torch_zip) line(format_legacy) line(format_safetensors) line(format_sharded) \
		line(format_distributed) line(format_box_set) line(format_npy) line(format_plain_pickle)

#define FORMAT_DECLARE(name) extern const struct format_reader name;
FORMAT_READERS(FORMAT_DECLARE)
#undef FORMAT_DECLARE

/* How to open a checkpoint. source is used for other files of a sharded set. */
struct format_opts {
	const struct diag *diag;
	const struct source_opts *source;
	enum ckpt_salvage salvage; /* see struct ckpt */
};

/*
 * Recognises and opens the checkpoint in src, which is borrowed and must outlive *out. For any other input the error says what it
 * looks like and what may help (gzip: zcat; a Git LFS pointer: git lfs pull; HTML; GGUF; HDF5; torch tar; empty input).
 */
int format_open(struct ckpt **out, struct source *src, const struct format_opts *opts, struct err *err);

/*
 * If head begins something that is often mistaken for a checkpoint or a list (gzip, a Git LFS pointer, a web page, ...), returns a
 * sentence for messages that says what it is and what may help. Returns NULL otherwise.
 */
const char *format_foreign(const uint8_t *head, size_t n);

/*
 * Returns true if head begins a checkpoint, another binary file, or something that format_foreign knows: it is neither a list nor
 * YAML.
 */
bool format_is_no_text(const uint8_t *head, size_t n);

/* ---- writing */

struct writer;

struct format_writer {
	const char *name; /* "torch", "safetensors", "dcp" */
	bool shares;      /* several tensors may refer to one storage, and strides are kept */
	bool pickles;     /* writes a tree */
	size_t priv_size;
	bool folder; /* writes one file of a folder to the sink, and another one to writer.beside */
	/*
	 * Divides the object into items: sets items, nitems and item_of of m, allocated from a. Storages are not sorted yet. NULL:
	 * the object is written as a whole.
	 */
	int (*itemise)(struct manifest *m, struct arena *a, struct err *err);
	/* Checks, before any byte is written, that every dtype and name can be written. */
	int (*check)(const struct manifest *m, struct err *err);
	/* Appends to say what a user of the output must know, if there is something. NULL: there never is. */
	int (*caveat)(const struct manifest *m, struct buf *say, struct err *err);
	int (*begin)(struct writer *w, struct err *err);               /* writes what precedes the first storage */
	int (*storage)(struct writer *w, uint32_t i, struct err *err); /* writes what precedes the bytes of storage i */
	int (*stored)(struct writer *w, uint32_t i, uint32_t crc, struct err *err); /* writes what follows them */
	int (*finish)(struct writer *w, struct err *err);
	void (*release)(struct writer *w);
	bool needs_crc; /* stored() needs the CRC-32 of the bytes */
	/*
	 * Adds to u the changes that make the file of c hold m, whose storages stay in place (manifest.kept). NULL: a file of this
	 * format cannot be edited in place.
	 */
	int (*patch)(const struct manifest *m, const struct ckpt *c, struct undo_edit *u, struct err *err);
	/* Returns the position from which bytes must be held until commit, or UINT64_MAX. Valid after begin. */
	uint64_t (*hold)(struct writer *w);
};

/*
 * The containers that are written: torch.save since 1.6; safetensors; a folder of torch.distributed.checkpoint. NAME_write.c
 * defines writer_NAME.
 */
#define FORMAT_WRITERS(line) line(writer_torch) line(writer_safetensors) line(writer_dcp)

#define WRITER_DECLARE(name) extern const struct format_writer name;
FORMAT_WRITERS(WRITER_DECLARE)
#undef WRITER_DECLARE

struct writer {
	const struct format_writer *format;
	const struct manifest *m; /* borrowed */
	struct sink *out;         /* borrowed */
	struct sink *beside;      /* other file of a folder, written by writer_finish; borrowed; NULL: not written */
	uint32_t next;            /* number of the next storage */
	uint64_t due;             /* sink position at which the current storage must end */
	void *priv;
};

/* Returns the writer called "torch", "safetensors" or "dcp", or NULL if name is none of these. */
const struct format_writer *format_writer(const char *name);

/*
 * writer_begin writes the header or data.pkl. Then the caller, for each storage in order, calls writer_storage, writes exactly its
 * bytes to the sink, and calls writer_stored. Finally it calls writer_finish; for a folder it must set w->beside before. It is an
 * error to write a number of bytes that differs from the manifest.
 */
int writer_begin(struct writer *w, const struct format_writer *f, const struct manifest *m, struct sink *out, struct err *err);
int writer_storage(struct writer *w, uint32_t i, struct err *err);
int writer_stored(struct writer *w, uint32_t i, uint32_t crc, struct err *err);
int writer_finish(struct writer *w, struct err *err);
void writer_release(struct writer *w);

#endif
