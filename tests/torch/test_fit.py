"""lnn-ckpt-adapt -m TARGET --fit changes tensors of known kinds whose shapes differ from the target's. Their numbers are compared
with formulas in numpy and torch, and the result must pass --strict. Other tensors are not changed, and are named."""

import json

import tap

torch = tap.need_torch(2, 1)
np = tap.need("numpy")
F = torch.nn.functional
t = tap.Tap()
tmp = tap.scratch()
torch.manual_seed(2)


def patch_matrix(old, new):
    """The pseudo-inverse of the transposed matrix of torch's antialiased bicubic resize, [new, old]."""
    unit = torch.eye(old, dtype=torch.float64).reshape(1, 1, old, old)
    w = F.interpolate(unit, size=(new, old), mode="bicubic", antialias=True, align_corners=False).reshape(new, old)
    return np.linalg.pinv(w.numpy().T)


def patched(w, h2, w2):
    h, v = patch_matrix(w.shape[2], h2), patch_matrix(w.shape[3], w2)
    return torch.from_numpy(np.einsum("ai,bj,ocij->ocab", h, v, w.double().numpy()))


def channels(w, n):
    c = w.shape[1]
    if n == 1:
        return w.double().sum(1, keepdim=True)
    if n * 3 == c:
        return w.double().reshape(w.shape[0], n, 3, *w.shape[2:]).sum(2)
    return w.double().repeat(1, -(-n // c), 1, 1)[:, :n] * (c / n)


def vit(grid, patch, chans, classes, dtype=torch.float32):
    return {
        "cls_token": torch.randn(1, 1, 8, dtype=dtype),
        "pos_embed": torch.randn(1, 1 + grid * grid, 8, dtype=dtype),
        "patch_embed.proj.weight": torch.randn(8, chans, patch, patch, dtype=dtype),
        "patch_embed.proj.bias": torch.randn(8, dtype=dtype),
        "blocks.0.gamma": torch.randn(8, dtype=dtype),
        "head.weight": torch.randn(classes, 8, dtype=dtype),
    }


def fit(source, target, *options, status=0):
    torch.save(source, tmp / "in.pth")
    torch.save(target, tmp / "new.pth")
    (tmp / "out.pth").unlink(missing_ok=True)
    said = tap.run("lnn-ckpt-adapt", "-m", tmp / "new.pth", "--fit", *options, tmp / "in.pth", "-o", tmp / "out.pth",
                   "--report", tmp / "r.json", status=status).stderr.decode()
    return said, torch.load(tmp / "out.pth") if status == 0 else None


def near(got, expected, most=0.0):
    """Equal after one rounding. most is the allowed difference relative to the largest number, as pinv is not exact."""
    expected = expected.to(got.dtype)
    return got.shape == expected.shape and (torch.equal(got, expected) or
                                        (got.double() - expected.double()).abs().max() <= most * expected.double().abs().max())


for dtype in torch.float64, torch.float32, torch.float16, torch.bfloat16:
    unit = torch.finfo(dtype).eps
    for c, n in (3, 1), (3, 4), (3, 2), (1, 3), (12, 4), (6, 1):
        a, b = vit(4, 4, c, 5, dtype), vit(4, 4, n, 5, dtype)
        with t.part(f"{c} to {n} channels, {dtype}"):
            said, got = fit(a, b, "--strict")
            t.ok(near(got["patch_embed.proj.weight"], channels(a["patch_embed.proj.weight"], n), 1e-15),
                 f"{c} to {n} channels, {dtype}: the input layer has the numbers of the formula")
            t.ok(all(tap.same(got[k], a[k]) for k in a if "proj.weight" not in k), "other tensors are not changed")
            t.ok("1 made" in said, f"the summary counts the tensor: {said}")
    for old, new in (16, 14), (14, 16), (16, 32), (32, 16), (7, 7), (4, 9):
        a, b = vit(4, old, 3, 5, dtype), vit(4, new, 3, 5, dtype)
        with t.part(f"patch {old} to {new}, {dtype}"):
            said, got = fit(a, b, "--strict")
            w = a["patch_embed.proj.weight"]
            t.ok(near(got["patch_embed.proj.weight"], patched(w, new, new), max(unit, 1e-12)),
                 f"patch {old} to {new}, {dtype}: the input layer has the numbers of the formula")

# one axis grows, the other shrinks, and the number of channels changes
a, b = vit(4, 8, 3, 5), vit(4, 8, 1, 5)
b["patch_embed.proj.weight"] = torch.randn(8, 1, 6, 12)
said, got = fit(a, b, "--strict")
expected = patched(channels(a["patch_embed.proj.weight"], 1), 6, 12)
t.ok(near(got["patch_embed.proj.weight"], expected, 2e-7), "a patch of 8 x 8 with 3 channels becomes 6 x 12 with one")
acts = {i["name"]: i["actions"] for i in json.loads((tmp / "r.json").read_text())["inputs"]}
t.eq(acts["patch_embed.proj.weight"], [{"action": "made", "by": "--fit: input layer"}], "the report names the kind of the tensor")

# a position table, an input layer and a reshape in one run; the grid follows from the model
a, b = vit(4, 8, 3, 5), vit(6, 4, 1, 5)
a["blocks.0.gamma"] = a["blocks.0.gamma"].reshape(1, 8)
said, got = fit(a, b, "--strict")
t.ok(tap.same(got["blocks.0.gamma"], a["blocks.0.gamma"].reshape(8)), "a tensor of shape [1, 8] is reshaped to [8]")
grid = a["pos_embed"][:, 1:].double().reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
grid = F.interpolate(grid, size=(6, 6), mode="bicubic", antialias=True, align_corners=False).permute(0, 2, 3, 1).reshape(1, 36, 8)
t.ok(near(got["pos_embed"], torch.cat([a["pos_embed"][:, :1].double(), grid], 1), 1e-6), "the position table is resized in the same run")
t.ok("1 resampled, 2 made" in said, f"the summary counts all kinds: {said}")

# heads and other tensors are not changed
said, _ = fit(vit(4, 4, 3, 5), vit(4, 4, 1, 7), status=1)
t.ok("size mismatch for head.weight" in said and "a key map with rows or pad can give 1 other rows" in said and
     "--drop-mismatched" in said, f"a head of another size is named, with advice: {said}")
said, got = fit(vit(4, 4, 3, 5), vit(4, 4, 1, 7), "--drop-mismatched")
t.ok("head.weight" not in got and got["patch_embed.proj.weight"].shape[1] == 1,
     "--drop-mismatched drops the head and keeps the fitted layer")
for x, y in ((4, 6), (6, 4)), ((12,), (3, 4)), ((2, 3), (3, 2)), ((8, 3, 4, 4), (8, 48)):
    said, _ = fit({"w": torch.randn(*x), "b": torch.randn(2)}, {"w": torch.zeros(*y), "b": torch.zeros(2)}, status=1)
    t.ok("size mismatch for w" in said, f"a tensor of shape {x} is not fitted to {y}")
# a later convolution is no input layer
conv = {"conv1.weight": torch.randn(4, 3, 3, 3), "layer1.0.conv1.weight": torch.randn(4, 4, 3, 3)}
said, _ = fit(conv, {**conv, "layer1.0.conv1.weight": torch.zeros(4, 8, 3, 3)}, status=1)
t.ok("size mismatch for layer1.0.conv1.weight" in said, "a later convolution is not resized")
said, got = fit(conv, {**conv, "conv1.weight": torch.zeros(4, 1, 3, 3)})
t.ok(near(got["conv1.weight"], channels(conv["conv1.weight"], 1)), "the first convolution is resized")

# without --fit a message proposes it
torch.save(vit(4, 4, 3, 5), tmp / "in.pth")
torch.save(vit(6, 4, 1, 7), tmp / "new.pth")
said = tap.run("lnn-ckpt-adapt", "-m", tmp / "new.pth", tmp / "in.pth", "-o", tmp / "no.pth", status=1).stderr.decode()
t.ok(said.index("--fit makes 2 of 3 fit") < said.index("--drop-mismatched"), f"the message names --fit before --drop-mismatched: {said}")
said = tap.run("lnn-ckpt-inspect", "--against", tmp / "new.pth", tmp / "in.pth", status=1).stdout.decode()
t.ok("position table of another size" in said and "classes" not in said, f"--against calls it a position table of another size: {said}")

# input from a pipe
said, got = fit(vit(4, 8, 3, 5), vit(6, 4, 1, 5))
tap.shell("cat in.pth | lnn-ckpt-adapt -m new.pth --fit >pipe.pth")
t.ok((tmp / "pipe.pth").read_bytes() == (tmp / "out.pth").read_bytes(), "input from a pipe gives the same bytes")

# the ops of a key map run before --fit: the table that the map has cut is resized
a, b = vit(4, 4, 3, 5), vit(6, 4, 3, 5)
a["pos"] = torch.cat([a.pop("pos_embed"), torch.randn(1, 9, 8)], 1)
torch.save(a, tmp / "in.pth")
torch.save(b, tmp / "new.pth")
(tmp / "m.yaml").write_text("rules: [{from: pos, to: pos_embed, ops: [{slice: {1: [0, 17]}}]}]\n")
tap.shell("lnn-ckpt-adapt -s m.yaml -m new.pth --fit --strict in.pth -o out.pth")
grid = a["pos"][:, 1:17].double().reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
grid = F.interpolate(grid, size=(6, 6), mode="bicubic", antialias=True, align_corners=False).permute(0, 2, 3, 1).reshape(1, 36, 8)
t.ok(near(torch.load(tmp / "out.pth")["pos_embed"][:, 1:], grid, 1e-6), "a table that an op of a key map has cut is resized")

t.done()
