/* SPDX-License-Identifier: Apache-2.0 */
#include "control/ctl.h"

#include <stdlib.h>
#include <string.h>

/* Copies one item of a comma-separated list to @word, halving doubled commas.
 * Return: where the next item starts; NULL after the last. */
static const char *take_word(const char *text, char *word)
{
	for (; *text; text++) {
		if (*text == ',' && text[1] != ',') {
			*word = '\0';
			return text + 1;
		}
		if (*text == ',')
			text++;
		*word++ = *text;
	}
	*word = '\0';
	return NULL;
}

json_t *ctl_kind_from_text(const char *text, const char *param, struct ctl_error *err)
{
	CLEANUP(base_free) char *word = malloc(strlen(text) + 1);
	json_t *out = json_object();
	const char *rest = text;

	if (!word || !out)
		goto no_memory;
	rest = take_word(rest, word);
	if (json_object_set_new(out, "kind", json_string(word)))
		goto bad_text;
	while (rest) {
		rest = take_word(rest, word);
		char *eq = strchr(word, '=');

		if (!eq || eq == word) {
			ctl_fail(err, -EINVAL, "bad_value", param,
				 "'%.100s' is not key=value (a comma inside a value is doubled)",
				 word);
			goto fail;
		}
		*eq = '\0';
		if (json_object_get(out, word)) {
			ctl_fail(err, -EINVAL, "bad_value", param, "'%.100s' is given twice", word);
			goto fail;
		}
		if (json_object_set_new(out, word, json_string(eq + 1)))
			goto bad_text;
	}
	return out;
bad_text:
	ctl_fail(err, -EINVAL, "bad_value", param, "the text is not UTF-8");
	goto fail;
no_memory:
	ctl_fail(err, -ENOMEM, "no_memory", param, "out of memory");
fail:
	json_decref(out);
	return NULL;
}
