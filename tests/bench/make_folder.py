"""Writes a folder of torch.distributed.checkpoint with 4 processes: 64 tensors of 1 GiB together, of which every second one is cut
along its second axis.

Usage: make_folder.py FOLDER"""

import os
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard


def work(rank, folder):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{os.path.abspath(folder)}-gloo", rank=rank, world_size=4)
    mesh = init_device_mesh("cpu", (4,))
    torch.manual_seed(rank)
    state = {}
    for i in range(64):
        local = torch.randn(512, 2048) if i % 2 == 0 else torch.randn(2048, 512)
        state[f"layers.{i}.weight"] = DTensor.from_local(local, mesh, [Shard(i % 2)], run_check=False)
    dcp.save({"model": state}, checkpoint_id=folder)
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, (sys.argv[1],), nprocs=4, join=True)
