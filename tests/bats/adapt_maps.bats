# lnn-ckpt-adapt: key maps and experiment files.

# shellcheck disable=SC2154 # top, fixtures, output, stderr and status come from helpers and bats
load helpers

# names ARG...: a dry run. $output has the names.
names() {
	pipe "lnn-ckpt-adapt -n $(printf '%q ' "$@") | cut -f1"
}

stitch=(-s stitched_convnext_ropevit --input "convnext=$BATS_TEST_DIRNAME/../fixtures/convnext.pth")

@test 'metaformer: drops names that begin with head, contain head.fc, or are head_1 or head_2 of meta_' {
	safetensors in.st head.weight header.w a.head.fc.w a.head.w meta_a_head_1.w x.meta_b_head_2.0 meta_head_3.w a_head_1.w stage_1.0.w
	names -s metaformer in.st
	expect_status 0
	expect_out $'a.head.w\nmeta_head_3.w\na_head_1.w\nstage_1.0.w'
	expect_err_has '4 kept, 5 dropped'
	# module. is removed before the map is applied, but linnaeus removes it after the map
	safetensors in.st module.head.weight module.x
	names -s metaformer in.st
	expect_out x
	names -s metaformer --compat=linnaeus in.st
	expect_out $'head.weight\nx'
}

@test 'timm_convnext: gives the names of the original ConvNeXt' {
	safetensors in.st stem.0.weight stem.1.bias stages.0.blocks.0.gamma stages.0.blocks.1.conv_dw.weight \
		stages.1.downsample.0.weight stages.1.downsample.1.bias stages.2.blocks.10.mlp.fc1.weight \
		stages.2.blocks.10.mlp.fc2.bias stages.3.blocks.2.norm.weight head.norm.weight head.fc.bias
	names -s timm_convnext in.st
	expect_status 0
	expect_out 'downsample_layers.0.0.weight
downsample_layers.0.1.bias
stages.0.0.gamma
stages.0.1.dwconv.weight
downsample_layers.1.0.weight
downsample_layers.1.1.bias
stages.2.10.pwconv1.weight
stages.2.10.pwconv2.bias
stages.3.2.norm.weight
norm.weight
head.bias'
}

@test 'stitched: writes the tensors whose shapes the description has, in its order' {
	names "${stitch[@]}" --input ropevit="$fixtures/ropevit.pth" -m "$fixtures/mFormerV1.yaml"
	expect_status 0
	expect_err_has 'not in the model' 'load check:' ', 0 of another shape'
	# stage 3 has a width of 16 in this model and 12 in the transformer
	[[ $output != *stages.3.* && $output != *cls_token_2* ]] || fail "$output"
	expect_out_has cls_token_1 stem.1.bias stages.1.0.pwconv2.bias stages.2.1.mlp.fc2.bias
	diff <(echo "$output") <(grep -o 'name: "[^"]*"' "$fixtures/mFormerV1.yaml" | cut -d'"' -f2 | grep -Fxf <(echo "$output"))
	# in this model both have the same width: blocks 0 and 1 are stage 2, block 2 is stage 3
	lnn-ckpt-adapt -q "${stitch[@]}" --input ropevit="$fixtures/ropevit.pth" -m "$fixtures/mFormerV1-even.yaml" -o out.pth
	lnn-ckpt-adapt -q --root --keep-names <(echo blocks.2.mlp.fc2.weight) "$fixtures/ropevit.pth" -o one.pth
	lnn-ckpt-adapt -q --root --keep-names <(echo stages.3.0.mlp.fc2.weight) out.pth -o two.pth
	cmp <(unzip -p one.pth archive/data/0) <(unzip -p two.pth archive/data/0)
	names -k model --keep-names <(printf 'cls_token_1\ncls_token_2\n') out.pth
	expect_out $'cls_token_1\ncls_token_2'
}

@test 'stitched: copies one tensor of frequencies to every block; the config can give depths and ROPE_MIXED' {
	names "${stitch[@]}" --input ropevit="$fixtures/ropevit-freqs.pth" -m "$fixtures/mFormerV1-even.yaml"
	[ "$(grep freqs <<<"$output")" = $'stages.2.0.attn.freqs\nstages.2.1.attn.freqs\nstages.3.0.attn.freqs' ] || fail "$output"
	printf 'MODEL: {ROPE_STAGES: {ROPE_MIXED: false}}\n' >exp.yaml
	names "${stitch[@]}" -c exp.yaml --input ropevit="$fixtures/ropevit-freqs.pth" -m "$fixtures/mFormerV1-even.yaml"
	[[ $output != *freqs* ]] || fail "$output"
	printf 'MODEL: {ROPE_STAGES: {DEPTHS: [1, 1], ROPE_MIXED: true}}\n' >exp.yaml
	names "${stitch[@]}" -c exp.yaml --input ropevit="$fixtures/ropevit-freqs.pth" -m "$fixtures/mFormerV1-even.yaml"
	expect_out_has stages.2.0.attn.freqs stages.3.0.attn.freqs stages.3.0.norm1.weight
	[[ $output != *stages.2.1.* ]] || fail "$output"
	printf 'MODEL: {ROPE_STAGES: {DEPTHS: [1]}}\n' >exp.yaml
	try lnn-ckpt-adapt -n "${stitch[@]}" -c exp.yaml --input ropevit="$fixtures/ropevit-freqs.pth" -m "$fixtures/mFormerV1-even.yaml"
	expect_refusal 2 lnn-ckpt-adapt 'exp.yaml:1:31: MODEL.ROPE_STAGES.DEPTHS: a list of at least 2 was expected'
}

@test 'stitched: the report gives the destination of every tensor, or the reason why it has none' {
	command -v python3 >/dev/null || skip 'there is no python3'
	lnn-ckpt-adapt -q -n "${stitch[@]}" --input ropevit="$fixtures/ropevit.pth" -m "$fixtures/mFormerV1.yaml" --report r.json >/dev/null
	cat >look.py <<-'END'
		import json
		d = json.load(open("r.json"))
		of = {(i["file"].rsplit("/")[-1], i["name"]): i for i in d["inputs"]}
		print(all(i["actions"] for i in d["inputs"]))
		print([a["by"] for a in of["ropevit.pth", "head.bias"]["actions"]])
		print(of["ropevit.pth", "cls_token"]["outputs"])
		print([a["by"] for a in of["ropevit.pth", "blocks.2.norm1.weight"]["actions"]][-1])
		print([a["by"] for a in of["convnext.pth", "stages.2.0.gamma"]["actions"]])
	END
	try python3 look.py
	expect_status 0
	expect_out "True
['key map stitched_convnext_ropevit: from head.']
['cls_token_1']
key map: stages.3.0.norm1.weight is [16] in the model and here [12]
['key map stitched_convnext_ropevit: from stages.2.']"
}

@test '--input: each input of a map must be given once, by its name' {
	try lnn-ckpt-adapt "${stitch[@]}" "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt 'has several inputs: --input convnext=FILE'
	try lnn-ckpt-adapt "${stitch[@]}" -m "$fixtures/mFormerV1.yaml"
	expect_refusal 2 lnn-ckpt-adapt 'needs --input ropevit=FILE'
	try lnn-ckpt-adapt "${stitch[@]}" --input convnext=x
	expect_refusal 2 lnn-ckpt-adapt '--input convnext: given twice'
	try lnn-ckpt-adapt "${stitch[@]}" --input swin=x
	expect_refusal 2 lnn-ckpt-adapt '--input swin=x: the key map stitched_convnext_ropevit has no input of that name'
	try lnn-ckpt-adapt "${stitch[@]}" --input ropevit
	expect_refusal 2 lnn-ckpt-adapt '--input ropevit: NAME=FILE was expected'
	try lnn-ckpt-adapt --input a=b "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt '--input needs a key map'
	try lnn-ckpt-adapt "${stitch[@]}" --input ropevit="$fixtures/ropevit.pth"
	expect_refusal 2 lnn-ckpt-adapt 'needs a description that lists the state dict (-m)'
	try lnn-ckpt-adapt "${stitch[@]}" --input ropevit="$fixtures/ropevit.pth" -m mFormerV1
	expect_refusal 2 lnn-ckpt-adapt 'needs a description that lists the state dict (-m)'
}

@test '--print-map prints built-in maps; an unknown map is refused' {
	try lnn-ckpt-adapt --print-map metaformer
	expect_status 0
	expect_out_has 'name: metaformer' 'head.fc'
	lnn-ckpt-adapt --print-map metaformer >my.yaml
	safetensors in.st head.w a.b
	names -s my.yaml in.st
	expect_out a.b
	names -s ./my.yaml in.st
	expect_out a.b
	for o in '--print-map swin' '-s swin'; do
		# shellcheck disable=SC2086
		try lnn-ckpt-adapt $o
		expect_refusal 2 lnn-ckpt-adapt 'swin: no such key map; there are mean, metaformer, stitched_convnext_ropevit, timm_convnext' share/lnn-tools/keymaps
	done
}

@test 'a key map in a file: every form of a rule does what lnn-keymap(5) says' {
	safetensors in.st enc.0.w enc.1.w enc.2.w enc.x.w tok mix.w old_a.w old_b.w drop.me also.drop.me keep.w rest.w
	cat >my.yaml <<-'END'
		name: mine
		variables:
		  n: {default: 2}
		  twice: {default: true}
		  never: {default: false}
		rules:
		  - {from: "enc.{i}.", i: [0, n], to: "first.{i + 1}."}
		  - {from: "enc.{i}.", i: [n, n + 8], to: "second.{i - n}."}
		  - {from: tok, when: never, skip: true}
		  - {from: tok, when: twice, j: [0, n], to: ["tok.{j}.x", tok.last]}
		  - {regex: '^old_(\w)\.', to: 'new.\1.'}
		  - {contains: [drop, also], skip: true}
		  - {starts: drop., skip: true}
		  - {from: [keep., mix.], keep: true}
		default: drop
	END
	names -s my.yaml in.st
	expect_status 0
	expect_out 'first.1.w
first.2.w
second.0.w
tok.0.x
tok.1.x
tok.last
mix.w
new.a.w
new.b.w
keep.w'
	sed -i 's/^default: drop/default: keep/' my.yaml
	names -s my.yaml in.st
	expect_out_has enc.x.w rest.w
}

@test 'a key map in a file: rules that match nothing give warnings, and names that become equal are refused' {
	safetensors in.st layer.0.w layer.1.w
	printf 'rules:\n  - {from: "layers.{i}.", to: "x.{i}."}\n' >my.yaml
	names -s my.yaml in.st
	expect_status 0
	expect_err_has 'warning: key map my.yaml: from layers.{i}.: matched nothing; the nearest name is layer.0.w'
	names -s my.yaml --fail-unused in.st
	expect_status 1
	printf 'rules:\n  - {from: "layer.{i}.", to: "x."}\n' >my.yaml
	names -s my.yaml in.st
	expect_refusal 2 lnn-ckpt-adapt 'layer.0.w and layer.1.w would both be written as x.w'
}

# wrong LINE:COLUMN TEXT: standard input as m.yaml is refused at this position with this text.
wrong() {
	cat >m.yaml
	try lnn-ckpt-adapt -n -s m.yaml "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt "m.yaml:$1: " "$2"
}

@test 'a key map in a file: errors have their positions' {
	wrong 1:1 'a key map is a map, not a list' <<<'[a]'
	wrong 1:1 'rules: a list was expected' <<<'name: x'
	wrong 1:8 'rules: a list was expected' <<<'rules: 3'
	wrong 1:1 'rule: unknown key in a key map; did you mean rules?' <<<'rule: []'
	wrong 1:9 'a rule is a map, not' <<<'rules: [a]'
	wrong 1:9 'exactly one of from, regex, contains and starts' <<<'rules: [{to: a}]'
	wrong 1:9 'exactly one of from, regex, contains and starts' <<<'rules: [{from: a, starts: b, skip: true}]'
	wrong 1:9 'a rule needs to, skip: true or keep: true' <<<'rules: [{from: a}]'
	wrong 1:9 'a rule with to neither skips nor keeps' <<<'rules: [{from: a, to: b, skip: true}]'
	wrong 1:9 'contains and starts only go with skip or keep' <<<'rules: [{starts: a, to: b}]'
	wrong 1:19 'form: unknown key in a rule of a key map' <<<'rules: [{from: a, form: b, to: c}]'
	wrong 2:26 "b: not one of the map's inputs" <<<$'inputs: [a]\nrules: [{from: a, input: b, skip: true}]'
	wrong 1:25 'v: no such variable' <<<'rules: [{from: a, when: v, skip: true}]'
	wrong 1:23 'k: no such variable or index' <<<'rules: [{from: a, to: "b{k}"}]'
	wrong 1:35 'q: no such variable or index' <<<'rules: [{from: "a{i}", to: b, i: [q, 2]}]'
	wrong 1:16 'only an index is allowed in braces' <<<'rules: [{from: "a{i + 1}", to: b}]'
	wrong 1:16 'a closing brace is missing' <<<'rules: [{from: "a{i", to: b}]'
	wrong 1:16 'a sum of numbers and variables was expected' <<<'rules: [{from: "a{i*2}", to: b}]'
	wrong 1:17 'regex: at byte' <<<'rules: [{regex: "(", to: b}]'
	wrong 1:24 'to: at byte' <<<"rules: [{regex: a, to: '\\9'}]"
	wrong 1:25 'skip: true or false was expected' <<<'rules: [{from: a, skip: perhaps}]'
	wrong 1:10 'default: keep or drop was expected' <<<'default: lose'
	wrong 1:9 'target: same_shape was expected' <<<'target: any'
	wrong 1:16 'a variable is a map, not' <<<'variables: {v: 3}'
	wrong 1:17 'confg: unknown key in a variable of a key map; did you mean config?' <<<'variables: {v: {confg: A}}'
	wrong 1:25 'config: a scalar was expected, not a list' <<<'variables: {v: {config: [A]}}'
	wrong 1:27 'v: a number, or true or false, was expected' <<<'{variables: {v: {default: x}}, rules: []}'
	wrong 1:9 'an empty list' <<<'inputs: []'
}

@test 'a key map in a file: a variable without a value is refused' {
	printf 'variables: {depth: {config: MODEL.DEPTH, blocks: layers.}}\nrules:\n  - {from: "layers.{i}.", i: [0, depth], skip: true}\n' >m.yaml
	try lnn-ckpt-adapt -n -s m.yaml "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt "the key map's variable depth is not known: give a config (-c) or a description that lists the state dict (-m)"
	echo 'MODEL: {DEPTH: 1}' >exp.yaml
	names -s m.yaml -c exp.yaml "$fixtures/tiny.pth"
	expect_out_has layers.1.w
	[[ $output != *layers.0.w* ]] || fail "$output"
	names -s m.yaml -m "$fixtures/tiny.pth" "$fixtures/tiny.pth" # layers.0 and layers.1
	[[ $output != *layers.* ]] || fail "$output"
}

# ---- -c and -m

# An experiment with a cache of checkpoints.
experiment() {
	cat >exp.yaml <<-'END'
		MODEL:
		  TYPE: mFormerV0
		  PRETRAINED: demo.pth
		  PRETRAINED_SOURCE: metaformer
		DATA: {IMG_SIZE: 384}
		ENV: {INPUT: {CACHE_DIR: cache}}
	END
	mkdir -p cache/deep
	cp "$fixtures/demo.pth" cache/deep/demo.pth
}

@test '-c: an experiment file gives checkpoint, source, image size and type' {
	experiment
	lnn-ckpt-adapt -q -c exp.yaml -o a.pth
	lnn-ckpt-adapt -q -m mFormerV0 -s metaformer --img-size 384 "$fixtures/demo.pth" -o b.pth
	cmp a.pth b.pth
	# options override the experiment file
	pipe "lnn-ckpt-adapt -q -n -c exp.yaml --img-size 448 | grep stage_3.*bias_table"
	expect_out_has '[3026,4]' # 28 tokens: 55 * 55 + 1
	pipe "lnn-ckpt-adapt -n -c exp.yaml '$fixtures/prefixed.pth' | cut -f1"
	expect_out $'w\nlayers.0.weight\nlayers.0.running_mean'
}

@test '-c: several files of one name, a missing file and a URL as the checkpoint are refused' {
	experiment
	mkdir cache/other
	cp "$fixtures/demo.pth" cache/other
	try lnn-ckpt-adapt -c exp.yaml
	expect_refusal 2 lnn-ckpt-adapt 'demo.pth: two files of that name: cache/deep/demo.pth and cache/other/demo.pth'
	rm -r cache/other cache/deep
	try lnn-ckpt-adapt -c exp.yaml
	expect_refusal 2 lnn-ckpt-adapt 'demo.pth: no such file below cache (ENV.INPUT.CACHE_DIR); nothing is downloaded'
	sed -i 's|: demo.pth|: https://example.org/demo.pth|' exp.yaml
	try lnn-ckpt-adapt -c exp.yaml
	expect_refusal 2 lnn-ckpt-adapt 'https://example.org/demo.pth: nothing is downloaded'
	sed -i 's|: https:.*|: ./x/demo.pth|' exp.yaml
	try lnn-ckpt-adapt -c exp.yaml
	expect_refusal 2 lnn-ckpt-adapt './x/demo.pth: cannot open: No such file or directory'
}

@test '-c: errors in an experiment file have their positions' {
	experiment
	sed -i 's/384/zero/' exp.yaml
	try lnn-ckpt-adapt -c exp.yaml
	expect_refusal 2 lnn-ckpt-adapt 'exp.yaml:5:18: DATA.IMG_SIZE: must be a whole number'
	sed -i 's/zero/0/' exp.yaml
	try lnn-ckpt-adapt -c exp.yaml
	expect_refusal 2 lnn-ckpt-adapt 'exp.yaml:5:18: DATA.IMG_SIZE: 0 is out of range'
	sed -i 's/ 0}/ 384}/; s/: metaformer/: metafromer/' exp.yaml
	try lnn-ckpt-adapt -c exp.yaml
	expect_refusal 2 lnn-ckpt-adapt 'exp.yaml:4:22: metafromer: no such key map; there are'
}

@test '-c: an experiment file can name two checkpoints to be stitched' {
	printf 'MODEL:\n  PRETRAINED_CONVNEXT: convnext.pth\n  PRETRAINED_ROPEVIT: %s\nENV: {INPUT: {CACHE_DIR: %s}}\n' \
		"$fixtures/ropevit.pth" "$fixtures" >exp.yaml
	lnn-ckpt-adapt -q -c exp.yaml -m "$fixtures/mFormerV1.yaml" -o a.pth
	lnn-ckpt-adapt -q "${stitch[@]}" --input ropevit="$fixtures/ropevit.pth" -m "$fixtures/mFormerV1.yaml" -o b.pth
	cmp a.pth b.pth
}

@test '-m: a section of a later description replaces that of an earlier one; a checkpoint gives names and shapes' {
	safetensors in.st head.w a.w b.w
	printf 'pretrained_ckpt_handling_metadata: {drop_params: [a]}\n' >one.yaml
	printf 'pretrained_ckpt_handling_metadata: {drop_params: [b], strict: false}\n' >two.yaml
	printf 'state_dict:\n  - {name: a.w, shape: [1]}\n' >names.yaml
	names -q -m mFormerV0 -m one.yaml in.st
	expect_out $'head.w\nb.w'
	names -q -m one.yaml -m two.yaml -m names.yaml in.st
	expect_out $'head.w\na.w'
	names -m mFormerV0 -m in.st in.st
	expect_out $'a.w\nb.w'
	expect_err_has 'load check: 2 fit, 1 missing, 0 unexpected'
	names -m ./mFormerV0 in.st
	expect_refusal 2 lnn-ckpt-adapt './mFormerV0: cannot open'
	# the type in the experiment file comes before the descriptions of -m, which override it
	echo 'MODEL: {TYPE: mFormerV0}' >exp.yaml
	names -c exp.yaml -m names.yaml in.st
	expect_out $'a.w\nb.w'
	names -c exp.yaml -m mFormerV1 in.st
	expect_out $'a.w\nb.w'
	names -q -c exp.yaml -m one.yaml in.st
	expect_out $'head.w\nb.w'
}

@test '-m: errors in a description have their positions' {
	printf 'pretrained_ckpt_handling_metadata:\n  drop_param: [head]\n' >m.yaml
	try lnn-ckpt-adapt -m m.yaml "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt 'm.yaml:2:3: ' drop_params
	printf 'pretrained_ckpt_handling_metadata:\n  relative_position_bias: {layout: lst}\n' >m.yaml
	try lnn-ckpt-adapt -m m.yaml --interpolate --img-size 112 "$fixtures/tables.pth"
	expect_status 2
	expect_err_has 'm.yaml:2:' lst
	try lnn-ckpt-adapt -m "$fixtures/mFormerV1.yaml" --print-map x
	expect_status 2
}

@test 'lnn-model(5) has the function that wrote the descriptions of the fixtures' {
	diff <(sed -n '/^"""Writes/,/^\.Ed/p' "$top/man/lnn-model.5" | sed '$d; s/\\e/\\/g') "$fixtures/describe.py"
}

# op_refused RULE MESSAGE: a map with only this rule is refused for ropevit.pth.
op_refused() {
	printf 'rules:\n  - %s\n' "$1" >m.yaml
	try lnn-ckpt-adapt -s m.yaml -o no.pth "$fixtures/ropevit.pth"
	expect_refusal 2 lnn-ckpt-adapt "m.yaml:2:5: $fixtures/ropevit.pth: $2"
	[ ! -e no.pth ] || fail 'something was written'
}

@test 'ops: an op that does not fit a shape is refused with the position of the rule before anything is written' {
	op_refused '{from: freqs, to: [a, b, c, d, e], ops: [{split: 1}]}' 'freqs: split of [2,3,6]: 3 are not 5 equal parts'
	op_refused '{from: freqs, to: [a, b], ops: [{split: 1, sizes: [1, 1]}]}' 'freqs: split of [2,3,6]: 2 sizes with a sum of 2 for 2 names and 3'
	op_refused '{from: freqs, to: [a, b], ops: [{split: 3}]}' 'freqs: split of [2,3,6]: there is no dimension 3'
	op_refused '{from: freqs, to: a, ops: [{slice: {1: [1, 4]}}]}' 'freqs: slice of [2,3,6]: [1, 4] is not a range inside dimension 1'
	op_refused '{from: freqs, to: a, ops: [{pad: {-1: 5}}]}' 'freqs: pad of [2,3,6]: 5 is smaller than dimension 2'
	op_refused '{from: freqs, to: a, ops: [{pad: {-1: 5000000000000000000}}]}' 'freqs: pad of [2,3,6]: a size of 5000000000000000000 is too large'
	op_refused '{from: freqs, to: a, ops: [{permute: [0, 1]}]}' 'freqs: permute of [2,3,6]: all 3 dimensions must be named'
	op_refused '{from: freqs, to: a, ops: [{permute: [0, 1, -2]}]}' 'freqs: permute of [2,3,6]: dimension 1 is named twice'
	op_refused '{from: freqs, to: a, ops: [{transpose: true}]}' 'freqs: transpose of [2,3,6]: at most two dimensions can be transposed'
	op_refused '{from: freqs, to: a, ops: [{flip: [0]}, {reshape: [5, -1]}]}' 'freqs: reshape of [2,3,6]: 36 elements do not have that shape'
	op_refused '{from: freqs, to: a, ops: [{flatten: [1, 0]}]}' 'freqs: flatten of [2,3,6]: dimension 1 is behind dimension 0'
	op_refused '{from: freqs, to: a, ops: [{flatten: [0, 3]}]}' 'freqs: flatten of [2,3,6]: there is no dimension 3'
	op_refused '{from: freqs, to: a, ops: [{reshape: [4294967296, 4294967296]}]}' 'freqs: reshape of [2,3,6]: 36 elements do not have that shape'
	op_refused '{from: freqs, to: a, ops: [{channels: 1}]}' 'freqs: channels of [2,3,6]: a weight [out, channels, height, width] was expected'
	op_refused '{from: patch_embed.proj.weight, to: a, ops: [{patch: [0, 14]}]}' 'patch_embed.proj.weight: patch of [12,3,16,16]: a change of an input layer from 16 to 0 is out of range'
	op_refused '{from: [freqs, cls_token], to: a, ops: [{join: 0}]}' 'freqs: join of [2,3,6]: the shapes differ in more than dimension 0'
	printf '0\n-\n2\n' >rows
	op_refused '{from: freqs, to: a, ops: [{rows: rows}]}' 'freqs: rows of [2,3,6]: there is no row 2'
	# The dimensions of a tensor without elements may have any size, but their product is limited.
	head='{"w":{"dtype":"F32","shape":[0,1099511627776,1099511627776],"data_offsets":[0,0]}}'
	printf "\\x$(printf %x ${#head})\\0\\0\\0\\0\\0\\0\\0%s" "$head" >large.safetensors
	printf 'rules:\n  - {from: w, to: a, ops: [{flatten: [1, 2]}]}\n' >m.yaml
	try lnn-ckpt-adapt -s m.yaml -o no.pth large.safetensors
	expect_refusal 2 lnn-ckpt-adapt 'flatten of [0,1099511627776,1099511627776]: a dimension would exceed 2^64'
}

@test 'ops: errors in a map have their positions' {
	bad() {
		printf 'rules:\n  - %s\n' "$1" >m.yaml
		try lnn-ckpt-adapt -n -s m.yaml "$fixtures/ropevit.pth"
		expect_refusal 2 lnn-ckpt-adapt "$2"
	}
	bad '{from: a, to: b, ops: [{spilt: 0}]}' 'm.yaml:2:29: spilt: unknown op; did you mean split?'
	bad '{from: a, to: b, ops: {split: 0}}' 'm.yaml:2:27: ops: a list of maps was expected, not a map'
	bad '{from: a, to: b, ops: [{flip: [0], scale: 2}]}' 'm.yaml:2:40: an op is a map of one key'
	bad '{from: a, to: b, ops: [{flip: [0]}, {join: 0}]}' 'm.yaml:2:42: join can only be the first op'
	bad '{from: a, to: [b, c], ops: [{split: 0}, {split: 1}]}' 'm.yaml:2:46: split can occur only once'
	bad '{from: a, to: b, ops: [{flip: [0], sizes: [1]}]}' 'm.yaml:2:47: sizes needs split'
	bad '{from: [a., b.], to: c., ops: [{join: 0}]}' 'm.yaml:2:12: join: from must have whole names, not a.'
	bad '{from: ["a.{i}", b], to: c, ops: [{join: 0}]}' 'm.yaml:2:12: join: all names must have the same indexes, not b'
	bad '{from: a, to: b, optional: true}' 'm.yaml:2:5: optional needs join'
	bad '{from: a, skip: true, ops: [{flip: [0]}]}' 'm.yaml:2:5: a rule with skip cannot have ops'
	bad '{from: a, to: b, ops: [{sum: {x: 1}}]}' 'm.yaml:2:5: sum: the map must have several inputs'
	bad '{from: a, to: b, ops: [{dtype: int8}]}' 'm.yaml:2:36: dtype: a floating dtype was expected'
	bad '{from: a, to: b, ops: [{scale: x}]}' 'm.yaml:2:36: a number was expected'
	bad '{from: a, to: b, ops: [{rows: none}]}' 'none: '
	mkdir sub
	printf '0\nx\n' >sub/rows
	printf 'rules:\n  - {from: a, to: b, ops: [{rows: rows}]}\n' >sub/m.yaml
	try lnn-ckpt-adapt -n -s sub/m.yaml "$fixtures/ropevit.pth"
	expect_refusal 2 lnn-ckpt-adapt 'sub/rows: line 2: the number of a row, or -, was expected'
}

@test 'join: needs all names, in the order of from; with optional a rule without them is skipped' {
	safetensors in.st x.0.k x.0.q x.0.v x.1.q x.1.k rest
	printf 'rules:\n  - {from: ["x.{i}.q", "x.{i}.k", "x.{i}.v"], to: "y.{i}", ops: [{join: 0}]}\n' >m.yaml
	try lnn-ckpt-adapt -n -s m.yaml in.st
	expect_refusal 2 lnn-ckpt-adapt 'm.yaml:2:5: join: with x.1.q there is no x.{i}.v'
	sed -i 's/ops:/optional: true, ops:/' m.yaml
	names -s m.yaml in.st
	expect_out $'y.0\nx.1.q\nx.1.k\nrest'
	expect_err_has '3 kept, 0 dropped, 0 resampled, 1 made'
	sed -i 's/rules:/rules:\n  - {from: x.0.v, to: z}/' m.yaml
	names -s m.yaml in.st
	expect_out $'x.0.k\nx.0.q\nz\nx.1.q\nx.1.k\nrest'
	sed -i 's/optional: true, //' m.yaml
	try lnn-ckpt-adapt -n -s m.yaml in.st
	expect_refusal 2 lnn-ckpt-adapt 'm.yaml:3:5: join: with x.0.k there is no x.{i}.v (optional: true passes the rule over)'
	printf 'rules:\n  - {from: [x.0.v, rest], to: a, ops: [{join: 0}]}\n  - {from: [x.0.q, x.0.v], to: b, ops: [{join: 0}]}\n' >m.yaml
	try lnn-ckpt-adapt -n -s m.yaml in.st
	expect_refusal 2 lnn-ckpt-adapt 'm.yaml:3:5: x.0.q: an earlier rule takes other tensors of its group'
}

@test 'rows: the summary counts zeros, the report names the rule, and drop_params of a description keeps the result' {
	printf '4\n-\n-\n0\n' >rows
	printf 'rules:\n  - {from: head., to: head., ops: [{rows: rows}]}\n' >m.yaml
	printf 'pretrained_ckpt_handling_metadata: {drop_params: [head, norm1]}\n' >d.yaml
	try lnn-ckpt-adapt -s m.yaml -m d.yaml --report r.json -o out.pth "$fixtures/ropevit.pth"
	expect_status 0
	expect_err_has '2 made (4 rows of zeros)'
	pipe 'lnn-ckpt-inspect out.pth | grep ^head | cut -f 1,3'
	expect_out $'head.weight\t[4,12]\nhead.bias\t[4]'
	grep -q '"action": "made", "by": "key map m.yaml: from head."' r.json || fail "$(cat r.json)"
	try lnn-ckpt-adapt -q -s m.yaml --drop-params head -n "$fixtures/ropevit.pth"
	[[ $output != *head* ]] || fail "$output"
}

@test 'mean: takes any number of named inputs' {
	try lnn-ckpt-adapt -s mean -o out.pth "$fixtures/tiny.pth"
	expect_refusal 2 lnn-ckpt-adapt 'has several inputs: --input NAME=FILE for each'
	try lnn-ckpt-adapt -s mean -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'has several inputs: --input NAME=FILE for each'
	try lnn-ckpt-adapt -s mean --input a="$fixtures/ropevit.pth" --input a="$fixtures/ropevit.pth" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt '--input a: given twice'
	lnn-ckpt-adapt -q -s mean --input a="$fixtures/ropevit.pth" --input b="$fixtures/ropevit.pth" --root -o out.pth
	lnn-ckpt-adapt -q --root "$fixtures/ropevit.pth" -o in.pth
	lnn-ckpt-inspect --against in.pth --values out.pth
	try lnn-ckpt-adapt -s mean --input a=<(cat in.pth) --input b=<(cat in.pth) -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'all inputs but one must be files, not pipes'
}

@test 'ops: a tensor that is much larger than its storage is not held in memory' {
	command -v python3 >/dev/null || skip 'there is no python3'
	# a float32 storage of 4 bytes, seen as [1048576, 4096]: strides of 0
	python3 - <<-'END'
		import struct, zipfile
		name = b"ctorch._utils\n_rebuild_tensor_v2\n"
		num = lambda n: b"J" + struct.pack("<i", n)
		text = lambda s: b"X" + struct.pack("<I", len(s)) + s
		pid = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"0") + text(b"cpu") + num(1) + b"tQ"
		none = b"ccollections\nOrderedDict\n)R"
		x = name + b"(" + pid + num(0) + num(1 << 20) + num(4096) + b"\x86" + num(0) + num(0) + b"\x86" + b"\x89" + none + b"tR"
		z = zipfile.ZipFile("x.pth", "w")
		z.writestr("archive/data.pkl", b"\x80\x02}(" + text(b"a") + x + b"u.")
		z.writestr("archive/data/0", b"\0\0\0\0")
		z.writestr("archive/version", b"3\n")
		z.close()
	END
	printf 'rules: [{from: a, to: c, ops: [{transpose: true}]}]\n' >m.yaml
	try lnn-ckpt-adapt -s m.yaml x.pth -o no.pth
	expect_refusal 2 lnn-ckpt-adapt 'm.yaml:1:9: x.pth: a: ops are for plain tensors with data of their size'
}
