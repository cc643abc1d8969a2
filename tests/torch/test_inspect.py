"""Compares lnn-ckpt-inspect with real PyTorch: lists, contents, figures, comparisons, the verdict of load_state_dict, and whether
weights_only=True loads a file."""

import argparse
import collections
import contextlib
import datetime
import fractions
import functools
import io
import json
import math
import os
import pathlib
import pickle
import random
import subprocess
import zipfile

import tap

torch = tap.need_torch(2, 6)
import numpy  # noqa: E402

t = tap.Tap()
tmp = tap.scratch()
PROG = "lnn-ckpt-inspect"
rng = torch.Generator().manual_seed(11)


def inspect(*args, **kw):
    return tap.run(PROG, *args, **kw)


def as_json(*args, **kw):
    return json.loads(inspect(*args, "--format", "json", **kw).stdout)


def save(name, obj, **kw):
    torch.save(obj, tmp / name, **kw)
    return tmp / name


def randn(*shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def short(dtype):
    return str(dtype).removeprefix("torch.")


# ---- a tensor of each dtype and of each layout in its storage ----

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
          torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]  # fmt: skip
INTS = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64]
COMPLEX = [torch.complex128, torch.complex64, torch.complex32]


def tensors():
    out = collections.OrderedDict()
    for n in (0, 1, 2, 7, 2047, 2048, 2049, 70001):
        out[f"float32.{n}"] = randn(n).to(torch.float32)
    out["units"] = (randn(700, 1000) * 3 + 1e6).to(torch.float32)
    for d in FLOATS:
        out[f"kind.{short(d)}"] = (randn(37, 113) * 5).to(d)
    for d in INTS:
        low = 0 if short(d).startswith("u") else -100
        out[f"kind.{short(d)}"] = torch.randint(low, 100, (37, 113), generator=rng).to(d)
    out["kind.bool"] = torch.randint(0, 2, (999,), generator=rng).bool()
    for d in COMPLEX:
        out[f"kind.{short(d)}"] = torch.complex(randn(21, 30), randn(21, 30)).to(d)
    out["far.mean"] = (randn(5000) * 1e-3 + 1e4)
    special = randn(5000).to(torch.float32)
    special[::7] = math.nan
    special[1::7] = math.inf
    special[2::70] = -math.inf
    special[3::7] = 0
    special[4] = -0.0
    out["special"] = special
    out["special.half"] = special.half()
    out["special.complex"] = torch.complex(special, randn(5000).float())
    out["all.nan"] = torch.full((5,), math.nan)
    base = randn(600, 900).to(torch.float32)
    out["view.transposed"] = base.t()
    out["view.rows"] = base[100:200]
    out["view.steps"] = base[::3, 5:500:7]
    out["view.expanded"] = base[0].expand(40, 900)
    out["view.lots"] = torch.randn(3, 1, 1, generator=rng).expand(3, 50, 7000)
    out["channels_last"] = randn(8, 16, 9, 9).to(torch.float32).to(memory_format=torch.channels_last)
    out["big.transposed"] = torch.randn(1500, 1300, generator=rng).t()
    out["long.steps"] = torch.randn(3_000_000, generator=rng)[::2]
    out["conj"] = torch.complex(randn(40, 3), randn(40, 3)).conj()
    out["neg"] = torch.complex(randn(40, 3), randn(40, 3)).conj().imag
    out["scalar"] = torch.tensor(-2.5)
    out["extremes"] = torch.tensor([2**63 - 1, -(2**63), 2**62], dtype=torch.int64)
    return out


STATE = tensors()
ZIP = save("all.pth", {"model": STATE, "epoch": 3})


# ---- lists ----

with t.part("the list agrees with torch"):
    rows = [line.split("\t") for line in inspect(ZIP).stdout.decode().splitlines()]
    expected = [[n, short(v.dtype), str(list(v.shape)).replace(" ", "")] for n, v in STATE.items()]
    t.ok(rows == expected, "names, dtypes and shapes are listed in the order of the state dict")
    doc = as_json("-l", ZIP)
    t.ok(list(doc)[:4] == ["schema", "file", "format", "key"] and doc["schema"] == 1 and doc["key"] == "model", "JSON: head")
    t.ok(
        all((r["numel"], r["nbytes"], r["strides"]) == (v.numel(), v.numel() * v.element_size(), list(v.stride()))
            for r, v in zip(doc["tensors"], STATE.values(), strict=True)),
        "numbers of elements, bytes and strides agree with torch",
    )  # fmt: skip
    data = ZIP.read_bytes()
    rows = {r["name"]: r for r in doc["tensors"]}
    t.ok(
        all(numpy.frombuffer(data, v.numpy().dtype, v.numel(), rows[n]["offset"]).tobytes() == v.numpy().tobytes()
            for n, v in STATE.items() if n.startswith("float32.") and v.numel()),
        "the elements are at the offset that the list gives",
    )  # fmt: skip
    t.ok(rows["view.rows"]["shares"] == "view.transposed" and rows["units"]["shares"] is None, "sharing")
    piped = inspect("-l", "-", stdin=data).stdout
    t.ok(piped == inspect("-l", ZIP).stdout, "the list is the same from a pipe")

with t.part("contents"):
    for name, v in STATE.items():
        raw = inspect("--dump", name, "--dump-as", "raw", ZIP).stdout
        if not t.ok(raw == tap.bits(v.contiguous().resolve_conj().resolve_neg()) or v.numel() == 0,
                f"--dump-as raw of {name} gives its bytes"):
            break
    for name in ("kind.float64", "kind.float32", "kind.float16", "kind.int64", "kind.uint16", "kind.bool", "kind.complex64",
                 "kind.complex128", "view.steps", "scalar", "float32.0", "channels_last"):  # fmt: skip
        npy = numpy.load(io.BytesIO(inspect("--dump", name, "--dump-as", "npy", ZIP).stdout))
        v = STATE[name].contiguous().numpy()
        t.ok(npy.dtype == v.dtype and npy.shape == v.shape and npy.tobytes() == v.tobytes(), f"--dump-as npy of {name} loads in numpy")
    for name in ("kind.float64", "kind.float32", "kind.float16", "kind.bfloat16", "kind.float8_e4m3fn", "special", "kind.int8",
                 "kind.uint64", "extremes"):  # fmt: skip
        v = STATE[name]
        text = inspect("--dump", name, ZIP).stdout.decode().split()
        kind = int if not v.dtype.is_floating_point else float
        back = torch.tensor([kind(x) for x in text], dtype=torch.float64 if kind is float else torch.int64 if v.dtype != torch.uint64 else torch.uint64)
        back = back.to(v.dtype).view(v.shape)
        t.ok(tap.same(torch.nan_to_num(back.float()) if kind is float else back,
                      torch.nan_to_num(v.float()) if kind is float else v), f"--dump-as text of {name} reads back equal")  # fmt: skip
    legacy = save("all-legacy.pth", {"model": STATE}, _use_new_zipfile_serialization=False).read_bytes()
    for name in ("float32.70001", "view.steps", "channels_last", "extremes"):
        expected = tap.bits(STATE[name].contiguous())
        t.ok(inspect("--dump", name, "--dump-as", "raw", "-", stdin=data).stdout == expected, f"--dump of {name} is the same from a pipe")
        t.ok(inspect("--dump", name, "--dump-as", "raw", "-", stdin=legacy).stdout == expected,
             f"--dump of {name} is the same from a pipe, legacy")
    done = inspect("--dump", "kind.bfloat16", "--dump-as", "npy", ZIP, status=2)
    t.ok(b"raw" in done.stderr, "npy of bfloat16 is refused, and the message names raw")
    inspect("--dump", "nothing", ZIP, status=1)


# ---- figures ----


def figures(v):
    """The figures that --stats must give, computed by torch in float64."""
    if v.dtype.is_complex:
        x = v.to(torch.complex128).resolve_conj()
        nan = x.real.isnan() | x.imag.isnan()
        x = torch.where(nan, torch.tensor(math.nan, dtype=torch.float64), x.abs())
    else:
        x = v.to(torch.float64).resolve_neg()
    x = x.flatten()
    f = x[x.isfinite()]
    none = f.numel() == 0
    return {
        "min": math.nan if none else f.min().item(),
        "max": math.nan if none else f.max().item(),
        "mean": math.nan if none else f.mean().item(),
        "std": math.nan if f.numel() < 2 else f.std().item(),
        "norm": torch.linalg.vector_norm(f).item(),
        "zeros": int((x == 0).sum()),
        "nan": int(x.isnan().sum()),
        "posinf": int((x == math.inf).sum()),
        "neginf": int((x == -math.inf).sum()),
    }


def agree(name, got, expected, scale):
    for key, w in expected.items():
        g = float(got[key]) if isinstance(got[key], str) else got[key]
        exact = key not in ("mean", "std", "norm")
        if exact and not (g == w or (math.isnan(g) and math.isnan(w))):
            return f"{name}: {key} {g}, torch {w}"
        if not exact and not (math.isnan(g) and math.isnan(w)) and not abs(g - w) <= 1e-12 * abs(w) + 1e-14 * scale:
            return f"{name}: {key} {g!r}, torch {w!r}"
    return None


with t.part("figures"):
    doc = as_json("--stats", ZIP)
    t.ok([r["name"] for r in doc["tensors"]] == list(STATE), "--stats gives a row for each tensor, in order")
    for row, (name, v) in zip(doc["tensors"], STATE.items(), strict=True):
        if name == "extremes":
            continue
        expected = figures(v)
        if name == "view.lots":  # torch's own result is off by about 5e-12
            n = v.numel()
            few = [fractions.Fraction(x) for x in v[:, 0, 0].double().tolist()]
            mean = sum(few) / 3
            expected["std"] = math.sqrt(sum((x - mean) ** 2 for x in few) * (n // 3) / (n - 1))
            expected["norm"] = math.sqrt(sum(x * x for x in few) * (n // 3))
        scale = 0 if math.isnan(expected["max"]) else max(abs(expected["min"]), abs(expected["max"]))
        wrong = agree(name, row, expected, scale)
        t.ok(wrong is None, f"--stats of {name} agrees with torch" if wrong is None else wrong)
    exact = [fractions.Fraction(x) for x in STATE["far.mean"].tolist()]
    mean = sum(exact) / len(exact)
    std = math.sqrt(sum((x - mean) ** 2 for x in exact) / (len(exact) - 1))
    row = next(r for r in doc["tensors"] if r["name"] == "far.mean")
    t.ok(abs(row["std"] - std) < 1e-12 * std and abs(row["mean"] - float(mean)) <= 2e-12,
         "mean and std of numbers far from 0 agree with exact arithmetic")

with t.part("figures do not depend on threads, input and container"):
    expected = inspect("--stats", ZIP).stdout
    t.ok(inspect("--stats", "-j", 2, ZIP).stdout == expected, "--stats is the same with two threads")
    t.ok(inspect("--stats", "-j", 5, ZIP).stdout == expected, "--stats is the same with five threads")
    t.ok(inspect("--stats", "-", stdin=data).stdout == expected, "--stats is the same from a pipe")
    t.ok(inspect("--stats", save("all-legacy.pth", {"model": STATE}, _use_new_zipfile_serialization=False)).stdout == expected,
         "--stats is the same from a legacy file")
    t.ok(inspect("--stats", "-", stdin=(tmp / "all-legacy.pth").read_bytes()).stdout == expected,
         "--stats is the same from a legacy file on a pipe")
    with zipfile.ZipFile(ZIP) as old, zipfile.ZipFile(tmp / "deflated.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.namelist():
            new.writestr(item, old.read(item))
    t.ok(inspect("--stats", "-j", 2, tmp / "deflated.pth").stdout == expected, "--stats is the same from a deflated zip with two threads")
    flat = {n: v.contiguous().resolve_conj().resolve_neg().clone() for n, v in STATE.items()}
    t.ok(inspect("--stats", save("flat.pth", flat)).stdout == expected, "--stats is the same if all views are made contiguous")
    sizes = inspect("--stats", "--sort", "size", ZIP).stdout.splitlines()
    t.ok(sorted(sizes) == sorted(expected.splitlines()) and sizes != expected.splitlines(), "--sort changes only the order of rows")

with t.part("--check"):
    done = inspect("--check", ZIP, status=1)
    found = {tuple(line.split("\t")) for line in done.stdout.decode().splitlines()}
    expected = set()
    for name, v in STATE.items():
        f = figures(v)
        expected |= {(name, "nan", str(f["nan"]))} if f["nan"] else set()
        expected |= {(name, "inf", str(f["posinf"] + f["neginf"]))} if f["posinf"] + f["neginf"] else set()
    t.ok(found == expected, "--check finds the NaN and infinities that torch finds")
    t.ok(inspect("--check", "-", stdin=data, status=1).stdout == done.stdout, "--check finds the same from a pipe")
    fine = {"w": randn(3000, 200).float(), "zero": torch.zeros(4)}
    path = save("fine.pth", fine)
    inspect("--check", path)
    inspect("--check", "--fail-on", "zero", path, status=1)
    broken = bytearray(path.read_bytes())
    broken[broken.index(fine["w"].numpy().tobytes()[:64]) + 1234567] ^= 4
    (tmp / "flipped.pth").write_bytes(broken)
    torch.load(tmp / "flipped.pth", weights_only=True)
    done = inspect("--check", "-j", 2, tmp / "flipped.pth", status=1)
    t.ok(done.stdout == b"data/0\tcrc\n", "--check finds a flipped bit that torch.load does not notice")


# ---- comparisons ----

with t.part("--against a checkpoint"):
    inspect("--against", ZIP, "--values", ZIP)
    inspect("--against", ZIP, "--values", "-j", 2, tmp / "all-legacy.pth")
    inspect("--against", ZIP, "--values", "-", stdin=data)
    inspect("--against", tmp / "flat.pth", "--values", ZIP)
    inspect("--against", ZIP, "--values", "--nan", "differ", ZIP, status=1)
    other = {n: v.clone() for n, v in flat.items()}
    other["units"].view(-1)[[0, 262144, 699999]] += torch.tensor([0.25, 0.5, -0.125])
    other["kind.int64"].view(-1)[5] += 3
    other["extremes"][0] -= 1
    other["kind.float16"].view(-1)[17] = math.nan
    other["big.transposed"][1299, 1499] += 2
    other["kind.complex128"].view(-1)[3] += 3 + 4j
    save("other.pth", {"model": other})
    rows = as_json("--against", tmp / "other.pth", "--values", ZIP, status=1)["values"]
    got = {r["name"]: (r["differing"], float(r["largest"])) for r in rows}
    expected = {}
    for n in ("units", "kind.int64", "extremes", "big.transposed", "kind.complex128"):
        a, b = STATE[n], other[n]
        if n == "extremes":
            expected[n] = (1, 1.0)
        else:
            d = (a.to(torch.complex128) - b.to(torch.complex128)).abs() if a.dtype.is_complex else (a.double() - b.double()).abs()
            expected[n] = (int((d > 0).sum()), d.max().item())
    expected["kind.float16"] = (1, math.nan)
    t.ok(repr(sorted(got.items())) == repr(sorted(expected.items())),
         f"--values counts the elements that differ and gives the largest difference: {got}")
    t.ok(as_json("--against", ZIP, "--values", "-j", 2, tmp / "other.pth", status=1)["values"].__len__() == len(expected),
         "--values finds the same tensors with the files exchanged")

with t.part("the largest difference, the relative one and the cosine are numpy's"):
    def vector(x):
        x = x.resolve_conj().resolve_neg().flatten()
        return x.to(torch.complex128 if x.dtype.is_complex else torch.float64).numpy()

    def measured(pairs, equal_nan=True):
        """The figures of a line, computed by numpy in float64. Several pairs are taken as one long vector."""
        a, b = (numpy.concatenate([vector(p[i]) for p in pairs]) for i in (0, 1))
        alike = (a == b) | (numpy.isnan(a) & numpy.isnan(b) & equal_nan)
        kept = ~(numpy.isnan(a) & numpy.isnan(b)) | ~numpy.bool_(equal_nan)
        with numpy.errstate(all="ignore"):
            far = numpy.abs(a - b)[~alike]
            largest = math.nan if numpy.isnan(far).any() else far.max(initial=0)
            a, b = a[kept], b[kept]
            if not (numpy.isfinite(a).all() and numpy.isfinite(b).all()):
                return int((~alike).sum()), largest, math.nan, math.nan
            norms = numpy.linalg.norm(a), numpy.linalg.norm(b)
            relative = numpy.linalg.norm(a - b) / norms[1] if norms[1] else math.inf
            cosine = numpy.vdot(a, b).real / (norms[0] * norms[1]) if norms[0] and norms[1] else math.nan
        return int((~alike).sum()), largest, relative, cosine

    def near(x, y):
        return numpy.allclose(x, y, rtol=1e-13, atol=0, equal_nan=True)

    def figures_of(*args, **kw):
        lines = inspect(*args, status=1, **kw).stdout.decode().splitlines()
        return {f[1]: (int(f[2]), *map(float, f[3:6])) for f in (x.split("\t") for x in lines) if f[0] == "values"}

    with numpy.errstate(all="ignore"):
        nan, inf = math.nan, math.inf
        few = {
            "nans": ([1, nan, 2, 0], [1, nan, 3, 0]), "nan": ([1, nan, 2], [1, 1, 3]), "inf": ([1, inf, 2], [1, inf, 3]),
            "infs": ([inf, 1], [-inf, 1]), "to inf": ([1, 2], [inf, 2]), "to zero": ([1, 2], [0, 0]), "of zero": ([0, 0], [1, 2]),
            "only nans": ([nan, 0], [nan, 1]), "against": ([1, -2], [-1, 2]),
        }
        here = {k: torch.tensor(x[0], dtype=torch.float64) for k, x in few.items()}
        there = {k: torch.tensor(x[1], dtype=torch.float64) for k, x in few.items()}
    for n, (dtype, to) in enumerate([(torch.float32,) * 2, (torch.bfloat16,) * 2, (torch.float16, torch.float32), (torch.int64,) * 2,
                                     (torch.uint8,) * 2, (torch.bool,) * 2, (torch.complex64,) * 2, (torch.complex128,) * 2,
                                     (torch.float64, torch.bfloat16), (torch.float8_e4m3fn, torch.float32)]):
        for numel in (1, 1023, 1024, 1025, 700001):
            x = randn(numel) * 20
            x = torch.complex(x, randn(numel)) if dtype.is_complex else x.abs() if dtype in (torch.uint8, torch.bool) else x
            here[f"{n}.{numel}"] = x.to(dtype)
            there[f"{n}.{numel}"] = (x + 40 * (torch.arange(numel) % 7 < 3)).to(to)
    # Tensors that differ in one element of the first, a middle or the last unit of work; also transposed, so that they are not contiguous.
    for at in (0, 300_000, 1_199_999):
        here[f"one.{at}"] = randn(1_200_000).float()
        there[f"one.{at}"] = here[f"one.{at}"].clone()
        there[f"one.{at}"][at] += 3
        here[f"transposed.{at}"], there[f"transposed.{at}"] = (x[f"one.{at}"].view(1000, 1200).t() for x in (here, there))
    here["one nan"], there["one nan"] = here["one.0"].clone(), there["one.0"].clone()
    here["one nan"][-1] = there["one nan"][-1] = math.nan
    pa, pb = save("ours.pth", here), save("theirs.pth", there)
    expected = {k: w for k, w in ((k, measured([(here[k], there[k])])) for k in here) if w[0] > 0}
    got = figures_of("--against", pb, "--values", pa)
    bad = [(k, got.get(k), w) for k, w in expected.items() if k not in got or got[k][0] != w[0] or not near(got[k][1:], w[1:])]
    t.ok(got.keys() == expected.keys() and not bad,
         f"the figures of {len(expected)} pairs agree with numpy: {bad[:3]} {got.keys() ^ expected.keys()}")
    t.eq(inspect("--against", pb, "--values", "-j", 3, pa, status=1).stdout, inspect("--against", pb, "--values", "-j1", pa, status=1).stdout,
         "--values gives the same with several threads")
    t.eq(inspect("--against", pb, "--values", "-", stdin=pa.read_bytes(), status=1).stdout,
         inspect("--against", pb, "--values", pa, status=1).stdout, "--values gives the same from a pipe")
    differ = figures_of("--against", pb, "--values", "--nan=differ", pa)
    for k in ("nans", "nan", "only nans", "one nan"):
        w = measured([(here[k], there[k])], equal_nan=False)
        t.ok(differ[k][0] == w[0] and near(differ[k][1:], w[1:]), f"--nan=differ counts NaN as a difference, {k}: {differ[k]} {w}")
    words = [x.split("\t") for x in inspect("--against", pb, "--values", "-e", "^to zero$|^nan$|^to inf$", pa, status=1).stdout.decode().splitlines()]
    t.eq([w[3:6] for w in words if w[0] == "values"], [["NaN", "NaN", "NaN"], ["Infinity", "NaN", "NaN"], ["2.0", "Infinity", "NaN"]],
         "NaN and infinity are spelt as in JSON")
    doc = as_json("--against", pb, "--values", "-e", "^to zero$", pa, status=1)["values"][0]
    t.eq((doc["relative"], doc["cosine"]), ("Infinity", "NaN"), "JSON has NaN and infinity as strings")

with t.part("--fold folds layers of a comparison"):
    here = {f"blocks.{i}.{n}": randn(3, 4).float() for i in range(4) for n in "ab"} | {f"old.{i}.w": torch.ones(2) for i in range(3)}
    there = {k: v + 0.01 * randn(3, 4).float() for k, v in here.items() if k.startswith("blocks")} | {f"new.{i}.w": torch.ones(5) for i in range(2)}
    pa, pb = save("layers.pth", here), save("layers2.pth", there)
    lines = inspect("--against", pb, "--values", "--fold", pa, status=1).stdout.decode().splitlines()
    rows = {x.split("\t")[1]: x.split("\t") for x in lines if not x.startswith("#")}
    t.eq(sorted(rows), ["blocks.{0..3}.a", "blocks.{0..3}.b", "new.{0,1}.w", "old.{0..2}.w"],
         "--fold gives one row for the layers of a name")
    t.eq(rows["new.{0,1}.w"], ["missing", "new.{0,1}.w", "[5]", "count=2"], "--fold counts missing layers")
    each = [measured([(here[f"blocks.{i}.a"], there[f"blocks.{i}.a"])]) for i in range(4)]
    row = rows["blocks.{0..3}.a"]
    t.ok(int(row[2]) == sum(e[0] for e in each) and near([float(x) for x in row[3:6]], [
        max(e[1] for e in each), max(e[2] for e in each), min(e[3] for e in each)]) and row[6] == "count=4",
        f"--fold gives the sum of differing elements and the worst figures of the layers: {row}")
    doc = as_json("--against", pb, "--values", "--fold", pa, status=1)
    t.eq(([x["count"] for x in doc["values"]], doc["missing"][0]["count"]), ([4, 4], 2), "JSON has the number of layers")

with t.part("--atol and --rtol mean the same as in torch.allclose"):
    r = random.Random(5)
    a = randn(4000).float()
    b = a + (randn(4000) * 1e-3).float()
    pa, pb = save("a.pth", {"x": a}), save("b.pth", {"x": b})
    for _ in range(12):
        atol, rtol = r.choice([0, 1e-4, 1e-3, 3e-3, 1e-2]), r.choice([0, 1e-4, 1e-2, 1])
        expected = torch.allclose(a.double(), b.double(), rtol=rtol, atol=atol)
        inspect("--against", pb, "--values", "--atol", atol, "--rtol", rtol, pa, status=0 if expected else 1)
        close = torch.isclose(a.double(), b.double(), rtol=rtol, atol=atol)
        if not expected:
            n = as_json("--against", pb, "--values", "--atol", atol, "--rtol", rtol, pa, status=1)["values"][0]["differing"]
            if not t.ok(n == int((~close).sum()), f"atol {atol}, rtol {rtol}: {n} elements differ, as by torch.isclose"):
                break

with t.part("dtypes and tensors that cannot be compared"):
    half = save("half.pth", {"x": a.half(), "y": torch.zeros(2, 2)})
    full = save("full.pth", {"x": a, "y": torch.zeros(4)})
    doc = as_json("--against", half, full, status=1)
    t.ok(doc["dtype"] == [{"name": "x", "dtype": "float32", "target_dtype": "float16"}], "another dtype is reported")
    t.ok(doc["mismatched"] == [{"name": "y", "shape": [4], "target_shape": [2, 2]}], "another shape is reported")
    inspect("--against", full, tmp / "nowhere.pth", status=2)


class Net(torch.nn.Module):
    def __init__(self, classes=10, stage=8):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)
        self.stages = torch.nn.ModuleList(torch.nn.Linear(stage if i == 2 else 8, 8) for i in range(4))
        self.head = torch.nn.Linear(8, classes)
        self.scale = torch.nn.Parameter(torch.tensor(1.0))


def loading(model, state):
    """The missing, unexpected and mismatched names of load_state_dict."""
    mismatched = []
    try:
        keys = model.load_state_dict(state, strict=False)
        return set(keys.missing_keys), set(keys.unexpected_keys), set()
    except RuntimeError as e:
        mismatched = [line.split("size mismatch for ")[1].split(":")[0] for line in str(e).splitlines() if "size mismatch for" in line]
        rest = {n: v for n, v in state.items() if n not in mismatched}
        rest = collections.OrderedDict(rest)
        if hasattr(state, "_metadata"):
            rest._metadata = state._metadata
        keys = model.load_state_dict(rest, strict=False)
        return set(keys.missing_keys) - set(mismatched), set(keys.unexpected_keys), set(mismatched)


def description(model):
    import sys

    sys.path.insert(0, str(tap.FIXTURES))
    import describe

    path = tmp / "model.yaml"
    with open(path, "w", encoding="utf-8") as f:
        describe.describe(model, f)
    return path


with t.part("--against a model says what load_state_dict says"):
    target = Net()
    cases = {
        "same": Net().state_dict(),
        "other head": Net(classes=7).state_dict(),
        "other stage": Net(stage=6).state_dict(),
        "plain dict": dict(Net().state_dict()),
        "old norm": collections.OrderedDict((n, v) for n, v in Net().state_dict().items() if "tracked" not in n),
        "no counter": Net().state_dict(),
        "scalar as [1]": Net().state_dict(),
        "extra": Net().state_dict(),
    }
    del cases["no counter"]["bn.num_batches_tracked"]
    cases["scalar as [1]"]["scale"] = torch.ones(1)
    cases["extra"]["aux.weight"] = torch.ones(3)
    del cases["extra"]["stem.bias"]
    model = description(target)
    for name, state in cases.items():
        path = save("state.pth", {"state_dict": state})
        expected = loading(Net(), state)
        doc = as_json("--against", model, path, status=1 if any(expected) else 0)
        got = tuple({r["name"] for r in doc[k]} for k in ("missing", "unexpected", "mismatched"))
        t.ok(got == expected and doc["same"] == (not any(expected)), f"{name}: --against agrees with load_state_dict: {expected}")
    hint = as_json("--against", model, save("h.pth", Net(classes=7).state_dict()), status=1)["hints"]
    t.ok(any("'head.'" in h for h in hint) and any("7 here, 10 there" in h for h in hint), f"a hint names a head of another size: {hint}")
    hint = as_json("--against", model, save("s.pth", Net(stage=6).state_dict()), status=1)["hints"]
    t.ok(any("'stages.2.weight'" in h or "'stages.'" in h or "stages.2." in h for h in hint),
         f"a hint names a stage of another size: {hint}")
    n = len(Net().state_dict())
    path = save("ddp.pth", {"module." + n: v for n, v in Net().state_dict().items()})
    hint = as_json("--against", model, path, status=1)["hints"]
    t.ok(hint == [f"all names differ by the prefix 'module.' only: --strip-prefix=module. ({n} of {n} would match)"],
         f"a hint names a superfluous prefix: {hint}")
    inspect("--against", model, "--strip-prefix", "module.", path)
    path = save("plain.pth", Net().state_dict())
    hint = as_json("--against", tmp / "ddp.pth", path, status=1)["hints"]
    t.ok(len(hint) == 1 and "--add-prefix=module." in hint[0], f"a hint names a missing prefix: {hint}")

with t.part("a description written from a checkpoint"):
    out = inspect("--format", "model", save("plain.pth", Net().state_dict())).stdout
    (tmp / "from.yaml").write_bytes(out)
    inspect("--against", tmp / "from.yaml", tmp / "plain.pth")


# ---- --globals ----


class Evil:
    def __init__(self, how, *args):
        self.how = how, args

    def __reduce__(self):
        return self.how


class Dangling:
    """A class that torch does not know."""


def verdict(path):
    with contextlib.suppress(Exception):
        torch.load(path, weights_only=True)
        return True
    return False


def pickled(name, raw):
    """Writes a torch zip whose data.pkl has the given bytes."""
    with zipfile.ZipFile(tmp / name, "w") as z:
        z.writestr("archive/data.pkl", raw)
        z.writestr("archive/byteorder", "little")
        z.writestr("archive/version", "3\n")
    return tmp / name


with t.part("--globals agrees with torch.load(weights_only=True)"):
    T = torch.ones(2)
    good = {
        "tensors": {"a": T}, "numbers": {"a": T, "x": 1.5, "n": 2**80, "s": "text", "b": True, "none": None},
        "containers": {"a": T, "l": [1, (2, 3)], "o": collections.OrderedDict(x=1), "c": collections.Counter("aab")},
        "bytes": {"a": T, "b": b"abc"}, "set": {"a": T, "s": {1, 2}}, "complex": {"a": T, "z": 1 + 2j},
        "torch objects": {"a": T, "s": T.shape, "d": torch.float16, "dev": torch.device("cpu"), "l": torch.sparse_coo},
        "parameter": torch.nn.Parameter(T), "sparse": torch.eye(3).to_sparse(), "quantised": torch.quantize_per_tensor(T, 0.1, 0, torch.qint8),
        "optimizer": torch.optim.Adam([torch.nn.Parameter(T)]).state_dict(), "bytearray": {"a": T, "b": bytearray(b"x")},
    }  # fmt: skip
    bad = {
        "empty bytes": {"a": T, "b": b""}, "frozenset": {"a": T, "f": frozenset([1])}, "range": {"a": T, "r": range(3)},
        "defaultdict": {"a": T, "d": collections.defaultdict(list)}, "deque": {"a": T, "d": collections.deque([1])},
        "namespace": {"a": T, "n": argparse.Namespace(x=1)}, "date": {"a": T, "d": datetime.datetime(2024, 1, 1)},
        "path": {"a": T, "p": pathlib.PurePosixPath("/x")}, "numpy": {"a": T, "n": numpy.float64(1)}, "module": torch.nn.Linear(2, 2),
        "class": {"a": T, "c": Dangling()}, "long": {"a": T, "n": 1 << 2100},
        "partial": {"a": T, "p": functools.partial(int, "1")}, "eval": {"a": T, "e": Evil(eval, "1+1")},
        "getattr": {"a": T, "e": Evil(getattr, "", "upper")}, "open": {"a": T, "e": Evil(open, os.devnull)},
        "print": {"a": T, "e": Evil(print, "")},
    }  # fmt: skip
    for name, obj in {**good, **bad}.items():
        for legacy in (False, True):
            path = save("one.pth", obj, _use_new_zipfile_serialization=not legacy)
            expected = verdict(path)
            doc = as_json("--globals", path, status=None)
            t.ok(doc["loads"] == expected == (name in good),
                 f"{name}{', legacy' if legacy else ''}: --globals agrees with torch: {doc['reason']}")
    for name in ("eval", "getattr", "open"):
        doc = as_json("--globals", save("one.pth", bad[name]), status=1)
        t.ok(any(g["verdict"] == "unsafe" for g in doc["globals"]), f"--globals calls {name} unsafe")

with t.part("--globals: opcodes, bytes after STOP, and files that cannot be opened"):
    for protocol in range(2, 6):
        path = save("p.pth", {"a": T}, pickle_protocol=protocol)
        t.ok(as_json("--globals", path, status=None)["loads"] == verdict(path), f"--globals agrees with torch on protocol {protocol}")
    tail = pickle.dumps(Evil(os.system, "true"), protocol=2)
    path = pickled("tail.pth", pickle.dumps({"a": 1}, protocol=2) + tail)
    doc = as_json("--globals", path, status=1)
    t.ok(doc["loads"] and verdict(path), "a pickle after STOP does not keep torch from loading, and --globals says so")
    t.ok(doc["pickles_behind_stop"] == 1 and [(g["global"], g["verdict"], g["behind_stop"]) for g in doc["globals"]]
         == [("posix.system", "unsafe", True)], "--globals lists the globals after STOP")  # fmt: skip
    for name, raw in {
        "stack global": pickle.dumps(Evil(os.system, "true"), protocol=4), "plain, protocol 2": tail,
        "plain, protocol 0": b"cos\nsystem\n(S'true'\ntR.", "inst": b"(S'true'\nios\nsystem\n.",
    }.items():  # fmt: skip
        (tmp / "plain.pkl").write_bytes(raw)
        doc = as_json("--globals", tmp / "plain.pkl", status=1)
        t.ok(not doc["loads"] and any(g["verdict"] == "unsafe" for g in doc["globals"]),
             f"a global is found unsafe in a plain pickle: {name}")
        path = pickled("wrapped.pth", raw)
        doc = as_json("--globals", path, status=1)
        t.ok(not doc["loads"] and not verdict(path) and any(g["verdict"] == "unsafe" for g in doc["globals"]),
             f"a global is found unsafe in a zip: {name}")
    path = save("evil.pth", {"a": T, "e": Evil(os.system, "true")})
    seen = path.read_bytes().index(b"posix\nsystem\n") + 14
    for cut in (seen, seen + 20, len(path.read_bytes()) - 30):
        (tmp / "cut.pth").write_bytes(path.read_bytes()[:cut])
        done = inspect("--globals", tmp / "cut.pth", status=2)
        t.ok(b"unsafe\tposix.system" in done.stdout, f"an unsafe global is listed from a file that is cut off at byte {cut}")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp / "script.pt")
    doc = as_json("--globals", tmp / "script.pt", status=1)
    t.ok(not doc["loads"] and "TorchScript" in doc["reason"] and not verdict(tmp / "script.pt"),
         "--globals says that a TorchScript archive does not load")
    t.ok(as_json("--globals", tap.FIXTURES / "tiny.safetensors")["loads"], "--globals of a file without a pickle says that it loads")

with t.part("--summary, --get"):
    doc = as_json("--summary", ZIP)
    t.ok((doc["tensors"], doc["numel"], doc["nbytes"]) == (len(STATE), sum(v.numel() for v in STATE.values()),
         sum(v.numel() * v.element_size() for v in STATE.values())), "--summary counts tensors, elements and bytes")  # fmt: skip
    stored = {v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in STATE.values()}
    t.ok(doc["stored_bytes"] == sum(stored.values()), "--summary counts the bytes of shared storages once")
    lone = save("lone.pth", {"model": {"x": torch.zeros(1000)[:10], "y": torch.zeros(5)}, "optimizer": {"m": torch.zeros(50)}})
    doc = as_json("--summary", lone)
    t.ok((doc["unused_bytes"], doc["optimizer_bytes"], doc["stored_bytes"]) == (3960, 200, 4220),
         "--summary counts unused bytes and the optimizer's bytes")
    t.ok(inspect("--get", "epoch", ZIP).stdout == b"3\n", "--get prints a number")
    for v in (0.1, 1e300, -0.0, math.pi, 5e-324, math.inf):
        got = inspect("--get", "v", save("v.pth", {"v": v, "t": T})).stdout.decode()
        t.ok(float(got) == v and math.copysign(1, float(got)) == math.copysign(1, v), f"--get of {v!r} reads back equal")

t.done()
