# SPDX-License-Identifier: Apache-2.0
"""The programs that are measured: how each is started, given a disk, looked into and stopped."""

import ctypes
import json
import os
import platform
import signal
import socket
import subprocess
import time

MIB = 1 << 20
RAM_B = 512 * MIB
NULL_B = 1024 * MIB
KCMP_VM = 1


class BenchError(Exception):
	pass


def wait_for(condition, what, limit_s=20.0):
	end = time.monotonic() + limit_s
	while not condition():
		if time.monotonic() > end:
			raise BenchError("%s: nothing after %d s" % (what, limit_s))
		time.sleep(0.01)


def children(pid):
	"""@pid and all its descendants."""
	found = [pid]
	for one in found:
		try:
			for task in os.listdir("/proc/%d/task" % one):
				with open("/proc/%d/task/%s/children" % (one, task)) as f:
					found += [int(child) for child in f.read().split()]
		except OSError:
			pass
	return found


def threads(pid):
	"""[(tid, name)] of @pid and its descendants."""
	found = []
	for one in children(pid):
		try:
			for tid in os.listdir("/proc/%d/task" % one):
				with open("/proc/%d/task/%s/comm" % (one, tid)) as f:
					found.append((int(tid), f.read().strip()))
		except OSError:
			pass
	return found


def thread_ns(tid):
	"""CPU time that thread @tid has used."""
	with open("/proc/%d/schedstat" % tid) as f:
		return int(f.read().split()[0])


def cpu_ns(pid):
	"""CPU time that all threads of @pid and its descendants have used, exact to the ns."""
	total = 0
	for one in children(pid):
		total += sum(thread_ns(int(tid)) for tid in os.listdir("/proc/%d/task" % one))
	return total


def share_memory(a, b):
	"""Whether processes @a and @b are one address space, as a worker and who watches it."""
	number = {"x86_64": 312, "aarch64": 272}.get(platform.machine())
	return number is not None and ctypes.CDLL(None).syscall(number, a, b, KCMP_VM, 0, 0) == 0


def resident_kib(pid):
	"""(sum of resident pages, sum of proportional shares) of @pid and its descendants, each memory once."""
	rss = pss = 0
	counted = []
	for one in children(pid):
		if any(share_memory(one, other) for other in counted):
			continue
		counted.append(one)
		with open("/proc/%d/smaps_rollup" % one) as f:
			for line in f:
				name, _, rest = line.partition(":")
				if name == "Rss":
					rss += int(rest.split()[0])
				elif name == "Pss":
					pss += int(rest.split()[0])
	return rss, pss


class Process:
	"""A target that runs. Pinned with all its threads to one CPU."""

	def __init__(self, argv, cpu, log):
		self.log = open(log, "ab")
		self.process = subprocess.Popen(["taskset", "-c", str(cpu)] + argv, stdin=subprocess.DEVNULL,
			stdout=self.log, stderr=self.log)
		self.pid = self.process.pid

	def alive(self):
		if self.process.poll() is not None:
			raise BenchError("a target ended with status %d, see %s"
				% (self.process.returncode, self.log.name))
		return True

	def stop(self):
		if self.process.poll() is None:
			self.process.send_signal(signal.SIGTERM)
			try:
				self.process.wait(10)
			except subprocess.TimeoutExpired:
				self.process.kill()
				self.process.wait()
		self.log.close()


class Postern:
	"""One posternd with a disk a medium, made through its control socket. Default settings."""

	name = "postern"
	title = "Postern"

	def __init__(self, place, build, cpu):
		self.dir, self.cpu = place, cpu
		self.program = os.path.join(build, "bin", "posternd")
		self.process = None
		self.control = os.path.join(self.dir, "control.sock")

	def start(self):
		os.makedirs(self.dir, exist_ok=True)
		argv = [self.program, "--control", self.control, "--state", os.path.join(self.dir, "state"),
			"--cpus", str(self.cpu)]
		self.process = Process(argv, self.cpu, os.path.join(self.dir, "log"))
		wait_for(lambda: self.process.alive() and os.path.exists(self.control), "posternd")

	def call(self, method, **params):
		"""One call of the control socket. Returns its result."""
		with socket.socket(socket.AF_UNIX) as sock:
			sock.connect(self.control)
			request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
			sock.sendall((json.dumps(request) + "\n").encode())
			with sock.makefile() as answers:
				answer = json.loads(answers.readline())
		if "error" in answer:
			raise BenchError("%s %s: %s" % (method, params, answer["error"]))
		return answer["result"]

	def disk(self, name, medium, at=None, **more):
		"""Creates a disk. Returns its socket."""
		at = at or os.path.join(self.dir, name + ".sock")
		self.call("disk.create", name=name, medium=medium, front={"kind": "vhost-user", "socket": at}, **more)
		wait_for(lambda: os.path.exists(at), at)
		return at

	def medium(self, kind, path):
		if kind == "null":
			return self.disk("null", {"kind": "null"}, size=NULL_B)
		if kind == "ram":
			return self.disk("ram", {"kind": "ram"}, size=RAM_B)
		return self.disk("file", {"kind": "file", "path": path, "direct": "on"})

	def poller_thread(self):
		return next(row["thread"] for row in self.call("poller.list") if row["taken"])

	def poller_counts(self):
		"""{turns, busy_turns, taken}, summed over the pollers."""
		rows = self.call("poller.list")
		return {key: sum(row[key] for row in rows) for key in ("turns", "busy_turns", "taken")}

	def stop(self):
		if self.process:
			self.process.stop()
			self.process = None


class Qsd:
	"""qemu-storage-daemon, a process a medium, each with an I/O thread of its own."""

	name = "qsd"
	title = "qemu-storage-daemon"

	def __init__(self, place, cpu):
		self.dir = os.path.join(place, "qsd")
		self.cpu = cpu
		self.processes = {}

	def start(self):
		os.makedirs(self.dir, exist_ok=True)

	@staticmethod
	def candidates(kind):
		"""Configurations worth trying, as (what to print, I/O thread options, blockdev options)."""
		polls = [("poll-max-ns=%d" % ns, ",poll-max-ns=%d" % ns) for ns in (0, 32768, 1000000)]
		if kind == "null":
			return [(p, option, "driver=null-co,size=%d,read-zeroes=off" % NULL_B) for p, option in polls]
		drivers = []
		for aio in ("io_uring", "native", "threads"):
			for direct in ("on", "off"):
				# native is refused without direct; a file is compared past the page cache only
				if direct == "on" or (kind == "ram" and aio != "native"):
					drivers.append("aio=%s,cache.direct=%s" % (aio, direct))
		return [("%s,%s" % (d, p), option, "driver=file,%s" % d) for d in drivers for p, option in polls[::2]]

	def argv(self, kind, path, option, blockdev, sockets, one_file=False):
		argv = ["qemu-storage-daemon", "--object", "iothread,id=t0" + option]
		for i, at in enumerate(sockets):
			node = blockdev + ",node-name=n%d" % i
			if kind != "null":
				node += ",filename=" + path
			argv += ["--blockdev", node, "--export", "type=vhost-user-blk,id=e%d,node-name=n%d,"
				"addr.type=unix,addr.path=%s,writable=on,iothread=t0" % (i, i, at)]
		return argv

	def medium(self, kind, path, candidate):
		"""Runs a daemon for @kind, in place of the one there was. Returns its socket."""
		self.drop(kind)
		at = os.path.join(self.dir, kind + ".sock")
		if os.path.exists(at):
			os.unlink(at)
		argv = self.argv(kind, path, candidate[1], candidate[2], [at])
		process = Process(argv, self.cpu, os.path.join(self.dir, "log"))
		self.processes[kind] = process
		wait_for(lambda: process.alive() and os.path.exists(at), "qemu-storage-daemon")
		return at

	def many_null(self, prefix, count):
		self.drop("many")
		sockets = ["%s%d" % (prefix, i) for i in range(count)]
		process = Process(self.argv("null", "", "", "driver=null-co,size=%d,read-zeroes=off" % NULL_B,
			sockets), self.cpu, os.path.join(self.dir, "log"))
		self.processes["many"] = process
		wait_for(lambda: process.alive() and all(os.path.exists(s) for s in sockets), "qemu-storage-daemon")
		return process

	def busiest_thread(self, kind):
		"""The I/O thread, after a load: its threads all have the same name."""
		return max(threads(self.processes[kind].pid), key=lambda one: thread_ns(one[0]))[0]

	def drop(self, kind):
		if kind in self.processes:
			self.processes.pop(kind).stop()

	def stop(self):
		for kind in list(self.processes):
			self.drop(kind)
