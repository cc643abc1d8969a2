# Folders of torch.distributed.checkpoint as checkpoints. torch wrote the contents (tests/fixtures/make_dcp.py).

# shellcheck disable=SC2154 # stderr and others come from helpers and bats
load helpers

# unpack NAME...: unpacks folders that torch wrote.
unpack() {
	local name
	for name; do
		tar xzf "$fixtures/dcp/$name.tar.gz"
	done
}

# damage NAME: makes the folder d, which is dt4 with other metadata.
damage() {
	rm -rf d dt4
	unpack dt4
	mv dt4 d
	tar xzOf "$fixtures/dcp/damages.tar.gz" "$1.metadata" >d/.metadata
}

# same_as_one_file FOLDER FILE [OPTION]...: folder and file give the same output bytes.
same_as_one_file() {
	local folder=$1 file=$2 format
	shift 2
	for format in torch safetensors; do
		lnn-ckpt-adapt -q "$@" --to "$format" -o one "$file"
		lnn-ckpt-adapt -q "$@" --to "$format" -o other "$folder"
		cmp one other
		lnn-ckpt-adapt -q "$@" --to "$format" "$folder" | cmp one -
	done
}

# refuses TEXT...: d is refused, both for a list and for an output.
refuses() {
	try lnn-ckpt-inspect -q -k '' d
	expect_refusal 2 lnn-ckpt-inspect 'd/.metadata: ' "$@"
	refuses_to_write "$@"
}

# refuses_to_write TEXT...: d is refused for an output.
refuses_to_write() {
	try lnn-ckpt-adapt -q -k '' -o out.pth d
	expect_refusal 2 lnn-ckpt-adapt 'd/.metadata: ' "$@"
	[ ! -e out.pth ]
	lnn-ckpt-adapt -q -k '' --to torch d >piped 2>/dev/null && return 1
	try lnn-ckpt-inspect piped
	expect_status 2
}

@test 'a folder and a file with the same state dict give the same bytes' {
	local name
	for name in dt2 dt4 single fsdp2_2 twoD each2; do
		unpack "$name"
		same_as_one_file "$name" "$fixtures/dcp/$name.pth" -k ''
	done
	same_as_one_file fsdp2_2 "$fixtures/dcp/fsdp2_2.pth"
	same_as_one_file dt4 "$fixtures/dcp/dt4.pth" --dtype float16
	same_as_one_file dt4 "$fixtures/dcp/dt4.pth" -k optimizer
}

@test 'carried entries and shards equal those from a single file' {
	unpack dt4
	lnn-ckpt-adapt -q -k model --under model --carry-all -o one.pth "$fixtures/dcp/dt4.pth"
	lnn-ckpt-adapt -q -k model --under model --carry-all -o other.pth dt4
	cmp one.pth other.pth
	lnn-ckpt-adapt -q -k '' --to safetensors --max-shard-size 100 -o one/ "$fixtures/dcp/dt4.pth"
	lnn-ckpt-adapt -q -k '' --to safetensors --max-shard-size 100 -o other/ dt4
	diff -r one other
}

@test 'reports on a folder equal those on a single file' {
	local name
	for name in dt4 single twoD; do
		unpack "$name"
		lnn-ckpt-inspect -q -k '' --stats "$name" >folder
		lnn-ckpt-inspect -q -k '' --stats "$fixtures/dcp/$name.pth" | cmp - folder
		lnn-ckpt-inspect -q -k '' --rest "$name" | sed 1,4d >folder
		lnn-ckpt-inspect -q -k '' --rest "$fixtures/dcp/$name.pth" | sed 1,4d | cmp - folder
		lnn-ckpt-inspect -q --values --against "$fixtures/dcp/$name.pth" "$name"
		lnn-ckpt-inspect -q --values --against "$name" "$fixtures/dcp/$name.pth"
		lnn-ckpt-inspect -q --check "$name"
	done
	lnn-ckpt-inspect -q --dump col --dump-as raw dt4 >folder
	lnn-ckpt-inspect -q --dump col --dump-as raw "$fixtures/dcp/dt4.pth" | cmp - folder
	[ "$(lnn-ckpt-inspect -q --get optimizer.param_groups.0.lr dt4)" = 0.001 ]
}

@test '-l and JSON show boxes, files and ranks' {
	unpack dt4
	try lnn-ckpt-inspect -q -l -e '^w$' dt4
	expect_out_has 'boxes=[2,3]@[0,0]:__0_0.distcp,[2,3]@[2,0]:__1_0.distcp,[1,3]@[4,0]:__2_0.distcp'
	try lnn-ckpt-inspect -q --format jsonl -e '^w$' dt4
	expect_out_has '{"low":[2,0],"shape":[2,3],"storage":1,"file":"__1_0.distcp","rank":1}'
}

@test 'lists and other checks of names read no tensor' {
	unpack dt4
	mkdir d
	cp dt4/.metadata d
	try lnn-ckpt-inspect d
	expect_status 0
	expect_out_has $'w\tfloat32\t[5,3]'
	expect_err_has "warning: d/.metadata: the file 'd/__" 'is missing'
	try lnn-ckpt-adapt -o out.pth d
	expect_status 2
	expect_err_has "the file 'd/__0_0.distcp' is missing"
	try lnn-ckpt-inspect -q --stats d
	expect_status 2
	expect_err_has "tensor 'model.w', box [2,3] at [0,0]: d/__0_0.distcp: cannot open"
}

@test 'a value outside the state dict is read only if it is needed' {
	local option name lr
	unpack dt4
	# name is the first item of rank 2, lr that of rank 3.
	printf XXXX | dd of=dt4/__2_0.distcp conv=notrunc status=none
	printf XXXX | dd of=dt4/__3_0.distcp conv=notrunc status=none
	for option in '' --digest --stats --tree -l --dump=w --get=step "--against=$fixtures/dcp/dt4.pth"; do
		# shellcheck disable=SC2086 # no option is none
		try lnn-ckpt-inspect -q $option dt4
		expect_status 0
		expect_no_err
	done
	lnn-ckpt-adapt -q --carry step --carry plain -o out.pth dt4
	[ "$(lnn-ckpt-inspect -q --get step out.pth)" = 12 ]
	name="value 'name': dt4/__2_0.distcp, from byte 0 on: "
	lr="value 'optimizer.param_groups.0.lr': dt4/__3_0.distcp, from byte 0 on: "
	try lnn-ckpt-inspect -q --check dt4
	expect_refusal 2 lnn-ckpt-inspect "$lr"
	try lnn-ckpt-inspect -q --rest dt4
	expect_refusal 2 lnn-ckpt-inspect "$lr"
	try lnn-ckpt-inspect -q --get name dt4
	expect_refusal 2 lnn-ckpt-inspect "$name"
	try lnn-ckpt-adapt -q --carry name -o no.pth dt4
	expect_refusal 2 lnn-ckpt-adapt "$name"
	try lnn-ckpt-adapt -q --carry-all -o no.pth dt4
	expect_refusal 2 lnn-ckpt-adapt "$lr"
	try lnn-ckpt-adapt -q -k optimizer -o no.pth dt4
	expect_refusal 2 lnn-ckpt-adapt "$lr"
	lnn-ckpt-adapt -q --carry-all --to dcp -o tables/ "$fixtures/tables.pth"
	printf XXXX | dd of=tables/__0_0.distcp conv=notrunc status=none
	try lnn-interp-bias -q --grid 5x5 -o no.pth tables
	expect_refusal 2 lnn-interp-bias "value 'epoch': tables/__0_0.distcp, from byte 0 on: "
	[ ! -e no.pth ]
	lnn-interp-bias -q --grid 5x5 --drop-rest -o out.pth tables
	lnn-interp-bias -q --grid 5x5 -o out.safetensors tables
}

@test '--summary says how many values it did not read' {
	unpack dt4
	try lnn-ckpt-inspect -q --summary dt4
	expect_out_has 'step: int' 'tup: tuple of 2' 'not read    3 values outside the state dict'
	try lnn-ckpt-inspect -q --summary --format=json dt4
	expect_out_has '"unread_values": 3'
	try lnn-ckpt-inspect -q --summary -k '' dt4
	[[ $output != *"not read"* ]]
}

@test 'metadata files of single ranks are read together' {
	unpack nocoll2
	same_as_one_file nocoll2 "$fixtures/dcp/dt2.pth" -k ''
	# One element of the second copy of model.rep, and of name.
	printf x | dd of=nocoll2/__1_0.distcp bs=1 seek=$((11981 + 704)) conv=notrunc status=none
	printf y | dd of=nocoll2/__1_0.distcp bs=1 seek=$((5044 + 64 + 10)) conv=notrunc status=none
	try lnn-ckpt-inspect --check -k '' nocoll2
	expect_status 1
	expect_out_has "tensor 'model.rep', box [3] at [0]"$'\tcrc'
	expect_err_has "warning: nocoll2/__*.metadata: 'name' differs between '__0_0.distcp', which is taken, and '__1_0.distcp'"
	: >nocoll2/.metadata
	try lnn-ckpt-inspect nocoll2
	expect_status 2
	cp nocoll2/__0.metadata nocoll2/.metadata
	try lnn-ckpt-inspect nocoll2
	expect_status 2
	expect_err_has 'warning: nocoll2: .metadata is read; the files __R.metadata of single ranks beside it are ignored' \
		"tensor 'model.w': no box of it holds [2,3] at [3,0]"
	rm nocoll2/.metadata nocoll2/__1.metadata
	try lnn-ckpt-adapt -q -o out.pth nocoll2
	expect_refusal 2 lnn-ckpt-adapt "tensor 'model.w': no box of it holds [2,3] at [3,0]"
}

@test 'items in safetensors files are read' {
	unpack stfmt2
	printf 'model.%s\n' w col rep h >names
	lnn-ckpt-adapt -q -k '' --keep-names names -o one.safetensors "$fixtures/dcp/dt2.pth"
	lnn-ckpt-adapt -q -k '' -o other.safetensors stfmt2
	cmp one.safetensors other.safetensors
}

@test 'containers have the structure of planner_data' {
	unpack containers
	try lnn-ckpt-inspect -q --format names -k '' containers
	expect_out "$(printf '%s\n' d.0 e.0.k f.1 g.p.q h.1.0 i "j.('t', 1)")"
	try lnn-ckpt-inspect -q --format names -k g containers
	expect_out p.q
	damage gap
	[ "$(lnn-ckpt-inspect -q --format names -k lst d)" = $'0\n3' ]
	damage flat
	[ "$(lnn-ckpt-inspect -q --format names -k '' d | tail -n 1)" = lst.0 ]
}

@test 'errors in the metadata are reported before anything is written' {
	damage hole
	refuses "tensor 'model.w': no box of it holds [2,3] at [2,0]"
	damage twice
	refuses "tensor 'model.col': its box [4,2] at [0,0] overlaps the box [4,2] at [0,0]"
	damage overlap
	refuses "tensor 'model.w': its box [2,3] at [2,0] overlaps the box [3,3] at [0,0]"
	damage outside
	refuses "tensor 'model.w': its box [4,3] at [2,0] is outside its shape"
	damage nowhere
	refuses "tensor 'model.col': storage_data lacks its box [4,2] at [0,2]"
	damage huge
	refuses "tensor 'plain', box [4611686018427387904] at [0]: "
	damage slash
	refuses "'../__1_0.distcp' is not the name of a file in the folder"
	damage unnamed
	refuses "'plain': planner_data lacks it"
	damage unlisted
	refuses "'more': planner_data has it, but state_dict_metadata lacks it"
	damage crossed
	refuses "'plain': its path contradicts that of another name"
	damage far
	refuses "'lst.1': the list that contains it has more items than there are names"
}

@test 'errors in an item are reported when it is read' {
	damage dtype
	refuses_to_write "tensor 'plain', box [4] at [0]: d/__1_0.distcp, from byte 9146 on: it is float32, but the metadata says int32"
	damage smaller
	refuses_to_write "tensor 'plain', box [3] at [0]: d/__1_0.distcp, from byte 9146 on: it has shape [4]"
	unpack dt4
	cp dt4/.metadata d
	truncate -s 10000 d/__1_0.distcp
	refuses_to_write "tensor 'plain', box [4] at [0]: d/__1_0.distcp: cut off: it ends at byte 10000"
	# A byte in the data of the second item of rank 0, a box of model.col.
	cp dt4/__* d
	printf x | dd of=d/__0_0.distcp bs=1 seek=2282 conv=notrunc status=none
	try lnn-ckpt-adapt -q -o out.pth d
	expect_refusal 2 lnn-ckpt-adapt "the CRC of tensor 'model.col', box [4,2] at [0,0] does not match its bytes"
	try lnn-ckpt-inspect -q --check -k '' d
	expect_status 1
	expect_out_has $'\tcrc'
}

@test 'a box that is copied is checked against its CRC' {
	unpack dt4
	# A byte in the data of the first item of rank 0, a box of model.w.
	printf x | dd of=dt4/__0_0.distcp bs=1 seek=705 conv=notrunc status=none
	for to in torch safetensors; do
		pipe "lnn-ckpt-adapt -q --to $to dt4 | cat >out"
		expect_err_has "the CRC of tensor 'model.w', box [2,3] at [0,0] does not match its bytes"
		try lnn-ckpt-adapt -q --to $to -o new dt4
		expect_refusal 2 lnn-ckpt-adapt "the CRC of tensor 'model.w', box [2,3] at [0,0] does not match its bytes"
		[ ! -e new ]
		try lnn-ckpt-inspect out
		expect_status 2
	done
}

@test 'packed items are listed but cannot be read' {
	damage zstd
	try lnn-ckpt-inspect d
	expect_status 0
	expect_out_has $'w\tfloat32\t[5,3]'
	refuses_to_write 'its items are packed by stream.zstd/1'
}

@test 'flat parameters of FSDP1 are listed but not written' {
	damage fsdp1
	lnn-ckpt-inspect -q d
	refuses_to_write 'it has flat parameters of FSDP 1'
}

@test 'a cast of a folder gives the same bytes with several threads' {
	unpack dt4
	lnn-ckpt-adapt -q --dtype float16 -j 1 -o one.pth dt4
	lnn-ckpt-adapt -q --dtype float16 -j 3 -o three.pth dt4
	cmp one.pth three.pth
}

@test 'nothing in the metadata is executed' {
	damage foreign
	lnn-ckpt-adapt -q -o whole.pth d
	damage foreign-size
	refuses "'plain': its size is not a tuple of numbers"
	[ ! -e executed ] && [ ! -e d/executed ]
}

@test 'a single file of a folder is refused, and the message asks for the folder' {
	unpack dt4
	try lnn-ckpt-inspect dt4/.metadata
	expect_refusal 2 lnn-ckpt-inspect 'give the folder'
	try lnn-ckpt-inspect dt4/__1_0.distcp
	expect_refusal 2 lnn-ckpt-inspect 'give the folder'
}
