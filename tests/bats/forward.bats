# A torch zip whose parts contradict each other: a pipe takes what a file takes, as far as one can read forward, gives the same
# bytes, and warns; where it cannot the message says what is wrong. tests/torch/test_verdicts.py has many more.

# shellcheck disable=SC2154 # fixtures, status and stderr come from helpers
load helpers

setup_file() {
	command -v python3 >/dev/null || skip 'no python3 to change the files with'
}

# change WHAT: bad.pth is demo.pth with one field of its record data/0 changed. Descriptors and headers are found by zipfile.
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

@test 'sizes that only one place states wrongly are warned of, from a file and from a pipe' {
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

@test 'a size that is not that of the tensors is refused, and both numbers are told' {
	change 'header, descriptor and directory'
	pipe 'lnn-ckpt-adapt bad.pth >out.pth'
	expect_status 2
	expect_err_has 'but its tensors say'
	pipe 'cat bad.pth | lnn-ckpt-adapt >out.pth'
	expect_status 2
	expect_err_has "the zip's directory says that"
}

@test 'on a pipe a record must end where the next one begins; then the message says what to do' {
	change 'no descriptor'
	pipe 'lnn-ckpt-adapt -q bad.pth >out.pth'
	expect_status 0
	pipe 'cat bad.pth | lnn-ckpt-adapt -q >out.pth'
	expect_status 2
	expect_err_has 'bytes by its header, but its tensors say'
}

@test 'a record that is marked as a folder is refused: torch would read nothing of it' {
	change folder
	pipe 'lnn-ckpt-adapt bad.pth >out.pth'
	expect_status 2
	expect_err_has 'is marked as a folder, but has contents'
	pipe 'cat bad.pth | lnn-ckpt-adapt >out.pth'
	expect_status 2
	expect_err_has 'is marked as a folder, but has contents'
}

@test 'two records of one name, or of names that differ in case only: a pipe names both' {
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

@test 'the descriptor of an empty record is as wide as its contents show, not as the header says' {
	# Python's zipfile, when it cannot seek, writes wide ones; and a header that says so only if it is asked to.
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
