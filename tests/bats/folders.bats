# A folder as operand: which checkpoint is read, and the message if there are none or several.

# shellcheck disable=SC2154 # stderr and others come from helpers and bats
load helpers

# taken FILE: checks that the folder d is read as d/FILE.
taken() {
	try lnn-ckpt-inspect --format names d
	expect_status 0
	[ "$stderr" = "lnn-ckpt-inspect: d: d/$1 is read" ] || fail "$stderr"
}

# refused TEXT...: checks that the folder d is refused with each text.
refused() {
	try lnn-ckpt-inspect d
	expect_refusal 2 lnn-ckpt-inspect 'd: ' "$@"
}

# put FIXTURE NAME: copies a fixture into the folder d.
put() {
	mkdir -p d
	cp "$fixtures/$1" "d/$2"
}

@test 'the order of precedence of the files in a folder' {
	put tiny.safetensors a.safetensors
	taken a.safetensors
	put tiny.pth pytorch_model.bin
	taken pytorch_model.bin
	put tiny.safetensors model.safetensors
	taken model.safetensors
	cp "$fixtures"/sharded-bin/*.bin d
	taken 'pytorch_model-*-of-00003.bin'
	cp "$fixtures/sharded-bin/pytorch_model.bin.index.json" d
	taken pytorch_model.bin.index.json
	cp "$fixtures"/sharded-safetensors/* d
	taken model.safetensors.index.json
	tar xzf "$fixtures/dcp/nocoll2.tar.gz"
	cp nocoll2/* d
	taken '__*.metadata'
	tar xzOf "$fixtures/dcp/dt2.tar.gz" dt2/.metadata >d/.metadata
	try lnn-ckpt-inspect --format names d
	expect_status 0
	expect_err_has 'd: d/.metadata is read'
}

@test 'several indexes, sets or files are refused, and the message lists them' {
	mkdir d
	cp "$fixtures/sharded-safetensors/model.safetensors.index.json" d/a.index.json
	cp "$fixtures/sharded-safetensors/model.safetensors.index.json" d/b.index.json
	refused 'a.index.json, b.index.json'
	rm d/*
	cp "$fixtures"/sharded-bin/*.bin "$fixtures"/sharded-safetensors/*.safetensors d
	refused 'model-00001-of-00003.safetensors, ..., pytorch_model-00001-of-00003.bin, ...'
	rm d/*
	put tiny.pth a.pth
	put tiny.pth b.pth
	refused 'which checkpoint is meant? In this folder: a.pth, b.pth'
	mkdir d/c d/empty
	put tiny.pth c/x.pth
	refused 'In this folder: a.pth, b.pth, c/'
	rm d/*.pth
	refused 'In this folder: c/'
	rm d/c/x.pth
	refused 'no file in this folder is a checkpoint'
}

@test 'files that are not checkpoints or have no state dict are ignored' {
	put demo.pth a.pth
	put no-tensor.pth training_args.bin
	put tiny.pth rng_state_0.pth
	put tiny.pth .hidden.pth
	put README.md README.md
	put describe.py config.json
	taken a.pth
	# A damaged file may be the one that is meant.
	put cut-off.pth b.pth
	refused 'In this folder: a.pth, b.pth'
}

@test 'a set of shards without an index is one checkpoint' {
	local kind
	for kind in bin safetensors; do
		mkdir $kind
		cp "$fixtures/sharded-$kind/"*-of-* $kind
		lnn-ckpt-inspect "$fixtures/sharded-$kind/"*.index.json | sort >expected
		lnn-ckpt-inspect -q $kind | sort >got
		diff expected got
		lnn-ckpt-adapt -q --root --to torch -o set.pth $kind
		lnn-ckpt-adapt -q --root --to torch -o index.pth "$fixtures/sharded-$kind/"*.index.json
		lnn-ckpt-inspect --against index.pth --values set.pth
		try lnn-ckpt-inspect --check $kind
		expect_status 0
	done
	rm bin/*-00002-*
	try lnn-ckpt-inspect bin
	expect_refusal 2 lnn-ckpt-inspect 'bin: ' 'are missing: pytorch_model-00002-of-00003.bin'
	cp "$fixtures/tiny.pth" bin/other.pth
	try lnn-ckpt-inspect bin
	expect_refusal 2 lnn-ckpt-inspect 'bin: ' 'other.pth, pytorch_model-00001-of-00003.bin (a shard of a set that is not complete)'
	rm bin/* && cp "$fixtures/sharded-bin/pytorch_model-00001-of-00003.bin" bin/x-00001-of-00002.bin
	cp bin/x-00001-of-00002.bin bin/x-00002-of-00002.bin
	try lnn-ckpt-inspect bin
	expect_status 2
	expect_err_has 'occurs twice'
}

@test 'shards with DCP_SHARDING_INFO are a distributed checkpoint' {
	local header='{"__metadata__":{"DCP_SHARDING_INFO":"{}"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
	mkdir d
	{
		# shellcheck disable=SC2059 # the format is the byte that says how long the header is
		printf "\\x$(printf %02x ${#header})\0\0\0\0\0\0\0"
		printf '%sx' "$header"
	} >d/shard-00001-model-00001-of-00001.safetensors
	try lnn-ckpt-inspect d
	expect_status 2
	expect_err_has "d/shard-00001-model-00001-of-00001.safetensors: tensor 'a': DCP_SHARDING_INFO does not have its offsets"
}

@test 'all programs accept folders as operands and for -m, -r and --against' {
	put tables.pth tables.pth
	try lnn-ckpt-adapt -o out.pth d
	expect_status 0
	expect_err_has 'd: d/tables.pth is read'
	try lnn-ckpt-adapt --strict -m d -o out.pth d
	expect_status 0
	try lnn-interp-bias --img-size 384 -o out.pth d
	expect_err_has 'd: d/tables.pth is read'
	try lnn-filter -e '{TYPE: initialization}' -r d d
	expect_status 1
	try lnn-ckpt-inspect --against d d
	expect_status 0
	try lnn-ckpt-inspect --against d --values "$fixtures/tables.pth"
	expect_status 0
	mkdir empty
	try lnn-ckpt-adapt -o none.pth empty
	expect_refusal 2 lnn-ckpt-adapt 'empty: no file in this folder is a checkpoint'
	try lnn-interp-bias --img-size 384 -o none.pth empty
	expect_refusal 2 lnn-interp-bias 'empty: no file in this folder is a checkpoint'
	try lnn-filter -e '{TYPE: name, PATTERNS: [a]}' empty
	expect_refusal 2 lnn-filter 'empty: no file in this folder is a checkpoint'
}
