# Position tables of every kind: how they are recognised, their sizes, extra rows, and refusals. tests/torch/test_positions.py compares
# the numbers with torch, scipy and timm.

# shellcheck disable=SC2154 # output, stderr and status come from helpers and bats
load helpers

# state FILE NAME:SHAPE...: a safetensors file with float32 tensors. Element k of tensor i is (7k + i) mod 11. NAME:SHAPE:I64 is int64.
state() {
	command -v python3 >/dev/null || skip 'there is no python3'
	python3 - "$@" <<-'END'
		import json, math, struct, sys
		header, data = {}, b""
		for i, text in enumerate(sys.argv[2:]):
		    name, shape, *kind = text.split(":")
		    shape = [int(n) for n in shape.split(",")]
		    count = math.prod(shape)
		    v = [(7 * k + i) % 11 for k in range(count)]
		    raw = struct.pack(f"<{count}q", *v) if kind else struct.pack(f"<{count}f", *v)
		    header[name] = {"dtype": "I64" if kind else "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
		    data += raw
		head = json.dumps(header).encode()
		open(sys.argv[1], "wb").write(struct.pack("<Q", len(head)) + head + data)
	END
}

# target FILE NAME:SHAPE...: a model description.
target() {
	echo 'state_dict:' >"$1"
	local one
	for one in "${@:2}"; do echo "  - {name: ${one%:*}, shape: [${one##*:}]}" >>"$1"; done
}

# shapes OPTION... FILE: puts name and shape of every tensor of the output into $output, one a line.
shapes() {
	pipe "lnn-interp-bias -n $(printf '%q ' "$@") | cut -f1,3"
}

vit=('cls_token:1,1,4' 'pos_embed:1,37,4' 'patch_embed.proj.weight:4,3,2,2')

@test 'embeddings of all four shapes are resized by image size and patch, by grid, and by description' {
	state a.st "${vit[@]}" embed.position_embeddings.weight:12,4
	shapes --img-size 16x10 a.st
	expect_status 0
	expect_out_has $'pos_embed\t[1,41,4]' $'position_embeddings.weight\t[12,4]'
	expect_err_has 'pos_embed: 6x6 -> 8x5 tokens, embed, 1 extra row first' \
		'position tables: 1 resampled, 0 fit already; left alone: embed.position_embeddings.weight'
	shapes --img-size 17 a.st
	expect_err_has 'image size 17 is no multiple of 2; 8 tokens a side'
	target m.yaml pos_embed:1,17,4
	# the description overrides --grid
	shapes -m m.yaml --grid 9x9 a.st
	expect_out_has $'pos_embed\t[1,17,4]'
	state b.st conv_proj.weight:4,3,2,2 pos_embed:1,4,4,4
	try lnn-interp-bias --grid 2x5 b.st
	expect_refusal 2 lnn-interp-bias 'pos_embed: the dimension of the channels is unknown; --match REGEX=embed:chw'
	shapes --grid 2x5 --match 'pos=embed:hwc' b.st
	expect_out_has $'pos_embed\t[1,2,5,4]'
	state b.st conv_proj.weight:5,3,2,2 encoder.pos_embedding:9,5 decoder_pos_embed:1,3,3,5 pos_embed:1,5,3,3
	shapes --grid 2x5 b.st
	expect_out_has $'encoder.pos_embedding\t[10,5]' $'decoder_pos_embed\t[1,2,5,5]' $'pos_embed\t[1,5,2,5]'
}

@test 'embeddings: the number of extra rows is recognised' {
	state a.st "${vit[@]}"
	state none.st "${vit[@]:1}"
	try lnn-interp-bias --grid 4x4 none.st -o out.st
	expect_refusal 2 lnn-interp-bias 'none.st: pos_embed: 1 row before a grid of 6x6, but 0 class and distillation tokens' '--prefix-tokens N'
	shapes --grid 4x4 --prefix-tokens 1 none.st
	expect_out_has $'pos_embed\t[1,17,4]'
	state free.st cls_token:1,1,4 pos_embed:1,36,4 patch_embed.proj.weight:4,3,2,2
	shapes --grid 4x4 free.st
	expect_out_has $'pos_embed\t[1,16,4]'
	expect_err_has 'pos_embed: 6x6 rows are all taken as the image'
	try lnn-interp-bias -q --img-size 1 a.st -o out.st # less than a patch
	expect_refusal 2 lnn-interp-bias 'pos_embed: 6x6 cells to 0x0'
	state dist.st cls_token:1,1,4 dist_token:1,1,4 pos_embed:1,38,4 patch_embed.proj.weight:4,3,2,2
	shapes --grid 4x4 dist.st
	expect_out_has $'pos_embed\t[1,18,4]'
	# a grid with as many rows is another grid
	lnn-interp-bias -q --grid 9x4 --from-grid 6x6 a.st -o out.st
	if cmp -s a.st out.st; then fail 'nothing was resized'; fi
	try lnn-interp-bias --grid 6x6 --from-grid 5x6 a.st -o out2.st
	expect_refusal 2 lnn-interp-bias '37 rows contradict --prefix-tokens'
	# rows that are not a square are left alone unless they must belong to an image
	state tables.st cls_token:1,1,4 pos_embed:1,41,4 patch_embed.proj.weight:4,3,2,2 b.pos_embed:1,37,4
	shapes --grid 4x4 tables.st
	expect_out_has $'pos_embed\t[1,41,4]' $'b.pos_embed\t[1,17,4]'
	expect_err_has 'left alone: pos_embed (its rows minus 0, 1 or 2 are not a square'
	try lnn-interp-bias --grid 4x4 --match '^pos_embed$' tables.st
	expect_refusal 2 lnn-interp-bias 'are not a square'
	target m.yaml pos_embed:1,17,4
	try lnn-interp-bias -m m.yaml tables.st
	expect_refusal 2 lnn-interp-bias 'are not a square'
	# a table that already has the shape of the target is accepted
	target m.yaml pos_embed:1,41,4 b.pos_embed:1,37,4
	try lnn-interp-bias -n -m m.yaml tables.st
	expect_status 0
	expect_err_has 'position tables: 0 resampled, 2 fit already'
	target m.yaml pos_embed:1,37,4
	try lnn-interp-bias -n -m m.yaml none.st
	expect_status 0
	# the number of extra rows follows from the description and the new grid
	state regs.st pos_embed:1,40,4 patch_embed.proj.weight:4,3,2,2
	target m.yaml pos_embed:1,20,4
	shapes -m m.yaml --grid 4x4 regs.st
	expect_err_has '6x6 -> 4x4 tokens, embed, 4 extra rows first'
}

@test 'tables of text stay unchanged, even if their number of rows is a square' {
	local v=vision_model.embeddings t=text_model.embeddings
	state siglip.st $v.patch_embedding.weight:4,3,2,2 $v.position_embedding.weight:196,4 \
		$t.token_embedding.weight:9,4 $t.position_embedding.weight:64,4
	try lnn-interp-bias --grid 5x5 siglip.st -o out.st
	expect_status 0
	expect_err_has "left alone: $t.position_embedding.weight (a table of text)"
	cmp <(lnn-ckpt-inspect --dump $t.position_embedding.weight siglip.st) <(lnn-ckpt-inspect --dump $t.position_embedding.weight out.st)
	state clip.st token_embedding.weight:9,4 positional_embedding:16,4 visual.conv1.weight:4,3,2,2 \
		visual.class_embedding:4 visual.positional_embedding:17,4
	shapes --grid 5x5 clip.st
	expect_out_has $'positional_embedding\t[16,4]' $'visual.positional_embedding\t[26,4]'
	state bert.st embeddings.position_embeddings.weight:16,4
	try lnn-interp-bias --grid 5x5 bert.st -o none.st
	expect_refusal 1 lnn-interp-bias 'embeddings.position_embeddings.weight (no patch embedding of an image belongs to it)'
	[ ! -e none.st ]
}

@test 'offsets, axis and bias3: the grid is applied to the right tables' {
	state sam.st patch_embed.proj.weight:5,3,2,2 pos_embed:1,6,6,5 b.0.attn.rel_pos_h:11,3 b.0.attn.rel_pos_w:11,3 b.1.attn.rel_pos_h:7,3
	shapes --grid 4x8 sam.st
	expect_out_has $'b.0.attn.rel_pos_h\t[7,3]' $'b.0.attn.rel_pos_w\t[15,3]' $'b.1.attn.rel_pos_h\t[7,3]'
	expect_err_has 'b.0.attn.rel_pos_h: 6 -> 4 tokens, axis' "left alone: b.1.attn.rel_pos_h (not of the size of the image's grid)"
	# embeddings that are not resized still give the old grid
	shapes --grid 4x8 --kind axis sam.st
	expect_out_has $'pos_embed\t[1,6,6,5]' $'b.0.attn.rel_pos_w\t[15,3]' $'b.1.attn.rel_pos_h\t[7,3]'
	state levit.st a.attention_biases:2,49 a.attention_bias_idxs:49,49:I64 b.attention_biases:2,16
	try lnn-interp-bias --grid 5x5 levit.st -o out.st
	expect_refusal 2 lnn-interp-bias 'a.attention_biases: tables of its kind have several sizes' '--match REGEX=offsets'
	shapes --grid 5x6 --match '^a.=offsets' levit.st
	expect_out $'a.attention_biases\t[2,30]\nb.attention_biases\t[2,16]'
	expect_err_has 'left alone: b.attention_biases (--match names other tables)'
	target m.yaml a.attention_biases:2,9 b.attention_biases:2,4
	shapes -m m.yaml levit.st
	expect_out $'a.attention_biases\t[2,9]\nb.attention_biases\t[2,4]'
	shapes --keep-index -m m.yaml levit.st
	expect_out_has $'a.attention_bias_idxs\t[49,49]'
	state max.st a.relative_position_bias_table:2,13,5
	shapes --grid 4x4 max.st
	expect_out $'a.relative_position_bias_table\t[2,7,7]'
	try lnn-interp-bias --img-size 4 max.st -o out.st
	expect_refusal 1 lnn-interp-bias "a.relative_position_bias_table (its new size is unknown; --grid HxW"
}

@test 'buffers that no longer fit are dropped: those of the table, of its block, and those that differ from a description' {
	local t=layers.0.blocks
	state swin.st $t.0.attn.relative_position_bias_table:9,2 $t.0.attn.relative_position_index:4,4:I64 $t.0.attn_mask:4,4 \
		$t.1.attn_mask:4,4 $t.0.attn.relative_coords_table:3,3
	shapes --grid 3x3 --layout grid swin.st
	expect_out $t$'.0.attn.relative_position_bias_table\t[25,2]\n'$t$'.1.attn_mask\t[4,4]'
	shapes --grid 2x2 --layout grid swin.st
	[ "$(wc -l <<<"$output")" -eq 5 ] || fail "$output"
	state v2.st $t.0.attn.cpb_mlp.0.weight:4,2 $t.0.attn.relative_coords_table:1,3,3,2 $t.0.attn.relative_position_index:4,4:I64 $t.0.attn_mask:4,4
	target m.yaml $t.0.attn.cpb_mlp.0.weight:4,2 $t.0.attn.relative_coords_table:1,5,5,2 $t.0.attn.relative_position_index:9,9 $t.0.attn_mask:4,4
	pipe "lnn-ckpt-adapt -m m.yaml --interpolate -n v2.st | cut -f1"
	expect_status 0
	expect_out $t$'.0.attn.cpb_mlp.0.weight\n'$t.0.attn_mask
	expect_err_has "left alone: $t.0.attn.cpb_mlp.0.weight (SwinV2 computes its bias"
}

@test "BEiT's shared table is copied to the blocks that the description lists" {
	local b=attn.relative_position_bias_table
	state beit.st x:1 rel_pos_bias.relative_position_bias_table:12,2 rel_pos_bias.relative_position_index:5,5:I64 y:1
	target m.yaml x:1 blocks.0.$b:28,2 blocks.1.$b:28,2 y:1
	pipe "lnn-ckpt-adapt -m m.yaml --strict --interpolate --layout last:3 -n beit.st | cut -f1,3"
	expect_status 0
	expect_out $'x\t[1]\nblocks.0.'$b$'\t[28,2]\nblocks.1.'$b$'\t[28,2]\ny\t[1]'
	# the table is also copied without a new size, to a file and through a pipe
	target m.yaml x:1 blocks.0.$b:12,2 blocks.1.$b:12,2 y:1
	lnn-ckpt-adapt -q -m m.yaml --strict --interpolate --layout last:3 beit.st -o out.st
	cat beit.st | lnn-ckpt-adapt -q -m m.yaml --strict --interpolate --layout last:3 | cmp - out.st
	cmp <(lnn-ckpt-inspect --dump blocks.1.$b out.st) <(lnn-ckpt-inspect --dump rel_pos_bias.relative_position_bias_table beit.st)
	# lnn-interp-bias copies the table, too, and keeps the rest of the input
	target m.yaml x:1 blocks.0.$b:28,2 blocks.1.$b:28,2 y:1
	lnn-interp-bias -q -m m.yaml --layout last:3 --to torch beit.st -o out.pth
	[ "$(lnn-ckpt-inspect --format names out.pth)" = $'x\nblocks.0.'$b$'\nblocks.1.'$b$'\ny' ]
}

@test '--like uses the methods and extra rows of a loader, and leaves other tables alone' {
	state a.st "${vit[@]}" a.relative_position_bias_table:26,2
	shapes --like deit --grid 4x4 a.st
	expect_out_has $'pos_embed\t[1,17,4]' $'a.relative_position_bias_table\t[26,2]'
	expect_err_has 'left alone: a.relative_position_bias_table (--like has no tables of its kind)'
	# with one extra row and no index buffer, timm's loader expects it last
	shapes --like timm --grid 4x4 a.st
	expect_err_has 'a.relative_position_bias_table: 3x3 -> 4x4 tokens, 2 heads, layout last:1'
	try lnn-interp-bias --kind bias --like beit --grid 4x4 a.st
	expect_refusal 2 lnn-interp-bias 'first, last and metaformer'
	try lnn-interp-bias --kind bias --like swin --layout auto --grid 4x4 "$fixtures/beit.pth"
	expect_refusal 2 lnn-interp-bias 'layout last:3 is not what the loader of swin expects'
	try lnn-interp-bias --like swin --kind embed --grid 4x4 a.st
	expect_refusal 2 lnn-interp-bias 'pos_embed: 1 extra row first: the loader of swin expects others'
	printf 'pretrained_ckpt_handling_metadata: {relative_position_bias: {layout: first}}\n' >m.yaml
	try lnn-interp-bias -m m.yaml --like timm --grid 4x4 --kind bias a.st
	expect_refusal 2 lnn-interp-bias "the description's layout first:1 is not that of the loader of timm"
	try lnn-interp-bias --like swim --grid 4x4 a.st
	expect_refusal 2 lnn-interp-bias '--like swim: one of these was expected: timm, swin'
	# a method of bias tables is not used for embeddings; splines need four samples
	state two.st a.relative_position_bias_table:9,2
	try lnn-interp-bias --method geometric --grid 4x4 two.st
	expect_refusal 2 lnn-interp-bias 'method geometric needs a grid of 3x3 tokens or more, not 2x2'
	lnn-interp-bias -q --method geometric --grid 4x4 --kind embed a.st -o one.st
	lnn-interp-bias -q --grid 4x4 --kind embed a.st -o two.st
	cmp one.st two.st
}

@test '--kind and --match choose the tensors that are resized' {
	state a.st "${vit[@]}" a.relative_position_bias_table:25,2 my_places:36,4
	shapes --grid 4x4 --kind bias a.st
	expect_out_has $'pos_embed\t[1,37,4]' $'a.relative_position_bias_table\t[49,2]'
	pipe "lnn-ckpt-adapt --interpolate=embed --grid 4x4 -n a.st | cut -f1,3"
	expect_out_has $'pos_embed\t[1,17,4]' $'a.relative_position_bias_table\t[25,2]'
	expect_err_has '1 resampled, 0 fit already; left alone: a.relative_position_bias_table (of a kind that was not requested)'
	shapes --grid 4x4 --prefix-tokens 0 --match 'my_places=embed' --kind embed,bias --match 'pos_embed=bias3' a.st
	expect_out_has $'my_places\t[16,4]' $'pos_embed\t[1,37,4]' $'a.relative_position_bias_table\t[49,2]'
	# with a pattern alone, only the tensors that it matches are tables
	shapes --grid 4x4 --match '^pos_' a.st
	expect_out_has $'pos_embed\t[1,17,4]' $'a.relative_position_bias_table\t[25,2]'
	try lnn-interp-bias --grid 4x4 --match 'pos_embed=embd' a.st
	expect_refusal 2 lnn-interp-bias '"embd" is not a kind of position table'
	try lnn-interp-bias --grid 4x4 --kind bias,x a.st
	expect_refusal 2 lnn-interp-bias '"x" is not a kind'
	try lnn-interp-bias --img-size 4x a.st
	expect_refusal 2 lnn-interp-bias '--img-size 4x: N or HxW was expected'
}

@test 'a given grid can be combined with a stated layout' {
	lnn-interp-bias -q --grid 3x5 --drop-rest --match stage_3.last --to safetensors "$fixtures/tables.pth" -o one.st
	try lnn-interp-bias -n --grid 4x4 --from-grid 3x5 --match stage_3.last one.st
	expect_status 0
	expect_err_has '3x5 -> 4x4 tokens, 3 heads, layout last:1'
}

@test 'embeddings are drawn as norms, are reported, and are the same from a pipe' {
	state a.st "${vit[@]}"
	try lnn-interp-bias --show --color never --grid 3x4 a.st -o out.st
	expect_out_has 'before: 6x6 tokens, norms' 'after: 3x4 tokens, norms'
	cat a.st | lnn-interp-bias -q --grid 3x4 | cmp - out.st
	lnn-ckpt-adapt -q --interpolate --grid 3x4 --report r.json a.st -o adapted.st
	cmp out.st adapted.st
	tr -d ' \n' <r.json >flat
	grep -qF '"tables":[{"name":"pos_embed","kind":"embed","from_grid":[6,6],"to_grid":[3,4],"prefix_tokens":1,"method":"bicubic,antialias"}]' flat
}

@test 'a table of another size than the target is refused, and --fit is proposed if it helps' {
	state a.st attn.relative_position_bias_table:2,5,5
	target m.yaml attn.relative_position_bias_table:2,7,7
	try lnn-ckpt-adapt -m m.yaml a.st -o b.st
	expect_status 1
	expect_err_has '--fit makes 1 of 1 fit'
	lnn-ckpt-adapt -q -m m.yaml --fit a.st -o b.st
	# other heads, other channels, another number of extra rows
	local from to
	while read -r from to; do
		state a.st "$from"
		target m.yaml "${from%:*}:$to"
		try lnn-ckpt-adapt -m m.yaml a.st -o b.st
		expect_status 1
		[[ $stderr != *--fit* ]] || fail "$stderr"
		try lnn-ckpt-inspect --against m.yaml a.st
		[[ $output != *'of another size'* ]] || fail "$output"
	done <<-'END'
		attn.relative_position_bias_table:2,5,5 3,7,7
		attn.relative_position_bias_table:9,2 25,3
		pos_embed:1,37,4 1,17,8
		pos_embed:1,37,4 1,36,4
	END
	state a.st "${vit[@]}"
	target m.yaml pos_embed:1,36,4
	try lnn-ckpt-adapt --fit -m m.yaml a.st -o b.st
	expect_refusal 2 lnn-ckpt-adapt 'another number of rows before its grid'
}
