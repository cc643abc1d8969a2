#include "text/yaml.h"

#include <string.h>

#include "base/text.h"

/* Words that YAML 1.1 or 1.2, or somebody's parser, takes for something other than text. */
static bool
has_meaning(struct str s)
{
	static const char *const words[] = {
		"null", "none", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "nan", "infinity",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (str_eqc_nocase(s, words[i]))
			return true;
	return false;
}

/* Plain in every context: begins with a letter or _, so it is no number, date or indicator. */
static bool
plain_is_safe(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
		bool other = (c >= '0' && c <= '9') || c == '.' || c == '/' || c == '-' || c == '+';

		if (!letter && (i == 0 || !other))
			return false;
	}
	return s.len > 0 && !has_meaning(s);
}

/* Neither what YAML escapes, nor what would act on a terminal, nor a space that one cannot see. */
static bool
shown_raw(uint32_t c)
{
	return !utf8_steers(c) && c != 0xa0 && c != '"' && c != '\\' && (c & 0xfffe) != 0xfffe;
}

bool
yaml_put_scalar(struct buf *b, struct str s)
{
	const uint8_t *p = (const uint8_t *)s.p;
	uint32_t c;
	size_t n;

	if (!utf8_valid(s))
		return false;
	if (plain_is_safe(s)) {
		buf_addstr(b, s);
		return true;
	}
	buf_addc(b, '"');
	for (size_t i = 0; i < s.len; i += n) {
		n = utf8_len(p + i, s.len - i);
		c = utf8_decode(p + i, n);
		if (shown_raw(c))
			buf_add(b, p + i, n);
		else if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", (int)c);
		else if (c == '\n' || c == '\t' || c == '\r')
			buf_addf(b, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
		else
			buf_addf(b, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
	}
	buf_addc(b, '"');
	return true;
}
