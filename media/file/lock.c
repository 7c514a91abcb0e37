/* SPDX-License-Identifier: Apache-2.0 */
#include "media/file/lock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define USES 100
#define ALONE 200

/* QEMU's permissions: BLK_PERM_CONSISTENT_READ and so on. */
enum { READ, WRITE, WRITE_UNCHANGED, RESIZE, PERMISSIONS };

struct range {
	short type;
	short at, n; /* bytes */
};

/* Those that hold data constant, and those who change it. */
static const struct range writer[] = {
	{ F_RDLCK, USES + READ, 1 },
	{ F_WRLCK, USES + WRITE, 3 },
	{ F_WRLCK, ALONE + WRITE, 3 },
};
static const struct range reader[] = {
	{ F_RDLCK, USES + READ, 1 },
	{ F_RDLCK, ALONE + WRITE, 1 },
	{ F_RDLCK, ALONE + RESIZE, 1 },
};

/* What nobody else may have locked in any way, though we do not lock it ourselves so. */
static const short writer_clear[] = { ALONE + READ, 0 };
static const short reader_clear[] = { ALONE + READ, USES + WRITE, USES + RESIZE, 0 };

static const char *const permission[PERMISSIONS] = { "read", "write", "write unchanged", "resize" };

static struct flock flock_of(short type, int at, int n)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = n };
}

static int busy(int byte, struct file_error *e)
{
	int p = byte % 100;

	e->id = "busy";
	e->param = "path";
	snprintf(e->text, sizeof(e->text),
		 "in use by another program: it holds QEMU's image lock \"%s\" (byte %d)",
		 p < PERMISSIONS ? permission[p] : "?", byte);
	return -EBUSY;
}

static int broken(struct file_error *e)
{
	int err = -errno;

	e->id = "lock_failed";
	e->param = "path";
	snprintf(e->text, sizeof(e->text), "cannot be locked: %s", strerror(-err));
	return err;
}

/* Return: a byte in [@at, @at + @n) that keeps @type from being taken; 0: none; -1: errno. */
static int blocked_at(int fd, short type, int at, int n)
{
	for (int i = 0; i < n; i++) {
		struct flock l = flock_of(type, at + i, 1);

		if (fcntl(fd, F_OFD_GETLK, &l))
			return -1;
		if (l.l_type != F_UNLCK)
			return at + i;
	}
	return 0;
}

static int take(int fd, const struct range *r, struct file_error *e)
{
	struct flock l = flock_of(r->type, r->at, r->n);

	if (!fcntl(fd, F_OFD_SETLK, &l))
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return broken(e);
	int byte = blocked_at(fd, r->type, r->at, r->n);
	return byte < 0 ? broken(e) : busy(byte ? byte : r->at, e);
}

int lock_take(int fd, bool readonly, struct file_error *ret_error)
{
	const struct range *r = readonly ? reader : writer;
	const short *clear = readonly ? reader_clear : writer_clear;

	static_assert(ARRAY_SIZE(reader) == ARRAY_SIZE(writer), "one loop for both");
	for (unsigned i = 0; i < ARRAY_SIZE(writer); i++) {
		int err = take(fd, &r[i], ret_error);

		if (err)
			return err;
	}
	for (; *clear; clear++) {
		int byte = blocked_at(fd, F_WRLCK, *clear, 1);

		if (byte)
			return byte < 0 ? broken(ret_error) : busy(byte, ret_error);
	}
	return 0;
}

void lock_drop(int fd)
{
	struct flock all = flock_of(F_UNLCK, 0, 0);

	fcntl(fd, F_OFD_SETLK, &all);
}
