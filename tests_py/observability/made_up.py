"""Recordings with made-up tasks, in the place of the engine's."""

from __future__ import annotations

import json
import threading
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mars
from mars import _config, _mars
from mars._profile.processors import Usage

SEVERAL = 2**32 - 1


@dataclass
class Task:
    """One task of a recording."""

    key: Any = "x"
    prefix: str = "x"
    start: float = 0.0
    end: float = 1.0
    lane: int = 0
    computation: int = 1
    cpu: float = 0.0
    size: int = -1
    outcome: str = "finished"
    queued: float | None = None


@dataclass
class Recording:
    """What the engine would give of these tasks."""

    tasks: list[Task] = field(default_factory=list)
    seconds: float = 10.0
    workers: int = 2
    time: dict[str, float] = field(default_factory=dict)
    samples: list[tuple[list[str], int, int]] = field(default_factory=list)
    nested: frozenset[str] = frozenset()
    lanes: list[tuple[int, str, int, float]] | None = None
    spans: list[tuple[int, int | None, float, float, int, int, int]] | None = None
    dropped: int = 0
    dropped_below: float = 0.0
    began: float = 1_700_000_000.0
    outcomes: tuple[str, ...] = ("finished", "failed", "promised", "again")
    probes: int = 0
    stopped: int = 0
    probed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.tasks.sort(key=lambda task: task.start)
        self._keys: defaultdict[int, list[Any]] = defaultdict(list)
        self._numbers: list[int] = []
        for task in self.tasks:
            self._numbers.append(len(self._keys[task.computation]))
            self._keys[task.computation].append(task.key)

    @property
    def event_count(self) -> int:
        return len(self.tasks)

    def stop(self) -> None:
        self.stopped += 1

    def probe(self, seconds: float) -> None:
        threading.Event().wait(seconds)
        self.probes += 1
        if self.probes == 3:
            self.probed.set()

    def gil_samples(self) -> list[tuple[list[str], int, int]]:
        return self.samples

    def group_names(self) -> list[str]:
        return list(dict.fromkeys(task.prefix for task in self.tasks))

    def keys(self, computation: int) -> list[Any]:
        return self._keys[computation]

    def prefixes(self) -> list[Any]:
        found: defaultdict[str, list[Task]] = defaultdict(list)
        for task in self.tasks:
            found[task.prefix].append(task)
        return [
            SimpleNamespace(
                prefix=prefix,
                count=len(tasks),
                failed=sum(task.outcome == "failed" for task in tasks),
                seconds=sum(task.end - task.start for task in tasks),
                longest=max(task.end - task.start for task in tasks),
                cpu=sum(task.cpu for task in tasks),
                queued=sum(task.start - (task.start if task.queued is None else task.queued) for task in tasks),
                bytes=sum(task.size for task in tasks if task.size >= 0),
                sized=sum(task.size >= 0 for task in tasks),
                nested=prefix in self.nested,
            )
            for prefix, tasks in found.items()
        ]

    def computations(self) -> list[tuple[int, int | None, float, float, int, int, int]]:
        if self.spans is not None:
            return self.spans
        return [
            (number, None, 0.0, self.seconds, len(keys), len(keys), self.workers) for number, keys in self._keys.items()
        ]

    def workers_time(self) -> dict[str, float]:
        if self.time:
            return self.time
        total = self.seconds * self.workers if self.tasks else 0.0
        tasks = sum(task.end - task.start for task in self.tasks)
        return {"total": total, "tasks": tasks, "no ready task": max(0.0, total - tasks)}

    def threads(self) -> list[tuple[int, str, int, float]]:
        if self.lanes is not None:
            return self.lanes
        return [(lane, f"mars-{lane}", 1000 + lane, 1.0) for lane in sorted({task.lane for task in self.tasks})]

    def columns(self) -> dict[str, bytes]:
        tasks = self.tasks
        names = self.group_names()
        return {
            "computation": numbers("I", (task.computation for task in tasks)),
            "task": numbers("I", self._numbers),
            "lane": numbers("I", (task.lane for task in tasks)),
            "group": numbers("I", (names.index(task.prefix) for task in tasks)),
            "queued": numbers("d", (task.start if task.queued is None else task.queued for task in tasks)),
            "start": numbers("d", (task.start for task in tasks)),
            "end": numbers("d", (task.end for task in tasks)),
            "cpu": numbers("d", (task.cpu for task in tasks)),
            "bytes": numbers("q", (task.size for task in tasks)),
            "outcome": numbers("B", (self.outcomes.index(task.outcome) for task in tasks)),
        }

    def slices(self, budget: int) -> dict[str, bytes]:
        """Every task alone while they fit; else the first ones, and one piece for all others of their lane."""
        names = self.group_names()
        alone = self.tasks if len(self.tasks) <= budget else self.tasks[:budget]
        pieces = [
            (
                *(t.lane, t.start, t.end, names.index(t.prefix), 1, t.computation, number, 0),
                *(self.outcomes.index(t.outcome), t.size),
            )
            for t, number in zip(alone, self._numbers, strict=False)
        ]
        rest: defaultdict[int, list[Task]] = defaultdict(list)
        for task in self.tasks[len(alone) :]:
            rest[task.lane].append(task)
        for lane, tasks in rest.items():
            group = names.index(tasks[0].prefix) if len({task.prefix for task in tasks}) == 1 else SEVERAL
            pieces.append((lane, tasks[0].start, max(t.end for t in tasks), group, len(tasks), 1, 0, 0, 0, -1))
        pieces += [(lane, start, end, 0, 0, 0, 0, kind, 0, -1) for lane, start, end, kind in self.gaps]
        kinds = {"lane": "I", "start": "d", "end": "d", "group": "I", "count": "I", "computation": "I", "task": "I"}
        kinds |= {"kind": "B", "outcome": "B", "bytes": "q"}
        return {name: numbers(kind, (piece[i] for piece in pieces)) for i, (name, kind) in enumerate(kinds.items())}

    gaps: tuple[tuple[int, float, float, int], ...] = ()

    def write_trace(self, path: str, budget: int, flows: bool) -> tuple[int, int]:
        written = min(len(self.tasks), budget)
        events = [
            {
                "name": str(task.key),
                "cat": task.prefix,
                "ph": "X",
                "pid": 1,
                "tid": task.lane,
                "ts": task.start * 1e6,
                "dur": (task.end - task.start) * 1e6,
            }
            for task in self.tasks[:written]
        ]
        Path(path).write_text(json.dumps({"traceEvents": events}), encoding="utf-8")
        return written, len(self.tasks) - written


def profile_of(monkeypatch: pytest.MonkeyPatch, recording: Recording, **options: Any) -> mars.Profile:
    """A profile that has recorded these, on an interpreter that has a GIL and a machine with nothing else to do."""
    monkeypatch.setattr(_mars, "Profile", lambda max_events: recording)
    monkeypatch.setattr("mars._profile.profile.has_gil", lambda: True)
    monkeypatch.setattr(Usage, "now", Usage)
    monkeypatch.setattr(_config, "cpu_count", lambda: 8)
    with mars.profile(**options) as profile:
        pass
    return profile


def numbers(kind: str, values: Iterable[Any]) -> bytes:
    return array(kind, values).tobytes()


def many(prefix: str, count: int, seconds: float, *, lane: int = 0, cpu: float = 1.0, begin: float = 0.0) -> list[Task]:
    """So many tasks one after the other, `cpu` of their time computing."""
    return [
        Task(f"{prefix}-{lane}-{i}", prefix, begin + i * seconds, begin + (i + 1) * seconds, lane, cpu=cpu * seconds)
        for i in range(count)
    ]
