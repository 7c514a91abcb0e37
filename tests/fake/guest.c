/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/guest.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "front/vhost_blk/config.h"
#include "front/vhost_blk/exchange.h"

struct fake_case fake_split_case = { false }, fake_packed_case = { true };

#define WANT_PROTOCOL                                                                          \
	(FAKE_BIT(VHOST_USER_PROTOCOL_F_MQ) | FAKE_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |      \
	 FAKE_BIT(VHOST_USER_PROTOCOL_F_CONFIG) | FAKE_BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |  \
	 FAKE_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |                                         \
	 FAKE_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) |                                      \
	 FAKE_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |                                        \
	 FAKE_BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS))

static void fill_conf(struct fake_conf *c)
{
	c->queues = c->queues ? c->queues : 1;
	c->offered = c->offered ? c->offered : c->queues;
	c->size = c->size ? c->size : 16;
	c->regions = c->regions ? c->regions : 1;
	c->pollers = c->pollers ? c->pollers : 1;
	c->disk_b = c->disk_b ? c->disk_b : MIB;
}

struct fake *fake_open_disk(const struct fake_conf *c)
{
	struct fake *g = calloc(1, sizeof(*g));
	struct disk_error e;

	assert_non_null(g);
	/* as in posternd: a reply to who has gone is an error, not the end */
	signal(SIGPIPE, SIG_IGN);
	g->conf = *c;
	fill_conf(&g->conf);
	g->sock = g->track_fd = -1;
	for (unsigned i = 0; i < g->conf.pollers; i++)
		assert_int_equal(poller_open("fake", &g->poller[i]), 0);
	if (!c->media) {
		g->medium = script_new(g->conf.disk_b);
		g->medium->when = c->when;
	}
	struct disk_conf d = { .name = "fake", .media = c->media ? c->media : &g->medium->m,
			       .function = c->function, .nfunction = c->nfunction,
			       .size_b = g->conf.disk_b, .blk_b = c->blk_b,
			       .readonly = c->readonly, .mode = c->mode,
			       .care.timeout_ns = c->timeout_ns };

	assert_int_equal(disk_open(&d, &g->disk, &e), 0);
	g->front = (struct vhost_blk){
		.conf = { .disk = g->disk, .listen_fd = -1, .conn_fd = -1,
			  .nqueue = g->conf.offered, .npoller = g->conf.pollers },
		.writeback = true,
		.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++)
		g->front.poller[i] = g->poller[i % g->conf.pollers];
	if (c->keep)
		g->front.conf.keep = (struct keep_scope){ c->keep, "disk/fake/front" };
	list_init(&g->front.turn);
	pthread_mutex_init(&g->front.lock, NULL);
	return g;
}

void fake_connect(struct fake *g)
{
	uint64_t each_b = 64ull * g->conf.size + 64 * KIB;
	int sock[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	g->sock = sock[0];
	assert_int_equal(session_open(&g->front, sock[1], &g->s), 0);
	g->front.session = g->s;
	g->features = g->protocol = 0;
	if (!g->mem.host)
		assert_int_equal(client_mem_init(&g->mem, each_b * g->conf.queues + 1536 * KIB,
						 g->conf.regions, false), 0);
}

void fake_disconnect(struct fake *g)
{
	if (g->s) {
		/* what is held would keep the session waiting */
		if (g->medium)
			script_release_all(g->medium, REQ_OK);
		session_close(g->s);
	}
	g->s = g->front.session = NULL;
	g->sock = fd_close(g->sock);
}

void fake_close(struct fake *g)
{
	fake_disconnect(g);
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++) {
		if (!g->q[i])
			continue;
		fd_close(g->q[i]->kick_fd);
		fd_close(g->q[i]->call_fd);
		fd_close(g->q[i]->err_fd);
		free(g->q[i]);
	}
	disk_close(g->disk);
	for (unsigned i = 0; i < g->conf.pollers; i++)
		poller_close(g->poller[i]);
	fd_close(g->front.wake_fd);
	pthread_mutex_destroy(&g->front.lock);
	fd_close(g->track_fd);
	client_mem_fini(&g->mem);
	free(g);
}

int fake_handle(struct fake *g)
{
	return exchange_message(g->s, g->why, sizeof(g->why));
}

int fake_tell(struct fake *g, uint32_t request, const void *payload, uint32_t len, const int *fds,
	      unsigned nfd)
{
	bool ack = g->protocol & FAKE_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);
	struct vhost_user_msg reply;
	unsigned none = 0;

	assert_int_equal(vu_send(g->sock, request, ack ? VHOST_USER_NEED_REPLY : 0, payload, len,
				 fds, nfd), 0);
	int err = fake_handle(g);

	if (err || !ack)
		return err;
	assert_int_equal(vu_recv(g->sock, &reply, NULL, &none), 0);
	assert_int_equal(reply.hdr.request, request);
	assert_int_equal(reply.hdr.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
	assert_int_equal(reply.hdr.size, sizeof(uint64_t));
	return reply.payload.u64 ? -EREMOTEIO : 0;
}

int fake_tell_u64(struct fake *g, uint32_t request, uint64_t v)
{
	return fake_tell(g, request, &v, sizeof(v), NULL, 0);
}

int fake_tell_state(struct fake *g, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state s = { index, num };

	return fake_tell(g, request, &s, sizeof(s), NULL, 0);
}

int fake_tell_fd(struct fake *g, uint32_t request, uint64_t index, int fd)
{
	return fake_tell(g, request, &index, sizeof(index), &fd, fd >= 0);
}

int fake_ask(struct fake *g, uint32_t request, const void *payload, uint32_t len,
	     struct vhost_user_msg *ret_msg)
{
	unsigned none = 0;

	assert_int_equal(vu_send(g->sock, request, 0, payload, len, NULL, 0), 0);
	int err = fake_handle(g);

	if (err)
		return err;
	assert_int_equal(vu_recv(g->sock, ret_msg, NULL, &none), 0);
	assert_int_equal(ret_msg->hdr.request, request);
	return 0;
}

void fake_negotiate(struct fake *g)
{
	struct vhost_user_msg m;
	uint64_t leave_out = g->conf.without | FAKE_BIT(VHOST_F_LOG_ALL);

	if (!g->conf.packed)
		leave_out |= FAKE_BIT(VIRTIO_F_RING_PACKED);
	if (g->conf.no_event_idx)
		leave_out |= FAKE_BIT(VIRTIO_F_EVENT_IDX);
	if (g->conf.no_indirect)
		leave_out |= FAKE_BIT(VIRTIO_F_INDIRECT_DESC);
	assert_int_equal(fake_ask(g, VHOST_USER_GET_FEATURES, NULL, 0, &m), 0);
	g->features = m.payload.u64 & ~leave_out;
	if (g->features & FAKE_BIT(VHOST_USER_F_PROTOCOL_FEATURES)) {
		assert_int_equal(fake_ask(g, VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0, &m), 0);
		uint64_t want = m.payload.u64 & WANT_PROTOCOL;

		if (g->conf.no_ack)
			want &= ~FAKE_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);
		assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_PROTOCOL_FEATURES, want), 0);
		g->protocol = want;
	}
	assert_int_equal(fake_tell(g, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0), 0);
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES, g->features), 0);
}

struct vhost_user_mem_region fake_region(const struct fake *g, unsigned i)
{
	return (struct vhost_user_mem_region){
		.guest_addr = CLIENT_MEM_GUEST_BASE + i * g->mem.region_b,
		.size_b = g->mem.region_b,
		.user_addr = (uintptr_t)g->mem.host + i * g->mem.region_b,
	};
}

int fake_share_mem(struct fake *g)
{
	struct vhost_user_mem_table t = { .num_regions = g->mem.regions };

	for (unsigned i = 0; i < g->mem.regions; i++)
		t.region[i] = fake_region(g, i);
	return fake_tell(g, VHOST_USER_SET_MEM_TABLE, &t,
			 VHOST_USER_MEM_TABLE_BYTES(g->mem.regions), g->mem.fd, g->mem.regions);
}

void fake_get_track(struct fake *g)
{
	struct vhost_user_inflight ask = { .num_queues = (uint16_t)g->conf.queues,
					   .queue_size = g->conf.size };
	struct vhost_user_msg m;
	unsigned nfd = 1;

	assert_int_equal(vu_send(g->sock, VHOST_USER_GET_INFLIGHT_FD, 0, &ask, sizeof(ask), NULL,
				 0), 0);
	assert_int_equal(fake_handle(g), 0);
	g->track_fd = fd_close(g->track_fd);
	assert_int_equal(vu_recv(g->sock, &m, &g->track_fd, &nfd), 0);
	assert_int_equal(nfd, 1);
	g->track = m.payload.inflight;
}

int fake_set_track(struct fake *g)
{
	return fake_tell(g, VHOST_USER_SET_INFLIGHT_FD, &g->track, sizeof(g->track), &g->track_fd,
			 1);
}

struct vhost_user_vring_addr fake_addr(const struct fake_queue *q)
{
	return (struct vhost_user_vring_addr){
		.index = q->index,
		.desc = (uintptr_t)q->desc,
		.avail = (uintptr_t)q->avail,
		.used = (uintptr_t)q->used,
		.log = client_mem_guest(&q->g->mem, q->used),
	};
}

int fake_start(struct fake *g, unsigned i, uint32_t base)
{
	struct fake_queue *q = g->q[i];
	struct vhost_user_vring_addr a = fake_addr(q);
	int err = fake_tell_state(g, VHOST_USER_SET_VRING_NUM, i, q->size);

	if (!err)
		err = fake_tell_state(g, VHOST_USER_SET_VRING_BASE, i, base);
	if (!err)
		err = fake_tell(g, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	if (!err)
		err = fake_tell_fd(g, VHOST_USER_SET_VRING_KICK, i, q->kick_fd);
	if (!err)
		err = fake_tell_fd(g, VHOST_USER_SET_VRING_CALL, i, q->call_fd);
	if (!err)
		err = fake_tell_fd(g, VHOST_USER_SET_VRING_ERR, i, q->err_fd);
	if (!err && g->features & FAKE_BIT(VHOST_USER_F_PROTOCOL_FEATURES))
		err = fake_tell_state(g, VHOST_USER_SET_VRING_ENABLE, i, 1);
	return err;
}

uint32_t fake_stop(struct fake *g, unsigned i)
{
	struct vhost_user_vring_state s = { i, 0 };
	struct vhost_user_msg m;

	assert_int_equal(fake_ask(g, VHOST_USER_GET_VRING_BASE, &s, sizeof(s), &m), 0);
	assert_int_equal(m.hdr.size, sizeof(s));
	assert_int_equal(m.payload.state.index, i);
	return m.payload.state.num;
}

void fake_reset(struct fake *g, unsigned i)
{
	struct fake_queue *q = g->q[i];

	memset(q->desc, 0, VIRTQ_DESC_BYTES(q->size));
	memset(q->avail, 0, VIRTQ_AVAIL_BYTES(q->size));
	memset(q->used, 0, VIRTQ_USED_BYTES(q->size));
	q->put_idx = q->published_idx = q->used_idx = q->unpublished = 0;
	q->put_wrap = q->used_wrap = true;
	if (g->conf.track) {
		fake_get_track(g);
		assert_int_equal(fake_set_track(g), 0);
	}
	assert_int_equal(fake_start(g, i, g->conf.packed ? 0x80008000u : 0), 0);
	fake_calls(q);
}

struct fake *fake_open(const struct fake_conf *c)
{
	struct fake *g = fake_open_disk(c);

	fake_connect(g);
	fake_negotiate(g);
	assert_int_equal(fake_share_mem(g), 0);
	if (c->track) {
		fake_get_track(g);
		assert_int_equal(fake_set_track(g), 0);
	}
	for (unsigned i = 0; i < g->conf.queues; i++) {
		fake_queue(g, i);
		assert_int_equal(fake_start(g, i, c->packed ? 0x80008000u : 0), 0);
		fake_calls(g->q[i]);
	}
	return g;
}

unsigned fake_turn(struct fake *g)
{
	unsigned work = 0;

	for (unsigned i = 0; i < g->conf.pollers; i++)
		work += poller_turn(g->poller[i]);
	return work;
}

void fake_settle(struct fake *g)
{
	/* each turn looks at one cold queue alone */
	unsigned quiet = 0, enough = 2 + g->conf.queues;

	for (unsigned i = 0; quiet < enough; i++) {
		assert_true(i < 100000);
		quiet = fake_turn(g) ? 0 : quiet + 1;
	}
}

struct vq *fake_vq(struct fake *g, unsigned i)
{
	assert_non_null(g->s->queue[i]);
	return &g->s->queue[i]->vq;
}

const char *fake_broken(struct fake *g, unsigned i)
{
	return fake_vq(g, i)->broken;
}

unsigned fake_requests_out(const struct poller *p)
{
	return p->slab.mapped - p->slab.nfree;
}

void *fake_alloc(struct fake *g, uint64_t len_b, uint64_t align_b)
{
	void *p = client_mem_alloc(&g->mem, len_b, align_b);

	assert_non_null(p);
	return p;
}

uint64_t fake_gpa(const struct fake *g, const void *p)
{
	return client_mem_guest(&g->mem, p);
}
