"""Legacy streams, which torch.save wrote before 1.6 and still writes on request. They are listed as torch loads them, converted to
zips that torch loads with weights_only to equal tensors, and refused if they are damaged."""

import collections
import io
import json
import pickle
import struct
import warnings

import tap

torch = tap.need_torch(2, 0)
warnings.simplefilter("ignore")

t = tap.Tap()
tmp = tap.scratch()


def legacy(obj, protocol=2):
    out = io.BytesIO()
    torch.save(obj, out, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    return out.getvalue()


def old_views(protocol=2):
    """A file as torch before 0.4 wrote it: storages that are views of other storages. Current torch loads it."""
    root = torch.arange(10.0)
    half = torch.arange(6, dtype=torch.float16)

    class Old(pickle._Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, tuple) and obj and obj[0] == "a storage":
                return ("storage", *obj[1:])
            return None

    class Tensor:
        def __init__(self, storage, offset, size, stride):
            self.args = (storage, offset, size, stride)

        def __reduce__(self):
            return torch._utils._rebuild_tensor, self.args

    def storage(cls, key, numel, view):
        return ("a storage", cls, key, "cpu", numel, view)

    obj = collections.OrderedDict(
        second=Tensor(storage(torch.HalfStorage, "77", 6, None), 1, (2, 2), (2, 1)),
        inside=Tensor(storage(torch.FloatStorage, "5", 10, ("6", 3, 4)), 1, (3,), (1,)),
        start=Tensor(storage(torch.FloatStorage, "5", 10, ("8", 0, 4)), 0, (4,), (1,)),
        whole=Tensor(storage(torch.FloatStorage, "5", 10, None), 0, (5, 2), (1, 5)),
    )
    out = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
        pickle.dump(value, out, protocol=protocol)
    Old(out, protocol=protocol).dump(obj)
    pickle.dump(["5", "77"], out, protocol=protocol)
    for tensor in (root, half):
        out.write(struct.pack("<q", tensor.numel()) + tensor.numpy().tobytes())
    return out.getvalue()


def everything():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    shared = torch.ones(3, dtype=torch.int64)
    # torch writes newer dtypes in this format but cannot load them again.
    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128".split()
    yield "dtypes", {n: torch.ones(2, 3).to(getattr(torch, n)) for n in names}
    yield "state dict", net.state_dict()
    yield "views", {"t": base.t(), "slice": base[1:3, ::2], "base": base, "row": base[2], "wide": base[:1].expand(5, 6)}
    yield "tied", {"a": shared, "b": shared, "c": shared[1:]}
    yield "unusual sizes", {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 3), "none": torch.empty(0), "big": torch.zeros(70000)}
    yield "parameters", {"p": torch.nn.Parameter(torch.randn(2, 2)), "f": torch.nn.Parameter(torch.ones(1), requires_grad=False)}
    yield "channels last", {"w": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)}
    yield "a training run", {"epoch": 7, "model": net.state_dict(), "lr": [0.1, 1e-5], "none": None, "big": 2**70, "s": "é"}
    yield "nested", {"layers": [{"w": torch.ones(1)}, {"w": torch.zeros(2), "n": 3}], "t": (torch.ones(2),)}
    yield "conj", {"c": torch.view_as_complex(torch.randn(3, 2)).conj(), "i": torch.view_as_complex(torch.randn(3, 2)).conj().imag}
    yield "a tensor", torch.randn(3)
    yield "a list", [torch.randn(3), torch.ones(1, dtype=torch.int8)]


def tensors_of(obj):
    if isinstance(obj, dict):
        for key in ("model", "state_dict_ema", "state_dict"):
            if isinstance(obj.get(key), dict):
                obj = obj[key]
                break
    return dict(tap.leaves(obj))


def check_listed(what, content):
    """Lists a file and a pipe, and compares with what torch loads."""
    path = tmp / "legacy.pth"
    path.write_bytes(content)
    expected = {n: (str(v.dtype)[6:], list(v.shape))
            for n, v in tensors_of(torch.load(io.BytesIO(content), weights_only=False)).items()}
    for how, args, stdin in (("file", [path], None), ("pipe", [], content)):
        found = json.loads(tap.run("lnn-ckpt-inspect", "--format=json", *args, stdin=stdin).stdout)
        t.eq({e["name"]: (e["dtype"], e["shape"]) for e in found["tensors"]}, expected, f"{what}: the list of a {how} agrees with torch")
    return path


def check_converted(what, content, shared=True):
    """Converts to a zip. Tensors and their sharing must be equal, and a pipe must give the same bytes."""
    path, out = tmp / "legacy.pth", tmp / "zip.pth"
    path.write_bytes(content)
    before = tensors_of(torch.load(path, weights_only=False))
    tap.run("lnn-ckpt-adapt", path, "--root", "-o", out)
    after = tensors_of(torch.load(out, weights_only=True))
    t.ok(out.read_bytes()[:4] == b"PK\3\4", f"{what}: the output is a zip")
    t.ok(before.keys() == after.keys() and all(tap.same(before[k], after[k]) for k in before), f"{what}: the zip has equal tensors")
    t.ok(all(before[k].stride() == after[k].stride() for k in before if before[k].numel()), f"{what}: the zip has equal strides")

    def sharing(d):
        first = {}
        return [first.setdefault(v.untyped_storage().data_ptr(), i) for i, v in enumerate(d.values()) if v.numel()]

    if shared:
        t.eq(sharing(after), sharing(before), f"{what}: the same tensors share storages")
    mapped = tensors_of(torch.load(out, weights_only=True, mmap=True))
    t.ok(all(tap.same(mapped[k], after[k]) for k in after), f"{what}: the zip loads with mmap")
    t.ok(tap.run("lnn-ckpt-adapt", "--root", stdin=content).stdout == out.read_bytes(), f"{what}: pipes give the same bytes")


def whole():
    for what, obj in everything():
        with t.part(what):
            content = legacy(obj)
            check_listed(what, content)
            if isinstance(obj, dict) and what != "nested":
                check_converted(what, content)


def protocols():
    obj = {"w": torch.arange(5), "h": torch.ones(2, dtype=torch.bfloat16), "model": None}
    for protocol in (1, 2, 3, 4, 5):
        with t.part(f"protocol {protocol}"):
            content = legacy(obj, protocol)
            check_listed(f"protocol {protocol}", content)
            check_converted(f"protocol {protocol}", content)


def views():
    for protocol in (2, 4):
        content = old_views(protocol)
        check_listed("views of storages", content)
        # torch gives each of these views its own storage. We write them as parts of one storage, which they are.
        check_converted("views of storages", content, shared=False)


def modules():
    """A whole module. torch stores its source code in a persistent id of another kind."""
    content = legacy(torch.nn.Linear(2, 2))
    ran = tap.run("lnn-ckpt-inspect", "--format=names", stdin=content)
    t.eq(ran.stdout, b"weight\nbias\n", "a whole module is listed as its state dict")
    content = legacy({"net": torch.nn.Linear(2, 2), "state_dict": torch.nn.Linear(2, 2).state_dict()})
    t.eq(tap.run("lnn-ckpt-inspect", "--format=names", stdin=content).stdout, b"weight\nbias\n",
         "a state dict beside a whole module is listed")


def damaged():
    """Files that are cut, a wrong count of elements, and a second object in the file."""
    content = legacy(collections.OrderedDict(a=torch.arange(4.0), b=torch.ones(3, dtype=torch.uint8)))
    wrong = []
    for n in range(30, len(content), 7):
        for args, stdin in (([tmp / "cut.pth"], None), ([], content[:n])):
            (tmp / "cut.pth").write_bytes(content[:n])
            ran = tap.run("lnn-ckpt-adapt", *args, "-o", tmp / "none.pth", stdin=stdin, status=None)
            if ran.returncode != 2 or len(ran.stderr.splitlines()) != 1 or (tmp / "none.pth").exists():
                wrong.append((n, ran.returncode, ran.stderr))
    t.eq(wrong, [], "a file that is cut off anywhere gives status 2, one line and no output")

    at = content.rindex(struct.pack("<q", 3) + b"\1\1\1")
    ran = tap.run("lnn-ckpt-inspect", stdin=content[:at] + struct.pack("<q", 2) + content[at + 8 :], status=None)
    file = tmp / "count.pth"
    file.write_bytes(content[:at] + struct.pack("<q", 2) + content[at + 8 :])
    ran = tap.run("lnn-ckpt-inspect", file, status=2)
    t.ok(f"at byte {at}: ".encode() in ran.stderr, "a message gives the offset of a wrong count of elements")

    two = content + legacy({"z": torch.ones(1)})
    ran = tap.run("lnn-ckpt-adapt", "--root", stdin=two)
    t.ok(b"another saved object follows" in ran.stderr, "a second object in the file gives a warning")
    t.eq(list(torch.load(io.BytesIO(ran.stdout), weights_only=True)), ["a", "b"], "the first of two objects is read, as by torch")


for part in (whole, protocols, views, modules, damaged):
    with t.part(part.__name__):
        part()
t.done()
