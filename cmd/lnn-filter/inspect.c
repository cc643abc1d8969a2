/* --inspect: reports what a training run would do with the list, as tables or JSON. */
#include "rule/training.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/num.h"
#include "common/record.h"
#include "filter.h"
#include "rule/lint.h"

#define OVERRIDES_PATH "LR_SCHEDULER.PARAMETER_GROUPS"

static int
inspect_line(struct filter *f, const struct operand_item *item, struct err *err)
{
	f->hits++;
	return training_add(f->work, &f->subject, f->o->first, &f->why) < 0 ? filter_fail(item, &f->why, err) : 0;
}

/* ---- tables */

static struct cell
number(double v, char text[32])
{
	if (v == floor(v) && fabs(v) < 1e15)
		snprintf(text, 32, "%.0f", v);
	else
		num_repr(v, text);
	return cell_word(text);
}

static void
put_shares(struct filter *f, const struct training *x)
{
	static const struct record_column columns[] = {
		{ "GROUP", NULL, RECORD_TEXT, IN_TABLE, COLUMN_SHRINKS, 0, STYLE_NAME },
		{ "TENSORS", NULL, RECORD_COUNT, IN_TABLE, 0, 0, STYLE_PLAIN },
		{ "ELEMENTS", NULL, RECORD_TEXT, IN_TABLE, COLUMN_RIGHT, 0, STYLE_PLAIN },
		{ "OPTIMIZER", NULL, RECORD_TEXT, IN_TABLE, 0, 0, STYLE_PLAIN },
		{ "WEIGHT_DECAY", NULL, RECORD_TEXT, IN_TABLE, COLUMN_RIGHT, 0, STYLE_PLAIN },
		{ "LR_MULTIPLIER", NULL, RECORD_TEXT, IN_TABLE, COLUMN_RIGHT, 0, STYLE_PLAIN },
	};
	static const struct record_table table = { .columns = columns, .n = sizeof(columns) / sizeof(columns[0]) };
	char elements[32], decay[32], multiplier[32];
	struct err unused = ERR_INIT;
	struct record r;

	record_init(&r, &f->out, false);
	r.form = RECORD_TABLE;
	record_rows(&r, &table, 0);
	for (size_t i = 0; i < x->n; i++) {
		const struct optimizer_share *s = &x->shares[i];

		snprintf(elements, sizeof(elements), "%" PRIu64, s->names.elements);
		if (!s->hidden)
			(void)record_row(&r,
					 (struct cell[]){ cell_text(s->name), cell_count(s->names.n),
							  cell_word(s->names.elements_known ? elements : "?"),
							  cell_text(s->optimizer), number(s->weight_decay, decay),
							  number(s->lr_multiplier, multiplier) },
					 &unused);
	}
	record_rows_end(&r);
	record_release(&r);
}

static void
put_names(struct filter *f, struct str title, const struct training_names *names)
{
	size_t shown = names->n < f->o->max ? names->n : (size_t)f->o->max;

	if (shown == 0)
		return;
	out_putc(&f->out, '\n');
	out_style(&f->out, STYLE_NAME);
	out_show(&f->out, title);
	out_style(&f->out, STYLE_PLAIN);
	out_putc(&f->out, '\n');
	for (size_t i = 0; i < shown; i++) {
		out_puts(&f->out, "  ");
		out_show(&f->out, names->v[i]);
		out_putc(&f->out, '\n');
	}
	if (names->n > shown)
		out_printf(&f->out, "  ... and %zu more\n", names->n - shown);
}

static void
put_overrides(struct filter *f, const struct ynode *overrides)
{
	const struct ynode *switched = ymap_get(overrides, "ENABLED");
	bool on = false;

	if (overrides == NULL || overrides->kind != YN_MAP || overrides->n == (switched ? 1 : 0))
		return;
	if (switched)
		ynode_bool(switched, &on);
	out_printf(&f->out, "\n%s%s\n", OVERRIDES_PATH, on ? "" : " (not enabled: one schedule for all)");
	for (size_t i = 0; i < overrides->n; i++) {
		const struct ypair *pair = &overrides->pairs[i];

		if (pair->value->kind != YN_MAP)
			continue;
		out_puts(&f->out, "  ");
		out_show(&f->out, pair->key->text);
		out_puts(&f->out, ":");
		for (size_t k = 0; override_keys[k]; k++) {
			const struct ynode *value = ymap_get(pair->value, override_keys[k]);

			if (ynode_is_null(value) || value->kind != YN_SCALAR)
				continue;
			out_printf(&f->out, " %s=", override_keys[k]);
			out_show(&f->out, value->text);
		}
		out_putc(&f->out, '\n');
	}
}

static void
put_text(struct filter *f, const struct training *x, const struct ynode *overrides)
{
	if (!filter_enabled(f))
		out_printf(&f->out, "One optimizer takes all: ENABLED is %s\n\n",
			   f->groups.enabled < 0 ? "not given, which is false" : "false");
	put_shares(f, x);
	for (size_t i = 0; i < x->n; i++)
		put_names(f, x->shares[i].name, &x->shares[i].names);
	put_overrides(f, overrides);
	out_printf(&f->out, "\nGradNorm: %zu included, %zu excluded\n", x->included.n, x->excluded.n);
	put_names(f, str_c("GradNorm included"), &x->included);
	put_names(f, str_c("GradNorm excluded"), &x->excluded);
}

/* ---- JSON */

static void
flush(struct filter *f, struct buf *b)
{
	out_write(&f->out, b->p, b->len);
	buf_clear(b);
}

static void
json_names(struct filter *f, struct json_writer *w, const char *key, const struct training_names *names)
{
	json_begin_array(json_key(w, key));
	for (size_t i = 0; i < names->n; i++) {
		json_put_str(w, names->v[i]);
		if (w->out->len > 65536)
			flush(f, w->out);
	}
	json_end_array(w);
}

/* Writes a scalar with the type that its text has. */
static void
json_scalar(struct json_writer *w, const struct ynode *node)
{
	int64_t i;
	double d;
	bool b;

	if (ynode_is_null(node))
		json_put_null(w);
	else if (ynode_int(node, &i))
		json_put_i64(w, i);
	else if (ynode_double(node, &d))
		json_put_double(w, d);
	else if (ynode_bool(node, &b))
		json_put_bool(w, b);
	else
		json_put_str(w, node->text);
}

static void
json_overrides(struct json_writer *w, const struct ynode *overrides)
{
	json_begin_object(json_key(w, "lr_scheduler"));
	for (size_t i = 0; overrides && overrides->kind == YN_MAP && i < overrides->n; i++) {
		const struct ypair *pair = &overrides->pairs[i];

		if (pair->value->kind != YN_MAP)
			continue;
		json_begin_object(json_key_str(w, pair->key->text));
		for (size_t k = 0; override_keys[k]; k++) {
			const struct ynode *value = ymap_get(pair->value, override_keys[k]);

			if (value == NULL || value->kind != YN_SCALAR)
				continue;
			json_key(w, override_keys[k]);
			json_scalar(w, value);
		}
		json_end_object(w);
	}
	json_end_object(w);
}

static void
json_share(struct filter *f, struct json_writer *w, const struct optimizer_share *s)
{
	json_begin_object(json_key_str(w, s->name));
	json_put_u64(json_key(w, "matched_count"), s->names.n);
	json_key(w, "total_params");
	if (s->names.elements_known)
		json_put_u64(w, s->names.elements);
	else
		json_put_null(w);
	json_names(f, w, "matched_names", &s->names);
	json_put_double(json_key(w, "lr_multiplier"), s->lr_multiplier);
	json_put_str(json_key(w, "optimizer"), s->optimizer);
	json_put_double(json_key(w, "weight_decay"), s->weight_decay);
	json_end_object(w);
}

static void
put_json(struct filter *f, const struct training *x, const struct ynode *overrides)
{
	struct buf b = BUF_INIT;
	struct json_writer w;

	json_writer_init(&w, &b, true);
	json_begin_object(&w);
	json_put_u64(json_key(&w, "schema"), 1);
	json_put_bool(json_key(&w, "enabled"), filter_enabled(f));
	json_begin_object(json_key(&w, "groups"));
	for (size_t i = 0; i < x->n; i++)
		if (!x->shares[i].hidden)
			json_share(f, &w, &x->shares[i]);
	json_end_object(&w);
	json_overrides(&w, overrides);
	json_begin_object(json_key(&w, "gradnorm"));
	json_put_u64(json_key(&w, "included_count"), x->included.n);
	json_put_u64(json_key(&w, "excluded_count"), x->excluded.n);
	json_names(f, &w, "included", &x->included);
	json_names(f, &w, "excluded", &x->excluded);
	json_end_object(&w);
	json_end_object(&w);
	json_finish(&w);
	flush(f, &b);
	buf_release(&b);
}

int
inspect_run(struct filter *f, const struct operands *operands, int *status, struct err *err)
{
	const struct ynode *overrides = filter_get(f, OVERRIDES_PATH);
	struct training x;
	int rc;

	training_init(&x, &f->groups, f->exclude);
	rc = filter_run(f, operands, inspect_line, &x, status, err);
	if (rc == 0 && f->o->format == FORMAT_JSON)
		put_json(f, &x, overrides);
	else if (rc == 0)
		put_text(f, &x, overrides);
	if (rc == 0 && x.several)
		tool_warn("%" PRIu64 " name%s in several groups: two optimizers would update %s", x.several,
			  x.several == 1 ? " is" : "s are", x.several == 1 ? "it" : "them");
	if (rc == 0 && f->hits == 0)
		*status = tool_worst(*status, TOOL_NO);
	training_release(&x);
	return rc;
}
