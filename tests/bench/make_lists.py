"""Usage: make_lists.py FOLDER N...

Writes checkpoints with N small tensors for the benchmark, as a torch zip and as safetensors. The pickle equals that of torch.save but is
written by hand, as torch needs minutes for a million tensors.
"""

import json
import pathlib
import struct
import sys
import zlib


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


class Memo:
    """PUTs as they come, and GETs of what was stored once."""

    def __init__(self):
        self.n, self.known = 0, {}

    def put(self, what):
        self.n += 1
        return what + (b"q" + bytes([self.n - 1]) if self.n <= 256 else b"r" + struct.pack("<I", self.n - 1))

    def once(self, what):
        if what in self.known:
            return b"h" + bytes([self.known[what]])
        self.known[what] = self.n
        return self.put(what)


def pickle_of(names):
    m = Memo()
    yield b"\x80\x02" + m.put(b"}") + m.put(text("model")) + m.put(b"}") + b"("
    for i, name in enumerate(names):
        yield b"".join([
            b"u(" if i > 0 and i % 1000 == 0 else b"", m.put(text(name)), m.once(b"ctorch._utils\n_rebuild_tensor_v2\n"), b"((",
            m.once(text("storage")), m.once(b"ctorch\nFloatStorage\n"), m.put(text(str(i))), m.once(text("cpu")),
            m.put(b"K\x04t"), m.put(b"QK\0K\x04\x85"), m.put(b"K\x01\x85"), b"\x89", m.once(b"ccollections\nOrderedDict\n"),
            m.put(b")R"), m.put(b"t"), m.put(b"R")])
    yield b"us."


def write_torch(path, names):
    records = [("data.pkl", b"".join(pickle_of(names))), (".format_version", b"1"), (".storage_alignment", b"64"), ("byteorder", b"little")]
    records += [(f"data/{i}", struct.pack("<4f", i, i, i, i)) for i in range(len(names))]
    records += [("version", b"3\n"), (".data/serialization_id", b"0" * 40)]
    central, at = [], 0
    with open(path, "wb") as f:
        for name, data in records:
            name = b"lists/" + name.encode()
            fill = -(at + 34 + len(name)) % 64
            sizes = struct.pack("<III", zlib.crc32(data), len(data), len(data))
            local = struct.pack("<IHHHHH", 0x04034b50, 0, 0x808, 0, 0, 0) + sizes + struct.pack("<HH", len(name), fill + 4) + name
            local += b"FB" + struct.pack("<H", fill) + b"Z" * fill + data + struct.pack("<I", 0x08074b50) + sizes
            central.append(struct.pack("<IHHHHHH", 0x02014b50, 0, 0, 0x808, 0, 0, 0) + sizes +
                           struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, at) + name)
            at += f.write(local)
        n, size = len(central), f.write(b"".join(central))
        f.write(struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, n, n, size, at))
        f.write(struct.pack("<IIQI", 0x07064b50, 0, at + size, 1))
        f.write(struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, min(n, 0xffff), min(n, 0xffff), size, at, 0))


def write_safetensors(path, names):
    header = {name: {"dtype": "F32", "shape": [4], "data_offsets": [16 * i, 16 * i + 16]} for i, name in enumerate(names)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for i in range(len(names)):
            f.write(struct.pack("<4f", i, i, i, i))


for count in map(int, sys.argv[2:]):
    # Short names: the header of safetensors may have a hundred million bytes.
    names = [f"layers.{i // 100}.{i % 100}.attn.qkv.weight" for i in range(count)]
    stem = pathlib.Path(sys.argv[1]) / f"lists{count}"
    write_torch(stem.with_suffix(".pth"), names)
    write_safetensors(stem.with_suffix(".safetensors"), names)
