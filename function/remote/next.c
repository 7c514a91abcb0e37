/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine that is to replace what serves: it boots for seconds, in which nobody waits for it, and
 * takes over when its program is ready and has been tried. If it fails before, nothing has changed.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "function/remote/check.h"
#include "function/remote/host_private.h"
#include "function/remote/program.h"

int next_begin(struct host *h, void *spec, uint64_t probation_ns)
{
	h->spec_next = spec;
	h->next_probation_ns = probation_ns;
	return -EINPROGRESS;
}

void next_forget(struct host *h)
{
	void *spec = h->spec_next;

	if (!spec)
		return;
	host_end_program(h, h->next, false);
	h->next = NULL;
	h->spec_next = NULL;
	h->starter->free(spec);
}

void next_fail(struct host *h, const char *why)
{
	/* @why may be the program's own, or its machine's */
	snprintf(h->why, sizeof(h->why), "what was to replace it: %s", why);
	log_error(h->name, "is not replaced: %s", why);
	next_forget(h);
}

void next_retry(struct host *h)
{
	char why[HOST_WHY_MAX] = "out of memory";
	struct host_process process;

	if (h->next && h->next->has_ended)
		next_fail(h, "its machine was cut off");
	if (h->next || !h->spec_next)
		return;
	int err = h->starter->start(h->name, h->spec_next, &process, why);

	if (err == -EAGAIN)
		return;
	if (!err) {
		h->next = program_new(&process, h->spec_next);
		err = h->next ? host_watch(h, h->next) : -ENOMEM;
	}
	if (err)
		next_fail(h, why);
}

/* It is ready: the trial, and the handover. */
static void take_over(struct host *h)
{
	char why[HOST_WHY_MAX] = "";
	struct program *p = h->next;
	void *spec = h->spec_next;
	int err = check_program(p, clock_ns() + CHECK_NS, why);

	if (!err)
		err = host_take_over(h, p, spec, h->next_probation_ns, why);
	if (err) {
		next_fail(h, why);
		return;
	}
	h->next = NULL;
	h->spec_next = NULL;
}

void next_take_words(struct host *h)
{
	struct program *p = h->next;

	if (p->fault || p->has_ended)
		next_fail(h, p->fault ? p->fault : "its machine has ended");
	else if (p->is_ready)
		take_over(h);
}
