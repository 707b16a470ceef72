"""The words and figures of a bar, fitted to the room that there is."""

from __future__ import annotations

import unicodedata

from mars._limits import format_bytes
from mars._progress._meter import View

__all__ = ["FINISHED", "around_bar", "clean", "shorten", "whole_line", "width"]

#: How a bar ends that needs no remark.
FINISHED = "finished"
#: Columns that other figures leave to the bar itself.
_BAR = 10
#: Columns below which there is no room for a description.
_NARROW = 40
#: Columns of one prefix, and how many of them are shown.
_PREFIX = 20
_PREFIXES = 3


def clean(text: str, encoding: str | None = None) -> str:
    """`text` in one line, without what terminals or this encoding do not show."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    try:
        return shown.encode(encoding or "utf-8", "replace").decode(encoding or "utf-8")
    except LookupError:
        return shown.encode("ascii", "replace").decode("ascii")


def width(text: str) -> int:
    """How many columns of a terminal it takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "FW" else 1 for c in text)


def shorten(text: str, columns: int) -> str:
    """At most so many columns of it."""
    if width(text) <= columns:
        return text
    if columns < 4:
        return ""
    while width(text) > columns - 2:
        text = text[:-1]
    return text + ".."


def percent(view: View) -> int:
    """Rounded down: 100 says that all is done."""
    return 100 * view.done // view.total if view.total else 0


def around_bar(view: View, desc: str, columns: int) -> tuple[str, str]:
    """What stands before a bar and behind it, in a terminal of so many columns."""
    left = f"{percent(view):3d}%|"
    right = f"| {view.done}/{view.total}"
    desc = shorten(desc, min(columns // 3, columns - len(left) - len(right) - 4)) if columns >= _NARROW else ""
    if desc:
        left = f"{desc}: {left}"
    room = columns - width(left) - width(right) - _BAR - 3
    shown = ""
    for figure in _figures(view):
        if width(shown) + width(figure) + 2 > room:
            break
        shown += f", {figure}" if shown else figure
    if not shown and view.end not in (None, FINISHED):
        right = f"|{view.end} {view.done}/{view.total}"  # it is to be seen
        if width(left) + 1 + width(right) > columns:
            right = f"|{view.end}"
    elif shown and view.running:
        shown += _prefixes(view, room - width(shown))
    return left, f"{right} [{shown}]" if shown else right


def _figures(view: View) -> list[str]:
    """The most important one first."""
    if view.end is None:
        found = [f"{_clock(view.elapsed)}<{'?' if view.left is None else _clock(view.left)}"]
    else:
        found = [_took(view)]
    if view.rate is not None and view.end in (None, FINISHED):
        found.append(_rate(view.rate))
    if view.memory is not None:
        found.append(_memory(*view.memory))
    return found


def _prefixes(view: View, room: int) -> str:
    shown = ""
    for count, prefix in enumerate(view.running):
        word = f", {shorten(prefix, _PREFIX)}"
        if count == _PREFIXES or width(shown) + width(word) > room - 4:
            return shown + ", .." if shown and room >= width(shown) + 4 else shown
        shown += word
    return shown


def whole_line(view: View, desc: str) -> str:
    """The same for a file, which is read later and line by line."""
    said = [f"{percent(view)}%, {view.done} of {view.total} tasks"]
    if view.end is None:
        said.append(_clock(view.elapsed))
        if view.left is not None:
            said.append(f"{_clock(view.left)} left")
        said += _figures(view)[1:]
    else:
        said += _figures(view)
    line = ", ".join(said)
    if view.running:
        more = ", .." if len(view.running) > _PREFIXES else ""
        line += f"; {', '.join(shorten(p, _PREFIX) for p in view.running[:_PREFIXES])}{more}"
    return f"{desc or 'mars'}: {line}"


def _took(view: View) -> str:
    time = f"{view.elapsed:.1f} s" if view.elapsed < 60 else _clock(view.elapsed)
    return f"in {time}" if view.end == FINISHED else f"{view.end} after {time}"


def _clock(seconds: float) -> str:
    minutes, s = divmod(int(min(seconds, 1e9)), 60)
    hours, m = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m:02d}:{s:02d}"


def _memory(used: int, limit: int) -> str:
    """Both in the unit of the limit."""
    amount, unit = format_bytes(limit).split()
    return f"{used / limit * float(amount):.3g}/{float(amount):.3g} {unit}"


def _rate(rate: float) -> str:
    if rate < 1:
        return f"{1 / rate:.3g} s/task" if rate > 0.001 else f"{_clock(1 / rate)}/task"
    if rate < 999.5:
        return f"{rate:.3g} tasks/s"
    return f"{rate / 1e3:.3g}k tasks/s" if rate < 999_500 else f"{rate / 1e6:.3g}M tasks/s"
