#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `make bench` makes of its numbers, with a measuring program that is scripted."""

import json
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import measure
import report


class Scripted:
	"""Answers probes from a list, and every load alike."""

	def __init__(self, probes):
		self.probes, self.loads = list(probes), []

	def rtt(self):
		return self.probes.pop(0)

	def floor(self, cell, args, path):
		return {"iops": 200.0, "p50": 10.0}

	def load(self, socket, args, wrap=()):
		self.loads.append((socket, args))
		return {"iops": 100.0, "p50": 20.0, "p99": 30.0, "kicks": 0, "requests": 7}


class Rounds(unittest.TestCase):
	def test_drops_a_round_in_which_the_machine_changed(self):
		cell = measure.Cell("null")
		tool = Scripted([100, 130, 100, 120])
		who = {"postern": {"null": ("s", {})}}
		self.assertFalse(measure.run_round(tool, cell, who, "", 10))
		self.assertTrue(measure.run_round(tool, cell, who, "", 10))
		self.assertEqual((len(cell.rounds), cell.dropped), (1, 1))
		self.assertEqual(cell.rounds[0]["rtt"], 110)

	def test_runs_dropped_rounds_again_but_not_for_ever(self):
		cell = measure.Cell("null")
		probes = [100, 200] + [100, 100] * 2
		measure.run_rounds(Scripted(probes), [cell], {}, "", 2, {"null": 10}, lambda text: None)
		self.assertEqual(len(cell.rounds), 2)
		hopeless = measure.Cell("null")
		measure.run_rounds(Scripted([100, 200] * 4), [hopeless], {}, "", 2, {"null": 10}, lambda text: None)
		self.assertEqual((len(hopeless.rounds), hopeless.dropped), (0, 4))

	def test_takes_ratios_within_a_round(self):
		cell = measure.Cell("null")
		cell.rounds = [{"rtt": 100, "postern": {"p50": 200}}, {"rtt": 300, "postern": {"p50": 600}}]
		figure = measure.ratio(cell, lambda r: r["postern"]["p50"], lambda r: r["rtt"])
		self.assertEqual((figure.value, figure.spread), (2, 0))

	def test_gives_the_peer_no_packed_ring(self):
		tool = Scripted([100, 100])
		cell = measure.Cell("null", packed=True)
		measure.run_round(tool, cell, {"postern": {"null": ("p", {})}, "qsd": {"null": ("q", {})}}, "", 10)
		self.assertEqual([socket for socket, _ in tool.loads], ["p"])

	def test_hands_each_contender_its_own_client_arguments(self):
		tool = Scripted([100, 100])
		measure.run_round(tool, measure.Cell("null"), {"qsd": {"null": ("q", {"event_idx": 0})}}, "", 10)
		self.assertEqual(tool.loads[0][1]["event_idx"], 0)


class Report(unittest.TestCase):
	def row(self, name, value, rtt=100):
		return report.row(name, measure.Figure([value]), 1.0, {"qsd": 2.0}, rtt)

	def test_judges_both_ways(self):
		self.assertEqual(report.verdict(self.row("start_ms", 20)), "reached")
		self.assertEqual(report.verdict(self.row("start_ms", 20.1)), "**short**")
		self.assertEqual(report.verdict(self.row("qsd_null_qd1_x", 5)), "reached")
		self.assertEqual(report.verdict(self.row("qsd_null_qd1_x", 4.9)), "**short**")
		self.assertEqual(report.verdict(report.row("start_ms")), "not measured")

	def test_judges_no_row_without_a_bound_and_says_why_one_is_not_measured(self):
		one = self.row("fn_vm_added_qd1_us", 3.5)
		self.assertEqual(report.verdict(one), "")
		self.assertIn("| us | 3.5 (+-0 %) |", report.bounds_table([one]))
		missing = report.row("fn_vm_added_qd1_us", why="no KVM")
		self.assertIn("| us | - | - | - | not measured: no KVM |", report.bounds_table([missing]))

	def test_holds_rates_only_where_the_round_trip_is_short(self):
		self.assertEqual(report.verdict(self.row("null_qd32_miops", 11, 199)), "**short**")
		self.assertIn("not held", report.verdict(self.row("null_qd32_miops", 11, 200)))
		self.assertEqual(report.verdict(self.row("null_qd32_miops", 12, 500)), "reached")

	def test_names_the_loads_with_the_longer_tail(self):
		good, bad = measure.Cell("null"), measure.Cell("ram")
		good.rounds = [{"postern": {"p99": 10}, "qsd": {"p99": 20}}]
		bad.rounds = [{"postern": {"p99": 30}, "qsd": {"p99": 20}}]
		self.assertEqual(report.tails([good, bad]), "p99 is lower than qemu-storage-daemon's in 1 of 2 "
			"loads; not in: ram read 4k qd1 (30 ns against 20 ns).")

	def test_gives_every_short_row_a_place_for_its_reason(self):
		text = report.reasons([self.row("start_ms", 30), self.row("rss_mib", 12)], {"rss_mib": "Because."})
		self.assertIn("### start_ms\n\nNo reason found yet.", text)
		self.assertIn("### rss_mib\n\nBecause.", text)

	def test_keeps_what_make_compare_has_written(self):
		with tempfile.TemporaryDirectory() as place:
			path = os.path.join(place, "page.md")
			self.assertEqual(report.compared(path), "")
			with open(path, "w") as f:
				f.write("# Page\n")
			for text in ("first\n", "second\n"):
				report.replace_compared(path, text)
			with open(path) as f:
				self.assertEqual(f.read(), "# Page\n" + report.COMPARED + "second\n")
			self.assertEqual(report.compared(path), report.COMPARED + "second\n")

	def test_writes_rows_with_the_agreed_fields(self):
		with tempfile.NamedTemporaryFile("r", suffix=".json") as f:
			report.write_json(f.name, [self.row("start_ms", 12.34567), report.row("rss_mib")])
			rows = json.load(f)
		self.assertEqual(list(rows[0]), ["id", "value", "unit", "floor", "peers", "spread", "rounds", "rtt_ns"])
		self.assertEqual(rows[0]["value"], 12.35)
		self.assertIsNone(rows[1]["value"])


if __name__ == "__main__":
	unittest.main()
