"""DataFrame: groupby, merge, shuffle, windows, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pytest

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
dd = pytest.importorskip("dask.dataframe")
pytest.importorskip("pyarrow")


def table() -> Any:
    draw = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "key": draw.integers(0, 12, 600),
            "name": draw.choice(["ann", "bob", "eve", "joe"], 600),
            "x": draw.standard_normal(600),
            "y": draw.integers(0, 1000, 600),
            "when": pd.date_range("2024-01-01", periods=600, freq="h"),
        }
    )


def frame() -> Any:
    return dd.from_pandas(table(), npartitions=8)


def other() -> Any:
    return dd.from_pandas(pd.DataFrame({"key": range(0, 24, 2), "label": list("abcdefghijkl")}), npartitions=3)


def by_time() -> Any:
    return dd.from_pandas(table().set_index("when"), npartitions=8)


# Those whose rows come in no particular order are sorted before they are compared.
WORK: dict[str, Callable[[], Any]] = {
    "sum": lambda: frame().x.sum(),
    "describe": lambda: frame()[["x", "y"]].describe(),
    "assign and filter": lambda: frame().assign(z=lambda f: f.x * 2).query("z > 0")[["z", "key"]],
    "groupby": lambda: frame().groupby("key").x.mean(),
    "groupby several": lambda: frame().groupby(["key", "name"]).agg({"x": ["min", "max"], "y": "sum"}),
    "groupby into several": lambda: frame().groupby("key").y.sum(split_out=3),
    "groupby apply": lambda: (
        frame()
        .groupby("key")
        .apply(lambda group: group.x.max() - group.x.min(), include_groups=False, meta=("x", "f8"))
    ),
    "groupby cumulative": lambda: frame().groupby("name").y.cumsum(),
    "value counts": lambda: frame().name.value_counts(),
    "nunique": lambda: frame().y.nunique(),
    "merge": lambda: frame().merge(other(), on="key"),
    "merge left": lambda: frame().merge(other(), on="key", how="left"),
    "merge through a shuffle": lambda: frame().merge(other(), on="key", shuffle_method="tasks", broadcast=False),
    "merge with pandas": lambda: frame().merge(other().compute(), on="key"),
    "join on the index": lambda: (
        frame().set_index("y").join(frame().set_index("y")[["x"]].groupby("y").sum(), rsuffix="_r")
    ),
    "shuffle by tasks": lambda: frame().shuffle("key", shuffle_method="tasks"),
    "shuffle on disk": lambda: frame().shuffle("key", shuffle_method="disk"),
    "set index": lambda: frame().set_index("y"),
    "set sorted index": lambda: frame().set_index("when", sorted=True).x.cumsum(),
    "sort values": lambda: frame().sort_values(["x"]),
    "largest": lambda: frame().nlargest(5, "x"),
    "drop duplicates": lambda: frame().drop_duplicates(subset=["key", "name"], split_out=2)[["key", "name"]],
    "rolling": lambda: by_time().x.rolling("6h").mean(),
    "resample": lambda: by_time().x.resample("1D").sum(),
    "shift": lambda: by_time().x.diff(),
    "pivot": lambda: frame().categorize("name").pivot_table(index="key", columns="name", values="x", aggfunc="mean"),
    "quantile": lambda: frame().x.quantile([0.0, 1.0]),
    "correlation": lambda: frame()[["x", "y"]].corr(),
    "concat": lambda: dd.concat([frame(), frame()]),
    "repartition": lambda: frame().repartition(npartitions=3).map_partitions(len, meta=("n", "i8")),
    "map partitions": lambda: frame().map_partitions(lambda part: part.head(2)),
    "map overlap": lambda: by_time().x.map_overlap(lambda part: part.rolling(3).sum(), 2, 0),
    "strings": lambda: frame().name.str.upper() + "-" + frame().key.astype(str),
    "dates": lambda: frame().when.dt.hour.value_counts(),
    "categories": lambda: frame().astype({"name": "category"}).groupby("name", observed=True).x.sum(),
    "loc": lambda: by_time().loc["2024-01-03":"2024-01-05"].y.sum(),
    "len": lambda: dask.delayed(len)(frame()),
    "from delayed": lambda: dd.from_delayed([dask.delayed(table)() for _ in range(3)]).y.sum(),
    "to delayed": lambda: [dask.delayed(len)(part) for part in frame().to_delayed()],
    "to array": lambda: frame()[["x", "y"]].to_dask_array(lengths=True).sum(axis=0),
    "several that share": lambda: [frame().x.sum(), frame().groupby("key").x.sum(), frame().y.max()],
}


def sorted_rows(table: Any, with_index: bool) -> Any:
    """Its rows, in an order that depends on nothing else."""
    flat = table.set_axis([str(column) for column in table.columns], axis=1).reset_index(drop=not with_index)
    return flat.sort_values(list(flat.columns), ignore_index=True)


def same(mine: Any, theirs: Any, with_index: bool = True) -> None:
    assert type(mine) is type(theirs)
    if isinstance(mine, tuple | list):
        for a, b in zip(mine, theirs, strict=True):
            same(a, b, with_index)
    elif isinstance(mine, pd.DataFrame):
        pd.testing.assert_frame_equal(*(sorted_rows(table, with_index) for table in (mine, theirs)))
    elif isinstance(mine, pd.Series):
        assert mine.name == theirs.name
        pd.testing.assert_frame_equal(*(sorted_rows(series.to_frame("value"), with_index) for series in (mine, theirs)))
    else:
        np.testing.assert_allclose(mine, theirs)


@pytest.mark.parametrize("name", WORK)
def test_result_is_dasks(name: str, ours: Callable, stock: Callable):
    expected = stock(WORK[name]())
    # Rows that a merge brings together are numbered in the order in which the shuffle found them.
    same(ours(WORK[name]()), expected, with_index=not name.startswith("merge"))


def test_index_that_is_set_is_sorted(ours: Callable):
    (result,) = ours(frame().set_index("y"))
    assert result.index.is_monotonic_increasing
    assert len(result) == 600


def test_values_that_are_sorted_are_sorted(ours: Callable):
    (result,) = ours(frame().sort_values("x", ascending=False))
    assert result.x.is_monotonic_decreasing


def test_shuffle_puts_equal_keys_into_one_partition(ours: Callable):
    shuffled = frame().shuffle("key", npartitions=4, shuffle_method="tasks")
    parts = ours(*shuffled.to_delayed())
    seen = [set(part.key) for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen)) == 12


@pytest.mark.parametrize("partition_on", [None, ["name"]])
def test_parquet_round_trip(tmp_path: Path, ours: Callable, partition_on: list[str] | None):
    path = str(tmp_path / "table.parquet")
    frame().to_parquet(path, partition_on=partition_on, write_metadata_file=True)
    back = dd.read_parquet(path, calculate_divisions=True)
    total, rows, filtered = ours(back.y.sum(), back.shape[0], back[back.key == 3].x.sum())
    assert (total, rows) == (table().y.sum(), 600)
    assert filtered == pytest.approx(table().query("key == 3").x.sum())
    assert len(dd.read_parquet(path, filters=[("key", "<", 3)])) == (table().key < 3).sum()


def test_csv_round_trip(tmp_path: Path, ours: Callable):
    paths = frame().to_csv(str(tmp_path / "part-*.csv"), index=False)
    assert len(paths) == 8
    (result,) = ours(dd.read_csv(str(tmp_path / "part-*.csv"), blocksize=4000).groupby("key").y.sum())
    pd.testing.assert_series_equal(result.sort_index(), table().groupby("key").y.sum(), check_dtype=False)


def test_persist_then_compute(ours: Callable):
    loads: list[int] = []

    def load(part: Any) -> Any:
        loads.append(1)
        return part

    persisted = frame().map_partitions(load, meta=table().head(0)).persist()
    loads.clear()
    total, rows = ours(persisted.y.sum(), persisted.groupby("key").x.count())
    assert total == table().y.sum()
    assert rows.sum() == 600
    assert loads == []


def test_computes_while_it_is_built(ours: Callable):
    """`len`, `head`, divisions, and iteration compute on the way."""
    assert len(frame()) == 600
    assert frame().head(3, npartitions=2).y.tolist() == table().y.head(3).tolist()
    assert frame().set_index("y", npartitions=4).known_divisions
    assert sum(1 for _ in frame().itertuples()) == 600
