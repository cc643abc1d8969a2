/* Values and positions were derived by hand. The order of merged keys is that of PyYAML. */
#include "text/yaml.h"

#include "base/text.h"
#include "tap.h"

static struct arena arena;
static struct err err;

static const struct ynode *
parse_n(const char *text, size_t len)
{
	const struct ynode *root = NULL;

	err_clear(&err);
	if (yaml_parse(&arena, "c.yaml", str_n(text, len), &root, &err) != 0)
		return NULL;
	return root;
}

static const struct ynode *
parse(const char *text)
{
	return parse_n(text, strlen(text));
}

static void
refused(const char *text, const char *expected)
{
	ok_msg(parse(text) == NULL, "refused: %s", expected);
	is_str(err.msg, expected, "the error has its place");
}

/* The keys of a map with their scalars, separated by blanks. */
static const char *
flat(const struct ynode *map)
{
	static char out[512];
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; map != NULL && i < map->n; i++) {
		const struct ypair *p = &map->pairs[i];

		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%.*s=%.*s", i ? " " : "", STR_ARG(p->key->text),
				      p->value->kind == YN_SCALAR ? (int)p->value->text.len : 1,
				      p->value->kind == YN_SCALAR ? p->value->text.p
				      : p->value->kind == YN_MAP  ? "{"
								  : "[");
	}
	return out;
}

static void
test_tree(void)
{
	const struct ynode *root = parse("OPTIMIZER:\n"
					 "  PARAMETER_GROUPS:\n"
					 "    ENABLED: yes\n"
					 "    backbone: {FILTER: {TYPE: name, PATTERNS: [stage_, 'cls_token']}}\n"
					 "    LR: 5e-5\n");
	const struct ynode *n;
	struct str *list;
	size_t count;
	bool b = false;
	double d = 0;

	if (!ok(root != NULL))
		return;
	ok(root->kind == YN_MAP && root->n == 1 && root->line == 1 && root->column == 1);
	is_str(root->file, "c.yaml", "the file's name is kept");
	n = ynode_path(root, "OPTIMIZER.PARAMETER_GROUPS.backbone.FILTER.PATTERNS");
	if (!ok(n != NULL && n->kind == YN_SEQ && n->n == 2))
		return;
	is_uint(n->line, 4, "line of a list");
	is_uint(n->column, 47, "column of a list");
	is_uint(n->items[1]->column, 56, "the column of an item is that of its quote");
	ok(n->items[1]->quoted && !n->items[0]->quoted);
	ok(ynode_strings(n, "PATTERNS", &arena, &list, &count, &err) == 0);
	ok(count == 2 && str_eqc(list[0], "stage_") && str_eqc(list[1], "cls_token"));
	ok(ynode_bool(ynode_path(root, "OPTIMIZER.PARAMETER_GROUPS.ENABLED"), &b) && b);
	ok(ynode_double(ynode_path(root, "OPTIMIZER.PARAMETER_GROUPS.LR"), &d) && d == 5e-5);
	ok(ynode_path(root, "") == root);
	ok(ynode_path(root, "OPTIMIZER.ABSENT.X") == NULL);
	ok(ymap_get(n, "X") == NULL && ymap_get(NULL, "X") == NULL);
	ok(ynode_strings(ynode_path(root, "OPTIMIZER.PARAMETER_GROUPS.LR"), "LR", &arena, &list, &count, &err) == -1);
	is_str(err.msg, "c.yaml:5:9: LR must be a list, not a scalar", "a scalar instead of a list is refused");
	root = parse("[a, [b]]");
	ok(ynode_strings(root, "PATTERNS", &arena, &list, &count, &err) == -1);
	is_str(err.msg, "c.yaml:1:5: PATTERNS must hold text, not a list", "a list in a list of text is refused");
	root = parse("- \xc3\xa9\xe6\x97\xa5: x\n  b: y\n");
	is_uint(root->items[0]->pairs[0].value->column, 7, "columns count characters");
}

static void
test_scalars(void)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL", "None", "# remark\n", "---\n..." };
	static const char *const texts[] = { "'null'", "\"\"", "nil", "NuLL", "!!str null", "none", "|\n  null\n" };
	static const struct {
		const char *text;
		int good;
		int64_t v;
	} ints[] = {
		{ "0", 1, 0 },
		{ "-17", 1, -17 },
		{ "+5", 1, 5 },
		{ "0x1F", 1, 31 },
		{ "0b101", 1, 5 },
		{ "010", 1, 8 },
		{ "1_000", 1, 1000 },
		{ "9223372036854775807", 1, INT64_MAX },
		{ "-9223372036854775808", 1, INT64_MIN },
		{ "9223372036854775808", 0, 0 },
		{ "'5'", 0, 0 },
		{ "5.0", 0, 0 },
		{ "5e3", 0, 0 },
		{ "08", 0, 0 },
		{ "_1", 0, 0 },
		{ "-", 0, 0 },
		{ "0x", 0, 0 },
		{ "[1]", 0, 0 },
		{ "1a", 0, 0 },
		{ "!!int '5'", 1, 5 },
	};
	static const struct {
		const char *text;
		int good;
		double v;
	} doubles[] = {
		{ "5e-5", 1, 5e-5 },
		{ "1E6", 1, 1e6 },
		{ ".5", 1, 0.5 },
		{ "1.", 1, 1.0 },
		{ "-2.5e+3", 1, -2500.0 },
		{ "7", 1, 7.0 },
		{ ".inf", 1, (double)INFINITY },
		{ "-.INF", 1, -(double)INFINITY },
		{ ".NaN", 1, (double)NAN },
		{ "1_0.5", 1, 10.5 },
		{ "inf", 0, 0 },
		{ "nan", 0, 0 },
		{ "'5e-5'", 0, 0 },
		{ "1e", 0, 0 },
		{ "e5", 0, 0 },
		{ ".", 0, 0 },
		{ "1.2.3", 0, 0 },
		{ "~", 0, 0 },
	};
	static const char *const yes[] = { "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON" };
	static const char *const no[] = { "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF" };
	static const char *const neither[] = { "'true'", "y", "n", "1", "tRUE", "[yes]", "" };
	int64_t i;
	double d;
	bool b;

	for (size_t k = 0; k < sizeof(nulls) / sizeof(nulls[0]); k++)
		ok_msg(parse(nulls[k]) && ynode_is_null(parse(nulls[k])), "null %zu", k);
	for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
		ok_msg(parse(texts[k]) && !ynode_is_null(parse(texts[k])), "not null: %zu", k);
	ok(ynode_is_null(NULL));
	for (size_t k = 0; k < sizeof(ints) / sizeof(ints[0]); k++) {
		i = 0;
		ok_msg(ynode_int(parse(ints[k].text), &i) == ints[k].good && i == ints[k].v, "int %s", ints[k].text);
	}
	for (size_t k = 0; k < sizeof(doubles) / sizeof(doubles[0]); k++) {
		d = 0;
		ok_msg(ynode_double(parse(doubles[k].text), &d) == doubles[k].good, "double %s", doubles[k].text);
		is_near(d, doubles[k].v, 0, "  its value");
	}
	for (size_t k = 0; k < 9; k++) {
		b = false;
		ok_msg(ynode_bool(parse(yes[k]), &b) && b, "true: %s", yes[k]);
		ok_msg(ynode_bool(parse(no[k]), &b) && !b, "false: %s", no[k]);
	}
	for (size_t k = 0; k < sizeof(neither) / sizeof(neither[0]); k++)
		ok_msg(!ynode_bool(parse(neither[k]), &b), "no bool: %s", neither[k]);
	is_uint(parse("\"a\\0b\"")->text.len, 3, "an escaped NUL is text");
}

static void
test_sharing(void)
{
	const struct ynode *root = parse("base: &b {a: 1, b: 2}\n"
					 "one: {<<: *b, c: 3, b: 4}\n"
					 "two: {c: 3, <<: [*b, {b: 9, d: 5}]}\n"
					 "same: *b\n"
					 "text: {'<<': 1}\n");

	if (!ok(root != NULL))
		return;
	is_str(flat(ymap_get(root, "one")), "a=1 b=4 c=3", "own keys override merged ones, which come first");
	is_str(flat(ymap_get(root, "two")), "b=2 d=5 a=1 c=3", "the first of several merged maps overrides the others");
	ok(ymap_get(root, "same") == ymap_get(root, "base"));
	is_str(flat(ymap_get(root, "text")), "<<=1", "a quoted << is an ordinary key");
	is_uint(ymap_get(ymap_get(root, "one"), "a")->line, 1, "a merged value keeps its place");
	root = parse("- &a 1\n- *a\n- &a 2\n- *a\n");
	ok(root && str_eqc(root->items[1]->text, "1") && str_eqc(root->items[3]->text, "2"));
	root = parse("t: !!python/tuple [1, 2]\nu: !!map {}\nv: ! x\n");
	ok(root && ymap_get(root, "t")->n == 2);
	refused("a: &x\n  b: *x\n", "c.yaml:2:6: alias *x is inside the node that it refers to");
	refused("a: &x {<<: *x}\n", "c.yaml:1:12: alias *x is inside the node that it refers to");
	refused("a: *y\n", "c.yaml:1:4: alias *y has no anchor before it");
	refused("<<: 5\n", "c.yaml:1:5: the value of a merge key << must be a map or a list of maps, not a scalar");
	refused("<<: [{a: 1}, ~]\n", "c.yaml:1:14: a merge key << takes maps only, not null");
}

static void
test_refused(void)
{
	refused("a: 1\nb: 2\na: 3\n", "c.yaml:3:1: key a occurs twice in one map (first in line 1)");
	refused("{a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1, \"a\": 2}",
		"c.yaml:1:56: key a occurs twice in one map (first in line 1)");
	refused("a: 1\n---\nb: 2\n", "c.yaml:2:1: a second document starts here; only one is allowed");
	refused("a: !!python/object:os.system x\n", "c.yaml:1:4: tag tag:yaml.org,2002:python/object:os.system is not supported");
	refused("a: !mine [1]\n", "c.yaml:1:4: tag !mine is not supported");
	refused("? [a]\n: 1\n", "c.yaml:1:3: a key must be a scalar, not a list");
	refused("a:\n\tb: 1\n", "c.yaml:2:1: a tab cannot indent YAML: use spaces");
	refused("a: [1, 2\nb: 3\n",
		"c.yaml:2:2: did not find expected ',' or ']' (while parsing a flow sequence that starts at line 1)");
	refused("a: x\xff\n", "c.yaml:1:5: invalid leading UTF-8 octet (0xff)");
	refused("ok: 1\n# \xc3\xa9 \x01\n", "c.yaml:2:5: control characters are not allowed (0x01)");
	refused("a: \"\\q\"\n", "c.yaml:1:5: found unknown escape character (while parsing a quoted scalar that starts at line 1)");
	ok(parse_n("a\0b", 3) == NULL);
	is_str(err.msg, "c.yaml:1:2: control characters are not allowed (0x00)", "a raw NUL is refused");
	ok(parse("\xef\xbb\xbf"
		 "a: 1\n") != NULL);
	refused("\xef\xbb\xbf"
		"a: \x7f\n",
		"c.yaml:1:4: control characters are not allowed (0x7f)");
}

static void
test_limits(void)
{
	struct buf b = BUF_INIT;
	int i;

	buf_fill(&b, '[', YAML_MAX_DEPTH);
	buf_fill(&b, ']', YAML_MAX_DEPTH);
	ok_msg(parse_n(b.p, b.len) != NULL, "%d levels are allowed", YAML_MAX_DEPTH);
	buf_clear(&b);
	buf_fill(&b, '[', YAML_MAX_DEPTH + 1);
	buf_fill(&b, ']', YAML_MAX_DEPTH + 1);
	ok(parse_n(b.p, b.len) == NULL);
	is_str(err.msg, "c.yaml:1:65: nested deeper than 64 levels", "a level more is refused");
	buf_clear(&b);
	buf_fill(&b, '[', 100000);
	ok_msg(parse_n(b.p, b.len) == NULL, "a hundred thousand open brackets are refused");

	buf_clear(&b);
	buf_adds(&b, "- &a0 [x, x, x, x, x, x, x, x, x, x]\n");
	for (i = 1; i < 10; i++)
		buf_addf(&b, "- &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i - 1, i - 1, i - 1, i - 1,
			 i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
	ok(parse_n(b.p, b.len) == NULL);
	is_str(err.msg, "c.yaml:6:3: more than 1000000 nodes (aliases count as what they refer to)", "an alias bomb is refused");

	buf_clear(&b);
	buf_adds(&b, "- &m0 {k0: 0}\n");
	for (i = 1; i < 20000; i++)
		buf_addf(&b, "- &m%d {<<: *m%d, k%d: 0}\n", i, i - 1, i);
	ok(parse_n(b.p, b.len) == NULL);
	ok_msg(strstr(err.msg, "more than 1000000 nodes") != NULL, "maps that merge each other are refused");
	ok(arena.total < (size_t)1 << 29);

	buf_clear(&b);
	buf_addc(&b, '#');
	buf_fill(&b, 'x', YAML_MAX_BYTES);
	ok(parse_n(b.p, b.len) == NULL);
	is_str(err.msg, "c.yaml: YAML of more than 16 MiB", "too many bytes are refused");
	buf_release(&b);
}

static void
test_merge(void)
{
	const struct ynode *base = parse("MODEL: {TYPE: x, DEPTHS: [1, 2], NAME: n}\nLR: 1\nT: {a: 1}\n");
	const struct ynode *over = parse("NEW: 1\nMODEL: {DEPTHS: [3], IMG: 5}\nT: ~\nLR: {a: 2}\n");
	const struct ynode *m = yaml_merge(&arena, base, over);

	is_str(flat(m), "MODEL={ LR={ T=~ NEW=1", "keys of the base come first, then new ones");
	is_str(flat(ymap_get(m, "MODEL")), "TYPE=x DEPTHS=[ NAME=n IMG=5", "maps are merged inside");
	is_uint(ynode_path(m, "MODEL.DEPTHS")->n, 1, "lists are replaced");
	is_str(flat(ymap_get(base, "MODEL")), "TYPE=x DEPTHS=[ NAME=n", "the base stays as it was");
	ok(yaml_merge(&arena, base, parse("5"))->kind == YN_SCALAR);
}

static void
round_trip(const char *p, size_t len, const char *expected)
{
	struct buf b = BUF_INIT, doc = BUF_INIT;
	const struct ynode *root, *item;

	if (!ok_msg(yaml_put_scalar(&b, str_n(p, len)), "written: %s", expected))
		return;
	is_str(b.p, expected, "  as expected");
	buf_addf(&doc, "- {k: %s, %s: v}\n- %s\n", b.p, b.p, b.p);
	root = parse_n(doc.p, doc.len);
	if (ok_msg(root != NULL, "  reads back (%s)", err.msg)) {
		item = ymap_get(root->items[0], "k");
		ok(item && str_eq(item->text, str_n(p, len)) && !ynode_is_null(item));
		ok(ymap_pair(root->items[0], str_n(p, len)) != NULL);
		ok(str_eq(root->items[1]->text, str_n(p, len)));
	}
	buf_release(&b);
	buf_release(&doc);
}

static void
test_emit(void)
{
	struct buf b = BUF_INIT;
	char all[256];

	round_trip("stages.2.0.attn.qkv.weight", 26, "stages.2.0.attn.qkv.weight");
	round_trip("", 0, "\"\"");
	round_trip("null", 4, "\"null\"");
	round_trip("None", 4, "\"None\"");
	round_trip("yEs", 3, "\"yEs\"");
	round_trip("y", 1, "\"y\"");
	round_trip("1e5", 3, "\"1e5\"");
	round_trip("0.weight", 8, "\"0.weight\"");
	round_trip("-", 1, "\"-\"");
	round_trip("a b", 3, "\"a b\"");
	round_trip("a: b #c", 7, "\"a: b #c\"");
	round_trip("{[,]}", 5, "\"{[,]}\"");
	round_trip("say \"\\\"", 7, "\"say \\\"\\\\\\\"\"");
	round_trip("a\tb\nc\rd", 7, "\"a\\tb\\nc\\rd\"");
	round_trip("a\0b", 3, "\"a\\x00b\"");
	round_trip("\xc3\xa9", 2, "\"\xc3\xa9\"");
	round_trip("\xc2\x85", 2, "\"\\x85\"");
	round_trip("\xe2\x80\xae"
		   "x",
		   4, "\"\\u202ex\"");
	round_trip("\xef\xbf\xbf", 3, "\"\\uffff\"");
	round_trip("\xf0\x9f\x98\x80", 4, "\"\xf0\x9f\x98\x80\"");
	round_trip("<<", 2, "\"<<\"");
	for (int i = 0; i < 128; i++)
		all[i] = (char)i;
	ok(yaml_put_scalar(&b, str_n(all, 128)));
	ok(parse_n(b.p, b.len) != NULL && str_eq(parse_n(b.p, b.len)->text, str_n(all, 128)));
	buf_clear(&b);
	ok(!yaml_put_scalar(&b, str_n("a\xff", 2)) && b.len == 0);
	buf_release(&b);
}

int
main(void)
{
	arena_init(&arena);
	test_tree();
	test_scalars();
	test_sharing();
	test_refused();
	test_merge();
	test_emit();
	test_limits();
	arena_release(&arena);
	return tap_done();
}
