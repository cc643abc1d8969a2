# lnn-ckpt-inspect: lists and contents compared with those of PyTorch (tests/golden/inspect/expected), transcripts
# (tests/golden/inspect), and its behaviour on a terminal and in pipelines.

# shellcheck disable=SC2154,SC2016 # variables come from helpers and bats, some for the shell that pipe starts
load helpers

golden=$top/tests/golden/inspect

# transcript NAME: a transcript equals the current output.
transcript() {
	diff "$golden/$1.txt" <("$golden/replay" "$golden/$1.txt") || fail "$1.txt differs"
}

# Runs lnn-ckpt-inspect on a pseudo-terminal of COLUMNS columns and prints its output without carriage returns.
terminal() {
	python3 - "$@" <<-'PYTHON' | tr -d '\r'
		import os, pty, sys
		def read(fd):
		    try:
		        return os.read(fd, 65536)
		    except OSError:
		        return b""
		os._exit(os.waitstatus_to_exitcode(pty.spawn(["lnn-ckpt-inspect", *sys.argv[1:]], read, lambda fd: b"")))
	PYTHON
}

@test "lists and contents equal those from PyTorch" {
	command -v python3 >/dev/null || skip 'there is no python3'
	try "$golden/expected"
	expect_out ''
	expect_status 0
}

@test "transcript: the list" { transcript list; }
@test "transcript: --summary, --tree, --rest, --get" { transcript whole; }
@test "transcript: --stats, --check, --dump" { transcript values; }
@test "transcript: --against, --globals" { transcript compare; }
@test '--against: a target without any tensor is an error' {
	local report
	: >empty
	for report in '' --suggest-map; do
		try lnn-ckpt-inspect --against empty $report "$fixtures/tiny.pth"
		expect_refusal 2 lnn-ckpt-inspect 'empty: it lists no tensor'
	done
}

@test '--against gives only hints that were tried, and each once' {
	safetensors double.st model.model.a model.model.b
	printf 'state_dict:\n  - {name: %s, shape: [1]}\n  - {name: %s, shape: [1]}\n' model.a model.b >model.yaml
	try lnn-ckpt-inspect --against model.yaml double.st
	expect_status 1
	expect_out_has "all names differ by the prefix 'model.' only: --strip-prefix=model. (2 of 2 would match)"
	lnn-ckpt-inspect --against model.yaml --strip-prefix=model. double.st
	try lnn-ckpt-inspect --against model.yaml --strip-prefix=model. --strip-prefix=model. double.st
	expect_status 1
	safetensors compiled.st model._orig_mod.a model._orig_mod.b
	try lnn-ckpt-inspect --against model.yaml compiled.st
	expect_out_has "all names differ by the component '_orig_mod.' only: lnn-ckpt-adapt --rename='s/\\b_orig_mod\\.//g' (2 of 2 would match)"
	safetensors plain.st a b c
	try lnn-ckpt-inspect --against model.yaml plain.st
	expect_out_has "more names match with lnn-ckpt-adapt --add-prefix=model. (2 of 3 would match)"
	safetensors collide.st model.model.a model.a
	printf 'state_dict:\n  - {name: model.a, shape: [2]}\n' >collide.yaml
	try lnn-ckpt-inspect --against collide.yaml collide.st
	[[ "$output" != *'would match'* ]]
	safetensors collide.st x.model.a y.model.a
	printf 'state_dict:\n  - {name: y.model.a, shape: [2]}\n  - {name: model.a, shape: [1]}\n' >collide.yaml
	try lnn-ckpt-inspect --against collide.yaml collide.st
	expect_out_has '--strip-prefix=x. (1 of 2 would match)'
	safetensors none.st model.x y.b
	try lnn-ckpt-inspect --against model.yaml none.st
	[[ "$output" != *'would match'* ]]
}

@test '--get reads attributes; a path that does not exist gives the nearest one' {
	local path hint
	for path in namespace.lr=0.1 namespace.tags.1=b default.a.0=1; do
		try lnn-ckpt-inspect --get "${path%=*}" "$fixtures/rest.pth"
		expect_out "${path#*=}"
	done
	for hint in namespce.lr=namespace.lr namespace.l=namespace.lr namespace.nested.dep=namespace.nested.deep negativ=negative; do
		try lnn-ckpt-inspect --get "${hint%=*}" "$fixtures/rest.pth"
		expect_refusal 1 lnn-ckpt-inspect "${hint%=*}: there is no such value; did you mean ${hint#*=}?"
	done
	try lnn-ckpt-inspect --get namespace.q "$fixtures/rest.pth"
	expect_refusal 1 lnn-ckpt-inspect 'namespace.q: there is no such value'
	[[ $stderr != *mean* ]] || fail "$stderr"
	safetensors w.st layer.weight layer.bias
	try lnn-ckpt-inspect --dump layer.weigth w.st
	expect_refusal 1 lnn-ckpt-inspect 'layer.weigth: there is no such tensor; did you mean layer.weight?'
	try lnn-ckpt-inspect --dump _orig_mod.module.layer.baiss w.st
	expect_refusal 1 lnn-ckpt-inspect 'layer.baiss: there is no such tensor; did you mean layer.bias?'
}

@test '--tree: branches whose tensors are scattered over the file; names that end where others go on' {
	local i want=$'#prefix:tensors\nb:4\nb.1:2\nb.1.z:1\nb.2:1\nb.:1\nb..y:1\na:2\na.x:1\nc:12\nc.9:2\nc.9.w:1\nc.9.b:1'
	safetensors t.st b.1 a.x c.9.w b.2 a c.{0..9}.b b.1.z c.10 .y b..y
	for i in {0..8}; do
		want+=$'\n'"c.$i:1"$'\n'"c.$i.b:1"
	done
	pipe 'lnn-ckpt-inspect --tree --format=tsv t.st | cut -f 1,2 | tr "\t" :'
	expect_out "$want"$'\nc.10:1\n\\e:1\n.y:1'
}

@test '--tree: memory does not grow with the number of branches' {
	local names
	[ -z "${LNN_SAN-}" ] || skip 'a sanitizer takes memory of its own'
	mapfile -t names < <(seq 9000 | sed 's/.*/a&.b&.c&.d&.e&.f&.g&.h&.i&.j&/')
	safetensors t.st "${names[@]}"
	pipe 'ulimit -d 9216; lnn-ckpt-inspect --tree --format=tsv t.st | wc -l'
	expect_out 90001
}

@test 'messages about wrong command lines say how to continue' {
	safetensors w.st a b
	refusal() {
		local text=$1
		shift
		try lnn-ckpt-inspect "$@"
		expect_refusal 2 lnn-ckpt-inspect "$text"
	}
	refusal 'nor a built-in description' --against nofile w.st
	refusal 'the report would overwrite the checkpoint' -o w.st w.st
	printf 'a\tfloat32\t[1]\n' >l.tsv
	refusal 'lnn-filter reads tensor lists' l.tsv
	try lnn-ckpt-inspect -k state_dict --dump negative "$fixtures/rest.pth"
	expect_refusal 1 lnn-ckpt-inspect '--get shows it'
	[ "$(lnn-ckpt-inspect --format=names w.st)" = $'a\nb' ]
}

@test '--check checks the CRC of every record, also of records without tensors' {
	local id at
	id=$(unzip -p "$fixtures/tiny.pth" '*/.data/serialization_id')
	at=$(LC_ALL=C grep -abo "$id" "$fixtures/tiny.pth" | cut -d: -f1)
	cp "$fixtures/tiny.pth" in.pth
	printf x | dd of=in.pth bs=1 seek="$at" conv=notrunc status=none
	try lnn-ckpt-inspect --check in.pth
	expect_status 1
	expect_out_has $'.data/serialization_id\tcrc'
	pipe 'cat in.pth | lnn-ckpt-inspect --check'
	expect_status 1
	expect_out_has $'.data/serialization_id\tcrc'
	# Other reports and programs accept the file.
	lnn-ckpt-inspect -q --stats in.pth >/dev/null
	lnn-ckpt-adapt -q in.pth -o out.pth
	cp -r "$fixtures/sharded-bin" set
	id=$(unzip -p set/pytorch_model-00001-of-00003.bin '*/.data/serialization_id')
	at=$(LC_ALL=C grep -abo "$id" set/pytorch_model-00001-of-00003.bin | cut -d: -f1)
	printf x | dd of=set/pytorch_model-00001-of-00003.bin bs=1 seek="$at" conv=notrunc status=none
	try lnn-ckpt-inspect --check set/pytorch_model.bin.index.json
	expect_status 1
	expect_out_has $'set/pytorch_model-00001-of-00003.bin/.data/serialization_id\tcrc'
	command -v zip >/dev/null || skip "there is no zip"
	# A record that no tensor uses.
	unzip -q -d . "$fixtures/tiny.pth"
	echo more than enough >tiny/data/9999
	zip -q -0 -r more.zip tiny
	LC_ALL=C sed -i 's/more than enough/less than enough/' more.zip
	try lnn-ckpt-inspect -q --check more.zip
	expect_status 1
	expect_out_has $'data/9999\tcrc'
	zip -q -9 -r packed.zip tiny
	try lnn-ckpt-inspect -q --check packed.zip
	[[ $output != *crc* ]]
}

@test '--digest equals sha256sum, and the identity is that of the sorted lines' {
	local four
	four=$(head -c 4 /dev/zero | sha256sum | cut -d ' ' -f 1)
	safetensors two.st b a
	try lnn-ckpt-inspect --digest two.st
	expect_out "$(printf '%s\tfloat32\t[1]\tsha256=%s\n' b "$four" a "$four")
# model sha256:$(printf '%s\tfloat32\t[1]\t%s\n' a "$four" b "$four" | sha256sum | cut -d ' ' -f 1)"
	try lnn-ckpt-inspect --digest -e b two.st
	expect_out_has "# model (1 of 2 tensors) sha256:$(printf 'b\tfloat32\t[1]\t%s\n' "$four" | sha256sum | cut -d ' ' -f 1)"
}

@test '--against a list of digests reports changed and missing tensors; damaged digests are refused' {
	safetensors two.st a b
	lnn-ckpt-inspect --digest two.st >two.tsv
	try lnn-ckpt-inspect --against two.tsv two.st
	expect_status 0
	expect_out '# 2 matched, 0 missing, 0 unexpected, 0 mismatched, 0 of another dtype, 0 of other values'
	printf x | dd of=two.st bs=1 seek=$(($(stat -c %s two.st) - 1)) conv=notrunc status=none
	for way in two.st -; do
		try bash -c "lnn-ckpt-inspect -q --against two.tsv $way <two.st"
		expect_status 1
		expect_out $'values\tb\tbytes differ'
	done
	safetensors one.st a
	try lnn-ckpt-inspect -q --against two.tsv one.st
	expect_status 1
	expect_out $'missing\tb\t[1]'
	sed 's/sha256=./sha256=x/' two.tsv >bad.tsv
	try lnn-ckpt-inspect --against bad.tsv two.st
	expect_refusal 2 lnn-ckpt-inspect 'bad.tsv:1:' 'sha256 is 64 digits'
	cat two.tsv two.tsv >twice.tsv
	try lnn-ckpt-inspect --against twice.tsv two.st
	expect_refusal 2 lnn-ckpt-inspect 'twice.tsv: line 4: a is listed twice'
}

@test '--renames pairs tensors by their contents' {
	safetensors old.st a b c same
	safetensors new.st x y b same2
	# old.st has a = 1, b = 0, c = 3, same = 0; new.st has x = 3, y = 1, b = 0, same2 = 0
	put() {
		printf '%b' "$3" | dd of="$1" bs=1 seek=$(($(stat -c %s "$1") - 16 + 4 * $2)) conv=notrunc status=none
	}
	put old.st 0 '\01'
	put old.st 2 '\03'
	put new.st 0 '\03'
	put new.st 1 '\01'
	lnn-ckpt-inspect --digest new.st >new.tsv
	local target
	for target in new.st new.tsv; do
		try lnn-ckpt-inspect -q --against $target --renames old.st
		expect_status 1
		[ "$(printf '%s\n' "$output" | sort)" = $'renamed\ta\ty\nrenamed\tc\tx\nrenamed\tsame\tsame2' ] || fail "$output"
	done
	lnn-ckpt-inspect new.st >new.tsv
	try lnn-ckpt-inspect --against new.tsv --renames old.st
	expect_refusal 2 lnn-ckpt-inspect 'new.tsv has no digests'
	safetensors old.st a zero same
	put old.st 1 '\01'
	try lnn-ckpt-inspect --against new.st --renames old.st
	expect_status 1
	expect_out_has $'renamed\ta\ty' $'missing\tx\t[1]' $'unexpected\tzero\t[1]' '1 renamed (2 not paired, as several have the same contents)'
}

@test '--target-key compares two places of one file' {
	try lnn-ckpt-inspect -q -k state_dict --against "$fixtures/rest.pth" --target-key ema "$fixtures/rest.pth"
	expect_status 0
	try lnn-ckpt-inspect -k state_dict --target-key ema "$fixtures/rest.pth"
	expect_refusal 2 lnn-ckpt-inspect '--target-key needs --against'
}

@test 'counts of one are printed in the singular' {
	safetensors one.st a
	try lnn-ckpt-inspect --summary one.st
	expect_out_has '1 tensor, 1 element, 4 B'
	try lnn-ckpt-inspect --format table one.st
	expect_out_has '1 tensor, 1 element, 4 B'
	try lnn-ckpt-inspect --check one.st
	expect_out 'ok: 1 tensor, 0 CRCs agree, 1 storage states none'
	lnn-ckpt-adapt -q --keep-names - "$fixtures/names.pth" -o one.pth <<<'\e'
	try lnn-ckpt-inspect --summary one.pth
	expect_out_has 'holds       (the empty name): tensor, 1 tensor'
}

@test "transcript: options that are wrong or cannot be combined" { transcript usage; }

@test "every report in JSON is valid JSON" {
	command -v python3 >/dev/null || skip 'there is no python3'
	local mode f
	for mode in '' --long --fold --summary --tree --rest --stats --check --globals --against=$fixtures/tiny.pth; do
		for f in names.pth rest.pth tiny.safetensors qtensor.pth; do
			# shellcheck disable=SC2086 # mode may be empty
			lnn-ckpt-inspect $mode --format json "$fixtures/$f" >out.json || [ $? -eq 1 ] || fail "$mode $f"
			python3 -c 'import json, sys
d = json.load(open("out.json", encoding="utf-8"), parse_constant=lambda c: sys.exit("not JSON: " + c))
assert list(d)[:2] == ["schema", "file"] and d["schema"] == 1, d' || fail "$mode $f"
		done
	done
}

@test "a name with a NUL is refused in lines and escaped in JSON" {
	local header='{"a\u0000b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
	{
		# shellcheck disable=SC2059 # the format is the byte that says how long the header is
		printf "\\x$(printf %02x ${#header})\0\0\0\0\0\0\0"
		printf '%sx' "$header"
	} >nul.safetensors
	try lnn-ckpt-inspect nul.safetensors
	expect_refusal 2 lnn-ckpt-inspect nul.safetensors NUL
	try lnn-ckpt-inspect -0 nul.safetensors
	expect_refusal 2 lnn-ckpt-inspect nul.safetensors NUL
	local mode
	for mode in --stats --check --tree --against=$fixtures/tiny.pth; do
		try lnn-ckpt-inspect "$mode" nul.safetensors
		expect_refusal 2 lnn-ckpt-inspect nul.safetensors NUL
	done
	try lnn-ckpt-inspect --format jsonl nul.safetensors
	expect_out '{"name":"a\u0000b","dtype":"uint8","shape":[1],"numel":1,"nbytes":1}'
	expect_status 0
}

@test "control characters in names are escaped on a terminal" {
	command -v python3 >/dev/null || skip 'there is no python3'
	local format mode
	for format in table tsv names jsonl; do
		NO_COLOR=1 terminal --format "$format" "$fixtures/names.pth" >out
		! grep -aqP '[\x00-\x08\x0b-\x1f\x7f]|\x{202e}' out || fail "$format: $(cat -v out)"
	done
	for mode in --stats --tree --summary --globals --check --rest "--against=$fixtures/tiny.pth"; do
		NO_COLOR=1 terminal "$mode" "$fixtures/names.pth" >out || true
		! grep -aqP '[\x00-\x08\x0b-\x1f\x7f]|\x{202e}' out || fail "$mode: $(cat -v out)"
	done
}

@test "a terminal gets a table in colour that fits its width; NO_COLOR and pipes get no colour" {
	command -v python3 >/dev/null || skip 'there is no python3'
	COLUMNS=60 TERM=xterm terminal "$fixtures/demo.pth" >out
	grep -q $'\033\\[1mname' out || fail "no title: $(head -n 2 out | cat -v)"
	sed $'s/\033\\[[0-9]*m//g' out >plain
	[ "$(awk '{ if (length($0) > n) n = length($0) } END { print n }' plain)" -le 60 ] || fail 'too wide'
	[ "$(tail -n 1 plain)" = '199 tensors, 241k elements, 1.09 MiB' ] || fail "$(tail -n 1 plain)"
	grep -q '\.\.\.' plain || fail 'no name was cut'
	# columns are aligned
	[ "$(sed '1d;$d' plain | grep -oE '  (float32|int64) ' -b | head -n 1)" ] || fail 'no dtypes'
	[ "$(sed '$d' plain | awk '{ print match($0, / (dtype|float32|int64) /) }' | sort -u | wc -l)" -eq 1 ] || fail 'not aligned'
	NO_COLOR=1 TERM=xterm terminal "$fixtures/demo.pth" >out
	! grep -q $'\033' out || fail 'colour in spite of NO_COLOR'
	try lnn-ckpt-inspect "$fixtures/demo.pth"
	[[ $output != *$'\033'* ]] || fail 'colour on a pipe'
	try lnn-ckpt-inspect --color always --format table "$fixtures/prefixed.pth"
	[[ $output == *$'\033'* ]] || fail 'no colour where it was asked for'
}

@test "checkpoint bytes are neither read from nor written to a terminal" {
	command -v python3 >/dev/null || skip 'there is no python3'
	terminal >out || true
	grep -q 'not read from a terminal' out || fail "$(cat out)"
	terminal --dump fc.bias --dump-as raw "$fixtures/tiny.pth" >out || true
	grep -q 'not written to a terminal' out || fail "$(cat out)"
}

@test "a stream is read to its end, so that its writer can finish and a cut is noticed" {
	pipe 'cat $fixtures/demo.pth | lnn-ckpt-inspect | wc -l'
	expect_out 199
	expect_status 0
	pipe 'head -c 900000 $fixtures/demo.pth | lnn-ckpt-inspect >list'
	expect_status 2
	expect_err_has 'cut off'
}

@test "a closed pipe gives no message, a full disk gives an error" {
	pipe 'lnn-ckpt-inspect $fixtures/demo.pth | head -n 1'
	expect_out 'module.cls_token_1	float32	[1,1,32]'
	[ "$stderr" = '' ] || fail "$stderr"
	try bash -c 'lnn-ckpt-inspect $fixtures/demo.pth >/dev/full'
	expect_refusal 2 lnn-ckpt-inspect 'No space left'
	try bash -c 'lnn-ckpt-inspect --format json $fixtures/demo.pth >/dev/full'
	expect_refusal 2 lnn-ckpt-inspect 'No space left'
}

@test "-o writes a whole file or none" {
	try lnn-ckpt-inspect -o list "$fixtures/prefixed.pth"
	expect_status 0
	[ "$(wc -l <list)" -eq 3 ]
	try lnn-ckpt-inspect -o other "$fixtures/prefixed.pth" nowhere.pth
	expect_status 2
	try lnn-ckpt-inspect --dump w -k state_dict -o raw --dump-as raw "$fixtures/rest.pth"
	expect_status 0
	[ "$(wc -c <raw)" -eq 24 ]
	cp "$fixtures/prefixed.pth" same.pth
	try bash -c 'lnn-ckpt-inspect same.pth >>same.pth'
	expect_refusal 2 lnn-ckpt-inspect 'input file is output file'
	cmp same.pth "$fixtures/prefixed.pth"
	expect_only list raw same.pth
}

@test "lnn-filter accepts the list, and --against accepts a description by --format model" {
	pipe "lnn-ckpt-inspect \$fixtures/demo.pth | lnn-filter --count -e '{TYPE: name, PATTERNS: [head.]}'"
	expect_status 0
	pipe "lnn-ckpt-inspect --format model \$fixtures/demo.pth >m.yaml && lnn-ckpt-inspect --against m.yaml \$fixtures/demo.pth"
	expect_out '# 199 matched, 0 missing, 0 unexpected, 0 mismatched'
	expect_status 0
}

# text WORD, number N: the opcodes of a text and of a number in a pickle.
text() {
	printf 'X\\%03o\\0\\0\\0%s' "${#1}" "$1"
}

number() {
	printf 'J\\0%03o\\0%03o\\0%03o\\0%03o' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}

# view NAME OFFSET SIZE STRIDE: a uint8 tensor in the storage k. SIZE and STRIDE are opcodes that make tuples.
view() {
	printf '%s' "$(text "$1")ctorch._utils\\n_rebuild_tensor_v2\\n(($(text storage)ctorch\\nByteStorage\\n$(text k)$(text cpu)"
	printf '%s' "$(number $((2 * n)))tQ$(number "$2")$3$4\\0211ccollections\\nOrderedDict\\n)RtR"
}

@test '--stats of large tensors is the same for every order of elements, from files and pipes' {
	command -v zip >/dev/null || skip 'no zip'
	local n=6000000
	mkdir -p archive/data
	{
		printf '%b' "\\0200\\2}("
		# Two columns stored one after the other: 1 2, 1 2, ...; two rows; every second element; blocks; the second half; one element
		printf '%b' "$(view columns 0 "$(number $n)K\\2\\0206" "K\\1$(number $n)\\0206")"
		printf '%b' "$(view rows 0 "K\\2$(number $n)\\0206" "$(number $n)K\\1\\0206")"
		printf '%b' "$(view steps 0 "$(number $n)\\0205" "K\\2\\0205")"
		printf '%b' "$(view blocks 0 "K\\2K\\2$(number $((n / 2)))\\0207" "$(number $((n / 2)))$(number $n)K\\1\\0207")"
		printf '%b' "$(view half $n "$(number $n)\\0205" "K\\1\\0205")"
		printf '%b' "$(view one $n ')' ')')"
		printf 'u.'
	} >archive/data.pkl
	head -c $n /dev/zero | tr '\0' '\1' >archive/data/k
	head -c $n /dev/zero | tr '\0' '\2' >>archive/data/k
	echo 3 >archive/version
	zip -q -0 -X in.pth archive/data.pkl archive/data/k archive/version
	lnn-ckpt-inspect --stats in.pth >stats
	# Half ones and half twos: mean 1.5, std 0.5 * sqrt(N / (N - 1)), norm sqrt(5 * N / 2)
	diff - <(awk '!/^#/ { printf "%s %d %g %g %g %.9f %.9f\n", $1, $3, $4, $5, $6, $7, $8 }' stats) <<-'END'
		columns 12000000 1 2 1.5 0.500000021 5477.225575052
		rows 12000000 1 2 1.5 0.500000021 5477.225575052
		steps 6000000 1 2 1.5 0.500000042 3872.983346207
		blocks 12000000 1 2 1.5 0.500000021 5477.225575052
		half 6000000 2 2 2 0.000000000 4898.979485566
		one 1 2 2 2 nan 2.000000000
	END
	lnn-ckpt-inspect --stats -j 3 in.pth | cmp - stats
	pipe 'cat in.pth | lnn-ckpt-inspect --stats'
	[ "$output" = "$(cat stats)" ]
	lnn-ckpt-inspect --check in.pth
	pipe 'cat in.pth | lnn-ckpt-inspect --check'
	expect_status 0
	lnn-ckpt-adapt -q --to safetensors in.pth -o out.safetensors
	cmp <(lnn-ckpt-inspect --stats out.safetensors) stats
	pipe 'cat out.safetensors | lnn-ckpt-inspect --stats'
	[ "$output" = "$(cat stats)" ]
	lnn-ckpt-inspect --against out.safetensors --values in.pth
	lnn-ckpt-inspect --against in.pth --values out.safetensors
	pipe 'cat out.safetensors | lnn-ckpt-inspect --against in.pth --values'
	expect_status 0
}

# Writes ropevit.pth with names as another project might use them.
renamed() {
	lnn-ckpt-adapt -q "$fixtures/ropevit.pth" --rename 's/^blocks\.(\d+)\./encoder.layer.\1./' --rename 's/norm1/layernorm_before/' \
		--rename 's/norm2/layernorm_after/' --rename 's/attn\.proj/attention.output.dense/' --rename 's/mlp\.fc1/intermediate.dense/' \
		--rename 's/mlp\.fc2/output.dense/' --rename 's/gamma_/lambda_/' --rename 's/^norm\./final_norm./' "$@"
}

@test '--suggest-map finds the map to renamed tensors, from files, pipes and lists' {
	local order
	cat >split.yaml <<-'Y'
		rules:
		  - from: "encoder.layer.{i}.attn.qkv."
		    to: ["encoder.layer.{i}.q.", "encoder.layer.{i}.k.", "encoder.layer.{i}.v."]
		    ops: [{split: 0}]
	Y
	renamed -o one.pth
	lnn-ckpt-adapt -q -s split.yaml one.pth -o other.st
	lnn-ckpt-inspect other.st >other.tsv
	for order in "--against other.st $fixtures/ropevit.pth" "--against other.tsv $fixtures/ropevit.pth" \
		"--against other.st --values $fixtures/ropevit.pth" "--against other.tsv - <$fixtures/ropevit.pth"; do
		pipe "lnn-ckpt-inspect --suggest-map $order >map.yaml"
		expect_status 0
		lnn-ckpt-adapt -q -s map.yaml "$fixtures/ropevit.pth" -o made.st
		[ "$(lnn-ckpt-inspect --digest made.st | sort)" = "$(lnn-ckpt-inspect --digest other.st | sort)" ] || fail "$order" "$(cat map.yaml)"
	done
	grep -q '# nothing for\|# unused' map.yaml && fail "$(cat map.yaml)"
	# the map back, which joins tensors
	pipe "lnn-ckpt-inspect --suggest-map --against one.pth other.st >map.yaml"
	expect_status 0
	grep -q 'ops: \[{join: 0}\]' map.yaml
	lnn-ckpt-adapt -q -s map.yaml other.st -o made.st
	[ "$(lnn-ckpt-inspect --digest made.st | sort)" = "$(lnn-ckpt-inspect --digest one.pth | sort)" ]
}

@test '--suggest-map lists tensors without a partner and names that a map cannot contain' {
	lnn-ckpt-inspect "$fixtures/ropevit.pth" >other.tsv
	printf 'extra.weight\tfloat32\t[5,7]\n' >>other.tsv
	lnn-ckpt-adapt -q "$fixtures/ropevit.pth" --rename 's/^cls_token$/a{b}/' --rename 's/^freqs$/a\nb./' -o in.pth
	try lnn-ckpt-inspect --against other.tsv --suggest-map in.pth
	expect_status 1
	expect_out_has '# nothing for extra.weight [5,7]' '# unused a{b} [1,1,12]' '# unused a\nb. [2,3,6]'
	safetensors a.st x
	try lnn-ckpt-inspect --against <(printf 'y.weight\tint64\t[3]\n') --suggest-map a.st
	expect_status 1
	expect_out '# 0 of 1 tensors have a source.
rules: []
default: drop
# nothing for y.weight [3]
# unused x [1]'
}

@test '--suggest-map ignores wrappers, as lnn-ckpt-adapt removes them before a map' {
	safetensors in.st module.a.w module.a.b
	safetensors other.st c.w c.b
	lnn-ckpt-inspect --against other.st --suggest-map in.st >map.yaml
	lnn-ckpt-adapt -q -s map.yaml in.st -o out.st
	[ "$(lnn-ckpt-inspect --format=names out.st | sort)" = $'c.b\nc.w' ]
}

@test '--suggest-map pairs names that differ only in a prefix' {
	local from to
	lnn-ckpt-adapt -q "$fixtures/ropevit.pth" -o plain.st
	lnn-ckpt-adapt -q plain.st --rename 's/^/net.body./' -o deep.st
	lnn-ckpt-adapt -q plain.st --rename 's/^/model./' -o other.st
	for from in plain deep other; do
		for to in plain deep other; do
			lnn-ckpt-inspect --against $to.st --suggest-map $from.st >map.yaml
			lnn-ckpt-adapt -q -s map.yaml $from.st -o made.st
			[ "$(lnn-ckpt-inspect --digest made.st | sort)" = "$(lnn-ckpt-inspect --digest $to.st | sort)" ]
		done
	done
	# Tensors that the target lacks or that have another shape do not prevent the rule.
	lnn-ckpt-inspect plain.st | sed '/^head/s/\[[0-9]*/[7/' >other.tsv
	lnn-ckpt-inspect --against other.tsv --suggest-map deep.st >map.yaml && fail "$(cat map.yaml)"
	grep -qxF '# nothing for head.weight [7,12]' map.yaml
	# No pair is graded sure if two parts of the source have these names.
	printf '%s\n' 'rules:' "  - {regex: '^(.)', to: ['a.\\1', 'b.\\1']}" >twice.yaml
	lnn-ckpt-adapt -q -s twice.yaml plain.st -o twice.st
	lnn-ckpt-inspect --against plain.st --suggest-map twice.st >map.yaml
	! grep -q '^  # .* sure' map.yaml || fail "$(cat map.yaml)"
}

@test '--suggest-map of many deep names with one shape ends in time' {
	local i names=()
	for i in {1..1000}; do names+=("$(printf 'x%s.' {1..20})l${i//[0-9]/q}$(tr 0-9 a-j <<<"$i").w"); done
	safetensors deep.st "${names[@]}"
	printf 'y.%s\tfloat32\t[1]\n' "${names[@]/x1.x2/z}" >other.tsv
	try timeout 30 lnn-ckpt-inspect --against other.tsv --suggest-map deep.st
	expect_status 0
}

@test '--suggest-map accepts names with very many components and numbers' {
	safetensors long.st "$(printf 'a.%.0s' {1..100000})w" "$(printf '1.%.0s' {1..40})w" x.y
	safetensors same.st z.y
	try timeout 10 lnn-ckpt-inspect --against same.st --suggest-map long.st
	expect_status 0
	expect_out_has '  - {from: x.y, to: z.y}'
}

@test '--suggest-map refuses options that cannot be combined with it' {
	safetensors a.st x
	try lnn-ckpt-inspect --suggest-map a.st
	expect_status 2
	expect_err_has '--suggest-map needs the target model (--against TARGET)'
	local option
	for option in --renames --strip-prefix=x --summary --format=json; do
		try lnn-ckpt-inspect --against a.st --suggest-map $option a.st
		expect_status 2
	done
	try lnn-ckpt-inspect --against a.st --suggest-map a.st a.st
	expect_status 2
	try lnn-ckpt-inspect --against nothing.st --suggest-map a.st
	expect_status 2
}
