# SPDX-License-Identifier: Apache-2.0
"""What containment costs, and how well it holds: limits, a noisy neighbour, all of it armed."""

import json
import os
import statistics
import subprocess

from kit import BUILD, MIB, Target

TOOL = os.path.join(BUILD, "tests", "bench", "bench-tool")
NEVER_REACHED = 1000000000
LIMITS = (1000, 20000, 100000)


def tool(command, cpu, **options):
	argv = [TOOL, command, f"cpu={cpu}"] + [f"{key}={value}" for key, value in options.items()]
	done = subprocess.run(argv, capture_output=True, text=True)
	if done.returncode:
		raise RuntimeError(f"{' '.join(argv)}: {done.stderr}")
	return json.loads(done.stdout)


def armed_cost(target, client, rounds, ms):
	"""Per cent of throughput at depth 32 that dirty log, in-flight tracking, deadline and limit cost
	together: the median over rounds of the medium that it costs more."""
	worst = []
	for medium in ("null", "ram"):
		off = target.disk(medium + "-off", {"kind": medium}, size=256 * MIB, timeout="0")
		on = target.disk(medium + "-on", {"kind": medium}, size=256 * MIB, timeout="10s",
		                 iops=NEVER_REACHED)
		for at in (off, on):
			tool("load", client, socket=at, bs=MIB, depth=4, read=0, seq=1, ms=0, requests=256, warm=0)
		costs = []
		for _ in range(rounds):
			bare = tool("load", client, socket=off, depth=32, ms=ms, inflight=0, log=0)["iops"]
			armed = tool("load", client, socket=on, depth=32, ms=ms, inflight=1, log=1)["iops"]
			costs.append(100 * (1 - armed / bare))
		worst.append(costs)
	return max(worst, key=statistics.median)


def limit_error(target, client, rounds):
	"""Per cent that a second's requests are off a limit that was set while the disk runs; of each
	limit the median over rounds, the worst of these."""
	at = target.disk("limited", {"kind": "null"}, size=64 * MIB)
	worst = []
	for iops in LIMITS:
		errors = []
		for _ in range(rounds):
			target.call("disk.set", name="limited", iops=iops)
			got = tool("load", client, socket=at, depth=32, warm=1500, ms=1000)
			errors.append(100 * abs(got["requests"] * 1e9 / got["elapsed_ns"] / iops - 1))
		worst.append(errors)
	return max(worst, key=statistics.median)


def noisy_ratio(target, client, rounds, ms):
	"""p99 at depth 1 of a quiet disk beside a limited noisy one on the same poller, against alone."""
	quiet = target.disk("quiet", {"kind": "null"}, size=64 * MIB)
	noisy = target.disk("noisy", {"kind": "null"}, size=64 * MIB, iops=20000)
	ratios = []
	for _ in range(rounds):
		alone = tool("noisy", client, socket=quiet, ms=ms)["p99"]
		beside = tool("noisy", client, socket=quiet, noisy=noisy, depth=128, ms=ms)["p99"]
		ratios.append(beside / alone)
	return ratios


def measure(client, poller, quick, say):
	"""{row: [a figure a round]}"""
	rounds, ms = (3, 300) if quick else (9, 1000)
	with Target() as target:
		target.start("--control", target.control, "--state", target.path("state"), "--cpus", str(poller))
		say("containment: cost of everything armed")
		armed = armed_cost(target, client, rounds, ms)
		say("containment: limits")
		limits = limit_error(target, client, 1 if quick else 3)
		say("containment: a noisy neighbour")
		return {"armed_cost_pct": armed, "limit_error_pct": limits,
		        "noisy_p99_x": noisy_ratio(target, client, rounds, ms)}
