/* SPDX-License-Identifier: Apache-2.0 */
/* A channel's rings and buffers, seen from the program. */
#include <stdlib.h>
#include <string.h>

#include "sdk/private.h"

#define BATCH 32u

static_assert((int)PFN_READ == FN_READ && (int)PFN_ZEROES == FN_ZEROES, "one numbering");
static_assert((int)PFN_TIMEOUT == FN_TIMEOUT && (int)PFN_GONE == FN_GONE, "one numbering");
static_assert((int)PFN_FUA == FN_F_FUA && (int)PFN_UNMAP == FN_F_UNMAP &&
	      (int)PFN_UP == FN_F_UP && (int)PFN_REPLAY == FN_F_REPLAY, "one numbering");
static_assert((int)PFN_SERVE == FN_SERVE && PFN_BUF_B == FN_BUF_B && PFN_IO_MAX == FN_IO_MAX,
	      "one numbering");

static struct chan *chan_of(struct pfn_disk *d)
{
	return (struct chan *)((char *)d - offsetof(struct chan, pub));
}

struct chan *postern_fn_chan_new(struct pfn *p, const struct arrival *a)
{
	struct chan *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	memcpy(c->name, a->m.name, sizeof(a->m.name));
	c->pub = (struct pfn_disk){ .name = c->name,
				    .size_b = le64toh(a->m.size_b),
				    .below_b = le64toh(a->m.below_b),
				    .blk_b = le32toh(a->m.blk_b),
				    .mode = (enum pfn_mode)le16toh(a->m.mode),
				    .readonly = le32toh(a->m.flags) & FN_M_READONLY,
				    .test = le32toh(a->m.flags) & FN_M_TEST };
	c->pfn = p;
	c->id = le32toh(a->m.channel);
	c->rings = a->rings;
	c->bufs = a->bufs;
	c->wake_fd = a->wake_fd;
	for (unsigned i = 0; i < FN_OWN_SLOTS; i++)
		c->own_free[c->nown++] = (uint8_t)(FN_OWN_SLOTS - 1 - i);
	for (unsigned i = 0; i < FN_IO_MAX; i++)
		c->io_free[c->nio_free++] = (uint8_t)(FN_IO_MAX - 1 - i);
	for (unsigned i = 0; i < FN_SLOTS; i++) {
		c->held[i].pub.disk = &c->pub;
		c->held[i].chan = c;
		c->held[i].slot = (uint16_t)i;
	}
	return c;
}

void postern_fn_chan_free(struct chan *c)
{
	struct pfn *p = c->pfn;

	c->nio_free = 0; /* a done() that tries again would wait for ever */
	for (unsigned i = 0; i < FN_IO_MAX; i++) {
		struct pfn_io *io = c->io[i];

		c->io[i] = NULL;
		if (!io)
			continue;
		io->status = PFN_GONE;
		if (io->done)
			io->done(io);
	}
	if (p->conf->gone)
		p->conf->gone(&c->pub);
	p->transport->unmap(c->rings, c->bufs, c->wake_fd);
	free(c);
}

static void put(struct chan *c, struct fn_word w, uint64_t off_b, uint32_t len_b,
		uint32_t buf_off_b, uint64_t arg)
{
	struct fn_entry *e = &c->rings->from[c->from_n % FN_ENTRIES];

	w.lap = fn_lap(c->from_n++);
	if (w.kind == FN_IO) {
		e->off_b = htole64(off_b);
		e->len_b = htole32(len_b);
		e->buf_off_b = htole32(buf_off_b);
		e->arg = htole64(arg);
	}
	/* release: pairs with posternd's acquire; the data was written before */
	__atomic_store_n(&e->word, htole64(fn_pack(w)), __ATOMIC_RELEASE);
}

static void answer(struct pfn_req *r, enum fn_from kind, enum pfn_status status)
{
	struct held *h = (struct held *)r;
	struct fn_word w = { .slot = h->slot, .status = (uint8_t)status, .kind = (uint8_t)kind };

	if (h->slot != FN_NO_SLOT)
		put(h->chan, w, 0, 0, 0, 0);
}

void pfn_pass(struct pfn_req *r)
{
	answer(r, FN_PASS, PFN_OK);
}

void pfn_done(struct pfn_req *r, enum pfn_status status)
{
	answer(r, FN_DONE, status);
}

static bool has(const struct chan *c)
{
	const struct fn_entry *e = &c->rings->to[c->to_n % FN_ENTRIES];

	/* acquire: pairs with posternd's release of the word */
	return (uint16_t)le64toh(__atomic_load_n(&e->word, __ATOMIC_ACQUIRE)) == fn_lap(c->to_n);
}

static void end_io(struct chan *c, const struct fn_entry *e, struct fn_word w)
{
	uint64_t i = le64toh(e->arg);
	struct pfn_io *io = i < FN_IO_MAX ? c->io[i] : NULL;

	if (!io)
		return;
	c->io[i] = NULL;
	c->io_free[c->nio_free++] = (uint8_t)i;
	io->status = w.status;
	if (io->done)
		io->done(io);
}

/* A request of the ring as the program sees it; an event without a slot is kept in @event. */
static struct pfn_req *open_req(struct chan *c, const struct fn_entry *e, struct fn_word w,
				struct held *event)
{
	struct held *h = w.slot < FN_SLOTS ? &c->held[w.slot] : event;

	if (h == event)
		*h = (struct held){ .pub.disk = &c->pub, .chan = c, .slot = FN_NO_SLOT };
	h->pub.off_b = le64toh(e->off_b);
	h->pub.len_b = le32toh(e->len_b);
	h->pub.op = w.op;
	h->pub.flags = w.flags & (PFN_FUA | PFN_UNMAP | PFN_UP | PFN_REPLAY);
	h->pub.status = w.status;
	h->pub.age_ns = le64toh(e->arg);
	h->pub.user = NULL;
	/* a read on its way down has room for an answer */
	bool has_data = w.flags & FN_F_DATA ||
			(w.op == FN_READ && !(w.flags & FN_F_UP) && w.slot < FN_SLOTS &&
			 c->pfn->conf->with_data & PFN_SET(PFN_READ));
	h->pub.data = has_data ? c->bufs + (size_t)w.slot * FN_BUF_B : NULL;
	return &h->pub;
}

unsigned postern_fn_chan_turn(struct chan *c)
{
	struct pfn_req *reqs[BATCH];
	struct held event[BATCH];
	unsigned n = 0, ios = 0;

	while (n < BATCH && has(c)) {
		const struct fn_entry *e = &c->rings->to[c->to_n++ % FN_ENTRIES];
		struct fn_word w = fn_unpack(le64toh(e->word));

		if (w.kind == FN_REQUEST) {
			reqs[n] = open_req(c, e, w, &event[n]);
			n++;
			continue;
		}
		/* in the order in which they came */
		if (n)
			c->pfn->conf->requests(&c->pub, reqs, n);
		ios += 1 + n;
		n = 0;
		end_io(c, e, w);
	}
	if (n)
		c->pfn->conf->requests(&c->pub, reqs, n);
	/* release: what was read may be written over */
	if (n && c->pub.mode == PFN_OBSERVE)
		__atomic_store_n(&c->rings->program.taken, htole32(c->to_n), __ATOMIC_RELEASE);
	return n + ios;
}

void postern_fn_chan_bell(struct chan *c)
{
	if (c->told_n == c->from_n)
		return;
	c->told_n = c->from_n;
	/* seq_cst: pairs with posternd's between its sleeps and its last look at the ring */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	uint32_t sleeps = le32toh(__atomic_load_n(&c->rings->postern.sleeps, __ATOMIC_RELAXED));

	if (!(sleeps & 1) || sleeps == c->woken)
		return;
	c->woken = sleeps;
	c->pfn->transport->wake(c);
}

bool postern_fn_chan_sleep(struct chan *c)
{
	c->sleeps |= 1;
	/* seq_cst: pairs with posternd's, between what it puts and its look at this */
	__atomic_store_n(&c->rings->program.sleeps, htole32(c->sleeps), __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !has(c);
}

void postern_fn_chan_awake(struct chan *c)
{
	if (!(c->sleeps & 1))
		return;
	c->sleeps++;
	__atomic_store_n(&c->rings->program.sleeps, htole32(c->sleeps), __ATOMIC_RELAXED);
}

int pfn_io_submit(struct pfn_io *io)
{
	struct chan *c = chan_of(io->disk);
	uintptr_t at = (uintptr_t)io->data - (uintptr_t)c->bufs;
	struct fn_word w = { .op = io->op, .flags = io->flags & (PFN_FUA | PFN_UNMAP),
			     .kind = FN_IO };

	if (!c->pfn->conf->own_io)
		return -EINVAL;
	if (io->op <= PFN_WRITE) {
		if (at >= FN_BUFS_B || io->len_b > FN_BUF_B - at % FN_BUF_B)
			return -EINVAL;
		w.slot = (uint16_t)(at / FN_BUF_B);
	} else {
		w.slot = FN_SLOTS; /* any: no data goes with it */
		at = 0;
	}
	if (!c->nio_free)
		return -EAGAIN;
	unsigned i = c->io_free[--c->nio_free];

	c->io[i] = io;
	put(c, w, io->off_b, io->len_b, (uint32_t)(at % FN_BUF_B), i);
	return 0;
}

void *pfn_buf_get(struct pfn_disk *d)
{
	struct chan *c = chan_of(d);

	return c->nown ? c->bufs + (size_t)(FN_SLOTS + c->own_free[--c->nown]) * FN_BUF_B : NULL;
}

void pfn_buf_put(struct pfn_disk *d, void *buf)
{
	struct chan *c = chan_of(d);
	size_t at = (size_t)((uint8_t *)buf - c->bufs) / FN_BUF_B;

	c->own_free[c->nown++] = (uint8_t)(at - FN_SLOTS);
}
