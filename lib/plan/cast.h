/*
 * cast: tensors that will be written in another dtype.
 */
#ifndef LNN_PLAN_CAST_H
#define LNN_PLAN_CAST_H

#include "plan/plan.h"

/*
 * Every real floating tensor of another dtype will be written as to (rounded to nearest even, once). Returns how many;
 * tensors that cannot be cast (float4, float6) are left and warned of.
 */
size_t plan_cast(struct plan *p, enum dtype to);

#endif
