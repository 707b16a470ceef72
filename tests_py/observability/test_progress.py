"""`mars.progress`: one bar over what is computed inside of it, or over each computation."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import dask
import pytest
from dask.diagnostics import ProgressBar
from support import WITHIN, Gate, eventually, inc, run, run_well, script
from watched import Terminal

import mars
import mars.remote as mr
from mars._progress import _shared
from mars._progress._bar import Bar, any_open
from mars.contrib.dask import mars_scheduler

pytest.importorskip("tqdm")


@pytest.fixture(autouse=True)
def no_bar_left() -> Iterator[None]:
    yield
    assert (_shared.state.bars, _shared.state.registered, _shared.state.automatic) == ({}, [], None)
    assert eventually(lambda: not any(thread.name == "mars-progress" for thread in threading.enumerate()))


class Shown:
    """What goes to standard error, which is no terminal here."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys, self._text = capsys, ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    return Shown(capsys)


def counts(stream: io.StringIO | Shown) -> list[str]:
    """How far each bar came, and how it ended, from its lines in a file."""
    said = [line.split(", ", 1)[1] for line in stream.getvalue().splitlines()]
    return [text.partition(", in ")[0].partition(" after")[0] for text in said]


def chain(length: int) -> dict[Any, Any]:
    """Tasks ``c0``, ``c1``, ..., each of which needs the one before."""
    return {"c0": (inc, 0), **{f"c{i}": (inc, f"c{i - 1}") for i in range(1, length)}}


def compute(length: int) -> int:
    result: int = mars_scheduler(chain(length), f"c{length - 1}")
    return result


def fail(*_: Any) -> None:
    raise ZeroDivisionError


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_bar_counts_all_computations_in_it():
    file = io.StringIO()
    with mars.progress(file=file):
        compute(3)
        compute(4)
        mr.spawn(inc, args=(mr.spawn(inc, args=(1,)),)).execute()
    assert counts(file) == ["9 of 9 tasks"]


def test_a_bar_counts_computations_of_other_threads_and_those_in_tasks():
    file = io.StringIO()
    with mars.progress(file=file):
        mars_scheduler({"x": (lambda: compute(5),)}, "x")
        thread = threading.Thread(target=compute, args=(7,))
        thread.start()
        thread.join()
    assert counts(file) == ["13 of 13 tasks"]


def test_a_bar_without_computations_shows_nothing():
    file = io.StringIO()
    with mars.progress("nothing", file=file):
        pass
    with mars.progress("nothing", file=file):
        mars_scheduler({"x": 1}, "x")
    assert file.getvalue() == ""


def test_a_bar_is_drawn_while_tasks_run():
    terminal, gate = Terminal(), Gate()
    thread = threading.Thread(target=mars_scheduler, args=({"a-1": (gate,), "b-1": (inc, "a-1")}, "b-1"))
    with mars.progress("load", file=terminal):
        thread.start()
        gate.wait_entered()
        assert eventually(lambda: "load:   0%" in terminal.getvalue() and "0/2" in terminal.getvalue(), WITHIN)
        assert eventually(lambda: ", a]" in terminal.getvalue() or " a]" in terminal.getvalue(), WITHIN)
        gate.opened.set()
        thread.join()
    assert "load: 100%" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()


@pytest.mark.parametrize(
    ("task", "error", "end"), [(fail, ZeroDivisionError, "failed"), (interrupt, KeyboardInterrupt, "interrupted")]
)
def test_an_error_leaves_the_bar_where_it_was(task: Any, error: type[BaseException], end: str):
    file = io.StringIO()
    graph = {**chain(3), "bad": (task, "c2"), "more": (inc, "bad")}
    with pytest.raises(error), mars.progress(file=file):
        mars_scheduler(graph, "more")
    assert file.getvalue().startswith(f"mars: 60%, 3 of 5 tasks, {end} after")


def test_an_error_that_the_program_handles_is_told_all_the_same():
    file = io.StringIO()
    with mars.progress(file=file):
        with pytest.raises(ZeroDivisionError):
            mars_scheduler({"a": (fail,), "b": (inc, "a")}, "b")
        compute(2)
    assert counts(file) == ["2 of 4 tasks, failed"]


def test_an_error_beside_all_tasks_changes_nothing():
    file = io.StringIO()
    compute(3)
    with pytest.raises(ZeroDivisionError), mars.progress(file=file):
        fail(compute(3))
    assert counts(file) == ["3 of 3 tasks"]


def test_what_still_runs_at_the_end_is_told():
    file, gate = io.StringIO(), Gate()
    with mars.progress(file=file):
        info = mr.spawn(gate).execute(wait=False)
        gate.wait_entered()
    gate.opened.set()
    info.result(WITHIN)
    assert counts(file) == ["0 of 1 tasks, still running"]


def test_bars_inside_of_bars_join_the_outermost():
    file = io.StringIO()
    with mars.progress("outer", file=file):
        compute(2)
        with mars.progress("inner", file=file):
            compute(3)

        def inner() -> None:
            with mars.progress("in a task", file=file):
                compute(4)

        mars_scheduler({"x": (inner,)}, "x")
    assert len(file.getvalue().splitlines()) == 1
    assert file.getvalue().startswith("outer: 100%, 10 of 10 tasks")


def test_bars_of_two_threads_are_one_that_ends_with_the_last():
    file, opened, may_end = io.StringIO(), threading.Event(), threading.Event()

    def other() -> None:
        with mars.progress("other", file=file):
            opened.set()
            assert may_end.wait(WITHIN)
            compute(3)

    thread = threading.Thread(target=other)
    with mars.progress("mine", file=file):
        thread.start()
        assert opened.wait(WITHIN)
        compute(2)
    assert file.getvalue() == ""
    may_end.set()
    thread.join()
    assert file.getvalue().startswith("mine: 100%, 5 of 5 tasks")


def test_bars_for_two_files_are_two():
    one, two = io.StringIO(), io.StringIO()
    with mars.progress(file=one):
        compute(2)
        with mars.progress(file=two):
            compute(3)
    assert (counts(one), counts(two)) == (["5 of 5 tasks"], ["3 of 3 tasks"])


def test_the_same_progress_can_be_used_again_and_in_itself():
    file = io.StringIO()
    bar = mars.progress(file=file)
    for _ in range(2):
        with bar:
            compute(2)
            with bar:
                compute(1)
    assert counts(file) == ["3 of 3 tasks"] * 2


@pytest.mark.parametrize(
    ("options", "error", "names"),
    [
        ({"desc": 5}, TypeError, "desc"),
        ({"leave": 1}, TypeError, "leave"),
        ({"leave": None}, TypeError, "leave"),
        ({"disable": "no"}, TypeError, "disable"),
        ({"file": "name.txt"}, TypeError, "file"),
        ({"minimum": "1"}, TypeError, "minimum"),
        ({"minimum": True}, TypeError, "minimum"),
        ({"minimum": -1}, ValueError, "minimum"),
        ({"minimum": float("nan")}, ValueError, "minimum"),
        ({"minimum": float("inf")}, ValueError, "minimum"),
        ({"colour": "red"}, TypeError, "colour"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], error: type[Exception], names: str):
    with pytest.raises(error, match=names):
        mars.progress(**options)


def test_a_disabled_bar_shows_nothing_and_needs_nothing(shown: Shown, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with mars.progress(disable=True):
        compute(3)
    assert shown.getvalue() == ""


def test_minimum_hides_what_is_short():
    file = io.StringIO()
    with mars.progress(file=file, minimum=1000):
        compute(3)
    assert file.getvalue() == ""


def test_without_tqdm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"^mars\.progress needs tqdm: python -m pip install tqdm"):
        mars.progress()


# For each computation


def test_the_setting_shows_each_computation(shown: Shown):
    with dask.config.set({"mars.progress": True}):
        assert compute(3) == 3
        assert mr.spawn(inc, args=(mr.spawn(inc, args=(1,)),)).execute().fetch() == 3
    compute(4)
    assert counts(shown) == ["3 of 3 tasks", "2 of 2 tasks"]


def test_registering_shows_each_computation():
    file = io.StringIO()
    bar = mars.progress("each", file=file)
    bar.register()
    try:
        compute(3)
        compute(2)
    finally:
        bar.unregister()
    compute(1)
    assert counts(file) == ["3 of 3 tasks", "2 of 2 tasks"]
    with pytest.raises(ValueError, match="not registered"):
        bar.unregister()


def test_the_last_one_that_is_registered_counts(shown: Shown):
    one, two = io.StringIO(), io.StringIO()
    bars = [mars.progress(file=one), mars.progress(file=two), mars.progress(disable=True)]
    with dask.config.set({"mars.progress": True}):
        for bar in bars:
            bar.register()
            compute(2)
        for bar in reversed(bars):
            bar.unregister()
    assert (counts(one), counts(two), shown.getvalue()) == (["2 of 2 tasks"], ["2 of 2 tasks"], "")


def test_computations_in_tasks_have_no_bar_of_their_own(shown: Shown):
    def outer() -> int:
        return compute(4) + mr.spawn(inc, args=(1,)).execute().fetch()

    with dask.config.set({"mars.progress": True}):
        mars_scheduler({"x": (outer,)}, "x")
    assert counts(shown) == ["6 of 6 tasks"]


def test_computations_that_overlap_share_a_bar(shown: Shown):
    gate = Gate()
    with dask.config.set({"mars.progress": True}):
        thread = threading.Thread(target=mars_scheduler, args=({"x": (gate,), "y": (inc, "x")}, "y"))
        thread.start()
        gate.wait_entered()
        compute(3)
        assert shown.getvalue() == ""
        gate.opened.set()
        thread.join()
    assert counts(shown) == ["5 of 5 tasks"]


def test_a_surrounding_bar_is_the_only_one(shown: Shown):
    file = io.StringIO()
    with dask.config.set({"mars.progress": True}), mars.progress(file=file):
        compute(3)
    assert (counts(file), shown.getvalue()) == (["3 of 3 tasks"], "")


def test_an_execution_in_the_background_is_shown_until_it_ends(shown: Shown):
    gate = Gate()
    with dask.config.set({"mars.progress": True}):
        info = mr.spawn(inc, args=(mr.spawn(gate),)).execute(wait=False)
        compute(3)
    assert shown.getvalue() == ""
    gate.opened.set()
    info.result(WITHIN)
    assert eventually(lambda: counts(shown) == ["5 of 5 tasks"])


@pytest.mark.parametrize("wait", [True, False])
def test_the_bar_of_each_computation_says_that_it_failed(wait: bool, shown: Shown):
    obj = mr.spawn(inc, args=(mr.spawn(fail),))
    with dask.config.set({"mars.progress": True}):
        with pytest.raises(ZeroDivisionError):
            mars_scheduler({"a": (fail,), "b": (inc, "a")}, "b")
        with pytest.raises(ZeroDivisionError):
            obj.execute() if wait else obj.execute(wait=False).result(WITHIN)
    assert eventually(lambda: counts(shown) == ["0 of 2 tasks, failed"] * 2)


def test_cancelled_executions_are_interrupted(shown: Shown):
    gate = Gate()
    with dask.config.set({"mars.progress": True}):
        info = mr.spawn(inc, args=(mr.spawn(gate),)).execute(wait=False)
        gate.wait_entered()
        info.cancel()
        gate.opened.set()
    assert eventually(lambda: bool(counts(shown)))
    assert counts(shown)[0].endswith("of 2 tasks, interrupted")


@pytest.mark.parametrize("value", ["yes please", 2, 0.5, [], {"desc": "x"}])
def test_a_setting_that_makes_no_sense_is_refused(value: Any, gate: Gate):
    with dask.config.set({"mars.progress": value}):
        with pytest.raises(TypeError, match=r"the setting mars\.progress has to be true or false, not"):
            mars_scheduler({"x": (gate,)}, "x")
        with pytest.raises(TypeError, match=r"mars\.progress"):
            mr.spawn(gate).execute()
    assert gate.calls == 0


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_the_setting_without_tqdm_warns_once(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(_shared.state, "warned", False)
    with dask.config.set({"mars.progress": True}), caplog.at_level(logging.WARNING, "mars"):
        compute(3)
        compute(3)
    assert [record.getMessage() for record in caplog.records] == [
        "the setting mars.progress needs tqdm: python -m pip install tqdm; no progress is shown"
    ]


@pytest.mark.parametrize("hidden", ["", "import sys; sys.modules['dask'] = None"], ids=["with dask", "without dask"])
@pytest.mark.parametrize(("value", "lines"), [("true", 1), ("True", 1), ("1", 1), ("false", 0), ("0", 0)])
def test_the_environment_sets_it(hidden: str, value: str, lines: int):
    source = f"""
    os.environ["DASK_MARS__PROGRESS"] = {value!r}
    {hidden}
    import mars.remote as mr
    mr.spawn(abs, args=(-1,)).execute()
    """
    done = run(source)
    assert done.returncode == 0, done
    assert len(done.stderr.splitlines()) == lines


# One execution


@pytest.mark.parametrize("wait", [True, False])
def test_show_progress_counts_its_own_execution_alone(wait: bool, shown: Shown):
    gate = Gate()
    thread = threading.Thread(target=mars_scheduler, args=({"x": (gate,)}, "x"))
    thread.start()
    gate.wait_entered()

    def nested() -> int:
        assert eventually(any_open, WITHIN)
        return compute(4)

    outcome = mars.execute([mr.spawn(nested), mr.spawn(inc, args=(1,))], wait=wait, show_progress=True)
    if not wait:
        outcome.result(WITHIN)
    compute(9)
    gate.opened.set()
    thread.join()
    assert eventually(lambda: counts(shown) == ["6 of 6 tasks"])


def test_show_progress_inside_of_a_bar_makes_no_second_one(shown: Shown):
    with mars.progress():
        mr.spawn(inc, args=(1,)).execute(show_progress=True)
        mr.spawn(inc, args=(1,)).execute(show_progress=True, wait=False).result(WITHIN)
    assert counts(shown) == ["2 of 2 tasks"]


def test_show_progress_inside_of_a_task_makes_no_second_one(shown: Shown):
    def inner() -> int:
        return mr.spawn(inc, args=(1,)).execute(show_progress=True).fetch()

    assert mr.spawn(inner).execute(show_progress=True).fetch() == 2
    assert counts(shown) == ["2 of 2 tasks"]


def test_show_progress_false_shows_none(shown: Shown):
    with dask.config.set({"mars.progress": True}):
        mr.spawn(compute, args=(3,)).execute(show_progress=False)
        mr.spawn(inc, args=(1,)).execute(show_progress=False, wait=False).result(WITHIN)
    assert shown.getvalue() == ""


# Beside others


def test_dask_progress_bar_and_that_of_tqdm_at_the_same_time(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import tqdm
    from tqdm.dask import TqdmCallback

    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # a thread that tqdm keeps
    ours, theirs = Terminal(), Terminal()
    with mars.progress(file=ours), TqdmCallback(file=theirs), ProgressBar(dt=0.01):
        assert compute(20) == 20
    assert "20/20" in ours.getvalue()
    assert "20/20" in theirs.getvalue()
    assert "100% Completed" in capsys.readouterr().out


def test_many_tiny_tasks():
    terminal = Terminal()
    with mars.progress(file=terminal):
        for _ in range(3):
            mars_scheduler(dict.fromkeys(range(100_000), (int,)), list(range(100_000)))
    assert "300000/300000" in terminal.getvalue()
    assert len(terminal.getvalue()) < 1_000_000


def test_many_bars_in_a_row(shown: Shown):
    with dask.config.set({"mars.progress": True}):
        for _ in range(100):
            compute(1)
    assert counts(shown) == ["1 of 1 tasks"] * 100


def test_bars_of_many_threads():
    file = io.StringIO()

    def work() -> None:
        for _ in range(20):
            with mars.progress(file=file):
                compute(2)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [line.split(" of ")[0].split(", ")[-1] for line in file.getvalue().splitlines()]
    assert sum(map(int, done)) >= 320
    assert not any("failed" in line for line in file.getvalue().splitlines())


# What goes wrong


class Raises(Terminal):
    def write(self, text: str) -> int:
        raise OSError("no space left")


class Closed(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.close()


@pytest.mark.parametrize("file", [Raises, Closed, io.BytesIO], ids=lambda kind: kind.__name__)
def test_a_file_that_fails_is_said_once_and_fails_nothing_else(file: Any, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "mars"), mars.progress(file=file()):
        assert compute(3) == 3
        assert compute(3) == 3
    assert len(caplog.records) == 1
    assert "the progress bar ends here, the computation goes on" in caplog.text


def test_without_standard_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", None)
    with mars.progress():
        assert compute(3) == 3
    assert mr.spawn(inc, args=(1,)).execute(show_progress=True).fetch() == 2
    with dask.config.set({"mars.progress": True}):
        assert compute(3) == 3


def show_by_setting() -> None:
    with dask.config.set({"mars.progress": True}):
        compute(2)


@pytest.mark.parametrize(
    "begin",
    [
        lambda: mars.progress().__enter__(),
        show_by_setting,
        lambda: mr.spawn(inc, args=(1,)).execute(show_progress=True),
    ],
    ids=["with", "setting", "show_progress"],
)
def test_ctrl_c_while_a_bar_begins_leaves_none(begin: Any, monkeypatch: pytest.MonkeyPatch):
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "mars-progress":
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        begin()
    assert not any_open()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")
@pytest.mark.parametrize(
    "way",
    [
        "with mars.progress(): mars_scheduler(graph, 'y')",
        "dask.config.set({'mars.progress': True}); mars_scheduler(graph, 'y')",
        "mr.spawn(work, args=(mr.spawn(str),)).execute(show_progress=True)",
    ],
    ids=["with", "setting", "show_progress"],
)
def test_ctrl_c_leaves_a_truthful_bar(way: str):
    source = f"""
    import dask, mars, mars.remote as mr
    from mars.contrib.dask import mars_scheduler
    def work(*_):
        say("started")
        hang()
    graph = {{"x": (str,), "y": (work, "x")}}
    try:
        {way}
    except KeyboardInterrupt:
        say("raised", time.monotonic())
    say("threads", [thread.name for thread in threading.enumerate()])
    """
    with script(source) as running:
        running.read_until("started")
        sent = running.interrupt()
        assert float(running.read_until("raised").split()[1]) - sent < 1.2
        assert running.read_until("threads") == "threads ['MainThread']"
        status, errors = running.finish()
    assert status == 0
    assert errors.startswith("mars: 50%, 1 of 2 tasks, interrupted after")
    assert errors.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_shows_nothing_of_its_parents_bar():
    source = """
    import warnings, mars
    warnings.simplefilter("ignore")
    from mars.contrib.dask import mars_scheduler
    with mars.progress("parent"):
        mars_scheduler({"x": (int,)}, "x")
        child = os.fork()
        mars_scheduler({"x": (int,)}, "x")
        if child:
            say("status", os.waitpid(child, 0)[1])
    if child == 0:
        with mars.progress("child"):
            mars_scheduler({"x": (int,)}, "x")
    """
    done = run(source)
    assert done.stdout == "status 0\n"
    lines = sorted(line.split(" tasks")[0] for line in done.stderr.splitlines())
    assert lines == ["child: 100%, 1 of 1", "parent: 100%, 2 of 2"]


def test_exit_while_bars_are_open():
    source = """
    import mars, mars.remote as mr
    mars.progress("one").__enter__()
    started = threading.Event()
    def work():
        started.set()
        hang()
    mr.spawn(work).execute(wait=False)
    for _ in range(3):
        mr.spawn(work).execute(wait=False, show_progress=True)
    started.wait()
    sys.exit(3)
    """
    done = run(source)
    assert done.returncode == 3
    assert {line.split(":")[0] for line in done.stderr.splitlines()} == {"one"}


def test_a_bar_ends_although_an_interrupt_keeps_its_owner_from_ending_it(monkeypatch: pytest.MonkeyPatch):
    """That the thread is gone is looked at by `no_bar_left`."""

    def interrupt(bar: Bar, *, wait: bool = True) -> None:
        raise KeyboardInterrupt

    file = io.StringIO()
    monkeypatch.setattr(Bar, "end", interrupt)
    with pytest.raises(KeyboardInterrupt), mars.progress("left", file=file):
        mr.spawn(inc, args=(1,)).execute()
    assert eventually(lambda: file.getvalue().startswith("left: 100%, 1 of 1 tasks"))


def test_importing_does_not_import_tqdm():
    assert run_well("import mars; say('tqdm' in sys.modules, 'IPython' in sys.modules, 'dask' in sys.modules)") == [
        "False False False"
    ]
