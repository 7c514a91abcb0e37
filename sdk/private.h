/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of libpostern-function share; nobody else includes it. One thread. */
#pragma once

#include "sdk/postern/function.h"
#include "wire/function.h"

/* A request as the library holds it. */
struct held {
	struct pfn_req pub;
	struct chan *chan;
	uint16_t slot; /* FN_NO_SLOT: an event, which nobody waits for */
};

/* A channel: one lane of one disk. */
struct chan {
	struct pfn_disk pub;
	struct chan *next;
	struct pfn *pfn;
	uint32_t id;
	struct fn_rings *rings;
	uint8_t *bufs; /* FN_ALL_SLOTS of FN_BUF_B */
	int wake_fd;   /* an eventfd of posternd's; -1: a message wakes it */
	uint32_t to_n, from_n, told_n;
	uint32_t woken, sleeps;
	uint8_t own_free[FN_OWN_SLOTS]; /* a stack */
	unsigned nown;
	struct pfn_io *io[FN_IO_MAX];
	uint8_t io_free[FN_IO_MAX]; /* a stack */
	unsigned nio_free;
	char name[FN_NAME_MAX + 1];
	struct held held[FN_SLOTS];
};

/* A message from posternd, with what came with it already mapped. */
struct arrival {
	struct fn_msg m;
	struct fn_rings *rings; /* FN_DISK */
	uint8_t *bufs;
	int wake_fd;
	int err; /* FN_DISK: an errno: there is no room for it, it is to be refused; or 0 */
};

/* How a program and posternd find each other. */
struct transport {
	/* Return: whether this program was started over it. */
	bool (*found)(void);
	int (*open)(struct pfn *p); /* Return: 0; -errno */
	void (*close)(struct pfn *p);
	/* Takes the next message, without waiting. Return: 1; 0: there is none; -errno: it is
	 * over. */
	int (*take)(struct pfn *p, struct arrival *ret);
	int (*say)(struct pfn *p, const struct fn_msg *m);
	/* Lets go of what came with FN_DISK. */
	void (*unmap)(struct fn_rings *rings, uint8_t *bufs, int wake_fd);
	/* Wakes posternd, which sleeps. */
	void (*wake)(struct chan *c);
	/* Sleeps until something comes, at most @timeout_ms (-1: no end). */
	void (*wait)(struct pfn *p, int timeout_ms);
};

extern const struct transport postern_fn_process, postern_fn_machine;
/* main.c: all that this library has, and NULL. */
extern const struct transport *const postern_fn_transports[];

struct pfn {
	const struct pfn_conf *conf;
	const struct transport *transport;
	int fd; /* the transport's */
	void *own; /* the transport's */
	uint64_t memory_id; /* of a machine's; 0 */
	bool is_bar;	    /* that is ivshmem-plain's */
	struct chan *chans;
	unsigned turns; /* since the last look for messages */
	unsigned quiet; /* turns without anything */
	bool armed;
	uint64_t window_ns; /* how long it polls after the last request */
};

/* shared.c: what any machine does, whatever runs in it. @at: what it shares with posternd, of
 * FN_SHARED_B, mapped. */
#define FN_SHARED_B (FN_REGION_B - FN_REGION_OWN_B)
bool postern_fn_shared_is(const void *at); /* whether it is posternd's */
/* Tells posternd that a program has begun there. Return: 0; -errno. */
int postern_fn_shared_begin(struct pfn *p, const void *at);
/* As transport.take, for an FN_DISK: finds what came with it. */
int postern_fn_shared_disk(uint8_t *at, struct arrival *a);
void postern_fn_shared_unmap(struct fn_rings *rings, uint8_t *bufs, int wake_fd);
void postern_fn_shared_wake(struct chan *c);

/* The first lap of answers begins, and nothing is known of posternd. */
struct chan *postern_fn_chan_new(struct pfn *p, const struct arrival *a);
void postern_fn_chan_free(struct chan *c); /* calls gone() */
/* Looks at its ring once. Return: how much there was. */
unsigned postern_fn_chan_turn(struct chan *c);
/* Wakes posternd if it sleeps on what was put since the last call. */
void postern_fn_chan_bell(struct chan *c);
/* Says that we sleep. Return: false: there is something. */
bool postern_fn_chan_sleep(struct chan *c);
void postern_fn_chan_awake(struct chan *c);
