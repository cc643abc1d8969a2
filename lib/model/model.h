/*
 * model: a model description, lnn-model(5): what a model class states about itself.
 *
 * A description may be combined from several sources: each load replaces the sections that the new source has. Everything lives in
 * the model's arena until model_release. After a failed load the model can only be released.
 */
#ifndef LNN_MODEL_MODEL_H
#define LNN_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/strmap.h"
#include "io/source.h"
#include "text/yaml.h"
#include "model/entry.h"
#include "tensor/ckpt.h"

/* A list of texts and its position. */
struct model_list {
	const struct str *items;
	size_t n;
	bool given;             /* the description has the list, even if it is empty */
	const struct ynode *at; /* for messages: ynode_fail(at, ...); NULL if not given */
};

/*
 * One list of name patterns of parameter_groups_metadata. A name matches a pattern that it contains. The entries of the category
 * "stages" are stages: a name belongs to the last stage with a pattern that it contains.
 */
struct model_group {
	struct str category; /* category of the list: "stages" */
	struct str key;      /* "conv_stages"; p is NULL if the category has a list instead of keys */
	struct model_list patterns;
};

/* pretrained_ckpt_handling_metadata. Each int is 0 or 1, or -1 if it is not given. */
struct model_handling {
	bool given;
	struct model_list drop_buffers;
	struct model_list drop_params;
	struct model_list drop_params_compat; /* for --compat: what the original loader drops, see model_drop_params */
	int interpolate_rel_pos_bias;
	int supports_module_prefix;
	int strict;
	struct str layout; /* relative_position_bias.layout as written; p is NULL if it is not given */
	const struct ynode *layout_at;
};

struct model {
	struct arena arena;
	struct str name; /* p is NULL if the description has no name */

	bool has_state_dict;
	struct entry *entries; /* in the order of state_dict(); names are unique */
	size_t n;
	struct strmap by_name;  /* index in entries */
	struct str *containers; /* keys of a checkpoint's containers, which hold the entries with inside set */
	size_t ncontainers;
	struct strmap by_container; /* index in containers */

	bool has_groups;
	struct model_group *groups; /* parameter_groups_metadata, in the order of the description */
	size_t ngroups;

	struct model_handling handling;
};

void model_init(struct model *m);
void model_release(struct model *m);

/*
 * Reads YAML text, which messages call file. Fails with ERR_INPUT "FILE:LINE:COLUMN: ..." for anything that lnn-model(5) does not
 * allow; for a misspelling the error suggests what was meant. file and text are copied.
 */
int model_load_yaml(struct model *m, const char *file, struct str text, struct err *err);

/* Is there a built-in description of this name? */
bool model_is_builtin(const char *name);

/* Loads the built-in description of this name. If there is none, fails with ERR_USAGE, which lists the names. */
int model_load_builtin(struct model *m, const char *name, struct err *err);

/* Copies the names, shapes and dtypes of a state dict. Kinds and layer types stay unknown. */
void model_load_statedict(struct model *m, const struct statedict *sd);

/* Reads a tensor list (model/list.h) with all its fields. Fails with ERR_INPUT for a name that occurs twice. */
int model_load_list(struct model *m, struct source *src, struct err *err);

/* Does the beginning of a text look like a description (YAML with one of its sections) rather than a tensor list? */
bool model_probe(struct str head);

/* Returns the entry of this name, or NULL. */
const struct entry *model_find(const struct model *m, struct str name);

/* Returns handling.drop_params, or drop_params_compat if compat is set and the description has that list. */
static inline const struct model_list *
model_drop_params(const struct model *m, bool compat)
{
	const struct model_handling *h = &m->handling;

	return compat && h->drop_params_compat.given ? &h->drop_params_compat : &h->drop_params;
}

/*
 * Writes a description with this state dict as YAML that model_load_yaml can read: of each entry the name, the shape, the dtype, and
 * whether it is a buffer. Fails with ERR_INPUT for a name that is not UTF-8.
 */
int model_write(const struct entry *v, size_t n, struct buf *out, struct err *err);

#endif
