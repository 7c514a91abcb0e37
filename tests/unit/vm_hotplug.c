/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that come to a machine and go, against a QEMU that is played: vm/hotplug.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/proc.h"
#include "vm/machine.h"

#define LINE_MAX_B 1024

/* A machine as QEMU has it. The test sets it up, the player changes it while a call runs. */
static struct played {
	char dir[64];
	int listener, stop;
	pthread_t thread;

	json_t *devices;  /* {id: bus} */
	json_t *chardevs; /* {id: true} */
	json_t *objects;  /* {id: true} */
	json_t *added;	  /* arguments of the last device_add */
	const char *refuses; /* device_add: why, NULL: it does not */
	bool deaf;	     /* the guest never lets go of a disk */
	bool early;	     /* its ACPI is not at work yet: it lets go if it is asked again */
	unsigned slow;	     /* callers of QEMU until the guest lets go; 0: it does at once */
	const char *going;   /* goes when it is looked at */
	unsigned busy;	     /* times that a chardev cannot be removed yet, after its device */
	unsigned dels, resets;
} m;

static void say(int fd, json_t *msg)
{
	char *text = json_dumps(msg, JSON_COMPACT);

	fd_send(fd, text, strlen(text), NULL, 0);
	fd_send(fd, "\n", 1, NULL, 0);
	free(text);
	json_decref(msg);
}

static json_t *error(const char *why)
{
	return json_pack("{s:{s:s, s:s}}", "error", "class", "GenericError", "desc", why);
}

static json_t *done(void)
{
	return json_pack("{s:{}}", "return");
}

static json_t *qom_list(const char *path)
{
	json_t *all = json_array(), *is;
	json_t *in = !strcmp(path, "/machine/peripheral") ? m.devices :
		     !strcmp(path, "/objects") ? m.objects : NULL;
	const char *id;

	json_object_foreach(in, id, is)
		json_array_append_new(all, json_pack("{s:s, s:s}", "name", id, "type",
						     "child<any>"));
	json_array_append_new(all, json_pack("{s:s, s:s}", "name", "type", "type", "string"));
	return json_pack("{s:o}", "return", all);
}

static json_t *qom_get(const char *path)
{
	if (m.going)
		json_object_del(m.devices, m.going);
	json_t *bus = json_object_get(m.devices, strrchr(path, '/') + 1);

	return bus ? json_pack("{s:O}", "return", bus) : error("no such path");
}

static json_t *query_chardev(void)
{
	json_t *all = json_array(), *is;
	const char *id;

	json_object_foreach(m.chardevs, id, is)
		json_array_append_new(all, json_pack("{s:s}", "label", id));
	return json_pack("{s:o}", "return", all);
}

static json_t *chardev_remove(const char *id)
{
	if (!json_object_get(m.chardevs, id))
		return error("not found");
	if (json_object_get(m.devices, id) || (m.busy && m.busy--))
		return error("busy");
	json_object_del(m.chardevs, id);
	return done();
}

static json_t *device_add(json_t *args)
{
	char bus[96];

	if (m.refuses)
		return error(m.refuses);
	json_decref(m.added);
	m.added = json_incref(args);
	snprintf(bus, sizeof(bus), "/machine/peripheral/%s/%s",
		 json_string_value(json_object_get(args, "bus")),
		 json_string_value(json_object_get(args, "bus")));
	json_object_set_new(m.devices, json_string_value(json_object_get(args, "id")),
			    json_string(bus));
	return done();
}

/* Disks in spare places go at a reset. */
static void drop_hot(void)
{
	json_t *bus;
	const char *id;
	void *tmp;

	json_object_foreach_safe(m.devices, tmp, id, bus)
		if (!strncmp(id, VM_DISK_ID, strlen(VM_DISK_ID)) &&
		    strstr(json_string_value(bus), VM_SPARE_ID))
			json_object_del(m.devices, id);
}

static json_t *device_del(int fd, const char *id)
{
	const char *bus = json_string_value(json_object_get(m.devices, id));

	m.dels++;
	if (!bus || !strstr(bus, VM_SPARE_ID))
		return error("cannot");
	if (m.deaf || m.early || m.slow) {
		m.early = false;
		return done();
	}
	say(fd, done());
	json_object_del(m.devices, id);
	return json_pack("{s:s, s:{s:s}}", "event", "DEVICE_DELETED", "data", "device", id);
}

static json_t *answer(int fd, json_t *msg)
{
	const char *what = json_string_value(json_object_get(msg, "execute"));
	json_t *args = json_object_get(msg, "arguments");
	const char *id = json_string_value(json_object_get(args, "id"));
	const char *path = json_string_value(json_object_get(args, "path"));

	if (!strcmp(what, "qom-list"))
		return qom_list(path);
	if (!strcmp(what, "qom-get"))
		return qom_get(path);
	if (!strcmp(what, "query-chardev"))
		return query_chardev();
	if (!strcmp(what, "chardev-remove"))
		return chardev_remove(id);
	if (!strcmp(what, "device_add"))
		return device_add(args);
	if (!strcmp(what, "object-add"))
		json_object_set_new(m.objects, id, json_true());
	if (!strcmp(what, "object-del"))
		json_object_del(m.objects, id);
	if (!strcmp(what, "device_del"))
		return device_del(fd, id);
	if (!strcmp(what, "human-monitor-command"))
		return json_pack("{s:s}", "return", m.early ? "portb[0x0628] = 0x00\r\n" :
				 "portb[0x0628] = 0x06\r\n");
	if (!strcmp(what, "chardev-add"))
		json_object_set_new(m.chardevs, id, json_true());
	if (!strcmp(what, "system_reset")) {
		m.resets++;
		drop_hot();
	}
	return done();
}

static void converse(int fd)
{
	char line[LINE_MAX_B];
	size_t n = 0;

	if (m.slow && !--m.slow)
		drop_hot();
	say(fd, json_pack("{s:{}}", "QMP"));
	while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1) {
		if (line[n++] != '\n')
			continue;
		json_t *msg = json_loadb(line, n, 0, NULL);

		assert_non_null(msg);
		say(fd, answer(fd, msg));
		json_decref(msg);
		n = 0;
	}
	close(fd);
}

static void *play(void *arg)
{
	struct pollfd p[] = { { .fd = m.listener, .events = POLLIN },
			      { .fd = m.stop, .events = POLLIN } };

	while (poll(p, 2, -1) > 0 && !p[1].revents)
		converse(accept(m.listener, NULL, NULL));
	return NULL;
}

static void begin(unsigned spare)
{
	struct vm_record rec = { .pid = getpid() };
	struct proc own;
	char path[128];

	memset(&m, 0, sizeof(m));
	snprintf(m.dir, sizeof(m.dir), "/tmp/postern-test-XXXXXX");
	assert_non_null(mkdtemp(m.dir));
	snprintf(path, sizeof(path), "%s/web", m.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(proc_look(rec.pid, &own), 0);
	rec.start_ticks = own.start_ticks;
	assert_int_equal(vm_record_save(m.dir, "web", &rec), 0);
	assert_int_equal(vm_path(path, sizeof(path), m.dir, "web", VM_FILE_QMP), 0);
	m.listener = fd_listen(path, 0600);
	assert_true(m.listener >= 0);
	m.stop = eventfd(0, EFD_CLOEXEC);
	m.devices = json_pack("{s:s}", "disk-boot", "/machine/q35/pcie.0");
	m.chardevs = json_pack("{s:b}", "disk-boot", true);
	m.objects = json_object();
	for (unsigned i = 0; i < spare; i++) {
		char id[16];

		snprintf(id, sizeof(id), "%s%u", VM_SPARE_ID, i);
		json_object_set_new(m.devices, id, json_string("/machine/q35/pcie.0"));
	}
	assert_int_equal(pthread_create(&m.thread, NULL, play, NULL), 0);
}

static void finish(void)
{
	char path[128];

	eventfd_write(m.stop, 1);
	pthread_join(m.thread, NULL);
	close(m.stop);
	close(m.listener);
	for (unsigned i = 0; i < 2; i++) {
		vm_path(path, sizeof(path), m.dir, "web", i ? VM_FILE_QMP : VM_FILE_MACHINE);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/web", m.dir);
	rmdir(path);
	rmdir(m.dir);
	json_decref(m.devices);
	json_decref(m.chardevs);
	json_decref(m.objects);
	json_decref(m.added);
}

static int attach(const char *disk, const char *options, struct vm_error *err)
{
	struct vm_disk d = { .name = disk, .socket = "/run/d.sock", .queues = 2,
			     .options = options };

	return vm_attach(m.dir, "web", &d, err);
}

static int detach(const char *disk, unsigned wait_ms, bool reset, struct vm_error *err)
{
	return vm_detach(m.dir, "web", disk, wait_ms, reset, err);
}

static bool there(const json_t *all, const char *id)
{
	return json_object_get(all, id);
}

static const char *place(void)
{
	return json_string_value(json_object_get(m.added, "bus"));
}

static void takes_the_first_free_place(void **state)
{
	struct vm_error err;

	begin(3);
	json_object_set_new(m.devices, "card", json_string("/machine/peripheral/spare0/spare0"));
	assert_int_equal(attach("a", NULL, &err), 0);
	assert_string_equal(place(), "spare1");
	assert_int_equal(attach("b", "event_idx=off,size=7,serial=x", &err), 0);
	assert_string_equal(place(), "spare2");
	assert_true(json_is_false(json_object_get(m.added, "event_idx")));
	assert_int_equal(json_integer_value(json_object_get(m.added, "size")), 7);
	assert_string_equal(json_string_value(json_object_get(m.added, "serial")), "x");
	assert_int_equal(attach("c", NULL, &err), -ENOSPC);
	assert_false(there(m.chardevs, "disk-c"));
	finish();
}

static void adds_a_disk_once(void **state)
{
	struct vm_error err;

	begin(2);
	assert_int_equal(attach("a", NULL, &err), 0);
	json_decref(m.added);
	m.added = NULL;
	assert_int_equal(attach("a", NULL, &err), 0);
	assert_int_equal(attach("boot", NULL, &err), 0);
	assert_null(m.added);
	finish();
}

/* A command was cut off between its two steps, or QEMU refuses the second. */
static void leaves_no_connection_without_a_device(void **state)
{
	struct vm_error err;

	begin(1);
	json_object_set_new(m.chardevs, "disk-a", json_true());
	m.refuses = "Failed to connect";
	assert_int_equal(attach("a", NULL, &err), -EREMOTEIO);
	assert_non_null(strstr(err.text, "Failed to connect"));
	assert_false(there(m.chardevs, "disk-a"));
	assert_int_equal(attach("a", "nonsense", &err), -EINVAL);
	assert_string_equal(err.param, "disk_options");
	assert_false(there(m.chardevs, "disk-a"));
	m.refuses = NULL;
	assert_int_equal(attach("a", NULL, &err), 0);
	finish();
}

static void detaches_when_the_guest_lets_go(void **state)
{
	struct vm_error err;

	begin(1);
	assert_int_equal(attach("a", NULL, &err), 0);
	assert_int_equal(detach("a", 30000, false, &err), 0);
	assert_false(there(m.devices, "disk-a"));
	assert_false(there(m.chardevs, "disk-a"));
	/* again, and one that it never had */
	assert_int_equal(detach("a", 30000, false, &err), 0);
	assert_int_equal(detach("b", 30000, false, &err), 0);
	assert_int_equal(attach("a", NULL, &err), 0);
	finish();
}

static void is_not_told_that_a_disk_stays_which_goes_just_then(void **state)
{
	struct vm_error err;

	begin(1);
	assert_int_equal(attach("a", NULL, &err), 0);
	m.deaf = true;
	m.going = "disk-a";
	assert_int_equal(detach("a", 30000, false, &err), 0);
	assert_false(there(m.chardevs, "disk-a"));
	finish();
}

static void asks_a_guest_again_that_was_not_listening(void **state)
{
	struct vm_error err;

	begin(1);
	assert_int_equal(attach("a", NULL, &err), 0);
	m.early = true;
	assert_int_equal(detach("a", 30000, false, &err), 0);
	assert_int_equal(m.dels, 2);
	finish();
}

/* It would take the next disk in that place for the one that is to go. */
static void asks_a_guest_once_that_takes_its_time(void **state)
{
	struct vm_error err;

	begin(1);
	assert_int_equal(attach("a", NULL, &err), 0);
	m.slow = 8; /* some of them come when an early guest would have been asked again */
	assert_int_equal(detach("a", 30000, false, &err), 0);
	assert_int_equal(m.dels, 1);
	finish();
}

/* QEMU gives a device's memory back a moment after the guest has let go of it. */
static void waits_until_the_connection_has_gone_as_well(void **state)
{
	struct vm_error err;

	begin(1);
	assert_int_equal(attach("a", NULL, &err), 0);
	m.busy = 2;
	assert_int_equal(detach("a", 30000, false, &err), 0);
	assert_int_equal(m.busy, 0);
	assert_false(there(m.chardevs, "disk-a"));
	/* cut off between its two steps */
	assert_int_equal(attach("a", NULL, &err), 0);
	json_object_del(m.devices, "disk-a");
	assert_int_equal(detach("a", 30000, false, &err), 0);
	assert_false(there(m.chardevs, "disk-a"));
	finish();
}

static void asks_no_longer_than_it_may(void **state)
{
	struct vm_error err;

	begin(1);
	assert_int_equal(attach("a", NULL, &err), 0);
	m.deaf = true;
	assert_int_equal(detach("a", 0, false, &err), -EBUSY);
	assert_true(there(m.devices, "disk-a"));
	assert_int_equal(m.dels, 1);
	assert_int_equal(m.resets, 0);
	/* told again by the next command: an early guest may not have heard it */
	assert_int_equal(detach("a", 1, false, &err), -EBUSY);
	assert_int_equal(m.dels, 2);
	assert_int_equal(detach("a", 0, true, &err), 0);
	assert_int_equal(m.resets, 1);
	assert_false(there(m.chardevs, "disk-a"));
	finish();
}

static void attaches_no_disk_that_is_leaving(void **state)
{
	struct vm_error err;

	begin(1);
	assert_int_equal(attach("a", NULL, &err), 0);
	m.deaf = true;
	assert_int_equal(detach("a", 0, false, &err), -EBUSY);
	assert_int_equal(attach("a", NULL, &err), -EBUSY);
	assert_string_equal(err.param, "disk");
	/* the guest lets go of it, and nobody waits for that any more */
	json_object_del(m.devices, "disk-a");
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(attach("a", NULL, &err), 0);
	m.deaf = false;
	assert_int_equal(detach("a", 30000, false, &err), 0);
	assert_int_equal(detach("boot", 0, false, &err), -ENOTSUP);
	assert_int_equal(attach("boot", NULL, &err), 0);
	assert_int_equal(json_object_size(m.objects), 0);
	finish();
}

static void refuses_what_cannot_be(void **state)
{
	struct vm_error err;

	begin(1);
	assert_int_equal(detach("boot", 30000, true, &err), -ENOTSUP);
	assert_int_equal(m.resets, 0);
	assert_true(there(m.chardevs, "disk-boot"));
	struct vm_disk d = { .name = "a", .socket = "/run/d.sock", .queues = 1 };

	assert_int_equal(vm_attach(m.dir, "other", &d, &err), -ENOENT);
	assert_int_equal(vm_detach(m.dir, "../web", "a", 0, false, &err), -EINVAL);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_the_first_free_place),
		cmocka_unit_test(adds_a_disk_once),
		cmocka_unit_test(leaves_no_connection_without_a_device),
		cmocka_unit_test(detaches_when_the_guest_lets_go),
		cmocka_unit_test(is_not_told_that_a_disk_stays_which_goes_just_then),
		cmocka_unit_test(asks_a_guest_again_that_was_not_listening),
		cmocka_unit_test(asks_a_guest_once_that_takes_its_time),
		cmocka_unit_test(waits_until_the_connection_has_gone_as_well),
		cmocka_unit_test(asks_no_longer_than_it_may),
		cmocka_unit_test(attaches_no_disk_that_is_leaving),
		cmocka_unit_test(refuses_what_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
