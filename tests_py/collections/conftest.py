"""Work on collections, computed twice: by Dask, one task after the other, and by us."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dask
import pytest

from mars.contrib.dask import mars_scheduler

Compute = Callable[..., Any]


@pytest.fixture(params=[None, 1], ids=["all workers", "one worker"])
def ours(request: pytest.FixtureRequest) -> Iterator[Compute]:
    """`dask.compute` on our scheduler; everything that Dask computes on the way runs there too."""
    with dask.config.set(scheduler=mars_scheduler, num_workers=request.param):
        yield lambda *collections, **keywords: dask.compute(*collections, **keywords)


@pytest.fixture
def stock() -> Compute:
    def compute(*collections: Any, **keywords: Any) -> Any:
        with dask.config.set(scheduler="sync"):
            return dask.compute(*collections, **keywords)

    return compute
