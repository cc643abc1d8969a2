"""lnn-ckpt-adapt --salvage on files that are cut at every border of their structure and at random places, or have a flipped bit.
The output has every tensor whose bytes exist, with the values that torch.load gives for the whole file. Messages name the tensors
that are lost."""

import collections
import io
import json
import os
import random
import re
import struct
import zipfile

import tap

torch = tap.need_torch(1, 13)
t = tap.Tap()
scratch = tap.scratch()
rng = random.Random(17)
PLACES = int(os.environ.get("SALVAGE_PLACES", 1000))


def tensors():
    torch.manual_seed(1)
    shared = torch.randn(40, 7)
    out = collections.OrderedDict((f"blocks.{i}.weight", torch.randn(3 + i, 5)) for i in range(6))
    out.update({"large": torch.randn(90, 80), "q": shared[:20], "k": shared[20:], "turned": torch.randn(6, 9).t(),
                "half": torch.randn(11).half(), "index": torch.arange(13), "one": torch.tensor(2.5),
                "sparse": torch.eye(4).to_sparse()})
    return out


def whole():
    return {"model": tensors(), "epoch": 7, "config": {"lr": 0.1, "name": "x"},
            "optimizer": {"state": {0: {"exp_avg": torch.randn(3, 5), "step": torch.tensor(4.0)}}, "param_groups": [{"params": [0]}]},
            "list": [torch.ones(2), "text", torch.zeros(3)]}


def saved(tree, **options):
    file = io.BytesIO()
    torch.save(tree, file, **options)
    return file.getvalue()


def same(a, b):
    if a.layout != b.layout:
        return False
    return tap.same(a.to_dense(), b.to_dense()) if a.layout == torch.sparse_coo else tap.same(a, b)


def salvage(data, suffix=".pth", stdin=False):
    """Status, output (None: nothing was written), names reported as lost, names reported as not proved, the messages."""
    source, out = scratch / ("in" + suffix), scratch / ("out" + suffix)
    out.unlink(missing_ok=True)
    source.write_bytes(data)
    if stdin:
        done = tap.shell(f"cat {source} | lnn-ckpt-adapt --salvage -o {out}", status=None)
    else:
        done = tap.run("lnn-ckpt-adapt", "--salvage", source, "-o", out, status=None)
    text = done.stderr.decode()
    told = [set(re.findall(rf"(?:tensor|value) '([^']*)' is {word}", text)) for word in ("lost", "not proved")]
    return done.returncode, out.read_bytes() if out.exists() else None, *told, text


def loaded(data, suffix):
    if suffix == ".safetensors":
        from safetensors.torch import load

        return load(data)
    return torch.load(io.BytesIO(data), map_location="cpu")


class Original:
    """A file, its tensors, and the places of their bytes in the file: (begin, end, end of the data that proves them)."""

    def __init__(self, data, tree, suffix, where):
        self.data, self.suffix, self.where = data, suffix, where
        self.tensors = dict(tap.leaves(tree))

    def check(self, data, expected, unproved):
        """Salvages data. Returns what is wrong with the result, or None."""
        status, out, lost, doubtful, text = salvage(data, self.suffix)
        if not expected:
            return None if status == 2 and out is None else f"status {status} though nothing is left"
        if out is None:
            return f"nothing is written: {text}"
        got = dict(tap.leaves(loaded(out, self.suffix)))
        if set(got) != expected:
            return f"written: too many {sorted(set(got) - expected)}, too few {sorted(expected - set(got))}"
        wrong = [k for k in got if not same(got[k], self.tensors[k])]
        if wrong:
            return f"other values: {wrong}"
        if lost != set(self.tensors) - expected:
            return f"told as lost: {sorted(lost)}"
        if doubtful != unproved:
            return f"told as not proved: {sorted(doubtful)}, expected {sorted(unproved)}"
        return None if status == (1 if lost or doubtful else 0) else f"status {status}"

    def check_cut(self, at):
        here = {k for k, parts in self.where.items() if all(end <= at for _, end, _ in parts)}
        return self.check(self.data[:at], here, {k for k in here if any(proof > at for _, _, proof in self.where[k])})

    def check_cuts(self, what, borders):
        places = {at for b in borders for at in (b - 1, b, b + 1) if 0 < at <= len(self.data)}
        places |= {rng.randrange(1, len(self.data)) for _ in range(PLACES)}
        bad = [f"{at}: {why}" for at in sorted(places) if (why := self.check_cut(at))]
        t.ok(not bad, f"{what}: the right tensors are salvaged from a file that is cut at any of {len(places)} places")
        t.note("\n".join(bad[:10]))


def storages_of(tensor):
    parts = [tensor._indices(), tensor._values()] if tensor.layout == torch.sparse_coo else [tensor]
    return [p.untyped_storage() if hasattr(p, "untyped_storage") else p.storage()._untyped() for p in parts]


def zip_original(**options):
    """A torch zip. Storages are located by their bytes, which are all different."""
    tree = whole()
    data = saved(tree, **options)
    infos = sorted(zipfile.ZipFile(io.BytesIO(data)).infolist(), key=lambda i: i.header_offset)
    where_of, borders = {}, []
    for info, behind in zip(infos, infos[1:] + [None]):
        name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
        begin = info.header_offset + 30 + name + extra
        end = begin + info.compress_size
        proof = behind.header_offset if behind else end + 16
        borders += [info.header_offset, begin, end, proof]
        where_of[data[begin:end]] = (begin, end, proof)
    where = {k: [where_of[bytes(s)] for s in storages_of(v)] for k, v in tap.leaves(tree)}
    return Original(data, tree, ".pth", where), borders, infos


def check_flips(original, infos, places):
    """A flipped bit loses only the tensors whose bytes it is in. A flipped bit elsewhere loses none. If it is in the record of the
    byte order, no tensor is proved."""
    bad, bytes_of = [], {}
    for info in infos:
        begin = info.header_offset + 30 + sum(struct.unpack_from("<HH", original.data, info.header_offset + 26))
        bytes_of[info.filename.split("/")[-1]] = range(begin, begin + info.compress_size)
    for at in places:
        data = bytearray(original.data)
        data[at] ^= 1 << rng.randrange(8)
        if at in bytes_of["data.pkl"]:
            status, out, _, _, text = salvage(bytes(data))
            if status == 0 or (out is not None and "'data.pkl' does not match its bytes" not in text):
                bad.append(f"{at}: a damaged data.pkl passes with status {status}")
            continue
        status, out, lost, doubtful, text = salvage(bytes(data))
        hit = {k for k, parts in original.where.items() if any(b <= at < e for b, e, _ in parts)}
        got = {} if out is None else dict(tap.leaves(loaded(out, ".pth")))
        if set(got) != set(original.tensors) - hit or lost != hit:
            bad.append(f"{at}: lost {sorted(lost)}, expected {sorted(hit)}: {text[-300:]}")
        elif any(not same(got[k], original.tensors[k]) for k in got):
            bad.append(f"{at}: other values")
        elif status != (1 if lost or doubtful else 0) or doubtful != (set(got) if at in bytes_of["byteorder"] else set()):
            bad.append(f"{at}: status {status}, not proved {sorted(doubtful)}")
    t.ok(not bad, f"a flipped bit at any of {len(places)} places of a torch zip loses only the tensors that have it")
    t.note("\n".join(bad[:10]))


with t.part("torch zip"):
    original, borders, infos = zip_original()
    t.eq(original.check(original.data, set(original.tensors), set()), None, "all tensors of a whole file are written, with status 0")
    out = loaded(salvage(original.data)[1], ".pth")
    t.ok(out["epoch"] == 7 and out["config"] == {"lr": 0.1, "name": "x"} and list(out) == list(whole()),
         "the values beside the state dict are kept")
    original.check_cuts("torch zip", borders)
    cut = original.data[: infos[8].header_offset]
    t.eq(salvage(cut, stdin=True)[1:4], salvage(cut)[1:4], "a pipe gives the same output and messages as the file")
    t.eq(loaded(salvage(cut)[1], ".pth")["epoch"], 7, "the values beside the state dict are kept if the file is cut")
    check_flips(original, infos, sorted({rng.randrange(len(original.data)) for _ in range(PLACES)}))
    starts = [i.header_offset + d for i in infos for d in range(0, 60, 7)]
    directory = original.data.rindex(b"PK\x01\x02")
    check_flips(original, infos, starts + list(range(directory, len(original.data), 3)))

with t.part("legacy"):
    tree = whole()
    data = saved(tree, _use_new_zipfile_serialization=False)
    where, borders = {}, []
    for k, v in tap.leaves(tree):
        where[k] = []
        for s in storages_of(v):
            count = struct.pack("<q", len(bytes(s)) // (v._indices() if v.is_sparse and len(where[k]) == 0 else v).element_size())
            begin = data.index(count + bytes(s)) + 8
            where[k].append((begin, begin + len(bytes(s)), len(data) + 1))
            borders += [begin, begin + len(bytes(s))]
    Original(data, tree, ".pth", where).check_cuts("torch legacy", borders)

with t.part("safetensors"):
    from safetensors.torch import save

    flat = {k: v.contiguous().clone() for k, v in tensors().items() if not v.is_sparse}
    data = save(flat)
    start = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:start])
    where = {k: [(start + e["data_offsets"][0], start + e["data_offsets"][1], len(data) + 1)] for k, e in header.items()
             if k != "__metadata__"}
    Original(data, flat, ".safetensors", where).check_cuts("safetensors", [b for p in where.values() for b in p[0][:2]])

with t.part("a sharded set"):
    folder = scratch / "set"
    folder.mkdir()
    state = {k: v for k, v in tensors().items() if not v.is_sparse}
    names = list(state)
    parts = {f"part-{i}.bin": names[i::3] for i in range(3)}
    for file, keys in parts.items():
        torch.save({k: state[k].clone() for k in keys}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": {k: f for f, keys in parts.items() for k in keys}}))
    (folder / "part-1.bin").unlink()
    data = (folder / "part-2.bin").read_bytes()
    (folder / "part-2.bin").write_bytes(data[: data.index(b"archive/data/2" if b"archive/data/2" in data else b"/data/2")])
    done = tap.run("lnn-ckpt-adapt", "--salvage", folder, "-o", scratch / "joined.pth", status=1)
    got = torch.load(scratch / "joined.pth")
    expected = set(parts["part-0.bin"]) | set(parts["part-2.bin"][:2])
    t.eq(set(got), expected, "one shard is missing and one is cut: the tensors that exist are written")
    t.ok(all(tap.same(got[k], state[k]) for k in got), "the tensors salvaged from shards have their values")
    told = set(re.findall(r"'([^']*)' is lost", done.stderr.decode()))
    t.eq(told, set(names) - expected, "messages name the tensors that the shards have lost")

with t.part("salvage with edits"):
    tree = whole()
    data = bytearray(saved(tree))
    data[data.index(bytes(storages_of(tree["model"]["large"])[0]))] ^= 1
    (scratch / "in.pth").write_bytes(data)
    (scratch / "split.yaml").write_text("rules:\n- {from: index, to: [first, second], ops: [{split: 0, sizes: [6, 7]}]}\n")
    done = tap.run("lnn-ckpt-adapt", "--salvage", scratch / "in.pth", "--rename", "s/^blocks/layers/", "--dtype", "layers=bf16",
                   "-s", scratch / "split.yaml", "--drop-params", "half", "-o", scratch / "out.pth", status=1)
    got = torch.load(scratch / "out.pth")
    expected = {k.replace("blocks", "layers"): v.bfloat16() if "blocks" in k else v for k, v in tree["model"].items()
                if k not in ("large", "index", "half")}
    expected.update({"first": tree["model"]["index"][:6], "second": tree["model"]["index"][6:]})
    t.eq(list(got), list(tree), "salvage with edits: the root keeps its entries")
    t.eq(set(got["model"]), set(expected), "salvage with edits: tensors are renamed, split and dropped")
    t.ok(all(same(got["model"][k], v) for k, v in expected.items()), "salvage with edits: the values are right")
    t.ok(tap.same(got["optimizer"]["state"][0]["exp_avg"], tree["optimizer"]["state"][0]["exp_avg"]),
         "salvage with edits: the optimizer's tensors are kept")
    t.eq(got["model"]["q"].untyped_storage().data_ptr(), got["model"]["k"].untyped_storage().data_ptr(),
         "salvage with edits: a shared storage stays shared")

with t.part("a distributed folder"):
    try:
        from torch.distributed.checkpoint import save as save_folder
    except ImportError:
        t.skip("this torch has no torch.distributed.checkpoint.save")
    else:
        state = {k: v.clone().contiguous() for k, v in tensors().items() if not v.is_sparse}
        save_folder({"model": state, "step": 12}, checkpoint_id=str(scratch / "dcp"), no_dist=True)
        [file] = (scratch / "dcp").glob("*.distcp")
        data = file.read_bytes()
        at = len(data) * 2 // 3
        file.write_bytes(data[:at])
        done = tap.run("lnn-ckpt-adapt", "--salvage", scratch / "dcp", "-o", scratch / "joined.pth", status=1)
        got = torch.load(scratch / "joined.pth")
        t.ok(0 < len(got["model"]) < len(state) and all(tap.same(v, state[k]) for k, v in got["model"].items()),
             "a file of a distributed folder is cut: the tensors that are written have their values")
        t.eq(set(re.findall(r"'model\.([^']*)' is lost", done.stderr.decode())), set(state) - set(got["model"]),
             "messages name the other tensors of the folder")
        expected = {k for k, v in state.items() if 0 <= data.find(bytes(storages_of(v)[0])) <= at - v.numel() * v.element_size()}
        t.eq(set(got["model"]), expected, "all tensors of the folder whose bytes exist are written")

t.done()
