"""Pickles that are built opcode by opcode: benign, exotic and malicious. They are without PROTO at the begin and STOP at the end."""

import struct

import torch

def u(text):
    raw = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def g(path):
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def tup(*parts):
    return b"(" + b"".join(parts) + b"t"


def call(path, *args):
    return g(path) + tup(*args) + b"R"


def i(n):
    return b"J" + struct.pack("<i", n)


def storage(kind="torch.FloatStorage", key="0", numel=4, location="cpu"):
    return tup(u("storage"), g(kind), u(key), u(location), i(numel)) + b"Q"


def ints(*values):
    return tup(*map(i, values))


V2 = "torch._utils._rebuild_tensor_v2"
V3 = "torch._utils._rebuild_tensor_v3"
HOOKS = b"ccollections\nOrderedDict\n)R"


def tensor(store=None, offset=0, size=(4,), stride=(1,), grad=b"\x89", hooks=HOOKS, path=V2, rest=b""):
    store = storage() if store is None else store
    return g(path) + b"(" + store + i(offset) + ints(*size) + ints(*stride) + grad + hooks + rest + b"tR"


T = tensor()
LONG = tensor(storage("torch.LongStorage", "1", 2), 0, (2,))
UNTYPED = storage("torch.storage.UntypedStorage", "2", 16)
LONGS = tensor(storage("torch.LongStorage", "1", 2), 0, (2, 1), (1, 1))
LONGS3 = tensor(storage("torch.LongStorage", "1", 2), 0, (2,))
V2_ARGS = tup(storage(), i(0), ints(4), ints(1), b"\x89", HOOKS)
TYPED = "torch._tensor._rebuild_from_type_v2"
QUANTISED = "torch._utils._rebuild_qtensor"
QINTS = storage("torch.QInt8Storage", "0", 16)
AFFINE = tup(g("torch.per_tensor_affine"), b"G?\xf0\0\0\0\0\0\0", i(0))
SPARSE = "torch._utils._rebuild_sparse_tensor"
COO = call("torch.serialization._get_layout", u("torch.sparse_coo"))
AT = tensor(storage("torch.LongStorage", "1", 2), 0, (1, 2), (2, 1))
META = "torch._utils._rebuild_meta_tensor_no_storage"
ON_DEVICE = "torch._utils._rebuild_device_tensor_from_cpu_tensor"
NESTED = "torch._utils._rebuild_nested_tensor"
STATEFUL = "torch._utils._rebuild_parameter_with_state"
PARAMETER = "torch.nn.parameter.Parameter"


def by_hand():
    yield "tensor", T
    yield "dict of tensors", b"}(" + u("a") + T + u("b") + LONG + b"u"
    yield "views", tup(tensor(offset=1, size=(3,)), tensor(size=(2, 2), stride=(1, 2)), tensor(size=(9,), stride=(0,)))
    yield "no elements", tensor(size=(0, 5), stride=(5, 1), offset=100)
    yield "scalar", tensor(size=(), stride=(), offset=3)
    yield "outside the storage", tensor(size=(5,))
    yield "outside, by offset", tensor(offset=1)
    yield "outside, by stride", tensor(size=(2,), stride=(4,))
    yield "scalar outside", tensor(size=(), stride=(), offset=4)
    yield "ranks differ", tensor(size=(2, 2), stride=(1,))
    yield "no strides", tensor(size=(2, 2), stride=())
    yield "no strides, outside", tensor(size=(2, 3), stride=())
    yield "negative size", tensor(size=(-1,))
    yield "negative stride", tensor(stride=(-1,))
    yield "negative offset", tensor(offset=-1)
    yield "sizes as lists", g(V2) + b"(" + storage() + i(0) + b"](" + i(4) + b"e](" + i(1) + b"e\x89" + HOOKS + b"tR"
    yield "sizes as Size", g(V2) + b"(" + storage() + i(0) + call("torch.Size", ints(4)) + ints(1) + b"\x89" + HOOKS + b"tR"
    yield "sizes as text", g(V2) + b"(" + storage() + i(0) + u("4") + ints(1) + b"\x89" + HOOKS + b"tR"
    yield "requires_grad", tensor(grad=b"\x88")
    yield "requires_grad of integers", tensor(storage("torch.LongStorage", "1", 2), 0, (2,), grad=b"\x88")
    yield "requires_grad as a number", tensor(grad=b"K\x01")
    yield "hooks None", tensor(hooks=b"N")
    yield "metadata", tensor(storage("torch.ComplexFloatStorage", "0", 2), 0, (2,), rest=b"}" + u("conj") + b"\x88s")
    yield "metadata None", tensor(rest=b"N")
    yield "metadata, eight arguments", tensor(rest=b"NN")
    yield "five arguments", call(V2, storage(), i(0), ints(4), ints(1), b"\x89")
    yield "the oldest rebuild", call("torch._utils._rebuild_tensor", storage(), i(0), ints(4), ints(1))
    yield "rebuild without a storage", call(V2, i(1), i(0), ints(4), ints(1), b"\x89", HOOKS)
    yield "v3", tensor(UNTYPED, 0, (8,), path=V3, rest=g("torch.uint16"))
    yield "v3 outside", tensor(UNTYPED, 0, (9,), path=V3, rest=g("torch.uint16"))
    yield "v3 with metadata", tensor(UNTYPED, 0, (8,), path=V3, rest=g("torch.uint16") + b"}")
    yield "v3 without dtype", tensor(UNTYPED, 0, (8,), path=V3)
    yield "v3 with a text for dtype", tensor(UNTYPED, 0, (8,), path=V3, rest=u("uint16"))
    yield "v3 float8 with gradient", tensor(UNTYPED, 0, (8,), grad=b"\x88", path=V3, rest=g("torch.float8_e5m2"))
    yield "v3 uint16 with gradient", tensor(UNTYPED, 0, (8,), grad=b"\x88", path=V3, rest=g("torch.uint16"))
    yield "v3 of a typed storage", tensor(None, 0, (4,), path=V3, rest=g("torch.int32"))
    yield "parameter", call("torch._utils._rebuild_parameter", T, b"\x88", HOOKS)
    yield "parameter of integers", call("torch._utils._rebuild_parameter", LONG, b"\x88", HOOKS)
    yield "parameter of integers without gradient", call("torch._utils._rebuild_parameter", LONG, b"\x89", HOOKS)
    yield "parameter of nothing", call("torch._utils._rebuild_parameter", i(1), b"\x88", HOOKS)
    yield "parameter with state", call("torch._utils._rebuild_parameter_with_state", T, b"\x88", HOOKS, b"}" + u("a") + b"K\x01s")
    yield "parameter with a bad state", call("torch._utils._rebuild_parameter_with_state", T, b"\x88", HOOKS, i(1))
    yield "Parameter called", call("torch.nn.parameter.Parameter", T, b"\x88")
    yield "Parameter of integers", call("torch.nn.parameter.Parameter", LONG)
    yield "Parameter by NEWOBJ", g("torch.nn.parameter.Parameter") + T + b"\x85\x81"
    yield "Parameter of nothing", g("torch.nn.parameter.Parameter") + b")R"
    yield "from type", call("torch._tensor._rebuild_from_type_v2", g(V2), g("torch.Tensor"),
                            tup(storage(), i(0), ints(4), ints(1), b"\x89", HOOKS), b"}" + u("a") + b"K\x01s")
    yield "from type, Parameter", call("torch._tensor._rebuild_from_type_v2", g(V2), g("torch.nn.parameter.Parameter"),
                                       tup(storage(), i(0), ints(4), ints(1), b"\x89", HOOKS), b"N")
    yield "from type, slots", call("torch._tensor._rebuild_from_type_v2", g(V2), g("torch.Tensor"),
                                   tup(storage(), i(0), ints(4), ints(1), b"\x89", HOOKS), tup(b"}", b"}"))
    yield "from type, old module", call("torch.tensor._rebuild_from_type_v2", g(V2), g("torch.Tensor"), b")", b"N")
    yield "meta", call("torch._utils._rebuild_meta_tensor_no_storage", g("torch.float32"), ints(2, 3), ints(3, 1), b"\x89")
    yield "meta, ranks differ", (
        call("torch._utils._rebuild_meta_tensor_no_storage", g("torch.float32"), ints(2, 3), ints(1), b"\x89"))
    yield "layout", call("torch.serialization._get_layout", u("torch.sparse_coo"))
    yield "layout unknown", call("torch.serialization._get_layout", u("torch.dense"))
    yield "device from CPU", call("torch._utils._rebuild_device_tensor_from_cpu_tensor", T, g("torch.float16"), u("cpu"), b"\x89")
    yield "device from numpy", call("torch._utils._rebuild_device_tensor_from_numpy", T, g("torch.float16"), u("cpu"), b"\x89")
    yield "wrapper subclass", call("torch._utils._rebuild_wrapper_subclass", g("torch.Tensor"), g("torch.float32"), ints(1),
                                   ints(1), i(0), call("torch.serialization._get_layout", u("torch.strided")), u("cpu"), b"\x89")
    yield "xla", call("torch._utils._rebuild_xla_tensor", T, g("torch.float16"), u("cpu"), b"\x89")
    yield "csr of 1.13", call("torch._utils._rebuild_sparse_csr_tensor", T, T)
    yield "old FloatTensor", g("torch.FloatTensor") + b")R" + tup(storage(), i(0), ints(4), ints(1)) + b"b"
    yield "old FloatTensor by NEWOBJ", g("torch.FloatTensor") + b")\x81" + tup(storage(), i(0), ints(4), ints(1)) + b"b"
    yield "FloatTensor", g("torch.FloatTensor") + b")R"
    yield "Tensor", g("torch.Tensor") + b")R"
    yield "Tensor by NEWOBJ", g("torch.Tensor") + b")\x81"
    yield "cuda tensor class", g("torch.cuda.FloatTensor") + b")R"
    yield "cuda storage class", tensor(storage("torch.cuda.FloatStorage"))
    yield "BUILD a tensor wrongly", T + b"}b"
    yield "BUILD a parameter", (
        call("torch._utils._rebuild_parameter", T, b"\x89", HOOKS) + tup(storage(), i(0), ints(2), ints(1)) + b"b")

    yield "id of five, storage class by text", tup(u("storage"), u("FloatStorage"), u("0"), u("cpu"), i(4)) + b"Q"
    yield "id with a dtype", tup(u("storage"), g("torch.float32"), u("0"), u("cpu"), i(4)) + b"Q"
    yield "id with an unknown class", tup(u("storage"), g("os.FloatStorage"), u("0"), u("cpu"), i(4)) + b"Q"
    yield "id of bytes", tup(b"U\x07storage", g("torch.FloatStorage"), b"U\x010", b"U\x03cpu", i(4)) + b"Q"
    yield "id with key 0", tup(u("storage"), g("torch.FloatStorage"), i(0), u("cpu"), i(4)) + b"Q"
    yield "id with a list for key", tup(u("storage"), g("torch.FloatStorage"), b"]", u("cpu"), i(4)) + b"Q"
    yield "id of a module", tup(u("module"), g("torch.FloatStorage"), u("0"), u("cpu")) + b"Q"
    yield "id of four", tup(u("storage"), g("torch.FloatStorage"), u("0"), u("cpu")) + b"Q"
    yield "id of six", tup(u("storage"), g("torch.FloatStorage"), u("0"), u("cpu"), i(4), b"N") + b"Q"
    yield "id of none", b")Q"
    yield "id with a negative count", storage(numel=-1)
    yield "id as a list", b"](" + u("storage") + b"eQ"
    yield "id as a number", b"K\x01Q"
    yield "id as a text", u("storage") + b"Q"
    yield "id in a line", b"P0\n"
    yield "tensor of a storage whose key is a number", tensor(
        tup(u("storage"), g("torch.FloatStorage"), i(0), u("cpu"), i(4)) + b"Q")
    yield "storage alone", storage()
    yield "empty storage", tensor(storage("torch.FloatStorage", "empty", 0), 0, (0,))
    yield "storage by memo", storage() + b"q\x000" + tup(tensor(b"h\x00"), tensor(b"h\x00"))

    yield "bytes", call("_codecs.encode", u("a\xff"), u("latin1"))
    yield "bytes, beyond Latin-1", call("_codecs.encode", u("€"), u("latin1"))
    yield "bytes, UTF-8", call("_codecs.encode", u("€"), u("utf-8"))
    yield "bytes, UTF-8 of a surrogate", call("_codecs.encode", u("\ud800"), u("utf-8"))
    yield "bytes, default", call("_codecs.encode", u("€"))
    yield "bytes, unknown encoding", call("_codecs.encode", u("a"), u("nonsense"))
    yield "bytes, empty, our way", call("_codecs.encode", u(""), u("latin1"))
    yield "bytes, empty, CPython's way", g("__builtin__.bytes") + b")R"
    yield "bytes of bytes", call("_codecs.encode", call("_codecs.encode", u("a"), u("latin1")), u("latin1"))
    yield "bytearray", call("__builtin__.bytearray", u("a\xff"), u("latin-1"))
    yield "bytearray of bytes", call("builtins.bytearray", call("_codecs.encode", u("a"), u("latin1")))
    yield "bytearray of a text", call("builtins.bytearray", u("a"))
    yield "bytearray of a number", call("builtins.bytearray", i(3))
    yield "bytearray of numbers", call("builtins.bytearray", ints(1, 255))
    yield "bytearray of large numbers", call("builtins.bytearray", ints(1, 256))
    yield "set", call("__builtin__.set", b"](K\x01K\x02e")
    yield "set of lists", call("__builtin__.set", b"]]a")
    yield "set of tuples of lists", call("__builtin__.set", b"]]\x85a")
    yield "set of a number", call("__builtin__.set", i(1))
    yield "set by NEWOBJ", g("builtins.set") + b"]K\x01a\x85\x81"
    yield "empty set by opcode", b"\x8f"
    yield "set by opcodes", b"\x8f(K\x01\x90"
    yield "frozenset by opcode", b"(K\x01\x91"
    yield "frozenset", call("__builtin__.frozenset", b"]")
    yield "complex", call("__builtin__.complex", b"G?\xf0\0\0\0\0\0\0", b"K\x01")
    yield "complex of floats", call("__builtin__.complex", b"G?\xf0\0\0\0\0\0\0", b"G" + bytes(8))
    yield "complex of a list", call("__builtin__.complex", b"]")
    yield "Size", call("torch.Size", ints(1, 2))
    yield "Size of texts", call("torch.Size", tup(u("a")))
    yield "Size of nothing", g("torch.Size") + b")R"
    yield "device", tup(call("torch.device", u("cpu")), call("torch.device", u("cuda"), i(1)), call("torch.device", u("cuda:3")))
    yield "device of two parts", tup(call("torch.device", u("cpu")), call("torch.device", u("cuda"), i(1)))
    yield "device unknown", call("torch.device", u("toaster"))
    yield "device, bad index", call("torch.device", u("cuda:x"))
    yield "OrderedDict of pairs", call("collections.OrderedDict", b"](" + tup(u("a"), i(1)) + b"](" + u("b") + i(2) + b"ee")
    yield "OrderedDict of a dict", call("collections.OrderedDict", b"}" + u("a") + b"K\x01s") + u("b") + b"K\x01s"
    yield "OrderedDict of a number", call("collections.OrderedDict", i(1))
    yield "OrderedDict of singles", call("collections.OrderedDict", b"](" + tup(u("a")) + b"e")
    yield "OrderedDict with a list for key", call("collections.OrderedDict", b"]" + tup(b"]", i(1)) + b"a")
    yield "OrderedDict by NEWOBJ", g("collections.OrderedDict") + b")\x81" + u("a") + b"K\x01s"
    yield "OrderedDict with state", HOOKS + b"}" + u("_metadata") + b"}sb"
    yield "OrderedDict with a number for state", HOOKS + b"K\x01b"
    yield "OrderedDict with None for state", HOOKS + b"Nb"
    yield "Counter", call("collections.Counter", b"}" + u("a") + b"K\x02s") + u("b") + b"K\x01s"
    yield "Counter of a list", call("collections.Counter", b"](K\x01K\x01e")
    yield "Counter of lists", call("collections.Counter", b"]]a")
    yield "Counter with state", g("collections.Counter") + b")R}" + u("x") + b"K\x01sb"
    yield "Counter by NEWOBJ", g("collections.Counter") + b")\x81"
    yield "set with state", g("builtins.set") + b")R}" + u("x") + b"K\x01sb"
    yield "set with an empty state", g("builtins.set") + b")R}b"
    yield "complex with state", g("builtins.complex") + b")RNb"

    yield "APPEND to a tuple", b")K\x01a"
    yield "APPEND to a set", b"\x8fK\x01a"
    yield "APPENDS to a dict", b"}(K\x01e"
    yield "APPENDS to a Counter", g("collections.Counter") + b")R(K\x01e"
    yield "SETITEM of a list", b"]K\x00K\x01s"
    yield "SETITEMS of a tuple", b")(K\x00K\x01u"
    yield "SETITEM with a list for key", b"}]K\x01s"
    yield "SETITEM with a dict in a tuple for key", b"}}\x85K\x01s"
    yield "SETITEM with a tensor for key", b"}" + T + b"K\x01s"
    yield "SETITEMS with an odd count", b"}(K\x01K\x02K\x03u"
    yield "BUILD of a list", b"]}b"
    yield "BUILD of a dict", b"}}b"
    yield "BUILD of a class", g("collections.OrderedDict") + b"}b"
    yield "BUILD of a bytearray", g("builtins.bytearray") + b")R}" + u("x") + b"K\x01sb"
    yield "BUILD of a device", call("torch.device", u("cpu")) + b"}" + u("x") + b"K\x01sb"
    yield "NEWOBJ of a function", g("_codecs.encode") + b")\x81"
    yield "NEWOBJ of a dtype", g("torch.float32") + b")\x81"
    yield "NEWOBJ of a text", u("x") + b")\x81"
    yield "REDUCE of a dtype", g("torch.float32") + b")R"
    yield "REDUCE of a storage class", g("torch.FloatStorage") + b")R"
    yield "REDUCE of a text", u("os.system") + tup(u("true")) + b"R"
    yield "REDUCE of a tensor", T + b")R"
    yield "REDUCE with a list", g("builtins.set") + b"]R"
    yield "REDUCE with an empty dict", g("builtins.set") + b"}R"
    yield "REDUCE with an empty text", g("builtins.set") + u("") + b"R"
    yield "REDUCE with an empty set", g("builtins.set") + b"\x8fR"
    yield "REDUCE with None", g("builtins.set") + b"NR"
    yield "NEWOBJ with an empty dict", g("builtins.set") + b"}\x81"
    yield "REDUCE with a number", g("builtins.set") + b"K\x01R"
    yield "REDUCE of a result", g("builtins.set") + b")R)R"

    yield "memo missing", b"h\x07"
    yield "memo far out", b"K\x01r\xff\xff\xff\x7f0j\xff\xff\xff\x7f"
    yield "memo by text", b"K\x01p0\n"
    yield "MEMOIZE", b"K\x01\x94"
    yield "a mark on top at the end", b"K\x01("
    yield "a mark below", b"(K\x01"
    yield "more on the stack", b"K\x01K\x02K\x03"
    yield "nothing on the stack", b""
    yield "TUPLE without mark", b"K\x01t"
    yield "TUPLE2 of one", b"K\x01\x86"
    yield "TUPLE2 across a mark", b"K\x01(K\x02\x86"
    yield "APPENDS without mark", b"]e"
    yield "PUT of nothing", b"q\x00"
    yield "POP", b"K\x01K\x020"
    yield "POP_MARK", b"K\x01(K\x021"
    yield "DUP", b"K\x012\x86"
    yield "INT", b"I1\n"
    yield "LONG", b"L1L\n"
    yield "FLOAT", b"F1.5\n"
    yield "STRING", b"S'a'\n"
    yield "UNICODE", b"Va\n"
    yield "BINSTRING", b"T\x01\0\0\0a"
    yield "SHORT_BINSTRING", b"U\x01a"
    yield "SHORT_BINSTRING, not UTF-8", b"U\x01\xff"
    yield "SHORT_BINSTRING, Latin-1 text", b"U\x02\xc3\xa9"
    yield "BINUNICODE, not UTF-8", b"X\x01\0\0\0\xff"
    yield "BINUNICODE, surrogate", u("\ud800")
    yield "SHORT_BINUNICODE", b"\x8c\x01a"
    yield "BINUNICODE8", b"\x8d\x01\0\0\0\0\0\0\0a"
    yield "SHORT_BINBYTES", b"C\x01a"
    yield "BINBYTES", b"B\x01\0\0\0a"
    yield "BYTEARRAY8", b"\x96\x01\0\0\0\0\0\0\0a"
    yield "LONG1", b"\x8a\x09" + bytes(8) + b"\x01"
    yield "LONG4", b"\x8b\x01\0\0\0\x01"
    yield "LIST, DICT by mark", tup(b"(l", b"(d")
    yield "EXT1", b"\x82\x01"
    yield "NEXT_BUFFER", b"\x97"
    yield "FRAME", b"\x95\x02" + bytes(7) + b"N"
    yield "PROTO 9", b"\x80\x09N"
    yield "unknown opcode", b"\xff"
    yield "PERSID and all that", b"Px\n0N"

    yield "os.system", call("os.system", u("true"))
    yield "posix.system", call("posix.system", u("true"))
    yield "nt.system", call("nt.system", u("true"))
    yield "sys.modules", g("sys.modules")
    yield "eval", call("__builtin__.eval", u("1"))
    yield "exec, Python 3", call("builtins.exec", u("1"))
    yield "getattr", call("builtins.getattr", g("torch.Tensor"), u("numpy"))
    yield "apply", call("__builtin__.apply", g("os.system"), b"]")
    yield "intern", g("__builtin__.intern")
    yield "subprocess", call("subprocess.Popen", u("true"))
    yield "torch.load", call("torch.load", u("x"))
    yield "torch.hub", call("torch.hub.load", u("x"), u("y"))
    yield "runpy", call("runpy._run_code", u("x"), b"}")
    yield "a global nobody calls", g("os.system") + b"0N"
    yield "dotted name", b"ctorch.serialization\nos.system\n" + tup(u("true")) + b"R"
    yield "dotted name of an allowed one", b"ctorch\nnn.parameter.Parameter\n" + tup(T) + b"R"
    yield "Storage in the name", b"cos\nsystemStorage\n"
    yield "INST", b"(" + u("true") + b"ios\nsystem\n"
    yield "OBJ", b"(" + g("os.system") + u("true") + b"o"
    yield "STACK_GLOBAL", b"\x8c\x02os\x8c\x06system\x93" + tup(u("true")) + b"R"
    yield "STACK_GLOBAL, computed", call("_codecs.encode", u("os"), u("latin1")) + u("system") + b"\x93"
    yield "names with NUL", b"cos\0\nsystem\n"
    yield "names that are not UTF-8", b"c\xff\nx\n"
    yield "no name", b"c\n\n"
    yield "long name", b"c" + b"m" * 600 + b"\nn\n"
    yield "after a damaged text", b"X\x01\0\0\0\xff" + g("os.system")
    yield "NEWOBJ_EX", g("collections.OrderedDict") + b")}\x92"
    yield "DTensor", g("torch.distributed.tensor.DTensor")
    yield "a range of dynamo's", g("torch._dynamo.decorators._DimRange")
    yield "torch.memory_format", g("torch.contiguous_format")
    yield "all dtypes", tup(*(g(str(d)) for d in vars(torch).values() if isinstance(d, torch.dtype)))

    yield from unusual_calls()


def unusual_calls():
    """Calls that torch.save never writes: its functions with arguments of all kinds."""
    yield "storage class by NEWOBJ", g("torch.FloatStorage") + b")\x81"
    yield "from type, of its kind", call(
        TYPED, g(TYPED), g("torch.Tensor"), tup(g(V2), g("torch.Tensor"), V2_ARGS, b"N"), b"N")
    yield "from type, of its kind by another spelling", call(
        TYPED, b"ctorch\n_tensor._rebuild_from_type_v2\n", g("torch.Tensor"), tup(g(V2), g("torch.Tensor"), V2_ARGS, b"N"), b"N")
    yield "from type, three arguments", call(TYPED, g(V2), g("torch.Tensor"), V2_ARGS)
    yield "from type, a text for the function", call(TYPED, u(V2), g("torch.Tensor"), V2_ARGS, b"N")
    yield "from type, of a set", call(TYPED, g("builtins.set"), g("torch.Tensor"), b")", b"N")
    yield "from type, outside the storage", call(
        TYPED, g(V2), g("torch.Tensor"), tup(storage(), i(0), ints(5), ints(1), b"\x89", HOOKS), b"N")
    yield "from type, another type", call(TYPED, g(V2), g("collections.OrderedDict"), V2_ARGS, b"N")
    yield "from type, a number for state", call(TYPED, g(V2), g("torch.Tensor"), V2_ARGS, i(1))
    for what, function, args in (
        ("the oldest rebuild", "torch._utils._rebuild_tensor", tup(storage(), i(0), ints(4), ints(1))),
        ("v3", V3, tup(UNTYPED, i(0), ints(8), ints(1), b"\x89", HOOKS, g("torch.uint16"))),
        ("Parameter", PARAMETER, tup(T, b"\x88")),
        ("Parameter of one", PARAMETER, tup(T)),
        ("a parameter", "torch._utils._rebuild_parameter", tup(T, b"\x89", HOOKS)),
        ("a stateful parameter", STATEFUL, tup(T, b"\x88", HOOKS, b"}" + u("b") + b"K\x01s")),
        ("a quantised tensor", QUANTISED, tup(QINTS, i(0), ints(4), ints(1), AFFINE, b"\x89", HOOKS)),
    ):
        for kind in ("torch.Tensor", PARAMETER):
            yield f"from type {kind}, {what}", call(TYPED, g(function), g(kind), args, b"}" + u("a") + b"K\x01s")
    yield "a stateful parameter of a parameter", call(
        STATEFUL,
        call(STATEFUL, call("torch._utils._rebuild_parameter", T, b"\x89", HOOKS), b"\x89", HOOKS, b"}" + u("a") + b"K\x01s"),
        b"\x88", HOOKS, b"}" + u("b") + b"K\x01s")
    yield "a parameter of what is from a type", call("torch._utils._rebuild_parameter", call(
        TYPED, g(V2), g("torch.Tensor"), V2_ARGS, b"}" + u("a") + b"K\x01s"), b"\x88", HOOKS)
    yield "device from CPU, of its dtype", call(ON_DEVICE, T, g("torch.float32"), u("cpu"), b"\x89")
    yield "nested", call(NESTED, T, LONGS, LONGS, LONGS3)
    yield "nested of numbers", call(NESTED, T, i(1), i(1), i(1))
    yield "nested of three", call(NESTED, T, T, T)
    yield "device from CPU, three arguments", call(ON_DEVICE, T, g("torch.float16"), u("cpu"))
    yield "device from CPU, no dtype", call(ON_DEVICE, T, u("float16"), u("cpu"), b"\x89")
    yield "device from CPU, integers with gradient", call(
        ON_DEVICE, T, g("torch.int16"), u("cpu"), b"\x88")
    yield "device from CPU, gradient", call(
        ON_DEVICE, T, g("torch.float16"), u("cpu"), b"\x88")
    yield "meta, no dtype", call(META, u("float32"), ints(2), ints(1), b"\x89")
    yield "meta, a number for gradient", call(META, g("torch.float32"), ints(2), ints(1), i(1))
    yield "meta, integers with gradient", call(META, g("torch.int32"), ints(2), ints(1), b"\x88")
    yield "meta, gradient", call(META, g("torch.float32"), ints(2), ints(1), b"\x88")
    yield "meta, sizes of Size", call(META, g("torch.float32"), call("torch.Size", ints(2)), ints(1), b"\x89")
    yield "meta, Size of another rank", call(META, g("torch.float32"), call("torch.Size", ints()), ints(1), b"\x89")
    yield "meta, strides as Size of another rank", call(META, g("torch.float32"), ints(2), call("torch.Size", ints(1, 1)), b"\x89")
    yield "meta, negative Size", call(META, g("torch.float32"), call("torch.Size", ints(-1)), ints(1), b"\x89")
    yield "Size outside the storage", g(V2) + b"(" + storage() + i(0) + call("torch.Size", ints(5)) + ints(1) + b"\x89" + HOOKS + b"tR"
    yield "Size of a Size outside the storage", (
        g(V2) + b"(" + storage() + i(0) + call("torch.Size", call("torch.Size", ints(5))) + ints(1) + b"\x89" + HOOKS + b"tR")
    # The list grows after the call.
    yield "Size of a list", (
        b"(]q\x50K\x02a" + call("torch.Size", b"h\x50") + b"q\x51h\x50K\x09a" + g(V2) + b"(" + storage() + i(0) + b"h\x51" + ints(1) +
        b"\x89" + HOOKS + b"tRt")
    yield "Size of a list, outside the storage", (
        b"(]q\x50K\x05a" + call("torch.Size", b"h\x50") + b"q\x51" + g(V2) + b"(" + storage() + i(0) + b"h\x51" + ints(1) +
        b"\x89" + HOOKS + b"tRt")
    yield "quantised", call(QUANTISED, QINTS, i(0), ints(4), ints(1), AFFINE, b"\x89", HOOKS)
    yield "quantised, outside", call(QUANTISED, QINTS, i(13), ints(4), ints(1), AFFINE, b"\x89", HOOKS)
    yield "quantised, gradient", call(QUANTISED, QINTS, i(0), ints(4), ints(1), AFFINE, b"\x88", HOOKS)
    yield "quantised, six arguments", call(QUANTISED, QINTS, i(0), ints(4), ints(1), AFFINE, b"\x89")
    yield "quantised by channel", call(
        QUANTISED, QINTS, i(0), ints(2), ints(1),
        tup(g("torch.per_channel_affine"), tensor(storage("torch.DoubleStorage", "2", 2), 0, (2,)), LONG, i(0)), b"\x89", HOOKS)
    yield "quantised, a text for the scheme", call(
        QUANTISED, QINTS, i(0), ints(4), ints(1), tup(u("affine"), b"G?\xf0\0\0\0\0\0\0", i(0)), b"\x89", HOOKS)
    yield "sparse", call(SPARSE, COO, tup(AT, tensor(size=(2,)), call("torch.Size", ints(4))))
    yield "sparse, coalesced", call(SPARSE, COO, tup(AT, tensor(size=(2,)), call("torch.Size", ints(4)), b"\x89"))
    yield "sparse of numbers", call(SPARSE, COO, tup(i(1), i(2), ints(4)))
    yield "sparse of two", call(SPARSE, COO, tup(T, T))
    yield "sparse, a text for the layout", call(SPARSE, u("torch.sparse_coo"), tup(T, T, ints(4)))
    yield "sparse, one argument", call(SPARSE, COO)
    yield "layout of a number", call("torch.serialization._get_layout", i(1))
    yield "layout of two", call("torch.serialization._get_layout", u("torch.strided"), u("torch.strided"))
    yield "Parameter of None", call(PARAMETER, b"N")
    yield "Parameter, a number for gradient", call(PARAMETER, T, i(1))
    yield "Parameter, three arguments", call(PARAMETER, T, b"\x88", b"N")
    yield "parameter, two arguments", call("torch._utils._rebuild_parameter", T, b"\x88")
    yield "parameter with two states", call(STATEFUL, T, b"\x88", HOOKS, tup(b"}", b"}"))
    yield "parameter with three states", call(STATEFUL, T, b"\x88", HOOKS, tup(b"}", b"}", b"}"))
    yield "parameter with state None", call(STATEFUL, T, b"\x88", HOOKS, b"N")
    yield "parameter of a parameter", call("torch._utils._rebuild_parameter", call(PARAMETER, T), b"\x88", HOOKS)
    yield "metadata, a number", tensor(rest=i(1))
    yield "metadata, conj of floats", tensor(rest=b"}" + u("conj") + b"\x88s")
    yield "metadata, neg of floats", tensor(rest=b"}" + u("neg") + b"\x88s")
    yield "metadata, unknown key", tensor(rest=b"}" + u("x") + b"\x88s")
    yield "metadata, a number for key", tensor(rest=b"}K\x01\x88s")
    yield "metadata, empty", tensor(rest=b"}")
    yield "offset as a text", g(V2) + b"(" + storage() + u("0") + ints(4) + ints(1) + b"\x89" + HOOKS + b"tR"
    yield "offset beyond 64 bits", (
        g(V2) + b"(" + storage() + b"\x8a\x09" + bytes(8) + b"\x01" + ints(4) + ints(1) + b"\x89" + HOOKS + b"tR")
    yield "a size beyond 64 bits", (
        g(V2) + b"(" + storage() + i(0) + b"\x8a\x09" + bytes(8) + b"\x01\x85" + ints(1) + b"\x89" + HOOKS + b"tR")
    yield "sizes whose product overflows", (
        g(V2) + b"(" + storage() + i(0) + (b"\x8a\x05" + bytes(4) + b"\x01") * 2 + b"\x86" + ints(0, 0) + b"\x89" + HOOKS + b"tR")
    yield "strides whose product overflows", (
        g(V2) + b"(" + storage() + i(0) + ints(4) + b"\x8a\x08" + bytes(7) + b"\x40\x85\x89" + HOOKS + b"tR")
    yield "a size that is True", g(V2) + b"(" + storage() + i(0) + b"\x88\x85" + ints(1) + b"\x89" + HOOKS + b"tR"
    yield "an offset that is True", g(V2) + b"(" + storage() + b"\x88" + ints(2) + ints(1) + b"\x89" + HOOKS + b"tR"
    for kind in ("Double", "Half", "BFloat16", "Long", "Bool"):
        yield f"{kind}Tensor as a parameter", call(PARAMETER, g(f"torch.{kind}Tensor") + b")R")
    yield "sparse tensor class", g("torch.sparse.FloatTensor") + b")R"
    yield "old FloatTensor, outside", g("torch.FloatTensor") + b")R" + tup(storage(), i(0), ints(5), ints(1)) + b"b"
    yield "old FloatTensor, a number for state", g("torch.FloatTensor") + b")RK\x01b"
    yield "old FloatTensor, no state", g("torch.FloatTensor") + b")R)b"
    yield "old FloatTensor, None for state", g("torch.FloatTensor") + b")RNb"
    yield "device of nothing", g("torch.device") + b")R"
    yield "device of a number", call("torch.device", i(0))
    yield "device by NEWOBJ", g("torch.device") + u("cpu") + b"\x85\x81"
    yield "device, leading zero", call("torch.device", u("cuda:01"))
    yield "device, no index", call("torch.device", u("cuda:"))
    yield "device, index 127", call("torch.device", u("cuda:127"))
    yield "device, two indices", call("torch.device", u("cuda:1"), i(1))
    yield "device, index -1", call("torch.device", u("cuda"), i(-1))
    yield "device, three arguments", call("torch.device", u("cuda"), i(1), i(1))
    yield "device with no state", call("torch.device", u("cpu")) + b"}b"
    yield "Size of bools", call("torch.Size", b"\x88\x85")
    yield "Size of a Size", call("torch.Size", call("torch.Size", ints(1)))
    yield "Size of two", call("torch.Size", ints(1), ints(1))
    yield "Size by NEWOBJ", g("torch.Size") + ints(1, 2) + b"\x85\x81"
    yield "Size of negative numbers", call("torch.Size", ints(-1))
    yield "Size with a state", call("torch.Size", ints(1)) + b"}" + u("x") + b"K\x01sb"
    yield "complex by NEWOBJ", g("builtins.complex") + b"K\x01\x85\x81"
    yield "complex of three", call("builtins.complex", i(1), i(1), i(1))
    yield "complex of nothing", g("builtins.complex") + b")R"
    yield "complex, a list for the second", call("builtins.complex", i(1), b"]")
    yield "complex of complex", call("builtins.complex", call("builtins.complex", i(1), i(2)), b"\x88")
    yield "bytearray by NEWOBJ", g("builtins.bytearray") + u("x") + b"\x85\x81"
    yield "bytearray of nothing", g("builtins.bytearray") + b")R"
    yield "bytearray of a bytearray", call("builtins.bytearray", g("builtins.bytearray") + b")R")
    yield "bytearray of a negative number", call("builtins.bytearray", i(-1))
    yield "bytearray of bools", call("builtins.bytearray", b"\x88\x89\x86")
    yield "bytearray of texts", call("builtins.bytearray", u("a") + b"\x85")
    yield "bytearray, ASCII", call("builtins.bytearray", u("a"), u("ascii"), u("strict"))
    yield "bytearray, not ASCII", call("builtins.bytearray", u("é"), u("ASCII"))
    yield "bytearray, a number for the errors", call("builtins.bytearray", u("a"), u("ascii"), i(1))
    yield "encode of nothing", g("_codecs.encode") + b")R"
    yield "encode, four arguments", call("_codecs.encode", u("a"), u("ascii"), u("strict"), i(1))
    yield "encode, a number for the encoding", call("_codecs.encode", u("a"), i(1))
    yield "encode, errors", call("_codecs.encode", u("a"), u("iso-8859-1"), u("strict"))
    yield "encode of a text that ends as a surrogate begins", call("_codecs.encode", u("\uffff"), u("utf8"))
    yield "Counter of nothing", g("collections.Counter") + b")R"
    yield "Counter of an OrderedDict", call("collections.Counter", HOOKS)
    yield "Counter of a Counter", call("collections.Counter", g("collections.Counter") + b")R")
    yield "Counter of a text", call("collections.Counter", u("aab"))
    yield "Counter of a text in bytes", call("collections.Counter", call("_codecs.encode", u("a"), u("latin1")))
    yield "Counter of None", call("collections.Counter", b"N")
    yield "Counter of a number", call("collections.Counter", i(1))
    yield "Counter of a set", call("collections.Counter", call("builtins.set", b"]K\x01a"))
    yield "Counter of two", call("collections.Counter", b"]", b"]")
    yield "Counter with a number for state", g("collections.Counter") + b")RK\x01b"
    yield "Counter with an empty state", g("collections.Counter") + b")R]b"
    yield "set of a dict", call("builtins.set", b"}K\x01K\x02s")
    yield "set of an OrderedDict", call("builtins.set", HOOKS)
    yield "set of a Counter", call("builtins.set", g("collections.Counter") + b")R")
    yield "set of a text", call("builtins.set", u("aab"))
    yield "set of a text in bytes", call("builtins.set", call("_codecs.encode", u("a"), u("latin1")))
    yield "set of a set", call("builtins.set", call("builtins.set", b"]"))
    yield "set of two", call("builtins.set", b"]", b"]")
    yield "set of a bytearray", call("builtins.set", g("builtins.bytearray") + b")R\x85")
    yield "set of Counters", call("builtins.set", g("collections.Counter") + b")R\x85")
    yield "set of complex numbers", call("builtins.set", call("builtins.complex", i(1)) + b"\x85")
    yield "OrderedDict of an OrderedDict", call("collections.OrderedDict", HOOKS)
    yield "OrderedDict of a Counter", call("collections.OrderedDict", g("collections.Counter") + b")R")
    yield "OrderedDict of two", call("collections.OrderedDict", b"]", b"]")
    yield "OrderedDict of lists", call("collections.OrderedDict", b"](](K\x01K\x02ee")
    yield "OrderedDict of numbers", call("collections.OrderedDict", ints(1))
    yield "OrderedDict with an empty tuple for state", HOOKS + b")b"
    yield "OrderedDict with a Counter for state", HOOKS + g("collections.Counter") + b")Rb"
    yield "set with zero for state", g("builtins.set") + b")RK\x00b"
    yield "set with False for state", g("builtins.set") + b")R\x89b"
    yield "set with True for state", g("builtins.set") + b")R\x88b"
    yield "set with an empty text for state", g("builtins.set") + b")RX\0\0\0\0b"
    yield "set with a float for state", g("builtins.set") + b")RG" + bytes(8) + b"b"
    yield "set with an empty set for state", g("builtins.set") + b")R\x8fb"
    yield "BUILD of a layout", COO + b")b"
    yield "NEWOBJ with a number", g("builtins.set") + b"K\x01\x81"
    yield "NEWOBJ with a list", g("builtins.set") + b"]\x81"
    yield "id with True for the count", tup(u("storage"), g("torch.FloatStorage"), u("0"), u("cpu"), b"\x88") + b"Q"
    yield "id with a text for the count", tup(u("storage"), g("torch.FloatStorage"), u("0"), u("cpu"), u("4")) + b"Q"
    yield "id with a huge count", (
        tup(u("storage"), g("torch.FloatStorage"), u("0"), u("cpu"), b"\x8a\x08" + b"\xff" * 7 + b"\x7f") + b"Q")
    yield "key a tuple nested deep", b"}" + b")" + b"\x85" * 300 + b"K\x01s"
    yield "key a list nested deep", b"}" + b"]" + b"\x85" * 300 + b"K\x01s"
    nest = g("torch.Tensor") + tup(g(V2), g("torch.Tensor"), V2_ARGS, b"N")
    for _ in range(14):
        nest = g("torch.Tensor") + tup(g(TYPED), nest, b"N")
    yield "from type, sixteen of its kind", call(TYPED, g(TYPED), nest, b"N")
    yield "SETITEMS of a Counter", g("collections.Counter") + b")R(" + u("a") + b"K\x01" + u("b") + b"K\x02u"
    yield "SETITEMS of a Counter with an odd count", g("collections.Counter") + b")R(" + u("a") + b"K\x01" + u("b") + b"u"
    yield "ids of one key that agree", tup(storage("torch.ByteStorage", "0", 16), storage("torch.storage.UntypedStorage", "0", 16))
    yield "ids whose keys are a text and a number", tup(
        storage(), tup(u("storage"), g("torch.ByteStorage"), i(0), u("cpu"), i(16)) + b"Q")


# PyTorch loads these, but torch.save never writes them. Our answer is "unknown".
UNWRITTEN = {
    "sizes as lists", "sizes as Size", "Parameter by NEWOBJ", "Parameter of nothing", "old FloatTensor by NEWOBJ",
    "Tensor by NEWOBJ", "BUILD a tensor wrongly", "BUILD a parameter", "bytes, UTF-8", "bytes, default",
    "bytearray of a number", "bytearray of numbers", "set by NEWOBJ", "complex", "Size of nothing", "device",
    "OrderedDict of a dict", "OrderedDict by NEWOBJ", "Counter of a list", "Counter with state", "Counter by NEWOBJ",
    "set with an empty state", "complex with state", "REDUCE with a list", "REDUCE with an empty dict",
    "REDUCE with an empty text", "REDUCE with an empty set", "NEWOBJ with an empty dict", "meta, sizes of Size",
    "Size of a list", "Parameter of None", "metadata, unknown key", "sparse tensor class", "old FloatTensor, no state",
    "device by NEWOBJ", "device, index 127", "device with no state", "Size of bools", "Size of a Size",
    "Size by NEWOBJ", "complex by NEWOBJ", "complex of nothing", "complex of complex", "bytearray by NEWOBJ",
    "bytearray of a bytearray", "bytearray of bools", "bytearray, ASCII", "encode, errors",
    "encode of a text that ends as a surrogate begins", "Counter of a Counter", "Counter of a text",
    "Counter of a text in bytes", "Counter of None", "Counter of a set", "Counter with an empty state", "set of a dict",
    "set of an OrderedDict", "set of a Counter", "set of a text", "set of a text in bytes", "set of a set",
    "set of complex numbers", "OrderedDict of an OrderedDict", "OrderedDict of a Counter",
    "OrderedDict with an empty tuple for state", "OrderedDict with a Counter for state", "set with zero for state",
    "set with False for state", "set with an empty text for state", "set with a float for state",
    "set with an empty set for state", "NEWOBJ with a list", "no strides",
    "id with key 0", "tensor of a storage whose key is a number", "ids whose keys are a text and a number",
    "old FloatTensor", "FloatTensor", "DoubleTensor as a parameter", "HalfTensor as a parameter",
    "BFloat16Tensor as a parameter", "key a tuple nested deep",
}


def unlike():
    """More calls that torch.save never writes. They are separate because the tests of tensors do not use them."""
    yield "metadata, a number for conj", (
        tensor(storage("torch.ComplexFloatStorage", "0", 2), 0, (2,), rest=b"}" + u("conj") + b"K\x01s"))
    yield "Tensor of a number", call("torch.Tensor", i(2))
    yield "FloatTensor of a number", call("torch.FloatTensor", i(2))
    yield "old FloatTensor with integers", (
        g("torch.FloatTensor") + b")R" + tup(storage("torch.LongStorage", "1", 2), i(0), ints(2), ints(1)) + b"b")
    yield "BUILD of a tensor with gradients", tensor(grad=b"\x88") + tup(storage(), i(0), ints(4), ints(1)) + b"b"
    yield "device, index 128", call("torch.device", u("cuda:128"))
    yield "device of a device", call("torch.device", call("torch.device", u("cpu")))
    yield "complex of a text", call("builtins.complex", u("1+2j"))
    yield "OrderedDict of a set", call("collections.OrderedDict", call("builtins.set", b"]"))
    yield "OrderedDict with a state of pairs", HOOKS + b"]" + u("a") + b"K\x01\x86ab"
    for attribute in ("shape", "grad", "requires_grad", "is_cuda", "names"):
        yield f"from type, {attribute} in its state", call(
            TYPED, g(V2), g("torch.Tensor"), V2_ARGS, b"}" + u(attribute) + u("x") + b"s")
    yield "BUILD of a storage", storage() + b")b"
    yield "UntypedStorage called", g("torch.storage.UntypedStorage") + b")R"
    yield "UntypedStorage by NEWOBJ", g("torch.storage.UntypedStorage") + b")\x81"
    yield "TypedStorage called", g("torch.storage.TypedStorage") + b")R"
    yield "TypedStorage by NEWOBJ", g("torch.storage.TypedStorage") + b")\x81"
    nest = g("torch.Tensor") + tup(g(V2), g("torch.Tensor"), V2_ARGS, b"N")
    for _ in range(15):
        nest = g("torch.Tensor") + tup(g(TYPED), nest, b"N")
    yield "from type, seventeen of its kind", call(TYPED, g(TYPED), nest, b"N")
    yield "BUILD of a Tensor", g("torch.Tensor") + b")R)b"
    yield "BUILD of a Tensor with a storage", g("torch.Tensor") + b")R" + tup(storage(), i(0), ints(4), ints(1)) + b"b"
    yield "id that begins with bytes", tup(
        call("_codecs.encode", u("storage"), u("latin1")), g("torch.FloatStorage"), u("0"), u("cpu"), i(4)) + b"Q"
    yield "id that begins with other bytes", tup(
        call("_codecs.encode", u("module"), u("latin1")), g("torch.FloatStorage"), u("0"), u("cpu"), i(4)) + b"Q"
    for what, dtyped in (("a class of tensors", g("torch.FloatTensor")), ("a tensor", T), ("a storage", storage()),
                         ("Tensor", g("torch.Tensor")), ("a class of sparse tensors", g("torch.sparse.FloatTensor"))):
        yield f"id with {what} for a class", tup(u("storage"), dtyped, u("0"), u("cpu"), i(4)) + b"Q"
    yield "ids of one key that differ in numel", tup(
        storage(), tensor(storage(numel=8), size=(8,)))
    yield "ids of one key that differ in class", tup(
        storage("torch.LongStorage", "1", 2), tensor(storage("torch.FloatStorage", "1", 4), size=(4,), grad=b"\x88"))
    scales, zeros = tensor(storage("torch.DoubleStorage", "2", 2), 0, (2,)), LONG
    for what, path, axis in (("by a tensor's scheme", "torch.per_tensor_symmetric", 0), ("symmetric", "torch.per_channel_symmetric", 0),
                             ("of no axis", "torch.per_channel_affine", 1), ("of a scheme of the wrong kind", "torch.float32", 0)):
        yield f"quantised by channel, {what}", call(
            QUANTISED, QINTS, i(0), ints(2), ints(1), tup(g(path), scales, zeros, i(axis)), b"\x89", HOOKS)
    yield "Size of sixty-five", call("torch.Size", ints(*range(65)))


BROKEN = [
    ("empty record", b""),
    ("cut off after PROTO", b"\x80\x02"),
    ("cut off in an argument", b"\x80\x02X\x05\0\0\0ab"),
    ("cut off in a line", b"\x80\x02cos"),
    ("HTML", b"<!DOCTYPE html><html>"),
    ("Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    ("text", b"hello world\n"),
    ("line break", b"\nN."),
]


def packed():
    """Several elements in a byte. They are separate because tests that compare bytes assume whole bytes for each element."""
    for kind, each in ("4x2", 2), ("2x4", 4):
        store = storage(f"torch.QUInt{kind}Storage", "0", 16)
        yield f"quantised {kind}", call(QUANTISED, store, i(0), ints(16 * each), ints(1), AFFINE, b"\x89", HOOKS)
        yield f"quantised {kind}, outside", call(QUANTISED, store, i(1), ints(16 * each), ints(1), AFFINE, b"\x89", HOOKS)
