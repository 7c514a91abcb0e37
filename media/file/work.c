/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests run by a helper, with system calls that may block.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "media/file/private.h"

enum req_status work_status(int err)
{
	switch (err) {
	case 0:
		return REQ_OK;
	case -ENOSPC:
	case -EDQUOT:
		return REQ_NOSPC;
	case -EOPNOTSUPP:
		return REQ_UNSUPP;
	default:
		return REQ_IOERR;
	}
}

unsigned work_iov(const struct req *r, struct iovec *ret_iov, unsigned max)
{
	uint64_t skip_b = r->medium[0];
	unsigned n = 0;

	for (unsigned i = 0; i < r->nseg && n < max; i++) {
		const struct seg *s = &r->seg[i];

		if (skip_b >= s->len_b) {
			skip_b -= s->len_b;
			continue;
		}
		ret_iov[n++] = (struct iovec){ (char *)s->host + skip_b, s->len_b - skip_b };
		skip_b = 0;
	}
	return n;
}

static int sync_data(struct file *f)
{
	int err;

	do
		err = fdatasync(f->fd) ? -errno : 0;
	while (err == -EINTR);
	/* What could not be written is gone from the cache: the next sync would succeed. */
	if (err)
		__atomic_store_n(&f->failed, true, __ATOMIC_RELAXED);
	return err;
}

static int transfer(struct file *f, struct req *r)
{
	int flags = r->flags & REQ_F_FUA ? RWF_DSYNC : 0;
	struct iovec iov[REQ_MAX_SEGS];

	while (req_left_b(r)) {
		int n = (int)work_iov(r, iov, REQ_MAX_SEGS);
		off_t at = (off_t)(r->off_b + r->medium[0]);
		ssize_t did = r->op == REQ_READ ? preadv2(f->fd, iov, n, at, 0)
						: pwritev2(f->fd, iov, n, at, flags);

		if (did > 0)
			r->medium[0] += (uint64_t)did;
		else if (!did)
			return -EIO; /* the file has become shorter */
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* A write-through write is a write and a sync; through the page cache its failure is as final. */
static int transfer_synced(struct file *f, struct req *r)
{
	int err = transfer(f, r);

	if (err && err != -ENOSPC && err != -EDQUOT && r->op == REQ_WRITE &&
	    r->flags & REQ_F_FUA && !f->direct)
		__atomic_store_n(&f->failed, true, __ATOMIC_RELAXED);
	return err;
}

static int fallocate_all(struct file *f, int mode, const struct req *r)
{
	int err;

	do
		err = fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)r->off_b,
				(off_t)r->len_b) ? -errno : 0;
	while (err == -EINTR);
	return err;
}

/* fallocate() where the file system has @mode; *@lacking remembers that it has not. */
static int try_fallocate(struct file *f, int mode, bool *lacking, const struct req *r)
{
	if (__atomic_load_n(lacking, __ATOMIC_RELAXED))
		return -EOPNOTSUPP;
	int err = fallocate_all(f, mode, r);
	if (err == -EOPNOTSUPP)
		__atomic_store_n(lacking, true, __ATOMIC_RELAXED);
	return err;
}

static int device_range(struct file *f, unsigned long what, const struct req *r)
{
	uint64_t range[2] = { r->off_b, r->len_b };
	int err;

	do
		err = ioctl(f->fd, what, range) ? -errno : 0;
	while (err == -EINTR);
	return err == -ENOTTY ? -EOPNOTSUPP : err;
}

static int discard(struct file *f, const struct req *r)
{
	return f->is_block ? device_range(f, BLKDISCARD, r)
			   : fallocate_all(f, FALLOC_FL_PUNCH_HOLE, r);
}

static int write_zeros(struct file *f, const struct req *r)
{
	/* never written: the kernel's one page of zeros, many times */
	static uint8_t zeros[64 * KIB] __attribute__((aligned(4096)));

	for (uint64_t at = 0; at < r->len_b;) {
		size_t n = min_u64(sizeof(zeros), r->len_b - at);
		ssize_t did = pwrite(f->fd, zeros, n, (off_t)(r->off_b + at));

		if (did < 0 && errno != EINTR)
			return -errno;
		at += did > 0 ? (uint64_t)did : 0;
	}
	return 0;
}

static int zero(struct file *f, const struct req *r)
{
	int err = -EOPNOTSUPP;

	if (r->flags & REQ_F_UNMAP)
		err = try_fallocate(f, FALLOC_FL_PUNCH_HOLE, &f->no_punch, r);
	if (err == -EOPNOTSUPP)
		err = f->is_block ? device_range(f, BLKZEROOUT, r)
				  : try_fallocate(f, FALLOC_FL_ZERO_RANGE, &f->no_zero_range, r);
	return err == -EOPNOTSUPP ? write_zeros(f, r) : err;
}

static int run(struct file *f, struct req *r)
{
	switch ((enum req_op)r->op) {
	case REQ_READ:
	case REQ_WRITE:
		return transfer_synced(f, r);
	case REQ_FLUSH:
		return sync_data(f);
	case REQ_DISCARD:
		return discard(f, r);
	case REQ_ZEROES:
		return zero(f, r);
	case REQ_OPS:
		break;
	}
	return -EOPNOTSUPP;
}

enum req_status work_run(struct file *f, struct req *r)
{
	int err = file_failed(f) ? -EIO : run(f, r);

	if (!err && r->flags & REQ_F_FUA && (r->op == REQ_DISCARD || r->op == REQ_ZEROES))
		err = sync_data(f);
	return work_status(err);
}
