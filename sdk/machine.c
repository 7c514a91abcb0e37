/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine of its own: a virtio-serial port for messages, and an NVDIMM that both sides map. The
 * guest is a stock one; its kernel makes a device DAX of the NVDIMM through sysfs, which needs
 * root, once. A kernel that cannot has the same memory in a BAR of ivshmem-plain, uncached: hosts
 * that honour that take a hundred times as long for each word.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sdk/private.h"
#include "wire/function_stream.h"

#define PORTS "/sys/class/virtio-ports"
#define ND "/sys/bus/nd/devices/"
#define DAX "/dev/dax0.0"
#define PCI "/sys/bus/pci/devices"
#define IVSHMEM_VENDOR 0x1af4
#define IVSHMEM_DEVICE 0x1110
/* between looks for a posternd that has gone: the port cannot be waited on then */
#define AWAY_MS 20
/* for a device DAX in a guest that has NVDIMMs */
#define SETTLE_TURN_MS 20
#define SETTLE_TURNS 1000 /* 20 s: 5 s were too few for a guest emulated on a busy host */

struct machine {
	struct fn_stream stream;
	uint8_t *at;
};

/* Return: whether the first line of @path, without its end, is in @ret. */
static bool read_line(const char *path, char *ret, int room)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(ret, room, f);

	if (f)
		fclose(f);
	if (ok)
		ret[strcspn(ret, "\n")] = '\0';
	return ok;
}

static int write_line(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	int err = write(fd, text, strlen(text)) < 0 ? -errno : 0;

	close(fd);
	return err;
}

/* Return: whether this machine has the port; its device is in @ret, of PATH_MAX bytes. */
static bool find_port(char *ret)
{
	DIR *all = opendir(PORTS);
	bool found = false;

	for (struct dirent *d; all && !found && (d = readdir(all));) {
		char path[PATH_MAX], name[64];

		snprintf(path, sizeof(path), PORTS "/%s/name", d->d_name);
		found = read_line(path, name, sizeof(name)) && !strcmp(name, FN_PORT);
		snprintf(ret, PATH_MAX, "/dev/%s", d->d_name);
	}
	if (all)
		closedir(all);
	return found;
}

static bool machine_found(void)
{
	char path[PATH_MAX];

	return find_port(path);
}

/* Return: the number in @path; 0: there is none. */
static uint64_t number_in(const char *path)
{
	char text[32];

	return read_line(path, text, sizeof(text)) ? strtoull(text, NULL, 0) : 0;
}

/* Makes the NVDIMM, if it is ours by its size, a device DAX. */
static int make_dax(void)
{
	static const struct {
		const char *dir, *file, *text; /* NULL: the seed's, its name */
	} step[] = {
		/* what has no driver needs none taken away */
		{ "namespace0.0/driver", "unbind", "namespace0.0" },
		{ NULL, "align", "4096" },
		{ NULL, "uuid", "8c9d1a52-5c7e-4d0a-9a1b-6f756e637465" },
		{ NULL, "mode", "ram" },
		{ NULL, "namespace", "namespace0.0" },
		{ "../drivers/dax_pmem", "bind", NULL },
	};
	char seed[32], path[PATH_MAX];

	/* dax0.0, unless the kernel was just looking for an older one when it made it */
	if (number_in(ND "region0/size") != FN_REGION_B ||
	    !read_line(ND "region0/dax_seed", seed, sizeof(seed)))
		return -ENODEV;
	for (size_t i = 0; i < ARRAY_SIZE(step); i++) {
		snprintf(path, sizeof(path), ND "%s/%s", step[i].dir ? step[i].dir : seed,
			 step[i].file);
		int err = write_line(path, step[i].text ? step[i].text : seed);

		if (err && i)
			return err;
	}
	return 0;
}

/* What both sides share of @path, @off_b behind its beginning. */
static int map_from(const char *path, off_t off_b, struct machine *m)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	void *at = mmap(NULL, FN_SHARED_B, PROT_READ | PROT_WRITE, MAP_SHARED, fd, off_b);
	int err = at == MAP_FAILED ? -errno : 0;

	close(fd);
	if (err)
		return err;
	if (!postern_fn_shared_is(at)) {
		munmap(at, FN_SHARED_B);
		return -ENODEV;
	}
	m->at = at;
	return 0;
}

static int map_dax(struct machine *m)
{
	int err = access(DAX, F_OK) ? make_dax() : 0;

	if (err)
		return err;
	if (number_in("/sys/bus/dax/devices/dax0.0/size") != FN_SHARED_B)
		return -ENODEV;
	return map_from(DAX, 0, m);
}

/* The BAR of the device in @dir, which is another one's if its magic is not ours. resource2, and
 * not resource2_wc: write combining would publish a ring's index before its entries. */
static int map_bar_of(const char *dir, struct machine *m)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI "/%s/vendor", dir);
	if (number_in(path) != IVSHMEM_VENDOR)
		return -ENODEV;
	snprintf(path, sizeof(path), PCI "/%s/device", dir);
	if (number_in(path) != IVSHMEM_DEVICE)
		return -ENODEV;
	snprintf(path, sizeof(path), PCI "/%s/enable", dir);
	int err = write_line(path, "1"); /* firmware may have left its memory off */

	if (err)
		return err;
	snprintf(path, sizeof(path), PCI "/%s/resource2", dir);
	return map_from(path, FN_REGION_OWN_B, m);
}

static int map_bar(struct machine *m)
{
	DIR *all = opendir(PCI);
	int err = -ENODEV;

	for (struct dirent *d; all && err == -ENODEV && (d = readdir(all));)
		err = map_bar_of(d->d_name, m);
	if (all)
		closedir(all);
	return err;
}

static int map(struct pfn *p, struct machine *m)
{
	int dax_err = map_dax(m);

	/* the kernel finds namespaces and makes devices in work of its own */
	for (unsigned i = 0; dax_err && !access(ND, F_OK) && i < SETTLE_TURNS; i++) {
		poll(NULL, 0, SETTLE_TURN_MS);
		dax_err = map_dax(m);
	}
	int err = dax_err ? map_bar(m) : 0;

	if (err) {
		fprintf(stderr, "%s: no shared memory on " DAX ": %s; modules nfit, dax_pmem and "
			"device_dax are needed, and root. Nor on ivshmem-plain: %s\n",
			p->conf->name, strerror(-dax_err), strerror(-err));
		return err;
	}
	if (dax_err)
		fprintf(stderr, "%s: no " DAX ": %s; ivshmem-plain is used, which may be slow\n",
			p->conf->name, strerror(-dax_err));
	p->is_bar = dax_err;
	return 0;
}

/* One that posternd does not take, because there is none, is not missed: the next one greets. */
static int machine_say(struct pfn *p, const struct fn_msg *m)
{
	const uint8_t *at = (const uint8_t *)m;
	size_t left_b = sizeof(*m);

	while (left_b) {
		ssize_t n = write(p->fd, at, left_b);
		struct pollfd w = { .fd = p->fd, .events = POLLOUT };

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n < 0 && (poll(&w, 1, -1) < 0 || !(w.revents & POLLOUT)) &&
		    w.revents & POLLHUP)
			return 0;
		at += n > 0 ? n : 0;
		left_b -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static void machine_close(struct pfn *p)
{
	struct machine *m = p->own;

	if (m->at)
		munmap(m->at, FN_SHARED_B);
	if (p->fd >= 0)
		close(p->fd);
	free(m);
}

static int machine_open(struct pfn *p)
{
	struct machine *m = calloc(1, sizeof(*m));
	char port[PATH_MAX];

	if (!m)
		return -ENOMEM;
	p->own = m;
	/* only one program may have it open, and one that has ended has it until it has no memory
	 * more */
	p->fd = find_port(port) ? open(port, O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
	int err = p->fd < 0 ? -errno : map(p, m);

	if (!err)
		err = postern_fn_shared_begin(p, m->at);
	if (err)
		machine_close(p);
	return err;
}

static int machine_take(struct pfn *p, struct arrival *ret)
{
	struct machine *m = p->own;

	for (;;) {
		ssize_t n = read(p->fd, fn_stream_end(&m->stream), fn_stream_want(&m->stream));

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (!n) /* there is no posternd: what it had begun to say it will not end */
			m->stream.n_b = 0;
		if (n <= 0)
			return 0;
		m->stream.n_b += (size_t)n;
		fn_stream_align(&m->stream);
		if (!fn_stream_take(&m->stream, &ret->m))
			continue;
		return le16toh(ret->m.kind) == FN_DISK ? postern_fn_shared_disk(m->at, ret) : 1;
	}
}

static void machine_wait(struct pfn *p, int timeout_ms)
{
	struct pollfd w = { .fd = p->fd, .events = POLLIN };

	if (poll(&w, 1, timeout_ms) > 0 && !(w.revents & POLLIN))
		poll(NULL, 0, timeout_ms < 0 || timeout_ms > AWAY_MS ? AWAY_MS : timeout_ms);
}

const struct transport postern_fn_machine = {
	.found = machine_found,
	.open = machine_open,
	.close = machine_close,
	.take = machine_take,
	.say = machine_say,
	.unmap = postern_fn_shared_unmap,
	.wake = postern_fn_shared_wake,
	.wait = machine_wait,
};
