/* SPDX-License-Identifier: Apache-2.0 */
#include "compare/machine.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "compare/guard.h"
#include "vm/vm.h"

#define MEMORY_B (128 * MIB)
#define READY_NS (30 * NS_PER_S) /* under emulation the firmware alone takes seconds */
#define ANSWER_NS (30 * NS_PER_S)
#define QMP_MS 5000
#define EXTRA_MAX 40

/* Slots on q35's root bus, which tell the guest's disks apart. */
enum { SLOT_POSTERN = 0x10, SLOT_QSD, SLOT_DEFAULT, SLOT_IOTHREAD, SLOT_POLL };

static const struct own_disk {
	const char *name;
	int slot;
	const char *iothread; /* its options; NULL: the main loop */
} own_disks[] = {
	{ "default", SLOT_DEFAULT, NULL },
	{ "iothread", SLOT_IOTHREAD, "poll-max-ns=0" },
	{ "poll", SLOT_POLL, "poll-max-ns=100000000" },
};

static int slot_of(const struct compare_path *p)
{
	if (p->kind == COMPARE_POSTERN)
		return SLOT_POSTERN;
	if (p->kind == COMPARE_QSD)
		return SLOT_QSD;
	for (size_t i = 0; p->device && i < ARRAY_SIZE(own_disks); i++)
		if (!strcmp(own_disks[i].name, p->device))
			return own_disks[i].slot;
	return -1;
}

int machine_disk(const struct machine *m, const struct compare_path *path)
{
	int slot = slot_of(path);

	for (int i = 0; slot >= 0 && i < (int)ARRAY_SIZE(m->pci); i++)
		if (m->pci[i] == slot)
			return i;
	return -1;
}

/* Arguments for QEMU, each of malloc. */
struct words {
	const char *v[EXTRA_MAX];
	size_t n;
};

static void word(struct words *w, const char *fmt, ...) printf_like(2, 3);

static void word(struct words *w, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (w->n < EXTRA_MAX && vasprintf(&text, fmt, ap) >= 0)
		w->v[w->n++] = text;
	va_end(ap);
}

static void add_own(struct words *w, const struct machine_conf *conf)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_disks); i++) {
		const struct own_disk *d = &own_disks[i];
		char iothread[48] = "";

		if (!conf->own[i])
			continue;
		if (d->iothread) {
			word(w, "-object");
			word(w, "iothread,id=io-%s,%s", d->name, d->iothread);
			snprintf(iothread, sizeof(iothread), ",iothread=io-%s", d->name);
		}
		word(w, "-blockdev");
		word(w, "%s,node-name=%s", conf->backing, d->name);
		word(w, "-device");
		word(w, "virtio-blk-pci,drive=%s,addr=%#x%s", d->name, (unsigned)d->slot, iothread);
	}
}

static void fill_words(struct words *w, const struct machine_conf *conf, bool kvm)
{
	if (kvm) {
		word(w, "-cpu");
		word(w, "host,-arch-capabilities");
	}
	word(w, "-no-reboot");
	if (conf->placed) {
		word(w, "-overcommit");
		word(w, "mem-lock=on,cpu-pm=on");
	}
	add_own(w, conf);
}

/* One start of QEMU. Return: 0; -errno with @why. */
static int launch(struct machine *m, const struct machine_conf *conf, char *why)
{
	char options[2][16];
	struct vm_disk disk[2];
	struct words w = { .n = 0 };
	int client, server;
	size_t n = 0;

	snprintf(options[0], sizeof(options[0]), "addr=%#x", SLOT_POSTERN);
	snprintf(options[1], sizeof(options[1]), "addr=%#x", SLOT_QSD);
	if (*conf->postern)
		disk[n++] = (struct vm_disk){ .socket = conf->postern, .queues = 1,
					      .options = options[0] };
	if (*conf->qsd)
		disk[n++] = (struct vm_disk){ .socket = conf->qsd, .queues = 1,
					      .options = options[1] };
	fill_words(&w, conf, m->kvm);
	host_cpus(&client, &server);
	unsigned core = (unsigned)client;
	struct vm_config cfg = { .name = conf->name, .state_dir = m->state_dir, .cpus = 1,
				 .memory_b = MEMORY_B, .hugepages = conf->placed,
				 .accel = m->kvm ? VM_ACCEL_KVM : VM_ACCEL_TCG,
				 .kernel = conf->gauge, .disks = disk, .ndisks = n,
				 .cores = &core, .ncores = conf->placed ? 1 : 0,
				 .extra = w.v, .nextra = w.n };
	struct vm_info info = { .pid = 0 };
	struct vm_error err = { .text = "" };

	guard_hold();
	int rc = vm_start(&cfg, &info, &err);

	if (!rc && info.pid)
		guard_process(info.pid);
	guard_release();
	for (size_t i = 0; i < w.n; i++)
		free((void *)w.v[i]);
	if (!rc && !info.pid)
		rc = -ECHILD;
	if (rc)
		snprintf(why, MACHINE_WHY, "%.200s", *err.text ? err.text : strerror(-rc));
	m->qemu = (struct host_pids){ .pid = { info.pid }, .n = 1 };
	return rc;
}

/* Takes one line that the guest says itself, which begin with a brace, before @deadline_ns.
 * Return: 0 with *ret_line in m->in until the next call; -ETIMEDOUT; -EPIPE. */
static int next_line(struct machine *m, uint64_t deadline_ns, char **ret_line)
{
	for (;;) {
		char *end = memchr(m->in, '\n', m->have_b);

		if (end) {
			size_t line_b = (size_t)(end - m->in) + 1;
			static char line[sizeof(m->in)];

			memcpy(line, m->in, line_b);
			line[line_b - 1] = '\0';
			m->have_b -= line_b;
			memmove(m->in, m->in + line_b, m->have_b);
			*ret_line = strchr(line, '{');
			if (*ret_line)
				return 0;
			continue;
		}
		if (m->have_b == sizeof(m->in))
			m->have_b = 0; /* no line of the guest's is that long */
		uint64_t now_ns = clock_ns();
		struct pollfd p = { .fd = m->line, .events = POLLIN };

		if (now_ns >= deadline_ns)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1) <= 0)
			continue;
		ssize_t n = read(m->line, m->in + m->have_b, sizeof(m->in) - m->have_b);

		if (n <= 0)
			return -EPIPE;
		m->have_b += (size_t)n;
	}
}

/* Takes lines until one whose @key is @value: what was asked before may be answered late. As
 * next_line(). */
static int await(struct machine *m, const char *key, const char *value, uint64_t deadline_ns,
		 char **ret_line)
{
	for (;;) {
		int rc = next_line(m, deadline_ns, ret_line);

		if (rc)
			return rc;
		json_t *o = json_loads(*ret_line, 0, NULL);
		const char *have = ctl_str(o, key);
		bool mine = have && !strcmp(have, value);

		json_decref(o);
		if (mine)
			return 0;
	}
}

static int say(struct machine *m, const char *text)
{
	int rc = fd_send(m->line, text, strlen(text), NULL, 0);

	return rc ? rc : fd_send(m->line, "\n", 1, NULL, 0);
}

/* Asks for the list of disks until it comes: what was said before we listened is lost. */
static int await_ready(struct machine *m)
{
	uint64_t deadline_ns = clock_ns() + READY_NS;
	char path[FD_SOCKET_PATH_MAX + 1], *line;

	snprintf(path, sizeof(path), "%s/%s/console.sock", m->state_dir, m->name);
	m->line = fd_connect(path);
	if (m->line < 0)
		return m->line;
	while (clock_ns() < deadline_ns) {
		int rc = say(m, "list");

		if (!rc)
			rc = await(m, "event", "ready", clock_ns() + NS_PER_S, &line);
		if (!rc && machine_read_ready(line, m->pci, ARRAY_SIZE(m->pci)) >= 0)
			break;
		if (rc && rc != -ETIMEDOUT)
			return rc;
	}
	if (clock_ns() >= deadline_ns)
		return -ETIMEDOUT;
	if (!m->kvm)
		return 0;
	char command[64];

	snprintf(command, sizeof(command), "set tsc_khz=%llu",
		 (unsigned long long)(clock_ticks_per_s() / 1000));
	int rc = say(m, command);

	return rc ? rc : await(m, "event", "set", clock_ns() + ANSWER_NS, &line);
}

static void close_line(struct machine *m)
{
	m->line = fd_close(m->line);
	qmp_close(m->qmp);
	m->qmp = NULL;
	m->have_b = 0;
}

static int try_start(struct machine *m, const struct machine_conf *conf, bool kvm, char *why)
{
	char path[FD_SOCKET_PATH_MAX + 1];

	m->kvm = kvm;
	int rc = launch(m, conf, why);

	if (rc)
		return rc;
	rc = await_ready(m);
	if (!rc) {
		snprintf(path, sizeof(path), "%s/%s/qmp.sock", m->state_dir, m->name);
		/* exits are counted with its help; without, they are not known */
		if (qmp_open(path, QMP_MS, &m->qmp))
			m->qmp = NULL;
		return 0;
	}
	snprintf(why, MACHINE_WHY, "the measuring guest does not come up: %s", strerror(-rc));
	close_line(m);
	vm_stop(m->state_dir, m->name, 0, NULL);
	return rc;
}

struct machine *machine_start(struct host *h, const struct machine_conf *conf, char *why)
{
	struct machine *m = calloc(1, sizeof(*m));
	bool want_kvm = strcmp(conf->accel, "tcg");

	if (!m)
		return NULL;
	m->line = -1;
	m->placed = conf->placed;
	snprintf(m->name, sizeof(m->name), "%s", conf->name);
	snprintf(m->state_dir, sizeof(m->state_dir), "%s/vm", h->dir);
	if (want_kvm && access("/dev/kvm", R_OK | W_OK))
		snprintf(m->why_slow, sizeof(m->why_slow), "/dev/kvm: %s", strerror(errno));
	else if (want_kvm && !try_start(m, conf, true, m->why_slow))
		return m;
	if (!want_kvm)
		snprintf(m->why_slow, sizeof(m->why_slow), "accel=tcg was asked for");
	if (strcmp(conf->accel, "kvm") && !try_start(m, conf, false, why))
		return m;
	if (!strcmp(conf->accel, "kvm"))
		snprintf(why, MACHINE_WHY, "%s", m->why_slow);
	machine_free(m);
	return NULL;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	close_line(m);
	free(m);
}

void machine_freeze(struct machine *m, bool freeze)
{
	if (m->placed)
		kill(m->qemu.pid[0], freeze ? SIGSTOP : SIGCONT);
}

/* VM exits so far, of the only vCPU. Return: negative: not known. */
static double exits(struct machine *m)
{
	json_t *answer = NULL, *args = json_pack("{s:s, s:[{s:s, s:[s]}]}", "target", "vcpu",
						 "providers", "provider", "kvm", "names", "exits");
	double n = -1;

	if (!m->qmp || !m->kvm) {
		json_decref(args);
		return n;
	}
	if (!qmp_call(m->qmp, "query-stats", args, &answer)) {
		json_t *stats = json_object_get(json_array_get(answer, 0), "stats");
		json_t *value = json_object_get(json_array_get(stats, 0), "value");

		if (json_is_integer(value))
			n = (double)json_integer_value(value);
	}
	json_decref(answer);
	return n;
}

static void write_command(const struct machine *m, const struct compare_path *path,
			  const struct client_load *load, char *buf, size_t size)
{
	static const char *const verify[] = { "off", "written", "all" };

	snprintf(buf, size,
		 "run id=%u disk=%d kick=%s wait=%s read=%u sequential=%s bs=%u depth=%u "
		 "ms=%llu warm_ms=%llu requests=%llu iops=%.0f range=%llu verify=%s seed=%llu hist=%s",
		 m->asked, machine_disk(m, path), path->kicks_late ? "late" : "auto",
		 path->guest_polls ? "poll" : "irq", load->read_pct,
		 load->sequential ? "on" : "off", load->bs_b, load->depth,
		 (unsigned long long)(load->run_ns / NS_PER_MS),
		 (unsigned long long)(load->warm_ns / NS_PER_MS),
		 (unsigned long long)load->max_requests,
		 load->pace_ns ? 1e9 / (double)load->pace_ns : 0.0,
		 (unsigned long long)load->range_b, verify[load->verify],
		 (unsigned long long)load->seed, load->run_ns ? "on" : "off");
}

/* What all who take part have used until now, of all CPUs, in ns; and when. */
struct used {
	uint64_t cpu_ns, at_ns;
};

static struct used used_now(const struct machine *m, const struct host_pids *others)
{
	return (struct used){ host_cpu_ns(&m->qemu) + host_cpu_ns(others), clock_ns() };
}

/* Whether what was used between @begin and @end is the load's. A busy host may keep this process
 * waiting until the load is over, or QEMU for all that time. */
static bool is_of_load(const struct client_load *load, uint64_t start_ns,
		       const struct used *begin, const struct used *end)
{
	return end->at_ns <= start_ns + load->warm_ns + load->run_ns &&
	       end->at_ns - begin->at_ns >= load->run_ns * 3 / 10 && end->cpu_ns > begin->cpu_ns;
}

int machine_run(struct machine *m, const struct compare_path *path, const struct client_load *load,
		const struct host_pids *others, struct compare_sample *ret, char *why)
{
	double before = exits(m), share = 1, after;
	uint64_t start_ns = clock_ns();
	char command[256], id[16], *line;
	struct used begin, end;

	snprintf(id, sizeof(id), "%u", ++m->asked);
	write_command(m, path, load, command, sizeof(command));
	int rc = say(m, command);

	if (rc)
		return rc;
	/* Processor time is taken in the middle of the load: setting up a disk costs, too. */
	rc = await(m, "id", id, start_ns + load->warm_ns + load->run_ns * 3 / 10, &line);
	begin = used_now(m, others);
	if (rc == -ETIMEDOUT)
		rc = await(m, "id", id, start_ns + load->warm_ns + load->run_ns * 9 / 10, &line);
	end = used_now(m, others);
	if (rc == -ETIMEDOUT)
		rc = await(m, "id", id, start_ns + load->warm_ns + load->run_ns + ANSWER_NS, &line);
	if (rc) {
		snprintf(why, MACHINE_WHY, "the measuring guest does not answer: %s",
			 strerror(-rc));
		return rc;
	}
	after = exits(m);
	rc = machine_read_result(line, ret, why);
	if (rc || !ret->requests)
		return rc;
	if (load->run_ns)
		share = (double)load->run_ns / (double)(load->run_ns + load->warm_ns);
	if (before >= 0 && after >= 0)
		ret->exits = (after - before) * share / (double)ret->requests;
	if (ret->iops > 0 && is_of_load(load, start_ns, &begin, &end))
		ret->cpu_ns = (double)(end.cpu_ns - begin.cpu_ns) * 1e9 /
			      (double)(end.at_ns - begin.at_ns) / ret->iops;
	return 0;
}
