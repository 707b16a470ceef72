"""A process that may have no more memory than that, by order of the kernel, ends its work under a limit."""

from __future__ import annotations

import sys

import pytest
from support import run_well

pytest.importorskip("numpy")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

COMMON = """
import resource
import numpy as np
import dask, dask.array as da
import mars
from mars.contrib.dask import mars_scheduler
LIMIT = 100_000_000
dask.config.set({"array.rechunk.threshold": 1000})
size, rows, source = 6400, 200, da.random.default_rng(1)
x = source.random((size, size), chunks=(rows, size))  # 328 MB in blocks of 10 MB
session = mars.new_session(n_workers=2, memory_limit=LIMIT)
# What threads and libraries take once is no result.
warm = source.random((200, 200), chunks=50)
(warm + warm.T).rechunk((200, 10)).sum().compute(scheduler=mars_scheduler)
def virtual():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
def stop_at(extra):
    resource.setrlimit(resource.RLIMIT_AS, (virtual() + extra, resource.RLIM_INFINITY))
"""

#: What the results may take, a seventh of that more, and for two workers what each reads and makes.
MARGIN = "LIMIT * 115 // 100 + 2 * 3 * 10_300_000 + 40_000_000"

WORK = {
    "kept until the end": "(x - x.mean()).std(axis=0).sum()",
    "all to all": "x.rechunk((size, rows)).sum(axis=0).sum()",
    "plus its transpose": "(x + x.T).sum()",
}


@pytest.mark.parametrize("work", WORK)
def test_work_of_three_times_the_limit_ends_well(work: str):
    source = (
        COMMON
        + f"""
y = {WORK[work]}
stop_at({MARGIN})
result = float(y.compute(scheduler=mars_scheduler))
say(session.memory.on_disk, session.memory.written > LIMIT)
session.stop()
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
say(abs(result - float(y.compute(scheduler=mars_scheduler))) <= 1e-9 * abs(result))
"""
    )
    assert run_well(source, within=40, flags=("-W", "ignore")) == ["0 True", "True"]


@pytest.mark.parametrize("work", ["kept until the end", "all to all"])
def test_without_the_limit_the_same_work_does_not_end_well(work: str):
    """So that the test above shows something."""
    source = (
        COMMON
        + f"""
session.stop()
y = {WORK[work]}
stop_at({MARGIN})
try:
    say(y.compute(scheduler=mars_scheduler, num_workers=2))
except MemoryError:
    say("no memory")
"""
    )
    assert run_well(source, within=40, flags=("-W", "ignore")) == ["no memory"]
