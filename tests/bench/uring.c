/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `uring`: the bare io_uring loop. O_DIRECT on a file, plain descriptor, COOP_TASKRUN, one
 * submission system call a batch: what the file medium does, and nothing else.
 *   path= cpu= bs= depth= read=PERCENT ms= warm= range= seq=0|1 spin=0|1
 * spin=1 looks at the completion queue without sleeping, as a poller does.
 */
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hist.h"
#include "tests/bench/tool.h"

struct loop {
	struct io_uring ring;
	int fd;
	uint64_t bs, nblock, next_block, rng;
	bool sequential;
	uint64_t read_below; /* of 2^16 */
	uint8_t *data;
	uint64_t *stamp;
	uint64_t done;
	struct hist lat;
};

static void prepare(struct loop *l, unsigned slot, uint64_t now)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

	l->rng ^= l->rng << 13;
	l->rng ^= l->rng >> 7;
	l->rng ^= l->rng << 17;
	uint64_t block = (uint64_t)((unsigned __int128)l->rng * l->nblock >> 64);

	if (l->sequential) {
		block = l->next_block;
		l->next_block = block + 1 == l->nblock ? 0 : block + 1;
	}
	uint64_t off_b = block * l->bs;
	uint8_t *buf = l->data + slot * l->bs;

	if ((l->rng & 0xffff) < l->read_below)
		io_uring_prep_read(sqe, l->fd, buf, (unsigned)l->bs, off_b);
	else
		io_uring_prep_write(sqe, l->fd, buf, (unsigned)l->bs, off_b);
	io_uring_sqe_set_data64(sqe, slot);
	l->stamp[slot] = now;
}

/* Takes all completions there are and sends each slot off again, with one system call. */
static void turn(struct loop *l, bool again)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	uint64_t now = clock_ticks();

	io_uring_for_each_cqe(&l->ring, head, cqe) {
		if (cqe->res != (int)l->bs)
			die("bare io_uring: a request", cqe->res < 0 ? cqe->res : EIO);
		hist_add(&l->lat, now - l->stamp[cqe->user_data], 1);
		if (again)
			prepare(l, (unsigned)cqe->user_data, now);
		n++;
	}
	if (!n)
		return;
	io_uring_cq_advance(&l->ring, n);
	l->done += n;
	if (again && io_uring_submit(&l->ring) < 0)
		die("bare io_uring: submit", errno);
}

static void run_until(struct loop *l, uint64_t end, bool spin)
{
	struct io_uring_cqe *cqe;

	while (clock_ticks() < end) {
		/* With COOP_TASKRUN completions are posted on the way out of the kernel; the
		 * ring says when one waits for that. */
		if (!spin)
			io_uring_wait_cqe(&l->ring, &cqe);
		else if (IO_URING_READ_ONCE(*l->ring.sq.kflags) & IORING_SQ_TASKRUN)
			io_uring_get_events(&l->ring);
		turn(l, true);
	}
}

static void open_loop(struct loop *l, char **args, unsigned depth)
{
	int rc = io_uring_queue_init(depth, &l->ring,
				     IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);

	if (rc)
		die("bare io_uring: set up", rc);
	l->fd = open(arg_text(args, "path", ""), O_RDWR | O_DIRECT | O_CLOEXEC);
	if (l->fd < 0)
		die("bare io_uring: open", errno);
	l->bs = arg_num(args, "bs", 4096);
	l->nblock = arg_num(args, "range", (uint64_t)lseek(l->fd, 0, SEEK_END)) / l->bs;
	l->read_below = arg_num(args, "read", 100) * 65536 / 100;
	l->sequential = arg_num(args, "seq", 0);
	l->rng = 88172645463325252ull;
	l->stamp = calloc(depth, sizeof(*l->stamp));
	if (!l->stamp || posix_memalign((void **)&l->data, 4096, depth * l->bs))
		die("memory", ENOMEM);
	memset(l->data, 0x5a, depth * l->bs);
}

static uint64_t ms_ticks(uint64_t ms)
{
	return clock_ns_to_ticks(clock_scale(), ms * NS_PER_MS);
}

int tool_uring(char **args)
{
	static struct loop l;
	unsigned depth = (unsigned)arg_num(args, "depth", 1);
	bool spin = arg_num(args, "spin", 1);

	pin_thread((unsigned)arg_num(args, "cpu", 0));
	open_loop(&l, args, depth);
	for (unsigned s = 0; s < depth; s++)
		prepare(&l, s, clock_ticks());
	io_uring_submit(&l.ring);
	run_until(&l, clock_ticks() + ms_ticks(arg_num(args, "warm", 100)), spin);
	memset(&l.lat, 0, sizeof(l.lat));
	l.done = 0;
	uint64_t start = clock_ticks();

	run_until(&l, start + ms_ticks(arg_num(args, "ms", 1000)), spin);
	double ns = (double)clock_ticks_to_ns(clock_scale(), clock_ticks() - start);
	double iops = (double)l.done * 1e9 / ns;

	for (uint64_t left = l.done + depth; l.done < left;)
		turn(&l, false);
	printf("{\"iops\": %.0f, \"p50\": %lu, \"p99\": %lu}\n", iops,
	       clock_ticks_to_ns(clock_scale(), hist_quantile(&l.lat, 50, 100)),
	       clock_ticks_to_ns(clock_scale(), hist_quantile(&l.lat, 99, 100)));
	io_uring_queue_exit(&l.ring);
	close(l.fd);
	return 0;
}
