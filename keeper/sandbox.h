/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker gives up what it will never need. Each piece is tried by itself: one
 * that this kernel or container refuses is named in the report, and the rest holds.
 */
#pragma once

#include "base/base.h"

/* Each text is "on", perhaps with a word more, or "off: " and why. */
struct sandbox_report {
	char capabilities[64];
	char no_new_privs[64];
	char landlock[64];
	char seccomp[64];
};

/* Context: before any other thread is started, which then inherits it all. The process can open
 * no path, make no socket and run no program afterwards. */
void sandbox_enter(struct sandbox_report *ret);

/* Its pieces, for other processes than the worker. Return: 0; -errno. */
int sandbox_drop_capabilities(void);
/* A ruleset that refuses all that there is to refuse. Return: a descriptor; -errno. */
int sandbox_ruleset(int *ret_abi);
int sandbox_allow_below(int ruleset, const char *path, uint64_t access);
int sandbox_restrict(int ruleset);
/* LANDLOCK_ACCESS_FS_* */
#define SANDBOX_EXECUTE (1u << 0)
#define SANDBOX_READ (1u << 2)
