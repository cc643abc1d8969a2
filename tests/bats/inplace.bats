# lnn-ckpt-adapt --in-place and --recover: refusals, a kill before every system call, a failure of every call, journals, file systems.
# tests/torch/test_inplace.py reads the results with PyTorch and safetensors, and tests torn writes.

# shellcheck disable=SC2154 # top, fixtures, stderr and status come from helpers
load helpers
load faults

# refused FILE TEXT... -- OPTION...: the edit gives status 2 with each text, and FILE does not change.
refused() {
	local file=$1 texts=()
	shift
	cp -p "$file" before
	while [ "$1" != -- ]; do
		texts+=("$1")
		shift
	done
	shift
	try lnn-ckpt-adapt --in-place "$@" "$file"
	expect_refusal 2 lnn-ckpt-adapt "${texts[@]}" && cmp before "$file"
}

# A safetensors file in blocks of 4096 bytes: a header of one, a of two, b of one, c of 1600 bytes.
make_blocks() {
	local header='{"a":{"dtype":"U8","shape":[8192],"data_offsets":[0,8192]},"b":{"dtype":"U8","shape":[4096],"data_offsets":'
	header+='[8192,12288]},"c":{"dtype":"U8","shape":[1600],"data_offsets":[12288,13888]}}'
	printf '\xf8\x0f\0\0\0\0\0\0%-4088s' "$header"
	head -c 8192 /dev/zero | tr '\0' a
	head -c 4096 /dev/zero | tr '\0' b
	head -c 1600 /dev/zero | tr '\0' c
}

# True if the file system of the current folder can insert blocks into files and remove them.
shifts() {
	command -v fallocate >/dev/null || return 1
	head -c 16384 /dev/zero >probe
	fallocate -i -o 0 -l 4096 probe 2>/dev/null && fallocate -c -o 0 -l 4096 probe 2>/dev/null
}

@test 'names are changed in the file itself' {
	cp "$fixtures/tiny.pth" x.pth
	lnn-ckpt-inspect --format json x.pth >before
	try lnn-ckpt-adapt --in-place --add-prefix p. x.pth
	expect_status 0
	expect_out ''
	[[ $stderr == *' -> x.pth (torch, in place); '*' of it written' ]] || fail "$stderr"
	[ "$(stat -c %s x.pth)" -eq "$(stat -c %s "$fixtures/tiny.pth")" ]
	lnn-ckpt-adapt -q --in-place --strip-prefix p. x.pth
	lnn-ckpt-inspect --format json x.pth | diff before -
	expect_only before x.pth
}

@test 'a container whose tensors are all dropped keeps its other objects' {
	local groups
	cp "$fixtures/tiny.pth" x.pth
	groups=$(lnn-ckpt-inspect --rest x.pth | sed -n '/param_groups/,/^    }/p')
	[[ $groups == *params* ]] || fail "$groups"
	lnn-ckpt-adapt -q --in-place -k '' --drop-params optimizer.state x.pth
	[ "$(lnn-ckpt-inspect --rest x.pth | sed -n '/param_groups/,/^    }/p')" = "$groups" ]
	diff <(lnn-ckpt-inspect -q -k '' --digest "$fixtures/tiny.pth" | grep -v -e ^optimizer -e '^#') \
		<(lnn-ckpt-inspect -q -k '' --digest x.pth | grep -v '^#')
}

@test 'a dry run says what would be written, even without write permission' {
	cp "$fixtures/tiny.pth" x.pth
	chmod a-w x.pth
	try lnn-ckpt-adapt -n --in-place --add-prefix p. x.pth
	expect_status 0
	expect_err_has 'nothing (dry run); ' ' of it written'
	[ "$(printf '%s\n' "$output" | grep -c '^p[.]')" -eq "$(lnn-ckpt-inspect x.pth | wc -l)" ]
	cmp x.pth "$fixtures/tiny.pth"
}

@test 'an edit that changes nothing writes nothing' {
	local inode
	cp "$fixtures/tiny.pth" x.pth
	inode=$(stat -c %i.%y x.pth)
	try lnn-ckpt-adapt --in-place x.pth
	expect_status 0
	expect_err_has 'nothing of it changes'
	[ "$(stat -c %i.%y x.pth)" = "$inode" ]
}

@test 'edits that need a copy are refused, and the message names the option' {
	local option
	cp "$fixtures/tiny.pth" x.pth
	for option in '-o y' '--to torch' '--under model' --root '--carry epoch' --carry-all '--dtype bf16' --compact \
		'--max-shard-size 5GB' --interpolate --ranks; do
		# shellcheck disable=SC2086 # words
		refused x.pth "${option%% *}" -- $option
	done
	try lnn-ckpt-adapt --drop-rest x.pth
	expect_refusal 2 lnn-ckpt-adapt --in-place
	try lnn-ckpt-adapt --recover x.pth --in-place x.pth
	expect_refusal 2 lnn-ckpt-adapt 'goes with no other file'
	try lnn-ckpt-adapt --in-place
	expect_refusal 2 lnn-ckpt-adapt 'name the file to edit'
	try lnn-ckpt-adapt --in-place -
	expect_refusal 2 lnn-ckpt-adapt 'name the file to edit'
	mkdir folder
	try lnn-ckpt-adapt --in-place folder
	expect_refusal 2 lnn-ckpt-adapt 'folder: is not a regular file: --in-place cannot edit it'
}

@test 'a key map that makes tensors, and drops by a description, are refused in place' {
	local name
	cp "$fixtures/tiny.pth" x.pth
	name=$(lnn-ckpt-inspect --format names x.pth | head -1)
	printf 'pretrained_ckpt_handling_metadata:\n  drop_params: [%s]\n' "$name" >model.yaml
	refused x.pth "drop_params $name" 'on the command line' -- -m model.yaml
	printf 'rules: [{from: %s, to: other, ops: [{flip: [0]}]}]\n' "$name" >map.yaml
	refused x.pth "$name" 'new bytes' '-o FILE' -- -s ./map.yaml
	printf 'rules: [{from: %s, skip: true}]\n' "$name" >map.yaml
	refused x.pth skip 'on the command line' -- -s ./map.yaml
	lnn-ckpt-adapt -q --in-place --drop-params "^$name" x.pth
	[ "$(lnn-ckpt-inspect --format names x.pth)" = "$(lnn-ckpt-inspect --format names "$fixtures/tiny.pth" | tail -n +2)" ]
}

@test 'files that cannot be edited in place are refused' {
	cp "$fixtures/tiny.pth" x.pth
	ln -s x.pth link.pth
	try lnn-ckpt-adapt --in-place --add-prefix p. link.pth
	expect_refusal 2 lnn-ckpt-adapt 'symbolic link'
	ln x.pth other.pth
	refused x.pth 'has 2 names' -- --add-prefix p.
	rm other.pth
	cp "$fixtures/legacy.pth" .
	refused legacy.pth torch-legacy '-o FILE' -- --add-prefix p.
	cp "$fixtures/list.pth" .
	refused list.pth 'not a dict' -- --add-prefix p.
	cp "$fixtures/bigendian.pth" .
	refused bigendian.pth '-o FILE' -- --add-prefix p.
	cp -r "$fixtures/sharded-safetensors" set
	try lnn-ckpt-adapt --in-place --add-prefix p. set
	expect_status 2
	refused "$(echo set/*1-of*.safetensors)" 'is a shard' index.json -- --add-prefix p.
	mkfifo pipe
	try lnn-ckpt-adapt --in-place --add-prefix p. pipe
	expect_refusal 2 lnn-ckpt-adapt 'not a regular file'
	cmp x.pth "$fixtures/tiny.pth"
}

@test 'a pickle that is too long even if deflated, and a zip whose end is ambiguous, are refused' {
	local at
	cp "$fixtures/tiny.pth" x.pth
	refused x.pth 'too long' -- --add-prefix "$(head -c 1500 /dev/urandom | od -An -tx1 | tr -d ' \n')."
	at=$(grep -abo serialization_id x.pth | head -1)
	printf 'PK\5\6' | dd of=x.pth bs=1 seek="$((${at%%:*} + 40))" conv=notrunc status=none
	refused x.pth 'looks like its end record' -- --add-prefix p.
	# A second, equal end record is the one that readers use.
	tail -c 22 "$fixtures/tiny.pth" | cat "$fixtures/tiny.pth" - | tee x.pth >two.pth
	try lnn-ckpt-adapt --in-place --add-prefix p. x.pth
	expect_status 2
	expect_err_has 'looks like its end record' '-o FILE'
	cmp x.pth two.pth
	# The bytes between the directory and the end record are not read into memory.
	head -c -98 "$fixtures/tiny.pth" >gap.pth
	truncate -s 64G gap.pth
	tail -c 22 "$fixtures/tiny.pth" >>gap.pth
	try lnn-ckpt-adapt --in-place --add-prefix p. gap.pth
	expect_status 2
	expect_err_has 'do not follow its directory' '-o FILE'
	rm gap.pth
}

@test 'a file that another program has open is refused' {
	cp "$fixtures/tiny.pth" x.pth
	exec 7<x.pth
	try lnn-ckpt-adapt --in-place --add-prefix p. x.pth
	exec 7<&-
	[[ $stderr != *'could not check whether'* ]] || skip 'a file system without leases'
	expect_refusal 2 lnn-ckpt-adapt 'open or mapped'
	cmp x.pth "$fixtures/tiny.pth"
	lnn-ckpt-adapt -q --in-place --add-prefix p. x.pth
}

@test 'safetensors: whole blocks are removed, the end is cut off, blocks are inserted for a longer header' {
	make_blocks >x.safetensors
	cp x.safetensors y.safetensors
	lnn-ckpt-adapt -q --in-place --drop-params c y.safetensors
	[ "$(stat -c %s y.safetensors)" -eq 16384 ]
	tail -c 12288 y.safetensors | cmp - <(tail -c +4097 x.safetensors | head -c 12288)
	if ! shifts; then
		refused x.safetensors '-o FILE' -- --drop-params a
		skip 'this file system cannot remove blocks from a file'
	fi
	cp x.safetensors y.safetensors
	lnn-ckpt-adapt -q --in-place --drop-params a --drop-params c y.safetensors
	[ "$(tail -c +4097 y.safetensors | tr -d b | wc -c)" -eq 0 ]
	[ "$(stat -c %s y.safetensors)" -eq 8192 ]
	# A tensor without bytes is between two that are dropped.
	sed 's/"c":/"z":{"dtype":"U8","shape":[0],"data_offsets":[8192,8192]},"c":/; s/ \{58\}a/a/' x.safetensors >y.safetensors
	[ "$(stat -c %s y.safetensors)" -eq 17984 ]
	lnn-ckpt-adapt -q --in-place --drop-params a --drop-params b y.safetensors
	[ "$(lnn-ckpt-inspect --format names y.safetensors | tr '\n' ' ')" = 'z c ' ]
	tail -c +4097 y.safetensors | cmp - <(tail -c 1600 x.safetensors)
	cp x.safetensors y.safetensors
	lnn-ckpt-adapt -q --in-place --add-prefix "$(printf '%05000d' 0)." y.safetensors
	[ "$(stat -c %s y.safetensors)" -eq $((17984 + 12288)) ]
	tail -c 13888 y.safetensors | cmp - <(tail -c 13888 x.safetensors)
	lnn-ckpt-inspect --check y.safetensors
	truncate -s 12288 hole
	{ head -c 4096 x.safetensors; cat hole; tail -c 1600 x.safetensors; } >z.safetensors
	fallocate -d z.safetensors
	refused z.safetensors 'has holes' '-o FILE' -- --drop-params a
}

# edit_x OPTION...: edits x, which setup_x makes.
edit_x() {
	lnn-ckpt-adapt -q --in-place "$@" x
}

setup_x() {
	rm -f x .x.lnn-undo ..x.lnn-undo.??????
	cp "$original" x
}

# prepare FILE OPTION...: makes old and new, which are x before and after the edit, and log with the calls of the edit.
prepare() {
	original=$1
	shift
	setup_x
	: >log
	LD_PRELOAD=$LNN_FAULT_SHIM LNN_FAULT_LOG=$PWD/log edit_x "$@"
	cp x new
	cp "$original" old
}

# True if x equals FILE. A range whose disk space was freed reads as zeros, which counts as equal.
same_as() {
	cmp -s x "$1" || { [ "$1" = new ] && lnn-ckpt-inspect --check x >/dev/null 2>&1 &&
		[ "$(lnn-ckpt-inspect x)" = "$(lnn-ckpt-inspect new)" ]; }
}

# each_call CALLS FUNCTION ERROR OPTION...: runs the edit once for each call of CALLS, which meets ERROR. FUNCTION must hold after
# each run.
each_call() {
	local calls check=$2 error=$3 call k
	mapfile -t calls < <(sort -u log | grep -xE "$1")
	shift 3
	for call in "${calls[@]}"; do
		for ((k = 1; ; k++)); do
			setup_x
			: >mark
			status=0
			LD_PRELOAD=$LNN_FAULT_SHIM LNN_FAULT=$call:$k:$error LNN_FAULT_MARK=$PWD/mark edit_x "$@" 2>err || status=$?
			[ -s mark ] || break
			"$check" "$call:$k" || fail "$call $k $error $*: status $status, $(cat err)" "$(ls -lA)" || return 1
			runs=$((runs + 1))
		done
	done
}

# After a kill, x is the old or the new file, or no program reads it and --recover restores the old or the new file.
killed() {
	[ "$status" -eq 137 ] || return 1
	if [ -e .x.lnn-undo ]; then
		try lnn-ckpt-inspect x
		[ "$status" -eq 2 ] || return 1
		cp .x.lnn-undo journal
		rm .x.lnn-undo
		try lnn-ckpt-inspect x
		[ "$status" -eq 2 ] || same_as old || same_as new || return 1
		mv journal .x.lnn-undo
		lnn-ckpt-adapt -q --recover x || return 1
		[ ! -e .x.lnn-undo ] || return 1
	fi
	same_as old || same_as new
}

# After a failure, the status is 2 and x is the old file. If the edit was complete, x is the new file, and the message says so.
failed() {
	[ ! -e .x.lnn-undo ] || return 1
	[ -z "$(find . -name '..x.lnn-undo.*')" ] || return 1
	if [ "$status" -eq 0 ]; then
		same_as new
	else
		[ "$status" -eq 2 ] && [ "$(wc -l <err)" -eq 1 ] || return 1
		if grep -q 'the edit itself is complete' err; then same_as new; else cmp -s x old; fi
	fi
}

# Tests both for an edit.
every_call() {
	[ -z "$LNN_SAN" ] || skip 'a preloaded library does not work with sanitizers'
	runs=0
	prepare "$@"
	shift
	# A kill is tried only before calls that change something.
	each_call 'write|pwrite|fsync|rename|unlink|fallocate|ftruncate' killed kill "$@"
	each_call '.*' failed EIO "$@"
	[ "$runs" -gt 40 ] || fail "$runs runs"
}

@test 'a kill before every call, and a failure of every call: shorter names' {
	every_call "$fixtures/prefixed.pth" --strip-prefix module. --keep-wrappers
}

@test 'a kill before every call, and a failure of every call: longer names, deflated' {
	every_call "$fixtures/tiny.pth" --add-prefix abcdefgh.abcdefgh.
}

@test 'a kill before every call, and a failure of every call: dropped tensors' {
	every_call "$fixtures/demo.pth" --drop-params 're:qkv|norm_fn1.weight' --drop-rest
}

@test 'a kill before every call, and a failure of every call: safetensors' {
	make_blocks >blocks
	every_call "$PWD/blocks" --rename s/a/A/
	every_call "$PWD/blocks" --drop-params c
	shifts || skip 'this file system cannot remove blocks from a file'
	every_call "$PWD/blocks" --drop-params a --drop-params c
	every_call "$PWD/blocks" --add-prefix "$(printf '%05000d' 0)."
}

@test 'every program refuses a file whose edit was interrupted' {
	[ -z "$LNN_SAN" ] || skip 'a preloaded library does not work with sanitizers'
	local program
	cp "$fixtures/tiny.pth" x
	chmod 640 x
	LD_PRELOAD=$LNN_FAULT_SHIM LNN_FAULT=unlink:1:kill edit_x --add-prefix p. || true
	[ "$(stat -c %a .x.lnn-undo)" = 640 ]
	echo '{TYPE: name, PATTERNS: [weight]}' >rules.yaml
	for program in lnn-ckpt-adapt lnn-ckpt-inspect 'lnn-filter -c rules.yaml' 'lnn-interp-bias --img-size 224' \
		'lnn-ckpt-adapt --in-place'; do
		# shellcheck disable=SC2086 # words
		try $program x
		expect_refusal 2 "${program%% *}" 'edit in place was interrupted' '--recover x'
	done
	# A journal beside another file gives a warning, and an edit is refused.
	cp x edited
	cp "$fixtures/tiny.safetensors" x
	try lnn-ckpt-inspect x
	expect_status 0
	expect_err_has 'warning: ' 'undo journal of another file'
	refused x 'another file' -- --add-prefix p.
	try lnn-ckpt-adapt --recover x
	expect_refusal 2 lnn-ckpt-adapt 'another file'
	# A damaged journal is refused beside any file.
	cp .x.lnn-undo good
	for program in 's/LNNUNDO1/LNNUNDO2/' 's/p/q/'; do
		sed "$program" good >.x.lnn-undo
		! cmp -s good .x.lnn-undo || continue
		try lnn-ckpt-inspect x
		expect_refusal 2 lnn-ckpt-inspect 'not a valid undo journal' .x.lnn-undo
	done
	head -c 100 good >.x.lnn-undo
	try lnn-ckpt-adapt --recover x
	expect_refusal 2 lnn-ckpt-adapt 'not a valid undo journal'
	cmp x "$fixtures/tiny.safetensors"
	mv good .x.lnn-undo
	mv edited x
	try lnn-ckpt-adapt --recover x
	expect_status 0
	expect_err_has 'what it was before'
	cmp x "$fixtures/tiny.pth"
	try lnn-ckpt-adapt --recover x
	expect_refusal 2 lnn-ckpt-adapt 'no edit in place was interrupted'
}

@test 'a file whose name leaves no space for the name of a journal is refused' {
	local name
	name=$(printf '%0250d' 0).pth
	cp "$fixtures/tiny.pth" "$name"
	lnn-ckpt-inspect "$name" >/dev/null
	refused "$name" '' -- --add-prefix p.
}

# on FS BLOCK: tests edits on a new file system.
on() {
	local fs=$1 image=$PWD/$1.img place=$PWD/$1 c
	truncate -s 400M "$image"
	case $fs in
	ext4) mkfs.ext4 -q -b "$2" "$image" ;;
	*) "mkfs.$fs" -q "$image" ;;
	esac >/dev/null 2>&1 || return 1
	mkdir -p "$place"
	mount -o loop "$image" "$place" || return 1
	c=0
	(
		set -e
		cd "$place"
		cp "$fixtures/tiny.pth" x
		edit_x --add-prefix p.
		lnn-ckpt-inspect --check x >/dev/null
		edit_x --strip-prefix p.
		[ "$(lnn-ckpt-inspect x)" = "$(lnn-ckpt-inspect "$fixtures/tiny.pth")" ]
		make_blocks >blocks
		cp blocks x
		edit_x --drop-params c
		[ "$(stat -c %s x)" -eq 16384 ]
		cp blocks x
		if shifts; then
			every_call "$PWD/blocks" --drop-params a
			every_call "$PWD/blocks" --add-prefix "$(printf '%05000d' 0)."
		else
			! edit_x --drop-params a 2>err
			cmp x blocks
			! edit_x --add-prefix "$(printf '%05000d' 0)." 2>>err
			cmp x blocks
			[ "$(grep -c 'FILE' err)" -eq 2 ]
			echo "# $fs cannot shift" >&3
		fi
	) || c=1
	umount "$place"
	rm -rf "$image" "$place"
	[ $c -eq 0 ] || fail "$fs $2"
}

@test 'edits in place work on ext4, xfs and btrfs' {
	[ -z "$LNN_SAN$LNN_COV" ] || skip 'the plain build makes the same system calls'
	local fs seen=
	[ "$(id -u)" -eq 0 ] || skip 'only root mounts'
	for fs in 'ext4 4096' 'ext4 1024' 'xfs 4096' 'btrfs 4096'; do
		# shellcheck disable=SC2086 # words
		command -v "mkfs.${fs% *}" >/dev/null || continue
		truncate -s 400M probe.img
		mkdir -p probe.d
		if mkfs.ext4 -q probe.img 2>/dev/null && mount -o loop probe.img probe.d 2>/dev/null; then
			umount probe.d
		else
			skip 'no loop devices'
		fi
		rm probe.img
		# shellcheck disable=SC2086 # words
		on $fs
		seen+=" ${fs% *}"
	done
	[ -n "$seen" ] || skip 'no mkfs'
	echo "# tried on$seen" >&3
}

@test 'edits in place work on a memory file system' {
	[ -d /dev/shm ] && [ -w /dev/shm ] || skip 'no /dev/shm'
	enter_fast
	make_blocks >blocks
	cp blocks x
	edit_x --rename s/a/A/
	[ "$(lnn-ckpt-inspect --format names x | head -1)" = A ]
	edit_x --drop-params c
	[ "$(stat -c %s x)" -eq 16384 ]
	cp blocks x
	shifts || refused x '-o FILE' -- --drop-params a
	leave_fast
}

@test 'a file whose pickle became shorter is read forward from a pipe' {
	cp "$fixtures/demo.pth" in.pth
	lnn-ckpt-adapt -q --in-place --rename 's/^module.//' in.pth
	pipe 'cat in.pth | lnn-ckpt-inspect --verbose'
	expect_status 0
	expect_no_err
	cmp <(lnn-ckpt-inspect in.pth) <(cat in.pth | lnn-ckpt-inspect)
}
