"""Which state dict is chosen in the files and folders that torch.save and trainers write. The expected choices were derived by hand
from the rule in lnn-tools(7)."""

import collections
import json
import types

import tap

torch = tap.need_torch(2, 0)
tap.need("safetensors")
from safetensors.torch import save_file

t = tap.Tap()

model = torch.nn.Linear(3, 2)
adam = torch.optim.Adam(model.parameters())
model(torch.randn(1, 3)).sum().backward()
adam.step()
scheduler = torch.optim.lr_scheduler.StepLR(adam, 1)
net, moments = model.state_dict(), adam.state_dict()
other = collections.OrderedDict((f"{k}.x", v + 1) for k, v in net.items())
NAMES = list(net)
MOMENTS = [f"state.{i}.{k}" for i in (0, 1) for k in ("step", "exp_avg", "exp_avg_sq")]


class Dict(dict):
    pass


# The root, the key that is chosen (None: the rule does not decide), and the names that inspect lists.
ROOTS = {
    "the tutorial": ({"epoch": 1, "model_state_dict": net, "optimizer_state_dict": moments, "loss": torch.tensor(0.1)},
                     "model_state_dict", NAMES),
    "net and opt": ({"net": net, "opt": moments}, "net", NAMES),
    "imagenet": ({"epoch": 1, "arch": "x", "state_dict": net, "best_acc1": torch.ones(1), "optimizer": moments}, "state_dict", NAMES),
    "random state": ({"net": net, "rng_state": torch.get_rng_state(), "sched": scheduler.state_dict()}, "net", NAMES),
    "wrapped twice": ({"model": {"state_dict": net, "optimizer": moments}}, "model.state_dict", NAMES),
    "a criterion": ({"net": net, "criterion": torch.nn.CrossEntropyLoss(weight=torch.ones(2)).state_dict()}, "net", NAMES),
    "a subclass of dict": (Dict(net=Dict(net), opt=moments), "net", NAMES),
    "plain": (net, "", NAMES),
    "net and ema": ({"net": net, "ema": other}, None, [f"net.{k}" for k in net] + [f"ema.{k}" for k in other]),
    "student and teacher": ({"student": net, "teacher": net, "optimizer": moments}, None,
                            [f"student.{k}" for k in net] + [f"teacher.{k}" for k in net] + [f"optimizer.{k}" for k in MOMENTS]),
    "a dict of tensors beside a tensor": ({"net": net, "best_acc1": torch.ones(1)}, None, [f"net.{k}" for k in net] + ["best_acc1"]),
    "an optimizer": (moments, None, MOMENTS),
    "an optimizer below a key": ({"optimizer": moments, "epoch": 1}, None, [f"optimizer.{k}" for k in MOMENTS]),
}


def roots():
    for what, (root, key, names) in ROOTS.items():
        for legacy in (False, True):
            with t.part(what):
                path = tap.scratch() / "root.pth"
                torch.save(root, path, _use_new_zipfile_serialization=not legacy)
                listed = json.loads(tap.run("lnn-ckpt-inspect", "--format=json", path).stdout)
                t.eq([e["name"] for e in listed["tensors"]], names, f"{what}: the right names are listed")
                t.eq(listed["key"], key or "", f"{what}: JSON names the place that was chosen")
                out = tap.scratch() / "out.pth"
                out.unlink(missing_ok=True)
                ran = tap.run("lnn-ckpt-adapt", "--root", "--dtype=bfloat16", "-o", out, path, status=2 if key is None else 0)
                if key is None:
                    t.ok(b"-k " in ran.stderr and not out.exists(), f"{what}: refused, and the message proposes -k")
                    continue
                got = torch.load(out)
                t.ok(list(got) == NAMES and all(tap.same(got[k], net[k].bfloat16()) for k in net),
                     f"{what}: the output has the chosen state dict")


def asked():
    path = tap.scratch() / "root.pth"
    torch.save({"net": net, "ema": other, "opt": moments, "run": {"a.b": Dict(c=net)}}, path)
    for key, names in (("net", NAMES), ("ema", list(other)), ("opt.state.1", ["step", "exp_avg", "exp_avg_sq"]),
                       ("run.a.b.c", NAMES)):
        ran = tap.run("lnn-ckpt-inspect", "--format=names", "-k", key, path)
        t.eq(ran.stdout.decode().split(), names, f"-k {key} lists the tensors at this place")
        t.eq(ran.stderr, b"", f"-k {key} gives no message")
    ran = tap.run("lnn-ckpt-inspect", "--format=names", "-k", "", path)
    t.ok(len(ran.stdout.split()) == 12 and not ran.stderr, "-k '' lists the tensors of the root")
    # Each -k that the message proposes must work.
    ran = tap.run("lnn-ckpt-adapt", "-o", tap.scratch() / "out.pth", path, status=2)
    offered = [word.split(";")[0].strip() for word in ran.stderr.decode().split("-k ")[1:]]
    t.eq(offered, ["net", "ema", "run", "''"], "the message proposes every candidate")
    for key in offered:
        tap.run("lnn-ckpt-adapt", "-q", "-k", key.strip("'"), "-o", tap.scratch() / "out.pth", path)


def shares():
    path = tap.scratch() / "root.pth"
    torch.save({"model_state_dict": net, "optimizer_state_dict": moments, "epoch": 600}, path)
    got = json.loads(tap.run("lnn-ckpt-inspect", "--summary", "--format=json", path).stdout)
    t.eq([e["key"] for e in got["keys"]], ["model_state_dict", "optimizer_state_dict", "epoch"], "--summary lists the root's keys")
    t.eq(got["optimizer_bytes"], 2 * (8 * 4 + 4), "--summary counts the optimizer's bytes")
    torch.save({"net": net, "opt": moments}, path)
    got = json.loads(tap.run("lnn-ckpt-inspect", "--summary", "--format=json", path).stdout)
    t.eq(got["optimizer_bytes"], 2 * (8 * 4 + 4), "--summary recognises an optimizer under another key")
    torch.save(moments, path)
    got = json.loads(tap.run("lnn-ckpt-inspect", "--summary", "--format=json", path).stdout)
    t.eq([e["key"] for e in got["keys"]], ["state", "param_groups"], "--summary lists the keys of an optimizer at the root")
    t.eq(got["optimizer_bytes"], 2 * (8 * 4 + 4), "--summary counts the bytes of an optimizer at the root")


def trainer(folder):
    """Writes the files of the transformers Trainer into a folder, except for the weights."""
    folder.mkdir(parents=True)
    torch.save(moments, folder / "optimizer.pt")
    torch.save(scheduler.state_dict(), folder / "scheduler.pt")
    torch.save({"python": (3, (1, 2), None), "cpu": torch.get_rng_state(), "cuda": [torch.get_rng_state()]},
               folder / "rng_state.pth")
    torch.save(types.SimpleNamespace(lr=1e-3), folder / "training_args.bin")
    (folder / "config.json").write_text("{}")
    (folder / "trainer_state.json").write_text('{"log_history": []}')
    return folder


def folders():
    top = tap.scratch() / "run"
    save_file(net, trainer(top / "checkpoint-500") / "model.safetensors")
    torch.save(net, trainer(top / "checkpoint-1000") / "pytorch_model.bin")
    save_file(net, trainer(top / "adapter") / "adapter_model.safetensors")
    for name in ("checkpoint-500", "checkpoint-1000", "adapter"):
        ran = tap.run("lnn-ckpt-inspect", "--format=names", top / name)
        t.eq(sorted(ran.stdout.decode().split()), sorted(NAMES), f"{name}: the weights in a Trainer's folder are listed")
    ran = tap.run("lnn-ckpt-inspect", top, status=2)
    t.ok(b"adapter/, checkpoint-1000/, checkpoint-500/" in ran.stderr, "a folder of folders is refused, and the message names them")
    ran = tap.run("lnn-ckpt-inspect", trainer(top / "none"), status=2)
    t.ok(b"no file in this folder is a checkpoint" in ran.stderr, "a Trainer's folder without weights is refused")


def keys():
    """Keys with a dot stay one key. Keys with a NUL are printed completely."""
    table = {"x.relative_position_bias_table": torch.ones(9, 2)}
    path, out = tap.scratch() / "keys.pth", tap.scratch() / "out.pth"
    torch.save({"a.b": {"c": table}, "other": net, "epoch": 1}, path)
    tap.run("lnn-interp-bias", "--grid", "3x3", "--drop-rest", "-k", "a.b.c", path, "-o", out)
    back = torch.load(out)
    t.ok(list(back) == ["a.b"] and list(back["a.b"]) == ["c"], "--drop-rest writes a key that has a dot as one key")
    torch.save({"a\0b": net, "c": other}, path)
    done = tap.run("lnn-ckpt-adapt", "-n", path, status=2)
    t.ok(b"a\\x00b (2 tensors)" in done.stderr and b"; c (2 tensors): -k c" in done.stderr,
         "candidates with a NUL in the key are printed completely")
    done = tap.run("lnn-ckpt-inspect", "-k", "d", path, status=2)
    t.ok(b"its root has a\\x00b, c" in done.stderr, "the keys of the root are printed completely")
    plain = tap.scratch() / "plain.pth"
    torch.save(net, plain)
    torch.save({"teacher": net, "other": {"q": torch.ones(2)}}, path)
    done = tap.run("lnn-ckpt-inspect", "-k", "other", "--against", plain, path, status=1)
    t.ok(b"-k 'teacher' (2 of 2 would match)" in done.stdout, "--against names another place whose names match")
    torch.save({"a\0b": net, "epoch": 1}, path)
    done = tap.run("lnn-ckpt-inspect", "-k", "epoch", path, status=2)
    t.ok(b"some at 'a\\x00b' (-k PATH chooses)" in done.stderr, "places with a NUL that have tensors are printed completely")
    done = tap.run("lnn-ckpt-adapt", path, "-o", out)
    t.ok(b"the state dict is a\\x00b" in done.stderr and b"under 'a\\x00b')" in done.stderr,
         "the place that is chosen is printed completely")


for part in (roots, asked, shares, folders, keys):
    with t.part(part.__name__):
        part()
t.done()
