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

int
input_open_index(struct input *in, struct source *src, struct err *e)
{
	struct source_opts sopts = { .spool_dir = getenv("TMPDIR"), .diag = tool_diag() };
	struct format_opts opts = { tool_diag(), &sopts };

	in->src = src;
	return format_open(&in->ckpt, src, &opts, e);
}

int
input_open_source(struct input *in, struct source *src, const struct place_ask *ask, struct err *e)
{
	return input_open_index(in, src, e) < 0 ? -1 : statedict_open_place(&in->sd, in->ckpt, ask, e);
}

int
input_open(struct input *in, const char *operand, const char *key, struct err *e)
{
	struct place_ask ask = { .key = key, .diag = tool_diag() };
	struct source *src;

	if (file_checkpoint(operand, FILE_BINARY, &src, e) != 0)
		return -1;
	return input_open_source(in, src, &ask, e) < 0 ? -1 : ckpt_check_index(in->ckpt, e);
}

int
input_finish(const struct input *in, struct err *e)
{
	struct ckpt *c = in->ckpt;

	for (uint32_t i = 0; source_is_stream(in->src) && i < c->nstorages; i++)
		if (ckpt_done(c, i, e) != 0)
			return -1;
	return ckpt_finish(c, e);
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
