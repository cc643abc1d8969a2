"""A bit that was flipped anywhere in a file of torch.save is found: the program fails, and what it has written does not load."""

import io
import json
import struct
import zipfile
import zlib
from collections import OrderedDict

import tap

torch = tap.need_torch(1, 13)
t = tap.Tap()
scratch = tap.scratch()
try:
    from safetensors.torch import load as load_safetensors
except ImportError:
    load_safetensors = None


def loads(data, to):
    try:
        if to == "safetensors":
            load_safetensors(data)
        else:
            torch.load(io.BytesIO(data), map_location="cpu")
        return True
    except Exception:
        return False


def tensors():
    """A plain tensor, one that is larger than a unit of work, two that share a storage, one that is transposed, a table."""
    torch.manual_seed(5)
    shared = torch.randn(40, 50)
    return OrderedDict((
        ("a.w", torch.randn(30, 20)), ("b.w", torch.randn(500, 400)), ("c.q", shared[:20]), ("c.k", shared[20:]),
        ("d.w", torch.randn(70, 90).t()), ("stage_3.attn.relative_position_bias_table", torch.randn(49, 3))))


def saved(tree):
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


def deflated(data):
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return file.getvalue()


def records(data):
    """Yields the name without its folder, the offset of the bytes, and the size of each record."""
    for info in zipfile.ZipFile(io.BytesIO(data)).infolist():
        name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
        yield info.filename.split("/", 1)[1], info.header_offset + 30 + name + extra, info.compress_size


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def reshaped(data):
    """Changes the shape (30, 20) in data.pkl to (30, 19), which is still a valid checkpoint. None if the shape is not found."""
    at = data.find(b"K\x1eK\x14\x86")
    return None if at < 0 else data[: at + 3] + b"\x13" + data[at + 4 :]


def without_crcs(data):
    """Sets every CRC of the directory, the headers and the descriptors to 0."""
    out = bytearray(data)
    crcs = {zlib.crc32(zipfile.ZipFile(io.BytesIO(data)).read(i)) for i in zipfile.ZipFile(io.BytesIO(data)).namelist()}
    for signature, at in ((b"PK\1\2", 16), (b"PK\3\4", 14), (b"PK\7\10", 4)):
        place = data.find(signature)
        while place >= 0:
            if struct.unpack_from("<I", data, place + at)[0] in crcs:
                out[place + at : place + at + 4] = bytes(4)
            place = data.find(signature, place + 1)
    return bytes(out)


WAYS = [("lnn-ckpt-adapt", ("--dtype", "bfloat16"), "torch"),
        ("lnn-ckpt-adapt", ("--dtype", "float64", "-j", "1"), "torch")]
if load_safetensors is not None:
    WAYS += [("lnn-ckpt-adapt", (), "safetensors"), ("lnn-ckpt-adapt", ("--dtype", "bfloat16"), "safetensors"),
             ("lnn-interp-bias", ("--img-size", "96"), "safetensors")]


def made(data, program, options, to, piped):
    """Runs a program and returns its status and output."""
    if piped:
        done = tap.run(program, "-q", *options, "--to", to, stdin=data, status=None)
        return done.returncode, done.stdout
    (scratch / "in.pth").write_bytes(data)
    name = scratch / ("out.safetensors" if to == "safetensors" else "out.pth")
    name.unlink(missing_ok=True)
    done = tap.run(program, "-q", *options, scratch / "in.pth", "-o", name, status=None)
    return done.returncode, name.read_bytes() if name.exists() else b""


def every_way(data, what, status):
    for program, options, to in WAYS:
        for piped in (False, True):
            got, out = made(data, program, options, to, piped)
            t.eq((got, loads(out, to)), (status, status == 0),
                 f"{program} {' '.join(options)} to {to} from a {'pipe' if piped else 'file'}: {what}")


def flips(data, kind):
    every_way(data, f"{kind}, whole", 0)
    for name, at, size in records(data):
        if name.startswith("data/"):
            every_way(flipped(data, at + size // 2), f"{kind}, a bit of {name} is flipped", 2)
    places = {name: (at, size) for name, at, size in records(data)}
    if kind != "deflated":
        every_way(reshaped(data), f"{kind}, a shape is changed", 2)
    if kind != "deflated":  # version 3 becomes 2, which torch also reads
        every_way(flipped(data, places["version"][0]), f"{kind}, the version is changed", 2)


def check():
    """--check names the damaged record."""
    data = saved(tensors())
    for name, at, size in records(data):
        if name not in ("data.pkl", "version") and not name.startswith("data/"):
            continue
        bad = reshaped(data) if name == "data.pkl" else flipped(data, at)
        for stdin in (None, bad):
            (scratch / "in.pth").write_bytes(bad)
            done = tap.run("lnn-ckpt-inspect", "--check", *([scratch / "in.pth"] if stdin is None else []), stdin=stdin, status=1)
            t.eq(done.stdout.decode(), f"{name}\tcrc\n",
                 f"--check of a {'file' if stdin is None else 'pipe'} names the damaged record {name}")
    bad = flipped(data, [at for name, at, _ in records(data) if name == "version"][0])
    done = tap.run("lnn-ckpt-inspect", stdin=bad)
    t.ok(b"record 'version'" in done.stderr, "a list warns of a damaged version record")


def sharded():
    state = tensors()
    names = list(state)
    files = {"m-00001-of-00002.bin": names[:2], "m-00002-of-00002.bin": names[2:]}
    (scratch / "set").mkdir()
    index = scratch / "set" / "m.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {n: f for f, ns in files.items() for n in ns}}))
    data = {f: saved(OrderedDict((n, state[n]) for n in ns)) for f, ns in files.items()}
    for what, change in (("whole", None), ("a bit of a storage", "data/1"), ("a bit of the version", "version")):
        for file, bytes_ in data.items():
            if change is not None and file.startswith("m-00002"):
                bytes_ = flipped(bytes_, [at for name, at, _ in records(bytes_) if name == change][0])
            (scratch / "set" / file).write_bytes(bytes_)
        for options in (("--dtype", "float16", "--to", "torch"), ("--to", "safetensors")):
            done = tap.run("lnn-ckpt-adapt", "-q", *options, index, status=None)
            if load_safetensors is None and options[-1] == "safetensors":
                continue
            t.eq((done.returncode, loads(done.stdout, options[-1])), (0, True) if change is None else (2, False),
                 f"a sharded set {' '.join(options)}: {what}")
            t.ok(change is None or b"m-00002-of-00002.bin" in done.stderr, f"a message names the damaged shard: {what}")


def no_crcs():
    data = without_crcs(saved(tensors()))
    t.ok(all(i.CRC == 0 for i in zipfile.ZipFile(io.BytesIO(data)).infolist()), "the test file has no CRCs")
    every_way(data, "without CRCs", 0)


def parts():
    """A storage that is read in part cannot be checked by its CRC. That is no damage."""
    data = saved(tensors())
    for piped in (False, True):
        status, out = made(data, "lnn-ckpt-adapt", ("--drop-params", "c.k"), "torch", piped)
        t.ok(status == 0 and "c.k" not in torch.load(io.BytesIO(out)),
             "one of two tensors that share a storage is dropped without an error")


def table():
    """A resized table is computed, so its storage is checked also when torch output copies the rest."""
    data = saved(tensors())
    at = list(records(data))[[name for name, _, _ in records(data)].index("data/4")][1]
    for piped in (False, True):
        for what, file, status in (("whole", data, 0), ("a bit of the table is flipped", flipped(data, at), 2)):
            got, out = made(file, "lnn-interp-bias", ("--img-size", "96"), "torch", piped)
            t.eq((got, loads(out, "torch")), (status, status == 0), f"a resized table, {what}")


whole = saved(tensors())
with t.part("flips"):
    flips(whole, "of torch.save")
with t.part("deflated"):
    flips(deflated(whole), "deflated")
for test in (check, sharded, no_crcs, parts, table):
    with t.part(test.__name__):
        test()
with t.part("every report that reads the data checks it"):
    path = tap.scratch() / "told.pth"
    torch.save({"w": torch.ones(3), "v": torch.zeros(2)}, path)
    good = path.read_bytes()
    bad = flipped(good, good.index(torch.ones(3).numpy().tobytes()))
    for option in (["--stats"], ["--digest"], ["--against", path, "--values"]):
        for given, status in ((good, 0), (bad, 1)):
            done = tap.run("lnn-ckpt-inspect", *option, stdin=given, status=status)
            t.eq(b"CRC of storage" in done.stderr, status == 1, f"{option[0]} warns of a wrong CRC if there is one, status {status}")
with t.part("tensors that are read in thousands of pieces"):
    base = torch.arange(9_000_000, dtype=torch.float32)
    for what, tensor in (("transposed", base.reshape(3000, 3000).t()), ("permuted", base.reshape(450, 40, 500).permute(1, 2, 0))):
        good = saved({"w": tensor})
        for piped in (False, True):
            for given, status in ((good, 0), (flipped(good, len(good) // 2), 2)):
                got, out = made(given, "lnn-ckpt-adapt", (), "safetensors", piped)
                t.eq((got, loads(out, "safetensors")), (status, status == 0), f"{what}, {'pipe' if piped else 'file'}: status {status}")

t.done()
