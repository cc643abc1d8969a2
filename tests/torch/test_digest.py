"""
Compares digests with hashlib over the bytes that torch gives, for every dtype, for views, strides, conjugate and negative bits, in
every container, from files and pipes, with one and several threads. The identity of a model is compared with the function that
lnn-tools(7) prints.
"""

import collections
import hashlib
import json
import re
import warnings
import zipfile

import tap

torch = tap.need_torch(2, 4)
safetensors = tap.need("safetensors.torch").torch
warnings.simplefilter("ignore")

t = tap.Tap()
tmp = tap.scratch()
rng = torch.Generator().manual_seed(18)
ALL = """float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu
    int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool complex128 complex64 complex32 float4_e2m1fn_x2""".split()


def page_function():
    """The identity of a state dict in memory, computed by the function in the manual."""
    page = (tap.TOP / "man" / "lnn-tools.7").read_text()
    text = re.search(r"^\.Bd -literal[^\n]*\n(import hashlib.*?)^\.Ed", page, re.S | re.M).group(1)
    space = {}
    exec(text.replace("\\e", "\\"), space)
    return space["identity"]


identity = page_function()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def any_bytes(dtype, *shape):
    """A tensor with random bits."""
    n = torch.empty(shape, dtype=dtype).numel() * dtype.itemsize
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (n,), generator=rng, dtype=torch.uint8)
    return raw.view(dtype).reshape(shape)


def state():
    d = collections.OrderedDict()
    for name in ALL:
        dtype = getattr(torch, name, None)
        if dtype is None:
            continue
        d[f"{name}.plain"] = any_bytes(dtype, 5, 7)
        d[f"{name}.turned"] = any_bytes(dtype, 6, 8).t()
        d[f"{name}.cut"] = any_bytes(dtype, 9, 9)[1:7, 2:8:3]
    big = any_bytes(torch.float32, 900, 1100)
    d["big"] = big
    d["big.turned"] = big.t()
    d["big.rows"] = big[3:]
    d["big.plain"] = any_bytes(torch.int16, 3000, 1000)
    d["expanded"] = torch.arange(4.0).expand(3, 4)
    d["scalar"] = torch.tensor(1.5)
    d["empty"] = torch.empty(0, 3)
    c = torch.complex(torch.randn(3, 4, generator=rng), torch.randn(3, 4, generator=rng))
    d["conj"] = c.conj()
    d["conj.turned"] = c.conj().t()
    other = torch.complex(torch.randn(3, 4, generator=rng), torch.randn(3, 4, generator=rng))
    d["neg"] = other.conj().imag
    assert d["conj"].is_conj() and d["neg"].is_neg()
    d["\u00fcml\u00e4ut.w"] = torch.ones(2)
    return d


def digests(*args, stdin=None, status=0):
    """The digests that --digest prints: of each tensor by name, and of the model."""
    out = tap.run("lnn-ckpt-inspect", "--digest", *args, stdin=stdin, status=status).stdout.decode()
    lines = out.splitlines()
    found = {line.split("\t")[0]: line.split("sha256=")[1] for line in lines if not line.startswith("#")}
    return found, lines[-1].split("sha256:")[1]


def holds(d, what, *args, **kw):
    expected = {name: sha(tap.bits(x)) for name, x in d.items()}
    got, model = digests(*args, **kw)
    bad = [name for name in expected if got.get(name) != expected[name]]
    t.ok(got == expected and not bad, f"{what}: the digest of each tensor {bad}")
    t.ok(model == identity(d), f"{what}: the identity of the model")


with t.part("containers"):
    d = state()
    # safetensors and numpy cannot hold some dtypes. Those are tested in other containers.
    flat = {k: v.resolve_conj().resolve_neg().contiguous().clone() for k, v in d.items()
            if not re.match("complex(128|32)|float4|float8_e8m0", k)}
    torch.save({"model": d, "epoch": 3}, tmp / "a.pth")
    holds(d, "torch", tmp / "a.pth")
    holds(d, "torch, one thread", "-j1", tmp / "a.pth")
    holds(d, "torch, many threads", "-j7", tmp / "a.pth")
    holds(d, "torch, pipe", stdin=(tmp / "a.pth").read_bytes())
    old = collections.OrderedDict((k, v) for k, v in d.items() if not re.match("u?int(16|32|64)|float8|float4|complex32", k))
    torch.save(old, tmp / "old.pth", _use_new_zipfile_serialization=False)
    holds(old, "legacy", tmp / "old.pth")
    holds(old, "legacy, pipe", stdin=(tmp / "old.pth").read_bytes())
    safetensors.save_file(flat, tmp / "a.safetensors")
    holds(flat, "safetensors", tmp / "a.safetensors")
    holds(flat, "safetensors, pipe", stdin=(tmp / "a.safetensors").read_bytes())
    names = sorted(flat)
    files = {"x-00001-of-00002.safetensors": names[::2], "x-00002-of-00002.safetensors": names[1::2]}
    for file, some in files.items():
        safetensors.save_file({k: flat[k] for k in some}, tmp / file)
    (tmp / "x.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": {k: f for f, some in files.items() for k in some}}))
    holds(flat, "shards", tmp / "x.safetensors.index.json")
    tap.run("lnn-ckpt-adapt", tmp / "a.pth", "-o", tmp / "b.pth")
    holds(d, "written by adapt", tmp / "b.pth")
    with zipfile.ZipFile(tmp / "a.pth") as old_zip, zipfile.ZipFile(tmp / "z.pth", "w", zipfile.ZIP_DEFLATED) as new_zip:
        for item in old_zip.namelist():
            new_zip.writestr(item, old_zip.read(item))
    holds(d, "torch, packed again as a zip", tmp / "z.pth")
    tap.run("lnn-ckpt-adapt", "-q", "--root", "--max-shard-size", "1MB", tmp / "a.pth", "-o", f"{tmp}/bins/")
    holds(d, "shards of torch", tmp / "bins")
    tap.run("lnn-ckpt-adapt", "-q", "--root", "--to", "dcp", tmp / "a.pth", "-o", f"{tmp}/dcp/")
    holds(d, "a distributed folder written by adapt", tmp / "dcp")
    tap.run("lnn-ckpt-adapt", "-q", tmp / "a.safetensors", "--to", "torch", "-o", tmp / "c.pth")
    holds(flat, "safetensors made a torch file", tmp / "c.pth")
    from torch.distributed.checkpoint.format_utils import torch_save_to_dcp
    stored = {k: v for k, v in d.items() if not (v.is_conj() or v.is_neg())}
    torch.save(stored, tmp / "stored.pth")
    torch_save_to_dcp(tmp / "stored.pth", tmp / "of-torch")
    holds(stored, "a distributed folder of torch", tmp / "of-torch")
    # The identity does not depend on the order of names.
    turned = {k: stored[k] for k in sorted(stored, reverse=True)}
    torch.save(turned, tmp / "turned.pth")
    t.eq(digests(tmp / "turned.pth")[1], identity(stored), "the identity does not depend on the order of names")

with t.part("big-endian"):
    x = torch.load(tap.FIXTURES / "bigendian.pth", weights_only=False)["state_dict"]
    t.eq(digests(tap.FIXTURES / "bigendian.pth")[0], {k: sha(tap.bits(v)) for k, v in x.items()},
         "a big-endian file gives the digests of the tensors that torch loads")

with t.part("parts"):
    def line(name, x):
        return f"{name}\t{str(x.dtype)[6:]}\t{str(list(x.shape)).replace(' ', '')}\t{sha(tap.bits(x))}\n"
    dense = torch.tensor([[0, 1.5], [2.25, 0]])
    coo, csr = dense.to_sparse(), dense.to_sparse_csr()
    q = torch.quantize_per_tensor(torch.randn(3, 4), 0.25, 3, torch.quint8)
    parts = {
        "coo": line("indices", coo._indices()) + line("values", coo._values()),
        "csr": line("crow_indices", csr.crow_indices()) + line("col_indices", csr.col_indices()) + line("values", csr.values()),
    }
    torch.save({"coo": coo, "csr": csr, "q": q, "meta": torch.ones(2, device="meta")}, tmp / "parts.pth")
    got, _ = digests("-k", "", tmp / "parts.pth")
    for name, lines in parts.items():
        t.eq(got[name], sha(lines.encode()), f"{name}: the digest covers the lines of its parts")
    t.eq(got["meta"], "-", "meta: none")
    listed = tap.run("lnn-ckpt-inspect", "-l", "-k", "", "-e", "^q$", tmp / "parts.pth").stdout.decode()
    order = [p.split(":")[0] for p in re.search(r"parts=(\S+)", listed).group(1).replace("],", "] ").split()]
    one = {"scale": line("scale", torch.tensor(q.q_scale(), dtype=torch.float64)),
           "zero_point": line("zero_point", torch.tensor(q.q_zero_point()))}
    data = [n for n in order if n not in one]
    t.ok(len(data) == 1 and sorted(order) == sorted([*one, *data]), f"q: the parts are listed: {order}")
    one[data[0]] = line(data[0], q.int_repr()).replace("uint8", "quint8")
    t.eq(got["q"], sha("".join(one[n] for n in order).encode()), "q: the digest covers scale and zero point")
    torch.save({"coo": coo, "csr": csr, "q": torch.quantize_per_tensor(q.dequantize(), 0.5, 3, torch.quint8)}, tmp / "other.pth")
    t.ok(digests("-k", "", tmp / "other.pth")[0]["q"] != got["q"], "q: another scale gives another digest")

with t.part("chosen tensors, JSON, several reports"):
    out = tap.run("lnn-ckpt-inspect", "--digest", "-e", "^float32", tmp / "a.pth").stdout.decode().splitlines()
    some = {k: v for k, v in d.items() if k.startswith("float32")}
    t.eq(out[-1], f"# model (3 of {len(d)} tensors) sha256:{identity(some)}", "the identity of chosen tensors says how many there are")
    doc = json.loads(tap.run("lnn-ckpt-inspect", "--digest", "--format=json", tmp / "a.pth").stdout)
    t.eq([x["sha256"] for x in doc["tensors"]], [sha(tap.bits(x)) for x in d.values()], "JSON: tensors")
    t.eq(doc["model_sha256"], identity(d), "JSON has the identity of the model")
    doc = json.loads(tap.run("lnn-ckpt-inspect", "--digest", "--stats", "--check", "--format=json", tmp / "a.pth", status=1).stdout)
    t.eq(doc["digest"]["model_sha256"], identity(d), "--digest gives the same identity together with another report")
    alone = json.loads(tap.run("lnn-ckpt-inspect", "--stats", "--format=json", tmp / "a.pth").stdout)
    t.eq(doc["stats"]["tensors"], alone["tensors"], "the other report is the same as alone")

t.done()
