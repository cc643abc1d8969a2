#include "format/shard_index.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "base/xalloc.h"
#include "text/json_read.h"
#include "text/json_write.h"

static bool
is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Accepts an object whose first key is metadata, or that has weight_map near its beginning. */
bool
shard_index_probe(const uint8_t *head, size_t n)
{
	static const char map[] = "\"weight_map\"", meta[] = "\"metadata\"";
	size_t i = 0;

	while (i < n && is_space(head[i]))
		i++;
	if (i == n || head[i++] != '{')
		return false;
	if (memmem(head + i, n - i, map, sizeof(map) - 1) != NULL)
		return true;
	while (i < n && is_space(head[i]))
		i++;
	return n - i >= sizeof(meta) - 1 && memcmp(head + i, meta, sizeof(meta) - 1) == 0;
}

/* Fails if the folder of the index is not known. */
static int
check_place(const struct source *src, struct err *err)
{
	const char *name = source_name(src);
	struct stat st;

	if (!source_is_made(src) && (source_is_stream(src) || stat(name, &st) < 0 || !source_is_file(src, st.st_dev, st.st_ino)))
		return err_input(err, name,
				 "this is the index of a sharded checkpoint, whose files are in the same folder: give the index by "
				 "its path");
	return 0;
}

static int
read_text(struct buf *text, struct source *src, struct err *err)
{
	int rc = source_slurp(src, SHARD_INDEX_MAX, text, err);

	return rc <= 0 ? rc
		       : err_input(err, source_name(src), "an index of more than %llu bytes", (unsigned long long)SHARD_INDEX_MAX);
}

struct map_parser {
	struct shard_index *x;
	struct json_reader json;
	const char *name; /* name of the index */
	struct strmap files;
	size_t cap, shard_cap, file_cap, path_cap;
};

/* Returns true for the name of a file without a folder; "." and ".." are refused. */
static bool
is_plain(struct str file)
{
	return file.len > 0 && memchr(file.p, '/', file.len) == NULL && memchr(file.p, '\0', file.len) == NULL &&
	       !str_eqc(file, ".") && !str_eqc(file, "..");
}

/* Gets the number of the shard whose file name is the last token. */
static int
file_number(struct map_parser *p, struct str name, uint32_t *number, struct err *err)
{
	struct shard_index *x = p->x;
	struct str file = p->json.text;
	uint64_t found;

	if (!is_plain(file))
		return json_fail(&p->json, err, "tensor '%.*s': the shard '%.*s' is not the name of a file beside the index",
				 STR_ARG(name), STR_ARG(file));
	if (strmap_get(&p->files, file, &found)) {
		*number = (uint32_t)found;
		return 0;
	}
	file = arena_str(&x->arena, file);
	x->paths = xgrow(x->paths, x->nfiles, &p->path_cap, sizeof(*x->paths));
	x->paths[x->nfiles] = arena_printf(&x->arena, "%.*s%s", (int)path_folder(p->name), p->name, file.p);
	x->files = xgrow(x->files, x->nfiles, &p->file_cap, sizeof(*x->files));
	x->files[x->nfiles] = file.p;
	strmap_add(&p->files, file, x->nfiles);
	*number = x->nfiles++;
	return 0;
}

static int
parse_map(struct map_parser *p, struct err *err)
{
	struct shard_index *x = p->x;
	enum json_token token;
	struct str name;

	if (x->n > 0)
		return json_fail(&p->json, err, "weight_map occurs twice");
	if (json_expect(&p->json, JSON_OBJECT, "weight_map", err) < 0)
		return -1;
	while ((token = json_next(&p->json, err)) == JSON_KEY) {
		name = p->json.borrowed ? p->json.text : arena_str(&x->arena, p->json.text);
		if (x->n == UINT32_MAX - 1 || !strmap_add(&x->by_name, name, x->n))
			return json_fail(&p->json, err, "tensor '%.*s' occurs twice in the weight_map", STR_ARG(name));
		x->names = xgrow(x->names, x->n, &p->cap, sizeof(*x->names));
		x->shard = xgrow(x->shard, x->n, &p->shard_cap, sizeof(*x->shard));
		x->names[x->n] = name;
		if (json_expect(&p->json, JSON_STRING, "the shard of a tensor", err) < 0 ||
		    file_number(p, name, &x->shard[x->n], err) < 0)
			return -1;
		x->n++;
	}
	if (token != JSON_ERROR && x->n == 0)
		return json_fail(&p->json, err, "the weight_map is empty");
	return token == JSON_ERROR ? -1 : 0;
}

static int
parse(struct map_parser *p, struct err *err)
{
	enum json_token token;

	if (json_expect(&p->json, JSON_OBJECT, "an index", err) < 0)
		return -1;
	while ((token = json_next(&p->json, err)) == JSON_KEY)
		if ((str_eqc(p->json.text, "weight_map") ? parse_map(p, err) : json_skip(&p->json, err)) < 0)
			return -1;
	if (token == JSON_ERROR || json_next(&p->json, err) == JSON_ERROR)
		return -1;
	return p->x->n > 0 ? 0 : json_fail(&p->json, err, "there is no weight_map in this index");
}

int
shard_index_read(struct shard_index *x, struct source *src, struct err *err)
{
	struct map_parser p = { .x = x, .name = source_name(src), .files = STRMAP_INIT };
	int rc;

	*x = (struct shard_index){ .text = BUF_INIT, .by_name = STRMAP_INIT };
	arena_init(&x->arena);
	if (check_place(src, err) < 0 || read_text(&x->text, src, err) < 0)
		return -1;
	json_begin(&p.json, source_name(src), 0, x->text.p, x->text.len);
	rc = parse(&p, err);
	json_release(&p.json);
	strmap_release(&p.files);
	return rc;
}

void
shard_index_release(struct shard_index *x)
{
	buf_release(&x->text);
	arena_release(&x->arena);
	strmap_release(&x->by_name);
	free(x->names);
	free(x->shard);
	free(x->files);
	free(x->paths);
	*x = (struct shard_index){ .text = BUF_INIT, .by_name = STRMAP_INIT };
}

void
shard_index_write(struct buf *b, const struct str *names, const char *const *files, size_t n, uint64_t total_size)
{
	struct json_writer w;

	json_writer_init(&w, b, true);
	json_begin_object(&w);
	json_begin_object(json_key(&w, "metadata"));
	json_put_u64(json_key(&w, "total_size"), total_size);
	json_end_object(&w);
	json_begin_object(json_key(&w, "weight_map"));
	for (size_t i = 0; i < n; i++) {
		json_put_cstr(json_key_str(&w, names[i]), files[i]);
	}
	json_end_object(&w);
	json_end_object(&w);
	json_finish(&w);
}

/* ---- names of shard files */

/* Takes five digits from the start of *s. */
static bool
five_digits(struct str *s, uint32_t *number)
{
	*number = 0;
	if (s->len < 5)
		return false;
	for (size_t i = 0; i < 5; i++) {
		if (s->p[i] < '0' || s->p[i] > '9')
			return false;
		*number = *number * 10 + (uint32_t)(s->p[i] - '0');
	}
	*s = str_from(*s, 5);
	return true;
}

bool
shard_name_parse(const char *name, struct shard_name *out)
{
	const char *of = NULL;
	struct str k, rest;

	for (const char *p = name; (p = strstr(p, "-of-")) != NULL; p++)
		of = p; /* the last one counts, because the base name may contain -of- */

	if (of == NULL || of - name < 7 || of[-6] != '-')
		return false;
	k = str_n(of - 5, 5);
	rest = str_c(of + 4);
	if (!five_digits(&k, &out->k) || !five_digits(&rest, &out->n) || (rest.len > 0 && rest.p[0] != '.'))
		return false;
	out->base = str_n(name, (size_t)(of - name) - 6);
	out->suffix = rest;
	return out->k > 0 && out->k <= out->n;
}
