/*
 * lnn-interp-bias: resizes position tables for another image size.
 */
#include "interp.h"

#define OPTIONS struct interp_options

static const struct option_entry entries[] = {
	OPTION_HEADING("New size:"),
	BIAS_ENTRIES_SIZE,
	OPTION_TEXTS("model", 'm', "MODEL", "take layout and shapes from a description", models),
	OPTION_HEADING("How:"),
	BIAS_ENTRIES_METHOD,
	BIAS_READ("kind", "KIND,...", "bias, bias3, offsets, axis, embed (all)", BIAS_KINDS),
	OPTION_FLAG("show", 0, "draw the tables before and after", show),
	OPTION_HEADING("Input and output:"),
	OPTION_KEY("state dict at this dotted path"),
	OPTION_RANKS,
	OPTION_OUTPUT("FILE", "write to FILE instead of standard output"),
	OPTION_TEXT("to", 0, "FORMAT", "torch, safetensors or dcp (default: suffix of -o, input)", to),
	OPTION_FLAG("drop-rest", 0, "write only the state dict", drop_rest),
	OPTION_FLAG("dry-run", 'n', "list what would be written", dry_run),
	OPTION_JOBS("threads"),
	OPTION_QUIET("no warnings, no summary"),
	OPTION_VERBOSE("say more"),
	OPTION_COLOR,
	OPTION_PROGRESS,
	OPTION_ENDING,
};

static const struct program program = {
	.name = "lnn-interp-bias",
	.usage = "[--img-size N | --grid HxW] [options] [CKPT]",
	.summary = "Resizes position tables; everything else passes through.",
	.examples = { "lnn-interp-bias --img-size 384 old224.pth -o new384.pth",
		      "lnn-interp-bias --img-size 384 --show -n old224.pth" },
	.status = "0 done, 1 no table got the size, 2 an error",
	.entries = entries,
	.most_operands = 1,
	.run = interp_run,
};

int
main(int argc, char **argv)
{
	struct interp_options o = { .to = NULL };
	const int status = option_main(&program, argc, argv, &o);

	bias_release(&o.bias);
	return status;
}
