"""Damaged, crafted and unusual files are read in four ways: by PyTorch or safetensors, by us from a file, by us through a pipe, and
our copy by PyTorch or safetensors. We refuse and accept the same files as they, except for differences that are listed here with
their reasons. lnn-tools(7) lists the same differences. If both accept a file, they see equal tensors. File and pipe agree, or the
reason is listed. A refusal is one line. The output of a program that fails does not load.

The corpus is that of damaged.py, and mutations of small files that PyTorch and safetensors wrote, with a fixed seed. LNN_SEED sets
another seed, LNN_CASES the number of mutations of each kind, LNN_KEEP a folder for files with wrong verdicts. PyTorch runs in a
child process. If it crashes, another child continues.
"""

import collections
import concurrent.futures
import hashlib
import io
import os
import pickle
import random
import re
import resource
import signal
import struct
import threading
import traceback
import zipfile

import tap

tap.need_torch(2, 0)
tap.need("safetensors")
import torch
from safetensors.torch import load as safetensors_load, save as safetensors_save

import damaged

t = tap.Tap()
CASES = int(os.environ.get("LNN_CASES", 100))
SEED = int(os.environ.get("LNN_SEED", 1))

OPAQUE = "weights_only=False"  # part of our warning about objects that PyTorch does not allow

# lnn-tools(7) gives the reason of each name.
# Files that they refuse and we accept, by their message.
LOOSER = {
    "opaque": OPAQUE,
    "opcodes": r"Unsupported operand",
    "needless": r"whose module os is blocked|Unsupported global: GLOBAL|call reduce for unrecognized function|unhashable type",
    "arguments": r"must be a bool|must be bool|expected dict|_set_tensor_metadata|isComplexType",
    "unread": r"reading file \.(format_version|storage_alignment|data/)|zip_file\.serialization_id\(\)",
    "outside": r"is not in a subdirectory",
    "torchscript": r"TorchScript archives",
    "comment": r"Errno 22",
}
# Files that they accept and we refuse, by our message.
STRICTER = {
    "saves": r"holds two saves, and the second begins here",
    "packed": r"is encrypted|is a patch|is packed by method|another compression method|is stored, but its two sizes differ",
    "folders": r"is marked as a folder",
    "names": r"readers would see two archives|the zip has two records|which are the same name to torch",
    "ranges": r"reaches into what follows it",
    "ends": r"contradicts its zip64 record|end records of the zip are damaged|directory is not at the place that",
    "volumes": r"split zips cannot be read",
    "storages": r"is described in two ways",
    "strides": r"another number of strides than of dimensions",
    "depth": r"nested more than 200 deep",
    "dimensions": r"more than 64 dimensions",
    "dataless": r"have no data",
    "build": r"BUILD: its target cannot have a state",
    "reduce": r"the arguments are not a tuple",
    "dotted": r"GLOBAL builtins.getattr was not an allowed",
    "crc": r"the CRC of storage '.*' does not match its bytes",
    "unwritten": r"may load with weights_only=False only: .*torch.save writes nothing of the kind",
    "protocol": r"is newer than 5",
    "twice": r"occurs twice in the state dict",
    "nothing": r"there are no tensors|no tensor is left",
    "magic": r"not a checkpoint of a known format",
    "keys": r"is missing from the list of storage keys|is listed twice|a list of storage keys was expected|elements here",
    "machine": r"a dict that describes the machine was expected",
}
# Files that we accept as a file and refuse on a pipe, by the message for the pipe.
PIPE = {
    "between": r"does not end here|end records of the zip are damaged|split zips",
    "small": r"cut off in|cut off: \d+ more bytes expected|'version' holds no version",
    "case": r"its record 'data/.*' is missing",
    "second": r"another end record|holds two saves, and the second begins here",
}

# ---- verdicts


def digest(tree):
    """Names, dtypes, shapes and bits of all tensors in dicts, lists and tuples."""
    found = {}

    def walk(x, path, above):
        if isinstance(x, torch.Tensor) and x.layout != torch.strided:
            x = x.to_dense()
        if isinstance(x, torch.Tensor):
            found[path] = (str(x.dtype), tuple(x.shape), x.is_meta or hashlib.sha256(tap.bits(x)).hexdigest())
        elif id(x) in above:
            return
        elif isinstance(x, dict):
            for k, v in x.items():
                walk(v, f"{path}.{k}" if path else str(k), above | {id(x)})
        elif isinstance(x, (list, tuple)):
            for i, v in enumerate(x):
                walk(v, f"{path}.{i}" if path else str(i), above | {id(x)})

    walk(tree, "", frozenset())
    return found


def torch_load(data, **options):
    path = tap.scratch() / f"load-{os.getpid()}"
    path.write_bytes(data)
    return torch.load(path, map_location="cpu", weights_only=True, **options)


def answers(load, files, into, options):
    """Runs in a child. Writes (True, digest) or (False, reason) for each file, pickled, after its length."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_AS, (64 << 30, 64 << 30))
    for data in files:
        signal.alarm(30)
        try:
            answer = (True, digest(load(data, **options)))
        except BaseException as x:  # pylint: disable=broad-except
            answer = (False, f"{type(x).__name__}: {x}" + "".join(traceback.format_tb(x.__traceback__)[-3:]))
        raw = pickle.dumps(answer)
        into.write(struct.pack("<Q", len(raw)) + raw)
        into.flush()
    os._exit(0)


def load_all(load, files, **options):
    """The results of answers() for all files. A crash counts as a refusal."""
    found = []
    while len(found) < len(files):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            answers(load, files[len(found):], os.fdopen(write, "wb"), options)
        os.close(write)
        with os.fdopen(read, "rb") as f:
            while len(head := f.read(8)) == 8:
                found.append(pickle.loads(f.read(struct.unpack("<Q", head)[0])))
        _, status = os.waitpid(pid, 0)
        if len(found) < len(files):
            found.append((False, f"ended with status {status}"))
    return found


def ours(data, *options, pipe=False):
    """Copies data with lnn-ckpt-adapt. Returns status, output and standard error."""
    if pipe:
        done = tap.run("lnn-ckpt-adapt", *options, stdin=data, status=None)
    else:
        path = tap.scratch() / f"case-{threading.get_ident()}"
        path.write_bytes(data)
        done = tap.run("lnn-ckpt-adapt", *options, path, status=None)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


# ---- mutations


def mutate(r, data, interesting):
    """Makes one to three changes, most of them near one of the interesting offsets."""
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
zips = [damaged.saved(x) for x in trees] + [deflated(damaged.saved(trees[0]))]
legacies = [damaged.saved(x, _use_new_zipfile_serialization=False) for x in trees]
sets = [
    safetensors_save({"a": torch.randn(2, 3), "b": torch.zeros(0, 2), "c": torch.tensor(1, dtype=torch.int64)}, {"format": "pt"}),
    safetensors_save({"x" * 20: torch.randn(4).to(torch.bfloat16), "é": torch.tensor([True]), "": torch.ones(2, dtype=torch.float16)}),
]


# ---- the comparison


def lines(stderr):
    return [x for x in stderr.splitlines() if ": warning: " not in x]


def warns(stderr):
    """True if there is a warning that is not about a wrong CRC. The bytes of a file are copied without computing CRCs."""
    return any("warning:" in x and "does not match its bytes" not in x for x in stderr.splitlines())


def listed(exceptions, message):
    return next((name for name, pattern in exceptions.items() if re.search(pattern, message)), None)


def without_place(tensors):
    """Removes the key of the state dict from the names, which a torch file of ours may have."""
    return {k[6:] if k.startswith("model.") else k: v for k, v in tensors.items()}


class Judge:
    """Compares the four readings of a file."""

    def __init__(self, kind, loaded):
        self.kind, self.loaded = kind, loaded  # output -> (whether it loads, its tensors)
        self.count, self.used, self.wrong = collections.Counter(), collections.Counter(), []

    def excepted(self, exceptions, message):
        name = listed(exceptions, message)
        if name is not None:
            self.used[name] += 1
            self.count["listed"] += 1
        return name is not None

    def verdict(self, theirs, status, output, stderr):
        good, what = theirs
        warned = OPAQUE in stderr
        if good and status != 0 and not self.excepted(STRICTER, stderr):
            yield f"they accept it, we say {stderr!r}"
        if not good and status == 0 and not self.excepted(LOOSER, OPAQUE if warned else what):
            yield f"they refuse it: {what[:400]}"
        if status == 0 and not warned and not self.loaded[output][0]:
            yield f"they refuse our copy, and we do not warn: {self.loaded[output][1][:400]}"
        if good and status == 0 and warned and not self.excepted(STRICTER, stderr):
            yield f"they accept it, and we warn that they do not: {stderr!r}"

    def run(self, of, status, output, stderr):
        """The rules for a file and for a pipe."""
        empty = status == 1 and "no tensor is left" in stderr
        if (status not in (0, 2) and not empty) or (status == 2 and len(lines(stderr)) != 1):
            yield f"{of}: status {status}: {stderr!r}"
        if status != 0 and output:
            self.count["begun"] += 1
            if self.loaded[output][0]:
                yield f"{of}: the output before the failure loads"

    def judge(self, theirs, file, pipe):
        status, output, stderr = file
        piped, output2, stderr2 = pipe
        self.count["taken" if status == 0 else "refused"] += 1
        yield from self.run("file", *file)
        yield from self.run("pipe", *pipe)
        yield from self.verdict(theirs, status, output, stderr)
        if status == 0 and theirs[0] and self.loaded[output][0]:
            copy = self.loaded[output][1]
            if without_place(copy) != without_place(theirs[1]):
                yield f"they read {theirs[1]} from the file and {copy} from our copy"
        if piped == 0 and status != 0:
            yield f"it is accepted on a pipe but not as a file: {stderr!r}"
        if piped != 0 and status == 0 and not self.excepted(PIPE, stderr2):
            yield f"it is accepted as a file but not on a pipe: {stderr2!r}"
        if piped == 0 and status == 0 and output2 != output:
            yield f"a pipe gives other bytes: {stderr!r} {stderr2!r}"
        if piped == 0 and status == 0 and warns(stderr) != warns(stderr2):
            yield f"only one of file and pipe warns: {stderr!r} {stderr2!r}"


def compare(kind, cases, load):
    cases = list(cases)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        files = list(pool.map(lambda case: ours(case[1]), cases))
        pipes = list(pool.map(lambda case: ours(case[1], pipe=True), cases))
    theirs = load_all(load, [data for _, data in cases])
    outputs = sorted({output for _, output, _ in files + pipes if output})
    judge = Judge(kind, dict(zip(outputs, load_all(load, outputs))))
    for (what, data), *readings in zip(cases, theirs, files, pipes):
        for why in judge.judge(*readings):
            judge.wrong.append((what, data, why))
    keep = os.environ.get("LNN_KEEP")
    for what, data, why in judge.wrong[: 1000 if keep else 30]:
        t.note(f"{what}: {why}")
        if keep:
            with open(os.path.join(keep, f"{kind}-{what}".replace(" ", "-").replace("/", "_")), "wb") as f:
                f.write(data)
    t.ok(not judge.wrong, f"{kind}: verdicts on {len(cases)} files agree: " + ", ".join(f"{v} {k}" for k, v in judge.count.items()))
    return judge.used


def mutated(bases, *marks):
    for i in range(CASES):
        data = bases[i % len(bases)]
        yield f"mutation {i}", mutate(r, data, places(data, *marks))


r = random.Random(SEED)
used = collections.Counter()
for kind, cases, load in (
    ("torch zips", damaged.zips(), torch_load),
    ("pickles", damaged.pickles(), torch_load),
    ("legacy streams", damaged.legacies(), torch_load),
    ("safetensors", damaged.safetensors(), safetensors_load),
    ("mutated torch zips", mutated(zips, b"PK\3\4", b"PK\1\2", b"PK\5\6", b"data.pkl", b"storage", b"_rebuild"), torch_load),
    ("mutated legacy streams", mutated(legacies, b"storage", b"_rebuild", b"\x80\x02"), torch_load),
    ("mutated safetensors", mutated(sets, b"dtype", b"shape", b"offsets", b"__meta", b'{"'), safetensors_load),
):
    with t.part(kind):
        used += compare(kind, cases, load)
with t.part("the lists"):
    manual = (tap.TOP / "man" / "lnn-tools.7").read_text()
    t.eq(sorted(x for x in re.findall(r"^\.\\\" verdict: (\S+)", manual, re.M) if not x.startswith("safetensors-")), sorted([*LOOSER, *STRICTER, *PIPE]),
         "lnn-tools(7) lists the same differences as this file")
    if SEED == 1:
        t.eq([name for name in (*LOOSER, *STRICTER, *PIPE) if not used[name]], [], "each listed difference occurs in the corpus")

# ---- streams that end too early


def cut(name, data, load, *options):
    step = max(1, len(data) // 40)
    bad = []
    for n in [*range(0, len(data), step), len(data) - 1]:
        status, output, stderr = ours(data[:n], *options, pipe=True)
        if status != 2 or len(lines(stderr)) != 1:
            bad.append((n, status, stderr))
        elif output and load_all(load, [output])[0][0]:
            bad.append((n, "loads"))
        elif output and load is torch_load and load_all(load, [output], mmap=True)[0][0]:
            bad.append((n, "loads with mmap"))
    t.eq(bad, [], f"{name}, cut at {len(range(0, len(data), step)) + 1} places: one line, status 2, no output that loads")


for what, data in (("a torch zip", zips[1]), ("a deflated torch zip", zips[3]), ("a legacy stream", legacies[1]), ("safetensors", sets[0])):
    with t.part(f"cut: {what}"):
        cut(f"{what} to torch", data, torch_load, "--to", "torch")
        if what in ("safetensors", "a legacy stream"):
            cut(f"{what} to safetensors", data, safetensors_load, "--to", "safetensors")
t.done()
