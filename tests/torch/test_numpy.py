""".npz and .npy files of numpy, and pickles of arrays by Python 3 and 2 in every protocol, give the arrays that numpy loads."""

import io
import pickle
import struct
import warnings
import zipfile

import tap

torch = tap.need_torch(2, 3)
np = tap.need("numpy")
warnings.simplefilter("ignore")

t = tap.Tap()
tmp = tap.scratch()
rng = np.random.default_rng(1)

ORDERS = {
    "c": lambda a: a,
    "fortran": np.asfortranarray,
    "big": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "big fortran": lambda a: np.asfortranarray(a.astype(a.dtype.newbyteorder(">"))),
}


def arrays():
    """Arrays of every dtype that torch has, in each byte order, in edge shapes, with slashes and dots in their names."""
    out = {}
    for dtype in "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1 c8 c16".split():
        for order, make in ORDERS.items():
            a = rng.integers(0, 200, (2, 3, 5)) % (2 if dtype == "b1" else 100)
            out[f"{dtype}/{order}"] = make(a.astype(dtype))
    out["scalar"] = np.float32(2.5).reshape(())
    out["empty"] = np.zeros((0, 3), "f4")
    out["Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"] = rng.standard_normal((300, 70)).astype("f4")
    out["a.b"] = np.arange(3, dtype="i8")
    return out


def as_torch(a):
    a = np.asarray(a)
    return torch.from_numpy(np.ascontiguousarray(a.astype(a.dtype.newbyteorder("="))).reshape(a.shape).copy())


def same_dict(path, expected, what):
    got = torch.load(path, weights_only=True)
    t.eq(list(got), list(expected), f"{what}: names and their order")
    bad = [k for k in expected if k in got and not tap.same(got[k], as_torch(expected[k]))]
    t.eq(bad, [], f"{what}: the values are equal bit for bit")


def both_ways(path, expected, what, *args):
    """Converts path as a file and through a pipe and compares the result."""
    tap.run("lnn-ckpt-adapt", *args, "--root", "-o", tmp / "out.pth", path)
    same_dict(tmp / "out.pth", expected, what)
    piped = tap.run("lnn-ckpt-adapt", *args, "--root", "--to", "torch", stdin=path.read_bytes()).stdout
    t.ok(piped == (tmp / "out.pth").read_bytes(), f"{what}: a pipe gives the same bytes")


everything = arrays()
for save, name in ((np.savez, "stored"), (np.savez_compressed, "deflated")):
    with t.part(name):
        save(tmp / "a.npz", **everything)
        both_ways(tmp / "a.npz", everything, f"{name} .npz")
        safe = {k: v for k, v in everything.items() if v.dtype.kind != "c" or v.dtype.itemsize == 8}
        save(tmp / "a.npz", **safe)
        tap.run("lnn-ckpt-adapt", "-o", tmp / "out.safetensors", tmp / "a.npz")
        got = __import__("safetensors.torch").torch.load_file(tmp / "out.safetensors")
        t.eq([k for k in safe if not tap.same(got[k], as_torch(safe[k]))], [], f"{name} .npz: safetensors output has equal values")
        tap.run("lnn-ckpt-inspect", "--check", tmp / "a.npz")
with t.part("unseekable"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for k, v in everything.items():
            with z.open(k + ".npy", "w") as f:
                np.lib.format.write_array(f, v)
    (tmp / "a.npz").write_bytes(out.getvalue())
    both_ways(tmp / "a.npz", everything, "a .npz by zipfile")
with t.part("versions of the header"):
    for version in ((1, 0), (2, 0), (3, 0)):
        with open(tmp / "a.npy", "wb") as f:
            np.lib.format.write_array(f, everything["f4/fortran"], version=version)
        both_ways(tmp / "a.npy", {"": everything["f4/fortran"]}, f".npy {version}")
    # Sizes as Python 2 writes them, and no padding.
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L)}\n"
    (tmp / "a.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + struct.pack("<2f", 1, 2))
    both_ways(tmp / "a.npy", {"": np.array([[1], [2]], "f4")}, ".npy of Python 2")
    head = b"{'descr': '|V2', 'fortran_order': False, 'shape': (2,), }\n"
    (tmp / "a.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + b"\x80\x3f\0\xc0")
    tap.run("lnn-ckpt-adapt", "--root", "-o", tmp / "out.pth", tmp / "a.npy")
    got = torch.load(tmp / "out.pth")[""]
    t.ok(torch.equal(got, torch.tensor([1, -2], dtype=torch.bfloat16)), "dtype V2 is read as bfloat16")
with t.part("no tensors"):
    np.savez(tmp / "a.npz", w=np.ones(2), words=np.array(["a", "bc"]))
    done = tap.run("lnn-ckpt-inspect", tmp / "a.npz")
    t.ok(done.stdout == b"w\tfloat64\t[2]\n" and b"'words.npy' is text" in done.stderr, "an array of text is left out with a warning")
    for bad, say in ((np.array([{}], object), b"pickled Python objects"), (np.ones(2, "f4,i4"), b"not understood"),
                     (np.ones(2, "M8[s]"), b"no tensor has"), (np.ones(2, "g"), b"no tensor has")):
        np.savez(tmp / "a.npz", w=np.ones(2), bad=bad)
        done = tap.run("lnn-ckpt-inspect", tmp / "a.npz", status=2)
        t.ok(b"'bad.npy'" in done.stderr and say in done.stderr and done.stderr.count(b"\n") == 1,
             f"an array of dtype {bad.dtype} is refused")
with t.part("damage"):
    for save in (np.savez, np.savez_compressed):
        save(tmp / "a.npz", w=everything["Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"])
        data = bytearray((tmp / "a.npz").read_bytes())
        data[len(data) // 2] ^= 1
        (tmp / "bad.npz").write_bytes(data)
        tap.run("lnn-ckpt-adapt", "-o", tmp / "x.safetensors", tmp / "bad.npz", status=2)
        t.ok(not (tmp / "x.safetensors").exists(), f"{save.__name__}: a flipped bit is found by the record's CRC")
    data = bytearray((tmp / "a.npz").read_bytes())
    for n in range(0, len(data), 997):
        (tmp / "bad.npz").write_bytes(data[:n])
        tap.run("lnn-ckpt-inspect", tmp / "bad.npz", status=2)
    t.ok(True, "a file that is cut off anywhere is refused")

# Pickles. Python 2 wrote the module name numpy.core, and str for bytes.
zoo = {"model": {k: v for k, v in everything.items() if k != "scalar"}, "__author__": "Caffe2", "matching_heuristics": True}


def renamed(data):
    return data.replace(b"numpy._core", b"numpy.core")


for protocol in range(6):
    with t.part(f"protocol {protocol}"):
        (tmp / "a.pkl").write_bytes(pickle.dumps(zoo, protocol))
        both_ways(tmp / "a.pkl", zoo["model"], f"pickle of protocol {protocol}")
        listed = tap.run("lnn-ckpt-inspect", "-k", "", tmp / "a.pkl").stdout
        t.eq(listed.count(b"\n"), len(zoo["model"]), "all arrays are listed from the root")


def py2(value, protocol):
    """A dict of arrays as cPickle of Python 2 wrote it, built by hand: text and bytes are both str."""
    out = io.BytesIO()

    def s(x):
        if protocol == 0:
            out.write(b"S'" + b"".join(b"\\x%02x" % c if c < 32 or c > 126 or c in b"'\\" else bytes([c]) for c in x) + b"'\n")
        elif len(x) < 256:
            out.write(b"U" + bytes([len(x)]) + x)
        else:
            out.write(b"T" + struct.pack("<i", len(x)) + x)

    def n(x):
        out.write(b"I%d\n" % x if protocol == 0 else b"J" + struct.pack("<i", x))

    out.write({0: b"(dp1\n", 1: b"}q\1", 2: b"\x80\2}q\1"}[protocol])
    for key, a in value.items():
        s(key.encode())
        out.write(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(")
        n(0)
        out.write(b"t")
        s(b"b")
        out.write(b"tR(")
        n(1)
        out.write(b"(")
        for size in a.shape:
            n(size)
        out.write(b"tcnumpy\ndtype\n(")
        s(a.dtype.str[1:].encode())
        n(0)
        n(1)
        out.write(b"tR(")
        n(3)
        s(a.dtype.str[:1].encode())
        out.write(b"NNN")
        n(-1)
        n(-1)
        n(0)
        fortran = a.flags.f_contiguous and not a.flags.c_contiguous
        out.write(b"tb" + (b"I01\n" if fortran else b"I00\n"))
        s(a.tobytes("F" if fortran else "C"))
        out.write(b"tbs")
    return out.getvalue() + b"."


with t.part("Python 2"):
    for protocol in range(3):
        data = py2(everything, protocol)
        back = pickle.loads(data, encoding="latin1")
        t.ok(all(tap.same(as_torch(back[k]), as_torch(v)) for k, v in everything.items()), "numpy itself loads this pickle of Python 2")
        (tmp / "a.pkl").write_bytes(data)
        both_ways(tmp / "a.pkl", everything, f"pickle of Python 2, protocol {protocol}")
with t.part("around arrays"):
    axes = np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2)
    blob = b"x" * 5000
    shared = np.arange(600, dtype="f4")
    value = {"model": {"axes": axes, "x": np.float32(7), "one": shared, "two": shared}, "blob": blob, "also": [blob, None],
             "objects": np.array([1, "a"], object), "text": "y" * 3000}
    for protocol in (2, 4, 5):
        (tmp / "a.pkl").write_bytes(pickle.dumps(value, protocol))
        both_ways(tmp / "a.pkl", value["model"], f"views and scalars, protocol {protocol}")
        tap.run("lnn-ckpt-adapt", "--carry-all", "-o", tmp / "out.pth", tmp / "a.pkl")
        got = torch.load(tmp / "out.pth", weights_only=False)
        t.ok(got["blob"] == blob and got["also"][0] == blob and got["text"] == value["text"], "bytes outside arrays are carried")
        t.ok(got["objects"].tolist() == [1, "a"], "an array of objects is carried unchanged")
    (tmp / "a.pkl").write_bytes(pickle.dumps(shared, 4) + b"more")
    done = tap.run("lnn-ckpt-inspect", tmp / "a.pkl")
    t.ok(done.stdout == b"\\e\tfloat32\t[600]\n" and b"bytes follow" in done.stderr,
         "a pickle of a single array is listed, with a warning about the bytes after it")
    (tmp / "a.pkl").write_bytes(pickle.dumps({"epoch": 3}))
    done = tap.run("lnn-ckpt-inspect", tmp / "a.pkl", status=2)
    t.ok(b"without torch's wrapper" in done.stderr, "a pickle without arrays is refused")
    data = pickle.dumps({"w": np.arange(3000.0)}, 4).replace(struct.pack("<H", 3000), struct.pack("<H", 2999))
    (tmp / "a.pkl").write_bytes(data)
    done = tap.run("lnn-ckpt-inspect", tmp / "a.pkl", status=2)
    t.ok(b"which contradicts its shape" in done.stderr, "an array whose bytes contradict its shape is refused")

t.done()
