/*
 * err: why something failed.
 *
 * Every fallible function takes a struct err as its last argument and returns
 * 0 or -1. The first error set wins: code that cleans up after a failure may
 * fail again without hiding the cause.
 */
#ifndef LNN_BASE_ERR_H
#define LNN_BASE_ERR_H

#include <stdint.h>

enum err_code {
	ERR_NONE = 0,
	ERR_INPUT,  /* the input is malformed or not supported */
	ERR_SYSTEM, /* a system call failed */
	ERR_USAGE,  /* the request is invalid */
	ERR_ANSWER, /* a negative answer (status 1), not a failure */
};

struct err {
	enum err_code code;
	int sysno;      /* errno of an ERR_SYSTEM */
	char msg[1536]; /* "FILE: MESSAGE", without the program's name; may contain raw bytes of names */
};

/* Initial value: no error. */
#define ERR_INIT                \
	{                       \
		ERR_NONE, 0, "" \
	}

/* Resets e to ERR_INIT. */
void err_clear(struct err *err);

/* The place that a message refers to. */
struct err_place {
	const char *file;
	enum { ERR_FILE, ERR_BYTE, ERR_LINE } kind;
	uint64_t at;      /* ERR_BYTE: offset; ERR_LINE: line, from 1 */
	unsigned column;  /* from 1; 0 if not known */
	const char *what; /* ERR_BYTE: the name of the item at that offset; NULL if not known */
};

/* Sets code and "MESSAGE", and returns -1. Like the functions below, leaves an err that is already set unchanged. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Sets ERR_INPUT, "FILE: MESSAGE", "FILE: at byte OFFSET: MESSAGE" or "FILE:LINE:COLUMN: MESSAGE"; returns -1. */
int err_place(struct err *err, struct err_place place, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Sets ERR_SYSTEM, "FILE: MESSAGE: strerror(errno)"; returns -1. */
int err_sys(struct err *err, const char *file, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * The macros make the constant -1 visible to compilers and analysers, which would otherwise report uninitialised outputs on a path
 * that cannot happen: a function that fails but returns 0.
 */
static inline int
err_failed(int always)
{
	(void)always;
	return -1;
}
#define err_set(...) err_failed(err_set(__VA_ARGS__))
#define err_sys(...) err_failed(err_sys(__VA_ARGS__))

/* ERR_INPUT about a whole file, about a byte offset in it, and about a line and column of it. */
#define err_input(e, name, ...) err_failed(err_place(e, (struct err_place){ .file = (name) }, __VA_ARGS__))
#define err_at(e, name, offset, ...) \
	err_failed(err_place(e, (struct err_place){ .file = (name), .kind = ERR_BYTE, .at = (offset) }, __VA_ARGS__))
#define err_line(e, name, line, column, ...) \
	err_failed(err_place(e, (struct err_place){ (name), ERR_LINE, (line), (column), NULL }, __VA_ARGS__))

#endif
