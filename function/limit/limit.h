/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limit function: no more than so many requests and bytes a second pass, over all
 * lanes of the disk together; the others wait, in order, and go on by the poller's
 * timer. Reads, writes, discards and write-zeroes count as one request each, and
 * reads and writes by their bytes; flushes pass. Discards and write-zeroes may have a
 * rate of their own, and then wait apart from the others. A gate: it takes a batch
 * that may go for the price of one request.
 *
 * A limit is a clock that runs ahead: each request moves it on by what the request
 * costs at the allowed rate, and a request may go when the clock is not ahead of the
 * time. The clock falls behind, while there is nothing to do, by at most the burst.
 */
#pragma once

#include "core/function.h"

/* A burst keeps a limit exact although timers are late. */
#define LIMIT_BURST_MIN_NS (1 * NS_PER_MS)
#define LIMIT_BURST_MAX_NS (60 * NS_PER_S)

struct limit_conf {
	uint64_t iops, bytes; /* a second; 0: no limit */
	uint64_t discards;    /* discards and write-zeroes a second; 0: they count among iops */
	uint64_t burst_ns;    /* unused allowance kept, as time; brought into the bounds above */
};

/* Context: control thread. Ownership: closed by its own close operation. Return: 0 or -ENOMEM. */
int limit_open(const struct limit_conf *c, struct function **ret_function);

/* Takes effect within 10 ms, for requests that wait too; wakes no poller. Context: control
 * thread. */
void limit_set(struct function *f, const struct limit_conf *c);

/* How many requests have had to wait. Any thread. */
uint64_t limit_delayed(const struct function *f);
