/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"

const char *arg_text(char **args, const char *key, const char *otherwise)
{
	size_t n = strlen(key);

	for (; *args; args++)
		if (!strncmp(*args, key, n) && (*args)[n] == '=')
			return *args + n + 1;
	return otherwise;
}

uint64_t arg_num(char **args, const char *key, uint64_t otherwise)
{
	const char *text = arg_text(args, key, NULL);
	uint64_t v;

	if (!text)
		return otherwise;
	if (parse_u64(text, &v) && parse_size(text, &v)) {
		fprintf(stderr, "%s=%s: not a number\n", key, text);
		exit(2);
	}
	return v;
}
