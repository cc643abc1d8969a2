# Streams in small pieces, streams that end too early, and files that change while they are read.

# shellcheck disable=SC2154 # top and fixtures come from helpers
load helpers

setup_file() {
	command -v python3 >/dev/null || skip 'no python3 to feed the programs with'
	# trickle N FILE: writes FILE to standard output, N bytes at a time.
	cat >"$BATS_FILE_TMPDIR/trickle" <<-'END'
		import os, sys
		data = open(sys.argv[2], "rb").read()
		n = int(sys.argv[1])
		for i in range(0, len(data), n):
		    os.write(1, data[i:i + n])
	END
	# A checkpoint of 64 MiB.
	cat >"$BATS_FILE_TMPDIR/large" <<-'END'
		import struct, sys
		header = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (64 << 20, 64 << 20)
		with open(sys.argv[1], "wb") as f:
		    f.write(struct.pack("<Q", len(header)) + header)
		    for i in range(64):
		        f.write(bytes([int(sys.argv[2]) + i]) * (1 << 20))
	END
	python3 "$BATS_FILE_TMPDIR/large" "$BATS_FILE_TMPDIR/large.safetensors" 1
	export TRICKLE=$BATS_FILE_TMPDIR/trickle LARGE=$BATS_FILE_TMPDIR/large.safetensors
}

inputs='tiny.pth deflated.pth reordered.pth legacy.pth bigendian.pth lazybits.pth protocol4.pth tables.pth tiny.safetensors'

@test 'a pipe in pieces of 1, 7 and 4096 bytes gives the same output as a file' {
	local file n
	for file in $inputs; do
		lnn-ckpt-adapt -q --carry-all "$fixtures/$file" >whole 2>err ||
			lnn-ckpt-adapt -q "$fixtures/$file" >whole || fail "$file: $(cat err)"
		for n in 1 7 4096; do
			python3 "$TRICKLE" $n "$fixtures/$file" |
				if [ "${file##*.}" = pth ]; then lnn-ckpt-adapt -q --carry-all; else lnn-ckpt-adapt -q; fi >out
			cmp whole out || fail "$file, $n bytes at a time"
		done
	done
}

@test 'a pipe in pieces of 1, 7 and 4096 bytes gives the same tables, lists and casts' {
	local n
	lnn-interp-bias -q --img-size 384 "$fixtures/tables.pth" >tables
	lnn-ckpt-inspect "$fixtures/tiny.pth" >list
	lnn-ckpt-adapt -q --dtype bfloat16 "$fixtures/tiny.pth" >cast
	lnn-filter -e '{TYPE: name, PATTERNS: [a]}' list >chosen
	[ -s chosen ]
	for n in 1 7 4096; do
		python3 "$TRICKLE" $n "$fixtures/tables.pth" | lnn-interp-bias -q --img-size 384 | cmp - tables
		python3 "$TRICKLE" $n "$fixtures/tiny.pth" | lnn-ckpt-inspect | cmp - list
		python3 "$TRICKLE" $n "$fixtures/tiny.pth" | lnn-ckpt-adapt -q --dtype bfloat16 | cmp - cast
		python3 "$TRICKLE" $n list | lnn-filter -e '{TYPE: name, PATTERNS: [a]}' | cmp - chosen
	done
}

# cut_off FILE FORMAT: converts FILE, cut off at some forty places, through a pipe to FORMAT.
cut_off() {
	local size n status
	size=$(stat -c %s "$fixtures/$1")
	for ((n = 0; n < size; n += size / 40 + 1)); do
		status=0
		head -c $n "$fixtures/$1" | lnn-ckpt-adapt --to "$2" >out 2>err || status=$?
		[ "$status" -eq 2 ] || fail "$1 cut to $n bytes: status $status" "$(cat err)" || return 1
		[ "$(grep -vc ': warning: ' err)" -eq 1 ] || fail "$1 cut to $n bytes:" "$(cat err)" || return 1
		! lnn-ckpt-inspect out >listed 2>&1 || fail "$1 cut to $n bytes: the output loads" || return 1
	done
}

@test 'a stream that is cut off anywhere gives status 2, and the output does not load' {
	local file
	for file in tiny.pth deflated.pth reordered.pth legacy.pth tiny.safetensors; do
		cut_off $file torch
	done
	cut_off tiny.safetensors safetensors
}

@test 'a stream that is cut off gives no file and no report' {
	head -c 9000 "$fixtures/tiny.pth" >short
	pipe 'cat short | lnn-ckpt-adapt --report report -o out'
	expect_status 2
	expect_only short
}

# Starts adapt on a copy of the large file. It stops when the pipe is full.
start() {
	cp "$LARGE" in
	mkfifo pipe
	lnn-ckpt-adapt "$@" in >pipe 2>err 3>&- &
	pid=$!
	exec 7<pipe
	head -c 4096 <&7 >begin
}

finish() {
	cat <&7 >rest
	exec 7<&-
	status=0
	wait "$pid" || status=$?
	cat begin rest >out
}

@test 'a file that shrinks while it is read gives status 2' {
	start --to safetensors
	truncate -s 1M in
	finish
	[ "$status" -eq 2 ]
	[ "$(wc -l <err)" -eq 1 ]
	run ! lnn-ckpt-inspect out
}

@test 'a file that grows while it is read gives status 2' {
	start --to torch
	echo more >>in
	finish
	[ "$status" -eq 2 ]
	[ "$(wc -l <err)" -eq 1 ]
	run ! lnn-ckpt-inspect out
}

@test 'a file whose bytes change while it is read gives status 2' {
	start --to torch
	sleep 0.02
	printf x | dd of=in bs=1 seek=50000000 conv=notrunc status=none
	finish
	[ "$status" -eq 2 ]
	grep -q 'changed while it was read' err
	run ! lnn-ckpt-inspect out
}

@test 'a file that is replaced while it is read is read to its end' {
	start -q --to safetensors
	echo other >other
	mv other in
	finish
	[ "$status" -eq 0 ]
	lnn-ckpt-adapt -q --to safetensors "$LARGE" | cmp - out
}

@test 'a file that is shorter than its header says is refused, and -o leaves the old file' {
	cp "$LARGE" in
	echo old >out
	truncate -s 10M in
	try lnn-ckpt-adapt in -o out
	expect_refusal 2 lnn-ckpt-adapt
	[ "$(cat out)" = old ]
	expect_only in out
}
