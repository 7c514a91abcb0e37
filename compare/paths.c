/* SPDX-License-Identifier: Apache-2.0 */
/* The paths and loads there are, as data. */
#include "compare/compare.h"

#define QEMU_KEEPS "migration suspend hot-add resize limits statistics snapshots"
#define POSTERN_KEEPS "migration suspend hot-add resize limits statistics upgrade"
#define QSD_KEEPS "migration suspend hot-add limits snapshots"

const struct compare_path compare_paths[] = {
	{ .id = "bare", .title = "bare host", .keeps = "", .kind = COMPARE_BARE, .standard = true },
	{ .id = "client", .title = "Postern, client on the host", .keeps = "",
	  .kind = COMPARE_CLIENT, .instead = true, .poll = "always", .guest_polls = true },
	{ .id = "postern", .title = "Postern, exit-free both ways", .keeps = POSTERN_KEEPS,
	  .kind = COMPARE_POSTERN, .standard = true, .guest_polls = true, .poll = "always" },
	{ .id = "postern-irq", .title = "Postern, guest interrupts", .keeps = POSTERN_KEEPS,
	  .kind = COMPARE_POSTERN, .standard = true, .poll = "always" },
	{ .id = "postern-adaptive", .title = "Postern, adaptive", .keeps = POSTERN_KEEPS,
	  .kind = COMPARE_POSTERN, .standard = true, .poll = "adaptive" },
	{ .id = "qemu", .title = "QEMU virtio-blk, default", .keeps = QEMU_KEEPS,
	  .kind = COMPARE_QEMU, .standard = true, .device = "default" },
	{ .id = "qemu-iothread", .title = "QEMU virtio-blk, iothread", .keeps = QEMU_KEEPS,
	  .kind = COMPARE_QEMU, .standard = true, .device = "iothread" },
	{ .id = "qemu-poll", .title = "QEMU virtio-blk, polled both ways", .keeps = QEMU_KEEPS,
	  .kind = COMPARE_QEMU, .standard = true, .guest_polls = true, .kicks_late = true,
	  .device = "poll" },
	{ .id = "qsd", .title = "qemu-storage-daemon", .keeps = QSD_KEEPS,
	  .kind = COMPARE_QSD, .standard = true },
	{ .id = "qsd-poll", .title = "qemu-storage-daemon, guest polls", .keeps = QSD_KEEPS,
	  .kind = COMPARE_QSD, .standard = true, .guest_polls = true },
	{ .id = "assigned", .title = "assigned device", .keeps = "", .kind = COMPARE_ASSIGNED },
	{ .id = "postern-placed", .title = "Postern, exit-free, placed", .keeps = POSTERN_KEEPS,
	  .kind = COMPARE_POSTERN, .placed = true, .guest_polls = true, .poll = "always" },
	{ .id = "qemu-placed", .title = "QEMU virtio-blk, default, placed", .keeps = QEMU_KEEPS,
	  .kind = COMPARE_QEMU, .placed = true, .device = "default" },
	{ 0 },
};

#define RANDOM(words, id_, pct, d, std) \
	{ .id = id_ "-d" #d, .title = "4 KiB random " words ", depth " #d, .read_pct = pct, \
	  .bs_b = 4096, .depth = d, .standard = std }

const struct compare_load compare_loads[] = {
	RANDOM("read", "read-4k", 100, 1, true),
	RANDOM("read", "read-4k", 100, 8, false),
	RANDOM("read", "read-4k", 100, 32, true),
	RANDOM("read", "read-4k", 100, 128, false),
	RANDOM("write", "write-4k", 0, 1, false),
	RANDOM("write", "write-4k", 0, 8, false),
	RANDOM("write", "write-4k", 0, 32, false),
	RANDOM("write", "write-4k", 0, 128, false),
	RANDOM("70 % read", "mix-4k", 70, 1, false),
	RANDOM("70 % read", "mix-4k", 70, 8, false),
	RANDOM("70 % read", "mix-4k", 70, 32, false),
	RANDOM("70 % read", "mix-4k", 70, 128, false),
	{ .id = "read-128k-seq", .title = "128 KiB sequential read, depth 8", .read_pct = 100,
	  .bs_b = 128 * 1024, .depth = 8, .sequential = true },
	{ .id = "write-128k-seq", .title = "128 KiB sequential write, depth 8", .read_pct = 0,
	  .bs_b = 128 * 1024, .depth = 8, .sequential = true },
	{ 0 },
};
static_assert(ARRAY_SIZE(compare_loads) - 1 <= COMPARE_LOADS_MAX, "a report has room for all");
static_assert(ARRAY_SIZE(compare_paths) - 1 <= COMPARE_PATHS_MAX, "a report has room for all");

const unsigned compare_marks[COMPARE_MARKS] = { 10, 50, 100, 250, 500, 750, 900, 950, 990, 995,
						999 };
