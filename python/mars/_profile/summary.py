"""The totals of a profile, by prefix and by what workers did."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from mars._profile.advice import Observed, Verdict, advise, divide
from mars._profile.gil import Gil, estimate
from mars._profile.nesting import Nested, nested

if TYPE_CHECKING:
    from mars._mars import PrefixTotals
    from mars._mars import Profile as Recording
    from mars._profile.processors import Load

__all__ = ["PrefixSummary", "Summary", "summarize"]

#: What workers' time is divided into, in the order of tables.
PARTS = (
    "tasks",
    "no ready task",
    "GIL",
    "memory limit",
    "moving results",
    "releasing results",
    "engine",
)


@dataclass(frozen=True)
class PrefixSummary:
    """What the tasks of one prefix came to.

    Attributes
    ----------
    prefix : str
        The prefix.
    tasks, failed : int
        How many ended, and how many of these with an error.
    seconds, mean, longest : float
        Wall time: in all, of one task on average, of the longest one.
    queued : float
        Seconds between being ready and starting, in all.
    bytes : int or None
        What their results take, those of known size; None if no size is known.
    sized : int
        How many results are of known size.
    share : float
        Of workers' time. Time in tasks that ran inside of these is the share of those.
    cpu : float or None
        CPU time of the thread by wall time; None if it is not known.
    held, released, waited : float or None
        Shares of wall time: with the GIL held, computing without it, and waiting, for the GIL or anything else. An
        estimate; None if tasks of this prefix were not seen often enough.
    nested : bool
        Whether some ran inside of other tasks, whose wall time has theirs in it.
    """

    prefix: str
    tasks: int
    failed: int
    seconds: float
    mean: float
    longest: float
    queued: float
    bytes: int | None
    sized: int
    share: float
    cpu: float | None
    held: float | None
    released: float | None
    waited: float | None
    nested: bool


@dataclass(frozen=True, repr=False)
class Summary:
    """The totals of a profile, made by `Profile.summary`.

    Printed, it is a table; in a notebook, it is shown as one.

    Attributes
    ----------
    tasks, failed : int
        How many tasks ended, and how many of these with an error.
    seconds : float
        How long the profile was open, or has been so far.
    computing : float
        In how much of that something was computed.
    workers : int
        At most so many tasks ran at the same time.
    cores : float or None
        CPU seconds of tasks in each second of `computing`; None if they are not known.
    prefixes : tuple of PrefixSummary
        By prefix, the one with the largest share first.
    worker_seconds : dict of str to float
        Workers' time by what it went to: ``"tasks"``, ``"no ready task"``, ``"GIL"`` (waiting for it between tasks),
        ``"memory limit"``, ``"moving results"`` (to disk), ``"releasing results"`` and ``"engine"`` (all else).
    worker_shares : dict of str to float
        The same in shares of the whole.
    verdict : str
        What would make it faster: ``"threads"`` (nothing but what there is), ``"processes"``, ``"more threads"``,
        ``"larger tasks"``, ``"more parallelism"``, ``"more memory"``, or ``"not known"``.
    advice : str
        The same in a sentence, with its evidence.
    dropped : int
        How many tasks, all shorter than `dropped_below` seconds, are in these totals but not in the timeline.
    dropped_below : float
        Seconds.
    """

    tasks: int
    failed: int
    seconds: float
    computing: float
    workers: int
    cores: float | None
    prefixes: tuple[PrefixSummary, ...]
    worker_seconds: dict[str, float]
    worker_shares: dict[str, float]
    verdict: Verdict
    advice: str
    dropped: int
    dropped_below: float

    @property
    def tasks_per_second(self) -> float:
        """Tasks in each second in which something was computed."""
        return self.tasks / self.computing if self.computing else 0.0

    def __repr__(self) -> str:
        from mars._profile.tables import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from mars._profile.tables import as_html

        return as_html(self)


def summarize(recording: Recording, *, gil: bool, sampled: bool, load: Load) -> Summary:
    """Sum up a recording.

    Parameters
    ----------
    recording
        The native profile.
    gil, sampled : bool
        Whether the interpreter has a GIL, and whether it was looked at.
    load : Load
        How busy processors were.
    """
    totals = recording.prefixes()
    inner = nested(recording)
    locks = estimate(recording.gil_samples())
    computations = [c for c in recording.computations() if c[1] is None]
    computing = _covered([(began, began + seconds) for _, _, began, seconds, *_ in computations])
    workers = max((c[6] for c in computations), default=0)
    time = recording.workers_time()
    own = {t.prefix: max(0.0, t.seconds - inner.inside.get(t.prefix, 0.0)) for t in totals}
    total = time.get("total", 0.0)
    # Tasks of nested computations may run on workers that the outer one has no use for.
    whole = max(total, sum(own.values()))
    rows = [_row(t, own[t.prefix] / whole if whole else 0.0, locks) for t in totals]
    rows.sort(key=lambda row: (-row.share, row.prefix))
    shares = {part: time.get(part, 0.0) / total if total > 0 else 0.0 for part in PARTS}
    cpu, busy = _cpu(totals, inner)
    tasks = sum(t.count for t in totals)
    cores = cpu / computing if cpu is not None and computing > 0 else None
    advice = advise(
        Observed(
            tasks=tasks,
            mean=busy / max(1, tasks - inner.count),
            workers=workers,
            load=load,
            total=total,
            parts=shares,
            cores=cores,
            cpu=cpu / busy if cpu is not None and busy > 0 else None,
            gil=gil,
            sampled=sampled,
            moments=locks.moments,
            held=locks.held,
            held_by_some=locks.held_by_some,
            culprit=_culprit(rows, own, locks),
        )
    )
    return Summary(
        tasks=tasks,
        failed=sum(t.failed for t in totals),
        seconds=recording.seconds,
        computing=computing,
        workers=workers,
        cores=cores,
        prefixes=tuple(rows),
        worker_seconds={part: time.get(part, 0.0) for part in PARTS},
        worker_shares=shares,
        verdict=advice.verdict,
        advice=advice.sentence,
        dropped=recording.dropped,
        dropped_below=recording.dropped_below,
    )


def _row(totals: PrefixTotals, share: float, locks: Gil) -> PrefixSummary:
    cpu = min(1.0, totals.cpu / totals.seconds) if totals.seconds > 0 and isfinite(totals.cpu) else None
    held = released = waited = None
    if totals.prefix in locks.by_prefix:
        held, held_by_some = locks.by_prefix[totals.prefix]
        released, for_gil, other = divide(cpu, held, held_by_some)
        waited = for_gil + other
    return PrefixSummary(
        prefix=totals.prefix,
        tasks=totals.count,
        failed=totals.failed,
        seconds=totals.seconds,
        mean=totals.seconds / totals.count if totals.count else 0.0,
        longest=totals.longest,
        queued=totals.queued,
        bytes=totals.bytes if totals.sized else None,
        sized=totals.sized,
        share=share,
        cpu=cpu,
        held=held,
        released=released if cpu is not None else None,
        waited=waited if cpu is not None else None,
        nested=totals.nested,
    )


def _culprit(rows: list[PrefixSummary], own: dict[str, float], locks: Gil) -> tuple[str, float] | None:
    """The prefix whose tasks held or waited for the GIL the longest, and in what share of their time."""
    shares = {}
    for row in rows:
        if row.held is not None:
            _, for_gil, _ = divide(row.cpu, *locks.by_prefix[row.prefix])
            shares[row.prefix] = row.held + for_gil
    prefix = max(shares, key=lambda p: (shares[p] * own[p], p), default=None)
    return None if prefix is None else (prefix, shares[prefix])


def _cpu(totals: list[PrefixTotals], inner: Nested) -> tuple[float | None, float]:
    """CPU seconds and wall seconds of tasks, what ran inside of others counted once."""
    seconds = sum(t.seconds for t in totals) - inner.seconds
    cpu = sum(t.cpu for t in totals) - inner.cpu
    return (max(0.0, cpu) if isfinite(cpu) and cpu > 0 else None), max(0.0, seconds)


def _covered(spans: list[tuple[float, float]]) -> float:
    """The length of the union of these."""
    covered, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered
