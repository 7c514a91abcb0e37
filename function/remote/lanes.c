/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lanes of a host: which program each has, how all go from one to the next, and what they
 * counted.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "function/remote/host_private.h"
#include "function/remote/program.h"

#define DRAIN_NS (1 * NS_PER_S) /* what the old program gets to end what it has */

/* A lane's poller has something for control. */
static void tell(void *arg)
{
	eventfd_write(((struct host *)arg)->alarm.fd, 1);
}

/* On the lane's poller. */
struct lane_order {
	struct remote_lane *l;
	const struct channel *c;
	struct handover *h;
};

static void run_go_over_alone(void *arg)
{
	struct lane_order *o = arg;

	if (!o->l->pending) /* it has its next program already, and keeps it */
		return;
	remote_lose(o->l, NULL);
	remote_gain(o->l, o->c);
}

static void run_disconnect(void *arg)
{
	remote_disconnect(((struct lane_order *)arg)->l);
}

static void run_offered(void *arg)
{
	remote_offered(((struct lane_order *)arg)->l);
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
	int err = l->channel ? -EALREADY : program_offer(h->now, l, 0, false, &l->channel);

	if (!err)
		order(l, l->channel->is_shared ? run_offered : run_gain, l->channel, NULL);
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
	buffers_sweep(l);
}

void lanes_connect(struct host *h)
{
	pthread_mutex_lock(&h->lock);
	h->serving = true;
	list_for_each(n, tmp, &h->lanes)
		connect_lane(h, list_entry(n, struct remote_lane, link));
	pthread_mutex_unlock(&h->lock);
}

struct program *lanes_disconnect(struct host *h)
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

void lanes_refused(struct host *h, struct program *p)
{
	int why = p->refused;

	p->refused = 0;
	pthread_mutex_lock(&h->lock);
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);

		if (!l->channel || l->channel->id != p->refused_id)
			continue;
		log_error(word_of(l), "function '%s' refuses the disk: %s", h->name,
			  strerror(why));
		disconnect_lane(l, p);
	}
	pthread_mutex_unlock(&h->lock);
}

void host_channel_says(struct host *h, const struct program *p, uint32_t id, enum fn_msg_kind kind)
{
	/* one that is tried, or is being given the lanes, has none yet */
	if (p != h->now)
		return;
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

static int say_refusal(const struct host *h, const struct program *p, char *why)
{
	const char *disk = "";

	list_for_each(n, tmp, &h->lanes) {
		const struct remote_lane *l = list_entry(n, struct remote_lane, link);

		if (l->next_channel->id == p->refused_id)
			disk = word_of(l);
	}
	snprintf(why, HOST_WHY_MAX, "it refuses the disk '%s': %s", disk, strerror(p->refused));
	return -ECONNREFUSED;
}

/* Offers all lanes to @p beside the program they have. Return: 0; -errno. */
static int offer_all(struct host *h, struct program *p, char *why)
{
	int err = 0;

	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);

		if (!err)
			err = program_offer(p, l, 0, h->now, &l->next_channel);
	}
	if (err)
		snprintf(why, HOST_WHY_MAX, "it cannot be given the disks: %s", strerror(-err));
	else
		err = program_await_channels(p, clock_ns() + CHECK_NS, why);
	return err || !p->refused ? err : say_refusal(h, p, why);
}

static void withdraw_all(struct host *h, struct program *p)
{
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);

		program_withdraw(p, l->next_channel);
		l->next_channel = NULL;
		buffers_sweep(l);
	}
}

/* Waits until all lanes have changed over. Return: whether they have; not if @old ends before. */
static bool await_joined(struct host *h, const struct program *old, unsigned lanes)
{
	uint64_t until_ns = clock_ns() + DRAIN_NS;
	struct pollfd w[] = { { .fd = h->alarm.fd, .events = POLLIN },
			      { .fd = old ? old->process.pidfd : -1, .events = POLLIN } };
	eventfd_t times;
	bool all;

	/* acquire: pairs with the release in join() */
	while (!(all = __atomic_load_n(&h->handover.joined, __ATOMIC_ACQUIRE) >= lanes) &&
	       clock_ns() < until_ns && !w[1].revents) {
		poll(w, ARRAY_SIZE(w), 10);
		eventfd_read(h->alarm.fd, &times);
	}
	tell(h); /* of what else was said meanwhile */
	return all;
}

/* Ends @old: it has not ended what it has, or the medium has not, which may be in its memory. Gives
 * that to the next program, again, as after any other loss. Context: the lock is held. */
static void go_over_without(struct host *h, struct program *old)
{
	if (old) {
		log_error(h->name, "program %d, or its disks' media, do not end what they have, and it is ended",
			  old->process.pid);
		h->starter->kill(old->spec, &old->process);
		old->has_ended = program_await_end(old, clock_ns() + KILLED_NS);
	}
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);

		order(l, run_go_over_alone, l->next_channel, NULL);
	}
}

/* Hands all lanes over to their next channel. Context: the lock is held. */
static void change_over(struct host *h, struct program *old)
{
	unsigned lanes = 0;

	list_for_each(n, tmp, &h->lanes)
		lanes++;
	h->handover = (struct handover){ .lanes = lanes };
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);

		order(l, run_hand_over, l->next_channel, &h->handover);
	}
	h->past.pause_ticks = 0;
	if (await_joined(h, old, lanes)) {
		if (old)
			old->fault = h->handover.fault;
		return;
	}
	go_over_without(h, old);
}

/* The channels of before are over. Context: the lock is held; all lanes have changed. */
static void swap_channels(struct host *h, struct program *old)
{
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);

		program_withdraw(old, l->channel);
		l->channel = l->next_channel;
		l->channel->is_given = true;
		l->next_channel = NULL;
		buffers_sweep(l);
	}
}

int lanes_hand_over(struct host *h, struct program *p, char *why)
{
	pthread_mutex_lock(&h->lock);
	int err = offer_all(h, p, why);

	if (!err) {
		change_over(h, h->now);
		swap_channels(h, h->now);
		h->now = p;
		h->serving = true;
	} else {
		withdraw_all(h, NULL);
	}
	pthread_mutex_unlock(&h->lock);
	return err;
}

static void run_settle(void *arg)
{
	remote_settle(((struct lane_order *)arg)->l);
}

void lanes_settle(struct host *h)
{
	pthread_mutex_lock(&h->lock);
	list_for_each(n, tmp, &h->lanes)
		order(list_entry(n, struct remote_lane, link), run_settle, NULL, NULL);
	pthread_mutex_unlock(&h->lock);
}

bool lanes_take_fault(struct host *h, char *why)
{
	bool is_there = false;

	pthread_mutex_lock(&h->lock);
	list_for_each(n, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(n, struct remote_lane, link);
		/* acquire: pairs with the release in remote_lose() */
		const char *said = __atomic_exchange_n(&l->fault, NULL, __ATOMIC_ACQUIRE);

		if (!said)
			continue;
		snprintf(why, HOST_WHY_MAX, "disk '%s': %s", word_of(l), said);
		is_there = true;
	}
	pthread_mutex_unlock(&h->lock);
	return is_there;
}

uint32_t host_takes(struct host *h)
{
	pthread_mutex_lock(&h->lock);
	uint32_t down = h->serving ? le32toh(h->now->said.down) : ~0u;
	pthread_mutex_unlock(&h->lock);
	return down;
}

int host_find_buffers(struct host *h, struct remote_lane *l, struct buffers **ret)
{
	pthread_mutex_lock(&h->lock);
	int err = buffers_find(l, h->region, ret);

	pthread_mutex_unlock(&h->lock);
	return err;
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
	to->pause_ticks = max_u64(to->pause_ticks, stat_get(&s->pause_ticks));
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
static unsigned sum_up(struct host *h, const struct remote *f, struct remote_lane_stats *ret,
		       unsigned *ret_left_out)
{
	unsigned n = 0, left_out = 0;

	pthread_mutex_lock(&h->lock);
	*ret = f ? f->past : h->past;
	list_for_each(it, tmp, &h->lanes) {
		struct remote_lane *l = list_entry(it, struct remote_lane, link);

		if (f && l->remote != f)
			continue;
		add_stats(ret, &l->stats);
		left_out += h->serving && !l->channel;
		n++;
	}
	pthread_mutex_unlock(&h->lock);
	*ret_left_out = left_out;
	return n;
}

static void tell_stats(const struct remote_lane_stats *s, unsigned left_out,
		       struct remote_stats *ret)
{
	*ret = (struct remote_stats){
		.requests = s->requests,
		.dropped = s->dropped,
		.own_io = s->own_io,
		.replayed = s->replayed,
		.bypassed = s->bypassed,
		.failed = s->failed,
		.pause_ns = clock_ticks_to_ns(clock_scale(), s->pause_ticks),
		.wait_p50_ns = clock_ticks_to_ns(clock_scale(), hist_quantile(&s->wait, 50, 100)),
		.wait_p99_ns = clock_ticks_to_ns(clock_scale(), hist_quantile(&s->wait, 99, 100)),
		.left_out = left_out,
	};
}

void remote_stats(const struct function *f, struct remote_stats *ret_stats)
{
	const struct remote *remote = container_of(f, const struct remote, function);
	struct remote_lane_stats s;
	unsigned left_out;

	sum_up(remote->host, remote, &s, &left_out);
	tell_stats(&s, left_out, ret_stats);
}

unsigned lanes_stats(struct host *h, struct remote_stats *ret)
{
	struct remote_lane_stats s;
	unsigned left_out, n = sum_up(h, NULL, &s, &left_out);

	tell_stats(&s, left_out, ret);
	return n;
}
