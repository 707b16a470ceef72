"""Bag and delayed computations to be ordered."""

from __future__ import annotations

import operator

import dask.bag as db
import numpy as np
from dask import delayed

from .registry import case


@case
def bag_map_filter_sum():
    bag = db.range(20_000, npartitions=200)
    return (bag.map(operator.neg).filter(lambda x: x % 2).sum(),)


@case
def bag_foldby():
    bag = db.range(20_000, npartitions=100)
    return (bag.foldby(lambda x: x % 10, operator.add, 0, operator.add, 0),)


@case
def bag_groupby():
    return (db.range(4_000, npartitions=24).groupby(lambda x: x % 40, shuffle="tasks").count(),)


@case
def bag_two_results():
    bag = db.range(20_000, npartitions=80).map(str)
    return bag.frequencies(split_every=8), bag.map(len).std()


@case
def bag_product():
    bag = db.range(400, npartitions=10)
    return (bag.product(bag).map(sum).max(),)


def block(*arrays):
    return np.full(1_000, len(arrays), dtype="f8")


def summary(*arrays):
    return float(len(arrays))


@case
def delayed_flat():
    return tuple(delayed(block)(i) for i in range(200))


@case
def delayed_tree():
    level = [delayed(block)(i) for i in range(512)]
    while len(level) > 1:
        level = [delayed(block)(*level[i : i + 2]) for i in range(0, len(level), 2)]
    return (level[0],)


@case
def delayed_chains():
    results = []
    for i in range(30):
        x = delayed(block)(i)
        for _ in range(20):
            x = delayed(block)(x)
        results.append(delayed(summary)(x))
    return (delayed(summary)(*results),)


@case
def delayed_neighbours():
    row = [delayed(block)(i) for i in range(60)]
    for _ in range(6):
        row = [delayed(block)(*row[max(i - 1, 0) : i + 2]) for i in range(len(row))]
    return tuple(delayed(summary)(x) for x in row)


@case
def delayed_grid_search():
    # Folds and a parameter grid: each transformer's result serves many fits.
    folds = [delayed(block)(i) for i in range(5)]
    scores = []
    for first in range(4):
        fitted = [delayed(block)(fold, first) for fold in folds]
        for second in range(8):
            models = [delayed(block)(x, second) for x in fitted]
            folds_scored = [delayed(summary)(m, fold) for m, fold in zip(models, folds, strict=True)]
            scores.append(delayed(summary)(*folds_scored))
    return (delayed(summary)(*scores),)


@case
def delayed_layers():
    rng = np.random.default_rng(0)
    layer = [delayed(block)(i) for i in range(40)]
    for _ in range(20):
        layer = [
            delayed(block)(*(layer[j] for j in rng.choice(40, rng.integers(1, 6), replace=False))) for _ in range(40)
        ]
    return (delayed(summary)(*layer),)


@case
def delayed_triangle():
    # A wavefront: each result waits for its left and upper neighbours.
    rows = [[delayed(block)(0, j) for j in range(25)]]
    for i in range(1, 25):
        row = [delayed(block)(i)]
        for j in range(1, 25):
            row.append(delayed(block)(row[j - 1], rows[-1][j]))
        rows.append(row)
    return (rows[-1][-1],)
