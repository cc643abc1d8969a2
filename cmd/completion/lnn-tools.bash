# shellcheck shell=bash
# Completion of the lnn-tools in bash. Options are read off --help, so that they are always those of the program;
# names of tensors off the checkpoint on the line, rules and groups off the configuration on the line. What stands in
# these files is never expanded by the shell: compgen -W would.

# The file and folder operands, or arguments of $1..., on the line that exist.
_lnn_files() {
	local word
	for word in "${COMP_WORDS[@]:1}"; do
		[[ $word != -* && (-f $word || -d $word) ]] && printf '%s\n' "$word"
	done
}

_lnn_names() {
	local file
	_lnn_files | while read -r file; do
		lnn-ckpt-inspect -q --format names "$file" 2>/dev/null </dev/null && break
	done
}

# Dotted paths of the maps in a block-style YAML file that have a key $1 (and, if it is TYPE, are rules) and are not part
# of a rule themselves.
_lnn_paths() {
	local file
	_lnn_files | while read -r file; do
		awk -v key="$1" -v rule="^[\"']?(name|dimension|convolutional|layer_type|initialization|stage_based|and|or|not|all_except)[\"']?\$" '
			function show(  i, path) {
				for (i = 1; i <= n; i++) {
					if (word[i] ~ /^(FILTER|FILTERS|EXCEPT)$/) return
					path = path (i > 1 ? "." : "") word[i]
				}
				if (n > 0 && !(path in seen)) print path
				seen[path] = 1
			}
			/^ *[A-Za-z_][A-Za-z0-9_]*:/ {
				indent = match($0, /[^ ]/); name = $1; sub(/:.*/, "", name)
				while (n > 0 && at[n] >= indent) n--
				if (name == key && (key != "TYPE" || tolower($2) ~ rule)) show()
				at[++n] = indent; word[n] = name
				if (name != key && $0 ~ "[{, ]" key ":") show()
			}' "$file" 2>/dev/null
	done
}

_lnn_maps() {
	lnn-ckpt-adapt --print-map '' 2>&1 | sed -n 's/.*there are \(.*\) (other maps.*/\1/p' | tr -d ,
}

# The options of a program, from its --help.
_lnn_options() {
	"$1" --help 2>/dev/null | sed -nE 's/^ +(-[^-], )?(--[a-z-]+)(\[?=.*)?.*/\2/p'
}

# Words that the option $2 of program $1 takes; none if they are files or free text.
_lnn_values() {
	case $2 in
	--color | --progress) echo auto always never ;;
	--model | -m) echo mFormerV0 mFormerV1 ;;
	--source | -s | --print-map) _lnn_maps ;;
	--to) echo torch safetensors dcp ;;
	--dtype) echo float64 float32 float16 bfloat16 ;;
	--compat) echo linnaeus ;;
	--method) echo bicubic bilinear ;;
	--layout | --to-layout) echo auto first last grid metaformer ;;
	--nan) echo equal differ ;;
	--dump-as) echo text npy raw ;;
	--sort) echo file name natural size ;;
	--fail-on) echo nan inf zero ;;
	--format) if [[ $1 == *lnn-filter ]]; then echo table json; else echo table tsv names json jsonl model; fi ;;
	--path | -p) _lnn_paths TYPE; _lnn_paths FILTER; echo OPTIMIZER.PARAMETER_GROUPS ;;
	--group | -g) _lnn_paths FILTER | sed 's/.*\.//'; echo DEFAULT ;;
	*) ;;
	esac | tr ' ' '\n'
}

# Adds the lines of standard input that begin with $1 to COMPREPLY, quoted.
_lnn_reply() {
	local word quoted
	while IFS= read -r word; do
		[[ $word == "$1"* ]] || continue
		printf -v quoted %q "$word"
		COMPREPLY+=("$quoted")
	done
}

_lnn_tools() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	COMPREPLY=()
	case $prev in
	--dump | --drop-params | --drop-buffers | --strip-prefix)
		_lnn_reply "$cur" < <(_lnn_names)
		return
		;;
	-*)
		_lnn_reply "$cur" < <(_lnn_values "$1" "$prev" | sort -u)
		[[ $prev == --model || $prev == -m || $prev == --source || $prev == -s || ${#COMPREPLY[@]} -eq 0 ]] || return
		;;
	esac
	if [[ $cur == -* ]]; then
		_lnn_reply "$cur" < <(_lnn_options "$1")
		return
	fi
	mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
	compopt -o filenames 2>/dev/null
}

complete -F _lnn_tools lnn-ckpt-inspect lnn-filter lnn-ckpt-adapt lnn-interp-bias
