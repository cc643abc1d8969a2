/* Indexes of sharded sets: file names stay in the folder, and an index that was read can be written and read again. */
#include "fuzz.h"

#include "format/shard_index.h"

static bool
read_index(struct shard_index *x, const void *p, size_t n)
{
	struct source *src = source_memory(p, n, "/nonexistent/model.safetensors.index.json");
	struct err err = ERR_INIT;
	int rc = shard_index_read(x, src, &err);

	fuzz_judge(rc, &err);
	for (uint32_t i = 0; rc == 0 && i < x->nfiles; i++) {
		promise(x->files[i][0] != '\0' && strchr(x->files[i], '/') == NULL && strcmp(x->files[i], ".") != 0 &&
				strcmp(x->files[i], "..") != 0,
			"a shard is in the folder of the index");
		promise(strncmp(x->paths[i], "/nonexistent/", 13) == 0, "the path of a shard is in the folder of the index");
	}
	for (uint32_t i = 0; rc == 0 && i < x->n; i++) {
		uint64_t at;

		promise(x->shard[i] < x->nfiles, "every name is in a file");
		promise(strmap_get(&x->by_name, x->names[i], &at) && at == i, "every name occurs once");
	}
	source_close(src);
	return rc == 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct shard_index x, y;
	struct buf text = BUF_INIT;

	(void)shard_index_probe(data, size < FORMAT_PROBE ? size : FORMAT_PROBE);
	if (read_index(&x, data, size)) {
		const char **files = xcalloc(x.n, sizeof(*files));

		for (uint32_t i = 0; i < x.n; i++)
			files[i] = x.files[x.shard[i]];
		shard_index_write(&text, x.names, files, x.n, size);
		promise(read_index(&y, text.p, text.len), "an index that was written is read again");
		promise(y.n == x.n && y.nfiles == x.nfiles, "the index has as many names and files again");
		for (uint32_t i = 0; i < x.n; i++) {
			uint64_t at;

			promise(strmap_get(&y.by_name, x.names[i], &at) && strcmp(y.files[y.shard[at]], files[i]) == 0,
				"every name is in the same file again");
		}
		shard_index_release(&y);
		free(files);
	}
	shard_index_release(&x);
	buf_release(&text);
	return 0;
}
