"""Neither memory nor disk has room: a clear error, everything let go of, and a session that goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from spills import MB, holds, is_empty, move_out, small
from support import run_well

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler


def kept(count: int, then: Any = None) -> dict[Any, Any]:
    """So many megabytes that are all there when the task `all` has run and `then` is called."""
    graph: dict[Any, Any] = {("block", i): (bytes, MB) for i in range(count)}
    graph |= {("size", i): (len, ("block", i)) for i in range(count)}
    graph["all"] = (sum, [("size", i) for i in range(count)])
    graph["then"] = (lambda total: then and then(), "all")
    graph |= {("use", i): (lambda block, _: len(block), ("block", i), "then") for i in range(count)}
    return graph | {"end": (sum, [("use", i) for i in range(count)])}


def check_that_it_goes_on(session: mars.Session) -> None:
    """What was computed is let go of, and what fits is computed."""
    assert is_empty(session.memory), holds(session.memory)
    assert mars_scheduler(kept(5), "end") == 5 * MB
    assert mr.spawn(len, args=("abc",)).execute(session=session).fetch() == 3
    assert is_empty(session.memory), holds(session.memory)


# -- spill_limit -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spill_limit", [0, "3MB", 10_000])
def test_limit_on_the_disk_is_reached(spill_limit: Any):
    with mars.new_session(n_workers=2, memory_limit=10 * MB, spill_limit=spill_limit) as session:
        memory = session.memory
        assert memory is not None
        for _ in range(2):
            with pytest.raises(mars.MemoryLimitError, match="limit") as caught:
                mars_scheduler(kept(30), "end")
            assert "on disk" in str(caught.value)
            assert memory.most_in_memory <= 13 * MB
            check_that_it_goes_on(session)


def test_limit_on_the_disk_is_kept():
    seen: list[int] = []
    with mars.new_session(n_workers=2, memory_limit=10 * MB, spill_limit="25MB") as session:
        memory = session.memory
        assert memory is not None
        assert mars_scheduler(kept(30, lambda: seen.append(memory.on_disk)), "end") == 30 * MB
        assert 18 * MB <= seen[0] <= 25 * MB
        assert is_empty(memory)


def test_objects_are_kept_when_there_is_no_room_for_another():
    with small(spill_limit=0) as session:
        obj = mr.spawn(bytes, args=(50_000,)).execute()
        with pytest.raises(mars.MemoryLimitError, match="on disk"):
            move_out(session)
        assert obj.fetch() == bytes(50_000)
        del obj
        move_out(session)
        assert is_empty(session.memory)


# -- The disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if sys.platform != "linux" or mount is None or unmount is None:
        pytest.skip("needs mount")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "none", disk], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"may not mount: {done.stderr.decode()}")
    yield disk
    subprocess.run([unmount, disk], check=True, timeout=10)


@pytest.mark.filterwarnings("ignore")
def test_full_disk(tiny_disk: Path):
    with mars.new_session(n_workers=2, memory_limit=10 * MB, spill_dir=tiny_disk) as session:
        for _ in range(2):
            with pytest.raises(mars.MemoryLimitError, match="no space left"):
                mars_scheduler(kept(30), "end")
            check_that_it_goes_on(session)
        assert mars_scheduler(kept(12), "end") == 12 * MB  # there is room for some
        assert is_empty(session.memory)
    assert list(tiny_disk.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="sets a limit of POSIX")
def test_files_may_not_be_that_large(tmp_path: Path):
    """`ulimit -f`, in a process that does not ignore what the system sends then."""
    source = """
    import resource
    import mars
    from mars.contrib.dask import mars_scheduler
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    with mars.new_session(n_workers=2, memory_limit=4_000_000, spill_dir=sys.argv[1]) as session:
        graph = {("block", i): (bytes, 1_000_000) for i in range(10)}
        graph |= {("size", i): (len, ("block", i)) for i in range(10)}
        graph["all"] = (sum, [("size", i) for i in range(10)])
        graph |= {("use", i): (lambda block, _: len(block), ("block", i), "all") for i in range(10)}
        graph["end"] = (sum, [("use", i) for i in range(10)])
        try:
            mars_scheduler(graph, "end")
        except mars.MemoryLimitError as error:
            say("File too large" in str(error))
        del graph["end"]
        say(mars_scheduler({"x": (bytes, 10)}, "x"))
        memory = session.memory
        deadline = time.monotonic() + 5
        while (memory.in_memory, memory.reserved, memory.on_disk) != (0, 0, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
        say(memory.in_memory, memory.reserved, memory.on_disk)
    """
    assert run_well(source, str(tmp_path)) == ["True", str(bytes(10)), "0 0 0"]
    assert list(tmp_path.iterdir()) == []


# -- The directory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["directory of the process", "spill_dir itself"])
def test_directory_is_removed_underway(what: str, tmp_path: Path):
    """By somebody who tidies up, say. What was there is lost, the session is not."""
    base = tmp_path / "base"
    with mars.new_session(n_workers=2, memory_limit=10 * MB, spill_dir=base) as session:
        memory = session.memory
        assert memory is not None

        def remove() -> None:
            shutil.rmtree(base if what == "spill_dir itself" else memory.directory)

        with pytest.raises(mars.SpillError, match="removed by somebody else"):
            mars_scheduler(kept(30, remove), "end")
        check_that_it_goes_on(session)


def test_session_moves_results_again_after_its_directory_was_removed(tmp_path: Path):
    with mars.new_session(n_workers=2, memory_limit=10 * MB, spill_dir=tmp_path) as session:
        memory = session.memory
        assert memory is not None
        assert mars_scheduler(kept(30), "end") == 30 * MB
        shutil.rmtree(memory.directory)
        assert mars_scheduler(kept(30), "end") == 30 * MB
        assert is_empty(memory)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links as POSIX has them")
def test_directory_is_replaced_by_a_link_to_elsewhere(tmp_path: Path):
    """Nothing there is removed."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    (tmp_path / "base").mkdir()
    with mars.new_session(n_workers=2, memory_limit=10 * MB, spill_dir=tmp_path / "base") as session:
        memory = session.memory
        assert memory is not None

        def replace() -> None:
            directory = memory.directory
            assert directory is not None
            shutil.rmtree(directory)
            directory.symlink_to(tmp_path / "precious")

        with pytest.raises((mars.SpillError, mars.MemoryLimitError)):
            mars_scheduler(kept(30, replace), "end")
    assert (tmp_path / "precious" / "file").read_text() == "mine"
