/* SPDX-License-Identifier: Apache-2.0 */
#include "compare/session.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "compare/guard.h"
#include "vm/vm.h"

#define CLIENT_DEPTH 128
#define CLIENT_BUF_B (128 * 1024)

static void skip(struct compare_row *row, const char *fmt, ...) printf_like(2, 3);

static void skip(struct compare_row *row, const char *fmt, ...)
{
	va_list ap;

	if (*row->skipped)
		return;
	va_start(ap, fmt);
	vsnprintf(row->skipped, sizeof(row->skipped), fmt, ap);
	va_end(ap);
}

/* Whether any row of this kind, placed or not, is still to be measured. */
static bool wanted(const struct session *s, enum compare_kind kind, bool placed)
{
	for (unsigned i = 0; i < s->r->nrow; i++) {
		const struct compare_row *row = &s->r->row[i];

		if (!*row->skipped && row->path->kind == kind && row->path->placed == placed)
			return true;
	}
	return false;
}

static void skip_all(struct session *s, enum compare_kind kind, bool placed, const char *why)
{
	for (unsigned i = 0; i < s->r->nrow; i++)
		if (s->r->row[i].path->kind == kind && s->r->row[i].path->placed == placed)
			skip(&s->r->row[i], "%s", why);
}

/* QEMU's disks in the best configuration found for them (docs/benchmarks.md): past the page cache
 * where the file system can, io_uring on a disk, native AIO on tmpfs. */
static void describe_backing(struct session *s, bool memory)
{
	if (!*s->file) {
		snprintf(s->backing, sizeof(s->backing), "driver=null-co,size=%llu,read-zeroes=off",
			 (unsigned long long)s->size_b);
		return;
	}
	int fd = open(s->file, O_RDWR | O_DIRECT | O_CLOEXEC);
	const char *aio = memory ||
			  !vm_io_uring_works() ? fd >= 0 ? "native" : "threads" : "io_uring";

	/* posternd holds the image's lock; of all of them only one runs at a time */
	snprintf(s->backing, sizeof(s->backing), "driver=file,filename=%s,locking=off,"
		 "cache.direct=%s,aio=%s", s->file, fd >= 0 ? "on" : "off", aio);
	fd_close(fd);
}

/* A directory of its own in @dir, with the file in it. */
static int make_scratch(struct session *s, const char *dir, struct ctl_error *err)
{
	char path[GUARD_PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/postern-compare-XXXXXX", dir);

	if (strchr(dir, ',') || n >= (int)sizeof(path))
		return ctl_fail(err, -EINVAL, "bad_value", "medium.path",
				"'%s' is too long, or has a comma in it", dir);
	guard_hold();
	int rc = mkdtemp(path) ? guard_dir(path) : -errno;

	guard_release();
	if (!rc) {
		snprintf(s->file, sizeof(s->file), "%s/disk.img", path);
		rc = host_write_file(s->file, s->size_b);
	}
	if (rc)
		return ctl_fail(err, rc, "bad_value", "medium.path",
				"no file of %llu MiB in %s: %s",
				(unsigned long long)(s->size_b / MIB), dir, strerror(-rc));
	return 0;
}

static int open_medium(struct session *s, struct ctl_error *err)
{
	const char *kind = s->conf->medium;
	bool memory = !strcmp(kind, "ram");
	int rc = 0;

	s->size_b = s->conf->size_b;
	if (memory)
		rc = make_scratch(s, "/dev/shm", err);
	else if (strcmp(kind, "null"))
		rc = make_scratch(s, s->conf->dir ? s->conf->dir : "/var/tmp", err);
	if (!rc)
		describe_backing(s, memory);
	return rc;
}

/* A disk of posternd's. Under file each but the first has a file of its own: an image has one
 * writer. Return: 0 with its socket; -errno with @why. */
static int open_disk(struct session *s, const char *name, char *ret_socket, size_t size, char *why)
{
	char medium[300];
	struct ctl_error err = { 0 };
	int rc = 0;

	snprintf(medium, sizeof(medium), "%s", s->conf->medium);
	if (!strcmp(medium, "file") && strcmp(name, "guest")) {
		char own[260];

		snprintf(own, sizeof(own), "%s.%s", s->file, name);
		rc = host_write_file(own, s->size_b);
		snprintf(medium, sizeof(medium), "file,path=%s", own);
	} else if (!strcmp(medium, "file")) {
		snprintf(medium, sizeof(medium), "file,path=%s", s->file);
	}
	if (rc)
		ctl_fail(&err, rc, "", NULL, "%s", strerror(-rc));
	else
		rc = host_disk(&s->host, name, medium, s->size_b, &err);
	if (rc)
		snprintf(why, MACHINE_WHY, "Postern: %.200s", err.text);
	else
		snprintf(ret_socket, size, "%s/%s.sock", s->host.dir, name);
	return rc;
}

static void open_qsd(struct session *s)
{
	char node[sizeof(s->backing) + 16], export[200], said[200];
	pid_t pid;

	if (!wanted(s, COMPARE_QSD, false))
		return;
	snprintf(s->qsd_socket, sizeof(s->qsd_socket), "%s/qsd.sock", s->host.dir);
	snprintf(node, sizeof(node), "%s,node-name=n0", s->backing);
	snprintf(export, sizeof(export), "type=vhost-user-blk,id=e0,node-name=n0,addr.type=unix,"
		 "addr.path=%s,writable=on,iothread=t0", s->qsd_socket);
	char *argv[] = { "qemu-storage-daemon", "--object", "iothread,id=t0", "--blockdev", node,
			 "--export", export, NULL };
	int rc = host_spawn(&s->host, argv, "qsd.log", &pid);

	/* it serves one connection at a time, and takes the next when that has gone */
	if (!rc)
		rc = host_wait_socket(s->qsd_socket, pid);
	if (!rc) {
		s->qsd = (struct host_pids){ .pid = { pid }, .n = 1 };
		return;
	}
	*s->qsd_socket = '\0';
	host_last_words(&s->host, "qsd.log", said);
	skip_all(s, COMPARE_QSD, false, *said ? said : strerror(-rc));
}

static void open_client(struct session *s)
{
	char socket[96], why[MACHINE_WHY];
	struct client_conf conf = { .socket = socket, .depth = CLIENT_DEPTH,
				    .buf_b = CLIENT_BUF_B };
	const char *step;

	if (!wanted(s, COMPARE_CLIENT, false))
		return;
	int rc = open_disk(s, "client", socket, sizeof(socket), why);

	if (!rc) {
		rc = client_open(&conf, &s->client, &step);
		if (rc)
			snprintf(why, sizeof(why), "%s: %s", step, strerror(-rc));
	}
	if (rc)
		skip_all(s, COMPARE_CLIENT, false, why);
}

/* Free huge pages of 2 MiB. */
static unsigned long free_hugepages(void)
{
	FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
	unsigned long n = 0;

	if (f) {
		if (fscanf(f, "%lu", &n) != 1)
			n = 0;
		fclose(f);
	}
	return n;
}

/* The guest with the disks of all rows that are @placed or not. */
static void open_machine(struct session *s, bool placed)
{
	char gauge[PATH_MAX], why[MACHINE_WHY] = "";
	struct machine_conf conf = { .name = placed ? "placed" : "guest", .placed = placed,
				     .accel = s->conf->accel, .gauge = gauge };
	bool postern = wanted(s, COMPARE_POSTERN, placed), own = wanted(s, COMPARE_QEMU, placed);
	bool qsd = wanted(s, COMPARE_QSD, placed);

	if (!postern && !own && !qsd)
		return;
	if (placed && !strcmp(s->r->accel, "tcg"))
		snprintf(why, sizeof(why), "placement says nothing under emulation");
	else if (placed && free_hugepages() < 64)
		snprintf(why, sizeof(why), "no 64 huge pages are free; as root: sysctl "
			 "vm.nr_hugepages=64");
	else if (host_find("gauge", "../vm/gauge/", "libexec/postern", gauge))
		snprintf(why, sizeof(why), "the measuring guest is not built here (x86-64 only)");
	else if (postern && open_disk(s, conf.name, conf.postern, sizeof(conf.postern), why))
		skip_all(s, COMPARE_POSTERN, placed, why);
	if (!*why || *conf.postern) {
		snprintf(conf.backing, sizeof(conf.backing), "%s", s->backing);
		snprintf(conf.qsd, sizeof(conf.qsd), "%s", qsd ? s->qsd_socket : "");
		conf.own[0] = own;
		conf.own[1] = conf.own[2] = own && !placed;
		*why = '\0';
		s->machine[placed] = machine_start(&s->host, &conf, why);
	}
	if (!s->machine[placed]) {
		static const enum compare_kind kinds[] = { COMPARE_POSTERN, COMPARE_QEMU,
							   COMPARE_QSD };

		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
			skip_all(s, kinds[i], placed, *why ? why : "QEMU does not start");
		return;
	}
	if (!placed) {
		strcpy(s->r->accel, s->machine[0]->kvm ? "kvm" : "tcg");
		snprintf(s->r->why_slow, sizeof(s->r->why_slow), "%s", s->machine[0]->why_slow);
	}
	machine_freeze(s->machine[placed], true);
}

/* A PCI device with a storage controller's class that vfio-pci has. */
static bool has_assignable(void)
{
	DIR *d = opendir("/sys/bus/pci/drivers/vfio-pci");
	bool found = false;

	if (!d)
		return false;
	for (struct dirent *e = readdir(d); e && !found; e = readdir(d)) {
		char path[300], class[16] = "";

		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.200s/class", e->d_name);
		FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "re");

		if (!f)
			continue;
		found = fgets(class, sizeof(class), f) && !strncmp(class, "0x01", 4);
		fclose(f);
	}
	closedir(d);
	return found;
}

/* Rows for hosts without KVM, where it turned out to be there. */
static void drop_substitutes(const struct compare_conf *conf, struct compare_report *r)
{
	unsigned n = 0;

	if (conf->paths || conf->full || strcmp(r->accel, "kvm"))
		return;
	for (unsigned i = 0; i < r->nrow; i++)
		if (!r->row[i].path->instead)
			r->row[n++] = r->row[i];
	r->nrow = n;
}

int session_open(struct session *s, struct ctl_error *err)
{
	int rc = host_open(&s->host, err);

	if (rc)
		return rc;
	host_cpus(&s->client_cpu, &s->server_cpu);
	rc = open_medium(s, err);
	if (rc) {
		host_close(&s->host);
		return rc;
	}
	skip_all(s, COMPARE_ASSIGNED, false, has_assignable() ?
		 "a device is there, but the measuring guest drives virtio-blk only" :
		 "this host has no storage controller to spare (none is bound to vfio-pci)");
	open_qsd(s);
	open_machine(s, false);
	open_machine(s, true);
	drop_substitutes(s->conf, s->r);
	open_client(s);
	for (unsigned i = 0; i < s->r->nrow; i++) {
		struct compare_row *row = &s->r->row[i];
		enum compare_kind kind = row->path->kind;

		row->timed = kind == COMPARE_BARE || kind == COMPARE_CLIENT ||
			     !strcmp(s->r->accel, "kvm");
	}
	return 0;
}

void session_close(struct session *s)
{
	client_close(s->client);
	machine_free(s->machine[0]);
	machine_free(s->machine[1]);
	host_close(&s->host);
}
