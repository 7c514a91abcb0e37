/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent process: listens, opens paths, checks callers, saves state, and keeps
 * a worker running. No guest byte reaches it. One thread; keeper_run() is its main.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

struct keeper_config {
	const char *control_path;  /* NULL: no control socket */
	const char *control_group; /* members may call, beside the own user and root; NULL: none */
	const char *upgrade_path;  /* where replacing the program is asked for; NULL: nowhere */
	const char *state_dir;	   /* created if missing; NULL: nothing is kept */
	/* a vault for what must outlive the keeper, see vault.h; NULL: none */
	const char *kept_at;
	const char *const *images; /* files are opened below these alone; NULL: anywhere */
	const char *program;	   /* of the worker */
	char *const *argv;	   /* of the worker; KEEPER_LINK_ARG is put behind it */
	int hand_over_fd;	   /* the first worker inherits it, and the keeper closes it; -1 */
	int baton_fd;		   /* what an earlier program of this process has left; -1 */
	bool one_life;		   /* a worker that dies is not replaced */
};

#define KEEPER_LINK_ARG "--worker-link="
#define KEEPER_BATON_ARG "--keeper-baton="

/* Runs until SIGTERM, SIGINT or SIGHUP, or until the worker ends by itself. Says on standard
 * error, in one line, why it cannot start. Context: a process without threads.
 * Return: the exit status. */
int keeper_run(const struct keeper_config *cfg);

/* Whether a keeper of this program could go on with what @fd, another's baton, says. Return: the
 * exit status. */
int baton_check(int fd);
