"""Data larger than a memory limit: the peak, the time, what was written, and whether the answer is right.

Each run is a process of its own (``limits.py``), the contenders in turn. Peaks
are over the baseline: imports and a small run of the same workload behind it,
the graph built. What is allowed is the limit and 15 %, and for each worker the
working set of the largest task, measured by running all tasks one by one.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import mars
from cases.limited import WORKLOADS, right
from children import ask, attempt
from harness import Row, Settings, Spread, paired_ratio
from limits import GROUPS, WORKERS

MEBIBYTE = 2**20
SCALE = 3
SLACK = 1.15
FITS = 1 / 1.5
SPILLS = 3.0
OURS, FREE, FITTING = "mars-limit", "mars", "mars-fits"
PEERS = {"threads": "threads", "cluster": "LocalCluster", "mars": "mars, no limit"}
HARD = {"as": "under RLIMIT_AS", "data": "under RLIMIT_DATA", "cgroup": "in a cgroup"}
QUICK = ("rechunk", "shuffle", "climatology")

Found = dict[str, list[dict[str, Any]]]


def run(settings: Settings) -> list[Row]:
    rows: list[Row] = []
    for name in QUICK if settings.quick else WORKLOADS:
        rows += Measured(name, 128 if settings.quick else 256, settings).rows()
    return rows


def has_limit() -> bool:
    """Whether the engine that is installed knows a memory limit."""
    return "memory_limit" in inspect.signature(mars.new_session).parameters


def labelled(contender: str, hard: str) -> str:
    """A contender, and the kernel's limit that it runs under if there is one."""
    return f"{contender} {HARD[hard]}" if hard else contender


class Measured:
    """One workload under all contenders."""

    def __init__(self, name: str, limit: int, settings: Settings) -> None:
        self.name, self.limit, self.settings = name, limit, settings
        self.case = f"{name}, {SCALE * limit:,} MiB at {limit}"
        self.place = (f"{limit}MiB", SCALE)
        self.expected = self.asked("limited_expected")["answer"]
        self.task = self.asked("limited_task")["task"] / MEBIBYTE
        self.allowed = limit * SLACK + WORKERS * self.task
        self.found: Found = {}
        names = ["threads", FREE]
        if has_limit():
            names = [OURS, *names, FITTING]
        if importlib.util.find_spec("distributed") is not None:
            names.append("cluster")
        for turn in range(1 if settings.quick else min(3, settings.rounds)):
            for contender in names:
                self.measure(contender)
            if settings.cluster and turn == 0:
                self.measure("cluster-two")
                self.measure("cluster-p2p")
        if has_limit():
            for hard in HARD:
                if hard != "cgroup" or GROUPS in os.environ:
                    self.measure(OURS, hard)
                    self.measure("threads", hard)
        if GROUPS in os.environ:
            for group in Path(os.environ[GROUPS]).glob("limit-*"):
                group.rmdir()

    def asked(self, child: str) -> dict[str, Any]:
        found = ask(child, self.name, *self.place)
        if found is None:
            raise RuntimeError(f"{child} {self.name}: no answer")
        return found

    def measure(self, contender: str, hard: str = "") -> None:
        """One run, kept under the contender's name, with the kernel's limit behind it if there is one."""
        cap = max(2 * self.settings.cap, 5 * max((run["wall"] for run in self.runs(OURS)), default=0.0))
        label = labelled(contender, hard)
        allowed = round(self.allowed * MEBIBYTE)
        found = attempt("limited", self.name, contender, *self.place, cap, hard, allowed, cap=cap + 120)
        if found["state"] == "finished" and not right(found["answer"], self.expected):
            found["state"] = "wrong answer"
        self.settings.say(
            f"limit: {self.name}, {label}: {found['state']}, "
            f"{found.get('wall', 0):.1f} s, {found.get('peak', 0) / MEBIBYTE:.0f} MiB"
        )
        self.found.setdefault(label, []).append(found)

    def runs(self, label: str) -> list[dict[str, Any]]:
        """The runs that came far enough to be measured, were it up to the end of their time."""
        return [run for run in self.found.get(label, []) if "wall" in run]

    def values(self, label: str, field: str) -> list[float]:
        scale = 1 if field == "wall" else MEBIBYTE
        states = ("finished", "timeout") if field == "wall" else None
        return [run[field] / scale for run in self.runs(label) if states is None or run["state"] in states]

    def states(self, label: str) -> str:
        """How its runs ended, where not all of them finished."""
        counts = Counter(run["state"] for run in self.found.get(label, []))
        if set(counts) <= {"finished"}:
            return ""
        return f"{label}: " + ", ".join(f"{state} {count}" for state, count in counts.items())

    def row(self, measure: str, field: str, label: str, peer: str, **goals: Any) -> Row:
        ours, theirs = self.values(label, field), self.values(peer, field)
        ratio = paired_ratio(theirs, ours) if ours and theirs and min(ours) > 0 else None
        notes = [goals.pop("note", ""), self.states(label), self.states(peer)]
        if field == "wall" and "timeout" in notes[-1]:
            notes.append("its time is the least that it takes")
        return Row(
            self.case,
            measure,
            Spread.of(ours) if ours else None,
            PEERS.get(peer, peer),
            Spread.of(theirs) if theirs else None,
            ratio,
            note="; ".join(filter(None, notes)),
            **goals,
        )

    def bad(self, measure: str, label: str, peer: str) -> Row:
        """How many runs did not end with the right answer."""

        def count(name: str) -> Spread | None:
            found = self.found.get(name)
            return Spread.of([float(sum(run["state"] != "finished" for run in found))]) if found else None

        shown = peer if peer in self.found else ""
        note = "; ".join(filter(None, (self.states(label), self.states(peer))))
        return Row(self.case, measure, count(label), PEERS.get(shown, shown), count(peer), limit=0.0, note=note)

    def rows(self) -> list[Row]:
        if not has_limit():
            note = "this engine has no memory limit"
            measures = (("peak MiB over baseline", "peak"), ("wall s", "wall"))
            return [
                self.row(measure, field, FREE, peer, note=note)
                for peer in ("threads", *self.others())
                for measure, field in measures
            ]
        peaks = self.values(OURS, "peak")
        share = statistics.median(peaks) / self.limit if peaks else 0.0
        note = f"{share:.2f} of the limit; a task {self.task:.0f} MiB"
        peak, wall = "peak MiB over baseline", "wall s"
        rows = [
            self.row(peak, "peak", OURS, "threads", limit=self.allowed, note=note),
            self.row(wall, "wall", OURS, "threads"),
            self.row("wall s, limit four times the data", "wall", FITTING, FREE, factor=FITS),
        ]
        for peer in self.others():
            goal = {"factor": SPILLS} if peer == "cluster" else {}
            rows += [
                self.row(peak, "peak", OURS, peer),
                self.row(wall, "wall", OURS, peer, **goal),
                self.row("MiB written beside the result", "written", OURS, peer),
            ]
        runs = f"of {len(self.found[OURS])} runs, failed or wrong"
        rows.append(self.bad(runs, OURS, "cluster"))
        for hard, where in HARD.items():
            measure = f"failed or wrong {where}"
            if labelled(OURS, hard) in self.found:
                rows.append(self.bad(measure, labelled(OURS, hard), labelled("threads", hard)))
            else:
                note = f"skipped: {GROUPS} names no cgroup to make others in"
                rows.append(Row(self.case, measure, None, note=note))
        return rows

    def others(self) -> list[str]:
        return [name for name in ("cluster", "cluster-two", "cluster-p2p") if self.found.get(name)]
