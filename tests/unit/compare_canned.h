/* SPDX-License-Identifier: Apache-2.0 */
/* Reports made by hand, for the tests of what is written from them. */
#pragma once

#include <string.h>

#include "compare/figure.h"

/* One path's figures: @iops and @p50_ns at depth 1; depth 32 follows from them. */
static inline void canned_row(struct compare_report *r, const char *id, double iops, double p50_ns,
			      double kicks, double irqs, double cpu_ns, double most)
{
	struct compare_row *row = &r->row[r->nrow++];
	const struct compare_path *p = compare_paths;

	while (strcmp(p->id, id))
		p++;
	*row = (struct compare_row){ .path = p, .timed = true };
	for (unsigned i = 0; i < r->rounds; i++) {
		double wave = 1 + 0.02 * ((double)(i % 3) - 1); /* 0.98, 1, 1.02 */

		for (unsigned l = 0; l < r->nload; l++) {
			double more = l ? most / iops : 1;
			struct compare_sample s = {
				.requests = 10000, .iops = iops * more * wave,
				.p50_ns = p50_ns * (l ? 3 : 1),
				.p99_ns = p50_ns * 6, .p999_ns = p50_ns * 15, .kicks = kicks,
				.irqs = irqs,
				.exits = kicks + irqs, .cpu_ns = cpu_ns / more,
			};

			for (unsigned m = 0; m < COMPARE_MARKS; m++)
				s.mark_ns[m] =
					s.p50_ns * (0.7 + 0.1 * m + (m > 8 ? 5 * (m - 8) : 0));
			row->cell[l].round[i] = s;
		}
		row->threshold[i] = most * 0.8 * wave;
		for (unsigned n = 0; n + 1 < COMPARE_PROBES_MAX; n++)
			row->probe[i][n] = (struct compare_probe){
				.offered = most * (0.4 + 0.2 * n), .iops = most * 0.8,
				.p99_ns = 1e5 };
		row->paced.round[i] = row->cell[0].round[i];
		row->paced.round[i].iops = r->paced_iops;
	}
}

/* Three rounds on KVM, of two loads; the numbers are made up. */
static inline void canned_report(struct compare_report *r)
{
	memset(r, 0, sizeof(*r));
	r->rounds = 3;
	r->seconds = 0.5;
	r->cpus = 2;
	r->paced_iops = 9000;
	for (const struct compare_load *l = compare_loads; l->id; l++)
		if (l->standard)
			r->load[r->nload++] = l;
	strcpy(r->host, "A processor <of & \"ours\">, 2 CPUs, Linux 6.1");
	strcpy(r->programs, "QEMU 7.2");
	strcpy(r->medium, "null, 1 GiB");
	strcpy(r->date, "2026-01-02 03:04");
	strcpy(r->accel, "kvm");
	canned_row(r, "bare", 2e6, 480, -1, -1, 1000, 20e6);
	canned_row(r, "postern", 1.8e6, 540, 0, 0, 1100, 12e6);
	canned_row(r, "postern-irq", 60e3, 15e3, 0, 1, 30e3, 900e3);
	canned_row(r, "postern-adaptive", 55e3, 17e3, 0.1, 1, 24e3, 800e3);
	canned_row(r, "qemu", 16e3, 60e3, 1, 1, 70e3, 200e3);
	canned_row(r, "qemu-iothread", 18e3, 52e3, 1, 1, 75e3, 260e3);
	canned_row(r, "qemu-poll", 380e3, 2.4e3, 0, 0, 5e3, 1.3e6);
	canned_row(r, "qsd", 17e3, 55e3, 1, 1, 72e3, 400e3);
	r->row[r->nrow] = (struct compare_row){ .path = &compare_paths[10], .timed = true };
	strcpy(r->row[r->nrow++].skipped, "this host has no device to spare");
}

/* The same host without KVM: guests are counted, not timed. */
static inline void canned_untimed(struct compare_report *r)
{
	canned_report(r);
	strcpy(r->accel, "tcg");
	strcpy(r->why_slow, "KVM only emulates guest kernels here");
	for (unsigned i = 1; i < r->nrow; i++) {
		r->row[i].timed = false;
		r->row[i].verified_b = 4096000;
	}
}
