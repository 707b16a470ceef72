"""A thousand computes leave nothing: no memory, no threads, no open files, no references."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import dask
import pytest
from dask._task_spec import Task, TaskRef
from dask.callbacks import Callback
from support import eventually, inc

from mars.contrib.dask import mars_scheduler

psutil = pytest.importorskip("psutil")

BLOCK = 20_000


def graph_of_blocks() -> dict:
    graph: dict = {("x", i): (bytes, BLOCK) for i in range(20)}
    graph["sum"] = (lambda blocks: sum(map(len, blocks)), list(graph))
    return graph


def succeed() -> None:
    assert mars_scheduler(graph_of_blocks(), "sum") == 20 * BLOCK


def fail() -> None:
    graph = graph_of_blocks() | {"fail": (lambda _: 1 / 0, "sum")}
    with pytest.raises(ZeroDivisionError):
        mars_scheduler(graph, ["fail", ("x", 0)])


def nest() -> None:
    assert mars_scheduler({"x": (succeed,), "y": (succeed,)}, ["x", "y"]) == (None, None)


def report() -> None:
    with Callback(pretask=lambda *_: None, posttask=lambda *_: None):
        succeed()


def refuse() -> None:
    graph = graph_of_blocks()
    with pytest.raises(ValueError, match="Missing dependency"):
        mars_scheduler(graph | {"y": Task("y", inc, TaskRef("nowhere"))}, ["y", "sum"])
    with pytest.raises(RuntimeError, match="Cycle"):
        mars_scheduler(graph | {"y": Task("y", inc, TaskRef("y"))}, ["y", "sum"])
    with pytest.raises(KeyError):
        mars_scheduler(graph, [["sum", "nowhere"]])


def vary_workers() -> None:
    for num_workers in (1, 2, 5):
        assert mars_scheduler(graph_of_blocks(), "sum", num_workers=num_workers) == 20 * BLOCK


def compute_in_a_thread() -> None:
    thread = threading.Thread(target=succeed)
    thread.start()
    thread.join()


def compute_a_collection() -> None:
    blocks = [dask.delayed(bytes)(BLOCK) for _ in range(5)]
    assert dask.delayed(len)(blocks).compute(scheduler=mars_scheduler) == 5


WAYS = [succeed, fail, nest, report, refuse, vary_workers, compute_in_a_thread, compute_a_collection]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_thousand_computes_leave_nothing(way: Callable[[], None]):
    process = psutil.Process()

    def settle() -> tuple[int, int, int]:
        gc.collect()
        return process.memory_info().rss, process.num_threads(), len(os.listdir("/proc/self/fd"))

    for _ in range(100):
        way()
    memory, threads, files = settle()
    for _ in range(1000):
        way()
    memory_after, _, files_after = settle()
    # One block kept of each compute would be 20 MB, all of them 400 MB.
    assert memory_after - memory < 10 * 2**20
    assert files_after <= files
    assert eventually(lambda: process.num_threads() <= threads)


@pytest.mark.skipif(
    not hasattr(sys, "gettotalrefcount") and not hasattr(sys, "getrefcount"), reason="counts references"
)
@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_references_to_everything_a_graph_holds_return_to_what_they_were(fails: bool):
    class Anything:
        pass

    class Function:
        def __call__(self, *_: Any, **__: Any) -> None:
            if fails:
                raise ZeroDivisionError

    key, argument, word, function, constant = ("key", Anything()), Anything(), Anything(), Function(), Anything()
    held = [key, argument, word, function, constant]

    def compute() -> None:
        graph = {
            "constant": constant,
            key: Task(key, function, argument, TaskRef("constant"), word=word),
            "after": (function, "constant", [argument], (function, word)),
        }
        try:
            mars_scheduler(graph, [key, "after", "constant"])
        except ZeroDivisionError:
            assert fails

    def counts() -> list[int]:
        gc.collect()
        return [sys.getrefcount(item) for item in held]

    compute()
    before = counts()
    for _ in range(100):
        compute()
    assert eventually(lambda: all(after <= then + 2 for after, then in zip(counts(), before, strict=True)))


def test_garbage_collector_has_nothing_to_do():
    """What a compute makes is freed by reference counting alone."""
    gc.collect()
    for _ in range(3):
        succeed()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            succeed()
        assert gc.collect() < 50
    finally:
        gc.enable()
