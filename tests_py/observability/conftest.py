"""A session for each test that asks for one, and what loggers are told."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from logs import Handler, Records

import mars


@pytest.fixture
def session() -> Iterator[mars.Session]:
    """The default session of the test; its results and threads go with it."""
    with mars.new_session(n_workers=2, default=False) as session:
        yield session


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The logger ``mars``, to be given handlers and a level by a test."""
    logger = logging.getLogger("mars")
    before, propagates = list(logger.handlers), logger.propagate
    yield logger
    logger.handlers[:], logger.propagate = before, propagates
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def told(logger: logging.Logger) -> Records:
    """All that it is told, from DEBUG on."""
    records: Records = []
    logger.addHandler(Handler(records.append))
    logger.setLevel(logging.DEBUG)
    return records
