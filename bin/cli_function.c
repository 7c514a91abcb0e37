/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A function's machine boots for seconds. posternd answers at once, so that nobody else has to
 * wait; a person, or a script, wants to know what has come of it, so this waits.
 */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "bin/cli.h"

#define LOOK_MS 200
#define LOST_MAX 50 /* looks in a row that nobody answers, as while posternd is restarted */

/* Return: whether it still boots, or waits for that. */
static bool is_under_way(const json_t *now, bool replaces)
{
	return replaces ? ctl_bool(now, "replacing") :
			  !strcmp(ctl_str(now, "state"), "starting") && !ctl_has(now, "why");
}

/* What has come of it. Return: 0; -ECANCELED with @err. */
static int judge(const json_t *now, bool replaces, uint64_t replaced, struct ctl_error *err)
{
	const char *why = ctl_str(now, replaces ? "last_failure" : "why");

	if (replaces && ctl_u64(now, "replaced") <= replaced)
		return ctl_fail(err, -ECANCELED, "start_failed", NULL, "%s; the version there was goes on",
				why ? why : "posternd has been restarted meanwhile");
	if (replaces || !why || !strcmp(ctl_str(now, "state"), "up"))
		return 0;
	return ctl_fail(err, -ECANCELED, "start_failed", NULL,
			"%s; it is tried again, until `function remove`", why);
}

static int look(const struct cli *cli, const json_t *params, json_t **now, struct ctl_error *err)
{
	json_t *next = NULL;
	int code = cli_call(cli, "function.show", params, &next, err);

	if (code)
		return code;
	json_decref(*now);
	*now = next;
	return 0;
}

int cli_await_function(const struct cli *cli, json_t **now, struct ctl_error *err)
{
	bool replaces = ctl_bool(*now, "replacing");
	uint64_t replaced = ctl_u64(*now, "replaced");
	unsigned lost = 0;
	int code = 0;

	if (!is_under_way(*now, replaces))
		return 0;
	json_t *params = json_pack("{s:s}", "name", ctl_str(*now, "name"));

	if (isatty(STDERR_FILENO))
		fprintf(stderr, "its machine boots; what interrupts this command does not stop that\n");
	while (is_under_way(*now, replaces) && lost < LOST_MAX) {
		poll(NULL, 0, LOOK_MS);
		code = look(cli, params, now, err);
		lost = code ? lost + 1 : 0;
		if (code && !strcmp(err->id, "function_not_found"))
			break;
	}
	json_decref(params);
	return code ? code : judge(*now, replaces, replaced, err);
}
