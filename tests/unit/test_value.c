/* value: nodes, paths and copies. */
#include "pickle/value.h"

#include "tap.h"

static uint32_t
text(struct vtree *t, const char *s)
{
	return value_new_text(t, VALUE_STR, str_c(s));
}

static void
integers(void)
{
	static const int64_t all[] = {
		0,         1,         -1,        (1 << 30) - 3, (1 << 30) - 2, (1 << 30) - 1, 1 << 30, -(1 << 30), -(1 << 30) - 1,
		INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN
	};
	struct vtree *t = vtree_new();
	uint32_t before = vtree_count(t), h;
	uint64_t u;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		h = value_new_int(t, all[i]);
		ok_msg(h != VALUE_ABSENT && value_kind(t, h) == VALUE_INT && value_int(t, h) == all[i], "%" PRId64 " is kept",
		       all[i]);
		ok_msg(value_u64(t, h, &u) == (all[i] >= 0) && (all[i] < 0 || u == (uint64_t)all[i]),
		       "value_u64 gives non-negative integers");
	}
	is_uint(vtree_count(t) - before, 7, "integers below 2^30 need no node");
	ok(!value_u64(t, value_new_bool(t, true), &u));
	h = value_new_text(t, VALUE_BIGINT, str_n("\xff\xff\xff\xff\xff\xff\xff\xff\0", 9));
	ok(value_u64(t, h, &u) && u == UINT64_MAX);
	h = value_new_text(t, VALUE_BIGINT, str_n("\0\0\0\0\0\0\0\0\1", 9));
	ok(!value_u64(t, h, &u));
	h = value_new_text(t, VALUE_BIGINT, str_n("\0\0\0\0\0\0\0\0\0\xff", 10));
	ok(!value_u64(t, h, &u));
	vtree_free(t);
}

static void
constants(void)
{
	struct vtree *t = vtree_new();
	uint32_t count = vtree_count(t);

	ok(value_kind(t, value_new_none(t)) == VALUE_NONE);
	ok(value_bool(t, value_new_bool(t, true)));
	ok(!value_bool(t, value_new_bool(t, false)));
	is_int(value_int(t, value_new_bool(t, true)), 1, "True is 1");
	ok(value_kind(t, value_new_tuple(t, NULL, 0)) == VALUE_TUPLE);
	is_uint(value_len(t, value_new_tuple(t, NULL, 0)), 0, "the empty tuple is empty");
	is_uint(vtree_count(t), count, "constants need no node");
	ok(value_kind(t, VALUE_ABSENT) == VALUE_NONE);
	ok(value_item(t, VALUE_ABSENT, 0) == VALUE_ABSENT);
	vtree_free(t);
}

static void
containers(void)
{
	static const enum value_kind kinds[] = { VALUE_LIST, VALUE_SET, VALUE_FROZENSET };
	struct vtree *t = vtree_new();
	uint32_t d, items[5], h;
	bool good;

	for (size_t k = 0; k < 3; k++) {
		h = value_new_seq(t, kinds[k]);
		good = value_len(t, h) == 0;
		for (int i = 0; i < 1000; i++) {
			value_append(t, h, value_new_int(t, i));
			good = good && value_len(t, h) == (size_t)i + 1 && value_int(t, value_item(t, h, 0)) == 0 &&
			       value_int(t, value_item(t, h, (size_t)i)) == i;
		}
		ok_msg(good && value_kind(t, h) == kinds[k] && value_item(t, h, 1000) == VALUE_ABSENT, "a sequence grows");
	}
	for (size_t n = 1; n <= 5; n++) {
		for (size_t i = 0; i < n; i++)
			items[i] = value_new_int(t, (int64_t)(10 * n + i));
		h = value_new_tuple(t, items, n);
		good = value_len(t, h) == n;
		for (size_t i = 0; i < n; i++)
			good = good && value_item(t, h, i) == items[i];
		ok_msg(good && value_item(t, h, n) == VALUE_ABSENT, "a tuple of %zu", n);
	}
	for (int with = 0; with < 600; with += 7) {
		d = with % 2 ? value_new_ordered(t) : value_new_seq(t, VALUE_DICT);
		good = value_state(t, d) == VALUE_ABSENT;
		for (int i = 0; i < 600; i++) {
			if (i == with)
				value_set_state(t, d, items[1]);
			value_set(t, d, value_new_int(t, i), value_new_int(t, -i));
		}
		for (int i = 0; i < 600; i++)
			good = good && value_int(t, value_key(t, d, (size_t)i)) == i &&
			       value_int(t, value_val(t, d, (size_t)i)) == -i;
		if (!good || value_state(t, d) != items[1] || value_len(t, d) != 600 || value_ordered(t, d) != (with % 2 == 1))
			break;
	}
	ok_msg(good, "the state of a dict is kept when the dict grows");
	vtree_free(t);
}

static void
paths(void)
{
	struct vtree *t = vtree_new();
	uint32_t root = value_new_seq(t, VALUE_DICT), ab = value_new_seq(t, VALUE_DICT), a = value_new_seq(t, VALUE_DICT);
	uint32_t list = value_new_seq(t, VALUE_LIST), pair[2], loop = value_new_seq(t, VALUE_DICT);

	/* {'a': {'b.c': 1, 'x': [10, (20, 21)]}, 'a.b': {'d': 2}, 5: 'five', '': 'empty', 'a.b.c': 3} */
	value_set(t, a, text(t, "b.c"), value_new_int(t, 1));
	pair[0] = value_new_int(t, 20);
	pair[1] = value_new_int(t, 21);
	value_append(t, list, value_new_int(t, 10));
	value_append(t, list, value_new_tuple(t, pair, 2));
	value_set(t, a, text(t, "x"), list);
	value_set(t, ab, text(t, "d"), value_new_int(t, 2));
	value_set(t, root, text(t, "a"), a);
	value_set(t, root, text(t, "a.b"), ab);
	value_set(t, root, value_new_int(t, 5), text(t, "five"));
	value_set(t, root, text(t, ""), text(t, "empty"));

	is_int(value_int(t, value_path(t, root, str_c("a.b.c"))), 1,
	       "a shorter key is tried after a longer key that has no such item");
	value_set(t, root, text(t, "a.b.c"), value_new_int(t, 3));
	is_int(value_int(t, value_path(t, root, str_c("a.b.c"))), 3, "the longest key is tried first");
	is_int(value_int(t, value_path(t, root, str_c("a.b.d"))), 2, "a path goes through a key with a dot");
	is_int(value_int(t, value_path(t, root, str_c("a.x.1.0"))), 20, "items of lists and tuples are found by index");
	ok(value_path(t, root, str_c("a.x.2")) == VALUE_ABSENT);
	ok(value_path(t, root, str_c("a.x.01")) == VALUE_ABSENT);
	ok(value_path(t, root, str_c("a.x.")) == VALUE_ABSENT);
	ok(value_path(t, root, str_c("a.x.1.0.q")) == VALUE_ABSENT);
	ok(value_kind(t, value_path(t, root, str_c("5"))) == VALUE_STR);
	ok(value_path(t, root, str_c("")) == root);
	ok(value_get(t, root, str_c("a")) == a);
	ok(value_get(t, root, str_c("b")) == VALUE_ABSENT);
	ok(value_get(t, list, str_c("a")) == VALUE_ABSENT);
	value_set(t, root, text(t, "a"), list);
	ok(value_get(t, root, str_c("a")) == list);

	for (int i = 0; i < 40; i++) {
		char key[128] = "k";

		for (int j = 0; j < i; j++)
			strcat(key, ".k");
		value_set(t, loop, value_new_text(t, VALUE_STR, arena_str(vtree_arena(t), str_c(key))), loop);
	}
	char long_path[256] = "k";
	for (int j = 0; j < 60; j++)
		strcat(long_path, ".k");
	strcat(long_path, ".absent");
	ok_msg(value_path(t, loop, str_c(long_path)) == VALUE_ABSENT, "a search in a cycle ends");
	vtree_free(t);
}

static uint32_t
leaf_map(void *arg, enum value_leaf kind, uint32_t index)
{
	(void)arg;
	return kind == LEAF_STORAGE || index == 7 ? LEAF_DROP : index + 100;
}

static void
copies(void)
{
	struct vtree *t = vtree_new(), *u = vtree_new();
	struct value_copier c = { .leaf = leaf_map, .dst = u, .src = t };
	struct err err = ERR_INIT;
	uint32_t d = value_new_ordered(t), list = value_new_seq(t, VALUE_LIST), items[3], h, n, index;
	struct vobject o = { HOW_NEWOBJ, 0, 0, VALUE_ABSENT, d, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT };

	o.callable = value_new_global(t, str_c("m"), str_c("n"));
	o.args = value_new_tuple(t, NULL, 0);
	items[0] = list;
	items[1] = value_new_leaf(t, LEAF_TENSOR, 7);
	items[2] = value_new_text(t, VALUE_BYTES, str_n("a\0b", 3));
	h = value_new_tuple(t, items, 3);
	value_append(t, list, h);
	value_append(t, list, items[1]);
	value_append(t, list, value_new_leaf(t, LEAF_TENSOR, 1));
	value_append(t, list, value_new_object(t, &o));
	value_set(t, d, text(t, "list"), list);
	value_set(t, d, text(t, "gone"), items[1]);
	value_set(t, d, text(t, "too"), value_new_leaf(t, LEAF_STORAGE, 1));
	value_set(t, d, text(t, "f"), value_new_float(t, 0.5));
	value_set_state(t, d, list);

	n = value_copy(&c, d, &err);
	ok(err.code == ERR_NONE && value_ordered(u, n) && value_len(u, n) == 2);
	h = value_val(u, n, 0);
	ok(value_kind(u, h) == VALUE_LIST && value_len(u, h) == 3 && value_state(u, n) == h);
	ok(value_leaf(u, value_item(u, h, 1), &index) == LEAF_TENSOR && index == 101);
	ok_msg(value_item(u, value_item(u, h, 0), 0) == h, "a cycle survives");
	ok_msg(value_kind(u, value_item(u, value_item(u, h, 0), 1)) == VALUE_NONE, "a dropped leaf in a tuple is None");
	is_mem(value_text(u, value_item(u, value_item(u, h, 0), 2)).p, "a\0b", 3, "bytes");
	ok(value_object(u, value_item(u, h, 2))->state == n);
	ok(value_object(u, value_item(u, h, 2))->how == HOW_NEWOBJ);
	ok(value_is_global(u, value_object(u, value_item(u, h, 2))->callable, "m", "n"));
	ok(value_copy(&c, d, &err) == n);
	is_near(value_float(u, value_get(u, n, str_c("f"))), 0.5, 0, "a float");

	h = value_new_tuple(t, items, 1);
	for (int i = 0; i < 100000; i++)
		h = value_new_tuple(t, &h, 1);
	n = value_copy(&c, h, &err);
	for (int i = 0; i < 100000; i++)
		n = value_item(u, n, 0);
	ok_msg(value_len(u, n) == 1 && value_len(u, value_item(u, n, 0)) == 3, "nested 100000 deep");
	value_copier_release(&c);
	vtree_free(t);
	vtree_free(u);
}

int
main(void)
{
	integers();
	constants();
	containers();
	paths();
	copies();
	return tap_done();
}
