"""Files that somebody else has changed are refused, never believed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spills import MB, files, is_empty, move_out, small

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def swap(path: Path) -> None:
    (other,) = [other for other in files_beside(path) if other != path][:1]
    path.rename(path.with_name("away"))
    other.rename(path)
    path.with_name("away").rename(other)


def files_beside(path: Path) -> list[Path]:
    return sorted(other for other in path.parent.iterdir() if other.name != "lock")


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("away"))
    path.symlink_to("away")


HARMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "first byte": (lambda path: flip(path, 0), "not what was written"),
    "a byte in the middle": (lambda path: flip(path, 500_000), "checksum"),
    "last byte": (lambda path: flip(path, -1), "checksum"),
    "cut off": (lambda path: os.truncate(path, 500_000), "bytes long"),
    "emptied": (lambda path: os.truncate(path, 0), "bytes long"),
    "longer": (lambda path: os.truncate(path, 5 * MB), "bytes long"),
    "deleted": (lambda path: path.unlink(), "not there"),
    "swapped with another": (swap, "another one"),
    "zeros": (lambda path: path.write_bytes(bytes(path.stat().st_size)), "another one"),
    "a directory": (replace_by_directory, "something else"),
    "a link to it": (replace_by_link, "something else"),
    "a script of pickle": (lambda path: path.write_bytes(b"cos\nabort\n(tR."), "bytes long"),
}


def kept_and_damaged(memory: Any, harm: Callable[[Path], Any]) -> dict[Any, Any]:
    """Thirty blocks, of which many are on disk when a task does harm to the files; then all are needed."""

    def damage(_: int) -> int:
        for path in files_beside(memory.directory / "any"):
            if path.exists():
                harm(path)
        return 0

    graph: dict[Any, Any] = {("block", i): (bytes, MB) for i in range(30)}
    graph |= {("size", i): (len, ("block", i)) for i in range(30)}
    graph["all"] = (sum, [("size", i) for i in range(30)])
    graph["damage"] = (damage, "all")
    graph |= {("use", i): (lambda block, _: len(block), ("block", i), "damage") for i in range(30)}
    return graph | {"end": (sum, [("use", i) for i in range(30)])}


@pytest.mark.parametrize("harm", [harm for harm in HARMS if harm != "swapped with another"])
def test_compute_over_damaged_files_fails_and_the_session_goes_on(session: mars.Session, harm: str):
    how, words = HARMS[harm]
    assert session.memory is not None
    with pytest.raises(mars.SpillError, match=words) as caught:
        mars_scheduler(kept_and_damaged(session.memory, how), "end")
    assert str(session.memory.directory) in str(caught.value)
    for path in files(session.memory):  # what was put there by the test
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    assert is_empty(session.memory)
    assert mars_scheduler(kept_and_damaged(session.memory, lambda path: None), "end") == 30 * MB
    assert is_empty(session.memory)


@pytest.mark.parametrize("harm", HARMS)
def test_object_whose_file_is_damaged_cannot_be_had(harm: str):
    how, words = HARMS[harm]
    with small() as session:
        obj, other = mr.spawn(bytes, args=(600_000,)).execute(), mr.spawn(bytes, args=(600_000,)).execute()
        move_out(session)
        assert len(files(session.memory)) >= 2
        if harm == "swapped with another":
            theirs = [path for path in files(session.memory) if path.stat().st_size < 700_000]
            how(sorted(theirs)[0])
        else:
            for path in files(session.memory):
                how(path)
        for _ in range(2):
            with pytest.raises(mars.SpillError, match=words):
                obj.fetch()
            with pytest.raises(mars.SpillError, match=words):
                mr.spawn(len, args=(other,)).execute()
        assert mr.spawn(len, args=("abc",)).execute().fetch() == 3
        assert session.memory.reserved == 0


def test_object_can_be_executed_again_once_its_file_is_lost():
    """In another session, where it has no result."""
    with small() as session:
        obj = mr.spawn(bytes, args=(600_000,)).execute()
        move_out(session)
        for path in files(session.memory):
            path.unlink()
        with pytest.raises(mars.SpillError):
            obj.fetch()
        with small() as other:
            assert obj.execute(session=other).fetch(session=other) == bytes(600_000)


def test_error_is_an_os_error_of_its_name():
    assert issubclass(mars.SpillError, OSError)
    assert mars.SpillError.__name__ == "SpillError"
    assert mars.SpillError.__module__ == "mars"
    assert mars.MemoryLimitError.__name__ == "MemoryLimitError"
    assert issubclass(mars.MemoryLimitError, MemoryError)
