#include "position/kind.h"

#include <string.h>

#include "base/buf.h"
#include "position/layout.h"

static const struct {
	const char *name;
	const char *parts[8]; /* possible last components of a tensor's name */
} kinds[] = {
	/* bias: any name that contains bias_part; two-dimensional, while bias3 is three-dimensional */
	[POSITION_BIAS] = { "bias", { NULL } },
	[POSITION_BIAS3] = { "bias3", { NULL } },
	[POSITION_EMBED] = { "embed",
			     { "pos_embed", "absolute_pos_embed", "decoder_pos_embed", "pos_embedding", "positional_embedding",
			       "position_embeddings", "position_embedding" } },
	[POSITION_OFFSETS] = { "offsets", { "attention_biases" } },
	[POSITION_AXIS] = { "axis", { "rel_pos_h", "rel_pos_w" } },
};

const char *const position_patches[POSITION_PATCHES] = {
	"patch_embed.proj.weight",
	"patch_embed.projection.weight",
	"patch_embeddings.projection.weight",
	"patch_embedding.weight",
	"conv_proj.weight",
	"conv1.weight",
};

static const struct str bias_part = STR_LIT("relative_position_bias_table");

#define NONE             \
	{                \
		-1, 0, 0 \
	}
#define BA RESAMPLE_BICUBIC_ANTIALIAS
#define B0 RESAMPLE_BICUBIC
#define GL RESAMPLE_GEOMETRIC_LINEAR
#define GS RESAMPLE_GEOMETRIC

const struct like like_default = {
	"",
	{ { B0, 0, LIKE_ANY }, { B0, 0, 0 }, { BA, 0, LIKE_ANY }, { BA, 0, 0 }, { RESAMPLE_BILINEAR, 0, 0 } },
};

/* Rules of other projects, by kind in the order of enum position_kind. */
static const struct like likes[] = {
	{ "timm", { { GL, 0, LIKE_ANY }, { GL, 0, 0 }, { BA, 0, LIKE_ANY }, { BA, 0, 0 }, { RESAMPLE_BILINEAR, 0, 0 } } },
	{ "swin", { { B0, 0, 0 }, { B0, 0, 0 }, { B0, 0, 0 }, NONE, NONE } },
	{ "beit", { { GS, 3, 3 }, { GS, 0, 0 }, { B0, 0, LIKE_ANY }, NONE, NONE } },
	{ "deit", { NONE, NONE, { B0, 0, LIKE_ANY }, NONE, NONE } },
	{ "mae", { NONE, NONE, { B0, 0, LIKE_ANY }, NONE, NONE } },
	{ "dinov2", { NONE, NONE, { RESAMPLE_BICUBIC_OFFSET, 1, 1 }, NONE, NONE } },
	{ "dinov2_reg", { NONE, NONE, { BA, 1, 1 }, NONE, NONE } },
	{ "torchvision", { NONE, NONE, { RESAMPLE_BICUBIC_CORNERS, 1, 1 }, NONE, NONE } },
	{ "vit_jax", { NONE, NONE, { RESAMPLE_BILINEAR_CORNERS, 0, 1 }, NONE, NONE } },
	{ "open_clip", { NONE, NONE, { BA, 1, 1 }, NONE, NONE } },
};

#undef NONE
#undef BA
#undef B0
#undef GL
#undef GS

const char *
position_kind_name(enum position_kind kind)
{
	return kinds[kind].name;
}

static bool
is_part(const char *const *parts, struct str last)
{
	for (size_t i = 0; parts[i] != NULL; i++)
		if (str_eqc(last, parts[i]))
			return true;
	return false;
}

bool
position_kind_of(struct str name, unsigned ndim, enum position_kind *kind)
{
	const char *dot;

	if (str_contains(name, bias_part)) {
		*kind = ndim == 3 ? POSITION_BIAS3 : POSITION_BIAS;
		return true;
	}
	if (str_ends(name, str_c(".weight")))
		name.len -= strlen(".weight");
	dot = memrchr(name.p, '.', name.len);
	if (dot != NULL)
		name = str_from(name, (size_t)(dot + 1 - name.p));
	for (int k = 0; k < POSITION_KINDS; k++) {
		if (is_part(kinds[k].parts, name)) {
			*kind = (enum position_kind)k;
			return true;
		}
	}
	return false;
}

/* Do two embeddings both consist of a square grid after the same number of rows for other tokens? */
static bool
same_prefix(uint64_t from, uint64_t to)
{
	for (uint64_t prefix = 0; prefix <= 2 && prefix < from && prefix < to; prefix++)
		if (grid_square(from - prefix).h >= 2 && grid_square(to - prefix).h >= 2)
			return true;
	return false;
}

/* Returns the dimensions that belong to the grid, as bits. */
static unsigned
grid_dims(enum position_kind kind, unsigned ndim)
{
	switch (kind) {
	case POSITION_BIAS3: return 6;
	case POSITION_OFFSETS: return 1u << (ndim - 1);
	case POSITION_EMBED: return ndim < 4 ? 1u << (ndim - 2) : 14;
	default: return 1;
	}
}

bool
position_can_resize(enum position_kind kind, const uint64_t *from, const uint64_t *to, unsigned ndim)
{
	if (ndim < 2)
		return false;
	for (unsigned d = 0; d < ndim; d++)
		if ((grid_dims(kind, ndim) >> d & 1) == 0 && from[d] != to[d])
			return false;
	return kind != POSITION_EMBED || ndim >= 4 || same_prefix(from[ndim - 2], to[ndim - 2]);
}

int
position_kind_parse(struct str text, enum position_kind *kind, enum position_order *order, struct err *err)
{
	struct str rest = text, name;

	str_split(&rest, ':', &name);
	for (int k = 0; k < POSITION_KINDS; k++) {
		if (!str_eqc(name, kinds[k].name))
			continue;
		*kind = (enum position_kind)k;
		if (rest.p == NULL)
			return 0;
		if (order == NULL || k != POSITION_EMBED || (!str_eqc(rest, "chw") && !str_eqc(rest, "hwc")))
			break;
		*order = str_eqc(rest, "chw") ? ORDER_CHW : ORDER_HWC;
		return 0;
	}
	return err_set(err, ERR_USAGE,
		       "\"%.*s\" is not a kind of position table; the kinds are bias, bias3, offsets, axis and embed%s",
		       STR_ARG(text), order == NULL ? "" : ", and embed:chw and embed:hwc");
}

int
position_kinds_parse(struct str text, unsigned *bits, struct err *err)
{
	enum position_kind kind;
	struct str one;

	while (str_split(&text, ',', &one)) {
		if (position_kind_parse(one, &kind, NULL, err) < 0)
			return -1;
		*bits |= 1u << kind;
	}
	return 0;
}

int
like_by_name(const char *name, const struct like **like, struct err *err)
{
	struct buf names = BUF_INIT;

	for (size_t i = 0; i < sizeof(likes) / sizeof(likes[0]); i++) {
		if (strcmp(likes[i].name, name) == 0) {
			*like = &likes[i];
			buf_release(&names);
			return 0;
		}
		buf_addf(&names, "%s%s", i == 0 ? "" : ", ", likes[i].name);
	}
	err_set(err, ERR_USAGE, "--like %s: one of these was expected: %s", name, names.p);
	buf_release(&names);
	return -1;
}
