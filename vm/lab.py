# SPDX-License-Identifier: Apache-2.0
"""A private posternd and Linux guests on its disks, for `make run` and the guest tests.

A Lab is a directory under /tmp with its own control socket, state and machines, so it meets nothing
that already runs; leaving it ends every process that it started. A Guest runs a shell script as
vm/image/init describes and tells what it reports, a line at a time.
"""

import collections
import ctypes
import glob
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("POSTERN_BUILD", os.path.join(ROOT, "build"))
POSTERN = os.path.join(BUILD, "bin", "postern")
POSTERND = os.path.join(BUILD, "bin", "posternd")
os.environ["PATH"] += ":/usr/sbin:/sbin"  # modprobe and mkfs.ext4; an ordinary user's has neither

PR_SET_CHILD_SUBREAPER = 36
BOOT_S = 120  # a guest under emulation on a busy machine boots in 10 s, and posternd answers in 1
END_S = 30  # posternd itself kills what takes longer than 5 s to end, and waits 5 s for that


class LabError(Exception):
	"""Something that was to work did not; its text is for people."""


def run(*argv, env=None, stdin=None):
	"""Runs a program to its end and returns its output; its words, on failure, as LabError."""
	done = subprocess.run(argv, env=env, stdin=stdin or subprocess.DEVNULL, text=True,
	                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
	if done.returncode:
		said = (done.stderr or done.stdout).strip()
		raise LabError(f"{' '.join(argv)}: exit status {done.returncode}: {said}")
	return done.stdout


def build():
	"""Meson and ninja, quiet unless they fail."""
	if not os.path.exists(os.path.join(BUILD, "build.ninja")):
		run("meson", "setup", BUILD, ROOT)
	run("ninja", "-C", BUILD)


def children(pid):
	"""Processes whose parent is the first thread of @pid."""
	with open(f"/proc/{pid}/task/{pid}/children") as listed:
		return [int(child) for child in listed.read().split()]


def qmp(path, command, /, **arguments):
	"""One command to the QEMU that listens at @path; what it returns, or its refusal as LabError."""
	with socket.socket(socket.AF_UNIX) as qemu:
		qemu.settimeout(BOOT_S)
		qemu.connect(path)
		with qemu.makefile("rw") as lines:
			lines.readline()  # the greeting
			for execute, args in ("qmp_capabilities", {}), (command, arguments):
				lines.write(json.dumps({"execute": execute, "arguments": args}) + "\n")
				lines.flush()
				said = {}
				while "return" not in said and "error" not in said:
					said = json.loads(lines.readline())
				if "error" in said:
					raise LabError(f"{command}: {said['error']['desc']}")
	return said["return"]


def cpio(files):
	"""A newc archive of {path: bytes}, padded so that another may stand before or behind it."""
	out = bytearray()
	inode = 0
	for path, content in list(files.items()) + [("TRAILER!!!", None)]:
		inode += 1
		mode = 0 if content is None else stat.S_IFREG | 0o755
		name = path.encode() + b"\0"
		fields = [inode, mode, 0, 0, 1, 0, len(content or b""), 0, 0, 0, 0, len(name), 0]
		out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
		out += bytes(-len(out) % 4)
		out += content or b""
		out += bytes(-len(out) % 4)
	out += bytes(-len(out) % 512)
	return bytes(out)


class Image:
	"""The guest's kernel and initrd, made by vm/image/build on first use."""

	def __init__(self):
		self.dir = run(os.path.join(ROOT, "vm", "image", "build")).splitlines()[-1]
		self.kernel = os.path.join(self.dir, "kernel")

	def module(self, name):
		"""A module of the guest's kernel that it does not load by itself; those it needs, it has."""
		found = glob.glob(os.path.join(os.path.dirname(self.dir), "linux", "lib", "modules", "*", "**",
		                               name + ".ko"), recursive=True)
		with open(found[0], "rb") as module:
			return module.read()

	def modules(self, *names):
		"""Modules of the guest's kernel and what they need: {path: bytes}, in the order to load them."""
		linux = os.path.join(os.path.dirname(self.dir), "linux")
		version = os.listdir(os.path.join(linux, "lib", "modules"))[0]
		files = {}
		for name in names:
			for line in run("modprobe", "-d", linux, "-S", version, "--show-depends", name).splitlines():
				path = line.split()[1]
				with open(path, "rb") as module:
					files["lib/modules/" + os.path.basename(path)] = module.read()
		return files

	def initrd(self, path, files):
		"""Writes to @path an initrd that holds {path: bytes} beside what every guest has."""
		shutil.copyfile(os.path.join(self.dir, "initrd"), path)
		with open(path, "ab") as out:
			out.write(cpio(files))


class Lab:
	"""A posternd of one's own in a private directory. Use as a context manager."""

	def __init__(self, prefix="postern-"):
		# guests outlive the program that starts them: they become this process's children, so that
		# none can be left behind
		ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		# short, because a socket's path may have 107 bytes
		self.dir = tempfile.mkdtemp(prefix=prefix, dir="/tmp")
		self.env = dict(os.environ, XDG_RUNTIME_DIR=self.dir, XDG_STATE_HOME=self.dir)
		self.daemon = None
		self.guests = []
		self.image = None

	def __enter__(self):
		return self

	def __exit__(self, *_):
		# a second Ctrl-C does not cut the clearing up short
		signal.signal(signal.SIGINT, signal.SIG_IGN)
		for guest in list(self.guests):
			guest.stop()
		self.stop_daemon()
		for pid in iter(lambda: next(iter(children(os.getpid())), None), None):
			os.kill(pid, signal.SIGKILL)
			os.waitpid(pid, 0)
		shutil.rmtree(self.dir, ignore_errors=True)

	def path(self, name):
		return os.path.join(self.dir, name)

	def postern(self, *argv):
		"""Runs postern against this lab's posternd."""
		return run(POSTERN, *argv, env=self.env)

	def ask(self, *argv):
		"""Like postern(), with --json, parsed."""
		return json.loads(self.postern(*argv, "--json"))

	def start_daemon(self, *argv):
		"""Starts posternd and waits until it answers."""
		self.log = open(self.path("posternd.log"), "ab")
		# a group of its own: Ctrl-C reaches the caller alone, who ends things in their order
		self.daemon = subprocess.Popen([POSTERND, *argv], env=self.env, stdin=subprocess.DEVNULL,
		                               stdout=self.log, stderr=self.log, start_new_session=True)
		return self.wait_daemon()

	def wait_daemon(self):
		"""Waits until posternd answers; returns its status."""
		deadline = time.monotonic() + BOOT_S
		while True:
			try:
				return self.ask("status")
			except LabError as err:
				if self.daemon.poll() is not None:
					raise LabError(f"posternd ended: {self.daemon_log()}") from err
				if time.monotonic() > deadline:
					raise
				select.select([], [], [], 0.01)

	def stop_daemon(self):
		if not self.daemon:
			return
		self.daemon.terminate()
		try:
			self.daemon.wait(END_S)
		except subprocess.TimeoutExpired:
			os.killpg(self.daemon.pid, signal.SIGKILL)
			self.daemon.wait()
		self.daemon = None

	def kill_daemon(self):
		"""As a power cut would end it: both processes, at once."""
		for pid in self.daemon_pids():
			os.kill(pid, signal.SIGKILL)
		self.daemon.wait()
		self.daemon = None

	def daemon_log(self):
		with open(self.path("posternd.log"), errors="replace") as log:
			return log.read().strip()

	def daemon_pids(self):
		"""posternd's processes: the keeper, then its worker."""
		return [self.daemon.pid] + children(self.daemon.pid)

	def machine(self, name, *options):
		"""Starts a machine that boots by itself; @options go to `postern vm run`."""
		guest = Guest(self, name)
		self.guests.append(guest)
		guest.start(*options)
		return guest

	def guest(self, name, script, *options, kernel_words="", modules=(), files=None):
		"""Boots the small guest, which runs @script, may insmod /NAME.ko of @modules and has the
		@files {path: bytes}; @options go to `postern vm run`."""
		self.image = self.image or Image()
		initrd = self.path(name + ".initrd")
		# what a guest says before somebody listens is lost, so it begins by waiting for that
		own = {module + ".ko": self.image.module(module) for module in modules}
		own["run.sh"] = b"hello\n" + script.encode()
		self.image.initrd(initrd, {**own, **(files or {})})
		guest = self.machine(name, "memory=768M", f"kernel={self.image.kernel}", f"initrd={initrd}",
		                     f"append=quiet panic=-1 {kernel_words}".strip(), *options)
		os.unlink(initrd)
		return guest


class Guest:
	"""A machine that reports on its console, in lines "@@ KEY VALUE..."."""

	def __init__(self, lab, name):
		self.lab = lab
		self.name = name
		self.lines = collections.deque()
		self.partial = b""
		self.seen = ""
		self.socket = None
		self.greeted = False

	def start(self, *options):
		self.lab.postern("vm", "run", self.name, *options)
		self.join()

	def join(self):
		"""Listens to a machine that runs already, and that nobody else listens to."""
		self.socket = socket.socket(socket.AF_UNIX)
		self.socket.connect(self.lab.path(f"postern/vm/{self.name}/console.sock"))

	def info(self):
		"""What `postern vm list` says about it."""
		return next(vm for vm in self.lab.ask("vm", "list") if vm["name"] == self.name)

	def qmp(self, command, /, **arguments):
		"""One command to its QEMU; what it returns, or its refusal as LabError."""
		return qmp(self.lab.path(f"postern/vm/{self.name}/qmp.sock"), command, **arguments)

	def _more(self, timeout_s):
		"""Takes what the guest has said meanwhile. Returns whether more may come."""
		if not select.select([self.socket], [], [], timeout_s)[0]:
			return True
		new = self.socket.recv(65536)
		self.seen += new.decode(errors="replace")
		*whole, self.partial = (self.partial + new).replace(b"\r", b"").split(b"\n")
		self.lines.extend(line.decode(errors="replace") for line in whole)
		return bool(new)

	def report(self, timeout_s=BOOT_S):
		"""(key, rest) of the guest's next report; ("gone", "") when the machine has ended."""
		deadline = time.monotonic() + timeout_s
		alive = True
		while True:
			while self.lines:
				# the kernel may speak in the middle of somebody's line
				said = re.search(r"@@ (\S+) ?(.*)", self.lines.popleft())
				if said and said[1] == "hello":
					self.greet()
					continue
				if said and said[1] == "fail":
					raise LabError(f"guest {self.name}: {said[2]}\n{self.tail()}")
				if said:
					return said[1], said[2]
			if not alive:
				return "gone", ""
			if time.monotonic() > deadline:
				raise LabError(f"guest {self.name} said nothing for {timeout_s} s\n{self.tail()}")
			alive = self._more(0.2)

	def greet(self):
		"""Answers the first of a boot's hellos; more may be under way already."""
		if not self.greeted:
			self.answer()
		self.greeted = True

	def rebooted(self):
		"""The next hello is that of another boot."""
		self.greeted = False

	def expect(self, key, timeout_s=BOOT_S):
		"""The rest of the next report, which must be @key's."""
		said, rest = self.report(timeout_s)
		if said != key:
			raise LabError(f"guest {self.name}: expected {key}, got {said} {rest}\n{self.tail()}")
		return rest

	def answer(self, text=""):
		"""Lets a guest that waits in `meet` go on."""
		self.socket.sendall(text.encode() + b"\n")

	def sh(self, command, timeout_s=BOOT_S):
		"""Runs a line of shell in a guest that is at `serve`; returns its output."""
		self.answer(command)
		out = []
		while True:
			key, rest = self.report(timeout_s)
			if key == "out":
				out.append(rest)
			elif key == "done" and rest == "0":
				return "\n".join(out)
			else:
				raise LabError(f"guest {self.name}: {command}: {key} {rest}\n" + "\n".join(out))

	def tail(self):
		"""Its console's last lines, for a person who asks why."""
		return "\n".join("  | " + line[:160] for line in self.seen.splitlines()[-15:])

	def leave(self):
		"""Gives up the console, so that another may join it."""
		if self.socket:
			self.socket.close()
		self.socket = None

	def stop(self):
		self.leave()
		try:
			self.lab.postern("vm", "stop", self.name, "grace=0")
		except LabError:
			pass
		if self in self.lab.guests:
			self.lab.guests.remove(self)


def fio_ios(text):
	"""How many requests a job did, by fio's JSON."""
	job = json.loads(text)["jobs"][0]
	if job["error"]:
		raise LabError(f"fio: error {job['error']}")
	return job["read"]["total_ios"] + job["write"]["total_ios"]
