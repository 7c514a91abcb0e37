/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at shared memory before each single store to it: the ranges watched are made read-only,
 * each store to them faults, @look is called, the store is let through as one instruction, and
 * the ranges are closed again. So a test sees every state in which a killed process could have
 * left them. x86-64 alone; elsewhere step_works() says no.
 */
#pragma once

#include "base/base.h"

struct step_range {
	void *at; /* whole pages */
	size_t len_b;
};

bool step_works(void);
/* Runs @fn(@arg) with @look(@arg) called before each store to the @n ranges. */
void step_stores(const struct step_range *r, unsigned n, void (*fn)(void *arg),
		 void (*look)(void *arg), void *arg);
