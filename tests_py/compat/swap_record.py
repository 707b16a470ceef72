"""What a run of Dask's tests left behind: each outcome, and which engine ran."""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("dask-on-mars", "dask", "distributed", "numpy", "pandas", "pyarrow", "pytest", "scipy")
WORSE = ("failed", "error", "crashed")


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No time stamp inside: the same results are the same bytes.
    with path.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed:
        packed.write(json.dumps(data, indent=0, sort_keys=True).encode())


def read(path: Path) -> Any:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def outcome_of(report: Any) -> str | None:
    """What one phase of a test says of it; None while nothing is decided."""
    if report.when not in ("setup", "call", "teardown"):
        return "crashed"  # xdist: the worker died
    expected = hasattr(report, "wasxfail")
    if report.passed:
        return ("xpassed" if expected else "passed") if report.when == "call" else None
    if report.skipped:
        return "xfailed" if expected else "skipped"
    return "failed" if report.when == "call" else "error"


def message_of(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return (crash.message[:500] if crash is not None else str(report.longrepr)[-500:]).strip()


class Recorder:
    """On the controller (or in the only process): gathers and writes the results."""

    def __init__(self, config: Any, scheduler: str, sample: int) -> None:
        self.scheduler, self.sample = scheduler, sample
        self.config = config
        self.tests: dict[str, dict[str, str]] = {}
        self.engines: dict[str, dict[str, int]] = {}
        self.deselected: dict[str, str] = {}
        self.started = time.time()

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.engines[report.nodeid] = getattr(report, "swap_counts", None) or {}
        outcome = outcome_of(report)
        known = self.tests.get(report.nodeid)
        if outcome is None or (known and known["outcome"] in WORSE):
            return  # the first failure stands, whatever the teardown says
        self.tests[report.nodeid] = {"outcome": outcome}
        if outcome in WORSE:
            self.tests[report.nodeid]["message"] = message_of(report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.tests[f"collect::{report.nodeid}"] = {"outcome": "error", "message": str(report.longrepr)[-500:]}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        self.deselected.update((getattr(node, "workeroutput", None) or {}).get("swap_deselected", {}))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: Any) -> None:
        self.deselected.update(getattr(self.config, "swap_deselected", {}))
        path = os.environ.get("SWAP_RESULTS")
        if path:
            write(Path(path), self.results())

    def results(self) -> dict[str, Any]:
        ran: Counter[str] = Counter()
        for counts in self.engines.values():
            ran.update(counts)
        return {
            "meta": {
                "scheduler": self.scheduler,
                "sample": self.sample,
                "seconds": round(time.time() - self.started),
                "versions": versions(),
            },
            "runs": dict(ran),
            "only_stock": sorted(k for k, c in self.engines.items() if c.get("stock") and not c.get("swapped")),
            "deselected": self.deselected,
            "tests": self.tests,
        }


class Reporter:
    """On an xdist worker: tells the controller what was left out."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self.config.workeroutput["swap_deselected"] = getattr(self.config, "swap_deselected", {})
