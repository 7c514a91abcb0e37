# SPDX-License-Identifier: Apache-2.0
"""Tests on real guests: several behaviours on one boot, each a function named as a sentence.

A file under tests/guest/ calls play() with its functions; each gets the Scene, in order, and fails
by raising. The result is TAP. `build/../tests/guest/NAME` runs one file alone.
"""

import contextlib
import os
import re
import signal
import sys
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "vm"))
import lab as lab_room
from lab import LabError, POSTERN, fio_ios

MIB = 1 << 20
LIMIT_S = 240  # for what takes moments on a quiet machine


class Skip(Exception):
	"""This machine cannot show it; the text says why."""


class Scene:
	"""A lab, and whatever the functions hand on to the next."""

	def __init__(self, lab, undo):
		self.lab = lab
		self.undo = undo  # what is to be undone before the lab is (contextlib.ExitStack)

	def disk(self, name, size_b, *options, medium="", file_options=""):
		"""Creates a disk in a file of its own; returns the file's path."""
		path = self.lab.path(name + ".img")
		self.lab.postern("disk", "create", name, medium or f"medium=file,path={path}{file_options}",
		                 f"size={size_b}", *options)
		return path

	def show(self, name):
		return self.lab.ask("disk", "show", name)

	def kicks(self, name):
		"""All that posternd has seen of a disk's guest."""
		return sum(queue["kicks"] for queue in self.show(name)["front"]["queue"])

	def done(self, name):
		"""Requests of a disk that this worker has done; one that waits for its image has none."""
		return sum(kind["done"] for kind in self.show(name).get("io", {}).values())

	def go_on(self, names, requests=100):
		"""Returns when so many more are done on each of these disks."""
		before = {name: self.done(name) for name in names}
		until(lambda: all(self.done(name) >= before[name] + requests for name in names), f"{requests} requests")

	def kill_worker(self):
		"""Returns when its successor answers."""
		before = self.lab.ask("status")
		os.kill(before["worker_pid"], signal.SIGKILL)
		until(lambda: self.lab.ask("status")["worker_pid"] != before["worker_pid"],
		      f"a successor of worker {before['worker_pid']}")


def until(what, name):
	"""Waits until what() gives something true; returns that."""
	deadline = time.monotonic() + LIMIT_S
	while not (got := what()):
		if time.monotonic() > deadline:
			raise LabError(f"{name}: not within {LIMIT_S} s")
	return got


def same(got, want, what):
	if got != want:
		raise LabError(f"{what}: {got}, not {want}")


def count(guest, label, arguments):
	"""(requests, kicks, interrupts) of a fio load in a guest at `serve`."""
	said = guest.sh(f"count {label} {arguments}")
	kicks, interrupts = re.search(r"@@ count \S+ (\d+) (\d+)", said).groups()
	ios = fio_ios(re.search(r"@@ fio \S+ (.*)", said)[1])
	return ios, int(kicks), int(interrupts)


def start_verifying(guest, *devices, size="16m", depth=16):
	"""Each disk is written and read back, again and again, until stop_verifying()."""
	fio = (f"fio --direct=1 --bs=4k --iodepth={depth} --ioengine=libaio --size={size} --verify=crc32c "
	       "--verify_fatal=1 --do_verify=1 --minimal --rw=randwrite")
	guest.sh(f"rm -f /tmp/stop /tmp/*.end /tmp/*.rounds; for disk in {' '.join(devices)}; do "
	         "(end=0; until [ -e /tmp/stop ] || [ $end != 0 ]; do "
	         f"{fio} --name=$disk --filename=/dev/$disk --output=/tmp/$disk.log || end=1; "
	         "echo >>/tmp/$disk.rounds; done; echo $end >/tmp/$disk.end) & done")


def stop_verifying(guest, *devices):
	"""Returns when all is verified: the number of rounds. Neither fio nor the guest's kernel may have seen
	an error."""
	ends = " ".join(f"/tmp/{device}.end" for device in devices)

	def moved():
		"""Rounds that have ended, reads and writes; a second later."""
		return guest.sh(f"sleep 1; cat {ends} 2>/dev/null | wc -l; awk '{{ print $1, $5 }}' /sys/block/vd*/stat")

	guest.sh("touch /tmp/stop")
	# a round takes long on a slow machine, and no request does
	while (now := moved()).split()[0] != str(len(devices)):
		until(lambda was=now: moved() != was, "a request of fio's")
	said = guest.sh(f"cat {ends}; dmesg | grep -ci 'i/o error' || true; cat /tmp/*.rounds | wc -l")
	*status, rounds = said.split()
	if set(status) != {"0"}:
		logs = guest.sh("tail -n 5 /tmp/*.log; dmesg | grep -i 'i/o error' | tail -n 5")
		raise LabError(f"fio's end on each disk, and errors logged: {status}\n{logs}")
	return int(rounds)


def play(name, *acts):
	"""Runs the functions in order; after one that failed or was skipped, so are the others."""
	print(f"1..{len(acts)}", flush=True)
	failed = skipped = None
	with lab_room.Lab("postern-test-") as lab, contextlib.ExitStack() as undo:
		scene = Scene(lab, undo)
		for number, act in enumerate(acts, 1):
			begin = time.monotonic()
			try:
				if skipped:
					raise Skip(skipped)
				if failed:
					raise LabError(f"not run, because {failed} failed")
				act(scene)
				print(f"ok {number} - {act.__name__}", flush=True)
			except Skip as why:
				skipped = str(why)
				print(f"ok {number} - {act.__name__} # SKIP {why}", flush=True)
			except Exception as err:
				print(f"not ok {number} - {act.__name__}", flush=True)
				text = str(err) if isinstance(err, LabError) else traceback.format_exc()
				print("\n".join("# " + line for line in text.splitlines()), flush=True)
				if not failed and lab.daemon:
					print("\n".join("# posternd: " + line for line in lab.daemon_log().splitlines()))
				failed = failed or act.__name__
			print(f"# {time.monotonic() - begin:.1f} s", flush=True)
	return int(bool(failed))
