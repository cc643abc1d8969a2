#include "shards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "common/file.h"
#include "common/progress.h"
#include "common/tool.h"
#include "format/shard_index.h"
#include "io/folder.h"
#include "write/split.h"

/* huggingface_hub's default. */
static const uint64_t shard_size_default = 5000000000;

void
shard_name(struct buf *b, const struct format_writer *w, uint32_t number, uint32_t total)
{
	buf_adds(b, w->pickles ? "pytorch_model" : "model");
	if (total > 1)
		buf_addf(b, "-%05u-of-%05u", number, total);
	buf_adds(b, w->pickles ? ".bin" : ".safetensors");
}

const char *
shard_index_name(const struct format_writer *w)
{
	return w->pickles ? "pytorch_model.bin.index.json" : "model.safetensors.index.json";
}

bool
shards_wanted(const struct adapt_options *o)
{
	const char *out = tool_settings.output;

	return o->max_shard_size != 0 || (out != NULL && out[0] != '\0' && out[strlen(out) - 1] == '/');
}

/* ---- writing */

/* A sharded output under way. */
struct shards {
	struct adapt *a;
	const struct seal_opts *so;
	struct split split;
	struct folder *folder;
	struct pool *pool;
	uint64_t total, lost;
	struct buf name;    /* of the shard under way */
	const char **files; /* by entry of the plan */
};

static int
write_file(struct shards *s, const struct sealed *sealed, const char *path, struct err *e)
{
	struct pump_opts po = { .pool = s->pool };
	struct sink *out;
	uint64_t lost = 0;

	if (sink_file(&out, path, e) != 0)
		return -1;
	if (plan_pump(sealed, out, &po, &lost, e) != 0) {
		sink_abort(out);
		return -1;
	}
	s->lost += lost;
	return sink_commit(out, e);
}

static int
write_shard(struct shards *s, struct seal *seal, uint32_t k, struct err *e)
{
	struct sealed sealed;
	struct buf path = BUF_INIT;
	int rc;

	buf_clear(&s->name);
	shard_name(&s->name, s->so->writer, k, s->split.n);
	buf_addf(&path, "%s/%s", folder_path(s->folder), s->name.p);
	rc = seal_file(seal, k, &sealed, e);
	if (rc == 0)
		rc = write_file(s, &sealed, path.p, e);
	s->total += sealed_bytes(&sealed);
	sealed_release(&sealed);
	buf_release(&path);
	return rc;
}

/* The index lists the tensors in the order of the plan. */
static int
write_index(struct shards *s, struct err *e)
{
	const struct plan *p = &s->a->plan;
	struct str *names = xcalloc(p->nentries, sizeof(*names));
	const char **files = xcalloc(p->nentries, sizeof(*files));
	struct buf text = BUF_INIT, path = BUF_INIT;
	size_t n = 0;
	int rc;

	for (size_t i = 0; i < p->nentries; i++) {
		if (!p->entries[i].alive || p->entries[i].module || plan_source(p, &p->entries[i])->kind == SD_OTHER)
			continue;
		buf_clear(&s->name);
		shard_name(&s->name, s->so->writer, s->split.shard[i], s->split.n);
		names[n] = p->entries[i].name;
		files[n++] = arena_cstr(&s->a->arena, s->name.p);
	}
	shard_index_write(&text, names, files, n, s->total);
	buf_addf(&path, "%s/%s", folder_path(s->folder), shard_index_name(s->so->writer));
	rc = file_write(path.p, buf_str(&text), e);
	buf_release(&text);
	buf_release(&path);
	free(names);
	free(files);
	return rc;
}

static int
write_all(struct shards *s, struct err *e)
{
	struct seal_opts so = *s->so;
	struct seal *seal;
	int rc = 0;

	so.split = &s->split;
	seal = seal_new(&s->a->plan, &so);
	for (uint32_t k = 1; rc == 0 && k <= s->split.n; k++)
		rc = write_shard(s, seal, k, e);
	seal_free(seal);
	return rc == 0 && s->split.n > 1 ? write_index(s, e) : rc;
}

/* Until the set is whole its files lie elsewhere; a message calls them as they would have been called. */
static void
name_as_meant(const struct shards *s, struct err *e)
{
	const char *temp = folder_path(s->folder), *meant = tool_settings.output;
	size_t n = strlen(temp), len = strlen(meant);
	struct buf said = BUF_INIT;

	if (strncmp(e->msg, temp, n) != 0 || e->msg[n] != '/')
		return;
	while (len > 1 && meant[len - 1] == '/')
		len--;
	buf_addf(&said, "%.*s%s", (int)len, meant, e->msg + n);
	snprintf(e->msg, sizeof(e->msg), "%s", said.p);
	buf_release(&said);
}

int
shards_write(struct adapt *a, const struct seal_opts *so, struct err *e)
{
	struct shards s = { .a = a, .so = so };
	int rc;

	if (tool_settings.output == NULL || strcmp(tool_settings.output, "-") == 0)
		return err_set(e, ERR_USAGE, "--max-shard-size: shards go into a folder: -o DIR/");
	if (so->shape != SEAL_BARE)
		return err_set(e, ERR_USAGE,
			       "shards hold bare state dicts: --under, --carry and --carry-all do not go with them");
	if (folder_open(&s.folder, tool_settings.output, e) != 0)
		return -1;
	plan_split(&a->plan, a->o->max_shard_size != 0 ? a->o->max_shard_size : shard_size_default, &s.split);
	s.pool = pool_new(tool_settings.jobs);
	progress_start("writing shards");
	rc = write_all(&s, e);
	if (rc != 0)
		name_as_meant(&s, e);
	progress_end();
	pool_free(s.pool);
	if (rc == 0)
		rc = adapt_report(a, e);
	if (rc == 0)
		rc = folder_commit(s.folder, e);
	else
		folder_abort(s.folder);
	if (rc == 0 && s.lost > 0)
		tool_warn("%llu values are no longer finite in the new dtype", (unsigned long long)s.lost);
	if (rc == 0)
		tool_verbose("%u shards, %llu bytes of tensors", s.split.n, (unsigned long long)s.total);
	buf_release(&s.name);
	split_release(&s.split);
	return rc;
}
