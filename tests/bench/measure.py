# SPDX-License-Identifier: Apache-2.0
"""Cells, rounds and what is kept of them.

A cell is one load. In a round the probe runs, then each contender of the cell in turn, then the
probe again; a round in which the machine changed under it is dropped, and run again later.
"""

import json
import os
import statistics
import subprocess

from targets import BenchError, RAM_B

PROBE_DRIFT = 0.25 # a round counts only if its two probes agree this well


class Cell:
	def __init__(self, medium, read=100, depth=1, bs=4096, seq=False, packed=False, pace_us=0, row=False):
		self.medium, self.read, self.depth, self.bs = medium, read, depth, bs
		self.seq, self.packed, self.pace_us = seq, packed, pace_us
		self.row = row # a row of bench.json hangs on it
		self.rounds = [] # {"rtt": ns, "floor": {...}, "postern": {...}, "qsd": {...}}
		self.dropped = 0

	@property
	def key(self):
		return "%s %s %s%s qd%d%s%s" % (self.medium, "read" if self.read == 100 else "write",
			"%dk" % (self.bs >> 10), " seq" if self.seq else "", self.depth,
			" packed" if self.packed else "", " paced" if self.pace_us else "")

	def load_args(self, ms):
		args = {"bs": self.bs, "depth": self.depth, "read": self.read, "seq": int(self.seq),
			"packed": int(self.packed), "ms": ms, "warm": max(ms // 8, 30)}
		if self.pace_us:
			args["pace"] = self.pace_us * 1000
		if self.medium == "ram":
			args["range"] = RAM_B
		return args


def cells(quick):
	"""Every cell in the order they run; a quick run has only those that a row hangs on."""
	rows = [Cell("null", row=True), Cell("null", packed=True, row=True)]
	rows += [Cell("null", depth=d, row=True) for d in (32, 128)]
	rows += [Cell("ram", depth=32, row=True), Cell("ram", depth=16, bs=131072, seq=True, row=True)]
	rows += [Cell("file", depth=d, row=True) for d in (1, 32)]
	if quick:
		return rows
	have = {c.key for c in rows}
	for medium in ("null", "ram", "file"):
		for packed in (False, True):
			for read in (100, 0):
				more = [Cell(medium, read, d, packed=packed) for d in (1, 32, 128)]
				more.append(Cell(medium, read, 16, 131072, True, packed))
				rows += [c for c in more if c.key not in have]
		rows.append(Cell(medium, depth=4, pace_us=100))
	return rows


class Tool:
	"""The measuring program."""

	def __init__(self, path, client_cpu, target_cpu):
		self.path, self.client_cpu, self.target_cpu = path, client_cpu, target_cpu

	def argv(self, command, args):
		return [self.path, command] + ["%s=%s" % pair for pair in args.items()]

	def run(self, command, args, wrap=()):
		"""Returns the program's answer; @wrap is put in front of the command line."""
		done = subprocess.run(list(wrap) + self.argv(command, args), capture_output=True, text=True)
		if done.returncode:
			raise BenchError("%s: %s" % (" ".join(self.argv(command, args)), done.stderr.strip()))
		answer = json.loads(done.stdout)
		answer["stderr"] = done.stderr
		return answer

	def rtt(self):
		return self.run("rtt", {"cpu": self.client_cpu, "peer": self.target_cpu})["rtt_ns"]

	def load(self, socket, args, wrap=()):
		return self.run("load", dict(args, socket=socket, cpu=self.client_cpu), wrap)

	def floor(self, cell, args, path):
		"""What the bare loop of the cell's medium reaches; None where there is none."""
		if cell.pace_us:
			return None
		if cell.medium == "null":
			if cell.read != 100 or cell.bs != 4096:
				return None
			return self.run("ring", {"cpu": self.client_cpu, "peer": self.target_cpu, "depth": cell.depth,
				"packed": int(cell.packed), "ms": args["ms"], "warm": args["warm"]})
		if cell.medium == "ram":
			return self.run("copy", {"cpu": self.target_cpu, "bs": cell.bs, "depth": cell.depth,
				"range": RAM_B, "seq": int(cell.seq), "ms": args["ms"], "write": int(cell.read == 0)})
		return self.run("uring", {"cpu": self.target_cpu, "path": path, "bs": cell.bs,
			"depth": cell.depth, "read": cell.read, "seq": int(cell.seq), "ms": args["ms"],
			"warm": args["warm"]})


def run_round(tool, cell, contenders, path, ms):
	"""One round. @contenders: {name: {medium: (socket, client arguments)}}. Returns whether it counts."""
	args = cell.load_args(ms)
	before = tool.rtt()
	got = {}
	floor = tool.floor(cell, args, path)
	if floor:
		got["floor"] = floor
	for name, sockets in contenders.items():
		if cell.medium in sockets and not (cell.packed and name == "qsd"):
			socket, extra = sockets[cell.medium]
			got[name] = tool.load(socket, dict(args, **extra))
	after = tool.rtt()
	if max(before, after) > (1 + PROBE_DRIFT) * min(before, after):
		cell.dropped += 1
		return False
	got["rtt"] = (before + after) / 2
	cell.rounds.append(got)
	return True


def run_rounds(tool, todo, contenders, path, rounds, ms, say):
	"""@rounds passes over all cells, then more over those that lost rounds, @rounds at most."""
	for n in range(2 * rounds):
		lacking = [c for c in todo if len(c.rounds) < rounds]
		if not lacking:
			return
		say("round %d: %d loads" % (n + 1, len(lacking)))
		for cell in lacking:
			run_round(tool, cell, contenders, path, ms[cell.medium])


class Figure:
	"""A median with its spread: how far the middle half of the rounds reaches, as a share of it."""

	def __init__(self, values):
		self.values = sorted(values)
		self.value = statistics.median(self.values) if self.values else None

	@property
	def spread(self):
		if len(self.values) < 2 or not self.value:
			return 0.0
		low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
		return (high - low) / abs(self.value)


def figure(cell, name, what):
	"""Median of one contender's field over the kept rounds, or None."""
	values = [r[name][what] for r in cell.rounds if name in r]
	return Figure(values) if values else None


def ratio(cell, top, bottom):
	"""Median of a ratio taken within each round; @top and @bottom map a round to a number."""
	values = []
	for r in cell.rounds:
		try:
			values.append(top(r) / bottom(r))
		except (KeyError, ZeroDivisionError):
			pass
	return Figure(values) if values else None


def perf_usable():
	"""Whether perf counts instructions here, in user and kernel mode."""
	try:
		done = subprocess.run(["perf", "stat", "-x,", "-e", "instructions:u,instructions:k", "true"],
			capture_output=True, text=True)
	except OSError:
		return False
	return done.returncode == 0 and "not supported" not in done.stderr and "<not" not in done.stderr


def count_instructions(tid, command):
	"""Instructions, user and kernel, of thread @tid while @command runs. Returns (n, its stdout)."""
	argv = ["perf", "stat", "-x,", "-e", "instructions:u,instructions:k", "-t",
		str(tid), "--"] + command
	done = subprocess.run(argv, capture_output=True, text=True, env=dict(os.environ, LC_ALL="C"))
	if done.returncode:
		raise BenchError("perf: " + done.stderr.strip())
	total = 0
	for line in done.stderr.splitlines():
		fields = line.split(",")
		if len(fields) > 2 and fields[2].startswith("instructions"):
			total += int(fields[0])
	return total, done.stdout
