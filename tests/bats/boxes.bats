# Files that have boxes of the same tensors: shards of Hugging Face's writer of distributed checkpoints, and rank files. torch wrote
# the folders in 2 processes. Every tensor in them counts up: w from 0, col from 100, rep from 200.

# shellcheck disable=SC2154 # stderr and others come from helpers and bats
load helpers

unpack() {
	tar xzf "$fixtures/dcp/$1.tar.gz"
}

# counts FILE NAME FIRST LAST: checks that the tensor has these numbers in order.
counts() {
	[ "$(lnn-ckpt-inspect -q --dump "$2" --dump-as text "$1" | tr -s ' ' '\n' | sed 's/\.0*$//')" = "$(seq "$3" "$4")" ] ||
		fail "$1: $2"
}

# with_metadata FILE METADATA NAME...: a safetensors file that is built by hand.
with_metadata() {
	local file=$1 meta=$2 size
	shift 2
	safetensors plain "$@"
	size=$(od -An -td8 -N8 plain)
	{
		printf '%016x' $((size + ${#meta} + 16)) | sed 's/\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)/\\x\8\\x\7\\x\6\\x\5\\x\4\\x\3\\x\2\\x\1/' |
			xargs -0 printf '%b'
		printf '{"__metadata__":%s,' "$meta"
		tail -c +10 plain
	} >"$file"
	rm plain
}

# metadata FILE: its __metadata__.
metadata() {
	head -c 2000 "$1" | grep -ao '"__metadata__":{[^}]*}' | head -n 1
}

@test 'shards in a folder are one checkpoint' {
	unpack hf2
	try lnn-ckpt-inspect hf2
	expect_status 0
	expect_out $'model.col\tfloat32\t[4,6]\nmodel.w\tfloat32\t[5,3]\nmodel.h\tbfloat16\t[6,2]\nmodel.rep\tfloat32\t[3]'
	for to in torch safetensors; do
		lnn-ckpt-adapt -q --to $to -o out hf2
		lnn-ckpt-adapt -q --to $to hf2 | cmp out -
		for file in hf2 out; do
			counts $file model.w 0 14
			counts $file model.col 100 123
			counts $file model.rep 200 202
			counts $file model.h 0 11
		done
	done
	lnn-ckpt-inspect --check -q hf2
	[ "$(metadata out)" = '"__metadata__":{"format":"pt"}' ]
	lnn-ckpt-inspect -lq -e w hf2 | grep -qF 'boxes=[3,3]@[0,0]:shard-00001-model-00001-of-00001.safetensors,[2,3]@[3,0]:shard-00002'
}

@test 'a missing shard is refused' {
	unpack hf2
	rm hf2/shard-00001*
	try lnn-ckpt-inspect hf2
	expect_refusal 2 lnn-ckpt-inspect 'hf2: rank 0 has no shard here (shard-00001-...), but shard-00002-... exists'
	# Without the last shard the shapes are smaller. Only a tensor that is cut along another axis shows that it is missing.
	mv hf2/shard-00002* hf2/shard-00001-model-00001-of-00001.safetensors
	try lnn-ckpt-adapt -o out.pth hf2
	expect_status 2
	expect_err_has "hf2/*.safetensors: tensor 'model.col': no box of it holds [4,3] at [0,0]"
	expect_only hf2 hf2/shard-00001-model-00001-of-00001.safetensors
}

@test 'a shard alone is listed with its boxes, and edits keep their map' {
	unpack hf2
	local shard=hf2/shard-00002-model-00001-of-00001.safetensors
	try lnn-ckpt-inspect -l "$shard"
	expect_err_has 'a shard of a distributed checkpoint, whose tensors are boxes of larger ones'
	expect_out_has $'model.w\tfloat32\t[2,3]\tnumel=6\tnbytes=24' 'boxes=[2,3]@[3,0]' 'boxes=[4,3]@[0,3]'
	lnn-ckpt-adapt -q --rename 's/model/net/' --drop-names - "$shard" -o out.safetensors <<<model.col
	grep -aqF '{\"net.rep\":{\"saved_offsets\":[0]},\"net.w\":{\"saved_offsets\":[3,0]},\"net.h\":{\"saved_offsets\":[3,0]}}' out.safetensors
	try lnn-ckpt-inspect -l out.safetensors
	expect_out_has 'boxes=[2,3]@[3,0]'
	# Invalid maps of boxes.
	with_metadata bad '{"DCP_SHARDING_INFO":"{\"a\":{\"saved_offsets\":[0,0]}}"}' a
	try lnn-ckpt-inspect bad
	expect_refusal 2 lnn-ckpt-inspect 'bad: DCP_SHARDING_INFO: at byte' '2 saved_offsets of a tensor with 1 dimensions'
	with_metadata bad '{"DCP_SHARDING_INFO":"{"}' a
	try lnn-ckpt-inspect bad
	expect_refusal 2 lnn-ckpt-inspect 'bad: DCP_SHARDING_INFO: at byte'
}

@test 'names of tied tensors in __metadata__ follow the edits' {
	with_metadata in '{"format":"pt","lm_head.w":"model.emb.w","x.y":"model.b","note":"model"}' model.emb.w model.b
	lnn-ckpt-adapt -q --rename 's/^model/net/' --rename 's/^lm_head/head/' in -o out.safetensors
	[ "$(metadata out.safetensors)" = '"__metadata__":{"format":"pt","head.w":"net.emb.w","x.y":"net.b","note":"model"}' ]
	lnn-ckpt-adapt -q --drop-names - in -o out.safetensors <<<model.b
	[ "$(metadata out.safetensors)" = '"__metadata__":{"format":"pt","lm_head.w":"model.emb.w","note":"model"}' ]
	lnn-ckpt-adapt -q in -o out.pth
	[ "$(lnn-ckpt-inspect --format names out.pth)" = $'model.emb.w\nmodel.b' ]
	printf '%s\tfloat32\n' model.emb.w model.b lm_head.w z >target
	try lnn-ckpt-inspect --against target in
	expect_status 1
	expect_out_has '# 1 of 2 missing is tied to another name by __metadata__'
	# A counter that load_state_dict does not miss is not counted, although it is tied, too.
	with_metadata in '{"bn.num_batches_tracked":"w","head.w":"w"}' w
	printf '%s\tfloat32\n' w head.w bn.num_batches_tracked >target
	try lnn-ckpt-inspect --against target in
	expect_out_has '# 1 of 1 missing is tied to another name by __metadata__'
}

@test 'rank files are joined' {
	unpack verl
	local first=verl/model_world_size_2_rank_0.pt
	try lnn-ckpt-inspect --ranks "$first"
	expect_status 0
	expect_out $'w\tfloat32\t[5,3]\nn\tfloat32\t[4]\nrep\tfloat32\t[3]'
	expect_err_has 'verl/model_world_size_2_rank_*.pt is read'
	for to in torch safetensors; do
		lnn-ckpt-adapt -q --ranks --to $to -o out "$first"
		(cd verl && lnn-ckpt-adapt -q --ranks --to $to model_world_size_2_rank_1.pt) | cmp out -
		counts out w 0 14
		counts out n 0 3
		counts out rep 0 2
	done
	lnn-ckpt-inspect -q --ranks --values --against out "$first"
	# A single rank file is listed with whole shapes and can only be written as a torch file.
	try lnn-ckpt-inspect "$first"
	expect_out $'w\tfloat32\t[5,3]\tplacements=Shard(0)\nn\tfloat32\t[4]\tplacements=Shard(0)\nrep\tfloat32\t[3]\tplacements=Replicate()'
	expect_err_has 'its DTensors are the parts of one rank (--ranks joins the files of all ranks)'
	try lnn-ckpt-adapt "$first" -o out.pth
	expect_status 0
	expect_err_has 'its DTensors are the parts of one rank (--ranks joins the files of all ranks)'
	try lnn-ckpt-adapt "$first" -o out.safetensors
	expect_status 2
	try lnn-ckpt-inspect --ranks out
	expect_err_has '--ranks: out has no rank_N in its name, so it is read without other files'
	try lnn-ckpt-adapt --ranks -m out --strict "$first" -o joined.pth
	expect_status 0
	[[ $stderr != *'no rank_N'* ]] || fail "$stderr"
}

@test 'a missing rank is refused' {
	unpack verl
	rm verl/*rank_1.pt
	try lnn-ckpt-inspect --ranks verl/model_world_size_2_rank_0.pt
	expect_status 2
	expect_err_has 'verl/model_world_size_2_rank_*.pt: rank 1 is missing'
	unpack verl
	rm verl/*rank_0.pt
	try lnn-ckpt-inspect --ranks verl/model_world_size_2_rank_1.pt
	expect_refusal 2 lnn-ckpt-inspect 'verl/: the file of rank 0 is missing: model_world_size_2_rank_0.pt'
	cp verl/model_world_size_2_rank_1.pt verl/model_world_size_2_rank_0.pt
	try lnn-ckpt-inspect --ranks verl/model_world_size_2_rank_1.pt
	expect_status 2
	expect_err_has "tensor 'w'"
}

@test 'a folder written by --to dcp is read back equal to its source' {
	local name
	for name in dt4 single fsdp2_2; do
		rm -rf d
		lnn-ckpt-adapt -q -k '' --to dcp "$fixtures/dcp/$name.pth" -o d/
		lnn-ckpt-adapt -q -k '' d -o one.pth
		lnn-ckpt-adapt -q -k '' --compact "$fixtures/dcp/$name.pth" -o other.pth
		lnn-ckpt-inspect -q --values --against one.pth other.pth
		[ "$(lnn-ckpt-inspect -q --rest one.pth | sed 3d)" = "$(lnn-ckpt-inspect -q --rest other.pth | sed 3d)" ]
		lnn-ckpt-inspect -q --check -k '' d
		# A folder with many boxes is converted to one with whole tensors.
		rm -rf "$name" e
		unpack "$name"
		lnn-ckpt-adapt -q -k '' --to dcp "$name" -o e
		lnn-ckpt-adapt -q -k '' e | cmp one.pth -
	done
}

@test 'errors about a single rank file propose --ranks' {
	unpack verl
	local file=verl/model_world_size_2_rank_0.pt
	try lnn-ckpt-adapt -q -o out.safetensors "$file"
	expect_refusal 2 lnn-ckpt-adapt "$file: w: " '--ranks joins the files of all ranks'
	try lnn-ckpt-adapt -q --to dcp -o out/ "$file"
	expect_refusal 2 lnn-ckpt-adapt "'w': is a DTensor, " '--ranks joins the files of all'
	try lnn-ckpt-inspect -q --dump w "$file"
	expect_refusal 2 lnn-ckpt-inspect "$file: w: " '--ranks joins the files of all ranks'
	try lnn-ckpt-inspect -q verl
	expect_refusal 2 lnn-ckpt-inspect '_rank_0.pt, ' '; --ranks with one file joins those of all ranks'
	lnn-ckpt-adapt -q --ranks --to dcp -o out/ "$file"
	lnn-ckpt-inspect -q --ranks --values --against out "$file"
}

@test '--globals lists the globals of all files of a set; JSON has the ranks' {
	unpack verl
	unpack hf2
	try lnn-ckpt-inspect -q --globals --ranks verl/model_world_size_2_rank_0.pt
	expect_status 1
	expect_out_has $'torch.distributed.tensor.DTensor\t224\t1\tmodel_world_size_2_rank_0.pt: model_world_size_2_rank_0/data.pkl' \
		'model_world_size_2_rank_1.pt: model_world_size_2_rank_1/data.pkl'
	try lnn-ckpt-inspect -q --globals hf2
	expect_status 0
	try lnn-ckpt-inspect -q --format jsonl --ranks verl/model_world_size_2_rank_0.pt
	expect_out_has '"low":[3,0],"shape":[2,3],"storage":3,"file":"model_world_size_2_rank_1.pt","rank":1'
	try lnn-ckpt-inspect -q --format jsonl hf2
	expect_out_has '"file":"shard-00002-model-00001-of-00001.safetensors","rank":1'
	# All programs read a set of rank files.
	try lnn-filter -e '{TYPE: name, PATTERNS: [w]}' --ranks verl/model_world_size_2_rank_1.pt
	expect_out $'w\tfloat32\t[5,3]'
}
