/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measuring guest: says what there is, then runs the commands that the loader brought and those
 * that come over the serial line. Everything is in README.md.
 */
#include <string.h>

#include "vm/gauge/disk.h"
#include "vm/gauge/json.h"
#include "vm/gauge/machine.h"
#include "vm/gauge/run.h"
#include "vm/gauge/serial.h"
#include "vm/gauge/tsc.h"
#include "vm/gauge/words.h"
#include "wire/virtio_ring.h"

#define LINE_MAX 1024

static unsigned ndisks;

static void tell_disk(const struct disk *d)
{
	struct virtio_blk_config config = disk_config(d);
	const char hex[] = "0123456789abcdef";
	const char pci[] = { hex[d->pci.bus >> 4], hex[d->pci.bus & 15], ':', hex[d->pci.slot >> 4],
			     hex[d->pci.slot & 15], '.', hex[d->pci.fn & 7], 0 };

	json_open(NULL, '{');
	json_text("pci", pci);
	json_number("capacity_b", le64toh(config.capacity) * VIRTIO_BLK_SECTOR_B);
	json_number("blk_b", d->offered >> VIRTIO_BLK_F_BLK_SIZE & 1 ? le32toh(config.blk_size)
								    : VIRTIO_BLK_SECTOR_B);
	json_bool("readonly", d->offered >> VIRTIO_BLK_F_RO & 1);
	json_bool("packed", d->offered >> VIRTIO_F_RING_PACKED & 1);
	json_bool("event_idx", d->offered >> VIRTIO_F_EVENT_IDX & 1);
	json_bool("indirect", d->offered >> VIRTIO_F_INDIRECT_DESC & 1);
	json_number("queue_size", d->queue_size);
	json_close('}');
}

static void tell_ready(void)
{
	const char *const sources[] = {
		[TSC_CPUID] = "cpuid", [TSC_HOST] = "host", [TSC_PIT] = "pit"
	};
	char name[13];

	tsc_hypervisor(name);
	json_begin();
	json_text("event", "ready");
	json_number("tsc_khz", tsc_khz());
	json_text("tsc_from", sources[tsc_source()]);
	json_text("hypervisor", name);
	json_open("disks", '[');
	for (unsigned i = 0; i < ndisks; i++)
		tell_disk(disk_get(i));
	json_close(']');
	json_end();
}

static void set(char *words)
{
	uint64_t khz = tsc_khz();
	const struct words_key keys[] = {
		{ .name = "tsc_khz", .type = WORDS_NUMBER, .min = 1000, .max = 100000000 },
		{ 0 },
	};
	const char *why = words_read(words, keys, &khz);

	if (!why)
		tsc_set_khz(khz);
	json_event(why ? "refused" : "set", why);
}

static void obey(char *line)
{
	while (*line == ' ')
		line++;
	char *words = words_next(line);

	if (!strcmp(line, "run")) {
		run(words, ndisks);
	} else if (!strcmp(line, "set")) {
		set(words);
	} else if (!strcmp(line, "list")) {
		tell_ready();
	} else if (!strcmp(line, "quit")) {
		json_event("bye", NULL);
		machine_off();
	} else if (*line) {
		json_event("refused", "no such command");
	}
}

/* The commands of -append, divided by semicolons. */
static void obey_loader(void)
{
	const char *s = machine_words();
	char line[LINE_MAX];
	size_t n = 0;

	for (;; s++) {
		if (*s && *s != ';') {
			if (n + 1 < sizeof(line))
				line[n++] = *s;
			continue;
		}
		line[n] = 0;
		n = 0;
		obey(line);
		if (!*s)
			return;
	}
}

void gauge_main(void)
{
	const char *why = machine_init();
	char line[LINE_MAX];

	serial_init(COM1);
	if (!why)
		why = tsc_init();
	if (why) {
		json_event("fatal", why);
		machine_off();
	}
	ndisks = disk_find();
	tell_ready();
	obey_loader();
	for (;;) {
		if (serial_line(COM1, line, sizeof(line)))
			obey(line);
		else
			json_event("refused", "the line is too long");
	}
}
