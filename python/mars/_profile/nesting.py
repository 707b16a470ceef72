"""What ran inside of other tasks, so that no second is counted twice."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mars._mars import Profile as Recording

__all__ = ["Nested", "nested"]


@dataclass(frozen=True)
class Nested:
    """Time of tasks that ran inside of others, on the same thread.

    Attributes
    ----------
    inside : dict of str to float
        By the prefix of the outer task, seconds in which it was a task inside of it that ran.
    seconds, cpu : float
        Sums over all tasks that ran inside of others.
    count : int
        How many these are.
    """

    inside: dict[str, float]
    seconds: float
    cpu: float
    count: int


def nested(recording: Recording) -> Nested:
    """Find out which tasks ran inside of others, as far as the timeline has them."""
    inside: defaultdict[str, float] = defaultdict(float)
    if not any(totals.nested for totals in recording.prefixes()):
        return Nested({}, 0.0, 0.0, 0)
    names = recording.group_names()
    columns = recording.columns()
    lanes, groups = (memoryview(columns[name]).cast("I") for name in ("lane", "group"))
    starts, ends, cpus = (memoryview(columns[name]).cast("d") for name in ("start", "end", "cpu"))
    open_tasks: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
    seconds = cpu = 0.0
    count = 0
    for lane, group, start, end, own_cpu in zip(lanes, groups, starts, ends, cpus, strict=True):
        stack = open_tasks[lane]
        while stack and stack[-1][0] <= start:
            stack.pop()
        if stack:
            outer_end, outer = stack[-1]
            inside[names[outer]] += min(end, outer_end) - start
            seconds += end - start
            cpu += 0.0 if isnan(own_cpu) else own_cpu
            count += 1
        stack.append((end, group))
    return Nested(dict(inside), seconds, cpu, count)
