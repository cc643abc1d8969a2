/* initialization: the parameter is trained from scratch, because the reference has no such name or another shape. */
#include "rule/rule_priv.h"
#include "tensor/tensor.h"

static int
compile(struct rules *rules, struct rule *rule, struct err *err)
{
	(void)err;
	rule->may_fail = rules->env.reference != NULL;
	if (rules->env.reference == NULL && !rules->warned) {
		rules->warned = true;
		diag_warn(rules->env.diag, "%s:%u:%u: an initialization filter without a checkpoint (-r) matches everything",
			  rule->at->file, rule->at->line, rule->at->column);
	}
	return 0;
}

/* Finds a subject in the checkpoint, whose names may have an additional "module." in front. */
static const struct entry *
find_there(const struct model *reference, const struct subject *s)
{
	const struct entry *there = model_find(reference, s->name);
	struct buf full = BUF_INIT;

	if (there || reference->n == 0)
		return there;
	buf_adds(&full, "module.");
	buf_addstr(&full, s->name);
	there = model_find(reference, buf_str(&full));
	buf_release(&full);
	return there;
}

static int
match(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	const struct model *reference = rule->rules->env.reference;
	const struct entry *there;

	(void)trace;
	(void)item;
	if (reference == NULL)
		return 1;
	there = find_there(reference, s);
	if (there == NULL)
		return 1;
	if (!there->has_shape)
		return 0;
	if (type_need_shape(rule, s, err) < 0)
		return -1;
	return !shape_eq(there->shape, there->ndim, s->entry.shape, s->entry.ndim);
}

static void
explain(struct buf *b, const struct rule_step *step, const struct subject *s)
{
	const struct model *reference = step->rule->rules->env.reference;
	const struct entry *there = reference ? find_there(reference, s) : NULL;

	if (reference == NULL) {
		buf_adds(b, "no checkpoint was given (-r)");
	} else if (there == NULL) {
		buf_adds(b, "the checkpoint does not have it");
	} else if (!step->matched) {
		buf_adds(b, "the checkpoint has it");
	} else {
		buf_adds(b, "the checkpoint has it as ");
		shape_put(b, there->shape, there->ndim);
	}
}

const struct rule_type type_initialization = {
	.name = "initialization",
	.compile = compile,
	.match = match,
	.explain = explain,
};
