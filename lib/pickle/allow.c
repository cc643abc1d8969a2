#include "pickle/allow.h"

#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/*
 * What weights_only accepts: _get_allowed_globals() of torch/_weights_only_unpickler.py, as PyTorch 2.13 answers it
 * (144 names; 2.6 and later differ in single dtypes). tests/torch/test_pickle_scan.py holds this table against it.
 */
static const char *const callables[] = {
	"_codecs.encode",
	"builtins.bytearray",
	"builtins.complex",
	"builtins.set",
	"collections.Counter",
	"collections.OrderedDict",
	"torch.Size",
	"torch.device",
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
	"per_channel_affine",
	"per_channel_affine_float_qparams",
	"per_channel_symmetric",
	"per_tensor_affine",
	"per_tensor_symmetric",
};

struct element {
	const char *name;
	unsigned size;
	bool grad;
};

static const struct element dtypes[] = {
	{ "bfloat16", 2, true },
	{ "bits16", 2, false },
	{ "bits1x8", 1, false },
	{ "bits2x4", 1, false },
	{ "bits4x2", 1, false },
	{ "bits8", 1, false },
	{ "bool", 1, false },
	{ "complex128", 16, true },
	{ "complex32", 4, true },
	{ "complex64", 8, true },
	{ "float16", 2, true },
	{ "float32", 4, true },
	{ "float4_e2m1fn_x2", 1, true },
	{ "float64", 8, true },
	{ "float8_e4m3fn", 1, true },
	{ "float8_e4m3fnuz", 1, true },
	{ "float8_e5m2", 1, true },
	{ "float8_e5m2fnuz", 1, true },
	{ "float8_e8m0fnu", 1, true },
	{ "int1", 1, false },
	{ "int16", 2, false },
	{ "int2", 1, false },
	{ "int3", 1, false },
	{ "int32", 4, false },
	{ "int4", 1, false },
	{ "int5", 1, false },
	{ "int6", 1, false },
	{ "int64", 8, false },
	{ "int7", 1, false },
	{ "int8", 1, false },
	{ "qint32", 4, false },
	{ "qint8", 1, false },
	{ "quint2x4", 1, false },
	{ "quint4x2", 1, false },
	{ "quint8", 1, false },
	{ "uint1", 1, false },
	{ "uint16", 2, false },
	{ "uint2", 1, false },
	{ "uint3", 1, false },
	{ "uint32", 4, false },
	{ "uint4", 1, false },
	{ "uint5", 1, false },
	{ "uint6", 1, false },
	{ "uint64", 8, false },
	{ "uint7", 1, false },
	{ "uint8", 1, false },
};

/* torch.NAME; those up to the quantised ones also torch.cuda.NAME. */
enum { STORAGES_QUANTISED = 5 };
static const struct element storages[] = {
	{ "QInt32Storage", 4, false },
	{ "QInt8Storage", 1, false },
	{ "QUInt2x4Storage", 1, false },
	{ "QUInt4x2Storage", 1, false },
	{ "QUInt8Storage", 1, false },
	{ "BFloat16Storage", 2, true },
	{ "BoolStorage", 1, false },
	{ "ByteStorage", 1, false },
	{ "CharStorage", 1, false },
	{ "ComplexDoubleStorage", 16, true },
	{ "ComplexFloatStorage", 8, true },
	{ "DoubleStorage", 8, true },
	{ "FloatStorage", 4, true },
	{ "HalfStorage", 2, true },
	{ "IntStorage", 4, false },
	{ "LongStorage", 8, false },
	{ "ShortStorage", 2, false },
};

/* torch.NAME and torch.cuda.NAME; all but BoolTensor also in torch.sparse and torch.cuda.sparse. */
static const char *const tensors[] = {
	"BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "HalfTensor", "IntTensor",
	"LongTensor", "ShortTensor",
};

/* Never accepted, even if a program asks for it: _blocklisted_modules of the same file. */
static const char *const blocked[] = { "nt", "os", "posix", "sys" };

/* Accepted once a module of torch is imported: Unpickler.load of the same file. */
static const struct {
	const char *name, *import;
} imports[] = {
	{ "torch._dynamo.decorators._DimRange", "torch._dynamo" },
	{ "torch.distributed.device_mesh.DeviceMesh", "torch.distributed.tensor" },
	{ "torch.distributed.tensor.DTensor", "torch.distributed.tensor" },
	{ "torch.distributed.tensor._dtensor_spec.DTensorSpec", "torch.distributed.tensor" },
	{ "torch.distributed.tensor._dtensor_spec.TensorMeta", "torch.distributed.tensor" },
	{ "torch.distributed.tensor.placement_types.Partial", "torch.distributed.tensor" },
	{ "torch.distributed.tensor.placement_types.Replicate", "torch.distributed.tensor" },
	{ "torch.distributed.tensor.placement_types.Shard", "torch.distributed.tensor" },
	{ "torch.nested._internal.nested_tensor.NestedTensor", "torch.nested" },
	{ "torch.nested._internal.nested_tensor._rebuild_njt", "torch.nested" },
};

/* Python 2 names: NAME_MAPPING and IMPORT_MAPPING of torch/_utils.py. */
static const struct {
	const char *module, *name, *new_module, *new_name; /* name NULL: all others of the module */
} renamed[] = {
	{ "__builtin__", "basestring", "builtins", "str" },
	{ "__builtin__", "intern", "sys", "intern" },
	{ "__builtin__", "long", "builtins", "int" },
	{ "__builtin__", "reduce", "functools", "reduce" },
	{ "__builtin__", "unichr", "builtins", "chr" },
	{ "__builtin__", "unicode", "builtins", "str" },
	{ "__builtin__", "xrange", "builtins", "range" },
	{ "exceptions", "StandardError", "builtins", "Exception" },
	{ "itertools", "ifilter", "builtins", "filter" },
	{ "itertools", "ifilterfalse", "itertools", "filterfalse" },
	{ "itertools", "imap", "builtins", "map" },
	{ "itertools", "izip", "builtins", "zip" },
	{ "itertools", "izip_longest", "itertools", "zip_longest" },
	{ "UserDict", "IterableUserDict", "collections", "UserDict" },
	{ "Queue", NULL, "queue", NULL },
	{ "StringIO", NULL, "io", NULL },
	{ "UserDict", NULL, "collections", NULL },
	{ "UserList", NULL, "collections", NULL },
	{ "UserString", NULL, "collections", NULL },
	{ "__builtin__", NULL, "builtins", NULL },
	{ "_abcoll", NULL, "collections.abc", NULL },
	{ "cStringIO", NULL, "io", NULL },
	{ "copy_reg", NULL, "copyreg", NULL },
	{ "repr", NULL, "reprlib", NULL },
	{ "whichdb", NULL, "dbm", NULL },
};

/*
 * Modules with means to run code, reach the network or change files, with all below them: what picklescan, modelscan
 * and fickling flag.
 */
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

/* Single names, with their module as Python 3 has it. */
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

/* What is below a module of the list and yet plain data. */
static const char *const harmless[] = { "uuid.SafeUUID", "uuid.UUID" };

/* As a component of a dotted name: the module or name it leads to is reached through another one. */
static const char *const unsafe_parts[] = {
	"__base__", "__bases__", "__builtins__", "__class__", "__code__", "__dict__", "__func__", "__getattribute__",
	"__globals__", "__import__", "__init_subclass__", "__loader__", "__mro__", "__reduce__", "__reduce_ex__", "__self__",
	"__spec__", "__subclasses__", "builtins", "ctypes", "eval", "exec", "importlib", "nt", "os", "popen", "posix", "pty",
	"runpy", "shutil", "socket", "subprocess", "sys", "system",
};

/* ---- looking up */

static bool
listed(struct str s, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eqc(s, list[i]))
			return true;
	return false;
}

const char *
pickle_verdict_text(enum pickle_verdict v)
{
	static const char *const texts[] = { "tensor", "allowed", "unknown", "unsafe" };

	return texts[v];
}

static void
to_python3(struct str *module, struct str *name)
{
	for (size_t i = 0; i < COUNT(renamed); i++) {
		if (!str_eqc(*module, renamed[i].module) || (renamed[i].name != NULL && !str_eqc(*name, renamed[i].name)))
			continue;
		*module = str_c(renamed[i].new_module);
		if (renamed[i].new_name != NULL)
			*name = str_c(renamed[i].new_name);
		return;
	}
}

bool
pickle_python3(struct str module, struct str name, char *out)
{
	size_t n;

	to_python3(&module, &name);
	n = module.len + 1 + name.len;
	snprintf(out, PICKLE_GLOBAL_TEXT, "%.*s.%.*s", STR_ARG(module), STR_ARG(name));
	return n < PICKLE_GLOBAL_TEXT && strlen(out) == n;
}

/* The rest of *path behind prefix, if it begins so. */
static bool
behind(struct str path, const char *prefix, struct str *rest)
{
	if (!str_starts(path, str_c(prefix)))
		return false;
	*rest = str_from(path, strlen(prefix));
	return true;
}

static bool
found_element(struct str name, const struct element *list, size_t n, enum pickle_allowed_kind kind, struct pickle_allowed *a)
{
	for (size_t i = 0; i < n; i++) {
		if (!str_eqc(name, list[i].name))
			continue;
		*a = (struct pickle_allowed){ .kind = kind, .name = list[i].name, .size = list[i].size, .grad = list[i].grad };
		return true;
	}
	return false;
}

static bool
found_name(struct str path, const char *const *list, size_t n, enum pickle_allowed_kind kind, struct pickle_allowed *a)
{
	const char *dot;

	for (size_t i = 0; i < n; i++) {
		if (!str_eqc(path, list[i]))
			continue;
		dot = strrchr(list[i], '.');
		*a = (struct pickle_allowed){ .kind = kind, .name = dot != NULL ? dot + 1 : list[i] };
		return true;
	}
	return false;
}

/* path is what pickle_python3 made. */
static bool
allowed_path(struct str path, struct pickle_allowed *a)
{
	static const char *const one[] = { "torch.storage.UntypedStorage" };
	struct str rest;

	if (found_name(path, callables, COUNT(callables), ALLOWED_CALLABLE, a) ||
	    found_name(path, tensor_callables, COUNT(tensor_callables), ALLOWED_CALLABLE, a) ||
	    found_name(path, one, COUNT(one), ALLOWED_UNTYPED, a))
		return true;
	if (behind(path, "torch.cuda.sparse.", &rest) || behind(path, "torch.sparse.", &rest)) {
		bool here = !str_starts(path, str_c("torch.cuda."));

		return !str_eqc(rest, "BoolTensor") &&
		       found_name(rest, tensors, COUNT(tensors), here ? ALLOWED_TENSOR : ALLOWED_DEVICE, a);
	}
	if (behind(path, "torch.cuda.", &rest))
		return found_name(rest, tensors, COUNT(tensors), ALLOWED_DEVICE, a) ||
		       found_element(rest, storages + STORAGES_QUANTISED, COUNT(storages) - STORAGES_QUANTISED,
			       ALLOWED_STORAGE, a);
	return behind(path, "torch.", &rest) &&
	       (found_element(rest, storages, COUNT(storages), ALLOWED_STORAGE, a) ||
		       found_element(rest, dtypes, COUNT(dtypes), ALLOWED_DTYPE, a) ||
		       found_name(rest, tensors, COUNT(tensors), ALLOWED_TENSOR, a) ||
		       found_name(rest, constants, COUNT(constants), ALLOWED_CONSTANT, a));
}

bool
pickle_allowed(struct str module, struct str name, struct pickle_allowed *a)
{
	char path[PICKLE_GLOBAL_TEXT];
	bool whole = pickle_python3(module, name, path);

	*a = (struct pickle_allowed){ .kind = ALLOWED_NOT };
	to_python3(&module, &name);
	a->blocked = listed(module, blocked, COUNT(blocked));
	if (!whole || a->blocked || allowed_path(str_c(path), a))
		return a->kind != ALLOWED_NOT;
	for (size_t i = 0; i < COUNT(imports); i++)
		if (strcmp(path, imports[i].name) == 0)
			a->import = imports[i].import;
	return false;
}

/* ---- judging */

/* Is path, or what it begins with up to a dot, in the list? */
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
		if (listed(part, unsafe_parts, COUNT(unsafe_parts)))
			return true;
	return false;
}

static bool
unsafe(struct str module, struct str name)
{
	char path[PICKLE_GLOBAL_TEXT];

	/* Nobody has reason to give a thing of use a name this long, or one with control bytes. */
	if (!pickle_python3(module, name, path))
		return true;
	if (listed(str_c(path), harmless, COUNT(harmless)))
		return false;
	if (under(str_c(path), unsafe_modules, COUNT(unsafe_modules)) || under(str_c(path), unsafe_names, COUNT(unsafe_names)))
		return true;
	if (under(module, unsafe_modules, COUNT(unsafe_modules)))
		return true;
	/* A module or a name is itself; the way to others are dots. */
	return has_unsafe_part(module, true) || (memchr(name.p, '.', name.len) != NULL && has_unsafe_part(name, false));
}

enum pickle_verdict
pickle_verdict(struct str module, struct str name)
{
	struct pickle_allowed a;
	char path[PICKLE_GLOBAL_TEXT];

	if (pickle_allowed(module, name, &a)) {
		pickle_python3(module, name, path);
		return listed(str_c(path), callables, COUNT(callables)) ? GLOBAL_ALLOWED : GLOBAL_TENSOR;
	}
	return unsafe(module, name) ? GLOBAL_UNSAFE : GLOBAL_UNKNOWN;
}
