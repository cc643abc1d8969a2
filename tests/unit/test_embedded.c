/* The tables of embedded files equal the files. Runs from the top folder. */
#include "base/embedded.h"

#include "tap.h"

static void
check_table(const char *folder, const struct embedded *table, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char path[512], bytes[65536];
		size_t n = 0;
		FILE *f;

		snprintf(path, sizeof(path), "%s/%s.yaml", folder, table[i].name);
		f = fopen(path, "rb");
		if (!ok_msg(f != NULL, "%s exists", path))
			continue;
		n = fread(bytes, 1, sizeof(bytes), f);
		fclose(f);
		if (is_uint(table[i].len, n, path))
			is_mem(table[i].text, bytes, n, path);
		ok_msg(table[i].text[table[i].len] == '\0', "%s: a NUL follows", path);
		if (i > 0)
			ok_msg(strcmp(table[i - 1].name, table[i].name) < 0, "%s: sorted", path);
	}
}

int
main(void)
{
	ok(embedded_models_count >= 2);
	check_table("lib/model/builtin", embedded_models, embedded_models_count);
	check_table("lib/plan/maps", embedded_maps, embedded_maps_count);
	return tap_done();
}
