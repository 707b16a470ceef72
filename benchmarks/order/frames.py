"""Dataframe and labelled-array computations to be ordered."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import xarray as xr

from .registry import case, random


def months(chunk):
    time = pd.date_range("2000-01-01", periods=720, freq="D")
    return xr.DataArray(
        random((720, 20, 20), (chunk, 10, 10)),
        dims=("time", "lat", "lon"),
        coords={"time": time},
        name="t",
    )


@case
def climatology():
    return (months(15).groupby("time.month").mean(),)


@case
def climatology_anomaly():
    groups = months(30).groupby("time.month")
    return ((groups - groups.mean()).std("time"),)


@case
def climatology_without_flox():
    with xr.set_options(use_flox=False):
        groups = months(30).groupby("time.month")
        return ((groups - groups.mean()).mean("time"),)


@case
def resample():
    return (months(10).resample(time="1ME").mean(),)


@case
def rolling_mean():
    return (months(30).rolling(time=5).mean().max("time"),)


def frame(partitions=40, rows=4_000):
    rng = np.random.default_rng(0)
    return dd.from_pandas(
        pd.DataFrame(
            {
                "k": rng.integers(0, 200, rows),
                "g": rng.integers(0, 10, rows),
                "x": rng.random(rows),
                "y": rng.random(rows),
            }
        ),
        npartitions=partitions,
        sort=False,
    )


@case
def shuffle_tasks():
    return (frame().shuffle("k", shuffle_method="tasks").x.sum(),)


@case
def shuffle_tasks_kept():
    return (frame().shuffle("k", shuffle_method="tasks"),)


@case
def merge_tasks():
    left, right = frame(24), frame(16).drop_duplicates("k", split_out=8)
    return (left.merge(right, on="k", shuffle_method="tasks").x_x.sum(),)


@case
def merge_broadcast():
    return (frame().merge(frame(1, 200), on="g", broadcast=True).x_x.mean(),)


@case
def groupby_mean():
    return (frame(120).groupby("g").x.mean(),)


@case
def groupby_split_out():
    return (frame(60).groupby("k").agg({"x": "sum", "y": "std"}, split_out=6),)


@case
def groupby_apply():
    with dask.config.set({"dataframe.shuffle.method": "tasks"}):
        applied = frame(24).groupby("k").x.apply(lambda s: s.max() - s.min(), meta=("x", "f8"))
        return (applied.sum(),)


@case
def set_index():
    df = frame(30)
    return (df.set_index("k", divisions=list(range(0, 201, 8)), shuffle_method="tasks").x.sum(),)


@case
def frame_statistics():
    df = frame(60)
    df = df[df.x > 0.1]
    return df.x.mean(), df.y.std(), df.groupby("g").y.max(), df.x.cumsum().max()


@case
def rolling_frame():
    return (frame(60).x.rolling(3).mean().sum(),)
