# Single promises of the manuals that no other file tests.

# shellcheck disable=SC2154 # fixtures, output, stderr, status come from helpers and bats
load helpers

# legacy PICKLE [KEYS [STORAGES]]: a legacy stream of torch 1.5: magic number, protocol, system, the pickle (given without protocol
# and STOP), its list of storage keys, and the storages. All arguments are formats of printf.
legacy() {
	# shellcheck disable=SC2059 # the arguments are formats
	{
		printf '\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.'
		printf '\x80\x02}(X\x10\0\0\0protocol_versionM\xe9\x03X\x0d\0\0\0little_endian\x88u.'
		printf '\x80\x02'"$1"'.\x80\x02]'"${2-}"'.'"${3-}"
	}
}

@test 'a list is not appended to its own input file, and standard input cannot be named twice' {
	local p what
	for p in lnn-ckpt-inspect "lnn-filter -e '{TYPE: name, PATTERNS: [w]}'"; do
		for what in 'f' '- < f' "$fixtures/tiny.pth f"; do
			cp "$fixtures/swin.pth" f
			pipe "$p $what >> f"
			expect_status 2
			expect_err_has 'input file is output file'
			cmp f "$fixtures/swin.pth"
		done
		pipe "$p - - < $fixtures/swin.pth"
		expect_status 2
		expect_out ''
		expect_err_has 'standard input is named twice'
	done
}

@test 'one warning if carried objects prevent weights_only=True from loading the output' {
	# rest.pth and demo.pth have an argparse.Namespace beside their state dicts.
	local said='the output loads with weights_only=False only: GLOBAL argparse.Namespace'
	try lnn-ckpt-adapt "$fixtures/rest.pth" -o out.pth
	expect_status 0
	[[ $stderr != *weights_only* ]] || fail "$stderr"
	for p in "lnn-ckpt-adapt --carry-all $fixtures/rest.pth" "lnn-interp-bias --img-size 384 $fixtures/demo.pth"; do
		pipe "$p -o out.pth"
		expect_status 0
		[ "$(grep -c "warning: $said" <<<"$stderr")" -eq 1 ] || fail "$stderr"
		try lnn-ckpt-inspect --globals out.pth
		expect_status 1
	done
	try lnn-interp-bias --img-size 384 --drop-rest "$fixtures/demo.pth" -o out.pth
	expect_status 0
	[[ $stderr != *weights_only* ]] || fail "$stderr"
	try lnn-ckpt-adapt -q --carry-all "$fixtures/rest.pth" -o out.pth
	expect_status 0
	expect_no_err
}

@test 'a whole nn.Module without tensors is recognised under a key' {
	# {'model': Net() with _parameters}, no storages
	legacy '}(X\5\0\0\0modelcmylib\nNet\n)\x81}(X\x0b\0\0\0_parameters}ubu' >net.pth
	for p in lnn-ckpt-inspect lnn-ckpt-adapt 'lnn-interp-bias --img-size 64'; do
		pipe "$p net.pth"
		expect_status 2
		expect_out ''
		expect_err_has "net.pth: 'model' is a whole pickled nn.Module, not a state dict" 'state_dict()'
	done
}

@test '-m: a name that is neither built-in nor a file is refused, and the built-in names are listed' {
	for p in lnn-ckpt-adapt lnn-interp-bias 'lnn-filter --metadata'; do
		pipe "$p -m mFormerV2 -o out $fixtures/tiny.pth"
		expect_status 2
		expect_err_has mFormerV2 mFormerV0 mFormerV1
		[ ! -e out ] || fail 'an output'
	done
}

@test '--against: a target on standard input gives the same result as a file' {
	lnn-ckpt-adapt -q --dtype float16 "$fixtures/swin.pth" -o half.pth
	lnn-ckpt-inspect --format model "$fixtures/swin.pth" >model.yaml
	for p in 'half.pth' model.yaml; do
		try lnn-ckpt-inspect --against "$p" "$fixtures/swin.pth"
		local expected=$output status_of_file=$status
		pipe "lnn-ckpt-inspect --against - $fixtures/swin.pth < $p"
		expect_status "$status_of_file"
		expect_out "$expected"
		pipe "cat $p | lnn-ckpt-inspect --against - $fixtures/swin.pth"
		expect_out "$expected"
	done
	try lnn-ckpt-inspect --against half.pth "$fixtures/swin.pth"
	expect_status 1
	expect_out_has 'float32	float16'
}

@test 'lint: overrides of the learning rate that are not a map are reported' {
	cat >exp.yaml <<-'Y'
		OPTIMIZER: {PARAMETER_GROUPS: {ENABLED: true, qkv: {FILTER: {TYPE: name, PATTERNS: [qkv]}}}}
		LR_SCHEDULER:
		  PARAMETER_GROUPS: [{NAME: qkv, MIN_LR: 5e-5}]
	Y
	try lnn-filter -c exp.yaml --lint "$fixtures/swin.pth"
	expect_status 1
	expect_out_has 'exp.yaml:3:21: overrides of the learning rate are not read'
}

# patch FILE OFFSET BYTES, as printf writes them
patch_bytes() {
	# shellcheck disable=SC2059
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test 'a zip whose CRCs differ gives the same output from a file and from a pipe' {
	local in=$fixtures/swin.pth name=swin/data/0 header central descriptor i
	# The CRC of the first storage in its descriptor, and in the directory.
	header=$(grep -abo "$name" "$in" | head -1 | cut -d: -f1)
	descriptor=$(grep -abo $'PK\x07\x08' "$in" | cut -d: -f1 | awk -v header="$header" '$1 > header { print; exit }')
	central=$(($(grep -abo "$name" "$in" | tail -1 | cut -d: -f1) - 46 + 16))
	for i in $((descriptor + 4)) "$central"; do
		cp "$in" bad.pth
		patch_bytes bad.pth "$i" '\xde\xad\xbe\xef'
		try lnn-ckpt-adapt bad.pth -o file.pth
		expect_status 0
		expect_err_has 'CRC or size fields differ within the zip'
		pipe 'cat bad.pth | lnn-ckpt-adapt >pipe.pth'
		expect_status 0
		expect_err_has 'CRC or size fields differ within the zip'
		cmp file.pth pipe.pth
	done
}

@test 'an empty file name is refused, and the message says so' {
	local rule="'{TYPE: name, PATTERNS: [w]}'"
	for p in lnn-ckpt-inspect lnn-ckpt-adapt 'lnn-interp-bias --img-size 64' "lnn-filter -e $rule"; do
		pipe "$p ''"
		expect_status 2
		expect_err_has 'an empty file name'
		pipe "$p -o '' $fixtures/demo.pth"
		expect_status 2
		expect_err_has 'an empty file name'
	done
}

@test '--format is refused for reports that have no such format' {
	for p in '--get epoch' '--dump scalar' '--rest --format tsv'; do
		pipe "lnn-ckpt-inspect --format=jsonl $p $fixtures/tiny.pth"
		expect_status 2
		expect_out ''
		expect_err_has '--format does not go with it'
	done
	try lnn-ckpt-inspect --rest --format json "$fixtures/tiny.pth"
	expect_status 0
}

@test "--carry keeps an entry that is the same dict as the state dict, and keys that are not text" {
	# {'model': d, 'ema': d, 7: 5}, d = {'w': tensor([1.])}
	local id='(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\1NtQ'
	local tensor="ctorch._utils\\n_rebuild_tensor_v2\\n(${id}K\\0(K\\1t(K\\1t\\x89ccollections\\nOrderedDict\\n)RtR"
	legacy "}(X\\5\\0\\0\\0model}q\\1(X\\1\\0\\0\\0w${tensor}uX\\3\\0\\0\\0emah\\1K\\7K\\5u" \
		'(X\1\0\0\0000e' '\1\0\0\0\0\0\0\0\0\0\x80\x3f' >alias.pth
	for p in --carry=ema --carry-all; do
		try lnn-ckpt-adapt -q "$p" --rename 's/w/v/' alias.pth -o out.pth
		expect_status 0
		try lnn-ckpt-inspect -k '' --format names out.pth
		expect_out $'model.v\nema.w'
	done
	try lnn-ckpt-inspect --get 7 out.pth
	expect_out 5
}
