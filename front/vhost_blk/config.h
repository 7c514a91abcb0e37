/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the device tells its driver: features and configuration space (VIRTIO 1.2, 5.2.3
 * and 5.2.4). Pure functions of the disk. Any thread.
 */
#pragma once

#include "disk/disk.h"
#include "wire/virtio_blk.h"

#define BIT(n) (1ull << (n))

/* Of one discard or write-zeroes: bounds the time that a medium spends on one request. */
#define RANGE_MAX_B (1 * GIB)

/* Feature bits offered, vhost-user's own among them. */
uint64_t config_features(const struct disk *d, unsigned nqueue);
/* The configuration space as it is now. */
void config_fill(const struct disk *d, unsigned nqueue, bool writeback,
		 struct virtio_blk_config *ret_config);
