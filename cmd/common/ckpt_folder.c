#include "common/ckpt_folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/num.h"
#include "base/strmap.h"
#include "base/xalloc.h"
#include "format/box_set.h"
#include "format/dcp_metadata.h"
#include "format/format.h"
#include "format/shard_index.h"
#include "tensor/place.h"

/* The maximum number of names in a message, and of subfolders that are searched. */
enum { NAMES_SHOWN = 12, FOLDERS_TRIED = 256 };

/* The maximum number of ranks in a set of rank files. */
enum { RANKS_MAX = 1 << 16 };

struct shard_set {
	struct shard_name first; /* the first member of the set that exists */
	uint32_t found;          /* number of members that exist */
};

struct ckpt_folder {
	struct arena arena;
	const char *path;
	const char **files, **folders; /* names in it, sorted */
	size_t nfiles, nfolders, cap_files, cap_folders;
	struct shard_set *sets;
	size_t nsets, sets_cap;
	struct buf candidates; /* their names, for messages */
	size_t ncandidates;
};

enum pick { PICK_NONE, PICK_FILE, PICK_SET, PICK_SEVERAL, PICK_LACKS, PICK_METADATA, PICK_BOXES };

/* The choice for a folder. what says whether file or set is valid. */
struct picked {
	enum pick what;
	const char *file;
	const struct shard_set *set;
};

/* ---- reading the folder */

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *
path_of(struct ckpt_folder *f, const char *name)
{
	size_t len = strlen(f->path);

	return arena_printf(&f->arena, "%s%s%s", f->path, len > 0 && f->path[len - 1] == '/' ? "" : "/", name);
}

/* Lists regular files and folders. Symbolic links are followed. */
static int
folder_list(struct ckpt_folder *f, const char *path, struct err *err)
{
	DIR *dir = opendir(path);
	struct dirent *d;
	struct stat st;

	*f = (struct ckpt_folder){ .path = path, .candidates = BUF_INIT };
	arena_init(&f->arena);
	if (dir == NULL)
		return err_sys(err, path, "cannot open");
	for (errno = 0; (d = readdir(dir)) != NULL; errno = 0) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (stat(path_of(f, d->d_name), &st) < 0) {
			if (errno == ENOENT) /* a dangling symbolic link */
				continue;
			err_sys(err, path_of(f, d->d_name), "cannot look at it");
			break;
		}
		if (S_ISREG(st.st_mode))
			*xpush(f->files, f->nfiles, f->cap_files) = arena_cstr(&f->arena, d->d_name);
		else if (S_ISDIR(st.st_mode))
			*xpush(f->folders, f->nfolders, f->cap_folders) = arena_cstr(&f->arena, d->d_name);
	}
	if (d == NULL && errno != 0)
		err_sys(err, path, "cannot read");
	closedir(dir);
	if (f->nfiles > 0)
		qsort(f->files, f->nfiles, sizeof(*f->files), by_name);
	if (f->nfolders > 0)
		qsort(f->folders, f->nfolders, sizeof(*f->folders), by_name);
	return err->code == ERR_NONE ? 0 : -1;
}

static void
folder_release(struct ckpt_folder *f)
{
	free(f->files);
	free(f->folders);
	free(f->sets);
	buf_release(&f->candidates);
	arena_release(&f->arena);
}

static const char *
folder_file(const struct ckpt_folder *f, const char *name)
{
	const char *const *found = f->nfiles > 0 ? bsearch(&name, f->files, f->nfiles, sizeof(name), by_name) : NULL;

	return found != NULL ? *found : NULL;
}

static void
add_candidate(struct ckpt_folder *f, const char *name, const char *behind)
{
	if (f->ncandidates++ < NAMES_SHOWN)
		buf_addf(&f->candidates, "%s%s%s", f->candidates.len ? ", " : "", name, behind);
}

/* ---- distributed checkpoints and indexes */

/* Is name .metadata, or __R.metadata of one rank? */
static bool
is_metadata(const char *name)
{
	size_t digits;

	if (strcmp(name, ".metadata") == 0)
		return true;
	if (strncmp(name, "__", 2) != 0)
		return false;
	digits = strspn(name + 2, "0123456789");
	return digits > 0 && strcmp(name + 2 + digits, ".metadata") == 0;
}

/* Is the file a shard that Hugging Face's writer saved for a distributed checkpoint? Its __metadata__ then says so. */
static bool
has_sharding_info(struct ckpt_folder *f, const char *name)
{
	struct source *src = NULL;
	struct ckpt *c = NULL;
	struct err err = ERR_INIT;
	bool found = false;

	if (!str_ends(str_c(name), str_c(".safetensors")))
		return false;
	if (source_open(&src, path_of(f, name), NULL, &err) == 0 && format_open(&c, src, NULL, &err) == 0)
		found = c->boxed;
	ckpt_close(c);
	source_close(src);
	return found;
}

static void
pick_index(struct ckpt_folder *f, struct picked *p)
{
	const char *first = folder_file(f, "model.safetensors.index.json");
	size_t n = 0;

	for (size_t i = 0; i < f->nfiles; i++) {
		const char *name = f->files[i];

		if (!str_ends(str_c(name), str_c(".index.json")) ||
		    (first != NULL && strcmp(name, "pytorch_model.bin.index.json") == 0))
			continue;
		add_candidate(f, name, "");
		p->file = name;
		n++;
	}
	p->what = n == 0 ? PICK_NONE : n == 1 ? PICK_FILE : PICK_SEVERAL;
}

/* ---- sets of shards without an index */

static const char *
shard_file(struct ckpt_folder *f, const struct shard_name *s, uint32_t k)
{
	return arena_printf(&f->arena, "%.*s-%05u-of-%05u%.*s", STR_ARG(s->base), k, s->n, STR_ARG(s->suffix));
}

/* Groups the shards that exist into sets. The members of a set share NAME, the number of shards and the suffix. */
static void
find_sets(struct ckpt_folder *f)
{
	struct strmap index = STRMAP_INIT;
	struct shard_name s;
	uint64_t at;

	for (size_t i = 0; i < f->nfiles; i++) {
		if (!shard_name_parse(f->files[i], &s))
			continue;
		/* The name of shard 0, which does not exist, serves as the key of the set. */
		if (strmap_get(&index, str_c(shard_file(f, &s, 0)), &at)) {
			f->sets[at].found++;
			continue;
		}
		strmap_add(&index, str_c(shard_file(f, &s, 0)), f->nsets);
		*xpush(f->sets, f->nsets, f->sets_cap) = (struct shard_set){ s, 1 };
	}
	strmap_release(&index);
}

static void
pick_set(struct ckpt_folder *f, struct picked *p)
{
	size_t n = 0;

	for (size_t i = 0; i < f->nsets; i++) {
		if (f->sets[i].found < f->sets[i].first.n)
			continue;
		add_candidate(f, shard_file(f, &f->sets[i].first, 1), ", ...");
		p->set = &f->sets[i];
		n++;
	}
	p->what = n == 0 ? PICK_NONE : n == 1 ? PICK_SET : PICK_SEVERAL;
}

/* Lists the missing shards of incomplete sets. */
static void
add_missing_shards(struct ckpt_folder *f)
{
	for (size_t i = 0; i < f->nsets; i++) {
		const struct shard_set *set = &f->sets[i];

		for (uint32_t k = 1; set->found < set->first.n && k <= set->first.n && f->ncandidates <= NAMES_SHOWN; k++) {
			const char *name = shard_file(f, &set->first, k);

			if (folder_file(f, name) == NULL)
				add_candidate(f, name, "");
		}
	}
}

/* ---- other files */

/*
 * Does the file hold a state dict other than an optimizer's? Also true if that cannot be excluded: the file cannot be read, or it
 * is damaged and has a checkpoint's suffix.
 */
static bool
holds_state_dict(struct ckpt_folder *f, const char *name)
{
	static const char *const suffixes[] = { ".pth", ".pt", ".bin", ".ckpt", ".safetensors" };
	struct source *src = NULL;
	struct ckpt *c = NULL;
	struct arena arena = ARENA_INIT;
	struct place_ask ask = { .root = true };
	struct place place;
	struct tensor_tree tree;
	struct err err = ERR_INIT;
	const uint8_t *head;
	size_t n;
	bool holds = false;

	if (source_open(&src, path_of(f, name), NULL, &err) == 0 && source_look(src, 0, FORMAT_PROBE, &head, &n, &err) == 0 &&
	    format_is_no_text(head, n)) {
		if (format_open(&c, src, NULL, &err) < 0) {
			for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
				holds = holds || str_ends(str_c(name), str_c(suffixes[i]));
		} else if (c->tree == NULL) {
			holds = c->ntensors > 0;
		} else {
			tree_init(&tree, c);
			holds = place_find(&tree, &ask, &arena, &place, &err) == 0 && place.kind != PLACE_OPTIMIZER;
			tree_release(&tree);
		}
	}
	arena_release(&arena);
	ckpt_close(c);
	source_close(src);
	return holds || err.code == ERR_SYSTEM;
}

static void
pick_only(struct ckpt_folder *f, struct picked *p)
{
	struct shard_name ignored;
	size_t n = 0;

	for (size_t i = 0; i < f->nfiles; i++) {
		const char *name = f->files[i];

		if (name[0] == '.' || strncmp(name, "rng_state", 9) == 0 || shard_name_parse(name, &ignored) ||
		    !holds_state_dict(f, name))
			continue;
		add_candidate(f, name, "");
		p->file = name;
		n++;
	}
	if (n <= 1 && f->nsets > 0) {
		p->what = n == 0 ? PICK_LACKS : PICK_SEVERAL;
		if (n == 0)
			add_missing_shards(f);
		else
			add_candidate(f, shard_file(f, &f->sets[0].first, f->sets[0].first.k),
				      " (a shard of a set that is not complete)");
		return;
	}
	p->what = n == 0 ? PICK_NONE : n == 1 ? PICK_FILE : PICK_SEVERAL;
}

/* ---- the choice */

static void
pick(struct ckpt_folder *f, struct picked *p)
{
	const char *usual = folder_file(f, "model.safetensors");

	*p = (struct picked){ .what = PICK_NONE };
	find_sets(f);
	for (size_t i = 0; i < f->nfiles && p->file == NULL; i++)
		if (is_metadata(f->files[i]))
			*p = (struct picked){ .what = PICK_METADATA, .file = f->files[i] };
	if (p->what == PICK_NONE)
		pick_index(f, p);
	for (size_t i = 0; p->what == PICK_NONE && i < f->nsets; i++) {
		const char *name = shard_file(f, &f->sets[i].first, f->sets[i].first.k);

		if (has_sharding_info(f, name))
			*p = (struct picked){ .what = PICK_BOXES, .file = name };
	}
	if (p->what == PICK_NONE)
		pick_set(f, p);
	if (usual == NULL)
		usual = folder_file(f, "pytorch_model.bin");
	if (p->what == PICK_NONE && usual != NULL)
		*p = (struct picked){ .what = PICK_FILE, .file = usual };
	if (p->what == PICK_NONE)
		pick_only(f, p);
}

/* Adds the subfolders that hold a checkpoint to the candidates. */
static void
list_folders(struct ckpt_folder *f)
{
	size_t tried = 0;

	for (size_t i = 0; i < f->nfolders && tried < FOLDERS_TRIED; i++) {
		struct ckpt_folder below;
		struct picked p = { .what = PICK_NONE };
		struct err ignored = ERR_INIT;

		if (f->folders[i][0] == '.')
			continue;
		tried++;
		if (folder_list(&below, path_of(f, f->folders[i]), &ignored) == 0)
			pick(&below, &p);
		folder_release(&below);
		if (p.what != PICK_NONE)
			add_candidate(f, f->folders[i], "/");
	}
}

/* Splits a name into PREFIXrank_NSUFFIX. rank_ is the last one that digits follow; prefix includes it. */
static bool
rank_name_parse(const char *name, struct str *prefix, struct str *suffix, uint32_t *rank)
{
	static const struct str word = STR_LIT("rank_");
	const char *at = NULL;
	size_t digits;
	uint64_t number;

	for (const char *p = name; (p = strstr(p, word.p)) != NULL; p++)
		if (p[word.len] >= '0' && p[word.len] <= '9')
			at = p + word.len;
	if (at == NULL)
		return false;
	digits = strspn(at, "0123456789");
	*prefix = str_n(name, (size_t)(at - name));
	*suffix = str_c(at + digits);
	if (!num_u64(str_n(at, digits), &number) || number >= RANKS_MAX)
		return false;
	*rank = (uint32_t)number;
	return true;
}

static bool
has_ranks(const struct ckpt_folder *f)
{
	struct str ignored;
	uint32_t rank;
	bool has = false;

	for (size_t i = 0; i < f->nfiles; i++)
		has = has || rank_name_parse(f->files[i], &ignored, &ignored, &rank);
	return has;
}

static int
refuse(struct ckpt_folder *f, const struct picked *p, struct err *err)
{
	const char *more;

	if (p->what != PICK_LACKS)
		list_folders(f);
	more = f->ncandidates > NAMES_SHOWN ? ", ..." : "";
	if (p->what == PICK_LACKS)
		return err_input(err, f->path, "shards of the set in this folder are missing: %s%s", f->candidates.p, more);
	if (f->ncandidates > 0)
		return err_input(err, f->path, "which checkpoint is meant? In this folder: %s%s%s", f->candidates.p, more,
				 has_ranks(f) ? "; --ranks with one file joins those of all ranks" : "");
	return err_input(err, f->path,
			 "no file in this folder is a checkpoint with a state dict (an optimizer's state does not count)");
}

/* ---- generated indexes */

struct index_maker {
	struct str *names;
	const char **files;
	size_t n, names_cap, files_cap;
	uint64_t total;
};

static int
add_shard(struct ckpt_folder *f, struct index_maker *m, const char *file, struct err *err)
{
	struct source *src;
	struct ckpt *c = NULL;
	struct statedict sd;
	int rc;

	if (source_open(&src, path_of(f, file), NULL, err) < 0)
		return -1;
	rc = format_open(&c, src, NULL, err);
	if (rc == 0)
		rc = statedict_open(&sd, c, NULL, err);
	if (rc == 0) {
		for (size_t i = 0; i < sd.n; i++) {
			if (sd.entries[i].kind != SD_TENSOR && sd.entries[i].kind != SD_COMPOSITE)
				continue;
			m->names = xgrow(m->names, m->n, &m->names_cap, sizeof(*m->names));
			m->files = xgrow(m->files, m->n, &m->files_cap, sizeof(*m->files));
			m->names[m->n] = arena_str(&f->arena, sd.entries[i].name);
			m->files[m->n++] = file;
		}
		for (uint32_t i = 0; i < c->nstorages; i++)
			m->total += c->storages[i].nbytes;
		statedict_release(&sd);
	}
	ckpt_close(c);
	source_close(src);
	return rc;
}

static int
open_set(struct ckpt_folder *f, const struct shard_name *s, struct source **out, struct err *err)
{
	const char *name = arena_printf(&f->arena, "%.*s-*-of-%05u%.*s", STR_ARG(s->base), s->n, STR_ARG(s->suffix));
	struct index_maker m = { 0 };
	struct buf text = BUF_INIT;
	int rc = 0;

	for (uint32_t k = 1; rc == 0 && k <= s->n; k++)
		rc = add_shard(f, &m, shard_file(f, s, k), err);
	if (rc == 0) {
		shard_index_write(&text, m.names, m.files, m.n, m.total);
		*out = source_text(&text, path_of(f, name));
	}
	free(m.names);
	free(m.files);
	return rc;
}

static int
by_rank(const void *a, const void *b)
{
	return str_cmp_natural(str_c(*(const char *const *)a), str_c(*(const char *const *)b));
}

/*
 * Returns a source for the reader of distributed checkpoints, with the folder's .metadata or, if there is none, all __R.metadata.
 */
static struct source *
open_metadata(struct ckpt_folder *f, const char *first, const struct diag *diag)
{
	bool all = strcmp(first, ".metadata") != 0;
	const char **names = arena_alloc(&f->arena, f->nfiles * sizeof(*names));
	struct buf text = BUF_INIT;
	size_t n = 0;

	for (size_t i = 0; i < f->nfiles; i++)
		if (is_metadata(f->files[i]))
			names[n++] = f->files[i];
	qsort(names, n, sizeof(*names), by_rank);
	buf_adds(&text, DCP_FOLDER);
	for (size_t i = 0; i < n; i++)
		if (all || strcmp(names[i], first) == 0)
			buf_addf(&text, "%s\n", names[i]);
	if (!all && n > 1)
		diag_warn(diag, "%s: .metadata is read; the files __R.metadata of single ranks beside it are ignored", f->path);
	return source_text(&text, path_of(f, all ? "__*.metadata" : first));
}

/* Returns the rank in shard-RRRRR-..., from 1 on, or 0 if the name has another form. */
static uint32_t
rank_of(const char *name)
{
	const struct str digits = str_n(name + sizeof("shard-") - 1, 5);
	uint64_t rank;

	return str_starts(str_c(name), str_c("shard-")) && strlen(digits.p) >= digits.len && num_u64(digits, &rank) ? (uint32_t)rank
														    : 0;
}

/* Opens a source for the reader of boxes that lists all safetensors files of the folder. Fails if a rank is missing. */
static int
open_boxes(struct ckpt_folder *f, struct source **out, struct err *err)
{
	struct buf text = BUF_INIT;
	uint32_t last = 0, rank;
	int rc = 0;

	buf_adds(&text, BOX_SET_SHARDS);
	for (size_t i = 0; rc == 0 && i < f->nfiles; i++) {
		const char *name = f->files[i];

		if (name[0] == '.' || !str_ends(str_c(name), str_c(".safetensors")))
			continue;
		rank = rank_of(name);
		if (strchr(name, '\n') != NULL)
			rc = err_input(err, f->path, "a file in it has a line break in its name");
		else if (rank > last + 1)
			rc = err_input(err, f->path, "rank %u has no shard here (shard-%05u-...), but shard-%05u-... exists", last,
				       last + 1, rank);
		last = rank > 0 ? rank : last;
		buf_addf(&text, "%s\n", name);
	}
	if (rc == 0)
		*out = source_text(&text, path_of(f, "*.safetensors"));
	else
		buf_release(&text);
	return rc;
}

int
ckpt_folder_open(struct source **out, const char *path, const struct source_opts *opts, const struct diag *diag, struct err *err)
{
	struct ckpt_folder f;
	struct picked p;
	int rc = folder_list(&f, path, err);

	*out = NULL;
	if (rc == 0) {
		pick(&f, &p);
		if (p.what == PICK_FILE)
			rc = source_open(out, path_of(&f, p.file), opts, err);
		else if (p.what == PICK_METADATA)
			*out = open_metadata(&f, p.file, diag);
		else if (p.what == PICK_BOXES)
			rc = open_boxes(&f, out, err);
		else if (p.what == PICK_SET)
			rc = open_set(&f, &p.set->first, out, err);
		else
			rc = refuse(&f, &p, err);
	}
	if (rc == 0)
		diag_notice(diag, "%s: %s is read", path, source_name(*out));
	folder_release(&f);
	return rc;
}

/* ---- rank files */

/* Lists the files of all ranks by number. prefix and suffix are those of the file that the user named. */
static int
list_ranks(struct ckpt_folder *f, struct str prefix, struct str suffix, struct buf *text, struct err *err)
{
	const char **names = arena_calloc(&f->arena, RANKS_MAX, sizeof(*names));
	struct str before, behind;
	uint32_t rank, n = 0;

	for (size_t i = 0; i < f->nfiles; i++) {
		const char *name = f->files[i];

		if (!rank_name_parse(name, &before, &behind, &rank) || !str_eq(before, prefix) || !str_eq(behind, suffix))
			continue;
		if (names[rank] != NULL)
			return err_input(err, f->path, "two files have rank %u: %s, %s", rank, names[rank], name);
		names[rank] = name;
		n = rank >= n ? rank + 1 : n;
	}
	for (rank = 0; rank < n; rank++) {
		if (names[rank] == NULL)
			return err_input(err, f->path, "the file of rank %u is missing: %.*s%u%.*s", rank, STR_ARG(prefix), rank,
					 STR_ARG(suffix));
		buf_addf(text, "%s\n", names[rank]);
	}
	return 0;
}

int
ckpt_ranks_open(struct source **out, const char *path, const struct diag *diag, struct err *err)
{
	const size_t dir = path_folder(path);
	struct buf text = BUF_INIT, folder = BUF_INIT;
	struct str prefix, suffix;
	struct ckpt_folder f;
	uint32_t rank;
	int rc;

	*out = NULL;
	if (!rank_name_parse(path + dir, &prefix, &suffix, &rank) || strchr(path + dir, '\n') != NULL)
		return 0;
	buf_add(&folder, dir == 0 ? "." : path, dir == 0 ? 1 : dir);
	buf_adds(&text, BOX_SET_RANKS);
	rc = folder_list(&f, folder.p, err);
	if (rc == 0)
		rc = list_ranks(&f, prefix, suffix, &text, err);
	if (rc == 0) {
		*out = source_text(&text, path_of(&f, arena_printf(&f.arena, "%.*s*%.*s", STR_ARG(prefix), STR_ARG(suffix))));
		diag_notice(diag, "%s: %s is read", path, source_name(*out));
	} else {
		buf_release(&text);
	}
	folder_release(&f);
	buf_release(&folder);
	return rc;
}
