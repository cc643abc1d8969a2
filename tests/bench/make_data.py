"""Usage: make_data.py FOLDER

Writes the files that the benchmark reads. tests/bench/run runs this once."""

import json
import pathlib
import struct
import sys

import torch
from safetensors.torch import save_file

folder = pathlib.Path(sys.argv[1])
torch.manual_seed(0)

# 1 GiB of float32: 256 matrices of 1024 x 1024, of which 26 are heads; and four relative position bias tables.
state = {}
for i in range(230):
    state[f"blocks.{i // 10}.w{i % 10}.weight"] = torch.randn(1024, 1024)
for i in range(4):
    state[f"stage_3.{i}.attn.relative_position_bias_table"] = torch.randn(27 * 27 + 1, 8)
for i in range(26):
    state[f"head.{i}.weight"] = torch.randn(1024, 1024)
torch.save({"model": state, "epoch": 1}, folder / "big.pth")
# The same as safetensors, in bfloat16, and with every hundredth element NaN.
save_file(state, folder / "big.safetensors")
half = {name: value.to(torch.bfloat16) for name, value in state.items()}
save_file(half | {f"{name}.again": value.clone() for name, value in half.items()}, folder / "bfloat16.safetensors")
del half
for value in state.values():
    value.view(-1)[::100] = float("nan")
save_file(state, folder / "nan.safetensors")

# 100,000 tensors of 4 floats, as a torch zip and as safetensors.
many = {f"layers.{i // 100}.block.{i % 100}.attn.qkv.weight": torch.full((4,), float(i)) for i in range(100_000)}
torch.save({"model": many}, folder / "many.pth")
header, at = {}, 0
for name in many:
    header[name] = {"dtype": "F32", "shape": [4], "data_offsets": [at, at + 16]}
    at += 16
text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)
with open(folder / "many.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    f.write(torch.cat(list(many.values())).numpy().tobytes())

# 24 tables of 14 x 14 tokens with 32 heads.
torch.save({f"stage_3.{i}.attn.relative_position_bias_table": torch.randn(27 * 27 + 1, 32) for i in range(24)},
           folder / "tables.pth")

# 8 GiB of which only the index is written, in 256 tensors.
with torch.serialization.skip_data():
    torch.save({"model": {f"blocks.{i}.weight": torch.empty(2048, 4096) for i in range(256)}}, folder / "large.pth")
