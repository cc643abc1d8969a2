# The steps of lnn-ckpt-adapt: the names that are written, and the messages. Expected results were derived by hand from the names of
# the fixtures, and never taken from our output.

# shellcheck disable=SC2154 # fixtures, output, stderr and status come from helpers and bats
load helpers

# adapt ARG...: a dry run. $output has the names, one a line.
adapt() {
	pipe "lnn-ckpt-adapt -n $(printf '%q ' "$@") | cut -f1"
}

# Prints a description that lists the state dict of tiny.pth's fc layer.
fc_model() {
	printf 'state_dict:\n  - {name: fc.weight, shape: [%s]}\n  - {name: fc.bias, shape: [2]}\n' "$1"
}

# Prints the SHA-256 of each record data/0, data/1, ... of a torch zip in that order, as unzip reads them.
records() {
	local i n
	n=$(unzip -Z1 "$1" | grep -c /data/)
	for ((i = 0; i < n; i++)); do
		unzip -p "$1" "archive/data/$i" | sha256sum | cut -d' ' -f1
	done
}

# known FIXTURE NAME...: the SHA-256 of these tensors, computed by PyTorch.
known() {
	local name file=$fixtures/$1.json
	shift
	for name; do
		grep -F "\"name\": \"$name\"" "$file" | grep -o '"sha256": "[^"]*"' | cut -d'"' -f4
	done
}

@test 'step 1: the state dict is at model, state_dict_ema or state_dict, or at the place that -k names' {
	adapt "$fixtures/prefixed.pth"
	expect_status 0
	expect_out $'w\nlayers.0.weight\nlayers.0.running_mean'
	adapt -k state_dict "$fixtures/prefixed.pth"
	expect_out $'w\nlayers.0.weight\nlayers.0.running_mean'
	try lnn-ckpt-adapt -k nowhere "$fixtures/prefixed.pth"
	expect_refusal 2 lnn-ckpt-adapt 'nowhere' 'state_dict'
	try lnn-ckpt-adapt "$fixtures/no-tensor.pth"
	expect_refusal 2 lnn-ckpt-adapt "$fixtures/no-tensor.pth"
	adapt "$fixtures/tensor.pth"
	expect_status 0
	expect_out '\e'
}

@test 'step 2: components that are wrappers are removed, and module. if every tensor has it; --keep-wrappers keeps them' {
	safetensors in.st module._orig_mod.a module.b._fsdp_wrapped_module.c._checkpoint_wrapped_module.d module._forward_module.e
	adapt in.st
	expect_out $'a\nb.c.d\ne'
	adapt --keep-wrappers in.st
	expect_out $'module._orig_mod.a\nmodule.b._fsdp_wrapped_module.c._checkpoint_wrapped_module.d\nmodule._forward_module.e'
	safetensors swa.st module.weight module.bias n_averaged
	try lnn-ckpt-adapt --to safetensors swa.st -o out.st
	expect_status 0
	expect_err_has 'module. is left at the beginning of names, as n_averaged'
	diff <(lnn-ckpt-inspect --format names out.st) <(lnn-ckpt-inspect --format names swa.st)
}

@test 'step 2: each --strip-prefix removes one occurrence of the prefix' {
	safetensors in.st model.model.x model.y z
	adapt --strip-prefix model. in.st
	expect_out $'model.x\ny\nz'
	adapt --strip-prefix model. --strip-prefix model. in.st
	expect_out $'x\ny\nz'
}

@test 'step 2: --strip-prefix removes other prefixes than module. and _orig_mod., and warns if it matches nothing' {
	adapt --strip-prefix layers. "$fixtures/prefixed.pth"
	expect_out $'w\n0.weight\n0.running_mean'
	adapt --strip-prefix bn --strip-prefix . "$fixtures/tiny.pth"
	expect_out_has $'\nweight\nbias\nrunning_mean\nrunning_var\nnum_batches_tracked\n'
	local wrapper
	for wrapper in module. _orig_mod. module._orig_mod.; do
		adapt --fail-unused --strip-prefix "$wrapper" "$fixtures/prefixed.pth"
		[[ $stderr != *matched* ]] || fail "$stderr"
	done
	try lnn-ckpt-adapt -n --strip-prefix module. "$fixtures/tiny.pth"
	expect_err_has 'warning: --strip-prefix module.: matched nothing'
	try lnn-ckpt-adapt -n --strip-prefix modul. "$fixtures/tiny.pth"
	expect_err_has 'warning: --strip-prefix modul.: matched nothing'
}

@test 'step 4: a drop pattern must begin a component, and end one if its last character is a letter or digit' {
	local state=$fixtures/demo.pth
	adapt --drop-params head. "$state"
	[[ $output != *$'\nhead.'* ]] || fail "$output"
	expect_out_has 'meta_time_head_1.0.weight'
	adapt --drop-params meta_ "$state"
	[[ $output != *meta_* ]] || fail "$output"
	expect_out_has 'head.taxa_L10.weight'
	adapt --drop-params taxa_L1 "$state"
	expect_out_has 'head.taxa_L10.weight'
	expect_err_has 'warning: 2 names contain a drop pattern but not at a component boundary, and are kept (head.taxa_L10.weight for --drop-params taxa_L1)'
	adapt --drop-params taxa "$state"
	[[ $output != *taxa* ]] || fail "$output"
	adapt --drop-params '^bias' --drop-params 'weight' "$fixtures/prefixed.pth"
	expect_out $'w\nlayers.0.running_mean'
	expect_err_has '--drop-params ^bias: matched nothing'
	adapt --drop-params 're:\.running_(mean|var)$' "$fixtures/prefixed.pth"
	expect_out $'w\nlayers.0.weight'
}

@test 'step 4: drop patterns do what the examples in the manual say' {
	local names='head.weight x.head.bias headroom.weight head_aux.weight heads.0.weight meta_time_head_1.0.weight norm.w prenorm.weight absolute_pos_embed'
	# shellcheck disable=SC2086
	safetensors named.st $names
	adapt -q --drop-params head. named.st
	expect_out $'headroom.weight\nhead_aux.weight\nheads.0.weight\nmeta_time_head_1.0.weight\nnorm.w\nprenorm.weight\nabsolute_pos_embed'
	adapt -q --drop-params head named.st
	expect_out $'headroom.weight\nheads.0.weight\nmeta_time_head_1.0.weight\nnorm.w\nprenorm.weight\nabsolute_pos_embed'
	adapt -q --drop-params ^head named.st
	expect_out $'x.head.bias\nheadroom.weight\nheads.0.weight\nmeta_time_head_1.0.weight\nnorm.w\nprenorm.weight\nabsolute_pos_embed'
	adapt -q --drop-params meta_ --drop-params norm. named.st
	expect_out $'head.weight\nx.head.bias\nheadroom.weight\nhead_aux.weight\nheads.0.weight\nprenorm.weight\nabsolute_pos_embed'
	adapt --drop-params pos_embed named.st
	expect_out_has absolute_pos_embed
	expect_err_has 'warning: 1 name contains a drop pattern but not at a component boundary, and is kept (absolute_pos_embed for --drop-params pos_embed)'
	adapt --drop-params pos_embed --drop-names <(echo absolute_pos_embed) named.st
	[[ $stderr != *boundary* ]] || fail "a name that a later step drops is no near miss: $stderr"
}

@test 'step 5: --drop-buffers drops names that contain the pattern' {
	adapt --drop-buffers running --drop-buffers atches "$fixtures/tiny.pth"
	[[ $output != *running_* && $output != *num_batches* ]] || fail "$output"
	expect_out_has bn.weight bn.bias
}

@test 'step 6: --drop-names and --keep-names accept the names of the input and the names after earlier steps' {
	adapt --drop-names <(echo module._orig_mod.w) "$fixtures/prefixed.pth"
	expect_out $'layers.0.weight\nlayers.0.running_mean'
	adapt --drop-names <(echo w) "$fixtures/prefixed.pth"
	expect_out $'layers.0.weight\nlayers.0.running_mean'
	adapt --keep-names <(printf 'layers.0.running_mean\nw\n') "$fixtures/prefixed.pth"
	expect_out $'w\nlayers.0.running_mean'
	pipe "lnn-ckpt-inspect '$fixtures/names.pth' | lnn-filter -e '{TYPE: name, PATTERNS: [blocks]}' |
		lnn-ckpt-adapt -n -q --keep-names - '$fixtures/names.pth' | cut -f1"
	expect_status 0
	expect_out $'blocks.10.w\nblocks.9.w'
	pipe "printf 'new\nline\0tab\there\0' | lnn-ckpt-adapt -0 -n -q --keep-names - '$fixtures/names.pth' | tr '\0\n' '\n%'"
	expect_out $'tab\there\nnew%line'
	adapt --drop-params w --drop-names <(echo w) "$fixtures/prefixed.pth"
	expect_status 0
	expect_err_has 'warning: --drop-names: w was dropped already (--drop-params w)'
}

@test 'step 6: a listed name that does not exist is an error, and a warning with --ignore-missing' {
	adapt --keep-names <(echo layers.0.wieght) "$fixtures/prefixed.pth"
	expect_refusal 2 lnn-ckpt-adapt '--keep-names: no tensor layers.0.wieght; did you mean layers.0.weight?'
	adapt --ignore-missing --drop-names <(printf 'layers.0.wieght\nw\n') "$fixtures/prefixed.pth"
	expect_status 0
	expect_out $'layers.0.weight\nlayers.0.running_mean'
	expect_err_has 'warning: --drop-names: no tensor layers.0.wieght'
	try lnn-ckpt-adapt -n --ignore-missing --drop-params w --drop-names <(printf '%s\n' gone1 w gone2 gone3) "$fixtures/prefixed.pth"
	expect_status 0
	expect_err_has 'warning: --drop-names: no tensor gone1, and 2 other listed names'
	[ "$(grep -c 'drop-names' <<<"$stderr")" -eq 2 ] || fail "$stderr"
}

@test 'step 6: --rename has the syntax of sed and the regular expressions of Python' {
	adapt --rename 's/^layers\.(\d+)\.(?P<rest>.*)/blocks.\1.x.\g<rest>/' --rename 's/x/&y/' "$fixtures/prefixed.pth"
	expect_out $'w\nblocks.0.&y.weight\nblocks.0.&y.running_mean'
	adapt --rename 's/n/N/' "$fixtures/prefixed.pth"
	expect_out $'w\nlayers.0.weight\nlayers.0.ruNning_mean'
	adapt --rename 's/n/N/g' "$fixtures/prefixed.pth"
	expect_out $'w\nlayers.0.weight\nlayers.0.ruNNiNg_meaN'
	adapt --rename 's/\//:/' "$fixtures/names.pth"
	expect_out_has 'slash:inside'
	adapt --rename 's/^w$/a\/b/' "$fixtures/prefixed.pth"
	expect_out_has 'a/b'
	local spec
	for spec in 's/a' 's/a/b' 's/a/b/x' 'a/b' 's/(/b/' 's/a/\1/' 's,a,b,'; do
		try lnn-ckpt-adapt --rename "$spec" "$fixtures/prefixed.pth"
		expect_refusal 2 lnn-ckpt-adapt "--rename $spec: "
	done
}

@test 'step 6: a rename that makes two names equal is refused' {
	adapt --rename 's/weight|running_mean/same/' "$fixtures/prefixed.pth"
	expect_refusal 2 lnn-ckpt-adapt 'module._orig_mod.layers.0.weight and module._orig_mod.layers.0.running_mean would both be written as layers.0.same'
	try lnn-ckpt-adapt --rename 's/weight|running_mean/same/' "$fixtures/prefixed.pth" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'layers.0.same'
	expect_only ''
}

@test 'step 7: without a size, a description copies the tables with a warning, and --interpolate is an error' {
	try lnn-ckpt-adapt -m mFormerV0 "$fixtures/demo.pth" -o out.pth
	expect_status 0
	expect_err_has 'warning: relative position bias tables keep their grids: --img-size N sets the new size'
	[ "$(lnn-ckpt-inspect -e 'stage_3.*bias_table' out.pth)" = "$(lnn-ckpt-inspect -e 'stage_3.*bias_table' "$fixtures/demo.pth" | sed 's/^module.//')" ]
	try lnn-ckpt-adapt --interpolate "$fixtures/demo.pth"
	expect_refusal 2 lnn-ckpt-adapt '--interpolate: the new size is missing' '--img-size' '--grid'
	try lnn-ckpt-adapt -m mFormerV0 --no-interpolate "$fixtures/demo.pth" -o out.pth
	[[ $stderr != *img-size* ]] || fail "$stderr"
	try lnn-ckpt-adapt --img-size 384 "$fixtures/demo.pth" -o out.pth
	expect_err_has 'warning: --img-size: nothing asks for interpolation'
	try lnn-ckpt-adapt --interpolate --img-size 384 "$fixtures/tiny.pth" -o none.pth
	expect_refusal 1 lnn-ckpt-adapt 'no position table gets the new size: none was found' --grid --stage
	[ ! -e none.pth ]
}

@test 'step 7: tables are written in the layout of the description, with and without a new size' {
	lnn-ckpt-adapt -q -m mFormerV0 --img-size 224 "$fixtures/demo.pth" -o same.pth
	lnn-ckpt-adapt -q -m mFormerV0 "$fixtures/demo.pth" -o out.pth
	cmp same.pth out.pth
	cat "$fixtures/demo.pth" | lnn-ckpt-adapt -q -m mFormerV0 | cmp - same.pth
	# row 0 of metaformer is the class row, which becomes the last one; all other rows stay
	lnn-ckpt-adapt -q --no-interpolate -m mFormerV0 "$fixtures/demo.pth" -o before.pth
	local t=stage_4.0.attn.relative_position_bias_table row=64 f # 8 heads of 4 bytes
	for f in before out; do
		lnn-ckpt-adapt -q --root --compact --keep-names <(echo $t) $f.pth -o $f.one
		unzip -p $f.one archive/data/0 | od -An -v -tx1 | tr -d ' \n' >$f.hex
	done
	[ "$(cat out.hex)" = "$(head -c $((169 * row)) before.hex)$(head -c $row before.hex)" ]
	# a table without a request to resize it, and one whose stage is not known
	printf 'pretrained_ckpt_handling_metadata: {relative_position_bias: {layout: last}}\n' >m.yaml
	try lnn-ckpt-adapt --verbose -m m.yaml --keep-names <(printf '%s\n' stage_3.{first,last}.attn.relative_position_{bias_table,index}) \
		"$fixtures/tables.pth" -o out.pth
	expect_status 0
	expect_err_has 'stage_3.first.attn.relative_position_bias_table: 4x4 -> 4x4 tokens, 3 heads, layout first:1 -> last:1' \
		'stage_3.last.attn.relative_position_bias_table: 4x4 -> 4x4 tokens, 3 heads, layout last:1 (copied: it fits already)'
	# the index buffer of an unchanged table still fits and is kept
	[ "$(lnn-ckpt-inspect --format names -e index out.pth)" = stage_3.last.attn.relative_position_index ]
	try lnn-ckpt-adapt --verbose -m m.yaml --interpolate --img-size 112 --keep-names <(echo elsewhere.attn.relative_position_bias_table) \
		"$fixtures/tables.pth" -o out.pth
	expect_err_has 'no known stage in its name; it keeps its grid' '3x3 -> 3x3 tokens, 2 heads, layout last:1 (copied'
}

@test 'step 7: adapt followed by interp-bias gives the same bytes as adapt alone' {
	lnn-ckpt-adapt -q -m mFormerV0 --img-size 384 "$fixtures/demo.pth" -o one.pth
	lnn-ckpt-adapt -q -m mFormerV0 "$fixtures/demo.pth" | lnn-interp-bias -q --img-size 384 | cmp - one.pth
}

@test 'step 7: the size comes from --img-size, --grid, or the tables of the description' {
	# 384 / 16 = 24 tokens: 47 * 47 + 1 rows; 384 / 32 = 12: 23 * 23 + 1
	local expected=$'stage_3.0.attn.relative_position_bias_table\tfloat32\t[2210,4]
stage_4.0.attn.relative_position_bias_table\tfloat32\t[530,8]
stage_4.1.attn.relative_position_bias_table\tfloat32\t[530,8]' options
	for options in "-m mFormerV0 --img-size 384" "-m mFormerV0 -m $fixtures/mFormerV0-demo-384.yaml" \
		"--interpolate --img-size 384" "-m $fixtures/mFormerV0-demo-384.yaml --img-size 384"; do
		pipe "lnn-ckpt-adapt -q -n $options '$fixtures/demo.pth' | grep bias_table"
		expect_status 0
		expect_out "$expected"
	done
	# 5 x 6 tokens: 9 * 11 + 1
	pipe "lnn-ckpt-adapt -q -n -m mFormerV0 --grid 5x6 '$fixtures/demo.pth' | grep bias_table | cut -f3 | sort -u"
	expect_out $'[100,4]\n[100,8]'
	pipe "lnn-ckpt-adapt -q -n --interpolate --img-size 384 --stage stage_3=8 '$fixtures/demo.pth' | grep stage_3.*bias_table"
	expect_out_has '[9026,4]' # 48 tokens: 95 * 95 + 1
}

@test 'step 7: index buffers of resized tables are dropped; they are used even if an earlier step drops them' {
	# those of stage_4 and elsewhere keep their size
	pipe "lnn-ckpt-adapt -q -n --interpolate --img-size 112 '$fixtures/tables.pth' | grep index | cut -d. -f1 | sort | uniq -c | tr -s ' '"
	expect_out $' 1 elsewhere\n 3 stage_4'
	lnn-ckpt-adapt -q --interpolate --grid 5x5 --root "$fixtures/tables.pth" -o a.pth
	lnn-ckpt-adapt -q --interpolate --grid 5x5 --root --drop-buffers relative_position_index "$fixtures/tables.pth" -o b.pth
	cmp a.pth b.pth
	lnn-interp-bias -q --img-size 112 --drop-rest "$fixtures/tables.pth" -o c.pth
	lnn-ckpt-adapt -q --interpolate --img-size 112 "$fixtures/tables.pth" -o d.pth
	diff <(records c.pth) <(records d.pth)
	diff <(lnn-ckpt-inspect c.pth) <(lnn-ckpt-inspect d.pth)
}

@test 'step 6: two names that become equal are reported before the load check' {
	safetensors two.st x.a y.a
	printf 'state_dict:\n  - {name: a, shape: [1]}\n' >one.yaml
	adapt -m one.yaml --strict --rename 's/^[xy]\.//' two.st
	expect_refusal 2 lnn-ckpt-adapt 'x.a and y.a would both be written as a'
	adapt --rename 's/.*//' two.st
	expect_refusal 2 lnn-ckpt-adapt "would both be written as '' (the empty name)"
	printf 'state_dict:\n  - {name: a, shape: [2]}\n' >other.yaml
	adapt -m other.yaml --drop-mismatched --rename 's/^[xy]\.//' two.st
	expect_refusal 2 lnn-ckpt-adapt 'x.a and y.a would both be written as a'
}

@test 'step 6: a list that drops the statistics of a module and keeps its weight gives a warning' {
	safetensors bn.st a.bn.weight a.bn.bias a.bn.running_mean a.bn.running_var b.running_mean
	printf 'a.bn.weight\na.bn.bias\n' >parameters
	adapt --keep-names parameters bn.st
	expect_status 0
	expect_out $'a.bn.weight\na.bn.bias'
	expect_err_has 'warning: --keep-names: 2 buffers are dropped though the weight of the module stays: a.bn.running_mean is the first (lnn-filter --buffers'
	[ "$(grep -c warning <<<"$stderr")" -eq 1 ]
	adapt --rename 's/^a\.bn/z/' --drop-names <(echo a.bn.running_var) bn.st
	expect_err_has 'warning: --drop-names: 1 buffer is dropped though the weight of the module stays: a.bn.running_var (lnn-filter'
	adapt --drop-names <(printf '%s\n' a.bn.weight a.bn.running_var b.running_mean) bn.st
	expect_status 0
	[ "$(grep -c warning <<<"$stderr")" -eq 0 ]
}

@test 'step 8: --ddp and --add-prefix add prefixes; a description can forbid --ddp' {
	adapt --ddp --add-prefix net. "$fixtures/prefixed.pth"
	expect_out $'net.module.w\nnet.module.layers.0.weight\nnet.module.layers.0.running_mean'
	echo 'pretrained_ckpt_handling_metadata: {supports_module_prefix: false}' >m.yaml
	adapt -m m.yaml --ddp "$fixtures/prefixed.pth"
	expect_refusal 2 lnn-ckpt-adapt '--ddp' 'supports_module_prefix: false'
	adapt -m m.yaml --strip-prefix layers. "$fixtures/prefixed.pth"
	expect_status 0
	expect_out $'w\n0.weight\n0.running_mean'
}

@test 'step 9: if nothing fits, the status is 1 and the message proposes an option that helps' {
	local n
	for n in a.x a.y b.z; do printf '  - {name: %s, shape: [1]}\n' $n; done >list
	{ echo 'state_dict:'; cat list; } >m.yaml
	safetensors pre.st net.a.x net.a.y net.b.z net.other
	try lnn-ckpt-adapt -m m.yaml pre.st -o out.st
	expect_status 1
	expect_err_has 'nothing fits the model: --strip-prefix=net. (3 of 4 would match)'
	[ ! -e out.st ]
	lnn-ckpt-adapt -q -m m.yaml --strip-prefix=net. pre.st -o out.st
	safetensors mid.st a.net.x a.net.y b.net.z
	try lnn-ckpt-adapt -m m.yaml mid.st
	expect_status 1
	expect_err_has "nothing fits the model: --rename='s/\\bnet\\.//g' (3 of 3 would match)"
	[ "$(lnn-ckpt-adapt -q -n -m m.yaml --rename='s/\bnet\.//' mid.st | cut -f1)" = $'a.x\na.y\nb.z' ]
	{ echo 'state_dict:'; sed 's/name: /name: net./' list; } >deep.yaml
	safetensors flat.st a.x a.y b.z
	try lnn-ckpt-adapt -m deep.yaml flat.st
	expect_status 1
	expect_err_has "nothing fits the model: --rename='s/^/net./' (3 of 3 would match)"
	safetensors none.st q r
	try lnn-ckpt-adapt --report r.json -m m.yaml none.st
	expect_status 1
	expect_err_has 'nothing fits the model (3 missing, 2 unexpected'
	grep -q unexpected_keys r.json
	try lnn-ckpt-adapt --compat=linnaeus -m m.yaml none.st -o compat.st
	expect_status 0
}

@test 'step 9: missing and unexpected names fail only with --strict, another shape always fails' {
	fc_model '2, 4' >fits.yaml
	fc_model '3, 4' >other.yaml
	printf '  - {name: more.weight, shape: [1]}\n' | cat fits.yaml - >more.yaml
	printf 'fc.weight\nfc.bias\n' >fc.txt
	adapt --keep-names fc.txt -m fits.yaml --strict "$fixtures/tiny.pth"
	expect_status 0
	expect_err_has 'load check: 2 fit, 0 missing, 0 unexpected, 0 of another shape (strict)' '2 kept, 30 dropped, 0 resampled'
	adapt --keep-names fc.txt -m more.yaml "$fixtures/tiny.pth"
	expect_status 0
	expect_err_has 'load check: 2 fit, 1 missing, 0 unexpected, 0 of another shape (not strict)'
	try lnn-ckpt-adapt --keep-names fc.txt -m more.yaml --strict "$fixtures/tiny.pth" -o out.pth
	expect_status 1
	expect_err_has 'the model would refuse it (strict): 1 missing (more.weight), 0 unexpected (none)'
	try lnn-ckpt-adapt -m fits.yaml --strict "$fixtures/tiny.pth" -o out.pth
	expect_status 1
	expect_err_has '0 missing (none), 30 unexpected (conv.weight)' # 32 keys; 'layers' is one of them, though it holds two tensors
	try lnn-ckpt-adapt --keep-names fc.txt -m other.yaml "$fixtures/tiny.pth" -o out.pth
	expect_status 1
	expect_err_has 'the model would refuse it: size mismatch for fc.weight (a key map with rows or pad can give 1 other rows; --drop-mismatched'
	try lnn-ckpt-adapt --fit "$fixtures/tiny.pth" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt '--fit: a description that lists the state dict (-m) must say what the model has'
	expect_only fc.txt fits.yaml other.yaml more.yaml
	adapt --keep-names fc.txt -m other.yaml --drop-mismatched "$fixtures/tiny.pth"
	expect_status 0
	expect_out fc.bias
	expect_err_has 'load check: 1 fit, 1 missing, 0 unexpected, 0 of another shape'
	adapt --keep-names fc.txt -m other.yaml --drop-mismatched --strict "$fixtures/tiny.pth"
	expect_status 1
}

@test 'step 9: a description can demand a strict check, and --no-strict overrides it' {
	fc_model '2, 4' >m.yaml
	printf 'pretrained_ckpt_handling_metadata: {strict: true}\n' >>m.yaml
	adapt -m m.yaml "$fixtures/tiny.pth"
	expect_status 1
	adapt -m m.yaml --no-strict "$fixtures/tiny.pth"
	expect_status 0
	for m in '' '-m mFormerV0'; do
		# shellcheck disable=SC2086
		try lnn-ckpt-adapt --strict $m "$fixtures/tiny.pth"
		expect_refusal 2 lnn-ckpt-adapt '--strict' 'lists the state dict (-m)'
	done
}

@test 'step 9: --verbose prints the lines of load_state_dict, with the names before step 8' {
	fc_model '3, 4' >m.yaml
	printf '  - {name: more.weight, shape: [1]}\n' >>m.yaml
	printf 'fc.weight\nfc.bias\nhalf\n' >names
	adapt --ddp --verbose --keep-names names -m m.yaml --report r.json "$fixtures/tiny.pth"
	expect_status 1
	expect_err_has 'load: Missing key(s) in state_dict: "more.weight".' 'load: Unexpected key(s) in state_dict: "half".' \
		'load: size mismatch for fc.weight: copying a param with shape torch.Size([2, 4]) from checkpoint, the shape in current model is torch.Size([3, 4]).'
	grep -qF '"name": "fc.weight"' r.json
	[[ $stderr != *'mismatch for module.'* ]]
}

@test 'step 9: a shape of [1] fits a scalar, other values are unexpected, num_batches_tracked may be missing' {
	printf 'state_dict:\n  - {name: plain, shape: []}\n' >m.yaml
	echo plain >list
	adapt --strict --keep-names list -m m.yaml "$fixtures/names.pth"
	expect_status 0
	lnn-ckpt-inspect --format=names "$fixtures/tiny.pth" >all
	grep -v num_batches all >list
	# with version 2 of the module in _metadata, a missing num_batches_tracked is reported
	adapt --keep-names list -m "$fixtures/tiny.pth" "$fixtures/tiny.pth"
	expect_err_has '1 missing'
	# without _metadata it may be missing
	lnn-ckpt-adapt -q --to safetensors --drop-params complex --keep-names list "$fixtures/tiny.pth" -o plain.safetensors
	adapt -m "$fixtures/tiny.pth" plain.safetensors
	# missing are complex and the list, which safetensors cannot hold
	expect_err_has 'load check: 28 fit, 2 missing, 2 unexpected'
}

@test 'step 10: the state dict is written at its old place, at model for linnaeus, or as --under and --root say' {
	lnn-ckpt-adapt -q "$fixtures/prefixed.pth" -o a.pth
	lnn-ckpt-adapt -q --under net "$fixtures/prefixed.pth" -o b.pth
	lnn-ckpt-adapt -q --root "$fixtures/prefixed.pth" -o c.pth
	[ "$(lnn-ckpt-inspect -k state_dict a.pth)" = "$(lnn-ckpt-inspect -k '' c.pth)" ]
	lnn-ckpt-adapt -q c.pth -o plain.pth
	cmp c.pth plain.pth
	lnn-ckpt-adapt -q --compat=linnaeus "$fixtures/prefixed.pth" -o d.pth
	lnn-ckpt-adapt -q -s metaformer "$fixtures/prefixed.pth" -o e.pth
	echo "MODEL: {PRETRAINED: $fixtures/prefixed.pth}" >c.yaml
	lnn-ckpt-adapt -q -c c.yaml -o f.pth
	try lnn-ckpt-adapt -c <(echo 'MODEL: {PRETRAINED: none.pth}') -o g.pth
	expect_refusal 2 lnn-ckpt-adapt 'none.pth: cannot open: No such file or directory (the experiment file names it)'
	for n in d e f; do
		[ "$(lnn-ckpt-inspect -k model $n.pth | wc -l)" -eq 3 ]
	done
	[ "$(lnn-ckpt-inspect -k net b.pth)" = "$(lnn-ckpt-inspect -k '' c.pth)" ]
	try lnn-ckpt-inspect -k model b.pth
	expect_status 2
	diff <(records a.pth) <(known prefixed.pth module._orig_mod.w module._orig_mod.layers.0.weight module._orig_mod.layers.0.running_mean)
	try lnn-ckpt-adapt "$fixtures/prefixed.pth" -o a.pth
	expect_err_has "lnn-ckpt-adapt: 3 kept (3 renamed), 0 dropped, 0 resampled -> a.pth (torch, under 'state_dict')"
	try lnn-ckpt-adapt --root "$fixtures/prefixed.pth" -o a.pth
	[[ $stderr == *'3 kept (3 renamed), 0 dropped, 0 resampled -> a.pth (torch)' ]] || fail "$stderr"
	try lnn-ckpt-adapt -q "$fixtures/prefixed.pth" -o a.pth
	expect_no_err
}

# text WORD: the opcodes of a text in a pickle.
text() {
	printf 'X\\%03o\\0\\0\\0%s' "${#1}" "$1"
}

# nested FILE: a torch zip with {'a': {'b': {'c': {'w': tensor}, 'x': 1}, 'y': 2}, 'z': 3, 4: 5}.
nested() {
	local tensor
	mkdir -p archive/data
	tensor="ctorch._utils\\n_rebuild_tensor_v2\\n(($(text storage)ctorch\\nFloatStorage\\n$(text k)$(text cpu)K\\2tQ"
	tensor+="K\\0K\\2\\205K\\1\\205\\211ccollections\\nOrderedDict\\n)RtR"
	printf '%b' "\\0200\\2}($(text a)}($(text b)}($(text c)}$(text w)${tensor}s$(text x)K\\1u$(text y)K\\2u$(text z)K\\3K\\4K\\5u." \
		>archive/data.pkl
	head -c 8 /dev/zero >archive/data/k
	echo 3 >archive/version
	zip -q -0 -X "$1" archive/data.pkl archive/data/k archive/version
}

@test 'step 10: entries beside the state dict are carried, at any depth' {
	command -v zip >/dev/null || skip 'no zip'
	nested in.pth
	lnn-ckpt-adapt -q -k a.b.c --carry-all in.pth -o out.pth
	[ "$(lnn-ckpt-inspect --format names -k '' out.pth)" = a.b.c.w ]
	[ "$(lnn-ckpt-inspect --get a.b.x out.pth) $(lnn-ckpt-inspect --get a.y out.pth) $(lnn-ckpt-inspect --get z out.pth)" = '1 2 3' ]
	lnn-ckpt-adapt -q -k a.b.c in.pth -o alone.pth
	[ "$(lnn-ckpt-inspect --format names -k a.b.c alone.pth)" = w ]
	lnn-ckpt-adapt -q -k a.b.c --under model --carry-all in.pth -o out.pth
	[ "$(lnn-ckpt-inspect --format names -k '' out.pth)" = model.w ]
	try lnn-ckpt-inspect --rest out.pth
	expect_status 0
	output=${output//[[:space:]]/}
	expect_out_has '["a",{"b":{"x":1},"y":2}],["z",3],[4,5]'
	lnn-ckpt-adapt -q -k a.b.c --under model --carry a in.pth -o out.pth
	[ "$(lnn-ckpt-inspect --get a.b.x out.pth)" = 1 ]
	try lnn-ckpt-inspect --get z out.pth
	expect_status 1
}

@test 'step 10: --under and --carry are refused for safetensors, and --root changes nothing' {
	local o
	lnn-ckpt-adapt -q --root "$fixtures/demo.pth" -o a.safetensors
	lnn-ckpt-adapt -q "$fixtures/demo.pth" -o b.safetensors
	cmp a.safetensors b.safetensors
	for o in '--under x' '--carry epoch' --carry-all; do
		# shellcheck disable=SC2086
		try lnn-ckpt-adapt $o --to safetensors "$fixtures/demo.pth"
		expect_refusal 2 lnn-ckpt-adapt --under --carry safetensors
		# shellcheck disable=SC2086
		try lnn-ckpt-adapt $o "$fixtures/tiny.safetensors"
		expect_status 2
	done
	try lnn-ckpt-adapt --root --under x "$fixtures/demo.pth"
	expect_refusal 2 lnn-ckpt-adapt --root --under
	try lnn-ckpt-adapt --to zip "$fixtures/demo.pth"
	expect_refusal 2 lnn-ckpt-adapt '--to: torch, safetensors or dcp was expected, not zip'
}

@test 'step 10: --carry and --carry-all keep entries beside the state dict' {
	lnn-ckpt-adapt -q --carry epoch "$fixtures/demo.pth" -o a.pth
	lnn-ckpt-adapt -q --carry-all "$fixtures/demo.pth" -o b.pth
	[ "$(lnn-ckpt-inspect -k model a.pth | wc -l)" -eq "$(lnn-ckpt-inspect "$fixtures/demo.pth" | wc -l)" ]
	unzip -p a.pth archive/data.pkl | grep -aq epoch
	if unzip -p a.pth archive/data.pkl | grep -aq exp_avg; then fail "the optimizer is carried"; fi
	unzip -p b.pth archive/data.pkl | grep -aq exp_avg
	try lnn-ckpt-adapt --carry epohc "$fixtures/demo.pth"
	expect_status 2
	expect_err_has epohc
	try lnn-ckpt-adapt --carry-all --under epoch "$fixtures/demo.pth"
	expect_refusal 2 lnn-ckpt-adapt epoch --under
}

@test 'only carried tensors with the old shape of a resized table give a warning' {
	try lnn-ckpt-adapt -m mFormerV0 --img-size 384 --carry-all "$fixtures/demo.pth" -o out.pth
	expect_status 0
	expect_err_has 'outside the state dict (optimizer, EMA copy)' 'resuming from the result would fail'
	try lnn-ckpt-adapt -m mFormerV0 --img-size 384 --carry epoch "$fixtures/demo.pth" -o out.pth
	[[ $stderr != *resuming* ]] || fail "$stderr"
	try lnn-ckpt-adapt -m mFormerV0 --img-size 384 "$fixtures/demo.pth" -o out.pth
	[[ $stderr != *resuming* ]] || fail "$stderr"
}

@test 'if no tensor is left, the status is 1 and nothing is written' {
	try lnn-ckpt-adapt -q --drop-params re:. "$fixtures/tiny.pth" -o out.pth
	expect_refusal 1 lnn-ckpt-adapt 'no tensor is left to write'
	expect_only ''
}

@test 'rules that match nothing give a warning with a suggestion, and status 1 with --fail-unused' {
	adapt --drop-params conw. --drop-buffers runing_mean --rename 's/^layres\.(\d)/x\1/' --strip-prefix brain. "$fixtures/tiny.pth"
	expect_status 0
	expect_err_has 'warning: --drop-params conw.: matched nothing; the nearest name is conv.weight' \
		'warning: --drop-buffers runing_mean: matched nothing; the nearest name is bn.running_mean' \
		'warning: --rename s/^layres\.(\d)/x\1/: matched nothing; the nearest name is layers.0.w' \
		'warning: --strip-prefix brain.: matched nothing'
	try lnn-ckpt-adapt --fail-unused --drop-params conv. --drop-buffers runing_mean "$fixtures/tiny.pth" -o out.pth
	expect_status 1
	expect_err_has '1 rule matched nothing (--fail-unused)'
	try lnn-ckpt-adapt --fail-unused --drop-params conv. --drop-params conv.bias "$fixtures/tiny.pth" -o out.pth
	expect_status 0 # the second matches a name that the first has dropped
}

@test '-n lists the tensors of the output and writes nothing' {
	try lnn-ckpt-adapt -n --dtype bfloat16 "$fixtures/prefixed.pth" -o out.pth
	expect_status 0
	expect_out $'w\tbfloat16\t[2]\nlayers.0.weight\tbfloat16\t[2,2]\nlayers.0.running_mean\tbfloat16\t[2]'
	expect_err_has '3 kept (3 renamed, 3 cast to bfloat16), 0 dropped, 0 resampled -> nothing (dry run)'
	expect_only ''
	try lnn-ckpt-adapt -n --strict -m mFormerV1 -m "$fixtures/mFormerV1.yaml" "$fixtures/prefixed.pth"
	expect_status 1
}


@test 'a checkpoint instead of a list of names is refused, and the message says so' {
	try lnn-ckpt-adapt --drop-names "$fixtures/swin.pth" "$fixtures/demo.pth" -o out.pth
	expect_refusal 2 lnn-ckpt-adapt 'swin.pth: a list of names was expected, and this is binary' '-0 reads names that end in NUL'
	expect_only
}
