# The programs on a pseudo-terminal.

# shellcheck disable=SC2154 # top, fixtures, output, stderr, status come from helpers and bats
load helpers

programs='lnn-ckpt-inspect lnn-filter lnn-ckpt-adapt lnn-interp-bias'
escape=$(printf '\033')

# on_terminal WIDTH COMMAND: runs COMMAND on a terminal. $output has its output without carriage returns at the ends of lines.
on_terminal() {
	run env TERM="${TERM_IS:-xterm}" script -qec "stty cols $1 rows 24; $2" /dev/null </dev/null
	output=${output//$'\r\n'/$'\n'}
	output=${output%$'\r'}
}

# plain WIDTH COMMAND: like on_terminal, and removes colours.
plain() {
	on_terminal "$@"
	output=$(sed -E "s/$escape\[[0-9;]*[mK]//g" <<<"$output")
}

# no_line_over WIDTH: checks that no line has more characters.
no_line_over() {
	local long
	long=$(W=$1 perl -CSDA -ne 'chomp; print "$_\n" if length > $ENV{W}' <<<"$output")
	[ -z "$long" ] || fail "over $1 columns:" "$(head -n 5 <<<"$long")"
}

model() {
	lnn-ckpt-adapt -q "$fixtures/demo.pth" -o model.pth
	cp "$top/tests/manuals/exp.yaml" exp.yaml
}

@test 'tables are aligned and fit the width' {
	local width
	model
	for width in 48 60 80 132; do
		plain $width 'lnn-ckpt-inspect model.pth'
		expect_status 0
		no_line_over $width
		# There are titles, 199 tensors and a total. All dtypes begin in one column, and all shapes.
		[ "$(wc -l <<<"$output")" -eq 201 ]
		[ "$(head -n 200 <<<"$output" | grep -obE '^[^ ]+ +' | wc -l)" -eq 200 ]
		[ "$(head -n 200 <<<"$output" | perl -ne '/^(\S+ +)(\S+ +)\S/ and print length $1, " ", length $2, "\n"' | sort -u | wc -l)" -eq 1 ]
		expect_out_has 'cls_token_1' '[1,1,32]' '199 tensors'
		plain $width 'lnn-ckpt-inspect --fold model.pth'
		no_line_over $width
	done
	for width in 60 80 132; do
		plain $width 'lnn-ckpt-inspect --tree=2 model.pth'
		no_line_over $width
	done
	for width in 80 132; do
		plain $width 'lnn-ckpt-inspect --long model.pth'
		no_line_over $width
		plain $width 'lnn-filter -c exp.yaml --inspect model.pth'
		no_line_over $width
		expect_out_has 'WEIGHT_DECAY'
		plain $width 'lnn-ckpt-inspect --stats model.pth'
		no_line_over $width
		expect_out_has ' norm '
		plain $width "lnn-ckpt-inspect --summary '$fixtures/demo.pth'"
		no_line_over $width
	done
}

@test 'a name that is shortened keeps both ends; on a pipe names are not shortened' {
	model
	plain 48 "lnn-ckpt-inspect -e 'stage_3.0.attn.relative_position_bias_table' model.pth"
	[[ $output == *$'\n'stage*...*table\ * ]] || fail "$output"
	pipe 'lnn-ckpt-inspect --format=table model.pth | grep bias_table | head -n 1'
	[[ $output == 'stage_3.0.attn.relative_position_bias_table '* ]] || fail "$output"
}

@test 'colour is used on a terminal, and not with NO_COLOR, TERM=dumb or a pipe, unless --color=always' {
	local command
	model
	for command in 'lnn-ckpt-inspect model.pth' 'lnn-filter -c exp.yaml --inspect model.pth' 'lnn-ckpt-inspect --tree model.pth' \
		'lnn-filter -c exp.yaml --explain model.pth'; do
		on_terminal 80 "$command"
		[[ $output == *"${escape}["* ]] || fail "no colour: $command"
		on_terminal 80 "NO_COLOR=1 $command"
		[[ $output != *"$escape"* ]] || fail "NO_COLOR: $command"
		on_terminal 80 "NO_COLOR= $command"
		[[ $output == *"$escape"* ]] || fail "an empty NO_COLOR means nothing: $command"
		on_terminal 80 "$command --color=never"
		[[ $output != *"$escape"* ]] || fail "--color=never: $command"
		on_terminal 80 "NO_COLOR=1 $command --color=always"
		[[ $output == *"$escape"* ]] || fail "--color=always: $command"
		on_terminal 80 "$command | cat"
		[[ $output != *"$escape"* ]] || fail "on a pipe: $command"
		TERM_IS=dumb on_terminal 80 "$command"
		[[ $output != *"$escape"* ]] || fail "TERM=dumb: $command"
	done
	pipe 'lnn-ckpt-inspect --color=always --format=table model.pth'
	[[ $output == *"$escape"* ]]
}

@test 'progress of long work shows bytes, speed and remaining time, and is erased at the end' {
	local shown
	# The reader of the output begins late.
	on_terminal 100 "lnn-ckpt-adapt '$fixtures/demo.pth' -o /dev/stdout | { sleep 1.5; cat >/dev/null; }"
	expect_status 0
	shown=${output//$'\r'/$'\n'}
	grep -qE '^lnn-ckpt-adapt: .*: [0-9.]+ [KM]iB of [0-9.]+ [KM]iB \([0-9]+%\), [0-9.]+ ([KM]i)?B/s, [0-9]+:[0-9]{2} left' <<<"$shown" || fail "$shown"
	# The line is erased before the summary.
	[[ $output == *"${escape}[K"*' kept ('* ]] || fail "$output"
	# The input is a pipe that pauses.
	on_terminal 100 "{ head -c 700000 '$fixtures/demo.pth'; sleep 1.5; tail -c +700001 '$fixtures/demo.pth'; } | lnn-ckpt-adapt -o out.pth"
	expect_status 0
	grep -qE 'iB( of .*)?, [0-9.]+ ([KM]i)?B/s' <<<"${output//$'\r'/$'\n'}" || fail "$output"
	# The progress line fits the width.
	on_terminal 40 "lnn-ckpt-adapt -q --progress=always '$fixtures/demo.pth' -o /dev/stdout | { sleep 1.5; cat >/dev/null; }"
	shown=$(tr '\r' '\n' <<<"$output" | sed "s/$escape\[K//g")
	grep -q . <<<"$shown"
	[ -z "$(awk 'length($0) > 40' <<<"$shown")" ] || fail "$shown"
}

@test 'no progress is shown for short work, with -q, with --progress=never, or without a terminal' {
	on_terminal 100 "lnn-ckpt-adapt '$fixtures/demo.pth' -o out.pth"
	[[ $output != *'%'* && $output != *"$escape"* ]] || fail "$output"
	on_terminal 100 "lnn-ckpt-adapt -q '$fixtures/demo.pth' -o /dev/stdout | { sleep 1.3; cat >/dev/null; }"
	[ -z "$output" ] || fail "$output"
	on_terminal 100 "lnn-ckpt-adapt --progress=never '$fixtures/demo.pth' -o /dev/stdout | { sleep 1.3; cat >/dev/null; }"
	[[ $output != *'%'* ]] || fail "$output"
	pipe "lnn-ckpt-adapt '$fixtures/demo.pth' -o /dev/stdout | { sleep 1.3; cat >/dev/null; }"
	[[ $stderr != *'%'* ]] || fail "$stderr"
}

@test 'errors are one line on a narrow terminal' {
	local p
	for p in $programs; do
		on_terminal 40 "$p -q --no-such-option-at-all-of-this-program"
		[ "$status" -eq 2 ]
		[ "$(wc -l <<<"$output")" -eq 1 ] || fail "$output"
		on_terminal 40 "$p -q --version=3"
		[ "$(wc -l <<<"$output")" -eq 1 ] || fail "$output"
	done
	on_terminal 40 "lnn-ckpt-inspect '$fixtures/cut-off.pth'"
	[ "$status" -eq 2 ]
	[ "$(wc -l <<<"$output")" -eq 1 ] || fail "$output"
}

@test '--help fits 80 columns and has about one line for each option' {
	local p lines options
	for p in $programs; do
		plain 80 "$p --help"
		expect_status 0
		no_line_over 80
		lines=$(wc -l <<<"$output")
		options=$(grep -cE '^ +(-., )?--' <<<"$output")
		# Titles and blank lines are allowed, and a second line for one option in six.
		[ "$lines" -le $((options + options / 6 + 16)) ] || fail "$p: $lines lines for $options options"
	done
}

@test 'checkpoint bytes are neither read from a terminal nor written to one' {
	local p
	for p in 'lnn-ckpt-inspect' 'lnn-ckpt-adapt -q' 'lnn-interp-bias -q --img-size 384'; do
		on_terminal 80 "timeout 10 $p"
		[ "$status" -eq 2 ] || fail "$p: status $status: $output"
		[[ $output == *'not read from a terminal'* ]] || fail "$output"
		[ "$(wc -l <<<"$output")" -eq 1 ] || fail "$output"
	done
	for p in 'lnn-ckpt-adapt -q' 'lnn-interp-bias -q --img-size 384' 'lnn-ckpt-inspect --dump-as raw --dump module.cls_token_1'; do
		on_terminal 80 "$p '$fixtures/demo.pth'"
		[ "$status" -eq 2 ] || fail "$p: status $status"
		[[ $output == *'not written to a terminal'* ]] || fail "$output"
		[ "$(wc -l <<<"$output")" -eq 1 ] || fail "$output"
	done
}

@test 'names with terminal escapes are shown escaped' {
	on_terminal 80 "lnn-ckpt-inspect --color=never '$fixtures/names.pth'"
	[[ $output != *"$escape"* && $output != *$'\a'* ]] || fail "$output"
	expect_out_has '\x1b[31m'
	on_terminal 80 "lnn-ckpt-inspect --color=never --format=names '$fixtures/names.pth'"
	[[ $output != *"$escape"* && $output != *$'\a'* ]] || fail "$output"
	on_terminal 80 "lnn-filter --color=never --explain -e '{TYPE: name, PATTERNS: [a]}' '$fixtures/names.pth'"
	[[ $output != *"$escape"* && $output != *$'\a'* ]] || fail "$output"
	on_terminal 80 "lnn-ckpt-adapt --dtype nosuch\$(printf '\033[31m')"
	[[ $output != *"$escape"* ]] || fail "$output"
}

@test 'lnn-filter writes line by line on a terminal' {
	on_terminal 80 "{ echo a.first; sleep 0.7; echo now >/dev/tty; echo a.second; } | lnn-filter -e '{TYPE: name, PATTERNS: [a.]}'"
	expect_out $'a.first\nnow\na.second'
}
