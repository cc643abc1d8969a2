# lnn-ckpt-adapt: conversions, the report, --compat, shards, and bad input.

# shellcheck disable=SC2154 # fixtures, output, stderr and status come from helpers and bats
load helpers

# json FILE EXPRESSION VALUE: a Python expression over the document d.
json() {
	python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
got = json.dumps(eval(sys.argv[2]))
sys.exit(0 if got == sys.argv[3] else f"{sys.argv[2]}: {got}, expected {sys.argv[3]}")' "$@"
}

# list ITEM...: a JSON list.
list() {
	local all
	all=$(printf ', %s' "$@")
	echo "[${all#, }]"
}

# Prints the bytes of a record of a torch zip in hexadecimal.
record() {
	unzip -p "$1" "archive/data/$2" | od -An -v -tx1 | tr -d ' \n'
}

# A safetensors file with the float32 tensor x: 1, 1 + 2^-8, 65520, -0, infinity, a NaN.
floats() {
	local header='{"x":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}'
	printf '\x37\0\0\0\0\0\0\0%s' "$header"
	printf '\0\0\x80\x3f\0\x80\x80\x3f\0\xf0\x7f\x47\0\0\0\x80\0\0\x80\x7f\x01\0\xc0\x7f'
}

@test '--dtype: numbers are rounded to nearest, ties to even, and numbers that are too large are counted' {
	floats >in.st
	lnn-ckpt-adapt -q --to torch --dtype bfloat16 in.st -o b.pth
	# 1 + 2^-8 is a tie and becomes 1; 65520 becomes 65536
	[[ $(record b.pth 0) == 803f803f80470080807f* ]] || fail "$(record b.pth 0)"
	try lnn-ckpt-adapt --to torch --dtype float16 in.st -o h.pth
	expect_status 0
	expect_err_has 'warning: 1 finite value is too large for the new dtype'
	# 1 + 2^-8 = 1 + 4 * 2^-10 is exact; 65520 becomes infinity
	[[ $(record h.pth 0) == 003c043c007c0080007c* ]] || fail "$(record h.pth 0)"
	lnn-ckpt-adapt -q --to torch --dtype float64 in.st -o d.pth
	[[ $(record d.pth 0) == 000000000000f03f000000000010f03f* ]] || fail "$(record d.pth 0)"
	# a tensor that is float32 already keeps its bits, also those of the NaN
	lnn-ckpt-adapt -q --to torch --dtype float32 in.st -o f.pth
	[ "$(record f.pth 0)" = 0000803f0080803f00f07f47000000800000807f0100c07f ]
	try lnn-ckpt-adapt --dtype int8 in.st
	expect_refusal 2 lnn-ckpt-adapt '--dtype int8: float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2 or keep'
}

@test '--dtype does not change integers, bool and complex numbers' {
	# of 32 tensors 24 are real and floating-point: 21 float32 and one of each other dtype
	pipe "lnn-ckpt-adapt -n -q --dtype float16 '$fixtures/tiny.pth' | cut -f2 | sort | uniq -c | sort -rn | awk '{print \$1, \$2}' | sort"
	expect_out $'1 bool\n1 complex64\n1 int16\n1 int32\n1 int8\n1 uint8\n2 int64\n24 float16'
}

@test 'views of one storage share a storage in the output; --compact gives each its own' {
	# tied.first, tied.second and tied.view are one storage in tiny.pth, as are view.rows, view.column, view.transposed
	printf 'tied.first\ntied.second\ntied.view\n' >tied
	lnn-ckpt-adapt -q --keep-names tied "$fixtures/tiny.pth" -o a.pth
	[ "$(unzip -Z1 a.pth | grep -c /data/)" -eq 1 ]
	printf 'view.rows\nview.column\n' >views
	lnn-ckpt-adapt -q --keep-names views "$fixtures/tiny.pth" -o b.pth
	[ "$(unzip -Z1 b.pth | grep -c /data/)" -eq 1 ]
	lnn-ckpt-adapt -q --keep-names views --compact --report r.json "$fixtures/tiny.pth" -o c.pth
	[ "$(unzip -Z1 c.pth | grep -c /data/)" -eq 2 ]
	# float32: 3 x 6 and 10
	[ "$(unzip -p c.pth archive/data/0 | wc -c; unzip -p c.pth archive/data/1 | wc -c)" = $'40\n72' ]
	lnn-ckpt-adapt -q --keep-names views --to safetensors "$fixtures/tiny.pth" -o d.st
	lnn-ckpt-inspect d.st | grep -q $'view.rows\tfloat32\t\[3,6\]'
	command -v python3 >/dev/null || return 0
	json r.json '[a["action"] for i in d["inputs"] if i["name"] == "view.rows" for a in i["actions"]]' '["compacted"]'
}

@test '--report: lists every input and output, each action and its rule' {
	command -v python3 >/dev/null || skip 'there is no python3'
	printf 'state_dict:\n  - {name: layer.weight, shape: [2, 3]}\n  - {name: other, shape: []}\n' >m.yaml
	try lnn-ckpt-adapt -m m.yaml --drop-params w --drop-buffers nothing --drop-params eight --rename 's/layers.0/layer/' \
		--dtype float16 --report r.json "$fixtures/prefixed.pth" -o out.pth
	expect_status 1 # layer.weight is [2, 2]
	[ ! -e out.pth ]
	json r.json 'list(d)' '["schema", "inputs", "outputs", "tables", "load", "unused_rules", "near_misses"]'
	json r.json 'd["schema"]' 1
	json r.json '[list(i) for i in d["inputs"]][0]' '["file", "name", "actions", "outputs"]'
	json r.json '[i["name"] for i in d["inputs"]]' \
		'["module._orig_mod.w", "module._orig_mod.layers.0.weight", "module._orig_mod.layers.0.running_mean"]'
	json r.json '[[a["action"] for a in i["actions"]] for i in d["inputs"]]' \
		'[["renamed", "dropped"], ["renamed", "renamed", "cast"], ["renamed", "renamed", "cast"]]'
	json r.json 'd["inputs"][0]["actions"][1]["by"]' '"--drop-params w"'
	json r.json 'd["inputs"][1]["actions"][1]["by"]' '"--rename s/layers.0/layer/"'
	json r.json '[i["outputs"] for i in d["inputs"]]' '[[], ["layer.weight"], ["layer.running_mean"]]'
	json r.json 'd["outputs"][0]' \
		'{"name": "layer.weight", "dtype": "float16", "shape": [2, 2], "from": ["module._orig_mod.layers.0.weight"]}'
	json r.json 'd["load"]' \
		'{"missing_keys": ["other"], "unexpected_keys": ["layer.running_mean"], '\
'"mismatched": [{"name": "layer.weight", "checkpoint_shape": [2, 2], "model_shape": [2, 3]}]}'
	json r.json '[u["rule"] for u in d["unused_rules"]]' '["--drop-params eight", "--drop-buffers nothing"]'
	json r.json 'd["near_misses"]' '[{"pattern": "--drop-params w", "name": "layers.0.weight"}]'
}

@test '--report: lists resized tables and tables that were only copied' {
	command -v python3 >/dev/null || skip 'there is no python3'
	lnn-ckpt-adapt -q --interpolate --img-size 112 --to-layout first --drop-names <(printf '%s\n' \
		stage_3.grid.attn.relative_position_bias_table elsewhere.attn.relative_position_bias_table) \
		--report r.json "$fixtures/tables.pth" -o out.pth
	json r.json '[(t["name"].split(".")[1], t["from_grid"], t["to_grid"], t["heads"], t["from_layout"], t["to_layout"], t["method"]) for t in d["tables"]]' \
		"$(list \
			'["metaformer", [4, 4], [7, 7], 3, "metaformer", "first:1", "bicubic"]' \
			'["last", [4, 4], [7, 7], 3, "last:1", "first:1", "bicubic"]' \
			'["first", [4, 4], [7, 7], 3, "first:1", "first:1", "bicubic"]' \
			'["apart", [4, 4], [7, 7], 3, "first:1", "first:1", "bicubic"]' \
			'["half", [3, 3], [3, 3], 2, "last:1", "first:1", "bicubic"]' \
			'["brain", [3, 3], [3, 3], 2, "last:1", "first:1", "bicubic"]' \
			'["double", [3, 3], [3, 3], 2, "last:1", "first:1", "bicubic"]')"
	json r.json '[a["action"] for i in d["inputs"] if i["name"] == "stage_3.last.attn.relative_position_index" for a in i["actions"]]' '["dropped"]'
	# a table that already has the size and the layout is kept
	try lnn-ckpt-adapt --interpolate --grid 3x3 --to-layout last --keep-names <(echo stage_4.half.attn.relative_position_bias_table) \
		--report r.json "$fixtures/tables.pth" -o out.pth
	expect_err_has '1 kept, 18 dropped, 0 resampled'
	json r.json 'd["inputs"][9]["actions"]' '[{"action": "kept", "by": null}]'
}

@test '--report: if the report cannot be written, there is no output' {
	try lnn-ckpt-adapt -q --report /nowhere/r.json "$fixtures/tiny.pth" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt /nowhere/r.json
	try lnn-ckpt-adapt -q --report /dev/full "$fixtures/tiny.pth" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt '/dev/full: write error: No space left on device'
	expect_only ''
	pipe "lnn-ckpt-adapt -q --report /dev/full '$fixtures/tiny.pth' >out.pth"
	expect_status 2
	try lnn-ckpt-inspect out.pth
	expect_status 2
	try lnn-ckpt-adapt --report - "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt '--report -'
	cp "$fixtures/tiny.pth" in.pth
	try lnn-ckpt-adapt --report in.pth in.pth -o out.pth
	expect_refusal 2 lnn-ckpt-adapt '--report in.pth'
	cmp in.pth "$fixtures/tiny.pth"
	try lnn-ckpt-adapt -q --report - "$fixtures/prefixed.pth" -o out.pth
	expect_out_has '"schema": 1'
}

@test '--compat=linnaeus: module. is removed once, drop patterns are regular expressions, and only metaformer interpolates' {
	pipe "lnn-ckpt-adapt -q -n --compat=linnaeus '$fixtures/prefixed.pth' | cut -f1"
	expect_out $'_orig_mod.w\n_orig_mod.layers.0.weight\n_orig_mod.layers.0.running_mean'
	# re.search('layers.0\b') and re.search('o.')
	pipe "lnn-ckpt-adapt -q -n --compat=linnaeus --drop-params layers.0 '$fixtures/prefixed.pth' | cut -f1"
	expect_out $'_orig_mod.w'
	# "norm." is a regular expression whose dot matches any byte: norm_1.weight is dropped
	pipe "lnn-ckpt-adapt -q -n --compat=linnaeus --drop-params norm. '$fixtures/demo.pth' | cut -f1 | grep -c norm."
	expect_out 0
	# head\b drops head.taxa_L10 but not meta_time_head_1, as _ is a word character; meta_\b drops nothing
	pipe "lnn-ckpt-adapt -q -n --compat=linnaeus -m mFormerV0 '$fixtures/demo.pth' | cut -f1 | grep -cE '^head|relative_position_index'"
	expect_out 0
	pipe "lnn-ckpt-adapt -q -n --compat=linnaeus -m mFormerV0 '$fixtures/demo.pth' | grep meta_time_head_1.0.weight | wc -l"
	expect_out 1
	pipe "lnn-ckpt-adapt -q -n --compat=linnaeus -m mFormerV0 --img-size 384 '$fixtures/demo.pth' | grep stage_3.*bias_table"
	expect_out_has '[730,4]'
	try lnn-ckpt-adapt -n --verbose --compat=linnaeus -m mFormerV0 -s metaformer --img-size 384 "$fixtures/demo.pth"
	expect_err_has '14x14 -> 24x24 tokens, 4 heads, layout first:1'
	try lnn-ckpt-adapt --compat=linnaeus --ddp "$fixtures/demo.pth"
	expect_refusal 2 lnn-ckpt-adapt --ddp
	try lnn-ckpt-adapt --compat=torch "$fixtures/demo.pth"
	expect_refusal 2 lnn-ckpt-adapt '--compat: linnaeus was expected, not torch'
}

@test '--compat=linnaeus: mFormerV1 drops the names that its code drops, which differ from its guide' {
	try lnn-ckpt-adapt -q -n -m mFormerV1 "$fixtures/convnext.pth"
	expect_out_has norm.weight downsample_layers.1.1.weight
	try lnn-ckpt-adapt -q -n --compat=linnaeus -m mFormerV1 "$fixtures/convnext.pth"
	[[ $output != *downsample_layers* && $output != *norm.* ]] || fail "$output"
}

@test 'bad input gives one line, the right status and no output' {
	: >empty
	echo 'this is text' >text
	head -c 5000 "$fixtures/tiny.pth" >cut.pth
	local f expected
	for f in empty text cut.pth; do
		case $f in
		empty) expected='did the program before it fail?' ;;
		text) expected=text ;;
		cut.pth) expected='cut off' ;;
		esac
		try lnn-ckpt-adapt "$f" -o out.pth
		expect_refusal 2 lnn-ckpt-adapt "lnn-ckpt-adapt: $f: " "$expected"
		pipe "cat $f | lnn-ckpt-adapt -o out.pth"
		expect_refusal 2 lnn-ckpt-adapt 'standard input: '
	done
	expect_only empty text cut.pth
	pipe "printf '' | lnn-ckpt-adapt --drop-names - '$fixtures/tiny.pth' -o out.pth"
	expect_refusal 2 lnn-ckpt-adapt 'standard input: no name in the list; did the program before it fail? (--allow-empty)'
	pipe "printf '# nothing\n\n' | lnn-ckpt-adapt -n -q --allow-empty --drop-names - '$fixtures/prefixed.pth' | cut -f1"
	expect_status 0
	expect_out $'w\nlayers.0.weight\nlayers.0.running_mean'
	try lnn-ckpt-adapt -k model "$fixtures/prefixed.pth" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt model state_dict
	try lnn-ckpt-adapt --interpolate --img-size 64 "$fixtures/no-grid.pth" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'stage_3.0.attn.relative_position_bias_table: 20 rows fit no square grid' '--from-grid'
	try lnn-ckpt-adapt a b
	expect_refusal 2 lnn-ckpt-adapt 'one operand too many'
	try lnn-ckpt-adapt --drop-params '' "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt '--drop-params: an empty pattern'
	try lnn-ckpt-adapt --drop-params 're:(' "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt '--drop-params re:('
	try lnn-ckpt-adapt -m nowhere.yaml "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt 'nowhere.yaml'
	expect_only empty text cut.pth
	cp "$fixtures/tiny.pth" keep
	try lnn-ckpt-adapt cut.pth -o keep
	cmp keep "$fixtures/tiny.pth"
}

@test 'an error after a successful load check is one line' {
	try lnn-ckpt-adapt -m "$fixtures/tiny.pth" --carry nothing "$fixtures/tiny.pth"
	expect_status 2
	expect_err_has 'no nothing at its root'
	[ "$(grep -vc 'warning: ' <<<"$stderr")" -eq 1 ] || fail "$stderr"
	pipe "lnn-ckpt-adapt -m '$fixtures/tiny.pth' '$fixtures/tiny.pth' >/dev/full"
	expect_refusal 2 lnn-ckpt-adapt 'No space left on device'
	try lnn-ckpt-adapt -m "$fixtures/tiny.pth" --under x --to safetensors "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt --under
}

@test 'a list of names and a checkpoint from the same standard input are refused' {
	pipe "cat '$fixtures/tiny.pth' | lnn-ckpt-adapt --drop-names -"
	expect_status 2
	expect_err_has 'standard input'
}

@test 'sets: a set with shards of a given size is adapted shard by shard under parallel and indexed' {
	lnn-ckpt-adapt -q --max-shard-size 30kB "$fixtures/convnext.pth" -o set/
	[ "$(find set -name 'pytorch_model-*.bin' | wc -l)" -ge 2 ]
	[ -e set/pytorch_model.bin.index.json ]
	lnn-ckpt-inspect set/pytorch_model.bin.index.json >a
	lnn-ckpt-inspect "$fixtures/convnext.pth" >b
	diff a b
	try lnn-ckpt-adapt -q --max-shard-size 30kB "$fixtures/convnext.pth" -o set/
	expect_status 2
	expect_err_has 'set'
	lnn-ckpt-adapt -q set/pytorch_model.bin.index.json --drop-params head. --rename 's/gamma/scale/' -o whole.pth
	command -v parallel >/dev/null || skip 'there is no parallel'
	parallel --will-cite lnn-ckpt-adapt -q --shard {}/2 --drop-params head. --rename s/gamma/scale/ set/pytorch_model.bin.index.json -o out/ ::: 1 2
	try lnn-ckpt-adapt --write-index out
	expect_status 0
	expect_err_has 'out/pytorch_model.bin.index.json'
	diff <(lnn-ckpt-inspect out/pytorch_model.bin.index.json) <(lnn-ckpt-inspect whole.pth)
	lnn-ckpt-adapt -q out/pytorch_model.bin.index.json -o again.pth
	cmp again.pth whole.pth
	[ -z "$(find out -name '.lnn-*')" ]
}

@test 'sets: --write-index reports jobs that did not finish and rules that matched in no shard' {
	local index=$fixtures/sharded-safetensors/model.safetensors.index.json
	try lnn-ckpt-adapt --shard 1/3 "$index" -o out/
	expect_status 0
	expect_err_has '-> out/model-00001-of-00003.safetensors (safetensors)'
	try lnn-ckpt-adapt --write-index out
	expect_refusal 2 lnn-ckpt-adapt 'shard 2 of 3 is missing; its job did not finish'
	lnn-ckpt-adapt -q --shard 2/3 --to torch "$index" -o out/
	lnn-ckpt-adapt -q --shard 3/3 "$index" -o out/
	try lnn-ckpt-adapt --write-index out
	expect_refusal 2 lnn-ckpt-adapt '2-of-00003' 'has another format than the shards before it'
	rm out/*.bin
	lnn-ckpt-adapt -q --shard 2/3 "$index" -o out/
	lnn-ckpt-adapt -q --shard 3/3 --drop-params nothing "$index" -o out/
	try lnn-ckpt-adapt --write-index out --fail-unused
	expect_status 1
	expect_err_has '--drop-params nothing: matched nothing'
	[ ! -e out/model.safetensors.index.json ]
	try lnn-ckpt-adapt --write-index out -m "$index" --strict
	expect_status 0
	diff <(lnn-ckpt-inspect out/model.safetensors.index.json | sort) <(lnn-ckpt-inspect "$index" | sort)
	local name
	name=$(lnn-ckpt-inspect --format names "$index" | head -1)
	printf 'state_dict:\n  - {name: %s, shape: [77]}\n' "$name" >m.yaml
	pipe "for k in 1 2 3; do lnn-ckpt-adapt -q --shard \$k/3 -m m.yaml --drop-mismatched '$index' -o less/ || exit; done"
	expect_status 0
	try lnn-ckpt-adapt --write-index less/
	expect_err_has '-> less/model.safetensors.index.json'
	[ "$(lnn-ckpt-inspect less/model.safetensors.index.json | wc -l)" -eq $(($(lnn-ckpt-inspect "$index" | wc -l) - 1)) ]
	for k in 0/3 4/3 x 1; do
		try lnn-ckpt-adapt --shard $k "$index" -o bad/
		expect_refusal 2 lnn-ckpt-adapt "--shard $k: K/N"
	done
	try lnn-ckpt-adapt --shard 1/3 "$index"
	expect_refusal 2 lnn-ckpt-adapt '-o DIR/'
}

@test 'sets: redoing a shard of a finished set removes the index and writes it again' {
	local index=$fixtures/sharded-safetensors/model.safetensors.index.json k
	for k in 1 2 3; do lnn-ckpt-adapt -q --shard $k/3 --rename 's/^/old./' "$index" -o out/; done
	lnn-ckpt-adapt -q --write-index out
	try lnn-ckpt-adapt --shard 2/3 --rename 's/^/new./' "$index" -o out/
	expect_status 0
	expect_err_has 'warning: out/model.safetensors.index.json: removed, as shard 2 of 3 is made again'
	[ ! -e out/model.safetensors.index.json ]
	try lnn-ckpt-adapt -q --shard 3/3 --rename 's/^/new./' "$index" -o out/
	expect_status 0
	[ -z "$stderr" ] || fail "$stderr"
	try lnn-ckpt-adapt --write-index out --fail-unused
	expect_status 0
	for k in 1 2 3; do lnn-ckpt-inspect --format names out/model-0000$k-of-00003.safetensors; done | sort >shards
	[ "$(cut -d. -f1 shards | sort -u)" = $'new\nold' ]
	diff shards <(lnn-ckpt-inspect --format names out/model.safetensors.index.json | sort)
	[ -z "$(find out -name '.lnn-*')" ]
	cp -r "$fixtures/sharded-safetensors" own
	try lnn-ckpt-adapt --shard 1/3 own/model.safetensors.index.json -o own/
	expect_refusal 2 lnn-ckpt-adapt '-o own/ is the folder of the input'
	diff -r own "$fixtures/sharded-safetensors"
}

@test 'sets: shards made in separate folders identify themselves, under any file name' {
	local index=$fixtures/sharded-safetensors/model.safetensors.index.json k to
	for to in safetensors torch; do
		for k in 1 2 3; do lnn-ckpt-adapt -q --shard $k/3 --to $to --drop-params nothing "$index" -o $to-$k/; done
		mkdir -p $to
		cp $to-[123]/* $to/
		[ -z "$(find $to-? -name '.*' -type f)" ]
		try lnn-ckpt-adapt --write-index $to --fail-unused
		expect_status 1
		expect_err_has '--drop-params nothing: matched nothing'
		mv $to/*-00002-of-* $to/part-2.${to/torch/bin}
		mv $to/*-00001-of-* $to/part-3.${to/torch/bin}
		mv $to/*-00003-of-* $to/part-1.${to/torch/bin}
		try lnn-ckpt-adapt --write-index $to
		expect_status 0
		diff <(lnn-ckpt-inspect $to | sort) <(lnn-ckpt-inspect "$index" | sort)
		# The note of a shard is not copied to a checkpoint that is made from the set.
		lnn-ckpt-adapt -q --to $to $to/*.index.json -o one.$to
		diff <(lnn-ckpt-inspect --digest one.$to | tail -n 1) <(lnn-ckpt-inspect --digest "$index" | tail -n 1)
		run ! grep -qaF '"of' one.$to
		cp $to/part-3.* $to/part-4.${to/torch/bin}
		try lnn-ckpt-adapt --write-index $to
		expect_refusal 2 lnn-ckpt-adapt "$to/part-4.${to/torch/bin}: is shard 1 of 3, and so is part-3"
	done
	unzip -p torch-2/pytorch_model-00002-of-00003.bin archive/.data/lnn | grep -qF '"shard":2,"of":3'
}

@test 'sets: --write-index makes an index for shards of other programs' {
	mkdir set loose twice
	safetensors set/model-00001-of-00002.safetensors a
	safetensors set/model-00002-of-00002.safetensors b
	safetensors set/consolidated.safetensors a b
	echo '{"weight_map": {"x": "model-00001-of-00009.safetensors"}}' >set/model.safetensors.index.json
	try lnn-ckpt-adapt --write-index set
	expect_status 0
	expect_err_has 'set/consolidated.safetensors: is not named like a shard of a set, and is left out'
	[ "$(tr -d ' \n' <set/model.safetensors.index.json)" = \
		'{"metadata":{"total_size":8},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}' ]
	rm set/model-00002-of-00002.safetensors
	try lnn-ckpt-adapt -q --write-index set
	expect_refusal 2 lnn-ckpt-adapt 'set: shard 2 of 2 is missing'
	safetensors loose/x.safetensors a
	safetensors loose/y.safetensors b
	try lnn-ckpt-adapt --write-index loose
	expect_status 0
	[ "$(lnn-ckpt-inspect --format names loose)" = $'a\nb' ]
	safetensors loose/z.safetensors b
	try lnn-ckpt-adapt --write-index loose
	expect_refusal 2 lnn-ckpt-adapt 'loose/z.safetensors: b is in another shard, too'
	rm loose/z.safetensors
	lnn-ckpt-adapt -q --to torch loose/y.safetensors -o loose/z.bin
	try lnn-ckpt-adapt --write-index loose
	expect_refusal 2 lnn-ckpt-adapt 'loose/z.bin: has another format than the shards before it'
	rm loose/*.safetensors
	try lnn-ckpt-adapt --write-index loose
	expect_status 0
	[ -e loose/pytorch_model.bin.index.json ]
	try lnn-ckpt-adapt --write-index twice
	expect_refusal 2 lnn-ckpt-adapt 'twice: there is no shard in it (*.safetensors, *.bin)'
	lnn-ckpt-adapt -q --shard 1/3 "$fixtures/sharded-safetensors/model.safetensors.index.json" -o twice/
	safetensors twice/model-00002-of-00003.safetensors other
	safetensors twice/model-00003-of-00003.safetensors another
	try lnn-ckpt-adapt --write-index twice
	expect_refusal 2 lnn-ckpt-adapt 'twice/model-00002-of-00003.safetensors: does not state that --shard finished it'
	rm twice/model-00003-of-00003.safetensors
	mv twice/model-00001-of-00003.safetensors twice/a.safetensors
	mv twice/model-00002-of-00003.safetensors twice/b.safetensors
	try lnn-ckpt-adapt --write-index twice
	expect_refusal 2 lnn-ckpt-adapt 'twice/b.safetensors: does not state that --shard finished it, as a.safetensors does'
}

@test 'sets: the note that a job leaves in its shard may be long' {
	local i rules=()
	for ((i = 0; i < 100; i++)); do
		rules+=(--drop-params "there_is_no_such_name_$i")
	done
	for i in 1 2 3; do
		lnn-ckpt-adapt -q --shard $i/3 "${rules[@]}" "$fixtures"/sharded-bin/*.index.json -o out/
	done
	lnn-ckpt-adapt -q --write-index out
	cmp <(lnn-ckpt-inspect --digest out) <(lnn-ckpt-inspect --digest "$fixtures"/sharded-bin/*.index.json)
}

@test '--set-metadata and --drop-metadata edit __metadata__ of safetensors' {
	metadata() {
		head -c 2000 out.safetensors | grep -aoP '"__metadata__":\K\{[^}]*\}'
	}
	safetensors in.safetensors w
	lnn-ckpt-adapt -q in.safetensors -o plain.safetensors
	try lnn-ckpt-adapt --set-metadata format=mlx --set-metadata 'note=a=b "c"' --set-metadata empty= in.safetensors -o out.safetensors
	expect_status 0
	[ "$(metadata)" = '{"format":"mlx","note":"a=b \"c\"","empty":""}' ] || fail "$(metadata)"
	mv out.safetensors two.safetensors
	try lnn-ckpt-adapt --drop-metadata note --set-metadata format=pt --drop-metadata empty two.safetensors -o out.safetensors
	expect_status 0
	cmp out.safetensors plain.safetensors
	try lnn-ckpt-adapt --set-metadata lnn.shard=x in.safetensors -o out.safetensors
	expect_refusal 2 lnn-ckpt-adapt '--set-metadata lnn.shard=x: keys that begin with lnn.'
	lnn-ckpt-adapt -q --drop-metadata format --set-metadata note=x --drop-metadata note in.safetensors -o out.safetensors
	[ -z "$(metadata)" ] || fail "$(metadata)"
	lnn-ckpt-inspect -q out.safetensors >/dev/null
	try lnn-ckpt-adapt --drop-metadata nothing --fail-unused in.safetensors -o out2.safetensors
	expect_status 1
	expect_err_has '--drop-metadata nothing: matched nothing'
	try lnn-ckpt-adapt --set-metadata x in.safetensors -o out2.safetensors
	expect_refusal 2 lnn-ckpt-adapt '--set-metadata x: KEY=VALUE was expected'
	try lnn-ckpt-adapt --set-metadata x=y in.safetensors -o out2.pth
	expect_refusal 2 lnn-ckpt-adapt '--set-metadata and --drop-metadata are for safetensors'
	try lnn-ckpt-adapt --set-metadata $'x=\xff' in.safetensors -o out2.safetensors
	expect_refusal 2 lnn-ckpt-adapt 'is not UTF-8'
	[ ! -e out2.safetensors ] && [ ! -e out2.pth ]
}

@test 'sets: jobs remove module. only if all shards of the set have it' {
	local rest
	for rest in module.b b; do
		mkdir -p set
		safetensors set/model-00001-of-00002.safetensors module.a
		safetensors set/model-00002-of-00002.safetensors $rest
		printf '{"metadata": {"total_size": 8}, "weight_map": {"module.a": "model-00001-of-00002.safetensors", "%s": "%s"}}' \
			$rest model-00002-of-00002.safetensors >set/model.safetensors.index.json
		lnn-ckpt-adapt -q --shard 1/1 set/model.safetensors.index.json -o out-$rest/
		lnn-ckpt-adapt -q --write-index out-$rest
	done
	[ "$(lnn-ckpt-inspect --format names out-module.b/model.safetensors.index.json)" = $'a\nb' ]
	[ "$(lnn-ckpt-inspect --format names out-b/model.safetensors.index.json)" = $'module.a\nb' ]
}

@test 'the suffix of -o gives the format; a contradicting --to and formats without a writer are refused' {
	lnn-ckpt-adapt -q "$fixtures/tiny.pth" -o a.safetensors
	lnn-ckpt-adapt -q --to safetensors "$fixtures/tiny.pth" -o plain
	cmp a.safetensors plain
	lnn-ckpt-adapt -q a.safetensors -o b.ckpt
	[ "$(head -c 2 b.ckpt)" = PK ]
	lnn-interp-bias -q --img-size 384 "$fixtures/demo.pth" -o c.safetensors
	[ "$(head -c 2 c.safetensors)" != PK ]
	lnn-ckpt-adapt -q a.safetensors -o d.other
	cmp a.safetensors d.other
	try lnn-ckpt-adapt --to torch "$fixtures/tiny.pth" -o x.safetensors
	expect_refusal 2 lnn-ckpt-adapt '--to torch: -o x.safetensors has the suffix of safetensors'
	try lnn-interp-bias --to safetensors --img-size 384 "$fixtures/demo.pth" -o x.pth
	expect_refusal 2 lnn-interp-bias '--to safetensors: -o x.pth has the suffix of torch'
	local name
	for name in x.npz .metadata x.index.json; do
		try lnn-ckpt-adapt "$fixtures/tiny.pth" -o "$name"
		expect_refusal 2 lnn-ckpt-adapt "-o $name: .${name##*.} files cannot be written"
	done
	expect_only a.safetensors b.ckpt c.safetensors d.other plain
}

@test 'a distributed folder consists of two files, is the same from a pipe, and is not written over other files' {
	lnn-ckpt-adapt -q --to dcp "$fixtures/tiny.safetensors" -o a/
	expect_only a a/.metadata a/__0_0.distcp
	mkdir b
	lnn-ckpt-adapt -q --to dcp -o b <"$fixtures/tiny.safetensors"
	diff -r a b
	# .metadata has protocol 4 and a frame up to its end.
	[ "$(od -An -tx1 -N 3 a/.metadata)" = ' 80 04 95' ]
	[ "$(od -An -td8 -j 3 -N 8 a/.metadata | tr -d ' ')" -eq $(($(wc -c <a/.metadata) - 11)) ]
	rm -rf b
	try lnn-ckpt-adapt --to dcp "$fixtures/tiny.safetensors" -o a/
	expect_refusal 2 lnn-ckpt-adapt 'a: the folder is not empty'
	try lnn-ckpt-adapt --to dcp "$fixtures/tiny.safetensors" -o -
	expect_refusal 2 lnn-ckpt-adapt '--to dcp: the output is a folder: -o DIR/'
	try lnn-interp-bias --to dcp --img-size 384 "$fixtures/demo.pth"
	expect_refusal 2 lnn-interp-bias '--to dcp: the output is a folder: -o DIR/'
	try lnn-ckpt-adapt --to dcp --max-shard-size 1MB "$fixtures/tiny.safetensors" -o c/
	expect_refusal 2 lnn-ckpt-adapt '--max-shard-size: a distributed folder is not cut into shards'
	try lnn-ckpt-adapt --to dcp --shard 1/1 "$fixtures/sharded-safetensors/model.safetensors.index.json" -o c/
	expect_status 2
	try lnn-ckpt-adapt --to dcp "$fixtures/tiny.pth" -o c.pth
	expect_refusal 2 lnn-ckpt-adapt '--to dcp: -o c.pth has the suffix of torch'
	head -c 1000 "$fixtures/tiny.safetensors" >cut.st
	try lnn-ckpt-adapt --to dcp cut.st -o c/
	expect_status 2
	rm -rf c/.lnn* cut.st
	[ ! -e c ] || rmdir c
	expect_only a a/.metadata a/__0_0.distcp
}

@test 'all messages equal those in messages.txt' {
	diff "$top/tests/golden/adapt/messages.txt" <("$top/tests/golden/adapt/replay" "$top/tests/golden/adapt/messages.txt") ||
		fail 'messages.txt differs'
}

@test 'a set with composite tensors and a deflated shard gives the tensors that PyTorch gives' {
	local index=$fixtures/sharded-mixed/mixed.index.json name sha
	lnn-ckpt-adapt -q --root "$index" -o whole.pth
	sed -n 's/^  {"name": "\([^"]*\)".*"sha256": "\(.*\)"}.*/\1 \2/p' "$fixtures/sharded-mixed/expected.json" >expected
	[ "$(wc -l <expected)" -eq 6 ]
	while read -r name sha; do
		[ "$(lnn-ckpt-inspect -q --dump "$name" --dump-as raw "$index" | sha256sum)" = "$sha  -" ] || fail "$name"
		[ "$(lnn-ckpt-inspect --dump "$name" --dump-as raw whole.pth | sha256sum)" = "$sha  -" ] || fail "$name, copied"
	done <expected
	[ "$(lnn-ckpt-inspect -q --format names "$index" | tr '\n' ' ')" = 'far tied quant same near tagged view ' ]
	try lnn-ckpt-inspect --check "$index"
	expect_status 0
	expect_err_has '1 entries of the shards that are not tensors are left out'
	# Shared storages stay shared, and attributes of parameters stay.
	lnn-ckpt-inspect --summary whole.pth | grep -q 'tied = same = view'
	lnn-ckpt-inspect --globals whole.pth | grep -q _rebuild_parameter_with_state
	lnn-ckpt-inspect --globals whole.pth | grep -q _rebuild_qtensor
}

@test 'a shard whose root has a key such as model is read from its root' {
	lnn-ckpt-adapt -q -k '' --to torch --max-shard-size 100KB -o set/ "$fixtures/demo.pth"
	diff <(lnn-ckpt-inspect --digest -k '' "$fixtures/demo.pth") <(lnn-ckpt-inspect -q --digest -k '' set)
	# one shard that has only a container
	lnn-ckpt-adapt -q -k '' --drop-params '^model' --to torch --max-shard-size 1 -o optimizer/ "$fixtures/demo.pth"
	[ "$(lnn-ckpt-inspect -q --format names -k '' optimizer)" = "$(lnn-ckpt-inspect --format names -k '' -e '^optimizer' "$fixtures/demo.pth")" ]
}
