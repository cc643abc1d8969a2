# kill -9 at random moments while a large output is written. The old or the new file must be whole. Unfinished files have hidden names,
# which the next run ignores.
#
# LNN_SEED=N repeats the moments of the run that printed N. LNN_KILLS is the number of kills in each test.

# shellcheck disable=SC2154 # top and fixtures come from helpers
load helpers

setup_file() {
	# A large tensor, a bias table of 7 x 7 cells and four heads (2704 bytes), and another large tensor. The contents are float32
	# noise that is also finite as bfloat16.
	local bytes=$((64 << 20)) header n half i
	n=$(((bytes - 2704) / 4))
	half=$((n / 2))
	header='{"a":{"dtype":"F32","shape":['$half'],"data_offsets":[0,'$((half * 4))']},'
	header+='"stage_3.relative_position_bias_table":{"dtype":"F32","shape":[169,4],"data_offsets":['
	header+="$((half * 4)),$((half * 4 + 2704))]},"
	header+='"z":{"dtype":"F32","shape":['$((n - half))'],"data_offsets":['$((half * 4 + 2704)),$bytes']}}'
	while ((${#header} % 8)); do header+=' '; done
	n=$(printf '%04x' ${#header})
	export LARGE=$BATS_FILE_TMPDIR/in.safetensors
	head -c 4194304 /dev/urandom | tr '\170-\177\370-\377' '\060-\067\260-\267' >"$BATS_FILE_TMPDIR/noise"
	{
		printf '%b' "\\x${n:2:2}\\x${n:0:2}\\0\\0\\0\\0\\0\\0$header"
		for ((i = 0; i < bytes; i += 4194304)); do cat "$BATS_FILE_TMPDIR/noise"; done
	} >"$LARGE"
}

# The time in microseconds.
now() {
	local t=$EPOCHREALTIME
	echo "${t/[^0-9]/}"
}

# Fails if the folder has a name that is neither expected nor that of a hidden temporary file or folder of out.
only_known_names() {
	local f
	for f in * .[!.]*; do
		case $f in
		new | out | '*' | '.[!.]*' | .out.??????) ;;
		*) fail "$f was left" || return 1 ;;
		esac
	done
}

# kills SETUP CHECK COMMAND...: runs COMMAND once to its end, which gives new, and then kills it at random moments of the same period.
# SETUP is evaluated before each run, and CHECK must hold after it. More than LNN_KILLS runs are made only if none was killed in time.
kills() {
	local setup=$1 check=$2 i start took delay seed=${LNN_SEED:-$RANDOM} killed=0 status tries=${LNN_KILLS:-6}
	shift 2
	RANDOM=$seed
	eval "$setup"
	start=$(now)
	("$@")
	took=$(($(now) - start))
	mv out new
	for ((i = 0; i < tries || (killed == 0 && i < 5 * tries); i++)); do
		eval "$setup"
		delay=$((took * (RANDOM % 1000) / 950))
		"$@" 3>&- &
		sleep "$((delay / 1000000)).$(printf %06d $((delay % 1000000)))"
		kill -s KILL $! 2>/dev/null || true
		status=0
		wait $! || status=$?
		# A run that ended by itself took less time than the delay, as the machine was busy during the first run.
		if [ $status -eq 137 ]; then killed=$((killed + 1)); else took=$delay; fi
		{ [ $status -eq 137 ] || [ $status -eq 0 ]; } || fail "status $status; LNN_SEED=$seed"
		eval "$check" || fail "neither the old nor the new output after kill $i, $delay us; LNN_SEED=$seed" "$(ls -lA)"
		only_known_names || fail "LNN_SEED=$seed"
	done
	[ $killed -gt 0 ] || fail "no run was killed in time; LNN_SEED=$seed"
	# The remaining temporary files do not disturb the next run.
	eval "$setup"
	("$@")
	diff -r out new
}

old_or_new() {
	if [ "$(stat -c %s out)" -eq 4 ]; then [ "$(cat out)" = old ]; else cmp -s out new; fi
}

none_or_new() {
	[ ! -e out ] || diff -r out new
}

@test 'a killed copy leaves the old or the new file' {
	kills 'echo old >out' old_or_new lnn-ckpt-adapt -q "$LARGE" -o out
}

@test 'a killed conversion leaves the old or the new file' {
	kills 'echo old >out' old_or_new lnn-ckpt-adapt -q --to torch "$LARGE" -o out
}

@test 'a killed cast with two threads leaves the old or the new file' {
	kills 'echo old >out' old_or_new lnn-ckpt-adapt -q -j 2 --dtype bfloat16 "$LARGE" -o out
}

@test 'a killed resize of tables over its own input leaves the input or the new file' {
	# A hard link saves a copy. The output replaces only the name.
	link_in() { ln -f "$LARGE" out; }
	in_or_new() { cmp -s out "$LARGE" || cmp -s out new; }
	kills link_in in_or_new lnn-interp-bias -q --img-size 224 out -o out
}

@test 'a killed run leaves no folder of shards or a whole one' {
	kills 'rm -rf out' none_or_new lnn-ckpt-adapt -q --max-shard-size 30MB "$LARGE" -o out/
}

@test 'a killed run leaves no distributed folder or a whole one' {
	kills 'rm -rf out' none_or_new lnn-ckpt-adapt -q --to dcp "$LARGE" -o out/
}

@test 'a killed conversion of a distributed folder leaves the old or the new file' {
	local folder=$BATS_FILE_TMPDIR/folder
	lnn-ckpt-adapt -q --to dcp "$LARGE" -o "$folder/"
	kills 'echo old >out' old_or_new lnn-ckpt-adapt -q --to safetensors "$folder" -o out
	rm -r "$folder"
}

@test 'a killed --salvage leaves the old or the new file' {
	head -c -1000 "$LARGE" >"$BATS_FILE_TMPDIR/cut"
	salvaged() { lnn-ckpt-adapt -q --salvage "$BATS_FILE_TMPDIR/cut" -o out || [ $? -eq 1 ]; }
	exec_salvaged() { exec lnn-ckpt-adapt -q --salvage "$BATS_FILE_TMPDIR/cut" -o out; }
	salvaged
	mv out whole
	echo old >out
	exec_salvaged 3>&- &
	sleep 0.02
	kill -s KILL $! 2>/dev/null || true
	wait $! || true
	[ "$(stat -c %s out)" -eq 4 ] || cmp out whole
}

# exec makes the program the process that is killed.
piped() {
	exec lnn-ckpt-adapt -q --to torch -o out < <(cat "$LARGE")
}

@test 'a killed conversion from a pipe leaves the old or the new file' {
	kills 'echo old >out' old_or_new piped
}
