# SPDX-License-Identifier: Apache-2.0
"""What a storage function in a machine costs: row fn_vm_added_qd1_us."""

import json
import os
import subprocess
import sys

import report
from measure import Figure
from targets import BenchError, MIB

# the words of the tests on real guests for a function's machine
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, "tests", "guest"))
from scene import LabError, Scene
from functions import FAKE, boot_program, is_up, show, until
from lab import Lab


def machine_added(s, tool, rounds, ms, cores=()):
	"""What a read at depth 1 gets longer by if a program in a machine sees it, after data has been verified
	with and without: ([us], what `function show` says). @s: a Scene; @cores: the machine's CPUs."""
	lab, added = s.lab, []
	lab.start_daemon("--cpus", str(tool.target_cpu))
	lab.postern("function", "add", "fn", "vm=on", "stall_ms=20000")
	sockets = {}
	for name, more in (("plain", ()), ("seen", ("function=remote,name=fn",))):
		lab.postern("disk", "create", name, "medium=ram", "size=%d" % MIB, *more)
		sockets[name] = lab.ask("disk", "show", name)["front"]["socket"]
	boot_program(s, "fn", FAKE, "nothing", *["cores=%d" % core for core in cores])
	until(s, "fn", is_up, "up")
	for at in sockets.values():
		said = tool.load(at, {"depth": 4, "read": 50, "verify": 1, "ms": 0, "requests": 500, "warm": 0})
		if not said["verified_b"]:
			raise BenchError("nothing was verified: %s" % said)
	for _ in range(rounds):
		got = {name: tool.load(at, {"depth": 1, "ms": ms})["p50"] for name, at in sockets.items()}
		added.append((got["seen"] - got["plain"]) / 1000)
	return added, show(s, "fn")


def machine_row(bench):
	name = "fn_vm_added_qd1_us"
	probe = json.loads(subprocess.run([os.path.join(bench.build, "bin/postern"), "vm", "probe", "--json"],
		capture_output=True, text=True, check=True).stdout)
	others = sorted(os.sched_getaffinity(0) - {bench.tool.client_cpu, bench.tool.target_cpu})
	if probe["accel"] != "kvm":
		return report.row(name, why=probe["why"])
	if not others:
		return report.row(name, why="client, poller and machine need a CPU each")
	try:
		with Lab("postern-bench-") as lab:
			added, said = machine_added(Scene(lab, None), bench.tool, bench.rounds, 300, others[-1:])
	except (LabError, BenchError) as err:
		return report.row(name, why=str(err).splitlines()[0])
	bench.around.append("The machine of the function: %s." % said["transport"])
	return report.row(name, Figure(added), None, {}, bench.tool.rtt())
