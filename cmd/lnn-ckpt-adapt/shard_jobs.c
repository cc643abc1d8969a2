/*
 * --shard K/N and --write-index: a set adapted shard by shard. Each finished shard leaves a small file beside it that
 * says so, and which rules matched something in it; the index is only made when all are there.
 */
#include "shard_jobs.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "base/xalloc.h"
#include "common/file.h"
#include "common/models.h"
#include "format/shard_index.h"
#include "plan/container.h"
#include "plan/prefix.h"

/* ---- what a finished shard leaves */

static const char *
note_path(struct arena *a, const char *dir, uint32_t number, uint32_t total)
{
	return arena_printf(a, "%s/.lnn-%05u-of-%05u.rules", dir, number, total);
}

/* Of the first line of a note: the shard's file, or nothing if nothing was left of it. */
static const char note_file[] = "file\t";

/* A longer note is none. */
enum { NOTE_MAX = 16 << 20 };

/* A line of a note that was lost and made again: which rules matched is not known any more. */
static const char note_unknown[] = "rules unknown";

/* A line for the shard's file; one for each rule: how many names it matched, a tab, its text. */
int
shard_jobs_note(struct adapt *a, const char *file, struct err *e)
{
	struct buf text = BUF_INIT;
	int rc;

	buf_addf(&text, "%s%s\n", note_file, file);
	for (size_t i = 0; i < a->plan.nrules; i++) {
		const struct plan_rule *r = a->plan.rules[i];

		if (r->quiet)
			continue;
		buf_addf(&text, "%" PRIu64 "\t", r->matched);
		text_escape(&text, str_c(r->text));
		buf_addc(&text, '\n');
	}
	rc = file_write(note_path(&a->arena, a->job->dir, a->job->number, a->job->total), buf_str(&text), e);
	buf_release(&text);
	return rc;
}

/* 1 or 0; a name that cannot be looked at is an error, or the index would lack its tensors. */
static int
there(const char *path, struct err *e)
{
	if (access(path, F_OK) == 0)
		return 1;
	return errno == ENOENT ? 0 : err_sys(e, path, "cannot be looked for");
}

/* ---- a finished set, of which a shard is made again */

static bool
names_file(const struct shard_index *x, const char *file)
{
	for (uint32_t k = 0; k < x->nfiles; k++)
		if (strcmp(x->files[k], file) == 0)
			return true;
	return false;
}

/* Does the index name a file that is called as shards of this set are? */
static bool
is_index_of(struct adapt *a, const struct shard_index *x, const struct format_writer *w)
{
	for (uint32_t i = 1; i <= a->job->total; i++)
		if (names_file(x, ckpt_out_shard_name(&a->arena, w, i, a->job->total)))
			return true;
	return false;
}

/* Leaves the notes of the other shards that the index says are finished. */
static int
notes_again(struct adapt *a, const struct shard_index *x, const struct format_writer *w, struct err *err)
{
	const uint32_t total = a->job->total;
	int rc = 0;

	for (uint32_t i = 1; i <= total && rc >= 0; i++) {
		const char *file = ckpt_out_shard_name(&a->arena, w, i, total), *path = note_path(&a->arena, a->job->dir, i, total);

		if (i == a->job->number || (rc = there(path, err)) != 0)
			continue;
		file = names_file(x, file) ? file : "";
		rc = file_write(path, str_c(arena_printf(&a->arena, "%s%s\n%s\n", note_file, file, note_unknown)), err);
	}
	return rc < 0 ? -1 : 0;
}

/* Another job may remove the index at the same time. */
static int
remove_index(const struct shard_job *job, const char *path, struct err *err)
{
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : err_sys(err, path, "cannot be removed");
	tool_warn("%s: removed, as shard %u of %u is made again (--write-index makes a new one)", path, job->number, job->total);
	return 0;
}

int
shard_jobs_reopen(struct adapt *a, const struct format_writer *w, struct err *err)
{
	const char *path = arena_printf(&a->arena, "%s/%s", a->job->dir, ckpt_out_index_name(w));
	struct shard_index x = { 0 };
	struct source *src = NULL;
	int rc = there(path, err);

	if (rc <= 0)
		return rc;
	rc = source_open(&src, path, NULL, err);
	if (rc == 0)
		rc = shard_index_read(&x, src, err);
	if (rc == 0 && is_index_of(a, &x, w)) {
		rc = notes_again(a, &x, w, err);
		if (rc == 0)
			rc = remove_index(a->job, path, err);
	}
	source_close(src);
	shard_index_release(&x);
	return rc;
}

/* ---- --shard */

static int
parse_share(const char *s, uint64_t *k, uint64_t *n, struct err *e)
{
	const char *slash = strchr(s, '/');

	if (slash == NULL || !num_u64(str_n(s, (size_t)(slash - s)), k) || !num_u64(str_c(slash + 1), n) || *k < 1 ||
	    *k > *n)
		return err_set(e, ERR_USAGE, "--shard %s: K/N with 1 <= K <= N was expected", s);
	return 0;
}

/* Each shard goes through all steps. One of which nothing is left has no file, but is done. */
static int
run_all(const struct adapt_options *o, const struct shard_index *x, uint64_t k, uint64_t n, struct err *e)
{
	struct strmap elsewhere = STRMAP_INIT;
	struct buf dir = BUF_INIT;
	struct shard_job job = { .total = x->nfiles, .elsewhere = &elsewhere,
				 .set = { x->names, x->n } };
	struct operands one = { NULL, 1 };
	char *path;
	int rc = 0;

	for (uint32_t i = 0; i < x->n; i++)
		strmap_add(&elsewhere, x->names[i], i);
	buf_adds(&dir, o->common.output);
	while (dir.len > 1 && dir.p[dir.len - 1] == '/')
		dir.p[--dir.len] = '\0';
	job.dir = dir.p;
	for (uint32_t i = 0; rc == 0 && i < x->nfiles; i++) {
		if (i % n != k - 1)
			continue;
		job.number = i + 1;
		path = shard_index_path(x, i);
		one.v = (const char *[]){ path };
		rc = adapt_run_steps(o, &one, &job, &(int){ TOOL_DONE }, e);
		free(path);
		if (rc != 0 && e->code == ERR_ANSWER) {
			err_clear(e);
			rc = 0;
		}
	}
	buf_release(&dir);
	strmap_release(&elsewhere);
	return rc;
}

/* Does the index in src lie in the folder? */
static bool
is_beside(const struct source *src, const char *folder)
{
	const char *path = source_name(src), *slash = strrchr(path, '/');
	struct buf dir = BUF_INIT;
	struct stat x, y;
	bool same;

	buf_add(&dir, slash == NULL ? "." : path, slash == NULL ? 1 : (size_t)(slash - path) + 1);
	same = stat(buf_str(&dir).p, &x) == 0 && stat(folder, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
	buf_release(&dir);
	return same;
}

static int
read_index(struct shard_index *x, struct source *src, struct err *err)
{
	const uint8_t *head;
	size_t n;

	if (source_look(src, 0, SOURCE_LOOK_MAX, &head, &n, err) < 0)
		return -1;
	if (!shard_index_probe(head, n))
		return err_set(err, ERR_USAGE, "--shard: %s is no index of a set of shards (*.index.json)", source_name(src));
	return shard_index_read(x, src, err);
}

int
shard_jobs_run(const struct adapt_options *o, const struct operands *operands, struct err *e)
{
	struct shard_index x = { 0 };
	struct source *src;
	uint64_t k, n;
	int rc;

	if (parse_share(o->shard, &k, &n, e) != 0)
		return -1;
	if (o->common.output == NULL || strcmp(o->common.output, "-") == 0)
		return err_set(e, ERR_USAGE, "--shard: the shards go into a folder: -o DIR/");
	if (operands->n != 1 || o->dry_run || o->report != NULL || o->max_shard_size != 0)
		return err_set(e, ERR_USAGE,
			       "--shard takes one index file, and neither -n, --report nor --max-shard-size");
	if (file_checkpoint(operands->v[0], FILE_BINARY, &src, e) != 0)
		return -1;
	rc = read_index(&x, src, e);
	if (rc == 0 && mkdir(o->common.output, 0777) != 0 &&
	    (errno != EEXIST || access(o->common.output, W_OK | X_OK) != 0))
		rc = err_sys(e, o->common.output, "cannot be made a folder of shards");
	if (rc == 0 && is_beside(src, o->common.output))
		rc = err_set(e, ERR_USAGE, "--shard: -o %s is the folder of the input: its index would be wrong", o->common.output);
	if (rc == 0)
		rc = run_all(o, &x, k, n, e);
	shard_index_release(&x);
	source_close(src);
	return rc;
}

/* ---- --write-index */

/* The set that lies in a folder. */
struct set {
	const char *dir;
	uint32_t total;
	const struct format_writer *writer; /* of all shards; NULL before one was seen */
	const char **files; /* by shard from 0; NULL: nothing of it was left */
};

/* How many shards there are to be, from the first note. */
static int
count_shards(struct set *s, struct err *e)
{
	unsigned number, total;
	int len;
	struct dirent *d;
	DIR *dir = opendir(s->dir);

	if (dir == NULL)
		return err_sys(e, s->dir, "cannot be read");
	errno = 0;
	while (s->total == 0 && (d = readdir(dir)) != NULL) {
		len = 0;
		if (sscanf(d->d_name, ".lnn-%5u-of-%5u.rules%n", &number, &total, &len) == 2 && len > 0 &&
		    d->d_name[len] == '\0')
			s->total = total;
	}
	if (s->total == 0 && errno != 0)
		err_sys(e, s->dir, "cannot be read");
	closedir(dir);
	return s->total > 0 ? 0
			    : err_set(e, ERR_INPUT, "%s: no shard was finished here (lnn-ckpt-adapt --shard)", s->dir);
}

/* The file a note names: 1 if there is one, 0 if nothing was left of the shard. */
static int
noted_file(struct set *s, struct adapt *a, uint32_t i, const char *note, struct str text, struct err *e)
{
	const struct format_writer *writers[] = { format_writer("safetensors"), format_writer("torch") };
	struct str line;

	if (!str_split(&text, '\n', &line) || !str_starts(line, str_c(note_file)))
		return err_input(e, note, "is no note of a finished shard");
	line = str_from(line, sizeof(note_file) - 1);
	if (line.len == 0)
		return 0;
	for (size_t w = 0; w < 2; w++) {
		const char *name = ckpt_out_shard_name(&a->arena, writers[w], i + 1, s->total);

		if (!str_eqc(line, name))
			continue;
		if (s->writer != NULL && s->writer != writers[w])
			return err_input(e, name, "is of another format than the shards before it");
		s->files[i] = name;
		s->writer = writers[w];
		return 1;
	}
	return err_input(e, note, "is no note of a finished shard");
}

/* The file of shard i (from 0), if its note names one. A file of an earlier attempt that left more is none of the set. */
static int
find_file(struct set *s, struct adapt *a, uint32_t i, struct err *e)
{
	const char *note = note_path(&a->arena, s->dir, i + 1, s->total);
	struct buf text = BUF_INIT;
	int rc = there(note, e);

	if (rc == 0)
		return err_set(e, ERR_INPUT, "%s: shard %u of %u is missing; its job did not finish", s->dir, i + 1, s->total);
	if (rc > 0)
		rc = file_text(note, NOTE_MAX, &text, e);
	if (rc == 0)
		rc = noted_file(s, a, i, note, buf_str(&text), e);
	if (rc > 0 && (rc = there(arena_printf(&a->arena, "%s/%s", s->dir, s->files[i]), e)) == 0)
		rc = err_set(e, ERR_INPUT, "%s/%s: is gone, though its job finished", s->dir, s->files[i]);
	buf_release(&text);
	return rc < 0 ? -1 : 0;
}

static int
open_shards(struct set *s, struct adapt *a, struct err *e)
{
	int rc = 0;

	s->files = arena_calloc(&a->arena, s->total, sizeof(*s->files));
	for (uint32_t i = 0; rc == 0 && i < s->total; i++)
		rc = find_file(s, a, i, e);
	a->inputs = xcalloc(s->total, sizeof(*a->inputs));
	a->labels = xcalloc(s->total, sizeof(*a->labels));
	for (uint32_t i = 0; rc == 0 && i < s->total; i++) {
		struct input *in = &a->inputs[a->ninputs];

		if (s->files[i] == NULL)
			continue;
		a->labels[a->ninputs++] = s->files[i];
		rc = input_open(in, arena_printf(&a->arena, "%s/%s", s->dir, s->files[i]), "", e);
		if (rc == 0)
			plan_add_input(&a->plan, &in->sd, s->files[i]);
	}
	return rc;
}

static int
index_text(struct adapt *a, struct buf *text, struct err *e)
{
	const struct plan *p = &a->plan;
	struct str *names = xcalloc(p->nentries, sizeof(*names));
	const char **files = xcalloc(p->nentries, sizeof(*files));
	struct strmap seen = STRMAP_INIT;
	struct plan_containers containers;
	uint64_t total = 0;
	size_t n = 0, i;

	plan_containers(p, &containers);
	for (i = 0; i < p->nentries && e->code == ERR_NONE; i++) {
		names[n] = plan_listed_name(p, &containers, i);
		files[n] = plan_input_of(p, &p->entries[i])->label;
		if (names[n].p == NULL)
			continue;
		if (strmap_add(&seen, names[n], 0))
			n++;
		else if (plan_source(p, &p->entries[i])->kind != SD_OTHER)
			err_set(e, ERR_INPUT, "%s: %.*s is in another shard, too", plan_file(p, &p->entries[i]), STR_ARG(names[n]));
	}
	for (i = 0; i < a->ninputs; i++)
		for (uint32_t k = 0; k < a->inputs[i].ckpt->nstorages; k++)
			total += a->inputs[i].ckpt->storages[k].nbytes;
	shard_index_write(text, names, files, n, total);
	plan_containers_release(&containers);
	strmap_release(&seen);
	free(names);
	free(files);
	return e->code == ERR_NONE ? 0 : -1;
}

/* Adds what one shard's note says to the rules of the plan. False if it does not know them. */
static bool
add_note(struct adapt *a, struct str text)
{
	struct str line, count;
	uint64_t matched;
	bool known = true;
	size_t i;

	while (text.len > 0 && str_split(&text, '\n', &line)) {
		known = known && !str_eqc(line, note_unknown);
		if (!str_split(&line, '\t', &count) || line.p == NULL || !num_u64(count, &matched))
			continue;
		for (i = 0; i < a->plan.nrules && !str_eqc(line, a->plan.rules[i]->text); i++)
			;
		if (i == a->plan.nrules)
			plan_rule_new(&a->plan, str_c(""), "%.*s", (int)line.len, line.p);
		a->plan.rules[i]->matched += matched;
	}
	return known;
}

static int
read_notes(const struct set *s, struct adapt *a, struct err *e)
{
	struct buf text = BUF_INIT;
	bool complete = true;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < s->total; i++) {
		buf_clear(&text);
		rc = file_text(note_path(&a->arena, s->dir, i + 1, s->total), NOTE_MAX, &text, e);
		if (rc == 0)
			complete = add_note(a, buf_str(&text)) && complete;
	}
	/* Where a note does not know what matched, no rule can be said to have matched nothing. */
	for (size_t i = 0; !complete && i < a->plan.nrules; i++)
		a->plan.rules[i]->quiet = a->plan.rules[i]->optional = true;
	buf_release(&text);
	return rc;
}

/* Writes the index and removes the notes. */
static int
write_index(struct set *s, struct adapt *a, const struct buf *text, struct err *e)
{
	const struct format_writer *w = s->writer != NULL ? s->writer : format_writer("safetensors");
	const char *path = arena_printf(&a->arena, "%s/%s", s->dir, ckpt_out_index_name(w));

	if (file_write(path, buf_str(text), e) < 0)
		return -1;
	tool_summary("%zu tensors in %zu shards -> %s", a->plan.nentries, a->ninputs, path);
	for (uint32_t i = 1; i <= s->total; i++)
		unlink(note_path(&a->arena, s->dir, i, s->total));
	return 0;
}

static int
check_and_write(struct set *s, struct adapt *a, struct err *e)
{
	struct buf text = BUF_INIT;
	int rc = -1;

	if (models_load(&a->model, a->o->models.v, a->o->models.n, e) == 0 && count_shards(s, e) == 0 &&
	    open_shards(s, a, e) == 0 && index_text(a, &text, e) == 0 && read_notes(s, a, e) == 0) {
		/* the load check looks at names as they were before --ddp and --add-prefix */
		if (!a->o->keep_wrappers)
			plan_unwrap(&a->plan, NULL);
		for (size_t i = 0; i < a->o->strip.n; i++)
			plan_strip_prefix(&a->plan, a->o->strip.v[i], NULL);
		for (size_t i = 0; i < a->plan.nrules; i++)
			a->plan.rules[i]->quiet = a->plan.rules[i]->quiet ||
						  str_starts(str_c(a->plan.rules[i]->text), str_c("--strip-prefix"));
		adapt_check(a);
		rc = adapt_verdict(a, e);
		if (rc != 0 || (rc = write_index(s, a, &text, e)) == 0)
			adapt_say_load(a);
	}
	buf_release(&text);
	return rc;
}

int
shard_jobs_write_index(const struct adapt_options *o, struct err *e)
{
	struct set s = { .dir = o->write_index };
	struct adapt a;
	int rc;

	adapt_init(&a, o);
	rc = check_and_write(&s, &a, e);
	adapt_release(&a);
	return rc;
}
