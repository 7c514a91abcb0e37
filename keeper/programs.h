/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs that workers have asked for. They outlive the worker: its successor
 * adopts them. The keeper's one thread.
 */
#pragma once

#include <sys/types.h>

#include "base/list.h"
#include "keeper/proto.h"

struct programs {
	struct list all;
	unsigned n;
};

void programs_init(struct programs *ps);
void programs_fini(struct programs *ps); /* kills them */

/* Carries out SPAWN, ADOPT or KILL, which came with @nfd descriptors (borrowed), and answers on @sock.
 * Return: 0; -EPROTO: it made no sense, and was not answered. */
int programs_serve(struct programs *ps, const struct keeper_request *req, const int *fds,
		   unsigned nfd, int sock);
bool programs_concerns(uint32_t op);
/* Child @pid has ended: forgets it if it was one of these. */
void programs_reaped(struct programs *ps, pid_t pid);
/* A new worker adopts them anew. */
void programs_unclaim(struct programs *ps);
/* Kills those that no worker has adopted. */
void programs_sweep(struct programs *ps);
