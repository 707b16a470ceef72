"""What a task costs besides its function: no-op tasks, from the graph to the results.

The graph is built before the clock starts and handed straight to the scheduler.
CPU time is that of all threads of the process. Dask's own cost is measured in the
same run where it is affordable, and in a process of its own under a time cap where
it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import dask
import dask.threaded

from children import ask
from graphs import SHAPES
from harness import Row, Runs, Settings, compared, interleave
from mars.contrib.dask import mars_scheduler

LIMIT = 1.2
LAYERED_LIMIT = 1.8
FACTOR = 60.0
GROWTH = 1.5
CLOCKS = (("cpu", "CPU µs a task"), ("wall", "wall µs a task"))
SMALL, LARGE = 10_000, 100_000
MIDDLE, HUGE = 50_000, 1_000_000


def run(settings: Settings) -> list[Row]:
    rows: list[Row] = []
    for shape in SHAPES:
        settings.say(f"overhead: {shape} {SMALL:,}")
        rows += beside_dask(settings, shape)
        if not settings.quick:
            settings.say(f"overhead: {shape} {LARGE:,}")
            rows += beside_capped_dask(settings, shape)
    for shape in ("flat", "tree"):
        settings.say(f"overhead: {shape} legacy tuples")
        rows += legacy(settings, shape)
    if not settings.quick:
        for shape in SHAPES:
            settings.say(f"overhead: {shape} {HUGE:,}")
            rows.append(growth(shape))
    return rows


def call(get: Callable[..., Any], graph: tuple[Any, Any], workers: int) -> Callable[[], Any]:
    return partial(get, graph[0], graph[1], num_workers=workers)


def limit(shape: str, size: int, clock: str) -> float | None:
    """The goal: CPU only, since wall time is the machine's to spend."""
    if clock != "cpu":
        return None
    return LAYERED_LIMIT if shape == "layered" and size >= LARGE else LIMIT


def beside_dask(settings: Settings, shape: str) -> list[Row]:
    """At the small size: ours and Dask's, threads and sync, in one interleaved run."""
    graph = SHAPES[shape](SMALL)
    variants = {
        f"{name} {workers}": call(get, graph, workers)
        for workers in (1, 2)
        for name, get in (("mars", mars_scheduler), ("threads", dask.threaded.get))
    }
    variants["sync"] = partial(dask.get, *graph)
    slow = {name: 1 if settings.quick else 3 for name in variants if "mars" not in name}
    runs = interleave(variants, settings.rounds, fewer=slow, warm=["mars 1", "mars 2"])
    rows = []
    for clock, measure in CLOCKS:
        pairs = [("mars 1", "threads 1"), ("mars 2", "threads 2")]
        pairs += [("mars 1", "sync")] if clock == "cpu" else []
        for ours, peer in pairs:
            against_threads = clock == "cpu" and peer != "sync"
            rows.append(
                compared(
                    f"{shape} {SMALL:,}, {ours[-1]} worker{'s' * (ours[-1] == '2')}",
                    measure,
                    runs[ours],
                    peer,
                    runs[peer],
                    clock=clock,
                    scale=1e6 / SMALL,
                    limit=limit(shape, SMALL, clock),
                    factor=FACTOR if against_threads else None,
                )
            )
    return rows


def beside_capped_dask(settings: Settings, shape: str) -> list[Row]:
    """At the large size: ours interleaved with itself, Dask once under the cap."""
    graph = SHAPES[shape](LARGE)
    runs = interleave({f"mars {n}": call(mars_scheduler, graph, n) for n in (1, 2)}, settings.rounds)
    rows = []
    for workers in (1, 2):
        found = ask("call_once", "threads", shape, LARGE, workers, cap=settings.cap)
        peer = None if found is None else Runs([found["wall"]], [found["cpu"]])
        note = "Dask once, in its own process"
        if found is None:
            note = f"Dask gave no answer within {settings.cap:.0f} s"
        for clock, measure in CLOCKS:
            rows.append(
                compared(
                    f"{shape} {LARGE:,}, {workers} worker{'s' * (workers == 2)}",
                    measure,
                    runs[f"mars {workers}"],
                    f"threads {workers}",
                    peer,
                    clock=clock,
                    scale=1e6 / LARGE,
                    limit=limit(shape, LARGE, clock),
                    factor=FACTOR if clock == "cpu" else None,
                    note=note,
                )
            )
    if shape == "layered":
        rows.append(
            compared(
                f"{shape} {LARGE:,}, 2 workers, whole call",
                "wall s",
                runs["mars 2"],
                "",
                None,
                limit=1.0,
            )
        )
    return rows


def legacy(settings: Settings, shape: str) -> list[Row]:
    """The same graphs as legacy tuples, which a scheduler has to search for keys."""
    graph = SHAPES[shape](SMALL, legacy=True)
    runs = interleave(
        {
            "mars": call(mars_scheduler, graph, 1),
            "threads": call(dask.threaded.get, graph, 1),
        },
        settings.rounds,
        fewer={"threads": 1 if settings.quick else 3},
        warm=["mars"],
    )
    return [
        compared(
            f"{shape} {SMALL:,} legacy tuples, 1 worker",
            "CPU µs a task",
            runs["mars"],
            "threads 1",
            runs["threads"],
            clock="cpu",
            scale=1e6 / SMALL,
        )
    ]


def growth(shape: str) -> Row:
    """The cost of a task at 1,000,000 over that at 50,000: 1 is linear."""
    middle, huge = SHAPES[shape](MIDDLE), SHAPES[shape](HUGE)
    runs = interleave(
        {
            "middle": call(mars_scheduler, middle, 1),
            "huge": call(mars_scheduler, huge, 1),
        },
        rounds=3,
        warm=["middle"],
    )
    pairs = zip(runs["huge"].cpu, runs["middle"].cpu, strict=True)
    ratios = Runs(cpu=[(h / HUGE) / (m / MIDDLE) for h, m in pairs])
    cost = runs["huge"].spread("cpu", 1e6 / HUGE).median
    return compared(
        f"{shape} {HUGE:,} over {MIDDLE:,}, a task",
        "CPU ratio",
        ratios,
        "",
        None,
        clock="cpu",
        limit=GROWTH,
        note=f"{cost:.2f} µs a task at {HUGE:,}",
    )
