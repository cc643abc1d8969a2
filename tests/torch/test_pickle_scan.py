"""Would torch.load(weights_only=True) load it? Our answer, from the pickle alone, against what torch does.

The corpus: everything torch.save can be given, in protocols 2 to 5; pickles put together by hand, benign, exotic and
malicious; and mutations of both. Each is put into a zip whose storages have the lengths the pickles speak of, and
loaded by another process (weights_only executes nothing, but a crash shall not end the test).
"""

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import functools
import io
import json
import pathlib
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import uuid
import warnings
import zipfile

import tap

torch = tap.need_torch(2, 6)
import torch._weights_only_unpickler as unpickler  # noqa: E402
from test_pickle import DRIVER  # noqa: E402

RECORD = 16  # bytes of each storage


# ---- the two opinions


def scan(pickles, mode="scan"):
    """Our answers: (why not or None, globals, end line) of each."""
    data = b"".join(struct.pack("<I", len(p)) + p for p in pickles)
    done = subprocess.run([str(DRIVER), mode], input=data, capture_output=True, timeout=300, check=True)
    at, out = 0, []
    while at < len(done.stdout):
        (size,) = struct.unpack_from("<I", done.stdout, at)
        lines = done.stdout[at + 4 : at + 4 + size].decode("utf-8", "surrogateescape").split("\n")[:-1]
        at += 4 + size
        why = None if lines[0] == "loads" else lines[0].split("\t", 2)[2]
        found = [line.split("\t")[1:] for line in lines[1:] if line.startswith("global\t")]
        out.append((why, found, lines[-1].split("\t")[1:]))
    return out


def wrap(data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for key in "0123":
            archive.writestr(f"archive/data/{key}", bytes(RECORD))
        archive.writestr("archive/data/empty", b"")
        archive.writestr("archive/version", "3\n")
    return out.getvalue()


def load_all(folder):
    """In a process of its own: one JSON line for each file."""
    warnings.simplefilter("ignore")
    for path in sorted(pathlib.Path(folder).iterdir()):
        print(json.dumps([path.name, "start"]), flush=True)
        try:
            torch.load(path, weights_only=True, map_location="cpu")
            answer = None
        except BaseException as err:
            text = str(err)
            for mark in ("WeightsUnpickler error: ", "\n\n"):
                text = text.split(mark, 1)[-1]
            answer = f"{type(err).__name__}: {text}".split("\n")[0][:300]
        print(json.dumps([path.name, answer]), flush=True)


def loads(files):
    """torch's answers: None, or why not."""
    folder = tap.scratch() / "pickles"
    folder.mkdir()
    for i, data in enumerate(files):
        (folder / f"{i:05}").write_bytes(data)
    answers = {}
    while len(answers) < len(files):
        done = subprocess.run([sys.executable, __file__, "--load", str(folder)], capture_output=True, timeout=600, check=False)
        last = None
        for line in done.stdout.decode().splitlines():
            name, answer = json.loads(line)
            last = name
            if answer != "start":
                answers[name] = answer
                last = None
        for name in answers:
            (folder / name).unlink(missing_ok=True)
        if last is not None:
            answers[last] = "the process died"
        elif done.returncode != 0:
            raise AssertionError(done.stderr.decode()[-2000:])
        if last is not None:
            (folder / last).unlink()
    folder.rmdir()
    return [answers[f"{i:05}"] for i in range(len(files))]


# ---- what torch.save writes

Point = collections.namedtuple("Point", "x y")


class Mine:
    pass


class Colour(enum.Enum):
    RED = 1


def saved():
    t = torch.arange(4.0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    opt = torch.optim.AdamW(module.parameters(), lr=5e-5)
    module(torch.zeros(1, 3, 8, 8)).sum().backward()
    opt.step()
    tagged = torch.zeros(2)
    tagged.tag = "x"
    flagged = torch.nn.Parameter(torch.zeros(2))
    flagged.flag = [1]
    yield "tensor", t
    yield "state dict", module.state_dict()
    yield "checkpoint", {"model": module.state_dict(), "optimizer": opt.state_dict(), "epoch": 3, "lr": 1e-3, "best": None}
    yield "parameter", module[0].weight
    yield "parameters", list(module.parameters())
    yield "module", module
    yield "views", [t[1:], t.view(2, 2).t(), t.expand(3, 4), t[:0], torch.tensor(1)]
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
                  torch.bool, torch.complex64, torch.complex128):
        yield f"tensor of {dtype}", torch.zeros(2, dtype=dtype)
    for name in ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float4_e2m1fn_x2", "complex32"):
        if hasattr(torch, name):
            yield f"tensor of {name}", torch.zeros(2, dtype=torch.uint8).new_empty(2, dtype=getattr(torch, name))
    yield "conjugate", [torch.ones(2, dtype=torch.complex64).conj(), torch.ones(2, dtype=torch.complex64).conj().imag]
    yield "sparse", [torch.eye(3).to_sparse(), torch.eye(3).to_sparse_csr(), torch.eye(4).to_sparse_bsr((2, 2))]
    yield "quantised", torch.quantize_per_tensor(t, 0.1, 3, torch.qint8)
    yield "quantised by channel", torch.quantize_per_channel(
        torch.zeros(2, 2), torch.ones(2), torch.zeros(2, dtype=torch.int64), 0, torch.qint8)
    yield "nested tensor", torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    yield "meta tensor", torch.zeros(2, 3, device="meta")
    yield "tensor with attribute", tagged
    yield "parameter with attribute", flagged
    yield "buffer", torch.nn.Buffer(torch.zeros(1))
    yield "storages", [t.untyped_storage(), t.storage()]
    yield "Size, dtype, device", [torch.Size([1, 2]), torch.float32, torch.device("cuda", 0), torch.device("cpu"), torch.strided]
    yield "memory format", torch.contiguous_format
    yield "qscheme", torch.per_tensor_affine
    yield "generator state", torch.get_rng_state()
    for name, value in {
        "None": None, "bools": [True, False], "ints": [0, -1, 1 << 40, -(1 << 40), 1 << 2030], "long int": 1 << 2040,
        "floats": [0.5, float("inf"), float("nan")], "texts": ["a", "é", "\ud800", "x" * 300], "bytes": b"ab\xff",
        "no bytes": b"", "bytearray": bytearray(b"ab\xff"), "no bytearray": bytearray(), "set": {1, "a"}, "no set": set(),
        "frozenset": frozenset([1]), "complex": 1 + 2j, "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "lists": [[], [1], list(range(3000))], "dicts": [{}, {1: 2}, {(1, 2): None, None: 3, 1.5: 4, b"k": 5}],
        "OrderedDict": collections.OrderedDict(a=1), "Counter": collections.Counter("abca"),
        "defaultdict": collections.defaultdict(list, a=[1]), "deque": collections.deque([1]), "namedtuple": Point(1, 2),
        "range": range(3), "slice": slice(1, 2), "Ellipsis": ..., "Namespace": argparse.Namespace(lr=1), "object": Mine(),
        "class": Mine, "type": int, "dict as a type": dict, "enum": Colour.RED, "function": len, "lambda of torch": torch.zeros,
        "partial": functools.partial(int, base=2), "datetime": datetime.datetime(2024, 1, 1), "path": pathlib.PurePosixPath("a"),
        "Decimal": decimal.Decimal("1.5"), "Fraction": fractions.Fraction(1, 2), "UUID": uuid.UUID(int=1),
        "memoryview of nothing": ValueError("x"), "UserDict": collections.UserDict(a=1),
    }.items():
        yield name, value
    loop = [1]
    loop.append(loop)
    yield "a list in itself", loop
    inner = ([],)
    inner[0].append(inner)
    yield "a tuple in itself", inner
    shared = torch.zeros(3)
    yield "tied", {"a": shared, "b": shared, "c": shared[1:]}
    try:
        import numpy as np
    except ImportError:
        return
    yield "numpy array", np.zeros(2)
    yield "numpy scalar", np.float32(1)
    yield "numpy dtype", np.dtype("f4")


def saved_files():
    for name, obj in saved():
        for protocol in (2, 3, 4, 5):
            out = io.BytesIO()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    torch.save(obj, out, pickle_protocol=protocol)
            except Exception:  # what torch cannot save is nothing to load
                continue
            yield f"saved: {name}, protocol {protocol}", out.getvalue()


# ---- put together by hand


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
    yield "meta, ranks differ", call("torch._utils._rebuild_meta_tensor_no_storage", g("torch.float32"), ints(2, 3), ints(1), b"\x89")
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
    yield "BUILD a parameter", call("torch._utils._rebuild_parameter", T, b"\x89", HOOKS) + tup(storage(), i(0), ints(2), ints(1)) + b"b"

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
    yield "complex of a list", call("__builtin__.complex", b"]")
    yield "Size", call("torch.Size", ints(1, 2))
    yield "Size of texts", call("torch.Size", tup(u("a")))
    yield "Size of nothing", g("torch.Size") + b")R"
    yield "device", tup(call("torch.device", u("cpu")), call("torch.device", u("cuda"), i(1)), call("torch.device", u("cuda:3")))
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


def mutations(pickles, count):
    """What becomes of pickles when opcodes and bytes are dropped, doubled, exchanged and overwritten."""
    rng = random.Random(20240601)
    parts = []
    for data in pickles:
        ops = list(pickletools.genops(data))
        ends = [pos for _, _, pos in ops[1:]] + [len(data)]
        parts.append([data[pos:end] for (_, _, pos), end in zip(ops, ends)])
    every = [op for ops in parts for op in ops]
    for _ in range(count):
        ops = list(rng.choice(parts))
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(1, len(ops))
            match rng.randrange(5):
                case 0: del ops[at]
                case 1: ops.insert(at, rng.choice(ops))
                case 2: ops.insert(at, rng.choice(every))
                case 3: ops[at] = rng.choice(every)
                case 4:
                    raw = bytearray(ops[at])
                    if raw:
                        raw[rng.randrange(len(raw))] = rng.choice((0, 1, 255, rng.randrange(256)))
                    ops[at] = bytes(raw)
            if len(ops) < 2:
                break
        yield b"".join(ops)


# ---- the comparison


def compare(t, name, ours, theirs):
    good = (ours is None) == (theirs is None)
    if good and ours is not None and theirs.startswith("UnpicklingError"):
        good = same_reason(ours, theirs)
    if not t.ok(good, name):
        t.note(f"we say {ours or 'loads'}\ntorch says {theirs or 'loads'}")


def of_records(theirs):
    """Is it about the storages' records, of which a pickle knows nothing?"""
    return theirs is not None and ("failed locating file data/" in theirs or "record size (" in theirs)


def same_reason(ours, theirs):
    """Where torch's refusal names a thing, so must ours."""
    for mark in ("Unsupported operand ", "GLOBAL "):
        if mark in theirs:
            thing = theirs.split(mark, 1)[1].split(" ")[0]
            return mark in ours and thing in (ours.split(mark, 1)[1].replace(",", " ").split(" ")[0],
                                              ours.split(mark, 1)[1].split(" ")[0].removeprefix("builtins."))
    for mark in ("Can only ", "persistent_load id must", "Only persistent_load", "Trying to call reduce"):
        if mark in theirs:
            return mark in ours
    return True


def tables(t):
    """Our list of allowed names against torch's, and against all that it might be confused with."""
    allowed = set(unpickler._get_allowed_globals())
    names = allowed | {name + "x" for name in allowed} | {f"torch.{n}" for n in dir(torch)}
    names |= {f"{m}.{n}" for m in ("torch.cuda", "torch.sparse", "torch.cuda.sparse", "torch._utils", "torch.storage")
              for n in [*dir(torch), *dir(torch._utils), *dir(torch.storage)]}
    names |= {f"{m}.{n}" for m in ("builtins", "__builtin__", "collections", "_codecs") for n in
              [*dir(__import__("builtins")), *dir(collections), "encode", "decode"]}
    names |= {f"{m}.{n}" for m, n in unpickler.NAME_MAPPING} | {f"{m}.x" for m in unpickler.IMPORT_MAPPING}
    names = sorted(name for name in names if "\n" not in name)
    wrong = []
    for name, (_, found, _) in zip(names, scan([g(name) + b"." for name in names])):
        module, _, last = name.rpartition(".")
        module, last = unpickler._read_global_instruction(iter([module.encode() + b"\n", last.encode() + b"\n"]).__next__)
        if (found[0][0] in ("tensor", "allowed")) != (f"{module}.{last}" in allowed):
            wrong.append((name, found))
    t.ok(not wrong and len(allowed) > 100, f"{len(names)} names: those allowed are torch's {len(allowed)}")
    for item in wrong:
        t.note(item)


VERDICTS = {
    "tensor": ["torch._utils._rebuild_tensor_v2", "torch.FloatStorage", "torch.float32", "torch.nn.parameter.Parameter"],
    "allowed": ["collections.OrderedDict", "_codecs.encode", "__builtin__.set", "builtins.bytearray", "torch.Size"],
    "unknown": ["numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray._reconstruct", "argparse.Namespace",
                "pathlib.PosixPath", "collections.defaultdict", "__builtin__.frozenset", "builtins.bytes", "yacs.config.CfgNode",
                "datetime.datetime", "uuid.UUID", "copy_reg._reconstructor", "mymodel.code.Net", "torch.nn.modules.conv.Conv2d",
                "omegaconf.dictconfig.DictConfig", "__main__.system", "osmnx.graph.Graph", "codecs.encode", "decimal.Decimal"],
    "unsafe": ["os.system", "posix.system", "nt.system", "subprocess.Popen", "builtins.eval", "__builtin__.eval",
               "builtins.getattr", "builtins.exec", "__builtin__.apply", "__builtin__.intern", "importlib.import_module",
               "runpy.run_path", "torch.hub.load", "torch.load", "socket.socket", "functools.partial", "__builtin__.reduce",
               "operator.attrgetter", "webbrowser.open", "pickle.loads", "cPickle.loads", "numpy.f2py.crackfortran.myeval",
               "torch._inductor.codecache.compile_file", "urllib.request.urlopen", "types.CodeType", "shutil.rmtree",
               "os.path.join", "asyncio.unix_events._UnixSubprocessTransport._start", "sys.modules", "io.open", "_io.FileIO",
               "timeit.timeit", "ctypes.CDLL", "pip.main", "torch.os.system", "torch.serialization.os.remove"],
}


def verdicts(t):
    for verdict, names in VERDICTS.items():
        for name, (_, found, _) in zip(names, scan([g(name) + b"." for name in names])):
            t.eq(found[0][0], verdict, f"{name} is {verdict}")
    dotted = [b"ctorch\nserialization.os.system\n.", b"cmymodel\nNet.__init__.__globals__\n.", b"cmymodel\nNet.Block\n."]
    for data, verdict, (_, found, _) in zip(dotted, ("unsafe", "unsafe", "unknown"), scan(dotted)):
        t.eq(found[0][0], verdict, f"{data!r} is {verdict}")


def sightings(t):
    """What is seen, where, and how it was named; what is behind STOP; what is before damage."""
    first, evil = b"\x80\x02" + T + b".", b"\x80\x02" + call("os.system", u("true")) + b"."
    answers = scan([
        first + evil + b"junk", evil[:-1] + b"\xff", first + b"\0" * 7, b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x930h\x00h\x01\x93.",
        b"K\x01K\x02\x93(" + b"K\x01ios\nsystem\n.", b"h\x05" + g("os.system") + b"}b.", b"K\x01K\x02a" + g("os.system") + b".",
        b"\x82\x01\x97\x98)R" + g("os.system") + b"K\x01\x85}b.",
    ])
    why, found, end = answers[0]
    t.ok(why is None and end[:3] == [str(len(first)), str(len(evil) + 4), "1"], "a pickle and junk behind STOP")
    t.ok(["unsafe", "GLOBAL", str(len(first) + 2), "1", "os", "system"] in found, "its global, with the offset")
    why, found, end = answers[1]
    t.ok("os.system" in why and found[-1][4] == "os" and "0xff" in end[3], "what is seen before damage")
    t.eq((answers[2][0], answers[2][2][1:3]), (None, ["7", "0"]), "zeros behind STOP")
    found = answers[3][1]
    t.eq([f[:3] for f in found], [["unsafe", "STACK_GLOBAL", "16"], ["unsafe", "STACK_GLOBAL", "22"]], "names from the memo")
    found = answers[4][1]
    t.eq([f[:2] for f in found], [["unsafe", "COMPUTED"], ["unsafe", "INST"]], "operands that are no texts; INST")
    for answer, what in zip(answers[5:], ("a memo entry that is missing", "a wrong APPEND", "EXT1, buffers, a wrong BUILD")):
        t.ok(answer[1] and answer[1][-1][5] == "system" and answer[0], f"the scan goes on after {what}")


def legacy(t):
    """Files of torch before 1.6: five pickles, of which the fourth has ids of six parts."""
    names, files, pickles = [], [], []
    for name, obj in saved():
        if name == "nested tensor":  # torch looks at its sizes before it has read them: what comes of it is chance
            continue
        out = io.BytesIO()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.save(obj, out, _use_new_zipfile_serialization=False)
        except Exception:  # what torch cannot save is nothing to load
            continue
        stream = io.BytesIO(out.getvalue())
        for _ in range(5):
            start = stream.tell()
            list(pickletools.genops(stream))
            pickles.append(out.getvalue()[start : stream.tell()])
        names.append(name)
        files.append(out.getvalue())
    answers = scan(pickles, "legacy")
    for i, (name, theirs) in enumerate(zip(names, loads(files))):
        ours = [why for why, _, _ in answers[5 * i : 5 * i + 5] if why is not None]
        compare(t, f"legacy: {name}", ours[0] if ours else None, theirs)
    t.ok(len(names) > 60, "sixty legacy files")
    wrong = scan([pickles[5 * names.index("tensor") + 3]])[0][0]
    t.ok(wrong and "6 parts instead of 5" in wrong, "an id of a legacy file in a zip")


def main():
    t = tap.Tap()
    names, files, pickles = [], [], []
    for name, data in saved_files():
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            pickles.append(archive.read("archive/data.pkl"))
        names.append(name)
        files.append(data)
    hand = [(name, b"\x80\x02" + data + b".") for name, data in by_hand()] + BROKEN
    good = []
    for name, data in hand:
        names.append(f"by hand: {name}")
        pickles.append(data)
        files.append(wrap(data))
        try:
            list(pickletools.genops(data))
            good.append(data)
        except Exception:  # one that cannot be taken apart
            pass
    mutants = list(mutations(good, int(sys.argv[1]) if len(sys.argv) > 1 else 600))
    answers = scan(pickles + mutants)
    truths = loads(files + [wrap(data) for data in mutants])
    for name, (ours, _, _), theirs in zip(names, answers, truths):
        compare(t, name, ours, theirs)
    t.ok(sum(theirs is None for theirs in truths[: len(names)]) >= 100, "a hundred of them load")
    t.ok(sum(theirs is not None for theirs in truths[: len(names)]) >= 200, "two hundred do not")
    wrong = [
        (data, ours, theirs) for data, (ours, _, _), theirs in zip(mutants, answers[len(names) :], truths[len(names) :])
        if (ours is None) != (theirs is None) and not of_records(theirs)
    ]
    loaded = sum(theirs is None for theirs in truths[len(names) :])
    t.ok(not wrong, f"{len(mutants)} mutations, of which torch loads {loaded}")
    for data, ours, theirs in wrong:
        t.note(f"{data!r:.400}\nwe say {ours or 'loads'}\ntorch says {theirs or 'loads'}")
    tables(t)
    verdicts(t)
    sightings(t)
    legacy(t)
    t.done()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        load_all(sys.argv[2])
    else:
        main()
