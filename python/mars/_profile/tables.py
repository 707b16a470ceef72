"""A summary as a table: in a terminal, in a notebook."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from mars._limits import format_bytes
from mars._profile.text import count, cut, duration, percent, tell

if TYPE_CHECKING:
    from mars._profile.summary import PrefixSummary, Summary

__all__ = ["as_html", "as_text"]

#: About as wide as the table is.
_WIDTH = 100
#: So many prefixes are shown.
_PREFIXES = 25
_HEAD = (
    *("prefix", "tasks", "failed", "total", "mean", "longest", "results"),
    *("share", "CPU", "GIL held", "released", "waited"),
)
#: One style for light and dark notebooks: theirs.
_LEFT = ' style="text-align:left"'
_REST = ' style="white-space:nowrap"'


def as_text(summary: Summary) -> str:
    """For a terminal."""
    lines = [_title(summary), *textwrap.wrap(summary.advice, _WIDTH, break_on_hyphens=False)]
    for head, rows, notes in _tables(summary):
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines += ["", *(_line(row, widths) for row in (head, *rows)), *notes]
    return "\n".join(lines)


def as_html(summary: Summary) -> str:
    """For a notebook; without a colour, so that it is readable in dark ones."""
    parts = [f"<div><strong>{escape(_title(summary))}</strong>", f"<div>{escape(summary.advice)}</div>"]
    for head, rows, notes in _tables(summary):
        parts += ["<table>", _html_row(head, "th"), *(_html_row(row, "td") for row in rows), "</table>"]
        parts += [f"<div>{escape(note)}</div>" for note in notes]
    return "".join([*parts, "</div>"])


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join([row[0].ljust(len(first)), *rest])


def _html_row(row: tuple[str, ...], cell: str) -> str:
    first, *rest = map(escape, row)
    cells = [f"<{cell}{_LEFT}>{first}</{cell}>", *(f"<{cell}{_REST}>{text}</{cell}>" for text in rest)]
    return f"<tr>{''.join(cells)}</tr>"


def _title(summary: Summary) -> str:
    if not summary.tasks:
        return f"No task ended in {duration(summary.seconds)}"
    failed = f" ({summary.failed:,} failed)" if summary.failed else ""
    open_for = "" if summary.computing > 0.99 * summary.seconds else f" of {duration(summary.seconds)}"
    text = f"{count(summary.tasks, 'task')}{failed} in {duration(summary.computing)}{open_for}"
    text += f", {summary.tasks_per_second:,.0f} a second; {count(summary.workers, 'worker')}"
    return text if summary.cores is None else f"{text}, {tell(summary.cores, 'core')} used"


def _tables(summary: Summary) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]]:
    """Head, rows and notes of each table."""
    if summary.prefixes:
        # One line that says "1 more" would take the place of what it leaves out.
        many = len(summary.prefixes) > _PREFIXES + 1
        shown = summary.prefixes[:_PREFIXES] if many else summary.prefixes
        yield _HEAD, [_row(row) for row in shown], list(_notes(summary, len(shown)))
    if any(summary.worker_seconds.values()):
        parts: list[tuple[str, ...]] = [
            (part, duration(seconds), percent(summary.worker_shares[part]))
            for part, seconds in summary.worker_seconds.items()
        ]
        yield ("workers' time", "seconds", "share"), parts, []


def _row(row: PrefixSummary) -> tuple[str, ...]:
    return (
        cut(row.prefix) + ("*" if row.nested else ""),
        f"{row.tasks:,}",
        f"{row.failed:,}",
        duration(row.seconds),
        duration(row.mean),
        duration(row.longest),
        _bytes(row),
        *map(percent, (row.share, row.cpu, row.held, row.released, row.waited)),
    )


def _bytes(row: PrefixSummary) -> str:
    if row.bytes is None:
        return "-"
    return f"{'≥ ' if row.sized < row.tasks - row.failed else ''}{format_bytes(row.bytes)}"


def _notes(summary: Summary, shown: int) -> Iterator[str]:
    rest = summary.prefixes[shown:]
    if rest:
        tasks = count(sum(row.tasks for row in rest), "task")
        share = percent(sum(row.share for row in rest))
        yield f"… and {len(rest):,} more prefixes with {tasks}, {share} of workers' time"
    if any(row.nested for row in summary.prefixes):
        yield "* some ran inside of other tasks, whose total and mean have theirs in them; shares count them once"
    if summary.dropped:
        below = duration(summary.dropped_below)
        yield f"{count(summary.dropped, 'task')} of less than {below} each are counted here and not in the timeline"
