"""
Tensors that consist of other tensors (sparse, quantised, nested, meta, DTensor, subclasses), and containers inside a state dict.
The results are compared with torch: casts with to(), shapes with load_state_dict, and outputs with the objects that were saved.
"""

import argparse
import collections
import hashlib
import json
import os
import pickle
import subprocess
import sys
import warnings

import tap

torch = tap.need_torch(2, 4)
warnings.simplefilter("ignore")
from torch.testing._internal.two_tensor import TwoTensor  # noqa: E402

t = tap.Tap()


def save(name, value):
    path = tap.scratch() / name
    torch.save(value, path)
    return path


def adapt(*args, status=0):
    out = tap.scratch() / "out.pth"
    out.unlink(missing_ok=True)
    done = tap.run("lnn-ckpt-adapt", *args, "-o", out, status=status)
    return torch.load(out, weights_only=False) if out.exists() else None, done.stderr.decode()


def inspect(*args):
    done = tap.run("lnn-ckpt-inspect", *args, status=None)
    return done.stdout.decode(), done.returncode


def composites():
    dense = torch.tensor([[0, 1.5], [2.25, 0]])
    d = collections.OrderedDict()
    d["w"] = torch.randn(3)
    d["coo"] = dense.to_sparse()
    d["csr"] = dense.to_sparse_csr()
    d["csc"] = dense.to_sparse_csc()
    d["bsr"] = torch.eye(4).to_sparse_bsr((2, 2))
    d["nested"] = torch.nested.nested_tensor([torch.randn(2, 3), torch.randn(1, 3)])
    d["jagged"] = torch.nested.nested_tensor([torch.randn(2, 3), torch.randn(1, 3)], layout=torch.jagged)
    d["meta"] = torch.ones(2, 5, device="meta")
    d["meta64"] = torch.ones(2, device="meta", dtype=torch.float64)
    d["metaparam"] = torch.nn.Parameter(torch.ones(2, device="meta"))
    d["cooparam"] = torch.nn.Parameter(torch.eye(3).to_sparse())
    d["param"] = torch.nn.Parameter(torch.randn(3))
    return d


def values(x):
    """Plain tensors that torch.equal can compare, for a tensor of any layout."""
    if x.device.type == "meta":
        return []
    if x.layout == torch.jagged:
        return [x.values(), x.offsets()]
    if x.is_nested:
        return list(x.unbind())
    return [x if x.layout == torch.strided else x.to_dense()]


def same(a, b):
    return (type(a) is type(b) and a.dtype == b.dtype and a.layout == b.layout and a.device == b.device and
            a.requires_grad == b.requires_grad and (a.is_nested or a.shape == b.shape) and
            len(values(a)) == len(values(b)) and all(torch.equal(x, y) for x, y in zip(values(a), values(b))))


def casts():
    d = composites()
    path = save("composites.pth", d)
    back, _ = adapt("--root", path)
    for name, x in d.items():
        t.ok(same(back[name], x), f"{name}: a copy is equal")
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        cast, err = adapt("--root", "--dtype", str(dtype)[6:], path)
        for name, x in d.items():
            expected = x.detach().to(dtype).requires_grad_(x.requires_grad)
            expected = torch.nn.Parameter(expected) if isinstance(x, torch.nn.Parameter) else expected
            t.ok(same(cast[name], expected), f"{name}: --dtype gives the same as to({dtype})")
        t.ok("parts" not in err, f"--dtype {dtype} leaves no part uncast")


def uncast():
    q = torch.quantize_per_channel(torch.randn(2, 3), torch.tensor([0.1, 0.2]), torch.tensor([0, 1]), 0, torch.qint8)
    d = {"two": TwoTensor(torch.ones(2, 3), torch.ones(2, 3)), "q": q, "w": torch.randn(2)}
    d["attr"] = torch.nn.Parameter(torch.randn(3))
    d["attr"].scale = torch.randn(2)
    cast, err = adapt("--root", "--dtype", "float16", save("uncast.pth", d))
    t.ok("3 tensors are made of parts that --dtype leaves as they are (two)" in err,
         "tensors whose parts a cast does not change are counted in a message")
    t.eq([cast["two"].a.dtype, cast["q"].dtype, cast["attr"].dtype, cast["attr"].scale.dtype, cast["w"].dtype],
         [torch.float32, torch.qint8, torch.float16, torch.float32, torch.float16], "the parts of these tensors keep their dtypes")


def listed():
    """Names, dtypes and shapes in a list are those of the torch objects."""
    d = composites()
    out, _ = inspect("--format=json", save("composites.pth", d))
    rows = {e["name"]: e for e in json.loads(out)["tensors"]}
    t.eq(list(rows), list(d), "each composite is listed as one tensor")
    for name, x in d.items():
        e = rows[name]
        t.eq(e["dtype"], str(x.dtype)[6:], f"{name}: dtype")
        if not x.is_nested:
            t.eq(e["shape"], list(x.shape), f"{name}: shape")
        layout = "nested" if name == "nested" else str(x.layout)[6:]
        t.eq(e.get("layout", "strided"), layout, f"{name}: layout")
        t.eq(e.get("device", "cpu"), x.device.type, f"{name}: device")
    coo = d["coo"].coalesce()
    t.eq({p["name"]: (p["dtype"], p["shape"]) for p in rows["coo"]["parts"]},
         {"indices": ("int64", list(coo.indices().shape)), "values": ("float32", list(coo.values().shape))},
         "the parts of a COO tensor are listed")
    csc = d["csc"]
    t.eq([p["shape"] for p in rows["csc"]["parts"]],
         [list(csc.ccol_indices().shape), list(csc.row_indices().shape), list(csc.values().shape)], "the parts of a CSC tensor are listed")


def quantised():
    w = torch.randn(3, 4)
    per = torch.quantize_per_channel(w, torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, 1, 2]), 0, torch.qint8)
    small = torch.quantize_per_channel(w, torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.0, 1, 2]), 0, torch.quint4x2)
    d = {"tensor": torch.quantize_per_tensor(w, 0.25, 3, torch.quint8), "channel": per, "packed": small}
    out, _ = inspect("--format=json", save("q.pth", d))
    rows = {e["name"]: e for e in json.loads(out)["tensors"]}
    for name, x in d.items():
        t.eq((rows[name]["dtype"], rows[name]["shape"]), (str(x.dtype)[6:], list(x.shape)), f"{name}: dtype and shape")
    parts = {p["name"]: p for p in rows["tensor"]["parts"]}
    t.eq((parts["scale"]["value"], parts["zero_point"]["value"]), (d["tensor"].q_scale(), d["tensor"].q_zero_point()),
         "scale and zero point are listed as parts")
    t.eq([p["name"] for p in rows["channel"]["parts"]], ["data", "scales", "zero_points", "axis"],
         "the parts of a tensor that is quantised by channel are listed")
    back, _ = adapt("--root", tap.scratch() / "q.pth")
    t.ok(all(torch.equal(torch.dequantize(back[k]), torch.dequantize(x)) for k, x in d.items()), "copies of quantised tensors are equal")


def compared():
    dense = torch.tensor([[0, 1.5], [2.25, 0]])
    a = {"s": dense.to_sparse(), "q": torch.quantize_per_tensor(dense, 0.1, 3, torch.qint8)}
    other = {"s": (dense * 2).to_sparse(), "q": torch.quantize_per_tensor(dense * 2, 0.2, 3, torch.qint8)}
    assert torch.equal(a["q"].int_repr(), other["q"].int_repr())
    one, two = save("one.pth", a), save("two.pth", other)
    out, status = inspect("--against", one, "--values", save("same.pth", a))
    t.eq(status, 0, "--against --values finds no difference between equal composites")
    out, status = inspect("--against", one, "--values", two)
    t.ok(status == 1 and "values\ts\t2\t2.25\t" in out and "values\tq\t1\t0.1\t" in out,
         "--against --values finds other sparse values and another scale")
    # The figures of a sparse tensor cover all its parts, those of a quantised one its scale and zero point.
    row = next(x.split("\t") for x in out.splitlines() if x.startswith("values\ts"))
    x, y = (torch.cat([p.double().flatten() for p in (d["s"]._indices(), d["s"]._values())]) for d in (other, a))
    t.ok(abs(float(row[4]) - ((x - y).norm() / y.norm()).item()) < 1e-14 and
         abs(float(row[5]) - (x @ y / x.norm() / y.norm()).item()) < 1e-14, f"relative difference and cosine cover all parts: {row}")
    out, status = inspect("--against", one, "--values", save("dense.pth", {"s": dense, "q": dense}))
    t.ok(status == 1 and out.count("not comparable") == 2, "a sparse and a dense tensor are not comparable, which counts as a difference")
    meta = {k: torch.empty(2, 2, device="meta") for k in a}
    out, status = inspect("--against", save("meta.pth", meta), "--values", save("meta2.pth", meta))
    t.ok(status == 1 and out.count("not comparable") == 2, "tensors without data are not comparable")
    wide = {"s": torch.zeros(3, 3).to_sparse(), "q": torch.empty(4, device="meta")}
    out, status = inspect("--against", save("wide.pth", wide), one)
    t.ok(status == 1 and "mismatched\ts\t[2,2]\t[3,3]" in out and "mismatched\tq\t[2,2]\t[4]" in out,
         "--against reports other shapes of composites")
    _, err = adapt("--strict", "-m", save("wide.pth", wide), one, status=1)
    t.ok("2 of another shape" in err, "the load check reports other shapes of composites")


def names():
    path = save("s.pth", {"s": torch.eye(2).to_sparse(), "w": torch.ones(2), "v": torch.ones(2)})
    out, _ = inspect("--format=names", path)
    keep = tap.scratch() / "keep"
    keep.write_text(out.replace("v\n", ""))
    back, _ = adapt("--root", "--keep-names", keep, path)
    t.eq(sorted(back), ["s", "w"], "--keep-names accepts the list of inspect")
    keep.write_text("s.indices\n")
    _, err = adapt("--drop-names", keep, path, status=2)
    t.ok("no tensor s.indices; it is a part of s" in err, "a part is refused as a name, and the message names its tensor")


class Extra(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 2)
        self.scale = torch.randn(2)
        self.state = None

    def get_extra_state(self):
        return {"scale": self.scale, "n": 3}

    def set_extra_state(self, state):
        self.state = state


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b))
    return type(a) is type(b) and a == b


class Pair(collections.namedtuple("Pair", "w n")):
    pass


def extra_state():
    net = Extra()
    path = save("extra.pth", net.state_dict())
    back, err = adapt("--root", path)
    new = Extra()
    new.load_state_dict(back)
    t.ok(equal(new.state, net.get_extra_state()) and "apart" not in err, "_extra_state loads with its own type")
    back, err = adapt("--root", "--dtype", "float16", path)
    new.load_state_dict(back)
    t.ok(new.state["scale"].dtype == torch.float16 and new.state["n"] == 3 and "apart" not in err,
         "_extra_state keeps its type when a tensor in it is cast")
    drop = tap.scratch() / "drop"
    drop.write_text("_extra_state.scale\n")
    back, err = adapt("--root", "--drop-names", drop, path)
    new.load_state_dict(back)
    t.ok(new.state == {"n": 3} and "apart" not in err, "_extra_state keeps its type when a tensor in it is dropped")
    back, _ = adapt("--root", "--add-prefix", "net.", path)
    outer = torch.nn.Module()
    outer.net = Extra()
    outer.load_state_dict(back)
    t.ok(equal(outer.net.state, net.get_extra_state()), "--add-prefix renames the key of _extra_state")
    out, _ = inspect("--format=names", path)
    keep = tap.scratch() / "keep"
    keep.write_text(out)
    back, _ = adapt("--root", "--keep-names", keep, path)
    new.load_state_dict(back)
    t.ok(equal(new.state, net.get_extra_state()), "--keep-names of a tensor in _extra_state keeps the other values there")
    back, err = adapt("--root", "--rename", "s/_extra_state.scale/scale/", path)
    t.ok(sorted(back) == ["_extra_state.n", "fc.bias", "fc.weight", "scale"] and "taken apart" in err and "(_extra_state)" in err,
         "a rename that moves a tensor out of _extra_state takes it apart, with a warning")
    done = tap.run("lnn-ckpt-adapt", "--to", "safetensors", path, "-o", tap.scratch() / "o.safetensors")
    t.ok("taken apart" in done.stderr.decode() and "(_extra_state)" in done.stderr.decode(),
         "_extra_state is taken apart for safetensors, with a warning")
    _, err = adapt("--root", "--strict", "-m", path, path)
    t.ok("load check: 3 fit, 0 missing, 0 unexpected" in err, "the load check counts _extra_state as one key")
    fc = {k: v for k, v in net.state_dict().items() if k.startswith("fc.")}
    _, err = adapt("--root", "--strict", "-m", path, save("fc.pth", fc), status=1)
    t.ok("1 missing (_extra_state)" in err, "the load check reports a missing _extra_state")


def containers():
    shared = [torch.randn(2), torch.randn(2)]
    d = {"list": [torch.randn(2), {"a": torch.ones(1), "b": (torch.zeros(2), "text", None)}], "w": torch.ones(3),
         "one": shared, "other": shared, "tuple": (torch.ones(1), 5),
         "ordered": collections.OrderedDict(x=torch.ones(1), y=2), "sparse": [torch.eye(2).to_sparse()]}
    path = save("containers.pth", d)
    back, _ = adapt("--root", "-k", "", path)
    back["sparse"] = [x.to_dense() for x in back["sparse"]]
    d["sparse"] = [x.to_dense() for x in d["sparse"]]
    t.ok(equal(back, d), "containers of all kinds are copied with their types")
    t.ok(back["one"] is back["other"], "a list under two keys stays one object")
    drop = tap.scratch() / "drop"
    drop.write_text("list.0\nlist.1.b.0\n")
    back, err = adapt("--root", "-k", "", "--drop-names", drop, path)
    t.ok(equal(back["list"], [{"a": torch.ones(1), "b": (None, "text", None)}]) and "apart" not in err,
         "a dropped item of a list is removed, one of a tuple becomes None")
    drop.write_text("one.0\n")
    back, err = adapt("--root", "-k", "", "--drop-names", drop, path)
    t.ok("taken apart" in err and sorted(k for k in back if k.startswith("o")) == ["one.1", "ordered", "other.0", "other.1"],
         "a list under two keys is taken apart if an item is dropped under one key only")


def packed_params():
    warnings.simplefilter("ignore")
    net = torch.nn.Sequential(torch.ao.nn.quantized.Linear(4, 3))
    back, _ = adapt("--root", save("packed.pth", net.state_dict()))
    new = torch.nn.Sequential(torch.ao.nn.quantized.Linear(4, 3))
    new.load_state_dict(back)
    x = torch.quantize_per_tensor(torch.randn(2, 4), 0.1, 0, torch.quint8)
    t.ok(torch.equal(new(x).int_repr(), net(x).int_repr()), "a quantised module loads its _packed_params")


def dtensor():
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    os.environ.update(MASTER_ADDR="localhost", RANK="0", WORLD_SIZE="1")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    mesh = init_device_mesh("cpu", (1,))
    d = {"a": distribute_tensor(torch.randn(4, 3), mesh, [Shard(1)]), "b": distribute_tensor(torch.randn(5), mesh, [Replicate()])}
    path = save("dtensor.pth", d)
    out, _ = inspect(path)
    t.eq(out, "a\tfloat32\t[4,3]\tplacements=Shard(1)\nb\tfloat32\t[5]\tplacements=Replicate()\n", "DTensors are listed with placements")
    for dtype in (torch.float32, torch.float16):
        back, _ = adapt("--root", "--dtype", str(dtype)[6:], path)
        for k, x in d.items():
            expected = x.to(dtype)
            t.ok(back[k].dtype == dtype and torch.equal(back[k]._local_tensor, expected._local_tensor) and
                 back[k]._spec == expected._spec, f"DTensor {k}: --dtype gives the same as to({dtype})")
        t.ok(back["a"]._spec.mesh is back["b"]._spec.mesh, "DTensors still share one mesh")
    dist.destroy_process_group()


def shapes():
    """A shape is refused if and only if torch refuses it."""
    for size in ((2**33, 2**31, 0), (2**32, 2**31, 0), (0, 2**40, 2**40), (2**40, 0, 2**40), (2**40, 2**40, 0)):
        try:
            torch.empty(0).as_strided(size, [1] * len(size))
            loads = True
        except RuntimeError:
            loads = False
        path = hand_written(size)
        _, status = inspect(path)
        t.eq(status, 0 if loads else 2, f"a tensor of shape {size} {'is listed' if loads else 'is refused'}")


def hand_written(size):
    """A file with an empty tensor of a shape that torch may refuse to construct."""

    class Sized:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (torch.empty(0).storage(), 0, size, (1,) * len(size), False,
                                                     collections.OrderedDict())

    return save("sized.pth", {"w": Sized()})


def modules():
    """A TorchScript archive gives what torch's state_dict() gives. Other classes that hold tensors are named."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
            self.register_buffer("idx", torch.arange(3))
            self.pair = (torch.ones(2), torch.ones(3))
            self.names = ["a", "b"]

        def forward(self, x):
            return self.fc(x) + self.pair[1] + len(self.names)

    net = torch.jit.script(Net().eval())
    path = tap.scratch() / "script.pt"
    net.save(str(path))
    out, _ = inspect("--format=names", path)
    t.eq(sorted(out.split()), sorted(net.state_dict()), "a TorchScript module is listed with the names of its state_dict()")
    back, err = adapt("--root", path)
    t.ok(sorted(back) == sorted(net.state_dict()) and "weights_only=False" not in err, "the state dict of a TorchScript module is written")
    frozen = torch.jit.freeze(net)
    frozen.save(str(path))
    constants = {f"CONSTANTS.{k}": v for k, v in frozen.code_with_constants[1].const_mapping.items() if isinstance(v, torch.Tensor)}
    out = tap.run("lnn-ckpt-inspect", "-q", "--digest", path).stdout.decode()
    listed = {line.split("\t")[0]: line.split("\t")[3][7:] for line in out.splitlines() if not line.startswith("#")}
    t.eq(listed, {k: hashlib.sha256(tap.bits(v)).hexdigest() for k, v in constants.items()},
         "constants of a frozen TorchScript module are listed")
    t.ok(len(listed) > 1, "the frozen module has several constants")
    done = tap.run("lnn-ckpt-adapt", path, "-o", tap.scratch() / "no.pth", status=2)
    t.ok(b"constants.pkl" in done.stderr, "the constants of a frozen module are refused as a state dict")
    done = tap.run("lnn-ckpt-inspect", save("pair.pth", {"model": Pair(torch.ones(2), 3), "epoch": 1}), status=2)
    t.ok(b"an object of the class '__main__.Pair' holds them (at 'model')" in done.stderr, "the class that holds tensors is named")
    plain = collections.defaultdict(dict, w=torch.ones(2))
    out = tap.scratch() / "out.pth"
    tap.run("lnn-ckpt-adapt", "--carry-all", save("default.pth", {"model": plain, "epoch": 3}), "-o", out)
    back = torch.load(out)
    t.ok(list(back) == ["model", "epoch"] and torch.equal(back["model"]["w"], plain["w"]),
         "values beside a state dict of another dict class are carried")


def loads_elsewhere(path):
    """True if torch.load with weights_only=False loads it in a Python that cannot import the classes of this file."""
    return subprocess.run([sys.executable, "-c", "import sys, torch; torch.load(sys.argv[1], weights_only=False)", path],
                          capture_output=True, check=False).returncode == 0


def warnings_of_loading():
    """Warnings about loading an output are true. It loads with weights_only, only without, only where classes exist, or nowhere."""
    words = "only where these can be imported: "
    for what, other, named in (("a number", 3, None), ("a class of Python", argparse.Namespace(a=1), None),
                               ("a class of torch", torch.nn.ReLU(), None),
                               ("a class of this file", Pair(torch.ones(2), 3), "__main__.Pair")):
        path, out = save("other.pth", {"model": {"w": torch.ones(2)}, "other": other}), tap.scratch() / "carried.pth"
        done = tap.run("lnn-ckpt-adapt", "--carry-all", path, "-o", out)
        said = done.stderr.decode()
        try:
            torch.load(out, weights_only=True)
            t.ok("weights_only" not in said, f"{what}: loads with weights_only, and there is no warning")
        except pickle.UnpicklingError:
            t.ok("the output loads with weights_only=False only" in said, f"{what}: a warning says that weights_only=False is needed")
        t.eq(loads_elsewhere(out), words not in said, f"{what}: a warning names classes if and only if they are needed")
        listed = tap.run("lnn-ckpt-inspect", "--globals", out, status=None).stdout.decode()
        t.eq(listed.count(words), named is not None, f"{what}: --globals agrees with the warning")
        if named is not None:
            t.ok(words + named in said and words + named in listed, f"{what}: warning and --globals name the class")

    class Table(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.relative_position_bias_table = torch.nn.Parameter(torch.ones(9, 2))

        def forward(self, x):
            return x + self.relative_position_bias_table

    path, out = tap.scratch() / "script.pt", tap.scratch() / "script.pth"
    torch.jit.script(Table()).save(str(path))
    done = tap.run("lnn-interp-bias", "--grid", "3x3", path, "-o", out)
    t.ok(b"no program can load the output" in done.stderr and not loads_elsewhere(out),
         "an object of TorchScript in a torch zip loads nowhere, and a warning says so")


class PerChannel:
    """Is pickled as a quantised tensor of shape [3, 4] with any numbers of scales and zero points."""

    def __init__(self, scales, zero_points, axis):
        self.parts = torch.ones(scales, dtype=torch.double), torch.ones(zero_points, dtype=torch.int64), axis

    def __reduce__(self):
        data = torch.TypedStorage(wrap_storage=torch.UntypedStorage(12), dtype=torch.qint8, _internal=True)
        return torch._utils._rebuild_qtensor, (data, 0, (3, 4), (4, 1), (torch.per_channel_affine, *self.parts), False, {})


def channels():
    """Numbers of scales and zero points that torch refuses give a warning."""
    for scales, zero_points, axis in ((3, 3, 0), (4, 4, 1), (2, 2, 0), (3, 2, 0), (3, 4, 0), (3, 3, 1), (3, 3, 2), (3, 3, -1)):
        path = save("channels.pth", {"q": PerChannel(scales, zero_points, axis), "w": torch.ones(2)})
        said = tap.run("lnn-ckpt-inspect", path).stderr.decode()
        t.eq(loads_elsewhere(path), "torch refuses it" not in said,
             f"the warning is right: {scales} scales, {zero_points} zero points, axis {axis}")


for f in (channels, warnings_of_loading, shapes, modules, listed, casts, uncast, quantised, compared, names, extra_state, containers,
          packed_params, dtensor):
    f()
with t.part("--summary counts each composite as one tensor"):
    path = save("summary.pth", {"model": composites(), "alone": torch.eye(2).to_sparse(), "n": 1})
    keys = {k["key"]: k for k in json.loads(inspect("--summary", "--format=json", "-k", "model", path)[0])["keys"]}
    t.eq((keys["model"]["tensors"], keys["alone"]["tensors"], keys["n"]["tensors"]), (len(composites()), 1, 0),
         "--summary counts a composite as one tensor at each key")
    t.eq(keys["alone"]["type"], "tensor", "--summary calls a composite at the root a tensor")
    t.eq(keys["alone"]["numel"], 4, "--summary counts the elements of the full shape")

t.done()
