/*
 * lnn-ckpt-adapt: adapts a checkpoint to the model that is to load it.
 */
#include <stdlib.h>
#include <string.h>

#include "adapt.h"
#include "base/num.h"
#include "base/xalloc.h"

#define OPTIONS struct adapt_options

static int
read_name_option(const struct option_entry *entry, void *opts, const char *arg, struct err *err)
{
	struct adapt_options *o = opts;

	(void)err;
	*xpush(o->names, o->nnames, o->cap_names) = (struct name_option){ (enum name_edit)entry->value, arg };
	return 0;
}

static int
read_size(const struct option_entry *o, void *size, const char *arg, struct err *err)
{
	if (num_size(str_c(arg), size) && *(const uint64_t *)size > 0)
		return 0;
	return err_set(err, ERR_USAGE, "--%s: a size such as 5GB or 500MiB was expected, not %s", o->name, arg);
}

static int
read_interpolate(const struct option_entry *entry, void *opts, const char *arg, struct err *err)
{
	struct adapt_options *o = opts;

	(void)entry;
	o->interpolate = OVERRIDE_YES;
	return arg == NULL ? 0 : position_kinds_parse(str_c(arg), &o->bias.kinds, err);
}

static int
read_compat(const struct option_entry *o, void *compat, const char *arg, struct err *err)
{
	*(bool *)compat = true;
	return strcmp(arg, "linnaeus") == 0 ? 0 : err_set(err, ERR_USAGE, "--%s: linnaeus was expected, not %s", o->name, arg);
}

static const struct option_entry entries[] = {
	OPTION_HEADING("Model and input:"),
	OPTION_TEXTS("model", 'm', "MODEL", "description: built-in name, file, or a checkpoint", models),
	OPTION_TEXT("config", 'c', "CONFIG", "experiment file: checkpoint, source, image size", config),
	OPTION_TEXT("config-dir", 0, "DIR", "folder of relative bases in CONFIG", config_dir),
	OPTION_TEXT("source", 's', "MAP", "key map: built-in name or a .yaml file", source),
	OPTION_TEXTS("input", 0, "NAME=FILE", "file for the input NAME of the key map", inputs),
	OPTION_TEXT("print-map", 0, "NAME", "print a built-in key map", print_map),
	OPTION_KEY("state dict at this dotted path"),
	OPTION_RANKS,
	OPTION_HEADING("Names:"),
	OPTION_TEXTS("strip-prefix", 0, "P", "remove P once from the beginning of names", strip),
	OPTION_FLAG("keep-wrappers", 0, "keep module., _orig_mod. and the like", keep_wrappers),
	OPTION_TEXTS("drop-params", 0, "P", "drop if P begins a component; ^P, re:R", drop_params),
	OPTION_TEXTS("drop-buffers", 0, "P", "drop names that contain P", drop_buffers),
	OPTION_READ("drop-names", "LIST", "drop the tensors listed in LIST", 0, NAMES_DROP, read_name_option),
	OPTION_READ("keep-names", "LIST", "keep only the tensors listed in LIST", 0, NAMES_KEEP, read_name_option),
	OPTION_READ("rename", "s/R/S/[g]", "rename by regular expression", 0, NAMES_RENAME, read_name_option),
	OPTION_FLAG("ddp", 0, "put module. before every name", ddp),
	OPTION_TEXTS("add-prefix", 0, "P", "put P before every name", add_prefix),
	OPTION_FLAG("ignore-missing", 0, "warn about listed names that do not exist", ignore_missing),
	OPTION_FLAG("allow-empty", 0, "accept an empty list of names", allow_empty),
	OPTION_FLAG("fail-unused", 0, "status 1 if a rule matches nothing", fail_unused),
	OPTION_NULL("lists of names end in NUL"),
	OPTION_HEADING("Position tables:"),
	OPTION_READ("interpolate", "[=KIND,...]", "resize tables (bias, bias3, offsets, axis, embed)", 0, 0, read_interpolate),
	OPTION_VALUE("no-interpolate", "do not resize tables, even if MODEL says so", interpolate, OVERRIDE_NO),
	BIAS_ENTRIES_SIZE,
	BIAS_ENTRIES_METHOD,
	OPTION_HEADING("Load check:"),
	OPTION_VALUE("strict", "status 1 if names are missing or unexpected", strict, OVERRIDE_YES),
	OPTION_VALUE("no-strict", "accept missing and unexpected names", strict, OVERRIDE_NO),
	OPTION_FLAG("fit", 0, "resize tables and input layers to the model's shapes", fit),
	OPTION_FLAG("drop-mismatched", 0, "drop tensors of another shape", drop_mismatched),
	OPTION_HEADING("Output:"),
	OPTION_OUTPUT("FILE", "write to FILE instead of standard output"),
	OPTION_FLAG("in-place", 0, "change names in CKPT itself; drops free space", in_place),
	OPTION_FLAG("drop-rest", 0, "with --in-place: keep only the state dict", drop_rest),
	OPTION_TEXT("recover", 0, "FILE", "finish or undo an interrupted edit in place", recover),
	OPTION_TEXT("to", 0, "FORMAT", "torch, safetensors or dcp (default: suffix of -o, input)", to),
	OPTION_TEXT("under", 0, "KEY", "key for the state dict (default: where it was)", under),
	OPTION_FLAG("root", 0, "write only the state dict", root),
	OPTION_TEXTS("carry", 0, "KEY", "also write this entry of the root", carry),
	OPTION_FLAG("carry-all", 0, "also write all other entries of the root", carry_all),
	OPTION_TEXTS("dtype", 0, "D", "float32, bf16, ... or keep; REGEX=D: these names", dtype),
	OPTION_READ("set-metadata", "KEY=VALUE", "safetensors: set an entry of __metadata__", 0, META_SET, read_name_option),
	OPTION_READ("drop-metadata", "KEY", "safetensors: drop an entry of __metadata__", 0, META_DROP, read_name_option),
	OPTION_FLAG("compact", 0, "write views as independent tensors", compact),
	OPTION_READ("max-shard-size", "SIZE", "with -o DIR/: shards up to SIZE (5GB)", OPTION_AT(max_shard_size, uint64_t), 0,
		    read_size),
	OPTION_TEXT("shard", 0, "K/N", "adapt the Kth of N parts of a sharded set", shard),
	OPTION_TEXT("write-index", 0, "DIR", "check the shards made by --shard, write an index", write_index),
	OPTION_FLAG("salvage", 0, "write what is whole in a damaged or truncated file", salvage),
	OPTION_TEXT("report", 0, "FILE", "write what became of every tensor, as JSON", report),
	OPTION_FLAG("dry-run", 'n', "list what would be written", dry_run),
	OPTION_READ("compat", "linnaeus", "do exactly what linnaeus's loader does", OPTION_AT(compat, bool), 0, read_compat),
	OPTION_JOBS("threads"),
	OPTION_QUIET("no warnings, no summary"),
	OPTION_VERBOSE("list what is dropped, renamed and resampled"),
	OPTION_COLOR,
	OPTION_PROGRESS,
	OPTION_ENDING,
};

static const struct program program = {
	.name = "lnn-ckpt-adapt",
	.usage = "[options] [CKPT]",
	.summary = "Adapts a checkpoint to the model that must load it.",
	.examples = { "lnn-ckpt-adapt -m fresh384.pth --fit old224.pth -o new384.pth",
		      "lnn-ckpt-adapt step-1000 -o model.safetensors" },
	.status = "0 done, 1 --strict failed or nothing fits, 2 an error",
	.entries = entries,
	.most_operands = 1,
	.run = adapt_run,
};

int
main(int argc, char **argv)
{
	struct adapt_options o = { .names = NULL };
	const int status = option_main(&program, argc, argv, &o);

	bias_release(&o.bias);
	free(o.names);
	return status;
}
