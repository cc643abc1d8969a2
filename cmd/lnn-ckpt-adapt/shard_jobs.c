/*
 * --shard K/N and --write-index: a set adapted shard by shard. Each finished shard leaves a small file beside it that
 * says so, and which rules matched something in it; the index is only made when all are there.
 */
#include "shard_jobs.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "common/file.h"
#include "common/models.h"
#include "common/tool.h"
#include "format/shard_index.h"
#include "plan/container.h"
#include "plan/prefix.h"

/* ---- what a finished shard leaves */

static void
note_name(struct buf *b, uint32_t number, uint32_t total)
{
	buf_addf(b, ".lnn-%05u-of-%05u.rules", number, total);
}

/* Of the first line of a note: the shard's file, or nothing if nothing was left of it. */
static const char note_file[] = "file\t";

/* A line of a note that was lost and made again: which rules matched is not known any more. */
static const char note_unknown[] = "rules unknown";

/* A line for the shard's file; one for each rule: how many names it matched, a tab, its text. */
int
shard_jobs_note(struct adapt *a, const char *file, struct err *e)
{
	struct buf text = BUF_INIT, path = BUF_INIT;
	const struct plan_rule *r;
	int rc;

	buf_addf(&text, "%s%s\n", note_file, file);
	for (size_t i = 0; i < a->plan.nrules; i++) {
		r = a->plan.rules[i];
		if (r->quiet)
			continue;
		buf_u64(&text, r->matched);
		buf_addc(&text, '\t');
		text_escape(&text, str_c(r->text));
		buf_addc(&text, '\n');
	}
	buf_addf(&path, "%s/", a->job->dir);
	note_name(&path, a->job->number, a->job->total);
	rc = file_write(path.p, buf_str(&text), e);
	buf_release(&text);
	buf_release(&path);
	return rc;
}

/* 1 or 0; a name that cannot be looked at is an error, or the index would lack its tensors. */
static int
there(const char *dir, const char *name, struct err *e)
{
	struct buf path = BUF_INIT;
	int rc = 1;

	buf_addf(&path, "%s/%s", dir, name);
	if (access(path.p, F_OK) < 0)
		rc = errno == ENOENT ? 0 : err_sys(e, path.p, "cannot be looked for");
	buf_release(&path);
	return rc;
}

/* ---- a finished set, of which a shard is made again */

/* Does the index name a file that is called as shards of this set are? */
static bool
is_index_of(const struct shard_index *x, const struct shard_job *job, const struct format_writer *w)
{
	struct buf name = BUF_INIT;
	bool found = false;

	for (uint32_t i = 0; i < job->total && !found; i++) {
		buf_clear(&name);
		ckpt_out_shard_name(&name, w, i + 1, job->total);
		for (uint32_t k = 0; k < x->nfiles && !found; k++)
			found = strcmp(x->files[k], name.p) == 0;
	}
	buf_release(&name);
	return found;
}

/* Leaves the note of a shard that the index says is finished. */
static int
note_again(const struct shard_job *job, const struct shard_index *x, uint32_t number, const char *file, struct err *err)
{
	struct buf name = BUF_INIT, text = BUF_INIT;
	bool listed = false;
	int rc;

	for (uint32_t k = 0; k < x->nfiles && !listed; k++)
		listed = strcmp(x->files[k], file) == 0;
	buf_addf(&text, "%s%s\n%s\n", note_file, listed ? file : "", note_unknown);
	note_name(&name, number, job->total);
	rc = there(job->dir, name.p, err);
	if (rc == 0) {
		struct buf path = BUF_INIT;

		buf_addf(&path, "%s/%s", job->dir, name.p);
		rc = file_write(path.p, buf_str(&text), err);
		buf_release(&path);
	}
	buf_release(&name);
	buf_release(&text);
	return rc < 0 ? -1 : 0;
}

static int
notes_again(const struct shard_job *job, const struct shard_index *x, const struct format_writer *w, struct err *err)
{
	struct buf file = BUF_INIT;
	int rc = 0;

	for (uint32_t i = 1; i <= job->total && rc == 0; i++) {
		if (i == job->number)
			continue;
		buf_clear(&file);
		ckpt_out_shard_name(&file, w, i, job->total);
		rc = note_again(job, x, i, file.p, err);
	}
	buf_release(&file);
	return rc;
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
shard_jobs_reopen(const struct shard_job *job, const struct format_writer *w, struct err *err)
{
	struct shard_index x = { 0 };
	struct source *src = NULL;
	struct buf path = BUF_INIT;
	int rc = there(job->dir, ckpt_out_index_name(w), err);

	buf_addf(&path, "%s/%s", job->dir, ckpt_out_index_name(w));
	if (rc > 0)
		rc = source_open(&src, path.p, NULL, err);
	if (rc == 0 && src != NULL)
		rc = shard_index_read(&x, src, err);
	if (rc == 0 && src != NULL && is_index_of(&x, job, w)) {
		rc = notes_again(job, &x, w, err);
		if (rc == 0)
			rc = remove_index(job, path.p, err);
	}
	if (src != NULL)
		source_close(src);
	shard_index_release(&x);
	buf_release(&path);
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

/* One shard through all steps. A shard of which nothing is left has no file, but is done. */
static int
run_job(const struct adapt_options *o, const struct shard_job *job, const char *file, struct err *e)
{
	struct operands operands = { &file, 1 };
	int rc = adapt_run_steps(o, &operands, job, e);

	if (rc != 0 && e->code == ERR_ANSWER) {
		err_clear(e);
		rc = 0;
	}
	return rc;
}

static void
name_elsewhere(const struct shard_index *x, struct strmap *map)
{
	for (uint32_t i = 0; i < x->n; i++)
		strmap_add(map, x->names[i], i);
}

static int
run_all(const struct adapt_options *o, const struct shard_index *x, uint64_t k, uint64_t n, struct err *e)
{
	struct strmap elsewhere = STRMAP_INIT;
	struct buf dir = BUF_INIT;
	struct shard_job job = { .total = x->nfiles, .elsewhere = &elsewhere,
				 .set = { x->names, x->n } };
	char *path;
	int rc = 0;

	name_elsewhere(x, &elsewhere);
	buf_adds(&dir, o->common.output);
	while (dir.len > 1 && dir.p[dir.len - 1] == '/')
		dir.p[--dir.len] = '\0';
	job.dir = dir.p;
	for (uint32_t i = 0; rc == 0 && i < x->nfiles; i++) {
		if (i % n != k - 1)
			continue;
		job.number = i + 1;
		path = shard_index_path(x, i);
		rc = run_job(o, &job, path, e);
		free(path);
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
	struct buf name = BUF_INIT;
	struct str line;
	int rc = -1;

	if (str_split(&text, '\n', &line) && str_starts(line, str_c(note_file))) {
		line = str_from(line, sizeof(note_file) - 1);
		rc = line.len == 0 ? 0 : -1;
	}
	for (size_t w = 0; w < 2 && rc < 0; w++) {
		buf_clear(&name);
		ckpt_out_shard_name(&name, writers[w], i + 1, s->total);
		if (str_eqc(line, name.p)) {
			if (s->writer != NULL && s->writer != writers[w])
				err_input(e, name.p, "is of another format than the shards before it");
			s->files[i] = arena_cstr(&a->arena, name.p);
			s->writer = writers[w];
			rc = 1;
		}
	}
	buf_release(&name);
	if (rc < 0)
		err_input(e, note, "is no note of a finished shard");
	return e->code != ERR_NONE ? -1 : rc;
}

/* The file of shard i (from 0), if its note names one. A file of an earlier attempt that left more is none of the set. */
static int
find_file(struct set *s, struct adapt *a, uint32_t i, struct err *e)
{
	struct buf name = BUF_INIT, path = BUF_INIT, text = BUF_INIT;
	int rc;

	note_name(&name, i + 1, s->total);
	buf_addf(&path, "%s/%s", s->dir, name.p);
	rc = there(s->dir, name.p, e);
	if (rc == 0)
		rc = err_set(e, ERR_INPUT, "%s: shard %u of %u is missing; its job did not finish", s->dir, i + 1, s->total);
	if (rc == 1)
		rc = file_text(path.p, 16 << 20, &text, e);
	if (rc == 0)
		rc = noted_file(s, a, i, path.p, buf_str(&text), e);
	if (rc == 1 && (rc = there(s->dir, s->files[i], e)) == 0)
		rc = err_set(e, ERR_INPUT, "%s/%s: is gone, though its job finished", s->dir, s->files[i]);
	buf_release(&name);
	buf_release(&path);
	buf_release(&text);
	return rc < 0 ? -1 : 0;
}

static int
find_files(struct set *s, struct adapt *a, struct err *e)
{
	s->files = arena_calloc(&a->arena, s->total, sizeof(*s->files));
	for (uint32_t i = 0; i < s->total; i++)
		if (find_file(s, a, i, e) < 0)
			return -1;
	return 0;
}

static int
open_shards(struct set *s, struct adapt *a, struct err *e)
{
	struct buf path = BUF_INIT;
	int rc = 0;

	a->inputs = xcalloc(s->total, sizeof(*a->inputs));
	a->labels = xcalloc(s->total, sizeof(*a->labels));
	for (uint32_t i = 0; rc == 0 && i < s->total; i++) {
		if (s->files[i] == NULL)
			continue;
		buf_clear(&path);
		buf_addf(&path, "%s/%s", s->dir, s->files[i]);
		a->labels[a->ninputs] = s->files[i];
		rc = input_open(&a->inputs[a->ninputs], path.p, "", e);
		if (rc == 0)
			plan_add_input(&a->plan, &a->inputs[a->ninputs].sd, s->files[i]);
		a->ninputs++;
	}
	buf_release(&path);
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

/* Where a note does not know what matched, no rule can be said to have matched nothing. */
static void
excuse_rules(struct plan *p)
{
	for (size_t i = 0; i < p->nrules; i++) {
		p->rules[i]->quiet = true;
		p->rules[i]->optional = true;
	}
}

/* Reads all notes, or removes them. */
static int
notes(const struct set *s, struct adapt *a, bool remove, struct err *e)
{
	struct buf path = BUF_INIT, text = BUF_INIT;
	bool complete = true;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < s->total; i++) {
		buf_clear(&path);
		buf_clear(&text);
		buf_addf(&path, "%s/", s->dir);
		note_name(&path, i + 1, s->total);
		if (remove) {
			unlink(path.p);
			continue;
		}
		rc = file_text(path.p, 16 << 20, &text, e);
		if (rc == 0)
			complete = add_note(a, buf_str(&text)) && complete;
	}
	if (!complete)
		excuse_rules(&a->plan);
	buf_release(&path);
	buf_release(&text);
	return rc;
}

static int
write_index(struct set *s, struct adapt *a, const struct buf *text, struct err *e)
{
	struct buf path = BUF_INIT;
	int rc;

	buf_addf(&path, "%s/%s", s->dir, ckpt_out_index_name(s->writer != NULL ? s->writer : format_writer("safetensors")));
	rc = file_write(path.p, buf_str(text), e);
	if (rc == 0)
		tool_summary("%zu tensors in %zu shards -> %s", a->plan.nentries, a->ninputs, path.p);
	buf_release(&path);
	return rc == 0 ? notes(s, a, true, e) : -1;
}

static int
check_and_write(struct set *s, struct adapt *a, struct err *e)
{
	struct buf text = BUF_INIT;
	int rc = -1;

	if (models_load(&a->model, a->o->models.v, a->o->models.n, e) == 0 && count_shards(s, e) == 0 &&
	    find_files(s, a, e) == 0 && open_shards(s, a, e) == 0 && index_text(a, &text, e) == 0 &&
	    notes(s, a, false, e) == 0) {
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
