"""A scheduler whose ``persist`` returns at once.

Dask lets a scheduler that has an attribute ``persist`` do that work itself. ``mars_scheduler`` has
none: code that persists may count on the data being there, and on errors being raised there and
then. Who wants the work to go on in the background says so by naming this scheduler.
"""

from __future__ import annotations

from typing import Any

import dask
from dask._task_spec import Task
from dask.core import flatten

from mars import _mars
from mars.contrib.dask._convert import GraphKey
from mars.contrib.dask.materialize import materialize
from mars.contrib.dask.scheduler import mars_scheduler
from mars.session import execute

__all__ = ["mars_background"]


def mars_background(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """As `mars_scheduler`, but ``persist`` returns at once while the work goes on.

    Also known to Dask as ``scheduler="mars-background"``. Parts that are needed before they are
    there are waited for, or computed by who needs them; nothing is computed twice. An error is
    raised by whoever needs the part that failed. The persisted collections can be used with any
    scheduler of this process.

    Parameters
    ----------
    dsk, keys, **kwargs
        As for `mars_scheduler`. ``persist`` takes no further options: it uses the default session.

    Returns
    -------
    object
        As `mars_scheduler`; from ``persist`` collections like those given.

    Examples
    --------
    >>> import dask.bag
    >>> from mars.contrib.dask import mars_background, mars_scheduler
    >>> squares = dask.bag.range(4, npartitions=2).map(pow, 2)
    >>> squares = squares.persist(scheduler=mars_background)
    >>> squares.compute(scheduler=mars_scheduler)
    [0, 1, 4, 9]
    """
    return mars_scheduler(dsk, keys, **kwargs)


def _persist(collections: Any, *, optimize_graph: bool = True, **kwargs: Any) -> tuple[Any, ...]:
    """Called by ``dask.persist`` (Dask 2026.8)."""
    if kwargs:
        raise TypeError(f"persist in the background does not have these options: {', '.join(kwargs)}")
    persisted: tuple[Any, ...] = dask.persist(
        *collections, scheduler=_begin, optimize_graph=optimize_graph, traverse=False
    )
    return persisted


mars_background.persist = _persist  # type: ignore[attr-defined]


def _begin(dsk: Any, keys: Any) -> Any:
    """Begin to compute; in the place of each value a task that gives it."""
    graph = materialize(dsk)
    objects = {key: _mars.convert(GraphKey(graph, key)) for key in flatten(keys)}
    execute(list(objects.values()), wait=False)
    return _stand_ins(keys, objects)


def _stand_ins(keys: Any, objects: dict[Any, _mars.Object]) -> Any:
    from mars.remote._values import resolve  # who does not use objects need not import what they need

    if isinstance(keys, list):
        return tuple([_stand_ins(key, objects) for key in keys])
    return Task(keys, resolve, objects[keys])
