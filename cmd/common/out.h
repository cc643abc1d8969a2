/*
 * out: lines of text on standard output or in a file. Flushed after each line
 * on a terminal. The first error sticks: out_end gives it, and out_failed lets a
 * long loop stop early.
 */
#ifndef LNN_COMMON_OUT_H
#define LNN_COMMON_OUT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "io/sink.h"

enum out_style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_WARN, STYLE_BAD, STYLE_NAME };

struct out {
	struct sink *sink;
	struct buf buf;
	struct err err;
	bool tty; /* a person reads it: cut long cells, escape names */
	bool color;
	size_t width;   /* of the terminal; SIZE_MAX if it is none */
	double flushed; /* when out_flush_is_due said so last, in seconds; 0: never */
};

/* Opens path as file_output does, for text. Colour follows --color, NO_COLOR and TERM. */
int out_open(struct out *o, const char *path, struct err *e);

/* Writes the rest and closes; or gives up. Exactly one of the two ends an out that was opened. */
int out_end(struct out *o, struct err *e);
void out_abort(struct out *o);

bool out_failed(const struct out *o);

void out_write(struct out *o, const void *p, size_t n);
void out_puts(struct out *o, const char *s);
void out_putc(struct out *o, char c);
void out_printf(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A name for a person: control bytes and the like as \xHH (text_show). */
void out_show(struct out *o, struct str name);

/* Text as it is; on a terminal as out_show does. */
void out_plain(struct out *o, struct str text);

/* A name as a field of a tensor list (text_escape). */
void out_field(struct out *o, struct str name);

/* From here on in this style; STYLE_PLAIN ends it. Nothing where there is no colour. */
void out_style(struct out *o, enum out_style style);

/* Passes on what was written, wherever it goes. */
void out_flush(struct out *o);

/* Is it time for a flush of output that waits for slow input? At first, then ten times a second at most. */
bool out_flush_is_due(struct out *o);

#endif
