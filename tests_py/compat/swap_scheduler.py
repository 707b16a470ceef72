"""pytest plugin: run Dask's own tests with its local schedulers swapped out.

    PYTHONPATH=<this folder> SWAP_SCHEDULER="module:callable" \
        pytest -p swap_scheduler ... dask/array/tests

Without SWAP_SCHEDULER nothing is replaced, but the runs of the stock engine are
still counted and the results still written, so that a baseline and a swapped run
are recorded in the same way. ``run.py`` sets the variables:

SWAP_SCHEDULER  "package.module:attribute" of the callable to put in, or empty
SWAP_DESELECT   comma separated categories of deselect.tsv to leave out, or "none"
SWAP_SAMPLE     N: only every N-th test, chosen by a hash of its id, so that two
                runs choose the same ones
SWAP_RESULTS    the results file to write (.json.gz)

Each stock function (sync, threads, and the processes that Bag defaults to) is
replaced by one wrapper, everywhere at once: in the module that defines it, in
``dask.get`` and in ``dask.base.named_schedulers``, before any collection or test
module is imported. Identity checks such as
``get_scheduler(scheduler="threads") is dask.threaded.get`` keep holding, and the
defaults of Array and Bag stay two different objects, as Dask expects.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from selection import deselected, deselections, in_sample

SPEC = os.environ.get("SWAP_SCHEDULER", "").strip()
SAMPLE = int(os.environ.get("SWAP_SAMPLE") or 1)

Get = Callable[..., Any]

# Runs of the swapped callable, of the stock engine under it (a fallback), and of
# the stock engine on its own.
COUNTS: Counter[str] = Counter()
_inside = threading.local()
_lock = threading.Lock()


def count(what: str) -> None:
    with _lock:
        COUNTS[what] += 1


def load(spec: str) -> Get:
    module, _, attribute = spec.partition(":")
    found = getattr(importlib.import_module(module), attribute, None)
    if not callable(found):
        raise SystemExit(f"SWAP_SCHEDULER: {spec!r} is not 'module:callable'")
    return found  # type: ignore[no-any-return]


def disguised(function: Any, like: Any) -> Any:
    """File the frames of ``function`` under the file of the one that it stands for.

    ``dask.utils.shorten_traceback`` then drops them as it drops the stock ones: the
    harness itself must not change what a traceback shows.
    """
    function.__code__ = function.__code__.replace(co_filename=like.__code__.co_filename)
    return functools.wraps(like)(function)


def swapped(stock: Get, target: Get) -> Get:
    def get(dsk: Any, keys: Any, *args: Any, **kwargs: Any) -> Any:
        count("swapped")
        _inside.depth = getattr(_inside, "depth", 0) + 1
        try:
            return target(dsk, keys, *args, **kwargs)
        finally:
            _inside.depth -= 1

    return disguised(get, stock)  # type: ignore[no-any-return]


def counted(engine: Get) -> Get:
    """Wrap dask.local.get_async, the engine under all the stock schedulers."""

    def get_async(*args: Any, **kwargs: Any) -> Any:
        count("inside" if getattr(_inside, "depth", 0) else "stock")
        return engine(*args, **kwargs)

    return disguised(get_async, engine)  # type: ignore[no-any-return]


def install() -> None:
    """Replace the stock functions; called once, when pytest loads the plugin."""
    import dask
    import dask.base
    import dask.delayed
    import dask.local
    import dask.multiprocessing
    import dask.threaded

    target = load(SPEC) if SPEC else None  # its package may hold on to stock functions
    early = {m for m in ("dask.array.core", "dask.bag.core", "dask.dataframe") if m in sys.modules}
    if early:
        raise SystemExit(f"swap_scheduler comes too late: {sorted(early)} are imported already")
    engine = counted(dask.local.get_async)
    dask.local.get_async = dask.threaded.get_async = dask.multiprocessing.get_async = engine
    if target is None:
        return
    sync = swapped(dask.local.get_sync, target)
    threads = swapped(dask.threaded.get, target)
    for name, stock in dask.base.named_schedulers.items():
        if stock is dask.local.get_sync:
            dask.base.named_schedulers[name] = sync
        elif stock is dask.threaded.get:
            dask.base.named_schedulers[name] = threads
    dask.local.get_sync = dask.get = sync
    dask.threaded.get = threads
    # Imported along with dask itself, so it holds the old function. (The
    # attribute dask.delayed is the function, not the module.)
    module = sys.modules["dask.delayed"]
    module.DEFAULT_GET = threads  # type: ignore[attr-defined]
    module.Delayed.__dask_scheduler__ = staticmethod(threads)  # type: ignore[attr-defined]

    # Bag defaults to processes; the name "processes" itself stays stock.
    bag = swapped(dask.multiprocessing.get, target)
    import dask.bag.core

    dask.bag.core.DEFAULT_GET = bag
    dask.bag.core.Bag.__dask_scheduler__ = staticmethod(bag)
    dask.bag.core.Item.__dask_scheduler__ = staticmethod(bag)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    want = set(os.environ.get("SWAP_DESELECT", "").split(","))
    rows = [(c, p) for c, p, _ in deselections() if "none" not in want and (c in want or want == {""})]
    keep, drop, dropped = [], [], {}
    for item in items:
        category = deselected(item.nodeid, rows)
        if category is not None:
            dropped[item.nodeid] = category
        (keep if category is None and in_sample(item.nodeid, SAMPLE) else drop).append(item)
    items[:] = keep
    config.hook.pytest_deselected(items=drop)
    config.swap_deselected = dropped


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: Any, nextitem: Any) -> Any:
    item.swap_before = COUNTS.copy()
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    outcome = yield
    before = getattr(item, "swap_before", None)
    if before is not None:
        # a plain attribute: pytest and xdist carry it along with the report
        outcome.get_result().swap_counts = dict(COUNTS - before)


def pytest_configure(config: Any) -> None:
    from swap_record import Recorder, Reporter

    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Reporter(config), "swap-worker")
    else:
        config.pluginmanager.register(Recorder(config, SPEC, SAMPLE), "swap-recorder")


def pytest_report_header(config: Any) -> str:
    return f"swap_scheduler: {SPEC or 'no swap (stock schedulers)'}"


# A shell's background job has SIGINT ignored; tests of Ctrl-C would hang.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

install()
