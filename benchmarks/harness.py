"""Measuring: interleaved runs, their spread, and the row that a figure becomes.

A figure is never taken alone. The schedulers under comparison run in turn
(A B A B ...) in one process, so that a machine that slows down slows all of
them; what is reported is the smallest, the median and the largest run, and the
ratio is the median of the ratios of neighbouring runs.

The garbage collector stays on, as users have it. It is run once before each
measurement, outside of it, so that nobody pays for another's garbage.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Call = Callable[[], Any]


@dataclass(frozen=True)
class Spread:
    """The smallest, the median and the largest of some runs."""

    low: float
    median: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        found = sorted(values)
        return cls(found[0], statistics.median(found), found[-1], len(found))


@dataclass(frozen=True)
class Row:
    """One line of the table: a case, what was measured, ours beside a peer's.

    ``ratio`` says how many times less ours took. ``limit`` is the most that ours
    may be, ``factor`` the least that the ratio may be; both are the project's goals.
    """

    case: str
    measure: str
    ours: Spread | None
    peer_name: str = ""
    peer: Spread | None = None
    ratio: float | None = None
    limit: float | None = None
    factor: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goals are reached; None when there is no goal to reach."""
        checks = []
        if self.limit is not None and self.ours is not None:
            checks.append(self.ours.median <= self.limit)
        if self.factor is not None and self.ratio is not None:
            checks.append(self.ratio >= self.factor)
        return all(checks) if checks else None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Row:
        fields = dict(data)
        for name in ("ours", "peer"):
            if fields[name] is not None:
                fields[name] = Spread(**fields[name])
        return cls(**fields)


@dataclass(frozen=True)
class Settings:
    """What the command line asked for."""

    quick: bool = False
    rounds: int = 5
    cap: float = 60.0
    cluster: bool = False
    say: Callable[[str], None] = field(default=lambda text: None)


@dataclass
class Runs:
    """All runs of one variant, in the order in which they were made."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def spread(self, clock: str, scale: float = 1.0) -> Spread:
        return Spread.of(value * scale for value in getattr(self, clock))


def timed(call: Call) -> tuple[float, float]:
    """Wall and CPU seconds (all threads) of one call; its result dies untimed."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    result = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    del result
    return wall, cpu


def interleave(
    variants: Mapping[str, Call],
    rounds: int,
    fewer: dict[str, int] | None = None,
    warm: Sequence[str] | None = None,
) -> dict[str, Runs]:
    """Run the variants in turn, ``rounds`` times.

    A variant named in ``fewer`` joins only the first so many rounds. Those in
    ``warm`` (all, unless said) run once before, unmeasured.
    """
    fewer = fewer or {}
    for name in variants if warm is None else warm:
        variants[name]()
    runs = {name: Runs() for name in variants}
    for turn in range(rounds):
        for name, call in variants.items():
            if turn < fewer.get(name, rounds):
                wall, cpu = timed(call)
                runs[name].wall.append(wall)
                runs[name].cpu.append(cpu)
    return runs


def paired_ratio(peer: Sequence[float], ours: Sequence[float]) -> float:
    """The median of peer over ours, run by run; of medians if one has fewer runs."""
    if len(peer) == len(ours):
        return statistics.median(p / o for p, o in zip(peer, ours, strict=True))
    return statistics.median(peer) / statistics.median(ours)


def compared(
    case: str,
    measure: str,
    ours: Runs,
    peer_name: str,
    peer: Runs | None,
    *,
    clock: str = "wall",
    scale: float = 1.0,
    limit: float | None = None,
    factor: float | None = None,
    note: str = "",
) -> Row:
    """The row that sets ours beside a peer."""
    ratio = None
    if peer is not None:
        ratio = paired_ratio(getattr(peer, clock), getattr(ours, clock))
    return Row(
        case=case,
        measure=measure,
        ours=ours.spread(clock, scale),
        peer_name=peer_name,
        peer=None if peer is None else peer.spread(clock, scale),
        ratio=ratio,
        limit=limit,
        factor=factor,
        note=note,
    )


def geometric_mean(values: Sequence[float]) -> float:
    return statistics.geometric_mean(values)
