"""Compares our answer to "Would torch.load(weights_only=True) load it?", which is derived from the pickle alone, with torch's.

The corpus: all kinds of objects that torch.save accepts, in protocols 2 to 5; pickles built by hand, benign, exotic and
malicious; and mutations of both. Each is put into a zip whose storages have the lengths that the pickles state. Another process
loads it: weights_only executes nothing, but a crash must not end the test.

--table writes the answers of this PyTorch (last: 2.13) to the pickles built by hand to tests/fixtures/weights_only.tsv and
rebuilt.tsv. tests/unit/test_pickle_weights.c and test_rebuild.c test these answers where there is no Python.
"""

import argparse
import collections
import contextlib
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import json
import pathlib
import pickle
import pickletools
import random
import re
import struct
import subprocess
import sys
import uuid
import warnings
import zipfile

import tap

torch = tap.need_torch(2, 6)
import torch._weights_only_unpickler as unpickler  # noqa: E402
from hand_pickles import (  # noqa: E402
    AFFINE, AT, BROKEN, COO, HOOKS, LONG, LONGS, META, NESTED, ON_DEVICE, QINTS, QUANTISED, SPARSE, STATEFUL, T, TYPED, UNTYPED,
    UNWRITTEN, V2, V3, by_hand, call, g, packed, storage, u, unlike)
from test_pickle import DRIVER  # noqa: E402

UNKNOWN = "not known: "
RECORD = bytes(range(16))  # the bytes of storage 0; the others have as many zeros, as they also serve as indices


# ---- the two answers


def scan(pickles, mode="scan"):
    """Our answers: (reason of the refusal or None, globals, end line) of each. If we do not know, the reason begins with UNKNOWN."""
    data = b"".join(struct.pack("<I", len(p)) + p for p in pickles)
    done = subprocess.run([str(DRIVER), mode], input=data, capture_output=True, timeout=300, check=True)
    at, out = 0, []
    while at < len(done.stdout):
        (size,) = struct.unpack_from("<I", done.stdout, at)
        lines = done.stdout[at + 4 : at + 4 + size].decode("utf-8", "surrogateescape").split("\n")[:-1]
        at += 4 + size
        answer, _, why = (*lines[0].split("\t", 2), None, None)[:3]
        if answer == "unknown":
            why = UNKNOWN + why
        found = [line.split("\t")[1:] for line in lines[1:] if line.startswith("global\t")]
        out.append((why, found, lines[-1].split("\t")[1:]))
    return out


def wrap(data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for key in "0123":
            archive.writestr(f"archive/data/{key}", RECORD if key == "0" else bytes(len(RECORD)))
        archive.writestr("archive/data/empty", b"")
        archive.writestr("archive/version", "3\n")
    return out.getvalue()


def load_all(folder):
    """Runs in a process of its own. Prints one JSON line for each file."""
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
    """torch's answers: None, or the reason of the refusal."""
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


# ---- objects that torch.save writes

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
            except Exception:  # torch cannot save it
                continue
            yield f"saved: {name}, protocol {protocol}", out.getvalue()


def mutations(pickles, count):
    """Mutations: opcodes and bytes are dropped, doubled, exchanged and overwritten."""
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


def is_unknown(ours):
    return ours is not None and ours.startswith(UNKNOWN)


def compare(t, name, ours, theirs, written=True):
    """Our answer must be known and right for pickles of torch.save. For others it may be unknown, but must not be wrong."""
    if is_unknown(ours):
        good = theirs is not None if written else True
    else:
        good = (ours is None) == (theirs is None)
    if good and not is_unknown(ours) and ours is not None and theirs.startswith("UnpicklingError"):
        good = same_reason(ours, theirs)
    if not t.ok(good, name):
        t.note(f"we say {ours or 'loads'}\ntorch says {theirs or 'loads'}")


def of_records(theirs):
    """True if the reason concerns the records of storages, which a pickle alone cannot tell."""
    return theirs is not None and ("failed locating file data/" in theirs or "record size (" in theirs)


def same_reason(ours, theirs):
    """If torch's refusal names an object, ours must name it, too."""
    for mark in ("Unsupported operand ", "GLOBAL "):
        if mark in theirs:
            named = theirs.split(mark, 1)[1].split(" ")[0]
            return mark in ours and named in (ours.split(mark, 1)[1].replace(",", " ").split(" ")[0],
                                              ours.split(mark, 1)[1].split(" ")[0].removeprefix("builtins."))
    for mark in ("Can only ", "persistent_load id must", "Only persistent_load", "Trying to call reduce"):
        if mark in theirs:
            return mark in ours
    return True


def tables(t):
    """Compares our list of allowed names with torch's. Names that are similar must not be allowed."""
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
    t.ok(not wrong and len(allowed) > 100, f"of {len(names)} names exactly torch's {len(allowed)} are allowed")
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
    """The scan reports globals with their opcode and offset, also after STOP and before damage."""
    first, evil = b"\x80\x02" + T + b".", b"\x80\x02" + call("os.system", u("true")) + b"."
    answers = scan([
        first + evil + b"junk", evil[:-1] + b"\xff", first + b"\0" * 7, b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x930h\x00h\x01\x93.",
        b"K\x01K\x02\x93(" + b"K\x01ios\nsystem\n.", b"h\x05" + g("os.system") + b"}b.", b"K\x01K\x02a" + g("os.system") + b".",
        b"\x82\x01\x97\x98)R" + g("os.system") + b"K\x01\x85}b.",
    ])
    why, found, end = answers[0]
    t.ok(why is None and end[:3] == [str(len(first)), str(len(evil) + 4), "1"], "a pickle and other bytes after STOP are counted")
    t.ok(["unsafe", "GLOBAL", str(len(first) + 2), "1", "os", "system"] in found, "a global after STOP is reported with its offset")
    why, found, end = answers[1]
    t.ok("os.system" in why and found[-1][4] == "os" and "0xff" in end[3], "a global before damage is reported, and the damaged byte")
    t.eq((answers[2][0], answers[2][2][1:3]), (None, ["7", "0"]), "zeros after STOP are counted and no pickle is found in them")
    found = answers[3][1]
    t.eq([f[:3] for f in found], [["unsafe", "STACK_GLOBAL", "16"], ["unsafe", "STACK_GLOBAL", "22"]],
         "names of globals are taken from the memo")
    found = answers[4][1]
    t.eq([f[:2] for f in found], [["unsafe", "COMPUTED"], ["unsafe", "INST"]],
         "operands of STACK_GLOBAL that are no text, and INST, are unsafe")
    for answer, what in zip(answers[5:], ("a memo entry that is missing", "a wrong APPEND", "EXT1, buffers, a wrong BUILD")):
        t.ok(answer[1] and answer[1][-1][5] == "system" and answer[0], f"the scan goes on after {what}")


def legacy(t):
    """Files of torch before 1.6 consist of five pickles. The fourth has persistent ids of six parts."""
    names, files, pickles = [], [], []
    for name, obj in saved():
        if name == "nested tensor":  # torch uses its sizes before it has read them, so its answer varies
            continue
        out = io.BytesIO()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.save(obj, out, _use_new_zipfile_serialization=False)
        except Exception:  # torch cannot save it
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
    t.ok(len(names) > 60, "more than sixty legacy files are compared")
    wrong = scan([pickles[5 * names.index("tensor") + 3]])[0][0]
    t.ok(wrong and "6 parts instead of 5" in wrong, "a persistent id of a legacy file is refused in a zip")


# Parts that many pickles have, and their names in the tables.
PARTS = {
    "tensor": T, "long": LONG, "storage": storage(), "untyped": UNTYPED, "longs": LONGS, "qints": QINTS, "hooks": HOOKS,
    "v2": g(V2), "v3": g(V3), "typed": g(TYPED), "quantised": g(QUANTISED), "affine": AFFINE, "sparse": g(SPARSE), "coo": COO,
    "at": AT, "meta": g(META), "nested": g(NESTED), "stateful": g(STATEFUL), "on_device": g(ON_DEVICE), "size": g("torch.Size"),
    "reconstruct": g("copy_reg._reconstructor"), "parameter": g("torch._utils._rebuild_parameter"), "getattr": g("builtins.getattr"),
}


def readable(row, parts):
    """A row whose last column is bytes, as tests/unit/table.h reads it, in lines of 140 characters."""
    data = row[-1]
    for name, part in parts:
        data = data.replace(part, b"\0<" + name.encode() + b">")
    tokens = re.findall(rb"\0<\w+>|.", data, re.DOTALL)
    lines = ["\t".join((*row[:-1], ""))]
    for token in tokens:
        if len(token) > 1:
            token = f"${{{token[2:-1].decode()}}}"
        elif token in b"\\$" or not 32 <= token[0] < 127:
            token = {b"\n": "\\n", b"\0": "\\0"}.get(token, f"\\x{token[0]:02x}")
        else:
            token = token.decode()
        if len(lines[-1]) + len(token) > 140:
            lines.append("\t")
        lines[-1] += token
    return "\n".join(lines)


def as_text(head, rows):
    """A table as the text of its file."""
    parts = sorted(PARTS.items(), key=lambda part: -len(part[1]))
    lines = [head.format(torch.__version__.split("+")[0]).rstrip("\n")]
    lines += [readable((f"={name}", part), parts[i + 1:]) for i, (name, part) in enumerate(parts)]
    lines += [readable(row, parts) for row in rows]
    return "\n".join(lines) + "\n"


TABLE = tap.FIXTURES / "weights_only.tsv"
TABLE_HEAD = """# What torch.load(weights_only=True) of PyTorch {} does with these pickles: written by
# tests/torch/test_pickle_scan.py --table. "unknown": torch.save never writes it, and our answer is that we do not know.
# Verdict, name, bytes (tests/unit/table.h says how they are written).
"""


def table():
    """Each pickle built by hand, with torch's answer: (verdict, name, bytes)."""
    unwritten = UNWRITTEN | {name for name, _ in unlike()}
    hand = [(name, b"\x80\x02" + data + b".") for name, data in (*by_hand(), *packed())] + BROKEN
    hand += [(name, b"\x80\x02" + data + b".") for name, data in unlike()]
    truths = loads([wrap(data) for _, data in hand])
    verdict = {name: "refused" if theirs else "unknown loads" if name in unwritten else "loads"
               for (name, _), theirs in zip(hand, truths)}
    return [(verdict[name], name, data) for name, data in hand]


REBUILT = tap.FIXTURES / "rebuilt.tsv"
REBUILT_HEAD = """# The tensors that PyTorch {} makes of these pickles, whose storage 0 has the bytes 0 to 15 and storages 1 to 3 zeros:
# written by tests/torch/test_pickle_scan.py --table. Type, dtype, shape, what is set of grad, conj and neg, elements,
# name, bytes of the pickle (tests/unit/table.h says how they are written).
"""


def facts(x):
    size, where = x.element_size(), x.storage_offset()
    data = bytes(x.untyped_storage())
    for_all = itertools.product(*(range(n) for n in x.shape))
    at = [where + sum(i * s for i, s in zip(index, x.stride())) for index in for_all]
    flags = [name for name, on in (("grad", x.requires_grad), ("conj", x.is_conj()), ("neg", x.is_neg())) if on]
    return (type(x).__name__, str(x.dtype).removeprefix("torch."), "x".join(map(str, x.shape)) or "scalar",
            ",".join(flags) or "-", "".join(data[i * size : (i + 1) * size].hex() for i in at) or "-")


def rebuilt():
    """Each pickle built by hand that is a single tensor with data: (facts..., name, bytes)."""
    rows = []
    for name, data in by_hand():
        data = b"\x80\x02" + data + b"."
        with contextlib.suppress(Exception):
            x = torch.load(io.BytesIO(wrap(data)), weights_only=True, map_location="cpu")
            if isinstance(x, torch.Tensor) and x.layout is torch.strided and x.device.type == "cpu" and not x.is_nested:
                rows.append((*facts(x), name, data))
    return rows


def current(t):
    """Checks that the tables for the unit tests still have the answers of this PyTorch."""
    for path, head, rows in ((TABLE, TABLE_HEAD, table()), (REBUILT, REBUILT_HEAD, rebuilt())):
        old, new = (re.split(r"\n(?!\t)", text) for text in (path.read_text(), as_text(head, rows)))
        t.ok(old[1:] == new[1:], f"{path.name} has this PyTorch's answers to {len(rows)} pickles")
        for line in sorted(set(old[1:]) ^ set(new[1:])):
            t.note(line)


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
        except Exception:  # not a sequence of opcodes
            pass
    mutants = list(mutations(good, int(sys.argv[1]) if len(sys.argv) > 1 else 600))
    answers = scan(pickles + mutants)
    truths = loads(files + [wrap(data) for data in mutants])
    for name, (ours, _, _), theirs in zip(names, answers, truths):
        compare(t, name, ours, theirs, name.removeprefix("by hand: ") not in UNWRITTEN)
    t.ok(sum(theirs is None for theirs in truths[: len(names)]) >= 100, "torch loads at least a hundred of the pickles")
    t.ok(sum(theirs is not None for theirs in truths[: len(names)]) >= 200, "torch refuses at least two hundred of the pickles")
    wrong = [
        (data, ours, theirs) for data, (ours, _, _), theirs in zip(mutants, answers[len(names) :], truths[len(names) :])
        if (ours is None) != (theirs is None) and not is_unknown(ours) and not of_records(theirs)
    ]
    loaded = sum(theirs is None for theirs in truths[len(names) :])
    t.ok(not wrong, f"our answers to {len(mutants)} mutations are not wrong; torch loads {loaded} of them")
    for data, ours, theirs in wrong:
        t.note(f"{data!r:.400}\nwe say {ours or 'loads'}\ntorch says {theirs or 'loads'}")
    tables(t)
    current(t)
    verdicts(t)
    sightings(t)
    legacy(t)
    t.done()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        load_all(sys.argv[2])
    elif sys.argv[1:2] == ["--table"]:
        warnings.simplefilter("ignore")
        for path, head, rows in ((TABLE, TABLE_HEAD, table()), (REBUILT, REBUILT_HEAD, rebuilt())):
            path.write_text(as_text(head, rows))
    else:
        main()
