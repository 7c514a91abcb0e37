/* SPDX-License-Identifier: Apache-2.0 */
/* A keeper within the process: what is put here outlives whatever the test closes. One thread at a
 * time puts and drops. */
#pragma once

#include "core/keep.h"

struct fake_keep {
	struct keep keep;
	unsigned n;
	struct {
		char key[KEEP_KEY_MAX];
		int fd;
	} kept[256];
};

void fake_keep_init(struct fake_keep *k);
void fake_keep_fini(struct fake_keep *k);
/* How many descriptors are kept as @key or below it; all for "". */
unsigned fake_keep_count(const struct fake_keep *k, const char *key);

/* The keeper of tests that need one, new for each: cmocka's set-up and tear-down. */
extern struct fake_keep fake_keeper;
int fake_keeper_set_up(void **state);
int fake_keeper_tear_down(void **state);
