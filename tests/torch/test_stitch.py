"""Compares key maps and --compat=linnaeus with an independent implementation in Python: two backbones stitched into modules with the
names of mFormerV1 (from tests/fixtures/make_fixtures.py), the metaformer source, timm's ConvNeXt."""

import importlib.util
import json
import random
import re
import sys
from collections import OrderedDict

import tap

torch = tap.need_torch(2, 3)
sys.path.insert(0, str(tap.FIXTURES))
spec = importlib.util.spec_from_file_location("make_fixtures", tap.FIXTURES / "make_fixtures.py")
fixtures = importlib.util.module_from_spec(spec)
try:
    spec.loader.exec_module(fixtures)
except ImportError as e:
    tap.skip_all(f"the fixtures' modules need {e.name}")
from describe import describe  # noqa: E402

t = tap.Tap()
scratch = tap.scratch()


def load(path, key="model"):
    return torch.load(path, map_location="cpu", weights_only=True)[key]


def compare(got, expected, what):
    if not t.eq(list(got), list(expected), f"{what}: names, in order"):
        return
    bad = [k for k in expected if not tap.same(got[k].contiguous(), expected[k].contiguous())]
    t.eq(bad, [], f"{what}: bits of {len(expected)} tensors")


# ---- stitching, as lib/plan/maps/stitched_convnext_ropevit.yaml describes it


def stitch(convnext, ropevit, target, depths, mixed):
    """Returns the tensors that the target gets, the source of each new name, and the tensors that are used."""
    prefixes = [("downsample_layers.0.", "stem."), ("stages.0.", "stages.0."), ("downsample_layers.1.", "downsample_layers.0."),
                ("stages.1.", "stages.1."), ("downsample_layers.2.", "downsample_layers.1.")]
    named, used = {}, set()
    for name, value in convnext.items():
        for old, new in prefixes:
            if name.startswith(old):
                named[new + name[len(old):]] = (("convnext", name), value)
    for name, value in ropevit.items():
        block = re.match(r"blocks\.(\d+)\.(.*)\Z", name)
        if block:
            i, rest = int(block[1]), block[2]
            if i < depths[0]:
                named[f"stages.2.{i}.{rest}"] = (("ropevit", name), value)
            elif i < sum(depths):
                named[f"stages.3.{i - depths[0]}.{rest}"] = (("ropevit", name), value)
        elif name == "cls_token":
            named["cls_token_1"] = named["cls_token_2"] = (("ropevit", name), value)
        elif name == "freqs" and mixed:
            for stage, depth in zip((2, 3), depths):
                for i in range(depth):
                    named[f"stages.{stage}.{i}.attn.freqs"] = (("ropevit", name), value)
    out = OrderedDict()
    for name, value in target.items():
        if name in named and named[name][1].shape == value.shape:
            out[name] = named[name][1]
            used.add(named[name][0])
    return out, named, used


def drop_component(name, pattern):
    end = r"(?=[._]|\Z)" if pattern[-1].isalnum() else ""
    return re.search(r"(?:\A|\.)" + re.escape(pattern) + end, name)


def read(name):
    return torch.load(tap.FIXTURES / name, map_location="cpu", weights_only=True)


def state_of(name):
    whole = read(name)
    return whole.get("model", whole.get("state_dict", whole))


def described(path):
    """Name to an empty tensor of the right shape, from a description that was written from real modules."""
    out = OrderedDict()
    for line in path.read_text().splitlines():
        entry = re.match(r'  - \{name: "([^"]*)", shape: (\[[^]]*\])', line)
        if entry:
            out[entry[1]] = torch.empty(json.loads(entry[2]), device="meta")
    return out


def stitching():
    r = random.Random(3)
    convnext = state_of("convnext.pth")
    for rope_file in ("ropevit.pth", "ropevit-freqs.pth"):
        rope = state_of(rope_file)
        for model in ("mFormerV1.yaml", "mFormerV1-even.yaml"):
            target = described(tap.FIXTURES / model)
            for depths, mixed, how in ((None, None, "description"), ([2, 1], False, "config"), ([1, 2], True, "config"), ([1, 1], None, "config")):
                what = f"{rope_file} into {model}, {how} {depths} {mixed}"
                options = []
                found = [1 + max(int(k.split(".")[2]) for k in target if k.startswith(f"stages.{s}.")) for s in (2, 3)]
                if depths is not None:
                    stages = {"DEPTHS": depths}
                    if mixed is not None:
                        stages["ROPE_MIXED"] = mixed
                    (scratch / "exp.yaml").write_text(json.dumps({"MODEL": {"ROPE_STAGES": stages}}))
                    options = ["-c", scratch / "exp.yaml"]
                is_mixed = mixed if mixed is not None else "stages.2.0.attn.freqs" in target
                inputs = OrderedDict(convnext=convnext, ropevit=rope)
                prefix = r.choice(["", "module."])
                for name, state in inputs.items():
                    torch.save({"model": OrderedDict((prefix + k, v) for k, v in state.items()), "epoch": 1}, scratch / f"{name}.pth")
                expected, named, used = stitch(convnext, rope, target, depths or found, is_mixed)
                expected = OrderedDict((k, v) for k, v in expected.items() if not any(drop_component(k, p) for p in ("head.", "meta_", "pos_embed")))
                order = list(inputs)
                r.shuffle(order)
                args = ["-s", "stitched_convnext_ropevit", "-m", tap.FIXTURES / model, *options]
                for name in order:
                    args += ["--input", f"{name}={scratch / name}.pth"]
                with t.part(what):
                    tap.run("lnn-ckpt-adapt", "-q", *args, "--report", scratch / "r.json", "-o", scratch / "out.pth")
                    compare(load(scratch / "out.pth"), expected, what)
                    report = json.loads((scratch / "r.json").read_text())
                    t.eq(report["load"]["missing_keys"], [k for k in target if k not in expected],
                         f"{what}: the report lists the missing names")
                    t.eq(report["load"]["unexpected_keys"], [], f"{what}: the report lists no unexpected names")
                    entries = {(i["file"].rsplit("/", 1)[-1][:-4], i["name"][len(prefix):]): i for i in report["inputs"]}
                    t.eq(sorted(entries), sorted((n, k) for n in inputs for k in inputs[n]), f"{what}: the report lists every input tensor")
                    t.eq(sorted(k for k, i in entries.items() if i["outputs"]), sorted(used),
                         f"{what}: the report says which tensors were used")
                    misfit = [(new, source, value) for new, (source, value) in named.items() if new not in expected and new in target
                              and not any(drop_component(new, p) for p in ("head.", "meta_"))]
                    bad = [new for new, source, value in misfit
                           if not any(str(list(value.shape)).replace(" ", "") in a["by"].replace(" ", "")
                                      and str(list(target[new].shape)).replace(" ", "") in a["by"].replace(" ", "")
                                      for a in entries[source]["actions"])]
                    t.eq(bad, [], f"{what}: the report gives both shapes of {len(misfit)} tensors that do not fit")


def into_live_modules():
    """load_state_dict of a real module agrees with the report, and the module then has the numbers of the backbones."""
    convnext, rope = state_of("convnext.pth"), state_of("ropevit.pth")
    for dims, mixed in (([4, 8, 12, 16], True), ([4, 8, 12, 12], True), ([4, 8, 12, 12], False), ([4, 8, 16, 12], False)):
        what = f"live module {dims} mixed={mixed}"
        net = fixtures.mFormerV1([2, 1], dims, [2, 1], 2, mixed=mixed)
        with open(scratch / "live.yaml", "w") as f:
            describe(net, f)
        with t.part(what):
            tap.run("lnn-ckpt-adapt", "-q", "-s", "stitched_convnext_ropevit", "-m", "mFormerV1", "-m", scratch / "live.yaml",
                    "--input", f"convnext={tap.FIXTURES / 'convnext.pth'}", "--input", f"ropevit={tap.FIXTURES / 'ropevit.pth'}",
                    "--report", scratch / "r.json", "-o", scratch / "out.pth")
            said = net.load_state_dict(load(scratch / "out.pth"), strict=False)
            report = json.loads((scratch / "r.json").read_text())["load"]
            t.eq(report["missing_keys"], list(said.missing_keys), f"{what}: the missing names agree with load_state_dict")
            t.eq(report["unexpected_keys"], list(said.unexpected_keys), f"{what}: the unexpected names agree with load_state_dict")
            live = net.state_dict()
            t.ok(tap.same(live["stages.1.0.pwconv2.weight"], convnext["stages.1.0.pwconv2.weight"]),
                 f"{what}: a ConvNeXt block has its numbers")
            if dims[3] == 12:
                t.ok(tap.same(live["stages.3.0.mlp.fc1.weight"], rope["blocks.2.mlp.fc1.weight"]),
                     f"{what}: the last RoPE-ViT block has its numbers")


# ---- metaformer and timm


def random_names(r, words, n):
    out = []
    while len(out) < n:
        name = ".".join("_".join(r.choice(words) for _ in range(r.randint(1, 3))) for _ in range(r.randint(1, 4)))
        if name not in out:
            out.append(name)
    return out


def metaformer():
    words = ["head", "fc", "meta", "1", "2", "head_1", "head_2", "stage", "attn", "meta_", "norm", "heads", "x"]
    for seed in range(12):
        r = random.Random(seed)
        state = OrderedDict((k, torch.full((2,), float(i))) for i, k in enumerate(random_names(r, words, 60)))
        prefix = r.choice(["", "module.", "module.module."])
        torch.save({"model": OrderedDict((prefix + k, v) for k, v in state.items())}, scratch / "in.pth")

        def dropped(name):
            return name.startswith("head") or "head.fc" in name or ("meta_" in name and ("head_1" in name or "head_2" in name))

        with t.part(f"metaformer {seed}"):
            tap.run("lnn-ckpt-adapt", "-q", "-s", "metaformer", scratch / "in.pth", "-o", scratch / "out.pth")
            compare(load(scratch / "out.pth"), OrderedDict((k, v) for k, v in state.items() if not dropped(k)), f"metaformer {seed}")
            # linnaeus removes the prefix module. once, after the map
            kept = [(prefix + k, v) for k, v in state.items() if not dropped(prefix + k)]
            expected = OrderedDict((k[len("module."):] if k.startswith("module.") else k, v) for k, v in kept)
            tap.run("lnn-ckpt-adapt", "-q", "-s", "metaformer", "--compat=linnaeus", scratch / "in.pth", "-o", scratch / "out.pth")
            compare(load(scratch / "out.pth"), expected, f"metaformer {seed} --compat=linnaeus")


def timm():
    convnext = state_of("convnext.pth")

    def timm_name(name):
        name = re.sub(r"^downsample_layers\.0\.", "stem.", name)
        name = re.sub(r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample.", name)
        name = re.sub(r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2.", name)
        name = name.replace(".dwconv.", ".conv_dw.").replace(".pwconv1.", ".mlp.fc1.").replace(".pwconv2.", ".mlp.fc2.")
        name = re.sub(r"^norm\.", "head.norm.", name)
        return re.sub(r"^head\.(weight|bias)$", r"head.fc.\1", name)

    torch.save(OrderedDict((timm_name(k), v) for k, v in convnext.items()), scratch / "in.pth")
    with t.part("timm"):
        tap.run("lnn-ckpt-adapt", "-q", "-s", "timm_convnext", scratch / "in.pth", "-o", scratch / "out.pth")
        # The input is a state dict alone, and so is the output.
        compare(torch.load(scratch / "out.pth", weights_only=True), convnext, "timm's ConvNeXt under the original names")


# ---- --compat=linnaeus


def compat():
    """The loader's treatment of drop patterns. It first removes the prefix module. once. drop_params are passed to re.search, with \\b
    after those that do not end in a dot. drop_buffers match anywhere in a name."""
    words = ["head", "headroom", "meta", "norm", "norm_1", "prenorm", "pos_embed", "absolute_pos_embed", "x", "0", "relative_position_index"]
    for seed in range(20):
        r = random.Random(1000 + seed)
        state = OrderedDict((k, torch.full((1,), float(i))) for i, k in enumerate(random_names(r, words, 50)))
        params = [r.choice(["head", "head.", "meta_", "norm.", "norm", "pos_embed", r"he[a]d", "x|0", "^x"]) for _ in range(r.randint(1, 3))]
        buffers = [r.choice(["index", "relative_position_index", "norm."]) for _ in range(r.randint(0, 2))]
        prefix = r.choice(["", "module.", "module._orig_mod.", "module.module."])
        names = OrderedDict((prefix + k, v) for k, v in state.items())
        torch.save(names, scratch / "in.pth")
        expected = OrderedDict()
        for name, value in names.items():
            name = name[7:] if name.startswith("module.") else name
            if any(re.search(p if p.endswith(".") else p + r"\b", name) for p in params) or any(b in name for b in buffers):
                continue
            expected[name] = value
        (scratch / "m.yaml").write_text(json.dumps({"pretrained_ckpt_handling_metadata": {"drop_params": params, "drop_buffers": buffers}}))
        with t.part(f"compat {seed}"):
            done = tap.run("lnn-ckpt-adapt", "-q", "--compat=linnaeus", "-m", scratch / "m.yaml", scratch / "in.pth", "-o",
                           scratch / "out.pth", status=0 if expected else 1)
            if done.returncode == 0:
                compare(load(scratch / "out.pth"), expected, f"compat {seed}: {params} {buffers}")


stitching()
into_live_modules()
metaformer()
timm()
compat()
t.done()
