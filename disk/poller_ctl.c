/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/poller_ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpus.h"
#include "base/log.h"
#include "control/rpc.h"
#include "core/poller.h"
#include "disk/disk_ctl.h"

#define POLLERS_MAX 64
#define CPUS_TEXT 128

struct slot {
	struct poller *poller;
	cpu_set_t cpus;
	unsigned disks;
};

static struct slot slots[POLLERS_MAX];
static unsigned nslot;
static cpu_set_t allowed; /* what this process was given */
static long host_cpus;

static int parse_cpus(const char *text, const char *param, cpu_set_t *ret, struct ctl_error *err)
{
	char may[CPUS_TEXT];
	cpu_set_t both;

	if (cpus_parse(text, ret))
		return ctl_fail(err, -EINVAL, "bad_value", param,
				"'%.60s' is not a list of CPUs such as 1,4-7", text);
	CPU_AND(&both, ret, &allowed);
	if (CPU_EQUAL(&both, ret))
		return 0;
	return ctl_fail(err, -ERANGE, "out_of_range", param,
			"this process may run on CPUs %s only",
			cpus_format(&allowed, may, sizeof(may)));
}

/* The @i-th CPU of @set, counted round. */
static cpu_set_t nth_cpu(const cpu_set_t *set, unsigned i)
{
	unsigned left = i % (unsigned)CPU_COUNT(set);
	cpu_set_t one;

	CPU_ZERO(&one);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, set))
			continue;
		if (!left--) {
			CPU_SET(cpu, &one);
			break;
		}
	}
	return one;
}

/* Whether a poller on @cpus may spin without end. Never on a host of one CPU, where nobody else
 * would run; on CPU 0 alone, where the kernel has work of its own, only if somebody has asked for it
 * (@told). */
static bool may_spin(const cpu_set_t *cpus, bool told)
{
	bool only_cpu0 = CPU_COUNT(cpus) == 1 && CPU_ISSET(0, cpus);

	return host_cpus > 1 && (told || !only_cpu0);
}

static int start_one(unsigned i, const cpu_set_t *cpus, bool told, struct ctl_error *err)
{
	struct slot *s = &slots[i];
	char name[24];

	snprintf(name, sizeof(name), "poller%u", i);
	int ret = poller_open(name, &s->poller);

	if (!ret) {
		s->cpus = *cpus;
		s->poller->may_spin = may_spin(cpus, told);
		nslot = i + 1;
		ret = poller_start(s->poller, cpus);
	}
	return ret ? ctl_fail(err, ret, "start_failed", "pollers", "poller %s: %s", name,
			      strerror(-ret)) : 0;
}

void poller_ctl_look(void)
{
	host_cpus = sysconf(_SC_NPROCESSORS_ONLN);
}

int poller_ctl_start(struct ctl *ctl, unsigned n, const char *cpus, struct ctl_error *err)
{
	cpu_set_t set;
	int ret = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return ctl_fail(err, -errno, "start_failed", "cpus", "cannot read the CPUs: %s",
				strerror(errno));
	if (n < 1 || n > POLLERS_MAX)
		return ctl_fail(err, -ERANGE, "out_of_range", "pollers", "from 1 to %d is allowed",
				POLLERS_MAX);
	set = allowed;
	if (cpus)
		ret = parse_cpus(cpus, "cpus", &set, err);
	else if (CPU_COUNT(&set) > 1)
		CPU_CLR(0, &set);
	for (unsigned i = 0; !ret && i < n; i++) {
		char name[24];
		cpu_set_t own = cpus ? nth_cpu(&set, i) : set;

		snprintf(name, sizeof(name), "poller%u", i);
		const char *kept = ctl_str(state_get(ctl_state(ctl), "poller", name), "cpus");
		cpu_set_t wish;
		bool told = kept && !parse_cpus(kept, "cpus", &wish, err);

		if (told)
			own = wish;
		else if (kept) /* the host has other CPUs today: the wish waits */
			log_warn(name, "not on CPUs %s: %s", kept, err->text);
		ret = start_one(i, &own, cpus || told, err);
	}
	return ret;
}

void poller_ctl_stop(void)
{
	while (nslot)
		poller_close(slots[--nslot].poller);
}

int poller_ctl_take(unsigned n, struct poller **ret_pollers, struct ctl_error *err)
{
	bool taken[POLLERS_MAX] = { false };

	if (n > nslot)
		return ctl_fail(err, -ERANGE, "out_of_range", "pollers",
				"from 1 to %u is allowed: posternd runs %u (--pollers)", nslot,
				nslot);
	for (unsigned k = 0; k < n; k++) {
		unsigned best = POLLERS_MAX;

		for (unsigned i = 0; i < nslot; i++)
			if (!taken[i] && (best == POLLERS_MAX || slots[i].disks < slots[best].disks))
				best = i;
		taken[best] = true;
		slots[best].disks++;
		ret_pollers[k] = slots[best].poller;
	}
	return 0;
}

void poller_ctl_give_back(struct poller *const *pollers, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		for (unsigned i = 0; i < nslot; i++)
			if (slots[i].poller == pollers[k])
				slots[i].disks--;
}

static const char *const mode_name[] = { [POLL_NEVER] = "never",
					 [POLL_ADAPTIVE] = "adaptive",
					 [POLL_ALWAYS] = "always" };

/* What a poller's thread knows. */
struct look {
	struct poller *poller;
	unsigned mode, queues[POLLEE_STATES];
};

static void look(void *arg)
{
	struct look *l = arg;

	l->mode = poller_mode(l->poller);
	for (unsigned i = 0; i < POLLEE_STATES; i++)
		l->queues[i] = l->poller->set[i].n;
}

static json_t *show(const struct slot *s)
{
	struct look l = { .poller = s->poller };
	const struct poller_stats *st = &s->poller->stats;
	char cpus[CPUS_TEXT], because[200];
	unsigned queues = 0;

	poller_call(s->poller, look, &l);
	for (unsigned i = 0; i < POLLEE_STATES; i++)
		queues += l.queues[i];
	if (!queues)
		snprintf(because, sizeof(because), "no queue is attached: it sleeps");
	else if (!s->poller->may_spin)
		snprintf(because, sizeof(because), "it has CPU %s alone, so never 'always'",
			 cpus_format(&s->cpus, cpus, sizeof(cpus)));
	else
		disk_ctl_why_mode(s->poller, l.mode, because, sizeof(because));
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:i}", "name",
			 s->poller->name, "cpus", cpus_format(&s->cpus, cpus, sizeof(cpus)), "mode",
			 queues ? mode_name[l.mode] : "idle", "because", because, "disks", s->disks,
			 "queues", queues, "taken", (json_int_t)stat_get(&st->taken), "turns",
			 (json_int_t)stat_get(&st->turns), "busy_turns",
			 (json_int_t)stat_get(&st->busy_turns), "sleeps",
			 (json_int_t)stat_get(&st->sleeps), "thread",
			 __atomic_load_n(&s->poller->tid, __ATOMIC_RELAXED));
}

json_t *poller_ctl_list(void)
{
	json_t *all = json_array();

	for (unsigned i = 0; i < nslot; i++)
		json_array_append_new(all, show(&slots[i]));
	return all;
}

static int run_list(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	*ret = poller_ctl_list();
	return 0;
}

static struct slot *find(const char *name)
{
	for (unsigned i = 0; i < nslot; i++)
		if (!strcmp(slots[i].poller->name, name))
			return &slots[i];
	return NULL;
}

static void set_may_spin(void *arg)
{
	struct slot *s = arg;

	s->poller->may_spin = may_spin(&s->cpus, true);
}

static int run_set(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name");
	struct slot *s = find(name);
	cpu_set_t set;

	if (!s)
		return ctl_fail(err, -ENOENT, "not_found", "name",
				"there is no poller '%s'; `poller list` names them", name);
	int code = parse_cpus(ctl_str(params, "cpus"), "cpus", &set, err);

	if (code)
		return code;
	code = poller_set_cpus(s->poller, &set);
	if (code)
		return ctl_fail(err, code, "bad_value", "cpus", "%s", strerror(-code));
	code = state_put(ctl_state(ctl), "poller", name, params, err);
	if (code) {
		poller_set_cpus(s->poller, &s->cpus);
		return code;
	}
	s->cpus = set;
	poller_call(s->poller, set_may_spin, s);
	*ret = show(s);
	return 0;
}

static const struct ctl_param set_params[] = {
	{ .name = "name", .type = CTL_NAME, .required = true, .positional = true,
	  .help = "The poller" },
	{ .name = "cpus", .type = CTL_STRING, .required = true, .max = 200,
	  .help = "CPUs it may run on, such as 2 or 4-7" },
	{ 0 },
};

const struct ctl_cmd poller_cmds[] = {
	{ .noun = "poller", .verb = "list", .help = "Show the pollers and why each polls as it does",
	  .columns = "name cpus mode disks queues taken because", .run = run_list },
	{ .noun = "poller", .verb = "set", .help = "Move a poller to other CPUs",
	  .params = set_params, .run = run_set },
	{ 0 },
};
