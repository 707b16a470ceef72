"""What a spawned function costs besides itself: spawn, execute and fetch of no-ops.

Beside it the engine's own cost of a task: the scheduler call on the same graph, built
before. The clock of ours runs from the first ``spawn`` to the last value fetched, with every
object held by the program until then. Another peer is ``concurrent.futures``, where
functions do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import mars
import mars.remote as mr
from children import ask
from graphs import SHAPES, noop, rows
from harness import Row, Runs, Settings, compared, interleave
from mars.contrib.dask import mars_scheduler

#: As many times what the engine needs for a task.
LIMIT = 3.0
BYTES = 1024
DIAMOND_LEVELS = 40


def run(settings: Settings) -> list[Row]:
    size = 10_000 if settings.quick else 100_000
    session = mars.new_session(n_workers=2)
    found: list[Row] = []
    for shape in SHAPES:
        settings.say(f"remote: {shape} {size:,}")
        found += beside_engine(settings, shape, size)
    found += [beside_threads(settings, size), pending(size), diamond(settings)]
    session.stop()
    return found


def spawned(dependencies: list[tuple[int, ...]], outputs: list[int]) -> tuple[list[Any], list[Any]]:
    """Spawn, execute and fetch one function for each row of dependencies.

    The objects are given back with the values: letting go of them is not timed.
    """
    objects: list[Any] = []
    add, spawn = objects.append, mr.spawn
    for row in dependencies:
        match row:
            case ():
                add(spawn(noop))
            case (one,):
                add(spawn(noop, args=(objects[one],)))
            case (one, other):
                add(spawn(noop, args=(objects[one], objects[other])))
            case _:
                add(spawn(noop, args=tuple([objects[i] for i in row])))
    values: list[Any] = mr.ExecutableTuple([objects[i] for i in outputs]).to_object()
    return objects, values


def beside_engine(settings: Settings, shape: str, size: int) -> list[Row]:
    graph, keys = SHAPES[shape](size)
    dependencies, outputs = rows(graph, keys)
    runs = interleave(
        {
            "remote": partial(spawned, dependencies, outputs),
            "engine": partial(mars_scheduler, graph, keys, num_workers=2),
        },
        settings.rounds,
    )
    case = f"{shape} {size:,}, spawn to fetch"
    ratios = Runs(cpu=[a / b for a, b in zip(runs["remote"].cpu, runs["engine"].cpu, strict=True)])
    return [
        compared(
            case, "CPU µs a function", runs["remote"], "engine, a task", runs["engine"], clock="cpu", scale=1e6 / size
        ),
        compared(f"{case}, over the engine", "CPU ratio", ratios, "", None, clock="cpu", limit=LIMIT),
    ]


def beside_threads(settings: Settings, size: int) -> Row:
    """Independent functions, beside the standard library's pool."""

    def threads() -> list[Any]:
        with ThreadPoolExecutor(2) as pool:
            return [future.result() for future in [pool.submit(noop) for _ in range(size)]]

    ours: Callable[[], Any] = partial(spawned, [()] * size, list(range(size)))
    runs = interleave({"mars": ours, "pool": threads}, settings.rounds, fewer={"pool": 3})
    return compared(
        f"flat {size:,}, spawn to fetch",
        "CPU µs a function",
        runs["mars"],
        "ThreadPoolExecutor",
        runs["pool"],
        clock="cpu",
        scale=1e6 / size,
    )


def pending(size: int) -> Row:
    """Memory of objects that wait to be executed, in a fresh process."""
    found = ask("pending_objects", size)
    assert found is not None
    return compared(
        f"{size:,} pending objects", "bytes each", Runs(cpu=[found["added"] / size]), "", None, clock="cpu", limit=BYTES
    )


def diamond(settings: Settings) -> Row:
    """Levels of two objects, each of which is used by both of the next level."""

    def execute() -> Any:
        left = right = mr.spawn(noop)
        for _ in range(DIAMOND_LEVELS):
            left, right = mr.spawn(noop, args=(left, right)), mr.spawn(noop, args=(left, right))
        return mr.ExecutableTuple([left, right]).to_object()

    runs = interleave({"mars": execute}, settings.rounds)
    return compared(f"diamond of {DIAMOND_LEVELS} levels", "wall ms", runs["mars"], "", None, scale=1e3, limit=10.0)
