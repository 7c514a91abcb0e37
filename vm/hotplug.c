/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that come to a running machine and go. What a machine has is asked of QEMU each
 * time and nowhere written down, so a command that was cut off leaves nothing to be
 * repaired: the next one finds a chardev without a device, or a device that is being
 * removed, and goes on from there. That a device is being removed QEMU does not tell: that is
 * noted in QEMU, too, as an object beside it that nobody uses.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "vm/machine.h"
#include "vm/qmp.h"

#define CALL_MS 10000 /* device_add connects to the controller before it answers */
/* How long one stretch of waiting holds QEMU's control socket: `vm list` comes in between. */
#define STRETCH_MS 250
/* An early guest misses the wish to let go of a disk: it is told again. */
#define ASK_AGAIN_NS NS_PER_S
/* q35's GPE0, its enable half, and in it the bit that tells a guest of disks that are to go. */
#define GPE0_ENABLE_PORT "0x628"
#define GPE0_PCI_HOTPLUG 2u
#define PORT_OF_NOBODY 0xffu
#define PERIPHERAL "/machine/peripheral"
#define OBJECTS "/objects"
#define LEAVING_ID "leaving-"

struct id {
	char text[sizeof(LEAVING_ID) + VM_DISK_NAME_MAX];
};

static struct id id_with(const char *lead, const char *disk)
{
	struct id id;

	snprintf(id.text, sizeof(id.text), "%s%s", lead, disk);
	return id;
}

static struct id id_of(const char *disk)
{
	return id_with(VM_DISK_ID, disk);
}

/* Return: the spare place that @bus, a path such as /machine/peripheral/spare0/spare0, belongs to;
 * -1: none. */
static int spare_of(const char *bus)
{
	static const char before[] = PERIPHERAL "/" VM_SPARE_ID;
	size_t len = strlen(before);

	if (!bus || strncmp(bus, before, len) || bus[len] < '0' || bus[len] > '9')
		return -1;
	int i = atoi(bus + len);

	return i < VM_SPARE_MAX ? i : -1;
}

/* The bus that the device at @path is on. Return: 0; -errno. *ret_bus is the caller's to drop. */
static int bus_of(struct qmp *q, const char *path, json_t **ret_bus)
{
	return qmp_call(q, "qom-get",
			json_pack("{s:s, s:s}", "path", path, "property", "parent_bus"), ret_bus);
}

/* Marks in @taken the spare place that the device at "@parent/@name" is in. Return: 0, with which
 * in *ret_place or -1; -ENOENT when the device has gone since it was listed; -errno. */
static int take_place(struct qmp *q, const char *parent, const char *name, bool *taken,
		      int *ret_place)
{
	char path[256];
	json_t *bus = NULL;
	int n = snprintf(path, sizeof(path), "%s/%s", parent, name);
	/* no disk of ours has a longer name */
	int err = n > 0 && (size_t)n < sizeof(path) ? bus_of(q, path, &bus) : 0;
	int place = spare_of(json_string_value(bus));

	json_decref(bus);
	if (err)
		return err == -EREMOTEIO ? -ENOENT : err;
	if (place >= 0)
		taken[place] = true;
	*ret_place = place;
	return 0;
}

/* What lies at "@parent": a list of names and types. */
static int list(struct qmp *q, const char *parent, json_t **ret)
{
	return qmp_call(q, "qom-list", json_pack("{s:s}", "path", parent), ret);
}

/* Whether an entry of that list is a device, and which. */
static const char *device_in(const json_t *entry)
{
	const char *type = json_string_value(json_object_get(entry, "type"));

	return type && !strncmp(type, "child<", 6) ?
		       json_string_value(json_object_get(entry, "name")) : NULL;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct vm_attached *)a)->name, ((const struct vm_attached *)b)->name);
}

/* Notes device @name, one that was given a name. */
static void note(const char *name, int place, struct vm_info *info, bool *have)
{
	int own = strncmp(name, VM_SPARE_ID, strlen(VM_SPARE_ID)) ? -1 :
		  atoi(name + strlen(VM_SPARE_ID));

	if (own >= 0 && own < VM_SPARE_MAX)
		have[own] = true;
	if (strncmp(name, VM_DISK_ID, strlen(VM_DISK_ID)) || info->ndisk == VM_DISKS_MAX)
		return;
	struct vm_attached *d = &info->disk[info->ndisk++];

	snprintf(d->name, sizeof(d->name), "%s", name + strlen(VM_DISK_ID));
	d->hot = place >= 0;
	d->leaving = false;
}

/* Which disks are being removed. */
static int look_leaving(struct qmp *q, struct vm_info *info)
{
	json_t *all = NULL, *entry;
	int err = list(q, OBJECTS, &all);
	size_t i;

	json_array_foreach(all, i, entry) {
		const char *name = device_in(entry);

		for (unsigned k = 0; name && k < info->ndisk; k++) {
			struct vm_attached *d = &info->disk[k];

			d->leaving |= !strcmp(name, id_with(LEAVING_ID, d->name).text);
		}
	}
	json_decref(all);
	return err == -EREMOTEIO ? 0 : err; /* it has no objects at all */
}

/* Disks and spare places of a machine; in @taken which of the latter are in use. */
static int look(struct qmp *q, struct vm_info *info, bool *taken)
{
	static const char *const parents[] = { PERIPHERAL, PERIPHERAL "-anon" };
	bool have[VM_SPARE_MAX] = { false };
	size_t i;

	info->ndisk = info->spare = info->spare_free = 0;
	for (unsigned k = 0; k < ARRAY_SIZE(parents); k++) {
		json_t *all = NULL, *entry;
		int place = -1, err = list(q, parents[k], &all);

		json_array_foreach(all, i, entry) {
			const char *name = device_in(entry);

			if (!name)
				continue;
			err = take_place(q, parents[k], name, taken, &place);
			if (err && err != -ENOENT)
				break;
			if (!err && !k)
				note(name, place, info, have);
			err = 0;
		}
		json_decref(all);
		if (err)
			return err;
	}
	for (i = 0; i < VM_SPARE_MAX; i++) {
		info->spare += have[i];
		info->spare_free += have[i] && !taken[i];
		taken[i] |= !have[i];
	}
	qsort(info->disk, info->ndisk, sizeof(*info->disk), by_name);
	return look_leaving(q, info);
}

int vm_ask_disks(struct qmp *q, struct vm_info *info)
{
	bool taken[VM_SPARE_MAX] = { false };

	return look(q, info, taken);
}

static const struct vm_attached *find(const struct vm_info *info, const char *disk)
{
	for (unsigned i = 0; i < info->ndisk; i++)
		if (!strcmp(info->disk[i].name, disk))
			return &info->disk[i];
	return NULL;
}

/* One command at a time that changes a machine. Return: a descriptor, whose closing unlocks;
 * -errno. */
static int lock_machine(const char *state_dir, const char *name, struct vm_error *err)
{
	char path[PATH_MAX];
	int bad = vm_name_check(name, err);

	if (bad)
		return bad;
	bad = vm_path(path, sizeof(path), state_dir, name, NULL);
	if (bad)
		return bad;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return vm_fail(err, -ENOENT, "name", "no machine '%s' runs", name);
	if (flock(fd, LOCK_EX)) {
		fd_close(fd);
		return vm_fail(err, -errno, "name", "cannot lock %s: %m", path);
	}
	return fd;
}

static int connect_to(const char *state_dir, const char *name, struct qmp **ret,
		      struct vm_error *err)
{
	char path[FD_SOCKET_PATH_MAX + 1];
	struct vm_record rec;

	if (vm_record_load(state_dir, name, &rec))
		return vm_fail(err, -ENOENT, "name", "no machine '%s' runs", name);
	CLEANUP(fd_cleanup) int pidfd = vm_pidfd(&rec);

	if (pidfd < 0)
		return vm_fail(err, -ENOENT, "name", "machine '%s' has ended", name);
	int bad = vm_path(path, sizeof(path), state_dir, name, VM_FILE_QMP);

	if (!bad)
		bad = qmp_open(path, CALL_MS, ret);
	return bad ? vm_fail(err, bad, "name", "machine '%s' does not answer: %s", name,
			     strerror(-bad)) : 0;
}

/* QEMU's words for the failure @code of a call. Return: @code. */
static int refused(struct qmp *q, int code, const char *what, struct vm_error *err)
{
	return vm_fail(err, code, "disk", "%s: %.300s", what,
		       code == -EREMOTEIO ? qmp_reason(q) : strerror(-code));
}

/* "a=b,c=d" into @args. Return: 0; -EINVAL. */
static int add_options(json_t *args, const char *options, struct vm_error *err)
{
	char *text = options ? strdup(options) : NULL, *save = NULL;
	int bad = 0;

	for (char *o = text ? strtok_r(text, ",", &save) : NULL; o;
	     o = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(o, '='), *end;

		if (!eq) {
			bad = vm_fail(err, -EINVAL, "disk_options", "'%.60s' is not KEY=VALUE", o);
			break;
		}
		*eq++ = 0;
		json_int_t n = strtoll(eq, &end, 0);
		json_t *v = !strcmp(eq, "on") ? json_true() : !strcmp(eq, "off") ? json_false() :
			    *eq && !*end ? json_integer(n) : json_string(eq);

		json_object_set_new(args, o, v);
	}
	free(text);
	return bad;
}

static int add_device(struct qmp *q, const struct vm_disk *d, unsigned place, struct vm_error *err)
{
	struct id id = id_of(d->name);
	char bus[16];

	snprintf(bus, sizeof(bus), "%s%u", VM_SPARE_ID, place);
	json_t *args = json_pack("{s:s, s:s, s:s, s:s, s:I, s:b}", "driver", "vhost-user-blk-pci",
				 "id", id.text, "chardev", id.text, "bus", bus, "num-queues",
				 (json_int_t)d->queues, "packed", (int)d->packed);
	int bad = add_options(args, d->options, err);

	if (bad) {
		json_decref(args);
		return bad;
	}
	bad = qmp_call(q, "device_add", args, NULL);
	return bad ? refused(q, bad, "QEMU cannot have the disk", err) : 0;
}

/* Ends QEMU's connection to the disk. Return: whether it has ended; not while the device is there,
 * or has gone from QEMU's tree but not yet from its memory. */
static bool remove_chardev(struct qmp *q, const char *disk)
{
	struct id id = id_of(disk);
	json_t *all = NULL, *one;
	bool there = false;
	size_t i;

	qmp_call(q, "chardev-remove", json_pack("{s:s}", "id", id.text), NULL);
	if (qmp_call(q, "query-chardev", NULL, &all))
		return false;
	json_array_foreach(all, i, one)
		there |= !strcmp(json_string_value(json_object_get(one, "label")), id.text);
	json_decref(all);
	return !there;
}

static int add_chardev(struct qmp *q, const struct vm_disk *d, struct vm_error *err)
{
	struct id id = id_of(d->name);

	/* one that a command has left which was cut off */
	remove_chardev(q, d->name);
	/* reconnect: a controller that restarts is found again after a second */
	int bad = qmp_call(q, "chardev-add",
			   json_pack("{s:s, s:{s:s, s:{s:{s:s, s:{s:s}}, s:b, s:i}}}", "id",
				     id.text,
				     "backend", "type", "socket", "data", "addr", "type", "unix",
				     "data", "path", d->socket, "server", 0, "reconnect", 1), NULL);

	return bad ? refused(q, bad, "QEMU cannot reach the disk", err) : 0;
}

static void note_leaving(struct qmp *q, const char *disk)
{
	qmp_call(q, "object-add", json_pack("{s:s, s:s}", "qom-type", "authz-list", "id",
					    id_with(LEAVING_ID, disk).text), NULL);
}

static void unnote_leaving(struct qmp *q, const char *disk)
{
	qmp_call(q, "object-del", json_pack("{s:s}", "id", id_with(LEAVING_ID, disk).text), NULL);
}

static int attach(struct qmp *q, const struct vm_disk *d, struct vm_error *err)
{
	bool taken[VM_SPARE_MAX] = { false };
	struct vm_info info = { 0 };
	unsigned place = 0;
	int bad = look(q, &info, taken);

	if (bad)
		return refused(q, bad, "QEMU does not tell its devices", err);
	const struct vm_attached *have = find(&info, d->name);

	if (have && have->leaving)
		return vm_fail(err, -EBUSY, "disk",
			       "the guest has been told to let go of '%s', and may still", d->name);
	if (have)
		return 0;
	while (place < VM_SPARE_MAX && taken[place])
		place++;
	if (place == VM_SPARE_MAX)
		return vm_fail(err, -ENOSPC, "name",
			       "the machine has %u places for disks that come "
			       "later, and none is free (`vm run` spare=N)", info.spare);
	unnote_leaving(q, d->name); /* of one that went when nobody waited any more */
	bad = add_chardev(q, d, err);
	if (bad)
		return bad;
	bad = add_device(q, d, place, err);
	if (bad)
		remove_chardev(q, d->name);
	return bad;
}

int vm_attach(const char *state_dir, const char *name, const struct vm_disk *disk,
	      struct vm_error *err)
{
	struct qmp *q = NULL;
	CLEANUP(fd_cleanup) int lock = lock_machine(state_dir, name, err);
	int bad = lock < 0 ? lock : connect_to(state_dir, name, &q, err);

	if (bad)
		return bad;
	bad = attach(q, disk, err);
	qmp_close(q);
	return bad;
}

/* What has become of a wish to detach. */
enum leaving { LEAVING, GONE, COLD };

/* Whether the guest's ACPI is at work and hears of a disk that is to go. */
static bool is_listening(struct qmp *q)
{
	json_t *said = NULL;

	qmp_call(q, "human-monitor-command",
		 json_pack("{s:s}", "command-line", "i/b " GPE0_ENABLE_PORT), &said);
	/* "portb[0x0628] = 0x06" */
	const char *value = json_is_string(said) ? strchr(json_string_value(said), '=') : NULL;
	unsigned long enabled = value ? strtoul(value + 1, NULL, 16) : 0;

	json_decref(said);
	return enabled != PORT_OF_NOBODY && enabled & GPE0_PCI_HOTPLUG;
}

/* Return: 0, with whether the guest has heard it in *ret_heard; -errno. */
static int ask(struct qmp *q, const char *disk, bool *ret_heard)
{
	bool heard = is_listening(q);

	note_leaving(q, disk);
	int err = qmp_call(q, "device_del", json_pack("{s:s}", "id", id_of(disk).text), NULL);

	*ret_heard = heard && !err;
	/* asked twice QEMU says that it is under way, which is no news */
	return err == -EREMOTEIO ? 0 : err;
}

/* One stretch: waits a little for the guest to let go, and looks. Return: 0; -errno. */
static int wait_stretch(struct qmp *q, const char *disk, enum leaving *ret)
{
	bool taken[VM_SPARE_MAX] = { false };
	struct vm_info info = { 0 };
	uint64_t end_ns = clock_ns() + STRETCH_MS * NS_PER_MS;
	json_t *event = NULL;

	for (;;) {
		uint64_t now_ns = clock_ns();
		int bad = look(q, &info, taken);

		if (bad)
			return bad;
		const struct vm_attached *d = find(&info, disk);

		*ret = d ? (d->hot ? LEAVING : COLD) : remove_chardev(q, disk) ? GONE : LEAVING;
		if (*ret != LEAVING)
			unnote_leaving(q, disk);
		if (*ret != LEAVING || now_ns >= end_ns)
			return 0;
		/* DEVICE_DELETED is one of those that end it */
		if (!qmp_event(q, (unsigned)((end_ns - now_ns) / NS_PER_MS) + 1, &event))
			json_decref(event);
	}
}

/* Until the disk is gone, or @until_ns. Between two stretches others may speak to QEMU.
 *
 * A guest that hears the wish again while it is at it obeys it again when it is done: by then
 * another disk may be in that place, which goes at once. So one that has heard it is not told
 * again. */
static int wait_gone(const char *state_dir, const char *name, const char *disk, uint64_t until_ns,
		     enum leaving *ret, struct vm_error *err)
{
	uint64_t asked_ns = 0;
	bool heard = false;

	for (;;) {
		struct qmp *q = NULL;
		int bad = connect_to(state_dir, name, &q, err);

		if (bad)
			return bad;
		if (!heard && clock_ns() - asked_ns > ASK_AGAIN_NS) {
			asked_ns = clock_ns();
			bad = ask(q, disk, &heard);
		}
		if (!bad)
			bad = wait_stretch(q, disk, ret);
		if (bad)
			refused(q, bad, "QEMU does not let go of the disk", err);
		qmp_close(q);
		if (bad || *ret != LEAVING || clock_ns() >= until_ns)
			return bad;
	}
}

/* A reset of the machine ends every removal that its guest has not agreed to. */
static int reset_machine(const char *state_dir, const char *name, struct vm_error *err)
{
	struct qmp *q = NULL;
	int bad = connect_to(state_dir, name, &q, err);

	if (bad)
		return bad;
	bad = qmp_call(q, "system_reset", NULL, NULL);
	if (bad)
		refused(q, bad, "QEMU does not reset the machine", err);
	qmp_close(q);
	return bad;
}

int vm_detach(const char *state_dir, const char *name, const char *disk, unsigned wait_ms,
	      bool reset, struct vm_error *err)
{
	CLEANUP(fd_cleanup) int lock = lock_machine(state_dir, name, err);
	enum leaving now = LEAVING;

	if (lock < 0)
		return lock;
	int bad = wait_gone(state_dir, name, disk, clock_ns() + wait_ms * NS_PER_MS, &now, err);

	if (!bad && now == LEAVING && reset) {
		bad = reset_machine(state_dir, name, err);
		if (!bad)
			bad = wait_gone(state_dir, name, disk, clock_ns() + CALL_MS * NS_PER_MS,
					&now, err);
	}
	if (bad || now == GONE)
		return bad;
	if (now == COLD)
		return vm_fail(err, -ENOTSUP, "disk",
			       "'%s' was there when the machine started, and goes "
			       "with it", disk);
	return vm_fail(err, -EBUSY, "disk",
		       "the guest has not let go of '%s' in %u s; it may still, and "
		       "force=on resets it", disk, wait_ms / 1000);
}
