/* SPDX-License-Identifier: Apache-2.0 */
/* What the measuring guest says (vm/gauge/README.md), into samples. */
#include <stdlib.h>
#include <string.h>

#include "compare/machine.h"

static double number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_number(v) ? json_number_value(v) : -1;
}

/* [[ns, count], ...], counts of latencies up to ns, into the marks of a distribution. */
static void read_marks(const json_t *hist, double *mark_ns)
{
	double total = 0, seen = 0;
	unsigned mark = 0;
	json_t *step;
	size_t i;

	mark_ns[0] = -1;
	json_array_foreach(hist, i, step)
		total += json_number_value(json_array_get(step, 1));
	if (total <= 0)
		return;
	json_array_foreach(hist, i, step) {
		seen += json_number_value(json_array_get(step, 1));
		while (mark < COMPARE_MARKS && seen * 1000 >= total * compare_marks[mark])
			mark_ns[mark++] = json_number_value(json_array_get(step, 0));
	}
}

int machine_read_result(const char *line, struct compare_sample *ret, char *why)
{
	json_t *o = json_loads(line, 0, NULL);
	const char *event = ctl_str(o, "event"), *reason = ctl_str(o, "why");
	double requests = number(o, "requests");

	if (!event || strcmp(event, "result") || requests < 0) {
		snprintf(why, MACHINE_WHY, "the measuring guest: %s",
			 reason ? reason : event ? event : "no answer that makes sense");
		json_decref(o);
		return event ? -EREMOTEIO : -EPROTO;
	}
	double bad = number(o, "errors") + number(o, "mismatches");
	double per = requests > 0 ? requests : 1;

	*ret = (struct compare_sample){
		.requests = (uint64_t)requests, .iops = number(o, "iops"),
		.p50_ns = number(o, "p50_ns"), .p99_ns = number(o, "p99_ns"),
		.p999_ns = number(o, "p999_ns"), .kicks = number(o, "kicks") / per,
		.irqs = number(o, "interrupts") / per, .exits = -1, .cpu_ns = -1,
	};
	if (number(o, "verified_b") > 0)
		ret->verified_b = (uint64_t)number(o, "verified_b");
	read_marks(json_object_get(o, "hist"), ret->mark_ns);
	json_decref(o);
	if (bad <= 0)
		return 0;
	snprintf(why, MACHINE_WHY, "%.0f requests failed or returned other data than was written",
		 bad);
	return -EREMOTEIO;
}

int machine_read_ready(const char *line, int *ret_pci, unsigned max)
{
	json_t *o = json_loads(line, 0, NULL), *disk;
	const char *event = ctl_str(o, "event");
	json_t *disks = json_object_get(o, "disks");
	unsigned n = 0;
	size_t i;

	if (!event || strcmp(event, "ready") || !json_is_array(disks)) {
		json_decref(o);
		return -EPROTO;
	}
	memset(ret_pci, 0, max * sizeof(*ret_pci));
	json_array_foreach(disks, i, disk) {
		const char *pci = ctl_str(disk, "pci"), *colon = pci ? strchr(pci, ':') : NULL;

		if (colon && n < max)
			ret_pci[n++] = (int)strtol(colon + 1, NULL, 16);
	}
	json_decref(o);
	return (int)n;
}
