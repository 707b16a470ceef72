"""The cyclic collector is paused while a graph is made, and only then."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import dask.array as da
import pytest
from handed import handed

from mars.contrib.dask import materialize as module
from mars.contrib.dask._gc import gc_paused


@pytest.fixture(autouse=True)
def collector_on() -> Iterator[None]:
    assert gc.isenabled()
    yield
    enabled = gc.isenabled()
    gc.enable()
    assert enabled


def test_the_collector_is_off_within_and_on_after() -> None:
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_pauses_nest() -> None:
    with gc_paused():
        with gc_paused():
            pass
        assert not gc.isenabled()


def test_an_error_ends_the_pause() -> None:
    with pytest.raises(ZeroDivisionError), gc_paused():
        raise ZeroDivisionError


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with gc_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_no_pause_where_none_is_asked_for() -> None:
    with gc_paused(False):
        assert gc.isenabled()


def test_the_last_of_several_threads_ends_the_pause() -> None:
    entered, leave = threading.Event(), threading.Event()

    def pause() -> None:
        with gc_paused():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=pause)
    with gc_paused():
        thread.start()
        assert entered.wait(10)
    assert not gc.isenabled()
    leave.set()
    thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("within", [True, False])
def test_a_forked_child_collects(within: bool) -> None:
    """Whichever thread made the pause: in the child, it may not exist any more."""
    with gc_paused():
        child = os.fork()
        if child == 0:
            if within:
                with gc_paused():
                    pass
            os._exit(0 if gc.isenabled() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_graphs_are_made_in_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    flatten_layers = module.flatten_layers
    monkeypatch.setattr(module, "flatten_layers", lambda graph: seen.append(gc.isenabled()) or flatten_layers(graph))
    dsk, _ = handed(da.ones(4, chunks=2) + 1)
    module.materialize(dsk)
    assert seen == [False]


def test_an_optimizer_that_fails_ends_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    dsk, _ = handed(da.ones(4, chunks=2) + 1)
    monkeypatch.setattr(module, "_optimized", fail)
    with pytest.raises(ZeroDivisionError):
        module.materialize(dsk)
