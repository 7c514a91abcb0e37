/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user protocol as QEMU's docs/interop/vhost-user.rst has it: header, message ids in
 * both directions, payloads, feature bits, and the in-flight region. Layouts only.
 *
 * Numbers on the socket and in the in-flight region are in the machine's own byte order (the
 * document's "Message Specification"), so they are plain integers here. Old names said "slave"
 * where these say "backend".
 */
#pragma once

#include "base/bytes.h"

/* Header */
struct vhost_user_hdr {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload that follows */
};
static_assert(sizeof(struct vhost_user_hdr) == 12, "Header");

#define VHOST_USER_VERSION_MASK 0x3u
#define VHOST_USER_VERSION 0x1u
#define VHOST_USER_REPLY 0x4u
#define VHOST_USER_NEED_REPLY 0x8u

/* Feature bits beside the device's own */
#define VHOST_F_LOG_ALL 26
#define VHOST_USER_F_PROTOCOL_FEATURES 30

/* Protocol features */
#define VHOST_USER_PROTOCOL_F_MQ 0
#define VHOST_USER_PROTOCOL_F_LOG_SHMFD 1
#define VHOST_USER_PROTOCOL_F_RARP 2
#define VHOST_USER_PROTOCOL_F_REPLY_ACK 3
#define VHOST_USER_PROTOCOL_F_MTU 4
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ 5
#define VHOST_USER_PROTOCOL_F_CROSS_ENDIAN 6
#define VHOST_USER_PROTOCOL_F_CRYPTO_SESSION 7
#define VHOST_USER_PROTOCOL_F_PAGEFAULT 8
#define VHOST_USER_PROTOCOL_F_CONFIG 9
#define VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD 10
#define VHOST_USER_PROTOCOL_F_HOST_NOTIFIER 11
#define VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD 12
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE 13
#define VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS 14
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS 15
#define VHOST_USER_PROTOCOL_F_STATUS 16
#define VHOST_USER_PROTOCOL_F_XEN_MMAP 17
#define VHOST_USER_PROTOCOL_F_SHARED_OBJECT 18
#define VHOST_USER_PROTOCOL_F_DEVICE_STATE 19

/* Front-end message types */
enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_LOG_BASE = 6,
	VHOST_USER_SET_LOG_FD = 7,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SEND_RARP = 19,
	VHOST_USER_NET_SET_MTU = 20,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_IOTLB_MSG = 22,
	VHOST_USER_SET_VRING_ENDIAN = 23,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_CREATE_CRYPTO_SESSION = 26,
	VHOST_USER_CLOSE_CRYPTO_SESSION = 27,
	VHOST_USER_POSTCOPY_ADVISE = 28,
	VHOST_USER_POSTCOPY_LISTEN = 29,
	VHOST_USER_POSTCOPY_END = 30,
	VHOST_USER_GET_INFLIGHT_FD = 31,
	VHOST_USER_SET_INFLIGHT_FD = 32,
	VHOST_USER_GPU_SET_SOCKET = 33,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_VRING_KICK = 35,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_GET_SHARED_OBJECT = 41,
	VHOST_USER_SET_DEVICE_STATE_FD = 42,
	VHOST_USER_CHECK_DEVICE_STATE = 43,
	VHOST_USER_REQUEST_MAX, /* one past the last */
};

/* Back-end message types, on the channel of SET_BACKEND_REQ_FD */
enum vhost_user_backend_request {
	VHOST_USER_BACKEND_IOTLB_MSG = 1,
	VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2,
	VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG = 3,
	VHOST_USER_BACKEND_VRING_CALL = 4,
	VHOST_USER_BACKEND_VRING_ERR = 5,
	VHOST_USER_BACKEND_SHARED_OBJECT_ADD = 6,
	VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE = 7,
	VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP = 8,
};

/* u64 of SET_VRING_KICK, _CALL and _ERR */
#define VHOST_USER_VRING_INDEX_MASK 0xffull
#define VHOST_USER_VRING_NOFD 0x100ull

/* "A vring state description". The num of a packed ring's base (GET/SET_VRING_BASE): bits 0-14
 * the avail index, 15 its wrap counter, 16-30 the used index, 31 its wrap counter. */
struct vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
};
static_assert(sizeof(struct vhost_user_vring_state) == 8, "A vring state description");

/* "A vring address description"; user addresses, but log is a guest address. In a packed ring
 * used is the device's event structure and avail the driver's. */
#define VHOST_USER_VRING_F_LOG 0x1u
struct vhost_user_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log;
};
static_assert(sizeof(struct vhost_user_vring_addr) == 40, "A vring address description");

/* "Memory regions description": SET_MEM_TABLE carries at most 8 of them and as many
 * descriptors; the payload ends with the last region in use. */
#define VHOST_USER_MEM_TABLE_MAX 8u
#define VHOST_USER_MEM_SLOTS_MAX 509u /* what KVM has and QEMU asks for */
struct vhost_user_mem_region {
	uint64_t guest_addr;
	uint64_t size_b;
	uint64_t user_addr;
	uint64_t mmap_off_b;
};
static_assert(sizeof(struct vhost_user_mem_region) == 32, "Memory regions description");

struct vhost_user_mem_table {
	uint32_t num_regions;
	uint32_t padding;
	struct vhost_user_mem_region region[VHOST_USER_MEM_TABLE_MAX];
};
static_assert(sizeof(struct vhost_user_mem_table) == 264, "Memory regions description");
#define VHOST_USER_MEM_TABLE_BYTES(n) (8u + 32u * (n))

/* "Single memory region description": ADD_MEM_REG, REM_MEM_REG */
struct vhost_user_mem_single {
	uint64_t padding;
	struct vhost_user_mem_region region;
};
static_assert(sizeof(struct vhost_user_mem_single) == 40, "Single memory region description");

/* "Log description": one bit a page, from guest address 0 */
#define VHOST_USER_LOG_PAGE_B 4096u
struct vhost_user_log {
	uint64_t size_b;
	uint64_t off_b;
};
static_assert(sizeof(struct vhost_user_log) == 16, "Log description");

/* "An IOTLB message" */
#define VHOST_USER_IOTLB_MISS 1u
#define VHOST_USER_IOTLB_UPDATE 2u
#define VHOST_USER_IOTLB_INVALIDATE 3u
#define VHOST_USER_IOTLB_ACCESS_FAIL 4u
struct vhost_user_iotlb {
	uint64_t iova;
	uint64_t size_b;
	uint64_t user_addr;
	uint8_t perm;
	uint8_t type;
	uint8_t padding[6];
};
static_assert(sizeof(struct vhost_user_iotlb) == 32, "An IOTLB message");

/* "Virtio device config space": size bytes follow the three words; the answer to GET_CONFIG
 * has exactly as many as were asked for, an answer of payload size 0 is a refusal. */
#define VHOST_USER_CONFIG_MAX_B 256u
#define VHOST_USER_CONFIG_F_WRITABLE 0u
#define VHOST_USER_CONFIG_F_MIGRATION 1u
struct vhost_user_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VHOST_USER_CONFIG_MAX_B];
};
static_assert(sizeof(struct vhost_user_config) == 268, "Virtio device config space");
#define VHOST_USER_CONFIG_HDR_B 12u

/* "Vring area description" */
struct vhost_user_vring_area {
	uint64_t index_flags;
	uint64_t size_b;
	uint64_t off_b;
};
static_assert(sizeof(struct vhost_user_vring_area) == 24, "Vring area description");

/* "Inflight description". QEMU sends the struct with its tail padding, 24 bytes; the document
 * counts 20. Take both. */
#define VHOST_USER_INFLIGHT_MIN_B 20u
struct vhost_user_inflight {
	uint64_t mmap_size_b;
	uint64_t mmap_off_b;
	uint16_t num_queues;
	uint16_t queue_size;
	uint8_t padding[4];
};
static_assert(sizeof(struct vhost_user_inflight) == 24, "Inflight description");
static_assert(offsetof(struct vhost_user_inflight, padding) == 20, "Inflight description");

/* A whole message. Every payload is at an offset of 12: unaligned for 64-bit fields. */
union vhost_user_payload {
	uint64_t u64;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_addr addr;
	struct vhost_user_mem_table mem;
	struct vhost_user_mem_single mem_single;
	struct vhost_user_log log;
	struct vhost_user_iotlb iotlb;
	struct vhost_user_config config;
	struct vhost_user_vring_area area;
	struct vhost_user_inflight inflight;
} __attribute__((packed));

struct vhost_user_msg {
	struct vhost_user_hdr hdr;
	union vhost_user_payload payload;
} __attribute__((packed));
static_assert(sizeof(struct vhost_user_msg) == 12 + 268, "Message Specification");
#define VHOST_USER_PAYLOAD_MAX_B 268u
#define VHOST_USER_FDS_MAX 8u

/* "Inflight I/O tracking", split. One region after another, a queue each. */
#define VHOST_USER_INFLIGHT_VERSION 1u

struct vhost_user_desc_split {
	uint8_t inflight; /* head descriptors only */
	uint8_t padding[5];
	uint16_t next; /* list of the last batch used */
	uint64_t counter; /* order of fetching */
};
static_assert(sizeof(struct vhost_user_desc_split) == 16, "DescStateSplit");

struct vhost_user_region_split {
	uint64_t features; /* 0 */
	uint16_t version; /* 0: not yet initialised by a back end */
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct vhost_user_desc_split desc[];
};
static_assert(sizeof(struct vhost_user_region_split) == 16, "QueueRegionSplit");

/* "Inflight I/O tracking", packed */
struct vhost_user_desc_packed {
	uint8_t inflight; /* head descriptors only */
	uint8_t padding;
	uint16_t next; /* free list */
	uint16_t last; /* head only: last entry of its list */
	uint16_t num; /* head only: length of its list */
	uint64_t counter; /* head only: order of fetching */
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};
static_assert(sizeof(struct vhost_user_desc_packed) == 32, "DescStatePacked");

struct vhost_user_region_packed {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	uint16_t used_idx;
	uint16_t old_used_idx;
	uint8_t used_wrap_counter;
	uint8_t old_used_wrap_counter;
	uint8_t padding[10]; /* the document counts 7; entries are aligned to 8 all the same */
	struct vhost_user_desc_packed desc[];
};
static_assert(sizeof(struct vhost_user_region_packed) == 32, "QueueRegionPacked");
