# SPDX-License-Identifier: Apache-2.0
"""Storage functions in a machine: a load with the program in a bare guest (tests/fake/machine.c)."""

import json
import os
import subprocess
import sys
import tempfile

from targets import BenchError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, "tests", "guest"))
from bare import FunctionMachine, LabError, why_no_kvm


def line(tool):
	"""The next thing that the measuring program says."""
	said = tool.stdout.readline()
	if not said:
		raise BenchError("bench-tool function: %s" % tool.stderr.read().strip())
	return json.loads(said)


def machine_load(tool, accel, args):
	"""As tool.run("function", @args), with the program in a machine on CPU @args["peer"]; the answer has
	"exits", how often a request the guest was left for the host, None where nobody counts."""
	with tempfile.TemporaryDirectory(prefix="postern-") as place:
		at = os.path.join(place, "fn.sock")
		process = subprocess.Popen(tool.argv("function", dict(args, machine=at)), text=True,
			stdout=subprocess.PIPE, stderr=subprocess.PIPE)
		try:
			memory = line(process)
			# one that has slept takes ms to wake up: see notes.md
			with FunctionMachine(place, "fn", accel, at, **memory, words="spin_us=20000",
					wrap=("taskset", "-c", str(args["peer"]))) as machine:
				machine.begin()
				line(process)
				before = machine.exits()
				answer = line(process)
				exits = machine.exits()
		except LabError as err:
			raise BenchError(str(err)) from err
		finally:
			process.kill()
			process.communicate()
	answer["exits"] = None if exits is None else (exits - before) / answer["requests"]
	return answer


def why_no_machine(tool, args):
	"""Why there is nothing to measure here; None if there is."""
	if why_no_kvm():
		return why_no_kvm()
	try:
		machine_load(tool, "kvm", dict(args, ms=1))
	except (BenchError, OSError) as err:
		return str(err).splitlines()[0]
	return None
