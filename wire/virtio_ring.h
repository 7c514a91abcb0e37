/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtqueues as VIRTIO 1.2 lays them out in guest memory, split (2.7) and packed (2.8), and
 * the feature bits that every device shares (6). Layouts only; who writes a word is in its
 * comment. Everything is little-endian.
 */
#pragma once

#include "base/bytes.h"

/* Feature bits, 6 and 6.3; VIRTIO_F_ANY_LAYOUT and NOTIFY_ON_EMPTY are legacy. */
#define VIRTIO_F_NOTIFY_ON_EMPTY 24
#define VIRTIO_F_ANY_LAYOUT 27
#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX 29
#define VIRTIO_F_VERSION_1 32
#define VIRTIO_F_ACCESS_PLATFORM 33
#define VIRTIO_F_RING_PACKED 34
#define VIRTIO_F_IN_ORDER 35
#define VIRTIO_F_ORDER_PLATFORM 36
#define VIRTIO_F_SR_IOV 37
#define VIRTIO_F_NOTIFICATION_DATA 38
#define VIRTIO_F_NOTIF_CONFIG_DATA 39
#define VIRTIO_F_RING_RESET 40

/* 2.6: at most this; a power of two in a split ring, any number in a packed one. */
#define VIRTQ_SIZE_MAX 32768u

/* Descriptor flags, 2.7.5 and 2.8.7; the two lower-most mean the same in both formats. */
#define VIRTQ_DESC_F_NEXT 0x1u
#define VIRTQ_DESC_F_WRITE 0x2u /* the device writes, else it reads */
#define VIRTQ_DESC_F_INDIRECT 0x4u
#define VIRTQ_DESC_F_AVAIL 0x80u /* packed only */
#define VIRTQ_DESC_F_USED 0x8000u /* packed only */

/* 2.7.5, also an entry of an indirect table (2.7.5.3); the driver writes. */
struct virtq_desc {
	le64 addr;
	le32 len;
	le16 flags;
	le16 next;
};
static_assert(sizeof(struct virtq_desc) == 16, "2.7.5");

/* avail.flags, 2.7.6, and used.flags, 2.7.8: hints without EVENT_IDX, ignored with it. */
#define VIRTQ_AVAIL_F_NO_INTERRUPT 0x1u
#define VIRTQ_USED_F_NO_NOTIFY 0x1u

/* 2.7.6; the driver writes. With EVENT_IDX a le16 used_event follows the last entry. */
struct virtq_avail {
	le16 flags;
	le16 idx; /* counts entries ever made available, modulo 2^16 */
	le16 ring[];
};
static_assert(sizeof(struct virtq_avail) == 4, "2.7.6");

/* 2.7.8; the device writes. */
struct virtq_used_elem {
	le32 id; /* head of the used chain */
	le32 len; /* bytes the device wrote */
};
static_assert(sizeof(struct virtq_used_elem) == 8, "2.7.8");

/* 2.7.8; the device writes. With EVENT_IDX a le16 avail_event follows the last entry. */
struct virtq_used {
	le16 flags;
	le16 idx;
	struct virtq_used_elem ring[];
};
static_assert(sizeof(struct virtq_used) == 4, "2.7.8");

/* 2.7.2: alignment of the three parts of a split ring; 2.8.10.1 of the packed ones. */
#define VIRTQ_DESC_ALIGN 16u
#define VIRTQ_AVAIL_ALIGN 2u
#define VIRTQ_USED_ALIGN 4u
#define VIRTQ_PACKED_DESC_ALIGN 16u
#define VIRTQ_PACKED_EVENT_ALIGN 4u

/* Bytes of each part of a split ring of @n entries, event words included (2.7.2). */
#define VIRTQ_DESC_BYTES(n) (16ull * (n))
#define VIRTQ_AVAIL_BYTES(n) (6ull + 2ull * (n))
#define VIRTQ_USED_BYTES(n) (6ull + 8ull * (n))

/* 2.8.13; the driver writes it to make it available, the device to mark it used. */
struct virtq_packed_desc {
	le64 addr;
	le32 len;
	le16 id; /* the driver's own buffer id, in the last descriptor of a chain */
	le16 flags;
};
static_assert(sizeof(struct virtq_packed_desc) == 16, "2.8.13");

/* 2.8.10 and 2.8.14: desc is an offset in bits 0-14 and the wrap counter in bit 15. One of
 * these is written by the driver (about interrupts), the other by the device (about kicks). */
struct virtq_packed_event {
	le16 desc;
	le16 flags;
};
static_assert(sizeof(struct virtq_packed_event) == 4, "2.8.14");

#define VIRTQ_PACKED_EVENT_F_ENABLE 0x0u
#define VIRTQ_PACKED_EVENT_F_DISABLE 0x1u
#define VIRTQ_PACKED_EVENT_F_DESC 0x2u /* only with EVENT_IDX */
#define VIRTQ_PACKED_WRAP 0x8000u
