/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the disk share. See disk.h. */
#pragma once

#include "core/guard.h"
#include "disk/disk.h"

struct disk_lane {
	struct lane lane;
	struct list link;    /* in the disk's list */
	unsigned users;	     /* queues on it */
	bool leaving;	     /* for its last user: whoever wants one gets another */
	struct guard *guard; /* made for it, and not yet given to it */
	/* while its chain changes, under the disk's lock: the next one, then the one before */
	struct lane_chain chain;
	bool was_halted, is_quiet;
};

struct disk {
	char name[DISK_NAME_MAX + 1];
	char serial[DISK_SERIAL_MAX + 1];
	struct media *media;
	struct function *function[CHAIN_MAX];
	unsigned nfunction;
	struct media_caps caps;
	uint32_t blk_b;
	bool readonly;

	pthread_mutex_t lock;
	uint64_t size_b; /* written under the lock, read with relaxed order */
	struct disk_care care;
	bool stopped;
	int mode;
	void (*news)(void *arg);
	void *news_arg;
	struct function *gate;
	struct fence *fence;
	struct list lanes;  /* struct disk_lane */
	struct lane_stats past; /* of lanes that are gone */
	struct list fronts; /* control thread only */
};

/* Makes @size_b known to every lane. Context: control thread. */
void lanes_resize(struct disk *d, uint64_t size_b);
