# The output is the same with one and with seven threads. Under SAN=thread a race ends a program with a status that no test expects.

# shellcheck disable=SC2154 # fixtures comes from helpers
load helpers

# same COMMAND...: checks that messages, status and the file out are the same with -j 1 and with -j 7.
same() {
	local jobs status
	for jobs in 1 7; do
		rm -f out
		status=0
		"$@" -j $jobs >said 2>&1 || status=$?
		[ $status -le 1 ] || fail "status $status: $*" "$(cat said)"
		[ ! -e out ] || mv out out-$jobs
		echo "$status" >>said
		mv said said-$jobs
	done
	[ "$(wc -c <said-1)" -gt 2 ] || [ -s out-1 ] || fail "$* made nothing"
	cmp said-1 said-7
	[ ! -e out-1 ] || cmp out-1 out-7
	rm -f out-1 out-7
}

# Work is distributed in parts of a MiB, so a tensor of 4 MiB has four of them.
setup_file() {
	python3 - "$BATS_FILE_TMPDIR/large.safetensors" <<-'END'
		import json, struct, sys
		header, at, data = {}, 0, []
		for i in range(12):
		    n = 4 << 20 if i == 5 else 1 << 20 if i % 2 else 40
		    header[f"layer.{i}.weight"] = {"dtype": "F32", "shape": [n // 4], "data_offsets": [at, at + n]}
		    data.append(bytes((k * 7 + i) % 64 for k in range(4096)) * (n // 4096) or bytes(n))
		    at += n
		text = json.dumps(header).encode()
		open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + b"".join(data))
	END
}

@test 'a cast is the same with any number of threads' {
	same lnn-ckpt-adapt -q --dtype bfloat16 "$fixtures/demo.pth" -o out
	same lnn-ckpt-adapt -q --dtype float64 --to torch "$BATS_FILE_TMPDIR/large.safetensors" -o out
	same lnn-ckpt-adapt -q --dtype float16 --to safetensors "$fixtures/demo.pth" -o out
}

@test 'resized tables are the same with any number of threads' {
	same lnn-interp-bias -q --img-size 384 "$fixtures/demo.pth" -o out
	same lnn-ckpt-adapt -q -m mFormerV0 --img-size 384 "$fixtures/demo.pth" -o out
}

@test 'statistics, checks and comparisons are the same with any number of threads' {
	local file
	for file in "$fixtures/demo.pth" "$BATS_FILE_TMPDIR/large.safetensors"; do
		lnn-ckpt-adapt -q --dtype bfloat16 "$file" -o other.pth
		same lnn-ckpt-inspect --stats "$file"
		same lnn-ckpt-inspect --check --fail-on nan,inf,zero "$file"
		same lnn-ckpt-inspect --against other.pth --values --rtol 0.001 "$file"
	done
}

@test 'a pipeline gives the same with any number of threads' {
	local jobs
	for jobs in 1 7; do
		# shellcheck disable=SC2002 # a pipe is meant
		cat "$fixtures/demo.pth" | lnn-ckpt-adapt -q --dtype bfloat16 -j $jobs | lnn-interp-bias -q --img-size 384 -j $jobs |
			lnn-ckpt-inspect --stats -j $jobs >said-$jobs
		[ "$(wc -l <said-$jobs)" -gt 100 ]
	done
	cmp said-1 said-7
}
