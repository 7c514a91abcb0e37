/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `noisy`: one thread is the guest of two disks: of a quiet one at depth 1, whose latencies count,
 * and of a noisy one that is kept as full as it takes.
 *   socket= noisy=SOCKET (none: alone) depth= bs= (the noisy one's) cpu= ms= warm=
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/hist.h"
#include "client/client.h"
#include "tests/bench/tool.h"

static struct client *connect_to(const char *socket, uint16_t depth, uint32_t bs_b)
{
	struct client_conf conf = { .socket = socket, .depth = depth, .buf_b = bs_b };
	struct client *c;
	const char *step;
	int rc = client_open(&conf, &c, &step);

	if (rc)
		die(step, rc);
	return c;
}

static void send_read(struct client_queue *q, unsigned slot, uint64_t *rng)
{
	uint32_t sectors = q->buf_b / VIRTIO_BLK_SECTOR_B;

	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	client_prep(q, slot, VIRTIO_BLK_T_IN, *rng % 256 * sectors, q->buf_b);
	client_put(q, slot);
}

/* Sends again whatever came back. Return: requests. */
static unsigned turn(struct client_queue *q, uint64_t *rng)
{
	uint16_t slots[64];
	unsigned n = client_reap(q, slots, 64);

	for (unsigned i = 0; i < n; i++) {
		if (client_status(q, slots[i]) != VIRTIO_BLK_S_OK)
			die("a request failed", EIO);
		send_read(q, slots[i], rng);
	}
	if (n)
		client_publish(q);
	return n;
}

int tool_noisy(char **args)
{
	const char *noisy = arg_text(args, "noisy", "");
	uint16_t depth = (uint16_t)arg_num(args, "depth", 32);
	struct client *quiet = connect_to(arg_text(args, "socket", ""), 1, 4096), *other = NULL;
	struct client_queue *q = client_queue(quiet, 0), *o = NULL;
	struct hist h = { { 0 } };
	uint64_t rng = 88172645463325252ull, others = 0, requests = 0;

	pin_thread((unsigned)arg_num(args, "cpu", 1));
	if (*noisy) {
		other = connect_to(noisy, depth, (uint32_t)arg_num(args, "bs", 4096));
		o = client_queue(other, 0);
		for (unsigned i = 0; i < depth; i++)
			send_read(o, i, &rng);
		client_publish(o);
	}
	uint64_t begin = clock_ns() + arg_num(args, "warm", 100) * NS_PER_MS, sent = clock_ns();
	uint64_t end = begin + arg_num(args, "ms", 1000) * NS_PER_MS, now = sent;

	send_read(q, 0, &rng);
	client_publish(q);
	while (now < end) {
		unsigned n = o ? turn(o, &rng) : 0;

		now = clock_ns();
		if (now > begin)
			others += n;
		if (!turn(q, &rng))
			continue;
		now = clock_ns();
		if (now > begin) {
			hist_add(&h, now - sent, 1);
			requests++;
		}
		sent = now;
	}
	printf("{\"p50\": %lu, \"p99\": %lu, \"requests\": %lu, \"noisy_requests\": %lu}\n",
	       hist_quantile(&h, 1, 2), hist_quantile(&h, 99, 100), requests, others);
	client_close(quiet);
	client_close(other);
	return 0;
}
