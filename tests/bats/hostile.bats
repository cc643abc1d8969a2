# Small files that state large sizes (tests/fuzz/make_hostile.py). No program may need more memory than a fixed amount and a small
# multiple of the file, nor much time. A message is one line.

# shellcheck disable=SC2154 # top and fixtures come from helpers
load helpers

setup_file() {
	command -v python3 >/dev/null || skip 'no python3 to make the files with'
	python3 "$BATS_TEST_DIRNAME/../fuzz/make_hostile.py" "$BATS_FILE_TMPDIR/hostile"
	export HOSTILE=$BATS_FILE_TMPDIR/hostile
}

# bounded FILE COMMAND...: runs COMMAND with 40 MiB of address space and 64 bytes more for each byte of FILE, for at most ten seconds.
# A sanitizer maps terabytes. In that case only time and messages are checked.
bounded() {
	local file=$1 kib
	shift
	kib=$((40 * 1024 + $(stat -c %s "$file") * 64 / 1024))
	case ${LNN_SAN-} in ?*) kib=unlimited ;; esac
	status=0
	(
		ulimit -v $kib
		exec timeout 10 "$@"
	) >stdout 2>stderr || status=$?
	lines=$(grep -vc ': warning: ' stderr) || true
}

# judge WHAT STATUS: checks the last run. STATUS may be "any".
judge() {
	local about
	about="$1: status $status, $(head -c 400 stderr)"
	[ "$2" = any ] || [ "$status" -eq "$2" ] || fail "$about" "status $2 was expected" || return 1
	[ "$status" -le 2 ] || fail "$about" || return 1
	! grep -q 'out of memory' stderr || fail "$about" || return 1
	[ "$status" -ne 2 ] || [ "$lines" -eq 1 ] || fail "$about" "one line was expected" || return 1
	[ "$(wc -c <stderr)" -lt 3000 ] || fail "$about" "and more"
}

# checkpoints STATUS FILE...: lists and copies each file, and copies it through a pipe.
checkpoints() {
	local expected=$1 file
	shift
	for file; do
		file=$HOSTILE/$file
		bounded "$file" lnn-ckpt-inspect "$file"
		judge "inspect ${file##*/}" "$expected" || return 1
		bounded "$file" lnn-ckpt-inspect --globals "$file"
		judge "globals ${file##*/}" any || return 1
		bounded "$file" lnn-ckpt-adapt -j 1 --carry-all "$file"
		judge "adapt ${file##*/}" "$expected" || return 1
		bounded "$file" lnn-ckpt-adapt -j 1 < <(cat "$file" 2>/dev/null) &&
			judge "cat ${file##*/} | adapt" "$expected" || return 1
	done
}

group() {
	local expected=$1 glob=$2
	# shellcheck disable=SC2046,SC2086 # patterns, and names without spaces
	checkpoints "$expected" $(cd "$HOSTILE" && ls -d $glob)
}

@test 'a valid file is read within the limits' {
	checkpoints 0 good.pth
}

@test 'hostile headers of safetensors are refused within the limits' {
	group 2 '*.safetensors'
}

@test 'hostile indexes of sharded sets are refused within the limits' {
	group 2 '*.index.json'
}

@test 'zips with fields that are too large are refused within the limits' {
	group any '*65535*.pth *4GiB*.pth directory-*.pth zip64-*.pth comment.pth'
	checkpoints 2 entries-65535.pth directory-4GiB.pth directory-far.pth size-4GiB.pth name-65535.pth zip64-entries.pth \
		unpacked-as-4GiB.pth
}

@test 'deflated bombs are read or refused within the limits' {
	group 2 'bomb-*.pth'
}

@test '--globals scans deflated bombs in pieces' {
	local file
	for file in globals-bomb bomb-in-pickle bomb-of-objects bomb-of-text globals-many; do
		file=$HOSTILE/$file.pth
		bounded "$file" lnn-ckpt-inspect --globals "$file"
		judge "globals ${file##*/}" any || return 1
		bounded "$file" lnn-ckpt-inspect --globals < <(cat "$file") && judge "cat ${file##*/} | globals" any || return 1
	done
}

@test 'a storage of a hundred megabytes of zeros is unpacked in pieces' {
	checkpoints 0 storage-of-zeros.pth
	bounded "$HOSTILE/storage-of-zeros.pth" lnn-ckpt-inspect --stats "$HOSTILE/storage-of-zeros.pth"
	judge stats 0
	bounded "$HOSTILE/storage-of-zeros.pth" lnn-ckpt-inspect --values --against "$HOSTILE"/storage-of-zeros.pth{,}
	judge compare 0
}

@test '--against, --summary and --rest of hostile files stay within the limits' {
	local file
	for file in "$HOSTILE"/tensor-*.pth "$HOSTILE"/pickle-[fml]*.pth "$HOSTILE"/legacy-*.pth "$HOSTILE"/doubling-*.pth; do
		bounded "$file" lnn-ckpt-inspect --against "$file" "$file"
		judge "against ${file##*/}" any || return 1
		bounded "$file" lnn-ckpt-inspect --summary "$file"
		judge "summary ${file##*/}" any || return 1
		bounded "$file" lnn-ckpt-inspect --rest -o rest.json "$file"
		judge "rest ${file##*/}" any || return 1
	done
}

@test 'thousands of damaged records are reported within the limits' {
	local file=$HOSTILE/damaged-many.pth
	bounded "$file" lnn-ckpt-inspect -q --check "$file"
	judge check 1
	[ "$(grep -c 'crc$' stdout)" -eq 8000 ]
	bounded "$file" lnn-ckpt-inspect -q --check < <(cat "$file") && judge 'cat | check' 1
	[ "$(grep -c 'crc$' stdout)" -eq 8000 ]
}

@test 'records that overlap are refused, and --salvage writes only one of them' {
	local file=$HOSTILE/overlapping.pth
	checkpoints 2 overlapping.pth
	bounded "$file" lnn-ckpt-adapt --salvage "$file" -o out.pth
	[ "$status" -eq 1 ]
	grep -qF 'salvage: 1 whole, 0 not proved, 39 lost' stderr || fail "$(tail -n 3 stderr)"
}

@test 'tensor lists with long lines, many fields, many and huge dimensions stay within the limits' {
	local file
	for file in "$HOSTILE"/list-*.tsv; do
		bounded "$file" lnn-filter -e '{TYPE: name, PATTERNS: [w]}' "$file"
		judge "${file##*/}" any || return 1
		bounded "$file" lnn-filter -e '{TYPE: dimension, DIMENSIONS: [4]}' < <(cat "$file") && judge "cat ${file##*/}" any || return 1
	done
	bounded "$HOSTILE/list-one-line.tsv" lnn-filter -e '{TYPE: name, PATTERNS: [w]}' "$HOSTILE/list-one-line.tsv"
	judge 'a line of 17 MiB' 2
}

@test 'hostile pickles are read or refused within the limits' {
	group any 'pickle-*.pth'
	checkpoints 2 pickle-binunicode.pth pickle-binunicode8.pth pickle-binbytes.pth pickle-binbytes8.pth \
		pickle-bytearray8.pth pickle-binstring.pth pickle-long4.pth pickle-digits.pth pickle-long-digits.pth \
		pickle-global-without-end.pth
}

@test 'trees that double at every level are read or refused within the limits' {
	group any 'doubling-*.pth'
}

@test 'tensors that reach beyond their storages are refused within the limits' {
	group any 'tensor-*.pth'
	checkpoints 2 tensor-numel.pth tensor-shape.pth tensor-dimensions.pth tensor-offset.pth tensor-negative.pth
}

@test 'an expanded tensor of a petabyte is listed and copied; converted to safetensors it fills the disk' {
	checkpoints 0 tensor-expanded.pth
	# shellcheck disable=SC2016 # the shell of the pipeline expands it
	pipe 'lnn-ckpt-adapt --to safetensors "$HOSTILE/tensor-expanded.pth" >/dev/full'
	expect_status 2
	expect_err_has 'No space left'
}

@test 'hostile legacy streams are refused within the limits' {
	group 2 'legacy-*.pth'
}

@test 'YAML with alias bombs, merges and deep nesting is refused within the limits' {
	local file
	for file in "$HOSTILE"/model-*.yaml; do
		bounded "$file" lnn-ckpt-adapt -j 1 -m "$file" "$HOSTILE/good.pth"
		judge "${file##*/}" 2 || return 1
	done
	for file in "$HOSTILE"/keymap-*.yaml; do
		bounded "$file" lnn-ckpt-adapt -j 1 -s "$file" "$HOSTILE/good.pth"
		judge "${file##*/}" 2 || return 1
	done
	for file in "$HOSTILE"/rules-*.yaml; do
		bounded "$file" lnn-filter -c "$file" -p OPTIMIZER "$HOSTILE/good.pth"
		judge "${file##*/}" 2 || return 1
	done
}

@test 'rules whose regular expressions need too many steps end in time' {
	local file
	printf '%0.sa' {1..5000} >list
	for file in rules-long-pattern rules-repeats rules-backtracking; do
		file=$HOSTILE/$file.yaml
		bounded "$file" lnn-filter -e "$(cat "$file")" list
		judge "${file##*/}" any || return 1
	done
}
