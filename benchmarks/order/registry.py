"""The collections whose graphs are ordered: each entry of ``CASES`` builds one compute() call.

Sizes are chosen so that a graph has a few hundred to a few thousand tasks and
runs in about a second: its results are really computed, to be weighed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da

CASES: dict[str, Callable[[], tuple[Any, ...]]] = {}


def case(build: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
    """Register a function that returns the collections of one compute() call."""
    CASES[build.__name__] = build
    return build


def random(shape: tuple[int, ...], chunks: tuple[int, ...]) -> da.Array:
    """Chunks that are really there (``ones`` are broadcast from one number)."""
    return da.random.default_rng(0).random(shape, chunks=chunks)
