"""Arrays: two with many small chunks, the others with chunks of a usual size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da

from cases.case import Case


def ones_sum(folder: Path) -> tuple[Any, ...]:
    return ((da.ones((1_000, 1_000), chunks=(10, 10)) + 1).sum(),)


def transpose_mean(folder: Path) -> tuple[Any, ...]:
    x = da.random.default_rng(0).random((1_000, 1_000), chunks=(10, 10))
    return ((x + x.T).mean(),)


def svd(folder: Path) -> tuple[Any, ...]:
    x = da.random.default_rng(1).random((400_000, 50), chunks=(20_000, 50))
    return (da.linalg.svd(x)[1],)


def tensordot(folder: Path) -> tuple[Any, ...]:
    x = da.random.default_rng(2).random((3_000, 3_000), chunks=(500, 500))
    return (da.tensordot(x, x, axes=1).sum(),)


def smooth(block: Any) -> Any:
    return (block[:-2, 1:-1] + block[2:, 1:-1] + block[1:-1, :-2] + block[1:-1, 2:]) / 4


def map_overlap(folder: Path) -> tuple[Any, ...]:
    x = da.random.default_rng(3).random((6_000, 6_000), chunks=(500, 500))
    y = x.map_overlap(smooth, depth=1, boundary="reflect", trim=False, dtype=x.dtype)
    return (y.std(),)


CASES = [
    Case("ones 10,000 chunks + 1, sum", ones_sum, factor=3, usual=False),
    Case("(x + x.T).mean() 10,000 chunks", transpose_mean, factor=4, usual=False),
    Case("svd 400,000 x 50", svd),
    Case("tensordot 3,000 x 3,000", tensordot),
    Case("map_overlap 6,000 x 6,000", map_overlap),
]
