/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether this process ended by a fault of its own. Whoever goes on after it has to
 * know: a process that was killed from outside has done nothing wrong, and nor has what it was
 * doing; one that crashed may well crash again over the same thing.
 */
#pragma once

#include "base/base.h"

/* Takes the signals by which faults show (SIGBUS is guest/fault.h's, which calls crash_note()).
 * Context: once. Return: 0 or -errno. */
int crash_init(void);

/* Gives the calling thread a stack for that, so that an overflow of its own shows as a fault;
 * without, or without memory for one, it shows as a kill. It goes with crash_unwatch_stack(),
 * before the thread ends. */
void crash_watch_stack(void);
void crash_unwatch_stack(void);

/* *@word, in memory that outlives the process, becomes 1 when it crashes. Beyond some thousands of
 * them it does not. Context: any thread. */
void crash_watch(uint32_t *word);
void crash_unwatch(uint32_t *word); /* before it is unmapped */

/* Sets all of them: the end is near. Context: any thread, also a signal handler. */
void crash_note(void);
