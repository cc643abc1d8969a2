# Torch zips whose parts contradict each other. If it can be read forward, a pipe is accepted like a file, with the same bytes and a
# warning. If not, the message says what is wrong. tests/torch/test_verdicts.py has many more cases.

# shellcheck disable=SC2154 # fixtures, status and stderr come from helpers
load helpers

setup_file() {
	command -v python3 >/dev/null || skip 'no python3 to change the files with'
}

# change WHAT: makes bad.pth, which is demo.pth with one field of its record data/0 changed. zipfile finds descriptors and headers.
change() {
	python3 - "$fixtures/demo.pth" bad.pth "$1" <<'END'
import struct, sys, zipfile
source, target, what = sys.argv[1:]
b = bytearray(open(source, "rb").read())
info = next(i for i in zipfile.ZipFile(source).infolist() if i.filename.endswith("/data/0"))
local = info.header_offset
data = local + 30 + sum(struct.unpack_from("<HH", b, local + 26))
descriptor = data + info.file_size
central = b.index(b"PK\1\2")
while struct.unpack_from("<I", b, central + 42)[0] != local:
    central = b.index(b"PK\1\2", central + 4)
size = info.file_size
assert b[descriptor : descriptor + 4] == b"PK\7\10"
if what == "header sizes":
    struct.pack_into("<II", b, local + 18, 7, 7)
elif what == "header flags":
    struct.pack_into("<H", b, local + 6, 0)
elif what == "descriptor packed size":
    struct.pack_into("<I", b, descriptor + 8, size + 1)
elif what == "descriptor size":
    struct.pack_into("<I", b, descriptor + 12, size - 1)
elif what == "header, descriptor and directory":
    struct.pack_into("<II", b, local + 18, size - 64, size - 64)
    struct.pack_into("<II", b, central + 20, size - 64, size - 64)
elif what == "no descriptor":
    struct.pack_into("<H", b, local + 6, 0)
    struct.pack_into("<I", b, descriptor, 0)
elif what == "folder":
    struct.pack_into("<I", b, central + 38, 0x10)
open(target, "wb").write(b)
END
}

@test 'a size that is wrong at one place only gives a warning, from a file and from a pipe' {
	local what
	for what in 'header sizes' 'header flags' 'descriptor packed size' 'descriptor size'; do
		change "$what"
		pipe 'lnn-ckpt-adapt bad.pth >file.pth'
		expect_status 0
		expect_err_has 'whose CRC or size fields differ within the zip'
		pipe 'cat bad.pth | lnn-ckpt-adapt >pipe.pth'
		expect_status 0
		expect_err_has 'whose CRC or size fields differ within the zip'
		cmp file.pth pipe.pth
	done
	lnn-ckpt-adapt -q "$fixtures/demo.pth" | cmp - file.pth
}

@test 'a size that contradicts the tensors is refused' {
	change 'header, descriptor and directory'
	pipe 'lnn-ckpt-adapt bad.pth >out.pth'
	expect_status 2
	expect_err_has 'but its tensors say'
	pipe 'cat bad.pth | lnn-ckpt-adapt >out.pth'
	expect_status 2
	expect_err_has "the zip's directory says that"
}

@test 'on a pipe a record without a descriptor must have the size that its tensors need' {
	change 'no descriptor'
	pipe 'lnn-ckpt-adapt -q bad.pth >out.pth'
	expect_status 0
	pipe 'cat bad.pth | lnn-ckpt-adapt -q >out.pth'
	expect_status 2
	expect_err_has 'bytes by its header, but its tensors say'
}

@test 'a record with contents that is marked as a folder is refused, as torch reads it as empty' {
	change folder
	pipe 'lnn-ckpt-adapt bad.pth >out.pth'
	expect_status 2
	expect_err_has 'is marked as a folder, but has contents'
	pipe 'cat bad.pth | lnn-ckpt-adapt >out.pth'
	expect_status 2
	expect_err_has 'is marked as a folder, but has contents'
}

@test 'two records whose names differ only in case are refused on a pipe, and the message names both' {
	python3 - <<'END'
import zipfile
with zipfile.ZipFile(r"{}/demo.pth".format(__import__("os").environ["fixtures"])) as z:
    rows = [(i.filename, z.read(i)) for i in z.infolist() if not i.filename.split("/")[1].startswith(".")]
folder = rows[0][0].split("/")[0]
for target, root, extra in (("case", folder, "DATA/0"), ("capitals", "Model", "DATA/0"), ("before", folder, "DATA/0")):
    moved = [(root + name[len(folder):], data) for name, data in rows]
    at = 1 if target == "before" else len(moved)
    moved[at:at] = [(f"{root}/{extra}", b"x")]
    with zipfile.ZipFile(f"{target}.pth", "w") as z:
        for name, data in moved:
            z.writestr(zipfile.ZipInfo(name), data)
END
	local file
	for file in case capitals before; do
		pipe "cat $file.pth | lnn-ckpt-adapt >out.pth"
		expect_status 2
		expect_err_has '/data/0'
		expect_err_has '/DATA/0'
		expect_err_has 'which are the same name to torch'
	done
}

@test 'the width of the descriptor of an empty record is inferred from its bytes and not from the header' {
	# If it cannot seek, Python's zipfile writes wide descriptors. The header says so only with force_zip64.
	python3 - "$fixtures/tiny.pth" <<-'END'
		import sys, zipfile

		class Pipe:
		    def __init__(self, name): self.file = open(name, "wb")
		    def write(self, data): return self.file.write(data)
		    def flush(self): self.file.flush()

		with zipfile.ZipFile(sys.argv[1]) as old:
		    for name, wide in ("wide.pth", True), ("narrow.pth", False):
		        with zipfile.ZipFile(Pipe(name), "w") as new:
		            for info in old.infolist():
		                with new.open(zipfile.ZipInfo(info.filename), "w", force_zip64=wide) as record:
		                    record.write(old.read(info))
	END
	local file
	lnn-ckpt-adapt -q "$fixtures/tiny.pth" >expected.pth
	for file in wide narrow; do
		pipe "cat $file.pth | lnn-ckpt-adapt -q >$file.out"
		expect_status 0
		cmp expected.pth $file.out
	done
}
