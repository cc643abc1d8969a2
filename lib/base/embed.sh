#!/bin/sh
# Usage: embed.sh TABLE [FILE.yaml]...
# Prints C definitions of TABLE and TABLE_count (see lib/base/embedded.h) that hold the files' bytes.
set -eu
LC_ALL=C
export LC_ALL

table=$1
shift
count=$#

n=0
for file; do
	printf 'static const unsigned char %s_%d[] = {\n' "$table" "$n"
	od -An -v -tu1 "$file" | awk '{ for (i = 1; i <= NF; i++) printf "%s,", $i; print "" }'
	printf '0};\n'
	n=$((n + 1))
done

printf 'const struct embedded %s[] = {\n' "$table"
n=0
for file; do
	name=${file##*/}
	printf '\t{"%s", (const char *)%s_%d, sizeof(%s_%d) - 1},\n' "${name%.yaml}" "$table" "$n" "$table" "$n"
	n=$((n + 1))
done
# A closing entry keeps the array valid C when there is no file at all.
printf '\t{NULL, NULL, 0},\n};\n'
printf 'const size_t %s_count = %d;\n' "$table" "$count"
