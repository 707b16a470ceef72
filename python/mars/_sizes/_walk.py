"""One walk over a value and what it holds, of bounded length.

A walk keeps a list of what is still to be visited, so neither cycles nor depth trouble it. Each value to be visited
comes with three numbers:

weight
    For how many objects it stands: 1, or more if it was taken as a sample out of a long container.
share
    How many visits may be spent on what it holds. A container divides its own share evenly among its items.
branch
    Which sample it was reached through. What is reached through two samples is shared by all of them rather than
    had by each, and stands for itself alone.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection
from typing import Any

__all__ = ["MOST", "Footprint", "Handler", "Quick", "Walk", "positions", "shallow"]

#: Tells the walk what a value shares and holds, and returns the bytes of the value itself; None where it cannot tell.
Handler = Callable[[Any, "Walk"], int | None]
#: What `mars._sizes.footprint` returns for a size that can be told.
Footprint = tuple[int, list[int]]
#: Tells the footprint of a value that holds nothing to walk through; None of one that does.
Quick = Callable[[Any], Footprint | None]

#: The visits of one walk, the longest container of which all items are visited, and the largest sample.
_VISITS = 512
_WHOLE = 64
_SAMPLE = 24
#: The least share of a part, and how deep parts may nest once it is spent.
_PARTS = 8
#: No size is larger: what says so is wrong.
MOST = 2**56

#: Where samples are taken, between 0 and 1: evenly spread, yet in step with no period that the items may have.
_SPREAD = [(0.5 + i * (math.sqrt(5) - 1) / 2) % 1 for i in range(_SAMPLE)]


def positions(length: int, samples: int) -> list[int]:
    """Where to take so many samples, at most `_SAMPLE`, out of so many items."""
    return sorted({int(place * length) for place in _SPREAD[:samples]})


def shallow(value: Any) -> int:
    """The bytes of an object itself, whatever it holds."""
    try:
        size = sys.getsizeof(value)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        size = object.__sizeof__(value)
    return size if size <= MOST else object.__sizeof__(value)


class Walk:
    """Adds up what a value keeps; what `Handler`s talk to."""

    __slots__ = ("_branch", "_branches", "_find", "_found", "_owners", "_quick", "_share", "_todo", "_weight")

    def __init__(self, find: Callable[[type], Handler], quick: dict[type, Quick]) -> None:
        self._find = find
        self._quick = quick
        self._todo: list[tuple[Any, float, int, int]] = []
        # Holds what was visited, for it may be temporary and its identity be had by another object thereafter.
        self._found: dict[int, tuple[Any, int, float, int]] = {}
        self._owners: dict[int, tuple[int, float, int]] = {}
        self._branches = 0
        self._weight, self._share, self._branch = 1.0, _VISITS, 0

    def measure(self, value: Any) -> Footprint | None:
        """See `mars._sizes.footprint`."""
        if self._visit(value) is None:
            return None
        todo, found = self._todo, self._found
        while todo:
            item, self._weight, self._share, self._branch = todo.pop()
            key = id(item)
            known = found.get(key)
            if known is None:
                kind = type(item)
                if kind is str or kind is int or kind is float:  # most items are
                    found[key] = (item, sys.getsizeof(item), self._weight, self._branch)
                elif self._visit(item) is None:
                    found[key] = (item, shallow(item), self._weight, self._branch)
            elif known[2] > 1 and known[3] != self._branch:
                self._weight, self._branch = 1.0, 0
                self._visit(item)
        own = sum([int(size * weight) for _, size, weight, _ in found.values()])
        buffers: list[int] = []
        for owner, (size, weight, _) in self._owners.items():
            if weight > 1:
                own += int(size * weight)
            else:
                buffers += (owner, size)
        return min(own, MOST), buffers

    def _visit(self, value: Any) -> int | None:
        key = id(value)
        kind = type(value)
        own: int | None
        try:
            quick = self._quick.get(kind)
            told = None if quick is None else quick(value)
            if told is None:
                self._found[key] = (value, 0, self._weight, self._branch)
                own = self._find(kind)(value, self)
            else:
                own, buffers = told
                if buffers:
                    self.owner(*buffers)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            return None
        if own is not None:
            self._found[key] = (value, own, self._weight, self._branch)
        return own

    def owner(self, owner: int, size: int) -> None:
        """The value keeps memory that others may keep as well."""
        known = self._owners.get(owner)
        if known is None:
            self._owners[owner] = (size, self._weight, self._branch)
        elif known[2] != self._branch or self._weight == 1:
            self._owners[owner] = (max(size, known[0]), 1.0, 0)

    def parts(self, *values: Any) -> None:
        """Visit what the value is made of, all of it, however much of its share is spent."""
        share = self._share - 1
        if values and share >= -_PARTS:
            share = min(share, max(share // len(values), _PARTS))
            self._todo += [(value, self._weight, share, self._branch) for value in values]

    def room(self, length: int) -> int:
        """How many of so many items to visit."""
        if length <= _WHOLE and length <= self._share:
            return length
        return min(length, _SAMPLE, math.isqrt(max(self._share, 0)))

    def items(self, items: Collection[Any], length: int) -> None:
        """Visit these of so many items that the value holds: all, or as many samples as `room` says."""
        if not items:
            return
        share = (self._share - len(items)) // len(items)
        if share < 0:
            return
        if len(items) == length:
            self._todo += [(item, self._weight, share, self._branch) for item in items]
            return
        weight = self._weight * length / len(items)
        for item in items:
            self._branches += 1
            self._todo.append((item, weight, share, self._branch or self._branches))
