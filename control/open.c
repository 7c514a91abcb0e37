/* SPDX-License-Identifier: Apache-2.0 */
#include "control/ctl.h"

#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

static char made[4096]; /* by direct_open() */

static int direct_open(void *arg, const char *path, int flags, mode_t mode)
{
	int fd = open(path, flags | O_CLOEXEC, mode);

	if (fd < 0)
		return -errno;
	if (flags & O_EXCL)
		snprintf(made, sizeof(made), "%s", path);
	return fd;
}

static int direct_unmake(void *arg)
{
	int err = *made && unlink(made) ? -errno : 0;

	*made = '\0';
	return err;
}

static int direct_listen(void *arg, const char *path, mode_t mode, const char *group)
{
	int fd = fd_listen(path, mode);

	if (fd < 0 || !group)
		return fd;
	struct group *g = getgrnam(group);
	int err = !g ? -ESRCH : chown(path, (uid_t)-1, g->gr_gid) ? -errno : 0;

	if (!err)
		return fd;
	unlink(path);
	fd_close(fd);
	return err;
}

static int direct_unlisten(void *arg, const char *path)
{
	return unlink(path) ? -errno : 0;
}

static const struct ctl_opener direct = { .open = direct_open,
					  .listen = direct_listen,
					  .unlisten = direct_unlisten,
					  .unmake = direct_unmake };
static const struct ctl_opener *opener = &direct;

void ctl_set_opener(const struct ctl_opener *o)
{
	opener = o ? o : &direct;
}

struct keep *ctl_keep(void)
{
	return opener->keep;
}

int ctl_open_path(const char *path, int flags, const char *param, struct ctl_error *err)
{
	int fd = opener->open(opener->arg, path, flags, 0600);

	switch (fd < 0 ? -fd : 0) {
	case 0:
		return fd;
	case ENOENT:
	case ENOTDIR:
		return ctl_fail(err, fd, "not_found", param, "'%.300s' does not exist", path);
	case EACCES:
	case EPERM:
	case EROFS:
		return ctl_fail(err, fd, "denied", param, "'%.250s' may not be opened for %s: %s",
				path, (flags & O_ACCMODE) == O_RDONLY ? "reading" : "writing",
				strerror(-fd));
	case EISDIR:
	case EMEDIUMTYPE:
		return ctl_fail(err, fd, "bad_value", param,
				"'%.250s' is neither a regular file nor a block device", path);
	case EBUSY:
	case ETXTBSY:
		return ctl_fail(err, fd, "busy", param, "'%.300s' is in use", path);
	case ETIMEDOUT:
		return ctl_fail(err, fd, "open_failed", param,
				"'%.250s' does not answer: what it lies on hangs, or is very slow",
				path);
	default:
		return ctl_fail(err, fd, "open_failed", param, "'%.250s': %s", path, strerror(-fd));
	}
}

int ctl_spawn(struct ctl_spawn *s)
{
	return opener->spawn ? opener->spawn(opener->arg, s) : -ENOSYS;
}

bool ctl_kill(pid_t pid, int *ret_status)
{
	return opener->kill && opener->kill(opener->arg, pid, ret_status);
}

int ctl_listen(const char *path, mode_t mode, const char *group, const char *param,
	       struct ctl_error *err)
{
	if (strlen(path) > FD_SOCKET_PATH_MAX)
		return ctl_fail(err, -ENAMETOOLONG, "path_too_long", param,
				"a socket path of %zu bytes is too long, at most %d are allowed",
				strlen(path), FD_SOCKET_PATH_MAX);
	int fd = opener->listen(opener->arg, path, mode, group);

	switch (fd < 0 ? -fd : 0) {
	case 0:
		return fd;
	case EADDRINUSE:
		return ctl_fail(err, fd, "socket_in_use", param,
				"'%.110s' is in use by a program that listens on it", path);
	case EEXIST:
	case ENOTSOCK:
		return ctl_fail(err, fd, "socket_in_use", param,
				"'%.110s' exists and is not a socket", path);
	case EACCES:
	case EPERM:
	case EROFS:
		return ctl_fail(err, fd, "denied", param, "'%.110s' may not be created: %s", path,
				strerror(-fd));
	case ESRCH:
		return ctl_fail(err, fd, "no_group", "socket_group", "no group is named '%.60s'",
				group);
	default:
		return ctl_fail(err, fd, "listen_failed", param, "'%.110s': %s", path,
				strerror(-fd));
	}
}

void ctl_open_ahead(const char *path, int flags)
{
	if (opener->ahead)
		opener->ahead(opener->arg, path, flags);
}

void ctl_unmake(void)
{
	opener->unmake(opener->arg);
}

void ctl_unlisten(const char *path)
{
	opener->unlisten(opener->arg, path);
}
