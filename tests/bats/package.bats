# Installation and packages. The tests use the programs that were built and compile nothing.

# shellcheck disable=SC2154 # top, output, stderr, status come from helpers and bats
load helpers

programs='lnn-ckpt-adapt lnn-ckpt-inspect lnn-filter lnn-interp-bias'

# project ARG...: runs make in the project without the settings of the make that runs this test. The programs are already built.
project() {
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$top" -o all BUILD="$LNN_BUILD" "$@" >make.log 2>&1 || fail "$(cat make.log)"
}

@test 'make install installs programs, manuals, and completions under the names that shells search for' {
	local p page
	project DESTDIR="$PWD/root" PREFIX=/usr install
	for p in $programs; do
		cmp "root/usr/bin/$p" "$LNN_BUILD/$p"
		[ "$(stat -c %a "root/usr/bin/$p")" = 755 ]
		cmp "root/usr/share/bash-completion/completions/$p" "$top/cmd/completion/lnn-tools.bash"
		cmp "root/usr/share/fish/vendor_completions.d/$p.fish" "$top/cmd/completion/lnn-tools.fish"
		[ -f "root/usr/share/man/man1/$p.1" ]
	done
	for page in "$top"/man/*.[157]; do
		cmp "$page" "root/usr/share/man/man${page##*.}/${page##*/}"
	done
	cmp root/usr/share/zsh/site-functions/_lnn-tools "$top/cmd/completion/_lnn-tools"
	diff -r root/usr/share/lnn-tools/keymaps "$top/man/keymaps"
	[ "$(head -n 1 root/usr/share/zsh/site-functions/_lnn-tools | tr ' ' '\n' | sed 1d | sort)" = "$(tr ' ' '\n' <<<"$programs")" ]
	# Symbolic links stay inside the tree.
	[ -z "$(find root -type l -lname '/*')" ]

	project DESTDIR="$PWD/root" PREFIX=/usr uninstall
	[ -z "$(find root ! -type d)" ] || fail "$(find root ! -type d)"
}

@test 'bash-completion loads the completion for each command' {
	[ -f /usr/share/bash-completion/bash_completion ] || skip 'there is no bash-completion'
	local p
	project DESTDIR="$PWD/root" PREFIX=/usr install
	for p in $programs; do
		# shellcheck disable=SC2016 # variables of the other shell
		run env XDG_DATA_DIRS="$PWD/root/usr/share" bash -c '. /usr/share/bash-completion/bash_completion
			_completion_loader "$1"; complete -p "$1"' - "$p"
		expect_out "complete -F _lnn_tools $p"
	done
}

@test 'make dist gives the same bytes from two clones with other settings' {
	git -C "$top" rev-parse -q --verify HEAD >/dev/null 2>&1 || skip 'this is no git repository'
	local name
	git clone -q "$top" one
	git clone -q "$top" two
	(umask 022 && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C one dist)
	(umask 077 && cd two && git config tar.umask 0077 && TZ=Asia/Tokyo env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s dist)
	name=$(cd one && echo lnn-tools-*.tar.gz)
	cmp "one/$name" "two/$name"
	tar -tzf "one/$name" >names
	[ "$(grep -c "^${name%.tar.gz}/" names)" -eq "$(wc -l <names)" ]
	tar -xOzf "one/$name" "${name%.tar.gz}/README.md" | cmp - "$top/README.md" || [ -n "$(git -C "$top" status --porcelain README.md)" ]
}

@test 'make deb gives the same bytes twice, and lintian accepts the package' {
	command -v dpkg-shlibdeps >/dev/null || skip 'there is no dpkg-dev'
	[ -z "${LNN_SAN-}" ] || skip 'programs with sanitizers are not packaged'
	local deb version
	version=$(sed -n 's/^VERSION := //p' "$top/Makefile")
	for deb in one two; do
		mkdir $deb
		(cd $deb && "$top/cmd/package/deb" "$version" env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$top" -o all BUILD="$LNN_BUILD")
	done
	deb=$(echo one/lnn-tools_*.deb)
	cmp "$deb" "two/${deb#one/}"
	dpkg-deb -x "$deb" root
	[ "$(root/usr/bin/lnn-filter --version | head -n 1)" = "lnn-filter (lnn-tools) $version" ]
	[ -f root/usr/share/doc/lnn-tools/copyright ]
	[ "$(find root/usr/share/man -name '*.gz' | wc -l)" -eq "$(find "$top/man" -name '*.[157]' | wc -l)" ]
	(cd root && dpkg-deb -I "../$deb" md5sums | md5sum --quiet -c)
	dpkg-deb -f "$deb" Depends | grep -q libyaml
	dpkg-deb -f "$deb" Homepage | grep -q '^https://'
	[[ $(dpkg-deb -f "$deb" Maintainer) = 'the lnn-tools project <'* ]]
	command -v lintian >/dev/null || skip 'there is no lintian'
	run lintian --allow-root --fail-on error,warning "$deb"
	[ "$status" -eq 0 ] || fail "$output"
	[ -z "$output" ] || fail "$output"
}

@test 'the Makefile, --version, the changelog and the README have the same version number' {
	local version
	version=$(sed -n 's/^VERSION := //p' "$top/Makefile")
	lnn-filter --version | grep -qF " $version"
	grep -qF "lnn-tools ($version)" "$top/cmd/package/changelog"
	grep -qE "^$version: " "$top/README.md"
}

@test 'the top folder contains only the files that belong there' {
	git -C "$top" rev-parse -q --verify HEAD >/dev/null 2>&1 || skip 'this is no git repository'
	run git -C "$top" ls-tree --name-only HEAD
	output=$(grep -v '^\.' <<<"$output" | sort)
	expect_out "$(printf '%s\n' LICENSE Makefile README.md cmd lib man tests | sort)"
}
