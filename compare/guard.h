/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small process that waits for the end of this one, however it comes, and then kills what was
 * started since and removes the directories that it was told of. Also on SIGINT, SIGTERM and
 * SIGHUP, which end this process only after that. What was started is known by a word in its
 * environment, which everything inherits, also what went to the background of itself. One at a
 * time; one thread.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

#define GUARD_PATH_MAX 200

/* Return: 0; -EBUSY: there is one; -errno. */
int guard_start(void);
/* Kills, removes, waits for both. Does nothing without a guard. */
void guard_end(void);

/* Watches @pid, which runs and whose environment may not be read (posternd's processes); or @path,
 * a directory with all that is in it. Return: 0; -ENAMETOOLONG; -errno. */
int guard_process(pid_t pid);
int guard_dir(const char *path);

/* Between these, signals wait: something is being started that the guard does not know yet. */
void guard_hold(void);
void guard_release(void);
