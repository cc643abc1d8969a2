#include "common/models.h"

#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "common/ckpt_in.h"
#include "common/file.h"
#include "model/config.h"
#include "tensor/place.h"

static int
load_checkpoint(struct model *m, struct source *src, struct err *e)
{
	struct place_ask ask = { .way = "; 'lnn-ckpt-inspect -k KEY --format=model FILE' describes one of them" };
	struct input in = { 0 };
	int rc = input_open_source(&in, src, &ask, e);

	if (rc == 0)
		rc = source_verify(src, e);
	if (rc == 0)
		model_load_statedict(m, &in.sd);
	input_close(&in);
	return rc;
}

static int
load_description(struct model *m, struct source *src, struct err *e)
{
	struct arena a = ARENA_INIT;
	struct str text;
	int rc = config_slurp(src, &a, &text, e);

	if (rc == 0)
		rc = model_load_yaml(m, source_name(src), text, e);
	arena_release(&a);
	source_close(src);
	return rc;
}

/* An index of a sharded checkpoint is text, too. */
static bool
is_checkpoint(const uint8_t *head, size_t n)
{
	struct str text = str_n((const char *)head, n);

	return format_is_no_text(head, n) || (n > 0 && head[0] == '{' && str_contains(text, str_c("\"weight_map\"")));
}

int
models_load_source(struct model *m, struct source *src, struct err *e)
{
	const uint8_t *head;
	size_t n;

	if (source_look(src, 0, SOURCE_LOOK_MAX, &head, &n, e) != 0) {
		source_close(src);
		return -1;
	}
	return is_checkpoint(head, n) ? load_checkpoint(m, src, e) : load_description(m, src, e);
}

static int
load_file(struct model *m, const char *name, struct err *e)
{
	struct source *src;

	return file_checkpoint(name, FILE_TEXT, &src, e) != 0 ? -1 : models_load_source(m, src, e);
}

bool
models_knows(const char *name)
{
	const bool is_path = strpbrk(name, "./") != NULL || strcmp(name, "-") == 0;

	return model_is_builtin(name) || (!is_path && access(name, F_OK) != 0);
}

int
models_load(struct model *m, const char *const *names, size_t n, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = models_knows(names[i]) ? model_load_builtin(m, names[i], e) : load_file(m, names[i], e);
	return rc;
}
