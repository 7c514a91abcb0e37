/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error function: chosen requests fail before they reach the medium. For tests:
 * a bad disk on demand.
 */
#pragma once

#include "core/function.h"

struct error_conf {
	unsigned ops;		/* a bit (1 << enum req_op) for each that may fail */
	uint64_t first_b, end_b; /* those that touch [first_b, end_b); flushes only if it is all */
	uint64_t every;		/* of those, each nth fails; at least 1 */
	uint64_t count;		/* so many fail, and no more; 0: without end */
	enum req_status status; /* with which they fail */
	bool aborts; /* or rather than that, the process ends: a bug on demand */
};

/* Context: control thread. Ownership: closed by its own close operation. Return: 0 or -ENOMEM. */
int error_open(const struct error_conf *c, struct function **ret_function);

/* How many requests have failed so far. Any thread. */
uint64_t error_injected(const struct function *f);
