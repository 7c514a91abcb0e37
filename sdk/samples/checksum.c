/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checksum: a CRC32C of each block, kept in a file beside the disk. A block that reads back other
 * than it was written is named on standard error, and the guest gets an I/O error instead of it.
 *
 *	postern function add sums run=/usr/local/libexec/postern/checksum file=web.crc
 *	postern disk create web ... function=remote,name=sums
 *
 * With `checksum report` the guest gets the data all the same. One file serves one disk, and sees
 * all its writes: after on_fail=bypass begin with an empty one. A guest's flush makes the sums
 * durable, too: a block that was not flushed before a power failure may be named wrongly.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <isa-l.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <postern/function.h>

#define FILE_FD 4
#define UNKNOWN 0u /* of a block that nobody has written, or two at once */
#define NOW_MAX 1024u
#define PAST_MAX 4096u

struct table {
	char *name;
	uint32_t *sum;
	uint64_t nblk;
	uint32_t blk_b;
};

/* A write, between going down and coming up, or since it came up. */
struct span {
	const struct pfn_disk *disk;
	struct table *table;
	uint64_t from, end, ended_ns; /* blocks; UINT64_MAX: not yet */
};

static bool report_only;
static struct table disk_table, test_table; /* of the disk; of the trial before it comes */
static struct span now[NOW_MAX], past[PAST_MAX];
static unsigned nnow, npast;

static uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static struct span span_of(const struct pfn_req *r)
{
	struct table *t = r->disk->test ? &test_table : &disk_table;
	uint64_t end = (r->off_b + r->len_b) / t->blk_b;

	/* a disk that has grown has no sums there until it is opened again */
	return (struct span){ r->disk, t, r->off_b / t->blk_b, end < t->nblk ? end : t->nblk,
			      UINT64_MAX };
}

/* Return: whether one of the @n writes at @w meets @s, and had not ended at @since_ns. */
static bool any_meets(const struct span *w, unsigned n, const struct span *s, uint64_t since_ns)
{
	for (; n--; w++)
		if (w->ended_ns > since_ns && w->table == s->table && w->from < s->end &&
		    s->from < w->end)
			return true;
	return false;
}

static uint32_t sum_of(const struct pfn_req *r, const struct span *s, uint64_t blk)
{
	uint64_t at = (blk - r->off_b / s->table->blk_b) * s->table->blk_b;
	uint32_t crc = crc32_iscsi((unsigned char *)r->data + at, (int)s->table->blk_b, ~0u);

	return crc == UNKNOWN ? ~UNKNOWN : crc;
}

static void changes(struct pfn_req *r)
{
	struct span s = span_of(r);
	/* otherwise nobody knows which comes last */
	bool alone = nnow < NOW_MAX && !any_meets(now, nnow, &s, 0);

	for (uint64_t b = s.from; b < s.end; b++)
		s.table->sum[b] = alone && r->op == PFN_WRITE ? sum_of(r, &s, b) : UNKNOWN;
	if (nnow < NOW_MAX)
		now[nnow++] = s;
}

static void has_changed(const struct pfn_req *r)
{
	struct span s = span_of(r);

	for (unsigned i = 0; i < nnow; i++)
		if (now[i].disk == r->disk && now[i].from == s.from && now[i].end == s.end) {
			now[i].ended_ns = clock_ns();
			past[npast++ % PAST_MAX] = now[i];
			now[i] = now[--nnow];
			return;
		}
}

/* Whether a read that is @age_ns old may rightly have seen other data than what has its sum now. */
static bool was_overtaken(const struct span *s, uint64_t age_ns)
{
	uint64_t since_ns = clock_ns() - age_ns;

	return any_meets(now, nnow, s, 0) || any_meets(past, PAST_MAX, s, since_ns) ||
	       past[npast % PAST_MAX].ended_ns > since_ns; /* there may have been more of them */
}

static bool is_right(const struct pfn_req *r)
{
	struct span s = span_of(r);
	bool right = true;

	for (uint64_t b = s.from; b < s.end; b++) {
		uint32_t want = s.table->sum[b], have = want == UNKNOWN ? want : sum_of(r, &s, b);

		if (have == want || was_overtaken(&s, r->age_ns))
			continue;
		warnx("disk %s: the %u bytes at %" PRIu64 " have the sum %08x, not %08x as written",
		      r->disk->name, s.table->blk_b, b * s.table->blk_b, have, want);
		right = false;
	}
	return right;
}

static void requests(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct pfn_req *r = reqs[i];
		bool up = r->flags & PFN_UP, good = true;

		if (r->op == PFN_FLUSH)
			good = d->test || !fdatasync(FILE_FD);
		else if (r->op == PFN_READ)
			good = !r->data || is_right(r) || report_only;
		else if (up)
			has_changed(r);
		else
			changes(r);
		if (good)
			pfn_pass(r);
		else
			pfn_done(r, PFN_IOERR);
	}
}

static int opened(struct pfn_disk *d)
{
	struct table *t = d->test ? &test_table : &disk_table;
	uint64_t nblk = d->size_b / d->blk_b;
	int flags = d->test ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd = d->test ? -1 : FILE_FD;
	size_t len_b = nblk * sizeof(*t->sum);

	if (d->mode != PFN_TRANSFORM ||
	    (t->name && (strcmp(t->name, d->name) || t->blk_b != d->blk_b))) {
		warnx("disk %s: needs mode=transform, and a function of its own", d->name);
		return EINVAL;
	}
	if (t->sum && t->nblk >= nblk) /* another lane */
		return 0;
	if (!d->test && ftruncate(FILE_FD, (off_t)len_b))
		return errno;
	void *at = mmap(NULL, len_b, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (at == MAP_FAILED)
		return errno;
	*t = (struct table){ strdup(d->name), at, nblk, d->blk_b };
	return 0;
}

/* Whatever it had not answered comes again. */
static void gone(struct pfn_disk *d)
{
	for (unsigned i = nnow; i-- > 0;)
		if (now[i].disk == d)
			now[i] = now[--nnow];
}

int main(int argc, char **argv)
{
	struct pfn_conf conf = { .abi = PFN_ABI, .size = sizeof(conf), .name = "checksum",
				 .version = "1", .down = PFN_SET_ALL & ~PFN_SET(PFN_READ),
				 .up = PFN_SET_ALL & ~PFN_SET(PFN_FLUSH),
				 .with_data = PFN_SET(PFN_WRITE) | PFN_SET(PFN_READ),
				 .requests = requests, .open = opened, .gone = gone };

	if (lseek(FILE_FD, 0, SEEK_CUR) < 0)
		errx(1, "where to? `function add NAME run=... file=FILE`");
	report_only = argc > 1 && !strcmp(argv[1], "report");
	return pfn_main(&conf);
}
