# SPDX-License-Identifier: Apache-2.0
"""A block device whose writes wait: a loop device, and a control group that lets its members write to
it so many times a second. Needs root, a free loop device and the block I/O controller."""

import os
import shutil
import subprocess
import tempfile

V1 = "/sys/fs/cgroup/blkio"
V2 = "/sys/fs/cgroup"


class NotHere(Exception):
	"""Why this machine cannot have one."""


def turn_on_v2(sign):
	"""Lets control groups of version 2 have the controller; a host whose service manager has no use for it
	leaves it off."""
	with open(os.path.join(V2, "cgroup.subtree_control"), "w") as held:
		held.write(sign + "io")


def controller():
	"""(directory, version) of the controller's root, and whether it had to be turned on."""
	if os.path.exists(os.path.join(V1, "cgroup.procs")):
		return V1, 1, False
	try:
		with open(os.path.join(V2, "cgroup.subtree_control")) as held:
			is_on = "io" in held.read().split()
		if not is_on:
			turn_on_v2("+")
		return V2, 2, not is_on
	except OSError as err:
		raise NotHere(f"no control group with block I/O: {err}") from err


class SlowDevice:
	"""Use as a context manager."""

	def __init__(self, size_b):
		if os.geteuid():
			raise NotHere("not root: no loop device")
		if not shutil.which("losetup"):
			raise NotHere("no losetup")
		self.file = tempfile.NamedTemporaryFile(prefix="postern-slow-")
		self.file.truncate(size_b)
		done = subprocess.run(["losetup", "--find", "--show", self.file.name], capture_output=True, text=True)
		if done.returncode:
			self.file.close()
			raise NotHere(f"no loop device: {done.stderr.strip()}")
		self.path = done.stdout.strip()
		try:
			self.root, self.version, self.turned_on = controller()
		except NotHere:
			self._detach()
			raise
		self.group = tempfile.mkdtemp(prefix="postern-", dir=self.root)

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.limit(None)
		with open(os.path.join(self.group, "cgroup.procs")) as members:
			for pid in members.read().split():
				self._move(self.root, int(pid))
		os.rmdir(self.group)
		if self.turned_on:
			turn_on_v2("-")
		self._detach()

	def _detach(self):
		subprocess.run(["losetup", "--detach", self.path], check=True)
		self.file.close()

	def limit(self, writes_per_s, bytes_per_s=None):
		"""For the members, also for what of theirs waits already; None: no limit."""
		for name, word, value in (("iops", "wiops", writes_per_s), ("bps", "wbps", bytes_per_s)):
			if self.version == 1:
				self._write(f"blkio.throttle.write_{name}_device", f"{value or 0}")
			else:
				self._write("io.max", f"{word}={value or 'max'}")

	def _write(self, name, value):
		rdev = os.stat(self.path).st_rdev
		with open(os.path.join(self.group, name), "w") as out:
			out.write(f"{os.major(rdev)}:{os.minor(rdev)} {value}")

	def hold(self, pid):
		"""Makes process @pid a member."""
		self._move(self.group, pid)

	@staticmethod
	def _move(group, pid):
		with open(os.path.join(group, "cgroup.procs"), "w") as members:
			members.write(str(pid))
