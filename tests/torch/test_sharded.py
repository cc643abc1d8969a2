"""Sharded sets of safetensors, torch zips and legacy streams are read through an index. The output equals the checkpoint before it
was split. Sets that are inconsistent are refused."""

import collections
import json
import random
import warnings
import zipfile

import tap

torch = tap.need_torch(2, 0)
tap.need("safetensors")
from safetensors.torch import load_file, save_file

warnings.simplefilter("ignore")
t = tap.Tap()
rng = random.Random(6)


def deflate(path):
    """Packs a torch zip again in the way of other zip programs."""
    with zipfile.ZipFile(path) as z:
        members = [(i.filename, z.read(i)) for i in z.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in members:
            z.writestr(name, content)


def put_shard(path, kind, part):
    if kind == "safetensors":
        save_file({k: v.clone().contiguous() for k, v in part.items()}, path, metadata={"format": "pt", path.name: "x"})
    elif kind == "legacy":
        torch.save(part, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(part, path)
        if kind == "deflated":
            deflate(path)


def put_set(folder, state, kinds, shards):
    """Distributes the tensors of state over shards. The weight_map has the order of state. Returns the path of the index."""
    folder.mkdir()
    home = {k: rng.randrange(shards) for k in state}
    names = [f"part-{i:05d}-of-{shards:05d}.bin" for i in range(shards)]
    for i, name in enumerate(names):
        put_shard(folder / name, kinds[i % len(kinds)], {k: v for k, v in state.items() if home[k] == i})
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": {k: names[h] for k, h in home.items()}}))
    return index


def state_dict(n=40):
    out = {}
    for i in range(n):
        dtype = rng.choice([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
        shape = [rng.randrange(1, 9) for _ in range(rng.randrange(0, 4))]
        out[f"blocks.{i}.é" if i % 7 == 0 else f"blocks.{i}.weight"] = (torch.randn(shape) * 9).to(dtype)
    return out


def same_dict(a, b):
    return list(a) == list(b) and all(tap.same(a[k], b[k]) for k in a)


def sets():
    kinds = {
        "safetensors": ["safetensors"], "zips": ["zip"], "deflated zips": ["deflated"], "legacy streams": ["legacy"],
        "all sorts": ["safetensors", "zip", "legacy", "deflated"],
    }
    for shards in (1, 5, 70):
        for what, mix in kinds.items():
            with t.part(f"{shards} {what}"):
                state = state_dict()
                folder = tap.scratch() / f"{shards} {what}"
                index = put_set(folder, state, mix, shards)
                # The set has more files than a process may open. Shards without tensors do not occur in the index.
                limit = 'ulimit -n 48; exec lnn-ckpt-adapt "$in" -o "$out" $opt'
                if mix == ["safetensors"]:
                    out = folder / "one.safetensors"
                    tap.shell(limit, **{"in": index, "out": out, "opt": ""})
                    got = {k: load_file(out)[k] for k in state} if load_file(out).keys() == state.keys() else {}
                else:
                    out = folder / "one.pth"
                    tap.shell(limit, **{"in": index, "out": out, "opt": "--root --to torch"})
                    got = torch.load(out, weights_only=True)
                t.ok(same_dict(got, state), f"{shards} {what}: the output is one checkpoint in the order of the index")
                listed = json.loads(tap.run("lnn-ckpt-inspect", "--format=json", index).stdout)
                t.eq([e["name"] for e in listed["tensors"]], list(state), f"{shards} {what}: the list has the order of the index")


def torch_things():
    """Properties that only torch files have survive: ties, views, quantised and sparse tensors, Parameters, attributes."""
    base = torch.arange(12.0).reshape(3, 4)
    tagged = torch.ones(2)
    tagged.note = "kept"
    state = {
        "base": base, "t": base.t(), "tied": base, "p": torch.nn.Parameter(torch.ones(2)),
        "q": torch.quantize_per_tensor(torch.randn(2, 3), 0.1, 2, torch.quint8),
        "sparse": torch.eye(3).to_sparse(), "c": torch.view_as_complex(torch.randn(2, 2)).conj(), "tagged": tagged,
    }
    folder = tap.scratch() / "shards"
    folder.mkdir()
    map_ = {}
    for i, part in enumerate((("base", "t", "tied", "p"), ("q", "tagged"), ("sparse", "c"))):
        torch.save({k: state[k] for k in part}, folder / f"{i}.bin")
        map_.update({k: f"{i}.bin" for k in part})
    order = ["q", "base", "sparse", "tied", "tagged", "t", "c", "p"]
    index = folder / "shards.index.json"
    index.write_text(json.dumps({"weight_map": {k: map_[k] for k in order}}))
    out = folder / "out.pth"
    tap.run("lnn-ckpt-adapt", index, "--root", "-o", out)
    got = torch.load(out, weights_only=False)
    t.eq(list(got), order, "the tensors are in the order of the index")
    for name in ("base", "t", "tied", "c", "p"):
        t.ok(tap.same(got[name].data, state[name].data), f"{name} has equal values")
    storage = {k: got[k].untyped_storage().data_ptr() for k in ("base", "t", "tied")}
    t.ok(len(set(storage.values())) == 1, "views and ties still share their storage")
    t.ok(got["q"].is_quantized and torch.equal(got["q"].int_repr(), state["q"].int_repr())
         and got["q"].q_scale() == 0.1, "the quantised tensor keeps its integers and its scale")
    t.ok(got["sparse"].is_sparse and torch.equal(got["sparse"].to_dense(), torch.eye(3)), "the sparse tensor keeps its layout and values")
    t.eq(getattr(got["tagged"], "note", None), "kept", "an attribute of a tensor is kept")
    t.ok(isinstance(got["p"], torch.nn.Parameter), "a Parameter stays one")


def parts():
    """The parts of composite tensors in several shards are not confused with each other."""
    folder = tap.scratch() / "parts"
    folder.mkdir()
    q = torch.quantize_per_channel(torch.randn(2, 3), torch.tensor([0.1, 0.2]), torch.tensor([0, 1]), 0, torch.qint8)
    torch.save({"q": q, "w": torch.ones(4)}, folder / "0.bin")
    torch.save({"s": torch.eye(3).to_sparse(), "x": torch.ones(5)}, folder / "1.bin")
    (folder / "i.json").write_text(json.dumps({"weight_map": {"x": "1.bin", "w": "0.bin", "s": "1.bin", "q": "0.bin"}}))
    listed = json.loads(tap.run("lnn-ckpt-inspect", "--format=json", folder / "i.json").stdout)
    shapes = {e["name"]: (e["dtype"], e["shape"]) for e in listed["tensors"]}
    shapes |= {e["name"] + "." + x["name"]: (x["dtype"], x["shape"]) for e in listed["tensors"] for x in e.get("parts", [])}
    expected = {"x": ("float32", [5]), "w": ("float32", [4]), "s": ("float32", [3, 3]), "s.indices": ("int64", [2, 3]),
            "s.values": ("float32", [3]), "q": ("qint8", [2, 3]), "q.scales": ("float64", [2]),
            "q.zero_points": ("int64", [2])}
    t.eq({k: shapes.get(k) for k in expected}, expected,
         "parts of quantised and sparse tensors are listed with the right dtypes and shapes")


def metadata():
    """The set has the _metadata of its shards, as load_state_dict needs the version of BatchNorm."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    state = net.state_dict()
    folder = tap.scratch() / "metadata"
    folder.mkdir()
    map_ = {}
    for i, prefix in enumerate(("0.", "1.")):
        part = collections.OrderedDict((k, v) for k, v in state.items() if k.startswith(prefix))
        part._metadata = state._metadata
        torch.save(part, folder / f"{i}.bin")
        map_.update({k: f"{i}.bin" for k in part})
    (folder / "i.json").write_text(json.dumps({"weight_map": map_}))
    tap.run("lnn-ckpt-adapt", folder / "i.json", "--root", "-o", folder / "out.pth")
    got = torch.load(folder / "out.pth", weights_only=True)
    t.eq(dict(got._metadata), dict(state._metadata), "_metadata of the shards is kept")
    t.ok(same_dict(got, state), "the tensors are kept beside _metadata")


def refused():
    folder = tap.scratch() / "refused"
    state = state_dict(12)
    index = put_set(folder, state, ["safetensors", "zip"], 2)
    good = json.loads(index.read_text())
    first = next(iter(state))
    other = next(f for f in good["weight_map"].values() if f != good["weight_map"][first])

    def verdict(what, map_, *words):
        (folder / "bad.json").write_text(json.dumps({"weight_map": map_}))
        ran = tap.run("lnn-ckpt-adapt", folder / "bad.json", "-o", folder / "out", status=2)
        message = ran.stderr.decode()
        t.ok(all(w in message for w in words) and len(message.splitlines()) == 1 and not (folder / "out").exists(), what)

    verdict("a tensor in another shard than the index says is refused", {**good["weight_map"], first: other}, first, other)
    verdict("a tensor that no shard has is refused", {**good["weight_map"], "none.such": other}, "none.such", other)
    verdict("a tensor that the index does not list is refused", {k: v for k, v in good["weight_map"].items() if k != first},
            first, good["weight_map"][first])
    verdict("a shard that does not exist is refused", {**good["weight_map"], "x": "gone.bin"}, "'x'", "gone.bin")
    verdict("a shard outside the folder is refused", {**good["weight_map"], "x": "../up.bin"}, "'x'", "../up.bin")
    ran = tap.run("lnn-ckpt-adapt", stdin=index.read_bytes(), status=2)
    t.ok(b"give the index by its path" in ran.stderr and not ran.stdout, "an index on a pipe is refused, with advice")


def shared_by_calls():
    """The attributes of several Parameters share an object. Each shard gets a copy of it and loads alone."""
    folder = tap.scratch() / "calls"
    folder.mkdir()
    shared, state = ["one", {"list": [1, 2]}], collections.OrderedDict()
    for i in range(6):
        state[f"p.{i}"] = torch.nn.Parameter(torch.full((8,), float(i)))
        state[f"p.{i}"].note = shared
    torch.save(state, folder / "in.pth")
    tap.run("lnn-ckpt-adapt", "--max-shard-size", "32", folder / "in.pth", "-o", str(folder / "out") + "/")
    got = {}
    for shard in sorted((folder / "out").glob("*.bin")):
        got.update(torch.load(shard, weights_only=False))
    t.eq(list(got), list(state), "the shards have all names")
    t.ok(all(torch.equal(got[k], v) for k, v in state.items()), "the Parameters in the shards have their values")
    t.ok(all(v.note == shared for v in got.values()), "the Parameters in the shards have their attributes")


def empty_views():
    """Tensors without elements that have a pending negation."""
    folder = tap.scratch() / "empty"
    folder.mkdir()
    state = collections.OrderedDict(a=torch._neg_view(torch.empty(3, 0)), b=torch.ones(2))
    torch.save(state, folder / "in.pth")
    tap.run("lnn-ckpt-adapt", folder / "in.pth", "-o", folder / "out.safetensors")
    got = load_file(folder / "out.safetensors")
    t.eq([tuple(got["a"].shape), got["b"].tolist()], [(3, 0), [1.0, 1.0]], "an empty tensor with a negative bit is written")


def records_in_order_of_text():
    """Zips on a pipe whose records are not in the order of the storages, with tensors that share storages."""
    folder = tap.scratch() / "order"
    folder.mkdir()
    state = collections.OrderedDict()
    for i in range(40):
        whole = torch.arange(i, i + 60000, dtype=torch.float32)
        state[f"a.{i}"], state[f"b.{i}"] = whole[:30000], whole[30000:]
    torch.save(state, folder / "in.pth")
    with zipfile.ZipFile(folder / "in.pth") as z:
        members = [(i.filename, z.read(i)) for i in z.infolist()]
    key = {n: int(n.rsplit("/", 1)[1]) if "/data/" in n else -1 for n, _ in members}
    for what, order in (("by number", lambda m: key[m[0]]), ("shuffled", lambda m: 7 * key[m[0]] % 40)):
        with zipfile.ZipFile(folder / "again.pth", "w", zipfile.ZIP_STORED) as z:
            for name, content in sorted(members, key=lambda m: (m[0].endswith("version"), key[m[0]] >= 0, order(m))):
                z.writestr(name, content)
        for options in (["--to", "safetensors"], ["--to", "torch", "--compact"]):
            ran = tap.run("lnn-ckpt-adapt", *options, stdin=(folder / "again.pth").read_bytes())
            (folder / "out").write_bytes(ran.stdout)
            got = load_file(folder / "out") if options[1] == "safetensors" else torch.load(folder / "out")
            t.ok(all(torch.equal(got[k], v) for k, v in state.items()), f"records {what}, to {options[1]}: the values are right")


def equal(a, b):
    """True if two values of state dicts are equal, including dicts and lists."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return a == b


def containers():
    """Containers in a state dict keep their types when a set is joined, and when a checkpoint is split."""
    folder = tap.scratch() / "containers"
    folder.mkdir()
    extra = {"scale": torch.arange(2.0), "n": 3, "amax": [torch.ones(1), (torch.zeros(3), "x")]}
    state = collections.OrderedDict({"w": torch.ones(4), "fc._extra_state": extra, "pack": (torch.ones(2), None),
                                     "note": "x", "b": torch.ones(3)})
    home = {"w": "0.bin", "fc._extra_state": "1.bin", "pack": "0.bin", "note": "1.bin", "b": "1.bin"}
    for name in ("0.bin", "1.bin"):
        torch.save({k: v for k, v in state.items() if home[k] == name}, folder / name)
    (folder / "keys.json").write_text(json.dumps({"weight_map": home}))
    # An index of an old version of lnn-tools lists the tensors inside a container.
    inside = ("scale", "amax.0", "amax.1.0")
    (folder / "tensors.json").write_text(json.dumps({"weight_map": {"w": "0.bin", **{f"fc._extra_state.{k}": "1.bin" for k in inside},
                                                                    "pack.0": "0.bin", "note": "1.bin", "b": "1.bin"}}))
    for index in ("keys.json", "tensors.json"):
        tap.run("lnn-ckpt-adapt", folder / index, "-o", folder / "out.pth")
        t.ok(equal(dict(torch.load(folder / "out.pth")), dict(state)), f"a set with containers is joined, {index}")
    tap.run("lnn-ckpt-adapt", folder / "keys.json", "--max-shard-size", "1", "-o", folder / "set/")
    index = json.loads((folder / "set/pytorch_model.bin.index.json").read_text())["weight_map"]
    t.eq(sorted(index), sorted(state), "the index lists each item once")
    parts = {}
    for name in set(index.values()):
        part = torch.load(folder / "set" / name)
        t.ok(all(index[k] == name for k in part), f"{name} has the entries that the index lists")
        parts.update(part)
    t.ok(equal({k: parts[k] for k in state}, dict(state)), "containers in the shards keep their types and values")
    for job in ("1/2", "2/2"):
        tap.run("lnn-ckpt-adapt", "--shard", job, "--dtype", "float16", folder / "keys.json", "-o", folder / "jobs/")
    tap.run("lnn-ckpt-adapt", "--write-index", folder / "jobs")
    tap.run("lnn-ckpt-adapt", folder / "jobs/pytorch_model.bin.index.json", "-o", folder / "out.pth")
    back = torch.load(folder / "out.pth")
    t.ok(back["fc._extra_state"]["amax"][1][0].dtype == torch.float16 and back["fc._extra_state"]["n"] == 3
         and sorted(back) == sorted(state), "jobs with --shard cast tensors inside a container and keep its type")
    tap.run("lnn-ckpt-adapt", "--drop-names", "-", folder / "keys.json", "--max-shard-size", "1", "-o", folder / "less/",
            stdin=b"fc._extra_state.scale\nfc._extra_state.amax.0\n")
    index = json.loads((folder / "less/pytorch_model.bin.index.json").read_text())["weight_map"]
    t.ok(equal(torch.load(folder / "less" / index["fc._extra_state"])["fc._extra_state"], {"n": 3, "amax": [(torch.zeros(3), "x")]}),
         "a tensor that is dropped inside a container is missing there")


def layouts():
    """Each job of --shard records the layouts of its own tables. The set records all of them."""
    folder = tap.scratch() / "layouts"
    folder.mkdir()
    names = [f"stage_{3 + i % 2}.{i}.attn.relative_position_bias_table" for i in range(4)]
    state = {n: torch.randn(27 * 27 + 1 if "stage_3" in n else 13 * 13 + 1, 2) for n in names}
    for kind in ("safetensors", "zip"):
        index = put_set(folder / kind, state, [kind], 4)
        for k in range(1, 5):
            tap.run("lnn-ckpt-adapt", "--shard", f"{k}/4", "--layout", "first", index, "--to-layout", "last", "-o", folder / f"{kind}-jobs/")
        tap.run("lnn-ckpt-adapt", "--write-index", folder / f"{kind}-jobs")
        merged = next((folder / f"{kind}-jobs").glob("*.index.json"))
        tap.run("lnn-interp-bias", "--img-size", "448", "--to", "torch", merged, "-o", folder / "merged.pth")
        torch.save(state, folder / "one.pth")
        tap.run("lnn-interp-bias", "--img-size", "448", "--layout", "first", "--to-layout", "last", folder / "one.pth", "-o", folder / "last.pth")
        got, expected = torch.load(folder / "merged.pth"), torch.load(folder / "last.pth")
        t.ok(sorted(got) == sorted(names) and all(torch.equal(got[n], expected[n]) for n in names),
             f"{kind}: all tables are resized in their recorded layouts")


def once():
    """A warning about a set is printed once, not for each shard."""
    folder = tap.scratch() / "once"
    folder.mkdir()
    state = {"w": torch.ones(4), "x._extra_state": {"s": torch.ones(2)}, "n": 3, "o": collections.deque([1]), "v": torch.ones(4)}
    torch.save(state, folder / "in.pth")
    for to, words in (("torch", (b"weights_only", )), ("safetensors", (b"taken apart", b"are not tensors"))):
        done = tap.run("lnn-ckpt-adapt", folder / "in.pth", "--to", to, "--max-shard-size", "1", "-o", folder / f"{to}/")
        t.eq([done.stderr.count(w) for w in words], [1] * len(words), f"{to}: each warning is printed once: {words}")


for part in (sets, containers, layouts, once, torch_things, parts, metadata, refused, shared_by_calls, empty_views, records_in_order_of_text):
    with t.part(part.__name__):
        part()
t.done()
