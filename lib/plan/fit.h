/*
 * fit: makes tensors fit the model although their shapes differ (--fit of lnn-ckpt-adapt(1)).
 */
#ifndef LNN_PLAN_FIT_H
#define LNN_PLAN_FIT_H

#include "model/model.h"
#include "plan/plan.h"

enum fit {
	FIT_NOT,     /* no known way */
	FIT_RESHAPE, /* a reshape that adds or removes sizes of 1 */
	FIT_LAYER,   /* another number of channels or another patch size of an input layer */
	FIT_TABLE,   /* a position table, which plan_tables resizes */
};

/* Determines how en can be made to fit target, its entry in m, which has another shape. */
enum fit fit_way(const struct plan *p, const struct plan_entry *en, const struct model *m, const struct entry *target);

/* Adds makers to the living entries for which fit_way returns FIT_RESHAPE or FIT_LAYER. Notes each for the report. */
void plan_fit(struct plan *p, const struct model *m);

#endif
