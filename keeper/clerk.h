/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that touch paths for the keeper. A path may lie where nobody answers (a server that is
 * gone, a frozen file system): whoever opens it then waits in the kernel, perhaps for ever, and
 * even closing what was opened may wait. The keeper must not, since it watches the worker; nor
 * could it give up a thread, which would hold all of its descriptors. So it asks a clerk, a process
 * that has nothing but the state's directory, and goes on without it when that takes too long.
 * The keeper's one thread, but for the clerk's own half.
 */
#pragma once

#include <sys/types.h>

#include "base/list.h"
#include "base/loop.h"
#include "keeper/proto.h"

struct office;
struct clerk;

/* A file that we have made, so that no other is removed that has its name by now. */
struct own_file {
	dev_t dev;
	ino_t ino; /* 0: none */
};

/* The op of an order that is none of a worker's: open a program, only to be executed. */
#define CLERK_PROGRAM 1000u

/* What a clerk is to do: OPEN, LISTEN, UNLISTEN or UNMAKE of req.path, the latter two if it is
 * file. */
struct clerk_order {
	struct own_file file;
	struct keeper_request req; /* the last: it is sent as far as its path goes */
};

#define CLERK_SILENT 1

struct clerk_report {
	int32_t err; /* 0 or -errno */
	/* OPEN: what answering its asker gave, see worker_answer(); CLERK_SILENT: nobody has */
	int32_t told;
	struct own_file file; /* that was made */
};

/* Something that was given to a clerk; the caller's storage. */
struct errand {
	struct clerk *clerk; /* NULL: none is under way */
	/* It is over, in time. @fd is what LISTEN or CLERK_PROGRAM gave, or -1; taken. */
	void (*done)(struct errand *e, const struct clerk_report *r, int fd);
};

struct clerks {
	struct list all;
	unsigned n, nlate; /* those that somebody has given up on */
	struct loop *loop;
	const struct office *office;
};

void clerks_init(struct clerks *cs, struct loop *loop, const struct office *office);
void clerks_fini(struct clerks *cs);

/* Has a clerk carry out @o for @e. What OPEN gives goes from there to @asker (borrowed), a worker's
 * request socket, with its answer. Return: 0; -ETIMEDOUT: somebody still waits for that path, or
 * too many wait; -errno. */
int clerks_send(struct clerks *cs, struct errand *e, const struct clerk_order *o, int asker);
/* The process that is at @e, which is under way. */
pid_t clerks_pid(const struct errand *e);
/* Waits no longer: @e is over, and what comes of it yet will be undone; @is_slow: which is worth a
 * line in the log. Return: false: it has just been done, and its end comes. */
bool clerks_give_up(struct clerks *cs, struct errand *e, bool is_slow);
