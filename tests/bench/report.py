# SPDX-License-Identifier: Apache-2.0
"""docs/benchmarks.md for people, bench.json for programs."""

import json
import os
import re

# id: (what, unit, must reach or None, "max" or "min", needs a round trip below)
ROWS = {
	"null_split_qd1_rtt_ratio": ("null, split, depth 1: median round trip / cache-line round trip",
		"x", 2.5, "max", None),
	"null_packed_qd1_rtt_ratio": ("null, packed, depth 1: median round trip / cache-line round trip",
		"x", 2.2, "max", None),
	"null_qd32_miops": ("null, depth 32, one queue, one poller", "M IOPS", 12, "min", 200),
	"null_qd128_miops": ("null, depth 128, one queue, one poller", "M IOPS", 15, "min", 200),
	"null_qd32_instructions": ("null, depth 32: instructions per I/O in the poller, user and kernel",
		"instructions", 250, "max", None),
	"ram_rand4k_qd32_memcpy_ratio": ("ram, 4 KiB random, depth 32 / bare memcpy loop", "x", 0.90,
		"min", None),
	"ram_seq128k_memcpy_ratio": ("ram, 128 KiB sequential, depth 16 / bare memcpy loop", "x", 0.90,
		"min", None),
	"file_qd1_bare_ratio": ("file, O_DIRECT, depth 1 / bare io_uring loop", "x", 0.97, "min", None),
	"file_qd32_bare_ratio": ("file, O_DIRECT, depth 32 / bare io_uring loop", "x", 0.97, "min", None),
	"qsd_null_qd1_x": ("null, depth 1: IOPS / qemu-storage-daemon", "x", 5, "min", None),
	"qsd_null_qd32_x": ("null, depth 32: IOPS / qemu-storage-daemon", "x", 5, "min", None),
	"qsd_ram_qd32_x": ("ram, 4 KiB random, depth 32: IOPS / qemu-storage-daemon", "x", 6, "min", None),
	"idle64_core_pct": ("64 connected disks, idle for 30 s after I/O: CPU of all threads",
		"% of a core", 0.5, "max", None),
	"wake_extra_us": ("first request after idle, longer than one while busy by", "us", 60, "max", None),
	"start_ms": ("exec to accepting socket", "ms", 20, "max", None),
	"fn_process_added_qd1_us": ("storage function in a process, does nothing, depth 1: 4 KiB reads take longer by",
		"us", 1.5, "max", None),
	"fn_touch_added_qd1_us": ("the same, but it reads and changes all of the data", "us", None, "max", None),
	"fn_process_qd32_miops": ("storage function in a process, does nothing, depth 32: 4 KiB reads with data",
		"M IOPS", 1.2, "min", None),
	"fn_process_qd32_bare_ratio": ("the same / bare loop that hands blocks over", "x", None, "min", None),
	"fn_touch_read_qd32_miops": ("it reads and changes all of the data, depth 32: reads", "M IOPS", 1.2,
		"min", None),
	"fn_touch_write_qd32_miops": ("the same: writes", "M IOPS", 1.2, "min", None),
	"fn_observe_qd32_miops": ("storage function in a process, observes without data, depth 32", "M IOPS", 5,
		"min", None),
	"fn_vm_added_qd1_us": ("storage function in a machine, does nothing, depth 1: 4 KiB reads take longer by",
		"us", None, "max", None),
	"fn_vm_qd32_miops": ("the same, depth 32: 4 KiB reads with data", "M IOPS", None, "min", None),
	"fn_replace_pause_us": ("a program takes over from another, depth 32: nothing completes for", "us", 1000,
		"max", None),
	"fn_idle_core_pct": ("a function at rest after I/O: CPU of posternd and program", "% of a core", 0.5,
		"max", None),
	"rss_mib": ("resident with one disk, all processes", "MiB", 10, "max", None),
}


def row(name, figure=None, floor=None, peers=None, rtt=None, why=None):
	"""@why there is no figure."""
	return {"id": name, "value": figure.value if figure else None, "unit": ROWS[name][1],
		"floor": floor, "peers": peers or {}, "spread": figure.spread if figure else None,
		"rounds": len(figure.values) if figure else 0, "rtt_ns": rtt, **({"why": why} if why else {})}


def write_json(path, rows):
	def tidy(x):
		return float("%.4g" % x) if isinstance(x, float) else x

	for one in rows:
		for key in ("value", "floor", "spread", "rtt_ns"):
			one[key] = tidy(one[key])
		one["peers"] = {k: tidy(v) for k, v in one["peers"].items()}
	with open(path, "w") as f:
		f.write("[\n" + ",\n".join(json.dumps(one) for one in rows) + "\n]\n")


def number(x):
	if x is None:
		return "-"
	if abs(x) >= 100:
		return "%.0f" % x
	return "%.3g" % x


def verdict(one):
	_, _, bound, sense, below = ROWS[one["id"]]
	if one["value"] is None:
		return "not measured" + (": " + one["why"] if "why" in one else "")
	if bound is None:
		return ""
	if (one["value"] <= bound) if sense == "max" else (one["value"] >= bound):
		return "reached"
	if below and one["rtt_ns"] and one["rtt_ns"] >= below:
		return "not held: round trip %.0f ns" % one["rtt_ns"]
	return "**short**"


def read_notes(path):
	"""{id: text} of the hand-written reasons: a "## id" heading each."""
	if not os.path.exists(path):
		return {}
	with open(path) as f:
		parts = re.split(r"^## (\S+)\n", f.read(), flags=re.M)
	return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2])}


def table(head, rows):
	lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
	return "\n".join(lines + ["| " + " | ".join(str(c) for c in r) + " |" for r in rows])


def bounds_table(rows):
	body = []
	for one in rows:
		what, unit, bound, sense, below = ROWS[one["id"]]
		must = "%s %s %s" % ("at most" if sense == "max" else "at least", number(bound), unit) if bound else unit
		if below:
			must += " (round trip below %d ns)" % below
		got = "-" if one["value"] is None else "%s (+-%.0f %%)" % (number(one["value"]), 50 * one["spread"])
		body.append((what, must, got, number(one["floor"]), number(one["peers"].get("qsd")), verdict(one)))
	return table(("Row", "Must reach", "Postern", "Floor", "qemu-storage-daemon", ""), body)


def reasons(rows, notes):
	"""What was found out about rows that fell short, and what else was written down."""
	parts = []
	for one in rows:
		if one["id"] in notes:
			parts.append("### %s\n\n%s" % (one["id"], notes[one["id"]]))
		elif verdict(one) == "**short**":
			parts.append("### %s\n\nNo reason found yet." % one["id"])
	parts += ["### %s\n\n%s" % (name, text) for name, text in notes.items() if name not in ROWS]
	return "\n\n".join(parts)


def latency(ns):
	if ns is None:
		return "-"
	return "%.0f ns" % ns if ns < 1000 else "%.3g us" % (ns / 1000) if ns < 1e6 else "%.3g ms" % (ns / 1e6)


def rate(iops):
	if iops is None:
		return "-"
	return "%.3g M" % (iops / 1e6) if iops >= 1e5 else "%.3g k" % (iops / 1e3)


def mid(cell, name, what):
	values = sorted(r[name][what] for r in cell.rounds if name in r and what in r[name])
	return values[len(values) // 2] if values else None


def cells_table(cells, paced):
	names = (("postern", "Postern"), ("qsd", "qemu-storage-daemon"))
	head = ["Load"] + (["floor"] if not paced else [])
	for _, title in names:
		head += ([title + " IOPS"] if not paced else []) + ["p50", "p99"]
	head += ["kicks a request", "rounds", "round trip"]
	body = []
	for c in cells:
		if bool(c.pace_us) != paced or not c.rounds:
			continue
		line = [c.key.replace(" paced", "")]
		if not paced:
			line.append(rate(mid(c, "floor", "iops")))
		for name, _ in names:
			line += ([rate(mid(c, name, "iops"))] if not paced else []) + [
				latency(mid(c, name, "p50")), latency(mid(c, name, "p99"))]
		kicks = ["%.2g" % (mid(c, n, "kicks") / max(mid(c, n, "requests"), 1))
			if mid(c, n, "requests") else "-" for n, _ in names]
		rtts = sorted(r["rtt"] for r in c.rounds)
		line += [" / ".join(kicks), "%d%s" % (len(c.rounds), " (%d dropped)" % c.dropped if c.dropped
			else ""), "%.0f-%.0f ns" % (rtts[0], rtts[-1])]
		body.append(line)
	return table(head, body)


def tails(cells):
	"""One sentence on where Postern's p99 is the lower one, and where it is not."""
	both = [(c, mid(c, "postern", "p99"), mid(c, "qsd", "p99")) for c in cells]
	both = [(c, ours, theirs) for c, ours, theirs in both if ours and theirs]
	higher = ["%s (%s against %s)" % (c.key, latency(ours), latency(theirs)) for c, ours, theirs in both
		if ours >= theirs]
	text = "p99 is lower than qemu-storage-daemon's in %d of %d loads" % (len(both) - len(higher), len(both))
	return text + ("; not in: " + ", ".join(higher) + "." if higher else ".")


COMPARED = "\n## Every path, from a guest\n\n"


def compared(path):
	"""The section of `make compare` in the page at @path, which `make bench` leaves as it is."""
	if not os.path.exists(path):
		return ""
	with open(path) as f:
		return "".join(f.read().partition(COMPARED)[1:])


def replace_compared(path, text):
	"""Puts @text in place of that section, the last one of the page."""
	with open(path) as f:
		page = f.read().partition(COMPARED)[0]
	with open(path, "w") as f:
		f.write(page + COMPARED + text)


def write_markdown(path, facts, rows, cells, notes):
	text = """<!-- Written by `make bench` (tests/bench/run); reasons come from tests/bench/notes.md. -->
# Benchmarks

%(machine)s. Measured %(date)s at commit %(commit)s%(quick)s.

One and the same polled client, pinned to CPU %(client_cpu)d, drives the target pinned to CPU
%(target_cpu)d, targets in turn, round after round. A figure is a median over rounds; +- is half the
reach of the middle half of them. A cache-line ping-pong between the two CPUs runs before and after
each round; rounds in which it changed by more than a quarter are dropped and run again.

%(others)s%(bounds)s

%(tails)s

%(reasons)s

## Floors of this run

%(floors)s

## qemu-storage-daemon's configuration

Tried in turn, the best kept: the highest product of its rates at depth 1 and 32.

%(qsd)s

## As fast as depth allows

Reads are random unless marked seq. The floor is a bare ring loop for null, a bare memcpy loop over
the same offsets for ram, a bare io_uring loop on the same file for file. A null read touches no data,
with either target. Kicks a request: Postern / qemu-storage-daemon; packed rings are Postern's only.

%(full)s

## One request each 100 us

%(paced)s

## Around the data path

%(around)s
"""
	facts = dict(facts, bounds=bounds_table(rows), tails=tails(cells), reasons=reasons(rows, notes),
		full=cells_table(cells, False), paced=cells_table(cells, True))
	kept = compared(path)
	with open(path, "w") as f:
		f.write(text % facts + kept)
