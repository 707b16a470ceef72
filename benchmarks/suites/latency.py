"""How long one task takes: warm, and as the first compute of a process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import dask
import dask.threaded
from dask._task_spec import Task

from children import ask
from graphs import noop
from harness import Row, Settings, Spread, compared, interleave
from mars.contrib.dask import mars_scheduler

CALLS = 300
FIRST_LIMIT = 50.0


def repeated(call: Callable[[], Any]) -> None:
    for _ in range(CALLS):
        call()


def run(settings: Settings) -> list[Row]:
    settings.say("latency: one task, warm")
    return [*one_task(settings), *one_delayed(settings), *first(settings)]


def one_task(settings: Settings) -> list[Row]:
    """The scheduler called with a graph of one task."""
    graph = {"x": Task("x", noop)}
    peers = {"sync": dask.get, "threads": dask.threaded.get}
    calls = {"mars": mars_scheduler, **peers}
    runs = interleave(
        {name: partial(repeated, partial(get, graph, "x")) for name, get in calls.items()},
        settings.rounds,
    )
    return [
        compared(
            "one task, scheduler call",
            "wall µs",
            runs["mars"],
            name,
            runs[name],
            scale=1e6 / CALLS,
            factor=2.0 if name == "sync" else None,
        )
        for name in peers
    ]


def one_delayed(settings: Settings) -> list[Row]:
    """``compute()`` of one delayed call, Dask's own part included."""
    value = dask.delayed(noop)()
    calls: dict[str, Any] = {
        "mars": mars_scheduler,
        "sync": "sync",
        "threads": "threads",
    }
    runs = interleave(
        {name: partial(repeated, partial(value.compute, scheduler=get)) for name, get in calls.items()},
        settings.rounds,
    )
    return [
        compared(
            "one delayed, compute()",
            "wall µs",
            runs["mars"],
            name,
            runs[name],
            scale=1e6 / CALLS,
        )
        for name in ("sync", "threads")
    ]


def first(settings: Settings) -> list[Row]:
    """What the first compute of a process costs above a warm one."""
    settings.say("latency: first compute of a process")
    found: dict[str, list[float]] = {"mars": [], "threads": []}
    for _ in range(3 if settings.quick else 7):
        for name, values in found.items():
            answer = ask("first_compute", name)
            if answer:
                values.append(answer["added"] * 1e3)
    ours, peer = Spread.of(found["mars"]), Spread.of(found["threads"])
    return [
        Row(
            "first compute of a process, added",
            "wall ms",
            ours,
            "threads",
            peer,
            peer.median / ours.median,
            limit=FIRST_LIMIT,
            note="import of mars.contrib.dask included, that of dask not",
        )
    ]
