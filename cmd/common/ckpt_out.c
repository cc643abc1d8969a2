#include "common/ckpt_out.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "common/file.h"
#include "common/out.h"
#include "common/progress.h"
#include "common/tool.h"
#include "format/shard_index.h"
#include "io/atomic.h"
#include "model/list.h"
#include "plan/tables.h"
#include "write/split.h"

/* The default of huggingface_hub, in bytes. */
static const uint64_t shard_size_default = 5000000000;

/*
 * The formats that suffixes stand for. torch.load, too, recognises safetensors by the suffix; other libraries go by the other
 * suffixes.
 */
static const struct {
	const char *suffix, *to; /* to is NULL for a format that cannot be written */
} suffixes[] = {
	{ ".safetensors", "safetensors" },
	{ ".pth", "torch" },
	{ ".pt", "torch" },
	{ ".bin", "torch" },
	{ ".ckpt", "torch" },
	{ ".npz", NULL },
	{ ".npy", NULL },
	{ ".h5", NULL },
	{ ".hdf5", NULL },
	{ ".gguf", NULL },
	{ ".onnx", NULL },
	{ ".msgpack", NULL },
	{ ".tflite", NULL },
	{ ".distcp", NULL },
	{ ".metadata", NULL },
	{ ".json", NULL },
};

/* Returns the index in suffixes of the suffix of path, or -1 if path has none of them. */
static int
find_suffix(const char *path)
{
	for (size_t i = 0; path != NULL && i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (str_ends(str_c(path), str_c(suffixes[i].suffix)))
			return (int)i;
	return -1;
}

const struct format_writer *
ckpt_out_writer(const char *to, const char *path, const struct input *in, struct err *err)
{
	const int suffix = find_suffix(path);
	const char *by_suffix = suffix < 0 ? NULL : suffixes[suffix].to;
	const struct format_writer *w = to == NULL ? NULL : format_writer(to);

	if (to != NULL && w == NULL) {
		err_set(err, ERR_USAGE, "--to: torch, safetensors or dcp was expected, not %s", to);
		return NULL;
	}
	if (suffix >= 0 && by_suffix == NULL) {
		err_set(err, ERR_USAGE, "-o %s: %s files cannot be written; .pth means torch, .safetensors means safetensors", path,
			suffixes[suffix].suffix);
		return NULL;
	}
	if (to != NULL && by_suffix != NULL && strcmp(to, by_suffix) != 0) {
		err_set(err, ERR_USAGE, "--to %s: -o %s has the suffix of %s", to, path, by_suffix);
		return NULL;
	}
	if (w != NULL && w->folder && (path == NULL || strcmp(path, "-") == 0)) {
		err_set(err, ERR_USAGE, "--to %s: the output is a folder: -o DIR/", to);
		return NULL;
	}
	if (w == NULL && by_suffix != NULL)
		w = format_writer(by_suffix);
	return w != NULL ? w : format_writer(in->ckpt->tree == NULL ? "safetensors" : "torch");
}

/* ---- progress, in bytes of the inputs */

struct meter {
	uint64_t done, total;
};

static void
tick(void *arg, uint64_t bytes)
{
	struct meter *m = arg;

	m->done += bytes;
	progress_tick(NULL, m->done, m->total);
}

static uint64_t
input_bytes(const struct ckpt_out *m)
{
	uint64_t n = 0;

	for (size_t i = 0; i < m->ninputs; i++)
		for (uint32_t s = 0; s < m->inputs[i].ckpt->nstorages; s++)
			n += m->inputs[i].ckpt->storages[s].packed;
	return n;
}

static void
warn_lost(uint64_t lost)
{
	if (lost > 0)
		tool_warn("%" PRIu64 " finite %s too large for the new dtype", lost, lost == 1 ? "value is" : "values are");
}

/* Writes the plan to out. beside is NULL except for a folder format (format.h). */
static int
pump(struct ckpt_out *m, struct sink *out, struct sink *beside, struct err *err)
{
	struct meter meter = { 0, input_bytes(m) };
	struct pump_opts o = { .beside = beside, .tick = tick, .tick_arg = &meter, .ready = m->ready, .ready_arg = m->ready_arg };
	uint64_t lost;
	int rc;

	o.pool = pool_new((unsigned)m->jobs);
	progress_start(m->what);
	rc = plan_pump(&m->sealed, out, &o, &lost, err);
	progress_end();
	pool_free(o.pool);
	if (rc == 0)
		warn_lost(lost);
	return rc;
}

/* ---- a dry run */

static int
list(const struct plan *p, bool null, struct err *err)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	const struct plan_entry *en;
	struct buf b = BUF_INIT;
	struct entry line;
	enum dtype dtype;
	unsigned ndim;
	struct out o;

	if (out_open(&o, NULL, err) != 0)
		return -1;
	for (en = plan_next(p, NULL); en != NULL && !out_failed(&o); en = plan_next(p, en)) {
		if (plan_tensor(p, en) == NULL)
			continue;
		plan_shape(p, en, &dtype, shape, &ndim);
		line = entry_of_tensor(en->name, plan_tensor(p, en));
		line.shape = shape;
		line.ndim = (uint8_t)ndim;
		line.dtype = (uint8_t)dtype;
		buf_clear(&b);
		if (list_put(&b, &line, null ? LIST_NULL : LIST_NEWLINE, err) != 0)
			break;
		out_write(&o, b.p, b.len);
	}
	buf_release(&b);
	if (err->code == ERR_NONE)
		return out_end(&o, err);
	out_abort(&o);
	return -1;
}

static int
dry_run(struct ckpt_out *m, struct plan *p, struct err *err)
{
	struct sink *out;
	int rc = 0;

	if (m->rehearse) {
		out = sink_memory(NULL, "nothing");
		rc = pump(m, out, NULL, err);
		sink_abort(out);
		return rc == 0 ? list(p, m->null, err) : -1;
	}
	rc = plan_learn_all(p, err);
	/* If an input is truncated, a dry run fails as the real run would. */
	for (size_t i = 0; rc == 0 && i < m->ninputs; i++)
		rc = input_finish(&m->inputs[i], err) < 0 ? -1 : ckpt_check_index(m->inputs[i].ckpt, err);
	if (rc == 0 && m->ready != NULL)
		rc = m->ready(m->ready_arg, err);
	return rc == 0 ? list(p, m->null, err) : -1;
}

/* ---- a file or pipe */

static int
write_file(struct ckpt_out *m, struct err *err)
{
	struct source **sources = xcalloc(m->ninputs, sizeof(struct source *));
	struct sink *out;
	int rc;

	for (size_t i = 0; i < m->ninputs; i++)
		sources[i] = m->inputs[i].src;
	rc = file_output(m->path, FILE_BINARY, sources, m->ninputs, &out, err);
	free(sources);
	if (rc != 0)
		return -1;
	m->name = xstrdup(sink_name(out));
	return file_end(out, pump(m, out, NULL, err), err);
}

/* ---- folders */

/* A folder is written as a temporary folder until it is complete. Changes a message about a file in it to name the final folder. */
static void
name_as_meant(const struct ckpt_out *m, const struct atomic *folder, struct err *err)
{
	const char *temp = atomic_path(folder), *meant = m->path;
	size_t n = strlen(temp), len = strlen(meant);
	const struct err own = *err;

	if (strncmp(own.msg, temp, n) != 0 || own.msg[n] != '/')
		return;
	while (len > 1 && meant[len - 1] == '/')
		len--;
	snprintf(err->msg, sizeof(err->msg), "%.*s%s", (int)len, meant, own.msg + n);
}

/* Commits a folder if rc is 0, else aborts it. */
static int
end_folder(const struct ckpt_out *m, struct atomic *folder, int rc, struct err *err)
{
	if (rc == 0)
		return atomic_commit(folder, err);
	name_as_meant(m, folder, err);
	atomic_abort(folder);
	return -1;
}

/* ---- a distributed folder: __0_0.distcp, then .metadata */

static int
pump_items(struct ckpt_out *m, const char *path, struct sink *metadata, struct err *err)
{
	struct sink *out;

	if (sink_file(&out, path, err) != 0)
		return -1;
	return file_end(out, pump(m, out, metadata, err), err);
}

static int
write_distributed(struct ckpt_out *m, struct err *err)
{
	struct arena names = ARENA_INIT;
	struct atomic *folder;
	struct sink *out;
	int rc;

	if (atomic_folder(&folder, m->path, err) != 0)
		return -1;
	rc = sink_file(&out, arena_printf(&names, "%s/.metadata", atomic_path(folder)), err);
	if (rc == 0)
		rc = file_end(out, pump_items(m, arena_printf(&names, "%s/__0_0.distcp", atomic_path(folder)), out, err), err);
	arena_release(&names);
	return end_folder(m, folder, rc, err);
}

/* ---- a folder of shards */

const char *
ckpt_out_shard_name(struct arena *a, const struct format_writer *w, uint32_t number, uint32_t total)
{
	const char *stem = w->pickles ? "pytorch_model" : "model", *suffix = w->pickles ? ".bin" : ".safetensors";

	if (total == 1)
		return arena_printf(a, "%s%s", stem, suffix);
	return arena_printf(a, "%s-%05u-of-%05u%s", stem, number, total, suffix);
}

const char *
ckpt_out_index_name(const struct format_writer *w)
{
	return w->pickles ? "pytorch_model.bin.index.json" : "model.safetensors.index.json";
}

bool
ckpt_out_is_folder(const char *path, uint64_t shard_size)
{
	return shard_size != 0 || (path != NULL && path[0] != '\0' && path[strlen(path) - 1] == '/');
}

/* State of writing shards. */
struct shards {
	struct ckpt_out *m;
	struct plan *p;
	struct split split;
	struct atomic *folder;
	struct pool *pool;
	struct arena arena; /* file names */
	uint64_t total, lost;
};

static int
pump_shard(struct shards *s, const struct sealed *sealed, const char *path, struct err *err)
{
	struct pump_opts po = { .pool = s->pool };
	struct sink *out;
	uint64_t lost = 0;
	int rc;

	if (sink_part(&out, path, err) != 0)
		return -1;
	rc = plan_pump(sealed, out, &po, &lost, err);
	s->lost += lost;
	return file_end(out, rc, err);
}

static int
write_shard(struct shards *s, struct seal *seal, uint32_t k, struct err *err)
{
	const char *name = ckpt_out_shard_name(&s->arena, s->m->seal.writer, k, s->split.n);
	struct sealed sealed;
	int rc = seal_file(seal, k, &sealed, err);

	if (rc == 0)
		rc = pump_shard(s, &sealed, arena_printf(&s->arena, "%s/%s", atomic_path(s->folder), name), err);
	s->total += sealed.bytes;
	sealed_release(&sealed);
	return rc;
}

/* Writes the index, which lists the tensors in the order of the plan. */
static int
write_index(struct shards *s, struct err *err)
{
	const struct format_writer *w = s->m->seal.writer;
	const struct plan *p = s->p;
	struct str *names = arena_calloc(&s->arena, p->nentries, sizeof(*names));
	const char **files = arena_calloc(&s->arena, p->nentries, sizeof(*files));
	struct buf text = BUF_INIT;
	size_t n = 0;
	int rc;

	for (size_t i = 0; i < p->nentries; i++) {
		names[n] = plan_listed_name(p, w->pickles ? &s->split.containers : NULL, i);
		if (names[n].p == NULL)
			continue;
		files[n++] = ckpt_out_shard_name(&s->arena, w, s->split.shard[i], s->split.n);
	}
	shard_index_write(&text, names, files, n, s->total);
	rc = file_write(arena_printf(&s->arena, "%s/%s", atomic_path(s->folder), ckpt_out_index_name(w)), buf_str(&text), err);
	buf_release(&text);
	return rc;
}

static int
write_shards(struct shards *s, struct err *err)
{
	struct seal_opts so = s->m->seal;
	struct seal *seal;
	int rc = 0;

	so.split = &s->split;
	seal = seal_new(s->p, &so);
	for (uint32_t k = 1; rc == 0 && k <= s->split.n; k++)
		rc = write_shard(s, seal, k, err);
	seal_free(seal);
	return rc == 0 && s->split.n > 1 ? write_index(s, err) : rc;
}

static int
write_folder(struct ckpt_out *m, struct plan *p, struct err *err)
{
	struct shards s = { .m = m, .p = p, .arena = ARENA_INIT };
	int rc;

	if (m->path == NULL || strcmp(m->path, "-") == 0)
		return err_set(err, ERR_USAGE, "--max-shard-size: shards go into a folder: -o DIR/");
	if (find_suffix(m->path) >= 0)
		return err_set(err, ERR_USAGE,
			       "--max-shard-size: shards go into a folder, but %s has the suffix of a file: -o DIR/", m->path);
	if (m->seal.shape != SEAL_BARE)
		return err_set(err, ERR_USAGE,
			       "shards hold only state dicts: --under, --carry and --carry-all do not go with them");
	if (atomic_folder(&s.folder, m->path, err) != 0)
		return -1;
	plan_split(p, m->shard_size != 0 ? m->shard_size : shard_size_default, &s.split);
	s.pool = pool_new((unsigned)m->jobs);
	progress_start("writing shards");
	rc = write_shards(&s, err);
	progress_end();
	pool_free(s.pool);
	if (rc == 0 && m->ready != NULL)
		rc = m->ready(m->ready_arg, err);
	rc = end_folder(m, s.folder, rc, err);
	if (rc == 0) {
		warn_lost(s.lost);
		tool_verbose("%u shards, %" PRIu64 " bytes of tensors", s.split.n, s.total);
	}
	split_release(&s.split);
	arena_release(&s.arena);
	return rc;
}

/* ---- sealing and writing */

int
ckpt_out_seal(struct ckpt_out *m, struct plan *p, const struct seal_opts *o, struct err *err)
{
	struct seal *seal;
	int rc;

	m->seal = *o;
	if (o->writer->folder && m->shard_size != 0)
		return err_set(err, ERR_USAGE, "--max-shard-size: a distributed folder is not cut into shards");
	if (tables_state(p, err) < 0)
		return -1;
	seal = seal_new(p, &m->seal);
	rc = seal_file(seal, 0, &m->sealed, err);
	seal_free(seal);
	return rc;
}

int
ckpt_out_write(struct ckpt_out *m, struct plan *p, struct err *err)
{
	if (m->dry_run)
		return dry_run(m, p, err);
	if (m->seal.writer->folder)
		return write_distributed(m, err);
	return ckpt_out_is_folder(m->path, m->shard_size) ? write_folder(m, p, err) : write_file(m, err);
}

void
ckpt_out_release(struct ckpt_out *m)
{
	sealed_release(&m->sealed);
	free(m->name);
}
