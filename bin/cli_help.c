/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <string.h>

#include "base/parse.h"
#include "bin/cli.h"

#define NAME_COLUMN 24

static const char options[] =
	"\n"
	"Options:\n"
	"  --control PATH   posternd's socket ($XDG_RUNTIME_DIR/postern/control.sock,\n"
	"                   otherwise /run/postern/control.sock)\n"
	"  --json           print the answer as JSON\n"
	"  -h, --help       behind a noun or a verb: more about it\n"
	"  -V, --version\n";

static void help_commands(const json_t *schema, const char *noun, FILE *out)
{
	json_t *cmd;
	size_t i;

	json_array_foreach(json_object_get(schema, "commands"), i, cmd) {
		char name[64];

		if (noun && strcmp(ctl_str(cmd, "noun"), noun))
			continue;
		snprintf(name, sizeof(name), "%s %s", ctl_str(cmd, "noun"), ctl_str(cmd, "verb"));
		fprintf(out, "  %-16s %s\n", name, ctl_str(cmd, "help"));
	}
}

static void word_for(const json_t *p, char *buf, size_t len)
{
	static const char *const word[][2] = { { "string", "TEXT" }, { "name", "NAME" },
					       { "path", "PATH" },   { "size", "SIZE" },
					       { "time", "TIME" },
					       { "uint", "N" },	     { "bool", "on|off" } };
	const char *type = ctl_str(p, "type");
	json_t *choice;
	size_t i;

	buf[0] = '\0';
	json_array_foreach(json_object_get(p, "choices"), i, choice) {
		size_t at = strlen(buf);

		snprintf(buf + at, len - at, "%s%s", i ? "|" : "", json_string_value(choice));
	}
	size_t used = strlen(buf);

	for (i = 0; i < ARRAY_SIZE(word); i++)
		if (!strcmp(type, word[i][0]))
			snprintf(buf + used, len - used, "%s%s", used ? "|" : "", word[i][1]);
	if (!strcmp(type, "kind"))
		snprintf(buf, len, "KIND[,...]");
}

/* A word without a key is called what the key would be: DISK, QUEUE. */
static void positional_word(const json_t *p, char *buf, size_t len)
{
	const char *type = ctl_str(p, "type");

	if (strcmp(type, "name") && strcmp(type, "uint")) {
		word_for(p, buf, len);
		return;
	}
	snprintf(buf, len, "%s", ctl_str(p, "name"));
	for (char *c = buf; *c; c++)
		*c = (char)toupper((unsigned char)*c);
}

static void number(const json_t *p, uint64_t v, char *buf, size_t len)
{
	if (!strcmp(ctl_str(p, "type"), "size"))
		format_size(v, buf);
	else if (!strcmp(ctl_str(p, "type"), "time"))
		unparse_ns(v, buf);
	else
		snprintf(buf, len, "%llu", (unsigned long long)v);
}

/* "(default 64, 1 to 64)" */
static void help_bounds(const json_t *p, FILE *out)
{
	const char *value = ctl_str(p, "default"), *type = ctl_str(p, "type");
	bool is_number = !strcmp(type, "uint") || !strcmp(type, "size") || !strcmp(type, "time");
	char lo[24], hi[24], range[64] = "";

	number(p, ctl_u64(p, "min"), lo, sizeof(lo));
	number(p, ctl_u64(p, "max"), hi, sizeof(hi));
	if (is_number && ctl_has(p, "max"))
		snprintf(range, sizeof(range), "%s to %s", lo, hi);
	else if (is_number && ctl_has(p, "min"))
		snprintf(range, sizeof(range), "at least %s", lo);
	if (ctl_bool(p, "required"))
		fprintf(out, " (needed%s%s)", *range ? "; " : "", range);
	else if (value || *range)
		fprintf(out, " (%s%s%s%s)", value ? "default " : "", value ? value : "",
			value && *range ? "; " : "", range);
	fputc('\n', out);
}

static void help_params(const json_t *params, const char *indent, FILE *out)
{
	json_t *p;
	size_t i;

	json_array_foreach(params, i, p) {
		char word[100], name[160];

		word_for(p, word, sizeof(word));
		if (ctl_bool(p, "positional"))
			positional_word(p, name, sizeof(name));
		else
			snprintf(name, sizeof(name), "%s=%s%s", ctl_str(p, "name"), word,
				 ctl_bool(p, "opens") ? "[,KEY=VALUE]..." : "");
		fprintf(out, "%s%-*s", indent, (int)(NAME_COLUMN - strlen(indent)), name);
		if (strlen(name) + strlen(indent) >= NAME_COLUMN)
			fprintf(out, "\n%-*s", NAME_COLUMN, "");
		fprintf(out, " %s", ctl_str(p, "help"));
		help_bounds(p, out);
	}
}

static void help_kinds(const json_t *schema, const json_t *param, FILE *out)
{
	const json_t *kinds = cli_kinds(schema, ctl_str(param, "set"));
	json_t *kind;
	size_t i;

	if (!json_array_size(kinds))
		return;
	fprintf(out, "\n%s=KIND[,KEY=VALUE]... (a comma inside a value is doubled):\n",
		ctl_str(param, "name"));
	json_array_foreach(kinds, i, kind) {
		fprintf(out, "  %-*s %s\n", NAME_COLUMN - 2, ctl_str(kind, "name"),
			ctl_str(kind, "help"));
		help_params(json_object_get(kind, "params"), "    ", out);
	}
}

static void help_command(const json_t *schema, const json_t *cmd, FILE *out)
{
	const json_t *params = json_object_get(cmd, "params");
	const char *verb = ctl_str(cmd, "verb");
	bool keys = false;
	json_t *p;
	size_t i;

	fprintf(out, "Usage: postern %s%s%s", ctl_str(cmd, "noun"), *verb ? " " : "", verb);
	json_array_foreach(params, i, p) {
		char word[100];

		positional_word(p, word, sizeof(word));
		if (ctl_bool(p, "positional"))
			fprintf(out, ctl_bool(p, "required") ? " %s" : " [%s]", word);
		else
			keys = true;
	}
	fprintf(out, "%s\n%s.\n", keys ? " [KEY=VALUE]..." : "", ctl_str(cmd, "help"));
	if (json_array_size(params))
		fputc('\n', out);
	help_params(params, "  ", out);
	json_array_foreach(params, i, p)
		if (ctl_has(p, "set"))
			help_kinds(schema, p, out);
}

void cli_help(const json_t *schema, const char *noun, const char *verb, FILE *out)
{
	const json_t *cmd = noun ? cli_find(schema, noun, verb ? verb : "") : NULL;

	if (cmd) {
		help_command(schema, cmd, out);
		return;
	}
	fprintf(out, "Usage: postern %s VERB [NAME] [KEY=VALUE]...\n", noun ? noun : "NOUN");
	if (!noun)
		fputs("Make, watch and change Postern's disks, and run machines on them.\n", out);
	fputc('\n', out);
	help_commands(schema, noun, out);
	if (!noun)
		fputs(options, out);
}
