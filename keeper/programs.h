/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs that workers have asked for. They outlive the worker: its successor
 * adopts them. The keeper's one thread.
 */
#pragma once

#include <sys/types.h>

#include "base/list.h"
#include "keeper/proto.h"

/* What a machine may have, as office.c judges it. */
enum machine_part { MACHINE_READS, MACHINE_WRITES, MACHINE_CONNECTS };

struct programs {
	struct list all;
	unsigned n;
	/* Return: 0; -errno: no worker may ask for @path. */
	int (*may_have)(struct programs *ps, enum machine_part part, const char *path);
	const char *tool; /* that holds a machine; NULL: postern, beside this program */
};

struct program {
	struct list node;
	pid_t pid;
	int sock; /* the worker's end, for its successor */
	int pidfd;
	uint32_t jail;
	bool claimed; /* by the worker of now */
	struct keeper_request req; /* what it was started by */
};

void programs_init(struct programs *ps);
void programs_fini(struct programs *ps); /* kills them */

/* Carries out SPAWN, ADOPT or KILL, which came with @nfd descriptors (borrowed). *ret_answer is the
 * answer, @ret_fds what goes with it and stays ours, or -1.
 * Return: 0; -EPROTO: it made no sense, and is not answered. */
int programs_serve(struct programs *ps, const struct keeper_request *req, const int *fds,
		   unsigned nfd, struct keeper_answer *ret_answer, int ret_fds[2]);
/* One that runs already, and is the worker's of now; @fds are its socket and pidfd, which are taken.
 * Return: 0; -ENOMEM. */
int programs_adopt(struct programs *ps, pid_t pid, const int fds[2], uint32_t jail,
		   const struct keeper_request *req);
bool programs_concerns(uint32_t op);
/* Child @pid has ended: forgets it if it was one of these. */
void programs_reaped(struct programs *ps, pid_t pid);
/* A new worker adopts them anew. */
void programs_unclaim(struct programs *ps);
/* Kills those that no worker has adopted. */
void programs_sweep(struct programs *ps);
