"""Sessions under a limit, and settings that leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from spills import MB

import mars
from mars import _memory


@pytest.fixture
def session() -> Iterator[mars.Session]:
    """The default session of all threads, under a limit of 10 MB."""
    with mars.new_session(n_workers=2, memory_limit=10 * MB) as session:
        yield session


@pytest.fixture(autouse=True)
def no_configured_memory() -> Iterator[None]:
    """Limits that a test has set are kept for the life of the process, and their directories with them."""
    yield
    for memory in _memory._configured.values():
        memory.clear()
    _memory.forget()
