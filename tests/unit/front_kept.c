/* SPDX-License-Identifier: Apache-2.0 */
/* The kept page as such: pages that make no sense, and those of every release so far. */
#include "tests/fake/guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "front/vhost_blk/adopt.h"
#include "tests/fake/keep.h"

static struct fake *open_kept(void)
{
	return fake_open(&(struct fake_conf){ .queues = 2, .track = true, .offered = 3,
					      .keep = &fake_keeper.keep });
}

/* Changes what is kept by @spoil; no successor makes anything of that, and says @why. */
static void refuses(void (*spoil)(struct kept_page *p, struct kept_state *k), const char *why)
{
	struct fake *g = open_kept();
	struct kept_page *p = g->s->memo->page;

	spoil(p, &p->copy[p->current]);
	g = fake_succeed(g);
	if (g->s)
		assert_int_not_equal(fake_go_on(g), 0);
	if (!strstr(g->why, why))
		fail_msg("\"%s\" is not in \"%s\"", why, g->why);
	fake_close(g);
	assert_int_equal(fake_keep_count(&fake_keeper, "disk/fake/front/page"), 0);
	fake_keep_fini(&fake_keeper);
	fake_keep_init(&fake_keeper);
}

#define SPOIL(name, change)                                                          \
	static void name(struct kept_page *p, struct kept_state *k)                  \
	{                                                                            \
		change;                                                              \
	}

SPOIL(other_magic, p->magic++)
SPOIL(later_version, p->version++)
SPOIL(earlier_version, p->version = 0)
SPOIL(no_copy, p->current = 2)
SPOIL(no_step, p->msg.step = KEPT_SENDING + 1)
SPOIL(many_fds, p->msg.nfd = VHOST_USER_FDS_MAX + 1)
SPOIL(long_message, p->msg.in.hdr.size = VHOST_USER_PAYLOAD_MAX_B + 1)
SPOIL(long_answer, p->msg.out.hdr.size = UINT32_MAX)
SPOIL(message_slot, p->msg.nfd = 1; p->msg.slot[0] = KEPT_SLOTS)
SPOIL(features, k->features |= 1ull << 63)
SPOIL(protocol, k->protocol |= 1ull << 63)
SPOIL(flags, k->flags |= KEPT_FLAGS + 1)
SPOIL(backend_slot, k->backend = KEPT_SLOTS)
SPOIL(log_slot, k->log = UINT16_MAX)
SPOIL(track_slot, k->track = KEPT_SLOTS)
SPOIL(kick_slot, k->queue[1].kick = KEPT_SLOTS)
SPOIL(call_slot, k->queue[1].call = KEPT_SLOTS)
SPOIL(err_slot, k->queue[1].err = KEPT_SLOTS)
SPOIL(own_slot, k->queue[1].own = KEPT_SLOTS)
SPOIL(large_queue, k->queue[0].size = VIRTQ_SIZE_MAX + 1)
SPOIL(queue_flags, k->queue[0].flags |= KEPT_QUEUE_FLAGS + 1)
SPOIL(queue_not_offered, k->queue[3].base = 1)
SPOIL(mark, p->replay[0] = KEPT_REPLAY_BARRED + 1)
SPOIL(many_regions, k->nregion = KEPT_REGIONS + 1)
SPOIL(region_slot, k->region[0].slot = KEPT_SLOTS)

static void refuses_what_makes_no_sense(void **state)
{
	refuses(other_magic, "none");
	refuses(no_copy, "no state");
	refuses(no_step, "message");
	refuses(many_fds, "message");
	refuses(long_message, "message");
	refuses(long_answer, "message");
	refuses(message_slot, "message");
	refuses(features, "features that this disk");
	refuses(protocol, "protocol features");
	refuses(flags, "unknown flags");
	refuses(backend_slot, "slot beyond");
	refuses(log_slot, "slot beyond");
	refuses(track_slot, "slot beyond");
	refuses(kick_slot, "a queue");
	refuses(call_slot, "a queue");
	refuses(err_slot, "a queue");
	refuses(own_slot, "a queue");
	refuses(large_queue, "a queue");
	refuses(queue_flags, "a queue");
	refuses(queue_not_offered, "a queue");
	refuses(mark, "a queue");
	refuses(many_regions, "regions");
	refuses(region_slot, "memory in a slot");
}

static void refuses_other_versions(void **state)
{
	refuses(later_version, "version");
	refuses(earlier_version, "version");
}

SPOIL(lost_memory, k->region[0].slot = 900)
SPOIL(memory_without_slot, k->region[0].slot = 0)
SPOIL(memory_beyond_file, k->region[0].size_b = 1ull << 40)
SPOIL(memory_that_wraps, k->region[0].guest_addr = UINT64_MAX)
SPOIL(memory_is_an_eventfd, k->region[0].slot = k->queue[0].kick)
SPOIL(kick_is_memory, k->queue[0].kick = k->region[0].slot)
SPOIL(call_is_memory, k->queue[0].call = k->region[0].slot)
SPOIL(err_is_memory, k->queue[0].err = k->region[0].slot)
SPOIL(lost_kick, k->queue[0].kick = 900)
SPOIL(own_is_memory, k->track = 0; k->queue[0].own = k->region[0].slot)
SPOIL(own_of_another_size, k->queue[0].own = k->track; k->track = 0; k->queue[0].size = 128)
SPOIL(track_beyond_file, k->track_len_b += 4096)
SPOIL(track_too_short, k->track_size = 1024)
SPOIL(track_for_many, k->track_queues = 4)
SPOIL(track_is_an_eventfd, k->track = k->queue[0].kick)
SPOIL(log_is_an_eventfd, k->log = k->queue[0].kick; k->log_size_b = 4096)
SPOIL(ring_elsewhere, k->queue[0].desc = 0)
SPOIL(odd_ring, k->queue[0].size = 15)
SPOIL(a_message_of_a_lost_fd, p->msg.step = KEPT_TAKEN; p->msg.number = k->handled + 1;
      p->msg.in.hdr = ((struct vhost_user_hdr){ VHOST_USER_SET_VRING_CALL, 1, 8 }); p->msg.nfd = 1;
      p->msg.slot[0] = 900)
SPOIL(a_table_of_more_than_it_came_with, p->msg.step = KEPT_TAKEN; p->msg.number = k->handled + 1;
      p->msg.in.hdr = ((struct vhost_user_hdr){ VHOST_USER_SET_MEM_TABLE, 1,
						VHOST_USER_MEM_TABLE_BYTES(2) });
      p->msg.in.payload.mem.num_regions = 2; p->msg.nfd = 1;
      p->msg.slot[0] = k->region[0].slot)
SPOIL(an_unknown_message, p->msg.step = KEPT_TAKEN; p->msg.number = k->handled + 1;
      p->msg.in.hdr.request = 999; p->msg.nfd = 0)
SPOIL(a_lost_answer, p->msg.step = KEPT_SENDING)

static void refuses_what_cannot_be_had_again(void **state)
{
	refuses(lost_memory, "memory");
	refuses(memory_without_slot, "memory");
	refuses(memory_beyond_file, "memory");
	refuses(memory_that_wraps, "memory");
	refuses(memory_is_an_eventfd, "memory");
	refuses(kick_is_memory, "queues");
	refuses(call_is_memory, "queues");
	refuses(err_is_memory, "queues");
	refuses(lost_kick, "queues");
	refuses(own_is_memory, "queues");
	refuses(own_of_another_size, "queues");
	refuses(track_beyond_file, "in-flight");
	refuses(track_too_short, "in-flight");
	refuses(track_for_many, "in-flight");
	refuses(track_is_an_eventfd, "in-flight");
	refuses(log_is_an_eventfd, "log");
	refuses(ring_elsewhere, "cannot go on");
	refuses(odd_ring, "cannot go on");
	refuses(a_message_of_a_lost_fd, "descriptors are lost");
	refuses(a_table_of_more_than_it_came_with, "malformed");
	refuses(an_unknown_message, "unknown message");
	refuses(a_lost_answer, "may be lost");
}

/* Keeps, instead of the page, what @len_b and @seals make of it. */
static void refuses_memory(size_t len_b, int seals)
{
	struct fake *g = open_kept();
	int fd = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(fd_write_all(fd, g->s->memo->page, KEPT_PAGE_B), 0);
	assert_int_equal(ftruncate(fd, (off_t)len_b), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	assert_int_equal(keep_put(&g->front.conf.keep, "page", fd), 0);
	fd_close(fd);
	g = fake_succeed(g);
	assert_null(g->s);
	assert_non_null(strstr(g->why, "none"));
	fake_close(g);
	fake_keep_fini(&fake_keeper);
	fake_keep_init(&fake_keeper);
}

static void refuses_a_page_that_could_kill_it(void **state)
{
	const int all = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;

	refuses_memory(KEPT_PAGE_B, 0);
	refuses_memory(KEPT_PAGE_B, F_SEAL_GROW | F_SEAL_SEAL);
	refuses_memory(0, all);
	refuses_memory(8, all);
	refuses_memory(KEPT_PAGE_B - 1, all);
	refuses_memory(KEPT_PAGE_B + 4096, all);
}

static void refuses_a_pipe_that_is_none(void **state)
{
	static const char *const end[] = { "pipe/in", "pipe/out" };

	for (unsigned i = 0; i < 4; i++) {
		struct fake *g = open_kept();
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (i < 2)
			assert_int_equal(keep_put(&g->front.conf.keep, end[i], fd), 0);
		else
			keep_drop(&g->front.conf.keep, end[i % 2]);
		fd_close(fd);
		g = fake_succeed(g);
		assert_null(g->s);
		fake_close(g);
		fake_keep_fini(&fake_keeper);
		fake_keep_init(&fake_keeper);
	}
}

/* ---- pages of releases ---- */

#ifndef SAMPLES
#define SAMPLES "."
#endif
#define SAMPLE_USER 0x7f0000000000ull /* where its VMM has the region */

/* Writes @p as text, a line for each 16 bytes that are not all zero. */
static void write_sample(const char *path, const struct kept_page *p)
{
	static const uint8_t zero[16];
	const uint8_t *at = (const uint8_t *)p;
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fprintf(f, "# A kept page, version %u: one region of memory, %u queues.\n", p->version, 2u);
	for (size_t off = 0; off < sizeof(*p); off += 16) {
		size_t n = min_u64(16, sizeof(*p) - off);

		if (!memcmp(at + off, zero, n))
			continue;
		fprintf(f, "%05zx", off);
		for (size_t i = 0; i < n; i++)
			fprintf(f, " %02x", at[off + i]);
		fputc('\n', f);
	}
	fclose(f);
}

/* Return: bytes from 0 to the end of the last one that is given. */
static void read_sample(const char *path, uint8_t *ret, size_t len)
{
	FILE *f = fopen(path, "r");
	char line[128];

	if (!f)
		fail_msg("%s cannot be read", path);
	memset(ret, 0, len);
	while (fgets(line, sizeof(line), f)) {
		char *p;
		unsigned long off = strtoul(line, &p, 16);

		if (*line == '#')
			continue;
		for (char *end;; p = end) {
			unsigned long v = strtoul(p, &end, 16);

			if (end == p)
				break;
			assert_true(off < len);
			ret[off++] = (uint8_t)v;
		}
	}
	fclose(f);
}

/* A page as its process left it, which served two queues: one request has been done on each. What
 * depends on the run, addresses and times, is made to be always the same. */
static void make_sample(bool packed, const char *path)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 2, .packed = packed,
							.keep = &fake_keeper.keep });
	struct kept_page *p = g->s->memo->page;
	uint64_t base = (uintptr_t)g->mem.host;

	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES, g->features), 0);
	for (unsigned c = 0; c < 2; c++) {
		struct kept_state *k = &p->copy[c];

		for (unsigned i = 0; i < 2 && k->queue[i].desc; i++) {
			k->queue[i].desc += SAMPLE_USER - base;
			k->queue[i].avail += SAMPLE_USER - base;
			k->queue[i].used += SAMPLE_USER - base;
		}
		k->region[0].user_addr = k->nregion ? SAMPLE_USER : 0;
		k->since_ns = 1000000000;
		k->peer_pid = 1;
	}
	write_sample(path, p);
	g->s->memo->page->magic = 0;
	fake_close(g);
}

/* A process of that release has died; its descriptors are where its page says. */
static void goes_on_from(const char *path, bool packed)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 2, .packed = packed,
							.keep = &fake_keeper.keep });
	struct kept_page *p = malloc(sizeof(*p));

	assert_non_null(p);
	read_sample(path, (uint8_t *)p, sizeof(*p));
	const struct kept_state *was = &g->s->memo->page->copy[g->s->memo->page->current];
	const struct kept_state *k = &p->copy[p->current];
	/* nothing but the guest's addresses is taken from the present */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(k->queue[i].desc - SAMPLE_USER,
				 was->queue[i].desc - (uintptr_t)g->mem.host);
		assert_int_equal(k->queue[i].own, was->queue[i].own);
	}
	memcpy(g->s->memo->page, p, sizeof(*p));
	free(p);
	g = fake_succeed(g);
	if (!g->s || fake_go_on(g))
		fail_msg("%s: %s", path, g->why);
	for (unsigned i = 0; i < 40; i++)
		fake_assert_alive(g, i % 2);
	/* and leaves a page of its own behind */
	g = fake_succeed(g);
	assert_non_null(g->s);
	assert_int_equal(fake_go_on(g), 0);
	fake_assert_alive(g, 0);
	fake_close(g);
}

static void goes_on_from_pages_of_version_1(void **state)
{
	goes_on_from(SAMPLES "/kept-1-split.txt", false);
	goes_on_from(SAMPLES "/kept-1-packed.txt", true);
}

#define ONE(f) { #f, f, fake_keeper_set_up, fake_keeper_tear_down, NULL }

/* front_kept sample DIR: writes the pages of the present version, for a release. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		ONE(refuses_what_makes_no_sense),
		ONE(refuses_other_versions),
		ONE(refuses_what_cannot_be_had_again),
		ONE(refuses_a_page_that_could_kill_it),
		ONE(refuses_a_pipe_that_is_none),
		ONE(goes_on_from_pages_of_version_1),
	};
	char path[512];

	if (argc != 3)
		return cmocka_run_group_tests(tests, NULL, NULL);
	for (unsigned packed = 0; packed < 2; packed++) {
		fake_keep_init(&fake_keeper);
		snprintf(path, sizeof(path), "%s/kept-%u-%s.txt", argv[2], KEPT_VERSION,
			 packed ? "packed" : "split");
		make_sample(packed, path);
		fake_keep_fini(&fake_keeper);
	}
	return 0;
}
