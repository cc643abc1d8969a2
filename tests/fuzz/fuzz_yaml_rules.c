/*
 * YAML as rules and as groups of rules. Rules that compile are matched with a few names, explained and linted. The seeds are
 * experiment files. Every map in a file is tried as a rule.
 */
#include "fuzz.h"

#include "text/yaml.h"
#include "rule/groups.h"
#include "rule/lint.h"
#include "rule/rule.h"

static struct model model;

static void
found(void *arg, const struct err *err)
{
	++*(size_t *)arg;
	promise(err->code != ERR_NONE, "a finding has a message");
}

static void
ask(struct rules *rules, const struct groups *g, const struct rule *rule, bool linted)
{
	static const char *const names[] = { "module.stage_0.0.weight", "head.taxa_L10.bias", "norm.weight",
					     "stage_3.0.attn.relative_position_bias_table", "" };
	static const uint64_t shape[] = { 4, 3, 3, 3 };
	struct lint *l = linted ? lint_new(rules, g, rule, true, NULL) : NULL;
	struct rule_trace trace = RULE_TRACE_INIT;
	struct subject s;
	struct err err = ERR_INIT;
	struct buf text = BUF_INIT;
	unsigned char *in = xcalloc(g->n + 1, 1);
	size_t count;

	s = (struct subject){ .rules = rules };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct entry en = entry_named(str_c(names[i]));

		en.shape = shape;
		en.ndim = (uint8_t)i;
		en.has_shape = i < 4;
		en.layer_type = i < 2 ? str_c("Conv2d") : en.layer_type;
		subject_set(&s, &en);
		if (rule != NULL) {
			int plain, traced;

			err_clear(&err);
			plain = rule_match(rule, &s, NULL, &err);
			fuzz_judge(plain, &err);
			err_clear(&err);
			traced = rule_match(rule, &s, &trace, &err);
			promise(plain == traced, "tracing does not change a verdict");
			for (size_t k = 0; k < trace.n; k++)
				buf_addstr(&text, rule_explain(&trace, k, &s, 0));
		}
		err_clear(&err);
		fuzz_judge(groups_assign(g, &s, false, in, &count, &err), &err);
		if (linted)
			lint_name(l, &s, "fuzz");
	}
	if (linted)
		lint_finish(l, true);
	rule_trace_release(&trace);
	buf_release(&text);
	free(in);
}

static void
try(const struct ynode *node, bool all)
{
	size_t findings = 0;
	struct rule_env env = { .model = &model, .reference = &model, .finding = all ? found : NULL, .arg = &findings };
	struct rules *rules = rules_new(&env);
	struct groups g = { .n = 0 };
	const struct ynode *at = NULL;
	const struct rule *rule = NULL;
	enum rule_form form;
	struct err err = ERR_INIT;
	int rc = rule_form(node, &form, &at, &err);

	fuzz_judge(rc, &err);
	if (rc == 0 && form == FORM_RULE) {
		rule = rules_compile(rules, at, &err);
		promise(rule != NULL || err.code != ERR_NONE || findings > 0, "a failure has a message");
		if (rule != NULL)
			groups_single(&g, rules, str_c("one"), rule);
	} else if (rc == 0) {
		rc = groups_compile(&g, rules, at, &err);
		promise(rc == 0 || err.code != ERR_NONE || findings > 0, "a failure has a message");
	}
	if (rc == 0 && (rule != NULL || form == FORM_GROUPS))
		ask(rules, &g, rule, all);
	rules_free(rules);
}

static void
walk(const struct ynode *node, unsigned *left)
{
	if (node->kind == YN_SCALAR || *left == 0)
		return;
	--*left;
	try(node, *left % 2 == 0);
	for (size_t i = 0; i < node->n; i++)
		walk(node->kind == YN_MAP ? node->pairs[i].value : node->items[i], left);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a = ARENA_INIT;
	struct err err = ERR_INIT;
	const struct ynode *root;
	unsigned left = 64;
	int rc;

	if (model.n == 0 && !model.has_groups) {
		model_init(&model);
		promise(model_load_builtin(&model, "mFormerV0", &err) == 0, "the built-in description loads");
	}
	rc = yaml_parse(&a, "fuzz.yaml", str_n((const char *)data, size), &root, &err);
	fuzz_judge(rc, &err);
	if (rc == 0)
		walk(root, &left);
	arena_release(&a);
	return 0;
}
