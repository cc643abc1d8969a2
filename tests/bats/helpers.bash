# shellcheck shell=bash
# Helpers for bats files (`load helpers`). Each test starts in its own empty folder. The programs are first in PATH, and $fixtures is
# tests/fixtures.

bats_require_minimum_version 1.5.0

top=$(cd "${BATS_TEST_DIRNAME:?}/../.." && pwd)
fixtures=$top/tests/fixtures
export top fixtures
export PATH="${LNN_BUILD:=$top/build}:$PATH"
export LC_ALL=C.UTF-8
unset NO_COLOR CONFIG_DIR

setup() {
	cd "${BATS_TEST_TMPDIR:?}" || return 1
}

# fail LINE...: prints the reason of a failure and returns 1.
fail() {
	printf '%s\n' "$@" >&2
	return 1
}

# try PROGRAM ARG...: runs a program. $output, $stderr and $status have its standard output, standard error and status.
try() {
	run --separate-stderr "$@" </dev/null
}

# pipe 'a | b': like try for a pipeline, which fails if any part of it fails.
pipe() {
	run --separate-stderr bash -c "set -o pipefail; $1" </dev/null
}

# expect_status N
expect_status() {
	# shellcheck disable=SC2154
	[ "$status" -eq "$1" ] || fail "status $status, expected $1" "stdout: $output" "stderr: $stderr"
}

# expect_out TEXT: standard output is exactly TEXT, except for newlines at its end.
expect_out() {
	[ "$output" = "$1" ] || fail 'standard output differs:' "$(diff <(printf '%s\n' "$1") <(printf '%s\n' "$output"))"
}

# expect_out_has TEXT...: standard output contains each text.
expect_out_has() {
	local text
	for text; do
		[[ $output == *"$text"* ]] || fail "not on standard output: $text" "stdout: $output"
	done
}

# expect_err_has TEXT...: standard error contains each text.
expect_err_has() {
	local text
	for text; do
		[[ $stderr == *"$text"* ]] || fail "not on standard error: $text" "stderr: $stderr"
	done
}

expect_no_err() {
	[ -z "$stderr" ] || fail "standard error is not empty: $stderr"
}

# expect_refusal N PROGRAM TEXT...: status N, nothing on standard output, and one line on standard error that begins
# with the program's name and has each text.
expect_refusal() {
	local expected=$1 program=$2
	shift 2
	expect_status "$expected" || return 1
	[ -z "$output" ] || fail "standard output is not empty: $output" || return 1
	[ "$(printf '%s\n' "$stderr" | wc -l)" -eq 1 ] || fail "one line was expected: $stderr" || return 1
	[[ $stderr == "$program: "* ]] || fail "does not begin with the program's name: $stderr" || return 1
	expect_err_has "$@"
}

# expect_only NAME...: the folder has exactly these names. So no temporary file is left.
expect_only() {
	local have expected
	have=$(find . -mindepth 1 ! -name 'separate-stderr-*' -printf '%P\n' | sort)
	expected=$(printf '%s\n' "$@" | sort)
	[ "$have" = "${expected#$'\n'}" ] || fail 'files in the folder:' "$have" 'expected:' "$expected"
}

# safetensors FILE NAME...: a file with one float32 for each name, which is built by hand.
safetensors() {
	local file=$1 header='{' at=0 n
	shift
	for n; do
		header+="\"$n\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[$at,$((at + 4))]},"
		at=$((at + 4))
	done
	header="${header%,}}"
	n=$(printf '%08x' ${#header})
	{
		printf '%b' "\\x${n:6:2}\\x${n:4:2}\\x${n:2:2}\\x${n:0:2}\\0\\0\\0\\0"
		printf '%s' "$header"
		head -c $at /dev/zero
	} >"$file"
}
