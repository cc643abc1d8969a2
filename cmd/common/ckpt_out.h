/*
 * ckpt_out: writes a plan as a checkpoint: to a file or pipe, to a folder of shards, or as a list in a dry run.
 *
 *	struct ckpt_out out = { .path = settings->output, .jobs = settings->jobs, ... };
 *
 *	seal.writer = ckpt_out_writer(to, settings->output, &inputs[0], err);
 *	if (seal.writer != NULL && ckpt_out_seal(&out, &plan, &seal, err) == 0)
 *		rc = ckpt_out_write(&out, &plan, err);
 *	ckpt_out_release(&out);
 */
#ifndef LNN_COMMON_CKPT_OUT_H
#define LNN_COMMON_CKPT_OUT_H

#include "base/err.h"
#include "common/ckpt_in.h"
#include "write/pump.h"

struct ckpt_out {
	const char *path; /* -o: a file, or a folder for shards if it ends with a slash; NULL: standard output */
	uint64_t jobs;
	uint64_t shard_size; /* --max-shard-size; 0: not given */
	const struct input *inputs;
	size_t ninputs;
	const char *what; /* for the progress line: "adapting" */
	bool dry_run;     /* only print the tensor list of the output on standard output */
	bool null;        /* with dry_run: print only names, each ended by NUL */
	bool rehearse;    /* with dry_run: also make the bytes, and discard them */
	/*
	 * Called when all but the end of the output is written, so that the output can still be abandoned if it fails. May be NULL.
	 */
	int (*ready)(void *arg, struct err *err);
	void *ready_arg;

	/* Set by the functions below. */
	struct seal_opts seal;
	struct sealed sealed;
	char *name; /* name of the file that was written; NULL for a folder or a dry run */
};

/*
 * Chooses the writer: the one named to; else the one for the suffix of path; else the one for the container of the input (torch for
 * legacy). Returns NULL with ERR_USAGE if there is none, or if to and the suffix contradict each other.
 */
const struct format_writer *ckpt_out_writer(const char *to, const char *path, const struct input *in, struct err *err);

/* Do path or --max-shard-size request a folder of shards? */
bool ckpt_out_is_folder(const char *path, uint64_t shard_size);

/* Seals the plan like seal_file with file 0. What o points to must live until ckpt_out_write. */
int ckpt_out_seal(struct ckpt_out *m, struct plan *p, const struct seal_opts *o, struct err *err);

/* Writes the sealed plan. Warns of values that overflowed. After a failure no file has been created or replaced. */
int ckpt_out_write(struct ckpt_out *m, struct plan *p, struct err *err);

void ckpt_out_release(struct ckpt_out *m);

/*
 * Returns "model-00001-of-00003.safetensors" or the like, in the arena. If total is 1, returns "pytorch_model.bin" or
 * "model.safetensors".
 */
const char *ckpt_out_shard_name(struct arena *a, const struct format_writer *w, uint32_t number, uint32_t total);

/* Returns "model.safetensors.index.json" or "pytorch_model.bin.index.json". */
const char *ckpt_out_index_name(const struct format_writer *w);

#endif
