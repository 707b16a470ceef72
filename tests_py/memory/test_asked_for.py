"""Results that the caller asks for stay until the end: they have to fit together."""

from __future__ import annotations

import logging
from typing import Any

import dask
import pytest
from spills import MB, is_empty

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler

np = pytest.importorskip("numpy")
da = pytest.importorskip("dask.array")


def blocks(count: int, size: int = MB) -> dict[Any, Any]:
    return {("block", i): (np.full, size // 8, float(i)) for i in range(count)}


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mars"]


def test_results_that_do_not_fit_are_told_before_and_refused_in_the_end(
    session: mars.Session, caplog: pytest.LogCaptureFixture
):
    told_before: list[int] = []

    def make(i: int) -> bytes:
        told_before.append(len(told(caplog)))
        return bytes(MB)

    graph = {("block", i): (make, i) for i in range(30)}
    with caplog.at_level(logging.WARNING, "mars"), pytest.raises(mars.MemoryLimitError, match="do not fit") as caught:
        mars_scheduler(graph, list(graph), num_workers=1)
    (message,) = told(caplog)
    assert "10.00 MB" in message
    assert "30.0" in message  # what they are going to take
    assert "10.00 MB" in str(caught.value)
    assert "of 30" in str(caught.value)
    assert told_before[0] == 0
    assert told_before[5] == 1
    assert len(told_before) < 15  # it does not go on for nothing
    assert is_empty(session.memory)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("make", [bytes, bytearray, lambda size: np.zeros(size // 8), lambda size: [bytes(size)]])
def test_results_of_any_kind_that_do_not_fit_are_refused(session: mars.Session, make: Any, workers: int):
    """Also where those that were moved to disk leave their place, and their identity, to the next."""
    graph = {("block", i): (make, MB) for i in range(30)}
    with pytest.raises(mars.MemoryLimitError, match="do not fit"):
        mars_scheduler(graph, list(graph), num_workers=workers)
    assert is_empty(session.memory)


def test_results_that_just_fit_are_returned(session: mars.Session, caplog: pytest.LogCaptureFixture):
    graph = blocks(9)
    with caplog.at_level(logging.WARNING, "mars"):
        results = mars_scheduler(graph, list(graph))
    assert [block[-1] for block in results] == list(range(9))
    assert sum(block.nbytes for block in results) == 9 * MB
    assert told(caplog) == []
    assert is_empty(session.memory)


def test_results_that_fit_come_with_work_that_does_not(session: mars.Session):
    """Eight megabytes of results out of thirty that are kept until the end."""
    graph = blocks(30)
    graph |= {("sum", i): (np.sum, ("block", i)) for i in range(30)}
    graph["all"] = (sum, [("sum", i) for i in range(30)])
    graph |= {("more", i): (np.add, ("block", i), "all") for i in range(30)}
    graph |= {("last", i): (np.sum, ("more", i)) for i in range(30)}
    wanted = [*[("block", i) for i in range(8)], *[("last", i) for i in range(30)]]
    results = mars_scheduler(graph, wanted)
    assert [block[0] for block in results[:8]] == list(range(8))
    assert results[8] == results[7][0] * 0 + sum(range(30)) * (MB // 8) ** 2
    assert is_empty(session.memory)


def test_same_result_asked_for_often_counts_once(session: mars.Session):
    results = mars_scheduler(blocks(6), [[("block", i) for i in range(6)], [("block", i) for i in range(6)]])
    assert all(a is b for a, b in zip(*results, strict=True))
    assert is_empty(session.memory)


def test_views_of_one_array_count_once(session: mars.Session):
    graph: dict[Any, Any] = {"x": (np.ones, 6 * MB // 8)}
    graph |= {("view", i): (lambda x, i: x[i:], "x", i) for i in range(20)}
    results = mars_scheduler(graph, [("view", i) for i in range(20)])
    assert all(view.base is results[0].base for view in results)
    assert is_empty(session.memory)


def test_small_part_of_a_large_array_of_the_caller_is_no_large_result(session: mars.Session):
    """It keeps that array, which was there before."""
    values = np.arange(4 * MB, dtype="f8")  # 32 MB
    for chunks in (-1, MB // 2):
        array = da.from_array(values, chunks=chunks)
        assert array[:3].compute(scheduler=mars_scheduler).tolist() == [0, 1, 2]
        assert array[5 : MB // 8].sum().compute(scheduler=mars_scheduler) == values[5 : MB // 8].sum()
    assert is_empty(session.memory)


@pytest.mark.parametrize("how", ["view", "itself"])
def test_array_of_the_callers_that_a_task_returns_is_not_made_by_it(session: mars.Session, how: str):
    """Thirty-two megabytes that were there before, in a constant of the graph."""
    values = np.arange(4 * MB, dtype="f8")
    graph = {
        "x": values,
        "y": ((lambda x: x[:3]) if how == "view" else (lambda x: x), "x"),
        "z": (lambda y: y[:3], "y"),
    }
    assert mars_scheduler(graph, "z").tolist() == [0, 1, 2]
    assert is_empty(session.memory)


def test_persist_asks_for_all_of_it(session: mars.Session):
    x = da.random.default_rng(1).random((2000, 2000), chunks=(100, 2000))
    with pytest.raises(mars.MemoryLimitError, match="do not fit"):
        x.persist(scheduler=mars_scheduler)
    assert is_empty(session.memory)
    small = x[:400].persist(scheduler=mars_scheduler)
    assert (small.sum() == x[:400].sum()).compute(scheduler=mars_scheduler)


def test_one_result_larger_than_the_limit_is_refused(session: mars.Session):
    with pytest.raises(mars.MemoryLimitError, match=r"1 of 1 take 20\.00 MB"):
        mars_scheduler({"x": (bytes, 20 * MB)}, "x")
    assert is_empty(session.memory)


def test_one_result_larger_than_the_limit_is_no_error_on_the_way(session: mars.Session):
    assert mars_scheduler({"x": (bytes, 20 * MB), "y": (len, "x")}, "y") == 20 * MB
    assert is_empty(session.memory)


def test_objects_are_not_asked_for_all_at_once(session: mars.Session):
    """Nobody has fetched them: they may go to disk."""
    objects = mars.execute(*[mr.spawn(np.full, args=(MB // 8, float(i))) for i in range(30)])
    assert session.memory is not None
    assert session.memory.on_disk >= 18 * MB
    assert [obj.fetch()[0] for obj in objects] == list(range(30))
    del objects
    assert is_empty(session.memory)


def test_advice_of_the_error_helps(session: mars.Session):
    """Reduce it before: what comes of that fits."""
    x = da.random.default_rng(1).random((2000, 2000), chunks=(100, 2000))
    with dask.config.set(scheduler=mars_scheduler):
        with pytest.raises(mars.MemoryLimitError, match="Reduce them"):
            x.compute()
        assert x.mean(axis=0).compute().shape == (2000,)


@pytest.mark.parametrize("kind", ["array", "frame", "delayed"])
def test_collection_that_does_not_fit_is_refused_before_it_is_put_together(session: mars.Session, kind: str):
    """Dask does that in one last task, which needs all parts in memory, and makes as much again."""
    if kind == "array":
        collection = da.random.default_rng(1).random((2000, 2000), chunks=(100, 2000))
    elif kind == "frame":
        dd, pd = pytest.importorskip("dask.dataframe"), pytest.importorskip("pandas")
        meta = pd.DataFrame({"x": [0]})
        collection = dd.from_map(lambda i: pd.DataFrame({"x": np.arange(MB // 8) + i}), range(30), meta=meta)
    else:
        collection = dask.delayed([dask.delayed(np.full)(MB // 8, float(i)) for i in range(30)])
    with pytest.raises(mars.MemoryLimitError):
        collection.compute(scheduler=mars_scheduler)
    assert session.memory is not None
    assert session.memory.most_in_memory < 16 * MB
    assert is_empty(session.memory)
