/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sdk/private.h"

/* Turns between two looks for messages, which cost a system call. */
#define TURNS_BUSY 256u
#define TURNS_QUIET 4096u
/* Turns between two looks at the clock. */
#define TURNS_CLOCK 64u

/* How long it polls after the last request adapts between these, as posternd's pollers do: a sleep
 * that a longer spin would have spared doubles it, a long one halves it. */
#define WINDOW_MIN_NS 8000u
#define WINDOW_START_NS 64000u
#define WINDOW_MAX_NS 256000u

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void copy_text(char *to, size_t room, const char *from)
{
	size_t len_b = from ? min_u64(strlen(from), room - 1) : 0;

	memcpy(to, from, len_b);
	to[len_b] = '\0';
}

static struct fn_msg msg_of(enum fn_msg_kind kind)
{
	return (struct fn_msg){ .magic = htole32(FN_MAGIC), .kind = htole16((uint16_t)kind),
				.abi = htole16(FN_ABI_NEWEST),
				.abi_oldest = htole16(FN_ABI_OLDEST) };
}

static void drop_all(struct pfn *p)
{
	while (p->chans) {
		struct chan *c = p->chans;

		p->chans = c->next;
		postern_fn_chan_free(c);
	}
}

static int on_hello(struct pfn *p, const struct fn_msg *hello)
{
	const struct pfn_conf *conf = p->conf;
	struct fn_msg m = msg_of(FN_READY);

	drop_all(p); /* of a posternd that is not there any more */
	uint16_t newest = le16toh(hello->abi), oldest = le16toh(hello->abi_oldest);
	bool agreed = newest >= FN_ABI_OLDEST && oldest <= FN_ABI_NEWEST;

	m.channel = hello->channel;
	if (agreed)
		m.abi = htole16((uint16_t)min_u32(newest, FN_ABI_NEWEST));
	m.size_b = htole64(p->memory_id);
	m.flags = htole32((conf->own_io ? FN_M_OWN_IO : 0u) | (p->is_bar ? FN_M_BAR : 0u));
	m.down = htole32(conf->down & PFN_SET_ALL);
	m.up = htole32(conf->up & PFN_SET_ALL);
	m.with_data = htole32(conf->with_data & PFN_SET_ALL);
	copy_text(m.name, sizeof(m.name), conf->name);
	copy_text(m.version, sizeof(m.version), conf->version);
	int err = p->transport->say(p, &m); /* it learns that way why it cannot be, too */

	return agreed ? err : -EPROTONOSUPPORT;
}

static int on_disk(struct pfn *p, const struct arrival *a)
{
	struct chan *c = a->err ? NULL : postern_fn_chan_new(p, a);
	struct fn_msg m = msg_of(FN_DISK_READY);
	int err = a->err ? a->err : c ? 0 : ENOMEM;

	m.channel = a->m.channel;
	if (!err && p->conf->open)
		err = p->conf->open(&c->pub);
	m.status = htole32((uint32_t)(err < 0 ? -err : err));
	if (err) {
		if (!a->err)
			p->transport->unmap(a->rings, a->bufs, a->wake_fd);
		free(c);
	} else {
		c->next = p->chans;
		p->chans = c;
	}
	return p->transport->say(p, &m);
}

static void on_size(struct pfn *p, const struct fn_msg *m)
{
	for (struct chan *c = p->chans; c; c = c->next) {
		if (c->id != le32toh(m->channel))
			continue;
		c->pub.size_b = le64toh(m->size_b);
		c->pub.below_b = le64toh(m->below_b);
		if (p->conf->resized)
			p->conf->resized(&c->pub);
	}
}

static void on_gone(struct pfn *p, uint32_t id)
{
	for (struct chan **at = &p->chans; *at; at = &(*at)->next) {
		struct chan *c = *at;

		if (c->id != id)
			continue;
		*at = c->next;
		postern_fn_chan_free(c);
		return;
	}
}

/* Return: how many messages; -errno: it is over. */
static int take_messages(struct pfn *p)
{
	struct arrival a = { .err = 0 };
	int n = 0, got, err = 0;

	p->turns = 0;
	while (!err && (got = p->transport->take(p, &a)) > 0) {
		n++;
		switch (le16toh(a.m.kind)) {
		case FN_HELLO:
			err = on_hello(p, &a.m);
			break;
		case FN_DISK:
			err = on_disk(p, &a);
			break;
		case FN_DISK_GONE:
			on_gone(p, le32toh(a.m.channel));
			break;
		case FN_DISK_SIZE:
			on_size(p, &a.m);
			break;
		case FN_STOP:
			err = -ESHUTDOWN;
			break;
		default: /* FN_KICK, and what a newer posternd may say */
			break;
		}
	}
	return err ? err : got < 0 ? -ESHUTDOWN : n;
}

int pfn_turn(struct pfn *p)
{
	unsigned n = 0;

	if (p->armed) {
		p->armed = false;
		for (struct chan *c = p->chans; c; c = c->next)
			postern_fn_chan_awake(c);
		p->turns = TURNS_QUIET;
	}
	for (struct chan *c = p->chans; c; c = c->next)
		n += postern_fn_chan_turn(c);
	for (struct chan *c = p->chans; c; c = c->next)
		postern_fn_chan_bell(c);
	p->quiet = n ? 0 : p->quiet + 1;
	if (++p->turns < (n ? TURNS_BUSY : TURNS_QUIET))
		return (int)n;
	int got = take_messages(p);

	return got < 0 ? got : (int)n + got;
}

bool pfn_arm(struct pfn *p)
{
	bool quiet = true;

	for (struct chan *c = p->chans; c; c = c->next)
		postern_fn_chan_bell(c);
	for (struct chan *c = p->chans; c; c = c->next)
		quiet &= postern_fn_chan_sleep(c);
	p->armed = true;
	return quiet;
}

int pfn_fd(const struct pfn *p)
{
	return p->fd;
}

void pfn_sleep(struct pfn *p, int timeout_ms)
{
	if (pfn_arm(p))
		p->transport->wait(p, timeout_ms);
}

void *pfn_user(const struct pfn *p)
{
	return p->conf->user;
}

static void sleep_and_tune(struct pfn *p)
{
	uint64_t before = now_ns();

	pfn_sleep(p, -1);
	if (p->conf->spin_us)
		return;
	if (now_ns() - before < WINDOW_MAX_NS)
		p->window_ns = min_u64(2 * p->window_ns, WINDOW_MAX_NS);
	else
		p->window_ns = max_u64(p->window_ns / 2, WINDOW_MIN_NS);
}

int pfn_run(struct pfn *p)
{
	uint64_t busy_ns = now_ns();

	for (;;) {
		int n = pfn_turn(p);

		if (n < 0)
			return n == -ESHUTDOWN ? 0 : n;
		if (n) {
			busy_ns = 0;
			continue;
		}
		cpu_relax();
		if (p->quiet % TURNS_CLOCK)
			continue;
		if (!busy_ns)
			busy_ns = now_ns();
		if (now_ns() - busy_ns < p->window_ns)
			continue;
		sleep_and_tune(p);
		busy_ns = 0;
	}
}

int pfn_open(const struct pfn_conf *conf, struct pfn **ret)
{
	if (conf->abi != PFN_ABI)
		return -EPROTONOSUPPORT;
	if (conf->size < sizeof(*conf) || !conf->requests)
		return -EINVAL;
	struct pfn *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->conf = conf;
	p->fd = -1;
	p->window_ns = conf->spin_us ? conf->spin_us * NS_PER_US : WINDOW_START_NS;
	for (const struct transport *const *t = postern_fn_transports; !p->transport && *t; t++)
		if ((*t)->found())
			p->transport = *t;
	int err = p->transport ? p->transport->open(p) : -ENOTCONN;

	if (err) {
		free(p);
		return err;
	}
	p->turns = TURNS_QUIET; /* the first turn looks for messages */
	*ret = p;
	return 0;
}

void pfn_close(struct pfn *p)
{
	if (!p)
		return;
	drop_all(p);
	p->transport->close(p);
	free(p);
}
