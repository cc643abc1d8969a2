#include "rule/training.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/xalloc.h"
#include "tensor/tensor.h"

static struct optimizer_share *
new_share(struct training *x, const struct group *group, const char *suffix, const char *optimizer)
{
	struct optimizer_share *share = &x->shares[x->n++];

	share->name = group->name;
	if (suffix)
		share->name = str_c(arena_printf(&x->arena, "%.*s%s", STR_ARG(group->name), suffix));
	share->optimizer = optimizer ? str_c(optimizer) : group->optimizer;
	share->weight_decay = group->weight_decay;
	share->lr_multiplier = group->lr_multiplier;
	share->names.elements_known = true;
	return share;
}

void
training_init(struct training *x, const struct groups *groups, const struct rule *exclude)
{
	*x = (struct training){ .groups = groups,
				.exclude = exclude,
				.included = { .elements_known = true },
				.excluded = { .elements_known = true },
				.in = xcalloc(groups->n + 1, 1) };
	x->shares = arena_calloc(&x->arena, 2 * (groups->n + 1), sizeof(*x->shares));
	for (size_t i = 0; i < groups->n; i++) {
		new_share(x, &groups->v[i], NULL, NULL);
		new_share(x, &groups->v[i], "_ADAMW", "adamw")->hidden = true;
	}
	new_share(x, &groups->rest, groups->rest.muon ? "_MUON" : NULL, NULL);
	new_share(x, &groups->rest, "_ADAMW", "adamw")->hidden = !groups->rest.muon;
}

void
training_release(struct training *x)
{
	for (size_t i = 0; i < x->n; i++)
		free(x->shares[i].names.v);
	free(x->included.v);
	free(x->excluded.v);
	free(x->in);
	arena_release(&x->arena);
	memset(x, 0, sizeof(*x));
}

static void
add_name(struct training_names *names, struct str name, const struct subject *s)
{
	const struct tensor shape = { .shape = s->entry.shape, .ndim = s->entry.ndim };
	uint64_t elements;

	*xpush(names->v, names->n, names->cap) = name;
	if (!s->entry.has_shape || !tensor_numel(&shape, &elements) || !num_add(names->elements, elements, &names->elements))
		names->elements_known = false;
}

/* Adds the name to one of the two shares of a group. muon trains tensors with two or four dimensions only; adamw takes the rest. */
static int
add_share(struct training *x, size_t group, struct str name, const struct subject *s, struct err *err)
{
	const struct group *g = group < x->groups->n ? &x->groups->v[group] : &x->groups->rest;
	struct optimizer_share *share = &x->shares[2 * group];

	if (g->muon && !s->entry.has_shape)
		return err_set(err, ERR_INPUT, "group %.*s is trained with muon, which needs the shape; the list has none",
			       STR_ARG(g->name));
	if (g->muon && s->entry.ndim != 2 && s->entry.ndim != 4) {
		share++;
		share->hidden = false;
	}
	add_name(&share->names, name, s);
	return 0;
}

int
training_add(struct training *x, struct subject *s, bool first, struct err *err)
{
	struct str name = arena_str(&x->arena, s->entry.name);
	size_t count;
	int excluded = 1;

	if (groups_assign(x->groups, s, first, x->in, &count, err) < 0)
		return -1;
	x->several += count > 1;
	for (size_t i = 0; i < x->groups->n; i++)
		if (x->in[i] && add_share(x, i, name, s, err) < 0)
			return -1;
	if (count == 0 && groups_takes_rest(s) && add_share(x, x->groups->n, name, s, err) < 0)
		return -1;
	if (s->entry.requires_grad != GRAD_FALSE)
		excluded = rule_match(x->exclude, s, NULL, err);
	if (excluded < 0)
		return -1;
	add_name(excluded ? &x->excluded : &x->included, name, s);
	return 0;
}
