/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of a front: how a guest or a client reaches a disk. A front is opened
 * on a disk by control, lives on threads of its own, and puts its queues on pollers.
 * What control may ask of it never waits for a guest or a medium.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/list.h"

#define FRONT_QUEUES_MAX 64
#define FRONT_MOVE_NS (1500 * NS_PER_MS)

enum front_queue_state { FRONT_QUEUE_STOPPED, FRONT_QUEUE_RUNNING, FRONT_QUEUE_BROKEN };

struct front_queue_info {
	unsigned index, size, inflight;
	enum front_queue_state state;
	const char *reason; /* why it is broken; static text */
	const char *poller; /* name; NULL while stopped */
	bool packed;
	uint64_t taken, refused; /* requests; of them malformed */
	uint64_t kicks, calls;	 /* notifications received, interrupts sent */
};

struct front_info {
	bool connected;
	pid_t peer_pid;	     /* of the process at the other end, 0 if unknown */
	uint64_t since_ns;   /* CLOCK_MONOTONIC, of the connection */
	uint64_t features;   /* negotiated */
	bool logging;	     /* a migration is tracking what changes */
	bool resize_pending; /* the other end has not confirmed the last change of size */
	unsigned nqueue;     /* in queue[]: those that were ever started in this connection */
	struct front_queue_info queue[FRONT_QUEUES_MAX];
};

/* What has changed about the disk, for front_ops.changed(). */
enum front_change {
	FRONT_SIZE = 1 << 0,
	FRONT_MODE = 1 << 1, /* poll mode */
};

struct front;
struct poller;

struct front_ops {
	const char *kind;
	/* Disconnects, lets what is in flight end, and frees. Control thread; waits for the medium,
	 * unless stopped() has been called. */
	void (*close)(struct front *f);
	/* Begins close(): @stopped runs exactly once, on any thread, perhaps before this returns,
	 * as soon as close() would not wait for the medium any more. Control thread; does not
	 * wait. */
	void (*stop)(struct front *f, void (*stopped)(void *arg), void *arg);
	/* Lets @poller[i % @n] serve queue i from now on. One that runs takes nothing more, lets
	 * what is in flight end where it is, and goes on there. Control thread; waits at most
	 * FRONT_MOVE_NS.
	 * Return: 0: all are there, and the front has nothing to do with another poller any more;
	 * -EBUSY: a medium does not end what is in flight, or the front is held up; -errno. In
	 * both, all stays as it was, or returns to that later, and *ret_why (@room bytes) says
	 * why. */
	int (*move)(struct front *f, struct poller *const *poller, unsigned n, char *ret_why,
		    size_t room);
	/* Waits until the other end has confirmed the last change of size, at most to @until_ns.
	 * Control thread. Return: whether it has, or nobody is connected. */
	bool (*confirmed)(struct front *f, uint64_t until_ns);
	/* Tells the front, which acts on a thread of its own. Control thread; does not wait. */
	void (*changed)(struct front *f, unsigned changes);
	/* Control thread; does not wait. */
	void (*info)(struct front *f, struct front_info *ret_info);
};

struct front {
	const struct front_ops *ops;
	struct list link; /* in the disk's list */
};
