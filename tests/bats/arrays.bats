# Arrays of numpy that are built by hand: .npy, .npz and pickles. tests/torch/test_numpy.py compares with numpy itself.

# shellcheck disable=SC2154 # output, stderr and status come from helpers and bats
load helpers

# npy DESCR FORTRAN SHAPE: an array. Standard input has its elements.
npy() {
	local head="{'descr': '$1', 'fortran_order': $2, 'shape': $3, }"$'\n' n
	printf -v n '\\x%02x' "${#head}"
	printf "\\x93NUMPY\\1\\0$n\\0%s" "$head"
	cat
}

# zipped METHOD NAME=FILE...: a.npz of these files as numpy writes it.
zipped() {
	python3 - "$@" <<-'PYTHON'
		import sys, zipfile
		with zipfile.ZipFile('a.npz', 'w', int(sys.argv[1])) as z:
		    for pair in sys.argv[2:]:
		        name, file = pair.split('=')
		        z.write(file, name)
	PYTHON
}

# values FILE NAME: the elements in row-major order in one line.
values() {
	lnn-ckpt-inspect --get "$2" --dump-as text "$1" 2>/dev/null | tr '\n' ' '
}

@test 'a .npy file is read in C and Fortran order and in both byte orders' {
	printf '\1\0\2\0\3\0\4\0\5\0\6\0' | npy '<i2' False '(2, 3)' >c.npy
	printf '\1\0\4\0\2\0\5\0\3\0\6\0' | npy '<i2' True '(2, 3)' >f.npy
	printf '\0\1\0\2\0\3\0\4\0\5\0\6' | npy '>i2' False '(2L, 3L)' >b.npy
	for f in c f b; do
		try lnn-ckpt-inspect $f.npy
		expect_status 0
		expect_out $'\\e\tint16\t[2,3]'
		lnn-ckpt-adapt -q --to safetensors -o $f.safetensors $f.npy
		tail -c 12 $f.safetensors | cmp - <(tail -c 12 c.npy) || fail "$f"
		lnn-ckpt-adapt -q --to safetensors <$f.npy | cat | cmp - $f.safetensors || fail "$f through a pipe"
	done
	printf 'a\0\0\0' | npy '<U1' False '(1,)' >t.npy
	try lnn-ckpt-inspect t.npy
	expect_refusal 2 lnn-ckpt-inspect 'the array has a dtype that no tensor has'
}

@test 'a .npz file is read stored and deflated, with slashes in names; arrays of text are left out' {
	command -v python3 >/dev/null || skip 'there is no python3'
	head -c 4000 /dev/zero | npy '<f4' False '(10, 100)' >w
	printf '\x80\x3f' | npy '|V2' False '()' >s
	npy '<f8' False '(0, 3)' </dev/null >e
	printf 'a\0\0\0' | npy '<U1' False '(1,)' >t
	for method in 0 8; do
		zipped $method Block_0/Dense/kernel.npy=w s.npy=s e.npy=e t.npy=t
		try lnn-ckpt-inspect a.npz
		expect_status 0
		expect_out $'Block_0/Dense/kernel\tfloat32\t[10,100]\ns\tbfloat16\t[]\ne\tfloat64\t[0,3]'
		expect_err_has "array 't.npy' is text (<U1), not a tensor: it is left out"
		lnn-ckpt-adapt -q -o a.safetensors a.npz 2>/dev/null
		lnn-ckpt-adapt -q -o a.pth a.npz 2>/dev/null
		lnn-ckpt-adapt -q --to torch 2>/dev/null <a.npz | cat | cmp - a.pth || fail "method $method through a pipe"
		lnn-ckpt-inspect -q --against a.safetensors --values a.pth || fail "method $method"
	done
}

@test 'damaged .npz files and arrays that cannot be tensors are refused' {
	command -v python3 >/dev/null || skip 'there is no python3'
	# refuse DESCR SHAPE TEXT
	refuse() {
		printf 12345678 | npy "$1" False "$2" >x
		zipped 0 x.npy=x
		try lnn-ckpt-inspect a.npz
		expect_refusal 2 lnn-ckpt-inspect "array 'x.npy' of the .npz" "$3"
	}
	refuse '|O' '(1,)' 'pickled Python objects'
	refuse '<M8[s]' '(1,)' 'a dtype that no tensor has'
	refuse '|V1' '(8,)' 'a dtype that no tensor has'
	refuse '<f4' '(3,)' 'another number of bytes'
	refuse '<f4' '(4611686018427387904, 16)' 'another number of bytes'
	refuse '<f4' "($(printf '1, %.0s' {1..65}))" 'not understood'
	refuse '<f4' '(-2,)' 'not understood'
	refuse '<f4' '(2' 'not understood'
	printf '\x93NUMPY\1\0\377\377{' >x
	zipped 0 x.npy=x
	try lnn-ckpt-inspect a.npz
	expect_refusal 2 lnn-ckpt-inspect 'header'
	printf '\x93NUMPY\2\0\377\377\377\377{' >x
	zipped 8 x.npy=x
	try lnn-ckpt-inspect a.npz
	expect_refusal 2 lnn-ckpt-inspect 'header of a size'
	# A changed byte in the elements is found by the CRC of the record, for both formats.
	head -c 40000 /dev/zero | npy '<f4' False '(10000,)' >x
	for method in 0 8; do
		zipped $method x.npy=x
		printf '\5' | dd of=a.npz bs=1 seek=$(($(stat -c %s a.npz) / 2 - 40)) conv=notrunc status=none
		for to in torch safetensors; do
			try lnn-ckpt-adapt --to $to -o out a.npz
			if [ $to$method = torch0 ]; then # bytes that are copied unchanged keep their stated CRC
				expect_status 0
				try lnn-ckpt-inspect --check out
				expect_status 1
			else
				[ "$status" -eq 2 ] || fail "$to $method: $status"
			fi
			rm -f out
		done
	done
	# Damage in the last record gives its name.
	seq 100000 | head -c 400000 | npy '<f4' False '(100000,)' >x
	zipped 8 x.npy=x
	head -c 100 /dev/zero | tr '\0' '\377' | dd of=a.npz bs=1 seek=$(($(stat -c %s a.npz) / 2)) conv=notrunc status=none
	try lnn-ckpt-adapt --to safetensors -o out a.npz
	expect_refusal 2 lnn-ckpt-adapt "record 'x.npy': "
}

@test 'pickles of arrays by Python 2 are read in protocols 0 and 2' {
	printf '%s\n' "(dp1" "S'w'" p2 cnumpy.core.multiarray _reconstruct p3 '(cnumpy' ndarray p4 '(I0' "tS'b'" 'tRp5' '(I1' \
		'(I2' 'tcnumpy' dtype p6 "(S'u1'" I0 I1 tRp7 '(I3' "S'|'" NNNI-1 I-1 I0 'tbI00' "S'\\x07\\n'" 'tbs.' >a.pkl
	try lnn-ckpt-inspect a.pkl
	expect_status 0
	expect_out $'w\tuint8\t[2]'
	lnn-ckpt-adapt -q -o out.safetensors a.pkl
	tail -c 2 out.safetensors | cmp - <(printf '\7\n')
	{
		printf '\x80\2}q\1U\5modelq\2}U\1wcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85U\1btR(K\1M\0\10\x85'
		printf 'cnumpy\ndtype\nU\2u1K\0K\1\x87R(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T\0\10\0\0'
		head -c 2048 /dev/zero | tr '\0' x
		printf 'tbssU\12__author__U\6Caffe2s.'
	} >b.pkl
	try lnn-ckpt-inspect b.pkl
	expect_status 0
	expect_out $'w\tuint8\t[2048]'
	lnn-ckpt-adapt -q --to safetensors <b.pkl | tail -c 2048 | cmp - <(head -c 2048 /dev/zero | tr '\0' x)
	# The stated bytes end with the file, or reach beyond its end.
	for n in 100 1000 2200; do
		try lnn-ckpt-inspect <(head -c $n b.pkl)
		expect_refusal 2 lnn-ckpt-inspect 'ends within'
	done
}
