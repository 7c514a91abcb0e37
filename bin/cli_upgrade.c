/* SPDX-License-Identifier: Apache-2.0 */
/* `postern upgrade`: asks the keeper, which no worker has a say in; keeper/upgrade.c has the
 * words. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "bin/cli.h"

/* Sends @line. Return: 0, with what the keeper says in *ret; -errno with @err. */
static int ask_keeper(const struct cli *cli, const char *line, FILE **ret, struct ctl_error *err)
{
	CLEANUP(base_free) char *fallback = cli->control ? NULL : ctl_client_default_path();
	CLEANUP(base_free) char *path = NULL;
	const char *control = cli->control ? cli->control : fallback;

	if (!control || asprintf(&path, "%s" CTL_KEEPER_SUFFIX, control) < 0)
		return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	int fd = fd_connect(path);

	if (fd < 0)
		return ctl_fail(err, fd, fd == -EACCES ? "denied" : "no_daemon", "control",
				"no keeper answers at '%s': %s", path, strerror(-fd));
	/* one who is busy has answered and hung up by now, perhaps */
	send(fd, line, strlen(line), MSG_NOSIGNAL);
	*ret = fdopen(fd, "r");
	if (*ret)
		return 0;
	fd_close(fd);
	return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
}

/* "from=0.3 to=0.4 gap_ns=1 disks=2" */
static json_t *read_done(char *text)
{
	json_t *o = json_object();

	for (char *rest, *word = strtok_r(text, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest)) {
		char *value = strchr(word, '=');

		if (!value)
			continue;
		*value++ = '\0';
		json_object_set_new(o, word, !strcmp(word, "gap_ns") || !strcmp(word, "disks") ?
				    json_integer(strtoll(value, NULL, 10)) : json_string(value));
	}
	return o;
}

/* "ID PARAM TEXT" */
static int read_failed(char *text, struct ctl_error *err)
{
	char *rest, *id = strtok_r(text, " ", &rest), *param = strtok_r(NULL, " ", &rest);

	if (!param)
		return ctl_fail(err, -EPROTO, "bad_answer", NULL,
				"the keeper's answer makes no sense");
	return ctl_fail(err, -EREMOTEIO, id, strcmp(param, "-") ? param : NULL, "%s", rest);
}

static int run_upgrade(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const struct cli *cli = (const struct cli *)ctl;
	const char *binary = ctl_str(params, "binary");
	char line[8192];
	FILE *keeper;

	snprintf(line, sizeof(line), "upgrade%s%s%s\n", ctl_bool(params, "keeper") ? " keeper" : "",
		 binary ? " " : "", binary ? binary : "");
	int code = ask_keeper(cli, line, &keeper, err);
	if (code)
		return code;
	code = ctl_fail(err, -EPIPE, "no_daemon", "control",
			"the keeper went away before it had finished");
	while (fgets(line, sizeof(line), keeper)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "progress ", 9)) {
			if (!cli->json)
				fprintf(stderr, "%s\n", line + 9);
		} else if (!strncmp(line, "done ", 5)) {
			*ret = read_done(line + 5);
			code = 0;
		} else if (!strncmp(line, "failed ", 7)) {
			code = read_failed(line + 7, err);
		}
	}
	fclose(keeper);
	return code;
}

static const struct ctl_param upgrade_params[] = {
	{ .name = "binary", .type = CTL_PATH, .positional = true,
	  .help = "The posternd to go on with; none: the one that runs, started afresh" },
	{ .name = "keeper", .type = CTL_BOOL, .value = "off",
	  .help = "Of the keeper, too, when its worker has proved itself" },
	{ 0 },
};

const struct ctl_cmd upgrade_cmds[] = {
	{ .noun = "upgrade", .verb = "", .params = upgrade_params, .run = run_upgrade,
	  .help = "Go on with another posternd, which guests do not notice; back by itself if it fails" },
	{ 0 },
};
