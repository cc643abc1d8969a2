#include "base/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stddef.h>

__attribute__((format(printf, 3, 0))) static void
say(const struct diag *d, enum diag_level level, const char *fmt, va_list ap)
{
	char msg[2048];

	if (d == NULL || d->say == NULL)
		return;
	vsnprintf(msg, sizeof(msg), fmt, ap);
	d->say(d->arg, level, msg);
}

void
diag_warn(const struct diag *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(d, DIAG_WARNING, fmt, ap);
	va_end(ap);
}

void
diag_notice(const struct diag *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(d, DIAG_NOTICE, fmt, ap);
	va_end(ap);
}

void
diag_verbose(const struct diag *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(d, DIAG_VERBOSE, fmt, ap);
	va_end(ap);
}
