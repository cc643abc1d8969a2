# What is no checkpoint says what it is and what would help, with status 2 and without an output.

# shellcheck disable=SC2154 # top, fixtures, output, stderr and status come from helpers and bats
load helpers

# refused FILE TEXT...: by every program, as a file and on a pipe.
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

# records ROOT NAME...: a zip with these records, each of which holds its own name.
records() {
	python3 - "$@" <<-'PYTHON'
		import sys, zipfile
		with zipfile.ZipFile('x.zip', 'w') as z:
		    for name in sys.argv[2:]:
		        z.writestr(sys.argv[1] + name, name)
	PYTHON
}

@test "images and models of other programs" {
	printf '\377\330\377\340\0\020JFIF' >x.jpg
	refused x.jpg 'JPEG'
	printf '\211PNG\r\n\032\n\0\0\0\rIHDR' >x.png
	refused x.png 'PNG'
	# ir_version 8, producer_name "pytorch", as torch.onnx.export begins.
	printf '\010\010\022\007pytorch\032\0052.1.0:' >x.onnx
	refused x.onnx 'ONNX' 'exported from'
	printf 'GGUF\3\0\0\0' >x.gguf
	refused x.gguf 'GGUF'
}

@test "pickles are never to be loaded with pickle" {
	printf '\200\004\225\361\t\0\0\0\0\0\0\214%%torch.distributed.checkpoint.metadata\224\214\bMetadata\224\223\224' >x.metadata
	refused x.metadata 'distributed checkpoint'
	refused "$fixtures/bare.pkl" "without torch's wrapper"
	[[ $stderr != *'load it with'* ]] || fail "$stderr"
}

@test "zips that hold no checkpoint" {
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
