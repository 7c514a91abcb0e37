/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "keeper/private.h"

#define STATE_FILE "state.json"
#define STATE_TEMP "state.json.new"
#define LOCK_FILE "lock"
#define COPY_B 65536
/* A child that a keeper was making when it was killed has all that was the keeper's, this lock too,
 * until it has had a processor for the first time; then it ends. */
#define LEFT_NS (2 * NS_PER_S)

int make_parents(const char *path, mode_t mode)
{
	CLEANUP(base_free) char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		/* EACCES and EROFS also come for what exists: then it is no failure */
		if (mkdir(copy, mode) && errno != EEXIST) {
			int err = -errno;

			if (access(copy, F_OK))
				return err;
		}
		*slash = '/';
	}
	return 0;
}

/* Whether who has written its number into the lock file @fd has ended. */
static bool is_left(int fd)
{
	char text[16] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;

	if (pid <= 0) /* of a version that wrote none, or has not written it yet */
		return false;
	CLEANUP(fd_cleanup) int owner = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	struct pollfd end = { .fd = owner, .events = POLLIN };

	return owner < 0 ? errno == ESRCH : poll(&end, 1, 0) > 0;
}

/* Return: 0; -EBUSY; -errno. */
static int take_lock(int fd)
{
	uint64_t until_ns = clock_ns() + LEFT_NS, nap_ns = 0;

	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (!is_left(fd) || clock_ns() > until_ns)
			return -EBUSY;
		clock_nap(&nap_ns);
	}
	/* without it nobody waits */
	if (!ftruncate(fd, 0))
		dprintf(fd, "%d\n", (int)getpid());
	return 0;
}

int store_open(struct store *s, const char *dir)
{
	int err = make_parents(dir, 0755);

	if (err)
		return err;
	if (mkdir(dir, 0700) && errno != EEXIST)
		return -errno;
	CLEANUP(fd_cleanup) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	CLEANUP(fd_cleanup) int lock_fd = openat(dir_fd, LOCK_FILE,
						 O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock_fd < 0)
		return -errno;
	err = take_lock(lock_fd);
	if (err)
		return err;
	s->dir_fd = fd_steal(&dir_fd);
	s->lock_fd = fd_steal(&lock_fd);
	return 0;
}

void store_close(struct store *s)
{
	s->dir_fd = fd_close(s->dir_fd);
	s->lock_fd = fd_close(s->lock_fd);
}

int store_read(const struct store *s)
{
	if (s->dir_fd < 0)
		return -ENOENT;
	int fd = openat(s->dir_fd, STATE_FILE, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int copy_bytes(int from, int to, off_t len_b)
{
	char buf[COPY_B];

	for (off_t at = 0; at < len_b;) {
		ssize_t n = pread(from, buf, sizeof(buf), at);

		if (n <= 0)
			return n ? -errno : -EPIPE;
		int err = fd_write_all(to, buf, (size_t)n);
		if (err)
			return err;
		at += n;
	}
	return 0;
}

int store_save(const struct store *s, int fd)
{
	struct stat st;

	/* Anything but a plain file could make the keeper wait for ever. */
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return -EPROTO;
	if (s->dir_fd < 0)
		return 0;
	if (st.st_size <= 0 || (uint64_t)st.st_size > KEEPER_STATE_MAX_B)
		return -EFBIG;
	CLEANUP(fd_cleanup) int to = openat(s->dir_fd, STATE_TEMP,
					    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
					    0600);
	if (to < 0)
		return -errno;
	int err = copy_bytes(fd, to, st.st_size);

	/* Content before name, name before the answer. */
	if (!err && fsync(to))
		err = -errno;
	if (!err && renameat(s->dir_fd, STATE_TEMP, s->dir_fd, STATE_FILE))
		err = -errno;
	if (!err && fsync(s->dir_fd))
		err = -errno;
	return err;
}

bool store_owns(const struct store *s, int fd)
{
	static const char *const own[] = { STATE_FILE, STATE_TEMP, LOCK_FILE };
	struct stat st, mine;

	if (s->dir_fd < 0 || fstat(fd, &st))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		int err = fstatat(s->dir_fd, own[i], &mine, 0) ? errno : 0;

		/* what cannot be told may be */
		if (err ? err != ENOENT : mine.st_dev == st.st_dev && mine.st_ino == st.st_ino)
			return true;
	}
	return false;
}
