/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/host.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "function/remote/check.h"
#include "function/remote/program.h"

#define CHECK_NS (2 * NS_PER_S)
#define DRAIN_NS (1 * NS_PER_S)	  /* what the old program gets to end what it has */
#define END_NS (500 * NS_PER_MS)  /* and to end by itself; then it is killed */
#define BACKOFF_FIRST_MS 10u
#define BACKOFF_MAX_MS 5000u
#define STEADY_NS (10 * NS_PER_S) /* a program this old ends of something new */

struct host {
	char name[FUNCTION_NAME_MAX + 1];
	struct loop *loop;
	const struct host_starter *starter;
	uint64_t stall_ns;

	struct program *now, *before; /* before: the one replaced, during probation */
	void *spec;		      /* of what is to run */
	void *spec_before;	      /* of what comes back if that fails; during probation */
	bool wanted;
	uint64_t probation_end_ns;    /* 0: none */
	unsigned backoff_ms, restarts, rollbacks;
	char why[HOST_WHY_MAX];
	struct loop_watch timer; /* to start again, to give up waiting, the end of probation */
	struct loop_watch alarm; /* a lane has something to say */
	uint64_t pause_ns;

	pthread_mutex_t lock; /* the rest; and changes of now */
	bool serving;
	struct list lanes;
	struct remote_lane_stats past; /* of lanes that are gone */
	struct handover handover;
};

static void take_words(struct host *h, struct program *p);

/* A lane's poller has something for control. */
static void tell(void *arg)
{
	eventfd_write(((struct host *)arg)->alarm.fd, 1);
}

static void words_ready(struct loop_watch *w, uint32_t events)
{
	struct program *p = container_of(w, struct program, words);

	take_words(p->host, p);
}

static void end_ready(struct loop_watch *w, uint32_t events)
{
	struct program *p = container_of(w, struct program, end);

	p->has_ended = true;
	take_words(p->host, p);
}

static int watch(struct host *h, struct program *p)
{
	p->host = h;
	p->words = (struct loop_watch){ p->process.sock, words_ready };
	p->end = (struct loop_watch){ p->process.pidfd, end_ready };
	int err = loop_add(h->loop, &p->words, EPOLLIN);

	if (!err && p->end.fd >= 0)
		err = loop_add(h->loop, &p->end, EPOLLIN);
	p->watched = !err;
	return err;
}

static void unwatch(struct host *h, struct program *p)
{
	if (!p->watched)
		return;
	loop_del(h->loop, &p->words);
	if (p->end.fd >= 0)
		loop_del(h->loop, &p->end);
	p->watched = false;
}

/* Ends @p, which serves no lane; when this returns it touches no memory any more. */
static void end_program(struct host *h, struct program *p, bool gently)
{
	if (!p)
		return;
	unwatch(h, p);
	if (gently && !p->has_ended)
		program_say(p, FN_STOP);
	if (!gently || !program_await_end(p, clock_ns() + END_NS)) {
		h->starter->kill(&p->process);
		program_await_end(p, clock_ns() + END_NS);
	}
	program_free(p);
}

static void set_timer(struct host *h, uint64_t ns)
{
	struct itimerspec at = { .it_value = { (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) } };

	timerfd_settime(h->timer.fd, 0, &at, NULL);
}

/* On the lane's poller. */
struct lane_order {
	struct remote_lane *l;
	const struct channel *c;
	struct handover *h;
};

static void run_lose(void *arg)
{
	struct remote_lane *l = ((struct lane_order *)arg)->l;

	if (l->pending) /* one that has its next program already keeps it */
		remote_lose(l, NULL);
}

static void run_disconnect(void *arg)
{
	remote_disconnect(((struct lane_order *)arg)->l);
}

static void run_gain(void *arg)
{
	struct lane_order *o = arg;

	remote_gain(o->l, o->c);
}

static void run_hand_over(void *arg)
{
	struct lane_order *o = arg;

	remote_hand_over(o->l, o->h, o->c);
}

static void order(struct remote_lane *l, void (*run)(void *arg), const struct channel *c,
		  struct handover *h)
{
	struct lane_order o = { l, c, h };

	poller_call(l->lane->poller, run, &o);
}

static const char *word_of(const struct remote_lane *l)
{
	return l->lane->name;
}

/* Context: the lock is held. */
static void connect_lane(struct host *h, struct remote_lane *l)
{
	int err = l->channel ? -EALREADY : program_offer(h->now, l, 0, &l->channel);

	if (!err && !l->channel->is_shared)
		order(l, run_gain, l->channel, NULL);
	if (err)
		log_error(word_of(l), "function '%s': cannot be given the disk: %s", h->name,
			  strerror(-err));
}

/* Context: the lock is held. */
static void disconnect_lane(struct remote_lane *l, struct program *p)
{
	order(l, run_disconnect, NULL, NULL);
	program_withdraw(p, l->channel);
	l->channel = NULL;
}

static void connect_all(struct host *h)
{
	pthread_mutex_lock(&h->lock);
	h->serving = true;
	list_for_each(n, tmp, &h->lanes)
		connect_lane(h, list_entry(n, struct remote_lane, link));
	pthread_mutex_unlock(&h->lock);
}

/* The program serves no lane any more. Return: it. */
static struct program *disconnect_all(struct host *h)
{
	struct program *p = h->now;

	pthread_mutex_lock(&h->lock);
	list_for_each(n, tmp, &h->lanes)
		disconnect_lane(list_entry(n, struct remote_lane, link), NULL);
	h->now = NULL;
	h->serving = false;
	pthread_mutex_unlock(&h->lock);
	return p;
}

static void start_again(struct host *h);

static void plan_start(struct host *h)
{
	if (!h->backoff_ms) {
		h->backoff_ms = BACKOFF_FIRST_MS;
		start_again(h);
		return;
	}
	set_timer(h, h->backoff_ms * NS_PER_MS);
	h->backoff_ms = (unsigned)min_u64(2 * h->backoff_ms, BACKOFF_MAX_MS);
}

/* Fronts' threads take their lanes away from it. */
static void set_now(struct host *h, struct program *p)
{
	pthread_mutex_lock(&h->lock);
	h->now = p;
	pthread_mutex_unlock(&h->lock);
}

/* The program of before takes over again, or another of it if that has ended; the lanes have none. */
static void roll_back(struct host *h)
{
	struct program *p = h->before;
	void *failed = h->spec;

	log_error(h->name, "the version before comes back");
	h->rollbacks++;
	h->probation_end_ns = 0;
	h->before = NULL;
	h->spec = h->spec_before;
	h->spec_before = NULL;
	if (h->starter->rolled_back)
		h->starter->rolled_back(h->name, failed, h->spec);
	h->starter->free(failed);
	if (p && !p->has_ended) {
		set_now(h, p);
		connect_all(h);
	} else {
		end_program(h, p, false);
		plan_start(h);
	}
}

/* There is no program any more, for the reason in h->why. */
static void program_lost(struct host *h)
{
	struct program *p = disconnect_all(h);
	bool was_steady = clock_ns() - p->born_ns > STEADY_NS;

	log_error(h->name, "program %d is lost: %s", p->process.pid, h->why);
	end_program(h, p, false);
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

static void becomes_ready(struct host *h)
{
	log_info(h->name, "program %d serves, version '%s'", h->now->process.pid,
		 h->now->said.version);
	connect_all(h);
}

/* A disk stays without a program that does not want it. */
static void take_refusal(struct host *h, struct program *p)
{
	p->refused = false;
	pthread_mutex_lock(&h->lock);
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);

		if (!l->channel || l->channel->id != p->refused_id)
			continue;
		log_error(word_of(l), "function '%s' refuses the disk", h->name);
		disconnect_lane(l, p);
	}
	pthread_mutex_unlock(&h->lock);
}

static void take_words(struct host *h, struct program *p)
{
	bool was_ready = p->is_ready;

	program_read(p);
	if (p == h->before) {
		if (p->has_ended || p->fault) {
			h->before = NULL;
			end_program(h, p, false);
		}
		return;
	}
	if (p->fault)
		lose(h, p->fault);
	else if (p->has_ended)
		lose(h, "it has ended");
	else if (p->is_ready && !was_ready)
		becomes_ready(h);
	else if (p->refused)
		take_refusal(h, p);
}

static void start_again(struct host *h)
{
	struct host_process process;
	struct program *p = NULL;
	int err = h->starter->start(h->name, h->spec, &process, h->why);

	if (err == -EAGAIN)
		return;
	if (!err) {
		p = program_new(&process, h->spec);
		err = p ? watch(h, p) : -ENOMEM;
	}
	if (err) {
		log_error(h->name, "not started: %s", h->why);
		end_program(h, p, false);
		plan_start(h);
		return;
	}
	set_now(h, p);
	set_timer(h, process.region ? 0 : CHECK_NS); /* a machine boots as long as it likes */
}

void host_retry(struct host *h)
{
	if (!h->now && h->wanted)
		start_again(h);
}

void host_channel_says(struct host *h, uint32_t id, enum fn_msg_kind kind)
{
	pthread_mutex_lock(&h->lock);
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);
		bool is_it = l->channel && l->channel->id == id;

		if (is_it && kind == FN_KICK) {
			eventfd_write(l->wake_fd, 1);
		} else if (is_it && !l->channel->is_given) {
			l->channel->is_given = true;
			order(l, run_gain, l->channel, NULL);
		}
	}
	pthread_mutex_unlock(&h->lock);
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
	end_program(h, old, true);
	log_info(h->name, "version '%s' stays", h->now ? h->now->said.version : "");
}

static void timer_ready(struct loop_watch *w, uint32_t events)
{
	struct host *h = container_of(w, struct host, timer);
	uint64_t times;

	if (read(w->fd, &times, sizeof(times)) != sizeof(times))
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
	const char *fault = NULL, *disk = NULL;
	eventfd_t times;

	eventfd_read(w->fd, &times);
	pthread_mutex_lock(&h->lock);
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);
		/* acquire: pairs with the release in remote_lose() */
		const char *said = __atomic_exchange_n(&l->fault, NULL, __ATOMIC_ACQUIRE);

		if (said) {
			fault = said;
			disk = l->lane->name;
		}
	}
	pthread_mutex_unlock(&h->lock);
	if (!fault || !h->now)
		return;
	snprintf(h->why, sizeof(h->why), "disk '%s': %s", disk, fault);
	program_lost(h);
}

/* Starts what has been adopted, or is to be, and checks it. Return: 0, with *ret; -errno. */
static int try_program(struct host *h, const struct host_process *process, void *spec, bool is_new,
		       struct program **ret, char *why)
{
	struct program *p = program_new(process, spec);
	uint64_t until_ns = clock_ns() + CHECK_NS;
	int err = p ? program_await_ready(p, until_ns, why) : -ENOMEM;

	if (!err && is_new)
		err = check_program(p, h->stall_ns, until_ns, why);
	if (!err)
		err = watch(h, p);
	if (!err) {
		*ret = p;
		return 0;
	}
	if (p)
		end_program(h, p, false);
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
	h->spec = spec;
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

void host_start_later(struct host *h, void *spec)
{
	h->spec = spec;
	h->wanted = true;
	plan_start(h);
}

/* Offers all lanes to @p beside the program they have. Return: 0; -errno. */
static int offer_all(struct host *h, struct program *p, char *why)
{
	int err = 0;

	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);

		if (!err)
			err = program_offer(p, l, 0, &l->next_channel);
	}
	if (err)
		snprintf(why, HOST_WHY_MAX, "it cannot be given the disks: %s", strerror(-err));
	return err ? err : program_await_channels(p, clock_ns() + CHECK_NS, why);
}

static void withdraw_all(struct host *h, struct program *p)
{
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);

		program_withdraw(p, l->next_channel);
		l->next_channel = NULL;
	}
}

/* Waits until all lanes have changed over. Return: whether they have. */
static bool await_joined(struct host *h, unsigned lanes)
{
	uint64_t until_ns = clock_ns() + DRAIN_NS;
	struct pollfd told = { .fd = h->alarm.fd, .events = POLLIN };
	eventfd_t times;

	/* acquire: pairs with the release in join() */
	while (__atomic_load_n(&h->handover.joined, __ATOMIC_ACQUIRE) < lanes) {
		if (clock_ns() > until_ns)
			return false;
		poll(&told, 1, 10);
		eventfd_read(told.fd, &times);
	}
	tell(h); /* of what else was said meanwhile */
	return true;
}

/* Hands all lanes over to their next channel. Context: the lock is held. */
static void change_over(struct host *h)
{
	unsigned lanes = 0;

	list_for_each(n, tmp, &h->lanes)
		lanes++;
	h->handover = (struct handover){ .lanes = lanes };
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);

		order(l, run_hand_over, l->next_channel, &h->handover);
	}
	bool joined = await_joined(h, lanes);

	if (joined) /* otherwise what the old one has not ended goes to the new one again */
		return;
	list_for_each(n, tmp, &h->lanes)
		order(list_entry(n, struct remote_lane, link), run_lose, NULL, NULL);
	await_joined(h, lanes);
}

/* The channels of before are over. Context: the lock is held; all lanes have changed. */
static void swap_channels(struct host *h, struct program *old)
{
	h->pause_ns = 0;
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);
		uint64_t pause = clock_ticks_to_ns(clock_scale(), stat_get(&l->stats.pause_ticks));

		program_withdraw(old, l->channel);
		l->channel = l->next_channel;
		l->next_channel = NULL;
		h->pause_ns = max_u64(h->pause_ns, pause);
	}
}

int host_replace(struct host *h, void *spec, uint64_t probation_ns, char *why)
{
	struct host_process process;
	struct program *p;
	int err = h->starter->start(h->name, spec, &process, why);

	if (!err)
		err = try_program(h, &process, spec, true, &p, why);
	if (err)
		return err;
	end_probation(h);
	pthread_mutex_lock(&h->lock);
	err = offer_all(h, p, why);
	if (!err) {
		change_over(h);
		swap_channels(h, h->now);
		h->before = h->now;
		h->now = p;
		h->serving = true;
	} else {
		withdraw_all(h, NULL);
	}
	pthread_mutex_unlock(&h->lock);
	if (err) {
		end_program(h, p, false);
		return err;
	}
	if (h->before && !h->before->is_ready) {
		end_program(h, h->before, false);
		h->before = NULL;
	}
	h->wanted = true;
	h->spec_before = h->spec;
	h->spec = spec;
	h->backoff_ms = 0;
	h->probation_end_ns = clock_ns() + probation_ns;
	set_timer(h, max_u64(probation_ns, 1));
	log_info(h->name, "program %d has taken over, version '%s'", p->process.pid,
		 p->said.version);
	return 0;
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
	h->timer = (struct loop_watch){ timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
					timer_ready };
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
	end_probation(h);
	end_program(h, h->now, true);
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

const char *host_name(const struct host *h)
{
	return h->name;
}

void *host_spec(struct host *h)
{
	return h->spec;
}

uint32_t host_takes(struct host *h)
{
	pthread_mutex_lock(&h->lock);
	uint32_t down = h->serving ? le32toh(h->now->said.down) : ~0u;
	pthread_mutex_unlock(&h->lock);
	return down;
}

void host_add_lane(struct host *h, struct remote_lane *l)
{
	remote_set_stall(l, h->stall_ns);
	l->tell = tell;
	l->tell_arg = h;
	pthread_mutex_lock(&h->lock);
	list_add_tail(&h->lanes, &l->link);
	if (h->serving)
		connect_lane(h, l);
	pthread_mutex_unlock(&h->lock);
}

void host_del_lane(struct host *h, struct remote_lane *l)
{
	pthread_mutex_lock(&h->lock);
	disconnect_lane(l, h->now);
	list_del(&l->link);
	pthread_mutex_unlock(&h->lock);
}

static void run_measure(void *arg)
{
	remote_measure(((struct lane_order *)arg)->l);
}

static void measure(struct remote_lane *l)
{
	struct host *h = l->remote->host;

	order(l, run_measure, NULL, NULL);
	if (l->channel && h->now)
		program_resize(h->now, l, l->channel);
}

void remote_resized(struct function *f)
{
	struct remote *remote = container_of(f, struct remote, function);

	if (remote->host)
		host_each_lane(remote->host, remote, measure);
}

static void add_stats(struct remote_lane_stats *to, const struct remote_lane_stats *s)
{
	to->requests += stat_get(&s->requests);
	to->dropped += stat_get(&s->dropped);
	to->own_io += stat_get(&s->own_io);
	to->replayed += stat_get(&s->replayed);
	to->bypassed += stat_get(&s->bypassed);
	to->failed += stat_get(&s->failed);
	hist_merge(&to->wait, &s->wait);
}

void host_forget_lane(struct host *h, struct remote_lane *l)
{
	pthread_mutex_lock(&h->lock);
	add_stats(&h->past, &l->stats);
	add_stats(&l->remote->past, &l->stats);
	pthread_mutex_unlock(&h->lock);
}

void host_each_lane(struct host *h, const struct remote *f, void (*fn)(struct remote_lane *l))
{
	pthread_mutex_lock(&h->lock);
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);

		if (l->remote == f)
			fn(l);
	}
	pthread_mutex_unlock(&h->lock);
}

/* Of all lanes, or those of @f. */
static unsigned sum_up(struct host *h, const struct remote *f, struct remote_lane_stats *ret)
{
	unsigned n = 0;

	pthread_mutex_lock(&h->lock);
	*ret = f ? f->past : h->past;
	list_for_each(it, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(it, struct remote_lane, link);

		if (f && l->remote != f)
			continue;
		add_stats(ret, &l->stats);
		n++;
	}
	pthread_mutex_unlock(&h->lock);
	return n;
}

static void tell_stats(const struct remote_lane_stats *s, struct remote_stats *ret)
{
	*ret = (struct remote_stats){
		.requests = s->requests,
		.dropped = s->dropped,
		.own_io = s->own_io,
		.replayed = s->replayed,
		.bypassed = s->bypassed,
		.failed = s->failed,
		.wait_p50_ns = clock_ticks_to_ns(clock_scale(), hist_quantile(&s->wait, 50, 100)),
		.wait_p99_ns = clock_ticks_to_ns(clock_scale(), hist_quantile(&s->wait, 99, 100)),
	};
}

void remote_stats(const struct function *f, struct remote_stats *ret_stats)
{
	const struct remote *remote = container_of(f, const struct remote, function);
	struct remote_lane_stats s;

	sum_up(remote->host, remote, &s);
	tell_stats(&s, ret_stats);
}

void host_info(struct host *h, struct host_info *ret)
{
	const struct program *p = h->now;
	struct remote_lane_stats s;

	*ret = (struct host_info){ .state = h->serving ? HOST_UP : p ? HOST_STARTING : HOST_DOWN,
				   .why = *h->why ? h->why : NULL,
				   .probation = h->spec_before,
				   .restarts = h->restarts,
				   .rollbacks = h->rollbacks,
				   .pause_ns = h->pause_ns };
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
	}
	ret->lanes = sum_up(h, NULL, &s);
	tell_stats(&s, &ret->stats);
}
