"""Bag: map and fold, groupby through the disk and through tasks, text files."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.bag as db
import pytest


def is_even(x: int) -> bool:
    return x % 2 == 0


def numbers() -> db.Bag:
    return db.range(1000, npartitions=20)


def words() -> db.Bag:
    return db.from_sequence(
        ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "the", "cat"] * 20, npartitions=7
    )


def people() -> db.Bag:
    return db.from_sequence([{"name": f"n{i}", "age": i % 30, "city": "abc"[i % 3]} for i in range(300)], npartitions=6)


WORK: dict[str, Callable[[], Any]] = {
    "map filter sum": lambda: numbers().map(lambda x: x * 3).filter(is_even).sum(),
    "fold": lambda: numbers().fold(operator.add, initial=0),
    "foldby": lambda: numbers().foldby(is_even, operator.add, 0, operator.add, 0),
    "frequencies": lambda: words().frequencies(sort=True),
    "topk": lambda: words().map(len).topk(3),
    "distinct": lambda: words().distinct().map(str.upper).fold(max),
    "statistics": lambda: [numbers().mean(), numbers().std(), numbers().var(), numbers().max(), numbers().count()],
    "pluck": lambda: people().pluck("age").sum(),
    "map with bags": lambda: db.map(operator.add, numbers(), numbers().map(lambda x: -x)).sum(),
    "map with an item": lambda: numbers().map(lambda x, most: most - x, numbers().max()).sum(),
    "map partitions": lambda: numbers().map_partitions(sum),
    "accumulate": lambda: numbers().accumulate(operator.add),
    "product": lambda: numbers().take(5, npartitions=-1, compute=False).product(db.range(3, npartitions=2)),
    "join": lambda: words().distinct().join(["the", "fox"], on_self=str).count(),
    "repartition": lambda: numbers().repartition(npartitions=3).map_partitions(lambda part: [sum(1 for _ in part)]),
    "concat": lambda: db.concat([numbers(), numbers()]).count(),
    "zip": lambda: db.zip(numbers(), numbers()).map(sum),
    "reduction in a tree": lambda: numbers().reduction(sum, sum, split_every=3),
    "flatten": lambda: numbers().map(lambda x: [x] * (x % 3)).flatten().count(),
    "take": lambda: numbers().take(30, npartitions=3, compute=False),
}


@pytest.mark.parametrize("name", WORK)
def test_result_is_dasks(name: str, ours: Callable, stock: Callable):
    assert ours(WORK[name]()) == stock(WORK[name]())


@pytest.mark.parametrize("shuffle", ["disk", "tasks"])
def test_groupby(shuffle: str, ours: Callable):
    if shuffle == "disk":
        pytest.importorskip("partd")
    grouped = numbers().groupby(lambda x: x % 7, shuffle=shuffle)
    (pairs,) = ours(grouped)
    assert {key: sorted(values) for key, values in pairs} == {r: list(range(r, 1000, 7)) for r in range(7)}


def test_text_files_round_trip(tmp_path: Path, ours: Callable):
    numbers().map(str).to_textfiles(str(tmp_path / "part-*.txt"))
    assert len(list(tmp_path.iterdir())) == 20
    (lines,) = ours(db.read_text(str(tmp_path / "part-*.txt")).map(str.strip).map(int))
    assert lines == list(range(1000))


def test_bag_becomes_a_dataframe(ours: Callable):
    pytest.importorskip("dask.dataframe")
    (ages,) = ours(people().to_dataframe().groupby("city").age.sum())
    assert ages.to_dict() == {c: sum(i % 30 for i in range(300) if i % 3 == n) for n, c in enumerate("abc")}


def test_bag_and_its_delayed_parts(ours: Callable):
    parts = numbers().to_delayed()
    assert sum(sum(part) for part in ours(*parts)) == sum(range(1000))
    assert ours(db.from_delayed(parts).sum()) == (sum(range(1000)),)


def test_persist_then_compute(ours: Callable):
    runs: list[int] = []

    def once(x: int) -> int:
        runs.append(x)
        return x

    persisted = db.range(10, npartitions=3).map(once).persist()
    assert ours(persisted.sum(), persisted.max()) == (45, 9)
    assert len(runs) == 10
