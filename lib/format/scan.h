/*
 * pickle_scan: lists the globals of a pickle, and tells whether torch would load it.
 *
 * The scan is made for untrusted pickles. Nothing is executed. A damaged pickle is a finding, not a failure, and everything before
 * the damage is reported.
 */
#ifndef LNN_FORMAT_SCAN_H
#define LNN_FORMAT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "io/source.h"

/* The rating of a global, by torch's weights_only=True and by malware scanners. */
enum pickle_verdict {
	GLOBAL_TENSOR,  /* part of a tensor (rebuild functions, storages, dtypes); weights_only accepts it */
	GLOBAL_ALLOWED, /* another global that weights_only accepts */
	GLOBAL_UNKNOWN, /* weights_only refuses it; not known to be dangerous */
	GLOBAL_UNSAFE,  /* known as a means to run code, or to hide such a means */
};

/* Returns "tensor", "allowed", "unknown" or "unsafe". */
const char *pickle_verdict_text(enum pickle_verdict v);

/* The opcode that refers to a global. */
enum pickle_ref {
	REF_GLOBAL,       /* GLOBAL: module and name are in the opcode */
	REF_STACK_GLOBAL, /* STACK_GLOBAL with two texts from the stack */
	REF_COMPUTED,     /* STACK_GLOBAL with values that are no texts; the name is only known at run time */
	REF_INST,         /* INST: the global is called at once */
};

struct pickle_found {
	struct str module, name; /* as written, any bytes; "" for REF_COMPUTED; borrowed during the call */
	uint64_t off;            /* offset of the opcode */
	enum pickle_verdict verdict;
	enum pickle_ref ref;
	unsigned pickle; /* 0: the first pickle, which torch reads; n: the nth one after it */
};

struct pickle_scan {
	/* Set by the caller. found may be NULL. It stops the scan by returning -1 with its error set. */
	int (*found)(void *arg, const struct pickle_found *f, struct err *err);
	void *arg;
	bool legacy; /* the pickle is from a legacy file: persistent ids have six parts */
	bool rest;   /* also scan the bytes between STOP and limit */

	/* Results. */
	bool loads;        /* torch >= 2.6 accepts the first pickle with weights_only=True, as far as the pickle shows */
	bool unknown;      /* if loads is false: torch may accept it; a call has arguments that torch.save does not write */
	char why[512];     /* if loads is false: the first reason, in torch's words if possible */
	uint64_t why_off;  /* if loads is false: offset of the opcode that why refers to */
	char imports[256]; /* globals that the first pickle needs and that neither Python nor torch has */
	bool nowhere;      /* one of imports is a TorchScript class, which cannot be imported */
	bool broken;       /* the first pickle is damaged; why tells how, unless torch would refuse it earlier */
	char damage[512];  /* if broken: the error */
	uint64_t end;      /* offset after STOP of the first pickle or, if broken, where it breaks off */
	uint64_t extra;    /* number of bytes between end and limit (only with rest; 0 if broken) */
	unsigned more;     /* number of complete pickles in these bytes */
};

/*
 * Scans the pickle at off. limit is the end of its record; UINT64_MAX if not known. Returns -1 only if src cannot be read or
 * found() fails.
 */
int pickle_scan(struct pickle_scan *s, struct source *src, uint64_t off, uint64_t limit, struct err *err);

#endif
