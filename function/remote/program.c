/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/program.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "function/remote/region.h"

#define READ_MAX 64 /* messages at once: what a flood holds up is not only its own */

#define ALL_OPS ((1u << FN_OPS) - 1)

static struct fn_msg msg_of(enum fn_msg_kind kind)
{
	return (struct fn_msg){ .magic = htole32(FN_MAGIC), .kind = htole16((uint16_t)kind),
				.abi = htole16(FN_ABI_NEWEST),
				.abi_oldest = htole16(FN_ABI_OLDEST) };
}

/* A stream takes a message of this size whole or not at all, because it fits into one buffer of the
 * kernel's. */
static int say(struct program *p, const struct fn_msg *m, const int *fds, unsigned nfd)
{
	return outbox_put(&p->out, m, fds, nfd);
}

void program_say(struct program *p, enum fn_msg_kind kind)
{
	struct fn_msg m = msg_of(kind);

	say(p, &m, NULL, 0);
}

static void greet(struct program *p)
{
	struct fn_msg hello = msg_of(FN_HELLO);

	hello.channel = htole32(++p->hello);
	say(p, &hello, NULL, 0);
}

struct program *program_new(const struct host_process *process, void *spec)
{
	struct program *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->process = *process;
	outbox_init(&p->out, process->sock);
	p->spec = spec;
	p->born_ns = clock_ns();
	p->hello = (uint32_t)p->born_ns;
	greet(p);
	return p;
}

void program_free(struct program *p)
{
	if (!p)
		return;
	outbox_fini(&p->out);
	fd_close(p->process.sock);
	fd_close(p->process.pidfd);
	free(p);
}

static bool is_text(const char *text, size_t room)
{
	size_t n = strnlen(text, room);

	for (size_t i = 0; i < n; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return n < room;
}

static const char *judge_ready(struct program *p, const struct fn_msg *m)
{
	uint16_t abi = le16toh(m->abi);

	if (p->is_ready)
		return "it says twice that it is ready";
	if (abi < FN_ABI_OLDEST || abi > FN_ABI_NEWEST) {
		snprintf(p->text, sizeof(p->text),
			 "it speaks version %u of the interface, and this "
			 "posternd %u to %u: build it with its library", abi, FN_ABI_OLDEST,
			 FN_ABI_NEWEST);
		return p->text;
	}
	if ((le32toh(m->down) | le32toh(m->up) | le32toh(m->with_data)) & ~ALL_OPS ||
	    le32toh(m->flags) & ~(uint32_t)(FN_M_OWN_IO | (p->process.region ? FN_M_BAR : 0)))
		return "it asks for what this version does not have";
	if (!is_text(m->name, FN_NAME_MAX) || !is_text(m->version, FN_VERSION_MAX))
		return "its name or version is no text";
	if (p->process.region && le64toh(m->size_b) != p->process.region->id)
		return "its machine has the memory of an earlier posternd: start it anew";
	p->said = *m;
	p->is_ready = true;
	return NULL;
}

/* What only a machine says. */
static const char *judge_machine(struct program *p, const struct fn_msg *m)
{
	if (le16toh(m->kind) == FN_KICK) {
		if (p->host)
			host_channel_says(p->host, p, le32toh(m->channel), FN_KICK);
		return NULL;
	}
	if (p->is_ready) {
		p->is_reborn = true;
		return "it has been started anew";
	}
	greet(p); /* the program before may have read our first one */
	return NULL;
}

static const char *judge(struct program *p, const struct fn_msg *m, ssize_t n)
{
	uint16_t kind = le16toh(m->kind);

	if (n != sizeof(*m) || le32toh(m->magic) != FN_MAGIC)
		return "its message makes no sense";
	if (p->process.region && (kind == FN_BORN || kind == FN_KICK))
		return judge_machine(p, m);
	/* what it said to a worker before us, which did not live to read it */
	if (!p->is_ready && (kind != FN_READY || le32toh(m->channel) != p->hello))
		return NULL;
	switch (kind) {
	case FN_READY:
		return judge_ready(p, m);
	case FN_DISK_READY:
		if (p->answered == __atomic_load_n(&p->asked, __ATOMIC_RELAXED))
			return "it answers for a disk that it was not given";
		p->answered++;
		p->refused = (int)min_u64(le32toh(m->status), INT_MAX);
		p->refused_id = le32toh(m->channel);
		if (p->process.region && !p->refused && p->host)
			host_channel_says(p->host, p, p->refused_id, FN_DISK_READY);
		return NULL;
	}
	return "its message is of no kind";
}

/* The next message of a stream. Return: as recv(). */
static ssize_t receive_whole(struct program *p, struct fn_msg *ret)
{
	for (;;) {
		ssize_t n = recv(p->process.sock, fn_stream_end(&p->stream),
				 fn_stream_want(&p->stream), MSG_DONTWAIT);

		if (n <= 0)
			return n;
		p->stream.n_b += (size_t)n;
		/* a worker before us may have ended in the middle of one */
		if (!p->is_ready)
			fn_stream_align(&p->stream);
		if (fn_stream_take(&p->stream, ret))
			return sizeof(*ret);
	}
}

bool program_read(struct program *p)
{
	bool changed = false;
	struct fn_msg m;

	for (unsigned i = 0; i < READ_MAX && !p->has_ended && !p->fault && !p->refused; i++) {
		ssize_t n = p->process.region ?
				    receive_whole(p, &m) :
				    recv(p->process.sock, &m, sizeof(m), MSG_DONTWAIT | MSG_TRUNC);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		changed = true;
		if (n <= 0)
			p->has_ended = true;
		else
			p->fault = judge(p, &m, n);
	}
	return changed;
}

static int fail(char *why, int code, const char *text)
{
	snprintf(why, HOST_WHY_MAX, "%s", text);
	return code;
}

static int await(struct program *p, bool (*done)(const struct program *p), uint64_t until_ns,
		 char *why)
{
	for (;;) {
		program_read(p);
		if (p->fault)
			return fail(why, -EPROTO, p->fault);
		if (p->has_ended)
			return fail(why, -ECHILD, "it has ended");
		if (done(p))
			return 0;
		uint64_t now_ns = clock_ns();
		bool more = outbox_flush(&p->out);
		struct pollfd w = { .fd = p->process.sock,
				    .events = (short)(POLLIN | (more ? POLLOUT : 0)) };

		if (now_ns >= until_ns)
			return fail(why, -ETIMEDOUT, "it does not answer");
		poll(&w, 1, (int)((until_ns - now_ns) / NS_PER_MS) + 1);
	}
}

static bool is_ready(const struct program *p)
{
	return p->is_ready;
}

static bool has_answered(const struct program *p)
{
	return p->refused || p->answered == __atomic_load_n(&p->asked, __ATOMIC_RELAXED);
}

int program_await_ready(struct program *p, uint64_t until_ns, char *why)
{
	return await(p, is_ready, until_ns, why);
}

int program_await_channels(struct program *p, uint64_t until_ns, char *why)
{
	return await(p, has_answered, until_ns, why);
}

bool program_await_end(const struct program *p, uint64_t until_ns)
{
	struct pollfd w = { .fd = p->process.pidfd, .events = POLLIN };

	if (w.fd < 0)
		return true;
	for (uint64_t now_ns; (now_ns = clock_ns()) < until_ns;)
		if (poll(&w, 1, (int)((until_ns - now_ns) / NS_PER_MS) + 1) > 0)
			return true;
	return poll(&w, 1, 0) > 0;
}

static struct fn_rings *make_rings(int *ret_fd)
{
	CLEANUP(fd_cleanup) int fd =
		fd_memory("postern-function-rings", sizeof(struct fn_rings), 0);

	if (fd < 0)
		return NULL;
	void *at = mmap(NULL, sizeof(struct fn_rings), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_POPULATE, fd, 0);

	if (at == MAP_FAILED)
		return NULL;
	*ret_fd = fd_steal(&fd);
	return at;
}

static struct fn_msg disk_msg(const struct remote_lane *l, enum fn_msg_kind kind, uint32_t id,
			      uint32_t flags)
{
	struct fn_msg m = msg_of(kind);

	m.mode = htole16(l->mode);
	m.channel = htole32(id);
	m.flags = htole32(flags | (l->lane->readonly ? FN_M_READONLY : 0u));
	m.blk_b = htole32(l->lane->blk_mask + 1);
	m.size_b = htole64(__atomic_load_n(&l->size_b, __ATOMIC_RELAXED));
	m.below_b = htole64(__atomic_load_n(&l->below_b, __ATOMIC_RELAXED));
	memcpy(m.name, l->lane->name, strnlen(l->lane->name, sizeof(m.name)));
	return m;
}

static int say_disk(struct program *p, const struct remote_lane *l, const struct channel *c, int fd,
		    uint32_t flags)
{
	struct fn_msg m = disk_msg(l, FN_DISK, c->id, flags);
	const struct buffers *b = c->buffers;
	int fds[] = { fd, b->fd, l->wake_fd };

	if (!b->region)
		return say(p, &m, fds, ARRAY_SIZE(fds));
	m.rings_page = htole32(region_page(b->region, c->rings));
	m.bufs_page = htole32(region_page(b->region, b->at));
	return say(p, &m, NULL, 0);
}

int program_offer(struct program *p, struct remote_lane *l, uint32_t flags, bool takes_over,
		  struct channel **ret)
{
	struct channel *c = calloc(1, sizeof(*c));
	CLEANUP(fd_cleanup) int fd = -1;

	if (!c)
		return -ENOMEM;
	struct region *region = p->process.region;
	struct buffers *b;
	/* each machine has a region of its own */
	int err = takes_over && !region ? buffers_new(l, NULL, &b) : buffers_find(l, region, &b);

	if (err) {
		free(c);
		return err;
	}
	*c = (struct channel){ .rings = region ? region_rings(region, b->area) : make_rings(&fd),
			       .buffers = b,
			       .is_shared = region,
			       .kick_fd = p->process.sock,
			       .down = le32toh(p->said.down),
			       .up = le32toh(p->said.up),
			       .with_data = le32toh(p->said.with_data),
			       .own_io = le32toh(p->said.flags) & FN_M_OWN_IO,
			       .id = p->next_channel };
	err = -ENOMEM;
	/* before it can answer; control reads the answer, perhaps on another thread than ours */
	__atomic_add_fetch(&p->asked, 1, __ATOMIC_RELAXED);
	if (c->rings)
		err = say_disk(p, l, c, fd, flags);
	if (err) {
		__atomic_sub_fetch(&p->asked, 1, __ATOMIC_RELAXED);
		program_withdraw(NULL, c);
		return err;
	}
	p->next_channel++;
	*ret = c;
	return 0;
}

void program_resize(struct program *p, const struct remote_lane *l, const struct channel *c)
{
	struct fn_msg m = disk_msg(l, FN_DISK_SIZE, c->id, 0);

	say(p, &m, NULL, 0);
}

void program_withdraw(struct program *p, struct channel *c)
{
	struct fn_msg m = msg_of(FN_DISK_GONE);

	if (!c)
		return;
	m.channel = htole32(c->id);
	if (p)
		say(p, &m, NULL, 0);
	if (c->rings && !c->is_shared)
		munmap(c->rings, sizeof(*c->rings));
	free(c);
}
