# Every single system call of further commands fails in one run: sets of shards, threads, checks, lists, configs.

# shellcheck disable=SC2154 # top and fixtures come from helpers
load helpers
load faults

setup() {
	enter_fast
}

teardown() {
	leave_fast
}

index=$fixtures/sharded-safetensors/model.safetensors.index.json

@test 'a failing call: a set of shards to one file' {
	faults -o out -- lnn-ckpt-adapt "$index" -o out
	faults -s 3 -o out -- lnn-ckpt-adapt "$fixtures/sharded-bin/pytorch_model.bin.index.json" -o out
}

@test 'a failing call: one file to a set of shards, whose folder is whole or missing' {
	lnn-ckpt-adapt -q --max-shard-size 200 "$fixtures/tiny.safetensors" -o set/
	[ -e set/model.safetensors.index.json ]
	faults -s 3 -d dir -a report -e 'EIO ENOSPC' -- \
		lnn-ckpt-adapt -q --report report --max-shard-size 200 "$fixtures/tiny.safetensors" -o dir/
	faults -s 2 -d dir -b 'mkdir dir' -p "$fixtures/tables.pth" -- lnn-ckpt-adapt -q --max-shard-size 20000 -o dir/
}

@test 'a failing call: a distributed folder is written' {
	faults -s 2 -d dir -- lnn-ckpt-adapt -q --to dcp "$fixtures/tiny.safetensors" -o dir/
	faults -s 3 -d dir -b 'mkdir dir' -p "$fixtures/tables.pth" -- lnn-ckpt-adapt -q --carry-all --to dcp -o dir/
}

@test 'a failing call: shard by shard, and the index' {
	faults -g dir -- lnn-ckpt-adapt -q --shard 2/2 "$index" -o dir
	faults -s 3 -g dir -- lnn-ckpt-adapt -q --shard 1/2 "$index" -o dir
	lnn-ckpt-adapt -q --shard 1/1 "$index" -o whole
	faults -g dir -b 'cp -r whole dir' -- lnn-ckpt-adapt -q --write-index dir
}

@test 'no index is written if a shard cannot be read' {
	lnn-ckpt-adapt -q --shard 1/1 "$index" -o dir
	head -c 100 dir/model-00002-of-00003.safetensors >short
	mv short dir/model-00002-of-00003.safetensors
	try lnn-ckpt-adapt --write-index dir
	expect_refusal 2 lnn-ckpt-adapt dir/model-00002-of-00003.safetensors 'cut off'
	[ ! -e dir/model.safetensors.index.json ]
}

@test 'no index is written if a shard is missing' {
	lnn-ckpt-adapt -q --shard 1/1 "$index" -o dir
	rm dir/model-00002-of-00003.safetensors
	try lnn-ckpt-adapt --write-index dir
	expect_refusal 2 lnn-ckpt-adapt 'dir: shard 2 of 3 is missing; its job did not finish'
	[ ! -e dir/model.safetensors.index.json ]
	# A shard whose tensors were all dropped is finished but not in the index.
	lnn-ckpt-adapt -q --shard 1/1 "$index" -o dir
	lnn-ckpt-inspect --format names dir/model-00002-of-00003.safetensors >gone-names
	lnn-ckpt-adapt -q --shard 2/3 --drop-names gone-names "$index" -o dir
	lnn-ckpt-adapt -q --write-index dir
	run ! grep -q 00002 dir/model.safetensors.index.json
	lnn-ckpt-inspect --format names dir/model.safetensors.index.json >rest
	run ! grep -Fxf gone-names rest
	sed -i 's/\\"shard\\":2/\\"shard\\":x/' dir/model-00002-of-00003.safetensors
	try lnn-ckpt-adapt --write-index dir
	expect_refusal 2 lnn-ckpt-adapt 'dir/model-00002-of-00003.safetensors: lnn.shard: at byte 9'
	sed -i 's/\\"of\\":3/\\"of\\":4/; s/\\"shard\\":x/\\"shard\\":2/' dir/model-00002-of-00003.safetensors
	try lnn-ckpt-adapt --write-index dir
	expect_refusal 2 lnn-ckpt-adapt 'is shard 2 of 4, but model-00001-of-00003.safetensors is one of 3'
}

@test 'a failing call: threads' {
	faults -o out -- lnn-ckpt-adapt -j 2 --dtype float16 "$fixtures/tiny.pth" -o out
	faults -s 2 -- lnn-ckpt-inspect --stats -j 2 "$fixtures/tiny.pth"
	faults -o out -e EAGAIN -c pthread_create -- lnn-ckpt-adapt -j 4 --dtype float16 "$fixtures/tiny.pth" -o out
}

@test 'a failing call: comparisons and checks' {
	faults -s 2 -- lnn-ckpt-inspect --against "$fixtures/tiny.pth" "$fixtures/legacy.pth"
	faults -s 2 -- lnn-ckpt-inspect --against "$fixtures/tiny.safetensors" --values "$fixtures/tiny.pth"
	faults -s 2 -e 'EIO EPIPE' -- lnn-ckpt-inspect --check "$fixtures/tiny.pth"
	faults -s 3 -i "$fixtures/tiny.pth" -- lnn-ckpt-inspect --check
	faults -- lnn-ckpt-inspect --globals "$fixtures/tiny.pth"
	faults -o out -- lnn-ckpt-inspect --format model -o out "$fixtures/tiny.pth"
	faults -s 2 -- lnn-ckpt-inspect --summary "$index"
	faults -p "$fixtures/deflated.pth" -s 3 -- lnn-ckpt-inspect --rest
}

@test 'a failing call: a failed load check writes only the report' {
	faults -a report -- lnn-ckpt-adapt -m "$fixtures/convnext.pth" --strict --report report "$fixtures/tiny.pth" -o out
	expect_only report
}

@test 'a failing call: interp-bias from a pipe to a pipe, and over its input' {
	faults -l -s 2 -e 'EIO EPIPE' -p "$fixtures/tables.pth" -- lnn-interp-bias --img-size 384
	faults -s 2 -o out -i "$fixtures/tables.pth" -- lnn-interp-bias --img-size 384 -o out
}

@test 'a failing call: filter with a config, groups and a reference' {
	cat >config.yaml <<-'END'
		MODEL:
		  BASE: [base.yaml]
		OPTIMIZER:
		  PARAMETER_GROUPS:
		    heads: {FILTER: {TYPE: name, PATTERNS: [head]}}
		    new: {FILTER: {TYPE: initialization}}
	END
	echo 'DATA: {IMG_SIZE: 384}' >base.yaml
	lnn-ckpt-inspect "$fixtures/demo.pth" >list
	faults -- lnn-filter -c config.yaml -r "$fixtures/demo.pth" list
	faults -o out -i list -- lnn-filter -c config.yaml -r "$fixtures/tiny.safetensors" -o out
	faults -s 2 -- lnn-filter -c config.yaml -r "$fixtures/demo.pth" --inspect --format json list
}

@test 'a failing call: a checkpoint that the config names' {
	mkdir -p cache/below
	cp "$fixtures/tiny.pth" cache/below/
	printf 'MODEL: {PRETRAINED: tiny.pth}\nENV: {INPUT: {CACHE_DIR: cache}}\n' >config.yaml
	faults -o out -- lnn-ckpt-adapt -c config.yaml -o out
}

@test 'a failing call: a stream that needs a temporary file' {
	command -v zip >/dev/null || skip 'no zip'
	command -v unzip >/dev/null || skip 'no unzip'
	local header n
	header='{"a":{"dtype":"U8","shape":[73400320],"data_offsets":[0,73400320]}}'
	n=$(printf '%02x' ${#header})
	{
		printf "\\x$n\\0\\0\\0\\0\\0\\0\\0%s" "$header"
		head -c 73400320 /dev/zero
	} >large.safetensors
	lnn-ckpt-adapt -q --to torch --root large.safetensors -o large.pth
	rm large.safetensors
	unzip -q large.pth
	# The data come first, so that they must be kept until the pickle is read.
	zip -q0 first.pth archive/data/0 archive/data.pkl archive/version archive/byteorder
	rm -r archive
	export TMPDIR=$PWD/spool
	mkdir spool
	faults -s 9 -c 'pwrite fallocate' -o out -p first.pth -- lnn-ckpt-adapt -q --root -o out
	faults -s 40 -c pread -o out -p first.pth -- lnn-ckpt-adapt -q --root -o out
	faults -s 2 -c open -e 'EOPNOTSUPP EACCES EINTR' -o out -p first.pth -- lnn-ckpt-adapt -q --root -o out
	cmp large.pth out || [ "$(lnn-ckpt-inspect --stats out)" = "$(lnn-ckpt-inspect --stats large.pth)" ]
	[ -z "$(ls -A spool)" ] || fail "$(ls -A spool)"
}
