/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's end of the keeper: asking for descriptors and for the state to be
 * saved. Any thread may ask; each waits for its answer.
 */
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include "keeper/kept.h"
#include "keeper/proto.h"

struct link_ahead {
	char *path; /* NULL: it was asked for since */
	int flags, fd, err;
};

struct link {
	int request_fd, event_fd; /* event_fd is for the caller's loop */
	int life_fd, hold_fd;	  /* for life_begin() and hold_start(); until link_introduce() */
	pthread_mutex_t lock;	  /* one request at a time; and kept's */
	struct keep keep;	  /* what the parts put there, the keeper holds */
	struct kept kept;	  /* and listening sockets, by their paths */
	/* asked for and not yet given out; the first @answered are here */
	struct link_ahead *ahead;
	unsigned nahead, answered;
};

/* @arg: what followed KEEPER_LINK_ARG. Makes the process die with its keeper.
 * Return: 0; -EINVAL; -ESRCH: the keeper has gone. */
int link_init(struct link *l, const char *arg);
void link_fini(struct link *l);

/* Begins to be watched, and says who it is. Context: in the sandbox; the only thread.
 * Return: 0; -errno. */
int link_introduce(struct link *l, const struct keeper_intro *intro);

/* Return: a descriptor, the caller's; -errno, -EPIPE when the keeper has gone. */
int link_open(struct link *l, const char *path, int flags, mode_t mode);
/* Asks for what link_open() will soon be asked for, and does not wait; until link_ready(). For many
 * files at once: each would cost two changes of the process otherwise. */
void link_open_ahead(struct link *l, const char *path, int flags);
int link_listen(struct link *l, const char *path, mode_t mode, const char *group);
/* Return: 0; -errno. */
int link_unlisten(struct link *l, const char *path);
int link_unmake(struct link *l);
int link_save(struct link *l, const char *text, size_t len_b);
int link_ready(struct link *l);
int link_taken(struct link *l); /* once for each KEEPER_CONN */
int link_healthy(struct link *l, unsigned disks); /* once for each KEEPER_COUNT */

/* Takes what predecessors have left, @n descriptors as HELLO says, so that link.keep has them.
 * Return: 0; -errno. */
int link_recall(struct link *l, unsigned n);
/* Drops what is kept for names in @top ("disk") that @knows not of: their owners went without a
 * word. Return: how many names. */
unsigned link_forget_others(struct link *l, const char *top,
			    bool (*knows)(void *arg, const char *name), void *arg);

/* A program that the keeper has started for us. */
struct link_program {
	int32_t pid;
	uint32_t jail; /* 1 << enum keeper_jail */
	int sock, pidfd;
};

/* What to start: a program and its arguments, or a machine as KEEPER_MACHINE says. */
struct link_spawn {
	bool adopt, is_machine;
	const char *name, *run;
	uint32_t memory_mib;
	const char *cpus; /* or NULL */
	const int *files; /* the caller's */
	unsigned nfile;
};

/* Starts it, or finds one that runs since an earlier worker (adopt). Return: 0; -ENOENT; -errno. */
int link_spawn(struct link *l, const struct link_spawn *s, struct link_program *ret);
/* Return: 0; LINK_HAD_ENDED: before, by *ret_status, as waitpid() says; -ESRCH; -errno. */
int link_kill(struct link *l, int32_t pid, int *ret_status);
#define LINK_HAD_ENDED 1

/* Every disk of the state is here: lets go of predecessors' sockets that none has asked for, and
 * of their files. Return: how many. */
unsigned link_settled(struct link *l);

/* Takes the next event; *ret_fd is its descriptor or -1. May block.
 * Return: 0; -EPIPE when the keeper has gone; -errno. */
int link_event(struct link *l, struct keeper_event *ret, int *ret_fd);
