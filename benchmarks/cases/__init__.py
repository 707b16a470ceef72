"""The end-to-end cases: collections as users build them, with their goals.

A case builds its collections once; what is measured is ``dask.compute`` of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from cases.case import Case, same

MODULES = ("delayed", "arrays", "frames", "labelled", "learning")


def every_case() -> Iterator[Case]:
    """All cases, their modules imported one by one as they are come to.

    A process that stops at the case it wants has not loaded what later ones need,
    which would blur its peak of memory.
    """
    for name in MODULES:
        yield from importlib.import_module(f"cases.{name}").CASES


def find(name: str) -> Case:
    return next(case for case in every_case() if case.name == name)


__all__ = ["Case", "every_case", "find", "same"]
