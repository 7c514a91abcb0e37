/* SPDX-License-Identifier: Apache-2.0 */
#include "media/ram/ram.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "core/lane.h"
#include "media/ram/stream.h"

#define HUGE_B (2 * MIB)
/* Address space set aside to grow into: it costs nothing, and a disk that never moves can be
 * resized while pollers copy. */
#define RESERVE_MIN_B (64 * GIB)
#define RESERVE_TIMES 4

/* Reads: the first lines of the request three further on are fetched while this one is copied;
 * the rest the core's own prefetcher sees coming. Measured as in stream.h, random 4 KiB reads:
 * 315 ns against 400 without; 4 or 16 lines, or one or two requests ahead, were slower. */
#define AHEAD 3
#define BATCH 16 /* more than AHEAD by far, and half of a common queue depth */
#define AHEAD_LINES 8

/* A segment shorter than this is not worth going past the caches. */
#define STREAM_MIN_B 1024u

/* Piece of a long request done in one turn: freeing 1 MiB takes 30-60 us, copying it 100-200. */
#define SLICE_B (1 * MIB)

struct ram {
	struct media media;
	int fd;
	char *base; /* of a mapping that begins at a multiple of 2 MiB and never moves */
	void *reserve;
	uint64_t reserve_b, max_b;
	bool hugepages;
};

struct ram_lane {
	struct media_lane lane;
	struct list slow; /* discards and write-zeroes; req.medium[0]: bytes done */
};

static const struct ram *ram_of(const struct media *m)
{
	return container_of(m, const struct ram, media);
}

static inline void prefetch_source(const struct ram *ram, const struct req *r)
{
	const char *from = r->op == REQ_READ ? ram->base + r->off_b : r->seg[0].host;

	if (r->op == REQ_READ || r->op == REQ_WRITE)
		for (unsigned i = 0; i < AHEAD_LINES; i++)
			__builtin_prefetch(from + i * CACHE_LINE);
}

static inline void copy_out(const struct ram *ram, const struct req *r)
{
	const char *from = ram->base + r->off_b;

	for (unsigned i = 0; i < r->nseg; i++) {
		memcpy(r->seg[i].host, from, r->seg[i].len_b);
		from += r->seg[i].len_b;
	}
}

static inline void copy_in(const struct ram *ram, const struct req *r)
{
	char *to = ram->base + r->off_b;

	for (unsigned i = 0; i < r->nseg; i++) {
		if (likely(r->seg[i].len_b >= STREAM_MIN_B))
			stream_copy(to, r->seg[i].host, r->seg[i].len_b);
		else
			memcpy(to, r->seg[i].host, r->seg[i].len_b);
		to += r->seg[i].len_b;
	}
}

/* Return: whether @r is done; if not, it is on the slow list. */
static inline bool start(struct ram_lane *l, struct req *r)
{
	const struct ram *ram = ram_of(l->lane.media);

	if (r->op == REQ_FLUSH) /* memory has no cache to write back */
		return true;
	if (unlikely(r->op > REQ_WRITE || r->len_b > SLICE_B)) {
		r->medium[0] = 0;
		list_add_tail(&l->slow, &r->hold);
		return false;
	}
	if (r->op == REQ_READ)
		copy_out(ram, r);
	else
		copy_in(ram, r);
	return true;
}

static void ram_submit(struct media_lane *ml, struct req **reqs, unsigned n)
{
	struct ram_lane *l = container_of(ml, struct ram_lane, lane);
	const struct ram *ram = ram_of(ml->media);
	unsigned done = 0;

	for (unsigned i = 0; i < n && i < AHEAD; i++)
		prefetch_source(ram, reqs[i]);
	for (unsigned i = 0; i < n; i++) {
		if (i + AHEAD < n)
			prefetch_source(ram, reqs[i + AHEAD]);
		if (likely(start(l, reqs[i])))
			reqs[done++] = reqs[i];
	}
	/* Streamed stores come before the completion that says that they happened. */
	stream_fence();
	poller_tick(ml->poller);
	if (likely(done))
		reqs_done(reqs, done, REQ_OK);
}

/* Frees what lies in whole pages; the kernel clears the rest. */
static int punch(const struct ram *ram, uint64_t off_b, uint64_t len_b)
{
	return fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off_b,
			 (off_t)len_b);
}

/* Copies @len_b bytes at @skip_b of a read or write. */
static void copy_piece(const struct ram *ram, const struct req *r, uint64_t skip_b, uint64_t len_b)
{
	char *mem = ram->base + r->off_b + skip_b;

	for (unsigned i = 0; len_b && i < r->nseg; i++) {
		const struct seg *s = &r->seg[i];

		if (skip_b >= s->len_b) {
			skip_b -= s->len_b;
			continue;
		}
		char *host = (char *)s->host + skip_b;
		size_t run_b = min_u64(len_b, s->len_b - skip_b);

		memcpy(r->op == REQ_READ ? host : mem, r->op == REQ_READ ? mem : host, run_b);
		mem += run_b;
		len_b -= run_b;
		skip_b = 0;
	}
}

/* One piece of a request that would take too long in one go. Return: whether that was the last. */
static bool slice(const struct ram *ram, struct req *r)
{
	uint64_t at = r->off_b + r->medium[0];
	/* pieces end at multiples of their size, so that they cut no page in two */
	uint64_t len_b = min_u64(r->len_b - r->medium[0], SLICE_B - at % SLICE_B);
	bool may_free = !ram->hugepages && (r->op == REQ_DISCARD || r->flags & REQ_F_UNMAP);

	if (r->op <= REQ_WRITE)
		copy_piece(ram, r, r->medium[0], len_b);
	else if (!may_free || punch(ram, at, len_b))
		stream_zero(ram->base + at, len_b);
	r->medium[0] += len_b;
	return r->medium[0] == r->len_b;
}

static unsigned ram_poll(struct media_lane *ml)
{
	struct ram_lane *l = container_of(ml, struct ram_lane, lane);

	if (list_empty(&l->slow))
		return 0;
	struct req *r = list_first(&l->slow, struct req, hold);

	if (!slice(ram_of(ml->media), r))
		return 0;
	list_del(&r->hold);
	stream_fence();
	poller_tick(ml->poller);
	req_done(r, REQ_OK);
	return 1;
}

static int ram_lane_open(struct media *m, struct poller *p, struct media_lane **ret_lane)
{
	struct ram_lane *l = malloc(sizeof(*l));

	if (!l)
		return -ENOMEM;
	media_lane_init(&l->lane, m, p);
	list_init(&l->slow);
	*ret_lane = &l->lane;
	return 0;
}

static void ram_lane_close(struct media_lane *l)
{
	free(container_of(l, struct ram_lane, lane));
}

static void ram_close(struct media *m)
{
	struct ram *ram = container_of(m, struct ram, media);

	if (ram->reserve)
		munmap(ram->reserve, ram->reserve_b);
	fd_close(ram->fd);
	free(ram);
}

static const struct media_ops ram_ops = {
	.kind = "ram",
	.close = ram_close,
	.lane_open = ram_lane_open,
	.lane_close = ram_lane_close,
	.submit = ram_submit,
	.poll = ram_poll,
};

/* The address space, begun at a multiple of the huge page. A limit on it leaves the disk its
 * own size and no room to grow. */
static int set_aside(struct ram *ram, uint64_t len_b)
{
	uint64_t want_b = max_u64(len_b * RESERVE_TIMES, RESERVE_MIN_B);

	for (;;) {
		void *at = mmap(NULL, want_b + HUGE_B, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (at != MAP_FAILED) {
			ram->reserve = at;
			ram->reserve_b = want_b + HUGE_B;
			ram->max_b = want_b;
			ram->base = (char *)align_up((uintptr_t)at, HUGE_B);
			return 0;
		}
		if (want_b == len_b)
			return -ENOMEM;
		want_b = len_b;
	}
}

/* Brings file and mapping from @from_b to @to_b, both whole pages. */
static int extend(struct ram *ram, uint64_t from_b, uint64_t to_b)
{
	int prot = PROT_READ | PROT_WRITE;

	if (from_b == to_b)
		return 0;
	struct stat st;

	if (fstat(ram->fd, &st))
		return -errno;
	/* one that a predecessor has kept may be as long already */
	if ((uint64_t)st.st_size < to_b && ftruncate(ram->fd, (off_t)to_b))
		return -errno;
	/* a shared mapping of hugepages reserves them here, or fails: no SIGBUS later */
	if (mmap(ram->base + from_b, to_b - from_b, prot, MAP_SHARED | MAP_FIXED, ram->fd,
		 (off_t)from_b) == MAP_FAILED) {
		int err = -errno;

		(void)!ftruncate(ram->fd, st.st_size);
		/* what MAP_FIXED took away */
		mmap(ram->base + from_b, to_b - from_b, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		return err;
	}
	/* fewer TLB misses where the kernel gives huge pages to shared memory; it may refuse */
	if (!ram->hugepages)
		madvise(ram->base + from_b, to_b - from_b, MADV_HUGEPAGE);
	madvise(ram->base + from_b, to_b - from_b, MADV_DONTDUMP);
	return 0;
}

static uint64_t whole_pages(const struct ram *ram, uint64_t size_b)
{
	return align_up(size_b, ram->hugepages ? HUGE_B : 4096);
}

/* Beyond this, sums of sizes could wrap, and no machine has the address space. */
#define SIZE_LIMIT_B (1ull << 46)

int ram_reopen(const struct ram_conf *c, int fd, struct media **ret_media)
{
	struct ram *ram = calloc(1, sizeof(*ram));

	if (!ram) {
		fd_close(fd);
		return -ENOMEM;
	}
	ram->fd = fd;
	ram->hugepages = c->hugepages;
	ram->media.ops = &ram_ops;
	ram->media.caps = (struct media_caps){ .size_b = c->size_b, .align_b = 1, .blk_b = 512,
					       .batch = BATCH,
					       .discard_gran_b = c->hugepages ? 0 : 4096,
					       .zeroes = true, .readonly = c->readonly,
					       .prompt = true };
	int err = !c->size_b || c->size_b % 512 ? -EINVAL : c->size_b > SIZE_LIMIT_B ? -ENOMEM : 0;

	if (!err)
		err = set_aside(ram, whole_pages(ram, c->size_b));
	if (!err)
		err = extend(ram, 0, whole_pages(ram, c->size_b));
	if (err) {
		ram_close(&ram->media);
		return err;
	}
	*ret_media = &ram->media;
	return 0;
}

int ram_open(const struct ram_conf *c, struct media **ret_media)
{
	unsigned huge = c->hugepages ? MFD_HUGETLB | MFD_HUGE_2MB : 0;
	int fd = memfd_create("postern-ram", MFD_CLOEXEC | huge);

	return fd < 0 ? -errno : ram_reopen(c, fd, ret_media);
}

int ram_resize(struct media *m, uint64_t size_b)
{
	struct ram *ram = container_of(m, struct ram, media);

	if (size_b < m->caps.size_b || size_b % 512)
		return -EINVAL;
	if (size_b > ram->max_b)
		return -E2BIG;
	int err = extend(ram, whole_pages(ram, m->caps.size_b), whole_pages(ram, size_b));
	if (!err)
		m->caps.size_b = size_b;
	return err;
}

uint64_t ram_max_b(const struct media *m)
{
	return ram_of(m)->max_b;
}

uint64_t ram_used_b(const struct media *m)
{
	struct stat st;

	return fstat(ram_of(m)->fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

int ram_fd(const struct media *m)
{
	return ram_of(m)->fd;
}

bool ram_hugepages(const struct media *m)
{
	return ram_of(m)->hugepages;
}
