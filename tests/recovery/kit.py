# SPDX-License-Identifier: Apache-2.0
"""What the recovery tests and benches share: a posternd whose worker dies, and the witness that
watches its disks meanwhile."""

import json
import os
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, "..", "system"))
import daemon
from daemon import BUILD, LIMIT_S, play, same, until

WITNESS = os.path.abspath(os.path.join(BUILD, "tests", "recovery", "witness"))
MIB = 1 << 20


class Wrong(Exception):
	"""What must not happen has happened; the text is for people."""


class Refused(Exception):
	"""A control call's error."""

	def __init__(self, method, error):
		super().__init__(f"{method}: {error['message']}")
		self.id = error.get("data", {}).get("id")
		self.param = error.get("data", {}).get("param")


class Target(daemon.Daemon):
	"""A posternd that is asked over one connection a call, as a program would."""

	def call(self, method, **params):
		with socket.socket(socket.AF_UNIX) as sock:
			sock.settimeout(LIMIT_S)
			sock.connect(self.control)
			request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
			sock.sendall((json.dumps(request) + "\n").encode())
			with sock.makefile() as answers:
				line = answers.readline()
		if not line:
			raise Wrong(f"{method}: the control connection was closed without an answer")
		answer = json.loads(line)
		if "error" in answer:
			raise Refused(method, answer["error"])
		return answer["result"]

	def worker(self):
		return self.call("status")["worker_pid"]

	def successor(self, old):
		"""The worker that has come after process @old, which may be killed only now, while it is asked."""
		def look():
			try:
				return (pid := self.worker()) != old and pid
			except (Wrong, ConnectionError):
				return None  # it had taken the caller

		return until(look, f"a successor of worker {old}")

	def all_serve(self, number):
		"""That so many disks are there, and each serves its guest; one where a flush takes a second is `slow`,
		which tells of this machine."""
		states = [row["state"] for row in self.call("disk.list")]
		assert len(states) == number and not {"failed", "waiting"} & set(states), states

	def disk(self, name, medium, **more):
		"""Creates a disk. Returns its socket."""
		at = self.path(name + ".sock")
		self.call("disk.create", name=name, medium=medium, front={"kind": "vhost-user", "socket": at},
		          **more)
		return at


class Witness:
	"""The program of that name; see witness.c for its words. Use as a context manager."""

	def __init__(self, silence=LIMIT_S * 1000, **options):
		argv = [WITNESS, f"silence={silence}"] + [f"{key}={value}" for key, value in options.items()]
		self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
		self.last = None

	def __enter__(self):
		return self

	def __exit__(self, kind, *_):
		if kind:
			self.process.kill()
		try:
			self.process.stdin.close()
		except BrokenPipeError:
			pass  # it has ended by itself
		self.process.stdout.close()
		self.process.wait()

	def start(self, *words, **options):
		"""Gives a command; answer() waits for what it says."""
		line = " ".join([str(word) for word in words] + [f"{k}={v}" for k, v in options.items()])
		self.last = line
		try:
			self.process.stdin.write(line + "\n")
			self.process.stdin.flush()
		except BrokenPipeError:
			pass  # answer() tells why

	def answer(self):
		said = json.loads(self.process.stdout.readline() or "null")
		if said is None or said.get("lost"):
			raise Wrong(f"witness: {self.last}: ended with status {self.process.wait()}: {said}")
		if "error" in said:
			raise Wrong(f"witness: {self.last}: {said['error']}")
		if said.get("errors") or said.get("mismatches") or said.get("repeated"):
			raise Wrong(f"witness: {self.last}: {said}")
		return said

	def ask(self, *words, **options):
		self.start(*words, **options)
		return self.answer()

	def finish(self):
		"""Lets everything come back and ends. Returns the sums."""
		said = self.ask("quit")
		if self.process.wait():
			raise Wrong(f"witness: ended with status {self.process.returncode}: {said}")
		return said
