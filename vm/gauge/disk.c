/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/gauge/disk.h"

#include <stdlib.h>

#include "base/clock.h"
#include "vm/gauge/machine.h"
#include "wire/virtio_pci.h"

#define BIT(n) (1ull << (n))
#define WANT_FEATURES                                                                              \
	(BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_RO) |           \
	 BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_TOPOLOGY) |       \
	 BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_F_VERSION_1))

/* As on the host: each part of the ring apart from the next, see client/raw.c. */
#define PART_ALIGN 128
#define PAGE_B 4096
#define RING_MIN 128u
#define DESCS 3u /* a request's, without indirect ones */

struct client {
	struct client_queue q;
	const struct disk *disk;
	struct virtio_blk_config config;
	uint64_t features;
	void *doorbell;
	uint32_t wakeups_seen, interrupts_before;
};

static struct disk disks[DISKS_MAX];
static unsigned ndisks;
static struct client live;

static uint64_t read_features(struct virtio_pci_common *common)
{
	mmio_write_32(&common->device_feature_select, 0);
	uint64_t low = mmio_read_32(&common->device_feature);

	mmio_write_32(&common->device_feature_select, 1);
	return low | (uint64_t)mmio_read_32(&common->device_feature) << 32;
}

static void write_features(struct virtio_pci_common *common, uint64_t features)
{
	mmio_write_32(&common->driver_feature_select, 0);
	mmio_write_32(&common->driver_feature, (uint32_t)features);
	mmio_write_32(&common->driver_feature_select, 1);
	mmio_write_32(&common->driver_feature, (uint32_t)(features >> 32));
}

/* 4.1.4.3.2: a device that is reset says so. */
static void reset(struct virtio_pci_common *common)
{
	mmio_write_8(&common->device_status, 0);
	while (mmio_read_8(&common->device_status))
		cpu_relax();
}

static void *map_cap(struct pci_fn f, unsigned cap)
{
	uint8_t bar = pci_read_8(f, cap + offsetof(struct virtio_pci_cap, bar));
	uint32_t off_b = pci_read_32(f, cap + offsetof(struct virtio_pci_cap, offset));

	return pci_map(f, bar, off_b,
		       pci_read_32(f, cap + offsetof(struct virtio_pci_cap, length)));
}

/* 4.1.4: of several capabilities of a type the first that can be used counts. */
static void map_caps(struct disk *d)
{
	void *part[VIRTIO_PCI_CAP_TYPES] = { NULL };
	unsigned at = 0;

	while ((at = pci_find_cap(d->pci, at, PCI_CAP_VENDOR))) {
		uint8_t type = pci_read_8(d->pci, at + offsetof(struct virtio_pci_cap, cfg_type));

		if (type >= VIRTIO_PCI_CAP_TYPES || part[type])
			continue;
		part[type] = map_cap(d->pci, at);
		if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
			d->notify_step_b = pci_read_32(d->pci, at + sizeof(struct virtio_pci_cap));
	}
	d->common = part[VIRTIO_PCI_CAP_COMMON_CFG];
	d->notify = part[VIRTIO_PCI_CAP_NOTIFY_CFG];
	d->config = part[VIRTIO_PCI_CAP_DEVICE_CFG];
}

static void see(struct pci_fn f)
{
	struct disk *d = &disks[ndisks];

	if (ndisks == DISKS_MAX || f.vendor != VIRTIO_PCI_VENDOR ||
	    (f.device != VIRTIO_PCI_DEVICE(VIRTIO_ID_BLOCK) &&
	     f.device != VIRTIO_PCI_DEVICE_BLK_TRANSITIONAL))
		return;
	*d = (struct disk){ .pci = f };
	pci_enable(f);
	map_caps(d);
	if (!d->common || !d->notify || !d->config)
		return;
	reset(d->common);
	d->offered = read_features(d->common);
	mmio_write_16(&d->common->queue_select, 0);
	d->queue_size = mmio_read_16(&d->common->queue_size);
	if (d->offered & BIT(VIRTIO_F_VERSION_1) && d->queue_size)
		ndisks++;
}

unsigned disk_find(void)
{
	ndisks = 0;
	pci_scan(see);
	return ndisks;
}

const struct disk *disk_get(unsigned i)
{
	return &disks[i];
}

struct virtio_blk_config disk_config(const struct disk *d)
{
	struct virtio_blk_config config = { 0 };
	uint8_t *to = (uint8_t *)&config;
	uint8_t generation;

	do { /* 2.5.1: until nothing changed meanwhile */
		generation = mmio_read_8(&d->common->config_generation);
		for (unsigned i = 0; i < offsetof(struct virtio_blk_config, topology); i++)
			to[i] = mmio_read_8(d->config + i);
	} while (generation != mmio_read_8(&d->common->config_generation));
	return config;
}

/* Return: NULL, with features and ring of @c set; or why not. */
static const char *choose(struct client *c, const struct disk_conf *conf)
{
	struct client_queue *q = &c->q;
	uint64_t offered = c->disk->offered, take = offered & WANT_FEATURES;

	if (conf->packed && !(offered & BIT(VIRTIO_F_RING_PACKED)))
		return "ring: the disk offers no packed one";
	if (conf->packed)
		take |= BIT(VIRTIO_F_RING_PACKED);
	if (conf->indirect)
		take |= offered & BIT(VIRTIO_F_INDIRECT_DESC);
	if (conf->event_idx)
		take |= offered & BIT(VIRTIO_F_EVENT_IDX);
	c->features = take;
	q->packed = conf->packed;
	q->indirect = take & BIT(VIRTIO_F_INDIRECT_DESC);
	q->event_idx = take & BIT(VIRTIO_F_EVENT_IDX);
	uint32_t need = conf->depth * (q->indirect ? 1u : DESCS), size = RING_MIN;

	while (size < need)
		size *= 2;
	q->size = (uint16_t)min_u32(size, c->disk->queue_size);
	if (q->size < need)
		return "depth: deeper than the disk's ring";
	q->depth = conf->depth;
	q->buf_b = conf->bs_b;
	return NULL;
}

static bool queue_memory(struct client_queue *q)
{
	q->desc = machine_alloc(VIRTQ_DESC_BYTES(q->size), PART_ALIGN);
	q->avail = machine_alloc(VIRTQ_AVAIL_BYTES(q->size), PART_ALIGN);
	q->used = machine_alloc(VIRTQ_USED_BYTES(q->size), PART_ALIGN);
	q->line = machine_alloc(q->depth * sizeof(struct client_line), PART_ALIGN);
	q->table = machine_alloc(q->depth * 64ull, PART_ALIGN);
	q->data = machine_alloc((uint64_t)q->depth * q->buf_b, PAGE_B);
	q->slot = calloc(q->depth, sizeof(*q->slot));
	q->slot_of = calloc(q->size, sizeof(*q->slot_of));
	q->line_guest = (uintptr_t)q->line;
	q->table_guest = (uintptr_t)q->table;
	q->data_guest = (uintptr_t)q->data;
	return q->desc && q->avail && q->used && q->line && q->table && q->data && q->slot &&
	       q->slot_of;
}

static void write_64(void *at, const void *value)
{
	uint64_t v = (uintptr_t)value;

	mmio_write_32(at, (uint32_t)v);
	mmio_write_32((uint8_t *)at + 4, (uint32_t)(v >> 32));
}

/* 4.1.5.1.3 */
static void start_queue(struct client *c)
{
	struct virtio_pci_common *common = c->disk->common;

	mmio_write_16(&common->config_msix_vector, VIRTIO_PCI_NO_VECTOR);
	mmio_write_16(&common->queue_select, 0);
	mmio_write_16(&common->queue_size, c->q.size);
	mmio_write_16(&common->queue_msix_vector, 0);
	write_64(&common->queue_desc, c->q.desc);
	write_64(&common->queue_driver, c->q.avail);
	write_64(&common->queue_device, c->q.used);
	c->doorbell = c->disk->notify +
		      (size_t)mmio_read_16(&common->queue_notify_off) * c->disk->notify_step_b;
	mmio_write_16(&common->queue_enable, 1);
}

/* 3.1.1 */
const char *disk_open(const struct disk *d, const struct disk_conf *conf,
		      struct client **ret_client)
{
	struct client *c = &live;
	uint8_t status = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;

	*c = (struct client){ .disk = d };
	const char *why = choose(c, conf);

	if (why)
		return why;
	if (!queue_memory(&c->q))
		return "depth: times bs is more than the memory";
	c->q.kick_when = conf->kick;
	client_queue_reset(&c->q);
	reset(d->common);
	mmio_write_8(&d->common->device_status, status);
	write_features(d->common, c->features);
	status |= VIRTIO_STATUS_FEATURES_OK;
	mmio_write_8(&d->common->device_status, status);
	if (!(mmio_read_8(&d->common->device_status) & VIRTIO_STATUS_FEATURES_OK))
		return "disk: does not take the features that it offered";
	if (!pci_enable_msix(d->pci))
		return "disk: has no MSI-X";
	c->config = disk_config(d);
	start_queue(c);
	c->interrupts_before = machine_device_interrupts();
	c->wakeups_seen = machine_wakeups();
	mmio_write_8(&d->common->device_status, status | VIRTIO_STATUS_DRIVER_OK);
	*ret_client = c;
	return NULL;
}

void disk_close(struct client *c)
{
	reset(c->disk->common);
}

const struct virtio_blk_config *client_config(const struct client *c)
{
	return &c->config;
}

uint64_t client_features(const struct client *c)
{
	return c->features;
}

unsigned client_queues(const struct client *c)
{
	return 1;
}

struct client_queue *client_queue(struct client *c, unsigned i)
{
	c->q.interrupts = machine_device_interrupts() - c->interrupts_before;
	return &c->q;
}

void client_kick(struct client_queue *q)
{
	struct client *c = container_of(q, struct client, q);

	q->kicks++;
	mmio_write_16(c->doorbell, 0); /* 4.1.5.2: the queue's index */
}

int client_wait(struct client *c, uint64_t timeout_ns)
{
	uint64_t before = c->q.interrupts;
	uint64_t ticks = clock_ns_to_ticks(clock_scale(), timeout_ns);

	machine_sleep(c->wakeups_seen, clock_ticks() + ticks);
	/* from here on: what comes before the next sleep, armed or not, cuts that short */
	c->wakeups_seen = machine_wakeups();
	return client_queue(c, 0)->interrupts != before;
}
