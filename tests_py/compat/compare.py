"""Compare a swapped run of Dask's tests with the stock baseline, test by test.

A baseline is {"meta": ..., "tests": {id: outcome}}; it may hold a sample of a
suite only (meta's ``sample``), and then says nothing of the other tests.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swap_record import WORSE, read, write

GOOD = ("passed", "xpassed")


@dataclass
class Verdict:
    """What the swap changed; ``unknown`` failures need a stock run to be judged."""

    regressions: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    failing_in_both: list[str] = field(default_factory=list)


def judge(baseline: dict[str, str], found: dict[str, Any], in_run: Any) -> Verdict:
    """``in_run`` tells whether a test of the baseline belongs to the run at all."""
    verdict = Verdict()
    for nodeid, test in found["tests"].items():
        stock, ours = baseline.get(nodeid), test["outcome"]
        if ours in WORSE and stock is None:
            verdict.unknown[nodeid] = test.get("message", "")
        elif stock == "xpassed" and ours == "xfailed":
            continue  # Dask expects either: some of these change with the hash seed
        elif stock in GOOD and ours not in GOOD:
            verdict.regressions[nodeid] = test.get("message", ours)
        elif stock in WORSE:
            (verdict.fixed if ours in GOOD else verdict.failing_in_both).append(nodeid)
    verdict.absent = [
        nodeid
        for nodeid, stock in baseline.items()
        if stock in GOOD and nodeid not in found["tests"] and nodeid not in found["deselected"] and in_run(nodeid)
    ]
    return verdict


def report(verdict: Verdict, found: dict[str, Any]) -> list[str]:
    lines = []
    for title, tests in (
        ("passes with stock, not with ours", verdict.regressions),
        ("not in the baseline", verdict.unknown),
    ):
        for nodeid, message in sorted(tests.items()):
            lines.append(f"  {title}: {nodeid}")
            lines += [f"      {line}" for line in message.splitlines()[:1]]
    lines += [f"  did not run: {nodeid}" for nodeid in verdict.absent]
    lines += [f"  fails with stock, passes with ours: {nodeid}" for nodeid in verdict.fixed]
    lines += [f"  fails with both: {nodeid}" for nodeid in verdict.failing_in_both]
    outcomes = Counter(test["outcome"] for test in found["tests"].values())
    runs, meta = found["runs"], found["meta"]
    lines.append(
        "  "
        + ", ".join(f"{n} {name}" for name, n in sorted(outcomes.items()))
        + f"; left out {len(found['deselected'])}; {meta['seconds']} s; "
        + f"ran {runs.get('swapped', 0)} times swapped, {runs.get('inside', 0)} stock under it, "
        + f"{runs.get('stock', 0)} stock on its own"
    )
    return lines


def keep_as_baseline(results: Path, baseline: Path) -> None:
    """Make a stock run's results the baseline: outcomes only."""
    found = read(results)
    write(
        baseline,
        {"meta": found["meta"], "tests": {nodeid: test["outcome"] for nodeid, test in found["tests"].items()}},
    )
