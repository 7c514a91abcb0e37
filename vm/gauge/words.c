/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/gauge/words.h"

#include <string.h>

static char complaint[96];

static void say(const char *s)
{
	size_t at = strlen(complaint);

	for (; *s && at + 1 < sizeof(complaint); s++)
		/* whatever came over the line goes back as text */
		complaint[at++] = *s >= ' ' && *s <= '~' && *s != '"' && *s != '\\' ? *s : '?';
	complaint[at] = 0;
}

static const char *wrong(const char *name, const char *what)
{
	complaint[0] = 0;
	say(name);
	say(": ");
	say(what);
	return complaint;
}

char *words_next(char *s)
{
	while (*s && *s != ' ')
		s++;
	while (*s == ' ')
		*s++ = 0;
	return s;
}

static bool read_number(const char *s, uint64_t *ret)
{
	uint64_t v = 0;
	unsigned shift = 0;

	if (!*s)
		return false;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return false;
	if (*s) {
		shift = *s == 'K' ? 10 : *s == 'M' ? 20 : *s == 'G' ? 30 : 0;
		if (!shift || s[1] || v > UINT64_MAX >> shift)
			return false;
	}
	*ret = v << shift;
	return true;
}

static bool read_choice(const char *s, const char *const *names, unsigned *ret)
{
	for (unsigned i = 0; names[i]; i++)
		if (!strcmp(names[i], s)) {
			*ret = i;
			return true;
		}
	return false;
}

static bool read_name(const char *s, char *ret)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'z') ||
		      (s[i] >= 'A' && s[i] <= 'Z') || s[i] == '.' || s[i] == '_' || s[i] == '-'))
			return false;
	if (n > WORDS_NAME_MAX)
		return false;
	memcpy(ret, s, n + 1);
	return true;
}

static const char *read_value(const struct words_key *k, const char *s, void *to)
{
	void *at = (uint8_t *)to + k->offset;
	uint64_t v;

	switch (k->type) {
	case WORDS_NUMBER:
		if (!read_number(s, &v))
			return wrong(k->name, "not a number");
		if (v < k->min || v > k->max)
			return wrong(k->name, v < k->min ? "too small" : "too large");
		memcpy(at, &v, sizeof(v));
		return NULL;
	case WORDS_CHOICE:
		return read_choice(s, k->names, at) ? NULL : wrong(k->name, "no such choice");
	default:
		return read_name(s, at) ? NULL : wrong(k->name, "not a name");
	}
}

const char *words_read(char *words, const struct words_key *keys, void *to)
{
	while (*words) {
		char *next = words_next(words), *value = words;

		while (*value && *value != '=')
			value++;
		if (!*value)
			return wrong(words, "not KEY=VALUE");
		*value++ = 0;
		const struct words_key *k = keys;

		while (k->name && strcmp(k->name, words))
			k++;
		if (!k->name)
			return wrong(words, "no such key");
		const char *why = read_value(k, value, to);

		if (why)
			return why;
		words = next;
	}
	return NULL;
}
