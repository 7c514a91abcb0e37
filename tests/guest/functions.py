# SPDX-License-Identifier: Apache-2.0
"""Storage functions for the tests on real guests: what the small guest needs to be a function's machine,
and what `function show` says while one waits."""

import os
import time

from lab import BUILD, Guest, Image, LabError, run
from scene import until as wait

SAMPLES = os.path.join(BUILD, "sdk", "samples")
FAKE = os.path.join(BUILD, "tests", "fake", "fake-function")
KEY = bytes(range(64))
LIMIT_S = 240  # ends a test that hangs
MODULES = "virtio_console", "nd_pmem", "nfit", "dax_pmem", "device_dax"
NO_DAX = MODULES[:1]
# started again whenever it has ended; what is to be its descriptor 4 comes first
SCRIPT = """
for module in $(cat /modules); do insmod /$module 2>/dev/null; done
mkdir -p /tmp/lib
(while :; do LD_LIBRARY_PATH=/lib {command} >>/tmp/stderr 2>&1; sleep 1; done) &
{greeting}
report ready
serve
"""


def program(path):
	"""A program of this machine and the libraries it needs, for a guest."""
	files = {}
	for line in run("ldd", path).splitlines():
		for word in line.split():
			if word.startswith("/"):
				with open(word, "rb") as library:
					files["lib/" + os.path.basename(word)] = library.read()
	with open(path, "rb") as content:
		files["bin/" + os.path.basename(path)] = content.read()
	return files


def script_of(s, path, words, files, greeting="", modules=MODULES):
	"""(script, files) of a guest in which the program at @path runs, @words behind it, with @files. With
	`hello` for a @greeting it does that whether or not anybody listens."""
	s.lab.image = s.lab.image or Image()
	modules = s.lab.image.modules(*modules)
	files = {**modules, **program(path), **files, "modules": "\n".join(modules).encode()}
	return SCRIPT.format(command=f"{os.path.basename(path)} {words}", greeting=greeting), files


def boot_machine(s, name, sample, modules=MODULES):
	"""Starts the machine of function @name: in it runs a sample."""
	script, files = script_of(s, *sample_words(sample), {"key": KEY}, modules=modules)
	guest = s.lab.guest(name, script, f"function={name}", files=files)
	guest.expect("ready")
	return guest


def sample_words(sample):
	"""Its program and what is to be its descriptor 4: /key, or what it keeps."""
	return os.path.join(SAMPLES, sample), "4</key" if sample == "crypt" else "4<>/tmp/kept"


def own_machine(s, sample):
	"""What `function add` needs to be told to start a machine for a sample."""
	script, files = script_of(s, *sample_words(sample), {"key": KEY}, "hello")
	initrd = s.lab.path(sample + ".initrd")
	s.lab.image.initrd(initrd, {**files, "run.sh": script.encode()})
	return ("vm=on", f"kernel={s.lab.image.kernel}", f"initrd={initrd}", "append=quiet panic=-1",
	        "memory=768M")


def join_machine(s, name, but=0):
	"""The machine of function @name, in another process than @but, ready and listened to."""
	guest = Guest(s.lab, name)

	def has_come():
		pids = {vm["name"]: vm["pid"] for vm in s.lab.ask("vm", "list")}
		if pids.get(name, 0) in (0, but):
			return False
		try:
			guest.join()
		except OSError:
			return False
		return True

	wait(has_come, f"machine {name}")
	guest.expect("ready")
	return guest


def show(s, name):
	return s.lab.ask("function", "show", name)


def until(s, name, true, what, limit_s=LIMIT_S):
	"""Waits until @true of what `function show` says; returns that."""
	end = time.monotonic() + limit_s
	while not true(said := show(s, name)):
		if time.monotonic() > end:
			raise LabError(f"not within {limit_s} s: {what}: {said}")
		time.sleep(0.02)
	return said


def is_up(said):
	return said["state"] == "up"


def remove(s, name):
	"""A disk that is deleted has its functions until its pollers let go of it."""
	until(s, name, lambda said: not said["disks"], "no disk has it")
	s.lab.postern("function", "remove", name)
