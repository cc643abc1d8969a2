"""Compares lnn-ckpt-adapt with real PyTorch. Random state dicts of every dtype and layout go through the options; torch loads the
outputs, and names and bits are compared. The load check of the report is compared with what load_state_dict says."""

import json
import pathlib
import random
from collections import OrderedDict

import tap

torch = tap.need_torch(2, 3)
t = tap.Tap()
scratch = tap.scratch()

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
PLAIN = FLOATS + [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
EXOTIC = [torch.complex64, torch.complex128, torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2]
NOT_SAFETENSORS = {torch.complex128}


def random_tensor(r, dtype):
    shape = [r.choice([0, 1, 2, 3, 5, 7]) if r.random() < 0.2 else r.randint(1, 7) for _ in range(r.randint(0, 4))]
    count = 1
    for size in shape:
        count *= size
    if dtype.is_complex:
        x = torch.randn(shape, dtype=dtype)
    elif dtype.is_floating_point:
        x = (torch.randn(shape, dtype=torch.float64) * 10 ** r.uniform(-8, 4)).to(dtype)
    elif dtype == torch.bool:
        x = torch.randint(0, 2, shape).bool()
    else:
        x = torch.randint(0, 120, shape).to(dtype)
    return x


def relayout(r, x):
    """The same values in another memory layout."""
    kind = r.randint(0, 6)
    if kind == 0 and x.dim() >= 2:
        order = list(range(x.dim()))
        r.shuffle(order)
        inverse = [order.index(i) for i in range(x.dim())]
        return x.permute(order).contiguous().permute(inverse)
    if kind == 1 and x.dim() == 4 and x.numel():
        return x.contiguous(memory_format=torch.channels_last)
    if kind == 2 and x.dim() >= 1 and x.numel():
        big = torch.stack([x, x]).clone()
        return big[1]
    if kind == 3 and x.dim() >= 1 and x.numel():
        return torch.stack([x, x], dim=-1).clone()[..., 0]
    if kind == 4 and x.dtype in (torch.float32, torch.float64):
        return torch._neg_view(-x) if x.numel() else x
    if kind == 5 and x.dtype == torch.complex64:
        return x.conj()
    return x


def random_state(r, dtypes):
    state = OrderedDict()
    for i in range(r.randint(1, 14)):
        name = ".".join(r.choice(["stage_0", "blocks", "head", "norm", "x", "meta_a", "0", "11", "prenorm", "headroom"])
                        for _ in range(r.randint(1, 3))) + f".w{i}"
        state[name] = relayout(r, random_tensor(r, r.choice(dtypes)))
    names = list(state)
    if r.random() < 0.4:
        state["tied.same"] = state[names[0]]
    if r.random() < 0.4 and state[names[-1]].dim() and state[names[-1]].numel():
        state["tied.view"] = state[names[-1]][:1]
    return state


def load(path, **kw):
    return torch.load(path, weights_only=True, **kw)


def compare(got, expected, what):
    if not t.eq(list(got), list(expected), f"{what}: names"):
        return
    bad = [k for k in expected if not tap.same(got[k], expected[k])]
    t.ok(not bad, f"{what}: bits of {len(expected)} tensors")
    for k in bad[:3]:
        t.note(f"{k}: {got[k].dtype} {tuple(got[k].shape)} {expected[k].dtype} {tuple(expected[k].shape)}")


def literal_drop(name, pattern):
    """An independent implementation of --drop-params: literal text that begins and ends at a component of the name."""
    import re

    end = r"(?=[._]|\Z)" if re.match(r"[A-Za-z0-9]", pattern[-1]) else ""
    return re.search(r"(?:\A|\.)" + re.escape(pattern) + end, name) is not None


def shares(state):
    """The groups of names that share a storage."""
    groups = {}
    for name, x in state.items():
        if x.numel():
            groups.setdefault(x.untyped_storage().data_ptr(), set()).add(name)
    return sorted(map(sorted, (g for g in groups.values() if len(g) > 1)))


def round_trips():
    for seed in range(24):
        r = random.Random(seed)
        torch.manual_seed(seed)
        state = random_state(r, PLAIN + EXOTIC)
        path = scratch / "in.pth"
        where = r.choice(["model", "state_dict", None])
        prefix = r.choice(["", "module.", "module._orig_mod."])
        saved = OrderedDict((prefix + k, v) for k, v in state.items())
        legacy = r.random() < 0.25 and not any(x.dtype in EXOTIC or x.is_conj() or x.is_neg() for x in state.values())
        torch.save({where: saved, "epoch": 3} if where else saved, path, _use_new_zipfile_serialization=not legacy)
        loaded = {k[len(prefix):]: v for k, v in torch.load(path, weights_only=True)[where].items()} if where else {
            k[len(prefix):]: v for k, v in torch.load(path, weights_only=True).items()}
        state = OrderedDict(loaded)
        out = scratch / "out.pth"
        with t.part(f"seed {seed}"):
            tap.run("lnn-ckpt-adapt", "-q", path, "-o", out)
            got = load(out)
            t.eq(list(got), [where] if where else list(state), f"seed {seed}: the output has only the state dict, at its old place")
            found = got[where] if where else got
            compare(found, state, f"seed {seed}: without an edit")
            t.eq(shares(found), shares(state), f"seed {seed}: the same names share storages")
            mapped = load(out, mmap=True)
            compare(mapped[where] if where else mapped, state, f"seed {seed}: loaded with mmap")
            streamed = tap.run("lnn-ckpt-adapt", "-q", stdin=path.read_bytes()).stdout
            t.ok(streamed == out.read_bytes(), f"seed {seed}: a pipe gives the same bytes as a file")
            again = tap.run("lnn-ckpt-adapt", "-q", stdin=streamed).stdout
            t.ok(again == streamed, f"seed {seed}: adapting again changes nothing")

            pattern = r.choice(["head", "head.", "norm.", "meta_", "x", "0"])
            left = OrderedDict((k, v) for k, v in state.items() if not literal_drop(k, pattern))
            if left:
                tap.run("lnn-ckpt-adapt", "-q", "--drop-params", pattern, "--root", path, "-o", out)
                compare(load(out), left, f"seed {seed}: --drop-params {pattern}")
            else:
                tap.run("lnn-ckpt-adapt", "-q", "--drop-params", pattern, path, status=1)
            tap.run("lnn-ckpt-adapt", "-q", "--ddp", "--under", "net", path, "-o", out)
            compare(load(out)["net"], OrderedDict(("module." + k, v) for k, v in state.items()), f"seed {seed}: --ddp")
            tap.run("lnn-ckpt-adapt", "-q", "--compact", path, "-o", out)
            compact = load(out)
            compact = compact[where] if where else compact
            compare(compact, state, f"seed {seed}: --compact")
            waste = [k for k, v in compact.items() if v.numel() and
                     v.untyped_storage().nbytes() != v.numel() * v.element_size() and
                     not any(k in g for g in shares(compact))]
            t.eq(waste, [], f"seed {seed}: --compact leaves no larger storage behind a view")


def safetensors_out():
    safetensors = tap.need("safetensors.torch").torch
    for seed in range(100, 112):
        r = random.Random(seed)
        torch.manual_seed(seed)
        state = random_state(r, [d for d in PLAIN + EXOTIC if d not in NOT_SAFETENSORS])
        torch.save({"model": state}, scratch / "in.pth")
        with t.part(f"safetensors {seed}"):
            tap.run("lnn-ckpt-adapt", "-q", "--to", "safetensors", scratch / "in.pth", "-o", scratch / "o.safetensors")
            got = safetensors.load_file(scratch / "o.safetensors")
            compare({k: got[k] for k in state if k in got}, state, f"safetensors {seed}")
            t.eq(sorted(got), sorted(state), f"safetensors {seed}: the output has all names and no others")
            back = tap.run("lnn-ckpt-adapt", "-q", "--to", "torch", scratch / "o.safetensors", "-o", scratch / "b.pth")
            back = load(scratch / "b.pth")
            compare({k: back[k] for k in state}, state, f"safetensors {seed}: converted back to torch")


def casts():
    for seed in range(200, 212):
        r = random.Random(seed)
        torch.manual_seed(seed)
        state = random_state(r, PLAIN)
        state["edge"] = torch.tensor([0.0, -0.0, 1e-45, 65519.0, 65520.0, 3.4e38, float("inf"), float("nan"), 1 + 2 ** -8])
        to = r.choice(FLOATS)
        name = str(to).removeprefix("torch.")
        expected = OrderedDict((k, v.to(to) if v.is_floating_point() else v) for k, v in state.items())
        torch.save(state, scratch / "in.pth")
        with t.part(f"cast {seed}"):
            tap.run("lnn-ckpt-adapt", "-q", "--dtype", name, "-j", 2, scratch / "in.pth", "-o", scratch / "out.pth")
            got = load(scratch / "out.pth")
            t.eq(list(got), list(expected), f"cast {seed}: names")
            bad = [k for k in expected if got[k].dtype != expected[k].dtype or not torch.equal(
                torch.nan_to_num(got[k].double(), nan=7e77), torch.nan_to_num(expected[k].double(), nan=7e77))]
            t.eq(bad, [], f"cast {seed}: torch rounds to {name} in the same way")
            one = tap.run("lnn-ckpt-adapt", "-q", "--dtype", name, scratch / "in.pth").stdout
            t.ok(one == (scratch / "out.pth").read_bytes(), f"cast {seed}: one thread and two threads give the same bytes")


class Net(torch.nn.Module):
    def __init__(self, width, norm=True, extra=False):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 3)
        if norm:
            self.bn = torch.nn.BatchNorm2d(4)
        self.head = torch.nn.Linear(4, width)
        self.scale = torch.nn.Parameter(torch.ones(()))
        if extra:
            self.extra = torch.nn.Linear(2, 2)


def torch_verdict(net, state):
    """The missing and unexpected names of load_state_dict, and the mismatched ones with both shapes."""
    import re

    try:
        done = net.load_state_dict(state, strict=False)
        return list(done.missing_keys), list(done.unexpected_keys), []
    except RuntimeError as e:
        wrong = re.findall(r"size mismatch for (\S+): copying a param with shape torch.Size\((\[.*?\])\) from checkpoint, the "
                           r"shape in current model is torch.Size\((\[.*?\])\)", str(e))
        ok = OrderedDict((k, v) for k, v in state.items() if k not in {w[0] for w in wrong})
        if hasattr(state, "_metadata"):
            ok._metadata = state._metadata
        done = net.load_state_dict(ok, strict=False)
        missing = [k for k in done.missing_keys if k not in {w[0] for w in wrong}]
        return missing, list(done.unexpected_keys), [(n, json.loads(a), json.loads(b)) for n, a, b in wrong]


def load_checks():
    plain = Net(5).state_dict()
    old = OrderedDict((k, v) for k, v in plain.items() if "num_batches" not in k)
    new = old.copy()
    new._metadata = plain._metadata
    version1 = old.copy()
    version1._metadata = OrderedDict((k, {"version": 1}) for k in plain._metadata)
    cases = {
        "equal names and shapes": (Net(5), plain),
        "a head of another size": (Net(7), plain),
        "no norm in the model": (Net(5, norm=False), plain),
        "no norm in the file": (Net(5), Net(5, norm=False).state_dict()),
        "another layer in the model": (Net(7, extra=True), plain),
        "no num_batches_tracked, no metadata": (Net(5), old),
        "no num_batches_tracked, version 2": (Net(5), new),
        "no num_batches_tracked, version 1": (Net(5), version1),
        "a scalar of shape [1]": (Net(5), OrderedDict(plain, scale=torch.ones(1))),
        "a scalar of shape [2]": (Net(5), OrderedDict(plain, scale=torch.ones(2))),
        "a value that is no tensor": (Net(5), OrderedDict(plain, note="hello")),
    }
    for what, (net, state) in cases.items():
        with t.part(f"load check: {what}"):
            target = scratch / "target.pth"
            torch.save(net.state_dict(), target)
            torch.save(state, scratch / "in.pth")
            done = tap.run("lnn-ckpt-adapt", "-q", "-m", target, "-n", "--report", scratch / "r.json", scratch / "in.pth",
                           status=None)
            report = json.loads((scratch / "r.json").read_text())["load"]
            got = (report["missing_keys"], report["unexpected_keys"],
                   [(m["name"], m["checkpoint_shape"], m["model_shape"]) for m in report["mismatched"]])
            try:
                expected = torch_verdict(net, state)
            except Exception as e:  # some releases of torch fail at values that are no tensors
                t.note(f"{what}: torch raises {type(e).__name__}: {e}")
                tensors = OrderedDict((k, v) for k, v in state.items() if torch.is_tensor(v))
                missing, unexpected, wrong = torch_verdict(net, tensors)
                expected = (missing, unexpected + [k for k in state if k not in tensors], wrong)
            t.eq(tuple(map(list, got)), tuple(map(list, expected)), f"load check: {what}")
            t.eq(done.returncode, 1 if expected[2] else 0, f"load check: {what}: status")
            strict = tap.run("lnn-ckpt-adapt", "-q", "--strict", "-m", target, "-n", scratch / "in.pth", status=None)
            t.eq(strict.returncode, 1 if any(expected) else 0, f"load check: {what}: status with --strict")


def carried():
    """--carry-all and --carry keep the values beside the state dict, as pickle reads them."""
    import argparse
    import collections
    import datetime

    net = Net(5)
    opt = torch.optim.AdamW(net.parameters())
    net(torch.ones(1)) if False else None
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    opt.step()
    rest = {
        "epoch": 7, "lr": 5e-5, "flags": (True, None, [1, 2.5, "x"]), "big": 1 << 100, "bytes": b"\x00\xff",
        "set": {1, 2}, "config": argparse.Namespace(a=1, b=[2]), "when": datetime.datetime(2024, 5, 6),
        "path": pathlib.PurePosixPath("/a/b"), "counts": collections.Counter("aab"), "optimizer": opt.state_dict(),
        "default": collections.defaultdict(list, a=[1]), "dtype": torch.float16, "size": torch.Size([2, 3]),
    }
    for protocol in (2, 4):
        torch.save({"model": net.state_dict(), **rest}, scratch / "in.pth", pickle_protocol=protocol)
        with t.part(f"values beside the state dict, protocol {protocol}"):
            done = tap.run("lnn-ckpt-adapt", "--carry-all", scratch / "in.pth", "-o", scratch / "out.pth")
            got = torch.load(scratch / "out.pth", weights_only=False)
            t.eq(sorted(got), sorted(["model", *rest]), f"protocol {protocol}: keys")
            for key, expected in rest.items():
                if key == "optimizer":
                    t.eq(got[key]["param_groups"], expected["param_groups"], f"protocol {protocol}: param_groups")
                    t.ok(all(tap.same(got[key]["state"][i][n], v) for i in expected["state"] for n, v in expected["state"][i].items()),
                         f"protocol {protocol}: optimizer state")
                else:
                    t.eq((type(got[key]), got[key]), (type(expected), expected), f"protocol {protocol}: {key}")
            t.eq(got["model"]._metadata, net.state_dict()._metadata, f"protocol {protocol}: _metadata")
            tap.run("lnn-ckpt-adapt", "-q", "--carry", "epoch", "--carry", "optimizer", scratch / "in.pth", "-o", scratch / "o2.pth")
            t.eq(sorted(load(scratch / "o2.pth")), ["epoch", "model", "optimizer"],
                 f"protocol {protocol}: the output of --carry loads with weights_only")


def names():
    state = OrderedDict((f"blocks.{i}.{part}.weight", torch.full((2,), float(i))) for i in range(12) for part in ("a", "b"))
    torch.save(state, scratch / "in.pth")
    with t.part("lists and renames"):
        keep = "\n".join(f"blocks.{i}.a.weight" for i in (10, 2))
        out = tap.run("lnn-ckpt-adapt", "-q", "--root", "--keep-names", "-", "--rename", r"s/^blocks\.(\d+)\.(a)/layer\1_\g<2>/",
                      scratch / "in.pth", "-o", scratch / "o.pth", stdin=keep.encode())
        t.eq({k: v.tolist() for k, v in load(scratch / "o.pth").items()},
             {"layer2_a.weight": [2.0, 2.0], "layer10_a.weight": [10.0, 10.0]}, "--keep-names and --rename together")
        out = tap.run("lnn-ckpt-adapt", "--rename", "s/[ab].weight/w/", scratch / "in.pth", status=2)
        t.ok(out.stdout == b"" and b"blocks.0.a.weight" in out.stderr and b"blocks.0.b.weight" in out.stderr,
             "two tensors renamed to one name are refused, and the message names both")


def ties():
    """save_model of safetensors leaves out all but one of tied names, and load_model does not miss them. Neither does our load check."""
    from safetensors.torch import load_model, save_model

    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

    with t.part("tied names"):
        model = Tied()
        torch.save(model.state_dict(), scratch / "target.pth")
        save_model(model, str(scratch / "in.safetensors"))
        out = tap.run("lnn-ckpt-adapt", "-m", scratch / "target.pth", "--strict", "--set-metadata", "epoch=1",
                      scratch / "in.safetensors", "-o", scratch / "out.safetensors")
        t.ok(b"2 fit, 0 missing" in out.stderr, "the load check counts the tied name as present")
        t.eq(load_model(Tied(), str(scratch / "out.safetensors"), strict=True), (set(), []), "load_model misses nothing in the output")
        tap.run("lnn-ckpt-adapt", "-m", scratch / "target.pth", "--strict", scratch / "in.safetensors", "-o", scratch / "o.pth", status=1)
        tap.run("lnn-ckpt-adapt", scratch / "in.safetensors", "-o", scratch / "o.pth")
        missing = Tied().load_state_dict(load(scratch / "o.pth"), strict=False).missing_keys
        t.eq(len(missing), 1, "a torch file does not record ties: load_state_dict misses one name")


round_trips()
safetensors_out()
ties()
casts()
load_checks()
carried()
names()
t.done()
