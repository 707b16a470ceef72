"""Section 3: keyword arguments, known and unknown, and the settings of the same name."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from operator import add
from typing import Any

import dask
import dask.bag
import dask.callbacks
import pytest
from dask._task_spec import Task, TaskRef
from support import inc

from mars._mars import pool_size
from mars.contrib.dask import mars_scheduler

# -- Unknown keywords ------------------------------------------------------------------------------------------------


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mars"]


def test_unknown_keyword_is_accepted_and_said_once_with_the_nearest_known(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, logger="mars"):
        for _ in range(3):
            assert mars_scheduler({"x": (inc, 1)}, "x", num_wrokers=3) == 2
    (message,) = said(caplog)
    assert "num_wrokers" in message
    assert "num_workers" in message


def test_each_unknown_keyword_is_said(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, logger="mars"):
        mars_scheduler({"x": 1}, "x", callbakcs=None, rerun_exceptions_localy=True)
    messages = said(caplog)
    for wrong, right in {"callbakcs": "callbacks", "rerun_exceptions_localy": "rerun_exceptions_locally"}.items():
        assert any(wrong in message and right in message for message in messages), messages


def test_known_keywords_are_not_remarked_on(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, logger="mars"):
        mars_scheduler({"x": 1}, "x", num_workers=1, cache=None, callbacks=None, chunksize=1, pool=None)
    assert said(caplog) == []


@pytest.mark.parametrize(
    "collection", [lambda: dask.delayed(inc)(1), lambda: dask.bag.from_sequence([2]).sum()], ids=["delayed", "bag"]
)
def test_unknown_keyword_of_compute_is_forwarded_and_accepted(collection: Callable[[], Any]):
    assert collection().compute(scheduler=mars_scheduler, bogus_keyword=10) == 2


def test_callbacks_by_the_old_names_are_accepted():
    def never(*_: object) -> None:
        raise AssertionError("these names have no meaning any more")

    assert mars_scheduler({"a": (inc, 1)}, "a", start_callback=never, end_callback=never) == 2


# -- num_workers -----------------------------------------------------------------------------------------------------

GIVEN: list[Any] = ["keyword", "setting"]


@contextlib.contextmanager
def workers_given(how: str, number: Any) -> Iterator[dict[str, Any]]:
    """The keyword arguments that give the number, or none while the setting gives it."""
    if how == "keyword":
        yield {"num_workers": number}
    else:
        with dask.config.set(num_workers=number):
            yield {}


@pytest.mark.parametrize("how", GIVEN)
@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_at_most_so_many_tasks_run_at_a_time(how: str, number: int):
    running = most = 0
    lock = threading.Lock()
    others_may_come = threading.Event()

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        others_may_come.wait(0.002)
        with lock:
            running -= 1

    graph = {("work", i): (work, i) for i in range(60)}
    with workers_given(how, number) as keywords:
        mars_scheduler(graph, list(graph), **keywords)
    assert 1 <= most <= number


@pytest.mark.parametrize("how", GIVEN)
@pytest.mark.parametrize("number", [2, 3, 7])
def test_so_many_tasks_do_run_at_once(how: str, number: int):
    barrier = threading.Barrier(number)
    graph = {("work", i): (lambda: (barrier.wait(20), threading.get_ident())[1],) for i in range(number)}
    with workers_given(how, number) as keywords:
        identities = mars_scheduler(graph, list(graph), **keywords)
    assert len(set(identities)) == number


def test_keyword_outranks_the_setting():
    barrier = threading.Barrier(3)
    graph = dict.fromkeys(range(3), (barrier.wait, 20))
    with dask.config.set(num_workers=1):
        assert set(mars_scheduler(graph, list(graph), num_workers=3)) == {0, 1, 2}


class Two:
    def __index__(self) -> int:
        return 2


def test_whatever_counts_as_an_integer_is_a_number_of_workers():
    assert mars_scheduler({"x": (inc, 1)}, "x", num_workers=Two()) == 2


@pytest.mark.parametrize("how", GIVEN)
@pytest.mark.parametrize(
    ("number", "error"),
    [(0, ValueError), (-1, ValueError), (2.5, TypeError), ("four", TypeError), ([2], TypeError)],
)
def test_number_of_workers_that_makes_no_sense_is_refused(how: str, number: Any, error: type[Exception]):
    ran: list[int] = []
    with workers_given(how, number) as keywords, pytest.raises(error) as caught:
        mars_scheduler({"x": (ran.append, 1)}, "x", **keywords)
    assert "num_workers" in str(caught.value)
    assert repr(number) in str(caught.value)
    assert ran == []


# -- pool ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool_type", [ThreadPool, ThreadPoolExecutor])
@pytest.mark.parametrize("how", GIVEN)
def test_pool_is_accepted(pool_type: Callable, how: str):
    with pool_type(2) as pool:
        if how == "keyword":
            assert mars_scheduler({"x": (inc, 1)}, "x", pool=pool) == 2
        else:
            with dask.config.set(pool=pool):
                assert mars_scheduler({"x": (inc, 1)}, "x") == 2


@pytest.mark.parametrize("pool_type", [ThreadPool, ThreadPoolExecutor])
def test_worker_count_of_the_pool_is_taken(pool_type: Callable):
    barrier = threading.Barrier(3)
    graph = {i: (lambda: (barrier.wait(20), threading.get_ident())[1],) for i in range(9)}
    with pool_type(3) as pool:
        assert len(set(mars_scheduler(graph, list(graph), pool=pool))) == 3


# -- cache -----------------------------------------------------------------------------------------------------------


def test_cache_supplies_what_the_graph_lacks():
    graph = {"y": Task("y", lambda x: x, TaskRef("x"))}
    with pytest.raises(ValueError, match="Missing dependency"):
        mars_scheduler(graph, "y")
    assert mars_scheduler(graph, "y", cache={"x": 1}) == 1


def test_cache_of_the_settings_supplies_what_the_graph_lacks():
    with dask.config.set(cache={"x": 1}):
        assert mars_scheduler({"y": Task("y", inc, TaskRef("x"))}, "y") == 2


def test_key_of_the_cache_may_be_asked_for():
    assert mars_scheduler({"y": (inc, 1)}, ["x", "y"], cache={"x": 5}) == (5, 2)


def test_value_in_the_cache_is_never_taken_for_a_task():
    graph = {"y": Task("y", lambda x: x, TaskRef("x"))}
    value = (inc, 1)
    assert mars_scheduler(graph, "y", cache={"x": value}) is value


# -- The others ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 2, 100])
def test_chunksize_changes_no_result(chunksize: int):
    graph: dict = {("x", i): (inc, i) for i in range(20)}
    graph["sum"] = (sum, list(graph))
    assert mars_scheduler(graph, "sum", chunksize=chunksize) == sum(range(1, 21))
    with dask.config.set(chunksize=chunksize):
        assert mars_scheduler(graph, "sum") == sum(range(1, 21))


@pytest.mark.parametrize("how", GIVEN)
def test_failing_task_is_run_again_where_a_debugger_stops(how: str):
    """On the caller's thread, with the same arguments."""
    runs: list[tuple[int, int]] = []

    def fail(argument: int) -> None:
        runs.append((argument, threading.get_ident()))
        raise ZeroDivisionError(len(runs))

    graph = {"argument": (add, 1, 2), "fail": (fail, "argument")}
    with contextlib.ExitStack() as stack:
        keywords = {"rerun_exceptions_locally": True}
        if how == "setting":
            stack.enter_context(dask.config.set(keywords))
            keywords = {}
        with pytest.raises(ZeroDivisionError, match="2"):
            mars_scheduler(graph, "fail", **keywords)
    assert [argument for argument, _ in runs] == [3, 3]
    assert runs[-1][1] == threading.get_ident()


@pytest.mark.parametrize("callbacks", [None, [dask.callbacks.Callback(posttask=lambda *_: None)]])
def test_only_the_first_of_two_failing_tasks_is_run_again(callbacks: Any):
    both_run = threading.Barrier(2)
    again: list[int] = []

    def fail(number: int) -> None:
        if threading.current_thread() is threading.main_thread():
            again.append(number)
        else:
            both_run.wait(20)
        raise ZeroDivisionError

    graph = {number: (fail, 10 + number) for number in range(2)}
    with pytest.raises(ZeroDivisionError):
        mars_scheduler(graph, [0, 1], num_workers=2, rerun_exceptions_locally=True, callbacks=callbacks)
    assert len(again) == 1


def test_many_workers_are_not_made_for_little_work():
    assert mars_scheduler({"x": (inc, 1), "y": (inc, 2)}, ["x", "y"], num_workers=3_000) == (2, 3)
    assert pool_size() < 100


def test_failing_task_is_run_once_unless_asked_for():
    runs: list[int] = []

    def fail() -> None:
        runs.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        mars_scheduler({"x": (fail,)}, "x")
    assert len(runs) == 1


@pytest.mark.parametrize(
    "keywords",
    [
        {"get_id": lambda: "id"},
        {"dumps": lambda value: value, "loads": lambda value: value},
        {"pack_exception": lambda error, dumps: (error, None)},
        {"raise_exception": lambda error, traceback: None},
        {"flush": True},
        {"initializer": lambda: None},
        {"foo": 1},
    ],
    ids=lambda keywords: next(iter(keywords)),
)
def test_keyword_of_other_schedulers_is_accepted(keywords: dict[str, Any]):
    assert mars_scheduler({"x": (inc, 1)}, "x", **keywords) == 2
