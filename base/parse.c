/* SPDX-License-Identifier: Apache-2.0 */
#include "base/parse.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT_ROOM 16
#define UNPARSE_ROOM 24

/* strtoull takes signs and blanks; a number here starts with a digit. */
static int parse_prefix(const char *text, uint64_t *ret_value, const char **ret_rest)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	int base = !strncmp(text, "0x", 2) ? 16 : 10;
	unsigned long long v = strtoull(text, &end, base);
	if (errno)
		return -errno;
	*ret_value = v;
	*ret_rest = end;
	return 0;
}

int parse_u64(const char *text, uint64_t *ret_value)
{
	const char *rest;
	uint64_t v;
	int err = parse_prefix(text, &v, &rest);

	if (err)
		return err;
	if (*rest)
		return -EINVAL;
	*ret_value = v;
	return 0;
}

int parse_size(const char *text, uint64_t *ret_b)
{
	static const char unit[] = "KMGTP";
	const char *rest;
	uint64_t v;
	unsigned shift = 0;
	int err = parse_prefix(text, &v, &rest);

	if (err)
		return err;
	const char *u = *rest ? strchr(unit, toupper((unsigned char)*rest)) : NULL;
	if (u) {
		shift = 10 * (unsigned)(u - unit + 1);
		rest++;
		if (*rest == 'i')
			rest++;
	}
	if (*rest == 'B')
		rest++;
	if (*rest)
		return -EINVAL;
	if (shift && v > UINT64_MAX >> shift)
		return -ERANGE;
	*ret_b = v << shift;
	return 0;
}

static const struct { const char *name; uint64_t ns; } time_unit[] = {
	{ "s", NS_PER_S }, { "ms", NS_PER_MS }, { "us", NS_PER_US }, { "ns", 1 },
};

int parse_ns(const char *text, uint64_t *ret_ns)
{
	const char *rest;
	uint64_t v;
	int err = parse_prefix(text, &v, &rest);

	if (err)
		return err;
	if (!v && !*rest) {
		*ret_ns = 0;
		return 0;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(time_unit); i++) {
		if (strcmp(rest, time_unit[i].name))
			continue;
		if (v > UINT64_MAX / time_unit[i].ns)
			return -ERANGE;
		*ret_ns = v * time_unit[i].ns;
		return 0;
	}
	return -EINVAL;
}

char *unparse_ns(uint64_t ns, char *buf)
{
	unsigned i = 0;

	while (ns % time_unit[i].ns)
		i++;
	snprintf(buf, UNPARSE_ROOM, "%llu%s", (unsigned long long)(ns / time_unit[i].ns),
		 ns ? time_unit[i].name : "");
	return buf;
}

const char *parse_word(const char *text, char **at)
{
	char quote = 0;

	for (; *text && (quote || !strchr(PARSE_BLANKS, *text)); text++) {
		if (quote ? *text == quote : *text == '"' || *text == '\'')
			quote = quote ? 0 : *text;
		else
			*(*at)++ = *text;
	}
	*(*at)++ = '\0';
	return quote ? NULL : text;
}

static char *format_scaled(double v, const char *unit, char *buf)
{
	bool whole = v >= 99.95 || v == (double)(uint64_t)v;

	snprintf(buf, FORMAT_ROOM, whole ? "%.0f %s" : "%.1f %s", v, unit);
	return buf;
}

char *format_size(uint64_t b, char *buf)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)b;
	unsigned u = 0;

	while (v >= 1023.95 && u < ARRAY_SIZE(unit) - 1) {
		v /= 1024;
		u++;
	}
	return format_scaled(v, unit[u], buf);
}

char *format_ns(uint64_t ns, char *buf)
{
	static const char *const unit[] = { "ns", "us", "ms", "s" };
	double v = (double)ns;
	unsigned u = 0;

	while (v >= 999.95 && u < ARRAY_SIZE(unit) - 1) {
		v /= 1000;
		u++;
	}
	return format_scaled(v, unit[u], buf);
}
