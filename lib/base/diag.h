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
void diag_say(const struct diag *d, enum diag_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define diag_warn(d, ...) diag_say(d, DIAG_WARNING, __VA_ARGS__)
#define diag_notice(d, ...) diag_say(d, DIAG_NOTICE, __VA_ARGS__)
#define diag_verbose(d, ...) diag_say(d, DIAG_VERBOSE, __VA_ARGS__)

#endif
