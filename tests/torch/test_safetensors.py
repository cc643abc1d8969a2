"""Compares our safetensors reader and writer with the reference implementation. Both accept and refuse the same damaged and unusual
headers, and each reads equal tensors from the files of the other."""

import itertools
import json
import random
import re
import struct
import subprocess

import tap

torch = tap.need_torch(2, 0)
tap.need("safetensors")
import safetensors
from safetensors.torch import load_file, save_file

t = tap.Tap()
tmp = tap.scratch()
rng = random.Random(20260)


def file_of(header, data=b"", length=None):
    if not isinstance(header, bytes):
        header = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


# ---- verdicts

corpus = []  # (what, bytes)


def case(what, header, data=b"", length=None):
    corpus.append((what, file_of(header, data, length)))


def raw(what, text, data=b""):
    corpus.append((what, file_of(text if isinstance(text, bytes) else text.encode(), data)))


def build_corpus():
    d8, one = bytes(range(8)), {"a": entry()}
    whole = file_of(one, d8)

    for n in range(len(whole)):
        corpus.append((f"cut to {n} bytes", whole[:n]))
    corpus.append(("one byte too many", whole + b"\0"))
    for n in (0, 1, 2, len(whole) - 17, len(whole) - 15, 10**8, 10**8 + 1, 2**31, 2**47, 2**63, 2**64 - 1):
        corpus.append((f"length {n}", struct.pack("<Q", n) + whole[8:]))

    for field, value in itertools.product(
        ("dtype", "shape", "data_offsets"),
        (None, True, 1, 1.5, "x", "F32", [], {}, [1], [2, 3], [0, 8], [0, 8, 8], ["0", "8"], [[0, 8]], [None, 8],
         [-1, 8], [0, -8], [0.0, 8.0], {"F32": None}),
    ):
        case(f"{field} is {value!r}", {"a": {**entry(), field: value}}, d8)
    for field in ("dtype", "shape", "data_offsets"):
        case(f"no {field}", {"a": {k: v for k, v in entry().items() if k != field}}, d8)
        body = json.dumps(entry())[1:-1]
        raw(f"{field} twice", '{"a":{%s,"%s":%s}}' % (body, field, json.dumps(entry()[field])), d8)
        raw(f"{field} spelt with an escape", '{"a":%s}' % json.dumps(entry()).replace(field, "\\u%04x" % ord(field[0]) + field[1:]), d8)
    for value in ("null", "1", '"x"', "[]", "{}", '["F32",[2],[0,8]]', "true"):
        raw(f"the entry is {value}", '{"a":%s}' % value, d8)
    for value in ("null", "1", "[]", '"x"', "true", "1.5", "12"):
        raw(f"the header is {value}", value)

    for number in ("2", "2.0", "2e0", "-0", "-2", "02", "+2", "2.", ".2", "0x2", "2_0", '"2"', "NaN", "Infinity", "true",
                   "18446744073709551616", "18446744073709551615", "1" + "0" * 400, "20e-1", " 2", "2 "):
        raw(f"a dimension of {number}", '{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,8]}}' % number, d8)
        raw(f"an offset of {number}", '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,%s]}}' % number, d8[:2])
        raw(f"an unknown field of {number}", '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":%s}}' % number, d8[:2])
    for number in ("1e308", "1e309", "-1e400", "1e-400", "9" * 309, "9" * 308, "1e99999999999", "0e99999999999"):
        raw(f"an unknown field of {number[:20]} ({len(number)})",
            '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":%s}}' % number, d8[:2])
    for value in ("[1,{}]", '{"y":[1,2,{"z":null}]}', "[1,]", "[,]", '{"y"}', '{"y":1,}', "tru", '"\\x"', '"\t"', "[", "nul"):
        raw(f"an unknown field of {value}", '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":%s}}' % value, d8[:2])
    for depth in (10, 100, 123, 124, 125, 126, 127, 128, 129, 130, 1000):
        raw(f"an unknown field {depth} deep",
            '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":%s%s}}' % ("[" * depth, "]" * depth), d8[:2])

    bits = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
            "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
            "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}
    for name, size in bits.items():
        for shape in ((4,), (3,), (2, 2), (1, 4), (), (0,), (0, 4), (4, 0), (8, 3), (2, 3)):
            count = 1
            for k in shape:
                count *= k
            data = bytes(count * size // 8)
            case(f"{name} {shape}", {"a": entry(name, shape, (0, len(data)))}, data)
        case(f"{name}, a byte too few", {"a": entry(name, (8,), (0, size - 1))}, bytes(size - 1))
        case(f"{name}, a byte too many", {"a": entry(name, (8,), (0, size + 1))}, bytes(size + 1))
    for name in ("f32", "F31", "C128", "C32", "I4", "U4", "F128", "Q8", "", "F32 ", "float32", "BF16\0", "F8", "F8_E4M3FN"):
        case(f"dtype {name!r}", {"a": entry(name, (2,), (0, 8))}, d8)

    def tiles(what, *entries, size=16):
        case(what, {f"t{i}": entry("U8", (b - a if shape is None else shape,), (a, b))
                    for i, (a, b, shape) in enumerate((*e, None)[:3] for e in entries)}, bytes(size))

    tiles("two", (0, 8), (8, 16))
    tiles("two, reversed", (8, 16), (0, 8))
    tiles("a hole", (0, 7), (8, 16))
    tiles("an overlap", (0, 9), (8, 16))
    tiles("the same bytes twice", (0, 16), (0, 16))
    tiles("a hole at the beginning", (1, 16))
    tiles("bytes left over", (0, 8), (8, 15))
    tiles("too much", (0, 8), (8, 17))
    tiles("reversed offsets", (8, 0, 8), (8, 16))
    tiles("empty tensors everywhere", (0, 0), (0, 8), (8, 8), (8, 8), (8, 16), (16, 16))
    tiles("an empty tensor inside another", (0, 16), (4, 4))
    tiles("an empty tensor after the end", (0, 16), (17, 17))
    tiles("only empty tensors", (0, 0), (0, 0), size=0)
    tiles("only empty tensors, and data", (0, 0), size=1)
    case("no tensors", {})
    case("no tensors, and data", {}, b"x")
    for shape in ((2**32, 2**32), (2**32, 2**32, 0), (0, 2**32, 2**32), (2**63, 2), (2**61,), (2**62, 4), (0,) * 5, (1,) * 60,
                  (2**64 - 1,), (2**60,), (2**58,)):
        case(f"shape {shape[:4]}", {"a": entry("F32", shape, (0, 0))})
    case("64 dimensions", {"a": entry("F32", (1,) * 64, (0, 4))}, bytes(4))
    case("65 dimensions", {"a": entry("F32", (1,) * 65, (0, 4))}, bytes(4))
    case("offsets near 2^64", {"a": entry("U8", (8,), (2**64 - 8, 2**64)), "b": entry("U8", (1,), (0, 1))}, b"x")
    case("offsets at 2^64-1", {"a": entry("U8", (2**64 - 1,), (0, 2**64 - 1))}, b"x")

    for meta in ("null", "{}", '{"format":"pt"}', '{"a":1}', '{"a":null}', '{"a":["b"]}', '{"a":{}}', "[]", '"x"', "1", "true",
                 '{"a":"b","a":"c"}', '{"":""}', '{"a":"\\u0000"}', '[["a","b"]]', '{"__metadata__":"x"}'):
        raw(f"__metadata__ is {meta}", '{"__metadata__":%s,"a":%s}' % (meta, json.dumps(entry())), d8)
    raw("__metadata__ twice", '{"__metadata__":{},"a":%s,"__metadata__":{}}' % json.dumps(entry()), d8)
    raw("__metadata__ null and again", '{"__metadata__":null,"a":%s,"__metadata__":{}}' % json.dumps(entry()), d8)
    raw("__metadata__ spelt with an escape", '{"\\u005f_metadata__":{"x":1},"a":%s}' % json.dumps(entry()), d8)
    raw("__metadata__ alone", '{"__metadata__":{"x":"y"}}')

    e = json.dumps(entry())
    for name in ("", "\\u0000", "\\n", "\\/", "\\u00e9", "\\ud83d\\ude00", "é", "😀", " ", "a.b", "\\\"", "\\\\", "\\b\\f\\r\\t",
                 "\\ud800", "\\udc00", "\\ud800x", "\\ud800\\u0041", "\\udc00\\ud800", "\\u12", "\\uzzzz", "\\x41", "\\'", "\\",
                 "\\u", "\u2028", "\x7f", "\t", "\x01", "\x1f"):
        raw(f"the name {name!r}", '{"%s":%s}' % (name, e), d8)
    for name in (b"\xff", b"\xc3", b"\xc3\x28", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80", b"\xef\xbb\xbf"):
        raw(f"the name {name!r}", b'{"' + name + b'":' + e.encode() + b"}", d8)
    for before, after in itertools.product((b"", b" ", b"\n", b"\t \r", b"\0", b"\x0b", b"\xef\xbb\xbf", b"//x\n"),
                                           (b"", b" ", b"\n\t\r ", b"\0", b"}", b"x", b",", b"/**/", b"{}")):
        raw(f"{before!r} before and {after!r} behind", before + json.dumps(one).encode() + after, d8)
    for broken in ("{", "{}}", '{"a"', '{"a":', '{"a":%s' % e, '{"a":%s,}' % e, '{,"a":%s}' % e, "{'a':%s}" % e, '{a:%s}' % e,
                   '{"a" %s}' % e, '{"a":%s "b":%s}' % (e, e), '{"a"::%s}' % e, '{"a":%s]' % e, '{"a":[}]'):
        raw(f"broken: {broken[:30]}", broken, d8)

    good = file_of({"__metadata__": {"format": "pt"}, "layer.weight": entry("F32", (2, 2), (0, 16)),
                    "layer.bias": entry("F16", (2,), (16, 20)), "n": entry("I64", (), (20, 28))}, bytes(28))
    for i in range(400):
        changed = bytearray(good)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            at = rng.randrange(0, len(good) - 28)
            how = rng.randrange(4)
            if how == 0:
                changed[at] ^= 1 << rng.randrange(8)
            elif how == 1:
                changed[at] = rng.choice(b' {}[]",:0123456789aFx\\-.')
            elif how == 2:
                del changed[at]
            else:
                changed.insert(at, rng.choice(b' {}[]",:0123456789\\'))
        if rng.random() < 0.7:  # keep the length right, so that the rest of the header is tested
            changed[:8] = struct.pack("<Q", len(changed) - 28 - 8)
        corpus.append((f"random change {i}", bytes(changed)))


def reference_says(path):
    try:
        with safetensors.safe_open(path, "pt") as f:
            list(f.keys())
        return True
    except Exception:
        return False


# Headers that the reference reader accepts and we refuse, by our message. lnn-tools(7) lists these by name.
STRICTER = {
    "entry": "a tensor's entry must be an object",  # its JSON library accepts an array, but the format requires an object
    "dtype": "dtype must be a string",  # its JSON library accepts {"F32": null}
    "f4": "the last dimension of F4",  # a byte would be divided between rows; torch has no such tensors
    "dimensions": "shape: more than 64 numbers",  # torch's limit
}


def verdicts():
    build_corpus()
    path = tmp / "case.safetensors"
    wrong, stricter, taken = [], [], 0
    for what, content in corpus:
        path.write_bytes(content)
        theirs = reference_says(path)
        ran = tap.run("lnn-ckpt-inspect", "--format=json", path, status=None)
        message = ran.stderr.decode(errors="replace")
        # A file without tensors is valid, though inspect has nothing to list.
        ours = ran.returncode == 0 or "no tensors" in message
        taken += ours
        reason = next((name for name, part in STRICTER.items() if part in message), None)
        if theirs and not ours and reason is not None:
            stricter.append(reason)
        elif theirs != ours or (not ours and (ran.returncode != 2 or len(message.splitlines()) != 1)):
            wrong.append(f"{what}: theirs {theirs}, ours {ran.returncode} {message}")
    t.ok(not wrong, f"{len(corpus)} headers: the verdicts agree, except for {len(stricter)} that only we refuse")
    t.note("\n".join(wrong))
    manual = (tap.TOP / "man" / "lnn-tools.7").read_text()
    t.eq(sorted(re.findall(r"^\.\\\" verdict: safetensors-(\S+)", manual, re.M)), sorted(set(stricter)),
         "lnn-tools(7) lists the reasons for which only we refuse")
    t.ok(taken > 150 and len(corpus) - taken > 400, "the corpus has many valid and many invalid headers")


# ---- contents

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
          torch.uint8, torch.bool, torch.complex64]
DTYPES += [getattr(torch, name) for name in ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
                                             "float8_e5m2fnuz", "float8_e8m0fnu") if hasattr(torch, name)]


def random_tensor(dtype):
    shape = [rng.choice((0, 1, 2, 3, 5, 8)) for _ in range(rng.randrange(0, 4))]
    count = 1
    for k in shape:
        count *= k
    size = torch.empty((), dtype=dtype).element_size()
    data = bytes(rng.randrange(2) if dtype == torch.bool else rng.randrange(256) for _ in range(count * size))
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(dtype).reshape(shape)


def random_set():
    names = ["a.weight", "", " ", "é", "😀.w", 'quote"\\', "tab\there", "\u2028", "\x7f", "x/y", "n\nl", "del\x00"]
    names += [f"blocks.{i}.{p}" for i in range(rng.randrange(1, 6)) for p in ("weight", "bias", "num")]
    rng.shuffle(names)
    return {name: random_tensor(rng.choice(DTYPES)) for name in names[: rng.randrange(1, len(names))]}


def same_set(a, b):
    return a.keys() == b.keys() and all(tap.same(a[k], b[k]) for k in a)


def listed(path, stdin=None):
    out = tap.run("lnn-ckpt-inspect", "--format=json", *([path] if stdin is None else []), stdin=stdin).stdout
    document = json.loads(out)
    return {e["name"]: (e["dtype"], e["shape"]) for e in document["tensors"]}


def contents():
    for i in range(25):
        with t.part(f"random set {i}"):
            tensors = random_set()
            path, out = tmp / "in.safetensors", tmp / "out.safetensors"
            meta = rng.choice((None, {"format": "pt"}, {"format": "pt", "kéy": 'v"\n\x01', "": ""}))
            save_file(tensors, path, metadata=meta)
            expected = {k: (str(v.dtype)[6:], list(v.shape)) for k, v in tensors.items()}
            t.eq(listed(path), expected, f"set {i}: names, dtypes and shapes of {len(tensors)} tensors are listed")
            t.eq(listed(None, stdin=path.read_bytes()), expected, f"set {i}: the list is the same from a pipe")

            tap.run("lnn-ckpt-adapt", path, "-o", out, status=None)
            if not out.exists():
                t.ok(False, f"set {i}: adapt wrote nothing")
                continue
            t.ok(same_set(load_file(out), tensors), f"set {i}: the reference reader reads equal tensors from our file")
            t.eq(out.read_bytes()[:8], struct.pack("<Q", len(out.read_bytes()) - 8 - sum(
                v.numel() * v.element_size() for v in tensors.values())), f"set {i}: the file consists of header and data only")
            with safetensors.safe_open(out, "pt") as f:
                t.eq(f.metadata(), meta or {"format": "pt"}, f"set {i}: the metadata is kept")
            aligned = all(e % tensors[k].element_size() == 0 for k, e in offsets(out).items() if tensors[k].numel())
            t.ok(aligned, f"set {i}: every tensor is aligned to the size of its elements")
            piped = tap.run("lnn-ckpt-adapt", stdin=path.read_bytes()).stdout
            t.ok(piped == out.read_bytes(), f"set {i}: pipes give the same bytes")
            out.unlink()


def offsets(path):
    content = path.read_bytes()
    n = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + n])
    return {k: 8 + n + v["data_offsets"][0] for k, v in header.items() if k != "__metadata__"}


def spelling():
    """A file of the reference writer is copied without a changed byte."""
    path = tmp / "spelt.safetensors"
    tensors = {"b\u2028é\x7f\"\\\n\x01": torch.arange(3, dtype=torch.int16), "a": torch.ones(2, 2), "c": torch.zeros(())}
    save_file(tensors, path, metadata={"format": "pt"})
    out = tap.run("lnn-ckpt-adapt", path, "-o", "-").stdout
    t.ok(out == path.read_bytes(), "a file of the reference writer is copied byte for byte")


def cut_pipes():
    """Bytes that a failing program has written to a pipe do not load."""
    path, out = tmp / "whole.safetensors", tmp / "partial.safetensors"
    save_file({"a": torch.arange(1000.0), "b": torch.arange(7, dtype=torch.uint8)}, path)
    content = path.read_bytes()
    loaded = []
    for n in sorted({*range(9, len(content), 271), len(content) - 1, len(content) - 8}):
        ran = tap.run("lnn-ckpt-adapt", stdin=content[:n], status=None)
        out.write_bytes(ran.stdout)
        if ran.returncode != 2 or reference_says(out):
            loaded.append(n)
    t.eq(loaded, [], "input that is cut off anywhere gives status 2, and the output does not load")


for part in (verdicts, contents, spelling, cut_pipes):
    with t.part(part.__name__):
        part()
t.done()
