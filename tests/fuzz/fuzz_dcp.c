/* Metadata of distributed checkpoints: what is taken out of it holds together, also when a second rank says the same. */
#include "fuzz.h"

#include "format/dcp_metadata.h"

static bool
add(struct dcp_metadata *m, const uint8_t *data, size_t size)
{
	struct source *src = source_memory(data, size, "/nonexistent/.metadata");
	struct err err = ERR_INIT;
	int rc = dcp_metadata_add(m, src, &err);

	fuzz_judge(rc, &err);
	source_close(src);
	return rc == 0;
}

static void
judge(const struct dcp_metadata *m)
{
	for (size_t i = 0; i < m->nfiles; i++)
		promise(m->files[i][0] != '\0' && strchr(m->files[i], '/') == NULL && strcmp(m->files[i], "..") != 0,
			"a file is in the folder");
	for (size_t i = 0; i < m->nnames; i++) {
		const struct dcp_name *n = &m->names[i];
		uint64_t at;

		promise(strmap_get(&m->by_name, n->name, &at) && at == i, "every name occurs once");
		promise(n->nsteps > 0 && n->listed > 0, "every name has a path");
		promise(n->tensor || n->nitems > 0, "a value that is not a tensor has items");
		for (size_t k = n->first; k < n->first + n->nitems; k++)
			promise(m->items[k].name == i && m->items[k].file < m->nfiles && (m->items[k].low != NULL) == n->tensor &&
					(m->items[k].size != NULL) == n->tensor,
				"items belong to their names");
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dcp_metadata m;
	size_t names, items;

	dcp_metadata_init(&m);
	if (add(&m, data, size)) {
		names = m.nnames;
		items = m.nitems;
		promise(add(&m, data, size) && m.nnames == names && m.nitems == 2 * items,
			"a second rank may repeat the same metadata");
		dcp_metadata_sort(&m);
		judge(&m);
	}
	dcp_metadata_release(&m);
	return 0;
}
