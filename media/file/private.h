/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the file medium share. See file.h. */
#pragma once

#include "media/file/file.h"
#include "media/file/pool.h"
#include "media/file/ring.h"

struct file {
	struct media media;
	int fd;
	bool is_block;
	bool direct; /* O_DIRECT */
	bool uring;
	/* Relaxed atomics, set once and never cleared; all lanes and helpers. */
	bool failed;			/* a flush has failed */
	bool no_punch, no_zero_range;	/* the file system has not got it */
	struct pool pool;
	char engine_why[128], direct_why[128];
};

struct file_lane {
	struct media_lane lane;
	struct ring ring;
	bool ring_usable;
	unsigned ring_inflight, pool_inflight;
	struct list waiting; /* for room in the ring; through req.hold */
	struct pool_done done;
	int both_fd; /* epoll: what to sleep on while ring and pool both have requests */
	bool ring_watched; /* the ring is in both_fd */
};

static inline struct file *file_of(struct media *m)
{
	return container_of(m, struct file, media);
}

/* req.medium[0] while the file medium has it: bytes transferred so far. */
static inline uint64_t req_left_b(const struct req *r)
{
	return r->len_b - r->medium[0];
}

/* What is left of @r as iovecs. Return: how many, at most @max. */
struct iovec;
unsigned work_iov(const struct req *r, struct iovec *ret_iov, unsigned max);

/* Runs @r to its end. Context: a helper; blocks. */
enum req_status work_run(struct file *f, struct req *r);

/* The kernel's -errno as the status that a guest is to see. */
enum req_status work_status(int err);

extern const struct media_ops file_ops;

static inline bool file_failed(const struct file *f)
{
	/* relaxed: whoever raised it completes its own request after that, in order */
	return __atomic_load_n(&f->failed, __ATOMIC_RELAXED);
}
