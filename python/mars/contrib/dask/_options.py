"""The keywords of a scheduler call: what they mean, and which are strange."""

from __future__ import annotations

import difflib
import logging
import operator
from collections.abc import Mapping
from typing import Any

from dask import config, system
from dask._task_spec import DataNode

from mars.session import _explicit_limit

_log = logging.getLogger("mars")

_OURS = ("num_workers", "pool", "cache", "callbacks", "rerun_exceptions_locally")
#: Known to other schedulers or to libraries that call them. They choose how
#: tasks travel to workers, which ours do not, or mean nothing to any scheduler.
_OTHERS = (
    "chunksize",
    "get_id",
    "dumps",
    "loads",
    "pack_exception",
    "raise_exception",
    "func_dumps",
    "func_loads",
    "initializer",
    "optimize_graph",
    "traverse",
    "flush",
)
_reported: set[str] = set()


def worker_limit(num_workers: Any, pool: Any) -> int:
    """How many tasks may run at the same time.

    Parameters
    ----------
    num_workers
        The keyword ``num_workers``, None if not given.
    pool
        The keyword ``pool``, None if not given.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        The number of workers is no whole number, or below 1.
    """
    if pool is None and num_workers is None:
        pool = config.get("pool", None)
    if pool is not None and num_workers is None:
        for attribute in ("_max_workers", "_processes"):
            num_workers = getattr(pool, attribute, None)
            if num_workers is not None:
                break
    if num_workers is None:
        num_workers = config.get("num_workers", None)
    if num_workers is None:
        num_workers = _explicit_limit()
    name = "num_workers"
    if num_workers is None:
        num_workers = config.get("mars.n-workers", None)
        name = "the setting mars.n-workers" if num_workers is not None else name
    if num_workers is None:
        num_workers = system.CPU_COUNT
    try:
        limit = operator.index(num_workers)
    except TypeError:
        raise TypeError(f"{name} must be a whole number of at least 1, not {num_workers!r}") from None
    if limit < 1:
        raise ValueError(f"{name} must be at least 1, not {num_workers!r}")
    return limit


def with_known(graph: Mapping[Any, Any], known: Mapping[Any, Any]) -> dict[Any, Any]:
    """The graph, with values that are known put in place of tasks."""
    return {**graph, **{key: DataNode(key, value) for key, value in known.items()}}


def report_unknown(keywords: Mapping[str, Any]) -> None:
    """Log each unknown keyword, the first time it is met."""
    for name in keywords:
        if name in _OTHERS or name in _reported:
            continue
        _reported.add(name)
        near = difflib.get_close_matches(name, _OURS, n=1)
        _log.warning(
            "mars_scheduler does not know the option %r and goes on without it%s",
            name,
            f"; did you mean {near[0]!r}?" if near else "",
        )
