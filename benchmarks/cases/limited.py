"""Workloads larger than memory: every one needs most of its data before its first result.

The data are made inside the tasks, from their positions alone, so that nothing
is read and every answer is known: ``expected`` finds it again with plain numpy,
one part at a time. Sums are weighted by position, so that a row in the wrong
place gives a wrong answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROW = 40  # bytes of a row of the dataframes
# odd multipliers, one for each axis: neighbours differ in all bits
MIX = (2654435761, 2246822519, 3266489917)


@dataclass(frozen=True)
class Size:
    """How much data, in bytes, and in how many parts."""

    total: int
    parts: int

    @property
    def part(self) -> int:
        return self.total // self.parts


@dataclass(frozen=True)
class Workload:
    """``build`` gives a collection, ``answer`` a few numbers out of its result or of what it wrote."""

    name: str
    what: str
    build: Callable[[Size, Path], Any]
    answer: Callable[[Any, Size, Path], list[float]]
    expected: Callable[[Size], list[float]]


# -- arrays


def values(location: Any) -> Any:
    """What looks like random numbers of [0, 1), by position; half a block of temporaries."""
    total: Any = np.uint32(0)
    for axis, (start, stop) in enumerate(location):
        phases = (np.arange(start, stop, dtype=np.uint64) * MIX[axis] & 0xFFFFFFFF).astype(np.uint32)
        total = np.add.outer(total, phases)
    total ^= total >> np.uint32(15)
    total *= np.uint32(739982445)
    total ^= total >> np.uint32(12)
    return np.multiply(total, 2.0**-32)


def block(block_info: Any = None) -> Any:
    return values(block_info[None]["array-location"])


def made(chunks: Any) -> Any:
    import dask.array as da

    return da.map_blocks(block, chunks=chunks, dtype=float, meta=np.empty((0,) * len(chunks)))


def weights(count: int, start: int = 0) -> Any:
    return (np.arange(start, start + count) % 97 + 1).astype(float)


def side(size: Size) -> tuple[int, int]:
    """The side of a square array, and of its strips."""
    width = round(math.sqrt(size.total / 8) / size.parts)
    return width * size.parts, width


def weighted(strip: Any) -> Any:
    return weights(len(strip)) @ strip


def columns(size: Size) -> Any:
    """An array made in strips of rows, wanted in strips of columns: each strip needs all others."""
    import dask

    length, width = side(size)
    rows = made(((width,) * size.parts, (length,)))
    # by default Dask goes through chunks of 128 MiB on the way, whatever the limit
    with dask.config.set({"array.chunk-size": size.part}):
        return rows.rechunk((length, width))


def rechunk(size: Size, folder: Path) -> Any:
    return columns(size).map_blocks(weighted, drop_axis=0, dtype=float)


def rechunk_zarr(size: Size, folder: Path) -> Any:
    return columns(size).to_zarr(str(folder / "out.zarr"), compute=False)


def vector_answer(vector: Any) -> list[float]:
    return [float(vector.sum()), float(weights(len(vector)) @ vector)]


def rechunk_answer(result: Any, size: Size, folder: Path) -> list[float]:
    return vector_answer(result)


def rechunk_zarr_answer(result: Any, size: Size, folder: Path) -> list[float]:
    import zarr

    length, width = side(size)
    written: Any = zarr.open_array(folder / "out.zarr", mode="r")
    strips = [weighted(written[:, start : start + width]) for start in range(0, length, width)]
    return vector_answer(np.concatenate(strips))


def rechunk_expected(size: Size) -> list[float]:
    length, width = side(size)
    total = np.zeros(length)
    for start in range(0, length, width):
        total += weights(width, start) @ values(((start, start + width), (0, length)))
    return vector_answer(total)


def squares(size: Size) -> tuple[int, int]:
    """The side of a square array, and how many square chunks make it."""
    count = max(2, round(math.sqrt(size.parts)))
    return round(math.sqrt(size.total / 8) / count) * count, count


def transpose(size: Size, folder: Path) -> Any:
    length, count = squares(size)
    x = made(((length // count,) * count,) * 2)
    return (x + x.T).sum()


def transpose_rows(size: Size, folder: Path) -> Any:
    """The same of an array in strips: no two of them make a chunk of the sum."""
    import dask

    length, width = side(size)
    x = made(((width,) * size.parts, (length,)))
    with dask.config.set({"array.chunk-size": size.part}):
        return (x + x.T).sum()


def transpose_rows_expected(size: Size) -> list[float]:
    return twice_the_sum(*side(size))


def twice_the_sum(length: int, width: int) -> list[float]:
    strips = (values(((start, start + width), (0, length))) for start in range(0, length, width))
    return [2 * float(sum(strip.sum() for strip in strips))]


def transpose_answer(result: Any, size: Size, folder: Path) -> list[float]:
    return [float(result)]


def transpose_expected(size: Size) -> list[float]:
    length, count = squares(size)
    return twice_the_sum(length, length // count)


# -- dataframes


def rows_a_part(size: Size) -> int:
    return size.part // ROW


def numbers(start: int, stop: int, keys: int) -> dict[str, Any]:
    position = np.arange(start, stop, dtype=np.uint64)
    return {
        "k": ((position * MIX[0] & 0xFFFFFFFF) % keys).astype(np.int64),
        "v": np.multiply(position * MIX[1] & 0xFFFFFFFF, 2.0**-32),
        "w": position.astype(float),
    }


def names(keys: Any) -> Any:
    """Strings of eight letters that say which key a row has."""
    import pyarrow as pa

    return pa.array([f"name{i:04}" for i in range(1_000)], pa.large_string()).take(pa.array(keys % 1_000))


def table(index: int, rows: int, keys: int) -> Any:
    import pandas as pd

    frame = pd.DataFrame(numbers(index * rows, (index + 1) * rows, keys), copy=False)
    frame["name"] = pd.array(names(frame["k"].to_numpy()), dtype="str")
    return frame


def tables(size: Size, keys: int) -> Any:
    import dask.dataframe as dd

    rows = rows_a_part(size)
    return dd.from_map(table, range(size.parts), rows=rows, keys=keys, meta=table(0, 1, keys))


def groups(size: Size) -> int:
    """So many that the sums of a part take about as much memory as the part."""
    return rows_a_part(size) * size.parts // 8


def grouped_summary(frame: Any) -> Any:
    import pandas as pd

    mean, total = frame[("v", "mean")], frame[("w", "sum")]
    by_key = frame.index.to_numpy() % 97 + 1.0
    found = [len(frame), float((mean * by_key).sum()), float((mean**2).sum()), float((total * by_key).sum())]
    return pd.DataFrame([found], columns=list("abcd"), dtype=float)


def groupby(size: Size, folder: Path) -> Any:
    found = tables(size, groups(size)).groupby("k").agg({"v": ["mean"], "w": ["sum"]}, split_out=size.parts // 4)
    return found.map_partitions(grouped_summary, meta=dict.fromkeys("abcd", float))


def groupby_expected(size: Size) -> list[float]:
    keys = groups(size)
    count, mean, total = (np.zeros(keys) for _ in range(3))
    for part in parts_of(size, keys):
        count += np.bincount(part["k"], minlength=keys)
        mean += np.bincount(part["k"], part["v"], minlength=keys)
        total += np.bincount(part["k"], part["w"], minlength=keys)
    (seen,) = np.nonzero(count)
    means, by_key = mean[seen] / count[seen], seen % 97 + 1.0
    return [float(x) for x in (len(seen), by_key @ means, means @ means, by_key @ total[seen])]


def frame_answer(result: Any, size: Size, folder: Path) -> list[float]:
    return [float(x) for x in result.sum()]


def parts_of(size: Size, keys: int) -> Iterator[dict[str, Any]]:
    rows = rows_a_part(size)
    return (numbers(i * rows, (i + 1) * rows, keys) for i in range(size.parts))


def shuffle_keys(size: Size) -> int:
    return rows_a_part(size) * size.parts // 64


def shuffled_summary(frame: Any) -> Any:
    """Rows, different keys (of all partitions as many as there are, if each is in one), sums, names that fit."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = frame["k"].to_numpy()
    fit = pc.equal(pa.array(frame["name"], pa.large_string()), names(keys))
    found = [len(frame), len(np.unique(keys)), (keys % 97) @ frame["v"], (keys % 97) @ frame["w"], pc.sum(fit).as_py()]
    return pd.DataFrame([found], columns=list("abcde"), dtype=float)


def shuffled(size: Size) -> Any:
    return tables(size, shuffle_keys(size)).shuffle("k")


def shuffle(size: Size, folder: Path) -> Any:
    return shuffled(size).map_partitions(shuffled_summary, meta=dict.fromkeys("abcde", float))


def shuffle_parquet(size: Size, folder: Path) -> Any:
    return shuffled(size).to_parquet(str(folder / "out.parquet"), write_index=False, compute=False)


def shuffle_parquet_answer(result: Any, size: Size, folder: Path) -> list[float]:
    import pandas as pd

    found = (shuffled_summary(pd.read_parquet(path)) for path in sorted((folder / "out.parquet").glob("*.parquet")))
    return [float(x) for x in sum(frame.iloc[0] for frame in found)]


def shuffle_expected(size: Size) -> list[float]:
    keys = shuffle_keys(size)
    seen, rows, found = np.zeros(keys, bool), 0, np.zeros(2)
    for part in parts_of(size, keys):
        seen[part["k"]] = True
        rows += len(part["k"])
        found += [(part["k"] % 97) @ part["v"], (part["k"] % 97) @ part["w"]]
    return [float(x) for x in (rows, seen.sum(), *found, rows)]


# -- labelled arrays


def grid(size: Size) -> tuple[int, int, int, int]:
    """Days in all and in a chunk (ninety where there are enough data), latitudes and longitudes."""
    days = min(90, max(8, size.part // 8 // 100))
    points = size.part // 8 // days
    north = max(1, math.isqrt(points))
    return days * size.parts, days, north, max(1, points // north)


def calendar(days: int) -> Any:
    import pandas as pd

    return pd.date_range("1960-01-01", periods=days)


def climatology(size: Size, folder: Path) -> Any:
    """The mean of each day of the year, and what departs from it: all years have to be read before any is done."""
    import xarray as xr

    days, step, north, east = grid(size)
    field = xr.DataArray(
        made(((step,) * size.parts, (north,), (east,))),
        dims=("time", "lat", "lon"),
        coords={"time": calendar(days)},
    )
    by_day = field.groupby("time.dayofyear")
    mean = by_day.mean("time")
    anomaly = (by_day - mean).drop_vars("dayofyear")
    both = xr.Dataset({"mean": mean.chunk(dayofyear=step), "anomaly": anomaly.chunk(time=step)})
    return both.to_zarr(folder / "out.zarr", compute=False, consolidated=False)


def climatology_answer(result: Any, size: Size, folder: Path) -> list[float]:
    import zarr

    days, step, _, _ = grid(size)
    written: Any = zarr.open_group(folder / "out.zarr", mode="r")
    mean = written["mean"][:]
    anomalies = (written["anomaly"][start : start + step] for start in range(0, days, step))
    return climatology_sums(mean, anomalies, step)


def climatology_sums(mean: Any, anomalies: Any, step: int) -> list[float]:
    found = np.zeros(2)
    for i, part in enumerate(anomalies):
        flat = part.reshape(step, -1)
        found += [weights(step, i * step) @ flat @ weights(flat.shape[1]), np.vdot(flat, flat)]
    flat = mean.reshape(len(mean), -1)
    return [*map(float, found), float(weights(len(flat)) @ flat @ weights(flat.shape[1]))]


def climatology_expected(size: Size) -> list[float]:
    days, step, north, east = grid(size)
    day_of_year = calendar(days).dayofyear.to_numpy() - 1
    last = int(day_of_year.max()) + 1
    total = np.zeros((last, north, east))
    spans = [(start, start + step) for start in range(0, days, step)]
    for start, stop in spans:
        np.add.at(total, day_of_year[start:stop], values(((start, stop), (0, north), (0, east))))
    mean = total / np.bincount(day_of_year, minlength=last)[:, None, None]
    anomalies = (values((span, (0, north), (0, east))) - mean[day_of_year[slice(*span)]] for span in spans)
    return climatology_sums(mean, anomalies, step)


WORKLOADS = {
    found.name: found
    for found in (
        Workload("rechunk", "rows to columns", rechunk, rechunk_answer, rechunk_expected),
        Workload("rechunk-zarr", "the same, to zarr", rechunk_zarr, rechunk_zarr_answer, rechunk_expected),
        Workload("transpose", "(x + x.T).sum()", transpose, transpose_answer, transpose_expected),
        Workload("transpose-rows", "of strips", transpose_rows, transpose_answer, transpose_rows_expected),
        Workload("groupby", "mean and sum of many groups", groupby, frame_answer, groupby_expected),
        Workload("shuffle", "by tasks", shuffle, frame_answer, shuffle_expected),
        Workload("shuffle-parquet", "the same, to parquet", shuffle_parquet, shuffle_parquet_answer, shuffle_expected),
        Workload("climatology", "anomalies, to zarr", climatology, climatology_answer, climatology_expected),
    )
}


def right(found: list[float], wanted: list[float]) -> bool:
    """Whether an answer is the expected one, but for the order in which floats were added."""
    return len(found) == len(wanted) and bool(np.allclose(found, wanted, rtol=1e-8, atol=1e-6))


# What a process does once before it is measured, so that imports and threads are there.
WARM = Size(total=2**20, parts=8)
