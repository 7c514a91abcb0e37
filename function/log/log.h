/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log function: one line for each request that has ended, written to a
 * descriptor by a thread of its own. The path never waits for it: each lane has a
 * bounded ring of records, and what does not fit is counted and left out.
 */
#pragma once

#include "core/function.h"

struct reqlog_stats {
	uint64_t written; /* lines */
	uint64_t dropped; /* requests without a line: the ring was full, or writing failed */
	int error;	  /* of the last write that failed, as -errno; 0: none */
};

/* Context: control thread. Ownership: on success @fd is the function's, which is closed by its own
 * close operation (and writes what it has first). Return: 0 or -errno. */
int reqlog_open(int fd, struct function **ret_function);

void reqlog_stats(const struct function *f, struct reqlog_stats *ret_stats); /* any thread */
