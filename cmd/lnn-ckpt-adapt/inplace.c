#include "inplace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "common/file.h"
#include "io/fd.h"
#include "tensor/place.h"

int
inplace_check_options(const struct adapt_options *o, const struct operands *operands, struct err *err)
{
	const struct {
		bool given;
		const char *option;
	} copies[] = {
		{ o->common.output != NULL, "-o" },
		{ o->to != NULL, "--to" },
		{ o->under != NULL, "--under" },
		{ o->root, "--root" },
		{ o->carry.n > 0, "--carry" },
		{ o->carry_all, "--carry-all" },
		{ o->dtype.n > 0, "--dtype" },
		{ o->compact, "--compact" },
		{ o->max_shard_size > 0, "--max-shard-size" },
		{ o->shard != NULL, "--shard" },
		{ o->write_index != NULL, "--write-index" },
		{ o->interpolate == OVERRIDE_YES, "--interpolate" },
		{ o->fit, "--fit" },
		{ o->inputs.n > 0, "--input" },
		{ o->common.ranks, "--ranks" },
		{ o->salvage, "--salvage" },
	};

	if (!o->in_place && o->drop_rest)
		return err_set(err, ERR_USAGE, "--drop-rest needs --in-place: a copy contains only the state dict anyway");
	if (o->recover != NULL && (o->in_place || operands->n > 0 || o->common.output != NULL))
		return err_set(
			err, ERR_USAGE,
			"--recover goes with no other file and not with --in-place: it finishes or undoes an interrupted edit");
	if (!o->in_place)
		return 0;
	for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++)
		if (copies[i].given)
			return err_set(err, ERR_USAGE, "%s does not go with --in-place, which changes names in the file itself%s",
				       copies[i].option, i == 0 ? "" : ": -o FILE makes a copy");
	if (operands->n == 0 || strcmp(operands->v[0], "-") == 0)
		return err_set(err, ERR_USAGE, "--in-place: name the file to edit");
	return 0;
}

/* ---- opening */

static const char no_file[] = "is not a regular file: --in-place cannot edit it";

static int
check_file(int fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, path, "cannot open");
	if (!S_ISREG(st.st_mode))
		return err_input(err, path, "%s", no_file);
	if (st.st_nlink > 1)
		return err_input(err, path, "has %lu names (hard links), which would all change: --in-place does not edit it",
				 (unsigned long)st.st_nlink);
	return 0;
}

static int
open_file(const char *path, bool dry_run, int *fd, struct err *err)
{
	if (undo_notice(path, true, NULL, err) < 0)
		return -1;
	*fd = fd_open(path, (dry_run ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
	if (*fd < 0 && errno == ELOOP)
		return err_input(err, path,
				 "is a symbolic link, which --in-place does not follow (files in a Hub cache are named by their "
				 "contents): name the file itself");
	if (*fd < 0 && errno == EISDIR)
		return err_input(err, path, "%s", no_file);
	if (*fd < 0)
		return err_sys(err, path, dry_run ? "cannot open" : "cannot open for writing");
	return check_file(*fd, path, err);
}

/* Refuses a shard with an index beside it, because the index would no longer match the names in the shard. */
static int
check_shard(const char *path, struct err *err)
{
	struct arena a = ARENA_INIT;
	const int dir_len = (int)path_folder(path);
	const char *folder = dir_len > 0 ? arena_printf(&a, "%.*s", dir_len, path) : "./";
	struct str quoted = str_c(arena_printf(&a, "\"%s\"", path + dir_len));
	DIR *dir = opendir(folder);
	struct buf text = BUF_INIT;
	struct dirent *d;
	int rc = 0;

	while (dir != NULL && rc == 0 && (d = readdir(dir)) != NULL) {
		if (!str_ends(str_c(d->d_name), str_c(".index.json")))
			continue;
		rc = file_text(arena_printf(&a, "%s%s", folder, d->d_name), SHARD_INDEX_MAX, &text, err);
		if (rc == 0 && str_contains(buf_str(&text), quoted))
			rc = err_input(err, path, "is a shard, and its index %s would be wrong: -o DIR/ writes the set anew",
				       d->d_name);
	}
	if (dir != NULL)
		closedir(dir);
	buf_release(&text);
	arena_release(&a);
	return rc;
}

/* Checks that the input is a single file whose state dict is a dict. */
static int
check_input(const struct input *in, struct err *err)
{
	const struct ckpt *c = in->ckpt;

	if (strcmp(c->ops->name, "torch") != 0 && strcmp(c->ops->name, "safetensors") != 0)
		return err_input(err, c->file, "is %s, which --in-place cannot edit: -o FILE makes a copy", c->ops->name);
	if (c->boxed)
		return err_input(err, c->file, "is a shard of a distributed checkpoint, which --in-place does not edit");
	if (c->tree != NULL && (in->sd.module || value_kind(c->tree, in->sd.place) != VALUE_DICT))
		return err_input(err, c->file, "its state dict is not a dict, so --in-place cannot change its names");
	return check_shard(c->file, err);
}

int
inplace_open(struct adapt *a, struct input *in, const char *path, struct err *err)
{
	struct place_ask ask = { .key = a->o->common.key, .diag = tool_diag() };
	struct source *src;
	int copy;

	if (open_file(path, a->o->dry_run, &a->fd, err) < 0)
		return -1;
	/* Taking a lease requires that the file is open only once. A duplicate of the descriptor counts as the same opening. */
	copy = fcntl(a->fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return err_sys(err, path, "cannot open");
	if (source_fd(&src, copy, path, NULL, err) < 0 || input_open_source(in, src, &ask, err) < 0)
		return -1;
	return ckpt_check_index(in->ckpt, err) < 0 ? -1 : check_input(in, err);
}

/* ---- edits that move no tensor bytes */

static int
check_act(const struct plan_origin *o, const struct plan_act *act, struct err *err)
{
	if (act->action == PLAN_MADE)
		return err_set(err, ERR_USAGE, "%s: '%.*s' would get new bytes, which needs a copy: -o FILE instead of --in-place",
			       act->by, STR_ARG(o->entry->name));
	if ((act->action == PLAN_DROPPED || act->action == PLAN_SKIPPED) && strncmp(act->by, "--", 2) != 0)
		return err_set(err, ERR_USAGE,
			       "%s: '%.*s' would be dropped, which --in-place does only for an option on the "
			       "command line (--drop-params)",
			       act->by, STR_ARG(o->entry->name));
	return 0;
}

int
inplace_check(const struct plan *p, struct err *err)
{
	int changes = p->nmeta > 0;

	for (size_t i = 0; i < p->norigins; i++)
		for (const struct plan_act *act = p->origins[i].acts; act != NULL; act = act->next) {
			if (p->origins[i].entry != NULL && check_act(&p->origins[i], act, err) < 0)
				return -1;
			changes = 1;
		}
	return changes;
}

static int
needs_copy(const struct ckpt *c, const char *why, struct err *err)
{
	return err_input(err, c->file, "%s: -o FILE instead of --in-place", why);
}

static int
edit_file(struct sealed *s, struct undo_edit *u, struct err *err)
{
	const struct ckpt *c = s->plan->inputs[0].sd->ckpt;
	struct manifest *m = &s->m;
	uint32_t next = 0; /* the lowest storage of the input that may follow */

	if (s->writer->patch == NULL)
		return needs_copy(c, "such a checkpoint cannot be edited in place", err);
	m->kept = arena_calloc(&s->arena, m->nstorages, sizeof(*m->kept));
	m->locations = c->locations;
	for (uint32_t i = 0; i < m->nstorages; i++) {
		const struct sealed_output *out = &s->outputs[i];

		if (out->made != NULL || out->off != 0 || m->storages[i].nbytes != c->storages[out->storage].nbytes ||
		    out->storage < next)
			return needs_copy(c, "bytes of tensors would have to be copied or swapped", err);
		m->kept[i] = &c->storages[out->storage];
		next = out->storage + 1;
	}
	return s->writer->patch(m, c, u, err);
}

/* ---- reading the file back */

/* Returns the new offset of a byte of the old file. */
static uint64_t
place_now(const struct undo_edit *u, uint64_t off)
{
	uint64_t now = off + u->insert;

	/* An empty storage may lie inside a range that was cut out. */
	for (size_t i = 0; i < u->ncuts && u->cuts[i].off < off; i++)
		now -= off - u->cuts[i].off < u->cuts[i].len ? off - u->cuts[i].off : u->cuts[i].len;
	return now;
}

static bool
same_tensor(const struct undo_edit *u, const struct ckpt *was, const struct ckpt *now, uint32_t before, uint32_t after)
{
	const struct tensor *a = &was->tensors[before], *b = &now->tensors[after];
	const struct storage *x, *y;

	if (a->dtype != b->dtype || !tensor_same_shape(a, b) || a->offset != b->offset || a->flags != b->flags)
		return false;
	if (a->storage == STORAGE_NONE || b->storage == STORAGE_NONE)
		return a->storage == b->storage;
	x = &was->storages[a->storage];
	y = &now->storages[b->storage];
	return x->nbytes == y->nbytes && y->offset == place_now(u, x->offset);
}

/* Did name belong to a value in a container that is a single entry now, because all tensors of the container were dropped? */
static bool
is_folded(const struct statedict *now, struct str name)
{
	const struct sd_entry *container;

	while (name.len-- > 0) {
		container = name.p[name.len] == '.' ? statedict_find(now, name) : NULL;
		if (container != NULL)
			return container->kind == SD_OTHER;
	}
	return false;
}

static int
compare(const struct plan *p, const struct undo_edit *u, const struct statedict *now, struct err *err)
{
	const struct ckpt *was = p->inputs[0].sd->ckpt;
	size_t n = 0;

	for (const struct plan_entry *en = plan_next(p, NULL); en != NULL; en = plan_next(p, en)) {
		const struct sd_entry *src = plan_source(p, en), *got = statedict_find(now, en->name);

		n += src->kind != SD_OTHER;
		if (got == NULL && src->kind == SD_OTHER && is_folded(now, en->name))
			continue;
		if (got == NULL || got->kind != src->kind ||
		    (src->kind == SD_TENSOR && !same_tensor(u, was, now->ckpt, src->tensor, got->tensor)))
			return err_input(err, was->file, "the edit failed: '%.*s' differs from the plan when it is read back",
					 STR_ARG(en->name));
	}
	for (size_t i = 0; i < now->n; i++)
		n -= now->entries[i].kind != SD_OTHER;
	return n == 0 ? 0 : err_input(err, was->file, "the edit failed: the names differ from the plan when they are read back");
}

/* ---- the edit */

int
inplace_plan(struct adapt *a, struct sealed *s, struct undo_edit *u, struct err *err)
{
	struct stat st;

	if (fstat(a->fd, &st) < 0)
		return err_sys(err, a->inputs[0].ckpt->file, "cannot read");
	*u = (struct undo_edit){ .arena = ARENA_INIT, .size = (uint64_t)st.st_size, .block = (uint64_t)st.st_blksize };
	return edit_file(s, u, err);
}

/*
 * Takes a lease on the file. It is granted only if no other process has the file open or mapped. From then on, a process that opens
 * it waits until it is closed.
 */
static int
take_lease(int fd, const char *path, struct err *err)
{
	/* The kernel sends SIGIO when another process opens the file. */
	(void)signal(SIGIO, SIG_IGN);
	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0)
		return 0;
	if (errno == EAGAIN || errno == EBUSY)
		return err_input(err, path, "another program has it open or mapped: --in-place does not edit it");
	diag_notice(tool_diag(), "%s: could not check whether another program has it open", path);
	return 0;
}

/* Argument of verify. */
struct verifying {
	struct adapt *a;
	const struct undo_edit *u;
	int (*ready)(void *arg, struct err *err);
	void *arg;
};

static int
verify(void *arg, struct err *err)
{
	const struct verifying *v = arg;
	const struct format_opts opts = { .diag = NULL };
	const struct input *was = &v->a->inputs[0];
	struct input now = { .src = NULL };
	struct buf key = BUF_INIT;
	int copy = fcntl(v->a->fd, F_DUPFD_CLOEXEC, 0), rc;

	buf_addstr(&key, was->sd.key);
	rc = copy < 0 ? err_sys(err, was->ckpt->file, "cannot open") : 0;
	if (rc == 0)
		rc = lseek(copy, 0, SEEK_SET) < 0 ? err_sys(err, was->ckpt->file, "cannot read")
						  : source_fd(&now.src, copy, was->ckpt->file, NULL, err);
	if (rc == 0)
		rc = format_open(&now.ckpt, now.src, &opts, err);
	if (rc == 0)
		rc = statedict_open(&now.sd, now.ckpt, key.len > 0 ? key.p : "", err);
	if (rc == 0)
		rc = compare(&v->a->plan, v->u, &now.sd, err);
	input_close(&now);
	buf_release(&key);
	return rc == 0 ? v->ready(v->arg, err) : rc;
}

int
inplace_apply(struct adapt *a, struct undo_edit *u, int (*ready)(void *arg, struct err *err), void *arg, struct err *err)
{
	const char *path = a->inputs[0].ckpt->file;
	struct verifying v = { a, u, ready, arg };

	if (take_lease(a->fd, path, err) < 0 || source_verify(a->inputs[0].src, err) < 0)
		return -1;
	return undo_apply(a->fd, path, u, verify, &v, err);
}

int
inplace_recover(const char *path, struct err *err)
{
	bool finished;

	if (undo_recover(path, &finished, err) < 0)
		return -1;
	tool_summary("%s: %s", path,
		     finished ? "the edit in place is finished" : "the file is what it was before the edit in place");
	return 0;
}
