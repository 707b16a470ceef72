"""`mars.dump` and reports: what runs where, and who waits for it."""

from __future__ import annotations

import io
import signal
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from support import WITHIN, Gate, eventually, gil_is_on, inc, script
from watched import computation, running

import mars
import mars.remote as mr
from mars import _config, _report, _stacks
from mars.contrib.dask import mars_scheduler

sees_stacks = pytest.mark.skipif(not gil_is_on(), reason="without a GIL other threads cannot be looked at")


def dumped() -> str:
    file = io.StringIO()
    mars.dump(file)
    return file.getvalue()


def test_nothing_is_running():
    assert dumped() == "mars: nothing is running\n"


def test_it_goes_to_standard_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    mars.dump()
    assert capsys.readouterr() == ("", "mars: nothing is running\n")
    monkeypatch.setattr(sys, "stderr", None)
    mars.dump()


class Held:
    """A computation in another thread, whose first task is held."""

    def __init__(self, **options: Any) -> None:
        self.gate = Gate()
        graph = {
            "held-1": (self.work,),
            "next-1": (inc, "held-1"),
            "next-2": (inc, "held-1"),
            "last": (max, "next-1", "next-2"),
        }
        self.thread = threading.Thread(target=lambda: self.compute(graph, **options), name="caller")

    def compute(self, graph: Any, **options: Any) -> None:
        mars_scheduler(graph, "last", **options)

    def work(self) -> int:
        return self.gate()

    def __enter__(self) -> Held:
        self.thread.start()
        self.gate.wait_entered()
        return self

    def __exit__(self, *_: Any) -> None:
        self.gate.opened.set()
        self.thread.join()


def test_it_tells_what_runs_and_what_waits_for_it():
    with Held(num_workers=3):
        text = dumped()
    assert "mars: 1 computation running\n" in text
    assert "0 of 4 tasks done, 1 running on 3 workers, 0 ready, 3 waiting" in text
    assert "'held-1' runs for 0." in text
    assert "awaited by 2 tasks: 'next-1', 'next-2'" in text


@sees_stacks
def test_it_tells_the_lines_of_tasks_and_of_who_waits():
    with Held() as held:
        text = dumped()
    assert "in Held.work: return self.gate()" in text
    assert "in Held.compute: mars_scheduler(graph" in text
    assert str(held.thread.name) in text
    for hidden in ("mars/contrib", "_task_spec", "_bootstrap"):
        assert hidden not in text


@sees_stacks
def test_lines_of_tasks_inside_of_tasks_are_told_apart():
    gate = Gate()

    def innermost() -> int:
        return gate()

    def outer() -> int:
        return mars_scheduler({"inner": (innermost,)}, "inner")

    thread = threading.Thread(target=mars_scheduler, args=({"outer": (outer,)}, "outer"))
    thread.start()
    gate.wait_entered()
    text = dumped()
    gate.opened.set()
    thread.join()
    assert "inside of a task of computation" in text
    first, second = text.split("inside of a task")
    assert "outer: return mars_scheduler" in first
    assert "innermost: return gate()" in second
    assert "innermost: return gate()" not in first
    assert "outer: return mars_scheduler" not in second


def test_it_can_be_called_in_a_task():
    def work() -> str:
        return dumped()

    text = mr.spawn(work).execute().fetch()
    assert "work" in text
    assert "in test_it_can_be_called_in_a_task.<locals>.work: return dumped()" in text


@sees_stacks
def test_a_task_without_python_code_is_told():
    lock = threading.Lock()
    lock.acquire()
    thread = threading.Thread(target=mars_scheduler, args=({"native": (lock.acquire,)}, "native"))
    thread.start()
    assert eventually(lambda: "'native' runs" in dumped())
    text = dumped()
    lock.release()
    thread.join()
    assert "no Python code" in text


def test_it_tells_that_tasks_wait_for_room():
    memory = SimpleNamespace(in_memory=900_000, limit=1_000_000)
    text = _report.report([computation(holds=True, memory=memory, running=[running("x")], stopping=False)])
    assert "ready tasks wait for room under the memory limit: 900.00 kB of 1.00 MB are taken" in text
    text = _report.report([computation(stopping=True, running=[running("x")])])
    assert "it has failed or was cancelled" in text


def test_a_report_is_short_however_much_runs():
    many = [
        computation(
            number,
            workers=100,
            running=[
                running(
                    f"{'long ' * 100}{i}",
                    prefix=f"prefix-{i % 20}",
                    thread=i,
                    dependents=["d" * 500] * 5,
                    dependent_count=9,
                )
                for i in range(100)
            ],
        )
        for number in range(50)
    ]
    text = _report.report(many)
    assert len(text.splitlines()) < 80
    assert max(map(len, text.splitlines())) < 400
    assert "and 42 other computations" in text
    assert "other tasks" in text


@sees_stacks
def test_tasks_in_the_same_lines_are_told_together():
    barrier, gate = threading.Barrier(4), Gate()

    def work(i: int) -> int:
        barrier.wait(WITHIN)
        return gate()

    graph = {f"work-{i}": (work, i) for i in range(4)}
    thread = threading.Thread(target=lambda: mars_scheduler(graph, list(graph), num_workers=4))
    thread.start()
    assert eventually(lambda: gate.calls == 4)
    assert eventually(lambda: "4 tasks work run here, " in dumped())
    gate.opened.set()
    thread.join()


def test_odd_names_stay_in_their_line():
    text = _report.report(
        [computation(running=[running("a\nb\x1b[31m\ud800", dependents=["c\r\n"], dependent_count=1)])]
    )
    assert "a?b?[31m?" in text
    assert "\r" not in text
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    mars.dump(file)


@sees_stacks
def test_long_stacks_show_the_innermost_lines_and_then_those_of_the_user():
    lines = [_stacks.Line(f"{json_path()}", i, f"library{i}") for i in range(20)] + [
        _stacks.Line("/home/me/work.py", i, f"mine{i}") for i in range(20)
    ]
    chosen = [line.function for line in _stacks._chosen(lines)]
    assert chosen == ["library0", "library1", "library2", *[f"mine{i}" for i in range(7)]]


def test_a_task_that_waits_for_others_is_told_as_waiting():
    stacks = _stacks.Stacks()
    outer, inner, caller = (_stacks.Line("work.py", number, "f") for number in range(3))
    stacks._parts = {1: [[], [outer], [caller]], 2: [[inner], [outer], [caller]]}
    assert stacks.of_task(1, 1, True) == ([outer], True)  # what it waits for runs elsewhere
    assert [stacks.of_task(2, 2, True), stacks.of_task(2, 2, True)] == [([inner], False), ([outer], False)]
    assert stacks.waiting() == {1: [caller], 2: [caller]}
    assert stacks.of_task(3, 1, True) == ([], False)


def test_a_task_without_python_code_does_not_wait_for_others():
    stacks = _stacks.Stacks()
    outer, caller = (_stacks.Line("work.py", number, "f") for number in range(2))
    stacks._parts = {1: [[], [caller]], 2: [[], [outer]], 3: [[], [outer]], 4: [[], [outer], [caller]]}
    assert stacks.of_task(1, 1, True) == ([], False)  # a caller that helps
    assert [stacks.of_task(2, 2, False), stacks.of_task(2, 2, False)] == [([], False), ([outer], False)]
    assert stacks.of_task(3, 1, False) == ([outer], True)
    assert [stacks.of_task(4, 2, True), stacks.of_task(4, 2, True)] == [([], False), ([outer], False)]
    assert stacks.waiting() == {1: [caller], 4: [caller]}


@sees_stacks
def test_a_task_without_python_code_inside_of_another_is_told():
    lock = threading.Lock()
    lock.acquire()

    def outer() -> bool:
        return mars_scheduler({"native": (lock.acquire,)}, "native", num_workers=1)

    thread = threading.Thread(target=mars_scheduler, args=({"outer": (outer,)}, "outer"))
    thread.start()
    assert eventually(lambda: "'native' runs" in dumped())
    text = dumped()
    lock.release()
    thread.join()
    first, second = text.split("inside of a task")
    assert "outer: return mars_scheduler" in first
    assert "no Python code" in second
    assert "waits for a computation" not in second


def test_what_is_no_stream_is_refused():
    with pytest.raises(TypeError, match="file has to be a stream of text, not 'x'"):
        mars.dump("x")


def json_path() -> str:
    import json

    return json.__file__


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there are no such signals")
def test_a_signal_handler_dumps():
    source = """
    import mars
    from mars.contrib.dask import mars_scheduler
    signal.signal(signal.SIGUSR1, lambda *_: (mars.dump(sys.stdout), say("dumped")))
    may_end = threading.Event()
    def work():
        say("started")
        may_end.wait()
    signal.signal(signal.SIGUSR2, lambda *_: may_end.set())
    mars_scheduler({"held": (work,)}, "held")
    """
    with script(source) as running_script:
        running_script.read_until("started")
        running_script.process.send_signal(signal.SIGUSR1)
        running_script.read_until("dumped")
        assert any("'held' runs for" in line for line in running_script.lines)
        if gil_is_on():
            assert any("in work: " in line or "in work" in line for line in running_script.lines)
            assert any("MainThread waits for a result" in line for line in running_script.lines)
        running_script.process.send_signal(signal.SIGUSR2)
        assert running_script.finish() == (0, "")


def test_dumping_all_the_time_disturbs_nothing():
    stop = threading.Event()

    def dump() -> None:
        while not stop.is_set():
            dumped()

    threads = [threading.Thread(target=dump) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            graph: dict[Any, Any] = {("x", i): (inc, i + 0.5) for i in range(200)}
            assert sum(mars_scheduler(graph, list(graph))) == 20_200
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_in_a_notebook_it_is_output_of_the_cell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_config, "in_notebook", lambda: True)
    mars.dump()
    assert capsys.readouterr() == ("mars: nothing is running\n", "")
    monkeypatch.setattr(_config, "in_notebook", lambda: False)
    mars.dump()
    assert capsys.readouterr() == ("", "mars: nothing is running\n")
