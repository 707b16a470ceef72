"""A session for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mars


@pytest.fixture
def session() -> Iterator[mars.Session]:
    """The default session of the test; its results and threads go with it."""
    with mars.new_session(n_workers=2, default=False) as session:
        yield session
