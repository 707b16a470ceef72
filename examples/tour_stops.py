"""The stops of the tour: what each computes, and when two answers agree."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stop:
    """A piece of work on one collection; ``needs`` are packages besides Dask."""

    collection: str
    what: str
    build: Callable[[], tuple[Any, ...]]
    needs: tuple[str, ...] = ()


def primes() -> tuple[Any, ...]:
    """The primes below 100,000, counted in 2,000 separate calls."""
    import dask

    def count(start: int, stop: int) -> int:
        return sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(max(start, 2), stop))

    part = dask.delayed(count)
    return tuple(part(start, start + 50) for start in range(0, 100_000, 50))


def tournament() -> tuple[Any, ...]:
    """A knock-out among 16,384 players, round by round."""
    import dask

    strength = dask.delayed(lambda player: (player * 2_654_435_761 % 2**32, player))
    play = dask.delayed(max)
    level = [strength(player) for player in range(16_384)]
    while len(level) > 1:
        level = [play(a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
    return tuple(level)


def words() -> tuple[Any, ...]:
    """The commonest words of a text in 500 parts."""
    import dask.bag as db

    text = "red dust rises over the plain and the two small moons of mars cross the sky"
    dust = text.split()
    lines = db.range(10_000, npartitions=500).map(lambda i: " ".join(dust[(i * k) % len(dust)] for k in range(1, 9)))
    return (lines.str.split().flatten().frequencies(split_every=16).topk(5, key=lambda pair: (pair[1], pair[0])),)


def symmetric() -> tuple[Any, ...]:
    """Mean of a matrix and its transpose, in 2,500 chunks."""
    import dask.array as da

    x = da.random.default_rng(0).random((2_000, 2_000), chunks=(40, 40))
    return ((x + x.T).mean(),)


def principal() -> tuple[Any, ...]:
    """Principal components of 200,000 measurements: a tall and skinny SVD."""
    import dask.array as da

    x = da.random.default_rng(1).random((200_000, 40), chunks=(10_000, 40))
    _, strength, _ = da.linalg.svd(x - x.mean(axis=0))
    return (strength[:5],)


def orders() -> tuple[Any, ...]:
    """Orders joined with customers, turnover by region: merge, then groupby."""
    import dask.dataframe as dd
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(2)
    customers = pd.DataFrame({"customer": np.arange(5_000), "region": rng.integers(0, 12, 5_000)})
    table = pd.DataFrame({"customer": rng.integers(0, 5_000, 400_000), "price": rng.random(400_000)})
    left = dd.from_pandas(table, npartitions=16)
    right = dd.from_pandas(customers, npartitions=4)
    joined = left.merge(right, on="customer")
    return (joined.groupby("region").price.agg(["sum", "mean", "count"]),)


def climate() -> tuple[Any, ...]:
    """Ten years of daily fields: what departs from each month's mean."""
    import dask.array as da
    import pandas as pd
    import xarray as xr

    days = pd.date_range("2000-01-01", periods=3_652)
    values = da.random.default_rng(3).random((3_652, 40, 80), chunks=(365, 40, 80))
    field = xr.DataArray(values, dims=("time", "lat", "lon"), coords={"time": days})
    by_month = field.groupby("time.month")
    return ((by_month - by_month.mean("time")).std("time"),)


def together() -> tuple[Any, ...]:
    """Five statistics of one array at once: the chunks are made a single time."""
    import dask.array as da

    x = da.random.default_rng(4).normal(size=(4_000, 4_000), chunks=(200, 200))
    return x.mean(), x.std(), x.min(), x.max(), da.histogram(x, bins=20, range=(-5, 5))[0]


STOPS = [
    Stop("delayed", "primes, in 2,000 separate calls", primes),
    Stop("delayed", "a knock-out of 16,384 players", tournament),
    Stop("bag", "the commonest words of a text", words),
    Stop("array", "(x + x.T).mean(), 2,500 chunks", symmetric, ("numpy",)),
    Stop("array", "principal components by SVD", principal, ("numpy",)),
    Stop("array", "five statistics in one compute", together, ("numpy",)),
    Stop("dataframe", "orders ⋈ customers by region", orders, ("pandas", "pyarrow")),
    Stop("xarray", "anomalies from monthly means", climate, ("xarray", "pandas")),
]


def agree(left: Any, right: Any) -> bool:
    """Equal: exactly, or to rounding where the order of a sum may differ."""
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(agree, left, right))
    if hasattr(left, "to_numpy"):  # pandas, xarray: by label
        if hasattr(left, "sort_index"):
            left, right = left.sort_index(), right.sort_index()
            if not left.index.equals(right.index):
                return False
        left, right = left.to_numpy(), right.to_numpy()
    if hasattr(left, "shape"):
        import numpy as np

        return left.shape == right.shape and bool(np.allclose(left, right, equal_nan=True))
    if isinstance(left, float):
        return math.isclose(left, right, rel_tol=1e-9)
    return bool(left == right)
