/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <fnmatch.h>
#include <grp.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/private.h"

#define SOCKETS_MAX 4096
#define OPEN_FLAGS (O_ACCMODE | O_DIRECT | O_CREAT | O_EXCL | O_DSYNC | O_SYNC | O_CLOEXEC)

struct kept_socket {
	struct list node;
	int fd;
	struct own_file file;
	char path[];
};

/* A quarter of the descriptors that we may have is left for starting the next worker and for
 * callers, whatever this one asks for. */
static bool is_full(const struct office *o)
{
	struct rlimit l;

	return getrlimit(RLIMIT_NOFILE, &l) ||
	       o->nsocket + o->kept.n >= l.rlim_cur - l.rlim_cur / 4;
}

/* The one thing about a block device that no ioctl tells. */
static bool is_discard_size(const struct keeper_request *req)
{
	static const char *const where[] = { "/sys/dev/block/*/queue/discard_granularity",
					     "/sys/dev/block/*/../queue/discard_granularity" };

	return (req->flags & O_ACCMODE) == O_RDONLY &&
	       (!fnmatch(where[0], req->path, FNM_PATHNAME) ||
		!fnmatch(where[1], req->path, FNM_PATHNAME));
}

/* What a medium may be. A worker that a guest has broken into must not get at the rest. */
static int judge_medium(const struct office *o, const struct keeper_request *req, int fd)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) || fstatfs(fd, &fs))
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EMEDIUMTYPE;
	if (fs.f_type == SYSFS_MAGIC)
		return is_discard_size(req) ? 0 : -EACCES;
	if (fs.f_type == PROC_SUPER_MAGIC ||
	    fs.f_type == CGROUP2_SUPER_MAGIC || fs.f_type == SECURITYFS_MAGIC)
		return -EACCES;
	return store_owns(&o->store, fd) ? -EACCES : 0;
}

static void remember_made(struct office *o, const char *path, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return;
	memcpy(o->made, path, strlen(path) + 1);
	o->made_file = (struct own_file){ st.st_dev, st.st_ino };
}

int own_file_unlink(const char *path, const struct own_file *file)
{
	struct stat st;

	if (!file->ino || lstat(path, &st) || st.st_dev != file->dev || st.st_ino != file->ino)
		return -ENOENT;
	return unlink(path) ? -ENOENT : 0;
}

/* Removes no file but one that the worker itself has just made. */
static int serve_unmake(struct office *o)
{
	int err = *o->made ? own_file_unlink(o->made, &o->made_file) : -ENOENT;

	*o->made = '\0';
	return err;
}

static int serve_open(struct office *o, const struct keeper_request *req, int *ret_fd)
{
	if (req->path[0] != '/' || req->flags & ~(uint32_t)OPEN_FLAGS)
		return -EPROTO;
	/* O_NONBLOCK: a FIFO must not hold the keeper up. */
	CLEANUP(fd_cleanup) int fd = open(req->path,
					  (int)req->flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
					  req->mode & 0666);
	if (fd < 0)
		return errno == ENXIO ? -EMEDIUMTYPE : -errno;
	int err = judge_medium(o, req, fd), flags = fcntl(fd, F_GETFL);

	if (err)
		return err;
	/* io_uring fails, instead of waiting, on a file that is O_NONBLOCK. */
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK))
		return -errno;
	if (req->flags & O_EXCL)
		remember_made(o, req->path, fd);
	*ret_fd = fd_steal(&fd);
	return 0;
}

static struct kept_socket *find_socket(const struct office *o, const char *path)
{
	list_for_each(it, tmp, &o->sockets) {
		struct kept_socket *s = list_entry(it, struct kept_socket, node);

		if (!strcmp(s->path, path))
			return s;
	}
	return NULL;
}

static void drop_socket(struct office *o, struct kept_socket *s)
{
	own_file_unlink(s->path, &s->file);
	fd_close(s->fd);
	list_del(&s->node);
	o->nsocket--;
	free(s);
}

int listen_for_group(const char *path, mode_t mode, const char *group, struct own_file *ret_file)
{
	struct group *g = group ? getgrnam(group) : NULL;
	struct stat st;

	if (group && !g)
		return -ESRCH;
	int fd = fd_listen(path, mode);

	if (fd >= 0 && g && chown(path, (uid_t)-1, g->gr_gid)) {
		int err = -errno;

		unlink(path);
		fd_close(fd);
		return err;
	}
	if (fd >= 0) /* the file's number, which is not that of the socket */
		*ret_file = lstat(path, &st) ? (struct own_file){ 0 } :
					       (struct own_file){ st.st_dev, st.st_ino };
	return fd;
}

static int serve_listen(struct office *o, const struct keeper_request *req, int *ret_fd)
{
	struct kept_socket *s = find_socket(o, req->path);
	size_t len = strlen(req->path) + 1;

	if (req->path[0] != '/' || req->mode & ~0777u)
		return -EPROTO;
	if (!s) {
		if (is_full(o))
			return -EMFILE;
		s = o->nsocket < SOCKETS_MAX ? malloc(sizeof(*s) + len) : NULL;
		if (!s)
			return -ENOMEM;
		s->fd = listen_for_group(req->path, req->mode, *req->group ? req->group : NULL,
					 &s->file);
		if (s->fd < 0) {
			int err = s->fd;

			free(s);
			return err;
		}
		memcpy(s->path, req->path, len);
		list_add_tail(&o->sockets, &s->node);
		o->nsocket++;
	}
	*ret_fd = s->fd;
	return 0;
}

static int serve_unlisten(struct office *o, const struct keeper_request *req)
{
	struct kept_socket *s = find_socket(o, req->path);

	if (!s)
		return -ENOENT;
	drop_socket(o, s);
	return 0;
}

static int serve_save(struct office *o, int fd)
{
	int err = store_save(&o->store, fd);

	if (!err)
		*o->made = '\0';
	return err;
}

static int serve_put(struct office *o, const struct keeper_request *req, int fd)
{
	if (fd < 0 || !kept_key_ok(req->path))
		return -EPROTO;
	/* descriptors come from front ends: what one has sent must not be the worker's end */
	if (!kept_fd_ok(fd))
		return -EOPNOTSUPP;
	if (!kept_find(&o->kept, req->path) && is_full(o))
		return -EMFILE;
	/* what comes with a request is its reader's to close */
	CLEANUP(fd_cleanup) int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (own < 0)
		return -errno;
	int err = kept_put(&o->kept, req->path, own);

	if (!err)
		fd_steal(&own);
	return err;
}

static int serve_drop(struct office *o, const struct keeper_request *req)
{
	if (!kept_key_ok(req->path))
		return -EPROTO;
	kept_drop(&o->kept, req->path);
	return 0;
}

static int serve_get(const struct office *o, const struct keeper_request *req, int *ret_fd)
{
	const struct kept_one *one = kept_key_ok(req->path) ? kept_find(&o->kept, req->path) : NULL;

	if (!one)
		return -ENOENT;
	*ret_fd = one->fd;
	return 0;
}

static void list_one(struct keeper_list *list, int *fds, const char *key, int fd)
{
	snprintf(list->key[list->n], sizeof(list->key[0]), "%s", key);
	fds[list->n++] = fd;
}

int office_list(const struct office *o, unsigned from, int sock)
{
	struct keeper_list list = { 0 };
	int fds[KEEPER_KEPT_BATCH];
	unsigned at = o->kept.n;

	for (unsigned i = from; i < o->kept.n && list.n < KEEPER_KEPT_BATCH; i++)
		list_one(&list, fds, o->kept.one[i]->key, o->kept.one[i]->fd);
	list_for_each(it, tmp, &o->sockets) {
		const struct kept_socket *s = list_entry(it, struct kept_socket, node);

		if (at++ >= from && list.n < KEEPER_KEPT_BATCH)
			list_one(&list, fds, s->path, s->fd);
	}
	return fd_send(sock, &list, sizeof(list.n) + list.n * sizeof(list.key[0]), fds, list.n);
}

int office_serve(struct office *o, const struct keeper_request *req, int fd, int *ret_fd,
		 bool *ret_close)
{
	*ret_fd = -1;
	*ret_close = false;
	if (!memchr(req->path, '\0', sizeof(req->path)) ||
	    !memchr(req->group, '\0', sizeof(req->group)))
		return -EPROTO;
	switch (req->op) {
	case KEEPER_OPEN:
		*ret_close = true;
		return serve_open(o, req, ret_fd);
	case KEEPER_LISTEN:
		return serve_listen(o, req, ret_fd);
	case KEEPER_UNLISTEN:
		return serve_unlisten(o, req);
	case KEEPER_UNMAKE:
		return serve_unmake(o);
	case KEEPER_SAVE:
		return serve_save(o, fd);
	case KEEPER_PUT:
		return serve_put(o, req, fd);
	case KEEPER_DROP:
		return serve_drop(o, req);
	case KEEPER_GET:
		return serve_get(o, req, ret_fd);
	case KEEPER_READY:
	case KEEPER_TAKEN:
	case KEEPER_HEALTHY:
	case KEEPER_LIST:
		return 0; /* keeper.c acts on it */
	case KEEPER_SETTLED:
		programs_sweep(&o->programs);
		return 0;
	}
	return -EPROTO;
}

void office_fini(struct office *o)
{
	list_for_each(it, tmp, &o->sockets)
		drop_socket(o, list_entry(it, struct kept_socket, node));
	programs_fini(&o->programs);
	kept_fini(&o->kept);
}
