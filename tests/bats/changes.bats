# An input is cut, emptied, made longer, altered, replaced or removed while it is read, before each call that moves bytes. The result
# must be the right output, or status 2, one line and no output.

# shellcheck disable=SC2154 # top and fixtures come from helpers
load helpers
load faults

setup() {
	enter_fast
}

teardown() {
	leave_fast
}

# changes FILE ARG...: runs a command while FILE is changed at reads and writes.
changes() {
	local file=$1
	shift
	faults -f "$file" -c 'pread read copy_file_range sendfile write rename' "$@"
}

# Prints the offset of the fourth last byte.
near_end() {
	echo $(($(stat -c %s "$1") - 4))
}

@test 'a change of a torch file gives an error or the right output' {
	cp "$fixtures/tiny.pth" in
	changes in -o out -- lnn-ckpt-adapt in -o out
	changes in -l -s 3 -- lnn-ckpt-adapt in
	changes in -l -s 3 -i in -- lnn-ckpt-adapt -j 2 --dtype bfloat16
}

@test 'a change of a safetensors file gives an error or the right output; changed bytes may be copied' {
	cp "$fixtures/tiny.safetensors" in
	LNN_FAULT_AT=$(near_end in) changes in -o out -- lnn-ckpt-adapt in -o out
	LNN_FAULT_AT=$(near_end in) changes in -l -- lnn-ckpt-adapt --to torch in
}

@test 'a change of a legacy file, a deflated file or a file with tables gives an error or the right output' {
	cp "$fixtures/legacy.pth" in
	changes in -s 9 -o out -- lnn-ckpt-adapt in -o out
	cp "$fixtures/deflated.pth" in
	changes in -s 9 -o out -- lnn-ckpt-adapt in -o out
	cp "$fixtures/tables.pth" in
	changes in -s 5 -o out -- lnn-interp-bias -q --img-size 384 in -o out
}

@test 'a change of a shard or an index gives an error or the right output' {
	cp -r "$fixtures/sharded-safetensors" set
	changes set/model-00002-of-00003.safetensors -s 2 -o out -- lnn-ckpt-adapt set/model.safetensors.index.json -o out
	changes set/model-00001-of-00003.safetensors -s 5 -d dir -- \
		lnn-ckpt-adapt -q --max-shard-size 100 set/model.safetensors.index.json -o dir/
	cp "$fixtures"/sharded-safetensors/* set
	changes set/model.safetensors.index.json -s 2 -o out -- lnn-ckpt-adapt set/model.safetensors.index.json -o out
}

@test 'a change of the input of inspect or filter gives an error or the right output' {
	cp "$fixtures/tiny.safetensors" in
	LNN_FAULT_AT=$(near_end in) changes in -s 3 -- lnn-ckpt-inspect --stats in
	LNN_FAULT_AT=$(near_end in) changes in -s 5 -- lnn-ckpt-inspect --check in
	LNN_FAULT_AT=$(near_end in) changes in -- lnn-ckpt-inspect in
	changes in -s 5 -- lnn-ckpt-inspect --against in --values "$fixtures/tiny.pth"
	changes in -s 5 -- lnn-ckpt-inspect --against "$fixtures/tiny.pth" --values in
	changes in -- lnn-filter -e '{TYPE: name, PATTERNS: [a]}' in
	cp "$fixtures/tiny.pth" in
	LNN_FAULT_AT=$(near_end in) changes in -s 2 -- lnn-ckpt-inspect --globals in
	lnn-ckpt-inspect in >list
	changes list -- lnn-filter -e '{TYPE: name, PATTERNS: [a]}' list
}

@test 'a change of a model description gives an error or the right output' {
	lnn-ckpt-inspect --format model "$fixtures/tiny.pth" >model.yaml
	changes model.yaml -s 2 -o out -- lnn-ckpt-adapt -q -m model.yaml "$fixtures/tiny.pth" -o out
	cp "$fixtures/tiny.safetensors" model
	changes model -s 2 -o out -- lnn-ckpt-adapt -q -m model "$fixtures/tiny.pth" -o out
}
