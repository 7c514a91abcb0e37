/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The delay function: requests wait for a fixed time before they go on to the medium.
 * For tests: a slow disk on demand. Lanes share the times and nothing else.
 */
#pragma once

#include "core/function.h"

struct delay_conf {
	uint64_t read_ns;
	uint64_t write_ns; /* discards and write-zeroes too */
	uint64_t flush_ns;
};

/* Context: control thread. Ownership: closed by its own close operation. Return: 0 or -ENOMEM. */
int delay_open(const struct delay_conf *c, struct function **ret_function);

/* For requests that come from now on. Context: control thread. */
void delay_set(struct function *f, const struct delay_conf *c);
