/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <fnmatch.h>
#include <grp.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "keeper/private.h"

#define SOCKETS_MAX 4096
#define OPEN_FLAGS (O_ACCMODE | O_DIRECT | O_CREAT | O_EXCL | O_DSYNC | O_SYNC | O_CLOEXEC)

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

int own_file_unlink(const char *path, const struct own_file *file)
{
	struct stat st;

	if (!file->ino || lstat(path, &st) || st.st_dev != file->dev || st.st_ino != file->ino)
		return -ENOENT;
	return unlink(path) ? -ENOENT : 0;
}

/* Below one of the directories for images, and by no way that leads out of it.
 * Return: a descriptor; -1 with errno. */
static int open_below(const char *const *dirs, const struct keeper_request *req, int flags)
{
	struct open_how how = { .flags = (unsigned)flags,
				.mode = flags & O_CREAT ? req->mode & 0666 : 0,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };

	for (; *dirs; dirs++) {
		size_t n = strlen(*dirs);

		if (strncmp(req->path, *dirs, n) || req->path[n] != '/')
			continue;
		CLEANUP(fd_cleanup) int dir = open(n ? *dirs : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		int fd = dir < 0 ? -1 :
				   (int)syscall(SYS_openat2, dir,
						req->path + n + strspn(req->path + n, "/"), &how,
						sizeof(how));
		if (fd < 0 && errno == EXDEV)
			errno = EACCES;
		return fd;
	}
	errno = EACCES;
	return -1;
}

/* *ret_file: the file, if it was made. */
static int open_medium(const struct office *o, const struct keeper_request *req,
		       struct own_file *ret_file, int *ret_fd)
{
	struct stat st;

	/* O_NONBLOCK: a FIFO has nobody at its other end. */
	int how = (int)req->flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	bool is_anywhere = !o->images || is_discard_size(req);
	CLEANUP(fd_cleanup) int fd = is_anywhere ? open(req->path, how, req->mode & 0666) :
						   open_below(o->images, req, how);
	if (fd < 0)
		return errno == ENXIO ? -EMEDIUMTYPE : -errno;
	int err = judge_medium(o, req, fd), flags = fcntl(fd, F_GETFL);

	if (err)
		return err;
	/* io_uring fails, instead of waiting, on a file that is O_NONBLOCK. */
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) || fstat(fd, &st))
		return -errno;
	if (req->flags & O_EXCL)
		*ret_file = (struct own_file){ st.st_dev, st.st_ino };
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

/* What a machine may have is what the worker could have by itself. */
static int may_have(struct programs *ps, enum machine_part part, const char *path)
{
	struct office *o = container_of(ps, struct office, programs);
	struct keeper_request req = { .op = KEEPER_OPEN,
				      .flags = part == MACHINE_WRITES ? O_RDWR : O_RDONLY };
	struct own_file none = { 0 };
	int fd = -1;

	if (part == MACHINE_CONNECTS)
		return find_socket(o, path) ? 0 : -EACCES;
	if (strlen(path) >= sizeof(req.path))
		return -ENAMETOOLONG;
	strcpy(req.path, path);
	int err = open_medium(o, &req, &none, &fd);

	fd_close(fd);
	return err;
}

static void socket_key(const struct kept_socket *s, char key[KEEP_KEY_MAX])
{
	snprintf(key, KEEP_KEY_MAX, VAULT_SOCKET "%u", s->no);
}

/* Its file stays. */
static void drop_socket(struct office *o, struct kept_socket *s)
{
	char key[KEEP_KEY_MAX];

	if (!o->stays) {
		socket_key(s, key);
		vault_drop(&o->vault, key);
	}
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

int office_add_socket(struct office *o, const char *path, int fd, struct own_file file, unsigned no)
{
	size_t len = strlen(path) + 1;
	struct kept_socket *s = o->nsocket < SOCKETS_MAX ? malloc(sizeof(*s) + len) : NULL;

	if (!s) {
		fd_close(fd);
		return -ENOMEM;
	}
	s->fd = fd;
	s->file = file;
	s->no = no;
	memcpy(s->path, path, len);
	list_add_tail(&o->sockets, &s->node);
	o->nsocket++;
	o->socket_no = (unsigned)max_u64(o->socket_no, no);
	return 0;
}

static int serve_listen(struct office *o, const struct keeper_request *req, int *ret_fd)
{
	const struct kept_socket *s = find_socket(o, req->path);

	if (req->path[0] != '/' || req->mode & ~0777u)
		return -EPROTO;
	if (s) {
		*ret_fd = s->fd;
		return 0;
	}
	return is_full(o) ? -EMFILE : OFFICE_CLERK;
}

/* A new one, @fd, is there. Return: 0; -ENOMEM. */
static int has_listened(struct office *o, const char *path, struct own_file file, int fd)
{
	char key[KEEP_KEY_MAX];
	int err = office_add_socket(o, path, fd, file, o->socket_no + 1);

	if (err)
		return err;
	socket_key(list_entry(o->sockets.prev, struct kept_socket, node), key);
	vault_put(&o->vault, key, fd);
	return 0;
}

static int serve_unlisten(struct office *o, const struct keeper_request *req,
			  struct own_file *ret_file)
{
	struct kept_socket *s = find_socket(o, req->path);

	if (!s)
		return -ENOENT;
	*ret_file = s->file;
	drop_socket(o, s);
	return OFFICE_CLERK;
}

/* Removes no file but one that the worker itself has just made. */
static int serve_unmake(struct office *o, struct clerk_order *ret)
{
	if (!*o->made)
		return -ENOENT;
	ret->file = o->made_file;
	memcpy(ret->req.path, o->made, strlen(o->made) + 1);
	*o->made = '\0';
	return OFFICE_CLERK;
}

static int serve_open(const struct keeper_request *req)
{
	return req->path[0] != '/' || req->flags & ~(uint32_t)OPEN_FLAGS ? -EPROTO : OFFICE_CLERK;
}

static int open_program(const char *path, int *ret_fd)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || access(path, X_OK))
		return -ENOEXEC;
	*ret_fd = fd_steal(&fd);
	return 0;
}

int office_carry_out(const struct office *o, const struct clerk_order *order,
		     struct own_file *ret_file, int *ret_fd)
{
	const struct keeper_request *req = &order->req;

	switch (req->op) {
	case KEEPER_OPEN:
		return open_medium(o, req, ret_file, ret_fd);
	case KEEPER_LISTEN:
		*ret_fd = listen_for_group(req->path, req->mode, *req->group ? req->group : NULL,
					   ret_file);
		return *ret_fd < 0 ? *ret_fd : 0;
	case KEEPER_UNMAKE:
	case KEEPER_UNLISTEN:
		return own_file_unlink(req->path, &order->file);
	case CLERK_PROGRAM:
		return open_program(req->path, ret_fd);
	}
	return -EPROTO;
}

void office_undo(const struct clerk_order *order, const struct clerk_report *r)
{
	if (!r->err)
		own_file_unlink(order->req.path, &r->file);
}

int office_done(struct office *o, const struct keeper_request *req, const struct clerk_report *r,
		int fd, int *ret_fd)
{
	int err = r->err;

	*ret_fd = -1;
	if (req->op == KEEPER_OPEN && !err && r->file.ino) {
		memcpy(o->made, req->path, strlen(req->path) + 1);
		o->made_file = r->file;
	}
	if (req->op == KEEPER_UNLISTEN) /* the socket has gone, whatever there is at its path */
		err = 0;
	if (req->op != KEEPER_LISTEN || err) {
		fd_close(fd);
		return err;
	}
	err = has_listened(o, req->path, r->file, fd);
	if (!err)
		*ret_fd = fd;
	return err;
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
	if (fd < 0 || !kept_key_ok(req->path) ||
	    (o->vault.at && !strncmp(req->path, VAULT_SOCKET, strlen(VAULT_SOCKET))))
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
		vault_put(&o->vault, req->path, fd_steal(&own));
	return err;
}

static int serve_drop(struct office *o, const struct keeper_request *req)
{
	if (!kept_key_ok(req->path))
		return -EPROTO;
	for (unsigned i = 0; o->vault.at && i < o->kept.n; i++)
		if (kept_is_below(o->kept.one[i]->key, req->path))
			vault_drop(&o->vault, o->kept.one[i]->key);
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
		 struct clerk_order *ret_order)
{
	*ret_fd = -1;
	if (!memchr(req->path, '\0', sizeof(req->path)) ||
	    !memchr(req->group, '\0', sizeof(req->group)))
		return -EPROTO;
	ret_order->file = (struct own_file){ 0 };
	ret_order->req = *req;
	switch (req->op) {
	case KEEPER_OPEN:
		return serve_open(req);
	case KEEPER_LISTEN:
		return serve_listen(o, req, ret_fd);
	case KEEPER_UNLISTEN:
		return serve_unlisten(o, req, &ret_order->file);
	case KEEPER_UNMAKE:
		return serve_unmake(o, ret_order);
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

void office_init(struct office *o)
{
	*o = (struct office){ .store = { -1, -1 }, .vault.sock = -1 };
	list_init(&o->sockets);
	programs_init(&o->programs);
	o->programs.may_have = may_have;
	o->programs.look_fd = &o->store.dir_fd;
}

/* A listening socket that an earlier keeper made; its path is what it was bound to. */
static void take_socket(struct office *o, unsigned no, int fd)
{
	struct sockaddr_un at = { 0 };
	socklen_t len = sizeof(at) - 1, int_len = sizeof(int);
	int listens = 0;
	struct stat st;

	if (getsockname(fd, (struct sockaddr *)&at, &len) || at.sun_family != AF_UNIX ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &int_len) || !listens ||
	    lstat(at.sun_path, &st) || !S_ISSOCK(st.st_mode) || find_socket(o, at.sun_path)) {
		log_warn(NULL, "a kept socket is of no use any more: '%s'", at.sun_path);
		fd_close(fd);
		return;
	}
	office_add_socket(o, at.sun_path, fd, (struct own_file){ st.st_dev, st.st_ino }, no);
}

static void take_kept(void *arg, const char *key, int fd)
{
	struct office *o = arg;
	size_t len = strlen(VAULT_SOCKET);

	if (!strncmp(key, VAULT_SOCKET, len))
		take_socket(o, (unsigned)strtoul(key + len, NULL, 10), fd);
	else if (!kept_key_ok(key) || !kept_fd_ok(fd) || kept_put(&o->kept, key, fd))
		fd_close(fd);
}

int office_open_vault(struct office *o, const char *at)
{
	return vault_open(&o->vault, at, take_kept, o);
}

static void take_nothing(void *arg, const char *key, int fd)
{
	fd_close(fd);
}

int office_mend_vault(struct office *o)
{
	char key[KEEP_KEY_MAX];

	if (!vault_is_lost(&o->vault))
		return 0;
	int err = vault_open(&o->vault, o->vault.at, take_nothing, NULL);

	for (unsigned i = 0; !err && i < o->kept.n; i++)
		err = vault_put(&o->vault, o->kept.one[i]->key, o->kept.one[i]->fd);
	list_for_each(it, tmp, &o->sockets) {
		const struct kept_socket *s = list_entry(it, struct kept_socket, node);

		socket_key(s, key);
		if (!err)
			err = vault_put(&o->vault, key, s->fd);
	}
	if (!err)
		log_info(NULL, "'%s' has all that is kept again", o->vault.at);
	return err;
}

void office_fini(struct office *o)
{
	if (o->stays)
		vault_settle(&o->vault);
	list_for_each(it, tmp, &o->sockets) {
		struct kept_socket *s = list_entry(it, struct kept_socket, node);

		if (!o->stays)
			own_file_unlink(s->path, &s->file);
		drop_socket(o, s);
	}
	programs_fini(&o->programs);
	kept_fini(&o->kept);
	vault_close(&o->vault);
}
