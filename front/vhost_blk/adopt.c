/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/adopt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "front/vhost_blk/exchange.h"
#include "front/vhost_blk/message.h"
#include "front/vhost_blk/replay.h"

static_assert(KEPT_QUEUES == FRONT_QUEUES_MAX && KEPT_REGIONS == GMEM_REGIONS_MAX,
	      "the kept page has room for all");

static void record_queue(const struct session_queue *q, struct kept_queue *ret)
{
	uint32_t flags = (q->has_at ? KEPT_QUEUE_HAS_AT : 0) |
			 (q->has_kick ? KEPT_QUEUE_HAS_KICK : 0) |
			 (q->enabled ? KEPT_QUEUE_ENABLED : 0) | (q->at.log ? KEPT_QUEUE_LOG : 0);

	*ret = (struct kept_queue){ .desc = q->at.desc, .avail = q->at.avail, .used = q->at.used,
				    .log_gpa = q->at.log_gpa, .base = q->base, .size = q->size,
				    .flags = (uint16_t)flags, .kick = q->kick.slot,
				    .call = q->call.slot, .err = q->err.slot, .own = q->own_slot };
}

static bool is_resize_pending(const struct session *s)
{
	pthread_mutex_lock(&s->f->lock);
	bool pending = s->resize_pending;
	pthread_mutex_unlock(&s->f->lock);
	return pending;
}

void adopt_record(const struct session *s, struct kept_state *ret_state)
{
	const struct session_track *t = &s->track;
	struct kept_state *k = ret_state;

	k->features = s->features;
	k->protocol = s->protocol;
	k->size_b = s->told_b;
	k->since_ns = s->since_ns;
	k->handled = s->handled;
	k->flags = (s->f->writeback ? KEPT_WRITEBACK : 0) |
		   (is_resize_pending(s) ? KEPT_RESIZE_PENDING : 0) |
		   (t->packed ? KEPT_TRACK_PACKED : 0);
	k->peer_pid = (uint32_t)s->peer_pid;
	k->backend = s->backend.slot;
	k->log = s->log ? s->log_slot : 0;
	k->log_off_b = s->log_at.off_b;
	k->log_size_b = s->log_at.size_b;
	k->track = t->slot;
	k->track_off_b = t->off_b;
	k->track_len_b = t->len_b;
	k->track_queues = t->queues;
	k->track_size = t->size;
	for (unsigned i = 0; i < KEPT_QUEUES; i++) {
		k->queue[i] = (struct kept_queue){ 0 };
		if (s->queue[i])
			record_queue(s->queue[i], &k->queue[i]);
	}
	k->nregion = (uint16_t)(s->mem ? s->mem->n : 0);
	for (unsigned i = 0; i < k->nregion; i++) {
		const struct gregion *g = s->mem->reg[i];

		k->region[i] = (struct kept_region){ .guest_addr = g->base_b, .size_b = g->len_b,
						     .user_addr = g->uaddr_b,
						     .mmap_off_b = g->file_off_b,
						     .slot = (uint16_t)g->slot };
	}
}

static bool is_slot(uint16_t slot)
{
	return slot < KEPT_SLOTS;
}

static bool is_queue(const struct session *s, unsigned i, const struct kept_queue *q)
{
	static const struct kept_queue none;

	if (i >= s->f->conf.nqueue)
		return !memcmp(q, &none, sizeof(none));
	return q->size <= VIRTQ_SIZE_MAX && !(q->flags & ~KEPT_QUEUE_FLAGS) && is_slot(q->kick) &&
	       is_slot(q->call) && is_slot(q->err) && is_slot(q->own);
}

static bool is_message(const struct kept_message *m)
{
	bool ok = m->step <= KEPT_SENDING && m->replies <= 1 && m->nfd <= VHOST_USER_FDS_MAX &&
		  m->in.hdr.size <= VHOST_USER_PAYLOAD_MAX_B &&
		  m->out.hdr.size <= VHOST_USER_PAYLOAD_MAX_B;

	for (unsigned i = 0; ok && i < m->nfd; i++)
		ok = is_slot(m->slot[i]);
	return ok;
}

/* Our predecessor wrote it, perhaps after it had gone mad. What is mapped or opened later is judged
 * there, as if a front end had said it. Return: what makes no sense; NULL: all of it does. */
static const char *judge(const struct session *s, const struct kept_page *p)
{
	if (p->current > 1)
		return "no state is the current one";
	const struct kept_state *k = &p->copy[p->current];
	const struct vhost_blk_conf *c = &s->f->conf;

	if (!is_message(&p->msg))
		return "the message at hand is none";
	if (k->features & ~config_features(c->disk, c->nqueue))
		return "features that this disk does not have";
	if (k->protocol & ~MESSAGE_PROTOCOL_FEATURES)
		return "protocol features that there are not";
	if (k->flags & ~KEPT_FLAGS || !is_slot(k->backend) || !is_slot(k->log) ||
	    !is_slot(k->track))
		return "unknown flags, or a slot beyond the last";
	for (unsigned i = 0; i < KEPT_QUEUES; i++)
		if (!is_queue(s, i, &k->queue[i]) || p->replay[i] > KEPT_REPLAY_BARRED)
			return "a queue that cannot be";
	if (k->nregion > KEPT_REGIONS)
		return "too many regions of memory";
	for (unsigned i = 0; i < k->nregion; i++)
		if (!is_slot(k->region[i].slot))
			return "memory in a slot beyond the last";
	return NULL;
}

/* What was kept in @slot. Return: its descriptor, -1 when there is no slot; *ret_err is set when
 * there should be one and is not. */
static struct kept_fd fd_of(const struct session *s, uint16_t slot, int *ret_err)
{
	int fd = slot ? memo_get(s->memo, slot) : -1;

	if (slot && fd < 0)
		*ret_err = fd;
	return (struct kept_fd){ fd, slot };
}

static int adopt_memory(struct session *s, const struct kept_state *k)
{
	struct gmem *mem = NULL;
	int err = gmem_new(NULL, NULL, NULL, &mem);

	for (unsigned i = 0; i < k->nregion && !err; i++) {
		const struct kept_region *r = &k->region[i];
		struct gregion_desc d = { r->guest_addr, r->size_b, r->user_addr, r->mmap_off_b };
		struct kept_fd fd = fd_of(s, r->slot, &err);
		struct gregion *g;

		if (!err)
			err = session_open_region(s, &d, &fd, &g);
		kept_fd_close(&fd);
		if (!err)
			err = gmem_grow(&mem, g);
	}
	if (err) {
		gmem_free(mem);
		return err;
	}
	return k->nregion ? session_set_memory(s, mem) : (gmem_free(mem), 0);
}

static int adopt_log(struct session *s, const struct kept_state *k)
{
	struct vhost_user_log at = { k->log_size_b, k->log_off_b };
	struct dirty_log *log;
	int err = 0;

	if (!k->log)
		return 0;
	struct kept_fd fd = fd_of(s, k->log, &err);
	if (!err)
		err = dirty_open(&at, fd.fd, &log);
	kept_fd_close(&fd);
	if (err)
		return err;
	s->log_at = at;
	s->log_slot = k->log;
	session_set_log(s, log);
	return 0;
}

static int adopt_track(struct session *s, const struct kept_state *k)
{
	struct session_track t = { .off_b = k->track_off_b, .len_b = k->track_len_b,
				   .queues = k->track_queues, .size = k->track_size,
				   .packed = k->flags & KEPT_TRACK_PACKED };
	int err = 0;

	if (!k->track)
		return 0;
	struct kept_fd fd = fd_of(s, k->track, &err);
	if (!err)
		err = session_map_track(s, &t, &fd);
	kept_fd_close(&fd);
	if (!err)
		session_set_track(s, &t);
	return err;
}

static int adopt_queue(struct session *s, unsigned i, const struct kept_queue *k)
{
	struct session_queue *q = session_queue(s, i);
	int err = 0;

	if (!q)
		return -ENOMEM;
	q->at = (struct vq_ring){ k->desc, k->avail, k->used, k->log_gpa,
				  k->flags & KEPT_QUEUE_LOG };
	q->has_at = k->flags & KEPT_QUEUE_HAS_AT;
	q->has_kick = k->flags & KEPT_QUEUE_HAS_KICK;
	q->enabled = k->flags & KEPT_QUEUE_ENABLED;
	q->base = k->base;
	q->size = k->size;
	q->kick = fd_of(s, k->kick, &err);
	q->call = fd_of(s, k->call, &err);
	q->err = fd_of(s, k->err, &err);
	if (!err && ((q->kick.fd >= 0 && !session_may_read(q->kick.fd)) ||
		     (q->call.fd >= 0 && !session_may_write(q->call.fd)) ||
		     (q->err.fd >= 0 && !session_may_write(q->err.fd))))
		err = -EPROTO;
	if (!err && k->own) {
		struct kept_fd own = fd_of(s, k->own, &err);

		if (!err)
			err = session_map_own(s, q, &own);
		/* made for what was agreed on before it was barred: nobody will read it any more */
		if (err == -EPROTO && replay_is_barred(s, &q->vq))
			err = 0;
		kept_fd_close(&own);
	}
	return err;
}

static int adopt_queues(struct session *s, const struct kept_state *k)
{
	static const struct kept_queue none;
	int err = 0;

	for (unsigned i = 0; i < KEPT_QUEUES && !err; i++)
		if (memcmp(&k->queue[i], &none, sizeof(none)))
			err = adopt_queue(s, i, &k->queue[i]);
	return err;
}

/* Everything but starting. Return: 0; -errno with *ret_why what could not be had again. */
static int adopt_state(struct session *s, const struct kept_state *k, const char **ret_why)
{
	int err = 0;

	s->features = k->features;
	s->protocol = k->protocol;
	s->told_b = k->size_b;
	s->since_ns = k->since_ns;
	s->handled = k->handled;
	s->peer_pid = (pid_t)k->peer_pid;
	s->resize_pending = k->flags & KEPT_RESIZE_PENDING;
	s->f->writeback = k->flags & KEPT_WRITEBACK;
	s->backend = fd_of(s, k->backend, &err);
	*ret_why = "its back-end channel";
	if (err)
		return err;
	*ret_why = "its memory";
	err = adopt_memory(s, k);
	if (err)
		return err;
	*ret_why = "its dirty log";
	err = adopt_log(s, k);
	if (err)
		return err;
	*ret_why = "its in-flight region";
	err = adopt_track(s, k);
	if (err)
		return err;
	*ret_why = "its queues";
	return adopt_queues(s, k);
}

static int open_page(struct vhost_blk *f, struct memo **ret_memo, struct kept_page **ret_page,
		     char *ret_what, size_t room)
{
	int err = memo_open(&f->conf.keep, disk_name(f->conf.disk), ret_memo, ret_page);

	if (err == -EPROTONOSUPPORT)
		snprintf(ret_what, room, "its kept page is of a version that this program "
			 "cannot read (it reads %u)", KEPT_VERSION);
	else if (err)
		snprintf(ret_what, room, "its kept page is none");
	return err;
}

int adopt_session(struct vhost_blk *f, int sock, struct session **ret_session, char *ret_what,
		  size_t room)
{
	struct kept_page *page = NULL;
	struct memo *memo = NULL;
	int err = open_page(f, &memo, &page, ret_what, room);

	if (err && err != -ENOENT)
		keep_drop_all(&f->conf.keep);
	if (err)
		return err;
	struct session *s = session_alloc(f, -1);
	if (!s) {
		snprintf(ret_what, room, "no memory");
		free(page);
		memo_end(memo);
		return -ENOMEM;
	}
	s->memo = memo;
	const char *why = judge(s, page);
	if (why) {
		snprintf(ret_what, room, "its kept page makes no sense: %s", why);
		err = -EINVAL;
	} else {
		err = adopt_state(s, &page->copy[page->current], &why);
		if (err)
			snprintf(ret_what, room, "cannot have %s again: %s", why,
				 strerrordesc_np(-err));
	}
	free(page);
	if (err) {
		session_close(s);
		return err == -ENOENT ? -ESTALE : err;
	}
	s->sock = sock;
	s->is_adopted = true;
	*ret_session = s;
	return 0;
}

/* Return: 0; -errno: a queue cannot start. */
static int start_queues(struct session *s)
{
	uint64_t may_start = replay_judge(s);
	int err = 0;

	for (; may_start && !err; may_start &= may_start - 1)
		err = session_resume_queue(s, s->queue[__builtin_ctzll(may_start)]);
	return err;
}

int adopt_go_on(struct session *s, uint64_t *ret_ns, char *ret_what, size_t room)
{
	int err = 0;

	*ret_ns = NEVER_NS;
	if (!s->has_judged) {
		s->has_judged = true;
		err = start_queues(s);
	}
	if (!err)
		err = replay_next(s, ret_ns);
	if (err) {
		snprintf(ret_what, room, "a queue cannot go on: %s", strerrordesc_np(-err));
		return err;
	}
	/* the front end's next words wait for those queues that cannot run yet */
	if (s->suspects || !s->is_adopted)
		return 0;
	s->is_adopted = false;
	err = exchange_resume(s, ret_what, room);
	if (!err && (is_resize_pending(s) || s->told_b != disk_size_b(s->f->conf.disk))) {
		message_config_changed(s);
		session_commit(s);
	}
	return err;
}
