"""The scheduler callable."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from dask import config
from dask.callbacks import Callback

from mars import _logs, _watching
from mars._mars import Memory, execute
from mars.contrib.dask import _options
from mars.contrib.dask._callbacks import execute_reporting
from mars.contrib.dask.materialize import materialize
from mars.session import current_memory

__all__ = ["mars_scheduler"]


def mars_scheduler(
    dsk: Any,
    keys: Any,
    *,
    num_workers: int | None = None,
    pool: Any = None,
    cache: Mapping[Any, Any] | None = None,
    callbacks: Any = None,
    rerun_exceptions_locally: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Compute `keys` of the graph `dsk` on the Mars engine.

    A scheduler in Dask's sense: pass it as ``scheduler=`` to ``compute`` or
    ``persist``, or set it with ``dask.config.set(scheduler=...)``. Tasks run on
    threads of this process; results are dropped as soon as nothing needs them.

    Parameters
    ----------
    dsk
        What Dask hands over: an expression, a ``HighLevelGraph``, or any
        mapping of key to task. It is never changed.
    keys
        A key, or a list of keys, nested to any depth.
    num_workers
        At most this many tasks run at the same time. Default: the setting
        ``num_workers`` of ``dask.config``, else ``dask.system.CPU_COUNT``.
    pool
        An executor or ``multiprocessing`` pool. The engine runs tasks on its
        own threads: only the number of workers is taken from it.
    cache
        Results that are known already, by key. A key found here is not computed;
        the graph need not have it. Default: the setting ``cache``.
    callbacks
        ``dask.callbacks`` for this computation, instead of the active ones.
    rerun_exceptions_locally
        Run a failing task once more, on the calling thread, where a debugger can
        stop. What comes of that counts. Default: the setting of this name.
    **kwargs
        Keywords by which other schedulers choose how tasks and results travel
        (``chunksize``, ``get_id``, ``dumps``, ``loads``, ``pack_exception``,
        ``raise_exception``, ...) mean nothing here: nothing travels. They are
        accepted. Unknown keywords are named once in the log ``mars``, with the
        nearest known option.

    Returns
    -------
    object
        The value of a single key; a tuple for a list, nested as `keys` is.

    Raises
    ------
    MemoryLimitError
        There is a memory limit (`mars.new_session`, or the setting ``mars.memory-limit``), and
        the results fit neither into it nor on the disk.
    KeyError
        A requested key is not in the graph.
    ValueError
        A task depends on a key that is not in the graph, or an option has a
        value that makes no sense.
    RuntimeError
        The tasks depend on each other in a cycle.
    TypeError
        A requested key cannot be hashed, or an option has a wrong type.
    BaseException
        Whatever a task raises, the same object, with a note that names the
        task's key and the keys that needed it.

    Notes
    -----
    The interface is that of ``dask.local.get_async`` (Dask 2026.8).

    Examples
    --------
    >>> from operator import add
    >>> mars_scheduler({"x": 1, "y": (add, "x", 10)}, ["y", ["x"]])
    (11, (1,))
    """
    if kwargs:
        _options.report_unknown(kwargs)
    limit = _options.worker_limit(num_workers, pool)
    if rerun_exceptions_locally is None:
        rerun_exceptions_locally = config.get("rerun_exceptions_locally", False)
    if cache is None:
        cache = config.get("cache", None)
    memory = current_memory()
    part = _watching.begin(settings=config.config.get("mars"))
    try:
        if _logs.runs.isEnabledFor(logging.DEBUG):
            with _logs.Run("computation", keys, limit, memory):
                return _compute(dsk, keys, limit, bool(rerun_exceptions_locally), callbacks, cache, memory)
        return _compute(dsk, keys, limit, bool(rerun_exceptions_locally), callbacks, cache, memory)
    except BaseException as error:
        if part is not None:
            part.failed(error)
        raise
    finally:
        if part is not None:
            part.end()


def _compute(
    dsk: Any,
    keys: Any,
    limit: int,
    rerun: bool,
    callbacks: Any,
    cache: Mapping[Any, Any] | None,
    memory: Memory | None,
) -> Any:
    on_main_thread = threading.current_thread() is threading.main_thread()
    if callbacks is not None or Callback.active:
        graph = materialize(dsk, stock=True)
        return execute_reporting(graph, keys, limit, on_main_thread, rerun, callbacks, cache, memory)
    graph = materialize(dsk)
    if cache:
        graph = _options.with_known(graph, cache)
    return execute(graph, keys, limit, on_main_thread, rerun, None, memory)
