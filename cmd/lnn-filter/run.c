#include "filter.h"

#include <inttypes.h>

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
filter_fail(const struct operand_item *item, struct err *why, struct err *err)
{
	struct buf b = BUF_INIT;

	filter_where(item, &b);
	err_set(err, why->code, "%s: %s", b.p, why->msg);
	err_clear(why);
	buf_release(&b);
	return -1;
}

void
filter_put(struct filter *f, const struct operand_item *item)
{
	struct str rest = item->raw, field;

	/* On a terminal, control characters except TABs are escaped. Fields of a list contain none. */
	while (str_split(&rest, '\t', &field)) {
		out_plain(&f->out, field);
		if (rest.p != NULL)
			out_putc(&f->out, '\t');
	}
	out_putc(&f->out, f->o->common.null ? '\0' : '\n');
}

static int
each_item(void *arg, const struct operand_item *item, struct err *err)
{
	struct filter *f = arg;

	subject_set(&f->subject, item->entry);
	if (!f->o->buffers && f->o->mode != MODE_EXPLAIN && entry_is_buffer(&f->subject.entry)) {
		f->buffers++;
		return 0;
	}
	if (out_failed(&f->out))
		return err_set(err, f->out.err.code, "%s", f->out.err.msg);
	return f->each(f, item, err);
}

static void
wait_for_more(void *arg)
{
	out_flush(&((struct filter *)arg)->out);
}

int
filter_run(struct filter *f, const struct operands *operands, filter_each *each, void *work, int *status, struct err *err)
{
	struct operand_reader reader = { each_item, wait_for_more, f, f->o->common.null };
	size_t n = operands->n ? operands->n : 1;
	int rc = 0;

	f->each = each;
	f->work = work;
	for (size_t i = 0; i < n && rc != 1; i++) {
		struct operand other = { 0 }, *x = i ? &other : &f->first;
		bool last = i + 1 == n;
		struct err own = ERR_INIT;
		uint64_t items = 0;

		rc = i ? operand_open(x, operands->v[i], &f->o->common, &own) : 0;
		if (rc == 0)
			rc = operand_each(x, &reader, &items, &own);
		if (rc == 0 && items == 0 && !f->o->allow_empty)
			rc = err_input(&own, x->file,
				       "there is no name in it; did the program before it fail? "
				       "(--allow-empty, if that is fine)");
		operand_close(&other);
		if (rc >= 0)
			continue;
		/*
		 * If there are several operands, an error of one is reported after the results from it, and the next one is read.
		 */
		if (out_failed(&f->out) || (last && *status == TOOL_DONE)) {
			*err = own;
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
