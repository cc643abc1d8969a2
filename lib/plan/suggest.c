#include "plan/suggest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/strmap.h"
#include "base/text.h"
#include "base/xalloc.h"

enum { DEPTH = SUGGEST_DEPTH_MAX, NODES = 8, WORDS = 48, CANDIDATES_EACH = 64 };
enum { ROUNDS = 3, PASSES = 8, ALIGN_MAX = 1 << 20, STEPS_MAX = 1 << 27 };

/* A word of a name, in a form common to all projects. */
struct word {
	struct str text;
	double weight;
	int number; /* rank among the numbers at the same place; -1: the word is no number */
	size_t at;  /* number: its position in the family's text; SIZE_MAX: none */
};

/* A tensor, or several tensors that are treated as joined. */
struct leaf {
	struct str name;
	size_t members[SUGGEST_JOIN_MAX];
	unsigned n;
	uint64_t *shape;
	unsigned ndim;
	bool floating;
	uint64_t index[DEPTH];
	unsigned nindex;
	size_t layered; /* length of the name up to the last layer number */
	uint32_t layer; /* index in side.layers */
};

/* A layer of the target. here and there are the sums of the positions of the paired tensors of the source and of the target. */
struct layer {
	double here, there;
	unsigned n;
};

/* Tensors whose names differ only in layer numbers. */
struct suggest_family {
	struct str text; /* name with {} for each layer number */
	uint32_t *leaves, n, cap;
	uint32_t nodes[NODES], nnodes; /* enclosing modules, the innermost first */
	struct word words[WORDS];
	unsigned nwords;
	double sum;    /* sum of the weights of the words */
	double weight; /* weight of its vote, which is lower if there are many candidates for it */
	uint64_t mask; /* set of shape_bit of its free leaves */
	uint64_t bag;  /* hash set of its words */
	bool joined;
};

struct side {
	const struct suggest_side *in;
	struct arena *arena;
	struct leaf *leaves;
	struct suggest_family *families;
	double *node_size; /* by module: the weights of the families in it */
	size_t nleaves, cap_leaves, nfamilies, cap_families, nnodes, cap_nodes;
	struct strmap names, texts, nodes;
	struct strmap seen, counts; /* data for deciding which numbers are those of layers */
	uint64_t (*numbers)[2];     /* by index in counts: different numbers seen, and modules below them */
	size_t nnumbers, cap_numbers;
	struct strmap layers_at;
	struct layer *layers;
	size_t nlayers, cap_layers;
	bool *taken; /* by entry: it has a partner already */
};

/* Two families that may correspond. */
struct candidate {
	uint32_t a, b;
	double words, bonus, context, score, cover;
	bool chosen, whole, turned; /* turned: their matrices are transposed */
};

struct matcher {
	struct suggest *out;
	struct side s, t;
	struct candidate *v;
	size_t n, cap;
	size_t *first_a, *first_b, *next_b; /* indices of the first and the next candidate of each family; SIZE_MAX ends */
	uint32_t *with_a, *with_b;          /* by family: the family that it is paired with; UINT32_MAX: none */
	struct strmap votes_at;             /* from a pair of modules to the index in votes */
	double *votes;
	size_t nvotes, cap_votes;
	struct arena votes_arena;
};

/* ---- words */

/*
 * Words with one meaning in different projects. The first word of a row is the common name. "-" marks words without meaning; #N is
 * the number N.
 */
/* clang-format off */
static const char *const synonyms[] = {
	"attn attention mha msa selfattention", "norm layernorm ln bn batchnorm normalization layrnorm rmsnorm gn groupnorm",
	"conv convolution", "embed embedding embeddings emb embedder stem", "pos position positional", "cls class",
	"dist distillation", "proj projection", "fc linear lin dense l w", "head classifier heads", "gamma lambda scale ls",
	"downsample downsampling shortcut", "q query queries wq", "k key keys wk", "v value values wv", "qkv wqkv",
	"o wo out", "rel relative", "mlp ffn feedforward ff", "register reg registers", "token tokens tok",
	"layers resblocks blocks block layer", "stages stage", "visual vision image", "dwconv dw depthwise", "pwconv pw",
	"word wte", "pos wpe", "se squeeze", "reduce reduction", "expand expansion", "bias beta", "weight kernel",
	"#0 before input pre first in gate intermediate a", "#1 after post second up b", "#2 c", "- self parameter",
};
/* clang-format on */

/* Words that carry little meaning. They have a low weight. */
static const char *const common[] = { "layers", "stages", "encoder", "model",   "module", "backbone", "features",    "trunk",
				      "vit",    "deit",   "beit",    "swin",    "resnet", "convnext", "transformer", "network",
				      "base",   "body",   "output",  "teacher", "state",  "o" };

/* Words of tensors that other projects join. The last one is the name of the joined tensor. */
/* clang-format off */
static const char *const joins[][SUGGEST_JOIN_MAX + 1] = {
	{ "q", "k", "v", "qkv" }, { "query", "key", "value", "qkv" }, { "queries", "keys", "values", "qkv" },
	{ "wq", "wk", "wv", "qkv" }, { "k", "v", NULL, "kv" }, { "key", "value", NULL, "kv" }, { "gate", "up", NULL, "gate_up" },
};
/* clang-format on */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_word(char c)
{
	return (c | 32) >= 'a' && (c | 32) <= 'z';
}

/* Returns the length of the token at the beginning of s: a run of digits or of letters, or any other single byte. */
static size_t
run(struct str s)
{
	size_t n = 1;

	if (is_digit(s.p[0]))
		while (n < s.len && is_digit(s.p[n]))
			n++;
	else if (is_word(s.p[0]))
		while (n < s.len && is_word(s.p[n]) && !(s.p[n] >= 'A' && s.p[n] <= 'Z' && s.p[n - 1] >= 'a'))
			n++;
	return n;
}

/* Would a key map accept these digits as an index? */
static bool
is_index(struct str s, uint64_t *v)
{
	return s.len > 0 && s.len < 9 && (s.len == 1 || s.p[0] != '0') && num_u64(s, v);
}

static void
add_word(struct suggest_family *f, struct str text, double weight, int number)
{
	if (f->nwords < WORDS)
		f->words[f->nwords++] = (struct word){ text, weight, number, SIZE_MAX };
}

static struct str
common_name(struct str word)
{
	for (size_t i = 0; i < sizeof(synonyms) / sizeof(synonyms[0]); i++) {
		struct str rest = str_c(synonyms[i]), first, other;

		str_split(&rest, ' ', &first);
		while (str_split(&rest, ' ', &other))
			if (str_eq(word, other))
				return first;
	}
	return word;
}

static void
add_number(struct suggest_family *f, double weight, size_t at)
{
	add_word(f, (struct str){ NULL, 0 }, weight, 0);
	if (f->nwords > 0)
		f->words[f->nwords - 1].at = at;
}

/* Adds a word in lower case under its common name. */
static void
put_word(struct side *s, struct suggest_family *f, struct str text, double weight)
{
	char *p = arena_bytes(s->arena, text.len + 1);
	struct str low = { p, text.len };

	for (size_t i = 0; i < text.len; i++)
		p[i] = (char)(text.p[i] | 32);
	low = common_name(low);
	if (low.p[0] == '#')
		add_word(f, (struct str){ NULL, 0 }, weight, low.p[1] - '0');
	else if (low.p[0] != '-')
		add_word(f, low, str_in(low, common) ? weight / 8 : weight, -1);
}

/* Does a word form a single word with what follows, as in "layer_norm"? */
static bool
goes_with_next(struct str word, struct str rest)
{
	static const char *const next[] = { "norm", "Norm", "scale", "_norm", "_scale" };

	if (str_eqc(word, "attention") && str_starts(rest, str_c("_layernorm")))
		return true;
	if (!str_eqc_nocase(word, "layer") && !str_eqc_nocase(word, "batch"))
		return false;
	for (size_t i = 0; i < sizeof(next) / sizeof(next[0]); i++)
		if (str_starts(rest, str_c(next[i])))
			return true;
	return false;
}

/* Splits the family's text into words. The last component has the highest weight. */
static void
find_words(struct side *s, struct suggest_family *f)
{
	const struct str text = f->text;
	unsigned level = 0;

	for (size_t i = 0; i < text.len; i++)
		level += text.p[i] == '.';
	for (size_t i = 0, n; i < text.len; i += n) {
		const struct str rest = str_from(text, i);
		const double weight = level == 0 ? 1 : level == 1 ? 1 : level == 2 ? 0.6 : level == 3 ? 0.4 : 0.3;

		n = run(rest);
		level -= text.p[i] == '.';
		if (is_digit(text.p[i]))
			add_number(f, weight, i);
		else if (is_word(text.p[i]) && !goes_with_next(str_n(text.p + i, n), str_from(text, i + n)))
			put_word(s, f, str_n(text.p + i, n), weight);
	}
	for (unsigned i = 0; i < f->nwords; i++) {
		const struct str word = f->words[i].text;

		f->sum += f->words[i].weight;
		if (word.len > 2)
			f->bag |= (uint64_t)1 << (5 * (uint8_t)word.p[0] + 3 * (uint8_t)word.p[1] + (uint8_t)word.p[2]) % 64;
	}
}

static double
same_word(const struct word *a, const struct word *b)
{
	const bool less = a->text.len < b->text.len;
	const struct str shorter = less ? a->text : b->text, longer = less ? b->text : a->text;

	if (a->number >= 0 || b->number >= 0)
		return a->number == b->number;
	if (str_eq(a->text, b->text))
		return 1;
	return shorter.len >= 3 && str_starts(longer, shorter) ? 0.8 : 0;
}

/* Returns the similarity of the words of two families, from 0 to 1. */
static double
words(const struct suggest_family *a, const struct suggest_family *b)
{
	bool used[WORDS] = { false };
	double sum = 0;

	if (str_eq(a->text, b->text))
		return 1;
	for (unsigned i = a->nwords; i-- > 0;) {
		double best = 0;
		unsigned at = 0;

		for (unsigned k = b->nwords; k-- > 0;) {
			double same = used[k] ? 0 : same_word(&a->words[i], &b->words[k]);
			const double less = a->words[i].weight < b->words[k].weight ? a->words[i].weight : b->words[k].weight;

			same *= (a->words[i].weight + b->words[k].weight + 2 * less) / 4;
			if (same > best) {
				best = same;
				at = k;
			}
		}
		used[at] = used[at] || best > 0;
		sum += best;
	}
	return a->sum + b->sum > 0 ? 2 * sum / (a->sum + b->sum) : 0;
}

/* Returns the number of components, at most 3, that two names have in common at their ends. */
static unsigned
common_end(struct str a, struct str b)
{
	unsigned n = 0;

	for (; n < 3 && a.len > 0 && b.len > 0 && a.p[a.len - 1] == b.p[b.len - 1]; a.len--, b.len--)
		n += a.p[a.len - 1] == '.';
	return n;
}

/* ---- shapes */

/* Returns the op that makes the shape of b from that of a, or -1 if there is none. */
static int
op_between(const struct leaf *a, const struct leaf *b)
{
	unsigned i = 0, k = 0;

	if (a->floating != b->floating)
		return -1;
	if (a->ndim == b->ndim && (a->ndim == 0 || memcmp(a->shape, b->shape, a->ndim * sizeof(*a->shape)) == 0))
		return SUGGEST_COPY;
	for (;;) {
		while (i < a->ndim && a->shape[i] == 1)
			i++;
		while (k < b->ndim && b->shape[k] == 1)
			k++;
		if (i == a->ndim || k == b->ndim || a->shape[i] != b->shape[k])
			break;
		i++;
		k++;
	}
	if (i == a->ndim && k == b->ndim)
		return SUGGEST_RESHAPE;
	if (a->ndim == 2 && b->ndim == 2 && a->shape[0] == b->shape[1] && a->shape[1] == b->shape[0])
		return SUGGEST_TRANSPOSE;
	if (a->ndim == 4 && b->ndim == 4 && a->shape[0] == b->shape[2] && a->shape[1] == b->shape[3] &&
	    a->shape[2] == b->shape[1] && a->shape[3] == b->shape[0])
		return SUGGEST_PERMUTE;
	return -1;
}

/* Returns a bit derived from the shape. It is equal for shapes that an op converts into each other. */
static uint64_t
shape_bit(const struct leaf *l)
{
	uint64_t sum = 1, product = 1;

	for (unsigned i = 0; i < l->ndim; i++)
		if (l->shape[i] != 1) {
			sum += l->shape[i] * 0x9e3779b97f4a7c15;
			product *= l->shape[i] | 1;
		}
	sum = (sum ^ product) * 0xff51afd7ed558ccd;
	return (uint64_t)1 << (sum >> 58);
}

/* ---- families */

static bool
is_free(const struct side *s, const struct leaf *l)
{
	for (unsigned i = 0; i < l->n; i++)
		if (s->taken[l->members[i]])
			return false;
	return true;
}

/*
 * Counts the number in a name that ends before position at, and the modules below it. place is the name before the number, with #
 * for other numbers.
 */
static void
count_number(struct side *s, struct str place, struct str name, size_t at)
{
	size_t module = name.len;
	char level[24];
	uint64_t i;

	snprintf(level, sizeof(level), " %zu", at);
	while (module > at && name.p[module - 1] != '.')
		module--;
	if (!strmap_get(&s->counts, place, &i)) {
		i = s->nnumbers;
		strmap_add(&s->counts, arena_str(s->arena, place), i);
		memset(xpush(s->numbers, s->nnumbers, s->cap_numbers), 0, sizeof(*s->numbers));
	}
	s->numbers[i][0] += strmap_add(&s->seen, str_n(name.p, at), 0);
	s->numbers[i][1] += strmap_add(&s->seen, arena_join(s->arena, str_n(name.p, module), str_c(level)), 0);
}

static void
count_numbers(struct side *s, struct str name)
{
	struct buf place = BUF_INIT;

	for (size_t i = 0, n; i < name.len; i += n) {
		n = run(str_from(name, i));
		if (is_digit(name.p[i])) {
			count_number(s, buf_str(&place), name, i + n);
			buf_addc(&place, '#');
		} else {
			buf_add(&place, name.p + i, n);
		}
	}
	buf_release(&place);
}

/* Is a number at this place a layer number? Those have at least 2.5 modules below them on average. */
static bool
is_layer(const struct side *s, struct str text)
{
	uint64_t i;

	return strmap_get(&s->counts, text, &i) && 2 * s->numbers[i][1] >= 5 * s->numbers[i][0];
}

/* Returns the text of the leaf's family, and sets the layer numbers of the leaf. */
static struct str
family_text(const struct side *s, struct leaf *l)
{
	struct buf all = BUF_INIT, b = BUF_INIT;
	struct str text;

	for (size_t i = 0, n; i < l->name.len; i += n) {
		const struct str part = str_n(l->name.p + i, run(str_from(l->name, i)));
		uint64_t v;

		n = part.len;
		if (is_index(part, &v) && l->nindex < DEPTH && is_layer(s, buf_str(&all))) {
			l->index[l->nindex++] = v;
			l->layered = i + n;
			buf_adds(&b, "{}");
		} else {
			buf_addstr(&b, part);
		}
		if (is_digit(part.p[0]))
			buf_addc(&all, '#');
		else
			buf_addstr(&all, part);
	}
	text = arena_str(s->arena, buf_str(&b));
	buf_release(&b);
	buf_release(&all);
	return text;
}

static uint32_t
node_of(struct side *s, struct str text)
{
	uint64_t i;

	if (strmap_get(&s->nodes, text, &i))
		return (uint32_t)i;
	strmap_add(&s->nodes, text, s->nnodes);
	*xpush(s->node_size, s->nnodes, s->cap_nodes) = 0;
	return (uint32_t)(s->nnodes - 1);
}

static void
add_to_family(struct side *s, uint32_t leaf)
{
	struct leaf *l = &s->leaves[leaf];
	struct str text = family_text(s, l);
	struct suggest_family *f;
	uint64_t i;

	if (!strmap_get(&s->texts, text, &i)) {
		s->families = xgrow(s->families, s->nfamilies, &s->cap_families, sizeof(*s->families));
		i = s->nfamilies++;
		strmap_add(&s->texts, text, i);
		f = &s->families[i];
		*f = (struct suggest_family){ .text = text, .joined = l->n > 1 };
		for (size_t k = text.len; k-- > 0 && f->nnodes < NODES;)
			if (text.p[k] == '.') {
				f->nodes[f->nnodes++] = node_of(s, str_n(text.p, k));
			}
	}
	f = &s->families[i];
	if (f->n == f->cap)
		f->leaves = xreallocn(f->leaves, f->cap = 2 * f->cap + 4, sizeof(*f->leaves));
	f->leaves[f->n++] = leaf;
}

static struct leaf *
add_leaf(struct side *s, struct str name, const struct entry *e, size_t member)
{
	struct leaf *l;

	l = xpush(s->leaves, s->nleaves, s->cap_leaves);
	*l = (struct leaf){ .name = name,
			    .members = { member },
			    .n = 1,
			    .ndim = e->ndim,
			    .floating = e->dtype == DTYPE_UNKNOWN || dtype_is_float((enum dtype)e->dtype) };
	l->shape = arena_alloc(s->arena, (e->ndim + 1) * sizeof(*l->shape));
	if (e->ndim > 0)
		memcpy(l->shape, e->shape, e->ndim * sizeof(*l->shape));
	return l;
}

/* Returns a name in which the word of length len at position i is replaced. */
static struct str
replaced(struct side *s, struct str name, size_t i, size_t len, const char *by)
{
	struct str head = arena_join(s->arena, str_n(name.p, i), str_c(by));

	return arena_join(s->arena, head, str_from(name, i + len));
}

/*
 * If the word at i is the first of a row of joins, and the other words' tensors exist with the same shape, adds their join as a
 * leaf.
 */
static void
try_join(struct side *s, size_t entry, size_t i, const char *const *row)
{
	const struct entry *e = &s->in->v[entry];
	const size_t len = strlen(row[0]), nrow = row[2] == NULL ? 2 : 3;
	struct leaf *l;
	uint64_t at[SUGGEST_JOIN_MAX] = { entry };
	struct str name;

	for (size_t k = 1; k < nrow; k++) {
		if (!strmap_get(&s->names, replaced(s, e->name, i, len, row[k]), &at[k]))
			return;
		if (s->in->v[at[k]].dtype != e->dtype || !shape_eq(s->in->v[at[k]].shape, s->in->v[at[k]].ndim, e->shape, e->ndim))
			return;
	}
	name = replaced(s, e->name, i, len, row[SUGGEST_JOIN_MAX]);
	if (strmap_get(&s->names, name, NULL) || e->ndim == 0 || e->shape[0] > UINT32_MAX)
		return;
	l = add_leaf(s, name, e, entry);
	l->n = (unsigned)nrow;
	l->shape[0] *= nrow;
	for (size_t k = 0; k < nrow; k++)
		l->members[k] = at[k];
}

static void
add_joins(struct side *s, size_t entry)
{
	const struct str name = s->in->v[entry].name;

	for (size_t i = 0, n; i < name.len; i += n) {
		n = run(str_from(name, i));
		for (size_t k = 0; k < sizeof(joins) / sizeof(joins[0]); k++)
			if (str_eqc(str_n(name.p + i, n), joins[k][0]))
				try_join(s, entry, i, joins[k]);
	}
}

static int
by_index(const void *x, const void *y, void *side)
{
	const struct leaf *leaves = ((const struct side *)side)->leaves;
	const struct leaf *a = &leaves[*(const uint32_t *)x], *b = &leaves[*(const uint32_t *)y];

	for (unsigned i = 0; i < a->nindex && i < b->nindex; i++)
		if (a->index[i] != b->index[i])
			return a->index[i] < b->index[i] ? -1 : 1;
	return *(const uint32_t *)x < *(const uint32_t *)y ? -1 : 1;
}

/* A number that is a word in a family's text. */
struct numeral {
	struct str head, number, tail;
	const struct leaf *leaf;
	struct word *word;
};

/* Compares the places of two numbers: the text around them, and the shapes of their tensors. */
static int
by_place(const void *x, const void *y)
{
	const struct numeral *a = x, *b = y;
	int rc = str_cmp(a->head, b->head);

	rc = rc == 0 ? str_cmp(a->tail, b->tail) : rc;
	if (rc == 0 && a->leaf->ndim != b->leaf->ndim)
		rc = a->leaf->ndim < b->leaf->ndim ? -1 : 1;
	for (unsigned i = 0; rc == 0 && i < a->leaf->ndim; i++)
		if (a->leaf->shape[i] != b->leaf->shape[i])
			rc = a->leaf->shape[i] < b->leaf->shape[i] ? -1 : 1;
	return rc;
}

static int
by_number(const void *a, const void *b)
{
	const int rc = by_place(a, b);

	return rc != 0 ? rc : str_cmp_natural(((const struct numeral *)a)->number, ((const struct numeral *)b)->number);
}

/* Replaces numbers that are words by their rank among those at the same place with the same shape. */
static void
find_ranks(struct side *s)
{
	struct numeral *v = NULL;
	size_t n = 0, cap = 0;

	for (size_t f = 0; f < s->nfamilies; f++) {
		struct suggest_family *g = &s->families[f];

		for (unsigned k = 0; k < g->nwords; k++) {
			const size_t at = g->words[k].at, len = at == SIZE_MAX ? 0 : run(str_from(g->text, at));

			if (at == SIZE_MAX)
				continue;
			*xpush(v, n, cap) = (struct numeral){ str_n(g->text.p, at), str_n(g->text.p + at, len),
							      str_from(g->text, at + len), &s->leaves[g->leaves[0]], &g->words[k] };
		}
	}
	if (n > 0)
		qsort(v, n, sizeof(*v), by_number);
	for (size_t i = 0; i < n; i++)
		v[i].word->number = i > 0 && by_place(&v[i], &v[i - 1]) == 0 ? v[i - 1].word->number + 1 : 0;
	free(v);
}

/* Assigns the leaves to layers. */
static void
find_layers(struct side *s)
{
	for (size_t i = 0; i < s->nleaves; i++) {
		const struct str name = str_n(s->leaves[i].name.p, s->leaves[i].layered);
		uint64_t at = s->nlayers;

		if (strmap_add(&s->layers_at, name, at))
			*xpush(s->layers, s->nlayers, s->cap_layers) = (struct layer){ .n = 0 };
		strmap_get(&s->layers_at, name, &at);
		s->leaves[i].layer = (uint32_t)at;
	}
}

/* Can a key map express the name, and does it have a reasonable length? */
static bool
is_sayable(struct str name)
{
	size_t dots = 0, numbers = 0;

	if (name.len == 0 || name.len > SUGGEST_NAME_MAX || name.p[name.len - 1] == '.')
		return false;
	for (size_t i = 0; i < name.len; i++) {
		if (name.p[i] == '{' || name.p[i] == '}' || (unsigned char)name.p[i] < ' ')
			return false;
		dots += name.p[i] == '.';
		numbers += is_digit(name.p[i]) && (i == 0 || !is_digit(name.p[i - 1]));
	}
	return dots < DEPTH && numbers < DEPTH && utf8_valid(name);
}

static bool
takes_part(const struct entry *e)
{
	return e->has_shape && is_sayable(e->name);
}

static void
side_make(struct side *s, const struct suggest_side *in, struct arena *arena)
{
	*s = (struct side){ .in = in, .arena = arena };
	s->taken = xcalloc(in->n + 1, sizeof(*s->taken));
	for (size_t i = 0; i < in->n; i++) {
		strmap_add(&s->names, in->v[i].name, i);
		if (takes_part(&in->v[i])) {
			count_numbers(s, in->v[i].name);
			add_leaf(s, in->v[i].name, &in->v[i], i);
		}
	}
	for (size_t i = 0; i < in->n; i++)
		if (takes_part(&in->v[i]))
			add_joins(s, i);
	for (size_t i = 0; i < s->nleaves; i++)
		add_to_family(s, (uint32_t)i);
	find_layers(s);
	for (size_t i = 0; i < s->nfamilies; i++) {
		qsort_r(s->families[i].leaves, s->families[i].n, sizeof(uint32_t), by_index, s);
		find_words(s, &s->families[i]);
	}
	find_ranks(s);
}

static void
side_release(struct side *s)
{
	for (size_t i = 0; i < s->nfamilies; i++)
		free(s->families[i].leaves);
	free(s->families);
	free(s->leaves);
	free(s->node_size);
	free(s->numbers);
	free(s->taken);
	free(s->layers);
	strmap_release(&s->layers_at);
	strmap_release(&s->names);
	strmap_release(&s->texts);
	strmap_release(&s->nodes);
	strmap_release(&s->seen);
	strmap_release(&s->counts);
}

/* ---- aligning the leaves of two families */

/* Lists the free leaves of a family. Returns their number. */
static size_t
free_leaves(struct side *s, struct suggest_family *f, uint32_t *v)
{
	size_t n = 0;

	f->mask = 0;
	for (uint32_t i = 0; i < f->n; i++)
		if (is_free(s, &s->leaves[f->leaves[i]])) {
			v[n++] = f->leaves[i];
			f->mask |= shape_bit(&s->leaves[f->leaves[i]]);
		}
	return n;
}

/* The leaves of two families in order, and a pairing of those that fit. with[i] is the partner of a[i], or UINT32_MAX. */
struct alignment {
	uint32_t *a, *b, *with;
	size_t na, nb, n, steps; /* steps: of all alignments together */
	uint32_t *best;          /* scores for dynamic programming, (na + 1) * (nb + 1) */
};

/*
 * Returns the score for pairing two leaves: 0 if they do not fit, otherwise the more the closer they are to other pairs of their
 * layers.
 */
static unsigned
worth(const struct matcher *m, const struct alignment *l, size_t i, size_t k)
{
	const struct leaf *a = &m->s.leaves[l->a[i]], *b = &m->t.leaves[l->b[k]];
	const struct layer *layer = &m->t.layers[b->layer];
	double off;

	if (op_between(a, b) < 0)
		return 0;
	if (layer->n == 0)
		return 20;
	off = (double)a->members[0] - layer->here / layer->n - ((double)b->members[0] - layer->there / layer->n);
	return 20 + (unsigned)(20 * 16 / (16 + (off < 0 ? -off : off)));
}

/* Finds the alignment with the highest score, without crossings. */
static void
align_longest(const struct matcher *m, struct alignment *l)
{
	const size_t wide = l->nb + 1;
	size_t i = 0, k = 0;

	l->best = xcalloc((l->na + 1) * wide, sizeof(*l->best));
	for (i = l->na; i-- > 0;)
		for (k = l->nb; k-- > 0;) {
			uint32_t *best = &l->best[i * wide + k];
			const unsigned both = worth(m, l, i, k), with = both == 0 ? 0 : both + best[wide + 1];

			*best = best[wide] > best[1] ? best[wide] : best[1];
			*best = with > *best ? with : *best;
		}
	for (i = k = 0; i < l->na && k < l->nb;) {
		const uint32_t *best = &l->best[i * wide + k];
		const unsigned both = worth(m, l, i, k);

		if (both > 0 && *best == both + best[wide + 1]) {
			l->with[i++] = l->b[k++];
			l->n++;
		} else if (*best == best[wide]) {
			i++;
		} else {
			k++;
		}
	}
	free(l->best);
}

/* Fills with. Returns true if both families have the same number of leaves and these fit one by one. */
static bool
align(const struct matcher *m, struct alignment *l)
{
	size_t i = 0;

	memset(l->with, 0xff, (l->na + 1) * sizeof(*l->with));
	l->n = 0;
	while (l->na == l->nb && i < l->na && op_between(&m->s.leaves[l->a[i]], &m->t.leaves[l->b[i]]) >= 0) {
		l->with[i] = l->b[i];
		i++;
	}
	if (l->na == l->nb && i == l->na) {
		l->n = i;
		return true;
	}
	memset(l->with, 0xff, (l->na + 1) * sizeof(*l->with));
	if (l->na * l->nb <= ALIGN_MAX && l->steps < STEPS_MAX / 2) {
		l->steps += l->na * l->nb;
		align_longest(m, l);
		return false;
	}
	for (size_t k = i = 0; i < l->na && k < l->nb; k++)
		if (op_between(&m->s.leaves[l->a[i]], &m->t.leaves[l->b[k]]) >= 0) {
			l->with[i++] = l->b[k];
			l->n++;
		}
	return false;
}

/* ---- votes of paired families for pairs of their modules */

static double *
vote(struct matcher *m, uint32_t a, uint32_t b, bool make)
{
	const uint64_t key[2] = { a, b };
	const struct str k = { (const char *)key, sizeof(key) };
	uint64_t i;

	if (strmap_get(&m->votes_at, k, &i))
		return &m->votes[i];
	if (!make)
		return NULL;
	strmap_add(&m->votes_at, arena_str(&m->votes_arena, k), m->nvotes);
	*xpush(m->votes, m->nvotes, m->cap_votes) = 0;
	return &m->votes[m->nvotes - 1];
}

static double
vote_of(const struct matcher *m, uint32_t a, uint32_t b)
{
	const double x = m->s.families[a].weight, y = m->t.families[b].weight;

	return x < y ? x : y;
}

static void
vote_for(struct matcher *m, const struct candidate *c, double sign)
{
	const struct suggest_family *a = &m->s.families[c->a], *b = &m->t.families[c->b];
	const double by = sign * vote_of(m, c->a, c->b);

	for (uint32_t i = 0; i < a->nnodes; i++)
		for (uint32_t k = 0; k < b->nnodes; k++)
			*vote(m, a->nodes[i], b->nodes[k], true) += by;
}

/* Returns how strongly the modules around two families are paired with each other, from 0 to 1. */
static double
context(struct matcher *m, const struct candidate *c)
{
	const struct suggest_family *a = &m->s.families[c->a], *b = &m->t.families[c->b];
	double sum = 0, weights = 0, weight = 1;

	for (uint32_t i = 0; i < a->nnodes; i++) {
		double best = 0;

		for (uint32_t k = 0; k < b->nnodes; k++) {
			const double *v = vote(m, a->nodes[i], b->nodes[k], false);
			const double na = m->s.node_size[a->nodes[i]] - a->weight, nb = m->t.node_size[b->nodes[k]] - b->weight;
			const double most = na > nb ? na : nb;
			const double share = v == NULL || most < 0.01 ? 0 : *v / most;

			best = share > best ? share : best;
		}
		sum += weight * best;
		weights += weight;
		weight *= 0.7;
	}
	return weights > 0 ? sum / weights : 0;
}

/* ---- pairing families */

static int
by_pair(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;

	return a->a != b->a ? (a->a < b->a ? -1 : 1) : a->b < b->b ? -1 : a->b > b->b;
}

/*
 * A family of the target that shares shapes with one of the source. The best ones share most words; the distance of their relative
 * positions among all families is deducted.
 */
struct promise {
	uint32_t b;
	float worth;
};

static int
by_promise(const void *x, const void *y)
{
	const struct promise *a = x, *b = y;

	if (a->worth != b->worth)
		return a->worth > b->worth ? -1 : 1;
	return a->b < b->b ? -1 : a->b > b->b;
}

static size_t
find_promising(const struct matcher *m, uint32_t a, struct promise *v)
{
	const struct suggest_family *f = &m->s.families[a];
	const double place = (double)a / (double)m->s.nfamilies;
	size_t n = 0;

	for (uint32_t b = 0; b < m->t.nfamilies; b++) {
		const struct suggest_family *g = &m->t.families[b];
		const double apart = fabs(place - (double)b / (double)m->t.nfamilies);

		if ((f->mask & g->mask) != 0 && !(f->joined && g->joined))
			v[n++] = (struct promise){ b, (float)(__builtin_popcountll(f->bag & g->bag) - apart) };
	}
	if (n > CANDIDATES_EACH)
		qsort(v, n, sizeof(*v), by_promise);
	return n < CANDIDATES_EACH ? n : CANDIDATES_EACH;
}

static void
add_candidate(struct matcher *m, struct alignment *l, uint32_t a, uint32_t b)
{
	struct suggest_family *f = &m->s.families[a], *g = &m->t.families[b];
	struct candidate c = { .a = a, .b = b };

	l->steps += g->n;
	if (l->steps > STEPS_MAX)
		return;
	l->nb = free_leaves(&m->t, g, l->b);
	c.whole = align(m, l);
	if (l->n == 0)
		return;
	c.words = words(f, g);
	c.bonus = 0.05 * common_end(f->text, g->text);
	c.cover = (double)l->n / (double)(l->na > l->nb ? l->na : l->nb);
	for (size_t i = 0; i < l->na && !c.turned; i++)
		c.turned = l->with[i] != UINT32_MAX &&
			   op_between(&m->s.leaves[l->a[i]], &m->t.leaves[l->with[i]]) == SUGGEST_TRANSPOSE;
	*xpush(m->v, m->n, m->cap) = c;
}

static void
add_candidates(struct matcher *m, struct alignment *l)
{
	struct promise *v = xcalloc(m->t.nfamilies + 1, sizeof(*v));

	for (uint32_t a = 0; a < m->s.nfamilies; a++) {
		size_t n;

		l->na = free_leaves(&m->s, &m->s.families[a], l->a);
		n = l->na == 0 ? 0 : find_promising(m, a, v);
		for (size_t i = 0; i < n; i++)
			add_candidate(m, l, a, v[i].b);
	}
	free(v);
	if (m->n > 0)
		qsort(m->v, m->n, sizeof(*m->v), by_pair);
}

/* Returns how well two families correspond, apart from their order. */
static double
evidence(const struct candidate *c)
{
	return (c->words + c->bonus + 0.8 * c->context) * (0.3 + 0.7 * c->cover) - 0.2 * c->turned;
}

static int
by_score(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;

	if (a->score != b->score)
		return a->score > b->score ? -1 : 1;
	return by_pair(a, b);
}

/* Is the first leaf of a family used already? A joined family and its parts cannot both be paired. */
static bool
is_blocked(const struct side *s, const bool *used, uint32_t family)
{
	const struct suggest_family *f = &s->families[family];
	const struct leaf *l = &s->leaves[f->leaves[0]];

	for (unsigned i = 0; i < l->n; i++)
		if (used[l->members[i]])
			return true;
	return false;
}

static void
use(const struct side *s, bool *used, uint32_t family)
{
	const struct leaf *l = &s->leaves[s->families[family].leaves[0]];

	for (unsigned i = 0; i < l->n; i++)
		used[l->members[i]] = true;
}

/* Finds the candidate for a pair. The candidates must be sorted by pair. */
static struct candidate *
find_pair(const struct matcher *m, uint32_t a, uint32_t b)
{
	const struct candidate key = { .a = a, .b = b };

	return a == UINT32_MAX || b == UINT32_MAX ? NULL : bsearch(&key, m->v, m->n, sizeof(*m->v), by_pair);
}

/* Returns how much the total decreases if c's families are paired with each other, and their present partners with each other. */
static double
swap_loss(const struct matcher *m, const struct candidate *c, double (*of)(const struct candidate *c))
{
	const struct candidate *a = find_pair(m, c->a, m->with_a[c->a]), *b = find_pair(m, m->with_b[c->b], c->b);
	const struct candidate *d = find_pair(m, m->with_b[c->b], m->with_a[c->a]);

	return (a == NULL ? 0 : of(a)) + (b == NULL ? 0 : of(b)) - of(c) - (d == NULL ? 0 : of(d));
}

static double
score_of(const struct candidate *c)
{
	return c->score;
}

static void
pair_up(struct matcher *m, struct candidate *c)
{
	c->chosen = true;
	m->with_a[c->a] = c->b;
	m->with_b[c->b] = c->a;
}

/* Exchanges the partners of two pairs where this increases the total score. */
static void
exchange(struct matcher *m)
{
	for (size_t i = 0; i < m->n; i++) {
		struct candidate *c = &m->v[i], *a = find_pair(m, c->a, m->with_a[c->a]), *b = find_pair(m, m->with_b[c->b], c->b);
		struct candidate *d = find_pair(m, m->with_b[c->b], m->with_a[c->a]);

		if (a == NULL || b == NULL || d == NULL || a == b || swap_loss(m, c, score_of) > -1e-9)
			continue;
		a->chosen = b->chosen = false;
		pair_up(m, c);
		pair_up(m, d);
	}
}

/* Chooses candidates in the order of their scores. Each family is used at most once. */
static void
choose(struct matcher *m)
{
	bool *used_s = xcalloc(m->s.in->n + 1, 1), *used_t = xcalloc(m->t.in->n + 1, 1);
	bool *a = xcalloc(m->s.nfamilies + 1, 1), *b = xcalloc(m->t.nfamilies + 1, 1);

	qsort(m->v, m->n, sizeof(*m->v), by_score);
	for (size_t i = 0; i < m->n; i++) {
		struct candidate *c = &m->v[i];

		c->chosen = !a[c->a] && !b[c->b] && !is_blocked(&m->s, used_s, c->a) && !is_blocked(&m->t, used_t, c->b);
		if (!c->chosen)
			continue;
		a[c->a] = b[c->b] = true;
		use(&m->s, used_s, c->a);
		use(&m->t, used_t, c->b);
		pair_up(m, c);
	}
	qsort(m->v, m->n, sizeof(*m->v), by_pair);
	exchange(m);
	free(used_s);
	free(used_t);
	free(a);
	free(b);
}

static void
score(struct matcher *m)
{
	for (size_t i = 0; i < m->n; i++) {
		struct candidate *c = &m->v[i];

		c->context = context(m, c);
		c->score = evidence(c) + 0.1 * (c->a > 0 && c->b > 0 && m->with_a[c->a - 1] == c->b - 1) +
			   0.1 * (c->a + 1 < m->s.nfamilies && m->with_a[c->a + 1] == c->b + 1);
	}
}

/* Sets the weights of families and modules. candidates has the number of candidates of each family. */
static void
weigh(struct side *s, const double *candidates)
{
	for (size_t i = 0; i < s->nnodes; i++)
		s->node_size[i] = 0;
	for (size_t i = 0; i < s->nfamilies; i++) {
		struct suggest_family *f = &s->families[i];

		f->weight = 0.2 + 0.8 / (candidates[i] > 1 ? candidates[i] : 1);
		for (uint32_t k = 0; k < f->nnodes; k++)
			s->node_size[f->nodes[k]] += f->weight;
	}
}

/* Pairs families, then repeats this with the evidence that the pairs give about their modules. */
static void
pair_families(struct matcher *m)
{
	double *ra = xcalloc(m->s.nfamilies + 1, sizeof(*ra)), *rb = xcalloc(m->t.nfamilies + 1, sizeof(*rb));

	for (size_t i = 0; i < m->n; i++) {
		ra[m->v[i].a] += m->v[i].cover;
		rb[m->v[i].b] += m->v[i].cover;
	}
	weigh(&m->s, ra);
	weigh(&m->t, rb);
	free(ra);
	free(rb);
	for (int round = 0; round < ROUNDS; round++) {
		score(m);
		for (size_t i = 0; i < m->n; i++)
			if (m->v[i].chosen)
				vote_for(m, &m->v[i], -1);
		memset(m->with_a, 0xff, m->s.nfamilies * sizeof(*m->with_a));
		memset(m->with_b, 0xff, m->t.nfamilies * sizeof(*m->with_b));
		if (m->n > 0)
			choose(m);
		for (size_t i = 0; i < m->n; i++)
			if (m->v[i].chosen)
				vote_for(m, &m->v[i], 1);
	}
}

/* Does the rival have words at least as similar as the present pair of its other family? */
static bool
keeps_rival(const struct candidate *rival, const struct candidate *now)
{
	return now == NULL || rival->words >= now->words;
}

/* Lowers *least to the evidence that is lost if c is replaced by its rival d. */
static void
try_rival(const struct matcher *m, const struct candidate *c, const struct candidate *d, double *least)
{
	double loss = swap_loss(m, d, evidence);

	if (loss > 0.3 && d->cover > 0.5 &&
	    keeps_rival(d, d->a == c->a ? find_pair(m, m->with_b[d->b], d->b) : find_pair(m, d->a, m->with_a[d->a])))
		loss = 0.3;
	*least = loss < *least ? loss : *least;
}

/* Returns how much less evidence the next best assignment has. Sets *rivals to the number of alternatives. */
static double
margin(const struct matcher *m, const struct candidate *c, unsigned *rivals)
{
	double least = 9;

	*rivals = 0;
	for (size_t i = m->first_a[c->a]; i < m->n && m->v[i].a == c->a; i++)
		if (&m->v[i] != c) {
			++*rivals;
			try_rival(m, c, &m->v[i], &least);
		}
	for (size_t i = m->first_b[c->b]; i != SIZE_MAX; i = m->next_b[i])
		if (&m->v[i] != c) {
			++*rivals;
			try_rival(m, c, &m->v[i], &least);
		}
	return least;
}

/* Sets the indices of the candidates of each family. */
static void
index_candidates(struct matcher *m)
{
	m->next_b = xreallocn(m->next_b, m->n + 1, sizeof(*m->next_b));
	memset(m->first_b, 0xff, m->t.nfamilies * sizeof(*m->first_b));
	for (size_t i = m->n; i-- > 0;) {
		m->first_a[m->v[i].a] = i;
		m->next_b[i] = m->first_b[m->v[i].b];
		m->first_b[m->v[i].b] = i;
	}
}

/* A chosen candidate and its grade. */
struct grading {
	const struct candidate *c;
	enum suggest_grade grade;
	const char *why;
	bool only; /* there is no alternative with this shape */
};

/* Whole families come first, because the others are aligned by their positions relative to these. */
static int
by_evidence(const void *x, const void *y)
{
	const struct candidate *a = ((const struct grading *)x)->c, *b = ((const struct grading *)y)->c;

	if (a->whole != b->whole)
		return a->whole ? -1 : 1;
	if (evidence(a) != evidence(b))
		return evidence(a) > evidence(b) ? -1 : 1;
	return by_pair(a, b);
}

static struct grading
grade(const struct matcher *m, const struct candidate *c, bool again)
{
	unsigned rivals;
	const double apart = margin(m, c, &rivals);
	struct grading g = { .c = c, .only = rivals == 0 && m->s.leaves[m->s.families[c->a].leaves[0]].ndim > 1 };

	g.grade = apart > 0.2 ? SUGGEST_LIKELY : SUGGEST_GUESS;
	g.why = apart > 0.2 ? "names or place" : apart > 0 ? "others fit almost as well" : "only the order";
	if (!c->whole || again) {
		g.why = "some of the layers only";
		g.grade = apart > 0.2 && c->words > 0.5 ? SUGGEST_LIKELY : SUGGEST_GUESS;
	} else if (rivals == 0) {
		g.why = "the only one of this shape";
		g.grade = c->words + c->context > 0.6 ? SUGGEST_SURE : SUGGEST_GUESS;
	} else if (apart > 0.4 && c->words > 0.8) {
		g.why = "names and place";
		g.grade = SUGGEST_SURE;
	}
	return g;
}

static void
add_match(struct matcher *m, const struct leaf *a, const struct leaf *b, enum suggest_grade g, const char *why)
{
	struct suggest *s = m->out;
	struct suggest_match *match;

	match = xpush(s->v, s->n, s->cap);
	*match = (struct suggest_match){
		.nfrom = (uint8_t)a->n, .nto = (uint8_t)b->n, .op = (uint8_t)op_between(a, b), .grade = (uint8_t)g, .why = why
	};
	m->t.layers[b->layer].here += (double)a->members[0];
	m->t.layers[b->layer].there += (double)b->members[0];
	m->t.layers[b->layer].n++;
	for (unsigned i = 0; i < a->n; i++) {
		match->from[i] = a->members[i];
		m->s.taken[a->members[i]] = true;
	}
	for (unsigned i = 0; i < b->n; i++) {
		match->to[i] = b->members[i];
		m->t.taken[b->members[i]] = true;
	}
}

/* Makes matches of the chosen candidates. Returns the number of matches. */
static size_t
commit(struct matcher *m, struct alignment *l, bool again)
{
	const size_t before = m->out->n;
	struct grading *v = xcalloc(m->n + 1, sizeof(*v));
	size_t n = 0;

	index_candidates(m);
	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].chosen)
			v[n++] = grade(m, &m->v[i], again);
	if (n > 0)
		qsort(v, n, sizeof(*v), by_evidence);
	for (size_t i = 0; i < n; i++) {
		const struct candidate *c = v[i].c;

		if (c->words + c->bonus + 0.8 * c->context < 0.3 && !v[i].only)
			continue;
		l->na = free_leaves(&m->s, &m->s.families[c->a], l->a);
		l->nb = free_leaves(&m->t, &m->t.families[c->b], l->b);
		align(m, l);
		for (size_t k = 0; k < l->na; k++)
			if (l->with[k] != UINT32_MAX)
				add_match(m, &m->s.leaves[l->a[k]], &m->t.leaves[l->with[k]], v[i].grade, v[i].why);
	}
	free(v);
	return m->out->n - before;
}

/* Returns the name of a leaf or the digest of its contents. It is empty if the leaf is joined or used, or has no digest. */
static struct str
key_of(const struct side *s, const struct leaf *l, bool contents)
{
	const struct str hex = s->in->v[l->members[0]].sha256;

	if (l->n > 1 || !is_free(s, l) || (contents && hex.len <= 1))
		return (struct str){ NULL, 0 };
	return contents ? hex : l->name;
}

/* Pairs leaves if exactly one free leaf of each side has the key. */
static void
match_keys(struct matcher *m, bool contents, const char *why)
{
	struct strmap at[2] = { STRMAP_INIT, STRMAP_INIT }, twice[2] = { STRMAP_INIT, STRMAP_INIT };
	const struct side *sides[2] = { &m->s, &m->t };

	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < sides[k]->nleaves; i++) {
			const struct str key = key_of(sides[k], &sides[k]->leaves[i], contents);

			if (key.len > 0 && !strmap_add(&at[k], key, i))
				(void)strmap_add(&twice[k], key, 0);
		}
	for (size_t i = 0; i < m->s.nleaves; i++) {
		const struct leaf *l = &m->s.leaves[i];
		const struct str key = key_of(&m->s, l, contents);
		uint64_t k;
		int op;

		if (key.len == 0 || !strmap_get(&at[1], key, &k) || strmap_get(&twice[0], key, NULL) ||
		    strmap_get(&twice[1], key, NULL))
			continue;
		op = op_between(l, &m->t.leaves[k]);
		if (op == SUGGEST_COPY || (op >= 0 && contents))
			add_match(m, l, &m->t.leaves[k], SUGGEST_SURE, why);
	}
	for (int k = 0; k < 2; k++) {
		strmap_release(&at[k]);
		strmap_release(&twice[k]);
	}
}

static void
match_families(struct matcher *m)
{
	struct alignment l = { 0 };
	size_t done = 1;

	l.a = xcalloc(m->s.nleaves + 1, sizeof(*l.a));
	l.b = xcalloc(m->t.nleaves + 1, sizeof(*l.b));
	l.with = xcalloc(m->s.nleaves + 1, sizeof(*l.with));
	m->with_a = xcalloc(m->s.nfamilies + 1, sizeof(*m->with_a));
	m->first_a = xcalloc(m->s.nfamilies + 1, sizeof(*m->first_a));
	m->first_b = xcalloc(m->t.nfamilies + 1, sizeof(*m->first_b));
	m->with_b = xcalloc(m->t.nfamilies + 1, sizeof(*m->with_b));
	for (int pass = 0; pass < PASSES && done > 0; pass++) {
		for (uint32_t b = 0; b < m->t.nfamilies; b++)
			free_leaves(&m->t, &m->t.families[b], l.b);
		m->n = 0;
		memset(m->with_a, 0xff, m->s.nfamilies * sizeof(*m->with_a));
		memset(m->with_b, 0xff, m->t.nfamilies * sizeof(*m->with_b));
		add_candidates(m, &l);
		pair_families(m);
		done = commit(m, &l, pass > 0);
	}
	free(l.a);
	free(l.b);
	free(l.with);
	free(m->with_a);
	free(m->with_b);
	free(m->first_a);
	free(m->first_b);
	free(m->next_b);
}

/* ---- square matrices, whose shape does not tell whether they are transposed like others in their layer */

static bool
is_matrix(const struct suggest *s, const struct suggest_match *m)
{
	const struct entry *e = &s->source.v[m->from[0]];

	return e->ndim == 2 && s->target.v[m->to[0]].ndim == 2 && e->shape[0] > 1 && e->shape[1] > 1;
}

/* Returns the name up to its last number that is followed by a module. */
static struct str
layer_of(struct str name)
{
	size_t i = name.len;

	while (i > 0 && !(is_digit(name.p[i - 1]) && i < name.len && name.p[i] == '.'))
		i--;
	return str_n(name.p, i);
}

static void
transpose_squares(struct suggest *s)
{
	/* layers with matrices that are copied, and with matrices that are transposed */
	struct strmap seen[2] = { STRMAP_INIT, STRMAP_INIT };

	for (size_t i = 0; i < s->n; i++)
		if (is_matrix(s, &s->v[i]) && s->source.v[s->v[i].from[0]].shape[0] != s->source.v[s->v[i].from[0]].shape[1])
			(void)strmap_add(&seen[s->v[i].op == SUGGEST_TRANSPOSE], layer_of(s->source.v[s->v[i].from[0]].name), 0);
	for (size_t i = 0; i < s->n; i++) {
		struct suggest_match *m = &s->v[i];
		const struct str layer = layer_of(s->source.v[m->from[0]].name);

		if (m->op != SUGGEST_COPY || m->nfrom + m->nto > 2 || !is_matrix(s, m) || !strmap_get(&seen[1], layer, NULL))
			continue;
		m->op = strmap_get(&seen[0], layer, NULL) ? SUGGEST_COPY : SUGGEST_TRANSPOSE;
		m->grade = SUGGEST_GUESS;
		m->why = "a square matrix, transposed like others of its layer";
	}
	strmap_release(&seen[0]);
	strmap_release(&seen[1]);
}

/*
 * Lowers the grade of tokens if both sides have position tables without a partner. The tables then probably differ in their number
 * of rows, and the row of a token may have been added to the token itself.
 */
static void
doubt_tokens(const struct matcher *m)
{
	const struct str pos = STR_LIT("pos"), token = STR_LIT("token");
	bool found[2] = { false, false };
	const struct side *sides[2] = { &m->s, &m->t };

	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < sides[k]->in->n; i++)
			found[k] = found[k] || (!sides[k]->taken[i] && str_contains(sides[k]->in->v[i].name, pos));
	for (size_t i = 0; found[0] && found[1] && i < m->out->n; i++) {
		struct suggest_match *match = &m->out->v[i];

		if (match->grade != SUGGEST_SURE || !str_contains(m->t.in->v[match->to[0]].name, token))
			continue;
		match->grade = SUGGEST_LIKELY;
		match->why = "the position tables differ";
	}
}

static int
by_name(const void *x, const void *y)
{
	return str_cmp(((const struct entry *)x)->name, ((const struct entry *)y)->name);
}

/*
 * Returns the side sorted by name if it has the order of safetensors files, which sort by dtype and then by name. In that order,
 * neighbours with different dtypes are far apart.
 */
static struct suggest_side
in_order(struct arena *arena, const struct suggest_side *side)
{
	struct entry *v;
	size_t falls = 0;

	for (size_t i = 1; i < side->n; i++) {
		if (str_cmp(side->v[i - 1].name, side->v[i].name) <= 0)
			continue;
		if (side->v[i - 1].dtype == side->v[i].dtype)
			return *side;
		falls++;
	}
	if (falls == 0)
		return *side;
	v = arena_calloc(arena, side->n, sizeof(*v));
	memcpy(v, side->v, side->n * sizeof(*v));
	qsort(v, side->n, sizeof(*v), by_name);
	return (struct suggest_side){ v, side->n };
}

void
suggest_make(struct suggest *s, const struct suggest_side *source, const struct suggest_side *target)
{
	struct matcher m = { .out = s };

	*s = (struct suggest){ .arena = ARENA_INIT };
	s->source = in_order(&s->arena, source);
	s->target = in_order(&s->arena, target);
	side_make(&m.s, &s->source, &s->arena);
	side_make(&m.t, &s->target, &s->arena);
	match_keys(&m, true, "the same contents");
	s->limited = m.s.nfamilies > 0 && m.t.nfamilies > SUGGEST_PAIRS_MAX / m.s.nfamilies;
	if (s->limited)
		match_keys(&m, false, "the same name");
	else
		match_families(&m);
	transpose_squares(s);
	doubt_tokens(&m);
	side_release(&m.s);
	side_release(&m.t);
	free(m.v);
	free(m.votes);
	strmap_release(&m.votes_at);
	arena_release(&m.votes_arena);
}

void
suggest_release(struct suggest *s)
{
	free(s->v);
	arena_release(&s->arena);
}
