/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KEY=VALUE words of a command, judged by a table and stored into a struct: the host's side may be
 * typed by a person, so what does not fit is named.
 */
#pragma once

#include "base/base.h"

enum words_type {
	WORDS_NUMBER, /* uint64_t; K, M and G behind it are powers of 1024 */
	WORDS_CHOICE, /* unsigned: which of @names */
	WORDS_NAME, /* char[WORDS_NAME_MAX + 1] */
};
#define WORDS_NAME_MAX 31

struct words_key {
	const char *name;
	enum words_type type;
	uint64_t min, max; /* of a number */
	const char *const *names; /* of a choice, ended by NULL */
	size_t offset; /* in the struct */
};

/* Ends the word that @s begins with. Return: the next one; "" at the end. */
char *words_next(char *s);

/* Stores @words, which are changed, into @to; the table ends with a key without a name. Return:
 * NULL; or what is wrong, in static memory, as one line without quotes. */
const char *words_read(char *words, const struct words_key *keys, void *to);
