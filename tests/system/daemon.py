# SPDX-License-Identifier: Apache-2.0
"""A posternd of one's own, driven by the words that a person would type, and a runner of tests that
speaks TAP. Nothing here sleeps: readiness comes over systemd's notify socket, ends by wait()."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.environ.get("POSTERN_BUILD", os.path.join(os.path.dirname(__file__), "../../build"))
POSTERN = os.path.abspath(os.path.join(BUILD, "bin", "postern"))
POSTERND = os.path.abspath(os.path.join(BUILD, "bin", "posternd"))
# a leak checker stops its process's threads from a helper process, which no worker may start
os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=0")
CPUS = sorted(os.sched_getaffinity(0))  # not everybody has 0, or two
LIMIT_S = 120  # for what takes milliseconds, on a machine that may be busy


class Skip(Exception):
	"""A test that cannot run here; its text says why."""


class Said:
	"""What a program answered."""

	def __init__(self, status, out, err):
		self.status = status
		self.out = out
		self.err = err

	@property
	def error(self):
		"""(id, parameter) of a refused command that was called with --json."""
		lines = self.err.splitlines()
		assert self.status == 1 and len(lines) == 1, (self.status, self.out, self.err)
		error = json.loads(lines[0])["error"]
		return error["id"], error["param"]


def until_ready(start, at):
	"""What start(env) starts, a process of posternd, when it has said that it is ready; None if it has not. It
	says so to a socket that is at @at meanwhile."""
	with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
		notify.bind(at)
		notify.setblocking(False)
		process = start(dict(os.environ, NOTIFY_SOCKET=at))
		end = os.pidfd_open(process.pid)
		said = notify in select.select([notify, end], [], [], LIMIT_S)[0] and notify.recv(100)
		os.close(end)
		os.unlink(at)
		if said == b"READY=1":
			return process
		process.kill()
		process.wait()
		return None


class Daemon:
	"""Use as a context manager: leaving it ends every process and removes the directory."""

	def __init__(self, place="/tmp"):
		self.dir = tempfile.mkdtemp(prefix="pt-", dir=place)
		self.control = self.path("c.sock")
		self.process = None
		self.others = []  # that end with it, too
		self.log = open(self.path("log"), "ab")

	def __enter__(self):
		return self

	def __exit__(self, *_):
		for process in [self.process] * bool(self.process) + self.others:
			process.kill()
			process.wait()
		self.log.close()
		shutil.rmtree(self.dir, ignore_errors=True)

	def path(self, name):
		return os.path.join(self.dir, name)

	def log_text(self):
		with open(self.path("log"), errors="replace") as log:
			return log.read()

	def popen(self, *argv, **more):
		return subprocess.Popen([POSTERND, *argv], stdin=subprocess.DEVNULL, stdout=self.log,
		                        stderr=self.log, cwd=self.dir, **more)

	def spawn(self, *argv, **more):
		self.process = self.popen(*argv, **more)

	def until_ready(self, *argv, **more):
		"""Starts a process of posternd, and returns it when it says that it is ready."""
		process = until_ready(lambda env: self.popen(*argv, env=env, **more), self.path("notify"))
		assert process, self.log_text()
		return process

	def start(self, *argv, **more):
		"""Starts posternd on this directory and returns when it says that it is ready."""
		if not argv:
			argv = ("--control", self.control, "--state", self.path("state"))
		self.process = self.until_ready(*argv, **more)

	def stop(self, sig=signal.SIGTERM):
		"""Ends posternd and returns its exit status."""
		self.process.send_signal(sig)
		return self.process.wait(LIMIT_S)

	def postern(self, *argv, limit_s=LIMIT_S, cwd=None):
		done = subprocess.run([POSTERN, "--control", self.control, *argv], text=True, cwd=cwd or self.dir,
		                      stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s)
		return Said(done.returncode, done.stdout, done.stderr)

	def do(self, *argv, **more):
		"""A command that has to succeed; returns what it prints."""
		said = self.postern(*argv, **more)
		assert said.status == 0, (argv, said.err)
		return said.out

	def ask(self, *argv, **more):
		return json.loads(self.do(*argv, "--json", **more))

	def refused(self, *argv, **more):
		"""(id, parameter) of the error that a command has to end in."""
		return self.postern(*argv, "--json", **more).error

	def worker(self):
		return self.ask("status")["worker_pid"]


def gone(pid):
	"""Waits until process @pid, which is not a child, has ended."""
	try:
		fd = os.pidfd_open(pid)
	except ProcessLookupError:
		return True
	ended = select.select([fd], [], [], LIMIT_S)[0]
	os.close(fd)
	return bool(ended)


def until(what, name):
	"""Waits until what() gives something true; returns that."""
	end = time.monotonic() + LIMIT_S
	while not (got := what()):
		assert time.monotonic() < end, f"{name}: not within {LIMIT_S} s"
	return got


def same(have, want):
	assert have == want, f"{have!r} is not {want!r}"


def contains(text, part):
	assert part in text, f"{text!r} has no {part!r}"


def play(tests, make=Daemon):
	"""Runs each test with a Daemon, or one of its kind, that has not been started. Exit status by TAP."""
	only = sys.argv[1:]
	tests = [test for test in tests if not only or test.__name__ in only]
	print(f"1..{len(tests)}", flush=True)
	failed = 0
	for number, test in enumerate(tests, 1):
		with make() as daemon:
			try:
				test(daemon)
				print(f"ok {number} - {test.__name__}", flush=True)
			except Skip as why:
				print(f"ok {number} - {test.__name__} # SKIP {why}", flush=True)
			except Exception:  # the next test may still tell something
				failed += 1
				print(f"not ok {number} - {test.__name__}")
				for line in (traceback.format_exc() + daemon.log_text()).splitlines():
					print(f"# {line}", flush=True)
	sys.exit(failed > 0)
