"""Damaged and odd files: what PyTorch or safetensors refuses we refuse too, apart from the exceptions listed here, each
with its reason; where both accept they see the same tensors; what a failing program has put on a pipe loads nowhere.

The corpus is made by mutating small files that PyTorch and safetensors wrote, with a fixed seed (LNN_SEED for another one,
LNN_CASES for more of each kind). PyTorch runs in a child for each file, for it may crash.
"""

import collections
import hashlib
import io
import os
import pickle
import random
import re
import signal
import traceback
import zipfile

import torch
from safetensors.torch import load as safetensors_load, save as safetensors_save

import tap

t = tap.Tap()
CASES = int(os.environ.get("LNN_CASES", 150))
SEED = int(os.environ.get("LNN_SEED", 1))

# What they refuse and we take: (why, who refuses, their message).
EXCEPTIONS = [
    ("an unknown global is carried as it is and never called; a warning says that torch wants weights_only=False", "torch",
     r"Unsupported global|not an allowed global|Unsupported class|unrecognized function"),
    ("an opcode that only the whole of Python's unpickler knows is plain data to us", "torch", r"Unsupported operand"),
    ("a call whose arguments do not fit its function is carried like one of an unknown function", "torch",
     r"missing \d+ required|takes \d+ positional|takes from \d+ to"),
    ("a damaged record that says nothing of tensors is not read", "torch",
     r"reading file \.(format_version|storage_alignment|data/)|zip_file\.serialization_id\(\)"),
]

# ---- verdicts


def digest(tree):
    """Names, dtypes, shapes and bits of all tensors in dicts, lists and tuples."""
    found = {}

    def walk(x, path):
        if isinstance(x, torch.Tensor):
            found[path] = (str(x.dtype), tuple(x.shape), hashlib.sha256(tap.bits(x)).hexdigest())
        elif isinstance(x, dict):
            for k, v in x.items():
                walk(v, f"{path}.{k}" if path else str(k))
        elif isinstance(x, (list, tuple)):
            for i, v in enumerate(x):
                walk(v, f"{path}.{i}" if path else str(i))

    walk(tree, "")
    return found


def torch_load(data, **options):
    path = tap.scratch() / f"load-{os.getpid()}"
    path.write_bytes(data)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, **options)
    finally:
        path.unlink()


def in_child(load, data, **options):
    """(True, digest) or (False, why), found in a child process."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        signal.alarm(30)
        try:
            answer = (True, digest(load(data, **options)))
        except BaseException as x:  # pylint: disable=broad-except
            answer = (False, f"{type(x).__name__}: {x}" + "".join(traceback.format_tb(x.__traceback__)[-3:]))
        with os.fdopen(write, "wb") as f:
            pickle.dump(answer, f)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as f:
        raw = f.read()
    _, status = os.waitpid(pid, 0)
    if status != 0 or not raw:
        return False, f"ended with status {status}"
    return pickle.loads(raw)


def ours(data, *options, pipe=False):
    """status, output, standard error of a copy"""
    path = tap.scratch() / "case"
    path.write_bytes(data)
    if pipe:
        done = tap.run("lnn-ckpt-adapt", *options, stdin=data, status=None)
    else:
        done = tap.run("lnn-ckpt-adapt", *options, path, status=None)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


# ---- mutations


def mutate(r, data, interesting):
    """One to three changes; interesting: offsets where changes tell more."""
    data = bytearray(data)
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        at = r.choice(interesting) + r.randrange(-4, 60) if r.random() < 0.7 else r.randrange(len(data))
        at = max(0, min(at, len(data) - 1))
        way = r.randrange(8)
        if way == 0:
            data[at] ^= 1 << r.randrange(8)
        elif way == 1:
            data[at] = r.randrange(256)
        elif way == 2:
            data[at] = r.choice((0, 1, 0x7f, 0x80, 0xff))
        elif way == 3:
            del data[at : at + r.choice((1, 2, 4, 16))]
        elif way == 4:
            data[at:at] = r.choice((b"\0", b"PK", b"(", b"]}", b"0", bytes(4), bytes(64)))
        elif way == 5:
            size = r.choice((1, 2, 4, 8))
            data[at : at + size] = r.choice((0, 1, 2, 2 ** (8 * size - 1), 2 ** (8 * size) - 1, len(data))).to_bytes(8, "little")[:size]
        elif way == 6:
            n = r.choice((1, 4, 16, 64))
            data[at:at] = data[at : at + n]
        else:
            data = data[: r.randrange(len(data))] if r.random() < 0.3 else data
            data = data or bytearray(b"\0")
    return bytes(data)


def places(data, *marks):
    found = [m.start() for mark in marks for m in re.finditer(re.escape(mark), data)]
    return found or [0]


def saved(tree, **options):
    b = io.BytesIO()
    torch.save(tree, b, **options)
    return b.getvalue()


def deflated(data):
    b = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as z, zipfile.ZipFile(b, "w", zipfile.ZIP_DEFLATED) as new:
        for i in z.infolist():
            new.writestr(i.filename, z.read(i))
    return b.getvalue()


torch.manual_seed(7)
base = torch.randn(3, 4)
trees = [
    {"a.weight": torch.randn(2, 3), "a.bias": torch.arange(3, dtype=torch.float16), "n": torch.tensor(5)},
    {"model": collections.OrderedDict(w=base, view=base[1:, ::2], t=base.t(), e=base[:1].expand(4, 4)), "epoch": 3},
    {"p": torch.nn.Parameter(torch.randn(2)), "z": torch.zeros(0, 3), "b": torch.tensor([True, False]),
     "c": torch.randn(2, dtype=torch.complex64), "list": [torch.ones(1), {"x": torch.ones(2, dtype=torch.bfloat16)}]},
]
zips = [saved(x) for x in trees] + [deflated(saved(trees[0]))]
legacies = [saved(x, _use_new_zipfile_serialization=False) for x in trees]
sets = [
    safetensors_save({"a": torch.randn(2, 3), "b": torch.zeros(0, 2), "c": torch.tensor(1, dtype=torch.int64)}, {"format": "pt"}),
    safetensors_save({"x" * 20: torch.randn(4).to(torch.bfloat16), "é": torch.tensor([True]), "": torch.ones(2, dtype=torch.float16)}),
]


def corpus(r, bases, *marks):
    for i in range(CASES):
        data = bases[i % len(bases)]
        yield mutate(r, data, places(data, *marks))


# ---- the comparison


def lines(stderr):
    return [x for x in stderr.splitlines() if ": warning: " not in x]


def excepted(who, why):
    return next((what for what, refuser, message in EXCEPTIONS if refuser == who and re.search(message, why)), None)


def hold(name, data_list, load, who, out_load):
    count, wrong = collections.Counter(), []

    for i, data in enumerate(data_list):
        good, theirs = in_child(load, data)
        status, output, stderr = ours(data)
        tag = f"{name.replace(' ', '-')}-{i}"
        if status not in (0, 1, 2) or (status == 2 and len(lines(stderr)) != 1):
            wrong.append((tag, data, f"status {status}: {stderr!r}"))
            continue
        if status == 0:
            count["we take"] += 1
            if not good:
                if excepted(who, theirs):
                    count["excepted"] += 1
                else:
                    wrong.append((tag, data, f"they refuse: {theirs[:300]}"))
                continue
            count["both take"] += 1
            loads, copy = in_child(out_load, output)
            place = "model." if load is torch_load else ""
            copy = {k[len(place):] if k.startswith(place) else k: v for k, v in copy.items()} if loads else copy
            theirs = {k[6:] if k.startswith("model.") and name != "safetensors" else k: v for k, v in theirs.items()}
            if not loads or copy != theirs:
                wrong.append((tag, data, f"they read {theirs}, of our copy {copy}"))
        else:
            count["we refuse"] += 1
            count["only we refuse"] += good
            if output and in_child(out_load, output)[0]:
                wrong.append((tag, data, "what was written before the failure loads"))
        # Through a pipe: never what a file would not be, and nothing that loads after a failure.
        piped, output2, stderr2 = ours(data, pipe=True)
        if piped == 0 and status != 0:
            wrong.append((tag, data, f"a pipe takes it, a file does not: {stderr!r}"))
        if piped == 0 and status == 0 and output2 != output and "warning" not in stderr + stderr2:
            wrong.append((tag, data, "a pipe gives other bytes"))
        if piped != 0 and output2:
            count["begun"] += 1
            if in_child(out_load, output2)[0]:
                wrong.append((tag, data, "what was written to a pipe before the failure loads"))
    for tag, data, why in wrong[:20]:
        keep = os.environ.get("LNN_KEEP")
        if keep:
            with open(os.path.join(keep, tag), "wb") as f:
                f.write(data)
        t.note(f"{tag}: {why}")
    t.ok(not wrong, f"{name}: {len(data_list)} damaged files: " + ", ".join(f"{v} {k}" for k, v in count.items()))


r = random.Random(SEED)
with t.part("torch zips"):
    hold("torch zip", list(corpus(r, zips, b"PK\3\4", b"PK\1\2", b"PK\5\6", b"data.pkl", b"storage", b"_rebuild")), torch_load,
         "torch", torch_load)
with t.part("legacy streams"):
    hold("legacy", list(corpus(r, legacies, b"storage", b"_rebuild", b"\x80\x02")), torch_load, "torch", torch_load)
with t.part("safetensors"):
    hold("safetensors", list(corpus(r, sets, b"dtype", b"shape", b"offsets", b"__meta", b'{"')), safetensors_load, "safetensors",
         safetensors_load)

# ---- streams that end too early


def cut(name, data, load, *options):
    step = max(1, len(data) // 40)
    bad = []
    for n in [*range(0, len(data), step), len(data) - 1]:
        status, output, stderr = ours(data[:n], *options, pipe=True)
        if status != 2 or len(lines(stderr)) != 1:
            bad.append((n, status, stderr))
        elif output and in_child(load, output)[0]:
            bad.append((n, "loads"))
        elif output and load is torch_load and in_child(load, output, mmap=True)[0]:
            bad.append((n, "loads with mmap"))
    t.eq(bad, [], f"{name}, cut at {len(range(0, len(data), step)) + 1} points")


for what, data in (("a torch zip", zips[1]), ("a deflated one", zips[3]), ("a legacy stream", legacies[1]), ("safetensors", sets[0])):
    with t.part(f"cut: {what}"):
        cut(f"{what} to torch", data, torch_load, "--to", "torch")
        if what in ("safetensors", "a legacy stream"):
            cut(f"{what} to safetensors", data, safetensors_load, "--to", "safetensors")
t.done()
