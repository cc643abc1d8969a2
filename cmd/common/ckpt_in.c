#include "common/ckpt_in.h"

#include <stdlib.h>

#include "common/file.h"
#include "common/tool.h"
#include "tensor/place.h"

bool
input_probe(const uint8_t *head, size_t n)
{
	struct str text = str_n((const char *)head, n);

	return format_is_no_text(head, n < FORMAT_PROBE ? n : FORMAT_PROBE) ||
	       (str_starts(text, str_c("{")) && str_contains(text, str_c("\"weight_map\"")));
}

/*
 * If the tensors of a state dict are pieces without information about their place, returns a message that says what they are and
 * how to join them. Otherwise returns NULL.
 */
static const char *
flat_pieces(const struct statedict *sd)
{
	const struct vtree *t = sd->ckpt->tree;
	const struct tensor *tensor;
	bool empty = sd->n > 0;

	for (size_t i = 0; i < sd->n; i++) {
		if (str_ends(sd->entries[i].name, str_c("flat_param")))
			return "it has flat parameters of FSDP 1, which join all parameters of a module in one row: save it with "
			       "StateDictType.FULL_STATE_DICT";
		tensor = sd_tensor(sd, &sd->entries[i]);
		empty = empty && (tensor == NULL || tensor_count(tensor) == 0);
	}
	if (t == NULL || (value_path(t, sd->ckpt->root, str_c("optimizer_state_dict.zero_stage")) == VALUE_ABSENT &&
			  (!empty || value_get(t, sd->ckpt->root, str_c("ds_version")) == VALUE_ABSENT)))
		return NULL;
	return "it has flat pieces of parameters, as DeepSpeed's ZeRO saves them for one rank: join the ranks with "
	       "zero_to_fp32.py, which DeepSpeed writes into the parent folder";
}

static bool
has_dtensors(const struct statedict *sd)
{
	const struct tensor *t;

	for (size_t i = 0; i < sd->n; i++) {
		t = sd_tensor(sd, &sd->entries[i]);
		if (t != NULL && t->more != NULL && t->more->placements.len > 0)
			return true;
	}
	return false;
}

int
input_check_pieces(const struct input *in, bool lists, struct err *err)
{
	const char *what =
		!in->ckpt->constants
			? flat_pieces(&in->sd)
			: "the tensors of a frozen TorchScript module are constants (constants.pkl), not a state dict; save "
			  "the module before torch.jit.freeze";

	if (in->ckpt->boxed)
		diag_notice(tool_diag(),
			    "%s: a shard of a distributed checkpoint, whose tensors are boxes of larger ones; "
			    "the folder is the whole checkpoint",
			    in->ckpt->file);
	if (has_dtensors(&in->sd))
		diag_notice(tool_diag(), "%s: its DTensors are the parts of one rank (--ranks joins the files of all ranks)",
			    in->ckpt->file);
	if (what != NULL && !lists)
		return err_input(err, in->ckpt->file, "%s", what);
	if (what != NULL)
		diag_notice(tool_diag(), "%s: %s", in->ckpt->file, what);
	return 0;
}

int
input_open_index(struct input *in, struct source *src, struct err *err)
{
	struct source_opts sopts = { .spool_dir = getenv("TMPDIR"), .diag = tool_diag() };
	struct format_opts opts = { tool_diag(), &sopts, SALVAGE_NOT };

	in->src = src;
	return format_open(&in->ckpt, src, &opts, err);
}

int
input_open_source(struct input *in, struct source *src, const struct place_ask *ask, struct err *err)
{
	if (input_open_index(in, src, err) < 0 || statedict_open_place(&in->sd, in->ckpt, ask, err) < 0)
		return -1;
	return input_check_pieces(in, false, err);
}

int
input_open(struct input *in, const char *operand, const char *key, struct err *err)
{
	struct place_ask ask = { .key = key, .diag = tool_diag() };
	struct source *src;

	if (file_checkpoint(operand, FILE_BINARY, &src, err) != 0)
		return -1;
	return input_open_source(in, src, &ask, err) < 0 ? -1 : ckpt_check_index(in->ckpt, err);
}

int
input_finish(const struct input *in, struct err *err)
{
	struct ckpt *c = in->ckpt;

	for (uint32_t i = 0; source_is_stream(in->src) && i < c->nstorages; i++)
		if (ckpt_done(c, i, err) != 0)
			return -1;
	return ckpt_finish(c, err);
}

void
input_close(struct input *in)
{
	if (in->sd.ckpt != NULL)
		statedict_release(&in->sd);
	ckpt_close(in->ckpt);
	source_close(in->src);
	*in = (struct input){ 0 };
}
