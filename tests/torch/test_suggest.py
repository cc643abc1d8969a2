"""Suggested maps end to end. For each pair in tests/suggest, lnn-ckpt-inspect suggests a map for a checkpoint with these names.
lnn-ckpt-adapt applies it, and the result is compared with what torch computes from the true pairs of names."""

import re
import sys

import tap

torch = tap.need_torch(2, 1)
from safetensors.torch import load_file, save_file  # noqa: E402

t = tap.Tap()
tmp = tap.scratch()


def read(path):
    source, target = {}, {}
    start = 1
    for line in open(path):
        f = line.rstrip("\n").split("\t")
        shape = [int(n) for n in f[3][1:-1].split(",") if n]
        if f[0] == "s":
            n = 1
            for d in shape:
                n *= d
            source[f[1]] = torch.arange(start, start + n, dtype=torch.int64 if f[2] == "i" else torch.float64).reshape(shape)
            start += n
        else:
            target[f[1]] = (f[2], shape, f[4], f[5] if len(f) > 5 else "")
    return source, target


def truth(source, shape, names, how):
    """Applies the operations that a pair states to a tensor, with torch."""
    parts = [source[n] for n in names.split(",")]
    words = how.split()
    x = parts[0]
    if words[0] == "join":
        return torch.cat(parts, int(words[1]))
    if words[0] == "part":
        x = x.chunk(int(words[3]), int(words[1]))[int(words[2])]
    if words[0] == "transpose":
        x = x.T
    if words[0] == "permute":
        x = x.permute(3, 2, 0, 1)
    return x.reshape(shape)


def try_pair(path):
    source, target = read(path)
    save_file(source, tmp / "source.st")
    with open(tmp / "target.tsv", "w") as f:
        f.writelines("%s\t%s\t[%s]\n" % (n, "int64" if k == "i" else "float64", ",".join(map(str, s))) for n, (k, s, _, _) in target.items())
    found = tap.run("lnn-ckpt-inspect", "--against", tmp / "target.tsv", "--suggest-map", tmp / "source.st", status=None)
    (tmp / "map.yaml").write_bytes(found.stdout)
    tap.run("lnn-ckpt-adapt", "-q", "-s", tmp / "map.yaml", tmp / "source.st", "-o", tmp / "out.st")
    made = load_file(tmp / "out.st")
    right = sum(names == "-" if n not in made else
                names != "-" and made[n].shape == torch.Size(shape) and torch.equal(made[n], truth(source, shape, names, how))
                for n, (_, shape, names, how) in target.items())
    good = found.returncode == (0 if len(made) == len(target) else 1) and set(made) <= set(target)
    t.ok(good and right >= 0.8 * len(target), f"{path.stem}: {right} of {len(target)} tensors are right, status {found.returncode}")
    return right, len(target)


paths = [tap.pathlib.Path(p) for p in sys.argv[1:]] or sorted((tap.TOP / "tests" / "suggest").glob("*.tsv"))
sums = [0, 0]
for path in paths:
    with t.part(path.stem):
        right, n = try_pair(path)
        sums[0] += right
        sums[1] += n
t.ok(sums[0] >= 0.95 * sums[1], f"at least 95 % of all tensors are right ({sums[0]} of {sums[1]})")
t.done()
