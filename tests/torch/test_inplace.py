"""lnn-ckpt-adapt --in-place: torch, zipfile, unzip and safetensors read the result, and the values beside the state dict do not
change. No crash leaves a mixture of old and new: the calls of an edit are recorded, and all states that they can leave on a disk,
sector by sector, are built. Each is the old file, the new file, or refused. --recover restores the old or the new file."""

import io
import itertools
import json
import os
import pickletools
import random
import shutil
import struct
import subprocess
import zipfile

import tap

torch = tap.need_torch(2, 0)
tap.need("safetensors")
from safetensors.torch import load as load_safetensors, save_file  # noqa: E402

t = tap.Tap()
scratch = tap.scratch()
SECTOR, BLOCK = 512, 4096
recorder = scratch / "record.so"
subprocess.run([os.environ.get("CC", "cc").split()[-1], "-O1", "-shared", "-fPIC", "-o", recorder,
                tap.TOP / "tests" / "faults" / "record.c", "-ldl"], check=True)
seed = int(os.environ.get("LNN_SEED", random.randrange(1 << 30)))
random.seed(seed)
t.note(f"LNN_SEED={seed}")


def in_place(path, *args, status=0):
    return tap.run("lnn-ckpt-adapt", "-q", "--in-place", *args, path, status=status)


# ---- what other readers see


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Linear(16, 24)
        self.norm = torch.nn.BatchNorm1d(24)
        self.head = torch.nn.Linear(24, 4000)


def checkpoint():
    torch.manual_seed(3)
    net = torch.nn.Module()
    net.module = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.module.head(net.module.norm(net.module.embed(torch.randn(5, 16)))).sum().backward()
    optimizer.step()
    state = net.state_dict()
    return {"epoch": 7, "state_dict": state, "optimizer": optimizer.state_dict(), "ema": {"w": state["module.embed.weight"]},
            "rows": state["module.head.weight"][7:], "args": {"lr": [1e-3, None], "name": "x"}}


def flat(value):
    """Turns a value into lists and bits that == compares."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), tap.bits(value))
    if isinstance(value, dict):
        return [(k, flat(v)) for k, v in value.items()]
    return [flat(v) for v in value] if isinstance(value, (list, tuple)) else value


def check_torch(path, old, names, what):
    for how in ({}, {"weights_only": True}, {"mmap": True}):
        with t.part(f"{what}: {how}"):
            x = torch.load(path, map_location="cpu", **how)
            state = x["state_dict"]
            t.eq(list(state), [new for new, _ in names], f"{what}: the new names {how}")
            t.ok(all(tap.same(state[new], old["state_dict"][was]) for new, was in names), f"{what}: the values are equal {how}")
            rest = [k for k in old if k != "state_dict"]
            t.eq([k for k in x if k != "state_dict"], rest, f"{what}: the keys beside the state dict stay {how}")
            t.ok(all(flat(x[k]) == flat(old[k]) for k in rest), f"{what}: the values beside the state dict stay {how}")
            t.ok(type(state).__name__ == "OrderedDict" and hasattr(state, "_metadata"), f"{what}: _metadata stays {how}")
            for key in [new for new, was in names if was == "module.embed.weight"]:
                t.ok(x["ema"]["w"] is state[key], f"{what}: an object under two keys stays one object {how}")
            for key in [new for new, was in names if was == "module.head.weight"]:
                t.ok(x["rows"].untyped_storage().data_ptr() == state[key].untyped_storage().data_ptr(),
                     f"{what}: a shared storage stays shared {how}")
    with t.part(what):
        t.ok(zipfile.ZipFile(path).testzip() is None, f"{what}: zipfile finds all CRCs right")
        if shutil.which("unzip"):
            t.eq(subprocess.run(["unzip", "-tq", path], capture_output=True, check=False).returncode, 0, f"{what}: unzip -t passes")
        listed = tap.run("lnn-ckpt-inspect", "--format", "names", path)
        t.eq(listed.stderr, b"", f"{what}: inspect gives no warning")
        piped = tap.run("lnn-ckpt-inspect", "--format", "names", stdin=path.read_bytes())
        t.ok(piped.stderr == b"" and piped.stdout == listed.stdout, f"{what}: inspect lists the same from a pipe")
        t.ok(tap.run("lnn-ckpt-inspect", "--check", path), f"{what}: --check finds nothing")


old = checkpoint()
original = scratch / "old.pth"
torch.save(old, original)
tensors = list(old["state_dict"])
size = original.stat().st_size
path = scratch / "edited.pth"

shutil.copy(original, path)
in_place(path, "--strip-prefix", "module.", "--keep-wrappers")
shorter = [(n[len("module."):], n) for n in tensors]
check_torch(path, old, shorter, "shorter names")
t.eq(path.stat().st_size, size, "the file keeps its length")
t.eq(zipfile.ZipFile(path).infolist()[0].compress_type, zipfile.ZIP_STORED, "a pickle that fits is stored")

long_prefix = "a.rather.long.prefix.that.comes.before.every.name."
in_place(path, "--add-prefix", long_prefix)
check_torch(path, old, [(long_prefix + new, was) for new, was in shorter], "longer names")
t.eq(path.stat().st_size, size, "the file keeps its length when the pickle becomes longer")
t.eq(zipfile.ZipFile(path).infolist()[0].compress_type, zipfile.ZIP_DEFLATED, "a pickle that does not fit is deflated")

in_place(path, "--strip-prefix", long_prefix, "--drop-params", "head.bias")
kept = [(new, was) for new, was in shorter if not new.startswith("head.bias")]
check_torch(path, old, kept, "a drop after a rename")
in_place(path, "--drop-params", "norm")
check_torch(path, old, [(new, was) for new, was in kept if not new.startswith("norm")], "a second drop")
t.eq(path.stat().st_size, size, "the file keeps its length when records are dropped")

shutil.copy(original, path)
in_place(path, "--drop-rest", "--drop-params", "module.head", "--keep-wrappers")
with t.part("--drop-rest"):
    x = torch.load(path, mmap=True)
    t.eq(list(x), ["state_dict"], "--drop-rest leaves only the state dict")
    t.eq(list(x["state_dict"]), [n for n in tensors if not n.startswith("module.head")],
         "--drop-rest leaves the tensors that are not dropped")
    t.ok(all(tap.same(v, old["state_dict"][k]) for k, v in x["state_dict"].items()), "--drop-rest leaves their values")
    if os.statvfs(scratch).f_bsize <= BLOCK:
        t.ok(path.stat().st_blocks * 512 < size / 2, "the disk space of dropped tensors is freed")
    del x  # the file must not be mapped any more

with t.part("locations"):
    # Tensors that were saved on a GPU keep their location.
    data = io.BytesIO()
    with zipfile.ZipFile(original) as a, zipfile.ZipFile(data, "w") as b:
        for info in a.infolist():
            text = a.read(info)
            if info.filename.endswith("data.pkl"):
                text = text.replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:1")
            b.writestr(info.filename, text)
    path.write_bytes(data.getvalue())
    t.ok(b"cuda:1" in data.getvalue(), "locations: the test file has a GPU's location")
    in_place(path, "--strip-prefix", "module.", "--keep-wrappers")
    z = zipfile.ZipFile(path)
    texts = [arg for _, arg, _ in pickletools.genops(z.read(next(n for n in z.namelist() if n.endswith("data.pkl"))))]
    t.ok("cuda:1" in texts and "cpu" not in texts, "locations: the edited file has them")
    t.ok(z.testzip() is None, "headers with sizes: zipfile finds all CRCs right")
    t.eq(list(torch.load(path, map_location="cpu")["state_dict"]), [n for n, _ in shorter], "headers with sizes: torch loads the new names")

# ---- safetensors


def can_shift():
    probe = scratch / "probe"
    probe.write_bytes(bytes(4 * BLOCK))
    return os.statvfs(scratch).f_bsize == BLOCK and shutil.which("fallocate") and subprocess.run(
        ["fallocate", "-i", "-o", "0", "-l", str(BLOCK), probe], capture_output=True, check=False).returncode == 0


def blocks():
    """A file whose tensors begin at blocks and consist of whole blocks, except for a short one at the end."""
    header, off = {"__metadata__": {"format": "pt", "note": "kept"}}, 0
    sizes = {"m.a": 2 * BLOCK, "m.b": 3 * BLOCK, "m.c": BLOCK, "m.d": 5 * BLOCK, "m.e": 100}
    for name, n in sizes.items():
        header[name] = {"dtype": "F32", "shape": [n // 4], "data_offsets": [off, off + n]}
        off += n
    text = json.dumps(header).encode()
    text += b" " * (BLOCK - 8 - len(text))
    noise = random.Random(1).randbytes(off)
    return struct.pack("<Q", len(text)) + text + bytes(b & 0x3F for b in noise)  # no NaN


def check_safetensors(path, old, names, what):
    with t.part(what):
        x = load_safetensors(path.read_bytes())
        t.eq(sorted(x), sorted(new for new, _ in names), f"{what}: the new names")
        t.ok(all(tap.same(x[new], old[was]) for new, was in names), f"{what}: the values are equal")
        t.eq(tap.run("lnn-ckpt-inspect", "--check", path).stderr, b"", f"{what}: --check finds nothing")


plain = scratch / "plain.safetensors"
save_file({"m.a": torch.randn(40, 5), "m.b": torch.arange(7), "m.c": torch.randn(3)}, plain, {"format": "pt", "k": "v"})
flat_old = load_safetensors(plain.read_bytes())
path = scratch / "edited.safetensors"
shutil.copy(plain, path)
in_place(path, "--strip-prefix", "m.")
check_safetensors(path, flat_old, [(n[2:], n) for n in flat_old], "safetensors, shorter names")
t.eq(json.loads(path.read_bytes()[8:].split(b"}}")[0].split(b'"__metadata__":')[1].split(b"}")[0] + b"}"),
     {"format": "pt", "k": "v"}, "__metadata__ stays")
t.eq(path.stat().st_size, plain.stat().st_size, "a header that fits keeps its length")

shutil.copy(plain, path)
last = max(flat_old, key=lambda n: json.loads(plain.read_bytes()[8:8 + struct.unpack("<Q", plain.read_bytes()[:8])[0]])[n]
           ["data_offsets"][1])
in_place(path, "--drop-params", "^" + last)
check_safetensors(path, flat_old, [(n, n) for n in flat_old if n != last], "safetensors, the last tensor dropped")
shutil.copy(plain, path)
in_place(path, "--drop-params", next("^" + n for n in flat_old if n != last), status=2)
t.ok(path.read_bytes() == plain.read_bytes(), "a drop of tensors that are not whole blocks is refused, and the file stays as it was")

whole = scratch / "whole.safetensors"
whole.write_bytes(blocks())
blocks_old = load_safetensors(whole.read_bytes())
shifts = can_shift()
if shifts:
    shutil.copy(plain, path)
    in_place(path, "--add-prefix", "x" * 500 + ".")
    check_safetensors(path, flat_old, [("x" * 500 + "." + n, n) for n in flat_old], "safetensors, longer names")
    shutil.copy(whole, path)
    in_place(path, "--drop-params", "m.b", "--drop-params", "m.d", "--drop-params", "m.e")
    check_safetensors(path, blocks_old, [("m.a", "m.a"), ("m.c", "m.c")], "safetensors, whole blocks dropped")
    t.eq(path.stat().st_size, BLOCK + 3 * BLOCK, "a drop of whole blocks makes the file shorter")
else:
    t.skip("this file system cannot insert blocks into a file")

# ---- crashes


def record(path, *args):
    """The calls that an edit makes: (call, path, a, b, bytes)."""
    log = scratch / "log"
    log.unlink(missing_ok=True)
    env = {"LD_PRELOAD": str(recorder), "LNN_RECORD": str(log), "ASAN_OPTIONS": "verify_asan_link_order=0"}
    tap.run("lnn-ckpt-adapt", "-q", "--in-place", *args, path, env=env)
    data, calls = log.read_bytes(), []
    while data:
        line, data = data.split(b"\n", 1)
        call, _, a, b, n, name = line.decode().split(" ", 5)
        calls.append((call, name, int(a), int(b), data[: int(n)]))
        data = data[int(n):]
    return calls


def sectors(before, after):
    end = max(len(before), len(after))
    return [i for i in range(0, end, SECTOR) if before[i:i + SECTOR] != after[i:i + SECTOR]]


def subsets(all_of_them):
    if len(all_of_them) <= 12:
        return list(itertools.chain.from_iterable(itertools.combinations(all_of_them, k) for k in range(len(all_of_them) + 1)))
    return [(), tuple(all_of_them)] + [tuple(s for s in all_of_them if random.random() < p) for p in
                                       (random.random() for _ in range(1000))]


class State:
    """What a crash leaves: `file` with the shift that the file system had made and with some sectors of `after`; and the journal, or
    None."""

    def __init__(self, file, shift, after, which, journal):
        self.file, self.shift, self.after, self.which, self.journal = file, shift, after, which, journal

    def write(self, path):
        path.unlink(missing_ok=True)
        path.write_bytes(self.file)
        if self.shift:
            call, a, b, n = self.shift
            if call == "ftruncate":
                os.truncate(path, a)
            else:
                subprocess.run(["fallocate", {0x20: "-i", 0x08: "-c"}[a], "-o", str(b), "-l", str(n), path], check=True)
        with open(path, "r+b") as f:
            for s in self.which:
                f.seek(s)
                f.write(self.after[s:s + SECTOR])

    def bytes(self):
        data = bytearray(self.file if not self.shift else shifted(self.file, self.shift))
        for s in self.which:
            data[s:s + SECTOR] = self.after[s:s + SECTOR]
        return bytes(data)


def shifted(data, shift):
    call, a, b, n = shift
    if call == "ftruncate":
        return data[:a]
    return data[:b] + bytes(n) + data[b:] if a == 0x20 else data[:b] + data[b + n:]


def states(calls, path, start):
    """All states between two syncs of the file, as far as subsets() lists them."""
    name, journal_name = str(path), str(path.parent / f".{path.name}.lnn-undo")
    file, temporary, journal, shift, after = start, b"", None, None, bytearray(start)
    for call, where, a, b, data in calls:
        if call == "write" and where.startswith(str(path.parent / "..")):
            temporary += data
        elif call == "rename" and data.decode() == journal_name:
            yield State(file, None, b"", (), None)
            journal = temporary
        elif call == "pwrite" and where == journal_name:
            for n in range(len(data) + 1):  # the mark, cut off at any byte
                yield State(file, None, b"", (), journal + data[:n])
            journal += data
        elif call == "unlink" and where == journal_name:
            yield State(file, None, b"", (), journal)
            journal = None
            yield State(file, None, b"", (), None)
        elif where == name and call == "pwrite":
            after[a:a + len(data)] = data
        elif where == name and call in ("fallocate", "ftruncate") and journal is not None:
            yield State(file, None, b"", (), journal)
            shift = (call, a, b, struct.unpack("<q", data)[0] if data else 0)
            after = bytearray(shifted(file, shift))
        elif where == name and call == "fsync":
            before = shifted(file, shift) if shift else file
            for which in subsets(sectors(before, bytes(after))):
                yield State(file, shift, bytes(after), which, journal)
            file, shift = bytes(after), None
        elif where == name and call == "fallocate" and a == 3:  # a hole
            n = struct.unpack("<q", data)[0]
            after[b:b + n] = bytes(n)
    t.ok(after == path.read_bytes(), f"{path.name}: the recorded calls lead to the edited file")
    yield State(file, None, b"", (), None)


def takes_torch(data):
    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return True
    except Exception:
        return False


def takes_safetensors(data):
    try:
        load_safetensors(data)
        return True
    except Exception:
        return False


def crash(what, source, args, takes, ours=80):
    """Edits a copy of source and examines all states that a crash could have left."""
    path = scratch / "crash" / source.name
    path.parent.mkdir(exist_ok=True)
    shutil.copy(source, path)
    start = path.read_bytes()
    seen = list(states(record(path, *args), path, start))
    end = seen[-1].file  # before disk space was freed
    mixed = half = wrong = 0
    known = {}
    for state in seen:
        data = state.bytes()
        if data not in known:
            known[data] = takes(data)
        mixed += known[data] and data not in (start, end)
    t.ok(known[start] and known[end], f"{what}: the old file and the new one load")
    t.ok(mixed == 0,
         f"{what}: {len(seen)} states, {len(known)} of them different, are the old file, the new file or refused by torch or safetensors")
    journal = path.parent / f".{path.name}.lnn-undo"
    some = seen if len(seen) <= ours else [s for s in seen if not s.which][:50] + random.sample(seen, ours)
    for state in some:
        state.write(path)
        data = path.read_bytes()
        half += data != state.bytes()
        journal.unlink(missing_ok=True)
        done = tap.run("lnn-ckpt-inspect", path, status=None)
        half += done.returncode not in (0, 2) or (done.returncode == 0) != (data in (start, end))
        if state.journal is None:
            continue
        journal.write_bytes(state.journal)
        half += tap.run("lnn-ckpt-inspect", path, status=None).returncode != 2
        done = tap.run("lnn-ckpt-adapt", "-q", "--recover", path, status=None)
        committed = state.journal.endswith(b"LNNDONE1")
        if done.returncode != 0 or journal.exists() or path.read_bytes() != (end if committed else start):
            wrong += 1
            t.note(f"{done.returncode} {done.stderr} {len(state.which)} sectors, shift {state.shift}, {committed}")
    t.ok(half == 0, f"{what}: our reader accepts only the old and the new file, and no file beside a journal ({len(some)} states)")
    t.ok(wrong == 0, f"{what}: --recover restores the old file, or the new one if it was committed")
    return path, start, end, seen


small = scratch / "small.pth"
torch.save({"state_dict": {"module.a": torch.arange(6.0), "module.b": torch.arange(9)}, "epoch": 3}, small)
several = scratch / "several.pth"
torch.save({f"module.layers.{i}.attention.weight": torch.full((2,), float(i)) for i in range(38)}, several)
middle = scratch / "middle.pth"
torch.save({f"module.layer.{i}.weight": torch.full((3,), float(i)) for i in range(300)}, middle)
strip = ("--strip-prefix", "module.", "--keep-wrappers")
crash("a small file", small, strip, takes_torch)
crash("longer names", small, ("--add-prefix", "abcdefgh.abcdefgh.", "--keep-wrappers"), takes_torch)
crash("38 tensors, every subset of the sectors", several, strip, takes_torch)
crash("300 tensors", middle, strip, takes_torch)
crash("300 tensors, half of them dropped", middle, ("--drop-params", "re:[02468].weight", "--keep-wrappers"), takes_torch)
crash("safetensors", plain, ("--strip-prefix", "m."), takes_safetensors)
crash("safetensors, cut at the end", whole, ("--drop-params", "m.e"), takes_safetensors)
if shifts:
    path, start, end, seen = crash("safetensors, longer", whole, ("--add-prefix", "x" * 900 + "."), takes_safetensors)
    journal = path.parent / f".{path.name}.lnn-undo"
    undo = next(s.journal for s in seen if s.journal)
    wrong = 0
    for at in range(0, len(start) + BLOCK, BLOCK):  # the file system had moved all data from here on when the power failed
        for half in (False, True):
            path.unlink()
            with open(path, "wb") as f:
                f.write(b"\xff" * 8 + start[8:at] if at else b"")
                f.seek(at + BLOCK)
                f.write(b"\xff" * 8 + start[8:] if at == 0 else start[at:])
                f.truncate(len(start) + BLOCK)
                if half:  # an interrupted recovery had written the guard again
                    f.seek(0)
                    f.write(b"\xff" * 8)
            journal.write_bytes(undo)
            done = tap.run("lnn-ckpt-adapt", "-q", "--recover", path, status=None)
            wrong += done.returncode != 0 or path.read_bytes() != start
    t.ok(wrong == 0, "an insertion that was half done is undone")
    path, start, end, seen = crash("safetensors, cut in the middle", whole,
                                   ("--drop-params", "m.b", "--drop-params", "m.d"), takes_safetensors)
    commit = next(s for s in seen if s.journal and s.journal.endswith(b"LNNDONE1"))
    wrong = n = 0
    first, length = BLOCK + 2 * BLOCK + 3 * BLOCK + BLOCK, 5 * BLOCK  # m.d is removed first
    for at in range(first, len(start), BLOCK):
        for low, high in ((at, at + length), (at + length - BLOCK, at + length)):
            if (low, at) != (at, at) and at != first:
                continue  # only the range itself can be half removed
            data = commit.file[:first] + commit.file[first + length:at + length] + bytes(length) + commit.file[at + length:]
            path.unlink()
            with open(path, "wb") as f:
                f.write(commit.file[:at] if at == first else data[:at])
                f.seek(at)
                f.write(commit.file[at:low])
                f.seek(high)
                f.write(commit.file[high:] if at == first else data[high:])
                f.truncate(len(start))
            journal.write_bytes(commit.journal)
            done = tap.run("lnn-ckpt-adapt", "-q", "--recover", path, status=None)
            n += 1
            if done.returncode != 0 or path.read_bytes() != end:
                wrong += 1
                t.note(f"{at} {low} {high}: {done.returncode} {done.stderr}")
    t.ok(wrong == 0, f"a removal that was half done is completed ({n} states)")
t.done()
