/*
 * --salvage: reads a truncated or damaged input and keeps the tensors that are undamaged.
 */
#include "format/salvage.h"

#include <inttypes.h>
#include <string.h>

#include "adapt.h"
#include "common/file.h"
#include "tensor/place.h"

int
salvage_check(const struct adapt_options *o, struct err *err)
{
	const struct format_writer *w = o->to == NULL ? NULL : format_writer(o->to);
	const char *path = o->common.output;

	if (o->shard != NULL || o->write_index != NULL || o->inputs.n > 0)
		return err_set(err, ERR_USAGE, "--salvage takes one input, and does not go with --shard and --write-index");
	if (w != NULL && w->folder)
		path = NULL;
	if ((path == NULL && !o->dry_run) || (path != NULL && strcmp(path, "-") == 0) ||
	    ckpt_out_is_folder(path, o->max_shard_size))
		return err_set(err, ERR_USAGE, "--salvage writes a file: -o FILE");
	return 0;
}

/* Opens the operand. A stream is copied to a temporary file in the folder of the output. */
static int
open_source(struct adapt *a, const char *operand, struct source **src, struct err *err)
{
	const char *out = a->o->common.output;
	const int len = out == NULL ? 0 : (int)path_folder(out);
	const char *dir = len == 0 ? "." : arena_printf(&a->arena, "%.*s", len, out);

	return file_checkpoint(operand, FILE_BINARY, src, err) < 0 ? -1 : source_to_file(*src, dir, err);
}

/* Opens the checkpoint in one way, and determines what is undamaged. */
static int
look(struct salvage *s, struct source *src, enum ckpt_salvage how, const struct diag *diag, struct err *err)
{
	struct ckpt *c;

	*s = (struct salvage){ .c = NULL };
	if (format_open(&c, src, &(struct format_opts){ diag, NULL, how }, err) < 0)
		return -1;
	salvage_read(s, c);
	return 0;
}

/*
 * Opens the checkpoint by its index. If that loses something, also scans the file without the index, and uses the way that saves
 * more bytes. If both save the same bytes, the way with fewer damaged records in the index is used, or the index if there is no
 * difference.
 */
static int
look_twice(struct salvage *best, struct source *src, struct err *err)
{
	struct salvage scan;
	int rc = look(best, src, SALVAGE_INDEX, tool_diag(), err);

	if (rc == 0 && !best->loses)
		return 0;
	if (look(&scan, src, SALVAGE_SCAN, rc == 0 ? NULL : tool_diag(), &(struct err)ERR_INIT) < 0)
		return rc;
	if (rc == 0 && (scan.saved < best->saved || (scan.saved == best->saved && scan.c->ndamaged >= best->c->ndamaged))) {
		salvage_release(&scan);
		ckpt_close(scan.c);
		return 0;
	}
	salvage_release(best);
	ckpt_close(best->c);
	*best = scan;
	err_clear(err);
	return 0;
}

/* Finds the place of the state dict before anything is removed. If no rule decides, the place is the root. */
static int
find_place(struct adapt *a, struct input *in, const char **key, struct err *err)
{
	const struct place_ask ask = { .key = a->o->common.key, .diag = tool_diag() };
	struct statedict sd;
	int rc = statedict_open_place(&sd, in->ckpt, &ask, err);

	*key = "";
	if (rc == 0) {
		*key = arena_printf(&a->arena, "%.*s", STR_ARG(sd.key));
		statedict_release(&sd);
	}
	if (rc < 0 && a->o->common.key == NULL) {
		err_clear(err);
		rc = 0;
	}
	return rc;
}

/* Opens what is left at the place, or else at the root. */
static int
open_place(struct input *in, const char *key, struct err *err)
{
	if (statedict_open(&in->sd, in->ckpt, key, &(struct err)ERR_INIT) == 0)
		return 0;
	return statedict_open(&in->sd, in->ckpt, "", err);
}

static int
nothing(const struct source *src, const char *why, struct err *err)
{
	const size_t n = strlen(source_name(src));

	/* Removes the file name from why, because err_input adds it. */
	if (strncmp(why, source_name(src), n) == 0 && strncmp(why + n, ": ", 2) == 0)
		why += n + 2;
	err_clear(err);
	return err_input(err, source_name(src), "nothing can be saved from it%s%s", why[0] == '\0' ? "" : ": ", why);
}

int
salvage_input(struct adapt *a, struct input *in, const char *operand, struct err *err)
{
	struct salvage s;
	const char *key;
	struct err why = ERR_INIT;

	if (open_source(a, operand, &in->src, err) < 0)
		return -1;
	if (look_twice(&s, in->src, &why) < 0)
		return nothing(in->src, why.msg, err);
	in->ckpt = s.c;
	if (find_place(a, in, &key, err) < 0) {
		salvage_release(&s);
		return -1;
	}
	salvage_take_out(&s, tool_diag());
	salvage_release(&s);
	if (s.kept == 0 || open_place(in, key, err) < 0)
		return nothing(in->src, "", err);
	a->imperfect = s.loses || s.unproved > 0;
	a->salvaged = arena_printf(&a->arena, "salvage: %" PRIu64 " whole, %" PRIu64 " not proved, %" PRIu64 " lost",
				   s.kept - s.unproved, s.unproved, s.lost);
	return 0;
}
