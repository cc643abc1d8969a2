/*
 * sharded: reads a sharded set through its index as one checkpoint. Tensors have the order of the weight_map. Storages are grouped
 * by shard, in the order in which the index first names the shards, and within a shard keep its order. Only a few of the files are
 * open at a time. A file that is reopened must be the same file as before. A file that is closed must not have changed while it was
 * open.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/xalloc.h"
#include "format/file_set.h"
#include "format/format.h"
#include "format/shard_index.h"
#include "tensor/tree.h"

struct shard {
	struct ckpt *live;  /* open reader of the shard, for what only it can do; or NULL */
	struct ckpt *index; /* owner of a tree whose texts are in use; may equal live. Its source may be closed */
	bool indexed;       /* live was opened before */
	uint32_t first;     /* number of its first storage in the set */
};

struct sharded {
	struct file_set files; /* must be first, for the operations of file_set */
	struct shard_index index;
	struct shard *shards;
	pthread_mutex_t lock; /* protects the readers of all shards */
};

/* ---- the files */

/* Detaches the index of a shard from its source, which is closed. */
static void
leave_index(const struct sharded *s, uint32_t i)
{
	s->shards[i].index->src = NULL;
	s->shards[i].index->file = file_set_path(&s->files, i);
}

/* Callback file_set.closing. Nobody uses the shard. */
static void
close_live(void *arg, uint32_t i)
{
	const struct sharded *s = arg;
	struct shard *shard = &s->shards[i];

	if (shard->live != shard->index)
		ckpt_close(shard->live);
	shard->live = NULL;
	if (shard->index != NULL)
		leave_index(s, i);
}

static void
open_files(struct sharded *s, const char *file)
{
	s->shards = xcalloc(s->index.nfiles, sizeof(*s->shards));
	file_set_init(&s->files, s->index.paths, s->index.nfiles, file);
	s->files.closing = close_live;
	s->files.arg = s;
	pthread_mutex_init(&s->lock, NULL);
}

static int
open_live(const struct ckpt *c, uint32_t i, struct source *src, struct err *err)
{
	const struct sharded *s = c->priv;
	struct shard *shard = &s->shards[i];
	/* Warnings were reported when the shard was opened first. */
	struct format_opts opts = { shard->indexed ? NULL : c->diag, NULL, c->salvage };
	const uint8_t *head;
	size_t n;

	if (shard->live != NULL)
		return 0;
	if (source_look(src, 0, FORMAT_PROBE, &head, &n, err) < 0)
		return -1;
	if (shard_index_probe(head, n))
		return err_input(err, c->file, "the shard '%s' is itself an index", file_set_path(&s->files, i));
	if (format_open(&shard->live, src, &opts, err) < 0) {
		shard->live = NULL;
		return -1;
	}
	shard->indexed = true;
	return 0;
}

/* Like file_set_get, and also opens the reader of the shard (live). The lock is held until put_live. */
static int
get_live(const struct ckpt *c, uint32_t i, struct err *err)
{
	struct sharded *s = c->priv;
	struct source *src;
	int rc;

	if (file_set_get(&s->files, i, &src, err) < 0)
		return -1;
	pthread_mutex_lock(&s->lock);
	rc = open_live(c, i, src, err);
	if (rc < 0) {
		pthread_mutex_unlock(&s->lock);
		file_set_put(&s->files, i);
	}
	return rc;
}

static void
put_live(struct sharded *s, uint32_t i)
{
	pthread_mutex_unlock(&s->lock);
	file_set_put(&s->files, i);
}

/* ---- joining the indexes of the shards */

/* An entry of the weight_map, while the shards are joined. */
struct weight {
	uint32_t value;   /* handle in the tree of the set; VALUE_ABSENT: made from tensor at the end, if there is a tree */
	uint32_t tensor;  /* for shards without a tree: provisional number of the tensor */
	struct str key;   /* key of a container if the index lists what is inside of it; else empty */
	bool comes_along; /* included in the container of an earlier entry, or lost */
};

struct weight_place {
	uint32_t pos; /* position in the weight_map of the first name of a tensor */
	uint32_t number;
};

struct build {
	struct ckpt *c;
	struct sharded *s;
	struct weight *weights;      /* by position in the weight_map */
	uint32_t *order;             /* positions sorted by shard, then by the order of the weight_map */
	struct tensor *tensors;      /* in the order in which they are found */
	struct weight_place *places; /* parallel to tensors */
	struct storage *storages;
	size_t ntensors, nstorages, cap, place_cap, storage_cap, left_out;
	size_t wrapped;     /* number of tensors whose wrap has been copied */
	uint32_t metadata;  /* _metadata of the first shard that has one */
	struct buf tables;  /* result of ckpt_tables for the set */
	size_t last_tables; /* offset in tables of its last text */
};

/* A shard that is being added. */
struct incoming {
	struct build *b;
	struct ckpt *sub;
	uint32_t shard, pos;
	uint32_t first;   /* number of its first storage in the set */
	uint32_t *number; /* by tensor of sub: its provisional number, or UINT32_MAX */
	struct statedict sd;
	struct strmap containers; /* maps names of sd's containers to their numbers */
	bool *taken;              /* by number of the container */
};

/* ---- tensors and storages */

static uint32_t
add_tensor(struct incoming *in, uint32_t index)
{
	struct build *b = in->b;
	const struct tensor *t = &in->sub->tensors[index];

	if (in->number[index] != UINT32_MAX)
		return in->number[index];
	b->tensors = xgrow(b->tensors, b->ntensors, &b->cap, sizeof(*b->tensors));
	b->places = xgrow(b->places, b->ntensors, &b->place_cap, sizeof(*b->places));
	b->tensors[b->ntensors] = tensor_copy(t, &b->c->arena);
	b->tensors[b->ntensors].more = NULL; /* its box is the whole tensor (check_boxes) */
	if (t->storage != STORAGE_NONE)
		b->tensors[b->ntensors].storage = in->first + t->storage;
	b->places[b->ntensors] = (struct weight_place){ in->pos, (uint32_t)b->ntensors };
	in->number[index] = (uint32_t)b->ntensors;
	return (uint32_t)b->ntensors++;
}

/* Sets the CRC of a located storage to what the shard states. */
static int
take_crc(struct ckpt *sub, uint32_t i, struct storage *s, struct err *err)
{
	bool known;

	if (ckpt_crc(sub, i, &s->crc, &known, err) < 0)
		return -1;
	s->flags = (uint8_t)((s->flags & ~STORAGE_CRC) | (known ? STORAGE_CRC : 0));
	return 0;
}

static int
add_storages(struct incoming *in, struct err *err)
{
	struct build *b = in->b;
	struct shard *shard = &b->s->shards[in->shard];

	if (b->nstorages + in->sub->nstorages >= STORAGE_NONE)
		return err_input(err, b->c->file, "the shards have more than 2^32 storages");
	in->first = shard->first = (uint32_t)b->nstorages;
	for (uint32_t i = 0; i < in->sub->nstorages; i++) {
		struct storage *s;

		s = xpush(b->storages, b->nstorages, b->storage_cap);
		*s = in->sub->storages[i];
		s->key = s->key.len > 0 ? arena_str(&b->c->arena, s->key) : str_c("");
		s->shard = in->shard;
		if (s->offset != OFFSET_UNKNOWN && take_crc(in->sub, i, s, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- values */

static uint32_t
copy_leaf(void *arg, enum value_leaf kind, uint32_t index)
{
	struct incoming *in = arg;

	return kind == LEAF_STORAGE ? in->first + index : add_tensor(in, index);
}

/* Copies value h into the tree of the set, and then the wraps of the tensors in it. */
static int
copy_value(struct incoming *in, struct value_copier *copier, uint32_t h, uint32_t *out, struct err *err)
{
	struct build *b = in->b;
	uint32_t wrap;

	*out = value_copy(copier, h, err);
	if (*out == VALUE_ABSENT)
		return -1;
	for (; b->wrapped < b->ntensors; b->wrapped++) {
		wrap = b->tensors[b->wrapped].wrap;
		if (wrap == VALUE_ABSENT)
			continue;
		wrap = value_copy(copier, wrap, err);
		if (wrap == VALUE_ABSENT)
			return -1;
		b->tensors[b->wrapped].wrap = wrap;
	}
	return 0;
}

/* Returns the container of entry. If entry is NULL, returns the container called name. Returns NULL if there is none. */
static const struct sd_container *
container_of(const struct incoming *in, struct str name, const struct sd_entry *entry)
{
	const struct statedict *sd = &in->sd;
	uint64_t number;

	if (entry != NULL)
		return entry->inside == 0 ? NULL : &sd->containers[sd->insides[entry->inside - 1].container];
	return strmap_get(&in->containers, name, &number) ? &sd->containers[number] : NULL;
}

/* Copies a whole container, even if the index lists what is inside of it. */
static int
take_container(struct incoming *in, struct value_copier *copier, const struct sd_container *c, struct err *err)
{
	struct weight *w = &in->b->weights[in->pos];
	bool *taken = &in->taken[c - in->sd.containers];

	w->comes_along = *taken;
	if (*taken)
		return 0;
	*taken = true;
	w->key = arena_str(&in->b->c->arena, c->name);
	return copy_value(in, copier, c->value, &w->value, err);
}

/* In salvage mode, marks the entries at these positions of the weight_map as lost. */
static int
lose(struct build *b, const uint32_t *positions, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		ckpt_lose(b->c, b->s->index.names[positions[i]]);
		b->weights[positions[i]].comes_along = true;
	}
	return 0;
}

static int
take_entry(struct incoming *in, struct value_copier *copier, struct err *err)
{
	struct build *b = in->b;
	const struct shard_index *x = &b->s->index;
	const struct sd_entry *entry = statedict_find(&in->sd, x->names[in->pos]);
	const struct sd_container *c = container_of(in, x->names[in->pos], entry);

	if (c != NULL)
		return take_container(in, copier, c, err);
	if (entry == NULL && b->c->salvage != SALVAGE_NOT)
		return lose(b, &in->pos, 1);
	if (entry == NULL)
		return err_input(err, b->c->file, "tensor '%.*s' belongs to the shard '%s' in the index, but the shard lacks it",
				 STR_ARG(x->names[in->pos]), x->files[in->shard]);
	if (in->sub->tree != NULL)
		return copy_value(in, copier, entry->value, &b->weights[in->pos].value, err);
	b->weights[in->pos].tensor = add_tensor(in, entry->tensor);
	return 0;
}

/* Takes the entries that the index assigns to this shard. */
static int
take_entries(struct incoming *in, const uint32_t *positions, uint32_t n, struct err *err)
{
	struct build *b = in->b;
	struct value_copier copier = { .leaf = copy_leaf, .arg = in, .dst = b->c->tree, .src = in->sub->tree };
	int rc = 0;

	for (uint32_t i = 0; i < in->sd.ncontainers; i++)
		strmap_add(&in->containers, in->sd.containers[i].name, i);
	for (uint32_t i = 0; i < n && rc == 0; i++) {
		in->pos = positions[i];
		rc = take_entry(in, &copier, err);
	}
	if (rc == 0 && in->sd.metadata != VALUE_ABSENT && b->metadata == VALUE_ABSENT)
		rc = copy_value(in, &copier, in->sd.metadata, &b->metadata, err);
	value_copier_release(&copier);
	b->wrapped = b->ntensors;
	return rc;
}

/*
 * Checks that the index assigns every tensor of the shard to this shard. For a tensor in a container, it may list the container
 * instead.
 */
static int
check_entries(struct incoming *in, struct err *err)
{
	struct build *b = in->b;
	const struct shard_index *x = &b->s->index;
	const char *file = x->files[in->shard];
	uint64_t pos;

	for (size_t i = 0; i < in->sd.n; i++) {
		const struct sd_entry *entry = &in->sd.entries[i];
		const struct sd_container *c = container_of(in, entry->name, entry);
		bool listed = strmap_get(&x->by_name, entry->name, &pos) || (c != NULL && strmap_get(&x->by_name, c->name, &pos));

		if (listed && x->shard[pos] == in->shard)
			continue;
		if (entry->kind == SD_OTHER) {
			b->left_out += c == NULL || !in->taken[c - in->sd.containers];
			continue;
		}
		if (listed)
			return err_input(err, b->c->file, "tensor '%.*s' is in the shard '%s', but the index has it in '%s'",
					 STR_ARG(entry->name), file, x->files[x->shard[pos]]);
		return err_input(err, b->c->file, "tensor '%.*s' in the shard '%s' is not in the index", STR_ARG(entry->name),
				 file);
	}
	return 0;
}

/* Adds the items of a shard's __metadata__ whose keys no earlier shard has. */
static void
add_meta(struct build *b, const struct ckpt *sub)
{
	struct ckpt *c = b->c;
	size_t i, k;

	for (i = 0; i < sub->nmeta; i++) {
		if (str_starts(sub->meta_keys[i], str_c("DCP_"))) /* applies to this shard only */
			continue;
		for (k = 0; k < c->nmeta && !str_eq(c->meta_keys[k], sub->meta_keys[i]); k++)
			;
		if (k < c->nmeta || k == SHARDED_META_MAX)
			continue;
		ckpt_add_meta(c, arena_str(&c->arena, sub->meta_keys[i]), arena_str(&c->arena, sub->meta_values[i]));
	}
}

/* Adds what a shard states of its bias tables, unless the previous text is the same. */
static int
add_tables(struct build *b, struct ckpt *sub, struct err *err)
{
	struct str text;

	if (ckpt_tables(sub, &text, err) < 0)
		return -1;
	if (text.len == 0 || str_eq(text, str_from(buf_str(&b->tables), b->last_tables)))
		return 0;
	if (b->tables.len > 0)
		buf_addc(&b->tables, '\0');
	b->last_tables = b->tables.len;
	buf_addstr(&b->tables, text);
	return 0;
}

/* ---- shards */

/* Adds the damaged records of a shard, from number first on. */
static void
take_damaged(struct ckpt *c, const struct ckpt *sub, size_t first)
{
	struct buf name = BUF_INIT;

	for (size_t i = first; i < sub->ndamaged; i++) {
		buf_clear(&name);
		buf_addf(&name, "%s/%.*s", sub->file, STR_ARG(sub->damaged[i]));
		ckpt_damaged(c, buf_str(&name));
	}
	buf_release(&name);
}

/* An index assigns a tensor to one shard, which must have all of it. */
static int
check_boxes(const struct ckpt *c, const struct ckpt *sub, struct err *err)
{
	for (uint32_t i = 0; sub->boxed && i < sub->ntensors; i++)
		for (unsigned k = 0; sub->tensors[i].more != NULL && k < sub->tensors[i].ndim; k++)
			if (sub->tensors[i].more->low[k] != 0)
				return err_input(err, c->file,
						 "the shard '%s' has a box of tensor '%.*s', and an index cannot say where the "
						 "others are",
						 sub->file, STR_ARG(sub->names[i]));
	return 0;
}

/* Returns the path of a shard's state dict: the root if name is a key of the root, or NULL if the rule must find the path. */
static const char *
place_of(const struct ckpt *sub, struct str name)
{
	uint32_t root = sub->tree == NULL ? VALUE_ABSENT : tree_container(sub->tree, sub->root);

	if (root == VALUE_ABSENT || value_kind(sub->tree, root) != VALUE_DICT)
		return NULL;
	return value_get(sub->tree, root, name) != VALUE_ABSENT ? "" : NULL;
}

static int
take_shard(struct incoming *in, const uint32_t *positions, uint32_t n, struct err *err)
{
	struct ckpt *c = in->b->c, *sub = in->sub;
	const char *key = n == 0 ? NULL : place_of(sub, in->b->s->index.names[positions[0]]);
	int rc;

	if (sub->tree != NULL && c->tree == NULL)
		c->tree = vtree_new();
	c->big_endian |= sub->big_endian;
	if (c->writer == NULL && sub->writer != NULL)
		c->writer = arena_cstr(&c->arena, sub->writer);
	add_meta(in->b, sub);
	take_damaged(c, sub, 0);
	if (check_boxes(c, sub, err) < 0 || add_tables(in->b, sub, err) < 0 || statedict_open(&in->sd, sub, key, err) < 0)
		return -1;
	in->taken = xcalloc(in->sd.ncontainers + 1, sizeof(*in->taken));
	in->number = xmalloc(((size_t)sub->ntensors + 1) * sizeof(*in->number));
	memset(in->number, 0xff, sub->ntensors * sizeof(*in->number));
	rc = add_storages(in, err) < 0 || take_entries(in, positions, n, err) < 0 || check_entries(in, err) < 0;
	free(in->number);
	free(in->taken);
	strmap_release(&in->containers);
	statedict_release(&in->sd);
	return rc ? -1 : 0;
}

/* Returns false if all storages are plain ranges at known offsets. Then the shard's reader is no longer needed. */
static bool
needs_reader(const struct ckpt *sub)
{
	for (uint32_t i = 0; i < sub->nstorages; i++)
		if (sub->storages[i].offset == OFFSET_UNKNOWN || (sub->storages[i].flags & STORAGE_DEFLATED))
			return true;
	return false;
}

static int
add_shard(struct build *b, uint32_t i, const uint32_t *positions, uint32_t n, struct err *err)
{
	struct shard *shard = &b->s->shards[i];
	struct incoming in = { .b = b, .shard = i };
	struct err why = ERR_INIT;
	int rc;

	if (get_live(b->c, i, &why) < 0) {
		if (b->c->salvage != SALVAGE_NOT) {
			diag_warn(b->c->diag, "%s", why.msg);
			return lose(b, positions, n);
		}
		err_set(err, why.code, "%s: tensor '%.*s' is in the shard '%s', which cannot be read: %s", b->c->file,
			STR_ARG(b->s->index.names[positions[0]]), b->s->index.files[i], why.msg);
		err->sysno = why.sysno;
		return -1;
	}
	in.sub = shard->live;
	rc = take_shard(&in, positions, n, err);
	/* The tree of a shard is kept for its texts. The rest of its index has been copied. */
	if (shard->live->tree != NULL)
		shard->index = shard->live;
	if (!needs_reader(shard->live)) {
		if (shard->live != shard->index)
			ckpt_close(shard->live);
		shard->live = NULL;
	}
	put_live(b->s, i);
	return rc;
}

/* Returns the positions of the weight_map sorted by shard. begins[i] is the index of shard i's first position. */
static uint32_t *
positions_by_shard(const struct shard_index *x, uint32_t **begins)
{
	uint32_t *order = xmalloc(((size_t)x->n + 1) * sizeof(*order));
	uint32_t *begin = xcalloc((size_t)x->nfiles + 2, sizeof(*begin));

	/*
	 * The counts are stored two places ahead. Distributing the positions then advances each entry to the start of the next
	 * shard.
	 */
	for (uint32_t i = 0; i < x->n; i++)
		begin[x->shard[i] + 2]++;
	for (uint32_t i = 2; i < x->nfiles + 2; i++)
		begin[i] += begin[i - 1];
	for (uint32_t i = 0; i < x->n; i++)
		order[begin[x->shard[i] + 1]++] = i;
	*begins = begin;
	return order;
}

static int
add_shards(struct build *b, struct err *err)
{
	const struct shard_index *x = &b->s->index;
	uint32_t *begin, *order = positions_by_shard(x, &begin);
	int rc = 0;

	for (uint32_t i = 0; i < x->nfiles && rc == 0; i++)
		rc = add_shard(b, i, order + begin[i], begin[i + 1] - begin[i], err);
	free(order);
	free(begin);
	return rc;
}

/* ---- building the checkpoint */

static int
compare_places(const void *a, const void *b)
{
	const struct weight_place *x = a, *y = b;

	if (x->pos != y->pos)
		return x->pos < y->pos ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/*
 * Sorts the tensors in the order of the weight_map. Returns their new numbers by provisional numbers; the caller frees the result.
 */
static uint32_t *
order_tensors(struct build *b)
{
	struct ckpt *c = b->c;
	uint32_t *number = xmalloc((b->ntensors + 1) * sizeof(*number));

	if (b->ntensors > 0)
		qsort(b->places, b->ntensors, sizeof(*b->places), compare_places);
	c->tensors = arena_calloc(&c->arena, b->ntensors, sizeof(*c->tensors));
	c->ntensors = (uint32_t)b->ntensors;
	for (size_t i = 0; i < b->ntensors; i++) {
		c->tensors[i] = b->tensors[b->places[i].number];
		number[b->places[i].number] = (uint32_t)i;
	}
	return number;
}

static void
name_tensors(struct build *b)
{
	struct ckpt *c = b->c;

	c->names = arena_calloc(&c->arena, b->ntensors, sizeof(*c->names));
	for (size_t i = 0; i < b->ntensors; i++)
		c->names[i] = b->s->index.names[b->places[i].pos];
}

/* Makes the root, a dict of names and values as a single file would have it. */
static void
make_root(struct build *b, const uint32_t *number)
{
	const struct shard_index *x = &b->s->index;
	struct vtree *t = b->c->tree;
	uint32_t index, value, state, root, count = vtree_count(t);

	for (uint32_t h = 0; h < count; h++)
		if (value_leaf(t, h, &index) == LEAF_TENSOR)
			value_set_leaf(t, h, number[index]);
	root = value_new_ordered(t);
	for (uint32_t i = 0; i < x->n; i++) {
		const struct weight *w = &b->weights[i];

		value = w->value;
		if (w->comes_along)
			continue;
		if (value == VALUE_ABSENT)
			value = value_new_leaf(t, LEAF_TENSOR, number[w->tensor]);
		value_set(t, root, value_new_text(t, VALUE_STR, w->key.len > 0 ? w->key : x->names[i]), value);
	}
	if (b->metadata != VALUE_ABSENT) {
		state = value_new_seq(t, VALUE_DICT);
		value_set(t, state, value_new_text(t, VALUE_STR, str_c("_metadata")), b->metadata);
		value_set_state(t, root, state);
	}
	b->c->root = root;
}

static void
put_together(struct build *b)
{
	struct ckpt *c = b->c;
	const struct shard_index *x = &b->s->index;
	uint32_t *number = order_tensors(b);

	c->shards = arena_calloc(&c->arena, x->nfiles, sizeof(*c->shards));
	memcpy(c->shards, x->files, x->nfiles * sizeof(*c->shards));
	c->nshards = x->nfiles;
	if (c->tree != NULL)
		make_root(b, number);
	else
		name_tensors(b);
	free(number);
	if (b->left_out > 0)
		diag_warn(c->diag,
			  "%s: %zu entries of the shards that are not tensors are left out, as the index does not list them",
			  c->file, b->left_out);
}

static int
build(struct ckpt *c, struct sharded *s, struct err *err)
{
	struct build b = { .c = c, .s = s, .metadata = VALUE_ABSENT };
	int rc;

	b.weights = xmalloc((size_t)s->index.n * sizeof(*b.weights));
	for (uint32_t i = 0; i < s->index.n; i++)
		b.weights[i] = (struct weight){ .value = VALUE_ABSENT };
	rc = add_shards(&b, err);
	c->storages = c->owned[0] = b.storages;
	c->nstorages = (uint32_t)b.nstorages;
	c->tables = arena_str(&c->arena, buf_str(&b.tables));
	buf_release(&b.tables);
	if (rc == 0)
		put_together(&b);
	free(b.weights);
	free(b.tensors);
	free(b.places);
	return rc;
}

/* ---- operations */

static int
locate(struct ckpt *c, uint32_t storage, struct err *err)
{
	struct sharded *s = c->priv;
	struct storage *to = &c->storages[storage];
	struct shard *shard = &s->shards[to->shard];
	const struct storage *from;
	int rc;

	if (get_live(c, to->shard, err) < 0)
		return -1;
	rc = ckpt_locate(shard->live, storage - shard->first, err);
	if (rc == 0) {
		from = &shard->live->storages[storage - shard->first];
		to->offset = from->offset;
		to->packed = from->packed;
		to->flags = from->flags;
		rc = take_crc(shard->live, storage - shard->first, to, err);
	}
	put_live(s, to->shard);
	return rc;
}

static int
read_it(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err)
{
	struct sharded *s = c->priv;
	const struct storage *from = &c->storages[storage];
	struct shard *shard = &s->shards[from->shard];
	int rc;

	if ((from->flags & STORAGE_DEFLATED) == 0)
		return file_set_read(c, storage, off, p, n, err);
	if (get_live(c, from->shard, err) < 0)
		return -1;
	rc = ckpt_read(shard->live, storage - shard->first, off, p, n, err);
	put_live(s, from->shard);
	return rc;
}

static void
close_it(struct ckpt *c)
{
	struct sharded *s = c->priv;

	if (s == NULL)
		return;
	file_set_release(&s->files);
	for (uint32_t i = 0; s->shards != NULL && i < s->index.nfiles; i++)
		ckpt_close(s->shards[i].index);
	if (s->shards != NULL)
		pthread_mutex_destroy(&s->lock);
	free(s->shards);
	shard_index_release(&s->index);
	free(s);
}

static int
check_records(struct ckpt *c, struct err *err)
{
	struct sharded *s = c->priv;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < s->index.nfiles; i++) {
		struct ckpt *sub;
		size_t had;

		if (get_live(c, i, err) < 0)
			return -1;
		sub = s->shards[i].live;
		had = sub->ndamaged;
		rc = ckpt_check_records(sub, err);
		take_damaged(c, sub, had);
		put_live(s, i);
	}
	return rc;
}

static const struct ckpt_ops ops = {
	.name = "sharded",
	.records = check_records,
	.locate = locate,
	.read = read_it,
	.finish = file_set_finish,
	.close = close_it,
	.range = file_set_range,
};

static int
open_it(struct ckpt *c, struct err *err)
{
	struct sharded *s = xcalloc(1, sizeof(*s));

	c->ops = &ops;
	c->priv = s;
	if (shard_index_read(&s->index, c->src, err) < 0)
		return -1;
	open_files(s, c->file);
	return build(c, s, err);
}

const struct format_reader format_sharded = { "sharded", shard_index_probe, open_it };
