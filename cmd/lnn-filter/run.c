#include "filter.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"

void
filter_where(const struct operand_item *item, struct buf *b)
{
	buf_adds(b, item->file);
	if (item->line)
		buf_addf(b, ":%" PRIu64, item->line);
	buf_adds(b, ": ");
	text_show(b, str_n(item->entry->name.p, item->entry->name.len < 200 ? item->entry->name.len : 200));
}

int
filter_fail(const struct operand_item *item, struct err *why, struct err *e)
{
	struct buf b = BUF_INIT;

	filter_where(item, &b);
	err_set(e, why->code, "%s: %s", b.p, why->msg);
	err_clear(why);
	buf_release(&b);
	return -1;
}

/* On a terminal nothing but text and TABs; the fields of a list have no controls anyway. */
static void
put_shown(struct out *out, struct str raw)
{
	struct str field;
	bool first = true;

	while (str_split(&raw, '\t', &field)) {
		if (!first)
			out_putc(out, '\t');
		out_show(out, field);
		first = false;
	}
}

void
filter_put(struct filter *f, const struct operand_item *item)
{
	if (f->out.tty)
		put_shown(&f->out, item->raw);
	else
		out_write(&f->out, item->raw.p, item->raw.len);
	out_putc(&f->out, f->o->common.null ? '\0' : '\n');
}

struct run {
	struct filter *f;
	filter_each *each;
};

static int
each_item(void *arg, const struct operand_item *item, struct err *e)
{
	struct run *run = arg;
	struct filter *f = run->f;

	subject_set(&f->subject, item->entry);
	if (!f->o->buffers && f->o->mode != MODE_EXPLAIN && entry_is_buffer(&f->subject.entry)) {
		f->buffers++;
		return 0;
	}
	if (out_failed(&f->out))
		return err_set(e, f->out.err.code, "%s", f->out.err.msg);
	return run->each(f, item, e);
}

static void
wait_for_more(void *arg)
{
	struct run *run = arg;

	out_flush(&run->f->out);
}

static int
run_operand(struct filter *f, struct operand *x, const struct operand_reader *r, struct err *e)
{
	uint64_t n = 0;
	int rc = operand_each(x, r, &n, e);

	if (rc == 0 && n == 0 && !f->o->allow_empty)
		return err_input(e, x->file, "there is no name in it; did the program before it fail? "
					     "(--allow-empty, if that is fine)");
	return rc;
}

int
filter_run(struct filter *f, const struct operands *operands, filter_each *each, void *work, int *status,
	struct err *e)
{
	struct run run = { f, each };
	struct operand_reader reader = { each_item, wait_for_more, &run, f->o->common.null };
	size_t n = operands->n ? operands->n : 1;
	int rc = 0;

	f->work = work;
	for (size_t i = 0; i < n && rc != 1; i++) {
		struct operand other = { 0 }, *x = i ? &other : &f->first;
		bool last = i + 1 == n;
		struct err own = ERR_INIT;

		rc = i ? operand_open(x, operands->v[i], &f->o->common, &own) : 0;
		if (rc == 0)
			rc = run_operand(f, x, &reader, &own);
		operand_close(&other);
		if (rc >= 0)
			continue;
		/* Of several operands the others are still of use; what was found in them comes first. */
		if (out_failed(&f->out) || (last && *status == TOOL_DONE)) {
			*e = own;
			return -1;
		}
		out_flush(&f->out);
		*status = tool_worst(*status, tool_fail(&own));
		rc = 0;
	}
	if (f->buffers && !f->o->buffers)
		tool_verbose("%" PRIu64 " %s passed over (--buffers takes them in)", f->buffers, text_noun(f->buffers, "buffer"));
	return 0;
}
