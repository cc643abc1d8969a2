# Files that are not checkpoints give status 2 and no output. The message says what the file is and what helps.

# shellcheck disable=SC2154 # top, fixtures, output, stderr and status come from helpers and bats
load helpers

# refused FILE TEXT...: every program refuses FILE, as a file and on a pipe, with each text.
refused() {
	local file=$1
	shift
	try lnn-ckpt-inspect "$file"
	expect_refusal 2 lnn-ckpt-inspect "$@"
	try lnn-ckpt-adapt "$file" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt "$@"
	pipe "cat $file | lnn-ckpt-adapt -o out.pth"
	expect_refusal 2 lnn-ckpt-adapt "$@"
	try lnn-filter -e '{TYPE: name, PATTERNS: [a]}' "$file"
	expect_refusal 2 lnn-filter "$@"
	[ ! -e out.pth ] || fail "an output from $file"
}

# records ROOT NAME...: a zip with these records. The contents of a record are its name.
records() {
	python3 - "$@" <<-'PYTHON'
		import sys, zipfile
		with zipfile.ZipFile('x.zip', 'w') as z:
		    for name in sys.argv[2:]:
		        z.writestr(sys.argv[1] + name, name)
	PYTHON
}

@test "images and models of other programs are refused with the name of their format" {
	printf '\377\330\377\340\0\020JFIF' >x.jpg
	refused x.jpg 'JPEG'
	printf '\211PNG\r\n\032\n\0\0\0\rIHDR' >x.png
	refused x.png 'PNG'
	# ir_version 8, producer_name "pytorch": the begin of a file of torch.onnx.export.
	printf '\010\010\022\007pytorch\032\0052.1.0:' >x.onnx
	refused x.onnx 'ONNX' 'exported from'
	printf 'GGUF\3\0\0\0' >x.gguf
	refused x.gguf 'GGUF'
}

@test "messages about pickles never advise to load them with pickle" {
	printf '\200\004\225\361\t\0\0\0\0\0\0\214%%torch.distributed.checkpoint.metadata\224\214\bMetadata\224\223\224' >x.metadata
	refused x.metadata 'distributed checkpoint' 'give the folder'
	refused "$fixtures/unwrapped.pkl" "without torch's wrapper"
	[[ $stderr != *'load it with'* ]] || fail "$stderr"
}

@test 'a file with two saves is refused with the place of the second one' {
	local n
	cat "$fixtures/tiny.pth" "$fixtures/rest.pth" >x.pth
	n=$(stat -c %s "$fixtures/tiny.pth")
	refused x.pth "at byte $n: the file holds two saves, and the second begins here" "'head -c $n'" "'tail -c +$((n + 1))'"
	cp x.pth __0_0.distcp # a file of this name also is a sequence of saves
	try lnn-ckpt-inspect __0_0.distcp
	expect_refusal 2 lnn-ckpt-inspect 'a file of a distributed checkpoint' 'give the folder'
	tail -c +$((n + 1)) x.pth | cmp - "$fixtures/rest.pth"
	# The offsets of the second zip count from the beginning of the file. torch.load reads it, and so do we.
	command -v python3 >/dev/null || skip 'there is no python3'
	python3 - <<-'PYTHON'
		import zipfile
		def put(z, n):
		    z.writestr('x/data.pkl', b'\x80\2}q\0X\1\0\0\0' + n + b'ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\n'
		               b'FloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\1tQK\0K\1\x85K\1\x85\x89ccollections\nOrderedDict\n)RtRs.')
		    z.writestr('x/data/0', b'1234')
		    z.writestr('x/version', '3\n')
		with zipfile.ZipFile('x.pth', 'w') as z:
		    put(z, b'a')
		first = open('x.pth', 'rb').read()
		with open('y.pth', 'w+b') as f:
		    f.write(first)
		    with zipfile.ZipFile(f, 'w') as z:
		        put(z, b'b')
		open('n', 'w').write(str(len(first)))
	PYTHON
	n=$(cat n)
	try lnn-ckpt-inspect y.pth
	expect_out $'b\tfloat32\t[1]'
	[ "$(printf '%s\n' "$stderr" | wc -l)" -eq 1 ] || fail "$stderr"
	expect_err_has 'it holds two saves, one after the other: the last is read' "'head -c $n'"
	pipe 'lnn-ckpt-inspect <y.pth | cat'
	expect_out $'b\tfloat32\t[1]'
	pipe 'cat y.pth | lnn-ckpt-inspect'
	expect_status 2
	expect_err_has "at byte $n: the file holds two saves, and the second begins here"
}

@test "zips without a checkpoint are refused with the name of their format" {
	command -v python3 >/dev/null || skip 'there is no python3'
	records 'blocks/0/' kernel.npy bias.npy
	refused x.zip '.npz'
	records '' w.npy
	refused x.zip '.npz'
	records 'pkg/' .data/extern_modules .data/version model/data.pkl
	refused x.zip 'torch.package'
	records 'prog/' archive_format version byteorder
	refused x.zip 'torch.export' 'state_dict'
	records '' version serialized_exported_program.json serialized_state_dict.pt
	refused x.zip 'torch.export' 'state_dict'
	records '' a/b.txt
	refused x.zip "no record 'version'"
}
