/*
 * ckpt_out: a plan becomes a checkpoint: a file or pipe, a folder of shards, or with a dry run a list.
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
	const char *path; /* -o: a file, or with a slash at its end a folder for shards; NULL: standard output */
	uint64_t jobs;
	uint64_t shard_size; /* --max-shard-size; 0: not given */
	const struct input *inputs;
	size_t ninputs;
	const char *what; /* for the progress line: "adapting" */
	bool dry_run;     /* the tensor list of what would be written goes to standard output */
	bool null;        /* with dry_run: the list is names, each ended by NUL */
	bool rehearse;    /* with dry_run: the bytes are made, too, and thrown away */
	/* Called when all but the end of the output is there, so that its failure is in time; may be NULL. */
	int (*ready)(void *arg, struct err *e);
	void *ready_arg;

	/* Set by the functions below. */
	struct seal_opts seal;
	struct sealed sealed;
	char *name; /* of what was written; NULL if it is a folder or a dry run */
};

/*
 * The writer for path: the one called to, else the one of the suffix of path, else the one of the input's own container
 * (torch for legacy). Returns NULL with ERR_USAGE if there is none, or if to and the suffix contradict each other.
 */
const struct format_writer *ckpt_out_writer(const char *to, const char *path, const struct input *in, struct err *e);

/* Does path, or --max-shard-size, ask for a folder of shards? */
bool ckpt_out_is_folder(const char *path, uint64_t shard_size);

/* Seals the plan: as plan_seal. What o points to lives until ckpt_out_write. */
int ckpt_out_seal(struct ckpt_out *m, struct plan *p, const struct seal_opts *o, struct err *e);

/* Writes the sealed plan. Warns of values that overflowed. After a failure no file was made or replaced. */
int ckpt_out_write(struct ckpt_out *m, struct plan *p, struct err *e);

void ckpt_out_release(struct ckpt_out *m);

/* "model-00001-of-00003.safetensors", in the arena; where total is 1, "pytorch_model.bin" or "model.safetensors". */
const char *ckpt_out_shard_name(struct arena *a, const struct format_writer *w, uint32_t number, uint32_t total);

/* "model.safetensors.index.json" */
const char *ckpt_out_index_name(const struct format_writer *w);

#endif
