/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/recovery/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR_B 512u
#define WORDS (SECTOR_B / 8)

int ledger_init(struct ledger *l, uint32_t nblock, uint64_t seed)
{
	*l = (struct ledger){ .seed = seed, .nblock = nblock };
	l->gen = calloc(nblock, sizeof(*l->gen));
	l->busy = calloc(nblock, sizeof(*l->busy));
	if (l->gen && l->busy)
		return 0;
	ledger_fini(l);
	return -ENOMEM;
}

void ledger_fini(struct ledger *l)
{
	free(l->gen);
	free(l->busy);
	*l = (struct ledger){ .nblock = 0 };
}

uint32_t ledger_claim(struct ledger *l, uint32_t start)
{
	uint32_t b = start % l->nblock;

	while (l->busy[b])
		b = b + 1 == l->nblock ? 0 : b + 1;
	l->busy[b] = true;
	return b;
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15ull;
	return x ^ x >> 29;
}

/* The words of sector @s: place and generation in the open, then what nobody writes by chance. */
static void fill_sector(const struct ledger *l, uint64_t word[WORDS], uint32_t block, uint32_t gen,
			unsigned s)
{
	uint64_t name = (uint64_t)block << 32 | gen;

	word[0] = name;
	for (unsigned i = 1; i < WORDS; i++)
		word[i] = mix(mix(name ^ l->seed) + s * WORDS + i);
}

void ledger_fill(const struct ledger *l, uint8_t *data, uint32_t block, uint32_t gen)
{
	uint64_t word[WORDS];

	for (unsigned s = 0; s < LEDGER_BLOCK_B / SECTOR_B; s++) {
		fill_sector(l, word, block, gen, s);
		memcpy(data + s * SECTOR_B, word, SECTOR_B);
	}
}

bool ledger_holds(const struct ledger *l, const uint8_t *data, uint32_t block, char *ret_text)
{
	uint64_t word[WORDS], name;

	for (unsigned s = 0; s < LEDGER_BLOCK_B / SECTOR_B; s++, data += SECTOR_B) {
		fill_sector(l, word, block, l->gen[block], s);
		if (!memcmp(word, data, SECTOR_B))
			continue;
		memcpy(&name, data, sizeof(name));
		fill_sector(l, word, (uint32_t)(name >> 32), (uint32_t)name, s);
		snprintf(ret_text, 160,
			 "block %u, sector %u: generation %u was acknowledged, there is %s %lu "
			 "of block %lu", block, s, l->gen[block],
			 memcmp(word, data, SECTOR_B) ? "no generation, beginning as" :
			 "generation", name & UINT32_MAX, name >> 32);
		return false;
	}
	return true;
}
