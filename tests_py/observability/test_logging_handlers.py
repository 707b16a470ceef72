"""No handler of a logger can do harm, and no process keeps what it has to tell."""

from __future__ import annotations

import itertools
import logging
import os
import re
import threading
from typing import Any

import pytest
from logs import Handler, Records, divide, messages
from spills import LEAST, ballast, move_out, small
from support import WITHIN, eventually, inc, run_well

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler

# -- Handlers --------------------------------------------------------------------------------------------------------


def test_no_handler_and_no_level_of_ours():
    script = """
import logging, mars, mars.remote as mr
from mars.contrib.dask import mars_scheduler
with mars.new_session(n_workers=1, memory_limit="1 MiB"):
    kept = [mr.spawn(bytes, args=(600_000,)).execute() for _ in range(3)]
mars_scheduler({"a": 1}, "a")
for name in ("mars", "mars.session", "mars.run", "mars.spill"):
    logger = logging.getLogger(name)
    assert (logger.handlers, logger.level, logger.propagate) == ([], logging.NOTSET, True)
say("silent")
"""
    assert run_well(script) == ["silent"]


def nested() -> Any:
    with mars.new_session(n_workers=1, default=False):
        return mars_scheduler({"a": (inc, 1)}, "a")


def everything() -> None:
    """A bit of all that is told."""
    assert mars_scheduler({"a": (nested,), "b": (nested,)}, ["a", "b"], num_workers=2) == (2, 2)
    assert mars_scheduler({"a": (inc, 1)}, "a") == 2
    with pytest.raises(ZeroDivisionError):
        mars_scheduler({"a": (divide, 0)}, "a")
    with small() as session:
        kept = mr.spawn(bytes, args=(100_000,)).execute()
        move_out(session)
        assert kept.fetch() == bytes(100_000)
        assert session.execute(mr.spawn(inc, args=(1,)), wait=False).result().fetch() == 2
        with pytest.raises(ZeroDivisionError):
            session.execute(mr.spawn(divide, args=(0,)), wait=False).result()
        assert mars_scheduler({"a": (inc, (len, (ballast,)))}, "a") == LEAST - 999


def quiet() -> bool:
    """Whether all that was to be told has been."""
    return eventually(lambda: all(thread.name != "mars-log" for thread in threading.enumerate()))


@pytest.mark.parametrize("kind", [LookupError, RecursionError, MemoryError])
def test_a_handler_that_raises_does_no_harm_and_is_shown(
    logger: logging.Logger, capfd: pytest.CaptureFixture[str], kind: type[Exception]
):
    def fail(record: logging.LogRecord) -> None:
        raise kind("of the handler")

    logger.addHandler(Handler(fail))
    logger.setLevel(logging.DEBUG)
    everything()
    assert quiet()
    shown = capfd.readouterr().err
    assert shown.count("mars: a handler or filter of a logger has raised\n") > 5
    assert f"{kind.__name__}: of the handler" in shown


def test_a_handler_that_raises_is_not_shown_if_that_is_switched_off(
    logger: logging.Logger, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.addHandler(Handler(lambda record: divide(0)))
    logger.setLevel(logging.DEBUG)
    everything()
    assert quiet()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("shown", [True, False])
def test_a_handler_that_raises_where_a_function_is_called_again(
    logger: logging.Logger, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shown: bool
):
    monkeypatch.setattr(logging, "raiseExceptions", shown)
    logger.addHandler(Handler(lambda record: divide(0)))
    calls = itertools.count()
    with mars.new_session(n_workers=1, retry_delay=0.0):
        assert mr.spawn(lambda: 1 // next(calls), retry_when_fail=True).execute().fetch() == 1
    assert quiet()
    assert ("mars: a handler or filter of a logger has raised\n" in capfd.readouterr().err) is shown


def test_a_filter_that_raises_does_no_harm(logger: logging.Logger, capfd: pytest.CaptureFixture[str]):
    runs = logging.getLogger("mars.run")
    runs.addFilter(lambda record: bool(divide(0)))
    logger.setLevel(logging.DEBUG)
    try:
        everything()
    finally:
        runs.filters.clear()
    assert quiet()
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_handler_that_ends_all_does_not_leave_others_waiting(
    logger: logging.Logger, capfd: pytest.CaptureFixture[str], kind: type[BaseException]
):
    """An execution in the background has ended all the same, and what is told next is told."""
    records: Records = []

    def leave(record: logging.LogRecord) -> None:
        records.append(record)
        if "after" in record.getMessage():
            raise kind

    with mars.new_session(n_workers=1, default=False) as session:
        logger.addHandler(Handler(leave))
        logger.setLevel(logging.DEBUG)
        for count in (2, 4):
            info = session.execute(mr.spawn(inc, args=(1,)), wait=False)
            assert info.wait(WITHIN)
            assert info.result().fetch() == 2
            assert eventually(lambda count=count: len(records) == count)
    assert quiet()
    assert capfd.readouterr().err.count(f"\n{kind.__name__}\n") == 2


def compute_something(record: logging.LogRecord) -> None:
    graph: dict[Any, Any] = {("x", n): (inc, n) for n in range(20)}
    graph["sum"] = (sum, list(graph))
    assert mars_scheduler(graph, "sum", num_workers=2) == 210
    assert mr.spawn(inc, args=(mr.spawn(inc, args=(1,)),)).execute().fetch() == 3
    with mars.new_session(n_workers=1, memory_limit=LEAST, default=False) as session:
        kept = [mr.spawn(bytes, args=(600_000,)).execute() for _ in range(2)]
        assert session.memory.limit == LEAST
        del kept


def test_a_handler_may_compute_and_is_not_told_of_that(logger: logging.Logger):
    records: Records = []
    failed: list[BaseException] = []

    def handle(record: logging.LogRecord) -> None:
        try:
            compute_something(record)
        except BaseException as error:
            failed.append(error)
        records.append(record)

    logger.addHandler(Handler(handle))
    logger.setLevel(logging.DEBUG)
    logging.getLogger("mars.spill").setLevel(logging.WARNING)  # what handlers spill is told like any other
    try:
        mars_scheduler({"a": (inc, 1)}, "a", num_workers=2)
        assert len(records) == 2
        mars.execute(mr.spawn(inc, args=(1,)), wait=False).result()
        assert quiet()
    finally:
        logging.getLogger("mars.spill").setLevel(logging.NOTSET)
        mars.stop_server()
    assert failed == []
    assert len(messages(records, "mars.run")) == 4


def test_a_handler_may_compute_while_results_are_moved(logger: logging.Logger):
    """With its lock held, which the threads that move results would need."""
    turns: list[str] = []

    def handle(record: logging.LogRecord) -> None:
        if record.name == "mars.spill" and len(turns) < 3:
            turns.append(record.getMessage())
            compute_something(record)

    logger.addHandler(Handler(handle))
    logger.setLevel(logging.DEBUG)
    everything()
    assert quiet()
    assert len(turns) == 3


def test_a_program_may_compute_in_a_handler_of_its_own(logger: logging.Logger):
    """Whoever moves results meanwhile does not wait for the handler, whose lock is held."""
    program, turns = logging.Logger("program"), 0

    def handle(record: logging.LogRecord) -> None:
        nonlocal turns
        if record.name == "program":
            turns += 1
            everything()

    handler = Handler(handle)
    program.addHandler(handler)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    program.warning("hello")
    assert turns == 1
    assert quiet()


def test_a_handler_may_ask_for_the_session_that_is_being_made(logger: logging.Logger):
    mars.stop_server()
    found: list[mars.Session] = []
    logger.addHandler(Handler(lambda record: found.append(mars.get_default_session())))
    logger.setLevel(logging.DEBUG)
    made = mars.get_default_session()
    logger.setLevel(logging.WARNING)
    assert found == [made]
    mars.stop_server()


def test_computations_of_many_threads_are_told_apart(told: Records):
    def compute() -> None:
        for _ in range(20):
            assert mars_scheduler({"a": (inc, 1), "b": (inc, "a")}, "b") == 3

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [message.split()[1] for message in messages(told, "mars.run")]
    assert len(names) == 160
    assert {names.count(name) for name in names} == {2}


# -- Processes -------------------------------------------------------------------------------------------------------

LOGGING = """
import logging, mars, mars.remote as mr
from mars.contrib.dask import mars_scheduler
logging.basicConfig(level="DEBUG", stream=sys.stdout, format="%(name)s %(message)s")
"""


def test_what_is_left_on_disk_at_the_exit_is_told():
    script = """
session = mars.new_session(n_workers=1, memory_limit="1 MiB")
kept = [mr.spawn(bytes, args=(600_000,)).execute() for _ in range(3)]
"""
    *_, last = run_well(LOGGING + script)
    assert re.fullmatch(r"mars\.spill removed \S+: 1\.20 MB were written and 0 B read in all", last)


def test_messages_of_workers_are_told_before_the_exit():
    slowly = """
class Slow(logging.Handler):
    def emit(self, record):
        if record.threadName == "mars-log":
            threading.main_thread().join(1)  # does not end before
logging.getLogger("mars.spill").addHandler(Slow())
"""
    script = """
first = mars.new_session(n_workers=1, memory_limit="1 MiB")
kept = [mr.spawn(bytes, args=(600_000,)).execute() for _ in range(3)]
first.stop()
"""
    said = run_well(LOGGING + slowly + script)
    assert sum("moved a result" in line for line in said) == 2
    assert sum("removed" in line for line in said) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_tells_its_own():
    script = """
entered, opened = threading.Event(), threading.Event()
class Slow(logging.Handler):
    def emit(self, record):
        if record.threadName == "mars-log":
            entered.set()
            opened.wait(10)
logging.getLogger("mars.spill").addHandler(Slow())
session = mars.new_session(n_workers=1, memory_limit="1 MiB")
kept = [mr.spawn(bytes, args=(600_000,)).execute() for _ in range(3)]
assert entered.wait(10)
pid = os.fork()  # while a thread tells
if pid == 0:
    logging.getLogger("mars.spill").handlers.clear()
    logging.getLogger("mars").setLevel(logging.INFO)
    with mars.new_session(n_workers=1, memory_limit="1 MiB"):
        kept = [mr.spawn(bytes, args=(600_000,)).execute() for _ in range(3)]
    for thread in threading.enumerate():
        if thread.name == "mars-log":
            thread.join()
    sys.stdout.flush()
    os._exit(0)
say("child", os.waitpid(pid, 0)[1])
opened.set()
session.stop()
"""
    said = run_well(LOGGING + script, flags=("-W", "ignore::DeprecationWarning"))
    assert "child 0" in said
    before = said[: said.index("child 0")]
    assert sum("reached" in line for line in before) >= 1
    assert sum("removed" in line for line in before) == 1


def test_an_exit_amid_work_is_not_held_up():
    script = """
def work():
    while True:
        with mars.new_session(n_workers=1, memory_limit="1 MiB", default=False) as session:
            kept = [mr.spawn(bytes, args=(600_000,)).execute() for _ in range(3)]
logging.getLogger().handlers[0].setStream(open(os.devnull, "w"))
threading.Thread(target=work, daemon=True).start()
class Seen(logging.Handler):
    def emit(self, record):
        if record.threadName == "mars-log":
            seen.set()
seen = threading.Event()
logging.getLogger("mars").addHandler(Seen())
assert seen.wait(10)
say("leaves")
"""
    assert run_well(LOGGING + script, flags=("-W", "ignore::ResourceWarning")) == ["leaves"]
