/*
 * out: writes text to standard output or a file. On a terminal it is flushed after each line. The first error is kept: out_end
 * returns it, and out_failed lets a long loop stop early.
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
	bool tty; /* standard output is a terminal: long cells are cut and names are escaped */
	bool color;
	size_t width;   /* width of the terminal; SIZE_MAX if there is none */
	double flushed; /* time in seconds when out_flush_is_due last returned true; 0: never */
};

/* Opens path for text as file_output does. Colour depends on --color, NO_COLOR and TERM. */
int out_open(struct out *o, const char *path, struct err *err);

/* out_end writes the rest and closes; out_abort discards the output. Exactly one of them must be called for each open out. */
int out_end(struct out *o, struct err *err);
void out_abort(struct out *o);

bool out_failed(const struct out *o);

void out_write(struct out *o, const void *p, size_t n);
void out_puts(struct out *o, const char *s);
void out_putc(struct out *o, char c);
void out_printf(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Writes a name for a person; control bytes and the like become \xHH (text_show). */
void out_show(struct out *o, struct str name);

/* Writes text unchanged, but on a terminal as out_show does. */
void out_plain(struct out *o, struct str text);

/* Writes a name as a field of a tensor list (text_escape). */
void out_field(struct out *o, struct str name);

/* Sets the style of the following text. STYLE_PLAIN ends a style. Does nothing if there is no colour. */
void out_style(struct out *o, enum out_style style);

/* Writes everything to the file or pipe now. */
void out_flush(struct out *o);

/* Is it time to flush lines that were held back? Returns true the first time, then at most ten times a second. */
bool out_flush_is_due(struct out *o);

#endif
