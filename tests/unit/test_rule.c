/* Rules: verdicts on names, derived by hand from lnn-rules(5). The finder is compared with a search for each text. */
#include "rule/rule.h"

#include "rule/groups.h"
#include "rule/training.h"
#include "tap.h"
#include "text/finder.h"

/* ---- scan */

static uint32_t state = 1;

static uint32_t
next_random(uint32_t below)
{
	state = state * 1664525 + 1013904223;
	return (state >> 8) % below;
}

static void
random_text(char *to, size_t len, const char *alphabet, uint32_t letters)
{
	for (size_t i = 0; i < len; i++)
		to[i] = alphabet[next_random(letters)];
}

/* True if the text is in the name at a place that where allows. */
static bool
by_hand(struct str name, struct str text, enum finder_where where)
{
	for (size_t at = 0; at + text.len <= name.len; at++) {
		const size_t end = at + text.len;
		const char last = text.len > 0 ? text.p[text.len - 1] : '.';
		bool fits = text.len == 0 || memcmp(name.p + at, text.p, text.len) == 0;

		fits = fits && (at == 0 || (where != FINDER_START && where != FINDER_FIRST));
		fits = fits && (end == name.len || where != FINDER_END);
		if (where >= FINDER_COMPONENT) {
			fits = fits && (at == 0 || name.p[at - 1] == '.');
			fits = fits && (last == '.' || last < 'a' || last > 'z' || end == name.len || strchr("._", name.p[end]));
		}
		if (fits)
			return true;
	}
	return false;
}

static void
test_scan(void)
{
	static const char alphabet[] = "ab._\xc3\x9f";
	static char texts[300][12], name[64];
	bool same = true;

	for (int round = 0; round < 200 && same; round++) {
		struct finder *s = finder_new();
		size_t n = 1 + next_random(300);
		struct str subject;

		for (size_t i = 0; i < n; i++) {
			size_t len = next_random(11);

			random_text(texts[i], len, alphabet, 2 + next_random(5));
			same = same && finder_text(s, str_n(texts[i], len), (enum finder_where)(i % 5)) == i;
			texts[i][11] = (char)len;
		}
		for (int k = 0; k < 20; k++) {
			subject = str_n(name, next_random(64));
			random_text(name, subject.len, alphabet, 6);
			finder_name(s, subject);
			for (size_t i = 0; i < n; i++)
				same = same && finder_found(s, i, NULL) == by_hand(subject, str_n(texts[i], (size_t)texts[i][11]),
										   (enum finder_where)(i % 5));
		}
		finder_free(s);
	}
	ok_msg(same, "the automaton finds the same texts as a search for each of them");
}

/* More text than the automaton keeps states for, so that it must discard them. The texts have all byte values. */
static void
test_scan_large(void)
{
	static char texts[100][200];
	char name[600];
	struct finder *s = finder_new();
	bool same = true;

	for (size_t i = 0; i < 100; i++) {
		for (size_t k = 0; k < 200; k++)
			texts[i][k] = (char)next_random(256);
		(void)finder_text(s, str_n(texts[i], 200), FINDER_ANYWHERE);
	}
	for (size_t i = 0; i < 100; i++) {
		random_text(name, sizeof(name), "xyz", 3);
		memcpy(name + 100, texts[i], 200);
		memcpy(name + 350, texts[99 - i], 200);
		finder_name(s, str_n(name, sizeof(name)));
		for (size_t k = 0; k < 100; k++)
			same = same && finder_found(s, k, NULL) == (k == i || k == 99 - i);
	}
	ok_msg(same, "all texts are found if more states are needed than are kept");
	finder_free(s);
}

/* Texts and names of one letter. Many texts end at every byte, and a name that does not match falls back completely. */
static void
test_scan_letter(void)
{
	enum { LONGEST = 4096, NAMES = 512 };
	static char letters[2 * LONGEST];
	struct finder *s = finder_new();
	bool same = true;

	memset(letters, 'a', sizeof(letters));
	for (size_t len = 1; len <= LONGEST; len++)
		(void)finder_text(s, str_n(letters, len), len % 2 == 0 ? FINDER_ANYWHERE : FINDER_END);
	letters[LONGEST] = 'b';
	for (size_t i = 0; i < NAMES; i++) {
		const size_t before = LONGEST - NAMES + i, behind = i % 7;

		finder_name(s, str_n(letters + LONGEST - before, before + 1 + behind));
		for (size_t len = 1; len <= LONGEST; len++)
			same = same && finder_found(s, len - 1, NULL) == (len <= (len % 2 == 0 ? before : behind));
	}
	ok_msg(same, "texts of one letter are found in names of one letter");
	finder_free(s);
}

static bool
is_position(const char *part)
{
	return part[0] == '\0' || strchr("^$", part[0]) || strcmp(part, "\\b") == 0 || strcmp(part, "\\B") == 0;
}

/* Many patterns at once, compared with PCRE2 and each pattern alone. */
static void
test_scan_regexes(void)
{
	static const char *const parts[] = { "a",   "b",     ".",      "\\.",      "\\d",       "\\w",     "[^a]", "[a-b1]",
					     "^",   "$",     "\\b",    "\\B",      "(a|b1)",    "(?:ab|)", "1",    "\\W",
					     "\\S", "(?=b)", "(.)\\1", "\xc3\xa9", "(a(b|1)*)", "" };
	static const char *const repeats[] = { "", "", "", "*", "+", "?", "{2}", "{0}", "{1,3}", "{2,}?" };
	static const char *const flags[] = { "", "", "(?i)", "(?m)", "(?s)" };
	static const char alphabet[] = "ab1.AB_ \xc3\xa9\n";
	struct pyre *res[40];
	char text[128], name[32];
	size_t n, wrong = 0;

	for (int round = 0; round < 150; round++) {
		struct finder *s = finder_new();

		for (n = 0; n < 40;) {
			struct pyre_error why;

			snprintf(text, sizeof(text), "%s", flags[next_random(5)]);
			for (uint32_t k = next_random(6); k-- > 0;) {
				const char *part = parts[next_random(sizeof(parts) / sizeof(parts[0]))];

				snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s%s", part,
					 is_position(part) ? "" : repeats[next_random(10)], next_random(8) == 0 ? "|" : "");
			}
			if (pyre_compile(str_c(text), &res[n], &why) == 0)
				(void)finder_regex(s, res[n++]);
		}
		for (int k = 0; k < 60; k++) {
			struct str subject = str_n(name, next_random(20));

			random_text(name, subject.len, alphabet, 4 + next_random(8));
			finder_name(s, subject);
			for (size_t i = 0; i < n; i++) {
				struct err err = ERR_INIT;

				wrong += finder_found(s, i, &err) != pyre_search(res[i], subject, NULL, 0, &err);
			}
		}
		finder_free(s);
		for (size_t i = 0; i < n; i++)
			pyre_free(res[i]);
	}
	ok_msg(wrong == 0, "forty patterns together match the same names as each alone (%zu differ)", wrong);
}

/* Patterns with far too many states. The automaton is given up, and the results stay the same. */
static void
test_scan_gives_up(void)
{
	struct finder *f = finder_new();
	struct pyre *res[10];
	char text[64], name[200];
	size_t wrong = 0;

	for (int i = 0; i < 10; i++) {
		struct pyre_error why;

		snprintf(text, sizeof(text), "a.{%d}b.{%d}a{4}", 20 + i, 30 - i);
		if (pyre_compile(str_c(text), &res[i], &why) < 0)
			tap_bail(why.reason);
		(void)finder_regex(f, res[i]);
	}
	for (int k = 0; k < 150; k++) {
		random_text(name, sizeof(name), "abc", 3);
		finder_name(f, str_n(name, sizeof(name)));
		for (size_t i = 0; i < 10; i++) {
			struct err err = ERR_INIT;

			wrong += finder_found(f, i, &err) != pyre_search(res[i], str_n(name, sizeof(name)), NULL, 0, &err);
		}
	}
	ok_msg(wrong == 0, "patterns match the same names after the automaton is given up (%zu differ)", wrong);
	finder_free(f);
	for (int i = 0; i < 10; i++)
		pyre_free(res[i]);
}

/* ---- rules */

static struct entry
make(const char *name, unsigned ndim, const char *layer)
{
	static const uint64_t sizes[8] = { 2, 3, 4, 5, 6, 7, 8, 9 };
	struct entry e = entry_named(str_c(name));

	e.has_shape = ndim < 8;
	e.ndim = (uint8_t)(ndim < 8 ? ndim : 0);
	e.shape = sizes;
	if (layer)
		e.layer_type = str_c(layer);
	return e;
}

enum { NO_SHAPE = 8 };

/* The verdict of the rule in yaml on e: 1, 0, -1 (message in err), -2 if it does not compile. */
static int
ask(const struct rule_env *env, const char *yaml, const struct entry *e, struct err *err)
{
	struct arena a = ARENA_INIT;
	struct rules *rules = rules_new(env);
	const struct ynode *node;
	const struct rule *rule = NULL;
	struct subject s;
	int got = -2;

	if (yaml_parse(&a, "r", str_c(yaml), &node, err) == 0)
		rule = rules_compile(rules, node, err);
	if (rule) {
		s = (struct subject){ .rules = rules };
		subject_set(&s, e);
		got = rule_match(rule, &s, NULL, err);
	}
	rules_free(rules);
	arena_release(&a);
	return got;
}

static void
test_verdicts(void)
{
	static const struct {
		const char *yaml, *name, *layer;
		unsigned ndim;
		int expected;
	} cases[] = {
		{ "{TYPE: name, PATTERNS: [ead]}", "head.w", NULL, 1, 1 },
		{ "{TYPE: NAME, PATTERNS: [head], MATCH_TYPE: StartsWith}", "module.head.w", NULL, 1, 1 },
		{ "{TYPE: name, PATTERNS: [module]}", "module.head.w", NULL, 1, 0 },
		{ "{TYPE: name, PATTERNS: [module.], MATCH_TYPE: startswith}", "module.module.w", NULL, 1, 1 },
		{ "{TYPE: name, PATTERNS: [x, .w], MATCH_TYPE: endswith}", "head.w", NULL, 1, 1 },
		{ "{TYPE: name, PATTERNS: ['^h.*\\.w$'], MATCH_TYPE: regex}", "head.w", NULL, 1, 1 },
		{ "{TYPE: name, PATTERNS: ['\\bead'], MATCH_TYPE: regex}", "head.w", NULL, 1, 0 },
		{ "{TYPE: name, PATTERNS: ['']}", "head.w", NULL, 1, 1 },
		{ "{TYPE: name, PATTERNS: [HEAD]}", "head.w", NULL, 1, 0 },
		{ "{TYPE: dimension, DIMENSIONS: [1, 2]}", "a", NULL, 2, 1 },
		{ "{TYPE: dimension, DIMENSIONS: [1, 2]}", "a", NULL, 3, 0 },
		{ "{TYPE: dimension, DIMENSIONS: [0]}", "a", NULL, 0, 1 },
		{ "{TYPE: convolutional}", "a", NULL, 4, 1 },
		{ "{TYPE: convolutional}", "a", NULL, 3, 0 },
		{ "{TYPE: convolutional, NAME_PATTERNS: [], LAYER_TYPES: null}", "a", NULL, 4, 1 },
		{ "{TYPE: convolutional, NAME_PATTERNS: [conv]}", "a.conv.w", NULL, 4, 1 },
		{ "{TYPE: convolutional, NAME_PATTERNS: [conv]}", "a.w", NULL, 4, 0 },
		{ "{TYPE: convolutional, NAME_PATTERNS: [a], LAYER_TYPES: [Conv2d]}", "a.w", "Conv2d", 4, 1 },
		{ "{TYPE: convolutional, NAME_PATTERNS: [a], LAYER_TYPES: [Conv2d]}", "a.w", "Conv1d", 4, 0 },
		{ "{TYPE: convolutional, NAME_PATTERNS: [x], LAYER_TYPES: [Conv2d]}", "a.w", NULL, 4, 0 },
		{ "{TYPE: convolutional, LAYER_TYPES: [Conv2d]}", "a.w", NULL, 4, -1 },
		{ "{TYPE: convolutional, LAYER_TYPES: [Conv2d]}", "a.w", NULL, 2, 0 },
		{ "{TYPE: layer_type, LAYER_TYPES: [Linear, Conv2d], model: '@MODEL'}", "a", "Conv2d", 1, 1 },
		{ "{TYPE: layer_type, LAYER_TYPES: [linear]}", "a", "Linear", 1, 0 },
		{ "{TYPE: layer_type, LAYER_TYPES: [Linear]}", "a", NULL, 1, -1 },
		{ "{TYPE: dimension, DIMENSIONS: [1]}", "a", NULL, NO_SHAPE, -1 },
		{ "{TYPE: initialization}", "a", NULL, NO_SHAPE, 1 },
		{ "{TYPE: stage_based, STAGES: [convnext_stages]}", "stages.0.w", NULL, 1, 1 },
		{ "{TYPE: stage_based, STAGES: [convnext_stages]}", "stages.2.w", NULL, 1, 0 },
		{ "{TYPE: stage_based, STAGES: [rope_stages]}", "stages.2.freqs", NULL, 1, 0 },
		{ "{TYPE: stage_based, STAGES: [rope_stages, rope_freqs]}", "module.stages.2.freqs", NULL, 1, 1 },
		{ "{TYPE: stage_based, STAGES: [nope]}", "stages.2.freqs", NULL, 1, 0 },
		{ "{TYPE: stage_based, STAGES: [rope_stages]}", "head.w", NULL, 1, 0 },
		{ "{TYPE: and, FILTERS: [{TYPE: name, PATTERNS: [a]}, {TYPE: name, PATTERNS: [b]}]}", "ab", NULL, 1, 1 },
		{ "{TYPE: and, FILTERS: [{TYPE: name, PATTERNS: [a]}, {TYPE: name, PATTERNS: [b]}]}", "ac", NULL, 1, 0 },
		{ "{TYPE: or, FILTERS: [{TYPE: name, PATTERNS: [a]}, {TYPE: name, PATTERNS: [b]}]}", "cb", NULL, 1, 1 },
		{ "{TYPE: or, FILTERS: [{TYPE: name, PATTERNS: [a]}, {TYPE: name, PATTERNS: [b]}]}", "c", NULL, 1, 0 },
		{ "{TYPE: not, FILTER: {TYPE: name, PATTERNS: [a]}}", "a", NULL, 1, 0 },
		{ "{TYPE: all_except, EXCEPT: {TYPE: name, PATTERNS: [a]}}", "b", NULL, 1, 1 },
		/* A filter that is not reached needs no data. */
		{ "{TYPE: and, FILTERS: [{TYPE: name, PATTERNS: [x]}, {TYPE: dimension, DIMENSIONS: [1]}]}", "a", NULL, NO_SHAPE,
		  0 },
		{ "{TYPE: or, FILTERS: [{TYPE: name, PATTERNS: [a]}, {TYPE: dimension, DIMENSIONS: [1]}]}", "a", NULL, NO_SHAPE,
		  1 },
		{ "{TYPE: or, FILTERS: [{TYPE: dimension, DIMENSIONS: [1]}, {TYPE: name, PATTERNS: [a]}]}", "a", NULL, NO_SHAPE,
		  -1 },
		{ "{TYPE: not, FILTER: {TYPE: dimension, DIMENSIONS: [1]}}", "a", NULL, NO_SHAPE, -1 },
	};
	struct model m;
	struct rule_env env = { .model = &m };
	struct err err = ERR_INIT;

	model_init(&m);
	ok(model_load_builtin(&m, "mFormerV1", &err) == 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct entry x = make(cases[i].name, cases[i].ndim, cases[i].layer);
		int got;

		err_clear(&err);
		got = ask(&env, cases[i].yaml, &x, &err);
		if (!ok_msg(got == cases[i].expected, "%s on %s: %d", cases[i].yaml, cases[i].name, cases[i].expected))
			tap_note("got %d %s", got, err.msg);
	}
	model_release(&m);
}

/* The initialization filter compares with a checkpoint. Data that a line lacks come from the description. */
static void
test_reference(void)
{
	static const char init[] = "{TYPE: initialization}";
	struct model ref, m;
	struct rule_env env = { .reference = &ref, .model = &m };
	struct err err = ERR_INIT;
	struct entry x;

	model_init(&ref);
	model_init(&m);
	ok(model_load_yaml(&ref, "ref", str_c("state_dict: [{name: a, shape: [2, 3]}, {name: module.b, shape: [2]}]"), &err) == 0);
	ok(model_load_yaml(&m, "m", str_c("state_dict: [{name: a, shape: [2, 3], layer_type: Linear}]"), &err) == 0);
	x = make("a", 2, NULL);
	is_int(ask(&env, init, &x, &err), 0, "initialization does not match a name with the same shape");
	x = make("a", 1, NULL);
	is_int(ask(&env, init, &x, &err), 1, "initialization matches a name with another shape");
	x = make("c", 1, NULL);
	is_int(ask(&env, init, &x, &err), 1, "initialization matches a name that the checkpoint lacks");
	x = make("b", 1, NULL);
	is_int(ask(&env, init, &x, &err), 0, "a prefix module. in the checkpoint is ignored");
	x = make("module.a", NO_SHAPE, NULL);
	is_int(ask(&env, init, &x, &err), 0, "the shape comes from the description");
	is_int(ask(&env, "{TYPE: layer_type, LAYER_TYPES: [Linear]}", &x, &err), 1, "the layer type comes from the description");
	x = make("b", NO_SHAPE, NULL);
	is_int(ask(&env, init, &x, &err), -1, "a name without a shape is an error");
	is_str(err.msg,
	       "the initialization filter at r:1:1 needs the shape, which is not in the list; lists of lnn-ckpt-inspect have "
	       "it, and -m gives that of a description",
	       "the error says where a shape can come from");
	model_release(&ref);
	model_release(&m);
}

static void
test_trace(void)
{
	static const char yaml[] = "TYPE: and\nFILTERS:\n"
				   "- {TYPE: name, PATTERNS: [x, head]}\n"
				   "- {TYPE: not, FILTER: {TYPE: dimension, DIMENSIONS: [1]}}\n"
				   "- {TYPE: name, PATTERNS: [never asked]}\n";
	static const char *const expected[] = {
		"\tr:1:1: and: no\n",
		"\t  r:3:3: name: yes: 'head' (r:3:30) is contained\n",
		"\t  r:4:3: not: no\n",
		"\t    r:4:23: dimension: yes: 1 dimension\n",
	};
	struct arena a = ARENA_INIT;
	struct rule_env env = { 0 };
	struct rules *rules = rules_new(&env);
	struct rule_trace trace = RULE_TRACE_INIT;
	struct entry x = make("head.bias", 1, NULL);
	const struct rule *rule;
	const struct ynode *node;
	struct subject s;
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;

	if (yaml_parse(&a, "r", str_c(yaml), &node, &err) < 0 || (rule = rules_compile(rules, node, &err)) == NULL)
		tap_bail(err.msg);
	s = (struct subject){ .rules = rules };
	subject_set(&s, &x);
	ok(rule_match(rule, &s, &trace, &err) == 0);
	is_uint(trace.n, 4, "steps");
	for (size_t i = 0; i < trace.n && i < 4; i++) {
		buf_clear(&b);
		buf_addstr(&b, rule_explain(&trace, i, &s, 0));
		is_str(b.p, expected[i], "step");
	}
	rule_trace_release(&trace);
	rules_free(rules);
	arena_release(&a);
	buf_release(&b);
}

/* Vectors of a muon group go to adamw. Frozen names do not go to DEFAULT, and GradNorm leaves them out. */
static void
test_inspection(void)
{
	static const char yaml[] = "M: {OPTIMIZER: Muon, LR_MULTIPLIER: 3, FILTER: {TYPE: name, PATTERNS: [a]}}\n"
				   "B: {WEIGHT_DECAY: 0, FILTER: {TYPE: name, PATTERNS: [b]}}\n"
				   "DEFAULT: {OPTIMIZER: sgd, WEIGHT_DECAY: 1e-2, LR_MULTIPLIER: 7}\n";
	struct arena a = ARENA_INIT;
	struct rule_env env = { 0 };
	struct rules *rules = rules_new(&env);
	const struct ynode *node, *except;
	const struct rule *exclude;
	struct groups g;
	struct training x;
	struct subject s;
	struct err err = ERR_INIT;
	struct entry list[] = { make("a.w", 2, NULL), make("a.v", 1, NULL), make("ab", 4, NULL), make("c", 1, NULL),
				make("frozen", 1, NULL) };

	list[4].requires_grad = GRAD_FALSE;
	if (yaml_parse(&a, "g", str_c(yaml), &node, &err) < 0 ||
	    yaml_parse(&a, "x", str_c("{TYPE: name, PATTERNS: [a.]}"), &except, &err) < 0 ||
	    groups_compile(&g, rules, node, &err) < 0 || (exclude = rules_compile(rules, except, &err)) == NULL)
		tap_bail(err.msg);
	training_init(&x, &g, exclude);
	s = (struct subject){ .rules = rules };
	for (size_t i = 0; i < 5; i++) {
		subject_set(&s, &list[i]);
		ok(training_add(&x, &s, false, &err) == 0);
	}
	is_uint(x.shares[0].names.n, 2, "M has two names");
	is_uint(x.shares[0].names.elements, 2 * 3 + 2 * 3 * 4 * 5, "M has the elements of its two names");
	ok(str_eqc(x.shares[1].name, "M_ADAMW") && !x.shares[1].hidden && x.shares[1].names.n == 1);
	ok(str_eqc(x.shares[1].optimizer, "adamw") && x.shares[1].lr_multiplier == 3 && x.shares[1].weight_decay == 0.01);
	ok(str_eqc(x.shares[2].optimizer, "sgd") && x.shares[2].weight_decay == 0 && x.shares[2].lr_multiplier == 1);
	ok(str_eqc(x.shares[4].name, "DEFAULT") && x.shares[4].names.n == 1 && x.shares[4].lr_multiplier == 1);
	ok(x.shares[3].hidden && x.shares[5].hidden);
	is_uint(x.several, 1, "one name is in two groups");
	ok(x.included.n == 2 && x.excluded.n == 3);
	training_release(&x);
	rules_free(rules);
	arena_release(&a);
}

int
main(void)
{
	test_scan();
	test_scan_large();
	test_scan_letter();
	test_scan_regexes();
	test_scan_gives_up();
	test_verdicts();
	test_reference();
	test_trace();
	test_inspection();
	return tap_done();
}
