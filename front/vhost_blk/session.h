/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection of a VMM: what it has told us, and its queues. All of it belongs to
 * the front's thread; the front's lock covers what front_ops.info() reads.
 */
#pragma once

#include "front/vhost_blk/control.h"
#include "front/vhost_blk/dirty.h"
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
	void (*stopped)(void *arg); /* who waits for that; NULL: nobody */
	void *stopped_arg;

	/* moves of queues, see move.c; under the lock */
	unsigned moves_asked, moves_done; /* those done: all up to this one */
	int move_err;			  /* of the last one done */
	char move_why[120];
	pthread_cond_t moved;
};

#define VHOST_BLK_STOP (1u << 31)
#define VHOST_BLK_MOVE (1u << 30)

/* A queue of a connection. It runs when all that it needs is there. */
struct session_queue {
	struct vq vq;
	struct lane *lane; /* while it runs */
	struct vq_ring at;
	uint32_t base;
	uint16_t size;
	int kick_fd, call_fd, err_fd;
	bool has_at, has_kick, enabled;
};

struct session {
	struct vhost_blk *f;
	int sock;
	uint64_t features, protocol;
	struct gmem *mem;
	struct gmem *zombies; /* tables that a stalled medium still points into; kept to the end */
	struct dirty_log *log;
	struct session_queue *queue[FRONT_QUEUES_MAX]; /* made when first spoken of */

	/* in-flight regions, one after another */
	void *track;
	size_t track_len_b;
	uint64_t track_queue_b; /* of one */
	uint16_t track_queues, track_size;
	bool track_packed; /* laid out for packed rings */

	int backend_fd; /* the channel for messages of ours; -1: none */
	bool resize_pending;
	uint64_t since_ns;
	pid_t peer_pid;
};

/* Ownership: @sock becomes the session's. Return: 0 or -ENOMEM. */
int session_open(struct vhost_blk *f, int sock, struct session **ret_session);
/* Stops all queues, which waits for the medium, and frees. */
void session_close(struct session *s);

/* The queue @index, made if need be. Return: NULL: no such queue is offered, or no memory. */
struct session_queue *session_queue(struct session *s, uint64_t index);
/* Starts or stops @q according to what it has. Return: 0; -errno: it should run and cannot. */
int session_update_queue(struct session *s, struct session_queue *q);
/* Stops @q whatever it has; its base is where it would go on. */
void session_stop_queue(struct session *s, struct session_queue *q);
/* The rest of that, for a quiet @q that no poller has any more. */
void session_forget_queue(struct session *s, struct session_queue *q);
void session_stop_all(struct session *s);

/* Brings each running queue to the poller that is to serve it. Waits for what is in flight, at most
 * half of FRONT_MOVE_NS. Return: 0; -EBUSY, -errno: some are where they were, @ret_why says why;
 * -ENOTRECOVERABLE: nobody serves one of them, the connection must end. */
int session_move(struct session *s, char *ret_why, size_t room);

/* Puts @mem (which becomes the session's) in force everywhere and lets the former go.
 * Return: 0; -errno: a running queue is not in @mem, and has been stopped. */
int session_set_memory(struct session *s, struct gmem *mem);
void session_set_log(struct session *s, struct dirty_log *log);
/* Whether writes complete only when durable, by features and configuration. */
void session_update_write_through(struct session *s);

/* Receives and handles one message. Return: 0; -EPIPE: the other side has gone; -errno: the
 * connection is to be closed, *ret_what (@room bytes) says why. */
int message_handle(struct session *s, char *ret_what, size_t room);
/* Tells the front end that the configuration has changed. */
void message_config_changed(struct session *s);
/* Something has arrived on the back-end channel. */
void message_backend_reply(struct session *s);
