/*
 * place: roots of checkpoints and the state dict that the rule in tensor/place.h chooses, derived by hand.
 */
#include "tensor/place.h"

#include "tap.h"

static struct vtree *t;

/*
 * Reads a root: {key:value,...} is a dict, [value,...] a list, <key:value,...> an object of a subclass of dict; T is a
 * tensor of one dimension, S one without; a number is an integer, any other word a text.
 */
static uint32_t
read_value(const char **s)
{
	const char *from = *s;
	char open = *from;
	uint32_t v, items, key;

	if (open == '{' || open == '[' || open == '<') {
		items = value_new_seq(t, open == '[' ? VALUE_LIST : VALUE_DICT);
		for (++*s; **s != '}' && **s != ']' && **s != '>'; *s += **s == ',') {
			if (open == '[') {
				value_append(t, items, read_value(s));
				continue;
			}
			key = read_value(s);
			++*s;
			value_set(t, items, key, read_value(s));
		}
		++*s;
		if (open != '<')
			return items;
		return value_new_object(t, &(struct vobject){ HOW_NEWOBJ, value_new_global(t, str_c("my"), str_c("Dict")),
							      value_new_tuple(t, NULL, 0), VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT,
							      items, VALUE_ABSENT });
	}
	*s += strcspn(from, "{}[]<>,:");
	v = value_new_text(t, VALUE_STR, str_n(from, (size_t)(*s - from)));
	if (*s - from == 1 && (*from == 'T' || *from == 'S'))
		return value_new_leaf(t, LEAF_TENSOR, *from == 'S');
	return from[strspn(from, "0123456789")] == **s && *s > from ? value_new_int(t, strtol(from, NULL, 10)) : v;
}

static void
hear(void *arg, enum diag_level level, const char *msg)
{
	struct buf *b = arg;

	buf_adds(b, level == DIAG_NOTICE ? "\n" : "\nnot a notice: ");
	buf_adds(b, msg);
}

/* The key of the place, or the error, and then the notices, a line each. */
static const char *
place(const char *text, const char *key, bool root)
{
	static const uint64_t two[] = { 2 }, one[] = { 1 };
	static struct buf b;
	struct tensor tensors[] = { { .ndim = 1, .shape = two, .stride = one, .wrap = VALUE_ABSENT },
				    { .ndim = 0, .wrap = VALUE_ABSENT } };
	struct buf notices = BUF_INIT;
	struct diag diag = { hear, &notices };
	struct place_ask ask = { .key = key, .root = root, .diag = &diag };
	struct ckpt c = { .file = "t", .tensors = tensors, .ntensors = 2, .tree = t = vtree_new() };
	struct arena arena = ARENA_INIT;
	struct place found;
	struct tensor_tree tree;
	struct err err = ERR_INIT;

	c.root = read_value(&text);
	tree_init(&tree, &c);
	buf_clear(&b);
	if (place_find(&tree, &ask, &arena, &found, &err) == 0)
		buf_addf(&b, "%.*s%s", STR_ARG(found.key),
			 found.kind == PLACE_SURE        ? ""
			 : found.kind == PLACE_AMBIGUOUS ? "(ambiguous)"
							 : "(optimizer)");
	else
		buf_adds(&b, err.msg);
	buf_addstr(&b, buf_str(&notices));
	buf_adds(&b, "");
	tree_release(&tree);
	arena_release(&arena);
	buf_release(&notices);
	vtree_free(t);
	return b.p;
}

#define ADAM "{state:{0:{step:S,exp_avg:T}},param_groups:[{lr:1}]}"
#define NET "{w:T,b:T}"

/* The rule decides. The choice is the same whether the program insists on one or not. */
static const struct {
	const char *root, *said;
} clear[] = {
	/* (1) model, state_dict_ema, state_dict, in this order. */
	{ "{state_dict:{w:T},state_dict_ema:{m:T},model:{v:T}}", "model" },
	{ "{state_dict:{w:T},state_dict_ema:{m:T}}", "state_dict_ema" },
	{ "{net:{v:T},state_dict:{w:T},epoch:3}", "state_dict" },
	{ "{best_acc1:T,state_dict:{w:T}}", "state_dict" },
	{ "{model:resnet,state_dict:{w:T}}", "state_dict" },
	{ "{model:{depth:3},state_dict:{w:T}}", "state_dict" },
	{ "{model:<w:T>}", "model" },
	{ "{model:{layers:[{w:T}]}}", "model" },
	{ "{model:{v:T,param_groups:[]},state_dict:{w:T}}", "state_dict" },
	/* Other candidates with the same names in any order are mentioned. */
	{ "{state_dict:" NET ",state_dict_ema:{b:T,w:T}}",
	  "state_dict_ema\nt: the state dict is state_dict_ema; state_dict was not taken; -k state_dict chooses it (it has "
	  "the same names)" },
	{ "{model:" NET ",model ema:" NET "}",
	  "model\nt: the state dict is model; model ema was not taken; -k 'model ema' chooses it (it has the same names)" },
	{ "{model:{a:{b:T}},ema:{a.b:T}}",
	  "model\nt: the state dict is model; ema was not taken; -k ema chooses it (it has the same names)" },
	{ "{model:" NET ",ema:{w:T}}", "model" },
	{ "{model:{w:T},ema:{module.w:T}}", "model" },
	{ "{model:" NET ",loss:" NET "}", "model" },
	/* (2) The root with tensors of its own. */
	{ "{w:T,b:T}", "" },
	{ "{w:T,scale:S}", "" },
	{ "{w:T,config:{depth:3}}", "" },
	{ "{w:T,bn._extra_state:{amax:T}}", "" },
	{ "{w:T,packed:[T,T]}", "" },
	/* (3) The only candidate. */
	{ "{epoch:1,model_state_dict:{w:T},optimizer_state_dict:" ADAM ",loss:S}",
	  "model_state_dict\nt: the state dict is model_state_dict" },
	{ "{net:{w:T},opt:" ADAM "}", "net\nt: the state dict is net" },
	{ "{net:{w:T},optim:{exp_avg:T}}", "net\nt: the state dict is net" },
	{ "{net:{w:T},best_acc:S}", "net\nt: the state dict is net" },
	{ "{net:{w:T},rng_state:T}", "net\nt: the state dict is net" },
	{ "{net:{w:T},rng:{cpu:T}}", "net\nt: the state dict is net" },
	{ "{net:{w:T},lr_sched:{w:T}}", "net\nt: the state dict is net" },
	{ "{net:{w:T},grad_scaler:{w:T}}", "net\nt: the state dict is net" },
	{ "{net:{w:T},loss:{weight:T}}", "net\nt: the state dict is net" },
	{ "{net:{w:T},criterion:{weight:T}}", "net\nt: the state dict is net" },
	{ "{net:{w:T},x_extra_state:{weight:T}}", "net\nt: the state dict is net" },
	{ "{net:{w:T},steps:[T]}", "net\nt: the state dict is net" },
	{ "{net:<w:T>}", "net\nt: the state dict is net" },
	/* (4) No candidate and no tensor of its own. */
	{ "{layers:[{w:T}]}", "" },
	{ "{scale:S}", "" },
	{ "[{w:T},T]", "" },
	{ "[{w:T}," ADAM "]", "0\nt: the state dict is 0" },
	{ "{loss:{weight:T}}", "" },
	/* The rule is applied again inside the chosen value. */
	{ "{model:{state_dict:{w:T}}}", "model.state_dict" },
	{ "{model:{state_dict:{w:T},optimizer:" ADAM "}}", "model.state_dict" },
	{ "{model:{net:{w:T},optim_g:" ADAM "}}", "model.net\nt: the state dict is model.net" },
	{ "{state:{model_state:{w:T},scale:S}}", "state.model_state\nt: the state dict is state.model_state" },
	{ "{run:{module:{model:{w:T}}}}", "run\nt: the state dict is run" },
	{ "{run:{model:{state_dict:{w:T}}}}", "run.model.state_dict\nt: the state dict is run.model.state_dict" },
	{ "{model:{a:T,state_dict:{w:T}}}", "model" },
	{ "{model:{encoder:{w:T}}}", "model" },
	{ "{model:{encoder:{w:T},decoder:{w:T}}}", "model" },
	{ "{model:<state_dict:{w:T}>}", "model.state_dict" },
};

/* The rule does not decide. A program that lists takes the root, a program that writes reports an error. */
static const struct {
	const char *root, *choices;
} several[] = {
	{ "{net:{w:T},ema:" NET "}", "net (1 tensor): -k net; ema (2 tensors): -k ema; the root (3 tensors): -k ''" },
	{ "{student:{w:T},teacher:{w:T},opt:" ADAM "}",
	  "student (1 tensor): -k student; teacher (1 tensor): -k teacher; the root (4 tensors): -k ''" },
	{ "{net:{w:T},best_acc1:T}", "net (1 tensor): -k net; the root (2 tensors): -k ''" },
	{ "{it's:{w:T},-k:{w:T}}", "it's (1 tensor): -k 'it'\\''s'; -k (1 tensor): -k '-k'; the root (2 tensors): -k ''" },
	{ "{model:{gen_model:{w:T},disc:{w:T}}}", "model.gen_model (1 tensor): -k model.gen_model; "
						  "model.disc (1 tensor): -k model.disc; the root (2 tensors): -k ''" },
	{ "{a:{w:T},b:{w:T},c:{w:T},d:{w:T},e:{w:T},f:{w:T},g:{w:T},h:{w:T},i:{w:T},j:{w:T}}",
	  "a (1 tensor): -k a; b (1 tensor): -k b; c (1 tensor): -k c; d (1 tensor): -k d; e (1 tensor): -k e; "
	  "f (1 tensor): -k f; g (1 tensor): -k g; h (1 tensor): -k h; and 2 more; the root (10 tensors): -k ''" },
};

static const struct {
	const char *root, *what, *key;
} optimizers[] = {
	{ ADAM, "it is", "state" },
	{ "<state:{0:{exp_avg:T}},param_groups:[]>", "it is", "state" },
	{ "{optimizer:" ADAM ",epoch:3}", "its tensors are", "optimizer" },
	{ "{optimizer:" ADAM ",rng_state:T,lr_sched:{w:T}}", "its tensors are", "optimizer" },
	{ "[" ADAM "]", "its tensors are", "0" },
};

static const struct {
	const char *root, *key, *said;
} asked[] = {
	{ "{net:{w:T},ema:{w:T}}", "ema", "ema" },
	{ "{net:{w:T},ema:{w:T}}", "", "" },
	{ "{model:{w:T},model_ema:{w:T}}", "model", "model" },
	{ ADAM, "state", "state" },
	{ ADAM, "", "" },
	{ "{optimizer:" ADAM "}", "optimizer.state.0", "optimizer.state.0" },
	{ "{a.b:{c:T},a:{b:{d:T}}}", "a.b", "a.b" },
	{ "{a.b:{c:T},a:{b:{d:T}}}", "a.b.c", "a.b.c" },
	{ "{run:<net:{w:T}>}", "run.net", "run.net" },
	{ "{net:{w:T},epoch:3}", "epoch", "t: there are no tensors at 'epoch'; there are some at 'net' (-k PATH chooses)" },
	{ "{net:{w:T},epoch:3}", "nat", "t: there is no 'nat' in it; its root has net, epoch; did you mean net?" },
	{ "{run:{model_state:{w:T}}}", "run.model_stat",
	  "t: there is no 'run.model_stat' in it; its root has run; did you mean run.model_state?" },
	{ "{net:{w:T}}", "optimizer", "t: there is no 'optimizer' in it; its root has net" },
};

/* Trees that the notation above cannot express: a dict in itself, and one dict under many keys. */
static void
test_shared(void)
{
	enum { MANY = 50000 };
	struct tensor tensor = { .wrap = VALUE_ABSENT };
	struct ckpt c = { .file = "t", .tensors = &tensor, .ntensors = 1, .tree = t = vtree_new() };
	struct place_ask ask = { 0 };
	struct arena arena = ARENA_INIT;
	struct place found;
	struct tensor_tree tree;
	struct err err = ERR_INIT;
	uint32_t root = value_new_seq(t, VALUE_DICT), dict = value_new_seq(t, VALUE_DICT);

	tensor.ndim = 1;
	c.root = root;
	value_set(t, dict, value_new_text(t, VALUE_STR, str_c("w")), value_new_leaf(t, LEAF_TENSOR, 0));
	value_set(t, root, value_new_text(t, VALUE_STR, str_c("model")), root);
	value_set(t, root, value_new_text(t, VALUE_STR, str_c("x")), dict);
	tree_init(&tree, &c);
	ok(place_find(&tree, &ask, &arena, &found, &err) == 0 && str_eqc(found.key, "x"));
	tree_release(&tree);

	root = c.root = value_new_seq(t, VALUE_DICT);
	value_set(t, root, value_new_text(t, VALUE_STR, str_c("state_dict")), dict);
	for (int i = 0; i < MANY; i++) {
		value_set(t, dict, value_new_int(t, i), value_new_leaf(t, LEAF_TENSOR, 0));
		value_set(t, root, value_new_int(t, i), dict);
	}
	tree_init(&tree, &c);
	ok_msg(place_find(&tree, &ask, &arena, &found, &err) == 0 && str_eqc(found.key, "state_dict"),
	       "a dict under many keys does not take exponential time");
	tree_release(&tree);
	arena_release(&arena);
	vtree_free(t);
}

int
main(void)
{
	char expected[1024];

	for (size_t i = 0; i < sizeof(clear) / sizeof(clear[0]); i++) {
		is_str(place(clear[i].root, NULL, false), clear[i].said, clear[i].root);
		is_str(place(clear[i].root, NULL, true), clear[i].said, "a program that lists gives the right place and notices");
	}
	for (size_t i = 0; i < sizeof(several) / sizeof(several[0]); i++) {
		snprintf(expected, sizeof(expected), "t: which state dict is meant? %s", several[i].choices);
		is_str(place(several[i].root, NULL, false), expected, several[i].root);
		snprintf(expected, sizeof(expected), "(ambiguous)\nt: the root is listed; which state dict is meant? %s",
			 several[i].choices);
		is_str(place(several[i].root, NULL, true), expected, "a program that lists gives the right place and notices");
	}
	for (size_t i = 0; i < sizeof(optimizers) / sizeof(optimizers[0]); i++) {
		snprintf(expected, sizeof(expected), "t: %s an optimizer's state, not a state dict (-k %s if that is meant)",
			 optimizers[i].what, optimizers[i].key);
		is_str(place(optimizers[i].root, NULL, false), expected, optimizers[i].root);
		snprintf(expected, sizeof(expected), "(optimizer)\nt: %s an optimizer's state, not a state dict",
			 optimizers[i].what);
		is_str(place(optimizers[i].root, NULL, true), expected, "a program that lists gives the right place and notices");
	}
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
		is_str(place(asked[i].root, asked[i].key, false), asked[i].said, asked[i].key);
	test_shared();
	return tap_done();
}
