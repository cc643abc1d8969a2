# Promises that no other file of tests holds: one by one, as they were read.

# shellcheck disable=SC2154 # fixtures, output, stderr, status come from helpers and bats
load helpers

@test 'a list is not appended to the file that it is read from, nor standard input asked for twice' {
	local p what
	for p in lnn-ckpt-inspect "lnn-filter -e '{TYPE: name, PATTERNS: [w]}'"; do
		for what in 'f' '- < f' "$fixtures/tiny.pth f"; do
			cp "$fixtures/swin.pth" f
			pipe "$p $what >> f"
			expect_status 2
			expect_err_has 'input file is output file'
			cmp f "$fixtures/swin.pth"
		done
		pipe "$p - - < $fixtures/swin.pth"
		expect_status 2
		expect_out ''
		expect_err_has 'standard input is asked for twice'
	done
}
