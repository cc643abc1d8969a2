/*
 * diag: how the library says something that is not an error. It never prints:
 * the program decides what becomes of a warning or a remark.
 */
#ifndef LNN_BASE_DIAG_H
#define LNN_BASE_DIAG_H

enum diag_level {
	DIAG_WARNING, /* the result may not be what the user expects */
	DIAG_VERBOSE, /* said only with --verbose */
	DIAG_NOTICE,  /* a choice that was made for the user */
};

struct diag {
	/* One line without program name and newline; raw bytes of names may occur in it. */
	void (*say)(void *arg, enum diag_level level, const char *msg);
	void *arg;
};

/* A null diag, or one without say, swallows everything. */
void diag_warn(const struct diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void diag_notice(const struct diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void diag_verbose(const struct diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
