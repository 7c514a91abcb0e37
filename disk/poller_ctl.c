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
#include "disk/balance_ctl.h"
#include "disk/disk_ctl.h"
#include "disk/place_ctl.h"

#define POLLERS_MAX 64
#define CPUS_TEXT 128
#define NAME_MAX_B (sizeof(((struct poller *)0)->name) - 1)

struct slot {
	struct poller *poller;
	cpu_set_t cpus;
	bool added;   /* by `poller add`, not by --pollers */
	bool leaving; /* it is being removed: nothing new comes to it */
};

static struct slot slots[POLLERS_MAX];
static unsigned nslot;
static cpu_set_t allowed; /* what this process was given */
static cpu_set_t wanted;  /* where pollers go that nobody has told */
static bool one_each;	  /* one CPU of @wanted for each */
static unsigned of_option; /* --pollers */
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

/* Pollers that have @cpu to themselves. */
static unsigned pinned_to(unsigned cpu)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nslot; i++)
		n += CPU_COUNT(&slots[i].cpus) == 1 && CPU_ISSET(cpu, &slots[i].cpus);
	return n;
}

/* Where a poller goes that nobody has told where to go. */
static cpu_set_t default_cpus(void)
{
	unsigned best = CPU_SETSIZE;
	cpu_set_t one;

	if (!one_each)
		return wanted;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &wanted) &&
		    (best == CPU_SETSIZE || pinned_to(cpu) < pinned_to(best)))
			best = cpu;
	CPU_ZERO(&one);
	CPU_SET(best, &one);
	return one;
}

/* Whether a poller on @cpus may spin without end. Never on a host of one CPU, where nobody else
 * would run; on CPU 0 alone, where the kernel has work of its own, only if somebody has asked for
 * it (@told). */
static bool may_spin(const cpu_set_t *cpus, bool told)
{
	bool only_cpu0 = CPU_COUNT(cpus) == 1 && CPU_ISSET(0, cpus);

	return host_cpus > 1 && (told || !only_cpu0);
}

/* @cpus: NULL: nobody has said. */
static int start_one(const char *name, const cpu_set_t *cpus, bool added, struct ctl_error *err)
{
	struct slot s = { .cpus = cpus ? *cpus : default_cpus(), .added = added };
	int ret = poller_open(name, &s.poller);

	if (!ret) {
		s.poller->may_spin = may_spin(&s.cpus, cpus || one_each);
		ret = poller_start(s.poller, &s.cpus);
		if (ret)
			poller_close(s.poller);
	}
	if (ret)
		return ctl_fail(err, ret, "start_failed", "pollers", "poller %s: %s", name,
				strerror(-ret));
	slots[nslot++] = s;
	return 0;
}

void poller_ctl_look(void)
{
	host_cpus = sysconf(_SC_NPROCESSORS_ONLN);
}

static struct slot *find(const char *name)
{
	for (unsigned i = 0; i < nslot; i++)
		if (!strcmp(slots[i].poller->name, name))
			return &slots[i];
	return NULL;
}

/* Starts @name where the state says. */
static int start_kept(struct ctl *ctl, const char *name, bool added, struct ctl_error *err)
{
	const char *kept = ctl_str(state_get(ctl_state(ctl), "poller", name), "cpus");
	cpu_set_t wish;
	bool told = kept && !parse_cpus(kept, "cpus", &wish, err);

	if (kept && !told) /* the host has other CPUs today: the wish waits */
		log_warn(name, "not on CPUs %s: %s", kept, err->text);
	return start_one(name, told ? &wish : NULL, added, err);
}

int poller_ctl_start(struct ctl *ctl, unsigned n, const char *cpus, struct ctl_error *err)
{
	const char *added;
	json_t *kept;
	int ret = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return ctl_fail(err, -errno, "start_failed", "cpus", "cannot read the CPUs: %s",
				strerror(errno));
	if (n < 1 || n > POLLERS_MAX)
		return ctl_fail(err, -ERANGE, "out_of_range", "pollers", "from 1 to %d is allowed",
				POLLERS_MAX);
	wanted = allowed;
	one_each = cpus;
	of_option = n;
	if (cpus)
		ret = parse_cpus(cpus, "cpus", &wanted, err);
	else if (CPU_COUNT(&wanted) > 1)
		CPU_CLR(0, &wanted);
	for (unsigned i = 0; !ret && i < n; i++) {
		char name[24];

		snprintf(name, sizeof(name), "poller%u", i);
		if (!ctl_bool(state_get(ctl_state(ctl), "poller", name), "removed"))
			ret = start_kept(ctl, name, false, err);
	}
	json_object_foreach((json_t *)state_all(ctl_state(ctl), "poller"), added, kept)
		if (!ret && ctl_bool(kept, "added") && !find(added) && nslot < POLLERS_MAX)
			ret = start_kept(ctl, added, true, err);
	if (!ret && !nslot) {
		log_warn("poller0", "runs although it was removed: there is no other");
		ret = start_kept(ctl, "poller0", false, err);
	}
	return ret;
}

void poller_ctl_stop(void)
{
	while (nslot)
		poller_close(slots[--nslot].poller);
}

static bool is_among(const struct poller *p, struct poller *const *all, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (all[i] == p)
			return true;
	return false;
}

struct poller *poller_ctl_least_used(struct poller *const *but, unsigned n)
{
	struct slot *best = NULL;

	for (unsigned i = 0; i < nslot; i++)
		if (!slots[i].leaving && !is_among(slots[i].poller, but, n) &&
		    (!best || place_ctl_users(slots[i].poller) < place_ctl_users(best->poller)))
			best = &slots[i];
	return best ? best->poller : NULL;
}

unsigned poller_ctl_choose(unsigned n, struct poller *const *have, unsigned nhave,
			   struct poller **ret_pollers)
{
	unsigned k = 0;

	for (unsigned i = 0; i < nhave && k < n; i++)
		if (!is_among(have[i], ret_pollers, k))
			ret_pollers[k++] = have[i];
	for (struct poller *p; k < n && (p = poller_ctl_least_used(ret_pollers, k));)
		ret_pollers[k++] = p;
	return k;
}

bool poller_ctl_share_cpu(const struct poller *a, const struct poller *b)
{
	const struct slot *x = find(a->name), *y = find(b->name);

	return CPU_COUNT(&x->cpus) == 1 && CPU_EQUAL(&x->cpus, &y->cpus);
}

unsigned poller_ctl_count(void)
{
	return nslot;
}

struct poller *poller_ctl_at(unsigned i)
{
	return slots[i].poller;
}

struct poller *poller_ctl_find(const char *name, const char *param, struct ctl_error *err)
{
	struct slot *s = find(name);

	if (s && !s->leaving)
		return s->poller;
	ctl_fail(err, -ENOENT, "not_found", param, "there is no poller '%s'; `poller list` names "
		 "them", name);
	return NULL;
}

static const char *const mode_name[] = { [POLL_NEVER] = "never",
					 [POLL_ADAPTIVE] = "adaptive",
					 [POLL_ALWAYS] = "always" };

/* What a poller's thread knows. */
struct look {
	struct poller *poller;
	unsigned mode, queues[POLLEE_STATES];
	bool used;
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
	char cpus[CPUS_TEXT], because[200], load[100];
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
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:i}",
			 "name", s->poller->name, "cpus",
			 cpus_format(&s->cpus, cpus, sizeof(cpus)), "mode",
			 queues ? mode_name[l.mode] : "idle", "because", because, "load",
			 balance_ctl_load(s->poller, load, sizeof(load)), "disks",
			 place_ctl_users(s->poller), "queues", queues, "taken",
			 (json_int_t)stat_get(&st->taken), "turns",
			 (json_int_t)stat_get(&st->turns), "busy_turns",
			 (json_int_t)stat_get(&st->busy_turns), "sleeps",
			 (json_int_t)stat_get(&st->sleeps), "idle_ns",
			 (json_int_t)clock_ticks_to_ns(s->poller->scale,
						       poller_idle_ticks(s->poller)),
			 "thread", __atomic_load_n(&s->poller->tid, __ATOMIC_RELAXED));
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

static void set_may_spin(void *arg)
{
	struct slot *s = arg;

	s->poller->may_spin = may_spin(&s->cpus, true);
}

/* Keeps what there is to know of a poller; @cpus as somebody has written them, NULL: nobody has. */
static int keep(struct ctl *ctl, const char *name, const char *cpus, bool added,
		struct ctl_error *err)
{
	json_t *kept = json_pack("{s:s, s:s*, s:o*}", "name", name, "cpus", cpus, "added",
				 added ? json_true() : NULL);
	int code = state_put(ctl_state(ctl), "poller", name, kept, err);

	json_decref(kept);
	return code;
}

static int not_found(const char *name, struct ctl_error *err)
{
	return ctl_fail(err, -ENOENT, "not_found", "name",
			"there is no poller '%s'; `poller list` names them", name);
}

static int run_set(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name"), *cpus = ctl_str(params, "cpus");
	struct slot *s = find(name);
	cpu_set_t set;

	if (!s)
		return not_found(name, err);
	int code = parse_cpus(cpus, "cpus", &set, err);

	if (code)
		return code;
	code = poller_set_cpus(s->poller, &set);
	if (code)
		return ctl_fail(err, code, "bad_value", "cpus", "%s", strerror(-code));
	code = keep(ctl, name, cpus, s->added, err);
	if (code) {
		poller_set_cpus(s->poller, &s->cpus);
		return code;
	}
	s->cpus = set;
	poller_call(s->poller, set_may_spin, s);
	*ret = show(s);
	return 0;
}

/* A free name. */
static const char *next_name(char *ret_name, size_t len)
{
	unsigned i = 0;

	do
		snprintf(ret_name, len, "poller%u", i++);
	while (find(ret_name));
	return ret_name;
}

/* Said again: success if nothing differs. */
static int add_again(const struct slot *s, const cpu_set_t *cpus, json_t **ret,
		     struct ctl_error *err)
{
	char are[CPUS_TEXT];

	if (cpus && !CPU_EQUAL(cpus, &s->cpus))
		return ctl_fail(err, -EEXIST, "poller_exists", "cpus",
				"poller '%s' exists with CPUs %s; `poller set` changes them",
				s->poller->name, cpus_format(&s->cpus, are, sizeof(are)));
	*ret = show(s);
	return 0;
}

static int run_add(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name"), *cpus = ctl_str(params, "cpus");
	char own[24];
	cpu_set_t set;
	int code = cpus ? parse_cpus(cpus, "cpus", &set, err) : 0;

	if (code)
		return code;
	if (name && find(name))
		return add_again(find(name), cpus ? &set : NULL, ret, err);
	if (nslot == POLLERS_MAX)
		return ctl_fail(err, -ENOSPC, "out_of_range", "name",
				"there are %d pollers already", POLLERS_MAX);
	name = name ? name : next_name(own, sizeof(own));
	/* durable first; if it cannot start, a restart tries, and says why */
	code = keep(ctl, name, cpus, true, err);
	if (!code)
		code = start_one(name, cpus ? &set : NULL, true, err);
	if (code)
		return code;
	log_info(name, "added");
	balance_ctl_changed();
	*ret = show(&slots[nslot - 1]);
	return 0;
}

/* Whether any queue, or lane of a disk, is on the poller. */
static void look_for_users(void *arg)
{
	struct look *l = arg;

	look(l);
	l->used = !list_empty(&l->poller->timed);
	for (unsigned i = 0; i < POLLEE_STATES; i++)
		l->used |= l->queues[i];
}

/* Brings all disks off @s, which nothing new comes to. Return: 0; -EBUSY; -errno. */
static int drain(const struct slot *s, struct ctl_error *err)
{
	struct look l = { .poller = s->poller };
	int code = place_ctl_leave(s->poller, err);

	if (code)
		return code;
	poller_call(s->poller, look_for_users, &l);
	return l.used ? ctl_fail(err, -EBUSY, "busy", "name", "a queue is still on it") : 0;
}

/* Whether --pollers asks for a poller of this name. */
static bool is_of_option(const char *name)
{
	char own[24];

	for (unsigned i = 0; i < of_option; i++) {
		snprintf(own, sizeof(own), "poller%u", i);
		if (!strcmp(own, name))
			return true;
	}
	return false;
}

static int run_remove(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name");
	struct slot *s = find(name);

	if (!s)
		return not_found(name, err);
	if (nslot == 1)
		return ctl_fail(err, -EBUSY, "busy", "name", "it is the only one");
	s->leaving = true;
	int code = drain(s, err);
	json_t *gone = json_pack("{s:s, s:b}", "name", name, "removed", true);

	/* one of --pollers stays away when the process starts again */
	if (!code)
		code = is_of_option(name) ? state_put(ctl_state(ctl), "poller", name, gone, err) :
					    state_del(ctl_state(ctl), "poller", name, err);
	json_decref(gone);
	if (code) {
		s->leaving = false;
		return code;
	}
	log_info(name, "removed");
	poller_close(s->poller);
	nslot--;
	memmove(s, s + 1, (size_t)(&slots[nslot] - s) * sizeof(*s));
	balance_ctl_changed();
	return 0;
}

#define NAME_PARAM(need) \
	{ .name = "name", .type = CTL_NAME, .required = need, .positional = true, .max = NAME_MAX_B, \
	  .help = "The poller" }
#define CPUS_HELP "CPUs it may run on, such as 2 or 4-7"

static const struct ctl_param set_params[] = {
	NAME_PARAM(true),
	{ .name = "cpus", .type = CTL_STRING, .required = true, .max = 200, .help = CPUS_HELP },
	{ 0 },
};
static const struct ctl_param add_params[] = {
	{ .name = "name", .type = CTL_NAME, .positional = true, .max = NAME_MAX_B,
	  .help = "Its name; not given: the first pollerN that is free" },
	{ .name = "cpus", .type = CTL_STRING, .max = 200,
	  .help = CPUS_HELP "; not given: as those that posternd starts with" },
	{ 0 },
};
static const struct ctl_param remove_params[] = { NAME_PARAM(true), { 0 } };

const struct ctl_cmd poller_cmds[] = {
	{ .noun = "poller", .verb = "list",
	  .help = "Show the pollers and why each polls as it does",
	  .columns = "name cpus mode disks queues taken load because", .run = run_list },
	{ .noun = "poller", .verb = "set", .help = "Move a poller to other CPUs",
	  .params = set_params, .run = run_set },
	{ .noun = "poller", .verb = "add",
	  .help = "Start another poller; new disks and busy queues "
	  "come to it", .params = add_params, .run = run_add, .columns = "name cpus" },
	{ .noun = "poller", .verb = "remove", .help = "Move all queues off a poller, and end it",
	  .params = remove_params, .run = run_remove },
	{ 0 },
};
