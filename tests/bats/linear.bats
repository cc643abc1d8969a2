# Time grows in proportion to the number of tensors, storages or shards. Memory does not grow with the size of tensors.

# shellcheck disable=SC2154 # top and fixtures come from helpers
# shellcheck disable=SC2016 # another shell expands the commands
load helpers

setup_file() {
	command -v python3 >/dev/null || skip 'no python3 to make the inputs with'
	export MAKE=$BATS_FILE_TMPDIR/make.py
	cat >"$MAKE" <<-'END'
		import io, json, pickle, struct, sys, types, zlib

		def safetensors(path, entries, holes=False):
		    """entries: (name, dtype, shape, bytes); with holes the bytes are their number"""
		    header, at = {}, 0
		    for name, dtype, shape, data in entries:
		        n = data if holes else len(data)
		        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
		        at += n
		    text = json.dumps(header).encode()
		    with open(path, "wb") as f:
		        f.write(struct.pack("<Q", len(text)) + text)
		        if holes:
		            f.truncate(8 + len(text) + at)
		        else:
		            f.write(b"".join(data for _, _, _, data in entries))

		def tensors(path, n):
		    safetensors(path, [(f"t.{i}", "F32", [16], bytes(64)) for i in range(n)])

		def table(path, n):
		    """many tensors, a bias table of 14x14 tokens behind one extra row, and last the index buffer that shows it"""
		    a = [(y, x) for y in range(14) for x in range(14)]
		    index = [[0] * 197] + [[0] + [1 + (p[0] - q[0] + 13) * 27 + p[1] - q[1] + 13 for q in a] for p in a]
		    index = struct.pack("<38809q", *(v for row in index for v in row))
		    entries = [(f"t.{i}", "F32", [1], bytes(4)) for i in range(n)]
		    entries.append(("stage_3.relative_position_bias_table", "F32", [730, 1], struct.pack("<730f", *range(730))))
		    entries.append(("stage_3.relative_position_index", "I64", [197, 197], index))
		    safetensors(path, entries)

		def storages(path, n):
		    """a torch zip with n storages beside the state dict"""
		    class Storage:
		        def __init__(self, key):
		            self.key = key
		    class Pickler(pickle._Pickler):
		        def persistent_id(self, x):
		            if isinstance(x, Storage):
		                return ("storage", untyped, x.key, "cpu", 4)
		    torch, sub, utils = (types.ModuleType(m) for m in ("torch", "torch.storage", "torch._utils"))
		    torch.storage, torch._utils = sub, utils
		    sys.modules.update({"torch": torch, "torch.storage": sub, "torch._utils": utils})
		    untyped = sub.UntypedStorage = type("UntypedStorage", (), {"__module__": "torch.storage"})
		    def rebuild(*args): pass
		    rebuild.__module__, rebuild.__name__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v3", "_rebuild_tensor_v3"
		    utils._rebuild_tensor_v3 = rebuild
		    class Dtype:
		        def __reduce__(self):
		            return "float32"
		    dtype = torch.float32 = Dtype()
		    Dtype.__module__ = "torch"
		    class Tensor:
		        def __reduce__(self):
		            return rebuild, (Storage("0"), 0, (1,), (1,), False, {}, dtype)
		    out = io.BytesIO()
		    Pickler(out, 2).dump({"model": {"w": Tensor()}, "stores": [Storage(str(i + 1)) for i in range(n)]})
		    records = [("data.pkl", out.getvalue()), ("byteorder", b"little"), ("version", b"3\n")]
		    records += [(f"data/{i}", bytes(4)) for i in range(n + 1)]
		    body, central = [], []
		    at = 0
		    for name, data in records:
		        name = ("archive/" + name).encode()
		        fields = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
		        body.append(b"PK\3\4" + fields + name + data)
		        central.append(b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, at) + name)
		        at += len(body[-1])
		    size = sum(map(len, central))
		    count = len(records)
		    end = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, at)
		    end += b"PK\6\7" + struct.pack("<IQI", 0, at + size, 1)
		    end += b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, min(count, 65535), min(count, 65535), size, at, 0)
		    with open(path, "wb") as f:
		        f.write(b"".join(body) + b"".join(central) + end)

		def huge(path, gib):
		    safetensors(path, [("a", "F32", [gib << 28], gib << 30)], holes=True)

		globals()[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
	END
}

# cpu COMMAND: prints the processor time of COMMAND in ms.
cpu() {
	local TIMEFORMAT='%U %S' user system
	{ time bash -c "$1" >/dev/null 2>err; } 2>cpu.times || fail "$1: $(cat err)" || return 1
	read -r user system <cpu.times
	echo $((10#${user/./} + 10#${system/./}))
}

# linear N KIND COMMAND: four times the input may take at most seven times as long plus 0.2 s. Times below 30 ms count as 30 ms.
# COMMAND has the input in $in.
linear() {
	local short long in
	for in in 1 4; do
		python3 "$MAKE" "$2" "in.$in" $(($1 * in))
	done
	short=$(in=in.1 cpu "export in=in.1; $3") || return 1
	long=$(in=in.4 cpu "export in=in.4; $3") || return 1
	[ "$short" -ge 30 ] || short=30
	[ "$long" -le $((7 * short + 200)) ] || fail "$3: $short ms, of four times as much $long ms"
}

@test 'a table that waits for its index on a pipe takes time in proportion to the tensors before it' {
	linear 30000 table 'lnn-interp-bias -q --img-size 384 < <(cat $in)'
	lnn-interp-bias -q --img-size 384 in.1 >file
	lnn-interp-bias -q --img-size 384 < <(cat in.1) | cmp - file
}

@test 'storages beside the state dict take time in proportion to their number' {
	linear 30000 storages 'lnn-ckpt-adapt -q --carry-all $in'
	lnn-ckpt-adapt -q --carry-all in.1 >file
	lnn-ckpt-adapt -q --carry-all < <(cat in.1) | cmp - file
	[ "$(unzip -l file 2>/dev/null | grep -c 'archive/data/')" -eq 30001 ] || ! command -v unzip
}

@test 'shards take time in proportion to their number, from a file and from a pipe' {
	linear 10000 tensors 'rm -rf out; lnn-ckpt-adapt -q --max-shard-size 6400 $in -o out/'
	rm -rf out
	lnn-ckpt-adapt -q --max-shard-size 6400 in.1 -o out/
	lnn-ckpt-adapt -q --max-shard-size 6400 -o piped/ < <(cat in.1)
	diff -r out piped
	[ "$(find out -name '*.safetensors' | wc -l)" -eq 100 ]
}

@test 'a key map takes time in proportion to the number of names' {
	printf 'rules:\n  - from: "t.{i}"\n    to: ["a.{i}", "b.{i}"]\n' >map.yaml
	linear 30000 tensors 'lnn-ckpt-adapt -q -s map.yaml $in'
	[ "$(lnn-ckpt-adapt -q -s map.yaml -n in.1 | head -n 4 | cut -f 1 | tr '\n' ' ')" = 'a.0 b.0 a.1 b.1 ' ]
}

@test 'a cast needs the same memory for any tensor, from a file and from a pipe' {
	[ -z "${LNN_SAN-}" ] || skip 'a sanitizer maps terabytes of its own'
	local gib=${LNN_HUGE:-2} # 8 takes a minute
	python3 "$MAKE" huge huge "$gib"
	(ulimit -v 300000 && lnn-ckpt-adapt -q --dtype bfloat16 huge | wc -c >size)
	[ "$(($(<size) >> 29))" -eq "$gib" ]
	(ulimit -v 300000 && lnn-ckpt-adapt -q --dtype bfloat16 < <(cat huge) | wc -c >size)
	[ "$(($(<size) >> 29))" -eq "$gib" ]
}
