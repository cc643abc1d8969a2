"""Shards of Hugging Face's writer of torch.distributed.checkpoint, and rank files of DTensors. When they are joined, every tensor
equals torch's full_tensor()."""

import json
import shutil
import struct
import warnings

import tap

torch = tap.need_torch(2, 9)
tap.need("safetensors")
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from safetensors import safe_open
from safetensors.torch import load_file

warnings.simplefilter("ignore")
RANKS = 4


def count(*shape, dtype=torch.float32):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape).to(dtype)


def tensors(mesh, square):
    """Name to the whole tensor, its mesh and its placements."""
    from torch.distributed.tensor import Replicate, Shard

    return {
        "uneven": (count(5, 3), mesh, [Shard(0)]), "few": (count(3, 2), mesh, [Shard(0)]), "one": (count(1, 2), mesh, [Shard(0)]),
        "columns": (count(4, 6) + 100, mesh, [Shard(1)]), "last": (count(2, 3, 7, dtype=torch.bfloat16), mesh, [Shard(2)]),
        "whole": (count(3) + 200, mesh, [Replicate()]), "both": (count(6, 4), square, [Shard(0), Shard(1)]),
        "twice": (count(7, 3), square, [Shard(0), Shard(0)]), "copies": (count(5, 3), square, [Replicate(), Shard(0)]),
        "copied": (count(5, 3), square, [Shard(1), Replicate()]), "bytes": (count(9, dtype=torch.uint8), mesh, [Shard(0)]),
    }


def fsdp_over_tp(square):
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 4))
    parallelize_module(model, square["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    return fully_shard(model, mesh=square["dp"])


def worker(rank, out):
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, distribute_tensor

    tap.gloo(rank, RANKS, f"{out}/gloo")
    mesh = init_device_mesh("cpu", (RANKS,))
    square = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    state = {k: distribute_tensor(t, m, p) for k, (t, m, p) in tensors(mesh, square).items()}
    hf = HuggingFaceStorageWriter(f"{out}/hf", save_distributed=True)
    dcp.save(state, storage_writer=hf)
    sharded = fsdp_over_tp(square).state_dict()
    state.update({f"net.{k}": v for k, v in sharded.items()})
    everything = {k: v.full_tensor() for k, v in state.items()}
    plain = {"plain": count(4, 4).t(), "step": 12, "betas": (0.9, 0.999)}
    torch.save({**state, **plain}, f"{out}/model_world_size_4_rank_{rank}.pt")
    torch.save({"state": {0: {"exp_avg": state["uneven"], "step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1.0, "rank": rank}]},
               f"{out}/optim_rank_{rank}.pt")
    torch.save({"a": state["uneven"], "plain": count(3) + (rank == 2)}, f"{out}/differ_rank_{rank}.pt")
    torch.save({"p": DTensor.from_local(count(3), mesh, [Partial()])}, f"{out}/partial_rank_{rank}.pt")
    if rank == 0:
        torch.save({**everything, **plain}, f"{out}/full.pth")
    dist.barrier()
    dist.destroy_process_group()


def start():
    mp.spawn(worker, (str(tap.scratch()),), nprocs=RANKS)
    return torch.load(tap.scratch() / "full.pth", weights_only=False)


def same(a, b):
    return a.keys() == b.keys() and all(tap.same(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a)


def shards(t, full):
    folder, out = tap.scratch() / "hf", tap.scratch() / "hf.safetensors"
    truth = {k: v for k, v in full.items() if isinstance(v, torch.Tensor) and not k.startswith("net.") and k != "plain"}
    tap.run("lnn-ckpt-adapt", folder, "-o", out)
    t.ok(same(truth, load_file(out)), "shards in a folder are joined to safetensors")
    tap.run("lnn-ckpt-adapt", folder, "--to", "torch", "-o", tap.scratch() / "hf.pth")
    t.ok(same(truth, dict(torch.load(tap.scratch() / "hf.pth"))), "shards in a folder are joined to a torch file")
    tap.run("lnn-ckpt-inspect", "--against", out, folder, "--values")
    files = sorted(folder.iterdir())

    def damaged(what, harm, said):
        broken = tap.scratch() / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(folder, broken)
        harm(broken)
        done = tap.run("lnn-ckpt-adapt", broken, "-o", tap.scratch() / "no.safetensors", status=2)
        t.ok(said in done.stderr.decode(), what)

    damaged("a missing middle shard is refused", lambda d: (d / files[1].name).unlink(), "rank 1 has no shard here")
    damaged("a missing first shard is refused", lambda d: (d / files[0].name).unlink(), "rank 0 has no shard here")

    def move(d):
        path = d / files[2].name
        raw = path.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8 : 8 + size])
        info = json.loads(header["__metadata__"]["DCP_SHARDING_INFO"])
        info["columns"]["saved_offsets"][1] += 1
        header["__metadata__"]["DCP_SHARDING_INFO"] = json.dumps(info)
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])

    damaged("a box that overlaps another is refused", move, "'columns'")


def edited_shard(t):
    """torch reads a folder whose shards were each edited with renames and drops."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    out = tap.scratch() / "edited"
    out.mkdir()
    for path in (tap.scratch() / "hf").iterdir():
        tap.run("lnn-ckpt-adapt", path, "--rename", "s/^un/net.un/", "--drop-names", "-", "--ignore-missing", "-o", out / path.name,
                stdin=b"columns\n")
        with safe_open(out / path.name, "pt") as f:
            info = json.loads(f.metadata()["DCP_SHARDING_INFO"])
            t.eq(sorted(info), sorted(f.keys()), f"{path.name}: the map of boxes has the names of the tensors")
    state = {"net.uneven": torch.zeros(5, 3), "both": torch.zeros(6, 4)}
    dcp.load(state, storage_reader=HuggingFaceStorageReader(str(out)), no_dist=True)
    t.ok(tap.same(state["net.uneven"], count(5, 3)) and tap.same(state["both"], count(6, 4)), "torch reads the edited folder")


def ranks(t, full):
    first = tap.scratch() / "model_world_size_4_rank_0.pt"
    for rank in (0, 3):
        out = tap.scratch() / f"joined{rank}.pth"
        tap.run("lnn-ckpt-adapt", "--ranks", tap.scratch() / f"model_world_size_4_rank_{rank}.pt", "-o", out)
        t.ok(same(full, torch.load(out)), f"rank files are joined if rank {rank} is named")
    flat = tap.scratch() / "joined.safetensors"
    tap.run("lnn-ckpt-adapt", "--ranks", first, "-o", flat)
    t.ok(same({k: v for k, v in full.items() if isinstance(v, torch.Tensor)}, load_file(flat)), "rank files are joined to safetensors")
    done = tap.run("lnn-ckpt-adapt", "--ranks", tap.scratch() / "optim_rank_2.pt", "-k", "", "-o", tap.scratch() / "optim.pth")
    optim = torch.load(tap.scratch() / "optim.pth")
    t.ok(tap.same(optim["state"][0]["exp_avg"], full["uneven"]) and optim["param_groups"] == [{"lr": 1.0, "rank": 0}],
         "rank files of an optimizer are joined")
    t.ok("differ in 3 of the files" in done.stderr.decode(), "values that differ between ranks give a warning")
    for name, what, said in (
            ("differ", "a plain tensor that differs", "'plain': it is not a DTensor, but its values differ from those of rank 0"),
            ("partial", "a partial sum", "Partial")):
        done = tap.run("lnn-ckpt-adapt", "--ranks", tap.scratch() / f"{name}_rank_0.pt", "-o", tap.scratch() / "no.pth", status=2)
        t.ok(said in done.stderr.decode(), f"--ranks refuses {what}")
    done = tap.run("lnn-ckpt-adapt", first, "-o", tap.scratch() / "no.safetensors", status=2)
    t.ok(b"plain" in done.stderr, "a single rank file is refused as safetensors, with a tensor's name")
    for gone in (3, 1):
        (tap.scratch() / f"model_world_size_4_rank_{gone}.pt").unlink()
        done = tap.run("lnn-ckpt-adapt", "--ranks", first, "-o", tap.scratch() / "no.pth", status=2)
        t.ok(f"rank {gone} is missing" in done.stderr.decode(), f"a message says that rank {gone} is missing")


def pieces(t):
    """Parts that cannot be joined are refused with the name of their format. Lists of them are printed."""
    flat = {"layers.0._fsdp_wrapped_module._flat_param": count(10)}
    zero = {"optimizer_state_dict": {"zero_stage": 2, "single_partition_of_fp32_groups": [count(6)]}, "ds_version": "0.14"}
    stage3 = {"module": {"w": torch.empty(0), "b": torch.empty(0)}, "ds_version": "0.14", "param_shapes": {"w": torch.Size([2])}}
    for name, obj, said in (("flat", flat, b"flat parameters of FSDP 1"), ("zero", zero, b"DeepSpeed's ZeRO"), ("s3", stage3, b"ZeRO")):
        path = tap.scratch() / f"{name}.pt"
        torch.save(obj, path)
        done = tap.run("lnn-ckpt-adapt", path, "-k", "" if name == "zero" else "module" if name == "s3" else "", "-o", tap.scratch() / "no.pth",
                       status=2)
        t.ok(said in done.stderr, f"{name}: refused with the name of the format")
        done = tap.run("lnn-ckpt-inspect", path)
        t.ok(said in done.stderr, f"{name}: listed, with a notice that names the format")
    # Stages 1 and 2 of ZeRO keep the weights whole, as an ordinary state dict.
    torch.save({"module": {"w": count(3)}, "ds_version": "0.14", "param_shapes": None}, tap.scratch() / "whole.pt")
    tap.run("lnn-ckpt-adapt", tap.scratch() / "whole.pt", "-o", tap.scratch() / "whole.pth")


if __name__ == "__main__":
    tests = tap.Tap()
    whole = start()
    for part in (shards, ranks):
        with tests.part(part.__name__):
            part(tests, whole)
    for part in (edited_shard, pieces):
        with tests.part(part.__name__):
            part(tests)
    tests.done()
