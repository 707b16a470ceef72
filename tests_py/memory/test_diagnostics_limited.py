"""Callbacks and keywords of Dask under a memory limit."""

from __future__ import annotations

from typing import Any

import dask
import pytest
from dask.callbacks import Callback
from dask.diagnostics import Profiler, ProgressBar, ResourceProfiler
from spills import MB, is_empty

import mars
from mars.contrib.dask import mars_scheduler


def kept(count: int) -> dict[Any, Any]:
    graph: dict[Any, Any] = {("block", i): (lambda i: bytes([i]) * MB, i) for i in range(count)}
    graph |= {("size", i): (len, ("block", i)) for i in range(count)}
    graph["all"] = (sum, [("size", i) for i in range(count)])
    graph |= {("use", i): (lambda block, _: block[7], ("block", i), "all") for i in range(count)}
    return graph | {"end": (sum, [("use", i) for i in range(count)])}


class Results(Callback):
    """What every task has returned, as far as it tells one from another."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[Any, Any] = {}
        self.started: list[Any] = []

    def _pretask(self, key: Any, dsk: dict, state: dict) -> None:
        self.started.append(key)

    def _posttask(self, key: Any, result: Any, dsk: dict, state: dict, worker: Any) -> None:
        self.seen[key] = (len(result), result[-1]) if isinstance(result, bytes) else result


@pytest.mark.parametrize("workers", [1, 2])
def test_callback_gets_every_result(session: mars.Session, workers: int):
    with Results() as callback:
        assert mars_scheduler(kept(30), "end", num_workers=workers) == sum(range(30))
    assert callback.seen == {
        **{("block", i): (MB, i) for i in range(30)},
        **{("size", i): MB for i in range(30)},
        **{("use", i): i for i in range(30)},
        "all": 30 * MB,
        "end": sum(range(30)),
    }
    assert sorted(callback.started, key=str) == sorted(callback.seen, key=str)
    assert session.memory is not None
    assert session.memory.written > 10 * MB
    assert session.memory.most_in_memory <= (11 + workers) * MB
    assert is_empty(session.memory)


def test_callback_that_fails_ends_the_work_and_lets_go_of_everything(session: mars.Session):
    class Fails(Callback):
        def _posttask(self, key: Any, *_: Any) -> None:
            if key == "all":
                raise ZeroDivisionError

    with Fails(), pytest.raises(ZeroDivisionError):
        mars_scheduler(kept(30), "end")
    assert is_empty(session.memory)


def test_progress_bar_and_profilers(session: mars.Session, capsys: pytest.CaptureFixture[str]):
    with ProgressBar(minimum=0), Profiler() as profiler, ResourceProfiler(dt=0.01):
        assert mars_scheduler(kept(30), "end") == sum(range(30))
    assert "100%" in capsys.readouterr().out
    assert {entry.key for entry in profiler.results} == set(kept(30))
    assert is_empty(session.memory)


def test_cache_of_dask_keeps_what_it_wants(session: mars.Session):
    """What it keeps is not ours to move; results are right with it and from it."""
    pytest.importorskip("cachey")
    from dask.cache import Cache

    calls: list[int] = []

    def make(i: int) -> bytes:
        calls.append(i)
        return bytes([i]) * MB

    graph: dict[Any, Any] = {("block", i): (make, i) for i in range(30)}
    graph |= {("use", i): (lambda block: block[7], ("block", i)) for i in range(30)}
    graph["end"] = (sum, [("use", i) for i in range(30)])
    with Cache(1e9):
        assert mars_scheduler(graph, "end") == sum(range(30))
        assert mars_scheduler(graph, "end") == sum(range(30))
    assert len(calls) == 30
    assert is_empty(session.memory)


def test_known_results_are_used(session: mars.Session):
    known = {("block", i): bytes([i]) * MB for i in range(15)}
    assert mars_scheduler(kept(30), "end", cache=known) == sum(range(30))
    assert all(len(block) == MB for block in known.values())
    assert is_empty(session.memory)


def test_failing_task_is_run_again_on_the_calling_thread(session: mars.Session):
    """What it reads may have gone to disk meanwhile."""
    calls: list[int] = []

    def fail_once(block: bytes, _: Any) -> int:
        calls.append(block[7])
        if len(calls) == 3:
            raise ZeroDivisionError
        return block[7]

    graph = kept(30)
    graph |= {("use", i): (fail_once, ("block", i), "all") for i in range(30)}
    assert mars_scheduler(graph, "end", rerun_exceptions_locally=True) == sum(range(30))
    assert len(calls) == 31
    assert is_empty(session.memory)


def test_explained_graph_runs_nothing(session: mars.Session):
    from mars.contrib.dask import explain

    x = dask.delayed(bytes)(30 * MB)
    explain(x)
    assert session.memory is not None
    assert session.memory.most_in_memory == 0
