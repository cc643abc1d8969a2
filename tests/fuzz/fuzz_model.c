/* Model descriptions: a description that was read can be written, and is equal when it is read again. */
#include "fuzz.h"

#include "model/model.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct model m, again;
	struct buf one = BUF_INIT, two = BUF_INIT;
	struct err err = ERR_INIT;
	bool whole = true;
	int rc;

	(void)model_probe(str_n((const char *)data, size));
	model_init(&m);
	rc = model_load_yaml(&m, "fuzz.yaml", str_n((const char *)data, size), &err);
	fuzz_judge(rc, &err);
	if (rc == 0) {
		for (size_t i = 0; i < m.n; i++)
			promise(model_find(&m, m.entries[i].name) == &m.entries[i], "an entry is found by its name");
		for (size_t i = 0; i < m.n; i++)
			whole = whole && m.entries[i].has_shape && m.entries[i].dtype != DTYPE_UNKNOWN;
		promise(!whole || model_write(m.entries, m.n, &one, &err) == 0, "a description that was read can be written");
	}
	if (one.len > 0) {
		model_init(&again);
		promise(model_load_yaml(&again, "again.yaml", buf_str(&one), &err) == 0,
			"a description that was written is read again");
		promise(m.n == again.n, "the description has as many entries again");
		promise(model_write(again.entries, again.n, &two, &err) == 0 && str_eq(buf_str(&one), buf_str(&two)),
			"a description that is written again has the same bytes");
		model_release(&again);
	}
	model_release(&m);
	buf_release(&one);
	buf_release(&two);
	return 0;
}
