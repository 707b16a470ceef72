"""Delayed and bag: many small Python tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.bag as db
from dask._task_spec import List, Task, TaskRef
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from cases.case import Case


@dask.delayed
def increment(x: int) -> int:
    return x + 1


@dask.delayed
def add(x: int, y: int) -> int:
    return x + y


def flat(size: int) -> list[Any]:
    return [increment(i) for i in range(size)]


def gathered(calls: list[Any]) -> Delayed:
    """What ``dask.delayed(list)(calls)`` makes, in time linear in the calls.

    Dask's own way culls the graph of each argument again and again: it takes ten
    minutes for 100,000, before the collection is there to be computed.
    """
    name = "gathered"
    layer = {name: Task(name, list, List(*(TaskRef(call.key) for call in calls)))}
    return Delayed(name, HighLevelGraph.from_collections(name, layer, dependencies=calls))


def flat_10k(folder: Path) -> tuple[Any, ...]:
    """Independent calls, gathered by one more."""
    return (gathered(flat(10_000)),)


def flat_100k(folder: Path) -> tuple[Any, ...]:
    return (gathered(flat(100_000)),)


def arguments_10k(folder: Path) -> tuple[Any, ...]:
    """The same calls as 10,000 arguments of ``dask.compute``.

    What Dask does with each argument before and after it calls the scheduler is
    no scheduler's to shorten.
    """
    return tuple(flat(10_000))


def tree_100k(folder: Path) -> tuple[Any, ...]:
    """A binary sum of 50,000 leaves."""
    level: list[Any] = [increment(i) for i in range(50_000)]
    while len(level) > 1:
        pairs = [add(*level[i : i + 2]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return tuple(level)


def bag_1000(folder: Path) -> tuple[Any, ...]:
    numbers = db.range(100_000, npartitions=1_000)
    return (numbers.map(lambda x: x + 1).filter(lambda x: x % 2).sum(),)


CASES = [
    Case("delayed flat 10,000", flat_10k, factor=10, usual=False),
    Case(
        "delayed flat 100,000",
        flat_100k,
        factor=None,
        usual=False,
        quick=False,
        alone="Dask's cull is quadratic here: not run",
    ),
    Case("delayed, 10,000 arguments", arguments_10k, factor=None, usual=False),
    Case("delayed tree 100,000", tree_100k, factor=3.5, usual=False, quick=False),
    Case("bag map-filter-sum 1,000", bag_1000, factor=3.5, usual=False),
]
