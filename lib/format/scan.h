/*
 * pickle_scan: what a pickle names, and whether torch would load it.
 *
 * Made for pickles that one does not trust. Nothing is executed, and what is
 * wrong with a pickle is a finding, not a failure: what was seen before it was told already.
 */
#ifndef LNN_FORMAT_SCAN_H
#define LNN_FORMAT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "io/source.h"

/* What torch's weights_only=True and people who look for malware know about a global. */
enum pickle_verdict {
	GLOBAL_TENSOR,  /* part of a tensor: rebuild functions, storages, dtypes; weights_only accepts it */
	GLOBAL_ALLOWED, /* weights_only accepts it */
	GLOBAL_UNKNOWN, /* weights_only refuses it; nothing bad is known of it */
	GLOBAL_UNSAFE,  /* known as a means to run code, or as a way to hide one */
};

/* "tensor", "allowed", "unknown", "unsafe" */
const char *pickle_verdict_text(enum pickle_verdict v);

/* How a global was named. */
enum pickle_ref {
	REF_GLOBAL,       /* GLOBAL: module and name stand in the opcode */
	REF_STACK_GLOBAL, /* STACK_GLOBAL: two texts from the stack */
	REF_COMPUTED,     /* STACK_GLOBAL of values that are no texts: what they would become only running it shows */
	REF_INST,         /* INST: named, and called at once */
};

struct pickle_found {
	struct str module, name; /* as written, any bytes; "" when computed; borrowed for the call */
	uint64_t off;            /* of the opcode */
	enum pickle_verdict verdict;
	enum pickle_ref ref;
	unsigned pickle; /* 0: the first, which torch reads; n: the nth behind it */
};

struct pickle_scan {
	/* To be set before. found may be NULL; it returns -1 with its error set to stop. */
	int (*found)(void *arg, const struct pickle_found *f, struct err *e);
	void *arg;
	bool legacy; /* the pickle of a legacy stream: persistent ids have six parts */
	bool rest;   /* look at what lies between STOP and limit, too */

	/* Results. */
	bool loads;        /* torch >= 2.6 takes the first pickle with weights_only=True, as far as the pickle tells */
	bool unknown;      /* if not: it may or may not take it; a call has arguments that torch.save does not write */
	char why[512];     /* if not: the first reason, in torch's terms where it has some */
	uint64_t why_off;  /* and the opcode it is about */
	char imports[256]; /* globals of the first pickle that neither Python nor torch has, but that loading it needs */
	bool nowhere;      /* one of them is a class of TorchScript, which cannot be imported */
	bool broken;       /* the first pickle is damaged; why says how, unless torch would refuse it earlier */
	char damage[512];  /* if broken: how */
	uint64_t end;      /* behind STOP of the first pickle; where it breaks off if broken */
	uint64_t extra;    /* bytes between there and limit (rest only; 0 if broken) */
	unsigned more;     /* whole pickles among them */
};

/*
 * Scans the pickle at off; limit is the record's end, UINT64_MAX when not known. -1 only when src cannot be read or
 * found() says so.
 */
int pickle_scan(struct pickle_scan *s, struct source *src, uint64_t off, uint64_t limit, struct err *e);

#endif
