/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk has acknowledged: of each block the generation of the last write that came back. The
 * data of a block tells its place and its generation in every sector, so that a read which is not
 * what was acknowledged says what it is instead. Never two requests on one block, so that there is
 * one right answer to each read. One thread.
 */
#pragma once

#include "base/base.h"

#define LEDGER_BLOCK_B 4096u

struct ledger {
	uint64_t seed;
	uint32_t nblock;
	uint32_t *gen; /* 0: never written, may hold anything */
	bool *busy;    /* a request is in flight */
	uint32_t last_gen;
};

int ledger_init(struct ledger *l, uint32_t nblock, uint64_t seed); /* Return: 0; -ENOMEM */
void ledger_fini(struct ledger *l);

/* A block with nothing in flight, at or behind @start; marks it busy. There must be one. */
uint32_t ledger_claim(struct ledger *l, uint32_t start);

void ledger_fill(const struct ledger *l, uint8_t *data, uint32_t block, uint32_t gen);

/* Return: whether @data is @block as it was acknowledged. If not, ret_text, of 160 bytes, says what
 * it is. */
bool ledger_holds(const struct ledger *l, const uint8_t *data, uint32_t block, char *ret_text);
