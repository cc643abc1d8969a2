# lnn-ckpt-adapt --salvage writes the whole tensors of a file that is cut off or damaged. tests/torch/test_salvage.py has more cases.

# shellcheck disable=SC2154 # fixtures, output, stderr and status come from helpers and bats
load helpers
load faults

# flip FILE OFFSET: flips a bit of a byte.
flip() {
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf '%b' "\\x$(printf '%02x' $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# directory FILE: prints the offset of the directory of a zip.
directory() {
	LC_ALL=C grep -abo $'PK\1\2' "$1" | head -n 1 | cut -d : -f 1
}

@test 'safetensors: tensors beyond the cut are lost, the others are not proved' {
	safetensors in.safetensors a b c
	head -c $(($(stat -c %s in.safetensors) - 3)) in.safetensors >cut.safetensors
	try lnn-ckpt-adapt --salvage cut.safetensors -o out.safetensors
	expect_status 1
	expect_err_has "tensor 'a' is not proved" "tensor 'b' is not proved" "tensor 'c' is lost: bytes of it are missing" \
		'salvage: 0 whole, 2 not proved, 1 lost'
	[ "$(lnn-ckpt-inspect --format names out.safetensors)" = $'a\nb' ]
}

@test 'a whole torch zip is copied with all its contents' {
	try lnn-ckpt-adapt --salvage "$fixtures/rest.pth" -o out.pth
	expect_status 0
	diff <(lnn-ckpt-inspect --digest -k '' "$fixtures/rest.pth") <(lnn-ckpt-inspect --digest -k '' out.pth)
	diff <(lnn-ckpt-inspect --rest "$fixtures/rest.pth" | grep -v '"file":') <(lnn-ckpt-inspect --rest out.pth | grep -v '"file":')
}

@test 'a torch zip without its directory is salvaged, and the same through a pipe; -q gives no message' {
	head -c "$(directory "$fixtures/tiny.pth")" "$fixtures/tiny.pth" >cut.pth
	try lnn-ckpt-adapt cut.pth -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'lnn-ckpt-adapt --salvage writes what is whole'
	for f in tiny.safetensors legacy.pth; do
		head -c -10 "$fixtures/$f" >cut.other
		try lnn-ckpt-inspect cut.other
		expect_refusal 2 lnn-ckpt-inspect 'cut off' '(lnn-ckpt-adapt --salvage writes what is whole)'
	done
	try lnn-ckpt-adapt --salvage cut.pth -o out.pth
	expect_status 0
	diff <(lnn-ckpt-inspect --digest "$fixtures/tiny.pth") <(lnn-ckpt-inspect --digest out.pth)
	pipe 'cat cut.pth | lnn-ckpt-adapt -q --salvage -o piped.pth'
	expect_status 0
	expect_no_err
	cmp out.pth piped.pth
}

@test 'the tensor of a damaged record is lost' {
	local name at
	name=$(lnn-ckpt-inspect --format names "$fixtures/tiny.pth" | head -n 1)
	at=$(lnn-ckpt-inspect --format json -l "$fixtures/tiny.pth" | python3 -c 'import json, sys
print(json.load(sys.stdin)["tensors"][0]["offset"])')
	cp "$fixtures/tiny.pth" in.pth
	flip in.pth "$at"
	try lnn-ckpt-adapt --salvage in.pth -o out.pth
	expect_status 1
	expect_err_has "$name' is lost: its CRC does not match its bytes" ' 1 lost'
	diff <(lnn-ckpt-inspect --digest "$fixtures/tiny.pth" | sed '1d;$d') <(lnn-ckpt-inspect --digest out.pth | sed '$d')
}

@test 'a damaged local header, descriptor or directory loses nothing' {
	local at n order
	n=$(directory "$fixtures/tiny.pth")
	order=$(LC_ALL=C grep -abo tiny/byteorder "$fixtures/tiny.pth" | tail -n 1 | cut -d : -f 1)
	for at in 0 4 27 29 35 $((n - 12)) $((n + 16)) $((n + 20)) $((n + 42)) $((order - 4)); do
		cp "$fixtures/tiny.pth" in.pth
		flip in.pth "$at"
		try lnn-ckpt-adapt --salvage in.pth -o out.pth
		expect_status 0
		diff <(lnn-ckpt-inspect --digest "$fixtures/tiny.pth") <(lnn-ckpt-inspect --digest out.pth)
	done
}

@test 'if nothing can be salvaged, the status is 2 and there is no file' {
	head -c 100 "$fixtures/tiny.pth" >cut.pth
	try lnn-ckpt-adapt --salvage cut.pth -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'nothing can be saved from it'
	echo text >text
	try lnn-ckpt-adapt --salvage text -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'nothing can be saved from it'
	head -c 1000 "$fixtures/vit.npz" >cut.npz
	try lnn-ckpt-adapt --salvage cut.npz -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'cut.npz: nothing can be saved from it: cut off: the zip has no central directory at its end'
	expect_only cut.npz cut.pth text
}

@test 'the output must be a single file' {
	local args
	for args in '' '-o -' '-o dir/' '--max-shard-size 1MB -o out' '--to dcp -o out'; do
		# shellcheck disable=SC2086 # several words
		try lnn-ckpt-adapt --salvage "$fixtures/tiny.pth" $args
		expect_refusal 2 lnn-ckpt-adapt '-o FILE'
	done
	try lnn-ckpt-adapt --salvage --shard 1/2 "$fixtures/sharded-bin" -o dir
	expect_refusal 2 lnn-ckpt-adapt '--salvage'
}

@test 'the tensors of a set without one of its shards are salvaged' {
	local file
	cp -r "$fixtures/sharded-safetensors" set
	rm "$(find set -name '*.safetensors' | sort | head -n 1)"
	for file in set/*.safetensors; do lnn-ckpt-inspect --digest "$file"; done | grep -v '^#' | sort >left
	try lnn-ckpt-adapt --salvage set -o out.safetensors
	expect_status 1
	expect_err_has 'cannot open' 'is lost: bytes of it are missing'
	diff left <(lnn-ckpt-inspect --digest out.safetensors | grep -v '^#' | sort)
}

@test 'every system call of --salvage fails once' {
	head -c "$(directory "$fixtures/tiny.pth")" "$fixtures/tiny.pth" >cut.pth
	safetensors in.safetensors a b
	# Calls that read are not in the list, as data that cannot be read are lost.
	faults -o out -c 'write fsync rename close open fstat stat realpath faccessat' -- lnn-ckpt-adapt --salvage cut.pth -o out
	faults -o out -s 1 -- lnn-ckpt-adapt --salvage in.safetensors -o out
	faults -o out -s 1 -p in.safetensors -- lnn-ckpt-adapt --salvage -o out
}

@test 'names keep their wrappers' {
	head -c 90000 "$fixtures/demo.pth" >cut.pth
	try lnn-ckpt-adapt --salvage cut.pth -o out.pth
	expect_status 1
	expect_err_has '36 kept, 0 dropped' 'salvage: 36 whole, 0 not proved, 196 lost'
	lnn-ckpt-inspect --format names out.pth | grep -q '^module\.' || fail "$(lnn-ckpt-inspect out.pth)"
}

@test 'messages name --salvage for files that it accepts' {
	head -c 400 "$fixtures/vit.npz" >cut.npz
	head -c 90000 "$fixtures/demo.pth" >cut.pth
	try lnn-ckpt-inspect cut.npz
	expect_refusal 2 lnn-ckpt-inspect 'cut.npz: cut off: the zip has no central directory at its end'
	[[ $stderr != *--salvage* ]] || fail "$stderr"
	try lnn-ckpt-inspect cut.pth
	expect_refusal 2 lnn-ckpt-inspect '(lnn-ckpt-adapt --salvage writes what is whole)'
	try lnn-ckpt-adapt --salvage cut.npz -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'cut off'
	[[ $stderr != *'--salvage writes'* ]] || fail "$stderr"
}
