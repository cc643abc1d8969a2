"""Checkpoints on a pipe give the same output as a file. Little memory and no temporary file is needed if the order of the bytes
allows it, also if tensors share storages. The output of a program that fails does not load."""

import re

import tap

torch = tap.need_torch(1, 13)
t = tap.Tap()
tmp = tap.scratch()

shared = torch.randn(512, 1024)
torch.save(
    {"model": {"a": shared, "b": torch.randn(300, 1000), "a2": shared, "view": shared[3:100], "c": torch.randn(1000, 1000)}},
    tmp / "shared.pth",
)
# More than the 64 MiB that may be held in memory.
torch.save({"model": {"large": torch.randn(20000, 1024), "small": torch.randn(30, 1000)}}, tmp / "large.pth")
torch.save({"model": {"large": torch.randn(20000, 1024)}}, tmp / "legacy.pth", _use_new_zipfile_serialization=False)
tap.shell("lnn-ckpt-adapt --to safetensors large.pth -o large.safetensors")

WAYS = ["", "--compact", "--to safetensors", "--to safetensors --compact", "--dtype bfloat16", "--to safetensors --dtype float16", "--drop-params a"]

for name in "shared.pth", "large.pth", "legacy.pth", "large.safetensors":
    for way in WAYS:
        if name == "large.safetensors" and way.startswith("--to"):
            continue
        with t.part(f"{name} {way}"):
            tap.shell(f"lnn-ckpt-adapt -q {way} {name} -o from-file")
            # The peak resident memory of the program in KiB, from the kernel.
            done = tap.shell(
                f"cat {name} | python3 -c '"
                "import resource, subprocess, sys;"
                "status = subprocess.call(sys.argv[1:]);"
                'print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr);'
                f"sys.exit(status)' lnn-ckpt-adapt --verbose {way} >from-pipe"
            )
            said = done.stderr.decode()
            t.ok((tmp / "from-file").read_bytes() == (tmp / "from-pipe").read_bytes(),
                 f"{name} {way}: a pipe gives the same bytes as a file")
            t.ok("temporary file" not in said, f"{name} {way}: no temporary file is used")
            peak = int(re.search(r"peak (\d+)", said).group(1))
            # Sanitizers need additional memory.
            t.ok(tap.os.environ.get("LNN_SAN") or peak <= 32 * 1024, f"{name} {way}: the peak memory of {peak} KiB is at most 32 MiB")


def loads(path):
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception:  # noqa: BLE001 (any exception is a refusal)
        return None


# The input ends anywhere. The output so far does not load.
whole = (tmp / "shared.pth").read_bytes()
t.ok(loads(tmp / "shared.pth") is not None, "the whole checkpoint loads")
for cut in (0, 1, 100, 3000, 20000, len(whole) // 2, len(whole) - 2000, len(whole) - 100, len(whole) - 22, len(whole) - 1):
    with t.part(f"cut off at {cut}"):
        (tmp / "cut").write_bytes(whole[:cut])
        done = tap.shell("cat cut | lnn-ckpt-adapt -q >out", status=2)
        t.ok(done.stderr.count(b"\n") == 1, f"cut off at {cut}: the message is one line")
        t.ok(loads(tmp / "out") is None, f"cut off at {cut}: the output does not load")
t.done()
