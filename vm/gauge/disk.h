/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's virtio-blk devices, and the one that is live: it is the load loop's `struct
 * client`, so client/client.h has the functions that drive it.
 */
#pragma once

#include "client/client.h"
#include "vm/gauge/pci.h"

#define DISKS_MAX 16u

struct disk {
	struct pci_fn pci;
	struct virtio_pci_common *common;
	uint8_t *config; /* struct virtio_blk_config */
	uint8_t *notify;
	uint32_t notify_step_b;
	uint64_t offered; /* feature bits */
	uint16_t queue_size; /* of queue 0, at most */
};

/* Finds them all and leaves them reset. Return: how many. */
unsigned disk_find(void);
/* @i is below disk_find()'s answer. */
const struct disk *disk_get(unsigned i);
/* What the device says of itself. */
struct virtio_blk_config disk_config(const struct disk *d);

struct disk_conf {
	bool packed, indirect, event_idx;
	enum client_kick_when kick;
	uint16_t depth;
	uint32_t bs_b;
};

/* Brings a disk to life with one queue, polled. Return: NULL, and the client; or why not. */
const char *disk_open(const struct disk *d, const struct disk_conf *conf,
		      struct client **ret_client);
/* Resets it; what was in flight is forgotten. Its memory goes with machine_release(). */
void disk_close(struct client *c);
