"""What goes on: which tasks run, since when and where, and who waits for what.

Takes no locks that the thread it interrupts may hold, so that a signal handler may ask for it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from mars import _config, _mars
from mars._limits import format_bytes
from mars._stacks import Line, Stacks

__all__ = ["dump", "families", "report"]

#: So many kinds of tasks, computations and waiting threads are shown.
_GROUPS = 8
_COMPUTATIONS = 8
_THREADS = 4
#: Names of tasks in one line, and characters of one of them.
_NAMES = 3
_NAME = 60
#: How names of workers begin.
_WORKER = "mars-worker-"


def _output() -> Any:
    """Where a person reads it who has asked: a notebook shows standard error as a fault."""
    return sys.stdout if _config.in_notebook() else sys.stderr


def dump(file: Any = None) -> None:
    """Print what this process computes at this moment.

    For each computation which tasks run, since when, on which thread and in which lines of code, how many wait for
    them, whether there is room for more under the memory limit, and where the threads are that wait for a result. Can
    be called from any thread, in a task, and in a signal handler.

    Parameters
    ----------
    file : optional
        A stream of text. Default: standard error; in a notebook, standard output.

    Raises
    ------
    TypeError
        `file` is no stream.

    Examples
    --------
    >>> import sys, mars
    >>> mars.dump(file=sys.stdout)
    mars: nothing is running
    """
    stream = _output() if file is None else file
    if stream is None:
        return
    if not callable(getattr(stream, "write", None)):
        raise TypeError(f"file has to be a stream of text, not {stream!r}")
    text = f"mars: {report(_mars.computations())}\n"
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = text.encode(encoding, "replace").decode(encoding)
    try:
        print(text, end="", file=stream, flush=True)
    except RuntimeError:  # a signal came while the same stream was being written to
        os.write(stream.fileno(), text.encode(encoding))


def families(computations: Iterable[Any]) -> dict[int, list[Any]]:
    """Computations with those inside of their tasks, by the number of the outermost; it comes first."""
    root: dict[int, int] = {}
    found: dict[int, list[Any]] = {}
    for computation in sorted(computations, key=lambda computation: computation.id):
        root[computation.id] = root.get(computation.outer, computation.id)
        found.setdefault(root[computation.id], []).append(computation)
    return found


def report(computations: list[Any]) -> str:
    """These computations in a few dozens of lines, however many tasks run."""
    if not computations:
        return "nothing is running"
    stacks = Stacks()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    groups = _grouped(computations, stacks)
    shown = computations[:_COMPUTATIONS]
    lines = [_count(len(computations), "computation") + " running"]
    left = _GROUPS
    for computation in shown:
        lines += _computation(computation)
        own = groups[computation.id]
        for group in own[:left]:
            lines += group.lines(names, stacks.complete)
        if len(own) > left:
            lines.append(f"    and {_count(sum(len(group.tasks) for group in own[left:]), 'other task')}")
        left = max(1, left - len(own))
    if len(computations) > len(shown):
        lines.append(f"  and {_count(len(computations) - len(shown), 'other computation')}")
    waiting = stacks.waiting()
    for ident, stack in list(waiting.items())[:_THREADS]:
        lines.append(f"  {_thread(ident, names)} waits for a result")
        lines += [f"      {line}" for line in stack]
    if len(waiting) > _THREADS:
        lines.append(f"  and {_count(len(waiting) - _THREADS, 'other thread')} waiting for results")
    if not stacks.complete:
        lines.append("  without a GIL the lines of code of other threads cannot be told")
    return "\n".join(lines)


class _Group(NamedTuple):
    """Tasks of the same prefix in the same lines of code, the longest first."""

    tasks: list[Any]
    stack: list[Line]
    waits: bool

    def lines(self, names: dict[int | None, str], complete: bool) -> list[str]:
        first, count = self.tasks[0], len(self.tasks)
        where = f"on {_thread(first.thread, names, first.worker)}"
        if count == 1:
            said = [f"    {_short(first.name)} runs for {_seconds(first.seconds)} {where}"]
        else:
            longest = f"{_short(first.name)} for {_seconds(first.seconds)} {where}"
            said = [f"    {count} tasks {_short(first.prefix)} run here, {longest}"]
        needed = sum(task.dependent_count for task in self.tasks)
        if needed:
            dependents = [name for task in self.tasks for name in task.dependents]
            listed = ", ".join(_short(name) for name in dependents[:_NAMES])
            more = ", .." if needed > min(len(dependents), _NAMES) else ""
            said.append(f"      awaited by {_count(needed, 'task')}: {listed}{more}")
        if self.waits:
            said.append("      it waits for a computation of its own")
        said += [f"      {line}" for line in self.stack]
        if not self.stack and complete:
            said.append("      no Python code: it is in a library, or has just ended")
        return said


def _grouped(computations: list[Any], stacks: Stacks) -> dict[int, list[_Group]]:
    """By computation; tasks that run the longest come first."""
    running = [(task, computation.id) for computation in computations for task in computation.running]
    found: dict[int, dict[Any, _Group]] = {computation.id: {} for computation in computations}
    together = Counter(task.thread for task, _ in running)
    for task, number in sorted(running, key=lambda pair: pair[0].seconds):  # on each thread the innermost first
        of_caller = not task.worker.startswith(_WORKER)
        stack, waits = stacks.of_task(task.thread, together[task.thread], of_caller)
        group = found[number].setdefault((task.prefix, tuple(stack), waits), _Group([], stack, waits))
        group.tasks.insert(0, task)
    return {
        number: sorted(groups.values(), key=lambda group: -group.tasks[0].seconds) for number, groups in found.items()
    }


def _computation(computation: Any) -> list[str]:
    running = len(computation.running)
    waiting = computation.total - computation.finished - running - computation.ready
    inside = "" if computation.outer is None else f", inside of a task of computation {computation.outer}"
    lines = [
        f"  computation {computation.id}, for {_seconds(computation.seconds)}{inside}: "
        f"{computation.finished} of {computation.total} tasks done, {running} running on "
        f"{_count(computation.workers, 'worker')}, {computation.ready} ready, {max(0, waiting)} waiting"
    ]
    if computation.stopping:
        lines.append("    it has failed or was cancelled, and ends with what runs")
    else:
        lines.append(f"    nothing has started or finished for {_seconds(computation.idle_seconds)}")
    memory = computation.memory
    if computation.holds:
        room = "" if memory is None else f": {format_bytes(memory.in_memory)} of {format_bytes(memory.limit)} are taken"
        lines.append(f"    ready tasks wait for room under the memory limit{room}")
    return lines


def _thread(ident: int, names: dict[int | None, str], worker: str = "") -> str:
    """What the program calls a thread, or else the system."""
    name = names.get(ident)
    if name is None or name.startswith("Dummy-"):
        return worker or f"thread {ident:#x}"
    return name


def _seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d} h" if hours else f"{m}:{s:02d} min"


def _short(name: str) -> str:
    """In one line, and of bounded length."""
    shown = "".join(c if c.isprintable() else "?" for c in name)
    return shown if len(shown) <= _NAME else shown[: _NAME - 2] + ".."


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
