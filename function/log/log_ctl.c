/* SPDX-License-Identifier: Apache-2.0 */
#include "function/log/log_ctl.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "function/log/log.h"

static const struct ctl_param log_params[] = {
	{ .name = "path", .type = CTL_PATH,
	  .help = "Append the lines to this file (default: posternd's standard error)" },
	{ 0 },
};

static int open_target(const char *path, struct ctl_error *err)
{
	if (!path) {
		int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

		return fd >= 0 ? fd : ctl_fail(err, -errno, "open_failed", "path",
					       "there is no standard error; give a path");
	}
	int fd = ctl_open_path(path, O_WRONLY | O_CREAT, "path", err);
	int flags = fd < 0 ? 0 : fcntl(fd, F_GETFL);

	/* several disks may write to one file, and somebody may truncate it */
	if (fd >= 0 && fcntl(fd, F_SETFL, flags | O_APPEND)) {
		int code = -errno;

		fd_close(fd);
		return ctl_fail(err, code, "open_failed", "path", "'%.250s': %s", path,
				strerror(-code));
	}
	return fd;
}

static int open_log(const json_t *params, struct function **ret, struct ctl_error *err)
{
	int fd = open_target(ctl_str(params, "path"), err);

	if (fd < 0)
		return fd;
	int code = reqlog_open(fd, ret);
	if (code) {
		fd_close(fd);
		return ctl_fail(err, code, "no_memory", NULL, "no thread can be started: %s",
				strerror(-code));
	}
	return 0;
}

static void show_log(const struct function *f, json_t *into)
{
	struct reqlog_stats s;

	reqlog_stats(f, &s);
	json_object_set_new(into, "written", json_integer((json_int_t)s.written));
	json_object_set_new(into, "dropped", json_integer((json_int_t)s.dropped));
	if (s.error)
		json_object_set_new(into, "error", json_string(strerror(-s.error)));
}

const struct function_kind log_function_kind = {
	.ctl = { .name = "log", .help = "Write a line for each request that has ended",
		 .params = log_params },
	.open = open_log,
	.show = show_log,
};
