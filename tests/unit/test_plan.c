/* Edits of a plan: the new names, their shards, and the missing names that the load check accepts. Expected by hand. */
#include "plan/cast.h"
#include "plan/drop.h"
#include "plan/names.h"
#include "plan/prefix.h"
#include "plan/rename.h"
#include "plan/unused.h"

#include "base/buf.h"
#include "format/format.h"
#include "plan/keymap.h"
#include "plan/loadcheck.h"
#include "plan/report.h"
#include "write/split.h"
#include "tap.h"

/* A plan over a safetensors file in memory. */
struct fixture {
	struct buf file;
	struct source *src;
	struct ckpt *ckpt;
	struct statedict sd;
	struct plan plan;
	struct buf said;
};

static void
hear(void *arg, enum diag_level level, const char *msg)
{
	struct buf *b = arg;

	if (level != DIAG_VERBOSE)
		buf_addf(b, "%s\n", msg);
}

/* Opens a file with a uint8 tensor of one dimension for each name; sizes are in bytes. */
static void
open_names(struct fixture *f, const struct diag *diag, const char *const *names, const unsigned *sizes, size_t n)
{
	struct format_opts opts = { .diag = diag };
	struct err err = ERR_INIT;
	struct buf header = BUF_INIT;
	unsigned at = 0, i;

	buf_addc(&header, '{');
	for (i = 0; i < n; i++) {
		buf_addf(&header, "%s\"%s\":{\"dtype\":\"U8\",\"shape\":[%u],\"data_offsets\":[%u,%u]}", i ? "," : "", names[i],
			 sizes[i], at, at + sizes[i]);
		at += sizes[i];
	}
	buf_addc(&header, '}');
	buf_clear(&f->file);
	for (i = 0; i < 8; i++)
		buf_addc(&f->file, (char)(i < 4 ? header.len >> (8 * i) & 0xff : 0));
	buf_add(&f->file, header.p, header.len);
	for (i = 0; i < at; i++)
		buf_addc(&f->file, (char)i);
	buf_release(&header);
	f->src = source_memory(f->file.p, f->file.len, "in.safetensors");
	ok_msg(format_open(&f->ckpt, f->src, &opts, &err) == 0, "the fixture is a checkpoint: %s", err.msg);
	ok_msg(statedict_open(&f->sd, f->ckpt, NULL, &err) == 0, "the fixture has a state dict: %s", err.msg);
	plan_init(&f->plan, diag);
	plan_add_input(&f->plan, &f->sd, NULL);
}

static void
close_names(struct fixture *f)
{
	plan_release(&f->plan);
	statedict_release(&f->sd);
	ckpt_close(f->ckpt);
	source_close(f->src);
	buf_release(&f->file);
	buf_release(&f->said);
}

/* The names that are left, each followed by a space. */
static const char *
alive(const struct fixture *f, struct buf *b)
{
	buf_clear(b);
	buf_adds(b, "");
	for (size_t i = 0; i < f->plan.nentries; i++)
		if (f->plan.entries[i].alive)
			buf_addf(b, "%.*s ", STR_ARG(f->plan.entries[i].name));
	return b->len > 0 ? b->p : "";
}

static void
test_component_patterns(void)
{
	static const struct {
		const char *pattern, *name;
		bool hit;
	} cases[] = {
		{ "head.", "head.weight", true },
		{ "head.", "x.head.bias", true },
		{ "head.", "headroom.weight", false },
		{ "head.", "x.forehead.bias", false },
		{ "head", "head_aux.weight", true },
		{ "head", "heads.0.weight", false },
		{ "head", "a.head", true },
		{ "head", "head", true },
		{ "head", "heads.head", true }, /* the second occurrence */
		{ "meta_", "meta_time_head_1.0.weight", true },
		{ "meta_", "x.meta_y", true },
		{ "meta_", "x_meta_y", false },
		{ "norm.", "prenorm.weight", false },
		{ "norm.", "norm.weight", true },
		{ "a.b", "x.a.b.c", true },
		{ "a.b", "x.a.bc", false },
		{ "^head", "head.weight", true },
		{ "^head", "x.head.weight", false },
		{ "^head", "heads.head", false },
		{ "^", "head", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct drop_pattern pattern = { str_c(cases[i].pattern), "--drop-params", DROP_COMPONENT, false, false };
		struct fixture f = { .said = BUF_INIT };
		struct diag diag = { hear, &f.said };
		struct err err = ERR_INIT;

		open_names(&f, &diag, &cases[i].name, &(unsigned){ 1 }, 1);
		(void)plan_drop_patterns(&f.plan, &pattern, 1, &err);
		ok_msg(f.plan.entries[0].alive != cases[i].hit, "%s %s %s", cases[i].pattern, cases[i].hit ? "drops" : "leaves",
		       cases[i].name);
		close_names(&f);
	}
}

static void
test_prefixes(void)
{
	static const char *const names[] = { "module._orig_mod.a", "_orig_mod.module.module.net.b", "module.net._orig_mod.net.c",
					     "module.modular.not_orig_mod.d" };
	static const struct str other[] = { STR_LIT("module._orig_mod.e"), STR_LIT("f") };
	static const struct prefix_context rest = { other, 2 };
	static const unsigned sizes[] = { 1, 1, 1, 1 };
	struct fixture f = { .said = BUF_INIT };
	struct diag diag = { hear, &f.said };
	struct buf b = BUF_INIT;

	open_names(&f, &diag, names, sizes, 4);
	plan_unwrap(&f.plan, &rest);
	is_str(alive(&f, &b), "module.a module.module.net.b module.net.net.c module.modular.not_orig_mod.d ",
	       "_orig_mod. is removed everywhere, and module. as often as all names have it");
	ok(strstr(f.said.p, "module. is left at the beginning of names, as f has it less often") != NULL);
	plan_unwrap(&f.plan, NULL);
	is_str(alive(&f, &b), "a module.net.b net.net.c modular.not_orig_mod.d ",
	       "module. at the beginning of names is removed if all names have it");
	plan_strip_prefix(&f.plan, "net.", NULL);
	is_str(alive(&f, &b), "a module.net.b net.c modular.not_orig_mod.d ", "--strip-prefix removes a prefix once");
	plan_strip_prefix(&f.plan, "nowhere.", NULL);
	is_uint(plan_unused(&f.plan), 1, "a prefix that no name has is counted");
	ok(strstr(f.said.p, "--strip-prefix nowhere.: matched nothing") != NULL);
	plan_add_prefix(&f.plan, str_c("module."), "--ddp");
	is_str(alive(&f, &b), "module.a module.module.net.b module.net.c module.modular.not_orig_mod.d ", "--ddp");
	plan_strip_prefix(&f.plan, "module.", "module. taken off");
	is_str(alive(&f, &b), "a module.net.b net.c modular.not_orig_mod.d ", "module. once");
	buf_release(&b);
	close_names(&f);
}

static void
test_drops(void)
{
	static const char *const names[] = { "head.w", "headroom.w", "forehead.w", "x.norm", "x.buf", "y.buf" };
	static const unsigned sizes[] = { 1, 1, 1, 1, 1, 1 };
	const struct drop_pattern patterns[] = {
		{ STR_LIT("head"), "--drop-params", DROP_COMPONENT, false, false },
		{ STR_LIT("nrom"), "drop_params", DROP_COMPONENT, true, true },
		{ STR_LIT("y.b"), "--drop-buffers", DROP_CONTAINS, false, false },
		{ STR_LIT("re:^x\\.b"), "--drop-params", DROP_COMPONENT, false, false },
	};
	struct fixture f = { .said = BUF_INIT };
	struct diag diag = { hear, &f.said };
	struct report_counts counts;
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;

	open_names(&f, &diag, names, sizes, 6);
	ok(plan_drop_patterns(&f.plan, patterns, 4, &err) == 0);
	is_str(alive(&f, &b), "headroom.w forehead.w x.norm ", "what patterns leave");
	is_uint(f.plan.nmisses, 2, "two names contain a pattern");
	is_str(f.plan.misses[0].pattern, "--drop-params head", "which");
	is_uint(plan_unused(&f.plan), 0, "what is optional never fails");
	ok(strstr(f.said.p, "2 names contain a drop pattern") != NULL);
	ok(strstr(f.said.p, "drop_params nrom: matched nothing; the nearest name is x.norm") != NULL);
	plan_drop(&f.plan, &f.plan.entries[1], PLAN_DROPPED, "later");
	ok(!plan_misses(&f.plan, &f.plan.misses[0]) && plan_misses(&f.plan, &f.plan.misses[1]));
	plan_count(&f.plan, &counts);
	ok(counts.kept == 2 && counts.dropped == 4 && counts.made == 0 && counts.others == 0);
	buf_release(&b);
	close_names(&f);
}

static void
test_regex_literal(void)
{
	static const struct {
		const char *regex, *literal;
	} cases[] = {
		{ "^layres\\.(\\d)", "layres." },
		{ "abc", "abc" },
		{ "a|longer|b", "longer" },
		{ "x*yes+", "yes" },
		{ "(\\w+)", "" },
		{ "stage.3", "stage.3" },
		{ "", "" },
		{ "\\.weight$", ".weight" },
	};
	struct plan p;
	struct str got;

	plan_init(&p, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		got = plan_regex_literal(&p, str_c(cases[i].regex));
		ok_msg(str_eqc(got, cases[i].literal), "%s: %.*s", cases[i].regex, STR_ARG(got));
	}
	plan_release(&p);
}

static void
test_rename_and_collide(void)
{
	static const char *const names[] = { "a.b.c", "a.d" };
	static const unsigned sizes[] = { 1, 1 };
	static const char *const bad[] = { "", "s", "s/a/b", "x/a/b/", "s/(/b/", "s/a/\\2/", "s/a/b/gg" };
	struct fixture f = { .said = BUF_INIT };
	struct diag diag = { hear, &f.said };
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;

	open_names(&f, &diag, names, sizes, 2);
	ok(plan_rename_regex(&f.plan, "s/\\./\\//", &err) == 0);
	is_str(alive(&f, &b), "a/b.c a/d ", "the first only");
	ok(plan_rename_regex(&f.plan, "s/^(\\w)(?P<r>.*)/\\g<r>&\\1/g", &err) == 0);
	is_str(alive(&f, &b), "/b.c&a /d&a ", "groups; & is literal");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err why = ERR_INIT;

		ok_msg(plan_rename_regex(&f.plan, bad[i], &why) != 0 && why.code == ERR_USAGE, "refused: %s", bad[i]);
	}
	buf_release(&b);
	close_names(&f);
}

static void
test_key_map(void)
{
	static const char map[] = "name: m\n"
				  "variables: {n: {default: 2}}\n"
				  "rules:\n"
				  "  - {from: \"e.{i}.\", i: [0, n], to: [\"f.{i + 1}.\", \"g.{n - i}.\"]}\n"
				  "  - {from: one, j: [0, 2], k: [0, n], to: \"m.{j}.{k}\"}\n"
				  "  - {from: [e.2., gone], skip: true}\n"
				  "  - {regex: '_(\\w)$', to: '.\\1'}\n"
				  "default: drop\n";
	static const char *const names[] = { "e.0.w", "e.1.w", "e.2.w", "e.01.w", "one", "x_y", "rest" };
	static const unsigned sizes[] = { 1, 1, 1, 1, 1, 1, 1 };
	struct keymap_env env = { NULL, NULL };
	struct fixture f = { .said = BUF_INIT };
	struct diag diag = { hear, &f.said };
	struct keymap *k = NULL;
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;

	open_names(&f, &diag, names, sizes, 7);
	ok_msg(keymap_load(&k, "m.yaml", str_c(map), &err) == 0, "the map reads: %s", err.msg);
	ok_msg(k != NULL && keymap_apply(k, &f.plan, &env, &err) == 0, "and applies: %s", err.msg);
	is_str(alive(&f, &b), "f.1.w g.2.w f.2.w g.1.w m.0.0 m.0.1 m.1.0 m.1.1 x.y ", "fan-out, sums, ranges, skips");
	is_uint(f.plan.origins[0].outputs, 2, "one tensor under two names");
	is_uint(f.plan.origins[4].outputs, 4, "and one under four");
	keymap_free(k);
	for (const char *const *m = (const char *const[]){ "metaformer", "stitched_convnext_ropevit", "timm_convnext", NULL };
	     *m != NULL; m++) {
		ok_msg(keymap_builtin(&k, *m, &err) == 0 && keymap_head(k)->text != NULL, "%s is built in", *m);
		is_str(keymap_name(k), *m, "and says its name");
		keymap_free(k);
	}
	ok(keymap_builtin(&k, "none", &err) != 0 && err.code == ERR_USAGE);
	buf_release(&b);
	close_names(&f);
}

static void
test_split(void)
{
	static const char *const names[] = { "a", "b", "c", "d", "e" };
	static const unsigned sizes[] = { 6, 5, 4, 30, 1 };
	static const uint32_t expected[] = { 1, 2, 2, 3, 4 }; /* of at most 10 bytes; d alone is larger */
	struct fixture f = { .said = BUF_INIT };
	struct diag diag = { hear, &f.said };
	struct split s;

	open_names(&f, &diag, names, sizes, 5);
	plan_split(&f.plan, 10, &s);
	is_uint(s.n, 4, "shards");
	for (size_t i = 0; i < 5; i++)
		is_uint(s.shard[i], expected[i], names[i]);
	split_release(&s);
	f.plan.entries[1].alive = false;
	plan_split(&f.plan, 10, &s);
	is_uint(s.shard[1], 0, "what was dropped is in none");
	is_uint(s.shard[2], 1, "and leaves space");
	split_release(&s);
	plan_split(&f.plan, 1000, &s);
	is_uint(s.n, 1, "one shard");
	split_release(&s);
	close_names(&f);
}

/* load_forgives, where _metadata has this version of the module, or none. */
static bool
forgives(const char *name, bool known, int64_t version)
{
	struct vtree *t = vtree_new();
	uint32_t meta = value_new_seq(t, VALUE_DICT);
	bool yes;

	if (known)
		value_set(t, meta, value_new_text(t, VALUE_STR, str_c("version")), value_new_int(t, version));
	yes = load_forgives(str_c(name), t, meta);
	vtree_free(t);
	return yes;
}

static void
test_load_rules(void)
{
	const uint64_t one[] = { 1 }, two[] = { 2 }, square[] = { 1, 1 };

	ok(load_shape_fits(one, 1, one, 1) && load_shape_fits(NULL, 0, NULL, 0));
	ok(load_shape_fits(one, 1, NULL, 0));
	ok(!load_shape_fits(two, 1, NULL, 0) && !load_shape_fits(square, 2, NULL, 0) && !load_shape_fits(NULL, 0, one, 1));
	ok(forgives("bn.num_batches_tracked", false, 0));
	ok(forgives("num_batches_tracked", true, 1));
	ok(!forgives("bn.num_batches_tracked", true, 2));
	ok(!forgives("xnum_batches_tracked", false, 0) && !forgives("bn.weight", false, 0));
}

int
main(void)
{
	test_component_patterns();
	test_prefixes();
	test_drops();
	test_regex_literal();
	test_rename_and_collide();
	test_key_map();
	test_split();
	test_load_rules();
	return tap_done();
}
