"""One limit for all: threads, computes inside of tasks, forked children."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from spills import MB, is_empty
from support import WITHIN, run_well

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
# CPython 3.12 and later warn of any fork in a process with threads.
FLAGS = ("-W", "ignore::DeprecationWarning")


def kept(count: int, first: int = 0) -> dict[Any, Any]:
    graph: dict[Any, Any] = {("block", i): (lambda i: bytes([i]) * MB, first + i) for i in range(count)}
    graph |= {("size", i): (len, ("block", i)) for i in range(count)}
    graph["all"] = (sum, [("size", i) for i in range(count)])
    graph |= {("use", i): (lambda block, _: block[7], ("block", i), "all") for i in range(count)}
    return graph | {"end": (sum, [("use", i) for i in range(count)])}


def compute(first: int, **keywords: Any) -> int:
    return mars_scheduler(kept(12, first), "end", **keywords)


def test_many_threads_compute_under_one_limit(session: mars.Session):
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(compute, range(32)))
    assert results == [sum(range(first, first + 12)) for first in range(32)]
    memory = session.memory
    assert memory is not None
    # Of each of eight runs one task goes on, whatever the others hold.
    assert memory.most_in_memory <= (10 + 2 * 8) * MB
    assert is_empty(memory)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_tasks_compute_under_the_limit_of_their_run(session: mars.Session, workers: int):
    """Outer results are there while inner ones are made: together they are more than the limit."""

    def inner(block: bytes, i: int) -> int:
        return block[7] * 1000 + compute(i, num_workers=workers)

    graph: dict[Any, Any] = {("outer", i): (lambda i: bytes([i]) * MB, i) for i in range(12)}
    graph |= {("inner", i): (inner, ("outer", i), i) for i in range(12)}
    graph["end"] = (sum, [("inner", i) for i in range(12)])
    expected = sum(1000 * i + sum(range(i, i + 12)) for i in range(12))
    assert mars_scheduler(graph, "end", num_workers=workers) == expected
    assert session.memory is not None
    assert session.memory.written > 0
    assert is_empty(session.memory)


def test_computes_nested_to_a_depth_of_four(session: mars.Session):
    def level(block: bytes, depth: int) -> int:
        if depth == 0:
            return block[0]
        graph: dict[Any, Any] = {("x", i): (lambda i: bytes([i]) * (2 * MB), i) for i in range(3)}
        graph |= {("y", i): (level, ("x", i), depth - 1) for i in range(3)}
        graph["end"] = (lambda ys, *xs: sum(ys), [("y", i) for i in range(3)], *[("x", i) for i in range(3)])
        return mars_scheduler(graph, "end")

    assert level(b"", 4) == 3**3 * 3
    assert is_empty(session.memory)


def test_threads_that_tasks_start_compute(session: mars.Session):
    def in_a_thread(block: bytes, i: int) -> int:
        results: list[int] = []
        thread = threading.Thread(target=lambda: results.append(compute(i)))
        thread.start()
        thread.join(WITHIN)
        return results[0] + 0 * len(block)

    graph: dict[Any, Any] = {("outer", i): (bytes, MB) for i in range(8)}
    graph |= {("inner", i): (in_a_thread, ("outer", i), i) for i in range(8)}
    graph["end"] = (sum, [("inner", i) for i in range(8)])
    assert mars_scheduler(graph, "end") == sum(sum(range(i, i + 12)) for i in range(8))
    assert is_empty(session.memory)


def test_compute_goes_on_while_another_holds_all_of_the_memory(session: mars.Session):
    """A run whose task waits for another run keeps what it reads; one task of that always runs."""
    held, may_end = threading.Event(), threading.Event()

    def hold(block: bytes) -> int:
        held.set()
        assert may_end.wait(WITHIN)
        return len(block)

    def other() -> None:
        results.append(mars_scheduler({"x": (bytes, 20 * MB), "y": (hold, "x")}, "y"))

    results: list[int] = []
    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert held.wait(WITHIN)
        assert compute(3) == sum(range(3, 15))
    finally:
        may_end.set()
        thread.join(WITHIN)
    assert results == [20 * MB]
    assert is_empty(session.memory)


def test_objects_and_graphs_share_the_limit(session: mars.Session):
    objects = mars.execute(*[mr.spawn(bytes, args=(MB,)) for _ in range(9)])
    assert session.memory is not None
    assert session.memory.on_disk == 0
    compute(0)
    assert session.memory.on_disk > 4 * MB
    assert [len(obj.fetch()) for obj in objects] == [MB] * 9
    del objects
    assert is_empty(session.memory)


# -- Forked children -------------------------------------------------------------------------------------------------

COMMON = """
import gc, mars, mars.remote as mr
from pathlib import Path
from mars.contrib.dask import mars_scheduler
base = Path(sys.argv[1])
session = mars.new_session(n_workers=2, memory_limit=4_000_000, spill_dir=base)
memory = session.memory

def total(meanwhile=lambda: None):
    graph = {("block", i): (lambda i: bytes([i]) * 1_000_000, i) for i in range(12)}
    graph |= {("size", i): (len, ("block", i)) for i in range(12)}
    graph["all"] = (lambda sizes: meanwhile(), [("size", i) for i in range(12)])
    graph |= {("use", i): (lambda block, _: block[7], ("block", i), "all") for i in range(12)}
    graph["end"] = (sum, [("use", i) for i in range(12)])
    return mars_scheduler(graph, "end")

def objects():
    return [mr.spawn(lambda i: bytes([i]) * 1_000_000, args=(i,)).execute() for i in range(12)]

def fetched(objs):
    return sum(obj.fetch()[7] for obj in objs)

def in_child(function):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            session.stop()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def files():
    return sorted(path.name for path in memory.directory.iterdir())
"""

FORKS = {
    "it computes": "total(); say(in_child(total), total())",
    "it reads what its parent has moved": """
objs = objects()
before = files()
def child():
    assert fetched(objs) == 66
    assert mr.spawn(lambda *blocks: sum(b[7] for b in blocks), args=tuple(objs)).execute().fetch() == 66
    assert total() == 66
    assert memory.directory.parent == base
say(in_child(child), fetched(objs))
assert files() == before
""",
    "it lets go of its parent's results": """
objs = objects()
before, kept = files(), (memory.in_memory, memory.on_disk, len(memory))
def child():
    objs.clear()
    gc.collect()
    assert (memory.in_memory, memory.on_disk, len(memory)) == (0, 0, 0)
    assert total() == 66
assert len(before) > 5
say(in_child(child), fetched(objs))
assert files() == before
assert (memory.in_memory, memory.on_disk, len(memory)) == kept
""",
    "it is forked while results are on disk": """
statuses = []
def child():
    assert total() == 66
result = total(lambda: statuses.append(in_child(child)))
say(*statuses, result)
""",
    "it is forked while other threads move results": """
stop = threading.Event()
def compute():
    while not stop.is_set():
        assert total() == 66
threads = [threading.Thread(target=compute) for _ in range(2)]
for thread in threads:
    thread.start()
statuses = [in_child(lambda: total()) for _ in range(8)]
stop.set()
for thread in threads:
    thread.join()
say(max(statuses), total())
""",
}


@forks
@pytest.mark.parametrize("what", FORKS)
def test_forked_child(what: str, tmp_path: Any):
    """It has the limit for itself, and leaves its parent's files alone."""
    assert run_well(COMMON + FORKS[what], str(tmp_path), flags=FLAGS, within=40) == ["0 66"]
    assert list(tmp_path.iterdir()) == []


@forks
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_of_multiprocessing_leaves_nothing(method: str, tmp_path: Any):
    """Such processes leave without the handlers of `atexit`."""
    path = tmp_path / "main.py"
    (tmp_path / "base").mkdir()
    path.write_text(
        f"""
import multiprocessing, os
from mars.contrib.dask import mars_scheduler

def total():
    graph = {{("block", i): (bytes, 1_000_000) for i in range(12)}}
    graph["end"] = (lambda blocks: sum(map(len, blocks)), list(graph))
    assert mars_scheduler(graph, "end") == 12_000_000

if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=total)
    process.start()
    process.join()
    print(process.exitcode, os.listdir({str(tmp_path / "base")!r}))
"""
    )
    import subprocess
    import sys

    from support import environment

    settings = {"DASK_MARS__MEMORY_LIMIT": "4MB", "DASK_MARS__SPILL_DIR": str(tmp_path / "base")}
    done = subprocess.run(
        [sys.executable, *FLAGS, str(path)],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 []\n", "")
