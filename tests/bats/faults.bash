# shellcheck shell=bash
# Helpers for tests with failing system calls (`load faults` after helpers), which use the shim of tests/faults.

setup_file() {
	local flags=
	case ${LNN_SAN-} in *address*) flags=-DNO_MALLOC ;; esac
	export LNN_FAULT_SHIM=${BATS_FILE_TMPDIR:?}/shim.so
	# shellcheck disable=SC2086 # no word, or one
	"${CC:-cc}" -O1 -shared -fPIC $flags -o "$LNN_FAULT_SHIM" "${BATS_TEST_DIRNAME:?}/../faults/shim.c" -ldl
}

faults() {
	case ${LNN_SAN-} in *thread* | qemu) skip "the thread sanitizer and qemu cannot preload a library" ;; esac
	"${top:?}/tests/faults/run" "$@"
}

# For setup and teardown of files with hundreds of runs: a folder in which fsync is fast. faults.bats uses the disk.
enter_fast() {
	fast=$(mktemp -d /dev/shm/lnn-test-XXXXXX 2>/dev/null) || fast=${BATS_TEST_TMPDIR:?}
	cd "$fast" || return 1
	export TMPDIR=$fast
}

leave_fast() {
	rm -rf "${fast:?}"
}
