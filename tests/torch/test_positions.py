"""Position tables of every kind. Their numbers are compared with independent formulas for each loader, computed by torch and scipy
in float64, and with timm's own functions. End to end, a timm model for one image size is loaded at another size, and its logits are
compared with those after timm's own loader."""

import numpy as np
import scipy.interpolate
import scipy.ndimage
import tap

torch = tap.need_torch(2, 0)
F = torch.nn.functional
t = tap.Tap()
scratch = tap.scratch()


def half_ulp(x):
    info = torch.finfo(x.dtype)
    return torch.exp2(torch.floor(torch.log2(x.double().abs().clamp(min=info.tiny)))) * info.eps / 2


def exact(got, expected, what):
    """got must be expected, which is float64, rounded once to the dtype of got."""
    if not t.eq(tuple(got.shape), tuple(expected.shape), f"{what}: shape"):
        return
    wrong = float(((got.double() - expected).abs() - half_ulp(got) * (1 + 1e-6) - 1e-13).max())
    t.ok(wrong <= 0, f"{what}: rounded once" + ("" if wrong <= 0 else f" (off by {wrong})"))


def near(got, expected, what):
    """got must agree with the float32 result of a loader."""
    if not t.eq(tuple(got.shape), tuple(expected.shape), f"{what}: shape"):
        return
    off = float((got.double() - expected.double()).abs().max() / expected.abs().max())
    t.ok(off <= 1e-5, f"{what}: agrees with the loader, to {off:.1e} of the table's maximum")


def resized(state, *options):
    torch.save(state, scratch / "in.pth")
    tap.run("lnn-interp-bias", "-q", *options, scratch / "in.pth", "-o", scratch / "out.pth")
    return torch.load(scratch / "out.pth")


# ---- formulas


def planes(grid):
    """[h, w, C] as float64 for torch."""
    return grid.double().permute(2, 0, 1)[None]


def torch_way(grid, size, **how):
    return F.interpolate(planes(grid), size=size, **how)[0].permute(1, 2, 0)


def dinov2_way(grid, size):
    scale = [(n + 0.1) / m for n, m in zip(size, grid.shape)]
    return F.interpolate(planes(grid), scale_factor=scale, mode="bicubic")[0].permute(1, 2, 0)


def jax_way(grid, size):
    zoom = (size[0] / grid.shape[0], size[1] / grid.shape[1], 1)
    return torch.from_numpy(scipy.ndimage.zoom(grid.double().numpy(), zoom, order=1))


def geometric(source, target):
    """Coordinates of source cells, and of target cells."""
    left, right, half = 1.01, 1.5, source // 2
    while right - left > 1e-6:
        q = (left + right) / 2.0
        if (1.0 - q ** half) / (1.0 - q) > target // 2:
            right = q
        else:
            left = q
    side = np.cumsum([q ** k for k in range(half)])
    return np.concatenate([-side[::-1], [0], side]), np.arange(-(target // 2), target // 2 + 1, dtype=np.float64)


def geometric_way(grid, size, cubic):
    (y, to_y), (x, to_x) = geometric(grid.shape[0], size[0]), geometric(grid.shape[1], size[1])
    to_y, to_x = to_y.clip(y[0], y[-1]), to_x.clip(x[0], x[-1])
    out = np.empty((*size, grid.shape[2]))
    for head in range(grid.shape[2]):
        values = grid[:, :, head].double().numpy()
        if cubic:
            out[:, :, head] = scipy.interpolate.RectBivariateSpline(y, x, values, kx=3, ky=3, s=0)(to_y, to_x)
        else:
            line = scipy.interpolate.RegularGridInterpolator((y, x), values)
            out[:, :, head] = line(np.stack(np.meshgrid(to_y, to_x, indexing="ij"), -1))
    return torch.from_numpy(out)


B0 = dict(mode="bicubic", align_corners=False)
EMBED = {
    "deit": lambda g, n: torch_way(g, n, **B0),
    "mae": lambda g, n: torch_way(g, n, **B0),
    "beit": lambda g, n: torch_way(g, n, **B0),
    "dinov2": dinov2_way,
    "dinov2_reg": lambda g, n: torch_way(g, n, antialias=True, **B0),
    "torchvision": lambda g, n: torch_way(g, n, mode="bicubic", align_corners=True),
    "vit_jax": jax_way,
    "open_clip": lambda g, n: torch_way(g, n, antialias=True, **B0),
    "timm": lambda g, n: torch_way(g, n, antialias=True, **B0),
}
BIAS = {
    "swin": (0, lambda g, n: torch_way(g, n, **B0)),
    "beit": (3, lambda g, n: geometric_way(g, n, True)),
    "timm": (3, lambda g, n: geometric_way(g, n, False)),
}


def check_embed(like, way):
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        for source, size in ((7, (12, 12)), (9, (4, 6)), (5, (5, 8))):
            table = torch.randn(1 + source * source, 6, dtype=torch.float64).to(dtype)
            state = {"cls_token": torch.zeros(1), "pos_embed": table if like == "open_clip" else table[None],
                     "patch_embed.proj.weight": torch.zeros(6, 3, 2, 2)}
            out = resized(state, "--like", like, "--grid", "%dx%d" % size)["pos_embed"].reshape(-1, 6)
            what = f"--like {like}, embed, {source} to {size}, {dtype}"
            t.ok(tap.same(out[:1], table[:1]), f"{what}: the class row is kept")
            exact(out[1:], way(table[1:].reshape(source, source, 6), size).reshape(-1, 6), what)


def check_bias(like, extra, way):
    for dtype in (torch.float32, torch.float16, torch.float64):
        for source, size in ((7, (12, 12)), (13, (5, 9)), (4, (4, 7))):
            cells, to = 2 * source - 1, (2 * size[0] - 1, 2 * size[1] - 1)
            table = torch.randn(cells * cells + extra, 3, dtype=torch.float64).to(dtype)
            out = resized({"a.relative_position_bias_table": table}, "--like", like, "--grid", "%dx%d" % size)
            out = out["a.relative_position_bias_table"]
            what = f"--like {like}, bias, {source} to {size}, {dtype}"
            n = cells * cells
            t.ok(tap.same(out[to[0] * to[1]:], table[n:]), f"{what}: the extra rows are kept")
            exact(out[:to[0] * to[1]], way(table[:n].reshape(cells, cells, 3), to).reshape(-1, 3), what)


torch.manual_seed(1)
for name, way in EMBED.items():
    with t.part(f"embed, {name}"):
        check_embed(name, way)
for name, (extra, way) in BIAS.items():
    with t.part(f"bias, {name}"):
        check_bias(name, extra, way)

with t.part("four dimensions, offsets, axis, bias3"):
    hwc, chw = torch.randn(1, 8, 6, 4), torch.randn(1, 4, 8, 6)
    expected = torch_way(hwc[0], (5, 7), antialias=True, **B0)
    patch = {"patch_embed.proj.weight": torch.zeros(4, 3, 2, 2)}
    exact(resized({"pos_embed": hwc, **patch}, "--grid", "5x7")["pos_embed"][0], expected, "[1, h, w, C]")
    expected = torch_way(chw[0].permute(1, 2, 0), (5, 7), antialias=True, **B0).permute(2, 0, 1)
    exact(resized({"pos_embed": chw, **patch}, "--img-size", "10x14")["pos_embed"][0], expected, "[1, C, h, w]")
    offsets = torch.randn(3, 49)
    expected = torch_way(offsets.reshape(3, 7, 7).permute(1, 2, 0), (4, 4), antialias=True, **B0).permute(2, 0, 1).reshape(3, 16)
    exact(resized({"attention_biases": offsets}, "--grid", "4x4")["attention_biases"], expected, "offsets")
    axis = torch.randn(27, 5)
    expected = F.interpolate(axis.double().T[None], size=39, mode="linear")[0].T
    exact(resized({"attn.rel_pos_h": axis}, "--grid", "20x9")["attn.rel_pos_h"], expected, "axis")
    table = torch.randn(3, 13, 9)
    expected = torch_way(table.permute(1, 2, 0), (9, 21), **B0).permute(2, 0, 1)
    name = "attn.relative_position_bias_table"
    exact(resized({name: table}, "--grid", "5x11")[name], expected, "bias3")
    expected = geometric_way(table.permute(1, 2, 0), (9, 21), False).permute(2, 0, 1)
    exact(resized({name: table}, "--grid", "5x11", "--like", "timm")[name], expected, "bias3 as timm")
    exact(resized({name: table}, "--grid", "5x11", "--method", "geometric-linear")[name], expected, "bias3, --method")

# ---- timm

import with_timm

timm = with_timm.timm()
from timm.layers import pos_embed, pos_embed_rel
from timm.models import beit, maxxvit, swin_transformer, swin_transformer_v2, tiny_vit, vision_transformer

with t.part("timm's functions"):
    table = torch.randn(1, 1 + 14 * 14, 24)
    out = resized({"cls_token": torch.zeros(1), "pos_embed": table, "patch_embed.proj.weight": torch.zeros(24, 3, 2, 2)},
                  "--like", "timm", "--grid", "20x9")["pos_embed"]
    near(out, pos_embed.resample_abs_pos_embed(table, (20, 9), num_prefix_tokens=1), "embeddings")
    for source, size in ((7, (12, 12)), (14, (7, 20)), (14, (32, 32)), (32, (14, 14))):
        cells, to = 2 * source - 1, (2 * size[0] - 1, 2 * size[1] - 1)
        table = torch.randn(cells * cells + 3, 4)
        expected = pos_embed_rel.resize_rel_pos_bias_table(table, size, (to[0] * to[1] + 3, 4))
        out = resized({"a.relative_position_bias_table": table}, "--like", "timm", "--grid", "%dx%d" % size)
        near(out["a.relative_position_bias_table"], expected, f"bias, {source} to {size}")


def tiny_beit(size, shared):
    return beit.Beit(img_size=size, patch_size=8, num_classes=7, embed_dim=32, depth=2, num_heads=2, init_values=0.1,
                     use_abs_pos_emb=False, use_rel_pos_bias=not shared, use_shared_rel_pos_bias=shared)


def tiny_maxvit(size, kind):
    cfg = maxxvit.MaxxVitCfg(
        embed_dim=(32, 32, 32, 32), depths=(1, 1, 1, 1), stem_width=16, block_type=("M",) * 4,
        transformer_cfg=maxxvit.MaxxVitTransformerCfg(dim_head=16, rel_pos_type=kind, window_size=(size // 32,) * 2,
                                                      grid_size=(size // 32,) * 2))
    return maxxvit.MaxxVit(cfg, img_size=size, num_classes=7)


def tiny_vit_of(size):
    return tiny_vit.TinyVit(num_classes=7, embed_dims=(16, 32, 32, 64), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4),
                            window_sizes=(size // 32,) * 4)


def filtered(module):
    return lambda state, model: module.checkpoint_filter_fn(state, model)


def to_blocks(state, model):
    """Copies the table that all blocks share to each block, as BEiT's own loader does before it resizes."""
    table = state.pop("rel_pos_bias.relative_position_bias_table")
    state.update({f"blocks.{i}.attn.relative_position_bias_table": table.clone() for i in range(2)})
    return beit.checkpoint_filter_fn(state, model)


VIT = dict(patch_size=16, num_classes=7, embed_dim=32, depth=2, num_heads=2)
SWIN = dict(patch_size=4, num_classes=7, embed_dim=16, depths=(2, 2), num_heads=(1, 2))
MODELS = {
    # name: (model of a size, old size, new size, filter of timm's loader)
    "vit": (lambda n: vision_transformer.VisionTransformer(img_size=n, **VIT), 112, 160, filtered(vision_transformer)),
    "vit, no class position": (lambda n: vision_transformer.VisionTransformer(img_size=n, no_embed_class=True, **VIT), 160, 96,
                               filtered(vision_transformer)),
    "deit": (lambda n: timm.models.deit.VisionTransformerDistilled(img_size=n, **VIT), 96, 128, filtered(vision_transformer)),
    "beit": (lambda n: tiny_beit(n, False), 64, 96, filtered(beit)),
    "beit, shared": (lambda n: tiny_beit(n, True), 64, 96, filtered(beit)),
    "beit, shared to blocks": (lambda n: tiny_beit(n, True), 64, 96, to_blocks, lambda n: tiny_beit(n, False)),
    "swin": (lambda n: swin_transformer.SwinTransformer(img_size=n, window_size=n // 16, **SWIN), 112, 192,
             filtered(swin_transformer)),
    "swinv2": (lambda n: swin_transformer_v2.SwinTransformerV2(img_size=n, window_size=n // 16, pretrained_window_sizes=(0, 0), **SWIN),
               112, 192, filtered(swin_transformer_v2)),
    "maxvit": (lambda n: tiny_maxvit(n, "bias"), 128, 192, filtered(maxxvit)),
    "maxvit of tf": (lambda n: tiny_maxvit(n, "bias_tf"), 128, 192, filtered(maxxvit)),
    "tinyvit": (tiny_vit_of, 128, 192, filtered(tiny_vit)),
}


def check_model(name, make, now, then, loader, make_new=None):
    torch.manual_seed(3)
    make_new = make_new or make
    old, new, own = make(now).eval(), make_new(then).eval(), make_new(then).eval()
    tables = ("pos_embed", "_table", "attention_biases", "_token")
    state = {k: torch.randn_like(v) if any(part in k for part in tables) else
             v + 0.1 * torch.randn_like(v) if v.is_floating_point() and v.dim() > 1 else v for k, v in old.state_dict().items()}
    torch.save(state, scratch / "old.pth")
    torch.save(new.state_dict(), scratch / "new.pth")
    done = tap.run("lnn-ckpt-adapt", "-m", scratch / "new.pth", "--strict", "--interpolate", "--like", "timm",
                   scratch / "old.pth", "-o", scratch / "out.pth")
    new.load_state_dict(torch.load(scratch / "out.pth"), strict=True)
    own.load_state_dict(loader({k: v.clone() for k, v in state.items()}, own), strict=True)
    image = torch.randn(2, 3, then, then)
    with torch.no_grad():
        ours, theirs = new(image), own(image)
    off = float((ours - theirs).abs().max())
    t.ok(off <= 1e-4 and float(theirs.std()) > 1e-3, f"{name}: the logits agree with those after timm's loader, to {off:.1e}")
    torch.save({"epoch": 1, "model": state}, scratch / "run.pth")
    tap.run("lnn-interp-bias", "-m", scratch / "new.pth", "--like", "timm", scratch / "run.pth", "-o", scratch / "resized.pth")
    adapted, resized = torch.load(scratch / "out.pth"), torch.load(scratch / "resized.pth")
    t.ok(resized["epoch"] == 1 and set(resized["model"]) == set(adapted) and
         all(tap.same(resized["model"][k], v) for k, v in adapted.items()),
         f"{name}: lnn-interp-bias writes the same tables, and the other values")
    return done


for name, args in MODELS.items():
    with t.part(f"end to end, {name}"):
        check_model(name, *args)

t.done()
