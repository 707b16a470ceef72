"""A forecast of what computing collections comes to."""

from __future__ import annotations

from typing import Any

import dask
from dask import config
from dask.base import unpack_collections
from dask.callbacks import Callback

from mars import _limits, _mars
from mars.contrib.dask import _options
from mars.contrib.dask._block_sizes import Sizes, known_sizes, size_of_values, split_sizes
from mars.contrib.dask._explanation import Explanation
from mars.contrib.dask.materialize import materialize
from mars.session import current_memory

__all__ = ["explain"]


def explain(
    *collections: Any,
    sizes: Sizes | None = None,
    n_workers: int | None = None,
    optimize_graph: bool = True,
    memory_limit: int | float | str | None = None,
) -> Explanation:
    """Foretell what ``dask.compute(*collections)`` on the Mars engine comes to, without running it.

    The graph is optimised, read and ordered as for ``compute``, and then played task by
    task instead of run, as if all tasks took the same time.

    Parameters
    ----------
    *collections
        Any Dask collections, also inside lists, tuples, sets, dicts and dataclasses. Whatever
        is no collection needs no task.
    sizes : mapping or callable, optional
        What results take: a mapping from keys, layers (the first item of keys that are tuples) or
        prefixes to bytes, the more special of them counts; or a function of a key that returns
        bytes, or None where it does not know. Texts such as ``"64 MiB"`` are understood. The
        sizes of blocks of the given arrays are known anyway.
    n_workers : int, optional
        Default: as many as ``compute`` would use.
    optimize_graph : bool, default True
        As for ``dask.compute``.
    memory_limit : int, float or str, optional
        What to compare the peak with. Default: the limit under which it would run, if any.

    Returns
    -------
    Explanation
        Tasks by prefix, critical path, parallelism, the peak of live results, and its bytes as
        far as sizes are known. It prints as a table.

    Raises
    ------
    TypeError, ValueError
        An argument makes no sense.

    Notes
    -----
    No task of the graph is called. But some collections compute something of their own in order to
    be optimised, with the scheduler that is set: ``DataFrame.set_index`` its divisions,
    ``read_parquet`` statistics. They do so here, as they would in ``compute``.

    With one worker the peak of results is exact. With more it depends on how long tasks take.

    Examples
    --------
    >>> import dask
    >>> from mars.contrib.dask import explain
    >>> @dask.delayed(pure=True)
    ... def load(i):
    ...     return bytes(1_000_000)
    >>> @dask.delayed(pure=True)
    ... def count(data):
    ...     return len(data)
    >>> total = dask.delayed(sum, pure=True)([count(load(i)) for i in range(4)])
    >>> forecast = explain(total, sizes={"load": "1 MB", "count": 28}, n_workers=2)
    >>> forecast.by_prefix
    {'count': 4, 'load': 4, 'sum': 1}
    >>> forecast.parallelism, forecast.width
    (3.0, 4)
    >>> forecast.peak_results, forecast.peak_bytes
    (6, 2000112)
    """
    limit = _limit_set() if memory_limit is None else _limits.memory_limit("memory_limit", memory_limit, within=False)
    workers = _options.worker_limit(n_workers, None)
    given, size_of = split_sizes(sizes)
    found, _ = unpack_collections(*collections)
    graph, keys = _graph_and_keys(found, optimize_graph)
    forecast = _mars.forecast(graph, keys, workers, given, known_sizes(found, keys), size_of)
    serial, parallel = forecast["serial"], forecast["parallel"]
    requested_results, requested_bytes, requested_unknown = forecast["requested"]
    return Explanation(
        tasks=forecast["tasks"],
        by_prefix=dict(sorted(forecast["by_prefix"].items(), key=lambda item: (-item[1], item[0]))),
        critical_path=tuple(forecast["critical_path"]),
        width=forecast["width"],
        n_workers=workers,
        peak_results=parallel["results"],
        peak_key=parallel["results_key"],
        peak_bytes=parallel["bytes"],
        peak_bytes_key=parallel["bytes_key"],
        peak_unknown=parallel["unknown"],
        serial_peak_results=serial["results"],
        serial_peak_bytes=serial["bytes"],
        unknown_results=forecast["unknown"],
        requested_results=requested_results,
        requested_bytes=requested_bytes,
        requested_unknown=requested_unknown,
        known_values=len(forecast["known"]),
        known_bytes=size_of_values(forecast["known"]),
        memory_limit=limit,
    )


class _Captured(BaseException):
    """Ends ``dask.compute`` at its scheduler call. No ``except Exception`` takes it for an error."""

    def __init__(self, dsk: Any, keys: list[Any]) -> None:
        self.dsk = dsk
        self.keys = keys


def _capture(dsk: Any, keys: list[Any], **_: Any) -> Any:
    """In the place of a scheduler."""
    raise _Captured(dsk, keys)


def _graph_and_keys(collections: list[Any], optimize_graph: bool) -> tuple[dict[Any, Any], list[Any]]:
    """The graph that the engine would get from ``dask.compute``, and the keys that it would be asked for."""
    try:
        dask.compute(*collections, scheduler=_capture, optimize_graph=optimize_graph)
    except _Captured as captured:
        dsk, keys = captured.dsk, captured.keys
    else:
        return {}, []  # no collections: nothing to schedule
    # As in mars_scheduler.
    graph = materialize(dsk, stock=bool(Callback.active))
    cache = config.get("cache", None)
    return (_options.with_known(graph, cache) if cache else graph), keys


def _limit_set() -> int | None:
    """The memory limit under which it would run."""
    memory = current_memory()
    return None if memory is None else memory.limit
