# Disks that are full, file size limits, and folders that cannot be written, for the output, the report, the shards, the
# temporary file of a stream: status 2, one line that says where and why, no output, nothing left.

# shellcheck disable=SC2154,SC2016 # top and fixtures come from helpers; commands are evaluated later
load helpers

setup_file() {
	local way
	# File systems of our own, in a namespace that ends with the process.
	mkdir "$BATS_FILE_TMPDIR/try"
	for way in 'unshare -m' 'unshare -rm'; do
		$way mount -t tmpfs none "$BATS_FILE_TMPDIR/try" 2>/dev/null || continue
		export LNN_NAMESPACE=$way
		break
	done
	# Uint8 and float32, a MiB and a half each.
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

# on_disk OPTIONS COMMAND: in a folder whose sub-folder `disk` is a file system of its own, with a file `out`; what it
# has in the end is in $left. COMMAND is shell text.
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

# refused TEXT: the last run ended as it should have; only `out` (as it was) is on the disk.
refused() {
	local program=lnn-ckpt-adapt
	[[ $stderr == lnn-ckpt-inspect* ]] && program=lnn-ckpt-inspect
	[[ $stderr == lnn-filter* ]] && program=lnn-filter
	[[ $stderr == lnn-interp-bias* ]] && program=lnn-interp-bias
	expect_refusal 2 $program "$@" || return 1
	[ "$left" = out ] || fail "left on the disk: $left"
}

full='No space left on device'

@test 'no space for the output' {
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

@test 'no space for the output from a distributed folder, or from --salvage' {
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

@test 'no space for a new name' {
	on_disk 'nr_inodes=2' 'lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o disk/out'
	refused 'disk/out: cannot create a temporary file beside it' "$full"
	on_disk 'nr_inodes=2' 'lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o disk/set/'
	refused 'disk/set: cannot make a folder beside it' "$full"
}

@test 'no space for shards' {
	on_disk '' 'lnn-ckpt-adapt -q "$IN" -o disk/set/'
	refused 'disk/set/model.safetensors: ' "$full"
	on_disk 'size=2M' 'lnn-ckpt-adapt -q --max-shard-size 2MB "$IN" -o disk/set/'
	refused 'disk/set/model-00002-of-00002.safetensors: ' "$full"
	on_disk 'size=2M' 'lnn-ckpt-adapt -q --shard 1/1 "$INDEX" -o disk/set'
	expect_refusal 2 lnn-ckpt-adapt disk/set/ "$full"
	[ "$left" = $'out\nset\nset/model-00001-of-00002.safetensors' ] || fail "$left"
}

@test 'no space for the report: no output either' {
	on_disk '' 'head -c 2M /dev/zero >disk/out 2>/dev/null
		lnn-ckpt-adapt -q --report disk/report "$fixtures/tiny.pth" -o out; status=$?; echo old >disk/out; (exit $status)'
	refused "disk/report: write error: $full"
	[ ! -e out ]
}

@test 'no space on standard output' {
	# A redirected file is not ours to take back; what is in it must not load.
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

# A torch zip whose data come before the pickle and are more than is kept in memory.
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

@test 'no space for output of more than one piece' {
	# shellcheck disable=SC2046 # words
	safetensors many.safetensors $(seq -f 'layers.%g.attention.query_key_value.weight' 3000)
	[ "$(lnn-ckpt-inspect many.safetensors | wc -c)" -gt 100000 ]
	try bash -c 'lnn-ckpt-inspect many.safetensors >/dev/full'
	expect_refusal 2 lnn-ckpt-inspect 'standard output: write error: No space left on device'
	try bash -c 'lnn-ckpt-inspect --format json many.safetensors >/dev/full'
	expect_refusal 2 lnn-ckpt-inspect 'standard output: write error: No space left on device'
	try bash -c 'lnn-filter -e "{TYPE: name, PATTERNS: [a]}" many.safetensors >/dev/full'
	expect_refusal 2 lnn-filter 'standard output: write error: No space left on device'
	[ -z "${LNN_COV-}" ] || skip 'what counts lines writes a file, too, and complains'
	pipe 'ulimit -f 16; lnn-ckpt-inspect many.safetensors -o to'
	expect_refusal 2 lnn-ckpt-inspect 'to: write error: File too large'
	expect_only many.safetensors
}

@test 'a stream that must be kept, without space to keep it' {
	reordered
	on_disk '' 'cat reordered.pth | TMPDIR=disk lnn-ckpt-adapt -q -o to'
	refused 'standard input: cannot keep the stream in a temporary file in disk (TMPDIR names the folder)' "$full"
	on_disk '' 'mount -o remount,ro disk; cat reordered.pth | TMPDIR=disk lnn-ckpt-adapt -q -o to'
	refused 'standard input: cannot keep the stream in a temporary file in disk (TMPDIR names the folder)' 'Read-only'
	pipe 'cat reordered.pth | TMPDIR=/nonexistent lnn-ckpt-adapt -q -o to'
	expect_refusal 2 lnn-ckpt-adapt 'in /nonexistent (TMPDIR names the folder): No such file'
	# What is larger than a file may be.
	pipe 'ulimit -f 10240; cat reordered.pth | lnn-ckpt-adapt -q -o to'
	expect_refusal 2 lnn-ckpt-adapt 'cannot keep the stream' 'File too large'
	expect_only disk left large.pth reordered.pth
	# An empty TMPDIR is none.
	pipe 'cat reordered.pth | TMPDIR= lnn-ckpt-adapt -q --root | lnn-ckpt-inspect --stats'
	expect_status 0
	expect_out "$(lnn-ckpt-inspect --stats large.pth)"
}

@test 'a limit on the size of files: an error, and no signal' {
	[ -z "${LNN_COV-}" ] || skip 'what counts lines writes a file, too, and complains'
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

@test 'a read-only file system' {
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

# Root may write everywhere, but for what this takes from it.
as_user() {
	if [ "$(id -u)" -ne 0 ]; then
		"$@"
	else
		setpriv --bounding-set=-dac_override,-dac_read_search "$@"
	fi
}

@test 'a folder and files that may not be written' {
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
