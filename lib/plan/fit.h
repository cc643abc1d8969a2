/*
 * fit: tensors whose shape is not that of the model, and what makes them fit (--fit of lnn-ckpt-adapt(1)).
 */
#ifndef LNN_PLAN_FIT_H
#define LNN_PLAN_FIT_H

#include "model/model.h"
#include "plan/plan.h"

enum fit {
	FIT_NOT,     /* nothing is known to make it fit: it is not guessed */
	FIT_RESHAPE, /* the same elements, without sizes of 1 */
	FIT_LAYER,   /* other channels or another patch size of an input layer */
	FIT_TABLE,   /* a position table, for plan_tables */
};

/* What would make en fit target, its entry in m, whose shape is another one. */
enum fit fit_way(const struct plan *p, const struct plan_entry *en, const struct model *m, const struct entry *target);

/* Gives makers to the living entries that FIT_RESHAPE and FIT_LAYER make fit. Each is noted for the report. */
void plan_fit(struct plan *p, const struct model *m);

#endif
