"""Delayed: trees, diamonds, attributes, nested structures."""

from __future__ import annotations

import functools
import operator
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import dask
import pytest
from dask import delayed


@delayed
def inc(x: int) -> int:
    return x + 1


@delayed(pure=True)
def add(x: int, y: int) -> int:
    return x + y


@delayed(nout=2)
def divide(x: int, y: int) -> tuple[int, int]:
    return divmod(x, y)


class Account:
    def __init__(self, balance: int) -> None:
        self.balance = balance

    def deposit(self, amount: int, *, bonus: int = 0) -> Account:
        return Account(self.balance + amount + bonus)


Pair = namedtuple("Pair", "left right")


def tree() -> Any:
    values = [inc(i) for i in range(256)]
    while len(values) > 1:
        values = [add(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def chain() -> Any:
    return functools.reduce(lambda value, _: inc(value), range(500), delayed(0))


def diamond() -> Any:
    top = inc(1)
    return delayed(list)([add(top, i) for i in range(20)])


def outputs() -> Any:
    quotient, remainder = divide(17, 5)
    return add(quotient, remainder)


def methods() -> Any:
    account = delayed(Account)(10)
    return account.deposit(inc(1), bonus=inc(2)).deposit(1).balance


def operators() -> Any:
    x, y = delayed(7), inc(2)
    return [x + y, x - y, x * y, x // y, x % y, -x, x**y, x > y, x == y, abs(-x), delayed([1, 2, 3])[inc(0)]]


def structures() -> Any:
    x = inc(1)
    return delayed({"list": [x, [inc(x)]], "tuple": (x, 2), "set": {x}, "dict": {"k": inc(2)}, "pair": Pair(x, inc(3))})


def literals() -> Any:
    return delayed(["inc", ("inc", 1), (operator.add, 1, 2)], traverse=False)


def comprehension() -> Any:
    return [delayed(sorted)([inc(j) for j in range(i, 0, -1)], reverse=True) for i in range(10)]


WORK = [tree, chain, diamond, outputs, methods, operators, structures, literals, comprehension]


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_result_is_dasks(work: Callable[[], Any], ours: Callable, stock: Callable):
    assert ours(work()) == stock(work())


@pytest.mark.parametrize("optimize_graph", [True, False])
def test_collections_that_share_tasks_are_computed_together(ours: Callable, optimize_graph: bool):
    runs: list[int] = []

    @delayed
    def shared(x: int) -> int:
        runs.append(x)
        return x

    base = shared(5)
    assert ours(inc(base), [add(base, 1), {"k": base}], 7, optimize_graph=optimize_graph) == (6, [6, {"k": 5}], 7)
    assert runs == [5]


def test_persist_then_compute(ours: Callable):
    runs: list[int] = []

    @delayed
    def load(x: int) -> list[int]:
        runs.append(x)
        return [x]

    loaded = [load(i) for i in range(5)]
    persisted = dask.persist(*loaded)
    first = ours(*persisted)
    assert first == ([0], [1], [2], [3], [4])
    assert ours(delayed(sum)([delayed(len)(p) for p in persisted])) == (5,)
    assert len(runs) == 5


def test_compute_of_what_is_no_collection(ours: Callable):
    assert ours(1, [2], {"k": 3}) == (1, [2], {"k": 3})


def test_delayed_of_delayed_results(ours: Callable):
    @delayed
    def plan(n: int) -> list:
        return [inc(i) for i in range(n)]

    (lazy,) = ours(plan(5))
    assert ours(*lazy) == (1, 2, 3, 4, 5)


def test_many_independent_calls(ours: Callable):
    assert ours(*[inc(i) for i in range(1000)]) == tuple(range(1, 1001))


def test_wide_reduction(ours: Callable):
    assert ours(delayed(sum)([inc(i) for i in range(1000)])) == (sum(range(1, 1001)),)
