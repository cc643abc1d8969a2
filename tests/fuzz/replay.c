/*
 * Runs a fuzz target without a fuzzer on every file of its corpus, tests/fuzz/corpus/NAME, and on every fixture, so that old findings
 * stay fixed. Linked with fuzz_NAME.c as replay_fuzz_NAME. Runs from the top folder and prints TAP. A crash ends the program without
 * a plan, after the name of the file.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char prefix[] = "replay_fuzz_";
static const long max_size = 4L << 20;

static int
replay_file(const char *path)
{
	struct stat st;
	uint8_t *data;
	FILE *f;
	size_t n;

	if (stat(path, &st) || !S_ISREG(st.st_mode) || st.st_size > max_size)
		return 0;
	printf("# %s\n", path);
	fflush(stdout);
	f = fopen(path, "rb");
	/* The input is copied to a block of its exact size, so that a sanitizer finds a read past the end. */
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!f || !data) {
		perror(path);
		exit(2);
	}
	n = fread(data, 1, (size_t)st.st_size, f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, n);
	free(data);
	return 1;
}

static int
replay_folder(const char *folder)
{
	struct dirent **list;
	int n = scandir(folder, &list, NULL, alphasort), count = 0;
	char path[4096];

	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/%s", folder, list[i]->d_name);
			count += replay_file(path);
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return count;
}

int
main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	char folder[4096];

	if (argc > 1) {
		for (int i = 1; i < argc; i++)
			replay_file(argv[i]);
		return 0;
	}
	name = name ? name + 1 : argv[0];
	if (strncmp(name, prefix, strlen(prefix)) != 0) {
		fprintf(stderr, "%s: give the files to replay\n", name);
		return 2;
	}
	snprintf(folder, sizeof(folder), "tests/fuzz/corpus/%s", name + strlen(prefix));
	printf("ok 1 - empty input\n");
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	printf("ok 2 - %d files of %s\n", replay_folder(folder), folder);
	printf("ok 3 - %d fixtures\n", replay_folder("tests/fixtures"));
	printf("1..3\n");
	return 0;
}
