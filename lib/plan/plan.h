/*
 * plan: what becomes of every tensor of the inputs.
 *
 * A plan begins with one entry for each entry of the state dicts of its inputs.
 * Edits (prefix.h, keymap.h, drop.h, names.h, rename.h) change names, drop and
 * multiply entries. Others (cast.h, tables.h) add makers (make/make.h), which give
 * entries new bytes. Each leaves behind what it did and why. Then the plan is sealed
 * (write/seal.h): outputs, their order and exact sizes. Then the pump (write/pump.h)
 * moves the bytes.
 */
#ifndef LNN_PLAN_PLAN_H
#define LNN_PLAN_PLAN_H

#include "base/arena.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/str.h"
#include "base/strmap.h"
#include "base/text.h"
#include "make/make.h"
#include "tensor/ckpt.h"

enum plan_action {
	PLAN_KEPT,
	PLAN_RENAMED,
	PLAN_DROPPED, /* by a rule of the user or the description */
	PLAN_SKIPPED, /* by a key map, on purpose */
	PLAN_MADE,    /* into another tensor, by a maker */
};

/* Something that was done to an input tensor, and the rule that did it. */
struct plan_act {
	enum plan_action action;
	const struct make_kind *made; /* PLAN_MADE: the kind of the maker */
	const char *by; /* "drop_params head.", "--rename s/a/b/", "key map metaformer: skip head*"; lives in the plan's arena */
	struct plan_act *next;
};

/* A tensor, value or module of an input. */
struct plan_origin {
	uint32_t input;               /* index into inputs */
	uint32_t outputs;             /* entries alive that come from it */
	const struct sd_entry *entry; /* borrowed from the input's state dict; NULL for a module of _metadata */
	struct plan_act *acts, *last; /* in order */
};

/* A tensor, value or module of the output, unless it is dropped. */
struct plan_entry {
	struct str name; /* present name (of a module: its path and a dot) */
	uint32_t origin; /* index into origins */
	bool alive;
	bool module;               /* a module of _metadata, or a name of __metadata__, rather than a tensor or value */
	uint32_t meta_value;       /* module: its value in the input's tree; VALUE_ABSENT: a name of __metadata__ */
	struct make_chain make;    /* what becomes of a tensor (plan_make); empty: it is copied */
	const struct tensor *made; /* dtype and shape as makers of new tensors leave it; NULL: there are none */
	const uint32_t *also;      /* origins of further tensors that are made into it (plan_take_in) */
	unsigned nalso;
};

/* A rule of the user, the description or a key map, for the warning that it touched nothing. */
struct plan_rule {
	const char *text;   /* as messages show it: "--drop-params heed." */
	uint64_t touched;   /* how many entries it changed or dropped */
	uint64_t matched;   /* how many names, present when its step began, it matched */
	struct str literal; /* the literal text in it, to find the nearest name; empty: none */
	struct str nearest[3];
	unsigned nnearest;
	bool optional; /* from the description or a key map made for many models: reported, but never a failure of --fail-unused */
	bool quiet;    /* of a built-in key map: that it matched nothing is no warning */
};

/* A name that holds a drop pattern and is kept all the same (--drop-params of lnn-ckpt-adapt(1)). */
struct plan_near_miss {
	const char *pattern;
	struct str name; /* when the pattern was tried */
	size_t origin;   /* a later step may have dropped it: then it is none */
};

struct plan_input {
	struct statedict *sd; /* borrowed */
	const char *label;    /* NULL, or the name of --input NAME=FILE */
	struct strmap marks;  /* what it states of bias tables, by name (tables.h); empty until that is asked for */
	bool marked;
};

/* An edit of the __metadata__ of safetensors, which comes behind all others. */
struct plan_meta {
	struct str key, value;
	bool drop; /* value is nothing */
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
	struct make **described; /* makers that reports describe, in the order of the edits */
	size_t ndescribed, cap_described;
	struct str tables;            /* what the output states of bias tables (tables.h) */
	struct str note;              /* what it states of itself as a finished shard (CKPT_NOTE_KEY); empty: nothing */
	const struct plan_meta *meta; /* edits, in order; borrowed */
	size_t nmeta;
};

void plan_init(struct plan *p, const struct diag *diag);
void plan_release(struct plan *p);

/* Adds an input's entries (and modules of its _metadata), in its order. sd and label are borrowed. */
void plan_add_input(struct plan *p, struct statedict *sd, const char *label);

/* Adds a rule that edits will count on; text is copied (printf form). */
struct plan_rule *plan_rule_new(struct plan *p, struct str literal, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Appends an entry, whose origin is there already. Moves entries, so that pointers to them are stale. */
struct plan_entry *plan_append(struct plan *p, struct plan_entry en);

/* Drops an entry (action PLAN_DROPPED or PLAN_SKIPPED). by must live as long as the plan. */
void plan_drop(struct plan *p, struct plan_entry *en, enum plan_action action, const char *by);

/* Gives an entry another name (copied unless equal); an action PLAN_RENAMED is noted if it differs. */
void plan_rename(struct plan *p, struct plan_entry *en, struct str name, const char *by);

/* Notes an action for the report; made is the kind of a maker with PLAN_MADE, else NULL. */
void plan_note(struct plan *p, const struct plan_entry *en, enum plan_action action, const struct make_kind *made, const char *by);

/* en is no output of its own any more: it is made into another one, which takes it in. */
void plan_consume(struct plan *p, struct plan_entry *en);

/*
 * Maps the names of the living entries that are no modules to their numbers. ERR_INPUT if two have become one: both input
 * names are told.
 */
int plan_map_names(const struct plan *p, struct strmap *names, struct err *err);

/* ---- makers */

/* Adds a maker to what becomes of a tensor, and notes it for the report. m lives as long as the plan. */
void plan_make(struct plan *p, struct plan_entry *en, struct make *m, const char *by);

/* Has reports describe m, even if it works on no entry. */
void plan_describe(struct plan *p, struct make *m);

/*
 * Reads the contents that m, a maker of en, waits for. If it turns out to be idle, its note is taken back. Does nothing
 * if m waits for nothing.
 */
int plan_learn(struct plan *p, const struct plan_entry *en, struct make *m, struct err *err);

/* plan_learn for all makers of living entries, in the order of the entries. */
int plan_learn_all(struct plan *p, struct err *err);

/* ---- what entries are */

/* The state dict entry behind en (NULL for a module), its input, its tensor (NULL if it is none). */
const struct sd_entry *plan_source(const struct plan *p, const struct plan_entry *en);
const struct plan_input *plan_input_of(const struct plan *p, const struct plan_entry *en);
const struct tensor *plan_tensor(const struct plan *p, const struct plan_entry *en);

/* plan_tensor, but with the dtype and shape that its makers have given it so far. Its elements are those of the source. */
const struct tensor *plan_result(const struct plan *p, const struct plan_entry *en);

/* dtype and shape as the entry will be written. shape has TENSOR_NDIM_MAX places. en must be a tensor. */
void plan_shape(const struct plan *p, const struct plan_entry *en, enum dtype *dtype, uint64_t *shape, unsigned *ndim);

/* "FILE" of the entry's input, for messages. */
const char *plan_file(const struct plan *p, const struct plan_entry *en);

/* "kept", "resampled", ... */
const char *plan_act_name(const struct plan_act *act);

/* Is what m names still kept? */
bool plan_misses(const struct plan *p, const struct plan_near_miss *m);

#endif
