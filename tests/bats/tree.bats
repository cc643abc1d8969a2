# The lint steps that check documents and interfaces find the faults that they must find.

# shellcheck disable=SC2154,SC2016,SC2129 # top, status, output come from helpers and bats; backquotes are Markdown's
load helpers

# Makes a small project of two folders with a map, without faults.
small_tree() {
	mkdir -p lib/base lib/io cmd/prog
	cat >lib/base/num.h <<-'EOF'
		/* num: numbers. Used by io/copy.c. */
		struct num { int n; };
		int num_add(int a, int b);
		int
		num_sub(int a, int b);
	EOF
	printf 'int\nnum_add(int a, int b)\n{\n\treturn a + b;\n}\n\nint\nnum_sub(int a, int b)\n{\n\treturn a - b;\n}\n' >lib/base/num.c
	printf 'int\ncopy(void)\n{\n\treturn num_add(1, num_sub(2, 3));\n}\n' >lib/io/copy.c
	printf 'int\nmain(void)\n{\n\treturn num_add(1, num_sub(2, 3));\n}\n' >cmd/prog/main.c
	{
		printf '# Map\n\nSee `lib/base/num.h` and `num_add()`.\n\n## Where to look\n\n| question | file | function |\n|---|---|---|\n'
		for i in {1..17}; do
			printf '| Question %d? | `lib/base/num.c` | `num_add()`, `num_sub()` |\n' "$i"
		done
	} >lib/README.md
}

# found TEXT...: checks that the step fails with these lines.
found() {
	local text
	[ "$status" -eq 1 ] || fail "status $status" "$output"
	for text; do
		[[ $output == *"$text"* ]] || fail "not found: $text" "$output"
	done
}

map() {
	run perl "$top/tests/lint/map" .
}

publics() {
	run perl "$top/tests/lint/publics" "$@" .
}

@test 'the map of this tree names files and functions that exist' {
	run perl "$top/tests/lint/map" "$top"
	[ "$status" -eq 0 ] || fail "$output"
}

@test 'a small project without faults passes' {
	small_tree
	map
	[ "$status" -eq 0 ] || fail "$output"
	publics
	[ "$status" -eq 0 ] || fail "$output"
	[[ $output == '2 public functions of lib/, 0 (0 %) with a single user, 0 without any;'* ]] || fail "$output"
}

@test 'map finds rows that name missing files or functions' {
	small_tree
	sed -i 's/^| Question 3? .*/| Question 3? | `lib\/base\/numbers.c` | `num_add()` |/
		s/^| Question 4? .*/| Question 4? | `lib\/base\/num.c` | `num_add()`, `num_mul()` |/
		s/^| Question 5? .*/| Question 5? | `lib\/io\/copy.c` | `num_add()` |/
		s/^| Question 6? .*/| Question 6? | `lib\/io\/copy.c` | - |/
		s/^| Question 7? .*/| Question 7? | `lib\/io\/copy.c` | `limits` |/' lib/README.md
	map
	found 'lib/README.md:11: there is no file lib/base/numbers.c' 'lib/README.md:12: lib/base/num.c has no num_mul()' \
		'lib/README.md:13: lib/io/copy.c has no num_add()' 'lib/README.md:14: the row names nothing in its file' \
		'lib/README.md:15: lib/io/copy.c has no limits'
}

@test 'map finds a table that lost its rows or its heading' {
	small_tree
	sed -i '/Question 9/d' lib/README.md
	map
	found 'has 16 rows, fewer than 17'
	sed -i 's/^## Where to look/## Where/' lib/README.md
	map
	found 'has 0 rows, fewer than 17'
}

@test 'map finds documents and comments that name missing files or functions' {
	small_tree
	printf 'Also `lib/base/str.h`, `num_neg()` and `lib/rule/type_NAME.c`.\n' >>lib/README.md
	printf '/* See io/paste.h, and io/copy.c.\n * Rules: FACTS.md, 3. */\n' >>lib/io/copy.c
	printf '/* "a.c" and x.h */\n' >>cmd/prog/main.c
	mkdir tests
	printf '# As SPEC section 3 has it.\n' >tests/all.bats
	map
	found 'there is no lib/base/str.h' 'nothing in lib/ or cmd/ defines num_neg()' 'lib/io/copy.c:6: there is no io/paste.h' \
		'lib/io/copy.c:7: there is no FACTS.md' 'cmd/prog/main.c:6: there is no x.h' 'tests/all.bats:1: there is no SPEC'
	[[ $output != *type_NAME* && $output != *' a.c'* && $output != *'no io/copy.c'* ]] || fail "$output"
}

@test 'publics finds functions without users, with many parameters or lines, and duplicate names of structs' {
	small_tree
	printf 'int num_mul(int a);\n' >>lib/base/num.h
	printf '\nint\nnum_mul(int a)\n{\n\treturn a;\n}\n' >>lib/base/num.c
	printf '\nstatic int\nmany(int a, int b, int c, int d, int e, int (*f)(int, int), int g)\n{\n\treturn a;\n}\n' >>lib/io/copy.c
	printf '\nstatic int\nsix(int a, int b, int c, int d, int e, int (*f)(int, int))\n{\n\treturn a;\n}\n' >>lib/io/copy.c
	{ printf '\nstatic int\nlong_one(void)\n{\n'; yes $'\tcopy();' | head -n 61; printf '}\n'; } >>lib/io/copy.c
	printf '\nstatic const struct num {\n\tint n;\n} nums[1];\n' >>cmd/prog/main.c
	publics -v
	[[ $output == *'lib/base/num.h: num_mul is public and used nowhere else'* ]] || fail "$output"
	[[ $output == *'lib/io/copy.c: many has 7 parameters'* && $output != *': six has'* ]] || fail "$output"
	[[ $output == *'lib/io/copy.c: long_one has 61 lines'* ]] || fail "$output"
	[[ $output == *'num is also a struct, enum or union of'* ]] || fail "$output"
	[[ $output == *'0 (0 %) with a single user, 1 without any; 1 functions with too many parameters, 1 too long; 1 names twice'* ]] ||
		fail "$output"
	[ "$status" -eq 1 ]
}

@test 'publics finds too many functions with a single user' {
	small_tree
	sed -i 's/num_sub(2, 3)/2/' cmd/prog/main.c
	publics
	found '1 (50 %) with a single user' 'single: more than the limit of'
	publics -v
	found 'lib/base/num.h: num_sub is used by lib/io/copy.c only'
}
