# SPDX-License-Identifier: Apache-2.0
"""Named points of a connection's life at which the worker is killed."""

import os
import select

from frontend import Closed, FrontEnd
from kit import LIMIT_S, Wrong

# how much of a message has been sent when the worker dies: nothing, the half of its header, the
# header, all of it (and then the death meets it wherever it is)
PARTS = {"before": lambda step: 0, "within": lambda step: 6, "header": lambda step: 12,
         "after": lambda step: 12 + len(step.payload)}


def wait_end(pidfd):
	if not select.select([pidfd], [], [], LIMIT_S)[0]:
		raise Wrong("a killed worker does not end")
	os.close(pidfd)


def all_points(path):
	"""(message, part) of every point; @path is some disk to look at."""
	with FrontEnd(path) as front:
		return [(step.name, part) for step in front.steps() for part in PARTS]


def go_through(front, at=lambda step, message: 0):
	"""Every step of a connection, and one request. @at(step, message) says how much of the message
	it has seen to."""
	for step in front.steps():
		front.step = step.name
		message = front.message(step)
		sent = at(step, message)
		if sent < len(message):
			front.send(message[sent:], () if sent else step.fds)
		front.finish(step)
	assert front.read_first_block() == bytes(512), "the disk is not as it was"


def kill_at(path, point, witness, pid):
	"""Connects to @path; at @point has @witness, whose answer is the caller's to take, kill worker
	@pid. Then the connection goes on, and serves a request. Returns the message in which it was closed
	by the other side, and had to be made again; None if it was not."""
	name, part = point

	def die():
		pidfd = os.pidfd_open(pid)
		witness.start("kill", pid)
		if part == "after":
			os.close(pidfd)  # it meets the message wherever it is by then
		else:
			wait_end(pidfd)

	def at(step, message):
		if step.name != name:
			return 0
		cut = min(PARTS[part](step), len(message))
		if cut:
			front.send(message[:cut], step.fds)
		die()
		return cut

	try:
		with FrontEnd(path) as front:
			go_through(front, at)
		return None
	except Closed:
		with FrontEnd(path) as again:
			go_through(again)
		return front.step
