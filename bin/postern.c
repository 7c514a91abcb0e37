/* SPDX-License-Identifier: Apache-2.0 */
/* postern: words to a command, a command to posternd (or run here), its answer to people. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "bin/cli.h"
#include "bin/version.h"
#include "vm/vm_ctl.h"

static const struct ctl_cmd *const local_commands[] = { vm_cmds, bench_cmds, compare_cmds,
							upgrade_cmds, NULL };
const struct ctl_tables cli_local = { .cmds = local_commands, .sets = compare_sets };

/* What the command line says. */
struct line {
	struct cli cli;
	char **word; /* of the command */
	int nword;
	bool help, version, schema, complete;
};

int cli_call(const struct cli *cli, const char *method, const json_t *params, json_t **ret,
	     struct ctl_error *err)
{
	struct ctl_client *client;
	int code = ctl_client_open(cli->control, &client, err);

	if (code)
		return code;
	code = ctl_client_call(client, method, params, ret, err);
	ctl_client_close(client);
	return code;
}

int cli_disk(const struct cli *cli, const char *name, json_t **ret, struct ctl_error *err)
{
	json_t *params = json_pack("{s:s}", "name", name);
	int code = cli_call(cli, "disk.show", params, ret, err);

	if (code && !strcmp(err->param, "name"))
		strcpy(err->param, "disk");
	json_decref(params);
	return code;
}

static int complain(const struct line *l, const struct ctl_error *err)
{
	const char *sep = *err->param ? ": " : "";
	json_t *o;

	if (!l->cli.json) {
		fprintf(stderr, "postern: %s%s%s (%s)\n", err->param, sep, err->text, err->id);
		return 1;
	}
	o = json_pack("{s:{s:s, s:s, s:s}}", "error", "id", err->id, "param", err->param, "message",
		      err->text);
	json_dumpf(o, stderr, JSON_COMPACT);
	fputc('\n', stderr);
	json_decref(o);
	return 1;
}

/* Behind a command, "--full" and "--html FILE" are its parameters written another way; but for
 * those options that every command has. */
static bool is_parameter(const char *a)
{
	static const char *const own[] = { "--help", "--version", "--complete", "--print-schema",
					   "--json" };

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (!strcmp(a, own[i]))
			return false;
	return !strncmp(a, "--", 2) && strncmp(a, "--control", 9);
}

/* Takes the options out of @argv; what is left are the command's words. */
static int read_line(int argc, char **argv, struct line *l, struct ctl_error *err)
{
	l->word = argv;
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (a[0] != '-' || l->complete || (l->nword && is_parameter(a))) {
			l->word[l->nword++] = argv[i];
		} else if (!strcmp(a, "-h") || !strcmp(a, "--help")) {
			l->help = true;
		} else if (!strcmp(a, "-V") || !strcmp(a, "--version")) {
			l->version = true;
		} else if (!strcmp(a, "--complete")) {
			l->complete = true;
		} else if (!strcmp(a, "--print-schema")) {
			l->schema = true;
		} else if (!strcmp(a, "--json")) {
			l->cli.json = true;
		} else if (!strncmp(a, "--control=", 10)) {
			l->cli.control = a + 10;
		} else if (!strcmp(a, "--control") && i + 1 < argc) {
			l->cli.control = argv[++i];
		} else if (!strcmp(a, "--control")) {
			return ctl_fail(err, -EINVAL, "bad_option", "--control",
					"a path is needed behind it");
		} else {
			return ctl_fail(err, -EINVAL, "bad_option", a,
					"there is no such option: --control, --json, --help and "
					"--version are");
		}
	}
	return 0;
}

static int unknown_command(const struct line *l, struct ctl_error *err)
{
	const char *noun = l->word[0], *verb = l->nword > 1 ? l->word[1] : NULL;

	if (!cli_has_noun(l->cli.schema, noun))
		return ctl_fail(err, -EINVAL, "unknown_command", NULL,
				"there is no '%.60s'; postern --help names the commands", noun);
	return ctl_fail(err, -EINVAL, "unknown_command", NULL,
			"'%s' %s%.60s%s; postern %s --help names its verbs", noun,
			verb ? "has no '" : "needs a verb", verb ? verb : "", verb ? "'" : "",
			noun);
}

static int run(const struct line *l, const json_t *cmd, const json_t *params, json_t **ret,
	       struct ctl_error *err)
{
	const char *noun = ctl_str(cmd, "noun"), *verb = ctl_str(cmd, "verb");
	json_t *checked = NULL;
	char method[80];
	int code;

	if (!ctl_bool(cmd, "local")) {
		snprintf(method, sizeof(method), *verb ? "%s.%s" : "%s", noun, verb);
		code = cli_call(&l->cli, method, params, ret, err);
		bool boots = !strcmp(noun, "function") && (!strcmp(verb, "add") || !strcmp(verb, "replace"));

		return code || !boots ? code : cli_await_function(&l->cli, ret, err);
	}
	const struct ctl_cmd *own = ctl_cmd_find(&cli_local, noun, verb);

	code = ctl_check(&cli_local, own->params, params, &checked, err);
	if (!code)
		code = own->run((struct ctl *)&l->cli, checked, ret, err);
	json_decref(checked);
	return code;
}

/* Whether a command is called for its answer, rather than for what it does: also one that says
 * which part of its answer is for people. */
static bool is_question(const json_t *cmd)
{
	static const char *const verbs[] = { "", "list", "show", "probe", "run", "balance" };

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(ctl_str(cmd, "verb"), verbs[i]))
			return true;
	return ctl_has(cmd, "columns");
}

static void show(const struct line *l, const json_t *cmd, const json_t *result)
{
	if (!result || (json_is_object(result) && !json_object_size(result)))
		return;
	if (l->cli.json) {
		json_dumpf(result, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
		putchar('\n');
	} else if (json_is_string(result)) {
		puts(json_string_value(result));
	} else if (is_question(cmd)) {
		cli_print(result, ctl_str(cmd, "columns"));
	}
}

static int execute(struct line *l, struct ctl_error *err)
{
	const json_t *schema = l->cli.schema;
	const json_t *cmd = cli_find(schema, l->word[0], l->nword > 1 ? l->word[1] : "");
	int used = 2;

	if (!cmd) {
		cmd = cli_find(schema, l->word[0], "");
		used = 1;
	}
	if (!cmd)
		return unknown_command(l, err);
	if (l->nword == 1)
		used = 1;
	json_t *params = cli_params(schema, cmd, l->word + used, l->nword - used, err);
	json_t *result = NULL;
	int code = params ? run(l, cmd, params, &result, err) : -EINVAL;

	if (!code)
		show(l, cmd, result);
	json_decref(params);
	json_decref(result);
	return code;
}

static int help(const struct line *l, struct ctl_error *err)
{
	const char *noun = l->nword ? l->word[0] : NULL, *verb = l->nword > 1 ? l->word[1] : NULL;

	if (noun && !cli_has_noun(l->cli.schema, noun))
		return unknown_command(l, err);
	if (verb && !cli_find(l->cli.schema, noun, verb)) {
		if (!cli_find(l->cli.schema, noun, ""))
			return unknown_command(l, err);
		verb = NULL;
	}
	cli_help(l->cli.schema, noun, verb, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	struct line l = { 0 };
	struct ctl_error err = { 0 };
	int code = read_line(argc, argv, &l, &err);

	signal(SIGPIPE, SIG_DFL);
	if (!code && l.version) {
		puts("postern " POSTERN_VERSION);
		return 0;
	}
	l.cli.schema = cli_schema();
	vm_ctl_set_control(l.cli.control);
	if (!code && l.complete) {
		cli_complete(&l.cli, l.word, l.nword);
	} else if (!code && l.schema) {
		json_dumpf(l.cli.schema, stdout, JSON_INDENT(1));
		putchar('\n');
	} else if (!code && !l.nword && !l.help) {
		cli_help(l.cli.schema, NULL, NULL, stderr);
		code = 1;
	} else if (!code) {
		code = l.help ? help(&l, &err) : execute(&l, &err);
		if (!code && (fflush(stdout) || ferror(stdout)))
			code = ctl_fail(&err, -EIO, "output_failed", NULL,
					"cannot write the answer");
		if (code)
			complain(&l, &err);
	} else {
		complain(&l, &err);
	}
	json_decref(l.cli.schema);
	return code ? 1 : 0;
}
