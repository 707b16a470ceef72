"""Whether a second worker helps, and whether small tasks starve beside large ones."""

from __future__ import annotations

import hashlib
import statistics
import sys
import time
from functools import partial
from typing import Any

import dask.threaded
import numpy as np
from dask._task_spec import Task

from harness import Row, Runs, Settings, Spread, compared, interleave, paired_ratio
from mars.contrib.dask import mars_scheduler

SPEEDUP = 1.9
FREE_SPEEDUP = 1.8
TASKS = 400
MIXED = 1_000


def run(settings: Settings) -> list[Row]:
    settings.say("workers: two against one")
    rows = [
        two_against_one("tasks of 1 ms that release the GIL", release, SPEEDUP, settings),
        two_against_one("tasks of 5 ms that release the GIL", long_release, SPEEDUP, settings),
    ]
    if sys.version_info >= (3, 13) and not sys._is_gil_enabled():
        rows.append(two_against_one("pure Python tasks of 1 ms", pure, FREE_SPEEDUP, settings))
    else:
        rows.append(
            Row(
                "pure Python tasks of 1 ms",
                "speedup",
                None,
                note="skipped: this interpreter has a GIL",
            )
        )
    settings.say("workers: mixed")
    return rows + mixed(settings)


def calibrated(count: int, milliseconds: float, call: Any) -> int:
    """How often ``call(n)`` must count for it to take so long on this machine."""
    start = time.perf_counter()
    call(count)
    return max(1, round(count * milliseconds / 1e3 / (time.perf_counter() - start)))


def hashing(rounds: int) -> bytes:
    """Work in C without the GIL, of any length and with no memory to fight over."""
    return hashlib.pbkdf2_hmac("sha256", b"mars", b"salt", rounds)


def looping(rounds: int) -> int:
    total = 0
    for i in range(rounds):
        total += i * i
    return total


def release() -> Any:
    return partial(hashing, calibrated(20_000, 1.0, hashing)), TASKS


def long_release() -> Any:
    return partial(hashing, calibrated(20_000, 5.0, hashing)), TASKS // 4


def pure() -> Any:
    return partial(looping, calibrated(200_000, 1.0, looping)), TASKS


def two_against_one(case: str, work: Any, factor: float, settings: Settings) -> Row:
    """The time of one worker over that of two, on the same graph."""
    function, count = work()
    keys = [f"t-{i}" for i in range(count)]
    graph = {key: Task(key, function) for key in keys}
    runs = interleave(
        {
            f"{name} {n}": partial(get, graph, keys, num_workers=n)
            for n in (1, 2)
            for name, get in (("mars", mars_scheduler), ("threads", dask.threaded.get))
        },
        settings.rounds,
    )

    def speedup(name: str) -> Spread:
        pairs = zip(runs[f"{name} 1"].wall, runs[f"{name} 2"].wall, strict=True)
        return Spread.of(one / two for one, two in pairs)

    ours = speedup("mars")
    return Row(
        case,
        "speedup",
        ours,
        "threads",
        speedup("threads"),
        ratio=ours.median,
        factor=factor,
        note="ratio: two workers against one",
    )


def tiny(log: list[float]) -> None:
    log.append(time.perf_counter())


def multiply(matrix: Any, times: int) -> float:
    for _ in range(times):
        result = matrix @ matrix
    return float(result[0, 0])


def mixed(settings: Settings) -> list[Row]:
    """80 % tiny Python tasks and 20 % products of 2 ms, all ready at once."""
    matrix = np.random.default_rng(0).random((200, 200))
    times = calibrated(200, 2.0, partial(multiply, matrix))
    stamps: list[float] = []
    graph: dict[str, Task] = {}
    for i in range(MIXED):
        key = f"m-{i}"
        if i % 5 == 4:
            graph[key] = Task(key, multiply, matrix, times)
        else:
            graph[key] = Task(key, partial(tiny, stamps))
    keys = list(graph)
    halfway: dict[str, list[float]] = {"mars": [], "threads": []}

    def once(name: str, get: Any) -> None:
        stamps.clear()
        start = time.perf_counter()
        get(graph, keys, num_workers=2)
        total = time.perf_counter() - start
        half = statistics.median(stamps) - start
        halfway[name].append(100 * half / total)

    runs = interleave(
        {
            "mars": partial(once, "mars", mars_scheduler),
            "threads": partial(once, "threads", dask.threaded.get),
        },
        settings.rounds,
    )
    ours, peer = Runs(wall=halfway["mars"]), Runs(wall=halfway["threads"])
    return [
        compared(
            f"mixed: {MIXED * 4 // 5} tiny, {MIXED // 5} of 2 ms",
            "wall ms",
            runs["mars"],
            "threads",
            runs["threads"],
            scale=1e3,
            factor=0.97,
        ),
        Row(
            "mixed: half of the tiny ones done",
            "% of the whole",
            ours.spread("wall"),
            "threads",
            peer.spread("wall"),
            paired_ratio(peer.wall, ours.wall),
            limit=60.0,
        ),
    ]
