"""Threads or processes? What the figures of a profile say to that, in one sentence.

Two things can keep threads from running side by side: there is nothing for them to do, or they wait for each other
at the interpreter lock. Only the second is helped by processes, and only if tasks are long beside what it costs to send
them there. So whatever leaves workers without a task comes first, then the size of tasks, then the lock.

Time of tasks is divided by two measures that do not depend on each other. The CPU time of the thread says how much was
computed. Samples say at which share of the moments the lock was held: by how many tasks, `held`, and by anybody,
`held_by_some`. A task that computes without the lock is in the first alone. A task that waits is in neither, and it
can have waited for the lock only while somebody held it: `held_by_some - held` bounds that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mars._profile.processors import Load
from mars._profile.text import count, cut, duration, percent, tell

__all__ = ["Advice", "Observed", "Verdict", "advise", "divide"]

Verdict = Literal[
    "threads", "processes", "more threads", "larger tasks", "more parallelism", "more memory", "not known"
]

#: Seconds of workers' time below which shares are chance: some fifty samples.
ENOUGH_SECONDS = 0.25
#: Moments with a task below which the same goes for the GIL.
ENOUGH_MOMENTS = 20
#: Shares of workers' time. Half of it is "mostly". Waiting for memory counts earlier: it has a remedy of its own.
MOSTLY = 0.5
FOR_MEMORY = 0.3
#: With this much waiting for the GIL processes are faster by a third at most, less what copying data costs them.
GIL_BOUND = 0.25
#: With this much waiting it is worth a word.
GIL_FELT = 0.1
#: From here on workers (or processors) are as good as busy: nothing gains a quarter.
BUSY = 0.8
#: With this share of processors in use by others it has to be told: figures were others without them.
MUCH = 0.25
#: Seconds. To send a task and its data to a process and its result back costs some hundred microseconds or more.
WORTH_SENDING = 0.001


@dataclass(frozen=True)
class Advice:
    """An answer.

    Attributes
    ----------
    verdict : str
        What would help: ``"threads"`` (nothing else), ``"processes"``, ``"more threads"``, ``"larger tasks"``,
        ``"more parallelism"``, ``"more memory"``, or ``"not known"``.
    sentence : str
        The same with its evidence.
    """

    verdict: Verdict
    sentence: str


@dataclass(frozen=True)
class Observed:
    """What an answer is based on; shares are of one, and None where they are not known.

    Attributes
    ----------
    tasks : int
        How many tasks ended.
    mean : float
        Seconds that one takes on average.
    workers : int
        At most so many tasks at the same time.
    total : float
        Seconds of workers' time.
    parts : dict of str to float
        Its shares.
    cores : float or None
        CPU seconds of tasks in each second in which something was computed.
    load : Load
        How many processors there are, and how many of them were busy.
    cpu : float or None
        CPU time in the time of tasks.
    gil, sampled : bool
        Whether the interpreter has one, and whether it was watched.
    moments : int
        At how many moments with a task.
    held, held_by_some : float
        As in `Gil`.
    culprit : tuple of str and float, or None
        The prefix whose tasks held or waited for the GIL for the longest time, and in what share of their time.
    """

    tasks: int
    mean: float
    workers: int
    total: float
    parts: dict[str, float]
    cores: float | None
    load: Load
    cpu: float | None
    gil: bool
    sampled: bool
    moments: int
    held: float
    held_by_some: float
    culprit: tuple[str, float] | None


def divide(cpu: float | None, held: float, held_by_some: float) -> tuple[float, float, float]:
    """Divide the time of tasks, as shares of it.

    Parameters
    ----------
    cpu : float or None
        Share in which they computed; without it all that is not about the GIL counts as computing.
    held, held_by_some : float
        Share in which they held the GIL, and in which anybody did.

    Returns
    -------
    tuple of float
        Computing without the GIL, waiting for it (at most), and waiting for something else. With `held` it is all.
    """
    if cpu is None:
        for_gil = max(0.0, held_by_some - held)
        return 1.0 - held - for_gil, for_gil, 0.0
    cpu = min(1.0, max(0.0, cpu))
    released = max(0.0, cpu - held)
    waited = max(0.0, 1.0 - max(cpu, held))
    for_gil = min(waited, max(0.0, held_by_some - held))
    return released, for_gil, waited - for_gil


def advise(seen: Observed) -> Advice:
    """Answer whether threads or processes serve better."""
    answer = _answer(seen)
    others, processors = seen.load.all - seen.load.mine, seen.load.processors
    if answer.verdict == "not known" or others < MUCH * processors:
        return answer
    return Advice(
        answer.verdict,
        f"{answer.sentence} (Other programs kept {others:.1f} of {count(processors, 'processor')} busy meanwhile.)",
    )


def _answer(seen: Observed) -> Advice:
    if not seen.tasks:
        return Advice("not known", "Nothing to tell: no task ended while the profile was open.")
    if seen.total < ENOUGH_SECONDS:
        if not seen.gil:
            return _without_gil(seen)
        return Advice(
            "not known",
            f"Too short to tell: {duration(seen.total)} of workers' time, and {duration(ENOUGH_SECONDS)} are needed.",
        )
    return _without_work(seen) or (_with_gil(seen) if seen.gil else _without_gil(seen))


def _without_work(seen: Observed) -> Advice | None:
    """Where it is not tasks that workers spend their time on."""
    part = seen.parts.get
    memory = _for_memory(seen)
    idle = part("no ready task", 0.0)
    if memory >= FOR_MEMORY and memory >= idle:
        return Advice(
            "more memory",
            f"Neither would help: {percent(memory)} of workers' time went to the memory limit; raise it, or make "
            "blocks smaller.",
        )
    if idle >= MOSTLY:
        return Advice(
            "more parallelism",
            f"Neither would help: {_workers(seen)} had no ready task {percent(idle)} of the time; the graph has too "
            "little parallelism.",
        )
    between = part("engine", 0.0) + part("GIL", 0.0)
    if between >= MOSTLY and seen.mean < WORTH_SENDING:
        return _larger_tasks(seen, f"{percent(between)} of workers' time was spent between tasks")
    return None


def _for_memory(seen: Observed) -> float:
    """Share of workers' time that would not be lost without a limit."""
    return seen.parts.get("memory limit", 0.0) + seen.parts.get("moving results", 0.0)


def _without_gil(seen: Observed) -> Advice:
    busy = f"; {_busy(seen)}" if seen.cores is not None and seen.total >= ENOUGH_SECONDS else ""
    return Advice("threads", f"This interpreter has no GIL: threads{busy}.")


def _with_gil(seen: Observed) -> Advice:
    most = min(seen.workers, seen.load.processors)
    busy = seen.cores is not None and most > 1 and seen.cores >= BUSY * most
    if not seen.sampled or seen.moments < ENOUGH_MOMENTS:
        if busy:
            return Advice("threads", f"Threads serve this well: {_busy(seen)}.")
        if not seen.sampled:
            return Advice("not known", "Not known: the profile was told not to look at the GIL (gil=False).")
        return Advice(
            "not known",
            f"Too short to tell: the GIL was looked at {count(seen.moments, 'time')} while a task ran, and "
            f"{ENOUGH_MOMENTS} are needed.",
        )
    if most == 1:
        return _with_one(seen)
    _, for_gil, other = divide(seen.cpu, seen.held, seen.held_by_some)
    share = seen.parts.get("tasks", 0.0)
    # Also between tasks workers wait for it.
    lost = for_gil * share + seen.parts.get("GIL", 0.0)
    if lost >= GIL_BOUND and not busy:
        return _gil_bound(seen, seen.held + for_gil)
    if other * share >= MOSTLY and not busy:
        return _waiting(seen, other)
    if lost >= GIL_FELT:
        return Advice(
            "threads",
            f"Threads serve this: {_busy(seen)}; {percent(lost)} of workers' time was lost waiting for the GIL, "
            "little beside what copying data between processes costs.",
        )
    # Waiting for something else is no running; a little of it is within what an estimate is off.
    slept = other if other >= GIL_FELT else 0.0
    well = f"{percent(1 - seen.held - for_gil - slept)} of task time ran with the GIL released"
    if slept:
        well += f" and {percent(slept)} waited for something else"
    lost_to = {part: s for part, s in seen.parts.items() if part not in ("tasks", "moving results")}
    lost_to["memory limit"] = _for_memory(seen)
    part, rest = max(lost_to.items(), key=lambda item: item[1])
    if busy or rest < GIL_BOUND:
        how = "" if other >= GIL_BOUND and not busy else " well"
        return Advice("threads", f"Threads serve this{how}: {well}, and {_kept_busy(seen, busy)}.")
    return Advice("threads", f"Threads serve this: {well}; what workers lost went mostly to: {part} ({percent(rest)}).")


def _with_one(seen: Observed) -> Advice:
    """One task at a time waits for nobody; what others would do is said by how long it holds the GIL."""
    _, _, other = divide(seen.cpu, seen.held, seen.held_by_some)
    if other >= MOSTLY:
        return _waiting(seen, other)
    if seen.load.processors == 1:
        return Advice("threads", f"One processor: threads; {_busy(seen)}.")
    released = f"tasks held the GIL only {percent(seen.held)} of their time"
    if seen.held < MOSTLY:
        return Advice("more threads", f"There was one worker; more threads would help: {released}.")
    if seen.mean < WORTH_SENDING:
        return _larger_tasks(seen, f"tasks held the GIL {percent(seen.held)} of their time")
    return Advice(
        "processes",
        "There was one worker; more processes would help, more threads would not: "
        f"{_culprit(seen, 'held', seen.held)}.",
    )


def _gil_bound(seen: Observed, share: float) -> Advice:
    if seen.mean < WORTH_SENDING:
        return _larger_tasks(seen, f"workers held or waited for the GIL most of the time, {_busy(seen, 'only ')}")
    evidence = _culprit(seen, "held or waited for", share)
    return Advice("processes", f"Processes would help: {evidence}, and {_busy(seen, 'only ')}.")


def _waiting(seen: Observed, other: float) -> Advice:
    load = seen.load
    if load.all >= BUSY * load.processors:
        return Advice(
            "threads",
            f"Threads serve this: tasks waited for processors, of which {load.all:.1f} of {load.processors} were busy.",
        )
    return Advice(
        "more threads",
        "More threads would help if it is input or output that tasks wait for: they waited for something other than "
        f"the GIL {percent(other)} of their time, and {_busy(seen, 'only ')}.",
    )


def _larger_tasks(seen: Observed, evidence: str) -> Advice:
    return Advice(
        "larger tasks",
        f"Larger tasks would help, processes would not: {evidence}, and a task takes {duration(seen.mean)} on average, "
        "less than to send it to a process.",
    )


def _culprit(seen: Observed, verb: str, share: float) -> str:
    prefix, of_it = ("", share) if seen.culprit is None else seen.culprit
    return f"tasks{f' of `{cut(prefix)}`' if prefix else ''} {verb} the GIL {percent(of_it)} of their time"


def _busy(seen: Observed, only: str = "") -> str:
    if seen.cores is None:
        return f"{_workers(seen)} ran them"
    return f"{_workers(seen)} kept {only}{tell(seen.cores, 'core')} busy"


def _kept_busy(seen: Observed, busy: bool) -> str:
    """The same, or of the whole process: libraries compute on threads of their own."""
    load = seen.load
    if busy or load.mine < BUSY * load.processors:
        return _busy(seen)
    return f"with the threads of libraries {load.mine:.1f} of {load.processors} processors were kept busy"


def _workers(seen: Observed) -> str:
    return count(seen.workers, "worker")
