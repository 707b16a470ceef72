"""Computations that report to ``dask.callbacks``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dask._task_spec import Alias, convert_legacy_graph
from dask.callbacks import Callback, local_callbacks, normalize_callback, unpack_callbacks

from mars._mars import Memory, execute
from mars.contrib.dask import _options

Key = Any
Hooks = tuple[Any, Any, Any, Any, Any]


def execute_reporting(
    graph: Mapping[Key, Any],
    keys: Any,
    limit: int,
    on_main_thread: bool,
    rerun_exceptions_locally: bool,
    callbacks: Any,
    known: Mapping[Key, Any] | None,
    memory: Memory | None,
) -> Any:
    """Compute `keys`, calling callbacks on the calling thread as Dask does.

    Parameters
    ----------
    graph, keys, limit, on_main_thread, rerun_exceptions_locally
        As for ``mars._mars.execute``.
    callbacks
        What was given as ``callbacks=``; None for the active ones, which nested
        computations then do not see.
    known
        Results that need not be computed, by key.
    memory
        The limit under which it runs; None without one.

    Returns
    -------
    object
        The results.

    Notes
    -----
    The order of the calls is that of ``dask.local.get_async``: every callback
    whose ``start`` was called has its ``finish`` called, whatever happens.
    """
    dsk = convert_legacy_graph(graph, all_keys={*graph, *(known or ())})
    if callbacks is not None:
        callbacks = _normalized(callbacks)
    with local_callbacks(callbacks) as active:
        report = _Report(dsk, active, keeps_results=memory is None)
        succeeded = False
        try:
            report.start()
            run = dsk if not known else _options.with_known(dsk, known)
            results = execute(run, keys, limit, on_main_thread, rerun_exceptions_locally, report, memory)
            succeeded = True
            return results
        finally:
            report.finish(not succeeded)


def _normalized(callbacks: Any) -> list[Hooks]:
    """One callback, or an iterable of them, each as a tuple of five hooks."""
    hooks = isinstance(callbacks, tuple) and all(c is None or callable(c) for c in callbacks)
    if isinstance(callbacks, Callback) or (callbacks and hooks):
        callbacks = [callbacks]
    return [normalize_callback(callback) for callback in callbacks]


class _Report:
    """Calls the hooks, and keeps the state dict that they are shown.

    Has the fields of the state of ``dask.local.start_state_from_dask``, true at
    every call. ``ready`` is a set here: the engine's queue is not a list. Under a memory
    limit ``cache`` has no results but those known from the start: they could not leave memory.
    """

    def __init__(self, dsk: dict[Key, Any], callbacks: Iterable[Hooks], *, keeps_results: bool) -> None:
        self.dsk = dsk
        self.state: dict[str, Any] = {}
        self._keeps_results = keeps_results
        self._callbacks = list(callbacks)
        _, _, self._pretask, self._posttask, _ = unpack_callbacks(self._callbacks)
        self._started: list[Hooks] = []

    def start(self) -> None:
        """Call ``start``, which may replace tasks in ``dsk`` by values."""
        for callback in self._callbacks:
            if callback[0]:
                callback[0](self.dsk)
            self._started.append(callback)

    def begin(self, dependencies: dict[Key, set[Key]], known: dict[Key, Any]) -> None:
        """Everything is parsed and nothing runs: called by the engine."""
        for key in dependencies.keys() - self.dsk.keys():  # what stands for an object of mars.remote
            self.dsk[key] = Alias(key)
        dependents: dict[Key, set[Key]] = {key: set() for key in dependencies}
        for key, needed in dependencies.items():
            for dependency in needed:
                dependents[dependency].add(key)
        waiting = {key: needed - known.keys() for key, needed in dependencies.items()}
        self.state.update(
            dependencies=dependencies,
            dependents=dependents,
            waiting={key: needed for key, needed in waiting.items() if needed},
            waiting_data={key: set(users) for key, users in dependents.items()},
            cache=known,
            ready={key for key, needed in waiting.items() if not needed and key not in known},
            running=set(),
            finished=set(),
            released=set(),
        )
        for callback in self._callbacks:
            if callback[1]:
                callback[1](self.dsk, self.state)

    def starting(self, key: Key) -> None:
        """`key` is about to run: called by the engine."""
        self.state["ready"].discard(key)
        self.state["running"].add(key)
        for hook in self._pretask:
            hook(key, self.dsk, self.state)

    def finished(self, key: Key, result: Any, worker: int, ready: list[Key], released: list[Key]) -> None:
        """`key` has run: called by the engine."""
        state = self.state
        if self._keeps_results:
            state["cache"][key] = result
        for dependent in state["dependents"][key]:
            state["waiting"][dependent].discard(key)
        for dependent in ready:
            del state["waiting"][dependent]
            state["ready"].add(dependent)
        for dependency in state["dependencies"][key]:
            state["waiting_data"][dependency].discard(key)
        for dependency in released:
            state["waiting_data"].pop(dependency, None)
            state["released"].add(dependency)
            state["cache"].pop(dependency, None)
        state["finished"].add(key)
        state["running"].discard(key)
        for hook in self._posttask:
            hook(key, result, self.dsk, state, worker)

    def finish(self, errored: bool) -> None:
        """Call ``finish`` of every callback that was started."""
        for callback in self._started:
            if callback[4]:
                callback[4](self.dsk, self.state, errored)
