"""What Dask hands to a scheduler, and whether two graphs or values are the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dask
import numpy as np
import pytest
from dask._task_spec import GraphNode, convert_legacy_graph, cull
from dask.core import flatten


class Handed(Exception):
    """Carries what Dask hands to a scheduler out of the call."""

    def __init__(self, dsk: Any, keys: list[Any]) -> None:
        self.dsk = dsk
        self.keys = keys


def hand_over(dsk: Any, keys: list[Any], **kwargs: Any) -> Any:
    raise Handed(dsk, keys)


def handed(*collections: Any, how: Callable[..., Any] = dask.compute, **kwargs: Any) -> tuple[Any, list[Any]]:
    """The expression and the keys that a scheduler gets for these collections."""
    with pytest.raises(Handed) as caught:
        how(*collections, scheduler=hand_over, **kwargs)
    return caught.value.dsk, caught.value.keys


def needed(dsk: Mapping[Any, Any], keys: list[Any]) -> dict[Any, GraphNode]:
    """The part of a graph that the keys need, in new-style tasks."""
    return cull(convert_legacy_graph(dsk), list(flatten(keys)))


def assert_same_graph(ours: Mapping[Any, Any], stock: Mapping[Any, Any], keys: list[Any]) -> None:
    mine, theirs = needed(ours, keys), needed(stock, keys)
    assert mine.keys() == theirs.keys()
    for key, task in theirs.items():
        assert mine[key] is task or mine[key] == task, key


def assert_same_value(ours: Any, stock: Any) -> None:
    """Equal values of any kind: arrays, frames, scalars, containers of them."""
    assert type(ours) is type(stock)
    if isinstance(stock, (tuple, list)):
        assert len(ours) == len(stock)
        for mine, theirs in zip(ours, stock, strict=True):
            assert_same_value(mine, theirs)
    elif isinstance(stock, np.ndarray):
        np.testing.assert_array_equal(ours, stock)
    elif hasattr(stock, "equals"):
        assert ours.equals(stock)
    else:
        assert ours == stock
