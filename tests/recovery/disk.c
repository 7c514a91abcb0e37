/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/recovery/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"

#define BATCH 64
#define TOUCH_B MIB
#define RETRY_NS NS_PER_MS

enum op { READ, WRITE, FLUSH, TOUCH };

static uint64_t next_random(struct watched_disk *d)
{
	d->rng ^= d->rng << 13;
	d->rng ^= d->rng >> 7;
	d->rng ^= d->rng << 17;
	return d->rng * 0x2545f4914f6cdd1dull;
}

static struct disk_slot *slot_of(struct watched_disk *d, unsigned queue, unsigned slot)
{
	return &d->slot[queue * d->c->conf.depth + slot];
}

/* Lets the device write to a piece of memory that is no slot's own. */
static void submit_touch(struct watched_disk *d, struct client_queue *q, unsigned slot)
{
	uint64_t data_guest = q->data_guest;
	uint32_t len_b = (uint32_t)min_u64(TOUCH_B, d->touch_end_b - d->touch_at_b);

	q->data_guest = CLIENT_MEM_GUEST_BASE + d->touch_at_b - (uint64_t)slot * q->buf_b;
	client_shape(q, slot, len_b | CLIENT_SHAPE_DEVICE_WRITES);
	client_prep(q, slot, VIRTIO_BLK_T_IN,
		    d->ledger.nblock * (LEDGER_BLOCK_B / VIRTIO_BLK_SECTOR_B), len_b);
	client_put(q, slot);
	q->data_guest = data_guest;
	d->touch_at_b += len_b;
	d->touching++;
}

static void submit(struct watched_disk *d, unsigned queue, unsigned slot, uint64_t now_ns)
{
	struct client_queue *q = client_queue(d->c, queue);
	struct disk_slot *s = slot_of(d, queue, slot);
	uint64_t r = next_random(d);
	unsigned pct = (unsigned)(r % 100);

	*s = (struct disk_slot){ .since_ns = now_ns, .busy = true };
	d->in_flight++;
	if (d->touch_at_b < d->touch_end_b) {
		s->op = TOUCH;
		submit_touch(d, q, slot);
		return;
	}
	s->op = pct < d->conf.flush_pct			       ? FLUSH :
		pct < d->conf.flush_pct + d->conf.read_pct ? READ :
							       WRITE;
	if (s->op == FLUSH) {
		client_prep(q, slot, VIRTIO_BLK_T_FLUSH, 0, 0);
		client_put(q, slot);
		return;
	}
	s->block = ledger_claim(&d->ledger, (uint32_t)(r >> 32));
	if (s->op == WRITE) {
		s->gen = ++d->ledger.last_gen;
		ledger_fill(&d->ledger, client_data(q, slot), s->block, s->gen);
	}
	client_prep(q, slot, s->op == READ ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
		    s->block * (LEDGER_BLOCK_B / VIRTIO_BLK_SECTOR_B), LEDGER_BLOCK_B);
	client_put(q, slot);
}

static void finish(struct watched_disk *d, unsigned queue, unsigned slot, uint64_t now_ns)
{
	struct client_queue *q = client_queue(d->c, queue);
	struct disk_slot *s = slot_of(d, queue, slot);
	uint8_t status = client_status(q, slot);
	char text[160];

	s->busy = false;
	d->in_flight--;
	d->done++;
	d->late_ns = max_u64(d->late_ns, now_ns - s->since_ns);
	if (s->op == TOUCH)
		d->touching--;
	if (s->op == READ || s->op == WRITE)
		d->ledger.busy[s->block] = false;
	if (status == CLIENT_STATUS_PENDING) { /* the acknowledgement of what the slot was before */
		fprintf(stderr, "%s: a request came back that nobody has answered\n", d->name);
		d->repeated++;
	} else if (status != VIRTIO_BLK_S_OK) {
		fprintf(stderr, "%s: request of kind %u came back with status %u\n", d->name, s->op,
			status);
		d->errors++;
	} else if (s->op == WRITE) {
		d->ledger.gen[s->block] = s->gen;
	} else if (s->op == READ && d->ledger.gen[s->block] &&
		   !ledger_holds(&d->ledger, client_data(q, slot), s->block, text)) {
		fprintf(stderr, "%s: %s\n", d->name, text);
		d->mismatches++;
	}
}

static int turn_queue(struct watched_disk *d, unsigned i)
{
	struct client_queue *q = client_queue(d->c, i);
	uint16_t slots[BATCH];
	unsigned n = client_reap(q, slots, BATCH);

	if (unlikely(q->broken)) {
		fprintf(stderr, "%s: queue %u returned what it never got, or returned it twice\n",
			d->name, i);
		d->repeated++;
		return -EPROTO;
	}
	if (!n)
		return 0;
	uint64_t now_ns = clock_ns();

	d->gap_ns = max_u64(d->gap_ns, now_ns - d->last_ns);
	d->last_ns = now_ns;
	for (unsigned k = 0; k < n; k++) {
		finish(d, i, slots[k], now_ns);
		if (!d->rest)
			submit(d, i, slots[k], now_ns);
	}
	client_publish(q);
	return (int)n;
}

int disk_turn(struct watched_disk *d)
{
	int sum = 0;

	for (unsigned i = 0; i < client_queues(d->c); i++) {
		int n = turn_queue(d, i);

		if (n < 0)
			return n;
		sum += n;
	}
	return sum;
}

void disk_touch(struct watched_disk *d)
{
	d->touch_at_b = align_up(d->c->mem.used_b, TOUCH_B);
	d->touch_end_b = d->c->mem.len_b;
}

bool disk_touched(const struct watched_disk *d)
{
	return d->touch_at_b >= d->touch_end_b && !d->touching;
}

static bool connection_lives(const struct watched_disk *d)
{
	uint8_t byte;
	ssize_t n = recv(d->c->sock, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);

	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

void disk_look(struct watched_disk *d, uint64_t now_ns)
{
	const char *step;

	if (!d->down && !connection_lives(d)) {
		d->down = true;
		d->reconnects++;
		d->retry_ns = now_ns + d->conf.reconnect_ns;
	}
	if (!d->down || now_ns < d->retry_ns)
		return;
	if (!client_reopen(d->c, d->socket, &step))
		d->down = false;
	else
		d->retry_ns = clock_ns() + max_u64(d->conf.reconnect_ns, RETRY_NS);
}

bool disk_settled(const struct watched_disk *d, uint64_t ns)
{
	unsigned n = d->c->conf.queues * d->c->conf.depth;

	for (unsigned i = 0; i < n; i++)
		if (d->slot[i].busy && d->slot[i].since_ns <= ns)
			return false;
	return !d->down;
}

int disk_open(struct watched_disk *d, const char **ret_step)
{
	struct client_conf conf = d->conf.client;

	conf.socket = d->socket;
	int rc = client_open(&conf, &d->c, ret_step);

	if (rc)
		return rc;
	uint64_t need_b = (uint64_t)d->ledger.nblock * LEDGER_BLOCK_B + TOUCH_B;
	unsigned per_queue = d->c->conf.depth;

	*ret_step = "fit on the disk";
	d->slot = calloc((size_t)d->c->conf.queues * per_queue, sizeof(*d->slot));
	if (!d->slot ||
	    le64toh(client_config(d->c)->capacity) * VIRTIO_BLK_SECTOR_B < need_b) {
		rc = d->slot ? -ENOSPC : -ENOMEM;
		disk_close(d);
		return rc;
	}
	d->rest = d->down = false;
	d->touch_at_b = d->touch_end_b = 0;
	d->last_ns = clock_ns();
	for (unsigned i = 0; i < d->c->conf.queues; i++) {
		for (unsigned s = 0; s < per_queue; s++)
			submit(d, i, s, d->last_ns);
		client_publish(client_queue(d->c, i));
	}
	return 0;
}

void disk_close(struct watched_disk *d)
{
	client_close(d->c);
	d->c = NULL;
	free(d->slot);
	d->slot = NULL;
}
