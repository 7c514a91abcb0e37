# SPDX-License-Identifier: Apache-2.0
"""What a storage function that does nothing costs, and one that works on all data: rows fn_*."""

import json
import os
import statistics
import subprocess
import time

import report
from function_machine import machine_load, why_no_machine
from measure import Figure
from targets import BenchError, Postern

DISK = "1M" # stays in the cache: what is measured is the function
REPLACEMENTS = 20


class Placed:
	"""The measuring program with client and poller in one thread, the program on the other CPU."""

	def __init__(self, tool, ms):
		self.tool, self.ms = tool, ms

	def args(self, **args):
		return dict({"cpu": self.tool.target_cpu, "peer": self.tool.client_cpu, "ms": self.ms}, **args)

	def function(self, **args):
		return self.tool.run("function", self.args(ram=DISK, **args))

	def machine(self, **args):
		return machine_load(self.tool, "kvm", self.args(ram=DISK, **args))

	def no_machine(self):
		return why_no_machine(self.tool, self.args(ram=DISK))

	def floor(self, **args):
		return self.tool.run("handoff", self.args(**args))


def all_rounds(at, rounds, machines):
	"""Every load, in turn in each round: {name: [answer]}; those in a machine if @machines."""
	loads = {
		"none": lambda: at.function(mode="none", depth=1),
		"one": lambda: at.function(depth=1),
		"one, machine": lambda: at.machine(depth=1),
		"one touched": lambda: at.function(depth=1, touch=1),
		"one, floor": lambda: at.floor(depth=1),
		"one touched, floor": lambda: at.floor(depth=1, touch=1),
		"many": lambda: at.function(depth=32),
		"many, machine": lambda: at.machine(depth=32),
		"many, floor": lambda: at.floor(depth=32),
		"reads touched": lambda: at.function(depth=32, touch=1),
		"writes touched": lambda: at.function(depth=32, touch=1, write=1),
		"many touched, floor": lambda: at.floor(depth=32, touch=1),
		"observed": lambda: at.tool.run("function", at.args(mode="observe", depth=32)),
	}
	got = {name: [] for name in loads}
	for _ in range(rounds):
		for name, load in loads.items():
			if machines or "machine" not in name:
				got[name].append(load())
	return got


def exits(got):
	"""What its exits tell of a function in a machine."""
	def median(name):
		counts = [one["exits"] for one in got[name] if one["exits"] is not None]
		return "%.5f" % statistics.median(counts) if counts else "uncounted"

	return ("Storage functions in a machine: the library runs in user mode of a guest without an operating "
		"system, on KVM. Exits a request: %s at depth 1, %s at depth 32."
		% (median("one, machine"), median("many, machine")))


def load_rows(bench, at):
	why = at.no_machine()
	got = all_rounds(at, bench.rounds, not why)
	rtt = bench.tool.rtt()
	if not why:
		bench.around.append(exits(got))

	def longer(name):
		return Figure([(one["p50"] - none["p50"]) / 1000 for one, none in zip(got[name], got["none"])])

	def rate(name):
		return Figure([one["iops"] / 1e6 for one in got[name]])

	def row(name, figure, floor=None):
		if not figure.values:
			return report.row(name, why=why)
		return report.row(name, figure, floor.value if floor else None, {}, rtt)

	return [row("fn_process_added_qd1_us", longer("one"), longer("one, floor")),
		row("fn_touch_added_qd1_us", longer("one touched"), longer("one touched, floor")),
		row("fn_process_qd32_miops", rate("many"), rate("many, floor")),
		row("fn_process_qd32_bare_ratio", Figure([ours["iops"] / bare["iops"]
			for ours, bare in zip(got["many"], got["many, floor"])])),
		row("fn_touch_read_qd32_miops", rate("reads touched"), rate("many touched, floor")),
		row("fn_touch_write_qd32_miops", rate("writes touched"), rate("many touched, floor")),
		row("fn_observe_qd32_miops", rate("observed")),
		row("fn_vm_added_qd1_us", longer("one, machine"), longer("one, floor")),
		row("fn_vm_qd32_miops", rate("many, machine"), rate("many, floor"))]


def instructions(bench):
	"""Both sides, counted by stepping; requests of 512 bytes, because a copy in one instruction steps
	once for each of its bytes."""
	parts = []
	for depth in (1, 32):
		for mode in ("none", "transform", "observe"):
			got = bench.tool.run("function", {"mode": mode, "depth": depth, "bs": 512, "ms": 50, "batches": 20,
				"cpu": bench.tool.target_cpu})
			parts.append("depth %d, %s %.0f" % (depth, mode, got["poller_instructions"]) + ("" if mode == "none"
				else " and %.0f" % got["program_instructions"]))
	return ("Storage functions were measured without a front: one thread is client and poller on one CPU, "
		"the program a process on the other; the disk is ram of 1 MiB, or null for observe. Instructions a "
		"read of 512 bytes in the poller (without a front) and in the program, stepped: %s."
		% "; ".join(parts))


def pause_row(bench, at):
	"""Two programs that run take over from each other."""
	got = [at.function(depth=32, replace=20) for _ in range(bench.rounds)]
	bench.around.append("A program took over from another %d times; the longest time without a completion: "
		"%.0f us in the median and %.0f us at most, against %.0f and %.0f us in as long a time before." % (
		20 * len(got), statistics.median(one["pause_ns"] for one in got) / 1000,
		max(one["pause_max_ns"] for one in got) / 1000,
		statistics.median(one["before_ns"] for one in got) / 1000,
		max(one["before_max_ns"] for one in got) / 1000))
	return report.row("fn_replace_pause_us", Figure([one["pause_ns"] / 1000 for one in got]),
		statistics.median(one["before_ns"] for one in got) / 1000, {}, bench.tool.rtt())


class Live:
	"""A posternd with a function, whose program shares a CPU with the client."""

	def __init__(self, bench):
		self.bench = bench
		self.fake = os.path.join(bench.build, "tests/fake/fake-function")
		self.prefix = os.path.join(bench.place, "fn-")
		self.posternd = Postern(os.path.join(bench.place, "functions"), bench.build, bench.tool.target_cpu)

	def __enter__(self):
		self.posternd.start()
		try:
			self.posternd.call("function.add", name="fn", run=self.fake + " nothing",
				cpus=str(self.bench.tool.client_cpu))
			self.posternd.disk("fn", {"kind": "null"}, self.prefix + "0", size="1G",
				function=[{"kind": "remote", "name": "fn"}])
		except BaseException:
			self.posternd.stop()
			raise
		return self

	def __exit__(self, *_):
		self.posternd.stop()

	def replace(self, version):
		self.posternd.call("function.replace", name="fn", run="%s nothing version=%d" % (self.fake, version),
			probation_ms=1)

	def gaps(self):
		"""[(us that nothing came back in while it was replaced, and in as long a time before)]"""
		client = subprocess.Popen(self.bench.tool.argv("gap", {"socket": self.prefix + "0",
			"cpu": self.bench.tool.client_cpu, "depth": 32}), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
			text=True)

		def longest():
			client.stdin.write("\n")
			client.stdin.flush()
			return json.loads(client.stdout.readline())["gap_ns"] / 1000

		found, took_s = [], 0.02
		with client:
			for i in range(REPLACEMENTS):
				longest()
				time.sleep(took_s)
				before = longest()
				start = time.monotonic()
				self.replace(i)
				took_s = time.monotonic() - start
				found.append((longest(), before))
		return found


def live_rows(bench):
	"""Of a posternd: what a client sees of a replacement, and what rest costs."""
	with Live(bench) as live:
		found = live.gaps()
		share = bench.idle_share(live.posternd.process.pid, live.prefix, 1, 3 if bench.quick else 10)
	bench.around.append("`function replace` as a whole (start and trial of the new program, its take-over; client, "
		"both programs, poller and control on two CPUs), seen by a client at depth 32: nothing came back for "
		"%.0f us in the median of %d, against %.0f us in as long a time before." % (
		statistics.median(one for one, _ in found), len(found), statistics.median(one for _, one in found)))
	return [report.row("fn_idle_core_pct", Figure([share]), 0.0, {}, bench.tool.rtt())]


def rows(bench):
	at = Placed(bench.tool, 200 if bench.quick else 300)
	try:
		bench.around.append(instructions(bench))
		return load_rows(bench, at) + [pause_row(bench, at)] + live_rows(bench)
	except (BenchError, OSError, KeyError) as err:
		print("bench: no functions: %s" % err)
		return []
