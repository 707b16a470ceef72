"""Where nothing finishes any more, the log ``mars`` says what runs."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dask
import pytest
from support import WITHIN, Gate, eventually, gil_is_on, run_well
from watched import computation, running

import mars.remote as mr
from mars import _mars, _stall
from mars.contrib.dask import mars_scheduler


@pytest.fixture(autouse=True)
def thread_ends() -> Iterator[None]:
    yield
    assert eventually(lambda: _stall.state.thread is None)


def stalled(number: int = 1, idle: float = 40.0, **more: Any) -> Any:
    return computation(number, idle_seconds=idle, running=[running("x")], **more)


def ids(families: list[list[Any]]) -> list[list[int]]:
    return [[computation.id for computation in family] for family in families]


def test_a_stall_is_told_once_and_again_when_it_lasts_twice_as_long():
    stalls = _stall.Stalls()
    told = [idle for idle in range(300) if stalls.due([stalled(idle=float(idle))], 30.0)]
    assert told == [30, 60, 120, 240]


def test_a_task_that_finishes_ends_the_stall():
    stalls = _stall.Stalls()
    assert stalls.due([stalled(idle=31.0)], 30.0)
    assert not stalls.due([stalled(idle=1.0)], 30.0)
    assert stalls.due([stalled(idle=31.0)], 30.0)


def test_computations_are_told_apart():
    stalls = _stall.Stalls()
    assert ids(stalls.due([stalled(1), stalled(2, idle=3.0)], 30.0)) == [[1]]
    assert ids(stalls.due([stalled(1), stalled(2)], 30.0)) == [[2]]


def test_an_outer_computation_is_as_busy_as_those_in_its_tasks():
    stalls = _stall.Stalls()
    family = [stalled(1), stalled(2, outer=1), stalled(3, outer=2, idle=2.0)]
    assert stalls.due(family, 30.0) == []
    family[2] = stalled(3, outer=2)
    assert ids(stalls.due(family, 30.0)) == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"running": []}, False),  # waits for something else, such as another attempt
        ({"running": [], "holds": True}, True),
        ({"stopping": True}, False),  # nobody waits for it
    ],
    ids=str,
)
def test_what_is_no_stall(more: dict[str, Any], told: bool):
    going_on = stalled()
    vars(going_on).update(more)
    assert bool(_stall.Stalls().due([going_on], 30.0)) is told


def test_computations_that_ended_are_forgotten():
    stalls = _stall.Stalls()
    for number in range(100):
        stalls.due([stalled(number)], 30.0)
    assert len(stalls._next) == 1


def test_a_report_goes_to_the_log(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "mars"):
        _stall.tell([[stalled()]])
    (record,) = caplog.records
    assert record.getMessage().startswith("no task has finished for 40 s\n1 computation running\n")


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, None), (False, None), (0, None), (0.0, None), (True, 30.0), (5, 5.0), (0.25, 0.25)]
)
def test_the_setting(value: Any, seconds: float | None):
    with dask.config.set({"mars.stall-report": value}):
        assert _stall.wanted() == seconds


def test_in_notebooks_it_is_on(monkeypatch: pytest.MonkeyPatch):
    shell: Any = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[arg-type]
    assert _stall.wanted() == 30.0
    with dask.config.set({"mars.stall-report": False}):
        assert _stall.wanted() is None
    del shell.kernel  # IPython in a terminal
    assert _stall.wanted() is None


@pytest.mark.parametrize("value", ["soon", "30 s", -1, float("nan"), float("inf"), [30], 1e12])
def test_nonsense_is_refused_before_anything_runs(value: Any):
    gate = Gate()
    with dask.config.set({"mars.stall-report": value}):
        with pytest.raises((TypeError, ValueError), match=r"the setting mars\.stall-report has to be .*, not"):
            mars_scheduler({"x": (gate,)}, "x")
        with pytest.raises((TypeError, ValueError), match=r"mars\.stall-report"):
            mr.spawn(gate).execute()
    assert gate.calls == 0


def test_a_computation_that_stands_still_is_told(caplog: pytest.LogCaptureFixture):
    gate = Gate()

    def stands_still() -> None:
        gate()

    def told() -> bool:
        if not gil_is_on():  # other threads cannot be looked at
            return "'still' runs for" in caplog.text
        return "in test_a_computation_that_stands_still_is_told.<locals>.stands_still: gate()" in caplog.text

    with caplog.at_level(logging.WARNING, "mars"), dask.config.set({"mars.stall-report": 0.05}):
        graph = {"still": (stands_still,), "more": (len, "still")}
        thread = threading.Thread(target=lambda: mars_scheduler(graph, "still"), name="caller")
        thread.start()
        assert eventually(told, WITHIN)
        gate.opened.set()
        thread.join()
    assert "no task has finished for 0." in caplog.records[0].getMessage()
    assert "'still' runs for" in caplog.records[0].getMessage()


def test_the_thread_is_there_only_for_computations():
    with dask.config.set({"mars.stall-report": 30}):
        assert _stall.state.thread is None
        mars_scheduler({"x": (int,)}, "x")
        first = _stall.state.thread
        assert first is not None
        mr.spawn(int).execute()
        assert _stall.state.thread in (first, None)
    assert eventually(lambda: _stall.state.thread is None)
    mars_scheduler({"x": (int,)}, "x")
    assert _stall.state.thread is None


def test_a_computation_that_begins_while_the_thread_takes_leave_keeps_it():
    state = _stall.state
    me = threading.current_thread()
    state.thread, begun = me, state.begun
    try:
        state.begun += 1
        assert not _stall._ended(begun)
        assert state.thread is me
        assert _stall._ended(state.begun)
        assert state.thread is None
    finally:
        state.thread = None


def test_switching_it_off_silences_what_goes_on(caplog: pytest.LogCaptureFixture):
    gate = Gate()
    with dask.config.set({"mars.stall-report": 1000}):
        info = mr.spawn(gate).execute(wait=False)
        gate.wait_entered()
    mars_scheduler({"x": (int,)}, "x")
    assert _stall.state.seconds is None
    gate.opened.set()
    info.result(WITHIN)


def test_a_report_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "mars"):
        _stall.tell([[SimpleNamespace(idle_seconds=1.0)], [stalled()]])
    assert "the report on a stall has failed" in caplog.records[0].getMessage()
    assert "no task has finished" in caplog.records[1].getMessage()


@pytest.mark.parametrize("hidden", ["", "sys.modules['dask'] = None"], ids=["with dask", "without dask"])
def test_the_process_ends_while_it_is_watched(hidden: str):
    source = f"""
    os.environ["DASK_MARS__STALL_REPORT"] = "20"
    {hidden}
    import mars, mars.remote as mr
    from mars import _stall
    mr.spawn(int).execute()
    say(_stall.state.seconds, _stall.state.thread.daemon)
    """
    assert run_well(source) == ["20.0 True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_a_watch_of_its_own():
    source = """
    import warnings, dask
    warnings.simplefilter("ignore")
    from mars import _stall
    from mars.contrib.dask import mars_scheduler
    dask.config.set({"mars.stall-report": 20})
    mars_scheduler({"x": (int,)}, "x")
    if os.fork() == 0:
        say(_stall.state.thread)
        mars_scheduler({"x": (int,)}, "x")
        say(_stall.state.thread.is_alive())
    else:
        say(os.waitpid(-1, 0)[1])
    """
    assert run_well(source) == ["None", "True", "0"]


def test_nothing_is_asked_of_the_engine_while_it_is_off(monkeypatch: pytest.MonkeyPatch):
    def never() -> Any:
        raise AssertionError

    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(_mars, "computations", never)
    monkeypatch.setattr(_stall, "wanted", never)
    assert mars_scheduler({"x": (int,)}, "x") == 0
