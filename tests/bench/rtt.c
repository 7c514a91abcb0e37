/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `rtt`: how long a cache line takes from one core to the other and back. cpu= peer=
 * Everything that two cores do together is held against it.
 */
#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "tests/bench/tool.h"

#define ROUNDS 1000u
#define BATCHES 300u

struct probe {
	unsigned peer;
	uint64_t ping __attribute__((aligned(128)));
	uint64_t pong __attribute__((aligned(128)));
};

static void *answer(void *arg)
{
	struct probe *p = arg;
	uint64_t v = 0;

	pin_thread(p->peer);
	while (v != ROUNDS * BATCHES) {
		uint64_t now = __atomic_load_n(&p->ping, __ATOMIC_ACQUIRE);

		if (now == v)
			continue;
		v = now;
		__atomic_store_n(&p->pong, v, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* No timestamp inside a batch: 1,000 round trips take as long as they take. Being interrupted
 * only ever lengthens a batch, so the quarter mark of all is what the machine does undisturbed. */
int tool_rtt(char **args)
{
	static struct probe p;
	double ns[BATCHES];
	pthread_t t;
	uint64_t v = 0;

	p.peer = (unsigned)arg_num(args, "peer", 0);
	pin_thread((unsigned)arg_num(args, "cpu", 1));
	if (pthread_create(&t, NULL, answer, &p))
		die("start a thread", 0);
	for (unsigned b = 0; b < BATCHES; b++) {
		uint64_t start = clock_ticks();

		for (unsigned i = 0; i < ROUNDS; i++) {
			__atomic_store_n(&p.ping, ++v, __ATOMIC_RELEASE);
			while (__atomic_load_n(&p.pong, __ATOMIC_ACQUIRE) != v)
				;
		}
		ns[b] = (double)clock_ticks_to_ns(clock_scale(), clock_ticks() - start) / ROUNDS;
	}
	pthread_join(t, NULL);
	printf("{\"rtt_ns\": %.1f}\n", quantile_of(ns, BATCHES, 1, 4));
	return 0;
}
