# The Python wheel. `make check` has linked the programs without shared libraries. These tests compile nothing.

# shellcheck disable=SC2154 # top, output, stderr, status come from helpers and bats
load helpers

setup() {
	[ -z "$LNN_SAN$LNN_COV" ] || skip 'sanitizers and coverage have no static libraries'
	cd "${BATS_TEST_TMPDIR:?}" || return 1
}

setup_file() {
	[ -z "$LNN_SAN$LNN_COV" ] || return 0
	wheel one && wheel two
}

# Makes a wheel in a separate folder. All files that `make wheel` needs are already built.
wheel() {
	mkdir "$BATS_FILE_TMPDIR/$1"
	(cd "$BATS_FILE_TMPDIR/$1" && TZ=Asia/Tokyo python3 "$top/cmd/package/wheel" "$(version)" "$(uname -m)" \
		env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$top" -o all BUILD="$LNN_BUILD" \
		PROGS="$(printf '%s ' "$LNN_BUILD"/static/lnn-*)" >"$1.log" 2>&1) || fail "$(cat "$BATS_FILE_TMPDIR/$1/$1.log")"
}

version() {
	sed -n 's/^VERSION := //p' "$top/Makefile"
}

@test 'make wheel gives the same bytes twice, in less than 5 MB' {
	set -- "$BATS_FILE_TMPDIR"/one/*.whl
	[ $# -eq 1 ]
	[ "$(stat -c %s "$1")" -lt 5000000 ]
	cmp "$1" "$BATS_FILE_TMPDIR"/two/*.whl
	[[ $1 = */lnn_tools-"$(version)"-py3-none-manylinux_2_17_"$(uname -m)".*.whl ]]
}

@test 'pip installs programs, manuals and completions from the wheel into a new environment' {
	python3 -c 'import venv, ensurepip' 2>/dev/null || skip 'there is no venv'
	python3 -m venv env
	env/bin/pip --disable-pip-version-check install -q --no-index "$BATS_FILE_TMPDIR"/one/*.whl
	[ "$(env/bin/pip --disable-pip-version-check list --format freeze | grep lnn)" = "lnn-tools==$(version)" ]
	for p in lnn-ckpt-inspect lnn-filter lnn-ckpt-adapt lnn-interp-bias; do
		run env -i "env/bin/$p" --version
		[[ $output = "$p (lnn-tools) $(version)"* ]]
		[ -f "env/share/man/man1/$p.1" ]
		[ -f "env/share/bash-completion/completions/$p" ]
	done
	cmp <(env/bin/lnn-ckpt-inspect --digest "$fixtures/demo.pth") <("$LNN_BUILD/lnn-ckpt-inspect" --digest "$fixtures/demo.pth")
	env/bin/pip --disable-pip-version-check uninstall -q -y lnn-tools
	[ -z "$(find env -name 'lnn*' ! -type d)" ]
}

@test 'a static program runs in a root folder that has only the program and a checkpoint' {
	mkdir cage
	cp "$LNN_BUILD"/static/lnn-* "$fixtures/demo.pth" cage
	unshare -r chroot cage /lnn-filter --version >/dev/null 2>&1 || skip 'no chroot for this user'
	unshare -r chroot cage /lnn-ckpt-inspect demo.pth | cmp - <("$LNN_BUILD/lnn-ckpt-inspect" "$fixtures/demo.pth")
	unshare -r chroot cage /lnn-ckpt-adapt -q --drop-params head --dtype float16 demo.pth -o out.pth
	"$LNN_BUILD/lnn-ckpt-adapt" -q --drop-params head --dtype float16 "$fixtures/demo.pth" | cmp - cage/out.pth
	unshare -r chroot cage /lnn-filter -e '{TYPE: name, MATCH_TYPE: regex, PATTERNS: ["weight$"]}' demo.pth |
		cmp - <("$LNN_BUILD/lnn-filter" -e '{TYPE: name, MATCH_TYPE: regex, PATTERNS: ["weight$"]}' "$fixtures/demo.pth")
}
