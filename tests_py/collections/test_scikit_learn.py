"""scikit-learn: a grid search with one delayed call for each fit, and a model fitted block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("sklearn")

# The paths through the engine are those of arrays and delayed calls, which run with one worker too.
pytestmark = pytest.mark.parametrize("ours", [None], indirect=True, ids=["all workers"])


def data() -> tuple[Any, Any]:
    from sklearn.datasets import make_classification

    return make_classification(n_samples=150, n_features=8, random_state=0)


def grid() -> list[dict[str, float]]:
    from sklearn.model_selection import ParameterGrid

    return list(ParameterGrid({"C": [0.01, 0.1, 1.0, 10.0], "tol": [1e-3, 1e-4]}))


def fit_and_score(features: Any, labels: Any, train: Any, test: Any, parameters: dict) -> float:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=200, **parameters).fit(features[train], labels[train])
    return model.score(features[test], labels[test])


def test_grid_search_with_delayed(ours: Callable):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    features, labels = data()
    folds = list(StratifiedKFold(3).split(features, labels))
    shared = dask.delayed(features), dask.delayed(labels)
    scores = [
        [dask.delayed(fit_and_score)(*shared, train, test, parameters) for train, test in folds]
        for parameters in grid()
    ]
    means = [dask.delayed(np.mean)(row) for row in scores]
    best = dask.delayed(np.argmax)(means)
    mine, chosen = ours(means, best)

    search = GridSearchCV(
        LogisticRegression(max_iter=200),
        {name: sorted({p[name] for p in grid()}) for name in ("C", "tol")},
        cv=folds,
    ).fit(features, labels)
    found = search.cv_results_
    tried = (tuple(parameters.items()) for parameters in found["params"])
    expected = dict(zip(tried, found["mean_test_score"], strict=True))
    for parameters, score in zip(grid(), mine, strict=True):
        assert score == pytest.approx(expected[tuple(parameters.items())])
    assert mine[chosen] == pytest.approx(search.best_score_)


def test_model_fitted_block_by_block(ours: Callable):
    from sklearn.linear_model import SGDClassifier

    features, labels = data()

    @dask.delayed
    def fit(model: Any, rows: slice) -> Any:
        return model.partial_fit(features[rows], labels[rows], classes=[0, 1])

    blocks = [slice(i, i + 30) for i in range(0, 150, 30)]
    model = dask.delayed(SGDClassifier)(random_state=0)
    expected = SGDClassifier(random_state=0)
    for rows in blocks:
        model = fit(model, rows)
        expected.partial_fit(features[rows], labels[rows], classes=[0, 1])
    (fitted,) = ours(model)
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)


def test_cross_validation_inside_a_task(ours: Callable):
    """scikit-learn runs joblib in threads of its own inside the task."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_score

    features, labels = data()

    def score(seed: int) -> float:
        model = RandomForestClassifier(n_estimators=5, random_state=seed, n_jobs=2)
        return cross_val_score(model, features, labels, cv=2).mean()

    assert ours(*[dask.delayed(score)(seed) for seed in range(4)]) == tuple(score(seed) for seed in range(4))
