"""What several tests share: scripts run in processes of their own, and waiting for a condition."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# A bound on things that happen at once: far above what a loaded machine needs, far below what the tasks would take.
SOON = 15.0
#: A bound on what has to come at all.
WITHIN = 20.0


def inc(x: int) -> int:
    return x + 1


def add(x: int, y: int) -> int:
    return x + y


def gil_is_on() -> bool:
    """Whether only one thread at a time runs Python."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


#: Without a GIL an object that another thread lets go of is freed by the thread that made it, and a main thread
#: that waits runs Python only now and then.
waits_for_the_maker = pytest.mark.skipif(not gil_is_on(), reason="without a GIL results go some 50 ms later")


def eventually(condition: Callable[[], bool], within: float = 5.0) -> bool:
    """Whether `condition` comes true within so many seconds."""
    pause = threading.Event()
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.005)
    return True


class Gate:
    """A function that waits until it is opened, and counts its calls."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.calls = 0

    def __call__(self, *_: Any) -> int:
        self.calls += 1
        self.entered.set()
        assert self.opened.wait(WITHIN)
        return self.calls

    def wait_entered(self) -> None:
        assert self.entered.wait(WITHIN)


def environment(**changes: str) -> dict[str, str]:
    """This process's environment for a child, with one thread for linear algebra."""
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **changes}


# Every script starts with this. `say` writes a whole line at once, whatever other threads do.
PRELUDE = """\
import os, signal, sys, threading, time
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def hang():
    threading.Event().wait(3600)
"""


def program(source: str) -> str:
    return PRELUDE + textwrap.dedent(source)


def run(source: str, *args: str, within: float = SOON, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a script in an interpreter of its own; a script that does not end in time fails the test."""
    return subprocess.run(
        [sys.executable, *flags, "-c", program(source), *args],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


def run_well(source: str, *args: str, within: float = SOON, flags: tuple[str, ...] = ()) -> list[str]:
    """Run a script that must succeed and print nothing to stderr; what it printed, by line."""
    done = run(source, *args, within=within, flags=flags)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


class Script:
    """A running script, spoken to through signals and its standard output."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def read_until(self, first_word: str) -> str:
        """The next line that starts with this word."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.split()[:1] == [first_word]:
                return self.lines[-1]
        self.process.wait()
        assert self.process.stderr is not None
        raise AssertionError(f"{first_word!r} was never said: {self.lines} {self.process.stderr.read()}")

    def interrupt(self) -> float:
        """Send Ctrl-C; the moment at which it was sent."""
        sent = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        return sent

    def finish(self, within: float = SOON) -> tuple[int, str]:
        """Wait for the end: exit status and standard error."""
        out, err = self.process.communicate(timeout=within)
        self.lines += out.splitlines()
        return self.process.returncode, err


@contextmanager
def script(source: str, *args: str) -> Iterator[Script]:
    process = subprocess.Popen(
        [sys.executable, "-c", program(source), *args],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Script(process)
    finally:
        process.kill()
        process.communicate()
