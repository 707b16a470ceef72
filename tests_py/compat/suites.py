"""Dask's own suites as they ship in its wheel, and the representative part of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """Where a suite's tests are, and how to run them.

    ``whole`` is the sample of a full run, ``quick`` that of the short one (every
    N-th test; the dataframe suite takes hours, and its baseline is every fourth).
    """

    name: str
    paths: tuple[str, ...]
    quick: int
    whole: int = 1
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    jobs: int | None = None


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "core",
            ("dask/tests", "dask/widgets"),
            quick=1,
            arguments=("--ignore={site}/dask/tests/test_delayed.py", "--ignore={site}/dask/tests/test_distributed.py"),
        ),
        Suite("delayed", ("dask/tests/test_delayed.py",), quick=1),
        Suite("diagnostics", ("dask/diagnostics",), quick=1),
        Suite("bytes", ("dask/bytes",), quick=1, jobs=1),  # its tests share a port
        Suite("bag", ("dask/bag",), quick=1),
        Suite("array", ("dask/array/tests",), quick=8),
        Suite(
            "arrayexpr",
            ("dask/array",),
            quick=8,
            arguments=("--runarrayexpr",),
            environment=(("DASK_ARRAY__QUERY_PLANNING", "True"),),
        ),
        Suite("dataframe", ("dask/dataframe",), quick=16, whole=4),
    )
}
