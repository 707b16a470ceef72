"""The files that results are moved to: private, and gone when their results are."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from spills import MB, files, is_empty, move_out, small
from support import Script, run_well, script

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler

posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions and signals as POSIX has them")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def kept(count: int, then: Callable[[], Any] = lambda: None, size: int = MB) -> dict[Any, Any]:
    """So many blocks that are all there, in memory or on disk, when `then` is called."""
    graph: dict[Any, Any] = {("block", i): (bytes, size) for i in range(count)}
    graph |= {("size", i): (len, ("block", i)) for i in range(count)}
    graph["all"] = (sum, [("size", i) for i in range(count)])
    graph["then"] = (lambda _: then(), "all")
    graph |= {("use", i): (lambda block, _: len(block), ("block", i), "then") for i in range(count)}
    graph["end"] = (sum, [("use", i) for i in range(count)])
    return graph


# -- While they are there --------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_nobody_else_can_read_them(mask: int):
    before = os.umask(mask)
    try:
        with small() as session:
            obj = mr.spawn(bytes, args=(50_000,)).execute()
            move_out(session)
            directory = session.memory.directory
            assert [mode(path) for path in files(session.memory)] == [0o600] * len(files(session.memory))
            assert len(files(session.memory)) >= 1
            assert mode(directory) == 0o700
            assert directory.stat().st_uid == os.getuid()
            assert obj.fetch() == bytes(50_000)
    finally:
        os.umask(before)


def test_tasks_of_a_compute_see_the_same(session: mars.Session):
    seen: list[set[int]] = []
    look = kept(20, lambda: seen.append({mode(path) for path in files(session.memory)}))
    assert mars_scheduler(look, "end") == 20 * MB
    assert seen == [{0o600}]


def test_names_tell_nothing():
    """No name has a counter, a time or the process in it."""
    names: list[str] = []
    for _ in range(2):
        with small() as session:
            results = [mr.spawn(bytes, args=(50_000,)).execute() for _ in range(8)]
            move_out(session)
            names += [path.name for path in files(session.memory)]
            names.append(session.memory.directory.name.removeprefix("mars-spill-"))
            del results
    numbers = sorted(int(name, 16) for name in names)
    assert len(numbers) >= 18
    assert all(b - a > 2**32 for a, b in pairwise(numbers))


def test_all_that_is_told_of_the_disk_is_true():
    with small() as session:
        memory = session.memory
        assert (memory.on_disk, memory.written, memory.read, memory.directory) == (0, 0, 0, None)
        obj = mr.spawn(bytes, args=(50_000,)).execute()
        move_out(session)
        lengths = [path.stat().st_size for path in files(memory)]
        assert memory.on_disk == memory.written == sum(lengths) > 50_000
        obj.fetch()
        assert memory.read >= 50_000
        assert memory.on_disk == sum(lengths)  # fetching leaves it there
        mr.spawn(len, args=(obj,)).execute()
        assert memory.on_disk < sum(lengths)  # a task has it in memory from here on
        assert memory.written == sum(lengths)


# -- When they go ----------------------------------------------------------------------------------------------------


def test_file_goes_with_its_result():
    with small() as session:
        obj = mr.spawn(bytes, args=(50_000,)).execute()
        move_out(session)
        before = set(files(session.memory))
        del obj
        assert is_empty(session.memory)
        assert before


def test_files_go_when_a_task_fails(session: mars.Session):
    seen: list[int] = []

    def fail() -> None:
        seen.append(len(files(session.memory)))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        mars_scheduler(kept(30, fail), "end")
    assert seen[0] > 0
    assert is_empty(session.memory)
    assert mars_scheduler(kept(30), "end") == 30 * MB


def test_directory_goes_when_the_session_stops():
    with small() as session:
        obj = mr.spawn(bytes, args=(50_000,)).execute()
        move_out(session)
        directory = session.memory.directory
        assert directory.is_dir()
        session.stop()
        assert not directory.exists()
        assert session.memory.on_disk == 0
        with pytest.raises(ValueError, match="stopped"):
            obj.fetch()


def test_directory_goes_with_a_session_that_nobody_has():
    with small() as session:
        obj = mr.spawn(bytes, args=(50_000,)).execute()
        move_out(session)
        directory = session.memory.directory
        del obj
    del session
    assert not directory.exists()


def test_compute_that_is_under_way_when_its_session_stops_ends_and_leaves_nothing(tmp_path: Path):
    session = mars.new_session(n_workers=2, memory_limit=2 * MB, spill_dir=tmp_path)
    with pytest.raises((mars.SpillError, mars.MemoryLimitError), match="stopped"):
        mars_scheduler(kept(10, session.stop), "end")
    assert is_empty(session.memory)
    assert list(tmp_path.iterdir()) == []


# -- When the process goes -------------------------------------------------------------------------------------------

SPILLING = """
import mars, mars.remote as mr
from pathlib import Path
from mars.contrib.dask import mars_scheduler
base = Path(sys.argv[1])
session = mars.new_session(n_workers=2, memory_limit=2_000_000, spill_dir=base)
def files():
    return [path for path in session.memory.directory.iterdir() if path.name != "lock"]
def graph(at_end):
    blocks = {("block", i): (bytes, 400_000) for i in range(40)}
    sizes = {("size", i): (len, ("block", i)) for i in range(40)}
    blocks |= sizes | {"all": (sum, list(sizes))}
    uses = {("use", i): (lambda block, _: len(block), ("block", i), "at end") for i in range(40)}
    uses["end"] = (sum, list(uses))
    return blocks | uses | {"at end": (lambda _: at_end(), "all")}
def at_end():
    say("spilled", len(files()) > 5)
    hang()
"""

ENDS = {
    "end of the script": ("mars_scheduler(graph(files), 'end')", 0),
    "results that are kept": (
        "objs = [mr.spawn(bytes, args=(400_000,)).execute() for _ in range(20)]; say(len(files()) > 5)",
        0,
    ),
    "exit in the middle": (
        "threading.Thread(target=mars_scheduler, args=(graph(at_end), 'end'), daemon=True).start()\n"
        "while session.memory.on_disk < 4_000_000: time.sleep(0.01)\nsys.exit(3)",
        3,
    ),
    "exit in a task": ("mars_scheduler(graph(lambda: sys.exit(4)), 'end')", 4),
    "objects under way": (
        "info = mr.spawn(mars_scheduler, args=(graph(at_end), 'end')).execute(wait=False)\n"
        "while session.memory.on_disk < 4_000_000: time.sleep(0.01)\nsys.exit(5)",
        5,
    ),
    "stopped before": ("mars_scheduler(graph(files), 'end'); session.stop(); sys.exit(6)", 6),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_at_exit(end: str, tmp_path: Path):
    source, status = ENDS[end]
    with script(SPILLING + source, str(tmp_path)) as running:
        assert running.finish() == (status, "")
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("caught", [True, False])
def test_nothing_is_left_after_ctrl_c(caught: bool, tmp_path: Path):
    source = SPILLING + "mars_scheduler(graph(at_end), 'end')"
    if caught:
        source = (
            SPILLING
            + """
try:
    mars_scheduler(graph(at_end), 'end')
except KeyboardInterrupt:
    say("raised")
memory = session.memory
deadline = time.monotonic() + 10
while (memory.in_memory, memory.on_disk, len(memory)) != (0, 0, 0):
    assert time.monotonic() < deadline, (memory.in_memory, memory.on_disk, len(memory))
    time.sleep(0.01)
say("empty", len(files()), mars_scheduler(graph(files), 'end'))
sys.exit(7)
"""
        )
    with script(source, str(tmp_path)) as running:
        assert running.read_until("spilled") == "spilled True"
        assert len(list(tmp_path.iterdir())) == 1
        running.interrupt()
        if caught:
            assert running.read_until("empty") == "empty 0 16000000"
            assert running.finish() == (7, "")
        else:
            assert running.finish()[0] == -2
    assert list(tmp_path.iterdir()) == []


@posix
def test_ctrl_c_while_results_are_moved(tmp_path: Path):
    """Many times, at no particular moment."""
    source = (
        SPILLING
        + """
say("ready")
turns = 0
while turns < 8:
    try:
        while True:
            mars_scheduler(graph(files), 'end')
            say("ran")
    except KeyboardInterrupt:
        turns += 1
        say("raised")
memory = session.memory
deadline = time.monotonic() + 10
while (memory.in_memory, memory.reserved, memory.on_disk, len(memory), files()) != (0, 0, 0, 0, []):
    assert time.monotonic() < deadline, (memory, memory.reserved, len(memory), files())
    time.sleep(0.01)
say("empty")
"""
    )
    with script(source, str(tmp_path)) as running:
        running.read_until("ready")
        for _ in range(8):
            running.read_until("ran")
            running.interrupt()
            running.read_until("raised")
        running.read_until("empty")
        assert running.finish() == (0, "")
    assert list(tmp_path.iterdir()) == []


def kill_while_spilling(running: Script) -> None:
    running.read_until("spilled")
    running.process.kill()
    running.process.wait()


@posix
def test_what_a_killed_process_left_is_swept_at_the_next_start(tmp_path: Path):
    source = SPILLING + "mars_scheduler(graph(at_end), 'end')"
    with script(source, str(tmp_path)) as running:
        kill_while_spilling(running)
    (left,) = tmp_path.iterdir()
    assert len(list(left.iterdir())) > 5
    run_well(SPILLING + "mars_scheduler(graph(files), 'end')", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@posix
def test_directory_of_a_living_process_is_not_swept(tmp_path: Path):
    source = (
        SPILLING
        + """
may_end = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), may_end.set())).start()
def at_end():
    say("spilled", len(files()) > 5)
    assert may_end.wait(20)
say("result", mars_scheduler(graph(at_end), 'end'))
"""
    )
    import subprocess

    from support import environment, program

    process = subprocess.Popen(
        [sys.executable, "-c", program(source), str(tmp_path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    running = Script(process)
    try:
        running.read_until("spilled")
        (theirs,) = tmp_path.iterdir()
        before = sorted(theirs.iterdir())
        run_well(SPILLING + "mars_scheduler(graph(files), 'end')", str(tmp_path))
        assert list(tmp_path.iterdir()) == [theirs]
        assert sorted(theirs.iterdir()) == before
        assert running.finish() == (0, "")  # closes its input
        assert running.lines[-1] == "result 16000000"
    finally:
        process.kill()
        process.communicate()
    assert list(tmp_path.iterdir()) == []
