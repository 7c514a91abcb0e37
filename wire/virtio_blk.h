/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device of VIRTIO 1.2, 5.2: feature bits, configuration space, request header,
 * segments of discard and write-zeroes, status byte. Layouts only; little-endian.
 */
#pragma once

#include "base/bytes.h"

#define VIRTIO_ID_BLOCK 2

/* 5.2.3 */
#define VIRTIO_BLK_F_SIZE_MAX 1
#define VIRTIO_BLK_F_SEG_MAX 2
#define VIRTIO_BLK_F_GEOMETRY 4
#define VIRTIO_BLK_F_RO 5
#define VIRTIO_BLK_F_BLK_SIZE 6
#define VIRTIO_BLK_F_FLUSH 9
#define VIRTIO_BLK_F_TOPOLOGY 10
#define VIRTIO_BLK_F_CONFIG_WCE 11
#define VIRTIO_BLK_F_MQ 12
#define VIRTIO_BLK_F_DISCARD 13
#define VIRTIO_BLK_F_WRITE_ZEROES 14
#define VIRTIO_BLK_F_LIFETIME 15
#define VIRTIO_BLK_F_SECURE_ERASE 16

#define VIRTIO_BLK_SECTOR_B 512u /* 5.2.4: always, whatever blk_size says */

/* 5.2.4. A front end may ask for any prefix: QEMU 7.2 asks for 57 bytes (write_zeroes_may_unmap
 * is the last it knows). The secure erase fields of 1.2 lie behind these and are not offered. */
struct virtio_blk_config {
	le64 capacity; /* in 512-byte sectors */
	le32 size_max;
	le32 seg_max;
	struct virtio_blk_geometry {
		le16 cylinders;
		uint8_t heads;
		uint8_t sectors;
	} geometry;
	le32 blk_size;
	struct virtio_blk_topology {
		uint8_t physical_block_exp; /* logical blocks in a physical one, log2 */
		uint8_t alignment_offset;
		le16 min_io_size;
		le32 opt_io_size;
	} topology;
	uint8_t writeback; /* the driver may write it after CONFIG_WCE */
	uint8_t unused0;
	le16 num_queues;
	le32 max_discard_sectors;
	le32 max_discard_seg;
	le32 discard_sector_alignment;
	le32 max_write_zeroes_sectors;
	le32 max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
} __attribute__((packed));
static_assert(sizeof(struct virtio_blk_config) == 60, "5.2.4");
static_assert(offsetof(struct virtio_blk_config, writeback) == 32, "5.2.4");
static_assert(offsetof(struct virtio_blk_config, num_queues) == 34, "5.2.4");
static_assert(offsetof(struct virtio_blk_config, write_zeroes_may_unmap) == 56, "5.2.4");

/* Request types, 5.2.6 */
#define VIRTIO_BLK_T_IN 0u
#define VIRTIO_BLK_T_OUT 1u
#define VIRTIO_BLK_T_FLUSH 4u
#define VIRTIO_BLK_T_GET_ID 8u
#define VIRTIO_BLK_T_GET_LIFETIME 10u
#define VIRTIO_BLK_T_DISCARD 11u
#define VIRTIO_BLK_T_WRITE_ZEROES 13u
#define VIRTIO_BLK_T_SECURE_ERASE 14u

/* The head of every request, device-readable; data follows, then one device-writable byte. */
struct virtio_blk_hdr {
	le32 type;
	le32 reserved; /* a priority in legacy devices */
	le64 sector;
};
static_assert(sizeof(struct virtio_blk_hdr) == 16, "5.2.6");

#define VIRTIO_BLK_S_OK 0u
#define VIRTIO_BLK_S_IOERR 1u
#define VIRTIO_BLK_S_UNSUPP 2u

#define VIRTIO_BLK_ID_BYTES 20u /* of GET_ID's answer; NUL-terminated only if shorter */

/* One range of a discard or write-zeroes request, 5.2.6. */
#define VIRTIO_BLK_RANGE_F_UNMAP 0x1u /* write-zeroes only; all other bits must be 0 */
struct virtio_blk_range {
	le64 sector;
	le32 num_sectors;
	le32 flags;
};
static_assert(sizeof(struct virtio_blk_range) == 16, "5.2.6");
