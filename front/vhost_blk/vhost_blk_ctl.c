/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/vhost_blk_ctl.h"

#include <string.h>

#include "base/fd.h"
#include "front/vhost_blk/vhost_blk.h"

static const char *const memory_words[] = { "shared", "any", NULL };

static const struct ctl_param socket_params[] = {
	{ .name = "socket", .type = CTL_PATH,
	  .help = "Where VMMs connect; not given: NAME.sock beside the control socket" },
	{ .name = "queues", .type = CTL_UINT, .min = 1, .max = FRONT_QUEUES_MAX, .value = "64",
	  .help = "Queues offered; only those that a guest starts cost anything" },
	{ .name = "memory", .type = CTL_ENUM, .choices = memory_words, .value = "shared",
	  .help = "Guest memory taken: shared (tmpfs, hugetlbfs), or any file" },
	{ 0 },
};

static int open_front(const json_t *params, const struct front_want *want, struct front **ret,
		      struct ctl_error *err)
{
	const char *socket = ctl_str(params, "socket");
	struct vhost_blk_conf c = {
		.disk = want->disk,
		.listen_fd = -1,
		.conn_fd = want->conn_fd,
		.nqueue = (unsigned)ctl_u64(params, "queues"),
		.poller = want->poller,
		.npoller = want->npoller,
		.memory = strcmp(ctl_str(params, "memory"), "any") ? GMEM_SHARED_ONLY : GMEM_ANY,
		.ended = want->ended,
		.ended_arg = want->ended_arg,
		.keep = *want->keep,
	};

	if (c.conn_fd < 0) {
		c.listen_fd = ctl_listen(socket, want->socket_mode, want->socket_group, "socket",
					 err);
		if (c.listen_fd < 0)
			return c.listen_fd;
	}
	int code = vhost_blk_open(&c, ret);

	if (!code)
		return 0;
	if (c.listen_fd >= 0) {
		fd_close(c.listen_fd);
		ctl_unlisten(socket);
	}
	return ctl_fail(err, code, "start_failed", NULL, "the front cannot start: %s",
			strerror(-code));
}

static void forget(const json_t *params)
{
	ctl_unlisten(ctl_str(params, "socket"));
}

const struct front_kind vhost_blk_kind = {
	.ctl = { .name = "vhost-user", .params = socket_params,
		 .help = "A virtio block device, over a vhost-user socket" },
	.open = open_front,
	.forget = forget,
};
