/*
 * table_marks: what a checkpoint of ours states of the layouts of its relative position bias tables, where no index buffer
 * tells them: JSON, {"NAME": {"layout": "last:1", "grid": [14, 14], "heads": 4}}. Safetensors have it in __metadata__
 * under lnn.tables, torch in a record .data/lnn, which torch itself does not look at.
 */
#ifndef LNN_PLAN_TABLE_MARKS_H
#define LNN_PLAN_TABLE_MARKS_H

#include "plan/plan.h"
#include "position/layout.h"

struct table_mark {
	struct layout layout; /* LAYOUT_AUTO: it says nothing */
	struct grid grid;
	uint64_t heads;
};

/*
 * The mark of the table that en comes from, in its input. Returns 1 and sets *mark if there is one whose rows and heads are
 * those of the table, 0 if there is none, -1 after an error. A stream is read up to its first tensor.
 */
int table_mark_find(struct plan *p, const struct plan_entry *en, struct table_mark *mark, struct err *err);

/* What marks_of has read; m may be NULL. */
void table_marks_free(struct table_marks *m);

/*
 * Sets p->tables, what the output states. To be called when all edits are done, as names are those of the output. Layouts
 * that are known from an index buffer which goes are read, in a stream too.
 */
int table_marks_state(struct plan *p, struct err *err);

#endif
