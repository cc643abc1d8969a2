"""torch.distributed.checkpoint writes folders in 1 to 4 processes. lnn-ckpt-adapt makes one file of each with the tensors that were
saved, bit for bit, as torch and as safetensors, to a file and to a pipe."""

import os
import pickle
import subprocess
import sys
import warnings

import tap

torch = tap.need_torch(2, 6)
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.metadata import MetadataIndex
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

warnings.simplefilter("ignore")
torch.set_num_threads(1)


def numbers(*shape, dtype=torch.float32, start=0):
    n = 1
    for s in shape:
        n *= s
    return (torch.arange(n, dtype=torch.float32) + start).reshape(shape).to(dtype)


FULL = {
    "w": numbers(5, 3), "col": numbers(4, 6, start=100), "rep": numbers(3, start=200), "h": numbers(6, 2, dtype=torch.bfloat16),
    "deep": numbers(3, 5, 7), "last": numbers(2, 3, 9, dtype=torch.float64), "u8": numbers(17, dtype=torch.uint8),
    "large": numbers(700, 900), "across": numbers(300, 1100),
}
CUTS = {"w": 0, "col": 1, "h": 0, "deep": 1, "last": 2, "u8": 0, "large": 0, "across": 1}
PLAIN = {"turned": numbers(3, 4).t(), "view": numbers(10)[2:5], "scalar": torch.tensor(7.0), "empty": torch.empty(0, 3)}


def state_dict(mesh):
    model = {k: distribute_tensor(v, mesh, [Shard(CUTS[k])] if k in CUTS else [Replicate()]) for k, v in FULL.items()}
    return {"model": {**model, **PLAIN}, "step": 12, "list": [numbers(2), numbers(2) + 5], "tuple": (numbers(2), 1), "name": "run"}


def save_fsdp(mesh, folder):
    from torch.distributed.checkpoint.state_dict import get_state_dict
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 2))
    for layer in model[0], model[2], model:
        fully_shard(layer, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.eval()
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    states = get_state_dict(model, optimizer)
    dcp.save({"model": states[0], "optim": states[1]}, checkpoint_id=f"{folder}/fsdp")


def save_blocks(rank, folder):
    from torch.distributed._shard.sharded_tensor import Shard as Piece
    from torch.distributed._shard.sharded_tensor import ShardMetadata, init_from_local_shards

    low, size = [([0, 0], [2, 3]), ([0, 3], [2, 2]), ([2, 0], [3, 3]), ([2, 3], [3, 2])][rank]
    piece = numbers(5, 5)[low[0] : low[0] + size[0], low[1] : low[1] + size[1]].contiguous()
    shards = [Piece(piece, ShardMetadata(low, size, f"rank:{rank}/cpu"))]
    dcp.save({"s": init_from_local_shards(shards, [5, 5])}, checkpoint_id=f"{folder}/blocks")


def work(rank, world, folder):
    tap.gloo(rank, world, f"{folder}-gloo")
    mesh = init_device_mesh("cpu", (world,))
    state = state_dict(mesh)
    dcp.save(state, checkpoint_id=f"{folder}/plain")
    dcp.save(state, storage_writer=FileSystemWriter(f"{folder}/threads", thread_count=2))
    dcp.save(state, storage_writer=FileSystemWriter(f"{folder}/each", single_file_per_rank=False))
    dcp.async_save(state, checkpoint_id=f"{folder}/async").result()
    try:
        dcp.save(state, storage_writer=FileSystemWriter(f"{folder}/ranks"), use_collectives=False)
        own = {"mine": torch.tensor([float(rank)]), "alike": torch.ones(2), "number": rank}
        dcp.save(own, storage_writer=FileSystemWriter(f"{folder}/own"), use_collectives=False)
    except TypeError:  # torch before 2.9
        pass
    if world > 1:
        save_fsdp(mesh, folder)
    if world == 4:
        square = init_device_mesh("cpu", (2, 2))
        cut = {
            "a": distribute_tensor(numbers(6, 4), square, [Shard(0), Shard(1)]),
            "b": distribute_tensor(numbers(5, 3), square, [Replicate(), Shard(0)]),
            "c": distribute_tensor(numbers(4, 3), square, [Shard(0), Shard(0)]),
            "e": distribute_tensor(numbers(1, 2), mesh, [Shard(0)]),
        }
        dcp.save(cut, checkpoint_id=f"{folder}/square")
        save_blocks(rank, folder)
    dist.destroy_process_group()


def flat(value, path=""):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for k, v in items:
        yield from flat(v, f"{path}.{k}" if path else str(k))
    if not items:
        yield path, value


def equal(a, b):
    return tap.same(a, b) if isinstance(a, torch.Tensor) else a == b


def compare(t, folder, expected, what):
    """expected: name to value, of all that was saved."""
    out = tap.scratch() / "out.pth"
    tap.run("lnn-ckpt-adapt", "-q", "-k", "", "-o", out, folder)
    got = dict(flat(torch.load(out, weights_only=True)))
    wrong = [k for k, v in expected.items() if k not in got or not equal(v, got[k])]
    t.eq(wrong + sorted(set(got) ^ set(expected)), [], f"{what}: a torch file has equal values")
    t.ok(tap.run("lnn-ckpt-adapt", "-q", "-k", "", folder).stdout == out.read_bytes(), f"{what}: a pipe gets the same bytes")
    data = tap.scratch() / "out.safetensors"
    tap.run("lnn-ckpt-adapt", "-q", "-k", "", "-o", data, folder)
    from safetensors.torch import load_file

    got = load_file(data)
    tensors = {k: v for k, v in expected.items() if isinstance(v, torch.Tensor)}
    wrong = [k for k, v in tensors.items() if k not in got or not tap.same(v, got[k])]
    t.eq(wrong + sorted(set(got) ^ set(tensors)), [], f"{what}: a safetensors file has equal tensors")
    t.ok(tap.run("lnn-ckpt-inspect", "-q", "--check", "-k", "", folder).returncode == 0, f"{what}: --check finds nothing")


def put_folder(folder, name, shape, boxes, item):
    """Writes a folder with one tensor. Each box is a file of its own with the bytes of item."""
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata, MetadataIndex
    from torch.distributed.checkpoint.metadata import TensorProperties, TensorStorageMetadata

    folder.mkdir(exist_ok=True)
    chunks = [ChunkStorageMetadata(torch.Size(low), torch.Size(size)) for low, size in boxes]
    stored = {}
    for i, chunk in enumerate(chunks):
        stored[MetadataIndex(name, chunk.offsets, i)] = _StorageInfo(f"__{i}_0.distcp", 0, item.stat().st_size)
        subprocess.run(["cp", "--sparse=always", item, folder / f"__{i}_0.distcp"], check=True)
    tensor = TensorStorageMetadata(TensorProperties(dtype=torch.float32), torch.Size(shape), chunks)
    with open(folder / ".metadata", "wb") as f:
        pickle.dump(Metadata({name: tensor}, planner_data={name: (name,)}, storage_data=stored), f)


class Sparse:
    """A file in which long runs of zeros take no space on disk."""

    def __init__(self, path):
        self.file = open(path, "wb")

    def write(self, data):
        view = memoryview(data).cast("B")
        if len(view) >= 4096 and not any(view[:64]):
            return self.file.seek(len(view), 1) and len(view)
        return self.file.write(view)

    def flush(self):
        self.file.flush()


def limits(t):
    """Tests more files than may be open, and a tensor that is larger than the memory."""
    item = tap.scratch() / "item"
    torch.save(numbers(1, 8), item)
    ranks = tap.scratch() / "ranks"
    put_folder(ranks, "w", [400, 8], [([r, 0], [1, 8]) for r in range(400)], item)
    tap.shell('ulimit -n 100; lnn-ckpt-adapt -q -o "$out" "$folder"', folder=ranks, out=tap.scratch() / "many.pth")
    got = torch.load(tap.scratch() / "many.pth")["w"]
    t.ok(tap.same(got, numbers(1, 8).expand(400, 8)), "400 files are read while only 100 may be open")
    sparse = Sparse(item)
    torch.save(torch.zeros(1024, 131072), sparse)
    sparse.flush()
    wide = tap.scratch() / "wide"
    put_folder(wide, "w", [1024, 4 * 131072], [([0, r * 131072], [1024, 131072]) for r in range(4)], item)
    script = '(ulimit -v 100000; lnn-ckpt-adapt -q --to safetensors "$folder") | tee >(wc -c >all) | tr -d "\\0" | wc -c; cat all'
    others, size = map(int, tap.shell(script, folder=wide).stdout.split())
    t.ok(others < 200 and 0 < size - (1 << 31) < 200, "a tensor of 2 GiB is converted in 100 MB of address space")


def own(t, folder):
    """If ranks saved different values, the lowest rank's is taken, and --check reports it."""
    out = tap.scratch() / "out.pth"
    said = tap.run("lnn-ckpt-adapt", "-k", "", "-o", out, folder).stderr
    got = torch.load(out, weights_only=True)
    t.eq((got["mine"].item(), got["number"]), (0.0, 0), "the values of the lowest rank are taken")
    t.ok(b"'number' differs between '__0_0.distcp', which is taken, and '__1_0.distcp'" in said, "a warning names the value that differs")
    found = tap.run("lnn-ckpt-inspect", "-q", "--check", "-k", "", folder, status=1).stdout.decode().splitlines()
    t.eq(found, ["tensor 'mine', box [1] at [0]\tcopy"], "--check reports the tensor that differs")


def strided(t, folder):
    """An item stores its elements in another order. A flipped bit in it is found, and nothing is written."""
    dcp.save({"turned": numbers(30, 40).t(), "plain": numbers(7)}, checkpoint_id=str(folder), no_dist=True)
    [file] = folder.glob("*.distcp")
    data = bytearray(file.read_bytes())
    data[data.index(tap.bits(numbers(30, 40))) + 1000] ^= 1
    file.write_bytes(data)
    found = tap.run("lnn-ckpt-inspect", "-q", "--check", folder, status=1).stdout.decode().splitlines()
    t.eq(found, ["tensor 'turned', box [40,30] at [0,0]\tcrc"], "--check finds a wrong CRC in a strided item")
    failed = tap.run("lnn-ckpt-adapt", "-q", "-o", tap.scratch() / "no.pth", folder, status=2)
    t.ok(b"turned" in failed.stderr and not (tap.scratch() / "no.pth").exists(), "a strided item with a wrong CRC is refused")


class Command:
    """A value that calls a function when it is loaded."""

    def __reduce__(self):
        return os.getenv, ("HOME",)


def unsafe(t, folder):
    """--globals lists the globals that the values of a folder name."""
    dcp.save({"w": numbers(3), "bad": Command(), "n": 3}, checkpoint_id=str(folder), no_dist=True)
    listed = tap.run("lnn-ckpt-inspect", "-q", "--globals", folder, status=1).stdout.decode().splitlines()
    named = [line.split("\t") for line in listed if line.startswith("unsafe")]
    t.eq([(n[1], n[4].split(":")[0]) for n in named], [("os.getenv", "__0_0.distcp, 'bad'")],
         "--globals lists an unsafe value with its file")


def one_place(t, folder):
    """Many values that are described at one place of a file would need much memory. They are refused."""
    dcp.save({"w": numbers(3), "big": list(range(5000))}, checkpoint_id=str(folder), no_dist=True)
    metadata = folder / ".metadata"
    said = pickle.loads(metadata.read_bytes())
    [place] = [where for index, where in said.storage_data.items() if index.fqn == "big"]
    for name in [f"copy{i}" for i in range(50)]:
        said.state_dict_metadata[name] = said.state_dict_metadata["big"]
        said.storage_data[MetadataIndex(name)] = place
        said.planner_data[name] = (name,)
    metadata.write_bytes(pickle.dumps(said))
    failed = tap.run("lnn-ckpt-adapt", "-q", "-o", tap.scratch() / "no.pth", folder, status=2)
    t.ok(b"the values in it have more bytes than the file" in failed.stderr, "values that share their place are refused")


# An object that is shared in a file becomes two in the items of a folder. So each key occurs once here.
HIDDEN = {
    "model beside values": {"model": {"w": 1.0}, "step": 1, "more": {"t": (1.0,), "n": 1}},
    "another candidate in a tuple": {"net": {"w": 1.0}, "more": {"t": (1.0,)}},
    "only values beside the candidate": {"net": {"w": 1.0}, "more": {"n": (1,)}},
    "a loss in a tuple": {"net": {"w": 1.0}, "loss": {"t": (1.0,)}},
    "model in a tuple": {"state_dict": {"w": 1.0}, "model": {"m": ({"v": 1.0},)}},
    "a model without tensors": {"state_dict": {"w": 1.0}, "model": {"m": (1,)}},
    "a tuple in the model": {"model": {"p": (1.0, 1.0), "q": 1.0}, "state_dict": {"w": 1.0}},
    "levels": {"app": {"model": {"w": 1.0, "n": (1, 1.0)}, "more": {"t": (1.0,)}}, "step": 2},
    "a tensor beside": {"w": 1.0, "more": {"t": (1.0,)}},
    "optimizers alone": {"optim": {"state": {"0": {"m": 1.0}}, "param_groups": [{"lr": 1}]}, "step": 2},
    "an optimizer in a tuple": {"optim": {"t": (1.0,)}, "loss": {"w": 1.0}},
    "nothing": {"step": 1, "t": (1,)},
    "keys with dots": {"model": {"a.b": (1.0,), "a": {"b.c": (1.0,), "d": 1}, "": (1.0,)}, "more": {"e.f": (1.0,)}},
    "lists": {"model": [1.0, (1.0,), {"k": (1.0, 1)}], "more": [(1.0,), {"l": 1}]},
}


def with_tensors(value):
    """Replaces each float by a tensor of its own."""
    if isinstance(value, dict):
        return {k: with_tensors(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(with_tensors, value))
    return numbers(2, 3) if isinstance(value, float) else value


def hidden(t, folder):
    """Tensors inside other values count as they do in a single file, no matter which of the values are read."""
    from torch.distributed.checkpoint import DefaultSavePlanner

    file = tap.scratch() / "one.pth"
    for (what, state), flatten in ((x, f) for x in HIDDEN.items() for f in (True, False)):
        where = folder / f"{what} {flatten}"
        torch.save(with_tensors(state), file)
        dcp.save(with_tensors(state), checkpoint_id=str(where), planner=DefaultSavePlanner(flatten), no_dist=True)

        def differ(program, *ask, where=where):
            got, expected = (tap.run(program, *ask, x, status=None) for x in (where, file))
            said = [x.stderr.decode().replace(f"{where}/.metadata", str(file)).splitlines() for x in (got, expected)]
            said[0] = [line for line in said[0] if not line.endswith(" is read")]
            same = (got.returncode, got.stdout, said[0]) == (expected.returncode, expected.stdout, said[1])
            return [] if same else [(program, ask, got.returncode, said)]

        wrong = []
        for ask in [], ["-k", "model"], ["-k", "more.t"], ["-k", "model.m.0"], ["-k", ""], ["--get", "more.n"], ["--get", "more.t.0"]:
            wrong += differ("lnn-ckpt-inspect", *ask)
        for ask in [], ["-k", ""], ["--carry-all", "--under", "new"], ["--carry", "more", "--carry", "step"]:
            wrong += differ("lnn-ckpt-adapt", "-q", "--to", "torch", *ask)
        t.eq(wrong, [], f"the same as a single file: {what}, {'flattened' if flatten else 'as one value'}")


def zstd(t, folder):
    try:
        import zstandard  # noqa: F401
        from torch.distributed.checkpoint._extension import ZStandard
    except ImportError:
        return t.skip("this Python has no zstandard")
    dcp.save({"a": numbers(4)}, storage_writer=FileSystemWriter(folder, _extensions=[ZStandard()]), no_dist=True)
    tap.run("lnn-ckpt-inspect", "-q", folder)
    failed = tap.run("lnn-ckpt-adapt", "-q", folder, status=2)
    t.ok(b"packed by stream.zstd/1" in failed.stderr, "items that are packed by zstd are refused by name")


def main():
    t = tap.Tap()
    whole = dict(flat({"model": {**FULL, **PLAIN}, "step": 12, "list": [numbers(2), numbers(2) + 5], "tuple": (numbers(2), 1), "name": "run"}))
    for world in 1, 2, 3, 4:
        folder = tap.scratch() / str(world)
        mp.spawn(work, (world, str(folder)), nprocs=world, join=True)
        for name in "plain", "threads", "each", "async", "ranks":
            if (folder / name).exists():
                compare(t, folder / name, whole, f"{world} processes, {name}")
        if world > 1:
            theirs = tap.scratch() / "theirs.pth"
            dcp_to_torch_save(folder / "fsdp", theirs)
            compare(t, folder / "fsdp", dict(flat(torch.load(theirs, weights_only=True))), f"{world} processes, FSDP2")
    cut = {"a": numbers(6, 4), "b": numbers(5, 3), "c": numbers(4, 3), "e": numbers(1, 2)}
    compare(t, tap.scratch() / "4" / "square", cut, "a mesh of 2 x 2")
    compare(t, tap.scratch() / "4" / "blocks", {"s": numbers(5, 5)}, "blocks of any size")
    if (tap.scratch() / "2" / "own").exists():
        own(t, tap.scratch() / "2" / "own")
    limits(t)
    strided(t, tap.scratch() / "strided")
    unsafe(t, tap.scratch() / "unsafe")
    one_place(t, tap.scratch() / "one")
    hidden(t, tap.scratch() / "hidden")
    zstd(t, tap.scratch() / "zstd")
    t.done()


if __name__ == "__main__":
    sys.exit(main())
