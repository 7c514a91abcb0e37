/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/memo.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/fd.h"
#include "base/log.h"

#define PIPE_B 4096 /* any reply; the least there is, as users have a limit of their own on them */

static void order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static int map_page(struct memo *m)
{
	void *at = mmap(NULL, KEPT_PAGE_B, PROT_READ | PROT_WRITE, MAP_SHARED, m->page_fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	m->page = at;
	crash_watch(&m->page->crashed);
	return 0;
}

static struct memo *alloc(const struct keep_scope *scope, const char *name)
{
	struct memo *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->scope = *scope;
	snprintf(m->name, sizeof(m->name), "%s", name);
	m->page_fd = m->pipe[0] = m->pipe[1] = -1;
	return m;
}

static void dispose(struct memo *m)
{
	if (m->page) {
		crash_unwatch(&m->page->crashed);
		munmap(m->page, KEPT_PAGE_B);
	}
	fd_close(m->page_fd);
	fd_close(m->pipe[0]);
	fd_close(m->pipe[1]);
	free(m);
}

static int make_page(struct memo *m)
{
	m->page_fd = fd_memory("postern-kept", KEPT_PAGE_B, 0);
	if (m->page_fd < 0)
		return m->page_fd;
	if (pipe2(m->pipe, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	/* where that is refused it is larger */
	fcntl(m->pipe[1], F_SETPIPE_SZ, PIPE_B);
	int err = map_page(m);

	if (err)
		return err;
	m->page->magic = KEPT_MAGIC;
	m->page->version = KEPT_VERSION;
	return 0;
}

/* Nothing of this connection outlives the process. */
static void give_up(struct memo *m, int err)
{
	if (!m->is_kept)
		return;
	m->is_kept = false;
	log_warn(m->name, "this connection would not outlive a restart, nothing of it is kept: %s",
		 strerrordesc_np(-err));
	keep_drop_all(&m->scope);
}

int memo_new(const struct keep_scope *scope, const char *name, int sock, struct memo **ret_memo)
{
	struct memo *m = alloc(scope, name);

	if (!m)
		return -ENOMEM;
	int err = make_page(m);
	if (err) {
		dispose(m);
		return err;
	}
	m->is_kept = scope->keep;
	err = keep_put(scope, "sock", sock);
	if (!err)
		err = keep_put(scope, "pipe/out", m->pipe[0]);
	if (!err)
		err = keep_put(scope, "pipe/in", m->pipe[1]);
	if (!err)
		err = keep_put(scope, "page", m->page_fd);
	if (err)
		give_up(m, err);
	*ret_memo = m;
	return 0;
}

/* The size and the seals first: what could shrink could kill us. */
static int check_page(int fd)
{
	struct stat st;
	uint64_t head[2];

	if (!fd_is_sealed(fd) || fstat(fd, &st) ||
	    pread(fd, head, sizeof(head), 0) != sizeof(head) || head[0] != KEPT_MAGIC)
		return -EINVAL;
	if ((uint32_t)head[1] != KEPT_VERSION)
		return -EPROTONOSUPPORT;
	return st.st_size == KEPT_PAGE_B ? 0 : -EINVAL;
}

static int get_pipe(struct memo *m)
{
	m->pipe[0] = keep_get(&m->scope, "pipe/out");
	m->pipe[1] = keep_get(&m->scope, "pipe/in");
	/* neither is ever waited for */
	for (unsigned i = 0; i < 2; i++)
		if (m->pipe[i] < 0 || fcntl(m->pipe[i], F_GETPIPE_SZ) < 0 ||
		    !(fcntl(m->pipe[i], F_GETFL) & O_NONBLOCK))
			return -EINVAL;
	return 0;
}

/* Only what says something: first touches are a good part of what a successor with many
 * connections does before the first of them goes on. Numbers that make no sense are copied, to be
 * judged, and not followed. */
static void copy_page(struct kept_page *to, const struct kept_page *from)
{
	memcpy(to, from, offsetof(struct kept_page, copy));
	if (to->current >= ARRAY_SIZE(to->copy))
		return;
	struct kept_state *s = &to->copy[to->current];
	const struct kept_state *f = &from->copy[to->current];

	memcpy(s, f, offsetof(struct kept_state, region));
	if (s->nregion <= KEPT_REGIONS)
		memcpy(s->region, f->region, s->nregion * sizeof(*s->region));
}

int memo_open(const struct keep_scope *scope, const char *name, struct memo **ret_memo,
	      struct kept_page **ret_page)
{
	int fd = keep_get(scope, "page");

	if (fd < 0)
		return fd;
	struct memo *m = alloc(scope, name);
	struct kept_page *copy = calloc(1, sizeof(*copy));
	int err = -ENOMEM;

	if (m && copy) {
		m->page_fd = fd;
		m->is_kept = true;
		err = check_page(fd);
	}
	if (!err)
		err = map_page(m);
	if (!err)
		err = get_pipe(m);
	if (err) {
		free(copy);
		if (m)
			dispose(m);
		else
			fd_close(fd);
		return err;
	}
	copy_page(copy, m->page);
	*ret_memo = m;
	*ret_page = copy;
	return 0;
}

void memo_end(struct memo *m)
{
	if (!m)
		return;
	if (m->is_kept)
		keep_drop_all(&m->scope);
	dispose(m);
}

static void slot_name(unsigned slot, char *ret_name, size_t room)
{
	snprintf(ret_name, room, "%u", slot);
}

uint16_t memo_put(struct memo *m, int fd)
{
	uint64_t *slots = m->page->slots;
	unsigned slot = 1;
	char name[8];

	if (!m->is_kept)
		return 0;
	while (slot < KEPT_SLOTS && slots[slot / 64] >> slot % 64 & 1)
		slot++;
	if (slot == KEPT_SLOTS) {
		give_up(m, -EMFILE);
		return 0;
	}
	slots[slot / 64] |= 1ull << slot % 64;
	order();
	slot_name(slot, name, sizeof(name));
	int err = keep_put(&m->scope, name, fd);
	if (!err)
		return (uint16_t)slot;
	give_up(m, err);
	return 0;
}

int memo_get(const struct memo *m, uint16_t slot)
{
	char name[8];

	if (!slot)
		return -ENOENT;
	slot_name(slot, name, sizeof(name));
	return keep_get(&m->scope, name);
}

struct kept_state *memo_draft(struct memo *m)
{
	return &m->page->copy[!m->page->current];
}

static void speak_of(uint64_t *slots, uint16_t slot)
{
	slots[slot / 64] |= 1ull << slot % 64;
}

/* All slots that the current state and the message at hand name. */
static void spoken_of(const struct kept_page *p, uint64_t *ret_slots)
{
	const struct kept_state *s = &p->copy[p->current];

	for (unsigned i = 0; i < KEPT_QUEUES; i++) {
		speak_of(ret_slots, s->queue[i].kick);
		speak_of(ret_slots, s->queue[i].call);
		speak_of(ret_slots, s->queue[i].err);
		speak_of(ret_slots, s->queue[i].own);
	}
	for (unsigned i = 0; i < s->nregion; i++)
		speak_of(ret_slots, s->region[i].slot);
	speak_of(ret_slots, s->backend);
	speak_of(ret_slots, s->log);
	speak_of(ret_slots, s->track);
	if (p->msg.step == KEPT_TAKEN && p->msg.number != s->handled)
		for (unsigned i = 0; i < p->msg.nfd; i++)
			speak_of(ret_slots, p->msg.slot[i]);
}

static void sweep(struct memo *m)
{
	uint64_t named[KEPT_SLOTS / 64] = { 0 };
	char name[8];

	spoken_of(m->page, named);
	for (unsigned i = 0; i < KEPT_SLOTS / 64; i++) {
		for (uint64_t left = m->page->slots[i] & ~named[i]; left; left &= left - 1) {
			unsigned bit = (unsigned)__builtin_ctzll(left);

			slot_name(64 * i + bit, name, sizeof(name));
			keep_drop(&m->scope, name);
			order();
			m->page->slots[i] &= ~(1ull << bit);
		}
	}
}

void memo_commit(struct memo *m)
{
	order();
	m->page->current = !m->page->current;
	order();
	if (m->is_kept)
		sweep(m);
}

void memo_take(struct memo *m, const struct vhost_user_msg *in, const struct kept_fd *fd,
	       unsigned nfd)
{
	struct kept_message *k = &m->page->msg;

	k->number++;
	k->replies = 0;
	k->nfd = (uint16_t)nfd;
	for (unsigned i = 0; i < nfd; i++)
		k->slot[i] = fd[i].slot;
	memcpy(&k->in, in, sizeof(in->hdr) + in->hdr.size);
	memo_step(m, KEPT_TAKEN);
}

void memo_answer(struct memo *m, const struct vhost_user_msg *out)
{
	struct kept_message *k = &m->page->msg;

	k->replies = out != NULL;
	if (out)
		memcpy(&k->out, out, sizeof(out->hdr) + out->hdr.size);
}

void memo_step(struct memo *m, enum kept_step step)
{
	order();
	m->page->msg.step = step;
	order();
}
