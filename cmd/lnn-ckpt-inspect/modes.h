/*
 * modes: what lnn-ckpt-inspect can be asked. Each says it on in->out or with in->json, lowers in->status for a
 * negative answer, and returns 0 or -1.
 */
#ifndef LNN_MODES_H
#define LNN_MODES_H

#include "inspect.h"

int list_run(struct job *j, struct err *e);
int summary_run(struct job *j, struct err *e);
int tree_run(struct job *j, struct err *e);
int rest_run(struct job *j, struct err *e);
int get_run(struct job *j, struct err *e);
int stats_run(struct job *j, struct err *e);
int check_run(struct job *j, struct err *e);
int against_run(struct job *j, struct err *e);
int dump_run(struct job *j, struct err *e);

/* Needs no checkpoint that can be opened: j->input has a source only. */
int globals_run(struct job *j, struct err *e);

#endif
