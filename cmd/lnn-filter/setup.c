#include "filter.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "common/file.h"
#include "common/models.h"
#include "model/keys.h"

#define GROUPS_PATH "OPTIMIZER.PARAMETER_GROUPS"
#define EXCLUDE_PATH "LOSS.GRAD_WEIGHTING.TASK.EXCLUDE_CONFIG"
#define IGNORED_PATH "LOSS.GRAD_WEIGHTING.TASK.EXCLUDE_PATTERNS"

/* linnaeus's default for EXCLUDE_CONFIG. */
static const char exclude_default[] = "{TYPE: or, FILTERS: [{TYPE: name, PATTERNS: [head]}, {TYPE: name, PATTERNS: [meta_]}]}";

const struct ynode *
filter_get(const struct filter *f, const char *path)
{
	return f->experiment ? config_get(&f->config, path) : NULL;
}

bool
filter_enabled(const struct filter *f)
{
	return f->groups.enabled == -1 ? !f->whole : f->groups.enabled;
}

static int
load_config(struct filter *f, struct err *err)
{
	const char *dir = f->o->config_dir ? f->o->config_dir : getenv("CONFIG_DIR");
	struct config_opts opts = { dir, NULL };
	struct source *src;
	int rc;

	if (f->o->config == NULL)
		return 0;
	if (file_input(f->o->config, FILE_TEXT, &src, err) < 0)
		return -1;
	rc = config_load(&f->config, src, &opts, err);
	source_close(src);
	f->experiment = f->config.root;
	return rc;
}

/* Reports which component of path does not exist, and suggests a similar one. */
static int
no_path(const struct ynode *root, const char *path, const char *advice, struct err *err)
{
	const struct ynode *node = root;
	struct str rest = str_c(path), part;
	struct buf so_far = BUF_INIT, hint = BUF_INIT;
	struct nearest near;
	struct shown shown;
	bool lists;

	while (str_split(&rest, '.', &part)) {
		const struct ypair *pair = ymap_pair(node, part);

		if (pair == NULL)
			break;
		node = pair->value;
		buf_adds(&so_far, so_far.len ? "." : "");
		buf_addstr(&so_far, part);
	}
	nearest_init(&near, part);
	for (size_t i = 0; node->kind == YN_MAP && i < node->n; i++)
		nearest_try(&near, node->pairs[i].key->text);
	keys_suggest_nearest(&hint, &near);
	lists = hint.len == 0 && *advice == '\0' && node->kind == YN_MAP;
	for (size_t i = 0; lists && i < node->n && i < 8; i++)
		buf_addf(&hint, "%s%s", i == 0 ? "; it has " : ", ", keys_show(&shown, node->pairs[i].key->text));
	ynode_fail(node, err, "%s%sthere is no %s here%s", so_far.len ? so_far.p : "", so_far.len ? ": " : "",
		   keys_show(&shown, part), hint.len ? hint.p : advice);
	buf_release(&so_far);
	buf_release(&hint);
	return -1;
}

/* Reports that there is no rule. An operand may have been meant as the rule. */
static int
no_rule(const struct operands *operands, struct err *err)
{
	for (size_t i = 0; i < operands->n; i++) {
		const struct str name = str_c(operands->v[i]);

		if (str_ends(name, str_c(".yaml")) || str_ends(name, str_c(".yml")))
			return err_set(err, ERR_USAGE, "no rule is given: is it '-c %s'?", operands->v[i]);
		if (access(operands->v[i], F_OK) != 0)
			return err_set(err, ERR_USAGE,
				       "no rule is given, and %s is not a file: is it -e '{TYPE: name, PATTERNS: [%s]}'?",
				       operands->v[i], operands->v[i]);
	}
	return err_set(err, ERR_USAGE, "no rule is given: use '-c CONFIG' or '-e RULE' (see '%s --help')", tool_name());
}

/* Finds the YAML node of the rule or the groups. */
static int
find_node(struct filter *f, const struct operands *operands, struct err *err)
{
	const struct filter_options *o = f->o;
	const char *path = o->path ? o->path : GROUPS_PATH;
	struct err form = ERR_INIT;
	const struct ynode *rule;
	enum rule_form ignored;

	if (o->expr) {
		if (yaml_parse(&f->arena, "-e", str_c(o->expr), &f->node, err) < 0)
			return -1;
		if (ynode_is_null(f->node))
			return err_set(err, ERR_USAGE, "-e: the rule is empty");
		if (f->node->kind == YN_SCALAR)
			return ynode_fail(f->node, err,
					  "a rule is a map with a TYPE, not a scalar: -e '{TYPE: name, PATTERNS: [%s]}'", o->expr);
		return 0;
	}
	if (f->experiment == NULL)
		return no_rule(operands, err);
	if (o->path == NULL && ymap_get(f->experiment, "TYPE")) {
		f->node = f->experiment;
		return 0;
	}
	f->node = ynode_path(f->experiment, path);
	f->whole = f->node && f->node == ynode_path(f->experiment, GROUPS_PATH);
	/* The file may contain nothing but groups. */
	if (o->path == NULL && f->node == NULL && rule_form(f->experiment, &ignored, &rule, &form) == 0)
		f->node = f->experiment;
	/* An experiment without groups has one optimizer. Its GradNorm rule is still worth reporting. */
	if (f->node == NULL && o->path == NULL && (o->mode == MODE_INSPECT || o->mode == MODE_LINT)) {
		f->whole = true;
		return yaml_parse(&f->arena, "default of PARAMETER_GROUPS", str_c("{ENABLED: false}"), &f->node, err);
	}
	if (f->node == NULL)
		return no_path(f->experiment, path, o->path ? "" : "; -p PATH says where the rule is", err);
	if (ynode_is_null(f->node))
		return ynode_fail(f->node, err, "%s: is null", path);
	return 0;
}

static int
load_reference(struct filter *f, struct err *err)
{
	if (f->o->reference == NULL)
		return 0;
	if (models_load(&f->reference, &f->o->reference, 1, err) < 0)
		return -1;
	if (!f->reference.has_state_dict)
		return err_set(err, ERR_USAGE, "-r %s: has no state dict to compare with", f->o->reference);
	return 0;
}

/* Prints a finding of --lint as soon as it is made. */
static void
print_finding(void *arg, const struct err *err)
{
	struct filter *f = arg;

	f->findings++;
	out_show(&f->out, str_c(err->msg));
	out_putc(&f->out, '\n');
}

static int
compile_exclude(struct filter *f, struct err *err)
{
	const struct ynode *node = filter_get(f, EXCLUDE_PATH), *ignored = filter_get(f, IGNORED_PATH);

	if (ignored)
		tool_warn("%s:%u:%u: EXCLUDE_PATTERNS is ignored, by linnaeus as well: EXCLUDE_CONFIG says what GradNorm leaves "
			  "out",
			  ignored->file, ignored->line, ignored->column);
	/* Findings in a built-in default would not concern the user. */
	if (node == NULL && f->o->mode == MODE_LINT)
		return 0;
	if (node == NULL && yaml_parse(&f->arena, "default of EXCLUDE_CONFIG", str_c(exclude_default), &node, err) < 0)
		return -1;
	f->exclude = rules_compile(f->rules, node, err);
	return f->exclude ? 0 : -1;
}

/* Returns the name of the group that a single rule forms. */
static struct str
rule_title(const struct filter *f)
{
	const char *dot = f->o->path ? strrchr(f->o->path, '.') : NULL;

	return str_c(dot ? dot + 1 : f->o->path && !f->o->expr ? f->o->path : "rule");
}

static int
compile(struct filter *f, struct err *err)
{
	const struct ynode *node;

	if (rule_form(f->node, &f->form, &node, err) < 0)
		return -1;
	if (f->form == FORM_GROUPS)
		return groups_compile(&f->groups, f->rules, f->node, err);
	f->rule = rules_compile(f->rules, node, err);
	if (f->rule == NULL)
		return -1;
	if (f->o->mode == MODE_INSPECT || f->o->mode == MODE_LINT)
		groups_single(&f->groups, f->rules, rule_title(f), f->rule);
	return 0;
}

/* Refuses options that do not apply to the rule or the groups. */
static int
check_form(const struct filter *f, struct err *err)
{
	const struct filter_options *o = f->o;

	if (f->form == FORM_RULE && o->group)
		return err_set(err, ERR_USAGE, "-g %s: this is a single rule, not a set of groups", o->group);
	if (f->form == FORM_RULE && o->first)
		return err_set(err, ERR_USAGE, "--first-match: this is a single rule, not a set of groups");
	if (f->form == FORM_GROUPS && o->invert && o->group == NULL)
		return err_set(err, ERR_USAGE, "-v needs -g GROUP, the group to invert");
	if (o->group && groups_find(&f->groups, str_c(o->group)) < 0) {
		struct nearest near;
		struct buf hint = BUF_INIT;

		nearest_init(&near, str_c(o->group));
		for (size_t i = 0; i < f->groups.n; i++)
			nearest_try(&near, f->groups.v[i].name);
		keys_suggest_nearest(&hint, &near);
		err_set(err, ERR_USAGE, "-g %s: there is no such group%s", o->group, hint.len ? hint.p : "");
		buf_release(&hint);
		return -1;
	}
	return 0;
}

static int
setup_rules(struct filter *f, struct err *err)
{
	struct rule_env env = { 0 };
	struct err own = ERR_INIT;

	if (f->has_model)
		env.model = &f->model;
	else if (f->first.kind == OPERAND_MODEL)
		env.model = &f->first.model;
	env.reference = f->o->reference ? &f->reference : NULL;
	env.diag = tool_diag();
	if (f->o->mode == MODE_LINT) {
		env.finding = print_finding;
		env.arg = f;
	}
	f->rules = rules_new(&env);
	if (f->o->mode == MODE_METADATA)
		return 0;
	if (compile(f, &own) < 0 && own.code != ERR_ANSWER) {
		if (f->o->mode != MODE_LINT || own.code != ERR_INPUT) {
			*err = own;
			return -1;
		}
		print_finding(f, &own);
	}
	if (f->rule == NULL && f->form == FORM_RULE && f->o->mode != MODE_LINT)
		return -1;
	if (f->o->mode == MODE_INSPECT || (f->o->mode == MODE_LINT && f->whole)) {
		err_clear(&own);
		if (compile_exclude(f, &own) < 0 && own.code != ERR_ANSWER) {
			*err = own;
			return -1;
		}
	}
	return check_form(f, err);
}

int
filter_setup(struct filter *f, const struct operands *operands, struct err *err)
{
	const struct filter_options *o = f->o;

	arena_init(&f->arena);
	config_init(&f->config);
	model_init(&f->model);
	model_init(&f->reference);
	if (load_config(f, err) < 0 || (o->mode != MODE_METADATA && find_node(f, operands, err) < 0))
		return -1;
	f->has_model = o->models.n > 0;
	if (models_load(&f->model, o->models.v, o->models.n, err) < 0 || load_reference(f, err) < 0 ||
	    file_operands(operands->v, operands->n, f->o->common.output, err) < 0)
		return -1;
	if (operand_open(&f->first, operands->n ? operands->v[0] : NULL, &o->common, err) < 0)
		return -1;
	if (out_open(&f->out, o->common.output, err) < 0)
		return -1;
	if (setup_rules(f, err) < 0)
		return -1;
	f->subject = (struct subject){ .rules = f->rules };
	return 0;
}

void
filter_release(struct filter *f)
{
	if (f->out.sink)
		out_abort(&f->out);
	rules_free(f->rules);
	operand_close(&f->first);
	model_release(&f->model);
	model_release(&f->reference);
	config_release(&f->config);
	arena_release(&f->arena);
}
