/*
 * model: a model description, lnn-model(5): what a model class says of itself.
 *
 * A description is put together from several sources: each load replaces those
 * sections that the new source has. Everything lives in the model's arena until
 * model_release. After a load that failed the model can only be released.
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

/* A list of texts, and where it stands. */
struct model_list {
	const struct str *items;
	size_t n;
	bool given;             /* said by the description, be it empty */
	const struct ynode *at; /* for messages: ynode_fail(at, ...); NULL if not given */
};

/*
 * One list of name patterns of parameter_groups_metadata; a pattern is contained in a name or not. The entries of the
 * category "stages" are stages: a name belongs to the last one any of whose patterns it contains.
 */
struct model_group {
	struct str category; /* "stages" */
	struct str key;      /* "conv_stages"; p is NULL where the category itself is the list */
	struct model_list patterns;
};

/* pretrained_ckpt_handling_metadata. Numbers are -1 where nothing is said, else 0 or 1. */
struct model_handling {
	bool given;
	struct model_list drop_buffers;
	struct model_list drop_params;
	struct model_list drop_params_compat; /* what the original loader drops; see model_drop_params */
	int interpolate_rel_pos_bias;
	int supports_module_prefix;
	int strict;
	struct str layout; /* relative_position_bias.layout as written; p is NULL if it is not given */
	const struct ynode *layout_at;
};

struct model {
	struct arena arena;
	struct str name; /* p is NULL if it has none */

	bool has_state_dict;
	struct entry *entries; /* in state_dict() order, no name twice */
	size_t n;
	struct strmap by_name;  /* to index in entries */
	struct str *containers; /* keys of a checkpoint's containers, which the entries that are inside belong to */
	size_t ncontainers;
	struct strmap by_container; /* to index in containers */

	bool has_groups;
	struct model_group *groups; /* parameter_groups_metadata, in the order of the description */
	size_t ngroups;

	struct model_handling handling;
};

void model_init(struct model *m);
void model_release(struct model *m);

/*
 * Reads YAML text, which file names in messages. ERR_INPUT "FILE:LINE:COLUMN: ..." for whatever
 * is not as lnn-model(5) says; for a near miss with what was likely meant. file and text are copied.
 */
int model_load_yaml(struct model *m, const char *file, struct str text, struct err *err);

/* Is there a built-in description of this name? */
bool model_is_builtin(const char *name);

/* Loads it. An unknown name is ERR_USAGE and lists the names there are. */
int model_load_builtin(struct model *m, const char *name, struct err *err);

/* Takes names, shapes and dtypes of a state dict (copied); kinds and layer types stay unknown. */
void model_load_statedict(struct model *m, const struct statedict *sd);

/* Takes the lines of a tensor list (model/list.h), with what they say. ERR_INPUT for a name that occurs twice. */
int model_load_list(struct model *m, struct source *src, struct err *err);

/* Does text that begins like head look like a description (YAML with one of its sections) rather than a tensor list? */
bool model_probe(struct str head);

/* The entry of that name, or NULL. */
const struct entry *model_find(const struct model *m, struct str name);

/* handling.drop_params, or under compat drop_params_compat where that is given. */
static inline const struct model_list *
model_drop_params(const struct model *m, bool compat)
{
	const struct model_handling *h = &m->handling;

	return compat && h->drop_params_compat.given ? &h->drop_params_compat : &h->drop_params;
}

/*
 * Writes the description as YAML that model_load_yaml reads back. Entries of unknown kind are
 * marked as buffers where entry_is_buffer says so. ERR_INPUT for a name that is not UTF-8.
 */
int model_write(const struct model *m, struct buf *out, struct err *err);

#endif
