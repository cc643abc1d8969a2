#include "common/emit.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "common/file.h"
#include "common/out.h"
#include "common/progress.h"
#include "common/tool.h"
#include "model/list.h"
#include "plan/tables.h"

int
input_open_source(struct input *in, struct source *src, const char *key, struct err *e)
{
	struct source_opts sopts = { .spool_dir = getenv("TMPDIR"), .diag = tool_diag() };
	struct format_opts opts = { tool_diag(), &sopts };

	in->src = src;
	if (format_open(&in->ckpt, src, &opts, e) != 0)
		return -1;
	return statedict_open(&in->sd, in->ckpt, key, e);
}

int
input_open(struct input *in, const char *operand, const char *key, struct err *e)
{
	struct source *src;

	if (file_input(operand, FILE_BINARY, &src, e) != 0)
		return -1;
	return input_open_source(in, src, key, e);
}

void
input_close(struct input *in)
{
	if (in->sd.ckpt != NULL)
		statedict_release(&in->sd);
	ckpt_close(in->ckpt);
	source_close(in->src);
	*in = (struct input){ 0 };
}

const struct format_writer *
emit_writer(const char *to, const struct ckpt *c, struct err *e)
{
	const struct format_writer *w;

	if (to == NULL)
		to = c->tree == NULL ? "safetensors" : "torch";
	w = format_writer(to);
	if (w == NULL)
		err_set(e, ERR_USAGE, "--to: torch or safetensors was expected, not %s", to);
	return w;
}

/* ---- progress counts the input's bytes */

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
input_bytes(const struct emit *m)
{
	uint64_t n = 0;

	for (size_t i = 0; i < m->ninputs; i++)
		for (uint32_t s = 0; s < m->inputs[i].ckpt->nstorages; s++)
			n += m->inputs[i].ckpt->storages[s].packed;
	return n;
}

static int
pump(struct emit *m, const struct sealed *s, struct sink *out, struct err *e)
{
	struct meter meter = { 0, input_bytes(m) };
	struct pump_opts o = { .tick = tick, .tick_arg = &meter, .ready = m->ready, .ready_arg = m->ready_arg };
	uint64_t lost;
	int rc;

	o.pool = pool_new(tool_settings.jobs);
	progress_start(m->what);
	rc = plan_pump(s, out, &o, &lost, e);
	progress_end();
	pool_free(o.pool);
	if (rc == 0 && lost > 0)
		tool_warn("%" PRIu64 " finite %s no longer finite in the new dtype", lost,
			  lost == 1 ? "value is" : "values are");
	return rc;
}

/* ---- a dry run */

static int
list(const struct plan *p, struct err *e)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	const struct plan_entry *en;
	struct buf b = BUF_INIT;
	struct entry line;
	enum dtype dtype;
	unsigned ndim;
	struct out o;

	if (out_open(&o, NULL, NULL, 0, e) != 0)
		return -1;
	for (size_t i = 0; i < p->nentries && !out_failed(&o); i++) {
		en = &p->entries[i];
		if (!en->alive || en->module || plan_tensor(p, en) == NULL)
			continue;
		plan_shape(p, en, &dtype, shape, &ndim);
		line = entry_named(en->name);
		line.has_shape = true;
		line.shape = shape;
		line.ndim = (uint8_t)ndim;
		line.dtype = (uint8_t)dtype;
		buf_clear(&b);
		if (list_put(&b, &line, tool_settings.null, e) != 0)
			break;
		out_write(&o, b.p, b.len);
	}
	buf_release(&b);
	if (e->code == ERR_NONE)
		return out_end(&o, e);
	out_abort(&o);
	return -1;
}

static int
rehearse(struct emit *m, const struct sealed *s, struct err *e)
{
	struct sink *out = sink_memory(NULL, "nothing");
	int rc = pump(m, s, out, e);

	sink_abort(out);
	return rc;
}

/* A stream is read to its end, so that a dry run ends as the run would if the input is cut off. */
static int
drain(const struct emit *m, struct err *e)
{
	struct ckpt *c;

	for (size_t i = 0; i < m->ninputs; i++) {
		c = m->inputs[i].ckpt;
		if (!source_is_stream(m->inputs[i].src))
			continue;
		for (uint32_t s = 0; s < c->nstorages; s++)
			if (ckpt_done(c, s, e) != 0)
				return -1;
		if (ckpt_finish(c, e) != 0)
			return -1;
	}
	return 0;
}

int
emit_run(struct emit *m, struct plan *p, const struct sealed *s, struct err *e)
{
	struct source **sources;
	struct sink *out;
	size_t i;
	int rc;

	if (m->dry_run && m->rehearse)
		return rehearse(m, s, e) == 0 ? list(p, e) : -1;
	if (m->dry_run) {
		if (plan_learn_all(p, e) != 0 || drain(m, e) != 0 || (m->ready != NULL && m->ready(m->ready_arg, e) != 0))
			return -1;
		return list(p, e);
	}
	sources = xcalloc(m->ninputs, sizeof(*sources));
	for (i = 0; i < m->ninputs; i++)
		sources[i] = m->inputs[i].src;
	rc = file_output(tool_settings.output, FILE_BINARY, sources, m->ninputs, &out, e);
	free(sources);
	if (rc != 0)
		return -1;
	m->output = xstrdup(sink_name(out));
	if (pump(m, s, out, e) != 0) {
		sink_abort(out);
		return -1;
	}
	return sink_commit(out, e);
}
