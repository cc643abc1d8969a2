/*
 * pickle_allow: what torch's weights_only=True and people who look for malware
 * know about the globals a pickle may name. Facts only, in tables. See
 * lib/format/README.md, section 5.
 */
#ifndef LNN_PICKLE_ALLOW_H
#define LNN_PICKLE_ALLOW_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

enum pickle_verdict {
	GLOBAL_TENSOR,  /* part of a tensor: rebuild functions, storages, dtypes; weights_only accepts it */
	GLOBAL_ALLOWED, /* weights_only accepts it */
	GLOBAL_UNKNOWN, /* weights_only refuses it; nothing bad is known of it */
	GLOBAL_UNSAFE,  /* known as a means to run code, or as a way to hide one */
};

/* "tensor", "allowed", "unknown", "unsafe" */
const char *pickle_verdict_text(enum pickle_verdict v);

/* Of a global as a pickle names it (Python 2 names count as what Python 3 makes of them). */
enum pickle_verdict pickle_verdict(struct str module, struct str name);

/* What kind of thing an accepted global is; what it does when called is weights_only's to know. */
enum pickle_allowed_kind {
	ALLOWED_NOT,
	ALLOWED_CALLABLE, /* class or function: the name says which */
	ALLOWED_DTYPE,
	ALLOWED_STORAGE,  /* class of a typed storage: stands in a persistent id, cannot be called */
	ALLOWED_UNTYPED,  /* torch.storage.UntypedStorage */
	ALLOWED_TENSOR,   /* class of tensors with data here: torch.FloatTensor, ... */
	ALLOWED_DEVICE,   /* class of tensors elsewhere: torch.cuda.FloatTensor, ... */
	ALLOWED_CONSTANT, /* quantisation schemes */
};

struct pickle_allowed {
	enum pickle_allowed_kind kind;
	const char *name; /* after the last dot */
	unsigned size;    /* dtypes and storages: bytes of an element */
	bool grad;        /* dtypes and storages: floating or complex, so that gradients can be required */
	bool blocked;       /* ALLOWED_NOT: its module is refused even if a program allows its names */
	const char *import; /* ALLOWED_NOT: what has to be imported before it is accepted, or NULL */
};

/* Room for the longest name that pickle_python3 makes; longer ones are cut. */
enum { PICKLE_GLOBAL_TEXT = 256 };

/* "module.name" as torch looks it up, Python 2 names mapped; out has PICKLE_GLOBAL_TEXT bytes. False if it was cut. */
bool pickle_python3(struct str module, struct str name, char *out);

/* Is it accepted? Fills *a; kind is ALLOWED_NOT if not, and then *a says why. */
bool pickle_allowed(struct str module, struct str name, struct pickle_allowed *a);

#endif
