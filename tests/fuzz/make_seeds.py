"""Usage: make_seeds.py FOLDER

Writes seeds for the fuzz targets, FOLDER/NAME/*, from the fixtures and with Python's pickle and zipfile. tests/fuzz/README.md describes
how tests/fuzz/corpus is made of them.
"""

import collections
import glob
import io
import itertools
import pathlib
import pickle
import re
import struct
import tarfile
import sys
import zipfile
import zlib

top = pathlib.Path(__file__).resolve().parents[2]
fixtures = top / "tests" / "fixtures"
out = pathlib.Path(sys.argv[1])
count = collections.Counter()


def seed(target, data):
    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    count[target] += 1
    (folder / f"seed-{count[target]:03}").write_bytes(data if isinstance(data, bytes) else data.encode())


def pack(names, method=zipfile.ZIP_STORED, descriptor=False, comment=b""):
    class Forward(io.BytesIO):
        def seekable(self):
            return False

        def tell(self):
            raise OSError

    b = Forward() if descriptor else io.BytesIO()
    with zipfile.ZipFile(b, "w", method) as z:
        for name, data in names:
            z.writestr(zipfile.ZipInfo(name), data, method)
        z.comment = comment
    return b.getvalue()


checkpoints = {p.name: p.read_bytes() for p in sorted(fixtures.glob("*.pth")) if p.stat().st_size < 12000}
zips = {name: data for name, data in checkpoints.items() if data.startswith(b"PK")}

# ---- containers

for name, data in zips.items():
    seed("torch_zip", data)
    if len(data) < 5000:
        seed("zip", data)
for method, descriptor, comment in itertools.product((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), (False, True), (b"", b"a comment")):
    seed("zip", pack([("a/x", b"12345"), ("a/y", b""), ("b", bytes(300))], method, descriptor, comment))
seed("zip", pack([]))


def torch_zip(tree, storages, method=zipfile.ZIP_STORED, descriptor=False, order=None, root="a"):
    names = [(f"{root}/data.pkl", tree), (f"{root}/byteorder", b"little"),
             *((f"{root}/data/{k}", v) for k, v in storages.items()), (f"{root}/version", b"3\n")]
    return pack([names[i] for i in order or range(len(names))], method, descriptor)


class Storage:
    def __init__(self, cls, key, n):
        self.id = ("storage", cls, key, "cpu", n)


class Global:
    def __init__(self, module, name):
        self.text = f"c{module}\n{name}\n".encode()


class Call:
    def __init__(self, callable_, *args):
        self.callable, self.args = callable_, args


def dump(x, protocol=2):
    """The opcodes for x, for the types that torch writes."""
    p = lambda x: dump(x, protocol)
    if isinstance(x, Storage):
        return p(x.id) + b"Q"
    if isinstance(x, Global):
        return x.text
    if isinstance(x, Call):
        return p(x.callable) + p(x.args) + b"R"
    if isinstance(x, tuple):
        return b"(" + b"".join(map(p, x)) + b"t"
    if isinstance(x, list):
        return b"](" + b"".join(map(p, x)) + b"e"
    if isinstance(x, dict):
        return b"}(" + b"".join(p(k) + p(v) for k, v in x.items()) + b"u"
    if isinstance(x, str):
        return b"X" + struct.pack("<I", len(x.encode())) + x.encode()
    return pickle.dumps(x, 2)[2:-1]


def whole(x):
    return b"\x80\x02" + dump(x) + b"."


ordered = Call(Global("collections", "OrderedDict"))


def tensor(cls, key, n, offset, shape, stride):
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), Storage(Global("torch", cls), key, n), offset, shape, stride,
                False, ordered)


f4 = tensor("FloatStorage", "0", 4, 0, (2, 2), (2, 1))
trees = [
    ({"w": f4, "t": tensor("FloatStorage", "0", 4, 0, (2, 2), (1, 2)), "e": tensor("FloatStorage", "0", 4, 1, (3, 2), (0, 1))},
     {"0": bytes(range(16))}),
    ({"model": {"module.a": tensor("HalfStorage", "0", 2, 0, (2,), (1,)), "b": tensor("BoolStorage", "1", 3, 1, (), ())},
      "epoch": 3}, {"0": b"\0<\0@", "1": b"\1\0\1"}),
    ([f4, {"x": (f4, None)}], {"0": bytes(16)}),
    ({"blocks.0.attn.relative_position_bias_table": tensor("FloatStorage", "0", 12, 0, (12, 1), (1, 1)), "z": 1.5,
      "q": Call(Global("torch._utils", "_rebuild_parameter"), tensor("ByteStorage", "1", 0, 0, (0, 5), (5, 1)), True, ordered)},
     {"0": struct.pack("<12f", *range(12)), "1": b""}),
]
for (tree, storages), method, descriptor in itertools.product(trees, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), (False, True)):
    small = torch_zip(whole(tree), storages, method, descriptor)
    seed("torch_zip", small)
seed("torch_zip", torch_zip(whole(trees[0][0]), trees[0][1], order=(2, 0, 1, 3)))


def legacy(tree, storages):
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    info = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2)
    keys = pickle.dumps(list(storages), 2)
    return magic + info + whole(tree) + keys + b"".join(struct.pack("<q", n) + data for n, data in storages.values())


def legacy_tensor(cls, key, n, offset, shape, stride):
    t = tensor(cls, key, n, offset, shape, stride)
    t.args[0].id = (*t.args[0].id, None)
    return t


legacies = [
    legacy({"w": legacy_tensor("FloatStorage", "5", 4, 0, (2, 2), (2, 1))}, {"5": (4, bytes(16))}),
    legacy({"state_dict": {"a": legacy_tensor("LongStorage", "1", 1, 0, (), ()), "b": legacy_tensor("HalfStorage", "2", 3, 1, (2,), (1,))},
            "n": [1, "x", None]}, {"2": (3, bytes(6)), "1": (1, bytes(8))}),
]
for data in (*legacies, checkpoints["legacy.pth"]):
    seed("legacy", data)


def safetensors(header, data=b""):
    return struct.pack("<Q", len(header)) + header.encode() + data


sets = [
    safetensors('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)),
    safetensors('{"__metadata__":{"format":"pt","x":"\\u00e9"},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[2,6]},'
                '"a\\n":{"dtype":"F16","shape":[],"data_offsets":[0,2]}}  ', bytes(6)),
    safetensors('{"e":{"dtype":"I64","shape":[0,3],"data_offsets":[0,0]},"f":{"data_offsets":[0,3],"shape":[3],"dtype":"BOOL"}}',
                b"\1\0\1"),
    safetensors('{"c":{"dtype":"C64","shape":[1],"data_offsets":[0,8],"extra":[1,{"x":null}]}}', bytes(8)),
    safetensors("{}"),
    (fixtures / "tiny.safetensors").read_bytes(),
]
for data in sets:
    seed("safetensors", data)
for path in fixtures.glob("bad-*.safetensors"):
    seed("safetensors", path.read_bytes())

# ---- round trips: 8 bytes that choose edits, then a checkpoint

scripts = [bytes(s) for s in ((0, 255, 255, 0, 0, 255, 0, 0), (3, 3, 0, 2, 0, 1, 3, 0), (2, 255, 1, 0, 12, 0, 10, 0),
                              (1, 9, 4, 3, 0, 3, 16, 0), (0, 255, 255, 0, 0, 2, 32, 0), (0, 255, 2, 0, 0, 255, 4, 0),
                              (3, 255, 255, 0, 36, 3, 42, 0), (0, 255, 3, 0, 0, 255, 20, 0))]
small = [torch_zip(whole(t), s, m, d) for t, s in trees for m, d in ((zipfile.ZIP_STORED, True), (zipfile.ZIP_DEFLATED, False))]
small += legacies + sets + [checkpoints[n] for n in ("lazybits.pth", "bigendian.pth", "qtensor.pth", "sparse.pth", "params.pth",
                                                     "rest.pth", "meta.pth", "no-grid.pth")]
for script, data in itertools.product(scripts, small):
    seed("roundtrip", script + data)

# ---- surveys: the length of the first checkpoint, then both checkpoints

for i, data in enumerate(small):
    if len(data) < 65536:
        seed("survey", struct.pack("<H", len(data)) + data)
        seed("survey", struct.pack("<H", len(data)) + data + small[(i + 1) % len(small)])
npy = b"\x93NUMPY\1\0\x3a\0" + b"{'descr': '>f4', 'fortran_order': True, 'shape': (2, 3)}".ljust(57) + b"\n" + struct.pack(">6f", *range(6))
arrays = [npy, (fixtures / "zoo.pkl").read_bytes(), checkpoints["whole-module.pth"]]
arrays += [pack([("a/b.npy", npy), ("c.npy", npy)], m, d) for m, d in ((zipfile.ZIP_STORED, False), (zipfile.ZIP_DEFLATED, True))]
for i, data in enumerate(arrays):
    seed("survey", struct.pack("<H", len(data)) + data)
    seed("survey", struct.pack("<H", len(data)) + data + arrays[(i + 1) % len(arrays)])
values = struct.pack("<12f", 1, float("nan"), float("inf"), 0, -0.0, 1e38, *range(6))
for dtype, size in ("F32", 4), ("BF16", 2), ("I64", 8), ("F8_E4M3", 1), ("C64", 8), ("F64", 8), ("F16", 2), ("BOOL", 1), ("U64", 8):
    header = '{"a":{"dtype":"%s","shape":[%d],"data_offsets":[0,48]}}' % (dtype, 48 // size)
    data = safetensors(header, values)
    seed("survey", struct.pack("<H", len(data)) + data + safetensors(header, values[::-1]))

# ---- pickles

loop = [1]
loop.append(loop)
plain = [
    None, True, 1, -1, 255, 65535, 2**31, -2**31, 2**63, -2**100, 1.5, float("nan"), "", "é\n\ud83d\ude00", "\ud800", b"", b"\xff" * 3,
    bytearray(b"x"), (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1, [2, [3]]], {}, {"a": 1, 2: "b", None: []}, {1, 2}, frozenset("ab"),
    loop, collections.OrderedDict(a=1), pathlib.PurePosixPath("a"), range(3), complex(1, 2), Exception("x"), "x" * 300, b"y" * 300,
]
for protocol in range(6):
    for x in plain:
        seed("pickle", pickle.dumps(x, protocol))
for name, data in zips.items():
    if name == "cut-off.pth":
        continue
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        for name in z.namelist():
            if name.endswith("data.pkl") and z.getinfo(name).file_size < 3000:
                seed("pickle", z.read(name))
for tree, _ in trees:
    seed("pickle", whole(tree))
seed("pickle", b"(dp0\nS'a'\np1\nI1\nsS'b'\n(lp2\nI2\naF1.5\nas.")
seed("pickle", b"(iargparse\nNamespace\np0\n(dp1\nb.")
seed("pickle", b"\x80\x02cargparse\nNamespace\n)\x81}X\x01\0\0\0aK\1sb.")
seed("pickle", b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x01a\x94\x8c\x01b\x94\x93\x94.")

# ---- metadata of distributed checkpoints

for path in sorted(fixtures.glob("dcp/*.tar.gz")):
    with tarfile.open(path) as tar:
        for member in tar:
            if member.name.endswith(".metadata"):
                seed("dcp", tar.extractfile(member).read())

# ---- two rank files after the length of the first, without CRCs, so that changed bytes are read

def without_crcs(data):
    for crc in {data[m.start() + 16 : m.start() + 20] for m in re.finditer(b"PK\1\2", data)}:
        data = data.replace(crc, bytes(4)) if crc != bytes(4) else data
    return data


def members(name):
    with tarfile.open(fixtures / "dcp" / f"{name}.tar.gz") as tar:
        return {m.name.split("/")[-1]: tar.extractfile(m).read() for m in sorted(tar, key=lambda m: m.name) if m.isfile()}


ranks = [without_crcs(data) for data in members("verl").values()]
seed("ranks", struct.pack("<I", len(ranks[0])) + ranks[0] + ranks[1])
seed("ranks", struct.pack("<I", len(ranks[1])) + ranks[1] + ranks[0])
seed("ranks", struct.pack("<I", len(ranks[0])) + ranks[0] + ranks[0])
shards = list(members("hf2").values())
seed("ranks", struct.pack("<I", len(shards[0]) | 1 << 31) + shards[0] + shards[1])

# ---- folders with one file, which the metadata calls 1000, after the length of the metadata

for name in "single", "odd":
    files = members(name)
    metadata = files[".metadata"].replace(b"\x8c\x0c__0_0.distcp", b"\x8c\x041000")
    frame = struct.unpack("<Q", metadata[3:11])[0] - len(files[".metadata"]) + len(metadata)
    metadata = metadata[:3] + struct.pack("<Q", frame) + metadata[11:]
    seed("folder", struct.pack("<I", len(metadata)) + metadata + without_crcs(files["__0_0.distcp"]))

# ---- boxes: dtype and number of dimensions, the shape, then first index, size, strides and offset of each box

seed("boxes", bytes([8, 4, 6] + [0, 0, 2, 6, 6, 1, 0] + [2, 0, 2, 3, 3, 1, 5] + [2, 3, 2, 3, 1, 2, 0]))
seed("boxes", bytes([5, 7] + [0, 3, 1, 0] + [3, 4, 2, 9] + [7, 0, 1, 0]))
seed("boxes", bytes([2, 3]))

# ---- texts

for path in sorted(fixtures.glob("*.json")) + sorted(fixtures.glob("*/*.index.json")):
    if path.stat().st_size < 2000:
        seed("json", path.read_bytes())
for text in ('{}', '[]', '"\\u00e9\\ud83d\\ude00\\n\\/"', '[1,-0,1.5e+10,true,false,null]', ' {"a":{"b":[{}]}} ', "[[[[[]]]]]",
             '{"a":1,"a":2}', '"\\ud800"', "[1,]", "01", '"\x01"'):
    seed("json", text)
for path in sorted(fixtures.glob("*/*.index.json")):
    seed("index", path.read_bytes())
seed("index", '{"metadata":{"total_size":8},"weight_map":{"a":"x-1.bin","b":"x-2.bin","c":"x-1.bin"}}')
seed("index", '{"weight_map":{"a":"../x","a":"y"}}')

for path in glob.glob(str(top / "tests/golden/filter/**/*.y*ml"), recursive=True) + [str(top / "tests/bench/rules40.yaml")]:
    data = pathlib.Path(path).read_bytes()
    if len(data) < 4000:
        seed("yaml_rules", data)
for text in ("{TYPE: name, PATTERNS: [head, norm], MATCH_TYPE: startswith}", "{TYPE: name, PATTERNS: ['^a\\d+$'], MATCH_TYPE: regex}",
             "TYPE: and\nFILTERS:\n- {TYPE: dimension, DIMENSIONS: [2, 4]}\n- TYPE: not\n  FILTER: {TYPE: layer_type, LAYER_TYPES: [Conv2d]}\n",
             "{TYPE: all_except, FILTERS: [{TYPE: convolutional}, {TYPE: initialization, MODE: missing}]}",
             "{TYPE: or, FILTERS: [&a {TYPE: stage_based, STAGES: [conv_stages]}, *a]}",
             "OPTIMIZER:\n  PARAMETER_GROUPS:\n    ENABLED: true\n    DEFAULT: {OPTIMIZER: adamw}\n    HEADS:\n      FILTER: {TYPE: name, "
             "PATTERNS: [head]}\n      LR_MULTIPLIER: 5e-5\n      OPTIMIZER: muon\n", "a: &x {b: 1}\nc: {<<: *x, d: [*x, *x]}\n",
             "- 1\n- \"a\\x41\"\n- 'b'\n- |\n  text\n- >-\n  folded\n- ~\n- !!str 1\n"):
    seed("yaml_rules", text)
for path in glob.glob(str(top / "lib/model/builtin/*.yaml")) + glob.glob(str(fixtures / "mFormerV1.yaml")):
    seed("model", pathlib.Path(path).read_bytes()[:4000].rsplit(b"\n", 1)[0] + b"\n")
seed("model", "name: x\nstate_dict:\n- {name: a.weight, shape: [2, 3], dtype: float32, layer_type: Linear}\n"
     "- {name: b, shape: [], kind: buffer}\n- {name: \"c\\td\", shape: [1], requires_grad: false}\n"
     "parameter_groups_metadata:\n  stages: {one: [a], two: [b., c]}\n  embeddings: [cls]\n"
     "pretrained_ckpt_handling_metadata: {drop_buffers: [x], drop_params: [head], interpolate_rel_pos_bias: true, strict: false,\n"
     "  relative_position_bias: {layout: 'first:1'}, supports_module_prefix: false}\n")
seed("model", "parameters:\n- {name: a, shape: [1]}\nbuffers:\n- {name: b, shape: [2]}\n")
for path in glob.glob(str(top / "lib/plan/maps/*.yaml")):
    seed("keymap", pathlib.Path(path).read_bytes())
seed("keymap", "name: x\nrules:\n- {regex: '^(stem)\\.(\\d+)', to: '\\2.\\1'}\n- {from: 'blocks.{i}.', i: [0, 2], to: ['a.{i + 1}.', 'b.{2 - i}.']}\n"
     "- {contains: [head], skip: true}\n- {starts: cls, keep: true}\ndefault: drop\n")
for prefix in "1", "0":
    seed("list", prefix + "a.weight\tfloat32\t[2,3]\tlayer_type=Linear\tx=y\nb\n# c\n\n\\#d\t\t[]\n\\e\tint64\t[0]\tkind=buffer\trequires_grad=false\n\\x41\\t\n")
seed("list", "0a\0b\nc\0\xff\0")
for pattern, sub, subject in (("a(b+)?", "\\1x", "abbab"), (r"^stage_(?P<n>\d+)\.", r"\g<n>.", "stage_3.0.w"), (r"(?i)\bW(?=e)", "", "we We"),
                              (r"(?<!a)b{2,3}?|[^\w\s]", "\\g<0>", "ab bbb !"), (r"(a)|(?(1)b|c)", "x", "ac"), (r"(?s:.)*\Z", "", "a\nb"),
                              (r"[a-z&&[x]]\u00e9\x41\101", "\\101", "é"), (r"((a*)*)*b", "", "a" * 30), ("(?P<x>a)(?P=x)", "", "aa")):
    seed("pyre", f"{pattern}\n{sub}\n{subject}")
print(dict(count))
