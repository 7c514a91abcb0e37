/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `gap`: keeps a disk at a depth, and answers each line on its standard input with the longest
 * time, since the line before, in which nothing came back. It sleeps for completions, so that
 * others of its CPU run.
 *   socket= cpu= depth=
 */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/client.h"
#include "tests/bench/tool.h"

#define SILENCE_NS (10 * NS_PER_MS) /* then it looks for questions */

struct gap {
	struct client *c;
	struct client_queue *q;
	uint64_t last_ns, longest_ns, requests;
};

static unsigned asked; /* lines read; release by the reader, acquire */

static void *read_lines(void *arg)
{
	char line[16];

	while (fgets(line, sizeof(line), stdin))
		__atomic_add_fetch(&asked, 1, __ATOMIC_RELEASE);
	/* whoever asks has gone */
	_exit(0);
	return arg;
}

static void send_read(struct gap *g, unsigned slot)
{
	client_prep(g->q, slot, VIRTIO_BLK_T_IN, slot * 8ull, 4096);
	client_put(g->q, slot);
}

static void look(struct gap *g)
{
	uint16_t slots[64];
	unsigned n = client_reap(g->q, slots, 64);
	uint64_t now = clock_ns();

	g->longest_ns = max_u64(g->longest_ns, now - g->last_ns);
	if (g->q->broken)
		die("the ring", EPROTO);
	if (!n) {
		if (client_arm(g->q))
			client_wait(g->c, SILENCE_NS);
		client_disarm(g->q);
		return;
	}
	g->last_ns = now;
	g->requests += n;
	for (unsigned i = 0; i < n; i++) {
		if (client_status(g->q, slots[i]) != VIRTIO_BLK_S_OK)
			die("a request failed", EIO);
		send_read(g, slots[i]);
	}
	client_publish(g->q);
}

int tool_gap(char **args)
{
	struct client_conf conf = { .socket = arg_text(args, "socket", ""),
				    .depth = (uint16_t)arg_num(args, "depth", 32) };
	struct gap g = { 0 };
	const char *step;
	unsigned told = 0;
	pthread_t t;
	int rc = client_open(&conf, &g.c, &step);

	if (rc)
		die(step, rc);
	pin_thread((unsigned)arg_num(args, "cpu", 1));
	if (pthread_create(&t, NULL, read_lines, NULL))
		die("start a thread", 0);
	g.q = client_queue(g.c, 0);
	for (unsigned i = 0; i < conf.depth; i++)
		send_read(&g, i);
	client_publish(g.q);
	for (g.last_ns = clock_ns();; look(&g)) {
		/* acquire: pairs with the reader's release */
		if (__atomic_load_n(&asked, __ATOMIC_ACQUIRE) == told)
			continue;
		told++;
		printf("{\"gap_ns\": %lu, \"requests\": %lu}\n", g.longest_ns, g.requests);
		fflush(stdout);
		g.longest_ns = g.requests = 0;
	}
}
