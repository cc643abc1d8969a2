#include "plan/prefix.h"

#include <string.h>

#include "plan/unused.h"

static const struct str module_prefix = STR_LIT("module.");

/* Components that torch.compile, FSDP, activation checkpointing and DeepSpeed add to names. */
static const struct str wrappers[] = {
	STR_LIT("_orig_mod."),
	STR_LIT("_fsdp_wrapped_module."),
	STR_LIT("_checkpoint_wrapped_module."),
	STR_LIT("_forward_module."),
};

/* Returns the wrapper that is a whole component of name at position at, or NULL. */
static const struct str *
wrapper_at(struct str name, size_t at)
{
	if (at > 0 && name.p[at - 1] != '.')
		return NULL;
	for (size_t i = 0; i < sizeof(wrappers) / sizeof(wrappers[0]); i++)
		if (str_starts(str_from(name, at), wrappers[i]))
			return &wrappers[i];
	return NULL;
}

/* Appends name without wrappers to b. Returns the last wrapper in it, or NULL. */
static const struct str *
without_wrappers(struct buf *b, struct str name)
{
	const struct str *found = NULL, *w;
	size_t at = 0;

	while (at < name.len) {
		w = wrapper_at(name, at);
		if (w != NULL) {
			found = w;
			at += w->len;
			continue;
		}
		do {
			buf_addc(b, name.p[at++]);
		} while (at < name.len && name.p[at - 1] != '.');
	}
	return found;
}

/* Returns how many times "module." is repeated at the beginning of name. */
static size_t
leading_modules(struct str name)
{
	size_t n = 0;

	for (; str_starts(name, module_prefix); n++)
		name = str_from(name, module_prefix.len);
	return n;
}

/* The least and greatest number of leading "module." in the names of an input's tensors. */
struct module_count {
	size_t least, most;
	struct str example; /* a name with the least number */
};

static void
count_name(struct module_count *c, struct str name, struct buf *scratch)
{
	size_t n;

	buf_clear(scratch);
	without_wrappers(scratch, name);
	n = leading_modules(buf_str(scratch));
	if (n < c->least) {
		c->least = n;
		c->example = name;
	}
	c->most = n > c->most ? n : c->most;
}

static bool
is_of_input(const struct plan *p, const struct plan_entry *en, uint32_t input)
{
	return en->alive && p->origins[en->origin].input == input;
}

/* Counts leading "module." in the names of an input's tensors, ignoring wrappers. */
static void
count_input(struct module_count *c, const struct plan *p, uint32_t input, const struct prefix_context *rest)
{
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < p->nentries; i++) {
		const struct plan_entry *en = &p->entries[i];

		if (is_of_input(p, en, input) && !en->module && plan_source(p, en)->kind != SD_OTHER)
			count_name(c, en->name, &b);
	}
	for (size_t i = 0; rest != NULL && i < rest->n; i++)
		count_name(c, rest->names[i], &b);
	buf_release(&b);
}

/* Removes wrappers, and up to modules leading "module.", from the names of an input. */
static void
unwrap_input(struct plan *p, uint32_t input, size_t modules)
{
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < p->nentries; i++) {
		struct plan_entry *en = &p->entries[i];
		const struct str *found;
		size_t n;

		if (!is_of_input(p, en, input))
			continue;
		buf_clear(&b);
		found = without_wrappers(&b, en->name);
		n = leading_modules(buf_str(&b));
		n = n < modules ? n : modules;
		if (found == NULL && n == 0)
			continue;
		plan_rename(p, en, str_from(buf_str(&b), n * module_prefix.len),
			    arena_printf(&p->arena, "%.*s taken off", STR_ARG(found != NULL ? *found : module_prefix)));
	}
	buf_release(&b);
}

void
plan_unwrap(struct plan *p, const struct prefix_context *rest)
{
	for (uint32_t input = 0; input < p->ninputs; input++) {
		struct module_count c = { .least = SIZE_MAX };

		count_input(&c, p, input, rest);
		if (c.most > c.least)
			diag_notice(
				p->diag,
				"%s: module. is left at the beginning of names, as %.*s has it less often (--strip-prefix module. "
				"removes it)",
				p->inputs[input].sd->ckpt->file, STR_ARG(c.example));
		unwrap_input(p, input, c.least);
	}
}

/* Does prefix consist only of wrappers and "module."? */
static bool
is_wrapper(const char *prefix)
{
	struct buf b = BUF_INIT;
	bool is;

	without_wrappers(&b, str_c(prefix));
	is = leading_modules(buf_str(&b)) * module_prefix.len == b.len;
	buf_release(&b);
	return is;
}

/* Did the entry's input name begin with prefix, perhaps after "module."? Then plan_unwrap has removed it. */
static bool
was_wrapped(const struct plan *p, const struct plan_entry *en, const char *prefix)
{
	const struct str name = plan_source(p, en)->name;

	return str_starts(name, str_c(prefix)) ||
	       str_starts(str_from(name, leading_modules(name) * module_prefix.len), str_c(prefix));
}

void
plan_strip_prefix(struct plan *p, const char *prefix, const char *by)
{
	const size_t first = p->nrules;
	struct plan_rule *rule = by == NULL ? plan_rule_new(p, str_c(prefix), "--strip-prefix %s", prefix) : NULL;
	const bool wrapper = rule != NULL && is_wrapper(prefix);

	for (size_t i = 0; prefix[0] != '\0' && i < p->nentries; i++) {
		struct plan_entry *en = &p->entries[i];
		const bool starts = str_starts(en->name, str_c(prefix));

		if (!en->alive)
			continue;
		if (rule != NULL && !en->module) {
			rule->matched += starts || (wrapper && was_wrapped(p, en, prefix));
			rule->touched += starts;
		}
		if (starts)
			plan_rename(p, en, str_from(en->name, strlen(prefix)), rule == NULL ? by : rule->text);
	}
	plan_find_nearest(p, first, false);
}

void
plan_add_prefix(struct plan *p, struct str prefix, const char *by)
{
	for (size_t i = 0; prefix.len > 0 && i < p->nentries; i++) {
		if (!p->entries[i].alive)
			continue;
		p->entries[i].name = arena_join(&p->arena, prefix, p->entries[i].name);
		plan_note(p, &p->entries[i], PLAN_RENAMED, NULL, by);
	}
}
