/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that is watched: a polled load of verified reads, writes and flushes that never ends,
 * stamps every completion, and connects anew as a VMM does when its back end has closed the
 * connection. One thread.
 */
#pragma once

#include "client/raw.h"
#include "tests/recovery/ledger.h"

struct disk_conf {
	struct client_conf client;
	uint32_t nblock;	  /* few: what was written is soon written again */
	unsigned read_pct, flush_pct; /* the rest are writes */
	uint64_t reconnect_ns;	  /* how long after a disconnect; QEMU's reconnect=1 is 1 s */
	bool apart;		  /* not part of a window's gap, and not waited for at its end */
};

struct disk_slot {
	uint64_t since_ns;
	uint32_t block, gen;
	uint8_t op;
	bool busy;
};

struct watched_disk {
	char name[64], socket[108];
	struct disk_conf conf;
	struct client *c; /* NULL: not attached */
	struct ledger ledger; /* outlives a detach */
	struct disk_slot *slot; /* queue by queue */
	uint64_t rng;
	unsigned in_flight;
	bool rest;	 /* submit nothing more */
	bool down;	 /* the connection is gone */
	uint64_t retry_ns;
	uint64_t last_ns; /* of the last completion, or of the start */
	uint64_t touch_at_b, touch_end_b; /* what of the extra memory is still to be touched */
	unsigned touching;

	uint64_t done, errors, mismatches, repeated, reconnects;
	uint64_t gap_ns, late_ns; /* longest between completions, longest request; since a reset */
};

/* Connects and begins. Return: 0; see client_open(), with *ret_step. */
int disk_open(struct watched_disk *d, const char **ret_step);
/* When nothing is in flight. */
void disk_close(struct watched_disk *d);

/* Takes what came back and sends as much again. Return: how many came back; -EPROTO: a ring is
 * broken. */
int disk_turn(struct watched_disk *d);

/* Has the back end write to every page of the extra memory once, beside the load. */
void disk_touch(struct watched_disk *d);
bool disk_touched(const struct watched_disk *d);

/* Looks whether the connection is there, and makes a new one when it is time. */
void disk_look(struct watched_disk *d, uint64_t now_ns);

/* Whether nothing that was begun before @ns is still in flight. */
bool disk_settled(const struct watched_disk *d, uint64_t ns);
