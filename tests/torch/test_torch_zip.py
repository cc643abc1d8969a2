"""Compares the torch zip reader and writer with real PyTorch, through tests/unit/drive_ckpt.c. Our reader must see what torch wrote,
in a file and on a pipe, and torch must see what our writer wrote."""

import collections
import hashlib
import io
import json
import os
import pickle
import random
import re
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib

import tap

torch = tap.need_torch(1, 13)
t = tap.Tap()
tmp = tap.scratch()
rng = random.Random(7)
version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
new = version >= (2, 1)
rounds = int(os.environ.get("LNN_ROUNDS", "40"))


DRIVE = tap.driver("ckpt")
Run = collections.namedtuple("Run", "status out err")


def drive(mode, path, *args, pipe=False):
    command = [DRIVE, mode, *args]
    if pipe:
        feed = subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE)
        done = subprocess.run(command, stdin=feed.stdout, capture_output=True, timeout=120, check=False)
        feed.stdout.close()
        feed.wait()
    else:
        done = subprocess.run([*command, str(path)], capture_output=True, timeout=120, check=False)
    return Run(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


Entry = collections.namedtuple("Entry", "kind name dtype shape flags data")


def entries(out):
    stream = io.BytesIO(out)
    stream.readline()
    found = []
    for line in iter(stream.readline, b""):
        fields = line.rstrip(b"\n").decode().split("\t")
        name = bytes.fromhex(fields[1]).decode("utf-8", "surrogateescape")
        if len(fields) > 2:
            data = stream.read(int(fields[5]))
            stream.readline()
            found.append(Entry(fields[0], name, fields[2], json.loads(fields[3]), int(fields[4]), data))
        else:
            found.append(Entry(fields[0], name, None, None, 0, None))
    return found


def both(mode, path, what, *args):
    """Runs the driver on a file and on a pipe. Both must give the same output, which is returned."""
    a, b = drive(mode, path, *args), drive(mode, path, *args, pipe=True)
    t.eq((a.status, b.status), (0, 0), f"{what}: {mode} works") or t.note(a.err + b.err)
    t.ok(a.out == b.out, f"{what}: {mode} gives the same from a pipe")
    return a.out


# ---- fixtures, compared with what torch read when they were made

for path in sorted(tap.FIXTURES.glob("*.pth.json")):
    expected = json.loads(path.read_text())
    file = path.with_suffix("")
    with t.part(f"fixture {file.name}"):
        key = ["-k", expected["key"]] if expected.get("key") else []
        got = [e for e in entries(both("dump", file, file.name, *key)) if e.kind == "tensor"]
        got = [e for e in got if e.name in {w["name"] for w in expected["tensors"]}]
        lazy = [e.flags & 3 for e in got]
        t.eq([(e.name, e.dtype, e.shape) for e in got], [(w["name"], w["dtype"], w["shape"]) for w in expected["tensors"]],
             f"{file.name}: names, dtypes and shapes")
        differ = [e.name for e, w, z in zip(got, expected["tensors"], lazy)
                  if not z and "sha256" in w and hashlib.sha256(e.data).hexdigest() != w["sha256"]]
        t.eq(differ, [], f"{file.name}: the digests of the contents")


# ---- an independent writer of the container

def container(records, root="archive"):
    out, central = bytearray(), bytearray()
    for name, data in records:
        name = f"{root}/{name}".encode()
        flags, at, crc = (0x0808 if data else 0x0800), len(out), zlib.crc32(data)
        pad = -(at + 30 + len(name) + 4) % 64
        out += struct.pack("<4s5H3I2H", b"PK\3\4", 0, flags, 0, 0, 0, 0, 0, 0, len(name), 4 + pad) + name
        out += b"FB" + struct.pack("<H", pad) + b"Z" * pad + data
        if data:
            out += struct.pack("<4s3I", b"PK\7\x08", crc, len(data), len(data))
        central += struct.pack("<4s6H3I5H2I", b"PK\1\2", 0, 0, flags, 0, 0, 0, crc, len(data), len(data), len(name),
                               0, 0, 0, 0, 0, at) + name
    n, at = len(records), len(out)
    tail = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0x031E, 45, 0, 0, n, n, len(central), at)
    tail += struct.pack("<4sIQI", b"PK\6\7", 0, at + len(central), 1)
    tail += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, min(n, 0xFFFF), min(n, 0xFFFF), len(central), at, 0)
    return bytes(out + central + tail)


def records_of(path):
    with zipfile.ZipFile(path) as z:
        return [(i.filename.split("/", 1)[1], z.read(i)) for i in z.infolist()]


# ---- random state dicts

PLAIN = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
         torch.uint8, torch.bool, torch.complex64, torch.complex128]
RARE = [getattr(torch, name) for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
                                          "float4_e2m1fn_x2", "uint16", "uint32", "uint64", "complex32")
        if hasattr(torch, name) and new]


class Mine(torch.Tensor):
    pass


def some_bytes(n):
    return torch.tensor([rng.randrange(256) for _ in range(n)], dtype=torch.uint8)


def base(dtype=None, shape=None):
    dtype = dtype or rng.choice(PLAIN + RARE)
    shape = shape if shape is not None else [rng.randrange(0, 5) if rng.random() < .1 else rng.randrange(1, 6)
                                             for _ in range(rng.randrange(0, 5))]
    numel = 1
    for n in shape:
        numel *= n
    if dtype == torch.bool:
        return (some_bytes(numel) > 127).reshape(shape)
    size = torch.tensor([], dtype=dtype).element_size()
    return some_bytes(numel * size).view(dtype).reshape(shape) if numel else torch.empty(shape, dtype=dtype)


def view_of(x):
    kind = rng.randrange(5)
    if kind == 0 and x.dim() > 1:
        order = list(range(x.dim()))
        rng.shuffle(order)
        return x.permute(order)
    if kind == 1 and x.dim() and x.shape[0] > 1:
        return x[1:]
    if kind == 2 and x.dim() and x.shape[-1] > 2:
        return x[..., ::2]
    if kind == 3:
        return x.unsqueeze(0).expand(3, *x.shape)
    return x


def quantised():
    x = torch.rand(3, 4)
    kind = rng.choice([torch.quint8, torch.qint8, torch.qint32])
    if rng.random() < .5:
        return torch.quantize_per_tensor(x, .1, 3, kind)
    return torch.quantize_per_channel(x, torch.rand(3) + .1, torch.tensor([1, 2, 3]), 0, kind)


def sparse():
    x = torch.tensor([[0, 1.5, 0], [2, 0, 0]])
    if rng.random() < .5:
        return x.to_sparse()
    return x.to_sparse_csr()


def with_attribute():
    x = torch.rand(2, 2)
    x.note = "kept"
    x.other = torch.arange(3)
    return x


def scalar_object():
    return rng.choice([1, -5, 2**40, -(2**70), 1.5, float("inf"), "text", "ünï", None, True, b"\0\xff", (1, "a", ()), [1, [2]],
                       {"k": (1, 2)}, torch.Size([2, 3]), torch.float16, torch.device("cpu"), {1, 2}])


def state_dict(exotic, size):
    out = collections.OrderedDict() if rng.random() < .7 else {}
    seen = []
    for i in range(size):
        name = rng.choice(["blocks.%d.weight", "stage_%d.0.attn.qkv.bias", "n%d", "ü.%d", "name\t%d"]) % i
        kind = rng.random()
        if kind < .15 and seen:
            out[name] = rng.choice(seen)
        elif kind < .35 and seen:
            out[name] = view_of(rng.choice(seen))
        elif kind < .42:
            x = base(rng.choice([torch.float32, torch.float16, torch.float64]))
            out[name] = torch.nn.Parameter(x, requires_grad=rng.random() < .5)
        elif kind < .45:
            out[name] = base(torch.float32).requires_grad_()
        elif kind < .5:
            out[name] = rng.choice([[base(), base()], {"w": base(), "deep": [{"x": base()}]}, (base(),)])
        elif kind < .55:
            out[name] = scalar_object()
        elif kind < .62 and exotic:
            out[name] = rng.choice([quantised, sparse, with_attribute])()
        elif kind < .65 and exotic and new:
            x = base(torch.complex64)
            out[name] = rng.choice([x.conj(), x.imag.neg() if x.numel() else x, torch._neg_view(x)])
        else:
            x = base()
            out[name] = x
            seen.append(x)
    return out


def flat(value, prefix=""):
    """The dotted names and tensors of a value, in order. None replaces tensors that are not plain."""
    if isinstance(value, torch.Tensor):
        yield prefix, value
        return
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(item, torch.Tensor):
            yield name, item
        elif isinstance(item, (dict, list, tuple)) and has_tensor(item):
            yield from flat(item, name)


def has_tensor(value):
    if isinstance(value, torch.Tensor):
        return True
    if isinstance(value, dict):
        value = value.values()
    return isinstance(value, (list, tuple, type({}.values()))) and any(has_tensor(item) for item in value)


def plain(x):
    return x.layout == torch.strided and not x.is_quantized


def lazy(x):
    return x.is_conj() or (hasattr(x, "is_neg") and x.is_neg())


def equal(a, b, path=""):
    """The first difference between a and b, or None."""
    if type(a) is not type(b):
        return f"{path}: {type(a)} and {type(b)}"
    if isinstance(a, torch.Tensor):
        if (a.dtype, a.shape, a.layout, a.requires_grad, a.is_quantized) != (b.dtype, b.shape, b.layout, b.requires_grad, b.is_quantized):
            return f"{path}: {a.dtype} {a.shape} {a.requires_grad} and {b.dtype} {b.shape} {b.requires_grad}"
        if getattr(a, "__dict__", None) or getattr(b, "__dict__", None):
            why = equal(vars(a), vars(b), path + "'s attributes")
            if why:
                return why
        if a.layout == torch.sparse_coo:
            return equal(a._indices(), b._indices(), path) or equal(a._values(), b._values(), path)
        if a.layout == torch.sparse_csr:
            return equal(a.crow_indices(), b.crow_indices(), path) or equal(a.values(), b.values(), path)
        if a.is_quantized:
            if a.qscheme() != b.qscheme():
                return f"{path}: scheme"
            if a.qscheme() == torch.per_tensor_affine:
                if (a.q_scale(), a.q_zero_point()) != (b.q_scale(), b.q_zero_point()):
                    return f"{path}: scale"
            elif not torch.equal(a.q_per_channel_scales(), b.q_per_channel_scales()):
                return f"{path}: scales"
            return None if torch.equal(a.int_repr(), b.int_repr()) else f"{path}: numbers"
        if (a.stride(), a.storage_offset(), lazy(a)) != (b.stride(), b.storage_offset(), lazy(b)):
            return f"{path}: strides {a.stride()} {a.storage_offset()} and {b.stride()} {b.storage_offset()}"
        return None if tap.same(a, b) else f"{path}: contents"
    if isinstance(a, dict):
        if list(a) != list(b):
            return f"{path}: keys"
        for key in a:
            why = equal(a[key], b[key], f"{path}.{key}")
            if why:
                return why
        return None
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return f"{path}: length"
        for i, (x, y) in enumerate(zip(a, b)):
            why = equal(x, y, f"{path}.{i}")
            if why:
                return why
        return None
    return None if a == b or a != a else f"{path}: {a!r} and {b!r}"


def sharing(value):
    """The number of its storage for each tensor."""
    first, out = {}, []
    for name, x in flat(value):
        if plain(x) and x.numel():
            storage = x.untyped_storage() if hasattr(x, "untyped_storage") else x.storage()
            out.append(first.setdefault(storage.data_ptr(), len(first)))
    return out


def check_dump(path, value, what):
    got = entries(both("dump", path, what, "-k", ""))
    got = {e.name: e for e in got if e.kind in ("tensor", "composite")}
    expected = dict(flat(value))
    t.eq(list(got), list(expected), f"{what}: names")
    for name, x in expected.items():
        e = got.get(name)
        if e is None or not plain(x) or lazy(x):
            continue
        if (e.dtype, e.shape) != (str(x.dtype).replace("torch.", ""), list(x.shape)) or e.data != tap.bits(x):
            t.ok(False, f"{what}: dtype, shape and contents of {name}")
            return
    t.ok(True, f"{what}: dtypes, shapes and contents are equal")


def check_copy(path, value, what, safe=True):
    out = both("copy", path, what)
    to = tmp / "copy.pth"
    to.write_bytes(out)
    records = records_of(to)
    t.ok(container(records) == out, f"{what}: the container of the copy equals that of an independent writer byte for byte")
    numbers = [name for name, _ in records if name.startswith("data/")]
    t.eq([name for name, _ in records], ["data.pkl", "byteorder", "version"] + [f"data/{i}" for i in range(len(numbers))],
         f"{what}: the copy has the right records in order")
    modes = [{"weights_only": False}]
    if new:
        modes += [{"weights_only": True}, {"weights_only": True, "mmap": True}] if safe else [{"weights_only": False, "mmap": True}]
    for mode in modes:
        back = torch.load(to, map_location="cpu", **mode)
        t.eq(equal(value, back), None, f"{what}: the copy loads with {mode}")
        t.eq(sharing(back), sharing(value), f"{what}: shared storages stay shared with {mode}")
    again = drive("copy", to, pipe=True)
    t.ok(again.out == out and "note" not in again.err,
         f"{what}: a copy of the copy through a pipe has the same bytes, and nothing was held in memory")


sys.modules["tests_mine"] = sys.modules["__main__"]
Mine.__module__ = "tests_mine"
Mine.__qualname__ = "Mine"

for i in range(rounds):
    with t.part(f"round {i}"):
        value = state_dict(exotic=i % 2 == 1, size=rng.choice([1, 3, 8, 15, 40]))
        if not has_tensor(value):
            value["w"] = base(torch.float32)
        path = tmp / "a.pth"
        torch.save(value, path)
        reference = torch.load(path, **({"weights_only": False} if new else {}))
        streamed = drive("dump", path, "-k", "", pipe=True)
        t.ok(streamed.status == 0 and "note" not in streamed.err, f"round {i}: a pipe is read without holding records in memory")
        check_dump(path, reference, f"round {i}")
        check_copy(path, reference, f"round {i}")

with t.part("subclass"):
    mine = torch.rand(2, 3).as_subclass(Mine)
    mine.colour = "red"
    value = {"w": mine, "p": torch.nn.Parameter(torch.rand(2)), "x": torch.rand(1)}
    value["p"].extra = [torch.ones(2)]
    torch.save(value, tmp / "a.pth")
    value = torch.load(tmp / "a.pth", **({"weights_only": False} if new else {}))
    t.ok(type(value["w"]) is Mine and value["w"].colour == "red", "subclass: torch loads the tensor with its class and attribute")
    check_copy(tmp / "a.pth", value, "subclass and attributes", safe=False)

with t.part("protocols"):
    value = state_dict(False, 12)
    for protocol in (2, 3, 4, 5):
        torch.save(value, tmp / "a.pth", pickle_protocol=protocol)
        check_copy(tmp / "a.pth", torch.load(tmp / "a.pth", **({"weights_only": False} if new else {})), f"protocol {protocol}")

# ---- orders of records, and zips of other programs

with t.part("orders"):
    value = collections.OrderedDict((f"t{i}", torch.arange(i * 3, dtype=torch.float32)) for i in range(25))
    torch.save(value, tmp / "a.pth")
    records = dict(records_of(tmp / "a.pth"))
    expected = drive("dump", tmp / "a.pth").out.split(b"\n", 1)[1]
    keys = sorted((name for name in records if name.startswith("data/")), key=lambda k: int(k[5:]))
    marks = [(".format_version", b"1"), (".storage_alignment", b"64"), ("byteorder", b"little")]
    pickled, tail = [("data.pkl", records["data.pkl"])], [("version", b"3\n"), (".data/serialization_id", b"0" * 40)]

    def data(names):
        return [(name, records[name]) for name in names]

    orders = {  # what: records, and whether a pipe is read without holding records in memory
        "2.7 and later": (pickled + marks + data(keys) + tail, True),
        "2.1 to 2.6": (pickled + marks[2:] + data(sorted(keys)) + tail, True),
        "1.6 to 2.0": (pickled + data(sorted(keys)) + tail[:1], True),
        "lnn-tools": (pickled + marks[2:] + tail[:1] + data(keys), True),
        "1.5": (tail[:1] + pickled + data(sorted(keys)), True),
        "a rotated order": (pickled + tail[:1] + data(keys[3:] + keys[:3]), True),
        "backwards": (pickled + data(keys[::-1]) + tail[:1], True),
        "a zip with an unknown record": (pickled + [("extra/x", b"PK\7\x08" * 999)] + data(sorted(keys)) + tail, True),
        "a zip with data first": (data(keys) + pickled + tail, False),
    }
    for what, (listed, forward) in orders.items():
        (tmp / "b.pth").write_bytes(container(listed, "any root"))
        torch.load(tmp / "b.pth")
        out = both("dump", tmp / "b.pth", f"record order of {what}")
        t.ok(out.split(b"\n", 1)[1] == expected, f"record order of {what}: the same contents")
        note = "note" in drive("dump", tmp / "b.pth", pipe=True).err
        t.eq(note, not forward,
             f"record order of {what}: a pipe is read {'without holding records in memory' if forward else 'with records held in memory'}")

    def zipped(method, streamed=False, names=None):
        out = io.BytesIO()
        if streamed:
            out.seekable = lambda: False
            out.tell = lambda: (_ for _ in ()).throw(OSError())
        with zipfile.ZipFile(out, "w", method) as z:
            for name in names or records:
                z.writestr(zipfile.ZipInfo(f"r/{name}"), records[name], method)
        return out.getvalue()

    packed = {
        "stored by Python": zipped(zipfile.ZIP_STORED),
        "deflated by Python": zipped(zipfile.ZIP_DEFLATED),
        "stored by Python on a pipe": zipped(zipfile.ZIP_STORED, True),
        "deflated by Python on a pipe": zipped(zipfile.ZIP_DEFLATED, True),
        "backwards": zipped(zipfile.ZIP_STORED, names=list(records)[::-1]),
        "with trailing bytes": (tmp / "a.pth").read_bytes() + b"x" * 100,
    }
    for what, raw in packed.items():
        (tmp / "b.pth").write_bytes(raw)
        torch.load(tmp / "b.pth")
        out = both("dump", tmp / "b.pth", what)
        t.ok(out.split(b"\n", 1)[1] == expected, f"{what}: the same contents")
    if shutil.which("zip"):
        with t.part("zip"):
            with zipfile.ZipFile(tmp / "a.pth") as z:
                z.extractall(tmp / "x")
            for flags in ("-0", "-9", "-0fd"):
                (tmp / "c.zip").unlink(missing_ok=True)
                subprocess.run(["zip", "-qr", flags, "../c.zip", "."], cwd=tmp / "x", check=True)
                torch.load(tmp / "c.zip")
                out = both("dump", tmp / "c.zip", f"zip {flags}")
                t.ok(out.split(b"\n", 1)[1] == expected, f"zip {flags}: the same contents")

# ---- bad files

def refused(what, raw, must=True):
    (tmp / "b.pth").write_bytes(raw)
    for pipe in (False, True):
        got = drive("copy", tmp / "b.pth", pipe=pipe)
        good = got.status == 2 and got.err.count("error:") == 1
        if must:
            t.ok(good, f"{what} is refused{' on a pipe' if pipe else ''}") or t.note(got.err or got.status)
        if got.out and got.status:
            (tmp / "c.pth").write_bytes(got.out)
            try:
                torch.load(tmp / "c.pth")
                t.ok(False, f"{what}: the output before the failure does not load")
            except Exception:
                pass


with t.part("damaged"):
    good = (tmp / "a.pth").read_bytes()
    for cut in sorted({0, 1, 3, 4, 29, 30, 63, 64, 100, *(rng.randrange(len(good)) for _ in range(60)), len(good) - 1, len(good) - 21}):
        refused(f"cut to {cut} bytes", good[:cut])

    def with_record(name, content):
        return container([(k, content if k == name else v) for k, v in orders["2.7 and later"][0]])

    listed = orders["2.7 and later"][0]
    refused("a short record", with_record("data/7", records["data/7"][:-1]))
    refused("a long record", with_record("data/7", records["data/7"] + b"x"))
    refused("no version", container([r for r in listed if r[0] != "version"]))
    refused("version 0", with_record("version", b"0\n"))
    refused("version 11", with_record("version", b"11\n"))
    refused("an unknown byteorder", with_record("byteorder", b"middle"))
    refused("a missing record", container([r for r in listed if r[0] != "data/5"]))
    refused("a record twice", container(listed[:8] + listed[7:]))
    refused("a record in two cases", container(listed[:8] + [(listed[7][0].upper(), listed[7][1])] + listed[8:]))
    at = good.index(b"a/data/7FB")
    refused("a local name that differs", good[:at] + b"a/data/X" + good[at + 8:])
    at = good.rindex(b"a/data/7")
    refused("a directory name that differs", good[:at] + b"a/data/X" + good[at + 8:])
    refused("an offset that differs", good[:at - 4] + struct.pack("<I", 64) + good[at:])
    refused("an empty zip", container([]))
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), buffer)
    (tmp / "script.pt").write_bytes(buffer.getvalue())
    got = entries(both("dump", tmp / "script.pt", "TorchScript"))
    t.eq([(e.name, e.shape) for e in got if e.kind == "tensor"], [("weight", [2, 3]), ("bias", [2])],
         "the tensors of a TorchScript archive are listed")

with t.part("pickle"):
    head = b"\x80\x02}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"

    def with_geometry(offset=b"K\0", size=b"K\2\x85", stride=b"K\1\x85", numel=b"K\4", body=b"\0" * 16):
        text = head + b"0X\3\0\0\0cpu" + numel + b"tQ" + offset + size + stride + b"\x89ccollections\nOrderedDict\n)Rt" + b"Rs."
        return container([("data.pkl", text), ("data/0", body), ("version", b"3\n")])

    (tmp / "b.pth").write_bytes(with_geometry())
    t.eq([(e.name, e.shape) for e in entries(both("dump", tmp / "b.pth", "a pickle built by hand"))], [("w", [2])],
         "the tensor of a pickle built by hand is listed")
    refused("a view past its storage", with_geometry(size=b"K\5\x85"))
    refused("an offset past its storage", with_geometry(offset=b"K\3"))
    refused("a negative size", with_geometry(size=b"J\xff\xff\xff\xff\x85"))
    refused("a negative stride", with_geometry(stride=b"J\xff\xff\xff\xff\x85"))
    refused("a negative offset", with_geometry(offset=b"J\xff\xff\xff\xff"))
    refused("a stride that overflows", with_geometry(stride=b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85"))
    refused("a huge size", with_geometry(size=b"\x8a\x09\0\0\0\0\0\0\0\0\1\x85"))
    refused("two sizes, one stride", with_geometry(size=b"K\1K\1\x86"))
    refused("a huge storage", with_geometry(numel=b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"))

t.done()
