/*
 * pickle_out: a pickle being written. pickle_encode walks the tree twice with the
 * same code: first only counting which nodes are reached more than once, then
 * writing. The words of pickle.h for leaf() are written by pickle_out.c, values by pickle_encode.c.
 */
#ifndef LNN_PICKLE_OUT_H
#define LNN_PICKLE_OUT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/strmap.h"
#include "pickle/pickle.h"

struct pickle_out {
	const struct vtree *t;
	const struct pickle_leaves *leaves;
	int (*write)(void *arg, const void *p, size_t n, struct err *e);
	void *arg;
	struct err *e;
	bool counting, failed;
	uint32_t *state;       /* by node: 0 not reached, 1 once, 2 more often, else memo number + 3 */
	uint32_t memo;         /* next memo number */
	struct strmap texts;   /* memo numbers of recurring texts and globals, by "t" and "g" and contents */
	struct arena keys;
	struct buf key, buf;
	uint32_t path[PICKLE_DEPTH_MAX]; /* the nodes that are being written */
	unsigned depth;
	uint32_t maker;        /* the object for whose arguments the present value is, or VALUE_ABSENT */
};

void pickle_out_bytes(struct pickle_out *o, const void *p, size_t n);
void pickle_out_flush(struct pickle_out *o);
int pickle_out_fail(struct pickle_out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The top of the stack gets the next memo number, which is returned. */
uint32_t pickle_out_put(struct pickle_out *o);
void pickle_out_get(struct pickle_out *o, uint32_t number);

/* BINUNICODE of s, which may have any length that protocol 2 allows. */
void pickle_out_unicode(struct pickle_out *o, struct str s);
/* BINUNICODE of the text whose Latin-1 form is s. */
void pickle_out_latin1(struct pickle_out *o, struct str s);
void pickle_out_global(struct pickle_out *o, struct str module, struct str name);
void pickle_out_int(struct pickle_out *o, int64_t v);
void pickle_out_float(struct pickle_out *o, double d);
/* Two's complement, little-endian, as VALUE_BIGINT. */
void pickle_out_long(struct pickle_out *o, struct str s);

#endif
