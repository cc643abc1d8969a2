"""Compares the ops of key maps with torch: every op for every class of dtypes, from files and pipes, to torch, safetensors and
shards. The inputs are also views, shared or big-endian. Maps that must be refused are tested, too."""

import json
import shutil

import tap

torch = tap.need_torch(2, 1)
from safetensors.torch import load_file, save_file  # noqa: E402

t = tap.Tap()
tmp = tap.scratch()
torch.manual_seed(1)

MOVED = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "int64", "int16", "uint8", "bool", "complex64", "complex128"]
COMPUTED = ["float64", "float32", "float16", "bfloat16"]


def numbers(dtype, *shape):
    """A tensor of numbers that are different in the dtype."""
    dtype = getattr(torch, dtype)
    if dtype == torch.bool:
        return torch.rand(*shape) < 0.5
    if dtype.is_complex:
        return torch.randn(*shape, dtype=dtype)
    if dtype.is_floating_point:
        return torch.randn(*shape, dtype=torch.float64).to(dtype)
    return torch.randint(0, 100, shape).to(dtype)


def flip(x, *dims):
    """Like torch.flip, but for every dtype."""
    for d in dims:
        x = x[(slice(None),) * d + (torch.arange(x.shape[d] - 1, -1, -1),)]
    return x.contiguous()


def write_map(name, rules, **more):
    lines = [f"{k}: {json.dumps(v)}" for k, v in more.items()] + ["rules:"]
    (tmp / name).write_text("\n".join(lines + [f"  - {json.dumps(rule)}" for rule in rules]) + "\n")


def read_shards(folder):
    out = {}
    for file in sorted(folder.glob("*.safetensors")):
        out.update(load_file(file))
    return out


def equal(got, expected):
    return list(sorted(got)) == list(sorted(expected)) and all(tap.same(got[k], expected[k]) for k in expected)


def check(what, state, rules, expected, flat=True):
    """Every kind of input and output must give the expected tensors."""
    write_map("m.yaml", rules)
    torch.save(state, tmp / "in.pth")
    sources = ["in.pth"]
    if flat and not any(v.dtype == torch.complex128 for v in state.values()):
        save_file({k: v.contiguous().clone() for k, v in state.items()}, tmp / "in.safetensors")
        sources.append("in.safetensors")
    with t.part(what):
        for source in sources:
            outs = {}
            for pipe in "", f"cat {source} | ":
                operand = "-" if pipe else source
                for to in "torch", "safetensors":
                    if to == "safetensors" and any(v.dtype == torch.complex128 for v in expected.values()):
                        continue
                    tap.shell(f"{pipe}lnn-ckpt-adapt -s m.yaml --to {to} {operand} >out")
                    got = torch.load(tmp / "out", weights_only=True) if to == "torch" else load_file(tmp / "out")
                    t.ok(equal(got, expected), f"{what}: {source}{' (pipe)' if pipe else ''} to {to}")
                    data = (tmp / "out").read_bytes()
                    t.ok(outs.setdefault(to, data) == data, f"{what}: {source}: the pipe gives the same bytes as the file")
            if "safetensors" in outs:
                for pipe in ("", f"cat {source} | ") if "split" in what or "join" in what else ("",):
                    shutil.rmtree(tmp / "shards", ignore_errors=True)
                    tap.shell(f"{pipe}lnn-ckpt-adapt -s m.yaml --to safetensors --max-shard-size 300 -o shards/ "
                              f"{'-' if pipe else source}")
                    t.ok(equal(read_shards(tmp / "shards"), expected), f"{what}: {source}{' (pipe)' if pipe else ''} to shards")


def op(what, x, ops, expected):
    """Applies ops to one tensor, which is between two that are copied."""
    a, z = torch.arange(5.0), torch.arange(3)
    check(what, {"a": a, "x": x, "z": z}, [{"from": "x", "to": "y", "ops": ops}], {"a": a, "y": expected, "z": z})


# ---- ops that move elements

for dtype in MOVED:
    x, v = numbers(dtype, 12, 5, 3), numbers(dtype, 12)
    m = numbers(dtype, 6, 8)
    op(f"slice {dtype}", x, [{"slice": {0: [2, 9], -1: [1, 3]}}], x[2:9, :, 1:3].contiguous())
    op(f"slice rows {dtype}", x, [{"slice": {0: [2, 9]}}], x[2:9].clone())
    op(f"pad {dtype}", x, [{"pad": {0: 14, 1: 6}}], torch.cat([torch.cat([x, torch.zeros(12, 1, 3, dtype=x.dtype)], 1), torch.zeros(2, 6, 3, dtype=x.dtype)]))
    op(f"permute {dtype}", x, [{"permute": [2, 0, -2]}], x.permute(2, 0, 1).contiguous())
    op(f"transpose {dtype}", m, [{"transpose": True}], m.t().contiguous())
    op(f"transpose of a vector {dtype}", v, [{"transpose": True}], v)
    op(f"reshape {dtype}", x, [{"reshape": [4, -1, 5]}], x.reshape(4, -1, 5).clone())
    op(f"flatten {dtype}", x, [{"flatten": [0, 1]}], x.flatten(0, 1).clone())
    op(f"flatten all {dtype}", x, [{"permute": [2, 0, 1]}, {"flatten": [0, -1]}], x.permute(2, 0, 1).flatten().clone())
    op(f"flip {dtype}", x, [{"flip": [0, 2]}], flip(x, 0, 2))
    op(f"several {dtype}", x, [{"flip": [1]}, {"reshape": [12, 15]}, {"slice": {1: [3, 9]}}, {"transpose": True}],
       flip(x, 1).reshape(12, 15)[:, 3:9].t().contiguous())
    (tmp / "rows").write_text("3\n-\n0\n1\n2\n11\n11\n-\n-\n")
    index = torch.tensor([3, 0, 0, 1, 2, 11, 11, 0, 0])
    for name, y in ("x", x), ("vector", v):
        expected = y[index].clone()
        expected[[1, 7, 8]] = torch.zeros((), dtype=y.dtype)
        op(f"rows of a {name} {dtype}", y, [{"rows": "rows"}], expected)

    # split and join along several dimensions, also between other tensors
    for dim in 0, 1, -1:
        w = numbers(dtype, 6, 6, 6)
        b = numbers(dtype, 12)
        parts = [c.contiguous() for c in w.chunk(3, dim)]
        names = [f"b.0.{c}.w" for c in "qkv"]
        check(f"split along {dim} {dtype}", {"p": b, "b.0.qkv.w": w, "s": b[:3].clone()},
              [{"from": "b.{i}.qkv.w", "to": [f"b.{{i}}.{c}.w" for c in "qkv"], "ops": [{"split": dim}]}],
              {"p": b, **dict(zip(names, parts)), "s": b[:3].clone()})
        check(f"split by sizes along {dim} {dtype}", {"x": w},
              [{"from": "x", "to": ["c", "d"], "ops": [{"split": dim, "sizes": [4, 2]}, {"flip": [0]}]}],
              {k: flip(y, 0) for k, y in zip("cd", w.split([4, 2], dim))})
        check(f"join along {dim} {dtype}", {names[1]: parts[1], "p": b, names[0]: parts[0], "s": b[:3].clone(), names[2]: parts[2]},
              [{"from": [f"b.{{i}}.{c}.w" for c in "qkv"], "to": "b.{i}.qkv.w", "ops": [{"join": dim}]}],
              {"p": b, "s": b[:3].clone(), "b.0.qkv.w": w})
        sizes = [3, 0, 2]
        uneven = [numbers(dtype, *[n if d == dim % 3 else 4 for d in range(3)]) for n in sizes]
        check(f"join of unequal sizes along {dim} {dtype}", dict(zip("xyz", uneven)),
              [{"from": list("xyz"), "to": "w", "ops": [{"join": dim}, {"permute": [2, 1, 0]}]}],
              {"w": torch.cat(uneven, dim).permute(2, 1, 0).contiguous()})

# ---- ops that compute, in double precision with one rounding

for dtype in COMPUTED:
    x = numbers(dtype, 8, 3, 4, 4)
    double = x.double()
    op(f"scale {dtype}", x, [{"scale": 0.3}], (double * 0.3).to(x.dtype))
    op(f"scale by -0 {dtype}", x, [{"scale": -1}], -x)
    for to in COMPUTED:
        op(f"{dtype} as {to}", x, [{"dtype": to}], x.to(getattr(torch, to)))
    op(f"scale and dtype round once {dtype}", x, [{"scale": 1.0009765625}, {"dtype": "bfloat16"}, {"permute": [1, 0, 2, 3]}],
       (double * 1.0009765625).to(torch.bfloat16).permute(1, 0, 2, 3).contiguous())
    op(f"channels to one {dtype}", x, [{"channels": 1}], double.sum(1, keepdim=True).to(x.dtype))
    for n in 2, 4, 6, 7:
        many = double.repeat(1, -(-n // 3), 1, 1)[:, :n] * (3 / n)
        op(f"channels to {n} {dtype}", x, [{"channels": n}], many.to(x.dtype))

# ---- views, tied tensors, other byte orders

base = torch.randn(10, 12)
view = base.t()[2:8]
check("a strided view", {"x": view, "base": base}, [{"from": "x", "to": ["c", "d"], "ops": [{"split": 0}]}],
      {"base": base, "c": view[:3].contiguous(), "d": view[3:].contiguous()})
tied = torch.randn(6, 4)
write_map("m.yaml", [{"regex": "weight$", "keep": True, "ops": [{"pad": {0: 8}}]}])
torch.save({"shared.weight": tied, "lm_head.weight": tied}, tmp / "in.pth")
tap.shell("lnn-ckpt-adapt -s m.yaml in.pth -o out.pth")
got = torch.load(tmp / "out.pth")
t.ok(got["shared.weight"].data_ptr() == got["lm_head.weight"].data_ptr() and got["shared.weight"].shape == (8, 4),
     "tied names stay tied after an op")
conj = torch.randn(4, 3, dtype=torch.complex64)
write_map("m.yaml", [{"from": "x", "to": ["c", "d"], "ops": [{"split": 0}]}])
torch.save({"x": conj.conj()}, tmp / "in.pth")
tap.shell("lnn-ckpt-adapt -s m.yaml in.pth -o out.pth")
t.ok(equal(torch.load(tmp / "out.pth"), {"c": conj.conj()[:2].resolve_conj(), "d": conj.conj()[2:].resolve_conj()}), "conjugated")

# ---- several inputs

models = [{"w": torch.randn(40, 30), "h": torch.randn(7).half(), "n": torch.tensor(5), "m": torch.tensor([True])} for _ in range(3)]
models[2]["n"] = torch.tensor(6)
for i, m in enumerate(models):
    torch.save(m, tmp / f"{i}.pth")
    save_file(m, tmp / f"{i}.safetensors")


def mean(key, weights=(1, 1, 1), divisor=3):
    out = sum(w * m[key].double() for w, m in zip(weights, models) if w)
    return (out / divisor).to(models[0][key].dtype)


expected = {"w": mean("w"), "h": mean("h"), "n": torch.tensor(5), "m": torch.tensor([True])}
for kind in "pth", "safetensors":
    for inputs in "%s", "%s b", "%s c":
        files = {c: f"{i}.{kind}" for i, c in enumerate("abc")}
        piped = inputs[3:]
        script = f"cat {files.get(piped, '/dev/null')} | lnn-ckpt-adapt -s mean --to safetensors"
        for c, file in files.items():
            script += f" --input {c}={'-' if c == piped else file}"
        with t.part(script):
            said = tap.shell(f"{script} >out").stderr.decode()
            t.ok(equal(load_file(tmp / "out"), expected), f"the mean of {kind} agrees with torch, pipe {piped or 'none'}")
            t.ok("1 tensors that are not floating-point differ" in said and "4 made" in said,
                 f"a message counts the integers that differ: {said}")
write_map("sum.yaml", [{"starts": "", "keep": True, "ops": [{"sum": {"b": 0.25, "a": -2}}]}], inputs=["a", "b"])
tap.shell("lnn-ckpt-adapt -s sum.yaml --input a=0.pth --input b=1.pth -o out.pth")
got = torch.load(tmp / "out.pth")
t.ok(tap.same(got["w"], (0.25 * models[1]["w"].double() + -2 * models[0]["w"].double()).float()), "a weighted sum agrees with torch")
torch.save({"w": models[0]["w"]}, tmp / "lacks.pth")
said = tap.shell("lnn-ckpt-adapt -s mean --input a=0.pth --input b=lacks.pth -o no.pth", status=2).stderr.decode()
t.ok("lacks.pth has no tensor of that name" in said and not (tmp / "no.pth").exists(),
     f"a name that is missing in one input is refused: {said}")
torch.save({k: v if k != "w" else v[:4] for k, v in models[0].items()}, tmp / "other.pth")
said = tap.shell("lnn-ckpt-adapt -s mean --input a=0.pth --input b=other.pth -o no.pth", status=2).stderr.decode()
t.ok("the shapes differ between inputs" in said, f"shapes that differ are refused: {said}")

# ---- memory: ops along the first dimension need little, from a file and from a pipe

big = {f"l.{i}.qkv.weight": torch.randn(3 * 1024, 1024) for i in range(8)}
torch.save(big, tmp / "big.pth")
write_map("split.yaml", [{"from": "l.{i}.qkv.", "to": [f"l.{{i}}.{c}." for c in "qkv"], "ops": [{"split": 0}]}])
write_map("join.yaml", [{"from": [f"l.{{i}}.{c}.weight" for c in "qkv"], "to": "l.{i}.qkv.weight", "ops": [{"join": 0}]}])
PEAK = "python3 -c 'import resource, subprocess, sys; s = subprocess.call(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(s)'"
tap.shell("lnn-ckpt-adapt -s split.yaml big.pth -o parts.pth")
for what, script, most in (
    ("split, file", f"{PEAK} lnn-ckpt-adapt -q -s split.yaml big.pth -o out.pth", 16),
    ("split, pipe", f"cat big.pth | {PEAK} lnn-ckpt-adapt -q -s split.yaml -o out.pth", 16),
    ("join, file", f"{PEAK} lnn-ckpt-adapt -q -s join.yaml parts.pth -o out.pth", 24),
    ("join, pipe", f"cat parts.pth | {PEAK} lnn-ckpt-adapt -q -s join.yaml -o out.pth", 16 + 24),
    ("mean", f"{PEAK} lnn-ckpt-adapt -q -s mean --input a=big.pth --input b=big.pth -o out.pth", 24),
    ("mean, pipe", f"cat big.pth | {PEAK} lnn-ckpt-adapt -q -s mean --input a=big.pth --input b=- -o out.pth", 32 + 24),
):
    with t.part(what):
        peak = int(tap.shell(script).stderr.split()[-1])
        t.ok(tap.os.environ.get("LNN_SAN") or peak <= most * 1024, f"{what}: the peak memory of {peak} KiB is at most {most} MiB")
tap.shell("lnn-ckpt-adapt -s join.yaml parts.pth -o out.pth")
t.ok(equal(torch.load(tmp / "out.pth"), big), "a split and a join give the original")

t.done()
