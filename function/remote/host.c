/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "function/remote/check.h"
#include "function/remote/host_private.h"
#include "function/remote/program.h"

#define END_NS (500 * NS_PER_MS)  /* and to end by itself; then it is killed */
#define BACKOFF_FIRST_MS 10u
#define BACKOFF_MAX_MS 5000u
#define STEADY_NS (10 * NS_PER_S) /* a program this old ends of something new */

static void take_words(struct host *h, struct program *p);

static void words_ready(struct loop_watch *w, uint32_t events)
{
	struct program *p = container_of(w, struct program, words);

	if (events & EPOLLOUT)
		outbox_flush(&p->out);
	take_words(p->host, p);
}

static void end_ready(struct loop_watch *w, uint32_t events)
{
	struct program *p = container_of(w, struct program, end);

	p->has_ended = true;
	take_words(p->host, p);
}

int host_watch(struct host *h, struct program *p)
{
	p->host = h;
	p->words = (struct loop_watch){ p->process.sock, words_ready };
	p->end = (struct loop_watch){ p->process.pidfd, end_ready };
	int err = loop_add(h->loop, &p->words, EPOLLIN);

	if (!err && p->end.fd >= 0)
		err = loop_add(h->loop, &p->end, EPOLLIN);
	if (!err)
		err = outbox_watch(&p->out, h->loop, &p->words);
	p->watched = !err;
	return err;
}

static void unwatch(struct host *h, struct program *p)
{
	if (!p->watched)
		return;
	outbox_watch(&p->out, NULL, NULL);
	loop_del(h->loop, &p->words);
	if (p->end.fd >= 0)
		loop_del(h->loop, &p->end);
	p->watched = false;
}

void host_end_program(struct host *h, struct program *p, bool gently)
{
	if (!p)
		return;
	unwatch(h, p);
	if (gently && !p->has_ended)
		program_say(p, FN_STOP);
	/* A machine is not to boot again for a program that has begun anew by itself; and of one
	 * whose QEMU has gone its holder still has to say why. */
	bool stays = p->process.region && (gently || p->is_reborn || p->has_ended);

	if (!stays && (!gently || !program_await_end(p, clock_ns() + END_NS))) {
		h->starter->kill(p->spec, &p->process);
		program_await_end(p, clock_ns() + KILLED_NS);
	}
	program_free(p);
}

static void start_again(struct host *h);

static void plan_start(struct host *h)
{
	if (!h->backoff_ms) {
		h->backoff_ms = BACKOFF_FIRST_MS;
		start_again(h);
		return;
	}
	h->start_ns = clock_ns() + h->backoff_ms * NS_PER_MS;
	timer_set(h->timer.fd, h->backoff_ms * NS_PER_MS);
	h->backoff_ms = (unsigned)min_u64(2 * h->backoff_ms, BACKOFF_MAX_MS);
}

/* Fronts' threads take their lanes away from it. */
static void set_now(struct host *h, struct program *p)
{
	pthread_mutex_lock(&h->lock);
	h->now = p;
	pthread_mutex_unlock(&h->lock);
}

/* @spec is what is to run. Fronts' threads find memory for their lanes by it. */
static void set_spec(struct host *h, void *spec)
{
	pthread_mutex_lock(&h->lock);
	h->spec = spec;
	h->region = h->starter->region ? h->starter->region(spec) : NULL;
	pthread_mutex_unlock(&h->lock);
}

/* The program of before takes over again, or another of it if that has ended; the lanes have
 * none. */
static void roll_back(struct host *h)
{
	struct program *p = h->before;
	void *failed = h->spec;

	log_error(h->name, "the version before comes back");
	h->rollbacks++;
	h->probation_end_ns = 0;
	h->before = NULL;
	set_spec(h, h->spec_before);
	h->spec_before = NULL;
	if (h->starter->rolled_back)
		h->starter->rolled_back(h->name, failed, h->spec);
	h->starter->free(failed);
	if (p && !p->has_ended) {
		set_now(h, p);
		lanes_connect(h);
	} else {
		host_end_program(h, p, false);
		plan_start(h);
	}
}

/* There is no program any more, for the reason in h->why. */
static void program_lost(struct host *h)
{
	struct program *p = lanes_disconnect(h);
	bool was_steady = clock_ns() - p->born_ns > STEADY_NS;

	log_error(h->name, "program %d is lost: %s", p->process.pid, h->why);
	host_end_program(h, p, false);
	h->restarts++;
	if (h->spec_before) {
		roll_back(h);
		return;
	}
	if (was_steady)
		h->backoff_ms = 0;
	plan_start(h);
}

static void lose(struct host *h, const char *why)
{
	snprintf(h->why, sizeof(h->why), "%s", why);
	program_lost(h);
}

/* Says that it has ended, and how if that is known. Its socket tells of that first. */
static void say_end(struct host *h, const struct program *p, char *why)
{
	char how[HOST_WHY_MAX / 2];
	bool known = h->starter->how && p->process.pidfd >= 0 &&
		     program_await_end(p, clock_ns() + END_NS) &&
		     h->starter->how(p->spec, &p->process, how, sizeof(how));

	snprintf(why, HOST_WHY_MAX, "it %s", known ? how : "has ended");
}

static void lose_ended(struct host *h, const struct program *p)
{
	char why[HOST_WHY_MAX];

	say_end(h, p, why);
	lose(h, why);
}

static void becomes_ready(struct host *h)
{
	h->is_untried = false;
	log_info(h->name, "program %d serves, version '%s'", h->now->process.pid,
		 h->now->said.version);
	lanes_connect(h);
}

/* A program in a machine that was waited for is tried now, once. Return: false: it is lost. */
static bool is_good(struct host *h, struct program *p)
{
	char why[HOST_WHY_MAX] = "";

	if (!h->is_untried || !check_program(p, clock_ns() + CHECK_NS, why))
		return true;
	lose(h, why);
	return false;
}

static void take_words(struct host *h, struct program *p)
{
	bool was_ready = p->is_ready;

	program_read(p);
	if (p->has_ended && p->process.is_held && p != h->before) {
		unwatch(h, p);
		return;
	}
	if (p == h->next) {
		next_take_words(h);
		return;
	}
	if (p == h->before) {
		p->refused = 0; /* it has no disk */
		if (p->has_ended || p->fault) {
			h->before = NULL;
			host_end_program(h, p, false);
		}
		return;
	}
	if (p->fault)
		lose(h, p->fault);
	else if (p->has_ended && p->process.region)
		lose(h, "its machine has ended");
	else if (p->has_ended)
		lose_ended(h, p);
	else if (p->is_ready && !was_ready && is_good(h, p))
		becomes_ready(h);
	else if (p->refused)
		lanes_refused(h, p);
}

static void start_again(struct host *h)
{
	struct host_process process;
	struct program *p = NULL;

	h->start_ns = 0;
	int err = h->starter->start(h->name, h->spec, &process, h->why);

	if (err == -EAGAIN)
		return;
	if (!err) {
		p = program_new(&process, h->spec);
		err = p ? host_watch(h, p) : -ENOMEM;
	}
	if (err) {
		log_error(h->name, "not started: %s", h->why);
		host_end_program(h, p, false);
		plan_start(h);
		return;
	}
	set_now(h, p);
	/* a machine boots as long as it likes */
	timer_set(h->timer.fd, process.region ? 0 : CHECK_NS);
}

void host_retry(struct host *h, void *spec)
{
	if (spec == h->spec_next) {
		next_retry(h);
		return;
	}
	if (spec != h->spec || !h->wanted)
		return;
	if (h->now && h->now->has_ended) /* its machine has not: this is the same one */
		lose(h, "its machine was cut off");
	if (!h->now)
		start_again(h);
}

void host_machine_ended(struct host *h, void *spec, bool had_come, const char *why)
{
	if (spec == h->spec_next) {
		next_fail(h, why);
		return;
	}
	if (spec != h->spec || !h->wanted)
		return;
	if (h->now) {
		lose(h, why);
		return;
	}
	snprintf(h->why, sizeof(h->why), "%s", why);
	log_error(h->name, "its machine %s: %s", had_come ? "has ended" : "was not started", why);
	if (h->start_ns) /* it is waited for already */
		return;
	if (had_come) {
		start_again(h);
	} else {
		h->restarts++;
		plan_start(h);
	}
}

void host_give_up(struct host *h, void *spec, const char *why)
{
	if (spec == h->spec_next)
		next_fail(h, why);
	else if (spec == h->spec && h->now)
		lose(h, why);
}

void host_program_left(struct host *h, void *spec)
{
	struct program *all[] = { h->now, h->next, h->before };

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		struct program *p = all[i];

		if (!p || p->spec != spec || !p->is_ready || p->fault)
			continue;
		p->is_reborn = true;
		p->fault = "the program has ended";
		take_words(h, p); /* perhaps the spec has gone */
		return;
	}
}

bool host_is_ready(const struct host *h, const void *spec)
{
	const struct program *p = spec == h->spec ? h->now : spec == h->spec_next ? h->next :
				  h->before;

	return p && p->spec == spec && p->is_ready;
}

/* The one replaced is not needed any more. */
static void end_probation(struct host *h)
{
	struct program *old = h->before;

	h->probation_end_ns = 0;
	h->before = NULL;
	if (h->spec_before)
		h->starter->free(h->spec_before);
	h->spec_before = NULL;
	if (!old)
		return;
	host_end_program(h, old, true);
	lanes_settle(h);
	log_info(h->name, "version '%s' stays", h->now ? h->now->said.version : "");
}

static void timer_ready(struct loop_watch *w, uint32_t events)
{
	struct host *h = container_of(w, struct host, timer);

	if (!timer_take(w->fd))
		return;
	if (h->probation_end_ns && clock_ns() >= h->probation_end_ns)
		end_probation(h);
	else if (!h->now && h->wanted)
		start_again(h);
	else if (h->now && !h->now->is_ready)
		lose(h, "it does not answer");
}

static void alarm_ready(struct loop_watch *w, uint32_t events)
{
	struct host *h = container_of(w, struct host, alarm);
	char why[HOST_WHY_MAX];
	eventfd_t times;

	eventfd_read(w->fd, &times);
	if (lanes_take_fault(h, why) && h->now)
		lose(h, why);
}

/* Starts what has been adopted, or is to be, and checks it. Return: 0, with *ret; -errno. */
static int try_program(struct host *h, const struct host_process *process, void *spec, bool is_new,
		       struct program **ret, char *why)
{
	struct program *p = program_new(process, spec);
	uint64_t until_ns = clock_ns() + CHECK_NS;
	int err = p ? program_await_ready(p, until_ns, why) : -ENOMEM;

	if (!err && is_new)
		err = check_program(p, until_ns, why);
	if (!err)
		err = host_watch(h, p);
	if (!err) {
		*ret = p;
		return 0;
	}
	if (err == -ECHILD) {
		say_end(h, p, why);
		strncat(why, " (posternd's log has what it said)", HOST_WHY_MAX - strlen(why) - 1);
	}
	if (p)
		host_end_program(h, p, false);
	return err;
}

static int begin(struct host *h, void *spec, const struct host_process *process, bool is_new,
		 char *why)
{
	struct program *p;
	int err = try_program(h, process, spec, is_new, &p, why);

	if (err)
		return err;
	h->wanted = true;
	set_spec(h, spec);
	set_now(h, p);
	becomes_ready(h);
	return 0;
}

int host_adopt(struct host *h, void *spec, const struct host_process *process, char *why)
{
	return begin(h, spec, process, false, why);
}

int host_start(struct host *h, void *spec, char *why)
{
	struct host_process process;
	int err = h->starter->start(h->name, spec, &process, why);

	return err ? err : begin(h, spec, &process, true, why);
}

void host_start_later(struct host *h, void *spec, bool is_new)
{
	h->is_untried = is_new;
	set_spec(h, spec);
	h->wanted = true;
	plan_start(h);
}

/* Nobody goes back to @old, which has ended, or broken a rule. */
static bool is_useless(struct host *h, const struct program *old)
{
	if (old->fault)
		log_error(h->name, "program %d does not come back: %s", old->process.pid,
			  old->fault);
	return !old->is_ready || old->fault || old->has_ended;
}

int host_take_over(struct host *h, struct program *p, void *spec, uint64_t probation_ns, char *why)
{
	int err = h->starter->commit ? h->starter->commit(h->name, spec, why) : 0;
	struct program *old = h->now;

	if (err)
		return err;
	end_probation(h);
	err = lanes_hand_over(h, p, why);
	if (err) {
		if (h->starter->rolled_back)
			h->starter->rolled_back(h->name, spec, h->spec);
		return err;
	}
	h->before = old;
	if (old && is_useless(h, old)) {
		host_end_program(h, old, false);
		h->before = NULL;
	}
	h->wanted = true;
	h->spec_before = h->spec;
	set_spec(h, spec);
	h->backoff_ms = 0;
	h->replaced++;
	h->probation_end_ns = clock_ns() + probation_ns;
	timer_set(h->timer.fd, max_u64(probation_ns, 1));
	log_info(h->name, "program %d has taken over, version '%s'", p->process.pid,
		 p->said.version);
	return 0;
}

int host_replace(struct host *h, void *spec, uint64_t probation_ns, char *why)
{
	struct host_process process;
	struct program *p;

	if (h->spec_next)
		return -EALREADY;
	int err = h->starter->start(h->name, spec, &process, why);

	if (err == -EAGAIN)
		return next_begin(h, spec, probation_ns);
	if (!err)
		err = try_program(h, &process, spec, true, &p, why);
	if (err)
		return err;
	err = host_take_over(h, p, spec, probation_ns, why);
	if (err)
		host_end_program(h, p, false);
	return err;
}

struct host *host_new(const char *name, struct loop *loop, const struct host_starter *starter,
		      uint64_t stall_ns)
{
	struct host *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	snprintf(h->name, sizeof(h->name), "%s", name);
	h->loop = loop;
	h->starter = starter;
	h->stall_ns = stall_ns;
	list_init(&h->lanes);
	pthread_mutex_init(&h->lock, NULL);
	h->timer = (struct loop_watch){ timer_open(), timer_ready };
	h->alarm = (struct loop_watch){ eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), alarm_ready };
	if (h->timer.fd < 0 || h->alarm.fd < 0 || loop_add(loop, &h->timer, EPOLLIN) ||
	    loop_add(loop, &h->alarm, EPOLLIN)) {
		host_free(h);
		return NULL;
	}
	return h;
}

void host_free(struct host *h)
{
	assert(list_empty(&h->lanes));
	next_forget(h);
	end_probation(h);
	host_end_program(h, h->now, true);
	if (h->spec)
		h->starter->free(h->spec);
	if (h->timer.fd >= 0)
		loop_del(h->loop, &h->timer);
	if (h->alarm.fd >= 0)
		loop_del(h->loop, &h->alarm);
	fd_close(h->timer.fd);
	fd_close(h->alarm.fd);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

bool host_is_replacing(const struct host *h)
{
	return h->spec_next;
}

const char *host_name(const struct host *h)
{
	return h->name;
}

void *host_spec(struct host *h)
{
	return h->spec;
}

void host_info(struct host *h, struct host_info *ret)
{
	const struct program *p = h->now;

	*ret = (struct host_info){ .state = h->serving ? HOST_UP : p ? HOST_STARTING : HOST_DOWN,
				   .why = *h->why ? h->why : NULL,
				   .probation = h->spec_before,
				   .restarts = h->restarts,
				   .rollbacks = h->rollbacks,
				   .replaced = h->replaced,
				   .is_replacing = h->spec_next };
	if (p)
		ret->process = p->process;
	if (p && p->is_ready) {
		ret->program = p->said.name;
		ret->version = p->said.version;
		ret->abi = le16toh(p->said.abi);
		ret->down = le32toh(p->said.down);
		ret->up = le32toh(p->said.up);
		ret->with_data = le32toh(p->said.with_data);
		ret->own_io = le32toh(p->said.flags) & FN_M_OWN_IO;
		ret->is_bar = le32toh(p->said.flags) & FN_M_BAR;
	}
	ret->lanes = lanes_stats(h, &ret->stats);
}
