"""What a profile records of computations whose tasks are known."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from observability.known import is_there, layered, prefixes
from support import WITHIN, add, gil_is_on, inc

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler


def test_every_task_is_counted():
    with mars.profile() as profile:
        mars_scheduler(layered(50), "total", num_workers=2)
        mars_scheduler(layered(20), "total", num_workers=2)
    assert prefixes(profile) == {"load": 70, "size": 70, "pair": 70, "total": 2}
    summary = profile.summary()
    assert (summary.tasks, summary.failed, summary.workers, summary.dropped) == (212, 0, 2, 0)
    assert 0 < summary.computing <= summary.seconds
    rows = {row.prefix: row for row in summary.prefixes}
    assert rows["load"].sized == 70
    assert rows["load"].bytes is not None
    assert rows["load"].bytes >= 1000 * (sum(range(50)) + sum(range(20)))
    assert not any(row.nested for row in summary.prefixes)
    assert 0 < sum(row.share for row in summary.prefixes) <= 1 + 1e-9
    assert sum(summary.worker_shares.values()) == pytest.approx(1.0, abs=0.05)
    for row in summary.prefixes:
        assert 0 <= row.longest <= row.seconds
        assert row.mean == pytest.approx(row.seconds / row.tasks)


def test_a_pause_before_a_function_is_called_again_has_no_ready_task():
    calls = itertools.count()
    with mars.new_session(n_workers=2, retry_delay=0.1), mars.profile() as profile:
        assert mr.spawn(lambda: 1 // next(calls), retry_when_fail=True).execute().fetch() == 1
    seconds = profile.summary().worker_seconds
    assert seconds["no ready task"] >= 0.2  # both workers had none
    assert set(profile.to_pandas()["outcome"]) == {"promised", "finished"}


def test_what_is_outside_of_the_block_is_not_recorded():
    mars_scheduler(layered(5), "total")
    with mars.profile() as profile:
        mars_scheduler({"inside": (inc, 1)}, "inside")
    mars_scheduler(layered(5), "total")
    assert prefixes(profile) == {"inside": 1}


def test_no_computation():
    with mars.profile() as profile:
        pass
    assert profile.summary().tasks == 0
    assert profile.summary().verdict == "not known"


def test_known_results_are_no_tasks():
    with mars.profile() as profile:
        mars_scheduler(layered(5), "total", cache={("load", i): b"" for i in range(5)})
    assert prefixes(profile) == {"size": 5, "pair": 5, "total": 1}


def test_failing_tasks_are_counted():
    def fail(x: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), mars.profile() as profile:
        mars_scheduler({"good": (inc, 1), "bad": (fail, "good"), "never": (inc, "bad")}, "never", num_workers=1)
    assert prefixes(profile) == {"good": 1, "bad": 1}
    assert profile.summary().failed == 1
    assert {row.prefix: row.failed for row in profile.summary().prefixes} == {"good": 0, "bad": 1}


def test_frame_agrees_with_the_totals():
    pytest.importorskip("pandas")
    with mars.profile() as profile:
        mars_scheduler(layered(200), "total", num_workers=3)
    frame = profile.to_pandas()
    assert Counter(frame.key) == Counter(list(layered(200)))
    assert set(frame.outcome) == {"finished"}
    by_prefix = frame.groupby("prefix", observed=True)
    for row in profile.summary().prefixes:
        assert by_prefix.size()[row.prefix] == row.tasks
        assert by_prefix.duration.sum()[row.prefix] == pytest.approx(row.seconds)
        assert by_prefix.duration.max()[row.prefix] == pytest.approx(row.longest)
        assert by_prefix.bytes.sum()[row.prefix] == (row.bytes or 0)
    assert (frame.queued <= frame.start).all()
    assert (frame.start <= frame.end).all()
    assert frame.start.is_monotonic_increasing
    assert (frame.cpu.dropna() <= frame.duration + 0.001).all()


def test_tasks_begin_after_what_they_need():
    pytest.importorskip("pandas")
    graph = layered(50)
    with mars.profile() as profile:
        mars_scheduler(graph, "total", num_workers=3)
    rows = profile.to_pandas().set_index("key")
    for i in range(50):
        for maker, reader in ((("load", i), ("size", i)), (("size", i), ("pair", i)), (("pair", i), "total")):
            assert rows.end[[maker]].iloc[0] <= rows.start[[reader]].iloc[0]


def test_tasks_at_the_same_time_overlap_and_those_of_one_worker_do_not():
    pytest.importorskip("pandas")
    barrier = threading.Barrier(2)
    with mars.profile() as profile:
        mars_scheduler(
            {("meet", i): (barrier.wait, WITHIN) for i in range(20)}, [("meet", i) for i in range(20)], num_workers=2
        )
    frame = profile.to_pandas()
    assert len(frame) == 20
    for _, lane in frame.groupby("worker", observed=True):
        assert (lane.start.iloc[1:].to_numpy() >= lane.end.iloc[:-1].to_numpy()).all()
    # Of each pair that met, either had begun before the other ended.
    for first in range(0, 20, 2):
        pair = frame.iloc[first : first + 2]
        assert pair.start.max() < pair.end.min()


def test_dropped_tasks_are_in_the_totals():
    gate = threading.Event()

    def slow(x: int) -> int:
        assert gate.wait(WITHIN)
        return x

    graph: dict[Any, Any] = {("quick", i): (inc, i) for i in range(5000)} | {("slow", i): (slow, i) for i in range(2)}
    with mars.profile(max_events=100) as profile:
        timer = threading.Timer(0.05, gate.set)
        timer.start()
        mars_scheduler(graph, list(graph), num_workers=2)
        timer.join()
    summary = profile.summary()
    assert prefixes(profile) == {"quick": 5000, "slow": 2}
    assert summary.dropped >= 4900
    assert "are counted here and not in the timeline" in str(summary)
    if is_there("pandas"):
        frame = profile.to_pandas()
        assert len(frame) == 5002 - summary.dropped == 5002 - frame.attrs["dropped"]
        assert (frame.prefix == "slow").sum() == 2  # the longest ones are kept


def test_nested_tasks_are_told_apart():
    def outer(n: int) -> int:
        return mars_scheduler(
            {**{("inner", i): (inc, i) for i in range(n)}, "all": (sum, [("inner", i) for i in range(n)])}, "all"
        )

    with mars.profile() as profile:
        mars_scheduler({("outer", i): (outer, 30) for i in range(4)}, [("outer", i) for i in range(4)], num_workers=2)
    assert prefixes(profile) == {"outer": 4, "inner": 120, "all": 4}
    assert {row.prefix for row in profile.summary().prefixes if row.nested} == {"inner", "all"}
    assert "inner*" in str(profile.summary())


def test_objects_are_recorded():
    with mars.profile() as profile:
        one = mr.spawn(inc, args=(1,))
        mars.execute(mr.spawn(add, args=(one, one)))
    assert prefixes(profile) == {"inc()": 1, "add()": 1}
    if is_there("pandas"):
        assert all(isinstance(key, str) and key for key in profile.to_pandas().key)


def test_collections_are_recorded():
    da = pytest.importorskip("dask.array")
    x = da.ones((100, 100), chunks=(10, 10))
    with mars.profile() as profile:
        (x + x.T).sum().compute(scheduler="mars")
    assert sum(prefixes(profile).values()) == profile.summary().tasks > 100


@pytest.mark.skipif(not gil_is_on(), reason="there is no GIL to be held")
def test_who_holds_the_gil_is_seen():
    """Both tasks run until they were looked at often enough, one in Python and one in a wait."""
    pause = threading.Event()
    with mars.profile() as profile:

        def looked_at(prefix: str) -> bool:
            assert profile._recording is not None
            samples = profile._recording.gil_samples()
            return sum(free + held for ran, free, held in samples if prefix in ran) >= 40

        def spin() -> None:
            while not looked_at("spin"):
                sum(range(10_000))

        def wait() -> None:
            while not looked_at("wait"):
                pause.wait(0.02)

        for name, function in (("spin", spin), ("wait", wait)):
            call: Callable[[], None] = function
            mars_scheduler({name: (call,)}, name, num_workers=1)
    rows = {row.prefix: row for row in profile.summary().prefixes}
    assert rows["spin"].held is not None
    assert rows["wait"].held is not None
    assert rows["spin"].held > rows["wait"].held


def test_background_execution_is_recorded():
    with mars.profile() as profile:
        info = mars.execute(mr.spawn(inc, args=(1,)), wait=False)
        info.result(WITHIN)
    assert prefixes(profile) == {"inc()": 1}


def test_a_task_that_ran_out_of_memory_and_is_run_again_has_not_failed():
    calls: list[int] = []

    def greedy() -> bytes:
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return b"enough"

    with mars.new_session(memory_limit="64 MiB", default=False), mars.profile(gil=False) as p:
        assert mars_scheduler({"greedy": (greedy,)}, "greedy") == b"enough"
    (row,) = p.summary().prefixes
    assert (row.prefix, row.tasks, row.failed, len(calls)) == ("greedy", 2, 0, 2)
