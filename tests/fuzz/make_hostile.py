"""Usage: make_hostile.py FOLDER

Writes small files that state large sizes. tests/bats/hostile.bats reads them with the programs under a limit of memory.
"""

import copy
import io
import json
import pathlib
import struct
import sys
import zipfile

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)


def put(name, data):
    (out / name).write_bytes(data if isinstance(data, bytes) else data.encode())


# ---- safetensors

def safetensors(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


for n in (10**8, 10**8 + 1, 2**32, 2**63, 2**64 - 1):
    put(f"header-of-{n}.safetensors", safetensors('{"a":1', length=n))
put("huge-tensor.safetensors", safetensors(json.dumps({"a": entry([2**40], 0, 2**42)})))
put("huge-shape.safetensors", safetensors(json.dumps({"a": entry([2**32, 2**32, 2**32], 0, 8)}), bytes(8)))
put("many-dimensions.safetensors", safetensors(json.dumps({"a": entry([1] * 100000, 0, 4)}), bytes(4)))
put("deep.safetensors", safetensors('{"a":' + "[" * 100000))
put("deep-balanced.safetensors", safetensors('{"a":' + "[" * 50000 + "]" * 50000 + "}"))
put("long-string.safetensors", safetensors('{"' + "\\u0041" * 100000))

# ---- indexes

put("deep.index.json", '{"weight_map":' + '{"a":' * 100000)
put("total.index.json", '{"metadata":{"total_size":18446744073709551615},"weight_map":{"a":"no-such-file.bin"}}')
put("number.index.json", '{"metadata":{"total_size":' + "9" * 100000 + '},"weight_map":{"a":"no-such-file.bin"}}')

# ---- zips

def pack(names, method=zipfile.ZIP_STORED):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w", method) as z:
        for name, data in names:
            z.writestr(zipfile.ZipInfo(name), data, method)
    return b.getvalue()


def storage(cls, key, n):
    return (b"(X\7\0\0\0storagectorch\n" + cls + b"\nX" + struct.pack("<I", len(key)) + key + b"X\3\0\0\0cpu"
            + number(n) + b"tQ")


def number(n):
    raw = n.to_bytes((n.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tensor(n, shape, stride=None, cls=b"FloatStorage", key=b"0", offset=0):
    shape = b"(" + b"".join(map(number, shape)) + b"t"
    stride = b"(" + b"".join(map(number, stride)) + b"t" if stride is not None else b"(" + number(1) + b"t"
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(cls, key, n) + number(offset) + shape + stride
            + b"\x89ccollections\nOrderedDict\n(tRtR")


def tree(value, before=b""):
    return b"\x80\x02" + before + b"}X\1\0\0\0w" + value + b"s."


def checkpoint(pickle, data=bytes(16), method=zipfile.ZIP_STORED):
    return pack([("a/data.pkl", pickle), ("a/byteorder", b"little"), ("a/data/0", data), ("a/version", b"3\n")], method)


good = checkpoint(tree(tensor(4, (4,))))
put("good.pth", good)
end = good.rindex(b"PK\5\6")


def patched(at, fmt, *values):
    b = bytearray(good)
    struct.pack_into(fmt, b, at, *values)
    return bytes(b)


put("entries-65535.pth", patched(end + 8, "<HH", 65534, 65534))
put("directory-4GiB.pth", patched(end + 12, "<I", 0xfffffffe))
put("directory-far.pth", patched(end + 16, "<I", 0xfffffffe))
put("comment.pth", patched(end + 20, "<H", 65535))
directory = struct.unpack_from("<I", good, end + 16)[0]
put("size-4GiB.pth", patched(directory + 20, "<II", 0xfffffffe, 0xfffffffe))
put("name-65535.pth", patched(directory + 28, "<H", 65535))
put("extra-65535.pth", patched(directory + 30, "<H", 65535))
put("local-size-4GiB.pth", patched(18, "<II", 0xfffffffe, 0xfffffffe))
wide = struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, 2**40, 2**40, 2**50, directory)
put("zip64-entries.pth", good[:end] + wide + struct.pack("<IIQI", 0x07064b50, 0, end, 1) +
    struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, 65535, 65535, 0xffffffff, 0xffffffff, 0))
put("unpacked-as-4GiB.pth", (lambda z, at: z[:at + 24] + struct.pack("<I", 0xfffffffe) + z[at + 28:])(
    *(lambda z: (z, z.index(b"PK\1\2")))(checkpoint(tree(tensor(4, (4,))), method=zipfile.ZIP_DEFLATED))))

# A record of a hundred megabytes of zeros, packed into a hundred kilobytes. No tensor needs it.
put("bomb-in-data.pth", checkpoint(tree(tensor(4, (4,))), bytes(100 << 20), zipfile.ZIP_DEFLATED))
put("bomb-in-pickle.pth", checkpoint(b"\x80\x02" + b"N0" * (25 << 20) + tree(tensor(4, (4,)))[2:], method=zipfile.ZIP_DEFLATED))
put("bomb-of-objects.pth", checkpoint(b"\x80\x02](" + b"}" * (50 << 20) + b"e0" + tree(tensor(4, (4,)))[2:], method=zipfile.ZIP_DEFLATED))
put("bomb-of-text.pth", checkpoint(b"\x80\x02X" + struct.pack("<I", 100 << 20) + b"a" * (100 << 20) + b"0"
                                   + tree(tensor(4, (4,)))[2:], method=zipfile.ZIP_DEFLATED))
put("bomb-in-version.pth", pack([("a/data.pkl", tree(tensor(4, (4,)))), ("a/byteorder", b"little"), ("a/data/0", bytes(16)),
                                 ("a/version", b"3" * (100 << 20))], zipfile.ZIP_DEFLATED))

# The stated sizes are right. A storage unpacks to a thousand times the size of the file, which its tensors need.
put("storage-of-zeros.pth", checkpoint(tree(tensor(25 << 20, (25 << 20,))), bytes(100 << 20), zipfile.ZIP_DEFLATED))
put("globals-bomb.pth", pack([("a/data.pkl", b"\x80\x02" + b"N0" * (250 << 20) + b"N."), ("a/version", b"3\n")], zipfile.ZIP_DEFLATED))
put("globals-many.pth", pack([(f"a/{i}.pkl", b"\x80\x02" + b"N0" * (10 << 20) + b"N.") for i in range(5)], zipfile.ZIP_DEFLATED))

# Thousands of records whose bytes do not match their CRCs.
damaged = pack([("a/data.pkl", tree(tensor(4, (4,)))), ("a/byteorder", b"little"), ("a/data/0", bytes(16)),
                ("a/version", b"3\n")] + [(f"a/{i:05}", b"right") for i in range(8000)])
put("damaged-many.pth", damaged.replace(b"right", b"wrong"))

# Forty entries of the directory refer to one record.
with zipfile.ZipFile(out / "overlapping.pth", "w") as z:
    keys = [b"%d" % i for i in range(40)]
    z.writestr("a/data.pkl", b"\x80\x02}(" + b"".join(
        b"X" + struct.pack("<I", len(k)) + k + tensor(100000, (100000,), key=k) for k in keys) + b"u.")
    z.writestr("a/version", b"3\n")
    z.writestr("a/data/0", bytes(400000))
    for k in keys[1:]:
        z.filelist.append(copy.copy(z.filelist[-1]))
        z.filelist[-1].filename = "a/data/" + k.decode()

# ---- pickles in zips

huge = {
    "binunicode": b"X\xff\xff\xff\xff",
    "binunicode8": b"\x8d" + struct.pack("<Q", 2**60),
    "binbytes": b"B\xff\xff\xff\x7f",
    "binbytes8": b"\x8e" + struct.pack("<Q", 2**60),
    "bytearray8": b"\x96" + struct.pack("<Q", 2**63),
    "binstring": b"T\xff\xff\xff\x7f",
    "long4": b"\x8b\xff\xff\xff\x7f",
    "frame-short": b"\x95" + bytes(8) + b"N0",
    "frame-in-frame": b"\x95\x02" + bytes(7) + b"\x95" + struct.pack("<Q", 2**63) + b"N0",
    "memo-text-largest": b"Np4294967295\n0g4294967295\n0",
    "memo-get": b"j\xff\xff\xff\xff",
    "long4-negative": b"\x8b\xff\xff\xff\xff",
    "long1-power": b"\x8a\xff" + b"\xff" * 255 + b"0",
    "frame": b"\x95" + struct.pack("<Q", 2**60) + b"N0",
    "memo": b"Nr\xff\xff\xff\xff0",
    "memo-text": b"Np99999999999999999999\n0",
    "memo-sparse": b"".join(b"Nr" + struct.pack("<I", i << 16) + b"0" for i in range(60000)),
    "digits": b"I" + b"9" * 200000 + b"\n0",
    "long-digits": b"L" + b"9" * 200000 + b"L\n0",
    "stack": b"N" * 200000,
    "marks": b"(" * 200000,
    "global-without-end": b"c" + b"a" * 200000,
    "deep-lists": b"]" * 100000 + b"a" * 99999 + b"0",
    "deep-tuples": b")" + b"\x85" * 100000 + b"0",
    "deep-dicts": b"}N" * 100000 + b"N" + b"s" * 100000 + b"0",
    "doubling-tuples": b")" + b"".join(b"2\x86" for _ in range(200)) + b"0",
    "doubling-sets": b"".join(b"\x8f(" for _ in range(10)) + b"\x90" * 10 + b"0",
    "rewritten": b"]" + b"(" + b"K\1" * 20000 + b"eq\0" + b"c__builtin__\nset\nh\0\x85R0" * 5000,
}
for name, opcodes in huge.items():
    put(f"pickle-{name}.pth", checkpoint(b"\x80\x02" + opcodes + tree(tensor(4, (4,)))[2:]))
put("doubling-beside.pth", checkpoint(b"\x80\x02}X\1\0\0\0w" + tensor(4, (4,)) + b"sX\1\0\0\0x](K\1e" + b"q\1](h\1h\1e" * 100 + b"s."))
put("doubling-places.pth", checkpoint(b"\x80\x02}X\1\0\0\0x}X\1\0\0\0w" + tensor(4, (4,)) + b"s"
                                      + b"q\1}(X\1\0\0\0ah\1X\1\0\0\0bh\1u" * 100 + b"s."))

# ---- tensors

for name, value in {
    "numel": tensor(2**62, (2**62,)),
    "shape": tensor(4, (2**40, 2**40)),
    "dimensions": tensor(4, (1,) * 50000, (1,) * 50000),
    "expanded": tensor(4, (2**50,), (0,)),
    "offset": tensor(4, (1,), offset=2**62),
    "negative": tensor(4, (-1,)),
}.items():
    put(f"tensor-{name}.pth", checkpoint(tree(value)))
legacy = (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\x0d\0\0\0little_endian\x88s."
          + tree(tensor(2**60, (2**60,)).replace(b"tQ", b"NtQ")) + b"\x80\x02]X\1\0\0\x000a.")
put("legacy-numel.pth", legacy + struct.pack("<q", 2**60) + bytes(16))
put("legacy-negative.pth", legacy + struct.pack("<q", -1) + bytes(16))

put("legacy-storages.pth", legacy[:-len(b"\x80\x02]X\1\0\0\x000a.")] + b"\x80\x02](" + b"X\1\0\0\x000" * 100000 + b"e." + bytes(100))
put("legacy-keys-cut.pth", legacy[:-len(b"\x80\x02]X\1\0\0\x000a.")] + b"\x80\x02](" + b"X\1\0\0\x000" * 100000)
put("many-shards.index.json", json.dumps({"weight_map": {f"w{i}": f"no-such-file-{i}.bin" for i in range(20000)}}))
put("one-shard.index.json", json.dumps({"weight_map": {f"w{i}": "no-such-file.bin" for i in range(100000)}}))

# ---- lists

put("list-one-line.tsv", "w" * (17 << 20))
put("list-fields.tsv", "w\tfloat32\t[4]\t" + "k=v\t" * (1 << 20) + "\n")
put("list-shape.tsv", "w\tfloat32\t[" + "1," * 1000000 + "1]\n")
put("list-huge-shape.tsv", "w\tfloat32\t[" + ",".join(["18446744073709551615"] * 60) + "]\n")

# ---- YAML

bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
for kind, start in (("rules", "TYPE: name\nPATTERNS: [a]\n"), ("model", "name: x\n"), ("keymap", "name: x\nrules: []\n")):
    put(f"{kind}-aliases.yaml", start + bomb)
    put(f"{kind}-merges.yaml", start + "a0: &a0 {x: 1, y: 2}\n"
        + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], k{i}: *a{i - 1}}}\n" for i in range(1, 60)))
    put(f"{kind}-deep.yaml", start + "z: " + "[" * 100000)
    put(f"{kind}-deep-maps.yaml", start + "z: " + "{a: " * 100000)
    put(f"{kind}-indented.yaml", start + "z:\n" + "".join(" " * i + "a:\n" for i in range(1, 700)))
    put(f"{kind}-itself.yaml", start + "z: &z [*z]\n")
    put(f"{kind}-no-end.yaml", start + 'z: "' + "x" * 300000)
put("rules-long-pattern.yaml", "TYPE: name\nMATCH_TYPE: regex\nPATTERNS: ['" + "(" * 5000 + "a" + ")" * 5000 + "']\n")
put("rules-repeats.yaml", "TYPE: name\nMATCH_TYPE: regex\nPATTERNS: ['" + "((((a{60000}){60000}){60000}){60000})" + "']\n")
put("rules-backtracking.yaml", "TYPE: name\nMATCH_TYPE: regex\nPATTERNS: ['(a*)*(a*)*(a*)*b']\n")
put("keymap-fan-out.yaml", "name: x\nrules:\n- {from: w, i: [0, 1000000], j: [0, 1000000], to: 'w{i}.{j}'}\n")
put("keymap-two-indexes.yaml", "name: x\nrules:\n- {from: w, i: [0, 90000], j: [0, 90000], to: 'w{i}.{j}'}\n")
put("keymap-sums.yaml", "name: x\nrules:\n- {from: 'w{i}', i: [0, 9223372036854775807], to: 'w{i + 9223372036854775807}'}\n")
