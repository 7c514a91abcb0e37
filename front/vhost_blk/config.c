/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/config.h"

#include "wire/vhost_user.h"
#include "wire/virtio_ring.h"

/* Data segments of a request. With header and status it is what a Linux guest with a ring of 128
 * can send; the pool's lists take twice as many, for buffers that cross regions. */
#define SEG_MAX 126

uint64_t config_features(const struct disk *d, unsigned nqueue)
{
	const struct media_caps *caps = disk_caps(d);
	uint64_t f = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED) |
		     BIT(VIRTIO_F_INDIRECT_DESC) | BIT(VIRTIO_F_EVENT_IDX) |
		     BIT(VHOST_F_LOG_ALL) | BIT(VHOST_USER_F_PROTOCOL_FEATURES) |
		     BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
		     BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
		     BIT(VIRTIO_BLK_F_CONFIG_WCE);

	if (nqueue > 1)
		f |= BIT(VIRTIO_BLK_F_MQ);
	if (disk_readonly(d))
		return f | BIT(VIRTIO_BLK_F_RO);
	if (caps->discard_gran_b)
		f |= BIT(VIRTIO_BLK_F_DISCARD);
	if (caps->zeroes)
		f |= BIT(VIRTIO_BLK_F_WRITE_ZEROES);
	return f;
}

void config_fill(const struct disk *d, unsigned nqueue, bool writeback,
		 struct virtio_blk_config *ret_config)
{
	const struct media_caps *caps = disk_caps(d);
	uint32_t blk_b = disk_blk_b(d);
	uint32_t gran_b = caps->discard_gran_b > blk_b ? caps->discard_gran_b : blk_b;
	/* the device may do more at once than its logical block says; told as a power of two */
	uint32_t phys_b = gran_b <= 4096 && is_pow2(gran_b) ? gran_b : blk_b;

	*ret_config = (struct virtio_blk_config){
		.capacity = htole64(disk_size_b(d) / VIRTIO_BLK_SECTOR_B),
		.seg_max = htole32(SEG_MAX),
		.blk_size = htole32(blk_b),
		.topology = {
			.physical_block_exp = (uint8_t)__builtin_ctz(phys_b / blk_b),
			.min_io_size = htole16((uint16_t)(phys_b / blk_b)),
			.opt_io_size = htole32(caps->opt_io_b / blk_b),
		},
		.writeback = writeback,
		.num_queues = htole16((uint16_t)nqueue),
	};
	if (disk_readonly(d))
		return;
	if (caps->discard_gran_b) {
		ret_config->max_discard_sectors = htole32(RANGE_MAX_B / VIRTIO_BLK_SECTOR_B);
		ret_config->max_discard_seg = htole32(1);
		ret_config->discard_sector_alignment = htole32(gran_b / VIRTIO_BLK_SECTOR_B);
	}
	if (caps->zeroes) {
		ret_config->max_write_zeroes_sectors = htole32(RANGE_MAX_B / VIRTIO_BLK_SECTOR_B);
		ret_config->max_write_zeroes_seg = htole32(1);
		ret_config->write_zeroes_may_unmap = caps->discard_gran_b != 0;
	}
}
