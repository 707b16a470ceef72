"""A task that fails ends the computation at once, whatever its siblings do."""

from __future__ import annotations

import threading

import pytest
from support import eventually, inc, run_well

from mars.contrib.dask import mars_scheduler


@pytest.mark.parametrize("num_workers", [2, 4])
def test_error_does_not_wait_for_a_sibling_that_sleeps(num_workers: int):
    may_end = threading.Event()
    asleep = threading.Semaphore(0)
    awake = threading.Semaphore(0)

    def sleep() -> None:
        asleep.release()
        may_end.wait(3600)
        awake.release()

    def fail() -> None:
        asleep.acquire()
        raise ZeroDivisionError

    graph: dict = {("sleep", i): (sleep,) for i in range(num_workers - 1)} | {"fail": (fail,)}
    with pytest.raises(ZeroDivisionError):
        mars_scheduler(graph, list(graph), num_workers=num_workers)
    assert not may_end.is_set()
    barrier = threading.Barrier(num_workers)
    after = {("x", i): (barrier.wait, 20) for i in range(num_workers)}
    assert len(mars_scheduler(after, list(after), num_workers=num_workers)) == num_workers
    may_end.set()
    while asleep.acquire(blocking=False):
        assert awake.acquire(timeout=20)


def test_nothing_more_starts_after_an_error():
    """Nor when the abandoned siblings come back."""
    started: list[str] = []
    may_end = threading.Event()
    asleep = threading.Event()
    awake = threading.Event()

    def work(name: str) -> None:
        started.append(name)

    def sleep() -> None:
        asleep.set()
        may_end.wait(3600)
        awake.set()

    def fail() -> None:
        asleep.wait()
        raise ZeroDivisionError

    graph: dict = {"sleep": (sleep,), "fail": (fail,), "after": (lambda _: work("after"), "sleep")}
    graph |= {("needs the failed", i): (lambda _: work("dependent"), "fail") for i in range(100)}
    with pytest.raises(ZeroDivisionError):
        mars_scheduler(graph, list(graph), num_workers=2)
    may_end.set()
    assert awake.wait(20)
    barrier = threading.Barrier(2)
    assert sorted(mars_scheduler({"a": (barrier.wait, 20), "b": (barrier.wait, 20)}, ["a", "b"], num_workers=2)) == [
        0,
        1,
    ]
    assert started == []


def test_result_of_an_abandoned_task_is_dropped():
    may_end = threading.Event()
    asleep = threading.Event()
    dropped = threading.Event()

    class Value:
        def __del__(self) -> None:
            dropped.set()

    def sleep() -> Value:
        asleep.set()
        may_end.wait(3600)
        return Value()

    def fail() -> None:
        asleep.wait()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        mars_scheduler({"sleep": (sleep,), "fail": (fail,)}, ["sleep", "fail"], num_workers=2)
    may_end.set()
    assert dropped.wait(20)


def test_error_of_an_abandoned_task_says_nothing():
    source = """
    from mars.contrib.dask import mars_scheduler
    may_end = threading.Event()
    asleep = threading.Event()
    def sleep():
        asleep.set()
        may_end.wait()
        raise ValueError("too late")
    def fail():
        asleep.wait()
        raise ZeroDivisionError
    try:
        mars_scheduler({"sleep": (sleep,), "fail": (fail,)}, ["sleep", "fail"], num_workers=2)
    except ZeroDivisionError:
        say("raised")
    may_end.set()
    barrier = threading.Barrier(2)
    mars_scheduler({"a": (barrier.wait, 20), "b": (barrier.wait, 20)}, ["a", "b"], num_workers=2)
    """
    assert run_well(source) == ["raised"]


def test_error_deep_in_nested_computes_ends_them_all():
    def nested(depth: int) -> int:
        if depth == 0:
            raise ZeroDivisionError
        return mars_scheduler({"x": (nested, depth - 1), "y": (inc, "x")}, "y")

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            mars_scheduler({"x": (nested, 20)}, "x")
        assert mars_scheduler({"x": (inc, 1)}, "x") == 2


def test_errors_of_concurrent_computes_do_not_mix():
    callers = 10
    barrier = threading.Barrier(callers)
    raised: dict[int, int] = {}

    def fail(number: int) -> None:
        raise ValueError(number)

    def caller(number: int) -> None:
        barrier.wait(20)
        for _ in range(20):
            try:
                mars_scheduler({"a": (inc, 1), "b": (lambda _: fail(number), "a")}, "b")
            except ValueError as error:
                assert error.args == (number,)
                raised[number] = raised.get(number, 0) + 1

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == dict.fromkeys(range(callers), 20)


def test_task_that_ends_its_thread_state_oddly():
    """`SystemExit` in a task is the caller's to handle and takes no worker away."""
    for _ in range(10):
        with pytest.raises(SystemExit):
            mars_scheduler({"x": (exit_now,), "y": (exit_now,)}, ["x", "y"], num_workers=2)
    barrier = threading.Barrier(2)
    assert len(mars_scheduler({"a": (barrier.wait, 20), "b": (barrier.wait, 20)}, ["a", "b"], num_workers=2)) == 2


def exit_now() -> None:
    raise SystemExit(3)


def test_abandoned_workers_go_away_once_their_task_ends():
    """Twenty computes that fail beside a sleeper; then the sleepers wake and their threads are not needed any more."""
    before = threading.active_count()
    may_end = threading.Event()
    asleep = threading.Semaphore(0)

    def sleep() -> None:
        asleep.release()
        may_end.wait(3600)

    def fail() -> None:
        asleep.acquire()
        raise ZeroDivisionError

    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            mars_scheduler({"sleep": (sleep,), "fail": (fail,)}, ["sleep", "fail"], num_workers=2)
    may_end.set()
    assert eventually(lambda: threading.active_count() <= before + 20)
