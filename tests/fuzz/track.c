/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery from an in-flight region: the input is the region and the ring as they came back. */
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>

#include "media/ram/ram.h"

#define RING 16

static struct fake *guest[2];
static uint8_t *region[2], *area[2];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_set_level(LOG_ERROR - 1u);
	for (unsigned i = 0; i < 2; i++) {
		struct media *m;

		if (ram_open(&(struct ram_conf){ .size_b = MIB }, &m))
			abort();
		struct fake *g = guest[i] = fake_open(&(struct fake_conf){
			.packed = i, .size = RING, .media = m, .track = true });

		area[i] = fake_alloc(g, 64 * KIB, 4096);
		region[i] = mmap(NULL, g->track.mmap_size_b, PROT_READ | PROT_WRITE, MAP_SHARED,
				 g->track_fd, 0);
		fake_stop(g, 0);
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food f = { data, len };
	uint8_t which = food_byte(&f) & 1, version = food_byte(&f);
	struct fake *g = guest[which];
	struct fake_queue *q = g->q[0];
	uint16_t one = 1, size = RING;
	uint32_t base;

	food_eat(&f, &base, sizeof(base));
	food_eat(&f, region[which], g->track.mmap_size_b);
	/* both formats have these at the same place */
	if (!(version & 0xf0)) {
		memcpy(region[which] + 8, &one, sizeof(one));
		memcpy(region[which] + 10, &size, sizeof(size));
	}
	food_eat(&f, q->desc, VIRTQ_DESC_BYTES(RING));
	food_eat(&f, q->avail, VIRTQ_AVAIL_BYTES(RING));
	food_eat(&f, q->used, 4);
	food_eat(&f, area[which], 256);
	fake_start(g, 0, base);
	for (unsigned i = 0; i < 8; i++)
		fake_turn(g);
	fake_stop(g, 0);
	fuzz_assert_quiet(g);
	return 0;
}
