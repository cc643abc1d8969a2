# Completion: bash, zsh and fish offer the options and values that the programs accept.

# shellcheck disable=SC2154 # top, fixtures, output, stderr, status come from helpers and bats
load helpers

programs='lnn-ckpt-inspect lnn-filter lnn-ckpt-adapt lnn-interp-bias'
completion=$top/cmd/completion

# in_bash WORD...: puts the words that bash offers for the last word into $output, one a line.
in_bash() {
	run bash -c '. "$1/lnn-tools.bash"; shift
		COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lnn_tools "$1"; printf "%s\n" "${COMPREPLY[@]}"' - "$completion" "$@"
	output=$(sort <<<"$output")
}

in_fish() {
	# shellcheck disable=SC2016 # a variable of fish
	run fish --no-config -c 'source $argv[1]/lnn-tools.fish; complete -C"$argv[2]"' "$completion" "$1"
	output=$(cut -f 1 <<<"$output" | sort)
}

# The words that zsh offers, in the order of its list.
in_zsh() {
	run timeout 30 zsh -f "$top/tests/manuals/zsh_complete" "$completion" "$1"
	output=$(tr -d '\r' <<<"$output" | sed -n '2,$p' | grep -vF -- "$1" | sed 's/ -- .*//' | tr -s ' ' '\n' | grep . | sort)
}

files() {
	lnn-ckpt-adapt -q "$fixtures/demo.pth" -o model.pth
	cp "$top/tests/manuals/exp.yaml" exp.yaml
}

names='head.taxa_L10.bias
head.taxa_L10.weight
head.taxa_L20.bias
head.taxa_L20.weight'
paths='LOSS.GRAD_WEIGHTING.TASK.EXCLUDE_CONFIG
OPTIMIZER.PARAMETER_GROUPS
OPTIMIZER.PARAMETER_GROUPS.HEADS
OPTIMIZER.PARAMETER_GROUPS.NO_DECAY'
groups='DEFAULT
HEADS
NO_DECAY'

long_options() {
	"$1" --help | grep -oE '^ +(-., )?--[a-z0-9-]+' | grep -oE -- '--.*' | sort
}

@test 'bash offers exactly the options of each program' {
	local p
	for p in $programs; do
		in_bash "$p" --
		expect_out "$(long_options "$p")"
	done
}

@test 'bash offers tensors of the checkpoint, rules and groups of the experiment, models, maps and values' {
	files
	in_bash lnn-ckpt-inspect model.pth --dump head
	expect_out "$names"
	mkdir folder && cp model.pth folder
	in_bash lnn-ckpt-inspect folder --dump head
	expect_out "$names"
	in_bash lnn-ckpt-inspect fold
	expect_out folder
	in_bash lnn-ckpt-adapt model.pth --drop-params = head
	expect_out "$names"
	in_bash lnn-filter -c exp.yaml -p ''
	expect_out "$paths"
	in_bash lnn-filter -c exp.yaml -g ''
	expect_out "$groups"
	in_bash lnn-ckpt-adapt --print-map ''
	expect_out "$(cd "$top/lib/plan/maps" && printf '%s\n' *.yaml | sed 's/\.yaml$//')"
	in_bash lnn-ckpt-adapt -m mForm
	expect_out "$(cd "$top/lib/model/builtin" && printf '%s\n' *.yaml | sed 's/\.yaml$//')"
	in_bash lnn-filter --format = ''
	expect_out $'json\ntable'
	in_bash lnn-ckpt-adapt mod
	expect_out model.pth
}

@test 'bash does not expand names from a file' {
	# shellcheck disable=SC2016 # no shell may expand it
	local n header='{"$(touch a)":NOTHING,"`touch b`":NOTHING}'
	header=${header//NOTHING/'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'}
	n=${#header}
	{
		printf '%b' "\\x$(printf '%02x' "$n")\\0\\0\\0\\0\\0\\0\\0"
		printf '%s' "$header"
	} >f.safetensors
	[ "$(lnn-ckpt-inspect --format names f.safetensors | wc -l)" -eq 2 ]
	in_bash lnn-ckpt-inspect f.safetensors --dump ''
	expect_out $'\\$\\(touch\\ a\\)\n\\`touch\\ b\\`'
	expect_only f.safetensors
}

@test 'bash loads the completion file by the name of each command' {
	local p
	for p in $programs; do
		run bash -c '. "$1/lnn-tools.bash"; complete -p "$2"' - "$completion" "$p"
		expect_status 0
		expect_out "complete -F _lnn_tools $p"
	done
}

@test 'fish offers the options and values of each program' {
	command -v fish >/dev/null || skip 'there is no fish'
	local p
	files
	for p in $programs; do
		in_fish "$p --"
		expect_out "$(long_options "$p")"
	done
	in_fish 'lnn-ckpt-inspect model.pth --dump head'
	expect_out "$names"
	mkdir folder && cp model.pth folder
	in_fish 'lnn-ckpt-inspect folder --dump head'
	expect_out "$names"
	in_fish 'lnn-filter -c exp.yaml -p '
	expect_out "$paths"
	in_fish 'lnn-filter -c exp.yaml -g '
	expect_out "$groups"
	in_fish 'lnn-ckpt-adapt -m m'
	expect_out "$(cd "$top/lib/model/builtin" && printf '%s\n' *.yaml | sed 's/\.yaml$//'; echo model.pth)"
	in_fish 'lnn-ckpt-adapt --print-map '
	expect_out "$(cd "$top/lib/plan/maps" && printf '%s\n' *.yaml | sed 's/\.yaml$//')"
}

@test 'zsh offers the options and values of each program' {
	command -v zsh >/dev/null || skip 'there is no zsh'
	local p
	files
	for p in $programs; do
		in_zsh "$p --"
		expect_out "$(long_options "$p")"
	done
	in_zsh 'lnn-ckpt-inspect model.pth --dump head'
	expect_out "$names"
	mkdir folder && cp model.pth folder
	in_zsh 'lnn-ckpt-inspect folder --dump head'
	expect_out "$names"
	in_zsh 'lnn-filter -c exp.yaml -p '
	expect_out "$paths"
	in_zsh 'lnn-filter -c exp.yaml --group='
	expect_out "$groups"
	in_zsh 'lnn-ckpt-adapt --print-map '
	expect_out "$(cd "$top/lib/plan/maps" && printf '%s\n' *.yaml | sed 's/\.yaml$//')"
}

# offered OPTION: the values that each of the three files has for it, one line a file.
offered() {
	sed -nE "s/^	--(.* \| --)?$1( .*)?\) (echo )?(.*) ;;\$/\4/p" "$completion/lnn-tools.bash"
	sed -nE "s/^\(--(.*\|--)?$1(\|.*)?\) compadd ([^;]*); .*/\3/p" "$completion/_lnn-tools"
	awk -v option="$1" '$1 == "case" { on = (" " $0 " ") ~ (" " option " "); next }
		on && $1 == "echo" { sub(/^[ \t]*echo /, ""); print }' "$completion/lnn-tools.fish"
}

@test 'bash, zsh and fish offer the same values, which are exactly those that the programs accept' {
	local p option line word count
	files
	while read -r p option; do
		count=$(offered "$option" | sort | uniq | wc -l)
		[ "$count" -eq 1 ] || fail "--$option:" "$(offered "$option")"
		[ "$(offered "$option" | wc -l)" -eq 3 ] || fail "--$option is not in all three"
		for word in $(offered "$option" | head -n 1); do
			try "$p" "--$option=$word" -q model.pth -o /dev/null
			[[ ! $stderr =~ "'$word' is not"|"$word: no such"|expected|"is not a layout" ]] || fail "$p --$option=$word: $stderr"
		done
		# The message about a wrong value lists exactly the offered values.
		try "$p" "--$option=bogus" model.pth -o /dev/null
		[ "$status" -eq 2 ] || fail "$p --$option=bogus: status $status"
		line=$(sed -E 's/[(].*//; s/[a-z-]+: //; s/:N/ /g' <<<"$stderr")
		if [ "$option" != method ]; then
			for word in $(offered "$option" | head -n 1); do
				grep -qw -e "$word" <<<"$line" || fail "--$option offers $word; $stderr"
			done
		fi
	done <<-END
		lnn-ckpt-adapt color
		lnn-ckpt-adapt progress
		lnn-ckpt-adapt to
		lnn-ckpt-adapt dtype
		lnn-ckpt-adapt compat
		lnn-interp-bias method
		lnn-interp-bias layout
		lnn-ckpt-inspect nan
		lnn-ckpt-inspect dump-as
		lnn-ckpt-inspect sort
		lnn-ckpt-inspect fail-on
	END
}

@test 'the completion files name only options that exist' {
	local word
	for word in $programs; do
		long_options "$word"
	done | sort -u >all
	grep -oE -- '^	(--[a-z-]+|[ |]|-[a-z])+\)' "$completion/lnn-tools.bash" | grep -oE -- '--[a-z-]+' >words
	grep -oE '^\((--[a-z-]+|\||-[a-z])+\)' "$completion/_lnn-tools" | grep -oE -- '--[a-z-]+' >>words
	sed -n 's/^		case //p' "$completion/lnn-tools.fish" | tr ' ' '\n' | sed 's/^/--/' >>words
	[ "$(wc -l <words)" -gt 40 ]
	while read -r word; do
		grep -qxF -e "$word" all || fail "no program has $word"
	done <words
}
