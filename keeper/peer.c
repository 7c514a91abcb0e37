/* SPDX-License-Identifier: Apache-2.0 */
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/private.h"

#define GROUPS_MAX 1024

static int in_group(int fd, gid_t primary, const char *name)
{
	struct group *g = getgrnam(name);
	gid_t all[GROUPS_MAX];
	socklen_t len = sizeof(all);

	if (!g)
		return -EPERM;
	if (primary == g->gr_gid)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, all, &len))
		return -EPERM;
	for (size_t i = 0; i < len / sizeof(all[0]); i++)
		if (all[i] == g->gr_gid)
			return 0;
	return -EPERM;
}

int peer_check(int fd, const char *group, uid_t *ret_uid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -errno;
	*ret_uid = peer.uid;
	if (peer.uid == geteuid() || peer.uid == 0)
		return 0;
	return group ? in_group(fd, peer.gid, group) : -EPERM;
}

int notify_send_fd(const char *text, int fd_with)
{
	static const struct timeval patience = { .tv_sec = 1 };
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;

	if (!len || len > sizeof(at.sun_path) || (path[0] != '/' && path[0] != '@'))
		return -ENOTCONN;
	memcpy(at.sun_path, path, len);
	if (path[0] == '@')
		at.sun_path[0] = '\0'; /* the abstract name space */
	CLEANUP(fd_cleanup) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t room = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);

	if (fd < 0 || connect(fd, (struct sockaddr *)&at, room))
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return fd_send(fd, text, strlen(text), &fd_with, fd_with >= 0);
}

void notify_send(const char *text)
{
	notify_send_fd(text, -1);
}
