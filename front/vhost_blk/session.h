/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection of a VMM: what it has told us, and its queues. All of it belongs to
 * the front's thread; the front's lock covers what front_ops.info() reads.
 */
#pragma once

#include "front/vhost_blk/control.h"
#include "front/vhost_blk/dirty.h"
#include "front/vhost_blk/memo.h"
#include "front/vhost_blk/vhost_blk.h"
#include "wire/vhost_user.h"

/* How long a stalled medium may hold up the reply to a change of memory. */
#define SESSION_MEMORY_WAIT_NS NS_PER_S

struct vhost_blk {
	struct front front;
	struct vhost_blk_conf conf;
	struct poller *poller[FRONT_QUEUES_MAX]; /* who serves each queue; under the lock */
	bool writeback; /* as the guest has set it; outlives a connection, as the guest does */

	pthread_t thread;
	uint64_t accept_ns; /* not before; 0: at once. The thread's own. */
	int wake_fd;   /* eventfd: look at todo */
	unsigned todo; /* enum front_change and VHOST_BLK_...; atomic */

	pthread_mutex_t lock;
	struct session *session; /* NULL: nobody is connected */
	bool has_ended;		 /* the thread has, or is about to */
	struct list turn;	 /* waits for its turn to replay a queue alone, see replay.h */
	void (*stopped)(void *arg); /* who waits for that; NULL: nobody */
	void *stopped_arg;

	/* moves of queues, see move.c; under the lock */
	unsigned moves_asked, moves_done; /* those done: all up to this one */
	int move_err;			  /* of the last one done */
	char move_why[120];
	pthread_cond_t news; /* of moves, of a size confirmed, of the end of a connection */
};

#define VHOST_BLK_STOP (1u << 31)
#define VHOST_BLK_MOVE (1u << 30)

/* Does what control has asked for since the wake-up; also in the middle of a message. Context: the
 * front's thread. Return: 0; -ENOTRECOVERABLE: the connection must end, for move_why. */
int vhost_blk_do(struct vhost_blk *f);

/* Whether the front is to stop. Asked before each sleep: whoever has taken the wake-up may have
 * done so for something else. Relaxed: the wake-up itself orders it. Context: the front's
 * thread. */
static inline bool vhost_blk_must_stop(const struct vhost_blk *f)
{
	return __atomic_load_n(&f->todo, __ATOMIC_RELAXED) & VHOST_BLK_STOP;
}

/* A queue of a connection. It runs when all that it needs is there. */
struct session_queue {
	struct vq vq;
	struct lane *lane; /* while it runs */
	struct vq_ring at;
	uint32_t base;
	uint16_t size;
	struct kept_fd kick, call, err;
	bool has_at, has_kick, enabled;

	/* an in-flight region of our own, while it runs, where the front end gives none */
	void *own;
	size_t own_len_b;
	uint16_t own_slot;
};

/* In-flight regions from the front end, one after another. */
struct session_track {
	void *at; /* NULL: none */
	uint64_t len_b, off_b; /* of the mapping; in the file */
	uint64_t each_b;
	uint16_t queues, size;
	uint16_t slot;
	bool packed; /* laid out for packed rings */
};

struct session {
	struct vhost_blk *f;
	int sock;
	uint64_t features, protocol;
	struct gmem *mem;
	struct gmem *zombies; /* tables that a stalled medium still points into; kept to the end */
	struct dirty_log *log;
	struct vhost_user_log log_at;
	uint16_t log_slot;
	struct session_queue *queue[FRONT_QUEUES_MAX]; /* made when first spoken of */

	struct session_track track;
	struct kept_fd backend; /* the channel for messages of ours */
	bool resize_pending; /* under the front's lock */
	uint64_t told_b; /* the disk's size, as the front end knows or will ask for it */
	uint64_t since_ns;
	pid_t peer_pid;

	/* recovery */
	struct memo *memo;
	uint32_t handled;  /* number of the last message handled */
	uint64_t suspects; /* queues that wait to be replayed alone */
	struct session_queue *alone; /* the one that is being replayed so */
	uint64_t alone_until_ns;
	bool is_adopted; /* from a predecessor; adopt_go_on() has not come to its end yet */
	bool has_judged; /* it has decided about the queues */
};

/* Ownership: @sock becomes the session's. Return: 0; -ENOMEM; -EMFILE; -errno. */
int session_open(struct vhost_blk *f, int sock, struct session **ret_session);
/* One of which nothing is known yet, for session_open() and its like. Return: NULL: no memory. */
struct session *session_alloc(struct vhost_blk *f, int sock);
/* Stops all queues, which waits for the medium, and frees. */
void session_close(struct session *s);

/* The queue @index, made if need be. Return: NULL: no such queue is offered, or no memory. */
struct session_queue *session_queue(struct session *s, uint64_t index);
/* Starts or stops @q according to what it has. Return: 0; -errno: it should run and cannot. */
int session_update_queue(struct session *s, struct session_queue *q);
/* The same for a queue that a predecessor has left: the guest is told to look at its ring, because
 * the last interrupt may not have been sent. */
int session_resume_queue(struct session *s, struct session_queue *q);
/* Maps a region of our own, made by a predecessor, for @q. Return: 0; -EPROTO; -errno. */
int session_map_own(struct session *s, struct session_queue *q, const struct kept_fd *fd);
/* Stops @q whatever it has; its base is where it would go on. */
void session_stop_queue(struct session *s, struct session_queue *q);
/* The rest of that, for a quiet @q that no poller has any more. */
void session_forget_queue(struct session *s, struct session_queue *q);
void session_stop_all(struct session *s);

/* Brings each running queue to the poller that is to serve it. Waits for what is in flight, at most
 * a second. Return: 0; -EBUSY, -errno: some are where they were, @ret_why says why;
 * -ENOTRECOVERABLE: nobody serves one of them, the connection must end. */
int session_move(struct session *s, char *ret_why, size_t room);

/* Puts @mem (which becomes the session's) in force everywhere and lets the former go.
 * Return: 0; -errno: the ring of a running queue is not in @mem, and it takes nothing more. */
int session_set_memory(struct session *s, struct gmem *mem);
void session_set_log(struct session *s, struct dirty_log *log);
/* Maps @d of @fd. Return: as gregion_open(). */
int session_open_region(const struct session *s, const struct gregion_desc *d,
			const struct kept_fd *fd, struct gregion **ret_region);
/* Judges and maps the in-flight regions that *@t describes, in @fd. Return: 0; -EPROTO; -errno. */
int session_map_track(const struct session *s, struct session_track *t, const struct kept_fd *fd);
/* Puts mapped regions in force. No queue runs. */
void session_set_track(struct session *s, const struct session_track *t);
/* Whether a poller may read, or write, @fd without ever waiting. The latter makes it so. */
bool session_may_read(int fd);
bool session_may_write(int fd);

/* Records what the session is, for a successor: after each message, and before a queue takes
 * anything. */
void session_commit(struct session *s);

/* A queue that alone has ended the process, with the requests that it has in flight: it is stopped
 * like one whose ring is broken, until it is started elsewhere than where it stands. */
void session_bar_queue(struct session *s, struct session_queue *q);

/* Whether writes complete only when durable, by features and configuration. */
void session_update_write_through(struct session *s);

/* The front end has another size to learn of; or it has learnt of the last one that it was told. */
void session_set_resize(struct session *s, bool pending);
