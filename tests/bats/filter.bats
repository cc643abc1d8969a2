# lnn-filter: transcripts (tests/golden/filter), the reference in Python, and its behaviour in pipelines.

# shellcheck disable=SC2154 # top, fixtures, output, stderr and status come from helpers and bats
load helpers

golden=$top/tests/golden/filter

# transcript NAME: a transcript equals the current output.
transcript() {
	diff "$golden/$1.txt" <("$golden/replay" "$golden/$1.txt") || fail "$1.txt differs"
}

@test "transcript: every rule type, and rules in files" { transcript rules; }
@test "transcript: groups, DEFAULT, -g, bases, -0" { transcript groups; }
@test "transcript: --metadata" { transcript metadata; }
@test "transcript: --explain" { transcript explain; }
@test "transcript: --inspect" { transcript inspect; }
@test "transcript: --lint" { transcript lint; }
@test "transcript: every message about a rule" { transcript errors; }
@test "transcript: lists, descriptions, files and their errors" { transcript input; }
@test "transcript: options that are wrong or cannot be combined" { transcript usage; }

@test "random rules, groups and metadata have the same results in Python" {
	command -v python3 >/dev/null || skip 'there is no python3'
	try python3 "$top/tests/filter_reference.py" 150
	expect_status 0
	expect_out '150 rounds agree'
}

all='{TYPE: name, PATTERNS: [""]}'

@test "a checkpoint as operand or on standard input gives the same as its list by lnn-ckpt-inspect" {
	for f in tiny.pth tiny.safetensors legacy.pth demo.pth names.pth sharded-safetensors/model.safetensors.index.json; do
		lnn-ckpt-inspect "$fixtures/$f" >expected
		lnn-filter --buffers -e "$all" "$fixtures/$f" >got
		cmp expected got || fail "$f as operand"
		[[ $f == sharded* ]] && continue
		lnn-filter --buffers -e "$all" < <(cat "$fixtures/$f") >got
		cmp expected got || fail "$f on a pipe"
	done
}

@test "-k chooses the state dict" {
	try lnn-filter -k optimizer --count -e "$all" "$fixtures/demo.pth"
	[ "$status" -eq 0 ] || expect_refusal 2 lnn-filter optimizer
	try lnn-filter -k nowhere --count -e "$all" "$fixtures/demo.pth"
	expect_refusal 2 lnn-filter demo.pth nowhere
}

@test "-0 reads and writes names that end in NUL" {
	lnn-filter -0 -e '{TYPE: name, PATTERNS: [head]}' "$fixtures/demo.pth" >names
	lnn-filter -0 --count -e "$all" <names >count
	[ "$(cat count)" -eq "$(tr -cd '\0' <names | wc -c)" ]
	printf 'head.weight\nhead.bias\n' >lines
	try lnn-filter -0 -e "$all" lines
	expect_refusal 2 lnn-filter 'it ends in a newline instead of a NUL: lists of lines are read without -0'
}

@test "a line is printed before the next one is read" {
	mkfifo in
	lnn-filter -e '{TYPE: name, PATTERNS: [head]}' in >out &
	exec 5>in
	printf 'head.weight\n' >&5
	for _ in $(seq 100); do
		[ -s out ] && break
		sleep 0.05
	done
	[ "$(cat out)" = head.weight ] || fail 'nothing came'
	exec 5>&-
	wait $!
}

@test "-q ends at the first match and does not read the rest" {
	# shellcheck disable=SC2016 # for the inner shell
	pipe 'yes cls_token | lnn-filter -q -e "{TYPE: name, PATTERNS: [cls]}"; exit ${PIPESTATUS[1]}'
	expect_status 0
	expect_out ''
}

@test "a closed pipe ends the program quietly" {
	pipe 'yes cls_token | lnn-filter -e "{TYPE: name, PATTERNS: [cls]}" | head -n 1; exit 0'
	expect_out cls_token
	expect_no_err
}

@test "memory does not grow with the list" {
	[ -z "${LNN_SAN-}" ] || skip 'a sanitizer takes memory of its own'
	awk -v n=600000 -f "$top/tests/bench/make_names.awk" >names.tsv
	# The list has 40 MiB. Most of the allowed memory is reserved by regular expressions.
	pipe "ulimit -d 24576; lnn-filter -c $top/tests/bench/rules40.yaml -m mFormerV1 --first-match --count names.tsv"
	expect_status 0
	expect_out_has 'NO_DECAY'
	[ "$(printf '%s\n' "$output" | awk '{ n += $2 } END { print n }')" -eq 600000 ]
}

@test "a real experiment: every parameter of the demo checkpoint gets a group, and lint reports overlaps" {
	cat >exp.yaml <<-'END'
		OPTIMIZER:
		  PARAMETER_GROUPS:
		    ENABLED: True
		    NO_DECAY: {WEIGHT_DECAY: 0.0, FILTER: {TYPE: 'dimension', DIMENSIONS: [0, 1]}}
		    HEADS: {FILTER: {TYPE: 'name', MATCH_TYPE: 'startswith', PATTERNS: ['head', 'meta_']}}
	END
	try lnn-filter -c exp.yaml --first-match --count "$fixtures/demo.pth"
	expect_status 0
	parameters=$(lnn-filter --count -e "$all" "$fixtures/demo.pth")
	[ "$(printf '%s\n' "$output" | awk '{ n += $2 } END { print n }')" -eq "$parameters" ]
	try lnn-filter -c exp.yaml --lint "$fixtures/demo.pth"
	expect_status 1
	expect_out_has 'names are in NO_DECAY and HEADS'
}

@test "control bytes of a hostile list do not reach a terminal" {
	command -v script >/dev/null || skip 'there is no script(1)'
	printf 'head\033[31m\n' >list
	script -qec "lnn-filter -e '{TYPE: name, PATTERNS: [head]}' list" /dev/null </dev/null >shown
	grep -qF 'head\x1b[31m' shown || fail "$(od -c shown)"
}

@test "short and long options, and options after operands" {
	printf 'head\nbody\n' >list
	expected=$(lnn-filter --invert-match --count --expr='{TYPE: name, PATTERNS: [head]}' list)
	try lnn-filter list -v --count -e '{TYPE: name, PATTERNS: [head]}'
	expect_out "$expected"
	try lnn-filter -e '{TYPE: name, PATTERNS: [head]}' -- list
	expect_out head
	try lnn-filter --version
	expect_status 0
	[[ $output == 'lnn-filter (lnn-tools) '* ]]
}

@test "--lint reports rules that the user wrote, not the same rules as defaults" {
	printf 'head.weight\tfloat32\t[2,3]\nbody.weight\tfloat32\t[2]\n' >list
	printf 'OPTIMIZER:\n  PARAMETER_GROUPS:\n    ENABLED: true\n    H: {FILTER: {TYPE: name, PATTERNS: [head]}}\n' >exp.yaml
	try lnn-filter -c exp.yaml --lint list
	expect_status 0
	expect_out ''
	printf 'LOSS: {GRAD_WEIGHTING: {TASK: {EXCLUDE_CONFIG: {TYPE: name, PATTERNS: [head, meta_]}}}}\n' >>exp.yaml
	try lnn-filter -c exp.yaml --lint list
	expect_status 1
	expect_out "exp.yaml:5:78: pattern 'meta_' matches nothing"
	try lnn-filter -c exp.yaml --inspect --format json list
	expect_status 0
}

@test "a rule that can fail prints the whole list or nothing; other rules print lines at once" {
	printf 'head.weight\tfloat32\t[2,3]\nhead.bias\tfloat32\t[2]\nbody.weight\nhead2.w\tfloat32\t[2]\n' >list
	# The first two lines match. The third lacks data that the rule needs.
	local rule
	for rule in '{TYPE: layer_type, LAYER_TYPES: [Linear]}' '{TYPE: dimension, DIMENSIONS: [2]}' '{TYPE: convolutional}' \
		'{TYPE: not, FILTER: {TYPE: dimension, DIMENSIONS: [2]}}' \
		'{TYPE: and, FILTERS: [{TYPE: name, PATTERNS: [body]}, {TYPE: dimension, DIMENSIONS: [2]}]}'; do
		try lnn-filter -e "{TYPE: or, FILTERS: [{TYPE: name, PATTERNS: [head]}, $rule]}" list
		expect_status 2
		expect_out ''
		try lnn-filter --count -e "{TYPE: or, FILTERS: [{TYPE: name, PATTERNS: [head]}, $rule]}" list
		expect_status 2
		expect_out ''
	done
	try lnn-filter -e '{H: {FILTER: {TYPE: name, PATTERNS: [head]}}, V: {FILTER: {TYPE: dimension, DIMENSIONS: [1]}}}' list
	expect_status 2
	expect_out ''
	# With two lists, nothing is printed if one of them fails.
	printf 'head3.w\tfloat32\t[2]\n' >other
	try lnn-filter -e '{TYPE: dimension, DIMENSIONS: [1]}' list other
	expect_status 2
	expect_out ''
	try lnn-filter -e '{TYPE: dimension, DIMENSIONS: [1]}' other
	expect_status 0
	expect_out $'head3.w\tfloat32\t[2]'
	# Without a reference initialization cannot fail. A name rule answers before the list ends.
	mkfifo in
	lnn-filter -q -e '{TYPE: initialization}' other || true
	lnn-filter -e '{TYPE: name, PATTERNS: [head]}' <in >out &
	exec 7>in
	echo head.weight >&7
	for ((i = 0; i < 100; i++)); do
		[ -s out ] && break
		sleep 0.05
	done
	printf 'head.weight\n' | cmp - out
	exec 7>&-
	wait
}

@test "a Git LFS pointer or a web page is not a list, and a name that begins with % is not YAML" {
	printf 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n' >w.pth
	printf '\n<!DOCTYPE html>\n<html><body>404</body></html>\n' >h.pth
	printf '<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>\n' >x.pth
	printf 'head.weight\n' | gzip >g.gz
	local file hint
	while read -r file hint; do
		try lnn-filter -e "$all" "$file"
		expect_status 2
		expect_err_has "lnn-filter: $file: $hint"
		expect_out ''
		pipe "cat $file | lnn-filter -e '{TYPE: name, PATTERNS: [\"\"]}'"
		expect_status 2
		try lnn-ckpt-adapt --keep-names "$file" "$fixtures/tiny.pth" -o out.pth
		expect_status 2
		expect_err_has "$hint"
		[ ! -e out.pth ] || fail "an output from $file"
	done <<-'END'
		w.pth it is a Git LFS pointer, not the file itself: git lfs pull
		h.pth it is a web page
		x.pth it is a web page
		g.gz it is compressed by gzip
	END
	printf '%%s.weight\tfloat32\t[2]\n' >percent.tsv
	try lnn-filter -e "$all" percent.tsv
	expect_status 0
	expect_out $'%s.weight\tfloat32\t[2]'
}

@test 'messages about wrong command lines say how to continue; --verbose counts buffers' {
	printf 'a.weight\tfloat32\t[2]\nbn.running_mean\tfloat32\t[2]\n' >l.tsv
	printf 'X: {TYPE: name, PATTERNS: [a]}\n' >r.yaml
	refusal() {
		local text=$1
		shift
		try lnn-filter "$@"
		expect_refusal 2 lnn-filter "$text"
	}
	refusal "-e '{TYPE: name, PATTERNS: [bias]}'" -e bias l.tsv
	refusal "is it -e '{TYPE: name, PATTERNS: [bias]}'" bias l.tsv
	refusal "is it '-c r.yaml'" r.yaml l.tsv
	refusal 'given twice' -e "$all" -e "$all" l.tsv
	refusal '-k model: l.tsv is no checkpoint' -k model -e "$all" l.tsv
	refusal 'nor a built-in description' -e "$all" -m nofile l.tsv
	try lnn-filter --verbose -e "$all" l.tsv
	expect_out $'a.weight\tfloat32\t[2]'
	expect_err_has 'lnn-filter: 1 buffer passed over (--buffers takes them in)'
}
