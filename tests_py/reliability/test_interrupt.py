"""Ctrl-C in the main thread: it returns at once, starts nothing more, and leaves the pool usable."""

from __future__ import annotations

import sys

import pytest
from support import Script, script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")

# The aim is 200 ms; the rest is for a machine that is busy with other things. The tasks take a minute or an hour.
AT_ONCE = 1.2

# Ways in which a task is busy. Each but the last leaves the interpreter lock to others meanwhile.
BUSY = {
    "waiting for an event": "may_end.wait()",
    "waiting for the system": "import select; select.select([], [], [], 3600)",
    "waiting for a process": "import subprocess; subprocess.Popen(['cat'], stdin=subprocess.PIPE).wait()",
    "hashing": "import hashlib; hashlib.pbkdf2_hmac('sha512', b'x', b'y', 400_000_000)",
    "linear algebra": "a = numpy.random.random((1500, 1500))\n    while True: numpy.linalg.svd(a)",
    "sorting": "a = numpy.random.random(5_000_000)\n    while True: numpy.sort(a, kind='stable')",
    "computing in Python": "while True: pass",
}

TASKS = """
from mars.contrib.dask import mars_scheduler
import numpy
may_end = threading.Event()

def work(*_):
    say("started")
    {busy}

def inner(*_):
    return mars_scheduler({{"x": (work,), "y": (work,), "z": (work, "x", "y")}}, "z")

GRAPHS = {{
    "one": {{"x": (work,)}},
    "many": {{("work", i): (work,) for i in range(20)}},
    "nested": {{("outer", i): (inner,) for i in range(20)}},
}}
graph = GRAPHS[sys.argv[1]]
# A pool that is warm, as it is in a session that has computed before.
barrier = threading.Barrier(2)
both = {{"a": (barrier.wait, 20), "b": (barrier.wait, 20)}}
mars_scheduler(both, ["a", "b"], num_workers=2)
say("ready")
try:
    mars_scheduler(graph, list(graph), num_workers=2)
except KeyboardInterrupt:
    at = time.monotonic()
say("raised", at)
"""

AFTER = """
may_end.set()
mars_scheduler(both, ["a", "b"], num_workers=2)
say("usable")
sys.exit(7)
"""


def interrupt(running: Script, tasks: int) -> float:
    """Wait for so many tasks to be running, send Ctrl-C; seconds until the caller had it."""
    running.read_until("ready")
    for _ in range(tasks):
        running.read_until("started")
    sent = running.interrupt()
    return float(running.read_until("raised").split()[1]) - sent


@pytest.mark.parametrize(("graph", "tasks"), [("one", 1), ("many", 2), ("nested", 2)])
@pytest.mark.parametrize("busy", BUSY)
def test_ctrl_c_returns_at_once(busy: str, graph: str, tasks: int):
    """And the pool is usable, nothing more starts, and the process exits with its own status and no word."""
    with script(TASKS.format(busy=BUSY[busy]) + AFTER, graph) as running:
        assert interrupt(running, tasks) < AT_ONCE
        running.read_until("usable")
        status, errors = running.finish()
    assert (status, errors) == (7, "")
    assert running.lines.count("started") == tasks


def test_ctrl_c_that_nobody_catches_ends_the_process_at_once():
    source = TASKS.format(busy=BUSY["waiting for an event"]).replace("except KeyboardInterrupt:", "except ValueError:")
    with script(source, "many") as running:
        running.read_until("ready")
        running.read_until("started")
        running.read_until("started")
        running.interrupt()
        status, errors = running.finish(within=10)
    assert status == -2
    assert errors.splitlines()[-1].startswith("KeyboardInterrupt")
    assert running.lines.count("started") == 2


def test_ctrl_c_again_and_again():
    """Each compute is interrupted; what was abandoned before takes no worker from the next."""
    source = """
    from mars.contrib.dask import mars_scheduler
    def work(*_):
        say("started")
        hang()
    graph = {("work", i): (work,) for i in range(20)}
    for turn in range(5):
        try:
            mars_scheduler(graph, list(graph), num_workers=2)
        except KeyboardInterrupt:
            say("raised", time.monotonic())
    sys.exit(7)
    """
    with script(source) as running:
        for _ in range(5):
            running.read_until("started")
            running.read_until("started")
            sent = running.interrupt()
            assert float(running.read_until("raised").split()[1]) - sent < AT_ONCE
        assert running.finish() == (7, "")
    assert running.lines.count("started") == 10


def test_ctrl_c_reaches_a_main_thread_that_waits_inside_a_task():
    """It runs the failed task again, which waits for a nested compute whose other task hangs."""
    source = """
    from mars.contrib.dask import mars_scheduler
    hanging = threading.Event()
    def inner():
        if threading.current_thread() is threading.main_thread():
            hanging.wait(20)
            say("waiting")
        else:
            hanging.set()
            hang()
    def outer():
        if threading.current_thread() is not threading.main_thread():
            raise ValueError
        mars_scheduler({"a": (inner,), "b": (inner,)}, ["a", "b"], num_workers=2)
    try:
        mars_scheduler({"outer": (outer,)}, "outer", num_workers=2, rerun_exceptions_locally=True)
    except KeyboardInterrupt:
        say("raised", time.monotonic())
    sys.exit(7)
    """
    with script(source) as running:
        running.read_until("waiting")
        sent = running.interrupt()
        assert float(running.read_until("raised").split()[1]) - sent < AT_ONCE
        assert running.finish() == (7, "")


def test_ctrl_c_does_not_disturb_computes_of_other_threads():
    source = """
    from mars.contrib.dask import mars_scheduler
    may_end = threading.Event()
    started = threading.Event()
    def work(*_):
        started.set()
        may_end.wait()
        return 1
    results = []
    graph = {"x": (work,), "y": (lambda x: x + 1, "x")}
    other = threading.Thread(target=lambda: results.append(mars_scheduler(graph, "y", num_workers=1)))
    other.start()
    started.wait()
    mine = {"mine": (lambda: (say("started"), hang()),)}
    try:
        mars_scheduler(mine, "mine")
    except KeyboardInterrupt:
        say("raised")
    may_end.set()
    other.join()
    say("other", *results)
    """
    with script(source) as running:
        running.read_until("started")
        running.interrupt()
        running.read_until("raised")
        assert running.read_until("other") == "other 2"
        assert running.finish() == (0, "")


def test_ctrl_c_between_thousands_of_small_tasks():
    source = """
    from mars.contrib.dask import mars_scheduler
    runs = 0
    def work(i, *_):
        global runs
        runs += 1
        if runs == 1000:
            say("started")
    graph = {("x", 0): (work, -1)}
    for i in range(1, 2000):
        graph["x", i] = (work, i)
    def forever():
        while True:
            mars_scheduler(graph, list(graph))
    try:
        forever()
    except KeyboardInterrupt:
        at = time.monotonic()
    say("raised", at)
    before = runs
    mars_scheduler({"x": (int,)}, "x")
    say("more", runs - before)
    """
    with script(source) as running:
        running.read_until("started")
        sent = running.interrupt()
        assert float(running.read_until("raised").split()[1]) - sent < AT_ONCE
        assert running.read_until("more") == "more 0"
        assert running.finish() == (0, "")


def test_ctrl_c_inside_compute_of_a_collection():
    source = """
    import dask
    from mars.contrib.dask import mars_scheduler
    lazy = [dask.delayed(lambda i: (say("started"), hang()))(i) for i in range(10)]
    try:
        dask.compute(*lazy, scheduler=mars_scheduler, num_workers=2)
    except KeyboardInterrupt:
        at = time.monotonic()
    say("raised", at)
    """
    with script(source) as running:
        running.read_until("started")
        running.read_until("started")
        sent = running.interrupt()
        assert float(running.read_until("raised").split()[1]) - sent < AT_ONCE
        assert running.finish() == (0, "")
    assert running.lines.count("started") == 2
