/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripted media: a medium that expects the requests of a table and answers each as the table
 * says, at once, at the next poll, or when the test lets it go, in any order. Without a table it
 * takes whatever comes. Data is kept, so that what was written can be read.
 * One thread: the one that turns the pollers.
 */
#pragma once

#include "core/media.h"

#define SCRIPT_HELD_MAX 4096
#define SCRIPT_LOG_MAX 256

enum script_when { SCRIPT_NOW, SCRIPT_POLL, SCRIPT_HELD };

struct script_step {
	enum req_op op;
	uint64_t off_b, len_b;
	uint8_t flags; /* of REQ_F_FUA and REQ_F_UNMAP */
	enum script_when when;
	enum req_status status;
};

/* What was asked of the medium. */
struct script_seen {
	enum req_op op;
	uint64_t off_b, len_b;
	uint8_t flags;
	unsigned nseg;
	uint32_t seg_b[4]; /* lengths of the first ones */
};

struct scripted {
	struct media m;
	uint8_t *store;
	uint64_t store_b;
	enum script_when when; /* of what no table speaks of */
	const struct script_step *table;
	unsigned nstep, next; /* of the table */

	struct req *held[SCRIPT_HELD_MAX]; /* in the order of arrival, NULL once let go */
	enum req_status answer[SCRIPT_HELD_MAX];
	bool ready[SCRIPT_HELD_MAX];
	unsigned nheld;
	struct script_seen seen[SCRIPT_LOG_MAX]; /* the first ones */
	unsigned nseen, largest_batch;

	int wake_fd;			/* -1: none; an eventfd while anything may be ready */
	unsigned regions, lanes;	/* there now */
	unsigned region_adds, region_dels;
};

/* A medium of @size_b bytes; its caps may be changed until a disk is opened on it. */
struct scripted *script_new(uint64_t size_b);
/* Only what @table says may come from now on. */
void script_expect(struct scripted *s, const struct script_step *table, unsigned n);
/* Lets the @i-th held request (by arrival) end with @status at the next poll. */
void script_release(struct scripted *s, unsigned i, enum req_status status);
void script_release_all(struct scripted *s, enum req_status status);
/* Return: requests that wait to be let go. */
unsigned script_waiting(const struct scripted *s);
