/* SPDX-License-Identifier: Apache-2.0 */
/* Control's grammar: the input is lines of JSON-RPC against commands with every type of
 * parameter. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const colours[] = { "red", "green", NULL };
static const struct ctl_param params[] = {
	{ .name = "name", .type = CTL_NAME, .help = "a name", .required = true },
	{ .name = "text", .type = CTL_STRING, .help = "text", .value = "hello" },
	{ .name = "file", .type = CTL_PATH, .help = "a path" },
	{ .name = "size", .type = CTL_SIZE, .help = "a size", .min = 512, .max = 1ull << 60 },
	{ .name = "n", .type = CTL_UINT, .help = "a number", .max = 64 },
	{ .name = "flag", .type = CTL_BOOL, .help = "or not" },
	{ .name = "colour", .type = CTL_ENUM, .help = "a choice", .choices = colours },
	{ 0 },
};

static int run(struct ctl *ctl, const json_t *p, json_t **ret, struct ctl_error *err)
{
	*ret = json_object();
	return 0;
}

static const struct ctl_cmd cmds[] = {
	{ .noun = "thing", .verb = "make", .help = "make it", .params = params, .run = run },
	{ 0 },
};
static const struct ctl_cmd *const all[] = { cmds, NULL };
static const struct ctl_tables tables = { .cmds = all };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ctl *ctl = ctl_new(&tables, NULL);
	size_t got_b = 0;
	char *line = malloc(len ? len : 1); /* exactly as long: a read beyond it is seen */

	memcpy(line, data, len);
	char *got = rpc_line(ctl, line, len, &got_b);

	/* an answer is one line */
	if (got && (!got_b || memchr(got, '\n', got_b) != got + got_b - 1))
		abort();
	free(got);
	free(line);
	ctl_free(ctl);
	return 0;
}
