"""Helpers for tests with real PyTorch: TAP on standard output, runs of our programs, scratch space.

    import tap
    t = tap.Tap()
    out = tap.run("lnn-ckpt-adapt", path, "-o", "-").stdout
    t.ok(out, "the output is not empty")
    t.done()

Each file is a program; `done` prints the plan and exits with 1 if a check failed. An exception is a failed check
with its traceback (use `with t.part("name"):`), or ends the file without a plan, which prove counts as a failure.
"""

import atexit
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import traceback

TOP = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = TOP / "tests" / "fixtures"
BUILD = pathlib.Path(os.environ.get("LNN_BUILD", TOP / "build"))

_scratch = None


def scratch():
    """A temporary folder for this test, removed at exit."""
    global _scratch
    if _scratch is None:
        _scratch = pathlib.Path(tempfile.mkdtemp(prefix="lnn-torch-"))
        atexit.register(shutil.rmtree, _scratch, ignore_errors=True)
    return _scratch


def run(program, *args, stdin=None, status=0, env=None):
    """Runs one of our programs; stdin is bytes or None. Raises unless it ends with `status` (None: any)."""
    done = subprocess.run(
        [str(BUILD / program), *map(str, args)],
        input=b"" if stdin is None else stdin,
        capture_output=True,
        env=None if env is None else {**os.environ, **env},
        timeout=300,
        check=False,
    )
    if status is not None and done.returncode != status:
        raise AssertionError(
            f"{program} {' '.join(map(str, args))}: status {done.returncode}, expected {status}\n"
            f"{done.stderr.decode(errors='replace')}"
        )
    return done


def driver(name):
    """The test driver tests/unit/drive_NAME.c, which `make check-torch` builds beside the programs."""
    return str(BUILD / "tests" / f"drive_{name}")


def gloo(rank, world, file):
    """Joins a group of processes on this machine. They meet in a new file, so that no port is needed."""
    import torch.distributed as dist

    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), GLOO_SOCKET_IFNAME="lo")
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)


def shell(script, status=0, **variables):
    """Runs a pipeline in bash with pipefail and our programs in PATH."""
    env = {**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}", **{k: str(v) for k, v in variables.items()}}
    done = subprocess.run(
        ["bash", "-c", "set -o pipefail; " + script],
        stdin=subprocess.DEVNULL, capture_output=True, env=env, cwd=scratch(), timeout=300, check=False,
    )
    if status is not None and done.returncode != status:
        raise AssertionError(f"{script}: status {done.returncode}, expected {status}\n{done.stderr.decode(errors='replace')}")
    return done


def same(a, b):
    """Equal dtype, shape and bits (NaN payloads and zero signs too); tensors of any layout."""
    import torch

    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.numel() == 0:
        return True
    return bits(a) == bits(b)


def leaves(value, path=""):
    """(path, tensor) of all tensors in dicts, lists and tuples, in order."""
    import torch

    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, (dict, list, tuple)):
        for k, v in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(v, f"{path}.{k}" if path else str(k))


def bits(tensor):
    """A tensor's elements in row-major order, as little-endian bytes."""
    import torch

    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if hasattr(flat, "untyped_storage"):
        storage = flat.untyped_storage()
    else:
        storage = flat.storage()._storage if hasattr(flat.storage(), "_storage") else flat.storage()._untyped()
    size = flat.element_size()
    start = flat.storage_offset() * size
    try:
        return bytes(flat.view(torch.uint8).numpy().tobytes())
    except (RuntimeError, TypeError):
        return bytes(storage)[start : start + flat.numel() * size]


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def ok(self, good, what):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {what}".replace("#", "\\#"), flush=True)
        return bool(good)

    def eq(self, got, expected, what):
        good = self.ok(got == expected, what)
        if not good:
            self.note(f"got      {got!r}\nexpected {expected!r}")
        return good

    def note(self, text):
        for line in str(text).splitlines():
            print(f"# {line}", flush=True)

    def skip(self, why):
        self.count += 1
        print(f"ok {self.count} # SKIP {why}", flush=True)

    @contextlib.contextmanager
    def part(self, what):
        """A block in which an exception is one failed check and does not end the file."""
        try:
            yield
        except Exception:
            self.ok(False, what)
            self.note(traceback.format_exc())

    def done(self):
        print(f"1..{self.count}", flush=True)
        sys.exit(1 if self.failed or not self.count else 0)


def skip_all(why):
    print(f"1..0 # SKIP {why}", flush=True)
    sys.exit(0)


def need_torch(*version):
    """Ends the file as skipped unless torch is at least of this version."""
    try:
        import torch
    except ImportError:
        skip_all("this Python has no torch")
    have = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if have < tuple(version):
        skip_all(f"torch {torch.__version__} is older than {'.'.join(map(str, version))}")
    return torch


def need(module):
    """Imports a module or ends the file as skipped."""
    try:
        return __import__(module)
    except ImportError:
        return skip_all(f"this Python has no {module}")
