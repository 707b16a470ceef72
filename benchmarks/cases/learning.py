"""scikit-learn: a grid search whose fits and scores are delayed calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, ParameterGrid

from cases.case import Case

GRID = {"C": [0.01, 0.1, 1.0, 10.0], "fit_intercept": [True, False]}


def fit(x: Any, y: Any, train: Any, parameters: dict[str, Any]) -> Any:
    return LogisticRegression(max_iter=200, **parameters).fit(x[train], y[train])


def score(model: Any, x: Any, y: Any, test: Any) -> float:
    return float(model.score(x[test], y[test]))


def best(scores: list[float]) -> tuple[int, float]:
    folds = np.asarray(scores).reshape(len(ParameterGrid(GRID)), -1).mean(axis=1)
    return int(folds.argmax()), float(folds.max())


def grid_search(folder: Path) -> tuple[Any, ...]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(8_000, 40))
    y = (x[:, :10].sum(axis=1) + rng.normal(size=8_000) > 0).astype(int)
    data, target = dask.delayed(x), dask.delayed(y)
    scores = []
    for parameters in ParameterGrid(GRID):
        for train, test in KFold(5).split(x):
            model = dask.delayed(fit)(data, target, train, parameters)
            scores.append(dask.delayed(score)(model, data, target, test))
    return (dask.delayed(best)(scores),)


CASES = [Case("scikit-learn grid search, 40 fits", grid_search)]
