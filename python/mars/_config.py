"""Settings, which are Dask's where Dask is installed."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["cpu_count", "setting"]


def setting(name: str, default: Any = None) -> Any:
    """The setting ``mars.<name>`` of Dask's configuration.

    Parameters
    ----------
    name : str
        With hyphens, as in ``"n-workers"``; an underscore is as good in the configuration.
    default
        Without Dask, or where it is not set.
    """
    try:
        from dask import config
    except ImportError:
        return default
    value = config.get(f"mars.{name}", None)
    return default if value is None else value


def cpu_count() -> int:
    """How many processors this process may use."""
    try:
        from dask import system
    except ImportError:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    count: int = system.CPU_COUNT
    return count
