"""What it costs to be watched: events, a progress bar, a profile.

Events are recorded always: their cost is measured in the core, with Criterion, and set beside what a small
task costs in all. Bars and profiles are measured around a compute of no-op tasks, beside Dask's own, each
over the same compute without.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import dask.threaded
from dask.diagnostics import Profiler, ProgressBar

import mars
from graphs import SHAPES
from harness import Row, Settings, Spread, compared, interleave
from mars.contrib.dask import mars_scheduler

ROOT = Path(__file__).resolve().parents[2]
#: Events are to take no more than this share of what a task costs.
SHARE = 0.05
SIZE = 10_000

Watch = Callable[[], AbstractContextManager[Any]]


def run(settings: Settings) -> list[Row]:
    rows: list[Row] = []
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        for shape in ("flat", "tree"):
            settings.say(f"watching: {shape} {SIZE:,}")
            rows += watched(settings, shape, nowhere)
    settings.say("watching: events, in the core")
    least = min(row.ours.median for row in rows if row.ours and row.case.endswith("by nobody"))
    return [*events(least), *rows]


def events(task: float) -> list[Row]:
    """By Criterion; `task` is what the cheapest task costs, in microseconds."""
    cargo = shutil.which("cargo")
    if cargo is None:
        return [Row("events of a task", "ns", None, note="cargo was not found")]
    command = [cargo, "bench", "-q", "--no-default-features", "--bench", "events"]
    target = ROOT / "target" / "watching"
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    rows = []
    for name, limit in (("nobody records", SHARE * task * 1e3), ("somebody records", None)):
        found = target / "criterion" / "one task" / name / "new" / "estimates.json"
        median = json.loads(found.read_text(encoding="utf-8"))["median"]
        interval = median["confidence_interval"]
        ours = [interval["lower_bound"], median["point_estimate"], interval["upper_bound"]]
        low, middle, high = (value / SIZE for value in ours)
        note = f"{middle / task / 10:.1f} % of the cheapest task below" if limit else "with CPU times"
        rows.append(Row(f"events of a task, {name}", "ns", Spread(low, middle, high, 100), limit=limit, note=note))
    return rows


def watched(settings: Settings, shape: str, nowhere: Any) -> list[Row]:
    graph, keys = SHAPES[shape](SIZE)
    ours: dict[str, Watch] = {
        "nobody": contextlib.nullcontext,
        "a bar": partial(mars.progress, file=nowhere),
        "a profile": mars.profile,
    }
    theirs: dict[str, Watch] = {
        "nobody": contextlib.nullcontext,
        "a bar": partial(ProgressBar, out=nowhere),
        "a profile": Profiler,
    }
    variants = dict(calls("mars", mars_scheduler, ours, graph, keys))
    variants.update(calls("threads", dask.threaded.get, theirs, graph, keys))
    slow = {name: 1 if settings.quick else 3 for name in variants if name.startswith("threads")}
    runs = interleave(variants, settings.rounds, fewer=slow, warm=[f"mars, {name}" for name in ours])
    return [
        compared(
            f"{shape} {SIZE:,}, watched by {name}",
            "CPU µs a task",
            runs[f"mars, {name}"],
            f"threads, {name}",
            runs[f"threads, {name}"],
            clock="cpu",
            scale=1e6 / SIZE,
        )
        for name in ours
    ]


def calls(name: str, get: Any, watches: dict[str, Watch], graph: Any, keys: Any) -> Iterator[tuple[str, Any]]:
    def call(watch: Watch) -> Any:
        with watch():
            return get(graph, keys, num_workers=2)

    for watcher, watch in watches.items():
        yield f"{name}, {watcher}", partial(call, watch)
