# SPDX-License-Identifier: Apache-2.0
"""Tests on real guests: several behaviours on one boot, each a function named as a sentence.

A file under tests/guest/ calls play() with its functions; each gets the Scene, in order, and fails
by raising. The result is TAP. `build/../tests/guest/NAME` runs one file alone.
"""

import contextlib
import os
import re
import sys
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "vm"))
import lab as lab_room
from lab import LabError, POSTERN, fio_ios

MIB = 1 << 20


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


def same(got, want, what):
	if got != want:
		raise LabError(f"{what}: {got}, not {want}")


def count(guest, label, arguments):
	"""(requests, kicks, interrupts) of a fio load in a guest at `serve`."""
	said = guest.sh(f"count {label} {arguments}")
	kicks, interrupts = re.search(r"@@ count \S+ (\d+) (\d+)", said).groups()
	ios = fio_ios(re.search(r"@@ fio \S+ (.*)", said)[1])
	return ios, int(kicks), int(interrupts)


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
