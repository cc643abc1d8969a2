"""Bytes that a failing program has written to a pipe never load in PyTorch or safetensors. Pipelines through standard input and
output give the same result as PyTorch with the same edits."""

import io
import os
import random
import signal
import subprocess
import time
from collections import OrderedDict

import tap

torch = tap.need_torch(1, 13)
t = tap.Tap()
scratch = tap.scratch()
try:
    from safetensors.torch import load as load_safetensors, save as save_safetensors
except ImportError:
    load_safetensors = save_safetensors = None


def loads(data, to):
    try:
        if to == "torch":
            torch.load(io.BytesIO(data), map_location="cpu")
        else:
            load_safetensors(data)
        return True
    except Exception:
        return False


def inputs():
    torch.manual_seed(3)
    state = OrderedDict((f"stage_3.{i}.w", torch.randn(60, 70)) for i in range(8))
    state["stage_3.attn.relative_position_bias_table"] = torch.randn(50, 3)
    for name, options in (("zip", {}), ("legacy", {"_use_new_zipfile_serialization": False})):
        file = io.BytesIO()
        torch.save({"model": state, "epoch": 3}, file, **options)
        yield name, file.getvalue()
    if save_safetensors is not None:
        yield "safetensors", save_safetensors(state)


def cut():
    r = random.Random(7)
    outputs = ["torch"] + (["safetensors"] if load_safetensors is not None else [])
    for name, data in inputs():
        n = len(data)
        places = {1, 8, 64, 200, n // 2, n - 4096, n - 200, n - 60, n - 23, n - 22, n - 8, n - 1} | {r.randrange(n) for _ in range(20)}
        for program, options in (("lnn-ckpt-adapt", ()), ("lnn-ckpt-adapt", ("--dtype", "bfloat16")),
                                 ("lnn-interp-bias", ("--img-size", "96", "--layout", "first"))):
            for to in outputs:
                whole = tap.run(program, "-q", *options, "--to", to, stdin=data).stdout
                t.ok(loads(whole, to), f"{program} {' '.join(options)} from {name} to {to}: output of the whole input loads")
                bad, statuses, most = [], set(), 0
                for at in sorted(p for p in places if 0 < p < n):
                    done = tap.run(program, "-q", *options, "--to", to, stdin=data[:at], status=None)
                    statuses.add(done.returncode)
                    most = max(most, len(done.stdout))
                    if loads(done.stdout, to):
                        bad.append(at)
                t.eq(statuses, {2}, f"{program} {' '.join(options)} from {name} to {to}: input that is cut off gives status 2")
                t.eq(bad, [], f"output of input that is cut off does not load (at most {most} of {len(whole)} bytes were written)")


def killed():
    """A signal arrives while the end of the input has not been seen: the output so far does not load."""
    for name, data in inputs():
        for to in ("torch", "safetensors") if load_safetensors is not None else ("torch",):
            bad = []
            for at in (len(data) // 3, len(data) - 30, len(data)):
                for number in (signal.SIGTERM, signal.SIGKILL):
                    with open(scratch / "out", "wb") as out:
                        one = subprocess.Popen([tap.BUILD / "lnn-ckpt-adapt", "-q", "--to", to], stdin=subprocess.PIPE, stdout=out)
                        one.stdin.write(data[:at])
                        one.stdin.flush()
                        time.sleep(0.05)
                        one.send_signal(number)
                        status = one.wait()
                        one.stdin.close()
                    if status != -number or loads((scratch / "out").read_bytes(), to):
                        bad.append((at, number, status))
            t.eq(bad, [], f"output of a program that was killed does not load, {name} to {to}")


def failing():
    """Each single read and write fails in one run."""
    if os.environ.get("LNN_SAN"):
        t.skip("a preloaded library does not work with sanitizers")
        return
    subprocess.run([os.environ.get("CC") or "cc", "-O1", "-shared", "-fPIC", "-o", scratch / "shim.so",
                    tap.TOP / "tests/faults/shim.c", "-ldl"], check=True)
    failures = 0
    for name, data in inputs():
        (scratch / "in").write_bytes(data)
        for to in ("torch", "safetensors") if load_safetensors is not None else ("torch",):
            for call in "read", "pread", "write", "copy_file_range", "sendfile", "splice":
                bad = []
                for way in "file", "pipe":
                    for k in range(1, 10000):
                        (scratch / "mark").unlink(missing_ok=True)
                        env = {**os.environ, "LD_PRELOAD": str(scratch / "shim.so"), "LNN_FAULT": f"{call}:{k}:EIO",
                               "LNN_FAULT_MARK": str(scratch / "mark")}
                        command = [tap.BUILD / "lnn-ckpt-adapt", "-q", "--to", to] + [scratch / "in"] * (way == "file")
                        with open(scratch / "out", "wb") as out:
                            done = subprocess.run(command, input=data if way == "pipe" else b"", stdout=out, env=env, check=False,
                                                  stderr=subprocess.PIPE)
                        if not (scratch / "mark").exists():
                            break
                        failures += done.returncode == 2
                        # Some calls have a substitute, so their failure does not matter.
                        if loads((scratch / "out").read_bytes(), to) != (done.returncode == 0):
                            bad.append((way, k, done.returncode, done.stderr))
                t.eq(bad, [], f"{call} fails, {name} to {to}: output loads if and only if the status is 0")
    t.ok(failures > 100, f"more than 100 runs failed ({failures})")


def pipeline():
    """inspect | filter | adapt | interp-bias on a file that torch made."""
    torch.manual_seed(4)
    state = OrderedDict()
    state["stem.weight"] = torch.randn(4, 3)
    state["stage_3.attn.relative_position_bias_table"] = torch.randn(7 * 7, 2)
    state["head.weight"] = torch.randn(5, 4)
    state["norm.bias"] = torch.randn(4, dtype=torch.float64)
    torch.save({"state_dict": OrderedDict(("module." + k, v) for k, v in state.items()), "epoch": 9}, scratch / "in.pth")
    with t.part("pipeline"):
        tap.shell("""lnn-ckpt-inspect in.pth | lnn-filter -v -e '{TYPE: name, PATTERNS: [head]}' |
            lnn-ckpt-adapt -q --keep-names - in.pth | lnn-interp-bias -q --img-size 96 > out.pth""")
        got = torch.load(scratch / "out.pth", map_location="cpu")["state_dict"]
        t.eq(list(got), [k for k in state if k != "head.weight"], "a pipeline drops the names that the filter removed")
        t.ok(tap.same(got["stem.weight"], state["stem.weight"]) and tap.same(got["norm.bias"], state["norm.bias"]),
             "a pipeline keeps the bits of other tensors")
        table = state["stage_3.attn.relative_position_bias_table"].double().t().reshape(1, 2, 7, 7)
        expected = torch.nn.functional.interpolate(table, size=(11, 11), mode="bicubic", align_corners=False).reshape(2, -1).t()
        t.ok(float((got["stage_3.attn.relative_position_bias_table"].double() - expected).abs().max()) < 2e-7,
             "a pipeline resizes the table as torch does")


cut()
killed()
failing()
pipeline()
t.done()
