#include "position/stage.h"

#include <stdlib.h>

#include "base/num.h"
#include "base/xalloc.h"

static const struct stage_rule defaults[] = {
	{ STR_LIT("stage_3"), 16 },
	{ STR_LIT("stage3"), 16 },
	{ STR_LIT("stage_4"), 32 },
	{ STR_LIT("stage4"), 32 },
};

void
stages_release(struct stages *s)
{
	free(s->rules);
	*s = (struct stages)STAGES_INIT;
}

int
stages_add(struct stages *s, struct str text, struct err *err)
{
	struct stage_rule rule;
	uint64_t ratio;
	size_t at = text.len;

	while (at > 0 && text.p[at - 1] != '=')
		at--;
	if (at < 2 || !num_u64(str_from(text, at), &ratio) || ratio == 0 || ratio > UINT32_MAX)
		return err_set(err, ERR_USAGE, "\"%.*s\" is not SUBSTRING=RATIO, as in stage_3=16", STR_ARG(text));
	rule.part = str_n(text.p, at - 1);
	rule.ratio = (uint32_t)ratio;
	*xpush(s->rules, s->count, s->cap) = rule;
	return 0;
}

static uint32_t
ratio_in(const struct stage_rule *rules, size_t count, struct str name)
{
	for (size_t i = 0; i < count; i++)
		if (str_contains(name, rules[i].part))
			return rules[i].ratio;
	return 0;
}

uint32_t
stages_ratio(const struct stages *s, struct str name)
{
	uint32_t ratio = s == NULL ? 0 : ratio_in(s->rules, s->count, name);

	return ratio != 0 ? ratio : ratio_in(defaults, sizeof(defaults) / sizeof(defaults[0]), name);
}

struct grid
grid_of_image(struct grid image, struct grid ratio, bool *exact)
{
	*exact = image.h % ratio.h == 0 && image.w % ratio.w == 0;
	return (struct grid){ image.h / ratio.h, image.w / ratio.w };
}
