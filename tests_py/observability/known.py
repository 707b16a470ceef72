"""Graphs whose tasks are known, and what a profile says of them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from support import add

import mars

#: How far the ends of slices in a trace are rounded, in microseconds.
ROUNDED = "0"


def layered(width: int) -> dict[Any, Any]:
    """Three layers and a sum: so many tasks each, and as many edges between them."""
    graph: dict[Any, Any] = {("load", i): (bytes, 1000 * i) for i in range(width)}
    graph |= {("size", i): (len, ("load", i)) for i in range(width)}
    graph |= {("pair", i): (add, ("size", i), ("size", (i + 1) % width)) for i in range(width)}
    graph["total"] = (sum, [("pair", i) for i in range(width)])
    return graph


def prefixes(profile: mars.Profile) -> dict[str, int]:
    return {row.prefix: row.tasks for row in profile.summary().prefixes}


def is_there(package: str) -> bool:
    """Whether a package that is optional is installed."""
    return find_spec(package) is not None
