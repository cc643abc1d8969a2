/*
 * plan: what becomes of every tensor of the inputs.
 *
 * A plan begins with one entry for each thing in the state dicts of its inputs.
 * Edits (prefix.h, keymap.h, drop.h, names.h, rename.h, tables.h) change, drop
 * and multiply entries and leave behind what they did and why. Then the plan is sealed
 * (seal.h): outputs, their order and exact sizes; then the pump (pump.h) moves the bytes.
 */
#ifndef LNN_PLAN_PLAN_H
#define LNN_PLAN_PLAN_H

#include "base/arena.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/str.h"
#include "base/text.h"
#include "position/table.h"
#include "tensor/ckpt.h"

enum plan_action {
	PLAN_KEPT,
	PLAN_RENAMED,
	PLAN_DROPPED, /* by a rule of the user or the description */
	PLAN_SKIPPED, /* by a key map, on purpose */
	PLAN_RESAMPLED,
	PLAN_CAST,
	PLAN_COMPACTED,
};

/* Something that was done to an input tensor, and the rule that did it. */
struct plan_act {
	enum plan_action action;
	const char *
		by; /* "drop_params head.", "--rename s/a/b/", "key map metaformer: skip head*"; lives in the plan's arena */
	struct plan_act *next;
};

/* One thing of an input. */
struct plan_origin {
	uint32_t input;               /* index into inputs */
	uint32_t outputs;             /* entries alive that come from it */
	const struct sd_entry *entry; /* borrowed from the input's state dict; NULL for a module of _metadata */
	struct plan_act *acts, *last; /* in order */
};

/* A resized or rearranged relative position bias table (tables.h). */
struct plan_table {
	struct table_job job;
	bool deduce;          /* job.from is a guess until the index buffer has been read */
	uint32_t index;       /* tensor (in the input's checkpoint) of its relative_position_index, or UINT32_MAX */
	bool grid_given;      /* job.from_grid is the user's word */
	bool to_as_from;      /* job.to follows job.from when that is deduced */
	struct str name;      /* of the table, as read */
	struct layout stated; /* before deduction, for the report */
};

/* One thing that will be in the output, unless dropped. */
struct plan_entry {
	struct str name; /* present name (of a module: its path and a dot) */
	uint32_t origin; /* index into origins */
	bool alive;
	bool module;              /* a module of _metadata rather than a tensor or value */
	uint8_t dtype;            /* output dtype of a tensor; DTYPE_UNKNOWN: as it is */
	struct plan_table *table; /* not NULL: the tensor is resampled */
	uint32_t meta_value;      /* module: its value in the input's tree */
};

/* A rule of the user, the description or a key map, for the warning that it touched nothing. */
struct plan_rule {
	const char *text;  /* as messages show it: "--drop-params heed." */
	uint64_t touched;  /* how many entries it changed or dropped */
	uint64_t matched;  /* how many names, present when its step began, it matched */
	struct str wanted; /* the literal text in it, to find the nearest name; empty: none */
	struct str nearest[3];
	unsigned nnearest;
	bool optional; /* from the description or a key map made for many models: reported, but never a failure of --fail-unused */
	bool quiet; /* of a built-in key map: that it matched nothing is no warning */
};

/* A name that holds a drop pattern and is kept all the same (SPEC section 4, step 4). */
struct plan_near_miss {
	const char *pattern;
	struct str name; /* when the pattern was tried */
	size_t origin;   /* a later step may have dropped it: then it is none */
};

struct plan_input {
	struct statedict *sd; /* borrowed */
	const char *label;    /* NULL, or the name of --input NAME=FILE */
};

struct plan {
	struct arena arena;
	const struct diag *diag;
	struct plan_input *inputs;
	uint32_t ninputs, cap_inputs;
	struct plan_origin *origins;
	size_t norigins, cap_origins;
	struct plan_entry *entries; /* in output order */
	size_t nentries, cap_entries;
	struct plan_rule **rules;
	size_t nrules, cap_rules;
	struct plan_near_miss *misses;
	size_t nmisses, cap_misses;
	struct plan_table **tables;
	size_t ntables, cap_tables;
};

void plan_init(struct plan *p, const struct diag *diag);
void plan_release(struct plan *p);

/* Adds an input's entries (and modules of its _metadata), in its order. sd and label are borrowed. */
void plan_add_input(struct plan *p, struct statedict *sd, const char *label);

/* Adds a rule that edits will count on; text is copied (printf form). */
struct plan_rule *plan_rule_new(struct plan *p, struct str wanted, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Drops an entry (action PLAN_DROPPED or PLAN_SKIPPED). by must live as long as the plan. */
void plan_drop(struct plan *p, struct plan_entry *en, enum plan_action action, const char *by);

/* Gives an entry another name (copied unless equal); an action PLAN_RENAMED is noted if it differs. */
void plan_rename(struct plan *p, struct plan_entry *en, struct str name, const char *by);

/*
 * A further output from the same origin as en (fan-out of a key map). May move p->entries:
 * pointers into it are stale afterwards.
 */
struct plan_entry *plan_fan_out(struct plan *p, size_t en, struct str name, const char *by);

/* Notes an action for the report. */
void plan_note(struct plan *p, struct plan_entry *en, enum plan_action action, const char *by);

/* The state dict entry behind en (NULL for a module), its input, its tensor (NULL if it is none). */
const struct sd_entry *plan_source(const struct plan *p, const struct plan_entry *en);
const struct plan_input *plan_input_of(const struct plan *p, const struct plan_entry *en);
const struct tensor *plan_tensor(const struct plan *p, const struct plan_entry *en);

/* dtype and shape as the entry will be written. shape has TENSOR_NDIM_MAX places. en must be a tensor. */
void plan_shape(const struct plan *p, const struct plan_entry *en, enum dtype *dtype, uint64_t *shape, unsigned *ndim);

/* "FILE" of the entry's input, for messages. */
const char *plan_file(const struct plan *p, const struct plan_entry *en);

const char *plan_action_name(enum plan_action a); /* "kept", ... */

/* Takes back the notes of an action. */
void plan_unnote(struct plan *p, const struct plan_entry *en, enum plan_action action);

/* Is what m names still kept? */
bool plan_misses(const struct plan *p, const struct plan_near_miss *m);

#endif
