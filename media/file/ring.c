/* SPDX-License-Identifier: Apache-2.0 */
#include "media/file/ring.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "media/file/private.h"

/* COOP_TASKRUN: completions do not interrupt the poller, which looks anyway. SINGLE_ISSUER: only
 * the poller submits. DEFER_TASKRUN is left out: the image's lock outlives a dead process by
 * milliseconds with it, and it saved nothing measurable. */
static const unsigned flags[] = {
	IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		IORING_SETUP_SINGLE_ISSUER,
	IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	0,
};

static const uint8_t opcodes[] = { IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READV,
				   IORING_OP_WRITEV };

/* liburing 2.3 declares these two registrations and does not export them. */
static int ring_register(int fd, unsigned op, const void *arg, unsigned n)
{
	return syscall(SYS_io_uring_register, fd, op, arg, n) ? -errno : 0;
}

static int set_up(struct io_uring *u, unsigned sq, unsigned cq)
{
	int err = -EINVAL;

	/* an older kernel does not know the later flags */
	for (unsigned i = 0; i < ARRAY_SIZE(flags) && err == -EINVAL; i++) {
		struct io_uring_params p = { .cq_entries = cq };

		p.flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED;
		err = io_uring_queue_init_params(sq, u, &p);
	}
	return err;
}

int ring_probe(void)
{
	/* once a process, whose sandbox it is that allows or refuses: making and taking down a ring
	 * is a third of what it costs to open an image */
	static pid_t asked;
	static int answer;
	struct io_uring u;

	if (asked == getpid())
		return answer;
	answer = set_up(&u, 1, 2);
	asked = getpid();
	if (!answer)
		io_uring_queue_exit(&u);
	return answer;
}

static int restrict_to_opcodes(const struct ring *r)
{
	struct io_uring_restriction only[ARRAY_SIZE(opcodes)] = { 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(opcodes); i++) {
		only[i].opcode = IORING_RESTRICTION_SQE_OP;
		only[i].sqe_op = opcodes[i];
	}
	return ring_register(r->u.ring_fd, IORING_REGISTER_RESTRICTIONS, only, ARRAY_SIZE(only));
}

int ring_open(struct ring *r, int file_fd)
{
	*r = (struct ring){ .file_fd = file_fd };
	r->iov = malloc(RING_IOV * sizeof(*r->iov));
	if (!r->iov)
		return -ENOMEM;
	int err = set_up(&r->u, RING_SQ, RING_CQ);
	if (err) {
		free(r->iov);
		return err;
	}
	err = restrict_to_opcodes(r);
	if (err) {
		io_uring_queue_exit(&r->u);
		free(r->iov);
		return err;
	}
	r->open = true;
	return 0;
}

void ring_close(struct ring *r)
{
	if (!r->open)
		return;
	io_uring_queue_exit(&r->u);
	free(r->iov);
	r->open = false;
}

/* Fills in what to transfer. Return: false: no iovecs are left. */
static bool set_buffers(struct ring *r, const struct req *q, struct io_uring_sqe *sqe)
{
	bool write = q->op == REQ_WRITE;

	if (likely(q->nseg == 1)) {
		sqe->opcode = write ? IORING_OP_WRITE : IORING_OP_READ;
		sqe->addr = (uintptr_t)q->seg[0].host + q->medium[0];
		sqe->len = q->seg[0].len_b - (uint32_t)q->medium[0];
		return true;
	}
	if (q->nseg > RING_IOV - r->niov)
		return false;
	struct iovec *iov = r->iov + r->niov;

	sqe->opcode = write ? IORING_OP_WRITEV : IORING_OP_READV;
	sqe->addr = (uintptr_t)iov;
	sqe->len = work_iov(q, iov, q->nseg);
	r->niov += sqe->len;
	return true;
}

bool ring_prepare(struct ring *r, const struct req *q)
{
	struct io_uring_sq *sq = &r->u.sq;
	unsigned tail = sq->sqe_tail;

	/* ours alone to read: the kernel has taken all it will when the submitting call returns */
	if (unlikely(tail - *sq->khead >= RING_SQ))
		return false;
	struct io_uring_sqe *sqe = &sq->sqes[tail & (RING_SQ - 1)];

	memset(sqe, 0, sizeof(*sqe));
	if (unlikely(!set_buffers(r, q, sqe)))
		return false;
	sqe->fd = r->file_fd;
	sqe->off = q->off_b + q->medium[0];
	sqe->rw_flags = RWF_NOWAIT | (unlikely(q->flags & REQ_F_FUA) ? RWF_DSYNC : 0);
	sqe->user_data = (uintptr_t)q;
	sq->sqe_tail = tail + 1;
	return true;
}

static int enable(struct ring *r)
{
	/* by the thread that will be the only issuer */
	int err = ring_register(r->u.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

	r->enabled = !err;
	return err;
}

int ring_submit(struct ring *r)
{
	int err = likely(r->enabled) ? 0 : enable(r);

	if (likely(!err))
		err = io_uring_submit(&r->u);
	if (likely(!io_uring_sq_ready(&r->u)))
		r->niov = 0; /* the kernel has copied them */
	/* these pass: no memory just now, too many completions unread, a signal */
	if (likely(err >= 0) || err == -EAGAIN || err == -EBUSY || err == -EINTR)
		return 0;
	return err;
}

struct req *ring_withdraw(struct ring *r)
{
	struct io_uring_sq *sq = &r->u.sq;

	if (sq->sqe_tail == *sq->khead)
		return NULL;
	return (struct req *)(uintptr_t)sq->sqes[--sq->sqe_tail & (RING_SQ - 1)].user_data;
}

unsigned ring_peek(struct ring *r, struct io_uring_cqe **ret_cqe, unsigned max)
{
	struct io_uring_cq *cq = &r->u.cq;

	/* acquire: pairs with the kernel's release of the tail, behind the entries */
	if (__atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE) == *cq->khead) {
		unsigned asks = __atomic_load_n(r->u.sq.kflags, __ATOMIC_RELAXED);

		if (likely(!(asks & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))))
			return 0;
		io_uring_get_events(&r->u);
	}
	return io_uring_peek_batch_cqe(&r->u, ret_cqe, max);
}
