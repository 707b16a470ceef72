"""Figures and names for people to read."""

from __future__ import annotations

from typing import Any

__all__ = ["count", "cut", "duration", "key_text", "percent", "tell"]

#: So many characters of a prefix, and of a key.
_NAME = 32
_KEY = 200


def duration(seconds: float) -> str:
    """Seconds, with three digits.

    Examples
    --------
    >>> duration(0.0015), duration(83.21), duration(7260)
    ('1.50 ms', '83.2 s', '2 h 01 min')
    """
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{_three(seconds * factor)} {unit}"
    if seconds < 99.95:
        return f"{_three(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes:02} min"


def _three(value: float) -> str:
    if value < 0.005:
        return "0"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def percent(share: float | None) -> str:
    """A share of one; a dash where it is not known.

    Examples
    --------
    >>> percent(0.934), percent(0.0004), percent(None)
    ('93 %', '<1 %', '-')
    """
    if share is None:
        return "-"
    return "<1 %" if 0 < share < 0.01 else f"{share:.0%}".replace("%", " %")


def count(number: int, noun: str) -> str:
    """A number of things.

    Examples
    --------
    >>> count(1, "task"), count(1200, "task")
    ('1 task', '1,200 tasks')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def tell(value: float, noun: str) -> str:
    """A measured number of things, with one digit.

    Examples
    --------
    >>> tell(1.04, "core"), tell(1.93, "core")
    ('1.0 core', '1.9 cores')
    """
    text = f"{value:,.1f}"
    return f"{text} {noun}" if text == "1.0" else f"{text} {noun}s"


def cut(name: str, length: int = _NAME) -> str:
    """On one line, printable, and not too long."""
    if not name or not name.isprintable():
        name = repr(name[: 2 * length])
    return name if len(name) <= length else f"{name[: length - 1]}…"


def key_text(key: Any) -> str:
    """A key for people; also where it has no text of its own."""
    try:
        text = str(key)
    except Exception:
        text = f"<{type(key).__name__} without a text>"
    return cut(text, _KEY)
