# Every single system call of the main commands fails in one run. tests/faults/run describes the allowed results.

# shellcheck disable=SC2154 # top and fixtures come from helpers
load helpers
load faults

# True for symbols that the shim need not have. They call nothing that the system can refuse, or a failure changes only how text is
# shown.
is_harmless() {
	case $1 in
	# compilers and sanitizers
	_ITM_* | __cxa* | __gmon* | __stack* | __asan* | __ubsan* | __sanitizer* | __gcov* | __tsan* | llvm*) ;;
	# the C library: numbers, text, memory that is already allocated
	__ctype* | __errno* | __isoc* | __memcpy* | __memset* | __snprintf* | __vsnprintf*) ;;
	free* | madvise* | mem* | str* | xstr* | stpcpy* | qsort* | snprintf* | vsnprintf* | fma | fmax | fmin | frexp | hypot* | pow | sqrt*) ;;
	# libraries that only compute
	nettle_* | pcre2_* | yaml_* | inflate* | deflate* | crc32*) ;;
	# process, signals and threads
	__libc_start* | _exit* | abort* | exit* | getenv* | getopt* | getpid* | raise* | sig* | umask* | syscall*) ;;
	clock_gettime* | closedir* | pthread_cond* | pthread_mutex* | pthread_join* | pthread_sigmask*) ;;
	# whether a file is a terminal, and its width
	isatty* | ioctl*) ;;
	*) return 1 ;;
	esac
}

@test 'every system call of the programs can be made to fail' {
	local program symbol have
	[ -z "${LNN_SAN-}${LNN_COV-}" ] || skip 'sanitizers and coverage add symbols'
	command -v nm >/dev/null || skip 'no nm'
	have=$(nm -D --defined-only "$LNN_FAULT_SHIM" | awk '{ print $3 }')
	[[ $have == *pread64* ]] || fail "$have"
	for program in lnn-ckpt-adapt lnn-ckpt-inspect lnn-filter lnn-interp-bias; do
		for symbol in $(nm -D --undefined-only "$LNN_BUILD/$program" | awk '{ sub(/@.*/, "", $2); print $2 }'); do
			is_harmless "$symbol" || [[ $'\n'$have$'\n' == *$'\n'$symbol$'\n'* ]] ||
				fail "$program calls $symbol, which the shim does not have"
		done
	done
}

@test 'a failing call: adapt from a folder' {
	mkdir folder
	cp "$fixtures/tiny.pth" "$fixtures/no-tensor.pth" folder
	faults -o out -- lnn-ckpt-adapt -q folder -o out
}

@test 'a failing call: adapt from a distributed folder' {
	tar xzf "$fixtures/dcp/dt2.tar.gz"
	faults -o out -s 5 -- lnn-ckpt-adapt -q -k '' dt2 -o out
}

@test 'a failing call: adapt from a file to a file' {
	faults -o out -e 'EIO ENOSPC' -- lnn-ckpt-adapt "$fixtures/tiny.pth" -o out
	faults -o out -c 'write copy_file_range fsync close open' -e 'EDQUOT EFBIG EROFS' -- \
		lnn-ckpt-adapt "$fixtures/tiny.pth" -o out
}

@test 'a failing call: an output behind a symbolic link, and a file with a second name' {
	mkdir real
	echo old >real/file
	ln -s real/file out
	faults -o out -- lnn-ckpt-adapt "$fixtures/tiny.safetensors" -o out
	[ -L out ]
	expect_only out real real/file
	# The output becomes a new file. The second name keeps the old bytes.
	echo old >real/file
	ln real/file real/other
	lnn-ckpt-adapt -q "$fixtures/tiny.safetensors" -o out
	[ "$(cat real/other)" = old ]
	[ "$(stat -c %h real/file real/other)" = $'1\n1' ]
	lnn-ckpt-adapt -q "$fixtures/tiny.safetensors" | cmp - real/file
	expect_only out real real/file real/other
}

@test 'a failing call: adapt from a pipe to a file' {
	faults -o out -e 'EIO ENOSPC' -p "$fixtures/tiny.pth" -- lnn-ckpt-adapt -o out
}

@test 'a failing call: adapt from a pipe to a pipe' {
	faults -l -e 'EIO EPIPE' -p "$fixtures/tiny.pth" -- lnn-ckpt-adapt
	faults -l -e 'EIO EPIPE' -p "$fixtures/tiny.safetensors" -- lnn-ckpt-adapt
	faults -l -i "$fixtures/tiny.pth" -- lnn-ckpt-adapt
	faults -l -p "$fixtures/legacy.pth" -s 3 -- lnn-ckpt-adapt --dtype bfloat16
}

@test 'a failing call: adapt with a report' {
	faults -o out -a report -- lnn-ckpt-adapt "$fixtures/tiny.pth" --report report -o out
}

@test 'a failing call: adapt to safetensors and back' {
	faults -o out -- lnn-ckpt-adapt --to safetensors "$fixtures/tiny.pth" -o out
	faults -o out -- lnn-ckpt-adapt --to torch "$fixtures/tiny.safetensors" -o out
}

@test 'a failing call: adapt to bfloat16' {
	faults -o out -- lnn-ckpt-adapt --dtype bfloat16 "$fixtures/tiny.pth" -o out
}

@test 'a failing call: adapt from a legacy stream and a deflated zip' {
	faults -o out -- lnn-ckpt-adapt "$fixtures/legacy.pth" -o out
	faults -o out -- lnn-ckpt-adapt "$fixtures/deflated.pth" -o out
}

@test 'a failing call: interp-bias' {
	faults -o out -e 'EIO ENOSPC' -- lnn-interp-bias --img-size 384 "$fixtures/tables.pth" -o out
}

@test 'a failing call: filter' {
	lnn-filter -e '{TYPE: name, PATTERNS: [weight]}' "$fixtures/tiny.pth" >list
	[ -s list ]
	faults -e 'EIO EPIPE' -- lnn-filter -e '{TYPE: name, PATTERNS: [weight]}' "$fixtures/tiny.pth"
	faults -e 'EIO EPIPE' -p list -- lnn-filter -e '{TYPE: name, PATTERNS: [weight]}'
}

@test 'a failing call: inspect' {
	faults -e 'EIO EPIPE' -- lnn-ckpt-inspect "$fixtures/tiny.pth"
	faults -- lnn-ckpt-inspect --stats "$fixtures/tiny.safetensors"
	faults -- lnn-ckpt-inspect --format json "$fixtures/tiny.pth"
}

@test 'a failing call: the globals of a pickle' {
	local f
	for f in tiny.pth deflated.pth legacy.pth; do
		faults -e 'EIO EPIPE' -- lnn-ckpt-inspect --globals "$fixtures/$f"
	done
}

@test 'a failing allocation ends the program with one line' {
	case ${LNN_SAN-} in *address*) skip 'malloc belongs to the sanitizer' ;; esac
	[ -z "${LNN_COV-}" ] || skip 'the coverage tool fails without memory'
	faults -c malloc -s 3 -o out -- lnn-ckpt-adapt "$fixtures/tiny.pth" -o out
	faults -c malloc -s 3 -o out -- lnn-interp-bias --img-size 384 "$fixtures/tables.pth" -o out
	faults -c malloc -s 3 -- lnn-filter -e '{TYPE: name, PATTERNS: [weight], MATCH_TYPE: regex}' "$fixtures/tiny.pth"
	faults -c malloc -s 3 -- lnn-ckpt-inspect "$fixtures/tiny.pth"
}

# start OUTPUT: starts adapt on a pipe that stops in the middle of a checkpoint, and waits until adapt has begun to write.
start() {
	local i
	[ -p in ] || mkfifo in
	# Background jobs of a script ignore INT, and those under nohup ignore HUP. env restores the default.
	env --default-signal lnn-ckpt-adapt -o "$1" <in 2>err 3>&- &
	pid=$!
	exec 7>in
	head -c 600000 "$fixtures/demo.pth" >&7
	for ((i = 0; i < 200; i++)); do
		[ -z "$(find . -path './.out.*' -type f -size +0)" ] || return 0
		sleep 0.05
	done
	fail 'no temporary file appeared'
}

@test 'a signal leaves no temporary file and the old output' {
	local signal status
	ulimit -c 0
	for signal in TERM INT HUP XCPU; do
		echo old >out
		start out
		kill -s $signal "$pid"
		status=0
		wait "$pid" || status=$?
		exec 7>&-
		[ "$status" -eq $((128 + $(kill -l $signal))) ] || fail "status $status after $signal"
		[ "$(cat out)" = old ]
		[ ! -s err ] || fail "$(cat err)"
		expect_only err in out
	done
}

@test 'a signal leaves no part of a set' {
	local status
	start out/
	kill -s TERM "$pid"
	status=0
	wait "$pid" || status=$?
	exec 7>&-
	[ "$status" -eq 143 ]
	[ ! -s err ] || fail "$(cat err)"
	expect_only err in
}

@test 'kill -9 leaves the old output whole' {
	echo old >out
	start out
	kill -s KILL "$pid"
	wait "$pid" || true
	exec 7>&-
	[ "$(cat out)" = old ]
}

@test 'a stream that ends too early leaves the old output' {
	echo old >out
	start out
	exec 7>&-
	status=0
	wait "$pid" || status=$?
	[ "$status" -eq 2 ]
	[ "$(wc -l <err)" -eq 1 ]
	grep -q 'cut off' err
	[ "$(cat out)" = old ]
	expect_only err in out
}
