# SPDX-License-Identifier: Apache-2.0
"""Guests without an operating system (vm/gauge, tests/fake/machine.c): they run on any KVM, also where
that is of no use to Linux, and say what they have to say as lines of JSON."""

import json
import os
import select
import subprocess
import time

from scene import LIMIT_S, LabError, Skip
from lab import BUILD, qmp

ACCELS = {"kvm": ["-accel", "kvm", "-cpu", "host,-arch-capabilities"],
          "tcg": ["-accel", "tcg", "-cpu", "max"]}
# where QEMU puts it, beyond what is below 4 GiB
NVDIMM_AT = 4 << 30


def why_no_kvm():
	return None if os.access("/dev/kvm", os.R_OK | os.W_OK) else "no /dev/kvm for this user"


def check_accel(accel):
	"""A test on KVM is for machines that have it."""
	why = why_no_kvm() if accel == "kvm" else None
	if why:
		raise Skip(why)


class Bare:
	"""The program @elf as a machine's only one, with the words @words; @devices are arguments for QEMU, of
	which NVDIMMs have @nvdimm_b. Use as a context manager, or stop() it; leaving a lab ends it, too."""

	def __init__(self, place, name, elf, accel, words, *devices, nvdimm_b=0, wrap=()):
		nvdimm = (",nvdimm=on", f",slots=1,maxmem={(64 << 20) + nvdimm_b}") if nvdimm_b else ("", "")
		self.log = open(os.path.join(place, name + ".qemu"), "w+")
		# room for a second processor: see vm/README.md
		self.qemu = subprocess.Popen(
			[*wrap, "qemu-system-x86_64", "-M", "q35,memory-backend=mem" + nvdimm[0], *ACCELS[accel],
			 "-smp", "1,maxcpus=2", "-m", "64M" + nvdimm[1], "-object",
			 "memory-backend-memfd,id=mem,size=64M,share=on",
			 "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", elf,
			 "-append", words, *devices],
			stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
		self.partial = b""
		self.lines = []

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.stop()

	def answer(self, timeout_s=LIMIT_S):
		"""The next line that is the guest's own."""
		deadline = time.monotonic() + timeout_s
		while True:
			while self.lines:
				line = self.lines.pop(0)
				if line.startswith(b"{"):
					return json.loads(line)
			left_s = max(deadline - time.monotonic(), 0)
			if not select.select([self.qemu.stdout], [], [], left_s)[0]:
				raise LabError(f"said nothing for {timeout_s} s")
			new = os.read(self.qemu.stdout.fileno(), 65536)
			if not new:
				self.log.seek(0)
				raise LabError(f"QEMU ended: {self.log.read()}")
			*lines, self.partial = (self.partial + new).split(b"\n")
			self.lines += lines

	def stop(self):
		self.qemu.kill()
		self.qemu.wait()
		for file in self.qemu.stdin, self.qemu.stdout, self.log:
			file.close()


class FunctionMachine(Bare):
	"""tests/fake/machine.c: a function's program is the whole machine. @memory_path, @memory_b: what it shares
	with who listens at @at, as `function show` has them."""

	def __init__(self, place, name, accel, at, memory_path, memory_b, words="", wrap=()):
		self.control = os.path.join(place, name + ".qmp")
		super().__init__(
			place, name, os.path.join(BUILD, "tests", "fake", "fake-machine"), accel,
			f"at={NVDIMM_AT} {words}",
			# not SeaBIOS, which takes 7 s where guest kernels are emulated
			"-bios", "qboot.rom", "-object", f"memory-backend-file,id=function,share=on,mem-path={memory_path},"
			f"size={memory_b}", "-device", f"nvdimm,memdev=function,addr={NVDIMM_AT}",
			"-chardev", f"socket,id=function,path={at}", "-serial", "chardev:function",
			"-qmp", f"unix:{self.control},server=on,wait=off",
			nvdimm_b=memory_b, wrap=wrap)

	def begin(self):
		"""Waits for its first line, which may say why it is of no use."""
		said = self.answer()
		if said["event"] != "ready":
			raise LabError(f"a function's machine: {said}")

	def exits(self):
		"""How often its processor has left the guest for the host, at all; None where nobody counts."""
		counts = [one for cpu in qmp(self.control, "query-stats", target="vcpu") for one in cpu["stats"]]
		return next((one["value"] for one in counts if one["name"] == "exits"), None)
