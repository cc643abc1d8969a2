/*
 * --shard K/N and --write-index: adapting a set one shard at a time. A finished shard states its number, the total number of
 * shards, and which rules matched in it. The index is written only if all shards are finished.
 */
#include "shard_jobs.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
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
#include "text/json_read.h"
#include "text/json_write.h"

/* ---- the statement of a finished shard */

/* Writes {"shard":2,"of":3,"rules":[["--drop-params head.",4]]}. The number after a rule is that of the names that it matched. */
void
shard_jobs_note(struct adapt *a)
{
	struct buf text = BUF_INIT, rule = BUF_INIT;
	struct json_writer w;

	json_writer_init(&w, &text, false);
	json_begin_object(&w);
	json_put_u64(json_key(&w, "shard"), a->job->number);
	json_put_u64(json_key(&w, "of"), a->job->total);
	json_begin_array(json_key(&w, "rules"));
	for (size_t i = 0; i < a->plan.nrules; i++) {
		const struct plan_rule *r = a->plan.rules[i];

		if (r->quiet)
			continue;
		buf_clear(&rule);
		text_escape(&rule, str_c(r->text));
		json_begin_array(&w);
		json_put_str(&w, buf_str(&rule));
		json_put_u64(&w, r->matched);
		json_end_array(&w);
	}
	json_end_array(&w);
	json_end_object(&w);
	a->plan.note = arena_take(&a->plan.arena, &text);
	buf_release(&rule);
}

/* Returns 1 if path exists, 0 if not. Other failures are errors, because the index would otherwise lack tensors. */
static int
there(const char *path, struct err *err)
{
	if (access(path, F_OK) == 0)
		return 1;
	return errno == ENOENT ? 0 : err_sys(err, path, "cannot be looked for");
}

/* ---- making a shard of a finished set again */

/* Does the index list a file with the name of a shard of this set? */
static bool
is_index_of(struct adapt *a, const struct shard_index *x, const struct format_writer *w)
{
	for (uint32_t i = 1; i <= a->job->total; i++) {
		const char *file = ckpt_out_shard_name(&a->arena, w, i, a->job->total);

		for (uint32_t k = 0; k < x->nfiles; k++)
			if (strcmp(x->files[k], file) == 0)
				return true;
	}
	return false;
}

/* Removes the index. It may be gone already, because another job can remove it at the same time. */
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
	if (rc == 0 && is_index_of(a, &x, w))
		rc = remove_index(a->job, path, err);
	source_close(src);
	shard_index_release(&x);
	return rc;
}

/* ---- --shard */

static int
parse_share(const char *s, uint64_t *k, uint64_t *n, struct err *err)
{
	const char *slash = strchr(s, '/');

	if (slash == NULL || !num_u64(str_n(s, (size_t)(slash - s)), k) || !num_u64(str_c(slash + 1), n) || *k < 1 || *k > *n)
		return err_set(err, ERR_USAGE, "--shard %s: K/N with 1 <= K <= N was expected", s);
	return 0;
}

/* Puts path into b, without slashes at its end, and returns it. */
static const char *
trim(struct buf *b, const char *path)
{
	buf_adds(b, path);
	while (b->len > 1 && b->p[b->len - 1] == '/')
		b->p[--b->len] = '\0';
	return b->p;
}

/* Performs all steps for each shard of share k of n. */
static int
run_all(const struct adapt_options *o, const struct shard_index *x, uint64_t k, uint64_t n, struct err *err)
{
	struct strmap elsewhere = STRMAP_INIT;
	struct buf dir = BUF_INIT;
	struct shard_job job = { .total = x->nfiles, .elsewhere = &elsewhere, .set = { x->names, x->n } };
	struct operands one = { NULL, 1 };
	int rc = 0;

	for (uint32_t i = 0; i < x->n; i++)
		strmap_add(&elsewhere, x->names[i], i);
	job.dir = trim(&dir, o->common.output);
	for (uint32_t i = 0; rc == 0 && i < x->nfiles; i++) {
		if (i % n != k - 1)
			continue;
		job.number = i + 1;
		one.v = &x->paths[i];
		rc = adapt_run_steps(o, &one, &job, &(int){ TOOL_DONE }, err);
	}
	buf_release(&dir);
	strmap_release(&elsewhere);
	return rc;
}

/* Is the index that src was opened from in this folder? */
static bool
is_beside(const struct source *src, const char *folder)
{
	const char *path = source_name(src);
	const size_t len = path_folder(path);
	struct buf dir = BUF_INIT;
	struct stat x, y;
	bool same;

	buf_add(&dir, len == 0 ? "." : path, len == 0 ? 1 : len);
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

/* Other jobs may have made the folder already. */
static int
make_folder(const char *path, struct err *err)
{
	struct stat st;

	if (mkdir(path, 0777) == 0)
		return 0;
	if (errno == EEXIST && stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		errno = ENOTDIR;
	else if (errno == EEXIST && access(path, W_OK | X_OK) == 0)
		return 0;
	return err_sys(err, path, "cannot be created as a folder of shards");
}

int
shard_jobs_run(const struct adapt_options *o, const struct operands *operands, struct err *err)
{
	struct shard_index x = { 0 };
	struct source *src;
	uint64_t k, n;
	int rc;

	if (parse_share(o->shard, &k, &n, err) != 0)
		return -1;
	if (o->common.output == NULL || strcmp(o->common.output, "-") == 0)
		return err_set(err, ERR_USAGE, "--shard: the shards go into a folder: -o DIR/");
	if (operands->n != 1 || o->dry_run || o->report != NULL || o->max_shard_size != 0)
		return err_set(err, ERR_USAGE, "--shard takes one index file, and neither -n, --report nor --max-shard-size");
	if (file_checkpoint(operands->v[0], FILE_BINARY, &src, err) != 0)
		return -1;
	rc = read_index(&x, src, err);
	if (rc == 0)
		rc = make_folder(o->common.output, err);
	if (rc == 0 && is_beside(src, o->common.output))
		rc = err_set(err, ERR_USAGE, "--shard: -o %s is the folder of the input: its index would be wrong",
			     o->common.output);
	if (rc == 0)
		rc = run_all(o, &x, k, n, err);
	shard_index_release(&x);
	source_close(src);
	return rc;
}

/* ---- --write-index: the files of the folder */

/* A shard of the set. */
struct member {
	const char *file;
	struct input *input;
	const struct format_writer *writer; /* the writer of its format */
	uint64_t number, total;             /* shard number and total; 0 if nothing states them */
	struct str note;                    /* statement of a finished shard; empty if it was not made by --shard */
};

/* The set of shards in a folder. */
struct set {
	const char *dir;
	struct member *v; /* sorted by name, later by number */
	size_t n, cap;
};

static const struct format_writer *
writer_of(const char *file)
{
	const bool safe = str_ends(str_c(file), str_c(".safetensors"));

	return safe || str_ends(str_c(file), str_c(".bin")) ? format_writer(safe ? "safetensors" : "torch") : NULL;
}

static int
by_name(const void *a, const void *b)
{
	return str_cmp_natural(str_c(((const struct member *)a)->file), str_c(((const struct member *)b)->file));
}

/* Lists all files that have a suffix of shards. */
static int
list_files(struct set *s, struct adapt *a, struct err *err)
{
	DIR *dir = opendir(s->dir);
	struct dirent *d;

	if (dir == NULL)
		return err_sys(err, s->dir, "cannot be read");
	for (errno = 0; (d = readdir(dir)) != NULL; errno = 0) {
		const struct format_writer *w = d->d_name[0] == '.' ? NULL : writer_of(d->d_name);

		if (w == NULL)
			continue;
		*xpush(s->v, s->n, s->cap) = (struct member){ .file = arena_cstr(&a->arena, d->d_name), .writer = w };
	}
	if (errno != 0)
		err_sys(err, s->dir, "cannot be read");
	closedir(dir);
	if (err->code == ERR_NONE && s->n == 0)
		err_input(err, s->dir, "there is no shard in it (*.safetensors, *.bin)");
	if (err->code != ERR_NONE)
		return -1;
	qsort(s->v, s->n, sizeof(*s->v), by_name);
	return 0;
}

/* If some files have names of the form NAME-0000k-of-0000n, removes all others from the set. */
static void
leave_others_out(struct set *s)
{
	struct shard_name name;
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += shard_name_parse(s->v[i].file, &name);
	for (size_t i = 0, all = s->n; n > 0 && i < all; i++) {
		struct member m = s->v[i];

		if (i == 0)
			s->n = 0;
		if (shard_name_parse(m.file, &name))
			s->v[s->n++] = m;
		else
			diag_notice(tool_diag(), "%s/%s: is not named like a shard of a set, and is left out", s->dir, m.file);
	}
}

/* ---- reading the statements */

static int
note_count(struct json_reader *r, const char *key, uint64_t *count, struct err *err)
{
	if (json_expect(r, JSON_KEY, "a shard's note", err) < 0)
		return -1;
	if (!str_eqc(r->text, key))
		return json_fail(r, err, "is not the note of a finished shard");
	if (json_expect(r, JSON_NUMBER, key, err) < 0)
		return -1;
	return json_u64(r->text, count) && *count > 0 ? 0 : json_fail(r, err, "is not the note of a finished shard");
}

/* Reads the rest of ["RULE",MATCHED], whose bracket has been read. Adds the number to the plan's rule with this text. */
static int
note_rule(struct json_reader *r, struct adapt *a, struct strmap *rules, struct err *err)
{
	uint64_t i = a->plan.nrules, matched;

	if (json_expect(r, JSON_STRING, "a rule", err) < 0)
		return -1;
	if (!strmap_get(rules, r->text, &i)) {
		plan_rule_new(&a->plan, str_c(""), "%.*s", STR_ARG(r->text));
		strmap_add(rules, str_c(a->plan.rules[i]->text), i);
	}
	if (json_expect(r, JSON_NUMBER, "a count", err) < 0)
		return -1;
	if (!json_u64(r->text, &matched))
		return json_fail(r, err, "is not a count");
	a->plan.rules[i]->matched += matched;
	return json_expect(r, JSON_ARRAY_END, "a rule", err);
}

/* Reads the statement of m: its number and the total and, if rules is not NULL, the rules that matched. */
static int
read_note(struct member *m, struct adapt *a, struct strmap *rules, struct err *err)
{
	const char *file = arena_printf(&a->arena, "%s: " CKPT_NOTE_KEY, m->input->ckpt->file);
	struct json_reader r;
	int rc;

	json_begin(&r, file, 0, m->note.p, m->note.len);
	rc = json_expect(&r, JSON_OBJECT, "a shard's note", err);
	if (rc == 0)
		rc = note_count(&r, "shard", &m->number, err);
	if (rc == 0)
		rc = note_count(&r, "of", &m->total, err);
	if (rc == 0 && rules != NULL)
		rc = json_expect(&r, JSON_KEY, "a shard's note", err);
	if (rc == 0 && rules != NULL)
		rc = json_expect(&r, JSON_ARRAY, "its rules", err);
	while (rc == 0 && rules != NULL && json_next(&r, err) == JSON_ARRAY)
		rc = note_rule(&r, a, rules, err);
	if (rc == 0 && rules != NULL && r.token != JSON_ARRAY_END)
		rc = err->code != ERR_NONE ? -1 : json_fail(&r, err, "is not the note of a finished shard");
	json_release(&r);
	return rc;
}

static struct str
note_of(const struct ckpt *c)
{
	struct str note = c->note;

	for (size_t i = 0; i < c->nmeta; i++)
		if (str_eqc(c->meta_keys[i], CKPT_NOTE_KEY))
			note = c->meta_values[i];
	return note;
}

/* Does m belong to the same set as first? */
static int
check_like(const struct member *first, const struct member *m, struct err *err)
{
	const char *file = m->input->ckpt->file;

	if (m->writer != first->writer)
		return err_input(err, file, "has another format than the shards before it");
	if (m->note.len == 0 && first->note.len > 0)
		return err_input(err, file, "does not state that --shard finished it, as %s does", first->file);
	if (m->note.len > 0 && first->note.len == 0)
		return err_input(err, file, "states that --shard finished it, and %s does not", first->file);
	if (m->total != first->total)
		return err_input(err, file, "is shard %" PRIu64 " of %" PRIu64 ", but %s is one of %" PRIu64, m->number, m->total,
				 first->file, first->total);
	return 0;
}

static int
open_member(struct set *s, struct adapt *a, struct member *m, struct err *err)
{
	struct shard_name name;
	struct source *src;
	int rc;

	m->input = &a->inputs[a->ninputs];
	a->labels[a->ninputs++] = m->file;
	if (source_open(&src, arena_printf(&a->arena, "%s/%s", s->dir, m->file), NULL, err) < 0 ||
	    input_open_index(m->input, src, err) < 0)
		return -1;
	m->note = note_of(m->input->ckpt);
	if (m->input->ckpt->boxed)
		return err_input(err, m->input->ckpt->file, "a shard of a distributed checkpoint needs no index");
	if (m->note.len == 0 && shard_name_parse(m->file, &name)) {
		m->number = name.k;
		m->total = name.n;
	}
	rc = m->note.len > 0 ? read_note(m, a, NULL, err) : 0;
	return rc == 0 ? check_like(&s->v[0], m, err) : -1;
}

static int
by_number(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return x->number != y->number ? (x->number > y->number) - (x->number < y->number) : by_name(a, b);
}

/* Is each shard there exactly once? */
static int
check_numbers(const struct set *s, struct err *err)
{
	const struct member *v = s->v;

	for (size_t i = 1; v[0].total > 0 && i < s->n; i++) {
		const char *file = v[i].input->ckpt->file;

		if (v[i].number == v[i - 1].number)
			return err_input(err, file, "is shard %" PRIu64 " of %" PRIu64 ", and so is %s", v[i].number, v[i].total,
					 v[i - 1].file);
	}
	for (uint64_t i = 0; v[0].total > 0 && i < v[0].total; i++)
		if (i >= s->n || v[i].number != i + 1)
			return err_input(err, s->dir, "shard %" PRIu64 " of %" PRIu64 " is missing%s", i + 1, v[0].total,
					 v[0].note.len > 0 ? "; its job did not finish" : "");
	return 0;
}

/* Opens all shards and adds them to the plan. A finished shard may have no tensors. */
static int
open_shards(struct set *s, struct adapt *a, struct err *err)
{
	int rc = 0;

	a->inputs = xcalloc(s->n, sizeof(*a->inputs));
	a->labels = xcalloc(s->n, sizeof(*a->labels));
	for (size_t i = 0; rc == 0 && i < s->n; i++)
		rc = open_member(s, a, &s->v[i], err);
	if (rc == 0) {
		qsort(s->v, s->n, sizeof(*s->v), by_number);
		rc = check_numbers(s, err);
	}
	for (size_t i = 0; rc == 0 && i < s->n; i++) {
		struct member *m = &s->v[i];

		if (m->note.len > 0 && m->input->ckpt->ntensors == 0)
			continue;
		rc = statedict_open(&m->input->sd, m->input->ckpt, "", err);
		if (rc == 0)
			plan_add_input(&a->plan, &m->input->sd, m->file);
	}
	return rc;
}

/* ---- the index */

static int
index_text(struct adapt *a, struct buf *text, struct err *err)
{
	const struct plan *p = &a->plan;
	struct str *names = xcalloc(p->nentries, sizeof(*names));
	const char **files = xcalloc(p->nentries, sizeof(*files));
	struct strmap seen = STRMAP_INIT;
	struct plan_containers containers;
	uint64_t total = 0;
	size_t n = 0, i;

	plan_containers(p, &containers);
	for (i = 0; i < p->nentries && err->code == ERR_NONE; i++) {
		names[n] = plan_listed_name(p, &containers, i);
		files[n] = plan_input_of(p, &p->entries[i])->label;
		if (names[n].p == NULL)
			continue;
		if (strmap_add(&seen, names[n], 0))
			n++;
		else if (plan_source(p, &p->entries[i])->kind != SD_OTHER)
			err_set(err, ERR_INPUT, "%s: %.*s is in another shard, too", plan_file(p, &p->entries[i]),
				STR_ARG(names[n]));
	}
	for (i = 0; i < a->ninputs; i++)
		for (uint32_t k = 0; k < a->inputs[i].ckpt->nstorages; k++)
			total += a->inputs[i].ckpt->storages[k].nbytes;
	shard_index_write(text, names, files, n, total);
	plan_containers_release(&containers);
	strmap_release(&seen);
	free(names);
	free(files);
	return err->code == ERR_NONE ? 0 : -1;
}

static int
read_rules(const struct set *s, struct adapt *a, struct err *err)
{
	struct strmap rules = STRMAP_INIT;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < s->n; i++)
		if (s->v[i].note.len > 0)
			rc = read_note(&s->v[i], a, &rules, err);
	strmap_release(&rules);
	return rc;
}

static int
write_index(struct set *s, struct adapt *a, const struct buf *text, struct err *err)
{
	const char *path = arena_printf(&a->arena, "%s/%s", s->dir, ckpt_out_index_name(s->v[0].writer));

	if (file_write(path, buf_str(text), err) < 0)
		return -1;
	tool_summary("%zu tensors in %" PRIu32 " shards -> %s", a->plan.nentries, a->plan.ninputs, path);
	return 0;
}

static int
check_and_write(struct set *s, struct adapt *a, struct err *err)
{
	struct buf text = BUF_INIT;
	int rc = -1;

	if (models_load(&a->model, a->o->models.v, a->o->models.n, err) < 0 || list_files(s, a, err) < 0)
		return -1;
	leave_others_out(s);
	if (open_shards(s, a, err) == 0 && index_text(a, &text, err) == 0 && read_rules(s, a, err) == 0) {
		/* The load check uses names as they were before --ddp and --add-prefix, so their prefixes are removed. */
		if (!a->o->keep_wrappers)
			plan_unwrap(&a->plan, NULL);
		for (size_t i = 0; i < a->o->strip.n; i++)
			plan_strip_prefix(&a->plan, a->o->strip.v[i], NULL);
		for (size_t i = 0; i < a->plan.nrules; i++)
			a->plan.rules[i]->quiet =
				a->plan.rules[i]->quiet || str_starts(str_c(a->plan.rules[i]->text), str_c("--strip-prefix"));
		adapt_check(a);
		rc = adapt_verdict(a, err);
		if (rc != 0 || (rc = write_index(s, a, &text, err)) == 0)
			adapt_say_load(a);
	}
	buf_release(&text);
	return rc;
}

int
shard_jobs_write_index(const struct adapt_options *o, struct err *err)
{
	struct buf dir = BUF_INIT;
	struct set s = { .dir = trim(&dir, o->write_index) };
	struct adapt a;
	int rc;

	adapt_init(&a, o);
	rc = check_and_write(&s, &a, err);
	free(s.v);
	buf_release(&dir);
	adapt_release(&a);
	return rc;
}
