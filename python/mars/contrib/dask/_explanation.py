"""What is told of a run before it begins."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any

from mars import _mars
from mars._limits import format_bytes

__all__ = ["Explanation"]

#: The width of a terminal, and that of the column of labels.
_WIDTH = 80
_LABEL = 17
#: So many prefixes are shown, and so many characters of a name.
_PREFIXES = 20
_NAME = 44
#: So many steps of the critical path, before and after what is left out.
_STEPS = 4
#: What makes keys long.
_DIGEST = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, repr=False)
class Explanation:
    """A forecast of a run, made by `explain`.

    Printed, it is a table; in a notebook, it is shown as one.

    Attributes
    ----------
    tasks : int
        How many tasks will run.
    by_prefix : dict of str to int
        Of these, how many there are of each prefix; the largest number first.
    critical_path : tuple
        The keys of the longest chain of tasks that need each other, from the first to the last.
        No number of workers makes the run take fewer steps.
    width : int
        The most tasks that run at the same time if each starts as soon as it can.
    n_workers : int
        At most this many tasks run at the same time.
    peak_results : int
        The most results that are live at the same time. A result is live from the start of its task
        until the last task that needs it has ended, or to the end if it is asked for.
    peak_key
        The task that first brings so many; None if none runs.
    peak_bytes : int
        The most bytes that live results take at the same time, those of known size.
    peak_bytes_key
        The task that first brings so many; None if no size is known.
    peak_unknown : int
        How many results of unknown size are live at that moment.
    serial_peak_results, serial_peak_bytes : int
        The same with one worker.
    unknown_results : int
        How many of all results are of unknown size.
    requested_results : int
        How many results are asked for, and so held to the end.
    requested_bytes : int
        What those of known size take.
    requested_unknown : int
        How many of them are of unknown size.
    known_values : int
        How many values are part of the graph. They are there before the run and are in no peak.
    known_bytes : int
        What these take, as Dask estimates it.
    memory_limit : int or None
        The limit to compare with, in bytes.
    """

    tasks: int
    by_prefix: dict[str, int]
    critical_path: tuple[Any, ...]
    width: int
    n_workers: int
    peak_results: int
    peak_key: Any
    peak_bytes: int
    peak_bytes_key: Any
    peak_unknown: int
    serial_peak_results: int
    serial_peak_bytes: int
    unknown_results: int
    requested_results: int
    requested_bytes: int
    requested_unknown: int
    known_values: int
    known_bytes: int
    memory_limit: int | None

    @property
    def parallelism(self) -> float:
        """How many workers are busy on average if there are enough of them and all tasks take the same time.

        The number of tasks by the length of the critical path: more workers than this are of little use.
        """
        return self.tasks / len(self.critical_path) if self.critical_path else 0.0

    @property
    def fits(self) -> bool | None:
        """Whether the peak is within the memory limit; None without a limit, or where sizes are unknown.

        What does not fit goes to disk, but for what is asked for: that has to fit.
        """
        if self.memory_limit is None:
            return None
        if self.peak_bytes > self.memory_limit:
            return False
        return None if self.unknown_results else True

    def __repr__(self) -> str:
        lines = [self._title()]
        for label, text in self._facts():
            lines += textwrap.wrap(
                f"{label:<{_LABEL}}{text}", _WIDTH, subsequent_indent=" " * _LABEL, break_on_hyphens=False
            )
        shown, rest = self._prefixes()
        if shown:
            counts = [f"{count:,}" for _, count in shown]
            digits = max(len(count) for count in counts)
            lines += ["", *(f"{count:>{digits}}  {prefix}" for count, (prefix, _) in zip(counts, shown, strict=True))]
            lines += [rest] if rest else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        shown, rest = self._prefixes()
        left = 'style="text-align:left"'
        facts = [(label, escape(text)) for label, text in self._facts()]
        rows = [f"<tr><th {left}>{label}</th><td {left}>{text}</td></tr>" for label, text in facts]
        prefixes = [f"<tr><td>{count:,}</td><td {left}>{escape(prefix)}</td></tr>" for prefix, count in shown]
        parts = [f"<div><strong>{escape(self._title())}</strong>", "<table>", *rows, "</table>"]
        if prefixes:
            parts += ["<table>", f"<tr><th>tasks</th><th {left}>prefix</th></tr>", *prefixes, "</table>"]
            parts += [f"<div>{escape(rest)}</div>"] if rest else []
        return "".join([*parts, "</div>"])

    def _title(self) -> str:
        if not self.tasks:
            return "No task will run"
        return f"{_count(self.tasks, 'task')} on {_count(self.n_workers, 'worker')}"

    def _facts(self) -> Iterator[tuple[str, str]]:
        """What there is to say, with a label each."""
        if self.tasks:
            yield "critical path", f"{_count(len(self.critical_path), 'task')}: {self._steps()}"
            yield "parallelism", f"{self.parallelism:,.1f} on average, {self.width:,} at most"
            peak = f"at most {self.peak_results:,}, first in {_shown(self.peak_key)}"
            yield "live results", peak + _with_one(self.peak_results, self.serial_peak_results, "{:,}")
            yield "live bytes", self._bytes()
            asked = _sized(self.requested_bytes, self.requested_results, self.requested_unknown)
            yield "asked for", f"{_count(self.requested_results, 'result')}, {asked}"
        if self.known_values:
            values = _count(self.known_values, "value")
            yield "in the graph", f"{values}, about {format_bytes(self.known_bytes)}, not counted above"
        if self.memory_limit is not None:
            yield "memory limit", f"{format_bytes(self.memory_limit)}: {self._verdict()}"

    def _bytes(self) -> str:
        if self.unknown_results == self.tasks:
            return "not known: the size of no result is"
        text = f"at most {format_bytes(self.peak_bytes)}{' where known' if self.unknown_results else ''}"
        text += _with_one(format_bytes(self.peak_bytes), format_bytes(self.serial_peak_bytes), "{}")
        if self.unknown_results:
            text += f"; {self.unknown_results:,} of {_count(self.tasks, 'result')} of unknown size"
            text += f", {self.peak_unknown:,} of them live then"
        return text

    def _verdict(self) -> str:
        limit = self.memory_limit or 0
        if self.requested_bytes > limit:
            return f"what is asked for exceeds it by {format_bytes(self.requested_bytes - limit)}, and has to fit"
        if self.fits is None:
            return "not known whether all fits, since not all sizes are"
        if self.fits:
            return "all fits"
        return f"exceeded by {format_bytes(self.peak_bytes - limit)} at the peak, which goes to disk or waits"

    def _steps(self) -> str:
        """The critical path by prefixes."""
        runs = [(prefix, len(list(keys))) for prefix, keys in groupby(self.critical_path, _mars.key_prefix)]
        steps = [_cut(prefix) if n == 1 else f"{_cut(prefix)} ×{n:,}" for prefix, n in runs]
        if len(steps) > 2 * _STEPS + 1:
            steps[_STEPS:-_STEPS] = ["…"]
        return " → ".join(steps)

    def _prefixes(self) -> tuple[list[tuple[str, int]], str]:
        """The prefixes to show, with the number of tasks, and what to say of others."""
        items = list(self.by_prefix.items())
        # One line that says "1 more" would take the place of what it leaves out.
        shown = items if len(items) <= _PREFIXES + 1 else items[:_PREFIXES]
        rest = items[len(shown) :]
        tasks = _count(sum(count for _, count in rest), "task")
        text = f"… and {len(rest):,} more prefixes with {tasks}" if rest else ""
        return [(_cut(prefix), count) for prefix, count in shown], text


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _sized(size: int, results: int, unknown: int) -> str:
    if unknown == 0:
        return format_bytes(size)
    if unknown == results:
        return "of unknown size"
    return f"{format_bytes(size)} where known; {unknown:,} of unknown size"


def _with_one(parallel: Any, serial: Any, how: str) -> str:
    return "" if parallel == serial else f"; {how.format(serial)} with one worker"


def _shown(key: Any) -> str:
    return _printable(_DIGEST.sub(lambda digest: f"{digest[0][:6]}…", repr(key)))


def _cut(prefix: str) -> str:
    return _printable(prefix or repr(prefix))


def _printable(text: str) -> str:
    """On one line, and not too long."""
    if not text.isprintable():
        text = repr(text)
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"
