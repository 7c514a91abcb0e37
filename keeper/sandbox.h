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
