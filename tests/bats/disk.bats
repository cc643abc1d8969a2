# Full disks, limits on the size of files, and folders that cannot be written, for the output, the report, the shards and the
# temporary file of a stream. Each gives status 2, one line that says where and why, no output and no other file.

# shellcheck disable=SC2154,SC2016 # top and fixtures come from helpers; commands are evaluated later
load helpers

setup_file() {
	local way
	# New file systems are mounted in a namespace that ends with the process.
	mkdir "$BATS_FILE_TMPDIR/try"
	for way in 'unshare -m' 'unshare -rm'; do
		$way mount -t tmpfs none "$BATS_FILE_TMPDIR/try" 2>/dev/null || continue
		export LNN_NAMESPACE=$way
		break
	done
	# A uint8 and a float32 tensor of 1.5 MiB each.
	cat >"$BATS_FILE_TMPDIR/make" <<-'END'
		header='{"a":{"dtype":"U8","shape":[1572864],"data_offsets":[0,1572864]},'
		header+='"b":{"dtype":"F32","shape":[393216],"data_offsets":[1572864,3145728]}}'
		while ((${#header} % 8)); do header+=' '; done
		printf '%b%s' "\\x$(printf %02x ${#header})\\0\\0\\0\\0\\0\\0\\0" "$header"
		head -c 3145728 /dev/urandom | tr '\170-\177\370-\377' '\060-\067\260-\267'
	END
	bash "$BATS_FILE_TMPDIR/make" >"$BATS_FILE_TMPDIR/in.safetensors"
	export IN=$BATS_FILE_TMPDIR/in.safetensors
	lnn-ckpt-adapt -q --to torch "$IN" -o "$BATS_FILE_TMPDIR/in.pth"
	export PTH=$BATS_FILE_TMPDIR/in.pth
	lnn-ckpt-adapt -q --max-shard-size 2MB "$IN" -o "$BATS_FILE_TMPDIR/set/"
	export INDEX=$BATS_FILE_TMPDIR/set/model.safetensors.index.json
}

# on_disk OPTIONS COMMAND: runs the shell text COMMAND in a folder whose sub-folder `disk` is a small file system with a file `out`.
# $left has the names on that file system at the end.
on_disk() {
	[ -n "${LNN_NAMESPACE-}" ] || skip 'no file system may be mounted here'
	mkdir -p disk
	# shellcheck disable=SC2086 # words
	run --separate-stderr $LNN_NAMESPACE bash -c '
		mount -t tmpfs -o "size=1M,$1" none disk && echo old >disk/out || exit 99
		eval "$2"
		status=$?
		[ "$(cat disk/out)" = old ] || echo "the old file is not there any more"
		find disk -mindepth 1 -printf "%P\n" | sort >left
		exit $status' on_disk "$1" "$2" </dev/null
	left=$(cat left)
}

# refused TEXT...: the last run failed with one line that has each text, and only the unchanged file `out` is on the disk.
refused() {
	local program=lnn-ckpt-adapt
	[[ $stderr == lnn-ckpt-inspect* ]] && program=lnn-ckpt-inspect
	[[ $stderr == lnn-filter* ]] && program=lnn-filter
	[[ $stderr == lnn-interp-bias* ]] && program=lnn-interp-bias
	expect_refusal 2 $program "$@" || return 1
	[ "$left" = out ] || fail "left on the disk: $left"
}

full='No space left on device'

@test 'a full disk: no output is written' {
	on_disk '' 'lnn-ckpt-adapt -q "$IN" -o disk/out'
	refused "disk/out: write error: $full"
	on_disk '' 'lnn-ckpt-adapt -q --to torch "$IN" -o disk/out'
	refused "disk/out: write error: $full"
	on_disk '' 'lnn-ckpt-adapt -q -j 2 --dtype float16 "$IN" -o disk/out'
	refused "disk/out: write error: $full"
	on_disk '' 'cat "$IN" | lnn-ckpt-adapt -q -o disk/out'
	refused "disk/out: write error: $full"
	on_disk '' 'cat "$PTH" | lnn-ckpt-adapt -q -o disk/out'
	refused "disk/out: write error: $full"
	on_disk 'size=16K' 'lnn-interp-bias -q --img-size 384 "$fixtures/tables.pth" -o disk/out'
	refused "disk/out: write error: $full"
	on_disk 'size=8K' 'lnn-ckpt-inspect -o disk/out --format json "$fixtures/demo.pth"'
	refused "disk/out: write error: $full"
	on_disk 'size=8K' 'lnn-ckpt-inspect "$fixtures/demo.pth" | lnn-filter -o disk/out -e "{TYPE: name, PATTERNS: [a]}"'
	refused "disk/out: write error: $full"
}

@test 'a full disk: no output is written from a distributed folder or by --salvage' {
	lnn-ckpt-adapt -q --to dcp "$IN" -o folder/
	on_disk '' 'lnn-ckpt-adapt -q folder -o disk/out'
	refused "disk/out: write error: $full"
	on_disk '' 'lnn-ckpt-adapt -q --to safetensors --dtype float16 folder -o disk/out'
	refused "disk/out: write error: $full"
	on_disk '' 'lnn-ckpt-adapt -q --salvage "$IN" -o disk/out'
	refused "disk/out: write error: $full"
	on_disk '' 'cat "$IN" "$IN" | lnn-ckpt-adapt -q --salvage -o disk/out'
	refused 'cannot keep the stream in a temporary file in disk' "$full"
}

@test 'a full disk: no new name can be made' {
	on_disk 'nr_inodes=2' 'lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o disk/out'
	refused 'disk/out: cannot create a temporary file beside it' "$full"
	on_disk 'nr_inodes=2' 'lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o disk/set/'
	refused 'disk/set: cannot make a folder beside it' "$full"
}

@test 'a full disk: no shards are written' {
	on_disk '' 'lnn-ckpt-adapt -q "$IN" -o disk/set/'
	refused 'disk/set/model.safetensors: ' "$full"
	on_disk 'size=2M' 'lnn-ckpt-adapt -q --max-shard-size 2MB "$IN" -o disk/set/'
	refused 'disk/set/model-00002-of-00002.safetensors: ' "$full"
	on_disk 'size=2M' 'lnn-ckpt-adapt -q --shard 1/1 "$INDEX" -o disk/set'
	expect_refusal 2 lnn-ckpt-adapt disk/set/ "$full"
	[ "$left" = $'out\nset\nset/model-00001-of-00002.safetensors' ] || fail "$left"
}

@test 'a full disk: without space for the report there is no output' {
	on_disk '' 'head -c 2M /dev/zero >disk/out 2>/dev/null
		lnn-ckpt-adapt -q --report disk/report "$fixtures/tiny.pth" -o out; status=$?; echo old >disk/out; (exit $status)'
	refused "disk/report: write error: $full"
	[ ! -e out ]
}

@test 'a full disk: standard output gives an error' {
	# The program cannot remove a redirected file. Its contents must not load.
	on_disk '' 'lnn-ckpt-adapt -q "$IN" >disk/to; status=$?; ! lnn-ckpt-inspect disk/to >listed 2>&1 || status=loads
		rm disk/to; (exit $status)'
	expect_refusal 2 lnn-ckpt-adapt "standard output: write error: $full"
	on_disk '' 'cat "$PTH" | lnn-ckpt-adapt -q >disk/to; status=$?; ! lnn-ckpt-inspect disk/to >listed 2>&1 || status=loads
		rm disk/to; (exit $status)'
	expect_refusal 2 lnn-ckpt-adapt "standard output: write error: $full"
	on_disk 'size=8K' 'lnn-ckpt-inspect "$fixtures/demo.pth" >disk/to'
	expect_refusal 2 lnn-ckpt-inspect "standard output: write error: $full"
	on_disk 'size=8K' 'lnn-ckpt-inspect "$fixtures/demo.pth" | lnn-filter -e "{TYPE: name, PATTERNS: [a]}" >disk/to'
	expect_refusal 2 lnn-filter "standard output: write error: $full"
}

# Makes a torch zip whose data come before the pickle and exceed the bytes that are held in memory.
reordered() {
	command -v zip >/dev/null || skip 'no zip'
	command -v unzip >/dev/null || skip 'no unzip'
	local header='{"a":{"dtype":"U8","shape":[73400320],"data_offsets":[0,73400320]}}'
	{
		printf '%b%s' "\\x$(printf %02x ${#header})\\0\\0\\0\\0\\0\\0\\0" "$header"
		head -c 73400320 /dev/zero
	} >large
	lnn-ckpt-adapt -q --to torch --root large -o large.pth
	unzip -q large.pth
	zip -q0 reordered.pth archive/data/0 archive/data.pkl archive/version archive/byteorder
	rm -r archive large
}

@test 'a full disk: output that is written in several pieces gives an error' {
	# shellcheck disable=SC2046 # words
	safetensors many.safetensors $(seq -f 'layers.%g.attention.query_key_value.weight' 3000)
	[ "$(lnn-ckpt-inspect many.safetensors | wc -c)" -gt 100000 ]
	try bash -c 'lnn-ckpt-inspect many.safetensors >/dev/full'
	expect_refusal 2 lnn-ckpt-inspect 'standard output: write error: No space left on device'
	try bash -c 'lnn-ckpt-inspect --format json many.safetensors >/dev/full'
	expect_refusal 2 lnn-ckpt-inspect 'standard output: write error: No space left on device'
	try bash -c 'lnn-filter -e "{TYPE: name, PATTERNS: [a]}" many.safetensors >/dev/full'
	expect_refusal 2 lnn-filter 'standard output: write error: No space left on device'
	[ -z "${LNN_COV-}" ] || skip 'the coverage tool also writes a file and complains'
	pipe 'ulimit -f 16; lnn-ckpt-inspect many.safetensors -o to'
	expect_refusal 2 lnn-ckpt-inspect 'to: write error: File too large'
	expect_only many.safetensors
}

@test 'a full disk: a stream that needs a temporary file gives an error' {
	reordered
	on_disk '' 'cat reordered.pth | TMPDIR=disk lnn-ckpt-adapt -q -o to'
	refused 'standard input: cannot keep the stream in a temporary file in disk (TMPDIR names the folder)' "$full"
	on_disk '' 'mount -o remount,ro disk; cat reordered.pth | TMPDIR=disk lnn-ckpt-adapt -q -o to'
	refused 'standard input: cannot keep the stream in a temporary file in disk (TMPDIR names the folder)' 'Read-only'
	pipe 'cat reordered.pth | TMPDIR=/nonexistent lnn-ckpt-adapt -q -o to'
	expect_refusal 2 lnn-ckpt-adapt 'in /nonexistent (TMPDIR names the folder): No such file'
	# The stream is larger than the limit on the size of files.
	pipe 'ulimit -f 10240; cat reordered.pth | lnn-ckpt-adapt -q -o to'
	expect_refusal 2 lnn-ckpt-adapt 'cannot keep the stream' 'File too large'
	expect_only disk left large.pth reordered.pth
	# An empty TMPDIR counts as unset.
	pipe 'cat reordered.pth | TMPDIR= lnn-ckpt-adapt -q --root | lnn-ckpt-inspect --stats'
	expect_status 0
	expect_out "$(lnn-ckpt-inspect --stats large.pth)"
}

@test 'a limit on the size of files gives an error and no signal' {
	[ -z "${LNN_COV-}" ] || skip 'the coverage tool also writes a file and complains'
	local args
	echo old >out
	for args in '' '--to torch' '--dtype float16 -j 2' '--max-shard-size 2MB'; do
		pipe "ulimit -f 1024; lnn-ckpt-adapt -q $args '$IN' -o out$([[ $args == --max* ]] && echo put/)"
		expect_refusal 2 lnn-ckpt-adapt 'write error: File too large'
		[ "$(cat out)" = old ]
		expect_only out
	done
	pipe "ulimit -f 1024; cat '$IN' | lnn-ckpt-adapt -q >to"
	expect_refusal 2 lnn-ckpt-adapt 'standard output: write error: File too large'
	pipe "ulimit -f 4; lnn-ckpt-inspect '$fixtures/demo.pth' >to"
	expect_refusal 2 lnn-ckpt-inspect 'standard output: write error: File too large'
	pipe "ulimit -f 1; lnn-ckpt-adapt -q --report report -m '$fixtures/tiny.pth' '$fixtures/tiny.pth' >/dev/null"
	expect_refusal 2 lnn-ckpt-adapt 'report: write error: File too large'
	pipe "ulimit -f 4; lnn-filter -e '{TYPE: name, PATTERNS: [a]}' -o to '$fixtures/demo.pth'"
	expect_refusal 2 lnn-filter 'to: write error: File too large'
}

@test 'a read-only file system gives an error' {
	on_disk '' 'mount -o remount,ro disk; lnn-ckpt-adapt -q "$IN" -o disk/out'
	refused disk/out 'Read-only file system'
	on_disk '' 'mount -o remount,ro disk; lnn-ckpt-adapt -q "$IN" -o disk/new'
	refused disk/new 'Read-only file system'
	on_disk '' 'mount -o remount,ro disk; lnn-ckpt-adapt -q "$IN" -o disk/set/'
	refused disk/set 'Read-only file system'
	on_disk '' 'mount -o remount,ro disk; lnn-ckpt-adapt -q --shard 1/1 "$INDEX" -o disk/set'
	refused disk/set 'Read-only file system'
	on_disk '' 'mount -o remount,ro disk; lnn-ckpt-adapt -q --report disk/report "$fixtures/tiny.pth" -o to'
	refused disk/report 'Read-only file system'
	on_disk '' 'mount -o remount,ro disk; lnn-ckpt-inspect -o disk/new "$fixtures/tiny.pth"'
	refused disk/new 'Read-only file system'
	expect_only disk left
	lnn-ckpt-adapt -q --shard 1/1 "$INDEX" -o set
	on_disk 'size=8M' 'cp -r set disk; mount -o remount,ro disk; lnn-ckpt-adapt -q --write-index disk/set'
	expect_refusal 2 lnn-ckpt-adapt disk/set/model.safetensors.index.json 'Read-only file system'
}

# Runs a command without the right of root to write everywhere.
as_user() {
	if [ "$(id -u)" -ne 0 ]; then
		"$@"
	else
		setpriv --bounding-set=-dac_override,-dac_read_search "$@"
	fi
}

@test 'a folder and files without write permission give an error' {
	[ "$(id -u)" -ne 0 ] || setpriv --bounding-set=-dac_override,-dac_read_search true || skip 'no setpriv'
	local target
	mkdir closed
	echo old >closed/out
	echo mine >mine
	chmod 555 closed
	chmod 444 mine
	for target in '-o closed/out' '-o closed/new' '-o closed/set/' '-o mine' '--report closed/report -o to' \
		'--report mine -o to'; do
		# shellcheck disable=SC2086 # words
		try as_user lnn-ckpt-adapt -q "$fixtures/tiny.pth" $target
		expect_refusal 2 lnn-ckpt-adapt 'Permission denied'
		expect_err_has "$([[ $target =~ (closed/[a-z]*|mine) ]] && echo "${BASH_REMATCH[1]}")"
	done
	try as_user lnn-ckpt-adapt -q --shard 1/1 "$INDEX" -o closed
	expect_refusal 2 lnn-ckpt-adapt closed 'Permission denied'
	try lnn-ckpt-adapt -q --shard 1/1 "$INDEX" -o mine
	expect_refusal 2 lnn-ckpt-adapt 'mine: cannot be created as a folder of shards: Not a directory'
	chmod 755 closed
	[ "$(cat closed/out mine)" = $'old\nmine' ]
	expect_only closed closed/out mine
}
