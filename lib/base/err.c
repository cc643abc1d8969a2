#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Formats prefix and message into e. A message that does not fit is cut and ends in "...". */
__attribute__((format(printf, 4, 0))) static void
fill(struct err *e, enum err_code code, const char *prefix, const char *fmt, va_list ap)
{
	size_t size = sizeof(e->msg), used;
	int n;

	e->code = code;
	n = snprintf(e->msg, size, "%s", prefix);
	used = n < 0 ? 0 : (size_t)n;
	if (used < size) {
		n = vsnprintf(e->msg + used, size - used, fmt, ap);
		used += n < 0 ? 0 : (size_t)n;
	}
	if (used >= size)
		memcpy(e->msg + size - 4, "...", 4);
}

void
err_clear(struct err *e)
{
	e->code = ERR_NONE;
	e->sysno = 0;
	e->msg[0] = '\0';
}

int(err_set)(struct err *e, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	if (e->code != ERR_NONE)
		return -1;
	va_start(ap, fmt);
	fill(e, code, "", fmt, ap);
	va_end(ap);
	return -1;
}

int
err_place(struct err *e, struct err_place place, const char *fmt, ...)
{
	unsigned long long at = place.at;
	char prefix[600];
	va_list ap;

	if (e->code != ERR_NONE)
		return -1;
	if (place.kind == ERR_BYTE)
		snprintf(prefix, sizeof(prefix), "%s: at byte %llu: %s%s", place.file, at, place.what ? place.what : "",
			 place.what ? ": " : "");
	else if (place.kind == ERR_LINE)
		snprintf(prefix, sizeof(prefix), place.column > 0 ? "%s:%llu:%u: " : "%s:%llu: ", place.file, at, place.column);
	else
		snprintf(prefix, sizeof(prefix), "%s: ", place.file);
	va_start(ap, fmt);
	fill(e, ERR_INPUT, prefix, fmt, ap);
	va_end(ap);
	return -1;
}

int(err_sys)(struct err *e, const char *file, const char *fmt, ...)
{
	char prefix[600];
	int sysno = errno;
	size_t used;
	va_list ap;

	if (e->code != ERR_NONE)
		return -1;
	snprintf(prefix, sizeof(prefix), "%s: ", file);
	va_start(ap, fmt);
	fill(e, ERR_SYSTEM, prefix, fmt, ap);
	va_end(ap);
	e->sysno = sysno;
	used = strlen(e->msg);
	snprintf(e->msg + used, sizeof(e->msg) - used, ": %s", strerror(sysno));
	return -1;
}
