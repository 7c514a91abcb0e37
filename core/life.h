/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which threads of this process are alive, for the process that waits to start its
 * successor. A thread that touches a guest's ring or anything else that a successor goes
 * on with holds a cell of a shared page; when it ends, however that may be, the kernel
 * lets go of the cell (a robust futex: 0.1 ms after SIGKILL, while waitpid() comes only
 * when the whole address space is gone). Once every cell is free no thread of this
 * process can change anything any more.
 */
#pragma once

#include <pthread.h>

#include "base/base.h"

/* Two for each disk of more than a keeper can listen for. */
#define LIFE_CELLS 8192u

union life_cell {
	struct {
		pthread_mutex_t lock; /* robust, between processes */
		uint32_t taken;	      /* by a thread, or one that is about to */
	};
	/* of the lock, as the kernel knows it: the holder's tid, or 0 in those bits */
	uint32_t word;
	char line[CACHE_LINE];
};
static_assert(sizeof(union life_cell) == CACHE_LINE, "a cell is a cache line");
static_assert(sizeof(((pthread_mutex_t *)0)->__data.__lock) == sizeof(uint32_t) &&
	      !offsetof(pthread_mutex_t, __data.__lock), "the word is where the C library has it");

#define LIFE_PAGE_B (LIFE_CELLS * sizeof(union life_cell))

/* Maps the page @fd, zeroed and of LIFE_PAGE_B, and starts a thread that does nothing but hold cell
 * 0, so that this process's death shows even while every other thread is stuck in the kernel.
 * Without it nobody holds anything. Context: once, before the threads that hold. Return: 0;
 * -errno. */
int life_begin(int fd);

/* The calling thread has a cell until it ends or calls life_release(). A thread that ends by itself
 * releases; whoever waits would take it for dead otherwise. Context: any thread; no system call. */
void life_hold(void);
void life_release(void);
