"""How a bar is drawn, and that nothing that goes wrong with that is anybody's concern."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from support import WITHIN, eventually
from watched import Canvas, Clock, Counts, Terminal, computation, running

from mars import _mars
from mars._progress import _screens
from mars._progress._bar import Bar
from mars._progress._meter import View

pytest.importorskip("tqdm")


@pytest.fixture(autouse=True)
def computations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the engine says to go on."""
    going_on: list[Any] = []
    monkeypatch.setattr(_mars, "computations", lambda: list(going_on))
    return going_on


def test_a_bar_shows_counts_prefixes_and_the_fullest_limit(computations: list[Any]):
    watch, canvas, clock = Counts(2, 10, 2), Canvas(), Clock()
    computations.append(computation(7, running=[running("before")]))
    bar = Bar(watch, canvas, clock=clock)
    limits = [SimpleNamespace(in_memory=used, limit=100) for used in (20, 60)]
    computations += [
        computation(8, running=[running("b-1", prefix="b"), running("a-1", prefix="a")], memory=limits[0]),
        computation(9, running=[running("a-2", prefix="a")], memory=limits[1]),
    ]
    clock.now = 1.0
    bar.look()
    (view,) = canvas.drawn
    assert (view.done, view.total, view.memory, view.running) == (2, 10, (60, 100), ("a", "b"))


def test_nothing_is_shown_without_tasks():
    watch, canvas = Counts(0, 0, 1), Canvas()
    bar = Bar(watch, canvas)
    bar.look()
    bar.end()
    assert (canvas.drawn, canvas.last) == ([], None)


def test_nothing_is_shown_before_the_minimum():
    watch, canvas, clock = Counts(0, 10, 1), Canvas(), Clock()
    bar = Bar(watch, canvas, 5.0, clock=clock)
    for clock.now in (1.0, 4.9):
        bar.look()
    assert canvas.drawn == []
    clock.now = 5.0
    bar.look()
    assert len(canvas.drawn) == 1


def test_what_takes_less_than_the_minimum_is_never_shown():
    watch, canvas, clock = Counts(10, 10, 0), Canvas(), Clock()
    bar = Bar(watch, canvas, 5.0, clock=clock)
    clock.now = 4.0
    bar.end()
    assert (canvas.drawn, canvas.last) == ([], None)


@pytest.mark.parametrize(
    ("counts", "errors", "end"),
    [
        ((10, 10, 0), [], "finished"),
        ((10, 10, 0), [ValueError()], "finished"),  # whatever failed, it was no task
        ((4, 10, 0), [ValueError()], "failed"),
        ((4, 10, 0), [KeyboardInterrupt()], "interrupted"),
        ((4, 10, 0), [ValueError(), KeyboardInterrupt()], "failed"),
        ((4, 10, 0), [], "incomplete"),
        ((4, 10, 1), [], "still running"),
    ],
)
def test_a_bar_says_how_it_ended(counts: tuple[int, int, int], errors: list[BaseException], end: str):
    canvas = Canvas()
    bar = Bar(Counts(*counts), canvas)
    for error in errors:
        bar.failed(error)
    bar.end()
    assert canvas.last is not None
    assert (canvas.last.end, canvas.last.done, canvas.last.total) == (end, *counts[:2])


def test_the_thread_of_a_bar_ends_with_it():
    canvas = Canvas()
    bar = Bar(Counts(1, 2, 1), canvas)
    bar.start()
    assert eventually(lambda: bool(canvas.drawn))
    bar.end()
    assert not any(thread.name == "mars-progress" for thread in threading.enumerate())
    assert canvas.last is not None


def test_drawing_that_fails_is_said_once(caplog: pytest.LogCaptureFixture):
    watch, canvas = Counts(1, 2, 1), Canvas(OSError("disk full"))
    bar = Bar(watch, canvas)
    with caplog.at_level(logging.WARNING, "mars"):
        bar.look()
        bar.look()
        bar.end()
    assert len(caplog.records) == 1
    assert "disk full" in caplog.text
    assert len(canvas.drawn) == 1
    assert (canvas.abandoned, canvas.last) == (True, None)


class Broken(Terminal):
    """A terminal that fails after some writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    def write(self, text: str) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise OSError("broken")
        return super().write(text)


@pytest.mark.parametrize("writes", range(6))
def test_a_terminal_that_fails_leaves_tqdm_to_others(writes: int, monkeypatch: pytest.MonkeyPatch):
    import tqdm

    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # a thread that tqdm keeps
    screen = _screens.screen_for(Broken(writes), "", True)
    assert screen is not None
    try:
        for done in range(5):
            screen.draw(View(done, 10, 1.0))
        screen.end(View(10, 10, 2.0, end="finished"))
    except OSError:
        screen.abandon()
    others = tqdm.tqdm(total=1, file=io.StringIO(), mininterval=0)
    thread = threading.Thread(target=others.close, daemon=True)
    thread.start()
    thread.join(WITHIN)
    assert not thread.is_alive()


def test_a_closed_file_is_an_error_to_be_said():
    for stream in (Terminal(), io.StringIO()):
        screen = _screens.screen_for(stream, "", True)
        assert screen is not None
        stream.close()
        with pytest.raises(ValueError, match="closed"):
            screen.end(View(10, 10, 2.0, end="finished"))


def test_a_terminal_shows_one_line_that_is_overwritten():
    terminal = Terminal()
    screen = _screens.screen_for(terminal, "{load} <bar/>", True)
    assert screen is not None
    screen.draw(View(1, 4, 1.0, 1.0, 3.0))
    screen.draw(View(2, 8, 2.0, 1.0, 6.0))
    screen.end(View(8, 8, 8.0, 1.0, end="finished"))
    shown = terminal.getvalue().split("\r")
    assert "{load} <bar/>:  25%" in shown[1]
    assert "2/8" in terminal.getvalue()
    assert "100%" in shown[-1]
    assert shown[-1].endswith("[in 8.0 s, 1 tasks/s]\n")
    assert terminal.getvalue().count("\n") == 1


@pytest.mark.parametrize(("end", "stays"), [("finished", False), ("failed", True)])
@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_leave_takes_away_only_what_has_finished(end: str, stays: bool, kind: type[io.StringIO]):
    stream = kind()
    screen = _screens.screen_for(stream, "load", False)
    assert screen is not None
    screen.draw(View(5, 8, 1.0))
    screen.end(View(8 if end == "finished" else 5, 8, 2.0, end=end))
    assert bool(stream.getvalue().rpartition("\r")[2].strip()) is stays


def test_bars_stand_beside_those_of_tqdm(monkeypatch: pytest.MonkeyPatch):
    import tqdm

    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # a thread that tqdm keeps
    terminal = Terminal()
    screen = _screens.screen_for(terminal, "ours", True)
    assert screen is not None
    with tqdm.tqdm(total=2, file=terminal, desc="theirs") as other:
        screen.draw(View(1, 4, 1.0))
        other.update()
        assert "\n\rours" in terminal.getvalue()
        screen.end(View(4, 4, 1.0, end="finished"))
    assert "theirs" in terminal.getvalue().rpartition("ours")[2]


def test_a_file_has_few_whole_lines():
    stream = io.StringIO()
    screen = _screens.screen_for(stream, "", True)
    assert screen is not None
    for tenth in range(600):
        screen.draw(View(tenth, 600, tenth / 10, 10.0, 60 - tenth / 10))
    screen.end(View(600, 600, 60.0, 10.0, end="finished"))
    lines = stream.getvalue().splitlines()
    assert [line.split(",")[1].strip() for line in lines[:2]] == ["100 of 600 tasks", "200 of 600 tasks"]
    assert len(lines) == 6
    assert lines[-1] == "mars: 100%, 600 of 600 tasks, in 01:00, 10 tasks/s"
    assert stream.getvalue().isascii()
    assert "\r" not in stream.getvalue()


def test_a_terminal_that_cannot_overwrite_has_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    screen = _screens.screen_for(terminal, "", True)
    assert screen is not None
    screen.draw(View(1, 2, 1.0))
    screen.end(View(1, 2, 1.0, end="failed"))
    assert terminal.getvalue() == "mars: 50%, 1 of 2 tasks, failed after 1.0 s\n"


@pytest.mark.parametrize("columns", ["", "0", "20", "x", "-5"])
def test_width_of_a_terminal_that_does_not_tell(columns: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", columns)
    terminal = Terminal()
    screen = _screens.screen_for(terminal, "load", True)
    assert screen is not None
    screen.end(View(1, 2, 1.0, end="failed"))
    assert {len(line.strip("\n")) for line in terminal.getvalue().split("\r")[1:]} == {19 if columns == "20" else 79}
    assert "failed" in terminal.getvalue()


def test_an_encoding_without_blocks_gets_other_characters():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    stream.isatty = lambda: True  # type: ignore[method-assign]
    screen = _screens.screen_for(stream, "läd", True)
    assert screen is not None
    screen.end(View(1, 2, 1.0, end="failed"))
    stream.flush()
    assert b"l?d:  50%|###" in raw.getvalue()


def test_no_standard_error_shows_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert _screens.screen_for(None, "", True) is None


def test_what_begins_after_the_end_is_not_shown():
    watch, canvas = Counts(3, 3, 1), Canvas()
    bar = Bar(watch, canvas)
    bar.start()
    bar.end(wait=False)
    watch.now = (3, 8, 2)
    assert eventually(lambda: canvas.last is not None)
    assert canvas.last is not None
    assert (canvas.last.end, canvas.last.total) == ("finished", 3)


class Slow(Terminal):
    """A terminal that is written to nearly all the time."""

    def write(self, text: str) -> int:
        time.sleep(0.003)
        return super().write(text)


class Growing(Counts):
    """One more task has finished at each look."""

    def counts(self) -> tuple[int, int, int]:
        done, _, _ = self.now
        self.now = (done + 1, 1_000_000, 1)
        return self.now


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_forked_while_a_bar_is_drawn_can_use_tqdm():
    import tqdm

    screen = _screens.screen_for(Slow(), "", True)
    assert screen is not None
    screen.interval = 0.0001
    bar = Bar(Growing(), screen)
    bar.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(5)
                bar.end()
                tqdm.tqdm(total=1, file=io.StringIO()).close()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        bar.end()
