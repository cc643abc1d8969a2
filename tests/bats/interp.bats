# lnn-interp-bias: sizes, layouts, methods, tensors that are copied, and bad input. tests/torch/test_tables.py compares the numbers
# with PyTorch, and the unit tests test_bias_*.c test them without Python.

# shellcheck disable=SC2154 # fixtures, output, stderr and status come from helpers and bats
load helpers

# shapes ARG...: a dry run. $output has the name, up to .attn, and the shape of each table.
shapes() {
	pipe "lnn-interp-bias -n $(printf '%q ' "$@") | grep bias_table | cut -f1,3 | sed 's/\.attn[^\t]*//'"
}

# raw FILE NAME: the bytes of a tensor of a torch zip, in hexadecimal.
raw() {
	lnn-ckpt-adapt -q --root --to torch --compact --keep-names <(echo "$2") "$1" -o raw.pth
	unzip -p raw.pth archive/data/0 | od -An -v -tx1 | tr -d ' \n'
}

# safetensors FILE ROWS HEX: a table of one head named stage_3.a.relative_position_bias_table and float32 bytes.
safetensors() {
	local header n
	header="{\"stage_3.a.relative_position_bias_table\":{\"dtype\":\"F32\",\"shape\":[$2,1],\"data_offsets\":[0,$((4 * $2))]}}"
	n=$(printf '%08x' ${#header})
	{
		printf '%b' "\\x${n:6:2}\\x${n:4:2}\\x${n:2:2}\\x${n:0:2}\\0\\0\\0\\0"
		printf '%s' "$header"
		printf '%b' "$(fold -w2 <<<"$3" | sed 's/^/\\x/' | tr -d '\n')"
	} >"$1"
}

@test 'the new grid comes from image size and stage, from --stage, or from --grid' {
	# 112 / 16 = 7 tokens: 13 * 13 cells; 112 / 32 = 3 tokens: 5 * 5 cells, which these tables already have
	shapes --img-size 112 "$fixtures/tables.pth"
	expect_status 0
	expect_out $'stage_3.metaformer\t[170,3]
stage_3.last\t[170,3]
stage_3.first\t[170,3]
stage_3.grid\t[169,3]
stage_3.apart\t[170,3]
stage_4.half\t[26,2]
stage_4.brain\t[26,2]
stage_4.double\t[26,2]
elsewhere\t[26,2]'
	expect_err_has 'elsewhere.attn.relative_position_bias_table: no known stage in its name; left alone' \
		'stage_4.half.attn.relative_position_bias_table: image size 112 is no multiple of 32; 3 tokens a side'
	shapes -q --img-size 128 --stage elsewhere=16 --stage stage_3.l=8 --stage last=4 "$fixtures/tables.pth"
	# 8 tokens: 15 * 15; stage_3.last: 16 tokens, 31 * 31, as the first --stage that matches decides; stage_4: 4 tokens, 7 * 7
	expect_out_has $'elsewhere\t[226,2]' $'stage_3.last\t[962,3]' $'stage_3.first\t[226,3]' $'stage_4.half\t[50,2]'
	# 2 x 5 tokens: 3 * 9, for every table
	shapes -q --grid 2x5 "$fixtures/tables.pth"
	[ "$(cut -f2 <<<"$output" | sort | uniq -c | tr -s ' ' | tr '\n' ';')" = ' 1 [27,3]; 4 [28,2]; 4 [28,3];' ] || fail "$output"
	expect_no_err
}

@test 'each table is reported with name, grids, heads and the layout of its index buffer' {
	try lnn-interp-bias -n --img-size 112 "$fixtures/tables.pth"
	expect_err_has 'stage_3.metaformer.attn.relative_position_bias_table: 4x4 -> 7x7 tokens, 3 heads, layout metaformer' \
		'stage_3.last.attn.relative_position_bias_table: 4x4 -> 7x7 tokens, 3 heads, layout last:1' \
		'stage_3.first.attn.relative_position_bias_table: 4x4 -> 7x7 tokens, 3 heads, layout first:1' \
		'stage_3.grid.attn.relative_position_bias_table: 4x4 -> 7x7 tokens, 3 heads, layout grid' \
		'stage_3.apart.attn.relative_position_bias_table: 4x4 -> 7x7 tokens, 3 heads, layout first:1' \
		'stage_4.half.attn.relative_position_bias_table: 3x3 -> 3x3 tokens, 2 heads, layout last:1 (copied: it fits already)'
	try lnn-interp-bias -n -q --img-size 112 "$fixtures/tables.pth"
	expect_no_err
	try lnn-interp-bias -n --grid 4x4 --stage x=1 "$fixtures/beit.pth"
	expect_err_has 'layout last:3 (copied: it fits already)'
	try lnn-interp-bias -n --grid 6x6 "$fixtures/swin.pth"
	expect_err_has 'layers.1.blocks.0.attn.relative_position_bias_table: 3x5 -> 6x6 tokens, 3 heads, layout grid'
}

@test 'an index buffer before or after its table gives the same bytes, from a file and from a pipe' {
	local f
	for f in tables.pth index-first.pth swin.pth beit.pth; do
		lnn-interp-bias -q --grid 5x5 "$fixtures/$f" -o a.pth
		cat "$fixtures/$f" | lnn-interp-bias -q --grid 5x5 -j 2 >b.pth
		cmp a.pth b.pth
		lnn-interp-bias -q --grid 5x5 --to safetensors "$fixtures/$f" -o a.st 2>/dev/null
		cat "$fixtures/$f" | lnn-interp-bias -q --grid 5x5 --to safetensors >b.st 2>/dev/null
		cmp a.st b.st
	done
	lnn-interp-bias -q --grid 5x5 --drop-rest "$fixtures/tables.pth" -o a.pth
	lnn-interp-bias -q --grid 5x5 "$fixtures/index-first.pth" -o b.pth
	local n
	for n in metaformer last first grid apart; do
		[ "$(raw a.pth stage_3.$n.attn.relative_position_bias_table)" = "$(raw b.pth stage_3.$n.attn.relative_position_bias_table)" ]
	done
}

@test 'layouts are converted to layouts that have a place for the extra rows' {
	local t=stage_3.metaformer.attn.relative_position_bias_table in to row=24 # 3 heads of 4 bytes
	in=$(raw "$fixtures/tables.pth" $t)
	echo $t >name
	for to in last first metaformer; do
		lnn-interp-bias -q --grid 4x4 --match metaformer --to-layout $to "$fixtures/tables.pth" -o $to.pth
	done
	# rows 0 .. 48 are the grid, and row 0 is also the class row
	[ "$(raw last.pth $t)" = "${in:0:49*row}${in:0:row}" ]
	[ "$(raw first.pth $t)" = "${in:0:row}${in:0:49*row}" ]
	[ "$(raw metaformer.pth $t)" = "$in" ]
	t=stage_3.first.attn.relative_position_bias_table
	in=$(raw "$fixtures/tables.pth" $t)
	lnn-interp-bias -q --grid 4x4 --match stage_3.first --to-layout last "$fixtures/tables.pth" -o out.pth
	[ "$(raw out.pth $t)" = "${in:row:49*row}${in:0:row}" ]
	lnn-interp-bias -q --grid 4x4 --match stage_3.first --to-layout metaformer "$fixtures/tables.pth" -o out.pth
	[ "$(raw out.pth $t)" = "${in:row:49*row}${in:0:row}" ]
	# --layout overrides the index buffer
	try lnn-interp-bias -n --grid 4x4 --match stage_3.last --layout first --to-layout last "$fixtures/tables.pth"
	expect_err_has 'layout first:1 -> last:1'
	try lnn-interp-bias --grid 4x4 --match stage_3.grid --to-layout last "$fixtures/tables.pth"
	expect_refusal 2 lnn-interp-bias 'stage_3.grid.attn.relative_position_bias_table: layout grid cannot become last:1'
	try lnn-interp-bias --grid 5x5 --to-layout first "$fixtures/beit.pth"
	expect_refusal 2 lnn-interp-bias 'layout last:3 cannot become first:1'
}

@test '-m gives the layout to write, and the shapes of the target if no size is given' {
	printf 'pretrained_ckpt_handling_metadata: {relative_position_bias: {layout: last}}\n' >m.yaml
	try lnn-interp-bias -n -m m.yaml --grid 5x5 --match stage_3.metaformer "$fixtures/tables.pth"
	expect_status 0
	expect_err_has '4x4 -> 5x5 tokens, 3 heads, layout metaformer -> last:1'
	try lnn-interp-bias -n -m m.yaml --to-layout first --grid 5x5 --match stage_3.metaformer "$fixtures/tables.pth"
	expect_err_has 'layout metaformer -> first:1'
	printf 'state_dict:\n  - {name: layers.0.blocks.0.attn.relative_position_bias_table, shape: [81, 3]}\n' >n.yaml
	printf '  - {name: layers.1.blocks.0.attn.relative_position_bias_table, shape: [45, 3]}\n' >>n.yaml
	try lnn-interp-bias -n -m m.yaml -m n.yaml --to-layout grid "$fixtures/swin.pth"
	expect_status 0
	expect_err_has 'layers.0.blocks.0.attn.relative_position_bias_table: 4x4 -> 5x5 tokens' \
		'layers.1.blocks.0.attn.relative_position_bias_table: 3x5 -> 3x5 tokens, 3 heads, layout grid (copied: it fits already)' \
		'layers.0.blocks.1.attn.relative_position_bias_table: the description has no table of that name'
	try lnn-interp-bias -m m.yaml "$fixtures/tables.pth"
	expect_refusal 2 lnn-interp-bias 'the new size is missing: --img-size N, --grid HxW, or -m'
}

@test 'a rectangle with as many cells as a square is recognised by its index buffer' {
	# 2 x 14 tokens: 3 * 27 = 81 = 9 * 9
	command -v python3 >/dev/null || skip 'there is no python3'
	python3 - <<-'END'
		import json, struct
		h, w = 2, 14
		n = h * w
		index = [(q // w - k // w + h - 1) * (2 * w - 1) + q % w - k % w + w - 1 for q in range(n) for k in range(n)]
		table = [float(i) for i in range(81)]
		data = struct.pack("<784q", *index) + struct.pack("<81f", *table)
		header = {"a.relative_position_index": {"dtype": "I64", "shape": [n, n], "data_offsets": [0, 6272]},
		          "a.relative_position_bias_table": {"dtype": "F32", "shape": [81, 1], "data_offsets": [6272, 6596]}}
		head = json.dumps(header).encode()
		open("in.st", "wb").write(struct.pack("<Q", len(head)) + head + data)
	END
	try lnn-interp-bias -n --grid 3x3 in.st
	expect_status 0
	expect_err_has 'a.relative_position_bias_table: 2x14 -> 3x3 tokens, 1 heads, layout grid'
}

# indexed FILE ROWS N VALUE: a file with a table of one head, and an index buffer whose N * N elements are all VALUE.
indexed() {
	python3 - "$@" <<-'END'
		import json, struct, sys
		rows, n, value = map(int, sys.argv[2:])
		header = {"a.relative_position_index": {"dtype": "I64", "shape": [n, n], "data_offsets": [0, 8 * n * n]},
		          "a.relative_position_bias_table": {"dtype": "F32", "shape": [rows, 1],
		                                             "data_offsets": [8 * n * n, 8 * n * n + 4 * rows]}}
		head = json.dumps(header).encode()
		data = struct.pack("<q", value) * (n * n) + struct.pack("<f", 1) * rows
		open(sys.argv[1], "wb").write(struct.pack("<Q", len(head)) + head + data)
	END
}

@test 'an index buffer of no known layout gives status 2 if the layout matters' {
	command -v python3 >/dev/null || skip 'there is no python3'
	local value
	for value in 0 7 -1 9223372036854775807; do
		# 81 rows could be a grid of 2 x 14 tokens, so the index is read before the sizes of the output are known; 26 rows could not
		for args in '81 28 3x3 5x5' '26 10 4x4 3x3'; do
			# shellcheck disable=SC2086
			set -- $args
			indexed in.st "$1" "$2" $value
			try lnn-interp-bias --grid "$3" in.st -o none.st
			expect_refusal 2 lnn-interp-bias 'a.relative_position_bias_table: its relative_position_index fits no known layout'
			pipe "cat in.st | lnn-interp-bias --grid $3 >out"
			expect_status 2
			try lnn-interp-bias --grid "$4" in.st -o out.st
			expect_status 0
			expect_err_has "$4 -> $4 tokens, 1 heads, layout unknown (copied: it fits already)"
			[ "$(tail -c $((4 * $1)) out.st | md5sum)" = "$(tail -c $((4 * $1)) in.st | md5sum)" ]
		done
		try lnn-interp-bias --grid 4x4 --layout last in.st -o out.st
		expect_status 0
		indexed in.st 20 9 $value
		try lnn-interp-bias --grid 3x3 in.st -o none.st
		expect_refusal 2 lnn-interp-bias 'a.relative_position_bias_table: 20 rows fit no square grid'
		[ ! -e none.st ]
	done
}

@test 'a table whose layout is unknown is refused unless it is only copied' {
	try lnn-interp-bias --grid 5x5 "$fixtures/ambiguous.pth" -o none.pth
	expect_refusal 2 lnn-interp-bias 'ambiguous.pth: stage_3.0.attn.relative_position_bias_table: its layout is unknown' \
		'first, last and metaformer' --layout
	try lnn-interp-bias --grid 4x4 --to-layout last "$fixtures/ambiguous.pth" -o none.pth
	expect_refusal 2 lnn-interp-bias 'first, last and metaformer'
	try lnn-ckpt-adapt --interpolate --grid 5x5 "$fixtures/ambiguous.pth" -o none.pth
	expect_refusal 2 lnn-ckpt-adapt 'first, last and metaformer'
	printf 'pretrained_ckpt_handling_metadata: {relative_position_bias: {layout: last}}\n' >m.yaml
	try lnn-ckpt-adapt -m m.yaml "$fixtures/ambiguous.pth" -o none.pth
	expect_refusal 2 lnn-ckpt-adapt 'first, last and metaformer'
	expect_only m.yaml
	try lnn-interp-bias --grid 4x4 "$fixtures/ambiguous.pth" -o copy.pth
	expect_status 0
	expect_err_has '4x4 -> 4x4 tokens, 3 heads, layout unknown (copied: it fits already)'
	[ "$(raw copy.pth stage_3.0.attn.relative_position_bias_table)" = "$(raw "$fixtures/ambiguous.pth" stage_3.0.attn.relative_position_bias_table)" ]
	# an unknown layout is not recorded
	if unzip -l copy.pth | grep -q lnn; then fail 'a layout is recorded'; fi
	try lnn-interp-bias --grid 5x5 --layout first "$fixtures/ambiguous.pth" -o out.pth
	expect_status 0
	try lnn-ckpt-adapt --compat=linnaeus -s metaformer --interpolate --grid 5x5 "$fixtures/ambiguous.pth" -o out.pth
	expect_status 0
	expect_err_has 'kept'
}

@test 'outputs record the layouts of tables without an index buffer, and later runs read the record' {
	local f to t=stage_3.metaformer.attn.relative_position_bias_table
	for to in torch safetensors; do
		lnn-interp-bias -q --grid 5x5 --drop-rest --to $to "$fixtures/tables.pth" -o one
		lnn-interp-bias --grid 6x6 --to torch one -o two.pth 2>err
		# the grid 5x5 and the layout are those of the index buffer of the first input
		grep -q "$t: 5x5 -> 6x6 tokens, 3 heads, layout metaformer\$" err
		grep -q 'stage_3.first.attn.relative_position_bias_table: 5x5 -> 6x6 tokens, 3 heads, layout first:1$' err
		# the numbers are the same as with --layout
		lnn-interp-bias -q --grid 6x6 --layout metaformer --match stage_3.metaformer --to torch one -o said.pth
		[ "$(raw two.pth $t)" = "$(raw said.pth $t)" ]
		# a pipe gives the same bytes
		cat one | lnn-interp-bias -q --grid 6x6 --to torch | cmp - two.pth
		# a rename also changes the name in the record
		lnn-ckpt-adapt -q --add-prefix net. one -o renamed.pth
		lnn-interp-bias --grid 6x6 renamed.pth -o three.pth 2>err
		grep -q "net.$t: 5x5 -> 6x6 tokens, 3 heads, layout metaformer\$" err
		[ "$(raw three.pth net.$t)" = "$(raw said.pth $t)" ]
	done
	# the layout of a dropped index buffer is recorded; an index buffer that stays needs no record
	lnn-ckpt-adapt -q --drop-buffers relative_position_index "$fixtures/tables.pth" -o dropped.pth
	lnn-interp-bias -q --grid 5x5 --drop-rest dropped.pth -o a.pth
	lnn-interp-bias -q --grid 5x5 --drop-rest "$fixtures/tables.pth" -o b.pth
	for f in metaformer last first grid apart; do
		[ "$(raw a.pth stage_3.$f.attn.relative_position_bias_table)" = "$(raw b.pth stage_3.$f.attn.relative_position_bias_table)" ]
	done
	lnn-ckpt-adapt -q "$fixtures/tables.pth" -o kept.pth
	if unzip -l kept.pth | grep -q lnn; then fail 'a layout is recorded beside its index buffer'; fi
}

# with_record FILE TEXT: a file with a table of 26 rows and one head, and TEXT as its record of layouts.
with_record() {
	python3 - "$@" <<-'END'
		import json, struct, sys
		header = {"__metadata__": {"lnn.tables": sys.argv[2]},
		          "a.relative_position_bias_table": {"dtype": "F32", "shape": [26, 1], "data_offsets": [0, 104]}}
		head = json.dumps(header).encode()
		open(sys.argv[1], "wb").write(struct.pack("<Q", len(head)) + head + bytes(104))
	END
}

@test 'a recorded layout is used only if rows and heads agree, and invalid records are refused' {
	command -v python3 >/dev/null || skip 'there is no python3'
	local text n='"a.relative_position_bias_table"'
	with_record in.st "{$n: {\"layout\": \"last:1\", \"grid\": [3, 3], \"heads\": 1}}"
	try lnn-interp-bias -n --grid 4x4 in.st
	expect_status 0
	expect_err_has '3x3 -> 4x4 tokens, 1 heads, layout last:1'
	for text in '"layout": "last:1", "grid": [3, 4], "heads": 1' '"layout": "last:1", "grid": [3, 3], "heads": 2' \
		'"layout": "auto", "grid": [3, 3], "heads": 1' '"layout": "last:1"'; do
		with_record in.st "{$n: {$text}}"
		try lnn-interp-bias -n --grid 4x4 in.st
		expect_refusal 2 lnn-interp-bias 'first, last and metaformer'
	done
	for text in '' '{' '[]' "{$n: 1}" "{$n: {\"layout\": \"lst\"}}" "{$n: {\"grid\": [0, 3]}}" "{$n: {\"grid\": [3]}}" \
		"{$n: {\"heads\": -1}}" "{$n: {}, $n: {}}"; do
		with_record in.st "$text"
		try lnn-interp-bias -n --grid 4x4 in.st
		expect_refusal 2 lnn-interp-bias
	done
}

@test 'each method gives the expected response to an impulse' {
	# 5 cells a side (3 tokens) to 7 (4 tokens), bicubic: the vector of 5 to 7 in lib/position/README.md, in the row of the impulse
	local zero=00000000 one=0000803f cells i
	cells=
	for ((i = 0; i < 25; i++)); do
		[ $i -eq 12 ] && cells+=$one || cells+=$zero
	done
	safetensors in.st 25 $cells
	lnn-interp-bias -q --grid 4x4 in.st -o out.st
	# the middle cell of 7 x 7 stays 1, its neighbours are 0.30758017
	local got
	got=$(tail -c 196 out.st | od -An -v -tf4 -w4 | sed -n '22,28p' | awk '{ printf "%.6f ", $1 }')
	[ "$got" = '0.000000 -0.104956 0.307580 1.000000 0.307580 -0.104956 0.000000 ' ] || fail "$got"
	lnn-interp-bias -q --grid 5x5 --align-corners in.st -o out.st
	got=$(tail -c 324 out.st | od -An -v -tf4 -w4 | sed -n '37,45p' | awk '{ printf "%.5f ", $1 }')
	[ "$got" = '0.00000 -0.09375 0.00000 0.59375 1.00000 0.59375 0.00000 -0.09375 0.00000 ' ] || fail "$got"
	lnn-interp-bias -q --grid 5x5 --antialias in.st -o out.st
	got=$(tail -c 324 out.st | od -An -v -tf4 -w4 | sed -n '37,41p' | awk '{ printf "%.6f ", $1 }')
	[ "$got" = '0.000000 -0.034483 -0.043656 0.485597 1.000000 ' ] || fail "$got"
	lnn-interp-bias -q --grid 4x4 --method bilinear in.st -o out.st
	# s = (i + 1/2) 5/7 - 1/2 is 1.2857 beside the middle, so the neighbour gets 0.2857 of the impulse
	got=$(tail -c 196 out.st | od -An -v -tf4 -w4 | sed -n '22,28p' | awk '{ printf "%.6f ", $1 }')
	[ "$got" = '0.000000 0.000000 0.285714 1.000000 0.285714 0.000000 0.000000 ' ] || fail "$got"
	for o in '--method bilinear --antialias' '--antialias --align-corners' '--method nearest'; do
		# shellcheck disable=SC2086
		try lnn-interp-bias --grid 4x4 $o in.st
		expect_refusal 2 lnn-interp-bias "--method"
	done
}

@test 'other tensors, other entries and names are not changed' {
	lnn-interp-bias -q --img-size 384 "$fixtures/demo.pth" -o out.pth
	diff <(lnn-ckpt-inspect "$fixtures/demo.pth" | grep -v 'index\|bias_table') <(lnn-ckpt-inspect out.pth | grep -v bias_table)
	unzip -p out.pth archive/data.pkl | grep -aq exp_avg
	[ "$(raw out.pth module.stage_0.0.weight)" = "$(raw "$fixtures/demo.pth" module.stage_0.0.weight)" ]
	try lnn-interp-bias --img-size 384 "$fixtures/demo.pth" -o out.pth
	expect_err_has 'resuming from the result would fail'
	try lnn-interp-bias --drop-rest --img-size 384 "$fixtures/demo.pth" -o out.pth
	[[ $stderr != *resuming* ]] || fail "$stderr"
	if unzip -p out.pth archive/data.pkl | grep -aq exp_avg; then fail "the optimizer is not dropped"; fi
	[ "$(lnn-ckpt-inspect -k model out.pth | wc -l)" -gt 100 ]
	lnn-interp-bias -q --keep-index --img-size 384 "$fixtures/demo.pth" -o out.pth
	lnn-ckpt-inspect --format names out.pth | grep -q relative_position_index
}

@test 'if no table gets the new size, the status is 1 and nothing is written' {
	try lnn-interp-bias --img-size 384 "$fixtures/tiny.pth" -o out.pth
	expect_refusal 1 lnn-interp-bias "$fixtures/tiny.pth: no position table gets the new size: none was found" --grid --stage
	try lnn-interp-bias --img-size 384 --match nothing "$fixtures/tables.pth" -o out.pth
	expect_refusal 1 lnn-interp-bias 'none was found'
	try lnn-interp-bias -q --img-size 384 --match elsewhere "$fixtures/tables.pth" -o out.pth
	expect_refusal 1 lnn-interp-bias 'elsewhere.attn.relative_position_bias_table (no known stage in its name)' '--grid HxW' '--stage SUBSTRING=RATIO'
	expect_only ''
	# tables that already have the size count
	try lnn-interp-bias --grid 4x4 --match 'stage_3.(last|first)' "$fixtures/tables.pth" -o out.pth
	expect_status 0
	expect_err_has 'position tables: 0 resampled, 2 fit already'
	# without a size or target shape, interpolation is not required
	printf 'state_dict:\n  - {name: x, shape: [1]}\n' >m.yaml
	try lnn-interp-bias -m m.yaml "$fixtures/tiny.pth" -o out.pth
	expect_status 0
	expect_err_has "warning: $fixtures/tiny.pth: no position table found; everything passes through"
	try lnn-interp-bias --img-size 384 --match '(' "$fixtures/tables.pth"
	expect_refusal 2 lnn-interp-bias '--match (: at byte'
}

@test 'bad tables name the tensor and what was expected' {
	try lnn-interp-bias --img-size 112 "$fixtures/no-grid.pth" -o out.pth
	expect_refusal 2 lnn-interp-bias 'no-grid.pth: stage_3.0.attn.relative_position_bias_table: 20 rows fit no square grid' '--from-grid HxW'
	try lnn-interp-bias --img-size 112 --from-grid 2x4 "$fixtures/no-grid.pth" -o out.pth
	expect_refusal 2 lnn-interp-bias '20 rows do not fit a grid of 2x4: expected 21 rows, or 1 or 3 more'
	try lnn-interp-bias --img-size 15 --match stage_3.last "$fixtures/tables.pth" -o out.pth
	expect_status 2
	expect_err_has 'stage_3.last.attn.relative_position_bias_table: a new grid of 0x0'
	try lnn-interp-bias --grid 5x5 --match kinds.int64 "$fixtures/tiny.pth" -o out.pth
	expect_refusal 2 lnn-interp-bias 'kinds.int64: a floating table was expected, not int64'
	try lnn-interp-bias --grid 5x5 --match '^empty$' "$fixtures/tiny.pth" -o out.pth
	expect_refusal 2 lnn-interp-bias 'empty: an empty table'
	try lnn-interp-bias --grid 5x5 --match '^conv.weight$' "$fixtures/tiny.pth" -o out.pth
	expect_refusal 2 lnn-interp-bias 'conv.weight: a table of shape [rows, heads] was expected'
	expect_only ''
	# a table that is not resized may have any shape
	try lnn-interp-bias -n --img-size 112 --match unknown --stage x=1 "$fixtures/tiny.pth"
	expect_refusal 1 lnn-interp-bias 'none was found'
}

@test 'wrong options are refused' {
	try lnn-interp-bias "$fixtures/tables.pth"
	expect_refusal 2 lnn-interp-bias 'the new size is missing'
	try lnn-interp-bias --img-size 224 --grid 4x4 "$fixtures/tables.pth"
	expect_refusal 2 lnn-interp-bias '--img-size and --grid both set the new size'
	local o
	for o in '--grid 4' '--grid 0x4' '--grid 4x' '--grid axb' '--img-size 0' '--img-size 1e3' '--layout lst' '--layout last:0' \
		'--layout grid:1' '--to-layout first:x' '--stage stage_3' '--stage =16' '--stage x=0' '--from-grid 3' '-j 0'; do
		# shellcheck disable=SC2086
		try lnn-interp-bias $o "$fixtures/tables.pth"
		expect_refusal 2 lnn-interp-bias ''
	done
}

@test '--show draws each table before and after, and never writes to a checkpoint' {
	try lnn-interp-bias --show --color never --img-size 112 --match stage_3.last "$fixtures/tables.pth" -o out.pth
	expect_status 0
	expect_out_has 'stage_3.last.attn.relative_position_bias_table' 'before: 4x4 tokens, layout last:1' 'after: 7x7 tokens, layout last:1'
	# three heads of 13 cells side by side, 13 lines
	[ "$(grep -cE '^  .{13}  .{13}  .{13}$' <<<"$output")" -eq 13 ] || fail "$output"
	lnn-interp-bias -q --img-size 112 --match stage_3.last "$fixtures/tables.pth" -o plain.pth
	cmp out.pth plain.pth
	lnn-interp-bias -q --show --img-size 112 --match stage_3.last "$fixtures/tables.pth" -o - 2>picture >out.pth
	cmp out.pth plain.pth
	grep -q 'after: 7x7' picture
	lnn-interp-bias -q --show --color always --img-size 112 --match stage_3.last "$fixtures/tables.pth" -n 2>picture >list
	grep -q $'\033\[38;5;' picture
	if grep -q $'\033' list; then fail "the list has escapes"; fi
}

@test 'entries beside the state dict are left out of safetensors, with a warning' {
	try lnn-interp-bias --grid 4x4 --to safetensors "$fixtures/demo.pth" -o out.st
	expect_status 0
	expect_err_has 'safetensors cannot hold the entries beside the state dict, which are left out: optimizer, lr_scheduler'
	[[ $stderr != *resuming* ]] || fail "$stderr"
	try lnn-interp-bias -q --drop-rest --grid 4x4 --to safetensors "$fixtures/demo.pth" -o other.st
	expect_no_err
	cmp out.st other.st
}

@test '--drop-rest writes a nested place as dicts and not as a key with dots' {
	lnn-ckpt-adapt -q --under outer "$fixtures/tables.pth" -o a.pth
	lnn-interp-bias -q --drop-rest -k outer --grid 4x4 a.pth -o b.pth
	lnn-ckpt-inspect -k outer b.pth | grep -q stage_3.last
}

@test "for a target grid that is not square, the message names the option that gives it" {
	printf 'state_dict:\n  - {name: stage_3.0.attn.relative_position_bias_table, shape: [46, 2]}\n' >rect.yaml
	# no-grid.pth has a table of 20 rows with an unknown grid. The grid of its target is also unknown.
	try lnn-interp-bias -m rect.yaml --from-grid 3x2 --layout last:5 "$fixtures/no-grid.pth" -o out.pth
	expect_refusal 2 lnn-interp-bias "the description's shape: 46 rows fit no square grid" '(--grid HxW)'
}
