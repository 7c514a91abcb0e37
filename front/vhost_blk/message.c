/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of vhost-user, one handler each. What arrives is untrusted: its size
 * and number of descriptors are judged by the table before a handler sees it, and each
 * handler judges the rest. A handler returns 0, -EPROTO for what no front end may send
 * (the connection is closed), or another -errno for what we could not do (refused if the
 * front end asked to be told, otherwise the connection is closed).
 *
 * A handler may run again for the same message, in a successor of this process, on whatever
 * of its effects was committed before (session_commit()): the same again is no error.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "front/vhost_blk/config.h"
#include "front/vhost_blk/message.h"
#include "front/vhost_blk/session.h"
#include "front/vhost_blk/track.h"

static void reply_u64(struct message *m, uint64_t v)
{
	m->out.payload.u64 = v;
	m->out.hdr.size = sizeof(v);
	m->replies = true;
}

static int get_features(struct session *s, struct message *m)
{
	reply_u64(m, config_features(s->f->conf.disk, s->f->conf.nqueue));
	return 0;
}

static int set_features(struct session *s, struct message *m)
{
	uint64_t f = m->in.payload.u64;
	bool running = false;

	if (f & ~config_features(s->f->conf.disk, s->f->conf.nqueue))
		return -EPROTO;
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++)
		running |= s->queue[i] && s->queue[i]->vq.running;
	/* only the dirty log may be turned on and off under running queues */
	if (running && (f ^ s->features) & ~BIT(VHOST_F_LOG_ALL))
		return -EPROTO;
	pthread_mutex_lock(&s->f->lock);
	s->features = f;
	pthread_mutex_unlock(&s->f->lock);
	session_set_log(s, s->log);
	return 0;
}

static int nothing(struct session *s, struct message *m)
{
	return 0;
}

static struct gregion_desc desc_of(const struct vhost_user_mem_region r)
{
	return (struct gregion_desc){ r.guest_addr, r.size_b, r.user_addr, r.mmap_off_b };
}

/* The region of the table in force that is this one, file and all, with a reference for the
 * caller; or a newly mapped one. */
static int region_of(struct session *s, const struct gregion_desc *d, const struct kept_fd *fd,
		     struct gregion **ret_region)
{
	struct gregion *g = s->mem ? gmem_find(s->mem, d) : NULL;
	struct stat st;

	if (g && !fstat(fd->fd, &st) && st.st_dev == g->dev && st.st_ino == g->ino &&
	    d->file_off_b == g->file_off_b) {
		g->refs++;
		*ret_region = g;
		return 0;
	}
	return session_open_region(s, d, fd, ret_region);
}

static int set_mem_table(struct session *s, struct message *m)
{
	const struct vhost_user_mem_table t = m->in.payload.mem;
	uint32_t n = t.num_regions;
	struct gmem *mem = NULL;
	int err = 0;

	if (n > VHOST_USER_MEM_TABLE_MAX || m->nfd != n ||
	    m->in.hdr.size < VHOST_USER_MEM_TABLE_BYTES(n))
		return -EPROTO;
	err = gmem_new(NULL, NULL, NULL, &mem);
	for (unsigned i = 0; i < n && !err; i++) {
		struct gregion_desc d = desc_of(t.region[i]);
		struct gregion *g;

		err = region_of(s, &d, &m->fd[i], &g);
		if (!err)
			err = gmem_grow(&mem, g);
	}
	if (err) {
		gmem_free(mem);
		return err;
	}
	return session_set_memory(s, mem);
}

static int add_mem_reg(struct session *s, struct message *m)
{
	struct gregion_desc d = desc_of(m->in.payload.mem_single.region);
	struct gmem *mem;
	struct gregion *g;

	if (m->nfd != 1)
		return -EPROTO;
	/* said again after a lost reply */
	if (s->mem && gmem_find(s->mem, &d))
		return 0;
	int err = session_open_region(s, &d, &m->fd[0], &g);
	if (err)
		return err;
	err = gmem_new(s->mem, g, NULL, &mem);
	gregion_put(g);
	return err ? err : session_set_memory(s, mem);
}

static int rem_mem_reg(struct session *s, struct message *m)
{
	struct gregion_desc d = desc_of(m->in.payload.mem_single.region);
	struct gregion *g = s->mem ? gmem_find(s->mem, &d) : NULL;
	struct gmem *mem;

	if (!g)
		return -ENOENT;
	int err = gmem_new(s->mem, NULL, g, &mem);

	return err ? err : session_set_memory(s, mem);
}

static int get_max_mem_slots(struct session *s, struct message *m)
{
	reply_u64(m, GMEM_REGIONS_MAX);
	return 0;
}

static int set_log_base(struct session *s, struct message *m)
{
	const struct vhost_user_log d = m->in.payload.log;
	struct dirty_log *log;

	if (m->nfd != 1)
		return -EPROTO;
	int err = dirty_open(&d, m->fd[0].fd, &log);
	if (err)
		return err;
	session_set_log(s, log);
	s->log_at = d;
	s->log_slot = m->fd[0].slot;
	/* with LOG_SHMFD this message has an answer of its own */
	if (s->protocol & BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD))
		reply_u64(m, 0);
	return 0;
}

static int set_vring_num(struct session *s, struct message *m)
{
	struct session_queue *q = session_queue(s, m->in.payload.state.index);
	uint32_t n = m->in.payload.state.num;

	if (!q || !n || n > VIRTQ_SIZE_MAX)
		return -EPROTO;
	if (q->vq.running)
		return q->size == n ? 0 : -EPROTO;
	q->size = (uint16_t)n;
	return session_update_queue(s, q);
}

static int set_vring_addr(struct session *s, struct message *m)
{
	const struct vhost_user_vring_addr a = m->in.payload.addr;
	struct session_queue *q = session_queue(s, a.index);

	if (!q || !s->mem)
		return -EPROTO;
	q->at = (struct vq_ring){ .desc = a.desc, .avail = a.avail, .used = a.used,
				  .log_gpa = a.log, .log = a.flags & VHOST_USER_VRING_F_LOG };
	q->has_at = true;
	/* told again under a running queue, to say where its log goes */
	return q->vq.running ? vq_set_memory(&q->vq, s->mem, &q->at) : session_update_queue(s, q);
}

static int set_vring_base(struct session *s, struct message *m)
{
	struct session_queue *q = session_queue(s, m->in.payload.state.index);

	if (!q || q->vq.running)
		return -EPROTO;
	q->base = m->in.payload.state.num;
	return 0;
}

static int get_vring_base(struct session *s, struct message *m)
{
	struct session_queue *q = session_queue(s, m->in.payload.state.index);

	if (!q)
		return -EPROTO;
	session_stop_queue(s, q);
	kept_fd_close(&q->kick);
	q->has_kick = false;
	m->out.payload.state = (struct vhost_user_vring_state){ q->vq.index, q->base };
	m->out.hdr.size = sizeof(m->out.payload.state);
	m->replies = true;
	return 0;
}

/* Index and descriptor of SET_VRING_KICK, _CALL and _ERR. Return: the queue; NULL: malformed. */
static struct session_queue *queue_and_fd(struct session *s, struct message *m,
					  struct kept_fd *ret_fd)
{
	uint64_t v = m->in.payload.u64;
	bool none = v & VHOST_USER_VRING_NOFD;

	if (v & ~(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NOFD) || m->nfd != !none)
		return NULL;
	struct session_queue *q = session_queue(s, v & VHOST_USER_VRING_INDEX_MASK);
	if (q)
		*ret_fd = none ? NO_KEPT_FD : kept_fd_steal(&m->fd[0]);
	return q;
}

static int set_vring_kick(struct session *s, struct message *m)
{
	struct kept_fd fd;
	struct session_queue *q = queue_and_fd(s, m, &fd);

	if (!q)
		return -EPROTO;
	if (fd.fd >= 0 && !session_may_read(fd.fd)) {
		kept_fd_close(&fd);
		return -EPROTO;
	}
	session_stop_queue(s, q);
	kept_fd_close(&q->kick);
	q->kick = fd;
	q->has_kick = true;
	return session_update_queue(s, q);
}

/* As queue_and_fd(), for a descriptor that a poller writes to and must never wait for. */
static struct session_queue *queue_and_signal(struct session *s, struct message *m,
					      struct kept_fd *ret_fd)
{
	struct kept_fd fd = NO_KEPT_FD;
	struct session_queue *q = queue_and_fd(s, m, &fd);

	if (!q)
		return NULL;
	if (fd.fd >= 0 && !session_may_write(fd.fd)) {
		kept_fd_close(&fd);
		return NULL;
	}
	*ret_fd = fd;
	return q;
}

static int set_vring_call(struct session *s, struct message *m)
{
	struct kept_fd fd;
	struct session_queue *q = queue_and_signal(s, m, &fd);

	if (!q)
		return -EPROTO;
	if (q->vq.running)
		vq_set_call(&q->vq, fd.fd);
	kept_fd_close(&q->call);
	q->call = fd;
	return 0;
}

static int set_vring_err(struct session *s, struct message *m)
{
	struct kept_fd fd;
	struct session_queue *q = queue_and_signal(s, m, &fd);

	if (!q)
		return -EPROTO;
	if (q->vq.running)
		vq_set_err(&q->vq, fd.fd);
	kept_fd_close(&q->err);
	q->err = fd;
	return 0;
}

static int set_vring_enable(struct session *s, struct message *m)
{
	struct session_queue *q = session_queue(s, m->in.payload.state.index);

	if (!q || m->in.payload.state.num > 1 ||
	    !(s->features & BIT(VHOST_USER_F_PROTOCOL_FEATURES)))
		return -EPROTO;
	q->enabled = m->in.payload.state.num;
	return session_update_queue(s, q);
}

static int get_protocol_features(struct session *s, struct message *m)
{
	reply_u64(m, MESSAGE_PROTOCOL_FEATURES);
	return 0;
}

static int set_protocol_features(struct session *s, struct message *m)
{
	if (m->in.payload.u64 & ~MESSAGE_PROTOCOL_FEATURES)
		return -EPROTO;
	s->protocol = m->in.payload.u64;
	return 0;
}

static int get_queue_num(struct session *s, struct message *m)
{
	reply_u64(m, s->f->conf.nqueue);
	return 0;
}

static int set_backend_req_fd(struct session *s, struct message *m)
{
	if (m->nfd != 1)
		return -EPROTO;
	kept_fd_close(&s->backend);
	s->backend = kept_fd_steal(&m->fd[0]);
	/* what was asked on another channel is not answered on this one */
	s->memo->page->resize_asked = 0;
	return 0;
}

static int get_config(struct session *s, struct message *m)
{
	uint32_t off_b = m->in.payload.config.offset, len_b = m->in.payload.config.size;
	uint8_t space[VHOST_USER_CONFIG_MAX_B] = { 0 };
	struct virtio_blk_config c;

	if (!range_inside(off_b, len_b, sizeof(space)) ||
	    m->in.hdr.size != VHOST_USER_CONFIG_HDR_B + len_b)
		return -EPROTO;
	config_fill(s->f->conf.disk, s->f->conf.nqueue, s->f->writeback, &c);
	memcpy(space, &c, sizeof(c));
	/* exactly as much as was asked for: a front end takes more, or less, for an error */
	m->out.payload.config = m->in.payload.config;
	memcpy(m->out.payload.config.data, space + off_b, len_b);
	m->out.hdr.size = m->in.hdr.size;
	m->replies = true;
	return 0;
}

/* Of the configuration space only writeback is the driver's to write (5.2.4). */
static int set_config(struct session *s, struct message *m)
{
	uint32_t off_b = m->in.payload.config.offset, len_b = m->in.payload.config.size;

	if (m->in.hdr.size - VHOST_USER_CONFIG_HDR_B != len_b)
		return -EPROTO;
	if (off_b != offsetof(struct virtio_blk_config, writeback) || len_b != 1 ||
	    !(s->features & BIT(VIRTIO_BLK_F_CONFIG_WCE)))
		return -EINVAL;
	s->f->writeback = m->in.payload.config.data[0] & 1;
	if (s->track.at)
		track_note_write_through(s->track.at, !s->f->writeback);
	session_update_write_through(s);
	return 0;
}

static int get_inflight_fd(struct session *s, struct message *m)
{
	struct vhost_user_inflight want = m->in.payload.inflight;
	bool packed = s->features & BIT(VIRTIO_F_RING_PACKED);

	if (!want.num_queues || want.num_queues > s->f->conf.nqueue || !want.queue_size ||
	    want.queue_size > VIRTQ_SIZE_MAX)
		return -EPROTO;
	uint64_t len_b = track_region_len_b(packed, want.queue_size) * want.num_queues;
	int fd = fd_memory("postern-inflight", len_b, 0);
	if (fd < 0)
		return fd;
	want.mmap_size_b = len_b;
	want.mmap_off_b = 0;
	m->out.payload.inflight = want;
	m->out.hdr.size = m->in.hdr.size;
	m->out_fd = fd;
	m->replies = true;
	return 0;
}

static int set_inflight_fd(struct session *s, struct message *m)
{
	const struct vhost_user_inflight d = m->in.payload.inflight;
	struct session_track t = { .off_b = d.mmap_off_b, .len_b = d.mmap_size_b,
				   .queues = d.num_queues, .size = d.queue_size,
				   .packed = s->features & BIT(VIRTIO_F_RING_PACKED) };

	if (m->nfd != 1)
		return -EPROTO;
	int err = session_map_track(s, &t, &m->fd[0]);
	if (err)
		return err;
	session_stop_all(s);
	session_set_track(s, &t);
	/* what is known of the guest's choice, by a predecessor or by us, is known to both from
	 * now */
	s->f->writeback &= !track_is_write_through(t.at);
	track_note_write_through(t.at, !s->f->writeback);
	return 0;
}

static int reset_device(struct session *s, struct message *m)
{
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++) {
		struct session_queue *q = s->queue[i];

		if (!q)
			continue;
		session_stop_queue(s, q);
		q->enabled = false;
		q->base = 0;
	}
	s->f->writeback = true;
	if (s->track.at)
		track_note_write_through(s->track.at, false);
	return 0;
}

/* The descriptors that belong to a message. */
enum fds {
	FDS_NONE,
	FDS_ONE,
	FDS_UNLESS_FLAG, /* one, unless VHOST_USER_VRING_NOFD is set */
	FDS_REGIONS,	 /* one for each region */
	FDS_IDLE,	 /* one may come, of which nothing is made */
};

/* What each message must be, before anything is made of it. */
static const struct handler {
	const char *name;
	int (*handle)(struct session *s, struct message *m);
	uint32_t min_b, max_b;
	enum fds fds;
	uint64_t protocol; /* needs this negotiated; 0: nothing */
} handler[VHOST_USER_REQUEST_MAX] = {
#define SIZE(type) sizeof(type), sizeof(type)
	[VHOST_USER_GET_FEATURES] = { "GET_FEATURES", get_features, 0, 0, FDS_NONE, 0 },
	[VHOST_USER_SET_FEATURES] = { "SET_FEATURES", set_features, SIZE(uint64_t),
				      FDS_NONE, 0 },
	[VHOST_USER_SET_OWNER] = { "SET_OWNER", nothing, 0, 0, FDS_NONE, 0 },
	[VHOST_USER_RESET_OWNER] = { "RESET_OWNER", nothing, 0, 0, FDS_NONE, 0 },
	[VHOST_USER_SET_MEM_TABLE] = { "SET_MEM_TABLE", set_mem_table, 8,
				       sizeof(struct vhost_user_mem_table),
				       FDS_REGIONS, 0 },
	[VHOST_USER_SET_LOG_BASE] = { "SET_LOG_BASE", set_log_base, SIZE(struct vhost_user_log),
				      FDS_ONE, 0 },
	[VHOST_USER_SET_LOG_FD] = { "SET_LOG_FD", nothing, 0, 8, FDS_IDLE, 0 },
	[VHOST_USER_SET_VRING_NUM] = { "SET_VRING_NUM", set_vring_num,
				       SIZE(struct vhost_user_vring_state), FDS_NONE, 0 },
	[VHOST_USER_SET_VRING_ADDR] = { "SET_VRING_ADDR", set_vring_addr,
					SIZE(struct vhost_user_vring_addr), FDS_NONE, 0 },
	[VHOST_USER_SET_VRING_BASE] = { "SET_VRING_BASE", set_vring_base,
					SIZE(struct vhost_user_vring_state), FDS_NONE, 0 },
	[VHOST_USER_GET_VRING_BASE] = { "GET_VRING_BASE", get_vring_base,
					SIZE(struct vhost_user_vring_state), FDS_NONE, 0 },
	[VHOST_USER_SET_VRING_KICK] = { "SET_VRING_KICK", set_vring_kick, SIZE(uint64_t),
					FDS_UNLESS_FLAG, 0 },
	[VHOST_USER_SET_VRING_CALL] = { "SET_VRING_CALL", set_vring_call, SIZE(uint64_t),
					FDS_UNLESS_FLAG, 0 },
	[VHOST_USER_SET_VRING_ERR] = { "SET_VRING_ERR", set_vring_err, SIZE(uint64_t),
					FDS_UNLESS_FLAG, 0 },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", get_protocol_features, 0,
					       0, FDS_NONE, 0 },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", set_protocol_features,
					       SIZE(uint64_t), FDS_NONE, 0 },
	[VHOST_USER_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", get_queue_num, 0, 0, FDS_NONE,
				       BIT(VHOST_USER_PROTOCOL_F_MQ) },
	[VHOST_USER_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", set_vring_enable,
					  SIZE(struct vhost_user_vring_state), FDS_NONE, 0 },
	[VHOST_USER_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", set_backend_req_fd, 0, 0,
					    FDS_ONE,
					    BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) },
	[VHOST_USER_GET_CONFIG] = { "GET_CONFIG", get_config, VHOST_USER_CONFIG_HDR_B,
				    sizeof(struct vhost_user_config), FDS_NONE,
				    BIT(VHOST_USER_PROTOCOL_F_CONFIG) },
	[VHOST_USER_SET_CONFIG] = { "SET_CONFIG", set_config, VHOST_USER_CONFIG_HDR_B,
				    sizeof(struct vhost_user_config), FDS_NONE,
				    BIT(VHOST_USER_PROTOCOL_F_CONFIG) },
	[VHOST_USER_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", get_inflight_fd,
					 VHOST_USER_INFLIGHT_MIN_B,
					 sizeof(struct vhost_user_inflight), FDS_NONE,
					 BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) },
	[VHOST_USER_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", set_inflight_fd,
					 VHOST_USER_INFLIGHT_MIN_B,
					 sizeof(struct vhost_user_inflight), FDS_ONE,
					 BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) },
	[VHOST_USER_RESET_DEVICE] = { "RESET_DEVICE", reset_device, 0, 0, FDS_NONE,
				      BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", get_max_mem_slots, 0, 0, FDS_NONE,
					   BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) },
	[VHOST_USER_ADD_MEM_REG] = { "ADD_MEM_REG", add_mem_reg,
				     SIZE(struct vhost_user_mem_single), FDS_ONE,
				     BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) },
	[VHOST_USER_REM_MEM_REG] = { "REM_MEM_REG", rem_mem_reg,
				     SIZE(struct vhost_user_mem_single), FDS_IDLE,
				     BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) },
#undef SIZE
};

static const struct handler *handler_of(const struct message *m)
{
	uint32_t r = m->in.hdr.request;

	return r < VHOST_USER_REQUEST_MAX && handler[r].handle ? &handler[r] : NULL;
}

const char *message_judge(const struct session *s, const struct message *m)
{
	const struct handler *h = handler_of(m);

	if (!h)
		return "unknown message";
	if ((m->in.hdr.flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return "unknown version";
	if (m->in.hdr.size < h->min_b || m->in.hdr.size > h->max_b)
		return "wrong size";
	if (h->protocol & ~s->protocol)
		return "protocol feature not negotiated";
	return NULL;
}

unsigned message_fds(const struct message *m)
{
	switch (handler_of(m)->fds) {
	case FDS_NONE:
	case FDS_IDLE:
		break;
	case FDS_ONE:
		return 1;
	case FDS_UNLESS_FLAG:
		return !(m->in.payload.u64 & VHOST_USER_VRING_NOFD);
	case FDS_REGIONS:
		return min_u32(m->in.payload.mem.num_regions, VHOST_USER_FDS_MAX);
	}
	return 0;
}

bool message_allows_fds(const struct message *m, unsigned nfd)
{
	return nfd == message_fds(m) || (nfd == 1 && handler_of(m)->fds == FDS_IDLE);
}

int message_explain(const struct message *m, const char *why, char *ret_what, size_t room)
{
	const struct handler *h = handler_of(m);

	if (h)
		snprintf(ret_what, room, "%s: %s", h->name, why);
	else
		snprintf(ret_what, room, "message %u: %s", m->in.hdr.request, why);
	return -EPROTO;
}

int message_run(struct session *s, struct message *m, char *ret_what, size_t room)
{
	bool ask = m->in.hdr.flags & VHOST_USER_NEED_REPLY &&
		   s->protocol & BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);
	int err = handler_of(m)->handle(s, m);

	if (err == -EPROTO)
		return message_explain(m, "malformed", ret_what, room);
	if (err && !ask) {
		char why[96];

		snprintf(why, sizeof(why), "%s", strerrordesc_np(-err));
		return message_explain(m, why, ret_what, room);
	}
	if (!m->replies && ask)
		reply_u64(m, err ? 1 : 0);
	m->out.hdr.request = m->in.hdr.request;
	m->out.hdr.flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
	return 0;
}

void message_config_changed(struct session *s)
{
	struct vhost_user_hdr h = { .request = VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
				    .flags = VHOST_USER_VERSION };

	s->told_b = disk_size_b(s->f->conf.disk);
	session_set_resize(s, true);
	if (s->backend.fd < 0)
		return;
	if (s->protocol & BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK))
		h.flags |= VHOST_USER_NEED_REPLY;
	/* never waits: a front end that does not read its channel learns it on its next
	 * GET_CONFIG */
	ssize_t n = send(s->backend.fd, &h, sizeof(h), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n == sizeof(h) && h.flags & VHOST_USER_NEED_REPLY)
		s->memo->page->resize_asked++;
	else if (n == sizeof(h))
		session_set_resize(s, false);
}

void message_backend_reply(struct session *s)
{
	struct {
		struct vhost_user_hdr hdr;
		uint64_t code;
	} __attribute__((packed)) r;
	ssize_t n = recv(s->backend.fd, &r, sizeof(r), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(r) || r.hdr.request != VHOST_USER_BACKEND_CONFIG_CHANGE_MSG) {
		/* gone, or not a reply: nothing more can be said there */
		kept_fd_close(&s->backend);
		return;
	}
	uint32_t *asked = &s->memo->page->resize_asked;

	*asked -= *asked > 0;
	if (!r.code && !*asked)
		session_set_resize(s, false);
}
