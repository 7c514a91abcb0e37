/* SPDX-License-Identifier: Apache-2.0 */
/* The bare io_uring loop: what the file medium does, and nothing else. */
#include "compare/bare.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define SLACK_NS 1000ul

struct loop {
	const struct client_load *conf;
	struct io_uring ring;
	int fd;
	uint64_t nblock, next_block, rng;
	uint64_t read_below; /* of 2^16 */
	uint8_t *data;
	uint64_t *stamp;
	unsigned *idle; /* stack of slots, of paced loads */
	unsigned nidle, in_flight;
	uint64_t done;
	int failed;
	struct hist lat; /* ns */
};

static void prepare(struct loop *l, unsigned slot, uint64_t now)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);
	uint64_t bs_b = l->conf->bs_b;

	l->rng ^= l->rng << 13;
	l->rng ^= l->rng >> 7;
	l->rng ^= l->rng << 17;
	uint64_t block = (uint64_t)((unsigned __int128)l->rng * l->nblock >> 64);

	if (l->conf->sequential) {
		block = l->next_block;
		l->next_block = block + 1 == l->nblock ? 0 : block + 1;
	}
	uint8_t *buf = l->data + slot * bs_b;
	uint64_t off_b = l->conf->start_b + block * bs_b;

	if ((l->rng & 0xffff) < l->read_below)
		io_uring_prep_read(sqe, l->fd, buf, (unsigned)bs_b, off_b);
	else
		io_uring_prep_write(sqe, l->fd, buf, (unsigned)bs_b, off_b);
	io_uring_sqe_set_data64(sqe, slot);
	l->stamp[slot] = now;
	l->in_flight++;
}

static void submit(struct loop *l)
{
	int rc = io_uring_submit(&l->ring);

	if (rc < 0)
		l->failed = rc;
}

/* Takes all completions there are; with @again each slot goes off anew, with one system call. */
static void turn(struct loop *l, bool again)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	uint64_t now = clock_ticks();

	io_uring_for_each_cqe(&l->ring, head, cqe) {
		unsigned slot = (unsigned)cqe->user_data;

		if (unlikely(cqe->res != (int)l->conf->bs_b))
			l->failed = cqe->res < 0 ? cqe->res : -EIO;
		hist_add(&l->lat, clock_ticks_to_ns(clock_scale(), now - l->stamp[slot]), 1);
		l->in_flight--;
		if (again)
			prepare(l, slot, now);
		else
			l->idle[l->nidle++] = slot;
		n++;
	}
	if (!n)
		return;
	io_uring_cq_advance(&l->ring, n);
	l->done += n;
	if (again)
		submit(l);
}

/* With COOP_TASKRUN completions are posted on the way out of the kernel; the ring says when one
 * waits for that. */
static void look(struct loop *l)
{
	if (IO_URING_READ_ONCE(*l->ring.sq.kflags) & IORING_SQ_TASKRUN)
		io_uring_get_events(&l->ring);
}

static void run_full(struct loop *l, uint64_t end)
{
	struct io_uring_cqe *cqe;

	while (l->nidle)
		prepare(l, l->idle[--l->nidle], clock_ticks());
	submit(l);
	while (clock_ticks() < end && !l->failed) {
		if (l->conf->interrupts)
			io_uring_wait_cqe(&l->ring, &cqe);
		else
			look(l);
		turn(l, true);
	}
}

/* Sleeps until a completion or @until. */
static void sleep_until(struct loop *l, uint64_t until)
{
	uint64_t now = clock_ticks();
	uint64_t ns = until > now ? clock_ticks_to_ns(clock_scale(), until - now) : 0;
	struct __kernel_timespec t = { .tv_sec = (long long)(ns / NS_PER_S),
				       .tv_nsec = (long long)(ns % NS_PER_S) };
	struct timespec plain = { .tv_sec = (time_t)t.tv_sec, .tv_nsec = (long)t.tv_nsec };
	struct io_uring_cqe *cqe;

	if (!ns)
		look(l);
	else if (l->in_flight)
		io_uring_wait_cqe_timeout(&l->ring, &cqe, &t);
	else
		nanosleep(&plain, NULL);
}

/* One request whenever one is due; a due one waits if no slot is idle. */
static void run_paced(struct loop *l, uint64_t end)
{
	uint64_t step = clock_ns_to_ticks(clock_scale(), l->conf->pace_ns);
	uint64_t now = clock_ticks(), due = now;

	while (now < end && !l->failed) {
		turn(l, false);
		now = clock_ticks();
		if (now >= due && l->nidle) {
			prepare(l, l->idle[--l->nidle], now);
			submit(l);
			/* what is late by many steps is not made up for in one burst */
			due = now - due > l->conf->depth * step ? now + step : due + step;
		} else if (l->conf->interrupts) {
			sleep_until(l, l->nidle ? min_u64(due, end) : end);
			now = clock_ticks();
		} else {
			look(l);
		}
	}
}

/* Returns when nothing is in flight that the kernel could still write to. It may have taken some of
 * the last batch only, and a signal may end a wait. */
static void drain(struct loop *l)
{
	struct io_uring_cqe *cqe;

	submit(l);
	while (l->in_flight > io_uring_sq_ready(&l->ring)) {
		io_uring_wait_cqe(&l->ring, &cqe);
		turn(l, false);
		submit(l);
	}
}

static void run_for(struct loop *l, uint64_t ns)
{
	uint64_t end = clock_ticks() + clock_ns_to_ticks(clock_scale(), ns);

	if (l->conf->pace_ns)
		run_paced(l, end);
	else
		run_full(l, end);
	drain(l);
}

static int open_file(struct loop *l, const char *path)
{
	const struct client_load *c = l->conf;
	int flags = (c->read_pct == 100 ? O_RDONLY : O_RDWR) | O_CLOEXEC;

	l->fd = open(path, flags | O_DIRECT);
	if (l->fd < 0 && errno == EINVAL)
		l->fd = open(path, flags); /* tmpfs, before Linux 6.6 */
	if (l->fd < 0)
		return -errno;
	uint64_t size_b = (uint64_t)lseek(l->fd, 0, SEEK_END);
	uint64_t range_b = c->range_b ? c->range_b : size_b - min_u64(c->start_b, size_b);

	if (!c->bs_b || !c->depth || range_b < c->bs_b ||
	    !range_inside(c->start_b, range_b, size_b))
		return -EINVAL;
	l->nblock = range_b / c->bs_b;
	return 0;
}

static int open_loop(struct loop *l, const char *path)
{
	unsigned depth = l->conf->depth;
	size_t data_b = (size_t)depth * l->conf->bs_b;
	int rc = open_file(l, path);

	if (rc)
		return rc;
	l->read_below = l->conf->read_pct * 65536ull / 100;
	l->rng = 88172645463325252ull ^ l->conf->seed << 20;
	l->stamp = calloc(depth, sizeof(*l->stamp));
	l->idle = calloc(depth, sizeof(*l->idle));
	if (!l->stamp || !l->idle || posix_memalign((void **)&l->data, 4096, data_b))
		return -ENOMEM;
	memset(l->data, 0x5a, data_b);
	while (l->nidle < depth) {
		l->idle[l->nidle] = l->nidle;
		l->nidle++;
	}
	return io_uring_queue_init(depth, &l->ring,
				   IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
}

static void close_loop(struct loop *l)
{
	if (l->ring.ring_fd > 0)
		io_uring_queue_exit(&l->ring);
	fd_close(l->fd);
	free(l->data);
	free(l->stamp);
	free(l->idle);
	free(l);
}

int bare_uring(const char *path, const struct client_load *load, struct client_bench_result *ret)
{
	struct loop *l = calloc(1, sizeof(*l));
	int slack = prctl(PR_GET_TIMERSLACK);
	int rc;

	*ret = (struct client_bench_result){ .step = "set up a bare io_uring loop" };
	if (!l)
		return -ENOMEM;
	l->conf = load;
	l->fd = -1;
	rc = open_loop(l, path);
	if (!rc) {
		/* 50 us otherwise, which would be the latency of a paced load that sleeps */
		prctl(PR_SET_TIMERSLACK, SLACK_NS);
		ret->step = "run a bare io_uring loop";
		if (load->warm_ns)
			run_for(l, load->warm_ns);
		memset(&l->lat, 0, sizeof(l->lat));
		l->done = 0;
		uint64_t start = clock_ticks(), cpu_ns = bare_cpu_ns();

		run_for(l, load->run_ns);
		ret->cpu_ns = bare_cpu_ns() - cpu_ns;
		bare_fill(ret, load, l->done,
			  clock_ticks_to_ns(clock_scale(), clock_ticks() - start), &l->lat);
		prctl(PR_SET_TIMERSLACK, (unsigned long)slack);
		rc = l->failed;
	}
	close_loop(l);
	return rc;
}
