# The examples of the manuals do what the manuals say, and the options in the manuals are those of the programs.

# shellcheck disable=SC2154 # top, fixtures, output, stderr, status come from helpers and bats
load helpers

programs='lnn-ckpt-inspect lnn-filter lnn-ckpt-adapt lnn-interp-bias'

# options_of PROGRAM: prints the options of --help such as `-c --config` or `--drop-params`, one a line, sorted.
options_of() {
	"$1" --help | sed '/^Examples:/,$d' | sed -nE 's/^ +(-([^-]), )?--([a-z0-9-]+).*/-\2 --\3/p' | sed 's/^- //' | sort
}

# options_in PAGE: prints the options in the lists of a manual in the same form. A list has lines such as
# `.It Fl c , Fl Fl config Ns = Ns Ar file`, some with several options.
options_in() {
	sed -nE '/^\.It Fl /p' "$1" | perl -ne '
		s/^\.It //;
		# A letter is followed by the long option that it shortens.
		my $letter = "";
		while (/\bFl (?:Fl ([a-z0-9][a-z0-9-]*)|([A-Za-z0-9])(?=[ ,]))/g) {
			if (defined $1) { print $letter, "--$1\n"; $letter = "" } else { $letter = "-$2 " }
		}' | sort -u
}

examples() {
	run "$top/tests/manuals/run" "$@"
	[ "$status" -eq 0 ] || fail "$output"
}

@test 'examples of the manuals of sections 1 and 7 do what they say' {
	local page
	for page in "$top"/man/*.[17]; do
		examples "$page"
		[[ $output == *[1-9]*' examples run' ]] || fail "$page has no example"
	done
}

@test 'examples of the manuals of file formats do what they say' {
	examples "$top"/man/*.5
}

@test 'examples of the README do what they say' {
	examples "$top/README.md"
	[[ $output == *[1-9]*' examples run' ]] || fail 'the README has no examples'
}

@test 'the test of examples finds an example that fails or prints something else' {
	printf '%s\n' '.Sh EXAMPLES' '.Bd -literal' '$ lnn-filter --no-such-option' .Ed >bad.1
	run "$top/tests/manuals/run" bad.1
	[ "$status" -eq 1 ]
	printf '%s\n' '.Sh EXAMPLES' '.Bd -literal' '$ echo a; echo b' b a .Ed >bad.1
	run "$top/tests/manuals/run" bad.1
	[ "$status" -eq 1 ]
	[[ $output == *'does not come out: a'* ]]
	printf '%s\n' '.Sh EXAMPLES' '.Bd -literal' '$ echo a |' '  tr a b' b .Ed >good.1
	run "$top/tests/manuals/run" good.1
	[ "$status" -eq 0 ]
	printf '%s\n' '.Sh EXAMPLES' '.Bd -literal' 'echo a' .Ed >bad.1
	run "$top/tests/manuals/run" bad.1
	[ "$status" -ne 0 ]
	printf 'Text:\n\n    lnn-filter x\n\nMore.\n' >bad.md
	run "$top/tests/manuals/run" bad.md
	[ "$status" -ne 0 ]
}

@test 'the function in lnn-model(5) is the one that wrote the descriptions among the fixtures' {
	"$top/tests/manuals/run" --list "$top/man/lnn-model.5" >list
	perl -0777 -ne '/\[file describe\.py\] (.*?)\n\n[^\n]*lnn-model\.5:\d+: /s and print $1' list | grep . >manual.py
	grep . "$fixtures/describe.py" | diff - manual.py
}

@test 'every program has a manual with the options of --help' {
	local p
	for p in $programs; do
		[ -f "$top/man/$p.1" ] || fail "there is no man/$p.1"
		diff -u --label "$p --help" --label "man/$p.1" <(options_of "$p") <(options_in "$top/man/$p.1") ||
			fail "man/$p.1 and $p --help differ"
	done
}

@test '--help ends with two examples that run, the statuses and the name of the manual' {
	local p
	mkdir scratch
	cd scratch
	"$top/tests/manuals/scratch" >/dev/null 2>&1
	for p in $programs; do
		$p -h | sed '1,/^Examples:/d' >end
		[ "$(grep -c "^  $p " end)" -eq 2 ] || fail "$p: $(cat end)"
		[ "$(tail -n 1 end)" = "Manual: man $p" ]
		grep -q '^Status: 0 ' end
		while read -r command; do
			eval "$command" >out 2>err </dev/null || fail "$command: $(cat err)"
		done < <(sed -n 's/^  //p' end)
		$p -V | cmp - <($p --version)
		[ "$($p --help | wc -L)" -le 80 ] || fail "$p --help has a long line"
	done
}

@test 'every option in a manual exists' {
	local p page name
	for p in $programs; do
		options_of "$p" | sed 's/.*--/--/'
	done | sort -u >all
	for page in "$top"/man/*.[157]; do
		while read -r name; do
			grep -qxF -e "$name" all || fail "${page##*/} names $name, which no program has"
		done < <(grep -oE '(^|[^a-z-])(Fl Fl |lnn-[a-z-]+ [^|]*--)[a-z][a-z0-9-]*' "$page" | sed -E 's/.*(Fl Fl |--)/--/' | sort -u)
	done
}

@test 'synopsis and usage name the same short options with arguments' {
	local p
	for p in $programs; do
		sed -n '/^\.Sh SYNOPSIS/,/^\.Sh DESCRIPTION/p' "$top/man/$p.1" >synopsis
		while read -r letter; do
			grep -qE "Fl ([A-Za-z0-9]*${letter}[A-Za-z0-9]*)( |\$)" synopsis || fail "man/$p.1: the synopsis lacks -$letter of the usage line"
		done < <($p --help | head -n 1 | grep -oE '\[-[a-zA-Z]' | tr -d '[-')
	done
}

@test 'the manuals list every member of the JSON output' {
	local page=$top/man/lnn-ckpt-inspect.1 file member args
	for args in --long --fold --summary --tree=1 --globals --digest --stats --check "--values --fold --renames --against=$fixtures/demo.pth"; do
		for file in demo.pth sparse.pth qtensor.pth sharded-safetensors; do
			# shellcheck disable=SC2086
			lnn-ckpt-inspect -q --format=json $args "$fixtures/$file" >out.json || [ $? -eq 1 ]
			grep -o '"[a-z_0-9]*": ' out.json | sort -u >members
			while read -r member; do
				grep -qF -e "${member%:}" "$page" || fail "$args $file: $member"
			done <members
		done
	done
	lnn-ckpt-adapt -q -m "$fixtures/mFormerV0-demo-384.yaml" --img-size 384 --report out.json -n "$fixtures/demo.pth" >list
	grep -o '"[a-z_0-9]*": ' out.json | tr -d '": ' | sort -u >members
	while read -r member; do
		grep -qw -e "$member" "$top/man/lnn-ckpt-adapt.1" || fail "--report: $member"
	done <members
}

@test 'the limits in lnn-tools(7) are those of lib/base/limits.h' {
	local name value
	sed -E 's/^enum \{ (.*) \};/\1,/; s/, ([A-Z])/,\n\1/g' "$top/lib/base/limits.h" |
		sed -nE 's/^\t?([A-Z_]+) = ([^,]+),.*/\1 \2/p; s/^#define ([A-Z_]+_MAX) +([^\/]+).*/\1 \2/p' |
		sed -E 's/\((uint64_t|size_t)\)//' >limits
	[ "$(wc -l <limits)" -gt 20 ]
	while read -r name value; do
		echo "$name=$((value))"
	done <limits | sort >expected
	grep -E '^\.\\" [A-Z_]+=' "$top/man/lnn-tools.7" | grep -oE '[A-Z_]+=[0-9]+' | sort | diff expected - || fail 'lnn-tools(7) has other limits'
}

@test 'manuals refer only to existing manuals, and lnn-tools(7) lists all of them' {
	local page name
	for page in "$top"/man/*.[157]; do
		while read -r name; do
			[ -f "$top/man/$name" ] || fail "${page##*/} refers to $name"
		done < <(sed -nE 's/^\.Xr (lnn-[a-z-]+) ([0-9]).*/\1.\2/p' "$page")
		name=${page##*/}
		[ "$name" = lnn-tools.7 ] || grep -q "^.Xr ${name%.?} ${name##*.}" "$top/man/lnn-tools.7" ||
			fail "lnn-tools(7) does not name $name"
	done
}

@test 'mandoc finds nothing wrong in the manuals' {
	command -v mandoc >/dev/null || skip 'there is no mandoc'
	run mandoc -T lint -W warning "$top"/man/*.[157]
	[ "$status" -eq 0 ] || fail "$output"
}

@test 'examples can be pasted: literal lines fit 80 columns, and .Dl is not used because it is filled' {
	local page
	command -v mandoc >/dev/null || skip 'there is no mandoc'
	for page in "$top"/man/*.[157]; do
		mandoc -T ascii -O width=78 "$page" | col -bx | awk 'length > 80' >long
		[ ! -s long ] || fail "${page##*/}: $(cat long)"
		! grep -n '^\.Dl' "$page" || fail "${page##*/}: .Dl"
	done
}

@test 'lnn-tools(7) is in every SEE ALSO' {
	local page
	for page in "$top"/man/*.[15]; do
		sed -n '/^\.Sh SEE ALSO/,$p' "$page" | grep -q '^\.Xr lnn-tools 7' || fail "${page##*/}"
	done
}
