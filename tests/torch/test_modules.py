"""Whole pickled nn.Modules are read as their state_dict(), without their classes, from zips and legacy streams, files and pipes."""

import copy
import subprocess
import sys
import warnings

import tap

torch = tap.need_torch(2, 0)
warnings.simplefilter("ignore")
nn = torch.nn

t = tap.Tap()
tmp = tap.scratch()

# The classes do not exist where the files are read.
(tmp / "zoo.py").write_text(
    """
import torch
nn = torch.nn

class Conv(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv = nn.Conv2d(a, b, 3, bias=False)
        self.bn = nn.BatchNorm2d(b)
        self.act = nn.SiLU(inplace=True)

class Detect(nn.Module):
    def __init__(self):
        super().__init__()
        self.yaml = {"nc": 1}
        self.model = nn.Sequential(Conv(3, 4), Conv(4, 4))
        self.names = {0: "cat"}
        self.stride = torch.tensor([8.0, 16.0])  # an attribute, not a buffer

class Unusual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 3)          # modules come last in state_dict()
        self.weight = nn.Parameter(torch.randn(4, 2))
        self.register_parameter("nothing", None)
        self.register_buffer("table", torch.arange(6).reshape(2, 3).t())
        self.register_buffer("none", None)
        self.register_buffer("mask", torch.ones(3), persistent=False)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.tagged = nn.Parameter(torch.zeros(3))
        self.tagged.no_decay = True           # a parameter with an attribute is pickled by another function
        self.missing = None
        self.empty = nn.ModuleList()
        self.blocks = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Identity()})

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.twice = self.head

class Note:
    def __init__(self, i):
        self.__dict__.update({f"f{k}": i for k in range(100)})
"""
)
sys.path.insert(0, str(tmp))
zoo = __import__("zoo")


def same_dict(path, state, what):
    """The torch file at path must load with weights_only, and hold the entries of state in order and nothing else."""
    got = torch.load(path, weights_only=True)
    t.eq(list(got), list(state), f"{what}: the names and their order are those of state_dict()")
    t.ok(all(tap.same(got[k], state[k]) for k in state), f"{what}: the values are equal bit for bit")
    t.ok(all(type(got[k]) is type(state[k]) and got[k].requires_grad == state[k].requires_grad for k in state),
         f"{what}: the entries are tensors and not parameters")


def models():
    yield "yolo", zoo.Detect().half()
    yield "unusual", zoo.Unusual()
    yield "tied", zoo.Tied()
    yield "parallel", nn.DataParallel(zoo.Conv(1, 2))
    yield "norm", nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(3, 2)), nn.LSTM(2, 3, bidirectional=True))
    yield "swa", torch.optim.swa_utils.AveragedModel(nn.Linear(2, 2))
    yield "attention", nn.TransformerEncoderLayer(8, 2, 16)
    yield "lazy", nn.Sequential(nn.LazyLinear(3), nn.Linear(2, 2))


def new_names(model):
    return {k: v for k, v in model.state_dict().items() if not isinstance(v, nn.parameter.UninitializedParameter)}


for name, model in models():
    for legacy in (False, True):
        with t.part(name):
            what = name + (", legacy" if legacy else "")
            path = tmp / f"{name}.pt"
            torch.save(model, path, _use_new_zipfile_serialization=not legacy)
            lazy = name == "lazy"
            drop = ("--keep-wrappers", *(("--drop-params", "0.") if lazy else ()))
            expected = {k: v for k, v in new_names(model).items() if not lazy or not k.startswith("0.")}
            tap.run("lnn-ckpt-adapt", *drop, "-o", tmp / "out.pth", path)
            same_dict(tmp / "out.pth", expected, what)
            piped = tap.run("lnn-ckpt-adapt", *drop, "-o", "-", "-", stdin=path.read_bytes()).stdout
            t.ok(piped == (tmp / "out.pth").read_bytes(), f"{what}: a pipe gives the same bytes")

# Checkpoints that hold modules, as ultralytics and yolov5 write them.
model = zoo.Detect().half()
other = zoo.Detect()
bodies = {
    "ultralytics": {"epoch": -1, "best_fitness": None, "model": model, "ema": None, "updates": None, "optimizer": None},
    "training": {"epoch": 3, "model": None, "ema": model, "updates": 7, "optimizer": {"state": {}, "param_groups": []}},
    "both": {"model": model, "ema": other},
}
for name, body in bodies.items():
    with t.part(name):
        torch.save(body, tmp / "in.pt")
        done = tap.run("lnn-ckpt-adapt", "--keep-wrappers", "--root", "-o", tmp / "out.pth", tmp / "in.pt")
        same_dict(tmp / "out.pth", model.state_dict(), name)
        says = {"training": b"the state dict is ema", "both": b"-k ema"}.get(name, b"")
        t.ok(says in done.stderr, f"{name}: a message names the module that was chosen or another one")
        listed = tap.run("lnn-ckpt-inspect", tmp / "in.pt").stdout.decode().splitlines()
        t.eq([line.split("\t")[0] for line in listed], list(model.state_dict()), f"{name}: inspect lists the names of the module")
with t.part("places"):
    torch.save(bodies["both"], tmp / "in.pt")
    tap.run("lnn-ckpt-adapt", "-k", "ema", "--keep-wrappers", "--root", "-o", tmp / "out.pth", tmp / "in.pt")
    same_dict(tmp / "out.pth", other.state_dict(), "-k ema")
    tap.run("lnn-ckpt-adapt", "-k", "model.model.0", "--keep-wrappers", "--root", "-o", tmp / "out.pth", tmp / "in.pt")
    same_dict(tmp / "out.pth", model.model[0].state_dict(), "-k model.model.0")
    tap.run("lnn-ckpt-adapt", "-o", tmp / "out.pth", tmp / "in.pt")
    t.eq(list(torch.load(tmp / "out.pth")), ["model"], "the state dict is written where the module was")
    tap.run("lnn-ckpt-adapt", "--carry-all", "-o", tmp / "out.pth", tmp / "in.pt")
    got = torch.load(tmp / "out.pth", weights_only=False)
    t.ok(type(got["ema"]) is zoo.Detect and isinstance(got["ema"].model[0].conv.weight, nn.Parameter),
         "a module that is carried stays a module")
    tap.run("lnn-ckpt-adapt", "-k", "model.model.0", "--carry-all", "-o", tmp / "out.pth", tmp / "in.pt")
    got = torch.load(tmp / "out.pth", weights_only=False)
    t.eq((list(got), list(got["model"]["model"]["0"])), (["model", "ema"], list(model.model[0].state_dict())),
         "a submodule is written at its path without the modules beside it")
    torch.save({"g": zoo.Conv(1, 2), "d": model}, tmp / "in.pt")
    done = tap.run("lnn-ckpt-adapt", "-o", tmp / "out.pth", tmp / "in.pt", status=2)
    t.ok(b"-k g" in done.stderr and b"-k d" in done.stderr, "with two modules a message names -k for both")
    torch.save({"nets": [zoo.Conv(1, 2), model], "x": {"w": torch.ones(2)}}, tmp / "in.pt")
    tap.run("lnn-ckpt-adapt", "-k", "nets.1", "--keep-wrappers", "--root", "-o", tmp / "out.pth", tmp / "in.pt")
    same_dict(tmp / "out.pth", model.state_dict(), "-k nets.1")

with t.part("among other objects"):
    torch.save({"notes": [zoo.Note(i) for i in range(2000)], "model": model, "copy": copy.copy(model)}, tmp / "in.pt")
    for place in ("model", "copy"):
        tap.run("lnn-ckpt-adapt", "-k", place, "--keep-wrappers", "--root", "-o", tmp / "out.pth", tmp / "in.pt")
        same_dict(tmp / "out.pth", model.state_dict(), f"{place}, after many other objects")

with t.part("resized"):
    block = nn.Module()
    block.relative_position_bias_table = nn.Parameter(torch.randn(49, 2))
    block.proj = nn.Linear(2, 2)
    torch.save({"epoch": 3, "model": nn.ModuleDict({"attn": block})}, tmp / "in.pt")
    tap.run("lnn-interp-bias", "--grid", "7x7", "-o", tmp / "out.pth", tmp / "in.pt")
    got = torch.load(tmp / "out.pth")
    t.eq((got["epoch"], {k: tuple(v.shape) for k, v in got["model"].items()}),
         (3, {"attn.relative_position_bias_table": (169, 2), "attn.proj.weight": (2, 2), "attn.proj.bias": (2,)}),
         "lnn-interp-bias writes the module as a state dict with a resized table, and keeps the other values")

# The module with the classes is removed before the file is read.
with t.part("nothing is imported"):
    torch.save(model, tmp / "in.pt")
    (tmp / "zoo.py").unlink()
    done = subprocess.run([str(tap.BUILD / "lnn-ckpt-inspect"), str(tmp / "in.pt")], capture_output=True, check=False)
    t.eq(done.stdout.count(b"\n"), len(model.state_dict()), "the tensors are listed though the classes cannot be imported")

t.done()
