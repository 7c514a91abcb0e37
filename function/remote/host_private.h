/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host, for its two files: host.c is the life of its program, lanes.c what becomes of the
 * lanes meanwhile. Control thread.
 */
#pragma once

#include "function/remote/host.h"
#include "function/remote/private.h"

struct program;

/* What a program gets to answer for what it is given. One that was started from a cold disk of a
 * busy host took 1.5 s to be there, and some guests are emulated. */
#define CHECK_NS (5 * NS_PER_S)
#define KILLED_NS (500 * NS_PER_MS) /* and the kernel to end one that is killed */

struct host {
	char name[FUNCTION_NAME_MAX + 1];
	struct loop *loop;
	const struct host_starter *starter;
	uint64_t stall_ns;

	struct program *now, *before; /* before: the one replaced, during probation */
	void *spec;		      /* of what is to run */
	void *spec_before;	      /* of what comes back if that fails; during probation */
	bool wanted;
	bool is_untried; /* it has to pass its trial first */
	uint64_t probation_end_ns;    /* 0: none */
	struct program *next; /* it boots, or is about to take over; next.c */
	void *spec_next;
	uint64_t next_probation_ns;
	uint64_t start_ns; /* when to start again; 0: now, or when somebody says so */
	unsigned backoff_ms, restarts, rollbacks, replaced;
	char why[HOST_WHY_MAX];
	struct loop_watch timer; /* to start again, to give up waiting, the end of probation */
	struct loop_watch alarm; /* a lane has something to say */

	/* lanes.c */
	pthread_mutex_t lock; /* the rest; and changes of now */
	bool serving;
	struct region *region; /* of what is to run, or NULL */
	struct list lanes;
	struct remote_lane_stats past; /* of lanes that are gone */
	struct handover handover;
};

/* host.c */

/* Looks at what it says, and at its end. Return: 0; -ENOMEM. */
int host_watch(struct host *h, struct program *p);
/* Ends @p, which serves no lane; when this returns it touches no memory any more. One in a machine
 * that is posternd's goes with its spec, if that is not to be at once. NULL is fine. */
void host_end_program(struct host *h, struct program *p, bool gently);
/* @p, tried, replaces the one there is. Return: 0: the spec is the host's; -errno with @why. */
int host_take_over(struct host *h, struct program *p, void *spec, uint64_t probation_ns, char *why);

/* next.c */

/* The machine of @spec is to take over when it is ready. Return: -EINPROGRESS; -EALREADY. */
int next_begin(struct host *h, void *spec, uint64_t probation_ns);
/* It can be tried again to speak to it. */
void next_retry(struct host *h);
/* It has said something, or has ended. */
void next_take_words(struct host *h);
/* It does not take over, for @why. */
void next_fail(struct host *h, const char *why);
/* It is not wanted any more. */
void next_forget(struct host *h);

/* lanes.c */

/* All lanes get the program that there is, which is ready. */
void lanes_connect(struct host *h);
/* The program serves no lane any more, and is not the host's. Return: it. */
struct program *lanes_disconnect(struct host *h);
/* @p has refused a disk, which stays without it. */
void lanes_refused(struct host *h, struct program *p);
/* What a lane has found wrong with the program, since the last call. Return: whether there is
 * something, with @why, of HOST_WHY_MAX bytes. */
bool lanes_take_fault(struct host *h, char *why);
/* @p takes all lanes over from the program there is, if any, which is the host's no more. Return:
 * 0; -errno with @why: nothing has changed. */
int lanes_hand_over(struct host *h, struct program *p, char *why);
/* The program that they had before has gone. */
void lanes_settle(struct host *h);
/* Return: how many there are; @ret_stats: of them, and those that were. */
unsigned lanes_stats(struct host *h, struct remote_stats *ret_stats);
