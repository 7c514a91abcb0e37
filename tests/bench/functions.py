# SPDX-License-Identifier: Apache-2.0
"""What a storage function that does nothing costs: rows fn_*."""

import os
import subprocess
import time

import report
from measure import Figure
from targets import BenchError, Postern, cpu_ns

REPLACEMENTS = 20


def latency_row(bench):
	"""Depth 1: what the median of a read gets longer by, taken in each round of both in turn."""
	added = []
	for _ in range(bench.rounds):
		got = {mode: bench.tool.run("function", {"mode": mode, "depth": 1, "ms": 300,
			"cpu": bench.tool.target_cpu, "peer": bench.tool.client_cpu}) for mode in ("none", "transform")}
		added.append((got["transform"]["p50"] - got["none"]["p50"]) / 1000)
	return report.row("fn_process_added_qd1_us", Figure(added), None, {}, bench.tool.rtt())


def rate_rows(bench):
	rows = []
	for name, mode in (("fn_process_qd32_miops", "transform"), ("fn_observe_qd32_miops", "observe")):
		rates = [bench.tool.run("function", {"mode": mode, "depth": 32, "ms": 300,
			"cpu": bench.tool.target_cpu, "peer": bench.tool.client_cpu})["iops"] / 1e6
			for _ in range(bench.rounds)]
		rows.append(report.row(name, Figure(rates), None, {}, bench.tool.rtt()))
	return rows


def instructions(bench):
	"""Both sides, counted by stepping; requests of 512 bytes, because a copy in one instruction steps
	once for each of its bytes."""
	parts = []
	for mode in ("none", "transform", "observe"):
		got = bench.tool.run("function", {"mode": mode, "depth": 32, "bs": 512, "ms": 50, "batches": 20,
			"cpu": bench.tool.target_cpu})
		parts.append("%s %.0f" % (mode, got["poller_instructions"]) + ("" if mode == "none" else
			" and %.0f" % got["program_instructions"]))
	return ("Storage functions were measured without a front: one thread is client and poller on one CPU, "
		"the program a process on the other. Instructions per request at depth 32, in the poller (without a "
		"front) and in the program: %s." % ", ".join(parts))


def live_rows(bench):
	"""Of a posternd: the pause of a replacement under load, and what rest costs."""
	fake = os.path.join(bench.build, "tests/fake/fake-function")
	one = Postern(os.path.join(bench.place, "functions"), bench.build, bench.tool.target_cpu)
	at = os.path.join(bench.place, "fn.sock")
	one.start()
	try:
		# client and program share a CPU, the poller has the other
		one.call("function.add", name="fn", run=fake + " nothing", cpus=str(bench.tool.client_cpu))
		one.disk("fn", {"kind": "null"}, at, size="1G", function=[{"kind": "remote", "name": "fn"}])
		load = subprocess.Popen(bench.tool.argv("load", {"socket": at, "cpu": bench.tool.client_cpu,
			"depth": 32, "ms": 60000, "warm": 0}), stdout=subprocess.PIPE)
		pauses = []
		try:
			for i in range(REPLACEMENTS):
				said = one.call("function.replace", name="fn", run="%s nothing version=%d" % (fake, i),
					probation_ms=1)
				pauses.append(said["replace_pause_ns"] / 1000)
		finally:
			load.terminate()
			load.wait()
		rest_s = 3 if bench.quick else 10
		time.sleep(0.5)
		before, start = cpu_ns(one.process.pid), time.monotonic()
		time.sleep(rest_s)
		share = 100 * (cpu_ns(one.process.pid) - before) / ((time.monotonic() - start) * 1e9)
	finally:
		one.stop()
	bench.around.append("A replaced function's longest pause of %d: %.0f us." % (REPLACEMENTS, max(pauses)))
	return [report.row("fn_replace_pause_us", Figure(pauses), None, {}, bench.tool.rtt()),
		report.row("fn_idle_core_pct", Figure([share]), 0.0, {}, bench.tool.rtt())]


def rows(bench):
	try:
		bench.around.append(instructions(bench))
		return [latency_row(bench)] + rate_rows(bench) + live_rows(bench)
	except (BenchError, OSError, KeyError) as err:
		print("bench: no functions: %s" % err)
		return []
