"""The graphs of Dask's own tests of order(): taken from its installed test module while it runs."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest
from dask.core import get_deps


class Recorder:
    """Stands in for ``order`` in Dask's test module and remembers what it was given."""

    def __init__(self, order: Any) -> None:
        self.order = order
        self.test = ""
        self.found: dict[str, dict[Any, Any]] = {}
        self.seen: set[Any] = set()

    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self.test = item.name.split("[")[0].removeprefix("test_")

    def __call__(self, dsk: Any, *args: Any, **options: Any) -> Any:
        ranks = self.order(dsk, *args, **options)  # may raise: graphs with cycles are not ours to compare
        dependencies, dependents = get_deps(dsk)
        # One graph is often ordered twice, or with its keys reversed.
        degrees = sorted((len(above), len(dependents[key])) for key, above in dependencies.items())
        if len(dsk) > 3 and (self.test, *degrees) not in self.seen:
            self.seen.add((self.test, *degrees))
            same = sum(name.split("#")[0] == self.test for name in self.found)
            self.found[f"{self.test}#{same + 1}" if same else self.test] = dict(dsk)
        return ranks


def dask_test_shapes() -> dict[str, dict[Any, Any]]:
    """Each distinct graph that a test of ``dask.tests.test_order`` orders, by test name."""
    from dask.tests import test_order

    recorder = Recorder(test_order.order)
    test_order.order = recorder
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            pytest.main(
                ["-q", "-p", "no:cacheprovider", "--no-header", "-W", "ignore", "-c", "/dev/null", test_order.__file__],
                plugins=[recorder],
            )
    finally:
        test_order.order = recorder.order
    return recorder.found
