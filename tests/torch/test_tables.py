"""Compares lnn-interp-bias with modules that look their tables up like MetaFormer, linnaeus, Swin, BEiT and models whose class row
is first. The bias of a resized model at each pair of positions equals torch's interpolation of the true grid in float64."""

import json
import random
from collections import OrderedDict

import tap

torch = tap.need_torch(1, 12)
F = torch.nn.functional
t = tap.Tap()
scratch = tap.scratch()

TABLE, INDEX = "attn.relative_position_bias_table", "attn.relative_position_index"
KINDS = ["metaformer", "last:1", "first:1", "grid", "last:3"]
EXTRA = {"metaformer": 1, "last:1": 1, "first:1": 1, "grid": 0, "last:3": 3}
METHODS = {
    "bicubic": ((), dict(mode="bicubic", align_corners=False)),
    "bicubic, corners": (("--align-corners",), dict(mode="bicubic", align_corners=True)),
    "bicubic, antialias": (("--antialias",), dict(mode="bicubic", align_corners=False, antialias=True)),
    "bilinear": (("--method", "bilinear"), dict(mode="bilinear", align_corners=False)),
    "bilinear, corners": (("--method", "bilinear", "--align-corners"), dict(mode="bilinear", align_corners=True)),
}


# ---- the models: each builds its index from the definition of a relative position


def pairs(h, w):
    """[tokens, tokens] of cells: row (dy + h - 1) * (2w - 1) + dx + w - 1, with d = query - key."""
    cells = torch.empty(h * w, h * w, dtype=torch.int64)
    for q in range(h * w):
        for k in range(h * w):
            dy, dx = q // w - k // w, q % w - k % w
            cells[q, k] = (dy + h - 1) * (2 * w - 1) + dx + w - 1
    return cells


def make_index(kind, h, w, meta=0):
    """The index buffer that a model of this kind registers, with 1 + meta tokens beside the grid."""
    cells, n = pairs(h, w), (2 * h - 1) * (2 * w - 1)
    if kind == "grid":
        return cells
    side = 1 + meta
    out = torch.empty(h * w + side, h * w + side, dtype=torch.int64)
    out[side:, side:] = cells + (1 if kind == "first:1" else 0)
    outside = {"metaformer": 0, "first:1": 0, "last:1": n, "last:3": n}[kind]
    out[:side], out[:, :side] = outside, outside
    if kind == "last:3":
        out[0, :], out[:, 0], out[0, 0] = n, n + 1, n + 2
    return out


class Attention(torch.nn.Module):
    """A layer whose bias is table[index]. Only the test knows the true grid and the rows of class pairs."""

    def __init__(self, kind, h, w, heads, dtype, meta=0):
        super().__init__()
        n = (2 * h - 1) * (2 * w - 1)
        self.kind, self.h, self.w = kind, h, w
        self.relative_position_bias_table = torch.nn.Parameter(torch.randn(n + EXTRA[kind], heads, dtype=torch.float64).to(dtype))
        self.register_buffer("relative_position_index", make_index(kind, h, w, meta))

    def bias(self):
        rows = self.relative_position_bias_table[self.relative_position_index.reshape(-1)]
        return rows.reshape(*self.relative_position_index.shape, -1).detach()


def true_grid(kind, table, h, w):
    """[2h-1, 2w-1, heads]"""
    n = (2 * h - 1) * (2 * w - 1)
    first = 1 if kind == "first:1" else 0
    return table.detach()[first:first + n].reshape(2 * h - 1, 2 * w - 1, -1)


def class_rows(kind, table, h, w):
    n = (2 * h - 1) * (2 * w - 1)
    table = table.detach()
    if kind in ("metaformer", "first:1"):
        return table[:1]
    return table[n:]


def interpolated(grid, h, w, **how):
    """The grid resized by torch in float64."""
    planes = grid.double().permute(2, 0, 1)[None]
    return F.interpolate(planes, size=(2 * h - 1, 2 * w - 1), **how)[0].permute(1, 2, 0)


def half_ulp(x):
    """Half a unit in the last place of each value, in float64."""
    info = torch.finfo(x.dtype)
    a = x.double().abs().clamp(min=info.tiny)
    return torch.exp2(torch.floor(torch.log2(a))) * info.eps / 2


def close(got, expected, what):
    """got must be expected (float64) rounded to the dtype of got. A difference in the last places of float64 is allowed."""
    wrong = (got.double() - expected).abs() - half_ulp(got) * (1 + 1e-6) - 1e-14
    t.ok(got.numel() and bool((wrong <= 0).all()), what)
    if not bool((wrong <= 0).all()):
        t.note(f"off by {float(wrong.max())} more than half a unit")


def save(state, **rest):
    path = scratch / "in.pth"
    torch.save({"model": state, **rest}, path)
    return path


def load(data_or_path):
    import io

    src = io.BytesIO(data_or_path) if isinstance(data_or_path, bytes) else data_or_path
    return torch.load(src, map_location="cpu")["model"]


def expect_bias(layer, table, kind_to, h, w, what, how):
    """Checks the bias of a model of kind_to with a grid of h x w that has loaded the table."""
    target = Attention(kind_to, h, w, table.shape[1], table.dtype)
    if not t.eq(tuple(table.shape), tuple(target.relative_position_bias_table.shape), f"{what}: shape"):
        return
    target.relative_position_bias_table.data.copy_(table)
    bias, side = target.bias(), target.relative_position_index.shape[0] - h * w
    grid = interpolated(true_grid(layer.kind, layer.relative_position_bias_table, layer.h, layer.w), h, w, **how)
    queries = torch.arange(h * w)
    dy = queries[:, None] // w - queries[None, :] // w + h - 1
    dx = queries[:, None] % w - queries[None, :] % w + w - 1
    expected = grid[dy, dx]
    got = bias[side:, side:]
    if kind_to == "metaformer":  # after a resize its row 0 is cell (0, 0), which is also what class pairs get
        close(got, expected, f"{what}: bias of position pairs")
        rows = table[-1:]
    else:
        close(got, expected, f"{what}: bias of position pairs")
        rows = class_rows(kind_to, table, h, w)
    old = class_rows(layer.kind, layer.relative_position_bias_table, layer.h, layer.w)
    t.ok(tap.same(rows.contiguous(), old.contiguous()), f"{what}: class rows are equal bit for bit")
    if side and kind_to in ("last:1", "first:1"):
        t.ok(bool((bias[0] == old[0]).all()) and bool((bias[:, 0] == old[0]).all()), f"{what}: class pairs get the class row")


def resize(state, *options, pipe=False):
    path = save(state, epoch=3)
    if pipe:
        return load(tap.run("lnn-interp-bias", "-q", *options, stdin=path.read_bytes()).stdout)
    tap.run("lnn-interp-bias", "-q", *options, path, "-o", scratch / "out.pth")
    return load(scratch / "out.pth")


def layouts():
    """Every layout and dtype, rectangles, larger and smaller sizes; the layout is inferred from an index before or after its table."""
    r = random.Random(5)
    dtypes = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
    grids = [(4, 4, 7, 7), (7, 7, 4, 4), (3, 5, 6, 4), (5, 2, 3, 9), (1, 4, 2, 6), (14, 14, 24, 24)]
    for number, kind in enumerate(KINDS):
        for at, (h, w, th, tw) in enumerate(grids):
            dtype = dtypes[(number + at) % 4]
            torch.manual_seed(100 * number + at)
            layer = Attention(kind, h, w, r.randint(1, 5), dtype, meta=r.randint(0, 2) if kind == "metaformer" else 0)
            state = OrderedDict()
            others = {"x.weight": torch.randn(3, 4), "x.count": torch.tensor(7), "x.view": torch.randn(6, 5).t()}
            items = [(TABLE, layer.relative_position_bias_table.data), (INDEX, layer.relative_position_index)]
            for name, value in items if r.random() < 0.5 else items[::-1]:
                state[name] = value
            state.update(others)
            what = f"{kind} {h}x{w} to {th}x{tw} {str(dtype)[6:]}"
            with t.part(what):
                out = resize(state, "--grid", f"{th}x{tw}", pipe=r.random() < 0.5)
                t.eq(sorted(out), sorted([TABLE, *others]), f"{what}: names")
                t.ok(all(tap.same(out[k], v) for k, v in others.items()), f"{what}: other tensors are equal bit for bit")
                t.ok(out[TABLE].dtype == dtype, f"{what}: the dtype is kept")
                expect_bias(layer, out[TABLE], kind, th, tw, what, METHODS["bicubic"][1])


def methods():
    for name, (options, how) in METHODS.items():
        for h, w, th, tw in [(4, 4, 9, 9), (9, 8, 3, 4), (5, 7, 7, 5)]:
            torch.manual_seed(h * w)
            layer = Attention("last:1", h, w, 3, torch.float64)
            with t.part(name):
                out = resize({TABLE: layer.relative_position_bias_table.data, INDEX: layer.relative_position_index},
                             "--grid", f"{th}x{tw}", *options)
                expect_bias(layer, out[TABLE], "last:1", th, tw, f"{name} {h}x{w} to {th}x{tw}", how)


def conversions():
    """Converts each layout with one extra row to each other, with and without a resize."""
    one = [k for k in KINDS if EXTRA[k] == 1]
    for a in one:
        for b in one:
            torch.manual_seed(len(a) * 10 + len(b))
            layer = Attention(a, 4, 6, 2, torch.float32)
            state = {TABLE: layer.relative_position_bias_table.data, INDEX: layer.relative_position_index}
            with t.part(f"{a} to {b}"):
                out = resize(state, "--grid", "6x5", "--to-layout", b)
                expect_bias(layer, out[TABLE], b, 6, 5, f"{a} to {b}, resized", METHODS["bicubic"][1])
                out = resize(state, "--grid", "4x6", "--to-layout", b)
                if a == b:
                    t.ok(tap.same(out[TABLE], state[TABLE]), f"{a}: a table of the right size and layout is not changed")
                    continue
                n = 7 * 11
                got = true_grid(b, out[TABLE], 4, 6)
                if b == "metaformer":
                    t.ok(tap.same(out[TABLE][:n].clone(), true_grid(a, state[TABLE], 4, 6).reshape(n, -1).clone()),
                         f"{a} to {b}: grid rows are kept")
                    t.ok(tap.same(out[TABLE][n:].clone(), class_rows(a, state[TABLE], 4, 6).clone()),
                         f"{a} to {b}: the class row comes last")
                else:
                    t.ok(tap.same(got.clone(), true_grid(a, state[TABLE], 4, 6).clone()), f"{a} to {b}: the grid is equal bit for bit")
                    t.ok(tap.same(class_rows(b, out[TABLE], 4, 6).clone(), class_rows(a, state[TABLE], 4, 6).clone()),
                         f"{a} to {b}: the class row is equal bit for bit")
            # an index buffer is used even if the same run drops it
            with t.part(f"{a} to {b} in adapt"):
                tap.run("lnn-ckpt-adapt", "-q", "--interpolate", "--grid", "6x5", "--to-layout", b, "--drop-buffers",
                        "relative_position_index", save(state), "-o", scratch / "out.pth")
                expect_bias(layer, load(scratch / "out.pth")[TABLE], b, 6, 5, f"{a} to {b} in adapt", METHODS["bicubic"][1])
    torch.manual_seed(1)
    layer = Attention("grid", 2, 14, 3, torch.float32)  # 81 rows, as many as a table of 9 x 9
    with t.part("a rectangle of 81 cells"):
        out = resize({TABLE: layer.relative_position_bias_table.data, INDEX: layer.relative_position_index}, "--grid", "5x6")
        expect_bias(layer, out[TABLE], "grid", 5, 6, "a rectangle with as many cells as a square", METHODS["bicubic"][1])
    for a, b in (("grid", "last:1"), ("last:3", "first:1"), ("last:1", "grid")):
        layer = Attention(a, 3, 3, 2, torch.float32)
        done = tap.run("lnn-interp-bias", "--grid", "4x4", "--to-layout", b, status=2, stdin=save(
            {TABLE: layer.relative_position_bias_table.data, INDEX: layer.relative_position_index}).read_bytes())
        t.ok(done.stdout == b"" and TABLE.encode() in done.stderr, f"{a} to {b} is refused")


def reference_loaders():
    """--layout first keeps row 0 and resizes rows 1 .. S * S as an S x S grid. Both loaders compute this, though their models index the
    grid from row 0 on."""
    for kind in ("metaformer", "last:1"):
        for side, new in ((14, 24), (7, 12), (4, 3)):
            torch.manual_seed(side)
            layer = Attention(kind, side, side, 4, torch.float32)
            table = layer.relative_position_bias_table.data
            s, n = 2 * side - 1, 2 * new - 1
            body = table[1:].t().reshape(1, 4, s, s)
            expected = F.interpolate(body.double(), size=(n, n), mode="bicubic", align_corners=False).reshape(4, -1).t()
            with t.part(f"reference loader {kind}"):
                out = resize({TABLE: table, INDEX: layer.relative_position_index}, "--grid", f"{new}x{new}", "--layout", "first")
                close(out[TABLE][1:], expected, f"{kind} {side} to {new}, --layout first gives the numbers of the reference loaders")
                t.ok(tap.same(out[TABLE][:1].clone(), table[:1].clone()), f"{kind} {side} to {new}: row 0 is kept as by the loaders")
                tap.run("lnn-ckpt-adapt", "-q", "--compat=linnaeus", "--interpolate", "--grid", f"{new}x{new}",
                        save({TABLE: table, INDEX: layer.relative_position_index}), "-o", scratch / "c.pth")
                t.ok(tap.same(load(scratch / "c.pth")[TABLE], out[TABLE]), f"{kind} {side} to {new}: --compat=linnaeus does the same")
                # the error of the loaders: the model's bias is not that of the interpolated grid
                layer_new = Attention(kind, new, new, 4, torch.float32)
                layer_new.relative_position_bias_table.data.copy_(out[TABLE])
                right = interpolated(true_grid(kind, table, side, side), new, new, mode="bicubic", align_corners=False)
                seen = true_grid(kind, layer_new.relative_position_bias_table, new, new)
                t.ok(float((seen.double() - right).abs().max()) > 1e-3,
                     f"{kind} {side} to {new}: the result of the loaders is a shifted grid")


def several_tables():
    """Tables of several layers, tied tables, tables that are views, and values beside the state dict."""
    torch.manual_seed(9)
    layer = Attention("last:1", 4, 4, 3, torch.float32)
    both = torch.randn(2, 50, 3)
    state = OrderedDict()
    state[f"stage_3.a.{TABLE}"] = both[0]
    state[f"stage_3.a.{INDEX}"] = layer.relative_position_index
    state[f"stage_3.b.{TABLE}"] = both[1].t().contiguous().t()
    state[f"stage_3.b.{INDEX}"] = layer.relative_position_index
    state[f"stage_3.c.{TABLE}"] = state[f"stage_3.a.{TABLE}"]
    state[f"stage_3.c.{INDEX}"] = layer.relative_position_index
    state["stage_3.both"] = both
    with t.part("shared tables"):
        out = resize(state, "--img-size", "96")
        for name, rows in (("a", both[0]), ("b", both[1]), ("c", both[0])):
            layer.relative_position_bias_table.data = rows.clone()
            expect_bias(layer, out[f"stage_3.{name}.{TABLE}"], "last:1", 6, 6, f"table {name} is resized", METHODS["bicubic"][1])
        t.ok(out[f"stage_3.a.{TABLE}"].data_ptr() == out[f"stage_3.c.{TABLE}"].data_ptr(), "tied tables stay tied")
        t.ok(tap.same(out["stage_3.both"], both), "a tensor that shared their storage keeps its bits")
        t.eq(torch.load(scratch / "out.pth")["epoch"], 3, "a value beside the state dict is kept")
        tied = OrderedDict([("alias", state[f"stage_3.a.{TABLE}"]), (f"stage_3.a.{TABLE}", state[f"stage_3.a.{TABLE}"])])
        done = tap.run("lnn-interp-bias", "-q", "--img-size", "96", "--layout", "last", save(tied), "-o", scratch / "none.pth", status=2)
        t.ok(b"are one tensor" in done.stderr and not (scratch / "none.pth").exists(),
             "a tensor with two names, of which one is a table's, is refused")


def cast():
    """A table that is resized and cast is computed in double precision and rounded once."""
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        layer = Attention("last:1", 5, 4, 3, torch.float32)
        state = {TABLE: layer.relative_position_bias_table.data, INDEX: layer.relative_position_index}
        with t.part(f"cast to {dtype}"):
            tap.run("lnn-ckpt-adapt", "-q", "--interpolate", "--grid", "7x9", "--dtype", str(dtype)[6:], save(state), "-o",
                    scratch / "out.pth")
            out = load(scratch / "out.pth")[TABLE]
            expected = interpolated(true_grid("last:1", state[TABLE], 5, 4), 7, 9, mode="bicubic", align_corners=False)
            t.ok(out.dtype == dtype, f"cast to {dtype}: the table has the new dtype")
            close(out[:-1], expected.reshape(-1, 3), f"cast to {dtype}: rounded once")
            t.ok(tap.same(out[-1:].clone(), state[TABLE][-1:].to(dtype)), f"cast to {dtype}: the class row is cast")


def report():
    layer = Attention("metaformer", 4, 4, 3, torch.float32)
    path = save({"stage_3." + TABLE: layer.relative_position_bias_table.data, "stage_3." + INDEX: layer.relative_position_index})
    tap.run("lnn-ckpt-adapt", "-q", "--interpolate", "--img-size", "112", "--to-layout", "last", "--report", scratch / "r.json",
            path, "-o", scratch / "out.pth")
    t.eq(json.loads((scratch / "r.json").read_text())["tables"],
         [{"name": "stage_3." + TABLE, "kind": "bias", "from_grid": [4, 4], "to_grid": [7, 7], "heads": 3, "from_layout": "metaformer",
           "to_layout": "last:1", "method": "bicubic"}], "the report describes the table")


def recorded():
    """Outputs without index buffers record their layouts. A second resize then equals two resizes of the true grid by torch. torch
    ignores the record."""
    for kind in ("metaformer", "first:1", "last:1"):
        layer = Attention(kind, 4, 4, 3, torch.float64)
        once, twice = scratch / "once.pth", scratch / "twice.pth"
        path = save({TABLE: layer.relative_position_bias_table.data, INDEX: layer.relative_position_index})
        tap.run("lnn-interp-bias", "-q", "--grid", "6x5", path, "-o", once)
        for what in {"weights_only": True}, {"weights_only": False}, {"weights_only": True, "mmap": True}:
            t.eq(list(torch.load(once, **what)["model"]), [TABLE], f"{kind}: torch loads a file with a recorded layout, {what}")
        record = json.loads(torch._C.PyTorchFileReader(str(once)).get_record(".data/lnn"))
        t.eq(record, {TABLE: {"layout": kind, "grid": [6, 5], "heads": 3}}, f"{kind}: the record has layout, grid and heads")
        tap.run("lnn-interp-bias", "-q", "--grid", "9x8", once, "-o", twice)
        first = interpolated(true_grid(kind, layer.relative_position_bias_table, 4, 4), 6, 5, mode="bicubic", align_corners=False)
        got = true_grid(kind, load(twice)[TABLE], 9, 8)
        expected = interpolated(first, 9, 8, mode="bicubic", align_corners=False)
        t.ok(bool((got - expected).abs().max() < 1e-12), f"{kind}: two runs give the same as two resizes of the true grid")
        # A shard that was written by a job also records that it is finished.
        folder = scratch / f"set-{kind[:5]}"
        folder.mkdir()
        (folder / "pytorch_model.bin").write_bytes(once.read_bytes())
        (folder / "x.index.json").write_text(json.dumps({"weight_map": {TABLE: "pytorch_model.bin"}}))
        tap.run("lnn-ckpt-adapt", "-q", "-k", "model", "--shard", "1/1", folder / "x.index.json", "-o", folder / "out/")
        shard = folder / "out" / "pytorch_model.bin"
        for what in {"weights_only": True}, {"weights_only": False}, {"weights_only": True, "mmap": True}:
            t.eq(list(torch.load(shard, **what)), [TABLE], f"{kind}: torch loads a finished shard, {what}")
        lines = torch._C.PyTorchFileReader(str(shard)).get_record(".data/lnn").decode().split("\n")
        t.eq([json.loads(x) for x in lines], [record, {"shard": 1, "of": 1, "rules": []}],
             f"{kind}: a finished shard records the layout and the job")
        tap.run("lnn-ckpt-adapt", "-q", "--write-index", folder / "out")
        tap.run("lnn-interp-bias", "-q", "--grid", "9x8", folder / "out", "-o", scratch / "of-set.pth")
        t.ok(tap.same(torch.load(scratch / "of-set.pth")[TABLE], load(twice)[TABLE]), f"{kind}: a set records the layout")


layouts()
methods()
conversions()
reference_loaders()
several_tables()
cast()
report()
recorded()
t.done()
