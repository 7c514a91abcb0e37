/* SPDX-License-Identifier: Apache-2.0 */
#include "client/raw.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"

#define BIT(n) (1ull << (n))

#define WANT_FEATURES                                                                              \
	(BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_RO) |           \
	 BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_TOPOLOGY) |       \
	 BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_BLK_F_DISCARD) |         \
	 BIT(VIRTIO_BLK_F_WRITE_ZEROES) | BIT(VIRTIO_F_VERSION_1) |                                \
	 BIT(VHOST_USER_F_PROTOCOL_FEATURES))

#define WANT_PROTOCOL                                                                              \
	(BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |                    \
	 BIT(VHOST_USER_PROTOCOL_F_CONFIG))

/* Descriptors, avail and used on lines of their own, 128 apart: the adjacent-line prefetcher
 * would else drag one side's line along with the other's. */
#define PART_ALIGN 128

static int fill_conf(struct client_conf *conf)
{
	conf->queues = conf->queues ? conf->queues : 1;
	conf->depth = conf->depth ? conf->depth : 1;
	conf->buf_b = conf->buf_b ? conf->buf_b : 4096;
	conf->mem_regions = conf->mem_regions ? conf->mem_regions : 1;
	conf->socket = NULL;
	uint32_t need = conf->depth * (conf->no_indirect ? 3u : 1u);
	uint32_t size = 128;

	while (size < need)
		size *= 2;
	if (conf->queue_size)
		size = conf->queue_size;
	if (size > VIRTQ_SIZE_MAX || size < need || (!conf->packed && !is_pow2(size)) ||
	    conf->queues > VHOST_USER_VRING_INDEX_MASK + 1 ||
	    conf->buf_b >= CLIENT_SHAPE_DEVICE_WRITES)
		return -EINVAL;
	conf->queue_size = (uint16_t)size;
	return 0;
}

static uint64_t queue_bytes(const struct client_conf *conf)
{
	uint64_t ring_b = VIRTQ_DESC_BYTES(conf->queue_size) + VIRTQ_AVAIL_BYTES(conf->queue_size) +
			  VIRTQ_USED_BYTES(conf->queue_size) + 4ull * PART_ALIGN;

	return ring_b + conf->depth * (2ull * CACHE_LINE + conf->buf_b) + 8192;
}

static int queue_memory(struct client *c, struct client_queue *q)
{
	struct client_mem *m = &c->mem;
	uint64_t n = q->size;

	q->desc = client_mem_alloc(m, VIRTQ_DESC_BYTES(n), PART_ALIGN);
	q->avail = client_mem_alloc(m, VIRTQ_AVAIL_BYTES(n), PART_ALIGN);
	q->used = client_mem_alloc(m, VIRTQ_USED_BYTES(n), PART_ALIGN);
	q->line = client_mem_alloc(m, q->depth * sizeof(struct client_line), PART_ALIGN);
	q->table = client_mem_alloc(m, q->depth * 64ull, PART_ALIGN);
	q->data = client_mem_alloc(m, (uint64_t)q->depth * q->buf_b, 4096);
	q->slot = calloc(q->depth, sizeof(*q->slot));
	q->slot_of = calloc(q->size, sizeof(*q->slot_of));
	if (!q->desc || !q->avail || !q->used || !q->line || !q->table || !q->data || !q->slot ||
	    !q->slot_of)
		return -ENOMEM;
	q->line_guest = client_mem_guest(m, q->line);
	q->table_guest = client_mem_guest(m, q->table);
	q->data_guest = client_mem_guest(m, q->data);
	q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return q->kick_fd < 0 || q->call_fd < 0 ? -errno : 0;
}

int client_raw_open(const struct client_conf *conf, int sock, struct client **ret_client)
{
	struct client *c = calloc(1, sizeof(*c));
	int rc = c ? 0 : -ENOMEM;

	if (rc) {
		fd_close(sock);
		return rc;
	}
	*c = (struct client){ .conf = *conf, .sock = sock, .inflight_fd = -1, .log_fd = -1 };
	rc = fill_conf(&c->conf);
	if (!rc)
		rc = client_mem_init(&c->mem,
				     c->conf.queues * queue_bytes(&c->conf) + c->conf.extra_b,
				     c->conf.mem_regions, c->conf.hugepages);
	if (!rc) {
		c->queue = calloc(c->conf.queues, sizeof(*c->queue));
		rc = c->queue ? 0 : -ENOMEM;
	}
	for (unsigned i = 0; c->queue && i < c->conf.queues; i++)
		c->queue[i].kick_fd = c->queue[i].call_fd = -1;
	for (unsigned i = 0; !rc && i < c->conf.queues; i++) {
		struct client_queue *q = &c->queue[i];

		q->packed = c->conf.packed;
		q->indirect = !c->conf.no_indirect;
		q->event_idx = !c->conf.no_event_idx;
		q->size = c->conf.queue_size;
		q->depth = c->conf.depth;
		q->buf_b = c->conf.buf_b;
		rc = queue_memory(c, q);
		if (!rc)
			client_queue_reset(q);
	}
	if (rc) {
		client_close(c);
		return rc;
	}
	*ret_client = c;
	return 0;
}

/* The device's own choices are taken as offered; what the caller asked for must be there. */
static int choose_features(struct client *c)
{
	uint64_t asked = 0;

	if (c->conf.packed)
		asked |= BIT(VIRTIO_F_RING_PACKED);
	if (asked & ~c->offered || !(c->offered & BIT(VIRTIO_F_VERSION_1)))
		return -ENOTSUP;
	if (!c->conf.no_indirect)
		asked |= BIT(VIRTIO_F_INDIRECT_DESC);
	if (!c->conf.no_event_idx)
		asked |= BIT(VIRTIO_F_EVENT_IDX);
	c->features = c->offered & (WANT_FEATURES | asked);
	if (!c->conf.no_indirect && !(c->features & BIT(VIRTIO_F_INDIRECT_DESC)))
		return -ENOTSUP;
	for (unsigned i = 0; i < c->conf.queues; i++)
		c->queue[i].event_idx = c->features & BIT(VIRTIO_F_EVENT_IDX);
	return 0;
}

static int negotiate_protocol(struct client *c)
{
	uint64_t offered;
	int rc = vu_ask_u64(c->sock, VHOST_USER_GET_PROTOCOL_FEATURES, &offered);

	if (rc)
		return rc;
	c->protocol = offered & WANT_PROTOCOL;
	if (!c->conf.no_inflight)
		c->protocol |= offered & BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
	if (c->conf.log)
		c->protocol |= offered & BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD);
	rc = vu_tell_u64(c->sock, false, VHOST_USER_SET_PROTOCOL_FEATURES, c->protocol);
	if (!rc && c->protocol & BIT(VHOST_USER_PROTOCOL_F_MQ))
		rc = vu_ask_u64(c->sock, VHOST_USER_GET_QUEUE_NUM, &c->queues_offered);
	if (!rc && c->queues_offered && c->queues_offered < c->conf.queues)
		rc = -ENOTSUP;
	return rc;
}

int client_raw_negotiate(struct client *c)
{
	int rc = vu_ask_u64(c->sock, VHOST_USER_GET_FEATURES, &c->offered);

	if (!rc)
		rc = choose_features(c);
	if (!rc && c->features & BIT(VHOST_USER_F_PROTOCOL_FEATURES))
		rc = negotiate_protocol(c);
	if (!rc)
		rc = vu_tell(c->sock, client_raw_ack(c), VHOST_USER_SET_OWNER, NULL, 0, NULL, 0);
	if (!rc)
		rc = vu_tell_u64(c->sock, client_raw_ack(c), VHOST_USER_SET_FEATURES, c->features);
	for (unsigned i = 0; !rc && i < c->conf.queues; i++)
		client_disarm(&c->queue[i]);
	return rc;
}

int client_raw_get_config(struct client *c)
{
	struct vhost_user_config ask = { .size = sizeof(c->config) };
	uint32_t len = VHOST_USER_CONFIG_HDR_B + ask.size;
	struct vhost_user_msg msg;

	if (!(c->protocol & BIT(VHOST_USER_PROTOCOL_F_CONFIG)))
		return -ENOTSUP;
	int rc = vu_ask(c->sock, VHOST_USER_GET_CONFIG, &ask, len, &msg);

	if (rc)
		return rc;
	if (msg.hdr.size != len)
		return -EPROTO;
	memcpy(&c->config, msg.payload.config.data, sizeof(c->config));
	return 0;
}

int client_raw_share_mem(struct client *c)
{
	struct client_mem *m = &c->mem;
	struct vhost_user_mem_table t = { .num_regions = m->regions };

	for (unsigned i = 0; i < m->regions; i++)
		t.region[i] = (struct vhost_user_mem_region){
			.guest_addr = CLIENT_MEM_GUEST_BASE + i * m->region_b,
			.size_b = m->region_b,
			.user_addr = (uintptr_t)m->host + i * m->region_b,
		};
	return vu_tell(c->sock, client_raw_ack(c), VHOST_USER_SET_MEM_TABLE, &t,
		       VHOST_USER_MEM_TABLE_BYTES(m->regions), m->fd, m->regions);
}

int client_raw_get_inflight(struct client *c)
{
	struct vhost_user_inflight ask = { .num_queues = c->conf.queues,
					   .queue_size = c->conf.queue_size };
	struct vhost_user_msg msg;
	unsigned nfd = 1;

	if (!(c->protocol & BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD)))
		return 0;
	int rc = vu_send(c->sock, VHOST_USER_GET_INFLIGHT_FD, 0, &ask, sizeof(ask), NULL, 0);

	c->inflight_fd = fd_close(c->inflight_fd);
	if (!rc)
		rc = vu_recv(c->sock, &msg, &c->inflight_fd, &nfd);
	if (rc)
		return rc;
	if (msg.hdr.request != VHOST_USER_GET_INFLIGHT_FD || !nfd ||
	    msg.hdr.size < VHOST_USER_INFLIGHT_MIN_B)
		return -EPROTO;
	c->inflight = msg.payload.inflight;
	return client_raw_set_inflight(c);
}

int client_raw_set_inflight(struct client *c)
{
	return vu_tell(c->sock, client_raw_ack(c), VHOST_USER_SET_INFLIGHT_FD, &c->inflight,
		       sizeof(c->inflight), &c->inflight_fd, 1);
}

int client_raw_set_addr(struct client *c, unsigned i, uint32_t flags)
{
	struct client_queue *q = &c->queue[i];
	struct vhost_user_vring_addr a = {
		.index = i,
		.flags = flags,
		.desc = (uintptr_t)q->desc,
		.avail = (uintptr_t)q->avail,
		.used = (uintptr_t)q->used,
		.log = client_mem_guest(&c->mem, q->used),
	};

	return vu_tell(c->sock, client_raw_ack(c), VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL,
		       0);
}

static int tell_state(struct client *c, uint32_t request, unsigned i, uint32_t num)
{
	struct vhost_user_vring_state s = { .index = i, .num = num };

	return vu_tell(c->sock, client_raw_ack(c), request, &s, sizeof(s), NULL, 0);
}

static int tell_fd(struct client *c, uint32_t request, unsigned i, const int *fd)
{
	uint64_t v = i;

	return vu_tell(c->sock, client_raw_ack(c), request, &v, sizeof(v), fd, 1);
}

int client_raw_start(struct client *c, unsigned i)
{
	struct client_queue *q = &c->queue[i];
	uint32_t base = 0;

	if (q->packed) {
		uint32_t avail = q->put_idx | (q->put_wrap ? VIRTQ_PACKED_WRAP : 0);
		uint32_t used = q->used_idx | (q->used_wrap ? VIRTQ_PACKED_WRAP : 0);

		base = avail | used << 16;
	} else {
		base = q->used_idx;
	}
	int rc = tell_state(c, VHOST_USER_SET_VRING_NUM, i, q->size);

	if (!rc)
		rc = tell_state(c, VHOST_USER_SET_VRING_BASE, i, base);
	if (!rc)
		rc = client_raw_set_addr(c, i, 0);
	if (!rc)
		rc = tell_fd(c, VHOST_USER_SET_VRING_KICK, i, &q->kick_fd);
	if (!rc)
		rc = tell_fd(c, VHOST_USER_SET_VRING_CALL, i, &q->call_fd);
	if (!rc && c->features & BIT(VHOST_USER_F_PROTOCOL_FEATURES))
		rc = tell_state(c, VHOST_USER_SET_VRING_ENABLE, i, 1);
	if (!rc && c->started <= i)
		c->started = i + 1;
	return rc;
}

/* A bit for each page of 4 KiB up to the last. */
static uint64_t log_bytes(const struct client *c)
{
	return (CLIENT_MEM_GUEST_BASE + c->mem.len_b) / 4096 / 8;
}

static int set_log_base(struct client *c)
{
	struct vhost_user_log log = { .size_b = log_bytes(c) };
	struct vhost_user_msg msg;
	unsigned nfd = 0;

	if (c->log_fd < 0) {
		c->log_fd = memfd_create("postern-client-log", MFD_CLOEXEC);
		if (c->log_fd < 0 || ftruncate(c->log_fd, (off_t)log.size_b))
			return -errno;
	}
	int rc = vu_send(c->sock, VHOST_USER_SET_LOG_BASE, 0, &log, sizeof(log), &c->log_fd, 1);

	if (!rc)
		rc = vu_recv(c->sock, &msg, NULL, &nfd);
	return !rc && msg.hdr.request != VHOST_USER_SET_LOG_BASE ? -EPROTO : rc;
}

int client_raw_log(struct client *c)
{
	if (!c->conf.log)
		return 0;
	if (!(c->protocol & BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD)) ||
	    !(c->offered & BIT(VHOST_F_LOG_ALL)))
		return -ENOTSUP;
	int rc = set_log_base(c);

	if (!rc)
		rc = vu_tell_u64(c->sock, client_raw_ack(c), VHOST_USER_SET_FEATURES,
				 c->features | BIT(VHOST_F_LOG_ALL));
	for (unsigned i = 0; !rc && i < c->conf.queues; i++)
		rc = client_raw_set_addr(c, i, VHOST_USER_VRING_F_LOG);
	return rc;
}

int client_raw_stop(struct client *c, unsigned i, uint32_t *ret_base)
{
	struct vhost_user_vring_state s = { .index = i };
	struct vhost_user_msg msg;
	int rc = vu_ask(c->sock, VHOST_USER_GET_VRING_BASE, &s, sizeof(s), &msg);

	if (rc)
		return rc;
	if (msg.hdr.size != sizeof(s))
		return -EPROTO;
	*ret_base = msg.payload.state.num;
	return 0;
}
