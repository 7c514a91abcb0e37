# SPDX-License-Identifier: Apache-2.0
"""What the recovery bench does to disks under load, and how long their guests waited for it."""

import random
import signal
import time

from kit import MIB, Target, Witness, until
from points import all_points, kill_at
from slow import NotHere, SlowDevice

STEADY_S = 0.4  # a worker that dies sooner is restarted with a delay, as in a crash loop


class Scene:
	"""One series: the gap of each time, and what went wrong."""

	def __init__(self, name):
		self.name = name
		# ms: the longest wait of any disk; the longest request; how long the client itself did not run
		self.gaps, self.late, self.away = [], [], []
		self.by_point = {}
		self.reconnects = 0
		self.wrong = []
		self.skipped = None

	def add(self, said, point=None):
		self.gaps.append(said["gap_ms"])
		self.late.append(said["late_ms"])
		self.away.append(said["away_ms"])
		self.reconnects = said["reconnects"]
		if point:
			self.by_point.setdefault(point, []).append(said["gap_ms"])


class Stage:
	"""A posternd with disks that a witness watches. Use as a context manager."""

	def __init__(self, place, client_cpu, target_cpu, mem_b, say):
		self.place, self.client_cpu, self.target_cpu = place, client_cpu, target_cpu
		self.mem_b, self.say = mem_b, say

	def __enter__(self):
		self.target = Target(self.place)
		self.argv = ("--control", self.target.control, "--state", self.target.path("state"), "--cpus",
		             str(self.target_cpu))
		self.target.start(*self.argv)
		self.witness = Witness(cpu=self.client_cpu)
		return self

	def __exit__(self, kind, *rest):
		self.witness.__exit__(kind, *rest)
		self.target.__exit__(kind, *rest)

	def disk(self, name, medium, size_b=64 * MIB, mem_b=None, **options):
		spec = {"kind": medium}
		if medium == "file":
			spec["path"] = self.target.path(name + ".img")
		at = self.target.disk(name, spec, size=size_b)
		self.witness.ask("open", name, at, mem=self.mem_b if mem_b is None else mem_b, **options)
		return at

	def pause(self):
		"""Until the worker counts as steady, and then until any moment."""
		time.sleep(STEADY_S + random.random() / 20)

	def serves(self, name):
		return any(row["name"] == name and row["state"] != "waiting"
		           for row in self.target.call("disk.list"))

	def kill(self, scene, point=None):
		"""One kill, at once. Memory is touched on both sides before."""
		self.witness.ask("touch")
		self.pause()
		pid = self.target.worker()
		scene.add(self.witness.ask("kill", pid), point)
		return self.target.successor(pid)


def at_any_time(stage, scene, times, medium, **options):
	stage.disk("disk", medium, **options)
	for _ in range(times):
		stage.kill(scene)
	stage.witness.finish()


def beside_a_flush(stage, scene, times, medium, **options):
	"""On another disk, a flush waits in the kernel."""
	stage.disk("disk", medium, **options)
	with SlowDevice(64 * MIB) as device:
		at = stage.target.disk("slow", {"kind": "file", "path": device.path, "direct": "off"})
		with Witness(nap=1000) as slow:
			slow.ask("open", "slow", at, depth=4, blocks=16, read=0, flush=40)
			device.limit(8)
			device.hold(stage.target.worker())
			for _ in range(times):
				device.hold(stage.kill(scene))
				device.limit(None)  # or the image's lock would be the dead worker's for long
				until(lambda: stage.serves("slow"), "the slow disk, again")
				device.limit(8)
			device.limit(None)
			slow.finish()
	stage.witness.finish()


def while_another_connects(stage, scene, times, medium, **options):
	"""At each message of a connection, and within it."""
	stage.disk("disk", medium, **options)
	other = stage.target.disk("other", {"kind": "null"}, size=64 * MIB)
	points = all_points(other)
	random.shuffle(points)
	for point in (points * (times // len(points) + 1))[:times]:
		stage.witness.ask("touch")
		stage.pause()
		pid = stage.target.worker()
		kill_at(other, point, stage.witness, pid)
		scene.add(stage.witness.answer(), point)
		stage.target.successor(pid)
	stage.witness.finish()


def of_many(stage, disks, **options):
	"""Half of them in memory, half in files; half split, half packed."""
	for i in range(disks):
		stage.disk(f"disk{i}", "ram" if i % 2 else "file", size_b=4 * MIB, mem_b=stage.mem_b // disks,
		           depth=4, blocks=64, packed=i // 2 % 2, **options)


def many_at_any_time(stage, scene, times, disks, **options):
	of_many(stage, disks, **options)
	for _ in range(times):
		stage.kill(scene)
	stage.witness.finish()


def upgrades(stage, scene, times, disks, **options):
	if disks == 1:
		stage.disk("disk", "file", **options)
	else:
		of_many(stage, disks, **options)
	for _ in range(times):
		stage.witness.ask("touch")
		stage.pause()
		stage.witness.ask("watch", stage.target.worker())
		stage.target.do("upgrade")
		scene.add(stage.witness.answer())
	stage.witness.finish()


def the_keeper_goes_too(stage, scene, times, medium, **options):
	"""A service manager starts posternd again at once; the VMM connects anew after a second."""
	stage.disk("disk", medium, reconnect=1000, **options)
	for _ in range(times):
		stage.witness.ask("touch")
		stage.pause()
		stage.witness.ask("watch", stage.target.worker())
		stage.target.stop(signal.SIGKILL)
		stage.target.start(*stage.argv)
		scene.add(stage.witness.answer())
	stage.witness.finish()


def play(name, run, times, say, stage, **options):
	"""Runs one scene on a stage of its own. Returns what came of it; never raises for what it finds."""
	scene = Scene(name)
	say(f"{name}: {times} times")
	try:
		with stage:
			try:
				run(stage, scene, times, **options)
			except NotHere:
				raise
			except Exception as err:  # the other scenes may still tell something
				scene.wrong.append(f"{type(err).__name__}: {err}\n{stage.target.log_text()[-2000:]}")
				stage.witness.process.kill()
	except NotHere as why:
		scene.skipped = str(why)
	if scene.wrong:
		say(f"{name}: WRONG: {scene.wrong[0]}")
	return scene
