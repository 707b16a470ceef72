"""What the tests of the memory limit share: filling the memory of a session, and looking at what is on its disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import eventually

import mars
import mars.remote as mr

MB = 1_000_000
#: The least limit that there can be: what a session of `small` holds.
LEAST = 2**20


def files(memory: Any) -> list[Path]:
    """The results on disk, without what keeps others from sweeping them."""
    if memory.directory is None or not memory.directory.is_dir():
        return []
    return [path for path in memory.directory.iterdir() if path.name != "lock"]


def holds(memory: Any) -> tuple[int, int, int, int, int]:
    """All that may be left: results, their bytes in memory, room, bytes on disk, files."""
    return len(memory), memory.in_memory, memory.reserved, memory.on_disk, len(files(memory))


def is_empty(memory: Any) -> bool:
    """Whether everything is let go of, at once or when the last worker has looked."""
    return eventually(lambda: holds(memory) == (0, 0, 0, 0, 0))


def ballast(*_: Any) -> bytes:
    """As much as a small session holds, so that everything else has to go."""
    return bytes(LEAST - 1000)


@contextmanager
def small(**options: Any) -> Iterator[mars.Session]:
    """A session that holds 1 MiB and knows how much `ballast` is: before the next one, the rest goes to disk."""
    with mars.new_session(**{"n_workers": 1, "memory_limit": LEAST, "default": False, **options}) as session:
        mr.spawn(ballast).execute()
        yield session


def move_out(session: mars.Session) -> None:
    """Move all results of a small session that can be moved to its disk."""
    mr.spawn(ballast).execute(session=session)


def moved_and_read(make: Callable[[], Any]) -> tuple[Any, Any]:
    """The value that `make` returns, moved to disk: as it is fetched, and as a task gets it."""
    with small() as session:
        obj = mr.spawn(make).execute()
        move_out(session)
        assert session.memory.on_disk > 0, "it was not moved"
        fetched = obj.fetch()
        seen: list[Any] = []
        mr.spawn(seen.append, args=(obj,)).execute()
        assert session.memory.read > 0
        return fetched, seen[0]
