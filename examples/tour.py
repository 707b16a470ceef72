"""A tour: real work on each of Dask's collections, on Dask's threads and on Mars.

    python examples/tour.py

Every answer is checked against Dask's own; both take turns, and the best of three
counts. Exit status 1 if any answer differs.
"""

from __future__ import annotations

import os

# As Dask advises: BLAS shall not fight the workers. Before numpy starts its threads.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import importlib.util
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dask
from dask.callbacks import Callback

from mars.contrib.dask import mars_scheduler
from tour_stops import STOPS, Stop, agree
from tour_view import View

ROUNDS = 3


@dataclass(frozen=True)
class Visit:
    """What was seen at one stop: tasks run, best times, and whether the answers agree."""

    tasks: int
    dask: float
    mars: float
    agreed: bool


class Count(Callback):  # type: ignore[misc]
    """Counts the tasks that ran."""

    tasks = 0

    def _posttask(self, *args: object) -> None:
        self.tasks += 1


def clocked(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def visit(stop: Stop) -> Visit:
    """Build the collections once, then let both schedulers compute them in turn."""
    collections = stop.build()
    with Count() as count:
        dask.compute(*collections, scheduler=mars_scheduler)
    best = {"threads": float("inf"), "mars": float("inf")}
    agreed = True
    for _ in range(ROUNDS):
        seconds, expected = clocked(lambda: dask.compute(*collections, scheduler="threads"))
        best["threads"] = min(best["threads"], seconds)
        seconds, found = clocked(lambda: dask.compute(*collections, scheduler=mars_scheduler))
        best["mars"] = min(best["mars"], seconds)
        agreed = agreed and agree(expected, found)
    return Visit(count.tasks, best["threads"], best["mars"], agreed)


def main() -> int:
    view = View(sys.stdout)
    view.title(
        f"Python {platform.python_version()} · Dask {dask.__version__} · {os.cpu_count()} cores",
        f"the same collections on Dask's threads and on Mars, in turn, best of {ROUNDS}",
    )
    visits: list[Visit] = []
    for stop in STOPS:
        missing = [name for name in stop.needs if importlib.util.find_spec(name) is None]
        if missing:
            view.skipped(stop.collection, stop.what, missing)
            continue
        view.begun(stop.collection, stop.what)
        found = visit(stop)
        view.visited(stop.collection, stop.what, found.tasks, found.dask, found.mars, found.agreed)
        visits.append(found)
    differing = sum(not found.agreed for found in visits)
    view.summary(len(visits), differing, sum(v.dask for v in visits), sum(v.mars for v in visits))
    return 1 if differing or not visits else 0


if __name__ == "__main__":
    sys.exit(main())
