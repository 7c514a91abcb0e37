/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every path to storage on this host, measured in turn on the same medium: what comes in is a
 * choice of paths and loads, what goes out is a report. compare_run() starts its own posternd,
 * guests and qemu-storage-daemon in a private directory and ends all of them, whatever happens.
 * The report is plain data: text.c, json.c and html.c write it, tests fill it by hand. One thread.
 */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "client/bench.h"
#include "control/client.h"

#define COMPARE_ROUNDS_MAX 15
#define COMPARE_LOADS_MAX 14
#define COMPARE_PATHS_MAX 16
#define COMPARE_PROBES_MAX 6 /* offered loads tried in each round */
#define COMPARE_MARKS 11     /* of a latency distribution */

/* At which shares of all requests a sample's distribution is kept, in thousandths. */
extern const unsigned compare_marks[COMPARE_MARKS];

enum compare_kind { COMPARE_BARE, COMPARE_CLIENT, COMPARE_POSTERN, COMPARE_QEMU, COMPARE_QSD,
		    COMPARE_ASSIGNED };

/* A way to reach a disk. */
struct compare_path {
	const char *id, *title;
	const char *keeps; /* the hypervisor's features that it leaves intact, blank-divided */
	enum compare_kind kind;
	bool standard;	   /* measured when no paths are named */
	bool instead;	   /* ... and this when guests only run under emulation */
	bool placed;	   /* in the machine with pinned cores, huge pages, locked memory, cpu-pm */
	bool guest_polls;  /* for completions; otherwise it sleeps until an interrupt */
	bool kicks_late;   /* only when nothing comes back: counts on a device that polls */
	const char *poll;  /* Postern: how the disk is polled */
	const char *device; /* QEMU: of its disks, which */
};

/* NULL-ended by an entry without an id. */
extern const struct compare_path compare_paths[];

struct compare_load {
	const char *id, *title;
	unsigned read_pct;
	uint32_t bs_b;
	uint16_t depth;
	bool sequential;
	bool standard; /* measured without full=on */
};

/* Ended by an entry without an id. */
extern const struct compare_load compare_loads[];

/* One load on one path in one round. What is not known is negative. */
struct compare_sample {
	uint64_t requests; /* 0: not measured */
	uint64_t verified_b;
	double iops, p50_ns, p99_ns, p999_ns;
	double kicks, irqs, exits; /* a request */
	double cpu_ns; /* a request: of every process that takes part, the kernel's work included */
	double mark_ns[COMPARE_MARKS]; /* the distribution; negative first entry: unknown */
};

/* A load on a path in all rounds. */
struct compare_cell {
	struct compare_sample round[COMPARE_ROUNDS_MAX];
};

/* An offered load: what was asked for and what came of it. */
struct compare_probe {
	double offered, iops, p99_ns;
};

struct compare_row {
	const struct compare_path *path;
	uint64_t verified_b; /* read back as it had been written */
	bool timed; /* its speeds mean something: not under emulation */
	char skipped[240]; /* why it was not measured; "": it was */
	struct compare_cell cell[COMPARE_LOADS_MAX];
	struct compare_cell paced;
	struct compare_probe probe[COMPARE_ROUNDS_MAX][COMPARE_PROBES_MAX];
	double threshold[COMPARE_ROUNDS_MAX]; /* IOPS kept up with; 0: not measured */
};

struct compare_report {
	char host[160], medium[160], programs[120], date[32];
	char accel[8]; /* "kvm", "tcg"; "": no guest was needed or none started */
	char why_slow[240]; /* with tcg: why not kvm */
	unsigned cpus, rounds, nload, nrow;
	double seconds; /* of each load in each round */
	double paced_iops; /* 0: none was found that all sustain */
	double others_share; /* of the host's CPUs that other programs used while it was measured */
	const struct compare_load *load[COMPARE_LOADS_MAX];
	struct compare_row row[COMPARE_PATHS_MAX];
};

struct compare_conf {
	const char *medium; /* "null", "ram", "file" */
	const char *dir; /* file: where a scratch file is made; NULL: /var/tmp */
	uint64_t size_b;
	const char *paths; /* ids divided by commas; NULL: the standard ones */
	uint64_t run_ns; /* of each load in each round */
	unsigned rounds;
	bool full;
	const char *accel; /* "auto", "kvm", "tcg" */
	/* Told of each step: how many of how many are done, and what comes next; may be NULL. */
	void (*progress)(unsigned done, unsigned of, const char *what);
};

/* Seconds that @conf will take, roughly. */
unsigned compare_estimate_s(const struct compare_conf *conf);

/* Measures. Context: blocks for about compare_estimate_s(); starts programs; SIGINT, SIGTERM and
 * SIGHUP end those before they end this process. Error ids: bad_value (paths, path),
 * compare_failed.
 * Return: 0, also when paths were skipped; -errno with @err. */
int compare_run(const struct compare_conf *conf, struct compare_report *ret,
		struct ctl_error *err);

/* The report for people, in at most 110 columns. */
void compare_text(const struct compare_report *r, FILE *out);
/* For programs. Return: a new reference. */
json_t *compare_json(const struct compare_report *r);
/* As one page with its plots, which needs nothing else. */
void compare_html(const struct compare_report *r, FILE *out);
