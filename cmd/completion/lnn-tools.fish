# Completion of the lnn-tools in fish. Options are read off --help; names of tensors off the checkpoint on the line.

function __lnn_names
	for word in (commandline -opc)[2..-1]
		if test -f "$word"
			lnn-ckpt-inspect -q --format names "$word" 2>/dev/null </dev/null; and return
		end
	end
end

function __lnn_maps
	lnn-ckpt-adapt --print-map '' 2>&1 | string replace -rf '.*there are (.*) \(a map.*' '$1' | string split ', '
end

function __lnn_values
	switch $argv[2]
		case color progress
			echo auto always never
		case model
			echo mFormerV0 mFormerV1
		case source print-map
			echo '(__lnn_maps)'
		case to
			echo torch safetensors
		case dtype
			echo float64 float32 float16 bfloat16
		case compat
			echo linnaeus
		case method
			echo bicubic bilinear
		case layout to-layout
			echo auto first last grid metaformer
		case nan
			echo equal differ
		case dump-as
			echo text npy raw
		case sort
			echo file name natural size
		case fail-on
			echo nan inf zero
		case format
			test $argv[1] = lnn-filter; and echo table json; or echo table tsv names json jsonl model
		case dump drop-params drop-buffers strip-prefix
			echo '(__lnn_names)'
	end
end

for program in lnn-ckpt-inspect lnn-filter lnn-ckpt-adapt lnn-interp-bias
	for line in ($program --help 2>/dev/null | string match -r '^ +(?:-[^-], )?--.*')
		set -l name (string replace -rf '^ +(?:-[^-], )?--([a-z-]+).*' '$1' -- $line)
		set -l letter (string replace -rf '^ +-([^-]), .*' -- '-s $1' $line | string split ' ')
		set -l about (string replace -rf '^ +\S.*?  +(\S.*)' '$1' -- $line)
		set -l values (__lnn_values $program $name)
		if test -n "$values"
			complete -c $program -l $name $letter -x -a "$values" -d "$about"
		else if string match -rq -- '--[a-z-]+\[?=' $line
			complete -c $program -l $name $letter -r -d "$about"
		else
			complete -c $program -l $name $letter -d "$about"
		end
	end
end
