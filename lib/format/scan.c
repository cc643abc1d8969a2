/*
 * Tells whether torch's weights_only unpickler would accept a pickle. Before each opcode, the scan inspects the machine's stack.
 * After a call, it replaces the result by a leaf that tells what the call returns.
 *
 * The rules are those of Unpickler.load in torch/_weights_only_unpickler.py (PyTorch 2.6 to 2.13) and of persistent_load in
 * torch/serialization.py. tests/torch/test_pickle_scan.py compares the scan with PyTorch 2.13. Calls are only followed if they have
 * arguments as torch.save writes them. For all others the answer is "unknown".
 */
#include "format/scan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/num.h"
#include "base/strmap.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "pickle/machine.h"
#include "pickle/writer.h"
#include "tensor/dtype.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- globals: facts */

/*
 * The globals that weights_only accepts: _get_allowed_globals() of torch/_weights_only_unpickler.py in PyTorch 2.13 (144 names; 2.6
 * and later differ in a few dtypes). tests/torch/test_pickle_scan.py compares this table with torch.
 */
static const char *const callables[] = {
	"_codecs.encode",      "builtins.bytearray",      "builtins.complex", "builtins.set",
	"collections.Counter", "collections.OrderedDict", "torch.Size",       "torch.device",
};

static const char *const tensor_callables[] = {
	"torch.Tensor",
	"torch._tensor._rebuild_from_type_v2",
	"torch._utils._rebuild_device_tensor_from_cpu_tensor",
	"torch._utils._rebuild_device_tensor_from_numpy",
	"torch._utils._rebuild_meta_tensor_no_storage",
	"torch._utils._rebuild_nested_tensor",
	"torch._utils._rebuild_parameter",
	"torch._utils._rebuild_parameter_with_state",
	"torch._utils._rebuild_qtensor",
	"torch._utils._rebuild_sparse_tensor",
	"torch._utils._rebuild_tensor",
	"torch._utils._rebuild_tensor_v2",
	"torch._utils._rebuild_tensor_v3",
	"torch._utils._rebuild_wrapper_subclass",
	"torch.nn.parameter.Parameter",
	"torch.serialization._get_layout",
	"torch.storage.TypedStorage",
};

static const char *const constants[] = {
	"per_channel_affine",   "per_channel_affine_float_qparams", "per_channel_symmetric", "per_tensor_affine",
	"per_tensor_symmetric",
};

/* Element types of torch that this library does not support. */
static const char *const other_dtypes[] = {
	"int1", "int2", "int3", "int4", "int5", "int6", "int7", "uint1", "uint2", "uint3", "uint4", "uint5", "uint6", "uint7",
};

/*
 * Modules, with all their submodules, that can run code, access the network or change files. picklescan, modelscan and fickling
 * flag them.
 */
/* clang-format off */
static const char *const unsafe_modules[] = {
	"_aix_support", "_ctypes", "_frozen_importlib", "_frozen_importlib_external", "_imp", "_io.FileIO", "_osx_support",
	"_pickle", "_posixsubprocess", "_pyrepl", "_signal", "_thread", "aiohttp", "asyncio", "atexit", "bdb", "cPickle",
	"cProfile", "cloudpickle", "code", "codeop", "commands", "compileall", "ctypes", "dill", "distutils", "doctest",
	"ensurepip", "filecmp", "fileinput", "ftplib", "gc", "glob", "http", "httplib", "idlelib", "imaplib", "imp", "importlib",
	"inspect", "joblib", "lib2to3", "linecache", "logging", "marshal", "mmap", "multiprocessing", "nntplib", "nt",
	"numpy.f2py", "numpy.testing._private.utils", "os", "pdb", "pexpect", "pickle", "pip", "pipes", "pkgutil", "platform",
	"poplib", "posix", "profile", "pty", "py_compile", "pydoc", "requests", "runpy", "select", "selectors", "shelve",
	"shutil", "signal", "site", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "sys", "tarfile",
	"telnetlib", "tempfile", "test", "threading", "timeit", "torch._dynamo.guards", "torch._inductor",
	"torch.utils.bottleneck", "torch.utils.collect_env", "trace", "unittest", "urllib", "urllib2", "uuid", "venv",
	"webbrowser", "xmlrpc", "xmlrpclib", "zipfile", "zipimport",
};
/* clang-format on */

/* Unsafe globals. Their modules have the names of Python 3. */
/* clang-format off */
static const char *const unsafe_names[] = {
	"_operator.attrgetter", "_operator.itemgetter", "_operator.methodcaller", "builtins.__import__", "builtins.apply",
	"builtins.breakpoint", "builtins.compile", "builtins.delattr", "builtins.eval", "builtins.exec", "builtins.execfile",
	"builtins.file", "builtins.getattr", "builtins.globals", "builtins.input", "builtins.locals", "builtins.memoryview",
	"builtins.open", "builtins.raw_input", "builtins.setattr", "builtins.vars", "functools.partial", "functools.reduce",
	"io.FileIO", "io.open", "io.open_code", "operator.attrgetter", "operator.itemgetter", "operator.methodcaller",
	"torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression", "torch.hub.load", "torch.jit.load",
	"torch.jit.unsupported_tensor_ops.execWrapper", "torch.load", "torch.serialization.load",
	"torch.utils._config_module.ConfigModule.load_config", "torch.utils.data.datapipes.utils.decoder.basichandlers",
	"types.CodeType", "types.FunctionType",
};
/* clang-format on */

/* Plain data in modules of the list above. */
static const char *const harmless[] = { "uuid.SafeUUID", "uuid.UUID" };

/* Components of dotted names through which another module or name can be reached. */
/* clang-format off */
static const char *const unsafe_parts[] = {
	"__base__", "__bases__", "__builtins__", "__class__", "__code__", "__dict__", "__func__", "__getattribute__",
	"__globals__", "__import__", "__init_subclass__", "__loader__", "__mro__", "__reduce__", "__reduce_ex__", "__self__",
	"__spec__", "__subclasses__", "builtins", "ctypes", "eval", "exec", "importlib", "nt", "os", "popen", "posix", "pty",
	"runpy", "shutil", "socket", "subprocess", "sys", "system",
};
/* clang-format on */

/* ---- globals: judging */

/* Buffer size for "module.name". Longer texts are cut. */
enum { GLOBAL_TEXT = 256 };

/* The kind of an accepted global. */
enum allowed_kind {
	ALLOWED_NOT,
	ALLOWED_CALLABLE, /* class or function; see name */
	ALLOWED_DTYPE,
	ALLOWED_STORAGE,  /* class of a typed storage; occurs in persistent ids, and cannot be called */
	ALLOWED_UNTYPED,  /* torch.storage.UntypedStorage */
	ALLOWED_TENSOR,   /* class of tensors: torch.FloatTensor, torch.cuda.FloatTensor, ... */
	ALLOWED_CONSTANT, /* quantisation scheme */
};

struct allowed {
	enum allowed_kind kind;
	char name[48];    /* part after the last dot */
	enum dtype dtype; /* of a dtype, storage or tensor class */
	bool plain;       /* a callable that is no part of a tensor */
};

const char *
pickle_verdict_text(enum pickle_verdict v)
{
	static const char *const texts[] = { "tensor", "allowed", "unknown", "unsafe" };

	return texts[v];
}

/*
 * Writes "module.name" as torch looks it up, with Python 2 names translated. out has GLOBAL_TEXT bytes. Returns false if the text
 * was cut.
 */
static bool
global_path(struct str module, struct str name, char *out)
{
	size_t n;

	pickle_rename(&module, &name, PICKLE_READS);
	n = module.len + 1 + name.len;
	snprintf(out, GLOBAL_TEXT, "%.*s.%.*s", STR_ARG(module), STR_ARG(name));
	return n < GLOBAL_TEXT && strlen(out) == n;
}

/* If path begins with prefix, sets *rest to what follows. */
static bool
behind(struct str path, const char *prefix, struct str *rest)
{
	if (!str_starts(path, str_c(prefix)))
		return false;
	*rest = str_from(path, strlen(prefix));
	return true;
}

/* Returns the kind of NAME in torch.NAME, or in a submodule of torch that has tensor classes. */
static enum allowed_kind
torch_name(struct str name, bool cuda, bool sparse, enum dtype *dtype)
{
	/* tensor classes exist for the element types that torch had from the beginning */
	*dtype = dtype_by_tensor(name);
	if (dtype_info(*dtype)->class == DTYPE_CLASS_QUANTISED || dtype_info(*dtype)->class == DTYPE_CLASS_COMPLEX)
		return ALLOWED_NOT;
	if (*dtype != DTYPE_UNKNOWN)
		return sparse && *dtype == DTYPE_BOOL ? ALLOWED_NOT : ALLOWED_TENSOR;
	if (sparse)
		return ALLOWED_NOT;
	*dtype = dtype_by_storage(name);
	if (*dtype != DTYPE_UNKNOWN)
		return cuda && dtype_info(*dtype)->class == DTYPE_CLASS_QUANTISED ? ALLOWED_NOT : ALLOWED_STORAGE;
	if (cuda)
		return ALLOWED_NOT;
	*dtype = dtype_by_name(name);
	if (dtype_info(*dtype)->torch || str_in(name, other_dtypes))
		return ALLOWED_DTYPE;
	return str_in(name, constants) ? ALLOWED_CONSTANT : ALLOWED_NOT;
}

/* path must come from global_path. */
static enum allowed_kind
path_kind(struct str path, enum dtype *dtype)
{
	struct str rest;
	bool cuda = behind(path, "torch.cuda.", &rest), sparse;

	*dtype = DTYPE_UNKNOWN;
	if (str_in(path, callables) || str_in(path, tensor_callables))
		return ALLOWED_CALLABLE;
	if (str_eqc(path, "torch.storage.UntypedStorage")) {
		*dtype = DTYPE_UINT8;
		return ALLOWED_UNTYPED;
	}
	if (!cuda && !behind(path, "torch.", &rest))
		return ALLOWED_NOT;
	sparse = behind(rest, "sparse.", &rest);
	return torch_name(rest, cuda, sparse, dtype);
}

/* Returns true if the global is accepted, and fills *a. If not, kind is ALLOWED_NOT. */
static bool
look_up(struct str module, struct str name, struct allowed *a)
{
	char path[GLOBAL_TEXT];
	bool whole = global_path(module, name, path);
	const char *dot = strrchr(path, '.');

	*a = (struct allowed){ .kind = ALLOWED_NOT };
	if (!whole)
		return false;
	a->kind = path_kind(str_c(path), &a->dtype);
	a->plain = str_in(str_c(path), callables);
	if (a->kind != ALLOWED_NOT && dot != NULL)
		snprintf(a->name, sizeof(a->name), "%s", dot + 1);
	return a->kind != ALLOWED_NOT;
}

/* Returns true if the list contains path, or a prefix of path that ends before a dot. */
static bool
under(struct str path, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(list[i]);

		if (str_starts(path, str_c(list[i])) && (path.len == len || path.p[len] == '.'))
			return true;
	}
	return false;
}

static bool
has_unsafe_part(struct str path, bool behind_first)
{
	struct str part;

	if (behind_first)
		str_split(&path, '.', &part);
	while (str_split(&path, '.', &part))
		if (str_in(part, unsafe_parts))
			return true;
	return false;
}

static bool
unsafe(struct str module, struct str name)
{
	char path[GLOBAL_TEXT];

	/* No useful global has a name this long, or one with control bytes. */
	if (!global_path(module, name, path))
		return true;
	if (str_in(str_c(path), harmless))
		return false;
	if (under(str_c(path), unsafe_modules, COUNT(unsafe_modules)) || under(str_c(path), unsafe_names, COUNT(unsafe_names)))
		return true;
	if (under(module, unsafe_modules, COUNT(unsafe_modules)))
		return true;
	/* In a module or name without dots, nothing else can be reached. */
	return has_unsafe_part(module, true) || (memchr(name.p, '.', name.len) != NULL && has_unsafe_part(name, false));
}

static enum pickle_verdict
judge(struct str module, struct str name)
{
	struct allowed a;

	if (look_up(module, name, &a))
		return a.plain ? GLOBAL_ALLOWED : GLOBAL_TENSOR;
	return unsafe(module, name) ? GLOBAL_UNSAFE : GLOBAL_UNKNOWN;
}

/* ---- types of values */

/*
 * The type of a value is a letter. Plain data: N None, b bool, i integer, f float, s text, y bytes, Y bytearray, t tuple, l list, d
 * dict or OrderedDict, e set, g global, ? anything else. Results of calls: S storage, T dense tensor, P parameter, U any other
 * tensor, C Counter, z Size, 0 layout sparse_coo, 1 another sparse layout, o any other object.
 */
struct made {
	char type;
	enum dtype dtype; /* for storages and tensors */
	uint64_t numel;   /* for storages */
};

/* The size of the cache of globals by node. A checkpoint calls the same few globals for every tensor. */
enum { WEIGHTS_RECENT = 16 };

struct weights {
	struct pickle_machine *m; /* machine at the current opcode */
	unsigned wraps;           /* depth of nested calls being checked */
	bool legacy;              /* persistent ids are those of the legacy format, with six parts */
	uint64_t looked;          /* number of values inspected */
	struct strmap keys;       /* maps keys of persistent ids and views to indices in stored */
	struct made *stored;
	size_t stored_n, stored_cap;
	struct made result;    /* result of the current call; type 0: the value that the machine leaves */
	uint32_t leaf;         /* index of the leaf for a storage in result */
	bool judge;            /* this is the first pickle, and torch would still be reading */
	bool computed;         /* the current STACK_GLOBAL has operands that are no texts */
	bool failed;           /* the callback failed */
	unsigned pickle;       /* number of the pickle, from 0 */
	struct pickle_scan *s; /* if s->unknown is set, only globals and opcodes are checked from then on */
	struct err *err;       /* for errors of the callback */
	struct {
		uint32_t node; /* 0: unused entry */
		struct allowed allowed;
	} recent[WEIGHTS_RECENT];
};

#define LEAF_MADE (UINT32_C(1) << 31)

static bool call(struct weights *w, uint32_t callable, uint32_t args);
static bool fits(struct weights *w, char letter, uint32_t h);

/* Sets the reason why torch refuses the pickle, and ends the check. Returns false. */
__attribute__((format(printf, 2, 3))) static bool
refuse(struct weights *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->s->why, sizeof(w->s->why), fmt, ap);
	va_end(ap);
	w->s->why_off = w->m->in.op_off;
	w->s->loads = w->s->unknown = w->judge = false;
	return false;
}

/*
 * Sets the reason why the answer is unknown: torch.save writes nothing like it. torch might also refuse something later. Returns
 * false.
 */
static bool
doubt(struct weights *w, const char *name, const char *what)
{
	refuse(w, "%s %s: torch.save writes nothing of the kind", name, what);
	w->result.type = 0;
	w->s->unknown = w->judge = true;
	return false;
}

/* Returns the type and properties of a value. Plain data has only a type. */
static struct made
made_of(const struct weights *w, uint32_t h)
{
	static const char types[] = "NbiifssyYtlde?g??";
	uint32_t index = 0;

	if (value_kind(w->m->t, h) != VALUE_LEAF)
		return (struct made){ .type = types[value_kind(w->m->t, h)] };
	value_leaf(w->m->t, h, &index);
	return index < LEAF_MADE ? w->stored[index]
				 : (struct made){ .type = (char)(index & 0xff), .dtype = (enum dtype)(index >> 8 & 0xff) };
}

static char
type_of(const struct weights *w, uint32_t h)
{
	return made_of(w, h).type;
}

/* Looks up the global h. Returns false if it is not accepted or no global. */
static bool
is_allowed(struct weights *w, uint32_t h, struct allowed *a)
{
	size_t i = h % WEIGHTS_RECENT;

	*a = (struct allowed){ .kind = ALLOWED_NOT };
	if (value_kind(w->m->t, h) != VALUE_GLOBAL)
		return false;
	if (w->recent[i].node != h) {
		w->recent[i].node = h;
		look_up(value_module(w->m->t, h), value_name(w->m->t, h), &w->recent[i].allowed);
	}
	*a = w->recent[i].allowed;
	return a->kind != ALLOWED_NOT;
}

/* Returns true if a tensor of this type can require gradients. */
static bool
has_grad(enum dtype t)
{
	return dtype_info(t)->class == DTYPE_CLASS_FLOAT || dtype_info(t)->class == DTYPE_CLASS_COMPLEX;
}

/* ---- arguments */

/* Attributes that every tensor has, and that cannot be set freely. */
/* clang-format off */
static const char *const own_attributes[] = { "H", "T", "__class__", "__cuda_array_interface__", "__dict__", "__weakref__",
	"_base", "_cdata", "_grad", "_grad_fn", "_has_symbolic_sizes_strides", "_python_dispatch", "_version", "data", "device",
	"dtype", "grad", "grad_dtype", "grad_fn", "imag", "is_cpu", "is_cuda", "is_ipu", "is_leaf", "is_maia", "is_meta",
	"is_mkldnn", "is_mps", "is_mtia", "is_nested", "is_quantized", "is_sparse", "is_sparse_csr", "is_vulkan", "is_xla",
	"is_xpu", "itemsize", "layout", "mH", "mT", "name", "names", "nbytes", "ndim", "output_nr", "real", "requires_grad",
	"retains_grad", "shape" };
/* clang-format on */

static const char *const device_types[] = { "cpu",    "cuda", "ipu",  "xpu",  "mkldnn", "opengl",       "opencl",
					    "ideep",  "hip",  "ve",   "fpga", "maia",   "xla",          "lazy",
					    "vulkan", "mps",  "meta", "hpu",  "mtia",   "privateuseone" };

static const char *const sparse_layouts[] = { "torch.sparse_csr", "torch.sparse_csc", "torch.sparse_bsr", "torch.sparse_bsc" };
static const char *const other_layouts[] = { "torch.strided", "torch.jagged", "torch._mkldnn" };
static const char *const channel_schemes[] = { "per_channel_affine", "per_channel_affine_float_qparams" };

/*
 * Limit of values inspected per byte of the pickle. Real pickles need less than half of it, but a pickle can refer to one large
 * dict or tuple as often as it has bytes. The name of an attribute costs more, because it is compared with all of own_attributes.
 */
enum { LOOK_FACTOR = 16, LOOK_FREE = 4096, ATTRIBUTE_COST = 8 };

/* Returns true if all items of a tuple or list, or all keys of a dict, match the letter. */
static bool
all_fit(struct weights *w, char letter, uint32_t h)
{
	bool dict = type_of(w, h) == 'd';

	for (size_t i = 0; i < value_len(w->m->t, h); i++)
		if (!fits(w, letter, dict ? value_key(w->m->t, h, i) : value_item(w->m->t, h, i)))
			return false;
	return true;
}

/*
 * Returns true if h matches a letter of a pattern. The letters are those of types and: u integer >= 0, v integer from 0 to 127, n
 * tuple of u, I tuple of integers, F False, D dtype, A any tensor, Q storage of quantised elements, h dict or None, a name of an
 * attribute, m dict with keys a, or None, x state of an object, c key that is no tuple, k key (not of nested tuples), p pair, j list
 * of keys, J list of pairs, V type of device, X layout of a sparse tensor, W another layout, q the scheme per_tensor_affine, r a
 * per-channel scheme, G storage class.
 */
static bool
fits(struct weights *w, char letter, uint32_t h)
{
	const struct vtree *t = w->m->t;
	const struct made made = made_of(w, h);
	const struct str text = value_text(t, h), name = value_name(t, h);
	const size_t n = value_len(t, h);
	struct allowed a;
	uint64_t v;

	w->looked += letter == 'a' ? ATTRIBUTE_COST : 1;
	if (w->looked > (w->m->in.base + w->m->in.at - w->m->in.start) * LOOK_FACTOR + LOOK_FREE)
		return false;
	switch (letter) {
	case 'u': return value_u64(t, h, &v) && v <= INT64_MAX;
	case 'v': return value_u64(t, h, &v) && v < 128;
	case 'n':
	case 'I': return made.type == 't' && n <= TENSOR_NDIM_MAX && all_fit(w, letter == 'n' ? 'u' : 'i', h);
	case 'F': return made.type == 'b' && !value_bool(t, h);
	case 'D': return is_allowed(w, h, &a) && a.kind == ALLOWED_DTYPE;
	case 'A': return strchr("TPU", made.type) != NULL;
	case 'T': return made.type == 'T' || made.type == 'P';
	case 'Q': return made.type == 'S' && dtype_info(made.dtype)->class == DTYPE_CLASS_QUANTISED;
	case 'h': return made.type == 'd' || made.type == 'N';
	case 'a': return made.type == 's' && !str_in(text, own_attributes);
	case 'm': return made.type == 'N' || (made.type == 'd' && all_fit(w, 'a', h));
	case 'x': return fits(w, 'm', h) || (made.type == 't' && n == 2 && all_fit(w, 'm', h));
	case 'c': return strchr("NbifsygSTPUzo01", made.type) != NULL;
	case 'k': return fits(w, 'c', h) || (made.type == 't' && all_fit(w, 'c', h));
	case 'p': return (made.type == 't' || made.type == 'l') && n == 2 && fits(w, 'k', value_item(t, h, 0));
	case 'j': return made.type == 'l' && all_fit(w, 'k', h);
	case 'J': return made.type == 'l' && all_fit(w, 'p', h);
	case 'V': return str_in(text, device_types);
	case 'X': return str_in(text, sparse_layouts);
	case 'W': return str_in(text, other_layouts);
	case 'q': return str_eqc(value_module(t, h), "torch") && str_eqc(name, "per_tensor_affine");
	case 'r': return str_eqc(value_module(t, h), "torch") && str_in(name, channel_schemes);
	case 'G': return is_allowed(w, h, &a) && (a.kind == ALLOWED_STORAGE || (a.kind == ALLOWED_UNTYPED && !w->legacy));
	default: return made.type == letter;
	}
}

/*
 * Returns true if tuple matches the pattern, which ends at its end or at the next closing parenthesis. Items after a bar are
 * optional. Parentheses enclose the pattern of a nested tuple; quotes enclose a literal text. All tuples n must have equal
 * lengths.
 */
static bool
match(struct weights *w, const char *p, uint32_t tuple)
{
	const struct vtree *t = w->m->t;
	size_t i = 0, n = value_len(t, tuple), rank = SIZE_MAX;
	bool optional = false, good = type_of(w, tuple) == 't';

	for (; good && *p != '\0' && *p != ')'; p++) {
		uint32_t part = value_item(t, tuple, i);
		size_t quoted = *p == '\'' ? strcspn(p + 1, "'") : 0;

		if (*p == '|') {
			optional = true;
			continue;
		}
		if (i++ == n)
			return optional;
		if (*p == '(')
			good = match(w, p + 1, part);
		else if (quoted > 0)
			good = type_of(w, part) == 's' && str_eq(value_text(t, part), str_n(p + 1, quoted));
		else
			good = fits(w, *p, part) && (*p != 'n' || rank == SIZE_MAX || rank == value_len(t, part));
		rank = *p == 'n' ? value_len(t, part) : rank;
		p = *p == '(' ? strchr(p, ')') : quoted > 0 ? p + quoted + 1 : p;
	}
	return good && i == n;
}

/* ---- calls */

struct weights_call;

/* A call that torch.save writes. */
struct weights_form {
	const char *name, *pattern;
	char made;   /* type of the result; plain data is made by the machine */
	int element; /* index of the argument with the dtype; 11 and 12: item 1 or 2 of argument 1; -1: no dtype */
	int grad;    /* index of argument requires_grad, which is true if omitted; -1: none */
	bool (*check)(const struct weights_call *c); /* further checks; may change the result */
};

/* A call whose arguments match the pattern of form. */
struct weights_call {
	struct weights *w;
	const struct weights_form *form;
	uint32_t args;
	size_t n;
};

static uint32_t
arg(const struct weights_call *c, size_t i)
{
	return value_item(c->w->m->t, c->args, i);
}

/*
 * Computes the end of a tensor's elements within its storage, from the arguments storage, offset, sizes and strides; 0 if it is
 * empty. Returns false on overflow.
 */
static bool
extent(const struct weights_call *c, uint64_t *end)
{
	const struct vtree *t = c->w->m->t;
	uint64_t n = 0, stride = 0, count = 1;

	value_u64(t, arg(c, 1), end);
	for (size_t i = 0; i < value_len(t, arg(c, 2)); i++) {
		value_u64(t, value_item(t, arg(c, 2), i), &n);
		value_u64(t, value_item(t, arg(c, 3), i), &stride);
		if (!num_mul(count, n, &count) || (count > 0 && (!num_mul(n - 1, stride, &n) || !num_add(*end, n, end))))
			return false;
	}
	*end = count == 0 ? 0 : *end + 1;
	return true;
}

/* Checks that the elements of the tensor, of type dtype, lie within the storage. */
static bool
inside(const struct weights_call *c, enum dtype dtype)
{
	struct made s = made_of(c->w, arg(c, 0));
	uint64_t end, bytes, size = dtype_size(dtype), each = s.dtype == DTYPE_QUINT4X2 ? 2 : s.dtype == DTYPE_QUINT2X4 ? 4 : 1;

	if (extent(c, &end) && num_mul(end / each + (end % each != 0), size > 0 ? size : 1, &bytes) &&
	    bytes <= s.numel * dtype_size(s.dtype))
		return true;
	return refuse(c->w, "%s: the tensor is not within its storage", c->form->name);
}

/* Checks the metadata of conjugate and negated tensors, a dict of booleans. In v3 it follows the dtype. */
static bool
check_metadata(const struct weights_call *c)
{
	const struct vtree *t = c->w->m->t;
	uint32_t metadata = arg(c, c->form->element != 0 ? 7 : 6);

	for (size_t i = 0; i < value_len(t, metadata); i++) {
		struct str key = value_text(t, value_key(t, metadata, i));
		bool complex = dtype_info(c->w->result.dtype)->class == DTYPE_CLASS_COMPLEX;

		if (i == 2 || type_of(c->w, value_val(t, metadata, i)) != 'b' ||
		    !(str_eqc(key, "conj") ? complex : str_eqc(key, "neg") && has_grad(c->w->result.dtype)))
			return doubt(c->w, c->form->name, "with such metadata");
	}
	return true;
}

/* Checks that the axis of a per-channel quantiser is a dimension of the tensor. */
static bool
check_axis(const struct weights_call *c)
{
	uint64_t axis = 0;

	value_u64(c->w->m->t, value_item(c->w->m->t, arg(c, 4), 3), &axis);
	return axis < value_len(c->w->m->t, arg(c, 2)) || doubt(c->w, c->form->name, "with such an axis");
}

/* Checks the arguments func, type, args, state, which mean func(*args) converted to type, with attributes from state. */
static bool
check_typed(const struct weights_call *c)
{
	struct weights *w = c->w;
	char type[GLOBAL_TEXT];
	bool good;

	/* torch.save does not nest these calls. Unlimited nesting could overflow the stack. */
	if (w->wraps == TENSOR_WRAPS_MAX)
		return doubt(w, c->form->name, "in so many others");
	w->wraps++;
	good = call(w, arg(c, 0), arg(c, 2));
	w->wraps--;
	if (!good)
		return false;
	global_path(value_module(w->m->t, arg(c, 1)), value_name(w->m->t, arg(c, 1)), type);
	return (strchr("TPU", w->result.type) != NULL &&
		(strcmp(type, "torch.Tensor") == 0 || strcmp(type, "torch.nn.parameter.Parameter") == 0)) ||
	       doubt(w, c->form->name, "of such a type");
}

static const struct weights_form forms[] = {
	{ "OrderedDict", "|J", 'd', -1, -1, NULL },
	{ "_rebuild_tensor_v2", "Sunnbh|h", 'T', 0, 4, check_metadata },
	{ "_rebuild_tensor_v3", "SunnFhD|h", 'T', 6, 4, check_metadata }, /* torch cannot load v3 with gradients */
	{ "_rebuild_tensor", "Sunn", 'T', 0, -1, NULL },
	{ "_rebuild_parameter", "Abh", 'P', 0, 1, NULL },
	{ "_rebuild_parameter_with_state", "Abhx", 'P', 0, 1, NULL },
	{ "Parameter", "A|b", 'P', 0, 1, NULL },
	{ "_rebuild_from_type_v2", "ggtx", 'U', -1, -1, check_typed },
	{ "_rebuild_qtensor", "Qunn(qfi)bh", 'U', 0, 5, NULL },
	{ "_rebuild_qtensor", "Qunn(rTTu)bh", 'U', 0, 5, check_axis },
	{ "_rebuild_sparse_tensor", "0(TTz|b)", 'U', 11, -1, NULL },
	{ "_rebuild_sparse_tensor", "1(TTTz)", 'U', 12, -1, NULL },
	{ "_rebuild_meta_tensor_no_storage", "Dnnb", 'U', 0, 3, NULL },
	{ "_rebuild_nested_tensor", "TTTT", 'U', 0, -1, NULL },
	{ "_rebuild_device_tensor_from_cpu_tensor", "TD'cpu'b", 'U', 1, 3, NULL },
	{ "Tensor", "", 'U', -1, -1, NULL },
	{ "Counter", "|d", 'C', -1, -1, NULL },
	{ "Size", "n", 'z', -1, -1, NULL },
	{ "Size", "I", 'o', -1, -1, NULL },
	{ "complex", "ff", 'o', -1, -1, NULL },
	{ "device", "V|v", 'o', -1, -1, NULL },
	{ "_get_layout", "'torch.sparse_coo'", '0', -1, -1, NULL },
	{ "_get_layout", "X", '1', -1, -1, NULL },
	{ "_get_layout", "W", 'o', -1, -1, NULL },
	{ "set", "|j", 'e', -1, -1, NULL },
	{ "encode", "ss", 'y', -1, -1, NULL },
	{ "bytearray", "|y", 'Y', -1, -1, NULL },
	{ "bytearray", "ss", 'Y', -1, -1, NULL },
};

/* Checks a call whose arguments match the form, and sets the result. */
static bool
call_fitting(const struct weights_call *c)
{
	const struct weights_form *f = c->form;
	enum dtype dtype = DTYPE_UNKNOWN;
	struct allowed a;
	uint32_t h;

	if (f->element >= 0) {
		h = f->element < 10 ? arg(c, (size_t)f->element) : value_item(c->w->m->t, arg(c, 1), (size_t)f->element % 10);
		dtype = is_allowed(c->w, h, &a) ? a.dtype : made_of(c->w, h).dtype;
	}
	c->w->result = (struct made){ .type = f->made, .dtype = dtype };
	if ((f->pattern[0] == 'S' || f->pattern[0] == 'Q') && !inside(c, dtype))
		return false;
	if (f->grad >= 0 && !has_grad(dtype) && ((size_t)f->grad >= c->n || value_bool(c->w->m->t, arg(c, (size_t)f->grad))))
		return refuse(c->w, "%s: only Tensors of floating point dtype can require gradients", f->name);
	return f->check == NULL || f->check(c);
}

/* Checks callable(*args), and sets the result. */
static bool
call(struct weights *w, uint32_t callable, uint32_t args)
{
	struct weights_call c = { w, forms, args, value_len(w->m->t, args) };
	struct allowed a;

	if (!is_allowed(w, callable, &a))
		return refuse(w, "Trying to call reduce for unrecognized function");
	if (w->legacy && strcmp(a.name, "_rebuild_nested_tensor") == 0)
		return refuse(w, "a nested tensor, whose sizes torch needs before it has read them from a legacy file");
	for (; a.kind == ALLOWED_CALLABLE && c.form < forms + COUNT(forms); c.form++)
		if (strcmp(a.name, c.form->name) == 0 && match(w, c.form->pattern, args))
			return call_fitting(&c);
	return doubt(w, a.name, "with such arguments");
}

/* ---- opcodes, with the stack before their execution */

/* Returns the nth value from the top, or VALUE_ABSENT if there is none above the last mark. */
static uint32_t
top(const struct weights *w, size_t n)
{
	return w->m->depth - w->m->fence > n ? w->m->stack[w->m->depth - 1 - n] : VALUE_ABSENT;
}

/* Returns the value below the last mark, or VALUE_ABSENT. */
static uint32_t
below_mark(const struct weights *w)
{
	size_t outer = w->m->marks_n > 1 ? w->m->marks[w->m->marks_n - 2] : 0;

	return w->m->marks_n > 0 && w->m->fence > outer ? w->m->stack[w->m->fence - 1] : VALUE_ABSENT;
}

static bool
check_set_item(struct weights *w, uint32_t target, const uint32_t *pairs, size_t n)
{
	if (strchr("dC", type_of(w, target)) == NULL)
		return refuse(w, "Can only %s for dict, collections.OrderedDict, collections.Counter", w->m->name);
	if (n % 2 != 0)
		return refuse(w, "a key without a value");
	for (size_t i = 0; i < n; i += 2)
		if (!fits(w, 'k', pairs[i]))
			return doubt(w, "a dict", "with such a key");
	return true;
}

static bool
check_build(struct weights *w, uint32_t target, uint32_t state)
{
	if (value_ordered(w->m->t, target) && type_of(w, state) == 'd')
		return true;
	if (strchr("Nbifsytldg", type_of(w, target)) == NULL || value_ordered(w->m->t, target))
		return doubt(w, "a state", "for such an object");
	return refuse(w, "Can only build Tensor, Parameter, OrderedDict or types allowlisted via `add_safe_globals`");
}

/* torch uses the first id of each key, so later ids must not contradict it. */
static bool
check_known(struct weights *w, uint32_t key)
{
	const struct str text = value_text(w->m->t, key);
	uint64_t at = w->stored_n;

	if (strmap_add(&w->keys, text, at))
		*xpush(w->stored, w->stored_n, w->stored_cap) = w->result;
	strmap_get(&w->keys, text, &at);
	w->leaf = (uint32_t)at;
	return (w->stored[at].numel == w->result.numel && w->stored[at].dtype == w->result.dtype) ||
	       doubt(w, "a persistent id", "that contradicts an earlier one");
}

/* Checks the id of a storage: "storage", class, key, device, number of elements. In the legacy format None follows. */
static bool
check_persid(struct weights *w, uint32_t id)
{
	const struct vtree *t = w->m->t;
	const size_t n = value_len(t, id), parts = w->legacy ? 6 : 5;
	uint64_t numel = 0;
	struct allowed a;

	if (type_of(w, id) == 't' && !str_eqc(value_text(t, value_item(t, id, 0)), "storage"))
		return refuse(w, "Only persistent_load of storage is allowed");
	if (type_of(w, id) == 't' && n != parts)
		return refuse(w, "a persistent id of %zu parts instead of %zu", n, parts);
	value_u64(t, value_item(t, id, 4), &numel);
	if (!match(w, w->legacy ? "'storage'GssuN" : "'storage'Gssu", id) || numel > INT64_MAX / 16)
		return doubt(w, "a persistent id", "with such parts");
	is_allowed(w, value_item(t, id, 1), &a);
	w->result = (struct made){ .type = 'S', .numel = numel, .dtype = a.dtype };
	return check_known(w, value_item(t, id, 2));
}

/* Refuses opcodes that the unpickler does not support. */
static bool
check_opcode(struct weights *w)
{
	static const uint8_t known[] = { OP_PROTO,           OP_STOP,        OP_MARK,       OP_TUPLE,       OP_TUPLE1,
					 OP_TUPLE2,          OP_TUPLE3,      OP_NONE,       OP_NEWFALSE,    OP_NEWTRUE,
					 OP_EMPTY_TUPLE,     OP_EMPTY_LIST,  OP_EMPTY_DICT, OP_EMPTY_SET,   OP_BININT,
					 OP_BININT1,         OP_BININT2,     OP_LONG1,      OP_BINFLOAT,    OP_BINUNICODE,
					 OP_SHORT_BINSTRING, OP_APPEND,      OP_APPENDS,    OP_SETITEM,     OP_SETITEMS,
					 OP_BINPUT,          OP_LONG_BINPUT, OP_BINGET,     OP_LONG_BINGET, OP_GLOBAL,
					 OP_REDUCE,          OP_NEWOBJ,      OP_BUILD,      OP_BINPERSID };
	const char *name = w->m->name;

	if (memchr(known, w->m->in.op, sizeof(known)) != NULL)
		return true;
	return refuse(w, "Unsupported operand %u%s%s%s", w->m->in.op, name ? " (" : "", name ? name : "", name ? ")" : "");
}

/* Checks an opcode before its execution. The machine itself reports a stack that is too short. */
static bool
check_before(struct weights *w, const struct pickle_machine *m)
{
	const uint8_t op = m->in.op;
	uint32_t pair[2], target;

	w->result = (struct made){ .type = 0 };
	pair[0] = top(w, 1);
	pair[1] = top(w, 0);
	target = op == OP_APPENDS || op == OP_SETITEMS ? below_mark(w)
		 : op == OP_SETITEM                    ? top(w, 2)
		 : op == OP_BINPERSID                  ? pair[1]
						       : pair[0];
	if (w->s->unknown || target == VALUE_ABSENT)
		return check_opcode(w);
	switch (op) {
	case OP_APPEND:
	case OP_APPENDS: return type_of(w, target) == 'l' || refuse(w, "Can only append to lists");
	case OP_SETITEM: return check_set_item(w, target, pair, 2);
	case OP_SETITEMS: return check_set_item(w, target, m->stack + m->fence, m->depth - m->fence);
	case OP_BUILD: return check_build(w, target, pair[1]);
	case OP_REDUCE: return call(w, target, pair[1]);
	case OP_NEWOBJ: return doubt(w, "an object", "made by NEWOBJ");
	case OP_BINPERSID: return check_persid(w, target);
	default: return check_opcode(w);
	}
}

/* ---- checks after an opcode */

static bool
check_global(struct weights *w, uint32_t h)
{
	struct allowed a;
	char path[GLOBAL_TEXT];

	if (is_allowed(w, h, &a))
		return true;
	global_path(value_module(w->m->t, h), value_name(w->m->t, h), path);
	return refuse(w, "GLOBAL %s was not an allowed global by default", path);
}

static bool
check_after(struct weights *w, struct pickle_machine *m)
{
	uint32_t *last = m->depth > m->fence ? &m->stack[m->depth - 1] : NULL;
	const char made = w->result.type;

	if (last == NULL)
		return true;
	if (made != 0 && strchr("deyY", made) == NULL)
		*last = value_new_leaf(m->t, LEAF_TENSOR,
				       made == 'S' ? w->leaf : LEAF_MADE | (uint32_t)w->result.dtype << 8 | (uint8_t)made);
	else if (made != 0 && type_of(w, *last) != made)
		return doubt(w, "a text", "in such an encoding");
	if (m->in.op == OP_GLOBAL)
		return check_global(w, *last);
	if (m->in.op == OP_SHORT_BINSTRING && !utf8_valid(value_text(m->t, *last)))
		return refuse(w, "a string that is not UTF-8");
	return true;
}

/* ---- the scan */

static void
before(void *arg, struct pickle_machine *m)
{
	struct weights *w = arg;

	w->m = m;
	w->computed = m->in.op == OP_STACK_GLOBAL && !(value_is_text(m->t, top(w, 0)) && value_is_text(m->t, top(w, 1)));
	m->passed_over[0] = '\0';
	if (w->judge)
		check_before(w, m);
}

/* Packages that are always available together with torch. */
static const char *const own[] = {
	"_codecs",    "_io",      "_operator", "argparse",  "array",     "builtins", "collections", "copy",      "copyreg",
	"datetime",   "decimal",  "enum",      "fractions", "functools", "inspect",  "io",          "itertools", "logging",
	"math",       "operator", "os",        "pathlib",   "pickle",    "posix",    "random",      "re",        "string",
	"subprocess", "sys",      "time",      "torch",     "types",     "typing",   "uuid",        "weakref",   "zoneinfo",
};

/* Notes a global that must be imported from elsewhere. Only the first few are listed. */
static void
note_import(struct pickle_scan *s, struct str module, struct str name)
{
	char path[GLOBAL_TEXT], *list = s->imports;
	struct str rest, package;
	const size_t used = strlen(list);

	pickle_rename(&module, &name, PICKLE_READS);
	rest = module;
	(void)str_split(&rest, '.', &package);
	s->nowhere = s->nowhere || str_eqc(package, "__torch__");
	if (str_in(package, own) || !global_path(module, name, path) || strstr(list, path) != NULL)
		return;
	if (used + strlen(path) + sizeof(", , ...") <= sizeof(s->imports))
		snprintf(list + used, sizeof(s->imports) - used, "%s%s", used > 0 ? ", " : "", path);
	else if (strstr(list, ", ...") == NULL && used + sizeof(", ...") <= sizeof(s->imports))
		memcpy(list + used, ", ...", sizeof(", ..."));
}

static int
report(struct weights *w, enum pickle_ref ref)
{
	const struct pickle_machine *m = w->m;
	struct pickle_found f = {
		value_module(m->t, m->named), value_name(m->t, m->named), m->in.op_off, GLOBAL_UNSAFE, ref, w->pickle
	};

	if (ref == REF_COMPUTED)
		f.module = f.name = str_n("", 0);
	else
		f.verdict = judge(f.module, f.name);
	if (ref != REF_COMPUTED && w->pickle == 0 && f.verdict >= GLOBAL_UNKNOWN)
		note_import(w->s, f.module, f.name);
	return w->s->found != NULL ? w->s->found(w->s->arg, &f, w->err) : 0;
}

static int
after(void *arg, struct pickle_machine *m)
{
	struct weights *w = arg;
	const uint8_t op = m->in.op;
	int rc = 0;

	if (op == OP_GLOBAL || op == OP_STACK_GLOBAL || op == OP_INST)
		rc = report(w, op == OP_GLOBAL ? REF_GLOBAL
			       : op == OP_INST ? REF_INST
			       : w->computed   ? REF_COMPUTED
					       : REF_STACK_GLOBAL);
	w->failed = rc < 0;
	/* These opcodes make torch fail where the lenient machine continued. */
	if (rc == 0 && w->judge && !w->s->unknown && m->passed_over[0] != '\0' &&
	    (op == OP_BINGET || op == OP_LONG_BINGET || op == OP_GLOBAL))
		refuse(w, "%s", m->passed_over);
	if (rc == 0 && w->judge)
		check_after(w, m);
	return rc;
}

/* Scans one pickle. place->end is its end, or where it breaks off. Returns 1 if it has a STOP, 0 if it is damaged, -1 on error. */
static int
scan_one(struct pickle_scan *s, struct pickle_place *place, unsigned number, struct err *err)
{
	struct vtree *t = vtree_new();
	struct weights w = { .s = s, .err = err, .pickle = number, .judge = number == 0, .legacy = s->legacy, .keys = STRMAP_INIT };
	struct pickle_hooks hooks = { .before = before, .after = after, .arg = &w, .lenient = true };
	uint32_t root;
	struct err damage = ERR_INIT;
	int rc;

	rc = pickle_decode(t, place, &hooks, &root, &damage) == 0;
	if (damage.code == ERR_SYSTEM)
		*err = damage;
	if (damage.code == ERR_SYSTEM || w.failed)
		rc = -1;
	if (rc == 0 && number == 0) {
		s->broken = true;
		snprintf(s->damage, sizeof(s->damage), "%.*s", (int)sizeof(s->damage) - 1, damage.msg);
	}
	if (rc == 0 && w.judge) {
		s->loads = s->unknown = false;
		s->why_off = place->end;
		memcpy(s->why, s->damage, sizeof(s->why));
	}
	free(w.stored);
	strmap_release(&w.keys);
	vtree_free(t);
	return rc;
}

/* Scans the bytes after the first pickle. Sets their number and the number of complete pickles at their start. */
static int
scan_rest(struct pickle_scan *s, struct source *src, uint64_t limit, struct err *err)
{
	struct pickle_place place = { .src = src, .off = s->end };
	int rc = 1;

	if (limit == UINT64_MAX && source_size(src, &limit, err) < 0)
		return -1;
	place.limit = limit;
	s->extra = limit > s->end ? limit - s->end : 0;
	while (rc == 1 && place.off < limit) {
		rc = scan_one(s, &place, s->more + 1, err);
		place.off = place.end;
		s->more += rc == 1;
	}
	return rc < 0 ? -1 : 0;
}

int
pickle_scan(struct pickle_scan *s, struct source *src, uint64_t off, uint64_t limit, struct err *err)
{
	struct pickle_place place = { .src = src, .off = off, .limit = limit };
	int rc;

	s->loads = true;
	s->unknown = s->broken = false;
	s->why[0] = s->damage[0] = '\0';
	s->why_off = s->extra = 0;
	s->more = 0;
	rc = scan_one(s, &place, 0, err);
	s->end = place.end;
	if (rc <= 0 || !s->rest)
		return rc < 0 ? -1 : 0;
	return scan_rest(s, src, limit, err);
}
