# SPDX-License-Identifier: Apache-2.0
"""docs/recovery-benchmarks.md for people, bench-recovery.json for programs."""

import json
import os
import re
import statistics

from report import number, read_notes, table

HERE = os.path.dirname(os.path.abspath(__file__))

# id: (what, unit, bound, "max" or "min")
ROWS = {
	"kill9_count": ("kill -9 of the worker, all scenes together", "kills", 200, "min"),
	"kill9_errors": ("errors, lost, repeated and stale acknowledgements in them", "", 0, "max"),
	"kill9_gap_p50_ms": ("gap at the client, kill -9, 1 disk: median", "ms", 10, "max"),
	"kill9_gap_p99_ms": ("gap at the client, kill -9, 1 disk: p99", "ms", 25, "max"),
	"kill9_gap_64_p50_ms": ("gap of the disk that waits longest, kill -9, 64 disks: median", "ms", 10,
		"max"),
	"upgrade_gap_p50_ms": ("gap at the client, upgrade: median", "ms", 10, "max"),
	"upgrade_gap_p99_ms": ("gap at the client, upgrade: p99", "ms", 25, "max"),
	"reconnect_gap_ms": ("keeper gone too, VMM connects after 1 s: longest gap", "ms", 1500, "max"),
	"armed_cost_pct": ("dirty log, in-flight tracking, deadline and limit armed: lost throughput at "
		"depth 32", "%", 5, "max"),
	"limit_error_pct": ("requests of a second against the limit set", "%", 2, "max"),
	"noisy_p99_x": ("p99 of a quiet disk beside a limited noisy one / alone", "x", 2, "max"),
}
BUCKETS_MS = (1, 2, 3, 5, 7, 10, 15, 25, 50, 100, 250, 500, 1000, 1500)


def quantile(values, share):
	"""The smallest value that @share of all do not exceed."""
	values = sorted(values)
	return values[min(len(values) - 1, max(0, -int(-share * len(values) // 1) - 1))] if values else None


def gaps(scenes):
	return [gap for scene in scenes for gap in scene.gaps]


def rows(one, many, upgrade, again, guest, contained):
	kills = one + many + guest
	value = {
		"kill9_count": sum(len(scene.gaps) for scene in one + many) + sum(g.kills for g in guest),
		"kill9_errors": sum(len(scene.wrong) for scene in kills),
		"kill9_gap_p50_ms": quantile(gaps(one), 0.5),
		"kill9_gap_p99_ms": quantile(gaps(one), 0.99),
		"kill9_gap_64_p50_ms": quantile(gaps(many), 0.5),
		"upgrade_gap_p50_ms": quantile(gaps(upgrade), 0.5),
		"upgrade_gap_p99_ms": quantile(gaps(upgrade), 0.99),
		"reconnect_gap_ms": max(gaps(again), default=None),
	}
	out = []
	for name, (_, unit, _, _) in ROWS.items():
		figures = (contained or {}).get(name)
		got = statistics.median(figures) if figures else value.get(name)
		out.append({"id": name, "value": float("%.4g" % got) if isinstance(got, float) else got,
		            "unit": unit, "rounds": len(figures) if figures else None})
	return out


def write_json(path, found):
	with open(path, "w") as f:
		f.write("[\n" + ",\n".join(json.dumps(row) for row in found) + "\n]\n")


PAUSE = re.compile(r"a pause: (\S+) ms in the median and (\S+) ms at most in 99 of 100 cases after\s+"
                   r"`kill -9`,\s+(\S+) ms and\s+(\S+) ms\s+with `postern upgrade`")


def promised(path):
	"""The four figures of README's sentence about pauses, as text."""
	with open(path) as f:
		return PAUSE.search(f.read()).groups()


def to_promise(found):
	"""What these four have to be."""
	value = {row["id"]: row["value"] for row in found}
	return tuple(number(value[name]) for name in ("kill9_gap_p50_ms", "kill9_gap_p99_ms",
	                                              "upgrade_gap_p50_ms", "upgrade_gap_p99_ms"))


def write_promise(path, found):
	with open(path) as f:
		text = f.read()
	old = PAUSE.search(text)
	new, at = "", old.start()
	for n, figure in enumerate(to_promise(found), 1):
		new += text[at:old.start(n)] + figure
		at = old.end(n)
	with open(path, "w") as f:
		f.write(text[:old.start()] + new + text[at:])


def verdict(row):
	_, _, bound, sense = ROWS[row["id"]]
	if row["value"] is None:
		return "not measured"
	good = row["value"] <= bound if sense == "max" else row["value"] >= bound
	return "reached" if good else "**short**"


def bounds_table(found):
	return table(("Row", "Must reach", "Postern", ""), [
		(ROWS[row["id"]][0], "%s %s %s" % ("at most" if ROWS[row["id"]][3] == "max" else "at least",
		 number(ROWS[row["id"]][2]), row["unit"]), number(row["value"]), verdict(row)) for row in found])


def scenes_table(scenes):
	body = []
	for scene in scenes:
		if scene.skipped:
			body.append((scene.name, "not here: " + scene.skipped, "", "", "", "", "", "", ""))
		elif scene.gaps:
			body.append((scene.name, len(scene.gaps), *(number(quantile(scene.gaps, share))
			             for share in (0.5, 0.99, 1)), number(quantile(scene.late, 0.99)),
			             number(quantile(scene.away, 0.5)), scene.reconnects, len(scene.wrong)))
	return table(("Scene", "times", "p50 ms", "p99 ms", "longest ms", "p99 of a request ms",
	              "client away ms", "connections lost", "wrong"), body)


def histogram(values):
	"""Lines of a count a bucket, with bars."""
	low, lines = 0, []
	for high in BUCKETS_MS + (float("inf"),):
		n = sum(low <= value < high for value in values)
		label = f"{low:>5} - {high} ms" if high != float("inf") else f"{low:>5} ms and more"
		if n:
			lines.append(f"{label:<20} {n:>5} {'#' * max(1, round(60 * n / len(values)))}")
		low = high
	return "\n".join(lines)


def histograms(scenes):
	return "\n\n".join(f"{scene.name}:\n\n```\n{histogram(scene.gaps)}\n```"
	                   for scene in scenes if scene.gaps)


def points_table(scenes):
	body = [(f"{part} {name}", len(values), number(max(values)))
	        for scene in scenes for (name, part), values in sorted(scene.by_point.items())]
	return table(("Killed", "times", "longest gap ms"), body) if body else "None."


def guests(found):
	return "\n".join(f"{scene.name}: {scene.kills} kills, "
	                 f"{'no error' if not scene.wrong else str(len(scene.wrong)) + ' errors'}."
	                 for scene in found) or "No Linux guest was run."


def reasons(found):
	"""What was written down by hand about rows."""
	notes = read_notes(os.path.join(HERE, "notes.md"))
	short = {row["id"] for row in found if verdict(row) == "**short**"}
	parts = [f"### {name}\n\n{text}" for name, text in notes.items()]
	parts += [f"### {name}\n\nNo reason found yet." for name in ROWS if name in short - set(notes)]
	return "\n\n".join(parts)


def write_markdown(path, facts, found, scenes, guest):
	text = """<!-- Written by `make bench-recovery` (tests/recovery/bench); reasons: tests/recovery/notes.md. -->
# Recovery, measured

Linux %(machine)s. Measured %(date)s at commit %(commit)s, seed %(seed)d%(few)s.

A polled client on CPU %(client)d keeps verified reads, writes and flushes in flight; one poller on
CPU %(target)d serves them; %(mem)d MiB of ordinary guest memory are touched on both sides before
each time. The gap is the longest time between two completions of a disk from the kill until all that
was in flight is back; with several disks, that of the disk that waits longest. Where the client itself did
not run meanwhile because others had its CPU (client away, the median of the longest times), that is part
of the gap.

%(bounds)s

%(reasons)s

## Each scene

%(scenes)s

%(guests)s

## Histograms

%(histograms)s

## Killed while a message is at hand

Before a message, within its header, behind it, or after the whole was sent; the gap is that of the
disk beside it.

%(points)s
"""
	with open(path, "w") as f:
		f.write(text % dict(facts, few=", few times each" if facts["quick"] else "",
		                    bounds=bounds_table(found), reasons=reasons(found),
		                    scenes=scenes_table(scenes), guests=guests(guest),
		                    histograms=histograms(scenes), points=points_table(scenes)))
