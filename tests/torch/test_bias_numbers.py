"""Compares resampling, layouts and casts with torch, number by number, through tests/unit/drive_resample.c.

The reference of a resampled number is torch's float64 result. Bicubic must equal it bit for bit where torch computes as
lib/position/resample.c describes. Torch's result depends on the processor and on the number of channels. In all other cases
a difference of a few units of float64's precision, at the magnitude of the input, is therefore allowed. A result rounded to
float32, float16 or bfloat16 is never further from torch's float64 result than half a unit in the last place of that type.
"""

import subprocess

import tap

torch = tap.need_torch(1, 13)
F = torch.nn.functional
t = tap.Tap()

METHODS = {
    "bicubic": dict(mode="bicubic", align_corners=False),
    "bicubic-corners": dict(mode="bicubic", align_corners=True),
    "bicubic-antialias": dict(mode="bicubic", align_corners=False, antialias=True),
    "bilinear": dict(mode="bilinear", align_corners=False),
    "bilinear-corners": dict(mode="bilinear", align_corners=True),
}
# h, w, H, W in cells.
SIZES = [
    (1, 1, 1, 1), (1, 1, 4, 3), (2, 1, 1, 5), (1, 2, 3, 3), (2, 2, 5, 4), (3, 3, 3, 3), (3, 5, 9, 7), (4, 4, 1, 1),
    (5, 5, 7, 7), (7, 7, 5, 5), (13, 13, 27, 27), (27, 27, 47, 47), (27, 27, 13, 13), (27, 13, 47, 21), (13, 27, 13, 9),
    (47, 47, 27, 27), (31, 5, 3, 29), (63, 63, 5, 11), (9, 9, 17, 9), (6, 10, 6, 3), (55, 23, 23, 55), (2, 64, 33, 2),
]

EPS = torch.finfo(torch.float64).eps
FUSED = torch.__version__.startswith("2.13.") and torch.backends.cpu.get_cpu_capability().startswith("AVX")


DRIVER = tap.driver("resample")


def drive(*args, stdin):
    done = subprocess.run([str(DRIVER), *map(str, args)], input=stdin, capture_output=True, timeout=120, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{args}: {done.stderr.decode()}")
    return done


def floats(data, dtype, *shape):
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


def by_us(table, size, method):
    h, w, heads = table.shape
    out = drive("resample", method, h, w, heads, *size, stdin=tap.bits(table)).stdout
    return floats(out, torch.float64, *size, heads)


def by_torch(table, size, method):
    cells = table.permute(2, 0, 1).unsqueeze(0)
    return F.interpolate(cells, size=size, **METHODS[method])[0].permute(1, 2, 0)


def half_steps(dtype, x):
    """Half a unit in the last place of dtype at x, float64."""
    info = torch.finfo(dtype)
    exponent = torch.floor(torch.log2(x.abs().clamp(min=info.tiny)))
    return torch.exp2(exponent) * info.eps / 2


def rounded(value, dtype):
    """float64 rounded once by our cast, as torch goes through float32. The casts are tested below."""
    data = drive("cast", "float64", str(dtype)[6:], stdin=tap.bits(value)).stdout
    return floats(data, dtype, *value.shape).double()


def check_resample(method):
    kinds = {
        "noise": lambda h, w, n: torch.randn(h, w, n, dtype=torch.float64),
        "smooth": lambda h, w, n: torch.sin(torch.arange(h * w * n, dtype=torch.float64).reshape(h, w, n) / 7) * 0.02,
        "wide range": lambda h, w, n: torch.randn(h, w, n, dtype=torch.float64)
        * torch.exp2(torch.randint(-20, 10, (h, w, n)).double()),
    }
    exact = FUSED and method in ("bicubic", "bicubic-corners")
    # A constant head stays exactly constant.
    allowed = 16 * EPS
    for kind, make in kinds.items():
        worst, differ, late, cells = 0.0, 0, {torch.float32: 0, torch.float16: 0, torch.bfloat16: 0}, 0
        for number, (h, w, H, W) in enumerate(SIZES):
            table = make(h, w, 1 + number % 5 * 3)
            expected, got = by_torch(table, (H, W), method), by_us(table, (H, W), method)
            # The rounding error of a mean is measured relative to its largest input.
            size = table.abs().amax((0, 1))
            worst = max(worst, ((got - expected).abs() / size).max().item())
            differ += (got != expected).sum().item() if h * w > 1 else 0
            cells += expected.numel()
            for dtype in late:
                # Next to a tie the two results may be rounded to different sides.
                slack = 0 if exact and h * w > 1 else allowed * size
                error = (rounded(got, dtype) - expected).abs()
                late[dtype] += (error > half_steps(dtype, expected) + slack).sum().item()
        t.ok(worst < allowed,
             f"{method}, {kind}: {cells} float64 numbers differ from torch's by at most {worst / EPS:.2f} eps of the largest")
        if exact:
            t.eq(differ, 0, f"{method}, {kind}: equal to torch's float64 numbers, bit for bit")
        for dtype, count in late.items():
            t.eq(count, 0, f"{method}, {kind}: no number in {dtype} is off by more than its rounding")


def check_float32_equal(method):
    """Compares float32 tables, which are computed in double and rounded once, with torch's float64 result rounded to float32."""
    differ, cells = 0, 0
    for number, (h, w, H, W) in enumerate(SIZES):
        table = (torch.randn(h, w, 1 + number % 4) * 0.02).float().double()
        expected, got = by_torch(table, (H, W), method).float(), by_us(table, (H, W), method).float()
        differ += (got != expected).sum().item()
        cells += expected.numel()
    # The last places of float64 decide ties. Weights such as halves and quarters make ties frequent.
    allowed = 0 if FUSED and method in ("bicubic", "bicubic-corners") else cells // 1000
    t.ok(differ <= allowed, f"{method}: {differ} of {cells} float32 numbers differ from torch's")


def check_constants(method):
    value = torch.full((13, 7, 3), 0.1, dtype=torch.float64)
    t.ok(bool((by_us(value, (23, 31), method) == 0.1).all()), f"{method}: a constant table stays constant")
    table = torch.randn(13, 7, 3, dtype=torch.float64)
    t.ok(torch.equal(by_us(table, (13, 7), method), table), f"{method}: a table of the right size is not changed")


# ---- layouts, inferred from index buffers that are built as the models build them ----


def spatial_index(h, w):
    ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    at = torch.stack([ys.flatten(), xs.flatten()])
    delta = at[:, :, None] - at[:, None, :]
    return (delta[0] + h - 1) * (2 * w - 1) + delta[1] + w - 1


def padded(index, tokens, value):
    return F.pad(index, (tokens, 0, tokens, 0), value=value)


def check_layout(index, rows, expected, what):
    got = drive("layout", len(index), rows, stdin=tap.bits(index)).stdout.decode().strip()
    t.eq(got, expected, what)


def check_layouts():
    for h, w in [(2, 2), (7, 7), (3, 5), (5, 3), (1, 6), (12, 9)]:
        index, cells, grid = spatial_index(h, w), (2 * h - 1) * (2 * w - 1), f"{h}x{w}"
        check_layout(index, cells, f"grid {grid}", f"Swin, {grid}")
        for tokens in 1, 3:
            check_layout(padded(index, tokens, 0), cells + 1, f"metaformer {grid}", f"MetaFormer, {grid}, {tokens} tokens")
            check_layout(padded(index, tokens, cells), cells + 1, f"last:1 {grid}", f"linnaeus, {grid}, {tokens} tokens")
            check_layout(padded(index + 1, tokens, 0), cells + 1, f"first:1 {grid}", f"class first, {grid}, {tokens} tokens")
        beit = padded(index, 1, 0)
        beit[0, :], beit[:, 0], beit[0, 0] = cells, cells + 1, cells + 2
        check_layout(beit, cells + 3, f"last:3 {grid}", f"BEiT, {grid}")
        wrong = padded(index, 1, cells)
        wrong[-1, -1] += 1
        check_layout(wrong, cells + 1, "none", f"{grid} with one value changed")


# ---- whole tables ----


def by_table(rows, source, grid, target, to_grid, method="bicubic"):
    heads = rows.shape[1]
    out = drive("table", source, "%dx%d" % grid, target, "%dx%d" % to_grid, heads, method, stdin=tap.bits(rows)).stdout
    return floats(out, torch.float64, -1, heads)


def loader(rows, old, new):
    """The loaders of MetaFormer and linnaeus: row 0 is kept, and the rows after it are interpolated as an image."""
    first, rest = rows[:1], rows[1:]
    side = 2 * old - 1
    picture = rest.T.reshape(1, -1, side, side)
    picture = F.interpolate(picture, size=(2 * new - 1, 2 * new - 1), mode="bicubic")
    return torch.cat([first, picture.reshape(rows.shape[1], -1).T])


def close(a, b):
    return a.shape == b.shape and bool(((a - b).abs() <= 2**-48 * b.abs().max()).all())


def check_tables():
    for old, new in [(14, 24), (7, 12), (7, 4), (2, 9)]:
        rows = torch.randn((2 * old - 1) ** 2 + 1, 6, dtype=torch.float64)
        got = by_table(rows, "first", (old, old), "first", (new, new))
        t.ok(close(got, loader(rows, old, new)), f"layout first gives the numbers of the loaders, {old} to {new}")
    h, w, H, W = 5, 3, 8, 7
    cells, to_cells = (2 * h - 1) * (2 * w - 1), (2 * H - 1) * (2 * W - 1)
    rows = torch.randn(cells + 1, 4, dtype=torch.float64)
    grid = rows[:cells].reshape(2 * h - 1, 2 * w - 1, 4)
    expected = by_torch(grid, (2 * H - 1, 2 * W - 1), "bicubic").reshape(to_cells, 4)
    # The model looks up the bias of two tokens through its index. The result must be the interpolated grid, or the class row.
    index = spatial_index(H, W)
    for source, class_row in (("metaformer", rows[0]), ("last", rows[cells])):
        for target in "last", "first", "metaformer":
            got = by_table(rows, source, (h, w), target, (H, W))
            shift = 1 if target == "first" else 0
            t.ok(close(got[index + shift], expected[index]), f"{source} to {target}: every pair of tokens finds its value")
            at = 0 if target == "first" else to_cells
            t.ok(torch.equal(got[at], class_row), f"{source} to {target}: the class row is kept")
    same = by_table(rows, "metaformer", (h, w), "last", (h, w))
    t.ok(torch.equal(same, torch.cat([rows[:cells], rows[:1]])), "metaformer to last without a resize only moves rows")


# ---- casts ----


def edge_values():
    """float32 numbers on, between and next to all numbers of float16 and bfloat16, and random ones."""
    bits = torch.arange(0, 2**16, dtype=torch.int32).to(torch.int16)
    near = torch.cat([bits.view(torch.float16).float(), bits.view(torch.bfloat16).float()])
    near = torch.cat([near, torch.nextafter(near, torch.tensor(float("inf"))), torch.nextafter(near, torch.tensor(0.0))])
    wild = torch.randint(-(2**31), 2**31 - 1, (400_000,)).to(torch.int32).view(torch.float32)
    usual = torch.randn(400_000) * torch.exp2(torch.randint(-18, 18, (400_000,)).float())
    middle = (near[:-1].double() + near[1:].double()).div(2).float()
    return torch.cat([near, wild, usual, middle])


def check_cast(source, target, value):
    """Compares our cast of value with torch's. A NaN may have any bits."""
    done = drive("cast", str(source)[6:], str(target)[6:], stdin=tap.bits(value))
    expected = value.to(target)
    got = floats(done.stdout, torch.uint8, -1).view(target)
    wide_got, wide_expected = got.float(), expected.float()
    same = (wide_got == wide_expected) & (wide_got.signbit() == wide_expected.signbit())
    same |= wide_got.isnan() & wide_expected.isnan()
    lost = value.isfinite() & ~wide_expected.isfinite()
    if target == getattr(torch, "float8_e8m0fnu", None):
        # torch rounds all numbers between 2**-127 and 2**-126 up. We round to nearest, so the lower half goes down.
        same |= (value.float().abs() > 2.0**-127) & (value.float().abs() <= 1.5 * 2.0**-127) & (wide_got == 2.0**-127)
        lost = value.isfinite() & (wide_expected.isnan() | (value == 0) | value.signbit())
    if target == getattr(torch, "float8_e4m3fn", None):
        # torch before 2.13 turned numbers that are too large into NaN.
        lost = value.abs() > 464
        same |= lost & wide_expected.isnan() & (wide_got == torch.where(value < 0, -448.0, 448.0))
    if not t.ok(bool(same.all()), f"{source} to {target}: {len(value)} numbers equal torch's"):
        bad = (~same).nonzero().flatten()[:5]
        t.note("\n".join(f"{value[i].item()!r}: got {wide_got[i].item()!r}, expected {wide_expected[i].item()!r}" for i in bad))
    t.eq(done.stderr.decode().strip(), f"lost {lost.sum().item()}", f"{source} to {target}: the number of lost values is right")


def check_casts():
    value = edge_values()
    small = [torch.float16, torch.bfloat16]
    for name in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu"):
        dtype = getattr(torch, f"float8_{name}", None)
        if dtype is None:
            t.skip(f"this torch has no float8_{name}")
            continue
        check_cast(torch.float32, dtype, value)
        every = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(dtype)
        check_up(dtype, every)
    for dtype in small:
        check_cast(torch.float32, dtype, value)
        every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)
        check_up(dtype, every)
    check_cast(torch.bfloat16, torch.float16, value.to(torch.bfloat16))
    check_cast(torch.float16, torch.bfloat16, value.to(torch.float16))
    wide = torch.cat([value.double(), torch.randn(200_000).double() * 1e39, torch.randn(200_000, dtype=torch.float64) * 1e-40])
    check_cast(torch.float64, torch.float32, wide)
    check_cast(torch.float32, torch.float64, value)
    check_numpy_half(wide)


def check_up(dtype, every):
    for wide in torch.float32, torch.float64:
        got = floats(drive("cast", str(dtype)[6:], str(wide)[6:], stdin=tap.bits(every)).stdout, wide, -1)
        expected = every.float().to(wide)
        same = ((got == expected) & (got.signbit() == expected.signbit())) | (got.isnan() & expected.isnan())
        t.ok(bool(same.all()), f"{dtype} to {wide}: every bit pattern is converted as by torch")


def check_numpy_half(wide):
    """numpy rounds float64 to float16 once, where torch goes through float32."""
    numpy = tap.need("numpy")
    near = torch.arange(0, 0x7C00, dtype=torch.int32).to(torch.int16).view(torch.float16).double()
    middle = (near[:-1] + near[1:]) / 2
    wide = torch.cat([wide, middle, middle * (1 + 2.0**-50), middle * (1 - 2.0**-50)])
    got = floats(drive("cast", "float64", "float16", stdin=tap.bits(wide)).stdout, torch.float16, -1)
    with numpy.errstate(over="ignore"):
        expected = torch.from_numpy(wide.numpy().astype(numpy.float16))
    same = (got.view(torch.int16) == expected.view(torch.int16)) | (got.isnan() & expected.isnan())
    t.ok(bool(same.all()), f"float64 to float16: {len(wide)} numbers equal numpy's")


torch.manual_seed(20)
for name in METHODS:
    with t.part(name):
        check_resample(name)
        check_float32_equal(name)
        check_constants(name)
for part in check_layouts, check_tables, check_casts:
    with t.part(part.__name__):
        part()
t.done()
