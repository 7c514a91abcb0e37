/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs that workers have asked for. They outlive the worker: its successor
 * adopts them. The keeper's one thread.
 */
#pragma once

#include <sys/types.h>

#include "base/list.h"
#include "keeper/proto.h"

#define PROGRAMS_ENDED 16

/* What a machine may have, as office.c judges it. */
enum machine_part { MACHINE_READS, MACHINE_WRITES, MACHINE_CONNECTS };

struct programs {
	struct list all;
	unsigned n;
	/* Return: 0; -errno: no worker may ask for @path. */
	int (*may_have)(struct programs *ps, enum machine_part part, const char *path);
	const int *look_fd; /* the one that may_have() needs; NULL: none */
	const char *tool; /* that holds a machine; NULL: postern, beside this program */
	/* One that is not executed yet, and what it says until then: its jail, and -errno if it
	 * fails. */
	struct program *starting;
	struct program *over; /* that had ended before it was heard of; until programs_heard() */
	int report_fd;
	uint32_t said[2];
	size_t heard_b;
	struct {
		pid_t pid; /* 0: none */
		int status;
	} ended[PROGRAMS_ENDED]; /* those that were last, for who asks how */
	unsigned nended;
};

struct program {
	struct list node;
	pid_t pid;
	int sock; /* the worker's end, for its successor */
	int pidfd;
	uint32_t jail;
	bool claimed; /* by the worker of now */
	bool has_ended; /* reaped while it was starting: its number may be another's */
	struct keeper_request req; /* what it was started by */
};

void programs_init(struct programs *ps);
void programs_fini(struct programs *ps); /* kills them */

/* What a worker is answered; the descriptors stay ours. */
struct program_result {
	struct keeper_answer answer;
	int fds[2];
	unsigned nfd;
	bool is_new; /* started for this very request, and not known to have ended */
};

#define PROGRAMS_STARTING 1

/* Carries out SPAWN, ADOPT or KILL, which came with @nfd descriptors (borrowed); none is starting.
 * Return: 0; PROGRAMS_STARTING: the result is heard of later; -EPROTO: it made no sense, and is not
 * answered. */
int programs_serve(struct programs *ps, const struct keeper_request *req, const int *fds,
		   unsigned nfd, struct program_result *ret);
/* While one is starting: report_fd has something to read. Return: 0: it starts no more; -EAGAIN. */
int programs_hear(struct programs *ps, struct program_result *ret);
/* Closes report_fd, which nobody watches any more, and what the result had of one that is over. */
void programs_heard(struct programs *ps);
/* The one that is starting takes too long: it is ended. Nobody watches report_fd any more. */
void programs_give_up(struct programs *ps);
bool programs_starting(const struct programs *ps);
/* One that runs already, and is the worker's of now; @fds are its socket and pidfd, which are
 * taken.
 * Return: 0; -ENOMEM. */
int programs_adopt(struct programs *ps, pid_t pid, const int fds[2], uint32_t jail,
		   const struct keeper_request *req);
bool programs_concerns(uint32_t op);
/* Child @pid has ended, by @status: forgets it if it was one of these, but for that. */
void programs_reaped(struct programs *ps, pid_t pid, int status);
/* A new worker adopts them anew. */
void programs_unclaim(struct programs *ps);
/* Kills those that no worker has adopted. */
void programs_sweep(struct programs *ps);
