#include "common/models.h"

#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/tool.h"
#include "model/config.h"
#include "tensor/place.h"

static int
load_description(struct model *m, struct source *src, struct err *err)
{
	struct buf text = BUF_INIT;
	int rc = config_slurp(src, &text, err);

	if (rc == 0)
		rc = model_load_yaml(m, source_name(src), buf_str(&text), err);
	buf_release(&text);
	source_close(src);
	return rc;
}

/* Is a text with this beginning a tensor list? A list of names alone is recognised by the absence of colons. */
static bool
is_list(struct str head)
{
	return !model_probe(head) && (str_contains(head, str_c("\t")) || !str_contains(head, str_c(":")));
}

static int
load_list(struct model *m, struct source *src, struct err *err)
{
	int rc = model_load_list(m, src, err);

	source_close(src);
	return rc;
}

int
models_open(struct model *m, struct input *in, const char *name, bool root, const char *key, struct err *err)
{
	struct place_ask ask = { .key = key,
				 .root = root,
				 .way = "; 'lnn-ckpt-inspect -k KEY --format=model FILE' describes one of them",
				 .diag = root ? tool_diag() : NULL };
	struct source *src;
	const uint8_t *head;
	size_t n;

	if (file_checkpoint(name, FILE_TEXT, &src, err) < 0)
		return -1;
	if (source_look(src, 0, SOURCE_LOOK_MAX, &head, &n, err) < 0) {
		source_close(src);
		return -1;
	}
	if (root && !input_probe(head, n) && is_list(str_n((const char *)head, n)))
		return load_list(m, src, err);
	if (!input_probe(head, n))
		return load_description(m, src, err);
	if (input_open_source(in, src, &ask, err) < 0)
		return -1;
	model_load_statedict(m, &in->sd);
	return 0;
}

static int
load_file(struct model *m, const char *name, struct err *err)
{
	struct input in = { 0 };
	int rc = models_open(m, &in, name, false, NULL, err);

	if (rc == 0 && in.src != NULL)
		rc = source_verify(in.src, err);
	input_close(&in);
	return rc;
}

bool
models_knows(const char *name)
{
	const bool is_path = strpbrk(name, "./") != NULL || strcmp(name, "-") == 0;

	return model_is_builtin(name) || (!is_path && access(name, F_OK) != 0);
}

int
models_load(struct model *m, const char *const *names, size_t n, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = models_knows(names[i]) ? model_load_builtin(m, names[i], err) : load_file(m, names[i], err);
	return rc;
}
