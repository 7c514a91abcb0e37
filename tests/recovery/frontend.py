# SPDX-License-Identifier: Apache-2.0
"""The front end's side of a vhost-user-blk socket in single steps, so that something can happen between
any two of them, also within a message."""

import array
import mmap
import os
import select
import socket
import struct

LIMIT_S = 120
GUEST_B = 0x100000000
MEM_B = 2 << 20
QUEUE_SIZE = 128
DESC, AVAIL, USED, HEADER, DATA, STATUS = (n << 12 for n in range(6))

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 12, 13, 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE = 15, 16, 17, 18
SET_BACKEND_REQ_FD, GET_CONFIG, GET_INFLIGHT_FD, SET_INFLIGHT_FD = 21, 24, 31, 32

VERSION, NEED_REPLY = 1, 8
# VERSION_1, PROTOCOL_FEATURES, INDIRECT_DESC, EVENT_IDX, FLUSH, BLK_SIZE, SEG_MAX, CONFIG_WCE, MQ
FEATURES = sum(1 << bit for bit in (32, 30, 28, 29, 9, 6, 2, 11, 12))
# MQ, REPLY_ACK, BACKEND_REQ, CONFIG, INFLIGHT_SHMFD
PROTOCOL = sum(1 << bit for bit in (0, 3, 5, 9, 12))


class Closed(Exception):
	"""The back end has closed the connection."""


class Step:
	"""A message: its name, its words, and what answer is due."""

	def __init__(self, name, request, payload=b"", fds=(), answer="ack"):
		self.name, self.request, self.payload, self.fds, self.answer = name, request, payload, fds, answer


class FrontEnd:
	"""One connection. Use as a context manager."""

	def __init__(self, path):
		self.sock = socket.socket(socket.AF_UNIX)
		self.sock.settimeout(LIMIT_S)
		self.sock.connect(path)
		self.mem_fd = os.memfd_create("front-end", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
		os.ftruncate(self.mem_fd, MEM_B)
		self.mem = mmap.mmap(self.mem_fd, MEM_B)
		self.kick = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
		self.call = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
		self.channel, self.channel_theirs = socket.socketpair()
		self.inflight_fd, self.inflight = -1, b""
		self.requests = 0
		self.step = None  # its name, of the last message that has begun

	def __enter__(self):
		return self

	def __exit__(self, *_):
		for one in (self.sock, self.mem, self.channel, self.channel_theirs):
			one.close()
		for fd in (self.mem_fd, self.kick, self.call, self.inflight_fd):
			if fd >= 0:
				os.close(fd)

	def steps(self):
		"""Every message from the first to a queue that runs; later ones need answers of earlier ones, so
		this is a generator."""
		user = 0x7f0000000000
		yield Step("GET_FEATURES", GET_FEATURES, answer="u64")
		yield Step("SET_OWNER", SET_OWNER, answer="")
		yield Step("GET_PROTOCOL_FEATURES", GET_PROTOCOL_FEATURES, answer="u64")
		yield Step("SET_PROTOCOL_FEATURES", SET_PROTOCOL_FEATURES, struct.pack("=Q", PROTOCOL), answer="")
		yield Step("GET_QUEUE_NUM", GET_QUEUE_NUM, answer="u64")
		yield Step("SET_FEATURES", SET_FEATURES, struct.pack("=Q", FEATURES))
		yield Step("GET_CONFIG", GET_CONFIG, struct.pack("=III", 0, 57, 0) + bytes(57), answer="config")
		yield Step("SET_BACKEND_REQ_FD", SET_BACKEND_REQ_FD, fds=(self.channel_theirs.fileno(),))
		yield Step("SET_MEM_TABLE", SET_MEM_TABLE,
		           struct.pack("=IIQQQQ", 1, 0, GUEST_B, MEM_B, user, 0), (self.mem_fd,))
		yield Step("GET_INFLIGHT_FD", GET_INFLIGHT_FD, struct.pack("=QQHHI", 0, 0, 1, QUEUE_SIZE, 0),
		           answer="inflight")
		yield Step("SET_INFLIGHT_FD", SET_INFLIGHT_FD, self.inflight, (self.inflight_fd,))
		yield Step("SET_VRING_NUM", SET_VRING_NUM, struct.pack("=II", 0, QUEUE_SIZE))
		yield Step("SET_VRING_BASE", SET_VRING_BASE, struct.pack("=II", 0, self.requests))
		yield Step("SET_VRING_ADDR", SET_VRING_ADDR,
		           struct.pack("=IIQQQQ", 0, 0, user + DESC, user + USED, user + AVAIL, 0))
		yield Step("SET_VRING_KICK", SET_VRING_KICK, struct.pack("=Q", 0), (self.kick,))
		yield Step("SET_VRING_CALL", SET_VRING_CALL, struct.pack("=Q", 0), (self.call,))
		yield Step("SET_VRING_ERR", SET_VRING_ERR, struct.pack("=Q", 0x100))
		yield Step("SET_VRING_ENABLE", SET_VRING_ENABLE, struct.pack("=II", 0, 1))

	def message(self, step):
		flags = VERSION | (NEED_REPLY if step.answer == "ack" and step.name != "SET_OWNER" else 0)
		return struct.pack("=III", step.request, flags, len(step.payload)) + step.payload

	def send(self, data, fds=()):
		"""Descriptors travel with the first byte."""
		extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
		try:
			if self.sock.sendmsg([data], extra) != len(data):
				raise AssertionError("a short send on a Unix socket")
		except (BrokenPipeError, ConnectionResetError) as err:
			raise Closed from err

	def receive(self, length):
		"""@length bytes, and the descriptors that came with them."""
		data, fds = b"", []
		while len(data) < length:
			try:
				more, extra, _, _ = self.sock.recvmsg(length - len(data), socket.CMSG_LEN(64))
			except ConnectionResetError as err:
				raise Closed from err
			if not more:
				raise Closed
			data += more
			for _, _, raw in extra:
				fds += array.array("i", raw[:len(raw) // 4 * 4])
		return data, fds

	def finish(self, step):
		"""Takes the answer that @step has coming, if any."""
		if not step.answer:
			return
		header, fds = self.receive(12)
		request, flags, size = struct.unpack("=III", header)
		payload, more = self.receive(size)
		fds += more
		assert (request, flags & 7) == (step.request, 5), (step.name, request, flags)
		if step.answer == "ack":
			assert payload == bytes(8), (step.name, payload)
		if step.answer == "u64":
			assert size == 8, (step.name, size)
		if step.answer == "inflight":
			assert len(fds) == 1, (step.name, fds)
			self.inflight_fd, self.inflight = fds[0], payload

	def put_read(self):
		"""Puts a request for the first block into the ring."""
		n, mem = self.requests, self.mem
		struct.pack_into("<IIQ", mem, HEADER, 0, 0, 0)
		mem[STATUS] = 0xff
		for i, (at, length, flags, following) in enumerate(((HEADER, 16, 1, 1), (DATA, 512, 3, 2),
		                                                    (STATUS, 1, 2, 0))):
			struct.pack_into("<QIHH", mem, DESC + 16 * i, GUEST_B + at, length, flags, following)
		struct.pack_into("<H", mem, AVAIL + 4 + 2 * (n % QUEUE_SIZE), 0)
		struct.pack_into("<H", mem, AVAIL + 4 + 2 * QUEUE_SIZE, n)  # used_event: tell of this one
		struct.pack_into("<H", mem, AVAIL + 2, n + 1)
		self.requests += 1
		os.eventfd_write(self.kick, 1)

	def read_first_block(self):
		"""One request through the ring. Returns its data."""
		mem = self.mem
		self.put_read()
		while struct.unpack_from("<H", mem, USED + 2)[0] != self.requests:
			ready = select.select([self.call, self.sock], [], [], LIMIT_S)[0]
			if self.call in ready:
				os.eventfd_read(self.call)
			elif ready:
				raise Closed
			else:
				raise AssertionError("the request does not come back")
		assert mem[STATUS] == 0, f"status {mem[STATUS]}"
		return bytes(mem[DATA:DATA + 512])
