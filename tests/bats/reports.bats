# Reports of lnn-ckpt-inspect: every format, several reports that read the data once, and lines that are printed early.

# shellcheck disable=SC2154,SC2016 # variables come from helpers and bats, some for the shell that pipe starts
load helpers

golden=$top/tests/golden/inspect

@test "transcript: every report in every format" {
	diff "$golden/forms.txt" <("$golden/replay" "$golden/forms.txt") || fail "forms.txt differs"
}

# alone REPORT...: prints the heading and the output of each report, run alone, in order.
alone() {
	local report
	for report; do
		echo "# ${report%%[= ]*}"
		# shellcheck disable=SC2086 # a report may have options
		lnn-ckpt-inspect --$report $form "$fixtures/tiny.pth" || [ $? -eq 1 ] || fail "$report"
	done
}

@test "combined reports print the same as each alone, from a file and from a pipe, and end with the highest status" {
	local form
	local -a reports=(summary tree=1 globals stats check "against=$fixtures/deflated.pth --values --nan=differ")
	for form in '' --format=table --format=tsv; do
		alone "${reports[@]}" >expected
		# The order of the options does not matter.
		# shellcheck disable=SC2086 # form may be empty
		try lnn-ckpt-inspect --check --stats --against="$fixtures/deflated.pth" --values --nan=differ --globals --tree=1 \
			--summary $form "$fixtures/tiny.pth"
		expect_status 1
		expect_out "$(<expected)"
		pipe "cat \$fixtures/tiny.pth | lnn-ckpt-inspect --check --stats --against=\$fixtures/deflated.pth --values \
			--nan=differ --globals --tree=1 --summary $form"
		expect_status 1
		expect_out "$(<expected)"
	done
	try lnn-ckpt-inspect --summary --check --globals --against="$fixtures/prefixed.pth" "$fixtures/prefixed.pth"
	expect_status 0
	try lnn-ckpt-inspect --summary --globals "$fixtures/cut-off.pth"
	expect_status 2
	expect_out_has '# globals' 'tensor	torch.FloatStorage' 'would not load'
	expect_err_has 'cut off'
}

@test "--globals of a call that torch.save does not write says that it may or may not load" {
	command -v python3 >/dev/null || skip 'there is no python3'
	# collections.Counter(None), which torch loads; and the same before a global that torch refuses
	python3 - <<-'PYTHON'
		import zipfile
		call = b"\x80\2ccollections\nCounter\nN\x85R"
		for name, data in ("foreign.pth", call + b"."), ("bad.pth", call + b"cargparse\nNamespace\n."):
		    with zipfile.ZipFile(name, "w") as archive:
		        archive.writestr("archive/data.pkl", data)
		        archive.writestr("archive/byteorder", "little")
		        archive.writestr("archive/version", "3\n")
	PYTHON
	try lnn-ckpt-inspect --globals foreign.pth
	expect_status 1
	expect_out_has 'may or may not load with weights_only=True: Counter with such arguments'
	try lnn-ckpt-inspect --globals --format=json foreign.pth
	expect_status 1
	expect_out_has '"loads": null' 'Counter with such arguments'
	try lnn-ckpt-inspect --globals bad.pth
	expect_status 1
	expect_out_has 'would not load with weights_only=True: GLOBAL argparse.Namespace'
}

@test "combined reports are one JSON document" {
	command -v python3 >/dev/null || skip 'there is no python3'
	lnn-ckpt-inspect --summary --tree --globals --stats --check --against="$fixtures/tiny.safetensors" --format=json \
		"$fixtures/tiny.pth" >all.json || [ $? -eq 1 ]
	cat "$fixtures/tiny.pth" | lnn-ckpt-inspect --summary --tree --globals --stats --check \
		--against="$fixtures/tiny.safetensors" --format=json >pipe.json || [ $? -eq 1 ]
	local report
	for report in summary tree globals stats check "against=$fixtures/tiny.safetensors"; do
		lnn-ckpt-inspect "--$report" --format=json "$fixtures/tiny.pth" >"${report%%=*}.json" || [ $? -eq 1 ]
	done
	python3 - <<-'PYTHON'
		import json
		def load(name):
		    return json.load(open(name + ".json", encoding="utf-8"))
		names = ["summary", "tree", "globals", "stats", "check", "against"]
		every, pipe = load("all"), load("pipe")
		assert list(every) == ["schema", "file", "format"] + names, list(every)
		assert every["schema"] == 1 and every["format"] == "torch"
		for name in names:
		    alone = load(name)
		    for head in ("schema", "file", "format"):
		        alone.pop(head, None)
		    assert every[name] == alone and pipe[name] == alone, name
	PYTHON
}

@test "several reports are printed for each of several operands" {
	try lnn-ckpt-inspect --summary --check "$fixtures/prefixed.pth" "$fixtures/nowhere.pth" "$fixtures/tiny.pth"
	expect_status 2
	[ "$(grep -c '^# ' <<<"$output")" -eq 6 ] || fail "$output"
	[ "$(grep '^# ' <<<"$output" | head -n 3)" = "# $fixtures/prefixed.pth"$'\n# summary\n# check' ] || fail "$output"
	command -v python3 >/dev/null || skip 'there is no python3'
	lnn-ckpt-inspect --summary --check --format=json "$fixtures/prefixed.pth" "$fixtures/tiny.pth" >both.json || [ $? -eq 1 ]
	python3 -c 'import json
a, b = json.load(open("both.json"))
assert a["check"]["ok"] and not b["check"]["ok"] and b["summary"]["tensors"] == 32'
}

# big: makes a file with two uint8 tensors of 4 MiB each. All elements are 1.
big() {
	local n=4194304 header
	header='{"a":{"dtype":"U8","shape":['$n'],"data_offsets":[0,'$n']},"b":{"dtype":"U8","shape":['$n'],"data_offsets":['$n','$((2 * n))']}}'
	{
		# shellcheck disable=SC2059 # the format is the byte that says how long the header is
		printf "\\x$(printf %02x ${#header})\0\0\0\0\0\0\0"
		printf '%s' "$header"
		head -c $((2 * n)) /dev/zero | tr '\0' '\1'
	} >big.safetensors
	head_size=$((8 + ${#header}))
}

@test "several reports read the data of a file once" {
	command -v strace >/dev/null || skip 'there is no strace'
	big
	lnn-ckpt-adapt -q --to torch big.safetensors -o big.pth
	cp big.pth other.pth
	strace -qq -f -y -e trace=read,pread64,preadv -o trace lnn-ckpt-inspect --stats --check --against=other.pth --values big.pth >out ||
		skip 'strace does not run here'
	local size read
	size=$(stat -c %s big.pth)
	for file in big.pth other.pth; do
		read=$(grep "/$file>" trace | sed -nE 's/.* = ([0-9]+)$/\1/p' | awk '{ n += $1 } END { print n }')
		# The bytes of the file are read once. Only the index may be read twice.
		[ "$read" -ge $((size - 2048)) ] || fail "$file: only $read of $size bytes were seen"
		[ "$read" -le $((size + 262144)) ] || fail "$file: $read bytes were read, it has $size"
	done
	grep -q '^ok: 2 tensors' out || fail "$(cat out)"
}

@test "several reports read a pipe once" {
	big
	lnn-ckpt-adapt -q --to torch big.safetensors -o big.pth
	cp big.pth other.pth
	mkfifo fifo
	cat big.pth >fifo &
	try lnn-ckpt-inspect --stats --check --against=other.pth --values fifo
	expect_status 0
	expect_out_has 'a	uint8	4194304	1.0	1.0	1.0	0.0	2048.0' '# check' 'ok: 2 tensors, 2 CRCs agree' '2 matched'
	wait
}

# early N COMMAND LINE...: COMMAND must print the lines when it has the first N bytes of big.safetensors.
early() {
	local n=$1 command=$2 expected line
	shift 2
	rm -f in out
	mkfifo in out
	bash -c "$command <in >out" &
	exec 8>in 9<out
	head -c "$n" big.safetensors >&8
	for expected; do
		read -r -t 20 line <&9 || fail "$command: '$expected' did not come in time"
		[ "$line" = "$expected" ] || fail "$command: '$line', not '$expected'"
	done
	tail -c "+$((n + 1))" big.safetensors >&8
	exec 8>&-
	cat <&9 >rest
	exec 9<&-
	wait $! || fail "$command: status $?"
	[ -s rest ] || fail "$command: nothing came later"
}

@test "lines are printed before the last tensor is read" {
	big
	early $((head_size + 4194304 + 65536)) 'lnn-ckpt-inspect --stats' \
		$'#name\tdtype\tnumel\tmin\tmax\tmean\tstd\tnorm\tzeros\tnan\tposinf\tneginf' \
		$'a\tuint8\t4194304\t1.0\t1.0\t1.0\t0.0\t2048.0\t0\t0\t0\t0'
	early $((head_size + 4194304 + 65536)) 'lnn-ckpt-inspect --stats --format=jsonl' \
		'{"name":"a","dtype":"uint8","numel":4194304,"min":1.0,"max":1.0,"mean":1.0,"std":0.0,"norm":2048.0,"zeros":0,"nan":0,"posinf":0,"neginf":0}'
	early $((head_size + 4194304 + 65536)) 'lnn-ckpt-inspect -l' \
		$'a\tuint8\t[4194304]\tnumel=4194304\tnbytes=4194304\toffset='$head_size$'\tstrides=[1]\tstorage=0'
	# The plain list needs only the index. Nothing is printed after it.
	early_list
}

early_list() {
	rm -f in out
	mkfifo in out
	lnn-ckpt-inspect <in >out &
	exec 8>in 9<out
	head -c $((head_size + 65536)) big.safetensors >&8
	local line
	for expected in $'a\tuint8\t[4194304]' $'b\tuint8\t[4194304]'; do
		read -r -t 20 line <&9 || fail "'$expected' did not come in time"
		[ "$line" = "$expected" ] || fail "'$line', not '$expected'"
	done
	tail -c "+$((head_size + 65537))" big.safetensors >&8
	exec 8>&- 9<&-
	wait $! || fail "status $?"
}

@test "a table with more rows than are measured for its widths shows all values" {
	local i
	local -a names=()
	for ((i = 0; i < 1100; i++)); do
		names+=("tensor.$i")
	done
	safetensors many.safetensors "${names[@]}"
	# The fiftieth last tensor is a NaN, after the column of NaNs was left out.
	printf '\0\0\300\177' | dd of=many.safetensors bs=1 seek=$(($(stat -c %s many.safetensors) - 200)) conv=notrunc status=none
	lnn-ckpt-inspect --stats --format=table many.safetensors >out
	[ "$(wc -l <out)" -eq 1102 ]
	[ "$(sed -n 1p out | wc -w)" -eq 9 ] || fail "$(head -n 1 out)"
	[ "$(sed -n 1052p out | awk '{ print $NF }')" = nan ] || fail "$(sed -n 1052p out)"
	[ "$(sed -n 1053p out | awk '{ print $1, $NF }')" = 'tensor.1050 1' ] || fail "$(sed -n 1053p out)"
	lnn-ckpt-inspect --format=table many.safetensors | tail -n 1 | grep -qx '1100 tensors, 1.10k elements, 4.30 KiB'
}

@test '--summary says whether a file loads, in the words of --globals, also from a pipe' {
	local name said
	for name in tiny rest whole-module legacy qtensor; do
		# --summary prints the reason and the names in separate lines, so that they fit a terminal.
		said=$(lnn-ckpt-inspect --globals "$fixtures/$name.pth" |
			sed -n '/^# /{s/^# //;s/ (at byte [0-9]*)$//;s/: /:\n/;p}')
		[[ $said == *'load with weights_only=True'* ]] || fail "$name: $said"
		diff <(echo "$said") <(lnn-ckpt-inspect -q --summary "$fixtures/$name.pth" | sed -n '/^load /,/^holds/{/^holds/d;s/^.\{12\}//p}')
		diff <(lnn-ckpt-inspect -q --summary "$fixtures/$name.pth") \
			<(cat "$fixtures/$name.pth" | lnn-ckpt-inspect -q --summary)
	done
	said=$(lnn-ckpt-inspect --summary "$fixtures/tiny.safetensors")
	[[ $said != *weights_only* ]] || fail "$said"
	[ "$(lnn-ckpt-inspect -q --summary --format json "$fixtures/rest.pth" | sed -n 's/^  "loads": //p')" = false, ]
}
