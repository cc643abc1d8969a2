/*
 * lnn-ckpt-adapt: a checkpoint adapted to the model that must load it.
 */
#include <stdlib.h>
#include <string.h>

#include "adapt.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "common/tool.h"

enum {
	OPT_MODEL = 1, OPT_CONFIG, OPT_CONFIG_DIR, OPT_SOURCE, OPT_INPUT, OPT_PRINT_MAP, OPT_STRIP, OPT_DROP_PARAMS,
	OPT_DROP_BUFFERS, OPT_DROP_NAMES, OPT_KEEP_NAMES, OPT_RENAME, OPT_IGNORE_MISSING, OPT_ALLOW_EMPTY,
	OPT_INTERPOLATE, OPT_NO_INTERPOLATE, OPT_DDP, OPT_ADD_PREFIX, OPT_STRICT, OPT_NO_STRICT, OPT_DROP_MISMATCHED,
	OPT_FAIL_UNUSED, OPT_ROOT, OPT_UNDER, OPT_CARRY, OPT_CARRY_ALL, OPT_TO, OPT_DTYPE, OPT_COMPACT, OPT_REPORT,
	OPT_DRY_RUN, OPT_COMPAT, OPT_MAX_SHARD, OPT_SHARD, OPT_WRITE_INDEX, OPT_KEEP_WRAPPERS,
};

static const struct option_entry entries[] = {
	OPTION_HEADING("What it must fit, and where it comes from:"),
	{ "model", 'm', OPTION_ARG, "MODEL", "description: built-in name, file, or a checkpoint", OPT_MODEL },
	{ "config", 'c', OPTION_ARG, "CONFIG", "experiment file: checkpoint, source, image size", OPT_CONFIG },
	{ "config-dir", 0, OPTION_ARG, "DIR", "where relative bases of CONFIG are", OPT_CONFIG_DIR },
	{ "source", 's', OPTION_ARG, "MAP", "key map: built-in name or a .yaml file", OPT_SOURCE },
	{ "input", 0, OPTION_ARG, "NAME=FILE", "input of a key map with several", OPT_INPUT },
	{ "print-map", 0, OPTION_ARG, "NAME", "print a built-in key map", OPT_PRINT_MAP },
	OPTION_KEY("state dict at this dotted path"),
	OPTION_HEADING("Names:"),
	{ "strip-prefix", 0, OPTION_ARG, "P", "take P off the beginning of names, once", OPT_STRIP },
	{ "keep-wrappers", 0, OPTION_NOARG, NULL, "leave module., _orig_mod. and the like", OPT_KEEP_WRAPPERS },
	{ "drop-params", 0, OPTION_ARG, "P", "drop where P begins a component; ^P, re:R", OPT_DROP_PARAMS },
	{ "drop-buffers", 0, OPTION_ARG, "P", "drop names that contain P", OPT_DROP_BUFFERS },
	{ "drop-names", 0, OPTION_ARG, "LIST", "drop the tensors listed in LIST", OPT_DROP_NAMES },
	{ "keep-names", 0, OPTION_ARG, "LIST", "keep only the tensors listed in LIST", OPT_KEEP_NAMES },
	{ "rename", 0, OPTION_ARG, "s/R/S/[g]", "rename by regular expression", OPT_RENAME },
	{ "ddp", 0, OPTION_NOARG, NULL, "put module. before every name", OPT_DDP },
	{ "add-prefix", 0, OPTION_ARG, "P", "put P before every name", OPT_ADD_PREFIX },
	{ "ignore-missing", 0, OPTION_NOARG, NULL, "a listed name may be missing", OPT_IGNORE_MISSING },
	{ "allow-empty", 0, OPTION_NOARG, NULL, "a list of names may be empty", OPT_ALLOW_EMPTY },
	{ "fail-unused", 0, OPTION_NOARG, NULL, "status 1 if a rule matched nothing", OPT_FAIL_UNUSED },
	OPTION_NULL("lists of names end in NUL"),
	OPTION_HEADING("Relative position bias:"),
	{ "interpolate", 0, OPTION_NOARG, NULL, "resize tables", OPT_INTERPOLATE },
	{ "no-interpolate", 0, OPTION_NOARG, NULL, "do not, whatever the description says", OPT_NO_INTERPOLATE },
	BIAS_ENTRIES_SIZE,
	BIAS_ENTRIES_METHOD,
	OPTION_HEADING("Load check:"),
	{ "strict", 0, OPTION_NOARG, NULL, "missing or unexpected names: status 1", OPT_STRICT },
	{ "no-strict", 0, OPTION_NOARG, NULL, "they are not, whatever the description says", OPT_NO_STRICT },
	{ "drop-mismatched", 0, OPTION_NOARG, NULL, "drop tensors of another shape", OPT_DROP_MISMATCHED },
	OPTION_HEADING("Output:"),
	OPTION_OUTPUT("FILE", "write to FILE instead of standard output"),
	{ "to", 0, OPTION_ARG, "FORMAT", "torch or safetensors (default: suffix of -o, input)", OPT_TO },
	{ "under", 0, OPTION_ARG, "KEY", "where the state dict goes (default: where it was)", OPT_UNDER },
	{ "root", 0, OPTION_NOARG, NULL, "write the bare state dict", OPT_ROOT },
	{ "carry", 0, OPTION_ARG, "KEY", "take this entry of the root along", OPT_CARRY },
	{ "carry-all", 0, OPTION_NOARG, NULL, "take all of them along", OPT_CARRY_ALL },
	{ "dtype", 0, OPTION_ARG, "D", "float64, float32, float16 or bfloat16", OPT_DTYPE },
	{ "compact", 0, OPTION_NOARG, NULL, "write views as tensors of their own", OPT_COMPACT },
	{ "max-shard-size", 0, OPTION_ARG, "SIZE", "with -o DIR/: shards of at most SIZE (5GB)", OPT_MAX_SHARD },
	{ "shard", 0, OPTION_ARG, "K/N", "adapt the Kth of N shares of an index's shards", OPT_SHARD },
	{ "write-index", 0, OPTION_ARG, "DIR", "index and check the shards made by --shard", OPT_WRITE_INDEX },
	{ "report", 0, OPTION_ARG, "FILE", "what became of every tensor, as JSON", OPT_REPORT },
	{ "dry-run", 'n', OPTION_NOARG, NULL, "list what would be written", OPT_DRY_RUN },
	{ "compat", 0, OPTION_ARG, "linnaeus", "do exactly what linnaeus's loader does", OPT_COMPAT },
	OPTION_JOBS("threads"),
	OPTION_QUIET("no warnings, no summary"),
	OPTION_VERBOSE("list what is dropped, renamed and resampled"),
	OPTION_COLOR,
	OPTION_PROGRESS,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_END,
};

static int
add_name_option(struct adapt_options *o, enum name_edit what, const char *arg)
{
	o->names = xgrow(o->names, o->nnames, &o->cap_names, sizeof(*o->names));
	o->names[o->nnames].what = what;
	o->names[o->nnames++].arg = arg;
	return 0;
}

static int
apply_flag(struct adapt_options *o, int id)
{
	switch (id) {
	case OPT_INTERPOLATE: o->interpolate = OVERRIDE_YES; break;
	case OPT_NO_INTERPOLATE: o->interpolate = OVERRIDE_NO; break;
	case OPT_STRICT: o->strict = OVERRIDE_YES; break;
	case OPT_NO_STRICT: o->strict = OVERRIDE_NO; break;
	case OPT_IGNORE_MISSING: o->ignore_missing = true; break;
	case OPT_ALLOW_EMPTY: o->allow_empty = true; break;
	case OPT_FAIL_UNUSED: o->fail_unused = true; break;
	case OPT_DROP_MISMATCHED: o->drop_mismatched = true; break;
	case OPT_DDP: o->ddp = true; break;
	case OPT_KEEP_WRAPPERS: o->keep_wrappers = true; break;
	case OPT_ROOT: o->root = true; break;
	case OPT_CARRY_ALL: o->carry_all = true; break;
	case OPT_COMPACT: o->compact = true; break;
	case OPT_DRY_RUN: o->dry_run = true; break;
	}
	return 0;
}

static int
apply(void *opts, int id, const char *arg, struct err *e)
{
	struct adapt_options *o = opts;

	switch (id) {
	case OPT_MODEL: strs_add(&o->models, arg); return 0;
	case OPT_INPUT: strs_add(&o->inputs, arg); return 0;
	case OPT_STRIP: strs_add(&o->strip, arg); return 0;
	case OPT_DROP_PARAMS: strs_add(&o->drop_params, arg); return 0;
	case OPT_DROP_BUFFERS: strs_add(&o->drop_buffers, arg); return 0;
	case OPT_CARRY: strs_add(&o->carry, arg); return 0;
	case OPT_ADD_PREFIX: strs_add(&o->add_prefix, arg); return 0;
	case OPT_DROP_NAMES: return add_name_option(o, NAMES_DROP, arg);
	case OPT_KEEP_NAMES: return add_name_option(o, NAMES_KEEP, arg);
	case OPT_RENAME: return add_name_option(o, NAMES_RENAME, arg);
	case OPT_CONFIG: o->config = arg; return 0;
	case OPT_CONFIG_DIR: o->config_dir = arg; return 0;
	case OPT_SOURCE: o->source = arg; return 0;
	case OPT_PRINT_MAP: o->print_map = arg; return 0;
	case OPT_UNDER: o->under = arg; return 0;
	case OPT_TO: o->to = arg; return 0;
	case OPT_DTYPE: o->dtype = arg; return 0;
	case OPT_REPORT: o->report = arg; return 0;
	case OPT_SHARD: o->shard = arg; return 0;
	case OPT_WRITE_INDEX: o->write_index = arg; return 0;
	case OPT_MAX_SHARD:
		if (num_size(str_c(arg), &o->max_shard_size) && o->max_shard_size > 0)
			return 0;
		return err_set(e, ERR_USAGE, "--max-shard-size: a size such as 5GB or 500MiB was expected, not %s", arg);
	case OPT_COMPAT:
		o->compat = true;
		return strcmp(arg, "linnaeus") == 0 ? 0 : err_set(e, ERR_USAGE, "--compat: linnaeus was expected, not %s", arg);
	}
	return id >= BIAS_FIRST && id <= BIAS_LAST ? bias_apply(&o->bias, id, arg, e) : apply_flag(o, id);
}

static const struct program program = {
	.usage = "[options] [CKPT]",
	.summary = "Adapts a checkpoint to the model that must load it.",
	.entries = entries,
	.most_operands = 1,
	.apply = apply,
};

static void
release(struct adapt_options *o)
{
	struct strs *lists[] = { &o->models, &o->inputs, &o->strip, &o->drop_params, &o->drop_buffers, &o->carry,
				 &o->add_prefix };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		strs_release(lists[i]);
	bias_release(&o->bias);
	free(o->names);
}

int
main(int argc, char **argv)
{
	struct adapt_options o = { .bias = BIAS_OPTIONS_INIT };
	struct operands operands = OPERANDS_INIT;
	struct err e = ERR_INIT;
	int status = TOOL_DONE;

	tool_start("lnn-ckpt-adapt");
	if (option_parse(&program, argc, argv, &o, &operands, &e) != 0 || adapt_run(&o, &operands, &e) != 0)
		status = tool_fail(&e);
	release(&o);
	free(operands.v);
	return status;
}
