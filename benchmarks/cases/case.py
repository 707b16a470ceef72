"""What an end-to-end case is, and when two results are the same."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """A named collection to compute.

    ``factor`` is how many times faster than Dask threads it is to be. ``usual``
    cases have chunks of a usual size, where tasks outweigh any scheduler: they
    make the geometric mean. ``alone`` says why no peer runs it; ``quick`` whether
    the short run includes it.
    """

    name: str
    build: Callable[[Path], tuple[Any, ...]]
    factor: float | None = 0.97
    usual: bool = True
    alone: str = ""
    quick: bool = True

    @contextlib.contextmanager
    def built(self) -> Iterator[tuple[Any, ...]]:
        """The collections, with a folder of their own for as long as they live."""
        with tempfile.TemporaryDirectory(prefix="mars-bench-") as folder:
            yield self.build(Path(folder))


def same(left: Any, right: Any) -> bool:
    """Whether two results are equal: exactly, or to rounding for floats."""
    import numpy as np

    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if hasattr(left, "identical"):  # xarray
        return bool(left.equals(right)) or bool(np.allclose(left, right, equal_nan=True))
    if hasattr(left, "sort_index"):  # pandas; the order of a shuffle is not promised
        import pandas as pd

        columns = list(getattr(left, "columns", []))
        if columns:
            left, right = (x.sort_values(columns).reset_index(drop=True) for x in (left, right))
        test = pd.testing.assert_frame_equal if columns else pd.testing.assert_series_equal
        try:
            test(left, right)
        except AssertionError:
            return False
        return True
    if isinstance(left, np.ndarray | np.generic):
        return bool(np.allclose(left, right, equal_nan=True))
    return bool(left == right)
