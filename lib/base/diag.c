#include "base/diag.h"

#include <stdarg.h>
#include <stdio.h>

void
diag_say(const struct diag *d, enum diag_level level, const char *fmt, ...)
{
	char msg[2048];
	va_list ap;

	if (d == NULL || d->say == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	d->say(d->arg, level, msg);
}
