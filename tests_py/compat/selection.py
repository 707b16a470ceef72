"""Which of Dask's tests a run takes: what deselect.tsv leaves out, and samples."""

from __future__ import annotations

import zlib
from pathlib import Path

DESELECT = Path(__file__).resolve().parent / "deselect.tsv"


def deselected(nodeid: str, rows: list[tuple[str, str]]) -> str | None:
    """The category that leaves a test out, if any does."""
    for category, pattern in rows:
        if pattern.endswith("*"):
            hit = nodeid.startswith(pattern[:-1])
        else:
            hit = nodeid == pattern or nodeid.startswith((f"{pattern}[", f"{pattern}::"))
        if hit:
            return category
    return None


def deselections(path: Path = DESELECT) -> list[tuple[str, str, str]]:
    """Category, pattern and reason of each row."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return [(category, pattern, reason) for category, pattern, reason in rows]


def in_sample(nodeid: str, sample: int) -> bool:
    return zlib.crc32(nodeid.encode()) % sample == 0
