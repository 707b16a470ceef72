"""Every test starts in an empty folder and leaves neither files nor threads behind."""

from __future__ import annotations

import contextlib
import gc
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import eventually

from mars.contrib.dask import mars_scheduler

# More workers than any test here asks for, so that what comes on top of them is a leak.
MOST_WORKERS = 20

# Libraries keep these for the life of the process.
LASTING_THREADS = ("asyncio_", "fsspecIO", "zarr_io", "zarr-")


def pool_threads() -> int:
    """The pool's threads, as the kernel knows them by name: they are no `threading.Thread`s.

    Each has a name of its own, which native threads that a task starts (Arrow's, BLAS's) inherit.
    """
    names = set()
    for path in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            names.add(path.read_text())
    return sum(name.startswith("mars") for name in names)


def python_threads() -> set[threading.Thread]:
    """Threads started through `threading`, less the lasting ones."""
    return {
        thread
        for thread in threading.enumerate()
        if not isinstance(thread, threading._DummyThread) and not thread.name.startswith(LASTING_THREADS)
    }


@pytest.fixture(scope="session")
def largest_pool() -> int:
    """The number of threads once the pool is as large as it gets in these tests."""
    barrier = threading.Barrier(MOST_WORKERS)
    graph = dict.fromkeys(range(MOST_WORKERS), (barrier.wait, 30))
    mars_scheduler(graph, list(graph), num_workers=MOST_WORKERS)
    return pool_threads()


@pytest.fixture(scope="session")
def empty_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("temporary")


@pytest.fixture(autouse=True)
def nothing_left_behind(
    monkeypatch: pytest.MonkeyPatch,
    largest_pool: int,
    empty_folders: tuple[Path, Path],
) -> Iterator[None]:
    work, temporary = empty_folders
    monkeypatch.chdir(work)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    threads_before = python_threads()

    yield

    for path in temporary.glob("*.partd"):  # Dask's shuffle keeps them until the process exits
        shutil.rmtree(path)

    def files() -> list[Path]:
        return [*work.iterdir(), *temporary.iterdir()]

    if files():
        gc.collect()  # folders of a shuffle go with the objects that own them
    left = files() if not eventually(lambda: not files()) else []
    for path in left:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not left
    assert eventually(lambda: python_threads() <= threads_before), python_threads() - threads_before
    assert eventually(lambda: pool_threads() <= largest_pool), (pool_threads(), largest_pool)
