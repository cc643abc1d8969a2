# The four programs together, through standard input and output.

# shellcheck disable=SC2030,SC2031,SC2154 # fixtures, output, stderr and status come from helpers and bats
load helpers

model=$BATS_TEST_DIRNAME/../fixtures/mFormerV0-demo-384.yaml

@test 'inspect | filter | adapt | interp-bias gives the same as one run of adapt' {
	pipe "lnn-ckpt-inspect '$fixtures/demo.pth' | lnn-filter --buffers -v -e '{TYPE: name, PATTERNS: [head, meta_]}' |
		lnn-ckpt-adapt -q --keep-names - '$fixtures/demo.pth' | lnn-interp-bias -q --img-size 384 --to-layout last >out.pth"
	expect_status 0
	expect_no_err
	# the same edits in one program
	lnn-ckpt-adapt -q -m mFormerV0 --img-size 384 "$fixtures/demo.pth" -o expected.pth
	diff <(lnn-ckpt-inspect expected.pth) <(lnn-ckpt-inspect out.pth)
	unzip -tqq out.pth
	pipe "cat out.pth | lnn-ckpt-adapt -n -m '$model' --no-interpolate 2>&1 >/dev/null | grep 'load check'"
	expect_out_has ' 0 unexpected, 0 of another shape'
}

@test 'a file and a pipe give the same bytes, for every size of reads' {
	local f=$fixtures/demo.pth options=(-m mFormerV0 --img-size 384 --carry-all)
	lnn-ckpt-adapt -q "${options[@]}" "$f" -o a
	cat "$f" | lnn-ckpt-adapt -q "${options[@]}" | cat >b
	cmp a b
	dd if="$f" bs=7 status=none | lnn-ckpt-adapt -q "${options[@]}" -j 3 >c
	cmp a c
	lnn-interp-bias -q --img-size 448 a -o d
	lnn-interp-bias -q --img-size 448 <a >e
	cat a | lnn-interp-bias -q --img-size 448 -o f
	cmp d e
	cmp d f
}

@test 'a conversion to safetensors and back through pipes keeps all tensors' {
	lnn-ckpt-adapt -q --root "$fixtures/demo.pth" -o a.pth
	pipe "cat '$fixtures/demo.pth' | lnn-ckpt-adapt -q --to safetensors | lnn-ckpt-adapt -q --to torch --root >b.pth"
	expect_status 0
	diff <(lnn-ckpt-inspect a.pth | sort) <(lnn-ckpt-inspect b.pth | sort)
	local name=stage_0.0.weight
	cmp <(lnn-ckpt-adapt -q --to safetensors --keep-names <(echo $name) a.pth) \
		<(lnn-ckpt-adapt -q --to safetensors --keep-names <(echo $name) b.pth)
}

# never_loads FILE CASE: checks that an output of a program that failed is not a checkpoint.
never_loads() {
	[ ! -s "$1" ] && return 0
	try lnn-ckpt-inspect "$1"
	[ "$status" -eq 2 ] || fail "$2: the output of a failing program loads"
}

@test 'the output of a failing program on a pipe never loads' {
	local f size at to
	for f in demo.pth tables.pth tiny.safetensors legacy.pth; do
		size=$(stat -c %s "$fixtures/$f")
		for at in 0 1 8 100 $((size / 3)) $((size / 2)) $((size - 3000)) $((size - 100)) $((size - 22)) $((size - 1)); do
			[ "$at" -ge 0 ] && [ "$at" -lt "$size" ] || continue
			for to in torch safetensors; do
				pipe "head -c $at '$fixtures/$f' | lnn-ckpt-adapt -q --drop-params complex --to $to >out"
				expect_status 2 || fail "$f cut at $at to $to: $stderr"
				[ "$(wc -l <<<"$stderr")" -eq 1 ] || fail "$f cut at $at: $stderr"
				never_loads out "$f cut at $at to $to"
			done
			# If no name is that of a table, the status is 1 before the rest is read.
			pipe "head -c $at '$fixtures/$f' | lnn-interp-bias -q --img-size 384 >out"
			[[ $status -eq 2 || $f != *s.pth && $f != demo.pth && $status -eq 1 ]] || fail "$f cut at $at: $stderr"
			never_loads out "$f cut at $at"
		done
	done
}

@test 'a changed byte in the input of a pipeline is found before the output is complete' {
	local size at
	size=$(stat -c %s "$fixtures/demo.pth")
	# a byte inside a tensor is found by the CRC of the record if the tensor is converted
	cp "$fixtures/demo.pth" bad.pth
	at=$((size / 2))
	printf '\xa5\x5a\xa5\x5a' | dd of=bad.pth bs=1 seek=$at conv=notrunc status=none
	pipe "cat bad.pth | lnn-ckpt-adapt -q --dtype bfloat16 >out"
	[ "$status" -eq 0 ] || never_loads out "a changed byte"
	# a byte in the central directory
	cp "$fixtures/demo.pth" bad.pth
	printf '\0\0\0\0' | dd of=bad.pth bs=1 seek=$((size - 200)) conv=notrunc status=none
	pipe "cat bad.pth | lnn-ckpt-adapt -q >out"
	[ "$status" -eq 0 ] || never_loads out "a changed directory"
	try lnn-ckpt-adapt -q bad.pth -o out.pth
	[ "$status" -eq 0 ] || [ ! -e out.pth ]
}

@test 'the message of a later program in a pipeline says that an earlier one may have failed' {
	pipe "lnn-ckpt-adapt nowhere.pth | lnn-interp-bias --img-size 384 >out"
	expect_status 2
	expect_err_has 'lnn-ckpt-adapt: nowhere.pth: cannot open' 'lnn-interp-bias: standard input' 'did the program before it fail?'
	[ ! -s out ]
}
