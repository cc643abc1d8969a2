"""torch.distributed.checkpoint loads the folders that --to dcp writes, in one process and into meshes, bit for bit."""

import os
import pickle
import pickletools
import random
import warnings

import tap

torch = tap.need_torch(2, 6)
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

warnings.simplefilter("ignore")


def count(*shape, dtype=torch.float32):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape).to(dtype)


def objects():
    tied, base = count(3, 3), count(10)
    return {
        "model": {
            "w": count(5, 3), "turned": (count(4, 6) + 100).t(), "scalar": torch.tensor(7.0),
            "half": count(6, 2, dtype=torch.bfloat16), "bytes": count(5, dtype=torch.uint8), "bool": torch.tensor([True, False]),
            "conj": torch.tensor([1 + 2j]).conj(), "f8": torch.ones(4).to(torch.float8_e4m3fn),
            "u16": count(4).to(torch.uint16), "empty": torch.empty(0, 3), "view": base[2:5], "tail": base[5:],
            "channels_last": count(2, 3, 2, 2).to(memory_format=torch.channels_last), "five": count(2, 1, 2, 1, 2),
            "tied_a": tied, "tied_b": tied, "0.dotted.name": count(2), "parameter": torch.nn.Parameter(count(2)),
            "n" * 300: count(2),
        },
        "optimizer": {
            "state": {0: {"step": torch.tensor(3.0), "exp_avg": count(5, 3) * 2}, 7: {"exp_avg": count(2)}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0, 7]}],
        },
        "step": 12, "big": 2**80, "name": "run é", "list": [count(2), count(2) + 5, "x"],
        "tuple": (1, count(3) + 50, [base[1:4]], count(3) + 60), "none": None, "terminal": [1, [2, 3]],
        "opens": [1, [2, {"z": count(1)}]], "empty_dict": {}, "empty_list": [], "bytes": b"abc\xff", "set": {1, 2}, True: 5,
    }


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and tap.same(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


def by_torch(folder):
    """The folder as torch loads it."""
    out = tap.scratch() / "back.pth"
    dcp_to_torch_save(folder, out)
    return torch.load(out, weights_only=False)


def load(path):
    return torch.load(path, weights_only=False)


def metadata(folder):
    return pickle.loads((folder / ".metadata").read_bytes())


def words(folder):
    """The opcodes and globals that .metadata uses."""
    raw = (folder / ".metadata").read_bytes()
    found, texts, memo = set(), [], []
    for op, arg, _ in pickletools.genops(raw):
        found.add(op.name)
        if op.name == "MEMOIZE":
            memo.append(texts[-1] if texts else None)
        elif "GET" in op.name:
            texts.append(memo[arg])
        elif "UNICODE" in op.name:
            texts.append(arg)
        elif op.name == "STACK_GLOBAL":
            found.add(".".join(texts[-2:]))
    return raw[:2], found


def alone(t):
    source = tap.scratch() / "in.pth"
    torch.save(objects(), source)
    ours, theirs = tap.scratch() / "ours", tap.scratch() / "theirs"
    tap.run("lnn-ckpt-adapt", source, "--to", "dcp", "-o", f"{ours}/", "--carry-all")
    dcp.save(objects(), checkpoint_id=theirs, no_dist=True)
    t.eq(sorted(os.listdir(ours)), [".metadata", "__0_0.distcp"], "two files")
    t.ok(equal(by_torch(theirs), by_torch(ours)), "torch loads our folder and its own to equal values")
    a, b = metadata(theirs), metadata(ours)
    # torch orders entries by its plan. We order them by the state dict, which is also the order of planner_data.
    t.eq(dict(b.state_dict_metadata), dict(a.state_dict_metadata), "sizes, dtypes and chunks equal those of torch")
    t.eq(list(b.planner_data.items()), list(a.planner_data.items()), "paths and their order equal those of torch")
    t.eq(set(b.storage_data), set(a.storage_data), "keys of the items equal those of torch")
    t.eq(b.version, a.version, "version")
    (ours_proto, ours_words), (theirs_proto, theirs_words) = words(ours), words(theirs)
    t.eq(ours_proto, theirs_proto, "protocol")
    t.eq(ours_words - theirs_words - {"BININT2", "BININT"}, set(), "only opcodes and globals are used that torch writes")
    piped = tap.scratch() / "piped"
    tap.shell('cat "$in" | lnn-ckpt-adapt --to dcp -o "$out" --carry-all', **{"in": source, "out": piped})
    t.ok(all((piped / n).read_bytes() == (ours / n).read_bytes() for n in os.listdir(ours)), "a pipe gives the same bytes")


def edits(t):
    folder = tap.scratch() / "edited"
    tap.run("lnn-ckpt-adapt", tap.scratch() / "in.pth", "--to", "dcp", "-o", folder, "--dtype", "bfloat16", "--rename", "s/^/net./",
            "--drop-params", "five")
    plain = tap.scratch() / "edited.pth"
    tap.run("lnn-ckpt-adapt", tap.scratch() / "in.pth", "-o", plain, "--dtype", "bfloat16", "--rename", "s/^/net./",
            "--drop-params", "five")
    t.ok(equal(load(plain), by_torch(folder)), "edits give the same as in a torch file")
    tables = {"a.relative_position_bias_table": torch.randn(25, 2), "b": count(3)}
    torch.save(tables, tap.scratch() / "tables.pth")
    for out, args in (("t.pth", ()), ("tables", ("--to", "dcp"))):
        tap.run("lnn-interp-bias", tap.scratch() / "tables.pth", "--grid", "5x5", "--layout", "grid", "-o", tap.scratch() / out, *args)
    t.ok(equal(load(tap.scratch() / "t.pth"), by_torch(tap.scratch() / "tables")), "lnn-interp-bias writes folders, too")


def random_dicts(t):
    rng = random.Random(11)

    def value(depth):
        kind = rng.randrange(9 if depth < 4 else 5)
        if kind < 2:
            return torch.randn([rng.randrange(4) for _ in range(rng.randrange(3))])
        if kind < 5:
            return rng.choice([1, 2.5, None, "x", True, -70000, 1 << 40, b"b"])
        items = [value(depth + 1) for _ in range(rng.randrange(4))]
        return {5: items, 6: tuple(items), 7: {f"k{i}": v for i, v in enumerate(items)}, 8: dict(enumerate(items))}[kind]

    for i in range(30):
        with t.part(f"random dict {i}"):
            what = {"w": torch.randn(3), **{f"x{k}": value(0) for k in range(5)}}
            source, folder, theirs = (tap.scratch() / f"random{i}{s}" for s in (".pth", "", "_theirs"))
            torch.save({"model": {"w": count(2)}, **what}, source)
            dcp.save({"model": {"w": count(2)}, **what}, checkpoint_id=theirs, no_dist=True)
            tap.run("lnn-ckpt-adapt", source, "-k", "model", "--to", "dcp", "-o", folder, "--carry-all")
            t.eq(metadata(folder).planner_data, metadata(theirs).planner_data, f"random dict {i}: paths equal those of torch")
            try:
                expected = by_torch(theirs)
            except dcp.api.CheckpointException:  # torch cannot read everything that it writes
                continue
            t.ok(equal(expected, by_torch(folder)), f"random dict {i}: torch loads equal values")


def into_mesh(rank, world, folder, failures):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    tap.gloo(rank, world, f"{folder}-gloo{world}")
    mesh = init_device_mesh("cpu", (world,))
    model = objects()["model"]
    cuts = {"w": Shard(0), "turned": Shard(1), "half": Replicate(), "channels_last": Shard(1)}
    state = {"model": {k: distribute_tensor(torch.zeros_like(model[k], memory_format=torch.contiguous_format), mesh, [c])
                       for k, c in cuts.items()}, "step": 0}
    dcp.load(state, checkpoint_id=folder)
    for k in cuts:
        if not torch.equal(state["model"][k].full_tensor(), model[k]):
            failures.put(k)
    if state["step"] != 12:
        failures.put("step")
    dist.destroy_process_group()


def meshes(t):
    for world in (1, 2, 3):
        failures = mp.get_context("spawn").SimpleQueue()
        mp.spawn(into_mesh, (world, str(tap.scratch() / "ours"), failures), nprocs=world)
        t.ok(failures.empty(), f"torch loads the folder into a mesh of {world}")


def refused(t):
    def refuse(what, obj, said):
        with t.part(what):
            source, folder = tap.scratch() / "refused.pth", tap.scratch() / "refused"
            torch.save(obj, source)
            done = tap.run("lnn-ckpt-adapt", source, "-k", "model", "--to", "dcp", "-o", folder, "--carry-all", status=2)
            t.ok(said in done.stderr.decode() and not folder.exists(), what)

    model = {"w": count(3)}
    refuse("a sparse tensor", {"model": {**model, "s": torch.eye(3).to_sparse()}}, "'model.s': is not a plain tensor")
    refuse("two values with one dotted path", {"model": model, "a": {"b": 1}, "a.b": 2}, "'a.b': two entries would have this name")
    refuse("a tensor in two tuples", {"model": model, "a": (model["w"],), "b": (1, model["w"])}, "shares a tensor")
    refuse("a key that is a tuple", {"model": model, (1, 2): 3}, "the key is neither text nor a number")
    blow = ()
    for _ in range(64):
        blow = {"a": blow, "b": blow}
    refuse("shared dictionaries that expand too far", {"model": model, "d": blow}, "shared objects expand to more")


if __name__ == "__main__":
    tests = tap.Tap()
    for part in (alone, edits, random_dicts, meshes, refused):
        with tests.part(part.__name__):
            part(tests)
    tests.done()
