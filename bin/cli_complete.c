/* SPDX-License-Identifier: Apache-2.0 */
/* `postern --complete WORD...`: what the last word may become, a line each; for shells. */
#include <stdlib.h>
#include <string.h>

#include "bin/cli.h"

/* One line, if it goes on from @word. @end: "=" behind a key. */
static void offer(const char *word, const char *lead, const char *text, const char *end)
{
	char whole[256];

	snprintf(whole, sizeof(whole), "%s%s%s", lead, text, end);
	if (!strncmp(whole, word, strlen(word)))
		puts(whole);
}

/* Nouns for the first word, the noun's verbs for the second. */
static void offer_commands(const json_t *schema, const char *noun, const char *word)
{
	const char *last = "";
	json_t *cmd;
	size_t i;

	json_array_foreach(json_object_get(schema, "commands"), i, cmd) {
		if (noun && !strcmp(ctl_str(cmd, "noun"), noun))
			offer(word, "", ctl_str(cmd, "verb"), "");
		else if (!noun && strcmp(ctl_str(cmd, "noun"), last))
			offer(word, "", ctl_str(cmd, "noun"), "");
		last = ctl_str(cmd, "noun");
	}
}

static void offer_disks(const struct cli *cli, const char *word, const char *lead)
{
	struct ctl_error ignored;
	json_t *disks = NULL, *disk;
	size_t i;

	if (!cli_call(cli, "disk.list", NULL, &disks, &ignored))
		json_array_foreach(disks, i, disk)
			offer(word, lead, ctl_str(disk, "name"), "");
	json_decref(disks);
}

static void offer_keys(const json_t *params, const char *word, const char *lead)
{
	json_t *p;
	size_t i;

	json_array_foreach(params, i, p)
		if (!ctl_bool(p, "positional"))
			offer(word, lead, ctl_str(p, "name"), "=");
}

static void offer_values(const struct cli *cli, const json_t *param, const char *word,
			 const char *lead)
{
	json_t *item;
	size_t i;

	json_array_foreach(json_object_get(param, "choices"), i, item)
		offer(word, lead, json_string_value(item), "");
	json_array_foreach(cli_kinds(cli->schema, ctl_str(param, "set")), i, item)
		offer(word, lead, ctl_str(item, "name"), "");
	if (!strcmp(ctl_str(param, "type"), "bool")) {
		offer(word, lead, "on", "");
		offer(word, lead, "off", "");
	}
	if (!strcmp(ctl_str(param, "name"), "disk"))
		offer_disks(cli, word, lead);
}

/* A word with "=": a value, or inside a kind ("medium=file,pa") a key or value of the kind's. */
static void offer_in(const struct cli *cli, const json_t *params, const char *word)
{
	CLEANUP(base_free) char *copy = strdup(word), *lead = strdup(word);

	if (!copy || !lead)
		return;
	char *value = strchr(copy, '='), *comma = strchr(copy, ','), *last = strrchr(copy, ',');

	*value++ = '\0';
	const json_t *param = cli_find_param(params, copy);

	if (param && comma && ctl_has(param, "set")) {
		*comma = '\0';
		const json_t *kind = cli_find_param(cli_kinds(cli->schema, ctl_str(param, "set")),
						    value);
		char *eq = strchr(last + 1, '=');

		params = json_object_get(kind, "params");
		lead[(eq ? eq : last) + 1 - copy] = '\0';
		if (!eq) {
			offer_keys(params, word, lead);
			return;
		}
		*eq = '\0';
		param = cli_find_param(params, last + 1);
	} else {
		lead[value - copy] = '\0';
	}
	if (param)
		offer_values(cli, param, word, lead);
}

void cli_complete(const struct cli *cli, char *const *words, int n)
{
	const char *word = n ? words[n - 1] : "", *noun = n > 1 ? words[0] : NULL;
	const json_t *cmd = n > 2 ? cli_find(cli->schema, noun, words[1]) : NULL;
	int first = 3;

	if (!cmd && noun) {
		cmd = cli_find(cli->schema, noun, "");
		first = 2;
	}
	if (!cmd) {
		if (n < 3)
			offer_commands(cli->schema, noun, word);
		return;
	}
	const json_t *params = json_object_get(cmd, "params");

	if (strchr(word, '=')) {
		offer_in(cli, params, word);
		return;
	}
	if (n == first && !strcmp(noun, "disk") && strcmp(words[1], "create"))
		offer_disks(cli, word, "");
	offer_keys(params, word, "");
}
