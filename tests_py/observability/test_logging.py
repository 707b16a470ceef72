"""What is told to the loggers below ``mars``, and when."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import dask
import pytest
from logs import Records, divide, messages
from spills import LEAST, move_out, small
from support import WITHIN, Gate, environment, eventually, inc, program

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler


def both(records: Records) -> tuple[str, str]:
    """What was told at the begin and at the end of the one run that there was, less what pairs them."""
    assert eventually(lambda: len(messages(records, "mars.run")) >= 2)  # in the background it comes later
    begin, end = messages(records, "mars.run")
    (named,) = {re.match(r"[a-z ]+ [0-9a-f]{8} ", message)[0] for message in (begin, end)}  # type: ignore[index]
    return begin.removeprefix(named), re.sub(r"\d+\.\d+ s", "# s", end.removeprefix(named))


# -- Runs ------------------------------------------------------------------------------------------------------------


def test_a_computation_is_told_at_its_begin_and_end(told: Records):
    mars_scheduler({"a": (inc, 1), "b": (inc, "a")}, ["b", ["a", "b"]], num_workers=3)
    assert both(told) == ("begins: asked for 3, workers=3, memory_limit=none", "finished after # s")
    assert {(record.name, record.levelno) for record in told} == {("mars.run", logging.DEBUG)}
    assert told[0].getMessage().startswith("computation ")


def test_two_computations_have_different_names(told: Records):
    for _ in range(2):
        mars_scheduler({"a": 1}, "a")
    names = [message.split()[1] for message in messages(told, "mars.run")]
    assert names[0] == names[1] != names[2] == names[3]


def test_the_limit_of_a_computation_is_told(told: Records):
    with small():
        mars_scheduler({"a": (inc, 1)}, "a")
    assert any("memory_limit=1.05 MB" in message for message in messages(told, "mars.run"))


def test_a_failure_is_told_with_its_task_and_without_values(told: Records):
    graph: dict[str, Any] = {"secret": (list, [0]), "divide": (divide, (sum, "secret")), "all": (inc, "divide")}
    with pytest.raises(ZeroDivisionError):
        mars_scheduler(graph, "all", num_workers=1)
    assert both(told)[1] == "failed after # s: ZeroDivisionError in task 'divide'"


def test_the_task_is_that_of_this_computation(told: Records):
    def outer() -> None:
        mars_scheduler({"inner": (divide, 0)}, "inner")

    with pytest.raises(ZeroDivisionError):
        mars_scheduler({"outer": (outer,)}, "outer")
    assert eventually(lambda: len(told) == 4)  # what tasks have to tell comes later
    by_name = sorted(messages(told, "mars.run"), key=lambda message: message.split()[1])
    runs = by_name[:2], by_name[2:]
    (inner_begin, inner_end), (outer_begin, outer_end) = sorted(runs, key=lambda run: "inside" not in run[0])
    assert " begins inside a task: " in inner_begin
    assert " begins: " in outer_begin
    assert inner_end.endswith("ZeroDivisionError in task 'inner'")
    assert outer_end.endswith("ZeroDivisionError in task 'outer'")


def test_a_graph_that_cannot_run_is_told_as_failed(told: Records):
    with pytest.raises(KeyError):
        mars_scheduler({"a": 1}, "b")
    assert both(told)[1] == "failed after # s: KeyError"


def test_keys_that_cannot_be_counted_are_refused_as_ever(told: Records):
    keys: list[Any] = []
    keys.append(keys)
    with pytest.raises(RecursionError, match="contains itself"):
        mars_scheduler({"a": 1}, keys)
    assert both(told) == (
        f"begins: asked for ?, workers={os.cpu_count()}, memory_limit=none",
        "failed after # s: RecursionError",
    )


def test_an_error_with_strange_notes_is_told(told: Records):
    class Strange(Exception):
        __notes__ = 7

        def __str__(self) -> str:
            raise AssertionError("not to be shown")

    def fail() -> None:
        raise Strange

    with pytest.raises(Strange):
        mars_scheduler({"a": (fail,)}, "a")
    assert both(told)[1].startswith("failed after # s: Strange")


@pytest.mark.parametrize("background", [False, True], ids=["at once", "background"])
def test_an_execution_is_told(told: Records, session: mars.Session, background: bool):
    objects = [mr.spawn(inc, args=(n,)) for n in range(3)]
    if background:
        session.execute(*objects, wait=False).result()
    else:
        session.execute(*objects)
    assert both(told) == ("begins: asked for 3, workers=2, memory_limit=none", "finished after # s")
    assert messages(told, "mars.run")[0].startswith("background execution " if background else "execution ")


@pytest.mark.parametrize("background", [False, True], ids=["at once", "background"])
def test_an_execution_that_fails_is_told(told: Records, session: mars.Session, background: bool):
    failing = mr.spawn(divide, args=(0,))
    execute = (lambda: session.execute(failing, wait=False).result()) if background else failing.execute
    with pytest.raises(ZeroDivisionError):
        execute()
    assert both(told)[1] == f"failed after # s: ZeroDivisionError in task divide: {failing!r}"


def test_an_execution_that_is_cancelled_is_told(told: Records, session: mars.Session):
    gate = Gate()
    info = session.execute(mr.spawn(gate), wait=False)
    gate.wait_entered()
    info.cancel()
    gate.opened.set()
    with pytest.raises(CancelledError):
        info.result()
    assert both(told)[1] == "was cancelled after # s"


def test_a_computation_whose_session_stops_is_told_as_cancelled(told: Records, session: mars.Session):
    gate = Gate()
    outcome: list[RuntimeError] = []

    def compute() -> None:
        with session:
            try:
                dask.compute(mr.spawn(gate), scheduler=mars_scheduler)
            except RuntimeError as error:
                outcome.append(error)

    thread = threading.Thread(target=compute)
    thread.start()
    gate.wait_entered()
    session.stop()
    gate.opened.set()
    thread.join(WITHIN)
    assert len(outcome) == 1
    assert both(told)[1] == "was cancelled after # s"


@pytest.mark.parametrize("background", [False, True], ids=["at once", "background"])
def test_an_execution_that_cannot_begin_is_told(
    told: Records, session: mars.Session, monkeypatch: pytest.MonkeyPatch, background: bool
):
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(mars.session._mars, "execute_objects", refuse)
    with pytest.raises(OSError):
        session.execute(mr.spawn(int), wait=not background)
    assert both(told)[1] == "failed after # s: OSError"


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot interrupt itself")
def test_an_interrupt_is_told(told: Records):
    gate = Gate()
    with pytest.raises(KeyboardInterrupt):
        mars_scheduler({"a": (os.kill, os.getpid(), signal.SIGINT), "b": (gate,)}, ["a", "b"], num_workers=2)
    gate.opened.set()
    assert both(told)[1] == "was interrupted after # s"


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_runs_are_not_told_above_debug(told: Records, logger: logging.Logger, level: int):
    logger.setLevel(level)
    mars_scheduler({"a": (inc, 1)}, "a")
    mr.spawn(inc, args=(1,)).execute()
    assert messages(told, "mars.run") == []


def test_what_is_disabled_is_not_told(told: Records):
    logging.disable()
    try:
        with small() as session:
            move_out(session)
            mars_scheduler({"a": (inc, 1)}, "a")
    finally:
        logging.disable(logging.NOTSET)
    assert told == []


# -- Sessions --------------------------------------------------------------------------------------------------------


def test_a_session_is_told_with_its_options(told: Records, tmp_path: Path):
    session = mars.new_session(
        n_workers=3,
        retries=1,
        retry_delay=0.5,
        memory_limit="2 MiB",
        spill_dir=tmp_path,
        spill_limit="1 GB",
        default=False,
    )
    session.stop()
    session.stop()
    made, stopped = messages(told, "mars.session")
    assert made == (
        f"session {session.session_id[:8]} made: n_workers=3, retries=1, retry_delay=0.5, memory_limit=2.10 MB, "
        f"spill_dir={tmp_path}, spill_limit=1 GB, default=False"
    )
    assert stopped == f"session {session.session_id[:8]} stopped, results let go of: 0"
    assert {record.levelno for record in told if record.name == "mars.session"} == {logging.INFO}


def test_the_number_of_results_that_go_with_a_session_is_told(told: Records):
    with mars.new_session(default=False) as session:
        kept = mars.execute(*[mr.spawn(inc, args=(n,)) for n in range(3)])
    assert len(kept) == 3
    assert messages(told, "mars.session")[-1].endswith("stopped, results let go of: 3")
    assert session.stopped


def test_the_session_that_nobody_asked_for_is_told_at_debug(told: Records):
    mars.stop_server()
    told.clear()
    mr.spawn(inc, args=(1,)).execute()
    mars.stop_server()
    assert [record.levelno for record in told if record.name == "mars.session"] == [logging.DEBUG] * 2
    assert "n_workers=default" in messages(told, "mars.session")[0]


def test_threads_that_need_a_session_at_once_share_one_that_is_told_once(told: Records):
    mars.stop_server()
    told.clear()
    barrier = threading.Barrier(4)
    found: list[mars.Session] = []

    def find() -> None:
        barrier.wait(WITHIN)
        found.append(mars.get_default_session())

    threads = [threading.Thread(target=find) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    assert len(messages(told, "mars.session")) == 1
    mars.stop_server()


# -- Results on disk -------------------------------------------------------------------------------------------------


def test_what_goes_to_disk_is_told(told: Records, tmp_path: Path):
    with small(spill_dir=tmp_path) as session:
        kept = mr.spawn(bytes, args=(100_000,)).execute()
        move_out(session)
        assert kept.fetch() == bytes(100_000)
        directory = session.memory.directory
    assert eventually(lambda: any("removed" in message for message in messages(told, "mars.spill")))
    limit, reached, *moved, read, removed = messages(told, "mars.spill")
    assert limit == f"memory limit of 1.05 MB, results beyond it go to {tmp_path}"
    assert reached == f"memory limit of 1.05 MB reached: results go to disk, to {directory}"
    assert "moved a result of type bytes to disk: 100.01 kB" in moved
    assert read == "read a result of type bytes from disk: 100.01 kB"
    assert re.fullmatch(rf"removed {directory}: .* were written and 100\.\d+ kB read in all", removed)
    levels = {record.getMessage().split()[0]: record.levelname for record in told if record.name == "mars.spill"}
    assert levels == {"memory": "INFO", "moved": "DEBUG", "read": "DEBUG", "removed": "INFO"}


def test_moved_results_are_not_told_at_info(told: Records, logger: logging.Logger):
    logger.setLevel(logging.INFO)
    with small() as session:
        mr.spawn(bytes, args=(100_000,)).execute()
        kept = mr.spawn(bytes, args=(100_000,)).execute()
        move_out(session)
        kept.fetch()
        assert session.memory.read > 0
    assert eventually(lambda: len(messages(told, "mars.spill")) == 2)
    assert ["reached" in message for message in messages(told, "mars.spill")] == [True, False]


def test_what_dead_processes_left_is_told(told: Records, tmp_path: Path):
    script = f"""
import mars, mars.remote as mr
session = mars.new_session(n_workers=1, memory_limit={LEAST}, spill_dir=sys.argv[1])
kept = [mr.spawn(bytes, args=(600_000,)).execute() for _ in range(3)]
assert session.memory.on_disk
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", program(script), str(tmp_path)]
    assert subprocess.run(command, env=environment(), check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with small(spill_dir=tmp_path) as session:
        kept = mr.spawn(bytes, args=(100_000,)).execute()
        move_out(session)
        directory = session.memory.directory
    del kept
    expected = f"removed what dead processes had left beside {directory}: directories=1"
    assert eventually(lambda: expected in messages(told, "mars.spill"))


def test_messages_of_workers_are_told_by_a_thread_that_ends(told: Records):
    with small() as session:
        kept = mr.spawn(bytes, args=(100_000,)).execute()
        move_out(session)
    del kept
    assert eventually(lambda: any("removed" in message for message in messages(told, "mars.spill")))
    assert {record.threadName for record in told if "moved" in record.getMessage()} == {"mars-log"}
    assert eventually(lambda: all(thread.name != "mars-log" for thread in threading.enumerate()))
