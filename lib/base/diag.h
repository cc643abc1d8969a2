/*
 * diag: how the library reports something that is not an error. The library
 * never prints. The program decides what to do with each message.
 */
#ifndef LNN_BASE_DIAG_H
#define LNN_BASE_DIAG_H

enum diag_level {
	DIAG_WARNING, /* the result may not be what the user expects */
	DIAG_VERBOSE, /* printed only with --verbose */
	DIAG_NOTICE,  /* a choice that was made for the user */
};

struct diag {
	/* msg is one line without program name and newline. It may contain raw bytes of names. */
	void (*say)(void *arg, enum diag_level level, const char *msg);
	void *arg;
};

/* Does nothing if d or d->say is NULL. */
void diag_say(const struct diag *d, enum diag_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define diag_warn(d, ...) diag_say(d, DIAG_WARNING, __VA_ARGS__)
#define diag_notice(d, ...) diag_say(d, DIAG_NOTICE, __VA_ARGS__)
#define diag_verbose(d, ...) diag_say(d, DIAG_VERBOSE, __VA_ARGS__)

#endif
