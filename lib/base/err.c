#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Formats prefix and message into e. A message that does not fit is cut and ends in "...". */
__attribute__((format(printf, 4, 0))) static void
fill(struct err *err, enum err_code code, const char *prefix, const char *fmt, va_list ap)
{
	size_t size = sizeof(err->msg), used;
	int n;

	err->code = code;
	n = snprintf(err->msg, size, "%s", prefix);
	used = n < 0 ? 0 : (size_t)n;
	if (used < size) {
		n = vsnprintf(err->msg + used, size - used, fmt, ap);
		used += n < 0 ? 0 : (size_t)n;
	}
	if (used >= size)
		memcpy(err->msg + size - 4, "...", 4);
}

void
err_clear(struct err *err)
{
	err->code = ERR_NONE;
	err->sysno = 0;
	err->msg[0] = '\0';
}

int(err_set)(struct err *err, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	if (err->code != ERR_NONE)
		return -1;
	va_start(ap, fmt);
	fill(err, code, "", fmt, ap);
	va_end(ap);
	return -1;
}

int
err_place(struct err *err, struct err_place place, const char *fmt, ...)
{
	unsigned long long at = place.at;
	char prefix[600];
	va_list ap;

	if (err->code != ERR_NONE)
		return -1;
	if (place.kind == ERR_BYTE)
		snprintf(prefix, sizeof(prefix), "%s: at byte %llu: %s%s", place.file, at, place.what ? place.what : "",
			 place.what ? ": " : "");
	else if (place.kind == ERR_LINE)
		snprintf(prefix, sizeof(prefix), place.column > 0 ? "%s:%llu:%u: " : "%s:%llu: ", place.file, at, place.column);
	else
		snprintf(prefix, sizeof(prefix), "%s: ", place.file);
	va_start(ap, fmt);
	fill(err, ERR_INPUT, prefix, fmt, ap);
	va_end(ap);
	return -1;
}

int(err_sys)(struct err *err, const char *file, const char *fmt, ...)
{
	char prefix[600];
	int sysno = errno;
	size_t used;
	va_list ap;

	if (err->code != ERR_NONE)
		return -1;
	snprintf(prefix, sizeof(prefix), "%s: ", file);
	va_start(ap, fmt);
	fill(err, ERR_SYSTEM, prefix, fmt, ap);
	va_end(ap);
	err->sysno = sysno;
	used = strlen(err->msg);
	snprintf(err->msg + used, sizeof(err->msg) - used, ": %s", strerror(sysno));
	return -1;
}
