"""Compares --dtype with torch's to(): fp8 types, and which tensors a regular expression chooses."""

import warnings

import tap

torch = tap.need_torch(2, 4)
warnings.simplefilter("ignore")

t = tap.Tap()
tmp = tap.scratch()


def adapt(*args, status=0):
    out = tmp / "out.pth"
    out.unlink(missing_ok=True)
    done = tap.run("lnn-ckpt-adapt", *args, "-o", out, status=status)
    return torch.load(out) if out.exists() else None, done.stderr.decode()


every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
special = torch.tensor([float("inf"), -float("inf"), float("nan"), 448.0, 464.0, 480.0, -1e30, 57344.0, 61440.0, 1e-9, -0.0])
state = {"w": torch.linspace(-500, 500, 10001), "small": torch.linspace(-0.02, 0.02, 4099), "every": every, "special": special}
torch.save(state, tmp / "in.pth")

for name in ("float8_e4m3fn", "float8_e5m2"):
    dtype = getattr(torch, name)
    got, err = adapt("--dtype", name, tmp / "in.pth")
    for k, v in state.items():
        nan = v.isnan()
        same = (got[k].view(torch.uint8) == v.to(dtype).view(torch.uint8)) | nan
        if name == "float8_e4m3fn":
            # A number that is too large becomes the largest one of the type. Versions of torch differ here.
            over = ~nan & (v.float().abs() > 464)
            same |= over & (got[k].float() == v.float().sign() * 448)
        t.ok(bool(same.all()) and got[k].dtype == dtype and bool((got[k].float().isnan() == nan).all()), f"{name}: {k}")
    t.ok("too large for the new dtype" in err or name == "float8_e5m2", f"{name}: a warning counts the numbers that are too large")

state = {"a.norm.weight": torch.ones(2), "a.fc.weight": torch.ones(2), "n": torch.ones(2, dtype=torch.int64), "b": torch.ones(2).bfloat16()}
torch.save(state, tmp / "in.pth")
got, _ = adapt("--dtype", "bf16", "--dtype", "norm=fp32", tmp / "in.pth")
t.eq([x.dtype for x in got.values()], [torch.float32, torch.bfloat16, torch.int64, torch.bfloat16], "the last rule that matches decides")
got, _ = adapt("--dtype", "fp16", "--dtype", "^b$=keep", "--dtype", r"a\.fc=half", tmp / "in.pth")
t.eq([x.dtype for x in got.values()], [torch.float16, torch.float16, torch.int64, torch.bfloat16], "keep")
got, err = adapt("--dtype", "none=fp64", tmp / "in.pth")
t.ok(all(tap.same(got[k], v) for k, v in state.items()) and "--dtype none=fp64: applies to no tensor" in err,
     "a rule that matches no tensor changes nothing and gives a warning")
_, err = adapt("--dtype", "(=fp64", tmp / "in.pth", status=2)
t.ok("--dtype (=fp64: at byte" in err, "a bad expression is refused with its position")

t.done()
