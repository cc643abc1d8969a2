/* Model descriptions and experiment files. Expected values are from lnn-model(5) and the model classes of linnaeus. */
#include "model/model.h"

#include <sys/stat.h>
#include <unistd.h>

#include "model/config.h"
#include "rule/rule.h"
#include "tap.h"

static const char sample[] = "name: mFormerV0_sm\n"
			     "state_dict:\n"
			     "  - {name: stage_0.0.weight, shape: [48, 3, 3, 3], dtype: float32, layer_type: Conv2d}\n"
			     "  - {name: stage_0.1.running_mean, shape: [48], layer_type: BatchNorm2d, kind: buffer}\n"
			     "  - {name: frozen.scale, shape: [384], requires_grad: false}\n"
			     "  - {name: count, shape: [], dtype: int64}\n"
			     "parameter_groups_metadata:\n"
			     "  stages:\n"
			     "    conv_stages: [stage_0, stage_1, stage_2]\n"
			     "    transformer_stages: [stage_3, stage_4]\n"
			     "  embeddings: [cls_token]\n"
			     "pretrained_ckpt_handling_metadata:\n"
			     "  drop_buffers: [relative_position_index]\n"
			     "  drop_params: [head, meta_]\n"
			     "  interpolate_rel_pos_bias: true\n"
			     "  relative_position_bias: {layout: last}\n"
			     "  supports_module_prefix: true\n"
			     "  strict: false\n";

/* The stage of a name for which a stage_based rule matches. */
static const char *
stage_of(const struct model *m, const char *name)
{
	const char *found = "none";

	for (size_t i = 0; i < m->ngroups; i++) {
		struct rules *rules = rules_new(&(struct rule_env){ .model = m });
		struct entry x = entry_named(str_c(name));
		struct arena a = ARENA_INIT;
		struct err err = ERR_INIT;
		const struct ynode *node;
		const struct rule *rule = NULL;
		struct subject s;

		if (m->groups[i].key.p &&
		    yaml_parse(&a, "stage", str_c(arena_printf(&a, "{TYPE: stage_based, STAGES: [%s]}", m->groups[i].key.p)), &node,
			       &err) == 0)
			rule = rules_compile(rules, node, &err);
		s = (struct subject){ .rules = rules };
		subject_set(&s, &x);
		if (rule && rule_match(rule, &s, NULL, &err) == 1)
			found = m->groups[i].key.p;
		rules_free(rules);
		arena_release(&a);
	}
	return found;
}

static void
test_sample(void)
{
	struct model m;
	struct err err = ERR_INIT;
	const struct entry *x;
	struct buf out = BUF_INIT;

	model_init(&m);
	ok_msg(model_load_yaml(&m, "m.yaml", str_c(sample), &err) == 0, "reads: %s", err.msg);
	ok(str_eqc(m.name, "mFormerV0_sm") && m.n == 4 && m.ngroups == 3);
	x = model_find(&m, str_c("stage_0.0.weight"));
	ok(x && x->dtype == DTYPE_FLOAT32 && x->ndim == 4 && x->shape[0] == 48 && str_eqc(x->layer_type, "Conv2d"));
	ok(x && x->kind == ENTRY_UNKNOWN && x->requires_grad == GRAD_UNKNOWN);
	x = model_find(&m, str_c("stage_0.1.running_mean"));
	ok(x && x->kind == ENTRY_BUFFER && x->dtype == DTYPE_UNKNOWN);
	x = model_find(&m, str_c("frozen.scale"));
	ok(x && x->requires_grad == GRAD_FALSE);
	x = model_find(&m, str_c("count"));
	ok(x && x->has_shape && x->ndim == 0);
	ok(model_find(&m, str_c("absent")) == NULL);
	ok(str_eqc(m.groups[2].category, "embeddings") && m.groups[2].key.p == NULL && m.groups[2].patterns.n == 1);
	is_str(stage_of(&m, "stage_3.0.attn"), "transformer_stages", "a stage");
	is_str(stage_of(&m, "stage_3.stage_0"), "transformer_stages", "the last stage in a name counts");
	is_str(stage_of(&m, "cls_token"), "none", "no stage");
	ok(m.handling.given && m.handling.drop_params.n == 2 && m.handling.interpolate_rel_pos_bias == 1);
	ok(m.handling.supports_module_prefix == 1 && m.handling.strict == 0 && str_eqc(m.handling.layout, "last"));
	ok(model_write(m.entries, 1, &out, &err) == 0);
	is_str(out.p, "state_dict:\n  - {name: stage_0.0.weight, shape: [48, 3, 3, 3], dtype: float32}\n", "a list is written");
	buf_clear(&out);
	ok(model_write(m.entries + 3, 1, &out, &err) == 0);
	is_str(out.p, "state_dict:\n  - {name: count, shape: [], dtype: int64, kind: buffer}\n",
	       "the dtype tells that it is a buffer");
	buf_clear(&out);
	ok(model_write(&(struct entry){ .name = STR_LIT("int1") }, 1, &out, &err) == 0);
	is_str(out.p, "state_dict:\n  - {name: int1, shape: []}\n", "a dtype without a name is left out");
	buf_release(&out);
	model_release(&m);
}

static void
test_errors(void)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "[]", "m:1:1: a model description is a map with state_dict, parameter_groups_metadata or "
			"pretrained_ckpt_handling_metadata, not a list" },
		{ "state_dicts: []", "m:1:1: state_dicts: unknown key in a model description; did you mean state_dict?" },
		{ "state_dict: {a: 1}", "m:1:13: state_dict: must be a list of entries, not a map" },
		{ "state_dict:\n- {name: a, shapes: [1]}",
		  "m:2:13: shapes: unknown key in an entry of a state dict; did you mean shape?" },
		{ "state_dict:\n- {shape: [1]}", "m:2:3: an entry of a state dict needs a name" },
		{ "state_dict:\n- {name: a, shape: 3}", "m:2:20: shape: must be a list of sizes, not a scalar" },
		{ "state_dict:\n- {name: a, shape: [-1]}", "m:2:21: shape: a size is a whole number from 0 on" },
		{ "state_dict:\n- {name: a, dtype: float23}", "m:2:20: dtype: there is no float23; did you mean float32?" },
		{ "state_dict:\n- {name: a, kind: buf}", "m:2:19: kind: must be buffer or parameter, not buf" },
		{ "state_dict:\n- {name: a, requires_grad: 0}", "m:2:28: requires_grad: must be true or false, not 0" },
		{ "state_dict: [a, b, a]", "m:1:20: the name a occurs twice" },
		{ "parameters: [a]\nbuffers: [a]", "m:2:11: the name a occurs twice" },
		{ "parameter_groups_metadata: [a]", "m:1:28: parameter_groups_metadata: must be a map, not a list" },
		{ "parameter_groups_metadata: {heads: {a: head}}", "m:1:40: a: must be a list of name patterns, not a scalar" },
		{ "pretrained_ckpt_handling_metadata: {drop_param: [a]}",
		  "m:1:37: drop_param: unknown key in pretrained_ckpt_handling_metadata; did you mean drop_params?" },
		{ "pretrained_ckpt_handling_metadata: {strict: maybe}", "m:1:45: strict: must be true or false, not maybe" },
		{ "pretrained_ckpt_handling_metadata: {relative_position_bias: last}",
		  "m:1:61: relative_position_bias: must be a map such as {layout: last}, not a scalar" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct model m;
		struct err err = ERR_INIT;

		model_init(&m);
		ok(model_load_yaml(&m, "m", str_c(cases[i].text), &err) == -1);
		is_str(err.msg, cases[i].message, cases[i].message);
		model_release(&m);
	}
}

/* A section of a later description replaces that of an earlier one. */
static void
test_stacking(void)
{
	struct model m;
	struct err err = ERR_INIT;

	model_init(&m);
	ok(model_load_builtin(&m, "mFormerV1", &err) == 0);
	ok_msg(model_load_yaml(&m, "live", str_c("parameters: [a, b]\nbuffers: [{name: c, shape: [2]}]"), &err) == 0, "%s",
	       err.msg);
	ok(m.n == 3 && m.entries[0].kind == ENTRY_PARAMETER && m.entries[2].kind == ENTRY_BUFFER);
	ok_msg(m.ngroups == 8 && m.handling.given, "sections that the later description lacks stay");
	ok(model_load_yaml(&m, "later", str_c("pretrained_ckpt_handling_metadata: {strict: true}\nstate_dict: [z]"), &err) == 0);
	ok(m.n == 1 && model_find(&m, str_c("a")) == NULL && model_find(&m, str_c("z")));
	ok_msg(m.handling.strict == 1 && !m.handling.drop_params.given, "a section is replaced as a whole");
	model_release(&m);
}

static bool
list_is(const struct model_list *list, const char *expected)
{
	struct buf b = BUF_INIT;
	bool same;

	for (size_t i = 0; i < list->n; i++) {
		buf_adds(&b, i ? " " : "");
		buf_addstr(&b, list->items[i]);
	}
	same = strcmp(b.len ? b.p : "", expected) == 0;
	buf_release(&b);
	return same;
}

static void
test_builtin(void)
{
	struct model m;
	struct err err = ERR_INIT;

	ok(model_is_builtin("mFormerV0") && model_is_builtin("mFormerV1") && !model_is_builtin("mFormerV2"));
	model_init(&m);
	ok(model_load_builtin(&m, "mFormerV0", &err) == 0);
	ok(list_is(model_drop_params(&m, false), "head meta_") && list_is(model_drop_params(&m, true), "head meta_"));
	ok(list_is(&m.handling.drop_buffers, "relative_position_index") && m.handling.interpolate_rel_pos_bias == 1);
	ok(str_eqc(m.handling.layout, "last") && m.ngroups == 6);
	model_release(&m);
	model_init(&m);
	ok(model_load_builtin(&m, "mFormerV1", &err) == 0);
	ok(list_is(model_drop_params(&m, false), "head. meta_ pos_embed"));
	ok(list_is(model_drop_params(&m, true), "head. meta_ pos_embed norm. downsample_layers."));
	ok(m.handling.drop_buffers.given && m.handling.drop_buffers.n == 0 && m.handling.interpolate_rel_pos_bias == 0);
	is_str(stage_of(&m, "stages.2.0.attn.freqs"), "rope_freqs", "freqs of a RoPE stage");
	is_str(stage_of(&m, "downsample_layers.1.conv.weight"), "convnext_stages", "a downsampling layer");
	ok(list_is(&m.groups[7].patterns, "cl_1_fc. aggregate. final_norm."));
	model_release(&m);
	model_init(&m);
	ok(model_load_builtin(&m, "nope", &err) == -1 && err.code == ERR_USAGE);
	is_str(err.msg, "nope: there is no such file, nor a built-in description; these are mFormerV0, mFormerV1",
	       "an unknown name of a built-in description is refused");
	model_release(&m);
}

static void
test_probe(void)
{
	static const struct {
		const char *head;
		bool model;
	} cases[] = {
		{ "name: x\n", true },
		{ "# from a live module\n\nstate_dict:\n  - a\n", true },
		{ "{\"name\": \"x\", \"state_dict\": []}\n", true },
		{ "{\n  \"state_dict\": []}\n", true },
		{ "---\nfoo: 1\n", true },
		{ "pretrained_ckpt_handling_metadata: {}", true },
		{ "head.weight\tfloat32\t[3]\n", false },
		{ "# comment\nname.weight\n", false },
		{ "named: x\n", false },
		{ "%YAML 1.1\n---\n", true },
		{ "%s.weight\tfloat32\t[2]\n", false },
		{ "name:x\n", false },
		{ "", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ok_msg(model_probe(str_c(cases[i].head)) == cases[i].model, "case %zu is %s", i,
		       cases[i].model ? "a description" : "a list");
}

/* ---- experiment files */

static char folder[] = "/tmp/lnn-test-model-XXXXXX";

static const char *
put_file(const char *name, const char *text)
{
	static char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	if (f == NULL || fputs(text, f) < 0 || fclose(f) < 0)
		tap_bail("cannot write a file");
	return path;
}

static int
load(struct config *c, const char *path, const char *dir, struct err *err)
{
	struct config_opts opts = { dir, NULL };
	struct source *src;
	int rc;

	config_init(c);
	if (source_open(&src, path, NULL, err) < 0)
		return -1;
	rc = config_load(c, src, &opts, err);
	source_close(src);
	return rc;
}

static void
test_config(void)
{
	struct config c;
	struct err err = ERR_INIT;
	struct str s;
	uint64_t n;

	put_file("a.yaml", "MODEL: {TYPE: mFormerV0, DEPTH: {A: 1, B: 2}}\n");
	put_file("b.yaml", "MODEL: {DEPTH: {B: 3, D: 4}, PRETRAINED: low, TYPE: under, BASE: [c.yaml]}\n"
			   "DATA: {IMG_SIZE: 224, OTHER: 1}\nLOSS: {A: 1}\n");
	put_file("c.yaml", "DEPTH: {C: 9}\n");
	ok_msg(load(&c,
		    put_file("e.yaml",
			     "MODEL:\n  BASE: ['a.yaml', '', 'b.yaml']\n  PRETRAINED: None\n  SOURCE: ''\n  DEPTH: {D: 5}\n"
			     "DATA: {IMG_SIZE: 384}\nLR: 5e-5\n"),
		    NULL, &err) == 0,
	       "reads: %s", err.msg);
	ok(config_text(&c, "MODEL.TYPE", &s, &err) == 1 && str_eqc(s, "under"));
	ok_msg(config_u64(&c, "DATA.IMG_SIZE", &n, &err) == 1 && n == 384, "the experiment file overrides its bases");
	ok_msg(config_u64(&c, "MODEL.DEPTH.D", &n, &err) == 1 && n == 5, "the experiment file overrides single keys");
	ok_msg(config_u64(&c, "MODEL.DEPTH.B", &n, &err) == 1 && n == 3, "the last base is used");
	ok_msg(config_u64(&c, "MODEL.DEPTH.A", &n, &err) == 0, "other bases are not used");
	ok_msg(config_u64(&c, "MODEL.DEPTH.C", &n, &err) == 0, "bases of bases are not followed");
	ok_msg(config_get(&c, "DATA.OTHER") == NULL && config_get(&c, "LOSS") == NULL, "only the section MODEL of a base is used");
	ok_msg(config_text(&c, "MODEL.PRETRAINED", &s, &err) == 0, "None means null and overrides the base");
	ok_msg(config_text(&c, "MODEL.SOURCE", &s, &err) == 0, "an empty text counts as missing");
	ok(config_text(&c, "MODEL.ABSENT.TOO", &s, &err) == 0);
	ok(config_u64(&c, "MODEL.TYPE", &n, &err) == -1);
	ok_msg(strstr(err.msg, "/b.yaml:1:53: MODEL.TYPE: must be a whole number from 0 on, not under"), "%s", err.msg);
	config_release(&c);
}

static void
test_config_errors(void)
{
	static char many[70 * 12];
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "MODEL: {BASE: gone.yaml}\n", "/self.yaml:1:15: MODEL.BASE: " },
		{ "MODEL: {BASE: {a: 1}}\n", "/self.yaml:1:15: MODEL.BASE: must be a list of files, not a map" },
		{ "[1]\n", "/self.yaml:1:1: an experiment file is a map, not a list" },
		{ "MODEL: {BASE: \"a\\0b\"}\n", "/self.yaml:1:15: MODEL.BASE: no file has a name with a NUL in it" },
		{ "MODEL: {BASE: ['/']}\n", "/self.yaml:1:16: MODEL.BASE: /: " },
		{ many, "/self.yaml:1:636: MODEL.BASE: more than 64 files" },
	};
	int at = snprintf(many, sizeof(many), "MODEL: {BASE: [e0.yaml");

	/* The experiment file is counted, so the last base is the 65th file. */
	for (int i = 0; i < 64; i++) {
		char name[20];

		snprintf(name, sizeof(name), "e%d.yaml", i);
		put_file(name, i % 2 ? "null\n" : "LOSS: {A: 1}\n");
		if (i > 0)
			at += snprintf(many + at, sizeof(many) - (size_t)at, ", e%d.yaml", i);
	}
	snprintf(many + at, sizeof(many) - (size_t)at, "]}\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct config c;
		struct err err = ERR_INIT;

		ok(load(&c, put_file("self.yaml", cases[i].text), NULL, &err) == -1);
		ok_msg(strstr(err.msg, cases[i].message) != NULL, "%s", err.msg);
		config_release(&c);
	}
}

/* A value of another type is an error. A null counts as missing. */
static void
test_config_forms(void)
{
	static const char text[] = "A: {B: [1, x], T: true, N: null, L: [[1]], M: -1}\n";
	struct config c;
	struct err err = ERR_INIT;
	struct str s;
	uint64_t n;

	ok(load(&c, put_file("forms.yaml", text), NULL, &err) == 0);
	ok(config_text(&c, "A.B", &s, &err) == -1 && strstr(err.msg, ":1:8: A.B: must be a text, not a list") != NULL);
	err_clear(&err);
	ok(config_u64(&c, "A.M", &n, &err) == -1 && strstr(err.msg, "A.M: must be a whole number from 0 on, not -1") != NULL);
	err_clear(&err);
	ok(config_u64(&c, "A.N", &n, &err) == 0 && config_text(&c, "A.X", &s, &err) == 0 && config_u64(&c, "X.Y", &n, &err) == 0);
	config_release(&c);
}

/* An experiment file without a section MODEL has that of its base. A base may have an absolute path. */
static void
test_config_bases(void)
{
	struct config c;
	struct err err = ERR_INIT;
	char text[400];
	uint64_t n;
	FILE *f;
	char path[300];

	snprintf(text, sizeof(text), "MODEL: {BASE: [%s]}\n", put_file("abs.yaml", "IMG_SIZE: 7\n"));
	ok_msg(load(&c, put_file("g.yaml", text), "/nowhere", &err) == 0 && config_u64(&c, "MODEL.IMG_SIZE", &n, &err) == 1 &&
		       n == 7,
	       "an absolute path needs no folder; a base without MODEL is that section: %s", err.msg);
	config_release(&c);
	snprintf(path, sizeof(path), "%s", put_file("large.yaml", ""));
	f = fopen(path, "w");
	for (int i = 0; f != NULL && i < 17 << 20; i++)
		fputc('\n', f);
	if (f == NULL || fclose(f) != 0)
		tap_bail("cannot write a large file");
	err_clear(&err);
	ok(load(&c, path, NULL, &err) == -1);
	ok_msg(strstr(err.msg, "more than 16 MiB are too much for a YAML file") != NULL, "%s", err.msg);
	config_release(&c);
	err_clear(&err);
	/* Nothing is mapped at address 0. */
	ok_msg(load(&c, "/proc/self/mem", NULL, &err) == -1 && err.code == ERR_SYSTEM, "a read error is reported: %s", err.msg);
	config_release(&c);
}

static void
test_config_dir(void)
{
	struct config c;
	struct err err = ERR_INIT;
	char dir[600], path[400], *real;
	uint64_t n;

	snprintf(dir, sizeof(dir), "%s/sub", folder);
	mkdir(dir, 0700);
	put_file("sub/base.yaml", "MODEL: {IMG_SIZE: 5}\n");
	snprintf(path, sizeof(path), "%s", put_file("d.yaml", "MODEL: {BASE: [base.yaml]}\n"));
	ok_msg(load(&c, path, dir, &err) == 0 && config_u64(&c, "MODEL.IMG_SIZE", &n, &err) == 1 && n == 5, "--config-dir %s",
	       err.msg);
	config_release(&c);
	ok(load(&c, path, NULL, &err) == -1);
	ok_msg(strstr(err.msg, "; --config-dir or CONFIG_DIR names the folder that relative bases start from") != NULL, "%s",
	       err.msg);
	config_release(&c);
	/* base.yaml is in no folder above d.yaml. d.yaml is in a folder above sub/deep.yaml. */
	err_clear(&err);
	snprintf(path, sizeof(path), "%s", put_file("sub/deep.yaml", "MODEL: {BASE: [d.yaml]}\n"));
	ok(load(&c, path, NULL, &err) == -1);
	real = realpath(folder, NULL);
	snprintf(dir, sizeof(dir), "; it is below %s: give --config-dir %s, or set CONFIG_DIR", real, real);
	free(real);
	ok_msg(strstr(err.msg, dir) != NULL, "%s", err.msg);
	config_release(&c);
}

int
main(void)
{
	char command[100];

	test_sample();
	test_errors();
	test_stacking();
	test_builtin();
	test_probe();
	if (mkdtemp(folder) == NULL)
		tap_bail("no temporary folder");
	test_config();
	test_config_errors();
	test_config_dir();
	test_config_forms();
	test_config_bases();
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ok(system(command) == 0);
	return tap_done();
}
