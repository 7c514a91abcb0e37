/* SPDX-License-Identifier: Apache-2.0 */
#include "bin/status.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "bin/version.h"
#include "disk/balance_ctl.h"
#include "disk/disk_ctl.h"
#include "disk/poller_ctl.h"

static struct {
	const struct sandbox_report *sandbox;
	unsigned restarts;
	const char *control, *state;
	uint64_t start_ns;
} fixed;

static struct {
	char how[64];
	uint64_t gap_ns;
} past;

void status_past(const char *how, uint64_t gap_ns)
{
	snprintf(past.how, sizeof(past.how), "%s", how);
	past.gap_ns = gap_ns;
}

void status_init(const struct sandbox_report *sandbox, unsigned restarts, const char *control,
		 const char *state)
{
	fixed.sandbox = sandbox;
	fixed.restarts = restarts;
	fixed.control = control;
	fixed.state = state;
	fixed.start_ns = clock_ns();
}

static json_t *count_states(const json_t *disks)
{
	json_t *count = json_object(), *disk;
	size_t i;

	json_object_set_new(count, "all", json_integer((json_int_t)json_array_size(disks)));
	json_array_foreach(disks, i, disk) {
		const char *state = ctl_str(disk, "state");
		json_int_t n = json_integer_value(json_object_get(count, state));

		json_object_set_new(count, state, json_integer(n + 1));
	}
	return count;
}

unsigned status_served(void)
{
	json_t *disks = disk_ctl_list(), *disk;
	unsigned n = 0;
	size_t i;

	json_array_foreach(disks, i, disk) {
		const char *state = ctl_str(disk, "state");

		n += strcmp(state, "failed") && strcmp(state, "waiting");
	}
	json_decref(disks);
	return n;
}

static int run_status(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const struct sandbox_report *s = fixed.sandbox;
	json_t *disks = disk_ctl_list();

	*ret = json_pack("{s:s, s:i, s:i, s:i, s:s?, s:I, s:I, s:s?, s:s?, s:s, s:{s:s, s:s, s:s, s:s}, s:o, s:o}",
			 "version", POSTERN_VERSION, "keeper_pid", getppid(), "worker_pid",
			 getpid(),
			 "restarts", (int)fixed.restarts, "last_death",
			 *past.how ? past.how : NULL, "gap_ns", (json_int_t)past.gap_ns, "up_ns",
			 (json_int_t)(clock_ns() - fixed.start_ns), "control", fixed.control,
			 "state", fixed.state, "log_level", log_level_name(log_get_level()),
			 "sandbox", "capabilities", s->capabilities, "no_new_privs",
			 s->no_new_privs, "landlock", s->landlock, "seccomp", s->seccomp, "disks",
			 count_states(disks), "pollers", poller_ctl_list());
	json_object_set_new(*ret, "balance", balance_ctl_show());
	json_decref(disks);
	return 0;
}

static const char *const levels[] = { "error", "warn", "info", "debug", NULL };

static const struct ctl_param log_params[] = {
	{ .name = "level", .type = CTL_ENUM, .choices = levels, .required = true,
	  .positional = true, .help = "What is written to the log, and all that is worse" },
	{ 0 },
};

static int run_log(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	enum log_level level;

	if (log_level_parse(ctl_str(params, "level"), &level))
		return ctl_fail(err, -EINVAL, "bad_value", "level", "no such level");
	log_set_level(level);
	return 0;
}

const struct ctl_cmd status_cmds[] = {
	{ .noun = "status", .verb = "", .run = run_status,
	  .help = "Show the processes, the sandbox, the pollers and how the disks are" },
	{ .noun = "log", .verb = "level", .params = log_params, .run = run_log,
	  .help = "Change what posternd logs, until it restarts" },
	{ 0 },
};
