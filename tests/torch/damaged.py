"""Checkpoints that are each damaged or crafted at one place. Every generator yields (description, bytes of the file)."""

import io
import json
import pickletools
import struct
import zipfile
import zlib

import torch
from safetensors.torch import save as safetensors_save

import hand_pickles as hand


def saved(tree, **options):
    b = io.BytesIO()
    torch.save(tree, b, **options)
    return b.getvalue()


# ---- any format


def cut(what, data, borders):
    """Cuts at every border of the structure, and a byte before and after."""
    for at in sorted({b + d for b in borders for d in (-1, 0, 1)}):
        if 0 <= at < len(data):
            yield f"{what}, cut to {at} bytes", data[:at]


def numbers(what, data, fields):
    """Sets each field (name, offset, width) to other values."""
    for name, at, width in fields:
        was = int.from_bytes(data[at : at + width], "little")
        top = 1 << 8 * width
        for value in sorted({0, 1, (was + 1) % top, (was - 1) % top, top // 2, top - 1} - {was}):
            yield f"{what}, {name} = {value:#x}", data[:at] + value.to_bytes(width, "little") + data[at + width :]


# ---- zips

LOCAL = (("signature", 0, 4), ("flags", 6, 2), ("method", 8, 2), ("CRC", 14, 4), ("packed size", 18, 4), ("size", 22, 4),
         ("name length", 26, 2), ("extra length", 28, 2))
CENTRAL = (("signature", 0, 4), ("flags", 8, 2), ("method", 10, 2), ("CRC", 16, 4), ("packed size", 20, 4), ("size", 24, 4),
           ("name length", 28, 2), ("extra length", 30, 2), ("comment length", 32, 2), ("disk", 34, 2), ("attributes", 38, 4),
           ("offset", 42, 4))
DESCRIPTOR = (("signature", 0, 4), ("CRC", 4, 4), ("packed size", 8, 4), ("size", 12, 4))
END = (("signature", 0, 4), ("disk", 4, 2), ("directory's disk", 6, 2), ("entries here", 8, 2), ("entries", 10, 2),
       ("directory size", 12, 4), ("directory offset", 16, 4), ("comment length", 20, 2))
END64 = (("signature", 0, 4), ("length", 4, 8), ("disk", 16, 4), ("directory's disk", 20, 4), ("entries here", 24, 8),
         ("entries", 32, 8), ("directory size", 40, 8), ("directory offset", 48, 8))
LOCATOR = (("signature", 0, 4), ("disk", 4, 4), ("offset", 8, 8), ("disks", 16, 4))


class Zip:
    """A zip that is built by hand. `fields` has the places of its numbers, `borders` the begins of its parts."""

    def __init__(self, records, style, **fields):
        """style: torch (descriptors, zip64 end), headers (sizes in headers), both, deflated. fields: see below."""
        self.out = bytearray(fields.get("prefix", b""))
        self.fields, self.borders = [], []
        entries = []
        for name, data, *central_name in records:
            raw = name.encode()
            packed, method = data, 0
            if style == "deflated":
                z = zlib.compressobj(9, zlib.DEFLATED, -15)
                packed, method = z.compress(data) + z.flush(), 8
            described = style in ("torch", "both") and len(data) > 0
            flags = 0x0808 if described else 0x0800
            sizes = (zlib.crc32(data), len(packed), len(data)) if style != "torch" or not described else (0, 0, 0)
            header = len(self.out)
            self.add(name, "local", LOCAL, struct.pack("<IHHHHHIIIHH", 0x04034b50, 0, flags, method, 0, 0, *sizes, len(raw), 0))
            self.out += raw
            self.borders.append(len(self.out))
            self.out += packed
            self.borders.append(len(self.out))
            descriptor = fields.get("descriptor", "<IIII")
            if described and descriptor == "<III":
                self.out += struct.pack("<III", zlib.crc32(data), len(packed), len(data))
            elif described and descriptor:
                self.add(name, "descriptor", DESCRIPTOR if descriptor == "<IIII" else (),
                         struct.pack(descriptor, 0x08074b50, zlib.crc32(data), len(packed), len(data)))
            self.out += fields.get("between", b"")
            raw = central_name[0].encode() if central_name else raw
            entries.append((name, struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 0, 0, flags, method, 0, 0, zlib.crc32(data),
                                              len(packed), len(data), len(raw), 0, 0, 0, 0, 0, header) + raw))
        drop, twice = fields.get("unlisted", ()), fields.get("listed_twice", ())
        entries = [e for e in entries if e[0] not in drop] + [e for e in entries if e[0] in twice]
        if fields.get("backwards"):
            entries.reverse()
        start = len(self.out)
        for name, entry in entries:
            self.add(name, "central", CENTRAL, entry)
        end = len(self.out)
        self.out += fields.get("before_end", b"")
        wide = style == "torch"
        if wide:
            at = len(self.out)
            self.add("", "zip64 end", END64, struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 0x31e, 45, 0, 0, len(entries),
                                                         len(entries), end - start, start))
            self.add("", "zip64 locator", LOCATOR, struct.pack("<IIQI", 0x07064b50, 0, at, 1))
        comment = fields.get("comment", b"")
        narrow = (len(entries), len(entries), end - start, 0xffffffff if wide else start)
        self.add("", "end", END, struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, *fields.get("end", narrow), len(comment)))
        self.out += comment + fields.get("behind", b"")
        self.data = bytes(self.out)

    def add(self, name, part, fields, raw):
        at = len(self.out)
        self.borders.append(at)
        self.fields += [(f"{part} {name} {field}", at + off, width) for field, off, width in fields]
        self.out += raw


def records_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return [(i.filename, z.read(i)) for i in z.infolist()
                if not i.filename.endswith((".format_version", ".storage_alignment", "serialization_id"))]


def zips():
    torch.manual_seed(11)
    w = torch.randn(2, 3)
    records = records_of(saved({"w": w, "t": w.t(), "b": torch.arange(3, dtype=torch.float16), "n": torch.tensor(5)}))
    folder = records[0][0].partition("/")[0]

    def name(what):
        return f"{folder}/{what}"

    pick = [name(x) for x in ("data.pkl", "data/0", "version")]
    for style in ("torch", "headers", "both", "deflated"):
        z = Zip(records, style)
        yield style, z.data
        yield from cut(style, z.data, z.borders)
        chosen = pick if style in ("torch", "headers") else pick[1:2]
        for part in ("local", "descriptor", "central", "end", "zip64"):
            if part != "local" and style in ("both", "deflated"):
                continue
            yield from numbers(style, z.data, [f for f in z.fields if f[0].startswith(part) and
                                               (part in ("end", "zip64") or f[0].split()[1] in chosen)])

    def changed(**of):
        return [(k, of.get(k.partition("/")[2].replace(".", "_").replace("/", "_"), v)) for k, v in records]

    twice = changed(data_0=bytes(24))
    for style in ("torch", "headers"):
        def made(what, rows, **fields):
            return f"{style}: {what}", Zip(rows, style, **fields).data

        yield made("a record twice, one after the other", records + [r for r in twice if r[0] == name("data/0")])
        yield made("the pickle twice", records + records[:1])
        yield made("a record twice in the directory", records, listed_twice=(name("data/0"),))
        yield made("a record that is not listed", records + [(name("extra"), b"x")], unlisted=(name("extra"),))
        yield made("a storage that is not listed", records, unlisted=(name("data/0"),))
        yield made("a version that is not listed", records, unlisted=(name("version"),))
        yield made("a hidden storage of the same name", records[:-1] + [(name("data/0") + "", bytes(24), name("data/9"))] + records[-1:])
        for what in ("DATA/0", "data/0/", "data//0", "./data/0", "data/00", "data/0 ", "Data.pkl", "VERSION", "Version", "data\\0", "extra",
                     "data/../data/0", "data/", "data/9", ".data/version", "constants.pkl", "tensors/0", "attributes.pkl"):
            yield made(f"{what} beside", records + [(name(what), b"6\n" if "ersion" in what else bytes(24))])
            yield made(f"{what} before the data", records[:1] + [(name(what), b"6\n" if "ersion" in what else bytes(24))] + records[1:])
        for what in ("DATA/0", "data//0", "./data/0", "data/1", "data/0/"):
            yield made(f"a local name of {what}", [(name(what) if r[0] == name("data/0") else r[0], r[1], r[0]) for r in records])
            yield made(f"a central name of {what}", [(*r, name(what) if r[0] == name("data/0") else r[0]) for r in records])
            yield made(f"data/0 is called {what}", [(name(what) if r[0] == name("data/0") else r[0], r[1]) for r in records])
        yield made("another folder beside", records + [("other/x", b"x")])
        yield made("a copy in another folder", records + [("other" + r[0][len(folder):], r[1]) for r in twice])
        yield made("a copy in a folder that differs in case", records + [(folder.upper() + r[0][len(folder):], r[1]) for r in twice])
        yield made("a folder in capitals", [("ARCHIVE" + r[0][len(folder):], r[1]) for r in records])
        yield made("a folder in capitals, and a variant", [("ARCHIVE" + r[0][len(folder):], r[1]) for r in records]
                   + [("ARCHIVE/DATA/0", bytes(24))])
        yield made("no folder", [(r[0][len(folder) + 1:], r[1]) for r in records])
        yield made("an empty folder name", [(r[0][len(folder):], r[1]) for r in records])
        yield made("a folder in a folder", [("x/" + r[0], r[1]) for r in records])
        yield made("a name that is empty", records + [("", b"x")])
        yield made("a name with NUL", records + [(name("x\0y"), b"x")])
        yield made("backwards in the directory", records, backwards=True)
        yield made("backwards in the file", records[::-1])
        yield made("the pickle last", records[1:] + records[:1])
        yield made("bytes before", records, prefix=b"x" * 64)
        yield made("a zip before", records, prefix=Zip(twice, "headers").data)
        yield made("a zip behind", records, behind=Zip(twice, "headers").data)
        yield made("an end record behind", records, behind=struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, 0, 0, 0, 0, 0))
        yield made("an end record in the comment", records, comment=struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, 0, 0, 0, 0, 0))
        yield made("a comment", records, comment=b"hello")
        yield made("a long comment", records, comment=b"x" * 65535)
        yield made("bytes behind", records, behind=b"x" * 10)
        yield made("many bytes behind", records, behind=b"x" * 70000)
        yield made("bytes between records", records, between=b"junk")
        yield made("bytes before the end", records, before_end=b"junk")
        yield made("the pickle goes on behind STOP", changed(data_pkl=records[0][1] + b"x" * 50))
        yield made("a second pickle behind STOP", changed(data_pkl=records[0][1] * 2))
        yield made("no data behind the pickle", records[:1])
        for what, text in (("empty", b""), ("no number", b"x\n"), ("of 0", b"0\n"), ("of 11", b"11\n"), ("of 2^64", b"18446744073709551616"),
                           ("after a space", b" 3"), ("with a sign", b"+3\n"), ("negative", b"-3\n"), ("with more behind", b"3x")):
            yield made(f"a version {what}", changed(version=text))
        for what, text in (("empty", b""), ("big", b"big"), ("with a line break", b"little\n"), ("in capitals", b"LITTLE"), ("unknown", b"middle")):
            yield made(f"a byte order {what}", changed(byteorder=text))
        for n in (0, 1, 23, 25, 1000):
            yield made(f"a storage of {n} bytes instead of 24", changed(data_0=bytes(n)))
        yield made("no version", [r for r in records if r[0] != name("version")])
        yield made("no byteorder", [r for r in records if r[0] != name("byteorder")])
        yield made("no pickle", records[1:])
        yield made("no storage", [r for r in records if r[0] != name("data/0")])
        yield made("an end record that says less", records, end=(1, 1, 64, 0))
        yield made("no records", [])
    for what, descriptor in (("of 24 bytes", "<IIQQ"), ("without signature", "<III"), ("missing", "")):
        yield f"descriptors {what}", Zip(records, "torch", descriptor=descriptor).data
        yield f"descriptors {what}, and sizes", Zip(records, "both", descriptor=descriptor).data
    # Two entries of the directory refer to the same bytes.
    z = Zip(records, "headers")
    a, b = (next(at for f, at, _ in z.fields if f == f"central {name(k)} offset") for k in ("data/1", "data/2"))
    yield "two entries at one header", z.data[:a] + z.data[b : b + 4] + z.data[a + 4 :]


# ---- pickles


def in_zip(pickle, *more):
    return Zip([("archive/data.pkl", pickle), ("archive/byteorder", b"little"), ("archive/data/0", bytes(range(16))),
                ("archive/data/1", bytes(range(16, 32))), ("archive/data/2", bytes(range(32, 48))),
                ("archive/data/empty", b""), *more, ("archive/version", b"3\n")], "torch").data


def rows():
    """Values of a state dict in addition to those of hand_pickles."""
    for n in (0, 3, 5, 2**31 - 1):
        yield f"a storage of {n} elements", hand.tensor(hand.storage(numel=n), 0, (n and 4,))
        yield f"a tensor of {n} elements", hand.tensor(size=(n,))
    long = b"\x8a\x08" + (2**62).to_bytes(8, "little")
    yield "2^62 elements", hand.g(hand.V2) + b"(" + hand.tup(hand.u("storage"), hand.g("torch.FloatStorage"), hand.u("0"), hand.u("cpu"),
                                                            long) + b"Q" + hand.i(0) + b"(" + long + b"t" + hand.ints(1) + b"\x89" + hand.HOOKS + b"tR"
    yield "an offset of 2^62", hand.g(hand.V2) + b"(" + hand.storage() + long + hand.ints(4) + hand.ints(1) + b"\x89" + hand.HOOKS + b"tR"
    yield "an offset of 2^62, no elements", hand.g(hand.V2) + b"(" + hand.storage() + long + hand.ints(0) + hand.ints(1) + b"\x89" + hand.HOOKS + b"tR"
    yield "one storage, two dtypes", hand.tup(hand.T, hand.tensor(hand.storage("torch.IntStorage")))
    yield "one storage, two sizes", hand.tup(hand.T, hand.tensor(hand.storage(numel=2), 0, (2,)))
    yield "one storage, typed and untyped", hand.tup(hand.T, hand.tensor(hand.storage("torch.storage.UntypedStorage", "0", 16), 0, (8,),
                                                                        path=hand.V3, rest=hand.g("torch.uint16")))
    yield "one storage, two devices", hand.tup(hand.T, hand.tensor(hand.storage(location="cuda:0")))
    yield "a storage on a meta device", hand.tensor(hand.storage(location="meta"))
    yield "an unknown device", hand.tensor(hand.storage(location="toaster"))
    yield "a tensor as its own neighbour", hand.T + b"q\x07h\x07\x86"
    yield "a list in itself", b"]q\x07h\x07a"
    yield "a dict in itself", b"}q\x07" + hand.u("x") + b"h\x07s"
    yield "a memo that is written twice", hand.T + b"q\x07" + hand.LONG + b"q\x07h\x07\x87"
    yield "65 dimensions", hand.tensor(size=(1,) * 65, stride=(1,) * 65)
    yield "64 dimensions", hand.tensor(size=(1,) * 64, stride=(1,) * 64)
    yield "a stride that overflows", hand.tensor(size=(1, 4), stride=(2**31 - 1, 1))
    yield "a name twice", b"}(" + hand.u("a") + hand.T + hand.u("a") + hand.LONG + b"u"
    yield "a name that is a path", b"}(" + hand.u("a.b") + hand.T + hand.u("a") + b"}" + hand.u("b") + hand.LONG + b"su"


def pickles():
    ok = hand.tensor(hand.storage("torch.ShortStorage", "1", 8), 0, (8,))
    for what, value in (*hand.by_hand(), *rows()):
        yield what, in_zip(b"\x80\x02}(" + hand.u("ok") + ok + hand.u("v") + value + b"u.")
    for what, pickle in hand.BROKEN:
        yield what, in_zip(pickle)
    yield "a name twice", in_zip(b"\x80\x02}(" + hand.u("a") + ok + hand.u("a") + hand.T + b"u.")
    for what, root in (("a list", b"](" + ok + hand.T + b"e"), ("a tensor", ok), ("a number", b"K\x01"), ("nothing", b"N"), ("{}", b"}"),
                       ("an OrderedDict with _metadata", hand.HOOKS + b"(" + hand.u("a") + ok + b"u}" + hand.u("_metadata") + b"}sb"),
                       ("a dict with numbers for keys", b"}(K\x01" + ok + hand.u("1") + hand.T + b"u")):
        yield f"the root is {what}", in_zip(b"\x80\x02" + root + b".")
    for version in range(0, 7):
        yield f"protocol {version}", in_zip(b"\x80" + bytes([version]) + b"}" + hand.u("a") + ok + b"s.")
    yield "no PROTO", in_zip(b"}" + hand.u("a") + ok + b"s.")
    yield "no STOP", in_zip(b"\x80\x02}" + hand.u("a") + ok + b"s")


# ---- legacy streams


def legacies():
    torch.manual_seed(12)
    w = torch.randn(2, 3)
    data = saved({"w": w, "t": w.t(), "b": torch.arange(3, dtype=torch.float16)}, _use_new_zipfile_serialization=False)
    f, borders = io.BytesIO(data), [0]
    for _ in range(5):
        for _ in pickletools.genops(f):
            pass
        borders.append(f.tell())
    magic, protocol, info, tree, keys = (data[a:b] for a, b in zip(borders, borders[1:]))
    storages, at = [], borders[5]
    while at < len(data):
        count = int.from_bytes(data[at : at + 8], "little")
        storages.append(at)
        at += 8 + count * (4 if count == 6 else 2)
    yield "whole", data
    yield from cut("legacy", data, borders + storages + [s + 8 for s in storages])
    yield from numbers("legacy", data, [(f"count {i}", s, 8) for i, s in enumerate(storages)])
    yield from numbers("legacy", data, [(f"byte {i} of the magic number", borders[0] + i, 1) for i in (0, 1, 2, 3, 4, 12, 13)])
    yield from numbers("legacy", data, [(f"byte {i} of the protocol", borders[1] + i, 1) for i in range(len(protocol))])

    def made(magic=magic, protocol=protocol, info=info, tree=tree, keys=keys, rest=data[borders[5]:]):
        return magic + protocol + info + tree + keys + rest

    names = [arg for op, arg, _ in pickletools.genops(keys) if op.name == "BINUNICODE"]

    def listed(*what):
        return b"\x80\x02](" + b"".join(hand.u(x) if isinstance(x, str) else x for x in what) + b"e."

    first, second = data[storages[0]:storages[1]], data[storages[1]:]
    yield "keys the other way round", made(keys=listed(*names[::-1]), rest=second + first)
    yield "keys the other way round, data not", made(keys=listed(*names[::-1]))
    yield "a key fewer", made(keys=listed(names[0]))
    yield "a key fewer, and its data", made(keys=listed(names[0]), rest=first)
    yield "a key more", made(keys=listed(*names, "7"))
    yield "a key more, and data", made(keys=listed(*names, "7"), rest=first + second + first)
    yield "a key twice", made(keys=listed(*names, names[0]))
    yield "a key twice, and its data", made(keys=listed(*names, names[0]), rest=first + second + first[:8] + bytes(24))
    yield "a number for a key", made(keys=listed(*names, b"K\x01"))
    yield "no keys", made(keys=b"\x80\x02].")
    yield "keys in a tuple", made(keys=b"\x80\x02(" + b"".join(map(hand.u, names)) + b"t.")
    yield "keys in a dict", made(keys=b"\x80\x02}.")
    yield "keys are a number", made(keys=b"\x80\x02K\x01.")
    yield "no system information", made(info=b"\x80\x02}.")
    yield "system information that is a number", made(info=b"\x80\x02K\x01.")
    yield "another system information", made(info=b"\x80\x02}(" + hand.u("little_endian") + b"\x89u.")
    yield "protocol 1000", made(protocol=b"\x80\x02M\xe8\x03.")
    yield "a magic number in a long of four", made(magic=b"\x80\x02\x8b\x0a\0\0\0" + magic[4:])
    yield "bytes behind", data + b"x"
    yield "a second stream behind", data + data
    yield "a zip behind", data + saved({"w": w})
    yield "a byte before", b"\n" + data
    yield "two pickles without their data", made(rest=b"")
    ok = hand.storage().replace(b"tQ", b"NtQ")
    for what, value in (("", hand.T), ("a view in the id", hand.tensor(hand.tup(hand.u("storage"), hand.g("torch.FloatStorage"), hand.u("0"),
                        hand.u("cpu"), hand.i(4), hand.tup(hand.u("v"), hand.i(1), hand.i(2))) + b"Q", 0, (2,))),
                        ("two elements in the id", hand.tensor(hand.storage(numel=2), 0, (2,))), ("an id of five", None)):
        value = hand.T if value is None else value.replace(hand.storage(), ok).replace(hand.storage(numel=2), hand.storage(numel=2).replace(b"tQ", b"NtQ"))
        yield f"by hand: {what}", made(tree=b"\x80\x02}" + hand.u("w") + value + b"s.", keys=listed("0"),
                                       rest=struct.pack("<q", 4) + bytes(range(16)))


# ---- safetensors


def safetensors():
    torch.manual_seed(13)
    data = safetensors_save({"a": torch.randn(2, 3), "b": torch.zeros(0, 2), "c": torch.tensor(1, dtype=torch.int64)}, {"format": "pt"})
    n = int.from_bytes(data[:8], "little")
    yield "whole", data
    yield from cut("safetensors", data, [0, 8, 9, 8 + n, len(data)])
    yield from numbers("safetensors", data, [("header length", 0, 8)])
    eight = bytes(range(8))

    def made(header, body=eight):
        header = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
        return struct.pack("<Q", len(header)) + header + body

    def entry(shape="[2]", offsets="[0,8]", dtype='"F32"', more=""):
        return '{"dtype":%s,"shape":%s,"data_offsets":%s%s}' % (dtype, shape, offsets, more)

    one = '{"a":%s}' % entry()
    for what in (" ", "   ", "\n", "\t", "\r", "\0", "\x0b", "x", "}", ",", "{}", "//"):
        yield f"{what!r} behind the header", made(one + what)
        yield f"{what!r} before the header", made(what + one)
    for number in ("2", "2.0", "2e0", "1e2", "-0", "-2", "02", "+2", "NaN", "Infinity", '"2"', "null", "18446744073709551618", "[2]", "true"):
        yield f"a dimension of {number}", made('{"a":%s}' % entry(shape=f"[{number}]"))
        yield f"an offset of {number}", made('{"a":%s}' % entry(shape="[2]", offsets=f"[0,{number}]", dtype='"U8"'), eight[:2])
    yield "a BOM", made(b"\xef\xbb\xbf" + one.encode())
    yield "a name twice", made('{"a":%s,"a":%s}' % (entry("[1]", "[0,4]"), entry("[1]", "[4,8]")))
    yield "a name twice, by an escape", made('{"a":%s,"\\u0061":%s}' % (entry("[1]", "[0,4]"), entry("[1]", "[4,8]")))
    yield "names that differ in case", made('{"a":%s,"A":%s}' % (entry("[1]", "[0,4]"), entry("[1]", "[4,8]")))
    for field in ("dtype", "shape", "data_offsets"):
        value = json.loads(entry())[field]
        yield f"{field} twice", made('{"a":%s}' % entry(more=',"%s":%s' % (field, json.dumps(value))))
        yield f"another {field} behind", made('{"a":%s}' % entry(more=',"%s":%s' % (field, {"dtype": '"I32"', "shape": "[1,2]"}.get(field, "[0,4]"))))
        yield f"no {field}", made('{"a":%s}' % json.dumps({k: v for k, v in json.loads(entry()).items() if k != field}))
    yield "a field more", made('{"a":%s}' % entry(more=',"x":[1,{"y":null}]'))
    for name in ("", "\\u00e9", "é", "\\ud83d\\ude00", "\\ud800", "\\udc00", "\\ud83dx", "\\u0000", "a.b", "\\n", "\n", "\\x41", "\ud800", " ", "/",
                 "\\u202e", "\x7f"):
        yield f"the name {name!r}", made('{"%s":%s}' % (name, entry()))
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"):
        yield f"the name {bad!r}", made(b'{"' + bad + b'":' + entry().encode() + b"}")
    for what, rows, size in (
        ("a gap", (("[1]", "[0,4]"), ("[1]", "[8,12]")), 12), ("an overlap", (("[2]", "[0,8]"), ("[2]", "[4,12]")), 12),
        ("the same bytes", (("[2]", "[0,8]"), ("[2]", "[0,8]")), 8), ("the other order", (("[1]", "[4,8]"), ("[1]", "[0,4]")), 8),
        ("a gap before", (("[1]", "[4,8]"),), 8), ("bytes behind", (("[1]", "[0,4]"),), 5), ("a byte too few", (("[2]", "[0,8]"),), 7),
        ("offsets backwards", (("[2]", "[8,0]"),), 8), ("too large for its shape", (("[1]", "[0,8]"),), 8),
        ("too small for its shape", (("[3]", "[0,8]"),), 8), ("a product that overflows", (("[4294967296,4294967296]", "[0,0]"),), 0),
        ("an empty one within", (("[2]", "[0,8]"), ("[0]", "[4,4]")), 8), ("an empty one at the end", (("[2]", "[0,8]"), ("[0]", "[8,8]")), 8),
        ("negative", (("[2]", "[-8,0]"),), 8), ("three offsets", (("[2]", "[0,8,8]"),), 8), ("unaligned", (("[1]", "[1,5]"),), 5),
    ):
        yield what, made("{%s}" % ",".join('"t%d":%s' % (i, entry(*r)) for i, r in enumerate(rows)), bytes(size))
    for dtype in ("F64", "f32", "F31", "", "BF16", "F8_E4M3", "BOOL", "C64", "U32", "F4"):
        yield f"dtype {dtype!r}", made('{"a":%s}' % entry("[1]", dtype=f'"{dtype}"'))
    for meta in ("{}", '{"format":"pt"}', '{"a":1}', "null", "[]", '"x"', '{"a":"b","a":"c"}', '{"a":null}'):
        yield f"__metadata__ is {meta}", made('{"__metadata__":%s,"a":%s}' % (meta, entry()))
    yield "__metadata__ twice", made('{"__metadata__":{"a":"b"},"a":%s,"__metadata__":{"a":"c"}}' % entry())
    for text in ("{}", "[]", "null", "", "{", '{"a"', '{"a":1}', '{"a":null}', '{"a":[]}', "{'a':1}", '{"a":%s,}' % entry(), '{"a":%s' % entry()):
        yield f"the header {text[:12]!r}", made(text)
