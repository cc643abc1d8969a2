# Command lines of lnn-ckpt-adapt and lnn-interp-bias that are nearly right: the messages help, and nothing is written.

# shellcheck disable=SC2154 # fixtures, output, stderr and status come from helpers and bats
load helpers

@test 'a mistyped option is never read as its opposite' {
	try lnn-ckpt-adapt --nostrict "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt "no such option '--nostrict' (did you mean '--no-strict'?)"
	# this word is nearer to --drop-mismatched than to any option that begins with --no
	try lnn-ckpt-adapt --no-drop-mismatche "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt "no such option '--no-drop-mismatche'; try"
	try lnn-ckpt-adapt --strict=no "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt "option '--strict' takes no argument; try"
}

@test 'a superfluous operand gives the option that was probably meant' {
	for program in lnn-ckpt-adapt lnn-interp-bias; do
		try "$program" "$fixtures/tiny.pth" out.pth
		expect_refusal 2 "$program" "one operand too many: 'out.pth' (to write to that file: -o out.pth)"
		try "$program" "$fixtures/tiny.pth" "$fixtures/rest.pth" -o out.pth
		expect_refusal 2 "$program" "one operand too many: '$fixtures/rest.pth' beside '$fixtures/tiny.pth' (one checkpoint is read"
		try "$program" "$fixtures/tiny.pth" other.pth -o out.pth
		expect_refusal 2 "$program" "one operand too many: 'other.pth' beside '$fixtures/tiny.pth'"
	done
	expect_only
}

@test 'operands that are not suitable files are refused with advice' {
	try lnn-ckpt-adapt --keep-names fc.weight "$fixtures/tiny.pth" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'fc.weight: there is no such list (LIST is a file of names'
	try lnn-ckpt-adapt https://example.org/a.pth -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'https://example.org/a.pth: nothing is downloaded'
	try lnn-interp-bias --img-size 384 hf://a/b -o out.pth
	expect_refusal 2 lnn-interp-bias 'hf://a/b: nothing is downloaded'
	try lnn-ckpt-adapt --shard 1/2 "$fixtures/tiny.pth" -o out/
	expect_refusal 2 lnn-ckpt-adapt "--shard: $fixtures/tiny.pth is no index of a set of shards"
	try lnn-ckpt-adapt --max-shard-size 5GB "$fixtures/tiny.pth" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt '--max-shard-size: shards go into a folder' '-o DIR/'
	expect_only
}

@test 'errors about missing names list the existing ones' {
	try lnn-ckpt-adapt --carry namespaec "$fixtures/rest.pth" -o out.pth
	expect_status 2
	expect_err_has 'nothing to carry: no namespaec at its root; did you mean namespace?'
	try lnn-ckpt-adapt -s stitched_convnext_ropevit "$fixtures/tiny.pth" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'has several inputs: --input convnext=FILE --input ropevit=FILE'
	try lnn-ckpt-adapt -s stitched_convnext_ropevit --input convnxt=a.pth -o out.pth
	expect_refusal 2 lnn-ckpt-adapt '--input convnxt=a.pth: the key map stitched_convnext_ropevit has no input of that name: --input convnext=FILE'
	expect_only
}

@test 'names of 250 characters and folders with several slashes at the end are accepted' {
	long=$(printf 'a%.0s' {1..250})
	lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o "$long"
	expect_only "$long"
	rm "$long"
	lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o "$long//"
	[ -s "$long/pytorch_model.bin" ]
	try lnn-ckpt-adapt "$fixtures/tiny.pth" -o "$long//"
	expect_refusal 2 lnn-ckpt-adapt "$long: the folder is not empty"
	rm -r "$long"
	# errors name the folder without superfluous slashes
	printf 'x' >out
	try lnn-ckpt-adapt "$fixtures/tiny.pth" -o out//
	expect_refusal 2 lnn-ckpt-adapt 'out: '
	[[ $stderr != *//* ]]
}

@test 'a conversion of one size counts once in the summary' {
	# the table has no index buffer, so its layout is given
	lnn-ckpt-inspect --format=names "$fixtures/tables.pth" | grep bias_table | head -n 1 >one
	lnn-ckpt-adapt -q --keep-names one "$fixtures/tables.pth" -o one.pth
	try lnn-ckpt-adapt --layout first --to-layout last one.pth -o two.pth
	expect_status 0
	expect_err_has '0 kept, 0 dropped, 1 resampled -> two.pth'
}

@test 'a key map whose indexes take too many values is refused at once' {
	lnn-ckpt-inspect --format=names "$fixtures/tiny.pth" | head -n 1 >one
	lnn-ckpt-adapt -q --keep-names one "$fixtures/tiny.pth" -o one.pth
	# 10^15 combinations of indexes, none of which gives a name
	printf '%s\n' 'rules:' "  - {from: '$(cat one)', to: 'x.{a}.{b}.{c}.{d}'," \
		'     a: [0, 100000], b: [0, 100000], c: [0, 100000], d: [0, 0]}' >map.yaml
	try timeout 20 lnn-ckpt-adapt -s ./map.yaml one.pth -o out.pth
	expect_status 2
	expect_err_has 'the indexes take more than 2000000 values'
	[ ! -e out.pth ]
}
