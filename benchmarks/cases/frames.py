"""Dataframes: groupby, merge, shuffle and parquet with partitions of 100,000 rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd

from cases.case import Case

ROWS = 2_000_000
PARTITIONS = 20


def table(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "key": rng.integers(0, 1_000, rows),
            "x": rng.random(rows),
            "y": rng.random(rows),
        }
    )


def groupby(folder: Path) -> tuple[Any, ...]:
    frame = dd.from_pandas(table(), npartitions=PARTITIONS)
    return (frame.groupby("key").agg({"x": "mean", "y": "max"}),)


def merge(folder: Path) -> tuple[Any, ...]:
    left = dd.from_pandas(table(ROWS // 4), npartitions=PARTITIONS)
    right = dd.from_pandas(table(20_000, seed=1), npartitions=4)
    return (left.merge(right, on="key")[["x_x", "y_y"]].sum(),)


def shuffle(folder: Path) -> tuple[Any, ...]:
    frame = dd.from_pandas(table(), npartitions=PARTITIONS)
    moved = frame.shuffle("key", shuffle_method="tasks")
    return (moved.map_partitions(len, meta=(None, "int64")).sum(),)


def parquet(folder: Path) -> tuple[Any, ...]:
    step = ROWS // PARTITIONS
    whole = table()
    for i in range(PARTITIONS):
        part = whole.iloc[i * step : (i + 1) * step]
        part.to_parquet(folder / f"part.{i:02}.parquet")
    frame = dd.read_parquet(folder)
    return (frame[frame.x > 0.5].groupby("key").y.mean(),)


CASES = [
    Case("dataframe groupby 2,000,000", groupby),
    Case("dataframe merge 500,000 x 20,000", merge),
    Case("dataframe shuffle 2,000,000", shuffle),
    Case("parquet filter, groupby 2,000,000", parquet),
]
