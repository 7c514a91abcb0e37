/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio over PCI, VIRTIO 1.2, 4.1: ids, capabilities, the common configuration, and the status
 * bits that every transport has (2.1). Layouts only; little-endian.
 */
#pragma once

#include "base/bytes.h"

/* 4.1.2; a transitional block device has an id of its own and the same capabilities. */
#define VIRTIO_PCI_VENDOR 0x1af4u
#define VIRTIO_PCI_DEVICE(type) (0x1040u + (type))
#define VIRTIO_PCI_DEVICE_BLK_TRANSITIONAL 0x1001u

/* 4.1.4: vendor-specific capabilities; notify_off_multiplier follows in that of NOTIFY. */
struct virtio_pci_cap {
	uint8_t cap_vndr;
	uint8_t cap_next;
	uint8_t cap_len;
	uint8_t cfg_type;
	uint8_t bar;
	uint8_t id;
	uint8_t padding[2];
	le32 offset;
	le32 length;
};
static_assert(sizeof(struct virtio_pci_cap) == 16, "4.1.4");
#define VIRTIO_PCI_CAP_COMMON_CFG 1
#define VIRTIO_PCI_CAP_NOTIFY_CFG 2
#define VIRTIO_PCI_CAP_DEVICE_CFG 4
#define VIRTIO_PCI_CAP_TYPES 5 /* one past the highest that is used here */

/* 4.1.4.3 */
struct virtio_pci_common {
	le32 device_feature_select;
	le32 device_feature;
	le32 driver_feature_select;
	le32 driver_feature;
	le16 config_msix_vector;
	le16 num_queues;
	uint8_t device_status;
	uint8_t config_generation;
	le16 queue_select;
	le16 queue_size; /* the driver may lower it */
	le16 queue_msix_vector;
	le16 queue_enable;
	le16 queue_notify_off; /* times notify_off_multiplier */
	le64 queue_desc;
	le64 queue_driver;
	le64 queue_device;
};
static_assert(sizeof(struct virtio_pci_common) == 56, "4.1.4.3");
static_assert(offsetof(struct virtio_pci_common, queue_select) == 22, "4.1.4.3");
#define VIRTIO_PCI_NO_VECTOR 0xffffu

/* 2.1 */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x1u
#define VIRTIO_STATUS_DRIVER 0x2u
#define VIRTIO_STATUS_DRIVER_OK 0x4u
#define VIRTIO_STATUS_FEATURES_OK 0x8u
