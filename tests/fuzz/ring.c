/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor chains, split and packed: the input is ring, tables and headers as a guest has
 * written them. Small addresses are taken as places in its memory, so that the fuzzer finds some.
 */
#include "tests/fuzz/fuzz.h"

#include "media/ram/ram.h"

#define RING 16
#define TABLE_B 1024
#define DATA_B 1024

static struct fake *guest[4]; /* by packed and event idx */
static uint8_t *table[4], *area[4];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_set_level(LOG_ERROR - 1u);
	for (unsigned i = 0; i < 4; i++) {
		struct media *m;

		if (ram_open(&(struct ram_conf){ .size_b = MIB }, &m))
			abort();
		guest[i] = fake_open(&(struct fake_conf){ .packed = i & 1, .no_event_idx = i & 2,
							  .size = RING, .media = m, .regions = 2 });
		table[i] = fake_alloc(guest[i], TABLE_B, 4096);
		area[i] = fake_alloc(guest[i], 64 * KIB, 4096);
		fake_stop(guest[i], 0);
	}
	return 0;
}

/* Entries of a ring or table whose address is small mean our memory. */
static void place(struct fake *g, void *at, unsigned n, const void *base)
{
	struct virtq_desc *d = at;

	for (unsigned i = 0; i < n; i++)
		if (le64toh(d[i].addr) < 0x10000)
			d[i].addr = htole64(le64toh(d[i].addr) + fake_gpa(g, base));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food f = { data, len };
	uint8_t which = food_byte(&f) & 3;
	struct fake *g = guest[which];
	struct fake_queue *q = g->q[0];

	memset(q->used, 0, VIRTQ_USED_BYTES(RING));
	food_eat(&f, q->avail, q->packed ? 4 : VIRTQ_AVAIL_BYTES(RING));
	food_eat(&f, q->desc, VIRTQ_DESC_BYTES(RING));
	place(g, q->desc, RING, table[which]);
	/* flags of 0 are those of an available descriptor */
	for (unsigned i = 0; q->packed && i < RING; i++)
		q->pdesc[i].flags ^= htole16(VIRTQ_DESC_F_AVAIL);
	food_eat(&f, table[which], TABLE_B);
	place(g, table[which], TABLE_B / 2 / sizeof(struct virtq_desc), table[which]);
	food_eat(&f, area[which], DATA_B);
	if (fake_start(g, 0, q->packed ? 0x80008000u : 0))
		abort();
	for (unsigned i = 0; i < 8; i++)
		fake_turn(g);
	fake_stop(g, 0);
	fuzz_assert_quiet(g);
	return 0;
}
