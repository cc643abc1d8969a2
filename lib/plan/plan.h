/*
 * plan: what is made of every tensor of the inputs.
 *
 * A plan begins with one entry for each entry of the state dicts of its inputs. Some edits (prefix.h, keymap.h, drop.h, names.h,
 * rename.h) change names, or drop and multiply entries. Others (cast.h, tables.h) add makers (make/make.h), which give entries new
 * bytes. Each edit records what it did and why. The plan is then sealed (write/seal.h), which fixes the outputs, their order and
 * exact sizes. Finally the pump (write/pump.h) moves the bytes.
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
	PLAN_DROPPED, /* dropped by a rule of the user or the description */
	PLAN_SKIPPED, /* dropped intentionally by a key map */
	PLAN_MADE,    /* made into another tensor by a maker */
};

/* An edit of an input tensor, and the rule that caused it. */
struct plan_act {
	enum plan_action action;
	const struct make_kind *made; /* PLAN_MADE: kind of the maker */
	/* the rule: "drop_params head.", "--rename s/a/b/", "key map metaformer: skip head*"; must live as long as the plan */
	const char *by;
	struct plan_act *next;
};

/* A tensor, value or module of an input. */
struct plan_origin {
	uint32_t input;               /* index in inputs */
	uint32_t outputs;             /* number of living entries that come from it */
	const struct sd_entry *entry; /* borrowed from the input's state dict; NULL for a module of _metadata */
	struct plan_act *acts, *last; /* edits, in order */
};

/* How the bytes of an entry are made. It is constant: an edit replaces it by a new one. */
struct plan_made {
	struct make_chain make;      /* empty: the tensor is copied */
	const struct tensor *result; /* dtype and shape after makers of new tensors; NULL if there are no such makers */
	const uint32_t *also;        /* origins of further tensors that the makers read */
	unsigned nalso;
};

/* A tensor, value or module of the output, unless it is dropped. */
struct plan_entry {
	struct str name; /* present name; that of a module is its path and a dot */
	union {
		const struct plan_made *made; /* how the bytes of a tensor are made (plan_made); NULL: it is copied */
		struct {
			uint32_t meta_value; /* module: its value in the input's tree; VALUE_ABSENT: a key of __metadata__ */
			uint32_t tied;       /* key of __metadata__: the origin of the tensor that it is tied to */
		};
	};
	uint32_t origin; /* index in origins */
	bool alive;
	bool module; /* the entry is a module of _metadata or a key of __metadata__, not a tensor or value */
};

_Static_assert(sizeof(struct plan_entry) == 32, "a plan has a million of these");

/* A rule of the user, the description or a key map. It is recorded so that rules without effect can be reported. */
struct plan_rule {
	const char *text;   /* text for messages: "--drop-params heed." */
	uint64_t touched;   /* number of entries that it changed or dropped */
	uint64_t matched;   /* number of names that it matched, of those present when its step began */
	struct str literal; /* literal text in the rule, for finding the nearest name; empty: none */
	struct str nearest[3];
	unsigned nnearest;
	bool optional; /* from the description or a general key map: --fail-unused does not count it */
	bool quiet;    /* from a built-in key map: no warning if it matches nothing */
};

/* A name that contains a drop pattern but is kept (--drop-params of lnn-ckpt-adapt(1)). */
struct plan_near_miss {
	const char *pattern;
	struct str name; /* name when the pattern was tried */
	size_t origin;   /* origin of the entry; if a later step drops it, this is no near miss */
};

struct plan_input {
	struct statedict *sd; /* borrowed */
	const char *label;    /* NAME of --input NAME=FILE, or NULL */
	struct strmap marks;  /* what the input states about its bias tables, by name (tables.h) */
	bool marked;
	uint32_t told; /* storages below this index were reported as done (write/pump.h) */
};

/* An edit of the __metadata__ of safetensors, which is made after all other edits. */
struct plan_meta {
	struct str key, value;
	bool drop; /* drop the key; value is not used */
};

struct plan {
	struct arena arena;
	const struct diag *diag;
	struct plan_input *inputs;
	uint32_t ninputs, cap_inputs;
	struct plan_origin *origins;
	size_t norigins, cap_origins;
	struct plan_entry *entries; /* in the order of the output */
	size_t nentries, cap_entries;
	struct plan_rule **rules;
	size_t nrules, cap_rules;
	struct plan_near_miss *misses;
	size_t nmisses, cap_misses;
	struct make **described; /* makers that reports describe, in the order of the edits */
	size_t ndescribed, cap_described;
	struct str tables;            /* what the output states about its bias tables (tables.h) */
	struct str note;              /* what a finished shard states about itself (CKPT_NOTE_KEY); empty: nothing */
	const struct plan_meta *meta; /* edits of __metadata__, in order; borrowed */
	size_t nmeta;
};

void plan_init(struct plan *p, const struct diag *diag);
void plan_release(struct plan *p);

/* Adds the entries of an input, and modules of its _metadata, in their order. sd and label are borrowed. */
void plan_add_input(struct plan *p, struct statedict *sd, const char *label);

/* Adds a rule, whose counts the edit increments. The text is formatted and copied. */
struct plan_rule *plan_rule_new(struct plan *p, struct str literal, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Appends an entry, whose origin must exist. May move the entries, which invalidates pointers to them. */
struct plan_entry *plan_append(struct plan *p, struct plan_entry en);

/* Drops an entry with the action PLAN_DROPPED or PLAN_SKIPPED. by must live as long as the plan. */
void plan_drop(struct plan *p, struct plan_entry *en, enum plan_action action, const char *by);

/* Renames an entry and notes PLAN_RENAMED. Does nothing if the name is the same. The name is copied. */
void plan_rename(struct plan *p, struct plan_entry *en, struct str name, const char *by);

/* Notes an action for the report. made is the kind of the maker for PLAN_MADE, else NULL. */
void plan_note(struct plan *p, const struct plan_entry *en, enum plan_action action, const struct make_kind *made, const char *by);

/* Marks en as consumed: it is no longer an output, because it is made into another entry. */
void plan_consume(struct plan *p, struct plan_entry *en);

/*
 * Maps the names of living entries that are not modules to their indices. Fails with ERR_INPUT if two entries have one name; the
 * error gives both input names.
 */
int plan_map_names(const struct plan *p, struct strmap *names, struct err *err);

/* Returns the first living entry after en that is not a module, or NULL. If en is NULL, the search begins at the first entry. */
struct plan_entry *plan_next(const struct plan *p, const struct plan_entry *en);

/* ---- makers */

/* Returns how the bytes of an entry are made. */
const struct plan_made *plan_made(const struct plan_entry *en);
static inline const struct make_chain *
plan_makers(const struct plan_entry *en)
{
	return &plan_made(en)->make;
}

/* Appends a maker to an entry and notes it for the report. m must live as long as the plan. */
void plan_make(struct plan *p, struct plan_entry *en, struct make *m, const char *by);

/* Makes reports describe m, even if it is on no entry. */
void plan_describe(struct plan *p, struct make *m);

/*
 * Reads the contents that m, a maker of en, waits for. If m then turns out to be idle, its note is removed. Does nothing if m does
 * not wait.
 */
int plan_learn(struct plan *p, const struct plan_entry *en, struct make *m, struct err *err);

/* Calls plan_learn for all makers of living entries, in the order of the entries. */
int plan_learn_all(struct plan *p, struct err *err);

/* ---- properties of entries */

/* Return the state dict entry of en (NULL for a module), its input, and its tensor (NULL if it is none). */
const struct sd_entry *plan_source(const struct plan *p, const struct plan_entry *en);
const struct plan_input *plan_input_of(const struct plan *p, const struct plan_entry *en);
const struct tensor *plan_tensor(const struct plan *p, const struct plan_entry *en);

/* Returns plan_tensor with the dtype and shape after the makers so far. The elements are those of the original tensor. */
const struct tensor *plan_result(const struct plan *p, const struct plan_entry *en);

/* Gives dtype and shape of the output. shape has room for TENSOR_NDIM_MAX sizes. en must be a tensor. */
void plan_shape(const struct plan *p, const struct plan_entry *en, enum dtype *dtype, uint64_t *shape, unsigned *ndim);

/* Returns the file name of the entry's input, for messages. */
const char *plan_file(const struct plan *p, const struct plan_entry *en);

/* Returns "kept", "resampled", ... */
const char *plan_act_name(const struct plan_act *act);

/* Is the entry of a near miss still kept? */
bool plan_misses(const struct plan *p, const struct plan_near_miss *m);

#endif
