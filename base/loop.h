/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread's wait on many descriptors, for cold paths (control, keeper): callbacks
 * run one at a time, on the thread in loop_run(). A watch is the caller's storage,
 * usually inside the thing it watches; the loop owns its epoll descriptor only and
 * never closes a watched one. One thread.
 */
#pragma once

#include "base/base.h"

struct loop {
	int epfd;
	bool stopped;
};

struct loop_watch {
	int fd;
	/* @events: EPOLLIN and its like. May remove and free its own watch, or any other. */
	void (*ready)(struct loop_watch *w, uint32_t events);
};

int loop_init(struct loop *l); /* Return: 0 or -errno */
void loop_fini(struct loop *l);

/* Watches @w->fd for @events (EPOLLIN, EPOLLOUT; errors always). Return: 0 or -errno. */
int loop_add(struct loop *l, struct loop_watch *w, uint32_t events);
int loop_mod(struct loop *l, struct loop_watch *w, uint32_t events);
void loop_del(struct loop *l, struct loop_watch *w); /* before the descriptor is closed */

/* A timer, to be watched for EPOLLIN. Return: its descriptor, the caller's to close; -errno. */
int timer_open(void);
/* It runs out @ns from now, once, or again and again; 0: never. */
void timer_set(int fd, uint64_t ns);
void timer_repeat(int fd, uint64_t ns);
/* Whether it has run out since the last call. */
bool timer_take(int fd);

/* Runs callbacks until loop_stop(). May block. Return: 0 or -errno of epoll_wait. */
int loop_run(struct loop *l);
/* One round: waits at most @timeout_ms (-1: for ever) and runs at most one callback.
 * Return: callbacks run; -errno. */
int loop_turn(struct loop *l, int timeout_ms);
void loop_stop(struct loop *l);
