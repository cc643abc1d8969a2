# Completion of the lnn-tools in fish. Options are read off --help; names of tensors off the checkpoint on the line,
# rules and groups off the configuration on the line.

function __lnn_names
	for word in (commandline -opc)[2..-1]
		if test -f "$word" -o -d "$word"
			lnn-ckpt-inspect -q --format names "$word" 2>/dev/null </dev/null; and return
		end
	end
end

# Dotted paths of the maps in a block-style YAML file that have a key $argv[1] (and, if it is TYPE, are rules) and are not
# part of a rule themselves; with $argv[2], the last part of each.
function __lnn_paths
	set -l rule '^["\']?(name|dimension|convolutional|layer_type|initialization|stage_based|and|or|not|all_except)["\']?$'
	for word in (commandline -opc)[2..-1]
		test -f "$word"; or continue
		awk -v key=$argv[1] -v last=$argv[2] -v rule=$rule '
			function show(  i, path) {
				for (i = 1; i <= n; i++) {
					if (word[i] ~ /^(FILTER|FILTERS|EXCEPT)$/) return
					path = path (i > 1 ? "." : "") word[i]
				}
				if (n > 0 && !(path in seen)) print last ? word[n] : path
				seen[path] = 1
			}
			/^ *[A-Za-z_][A-Za-z0-9_]*:/ {
				indent = match($0, /[^ ]/); name = $1; sub(/:.*/, "", name)
				while (n > 0 && at[n] >= indent) n--
				if (name == key && (key != "TYPE" || tolower($2) ~ rule)) show()
				at[++n] = indent; word[n] = name
				if (name != key && $0 ~ "[{, ]" key ":") show()
			}' "$word" 2>/dev/null
	end
end

function __lnn_maps
	lnn-ckpt-adapt --print-map '' 2>&1 | string replace -rf '.*there are (.*) \(other maps.*' '$1' | string split ', '
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
			echo torch safetensors dcp
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
		case path
			echo '(__lnn_paths TYPE 0; __lnn_paths FILTER 0) OPTIMIZER.PARAMETER_GROUPS'
		case group
			echo '(__lnn_paths FILTER 1) DEFAULT'
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
		if contains $name model source
			complete -c $program -l $name $letter -r -a "$values" -d "$about"
		else if test -n "$values"
			complete -c $program -l $name $letter -x -a "$values" -d "$about"
		else if string match -rq -- '--[a-z-]+\[?=' $line
			complete -c $program -l $name $letter -r -d "$about"
		else
			complete -c $program -l $name $letter -d "$about"
		end
	end
end
