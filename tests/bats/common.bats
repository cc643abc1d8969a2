# Behaviour that all four programs share: options, standard input and output, signals, terminals.

# shellcheck disable=SC2154 # fixtures, output, stderr, status come from helpers and bats
load helpers

programs='lnn-ckpt-inspect lnn-filter lnn-ckpt-adapt lnn-interp-bias'
# The programs that write checkpoints.
writers='lnn-ckpt-adapt lnn-interp-bias'

# needs PROGRAM [ARG]...: puts the options that the program needs, and ARG, into $need; the quoted command into $quoted.
needs() {
	case $1 in
	lnn-filter) need=(-e '{TYPE: name, PATTERNS: [weight]}') ;;
	lnn-interp-bias) need=(-q --img-size 384) ;;
	lnn-ckpt-adapt) need=(-q) ;;
	*) need=() ;;
	esac
	[ $# -eq 1 ] || need+=("${@:2}")
	quoted=$(printf '%q ' "$1" "${need[@]}")
}

# terminal COMMAND: runs COMMAND on a terminal of 70 columns. $output has its output without carriage returns.
terminal() {
	run env TERM=xterm COLUMNS=70 script -qec "$1" /dev/null </dev/null
	output=${output//$'\r'/}
}

@test '--help is written to standard output, fits 80 columns and has the common options' {
	local p
	for p in $programs; do
		try "$p" --help
		expect_status 0
		expect_no_err
		[[ $output == "Usage: $p "* ]] || fail "$output"
		[ -z "$(awk 'length($0) > 80' <<<"$output")" ] || fail "$p: a line is too long" "$output"
		expect_out_has '--help' '--version' '--quiet' '--verbose'
	done
}

@test '--version prints the program and the version' {
	local p
	for p in $programs; do
		try "$p" --version
		expect_status 0
		[[ ${output%%$'\n'*} =~ ^$p\ \(lnn-tools\)\ [0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "$output"
	done
}

@test 'a short option means the same in every program' {
	local p line
	for p in $programs; do
		while read -r line; do
			case $line in
			'-c, --config='* | '-m, --model='* | '-k, --key='* | '-o, --output='* | '-j, --jobs='*) ;;
			'-q, --quiet'* | '-0, --null'* | '-v, --invert-match'* | '-e, --expr='* | '-n, --dry-run'*) ;;
			'-'[cmkojq0ven],*) fail "$p: $line" ;;
			esac
		done < <($p --help | grep -E '^ *-.,')
	done
}

@test 'a wrong option gives one line, status 2 and a suggestion' {
	local p
	for p in $programs; do
		try "$p" --no-such-option
		expect_refusal 2 "$p" "'--no-such-option'" "$p --help"
		try "$p" --verbos
		expect_refusal 2 "$p" "'--verbos'" "'--verbose'"
		try "$p" --verbsoe
		expect_refusal 2 "$p" "'--verbsoe'" "'--verbose'"
		try "$p" --verbose=yes
		expect_refusal 2 "$p" "'--verbose' takes no argument"
		try "$p" -Z
		expect_refusal 2 "$p" "'-Z'"
		try "$p" --color
		expect_refusal 2 "$p" "'--color' needs an argument"
		try "$p" --color=green
		expect_refusal 2 "$p" '--color' "'green'" 'auto, always or never'
		try "$p" "--$(printf 'a\033[31mb')"
		expect_refusal 2 "$p" '\x1b[31m'
	done
}

@test 'options and operands can be mixed, and -- ends options' {
	lnn-ckpt-adapt "$fixtures/tiny.pth" -o a -q
	lnn-ckpt-adapt -q -o b -- "$fixtures/tiny.pth"
	POSIXLY_CORRECT=1 lnn-ckpt-adapt "$fixtures/tiny.pth" -q -o c
	cmp a b
	cmp a c
	try lnn-ckpt-adapt -- --help
	expect_refusal 2 lnn-ckpt-adapt '--help: cannot open: No such file'
}

@test 'a missing input, a folder without a checkpoint and a closed standard input are refused' {
	local p
	for p in $programs; do
		needs "$p"
		try "$p" "${need[@]}" nowhere.pth
		expect_refusal 2 "$p" 'nowhere.pth: cannot open: No such file or directory'
		try "$p" "${need[@]}" .
		expect_refusal 2 "$p" '.: no file in this folder is a checkpoint'
		pipe "$quoted <&-"
		expect_refusal 2 "$p" 'standard input: read error: Bad file descriptor'
	done
}

@test 'a full disk gives status 2 and one line' {
	local p
	for p in $programs; do
		needs "$p" "$fixtures/tables.pth"
		pipe "$quoted >/dev/full"
		expect_refusal 2 "$p" 'standard output: write error: No space left on device'
		pipe "$quoted >&-"
		expect_refusal 2 "$p" 'standard output: write error: Bad file descriptor'
		pipe "$p --help >/dev/full"
		expect_refusal 2 "$p" 'standard output: write error: No space left on device'
	done
	for p in $writers; do
		needs "$p" "$fixtures/tables.pth"
		try "$p" "${need[@]}" -o /dev/full
		expect_refusal 2 "$p" '/dev/full: write error: No space left on device'
	done
}

@test 'a closed pipe ends a writer quietly, even if SIGPIPE is ignored' {
	pipe "lnn-ckpt-adapt -q '$fixtures/demo.pth' | true"
	expect_no_err
	pipe "trap '' PIPE; { lnn-ckpt-adapt -q '$fixtures/demo.pth'; echo \$? >status; } | sleep 0.5"
	[ "$(cat status)" -eq 141 ]
	expect_no_err
}

@test 'standard output may not be the input file, -o may' {
	local p
	for p in $writers; do
		cp "$fixtures/tables.pth" f
		needs "$p"
		pipe "$quoted f >>f"
		expect_refusal 2 "$p" 'f: input file is output file'
		pipe "$quoted <f >>f"
		expect_refusal 2 "$p" 'input file is output file'
		pipe "$quoted f 1<>f"
		expect_refusal 2 "$p" 'f: input file is output file'
		cmp f "$fixtures/tables.pth"
		chmod 600 f
		"$p" "${need[@]}" f -o g
		"$p" "${need[@]}" f -o f
		cmp f g
		[ "$(stat -c %a f)" = 600 ]
		[ -z "$(find . -name '.?*' -type f)" ]
		pipe "$quoted <f >f"
		expect_status 2
		rm f g
	done
}

@test 'checkpoint bytes are not written to a terminal' {
	local p
	for p in $writers; do
		needs "$p"
		terminal "$quoted"
		[ "$status" -eq 2 ]
		[[ $output == "$p: checkpoint bytes are not read from a terminal"* ]] || fail "$output"
		needs "$p" "$fixtures/tables.pth"
		terminal "$quoted"
		[ "$status" -eq 2 ]
		[[ $output == "$p: checkpoint bytes are not written to a terminal"* ]] || fail "$output"
		terminal "$quoted -o /dev/tty"
		[ "$status" -eq 2 ]
		[[ $output == "$p: /dev/tty: checkpoint bytes are not written to a terminal"* ]] || fail "$output"
	done
}

@test 'the same output from a file, a pipe, and one byte at a time' {
	local f
	for f in tiny.pth legacy.pth deflated.pth reordered.pth tiny.safetensors; do
		lnn-ckpt-adapt -q "$fixtures/$f" -o a
		head -c 1G "$fixtures/$f" | lnn-ckpt-adapt -q -o b
		lnn-ckpt-adapt -q <"$fixtures/$f" >c
		dd if="$fixtures/$f" bs=1 status=none | lnn-ckpt-adapt -q | cat >d
		cmp a b
		cmp a c
		cmp a d
	done
}

# demo.pth is larger than the bytes that are read ahead from a pipe.
@test 'the same output from a file and a pipe with every conversion' {
	local way
	for way in '' --compact '--to safetensors' '--dtype bfloat16' '--to safetensors --dtype float16' '-j 3 --dtype float64'; do
		# shellcheck disable=SC2086 # words
		lnn-ckpt-adapt -q $way "$fixtures/demo.pth" -o a
		# shellcheck disable=SC2086
		head -c 1G "$fixtures/demo.pth" | lnn-ckpt-adapt -q $way -o b
		cmp a b
	done
}

@test '-o follows links, writes to devices and pipes, and - is standard output' {
	mkdir sub
	ln -s sub/target link
	lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o link
	[ -L link ]
	lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o - >a
	cmp a sub/target
	lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o /dev/stdout | cmp - a
	lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o /dev/null
	[ -c /dev/null ]
	mkfifo fifo
	cat fifo >b &
	lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o fifo
	wait $!
	cmp a b
	[ -p fifo ]
	umask 027
	lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o c
	[ "$(stat -c %a c)" = 640 ]
}
