"""Who holds the interpreter lock, by what is seen at single moments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Gil", "estimate"]

#: A multiset of the prefixes that ran at one moment, moments with the GIL free, and moments with it held.
Sample = tuple[Sequence[str], int, int]

#: With fewer moments nothing is said of a prefix: a share would be off by a third as likely as not.
_LEAST = 10
#: Rounds after which shares change no more by what anybody reads.
_ROUNDS = 30
#: At most this many entries are gone through in each round: about a second in all.
_WORK = 200_000


@dataclass(frozen=True)
class Gil:
    """Who held it.

    Attributes
    ----------
    moments : int
        How many moments there are at which some task ran.
    held_by_some : float
        In what share of these somebody held it.
    held : float
        In what share of its time a task held it, on average over tasks that ran.
    by_prefix : dict of str to tuple of float
        Of prefixes that ran at enough moments: in what share of its time a task of it held the lock, and in what share
        of its time anybody did.
    """

    moments: int
    held_by_some: float
    held: float
    by_prefix: dict[str, tuple[float, float]]


def estimate(samples: Iterable[Sample]) -> Gil:
    """Estimate who held it.

    At most one task can hold it at a time. A moment at which it is free so clears all tasks that run then; one at
    which it is held charges one of them, and which is not known. Charges are divided by the shares estimated so
    far, and give the next estimate: expectation maximisation for a mixture of Poisson processes, from equal shares.

    Parameters
    ----------
    samples : iterable of tuple
        Prefixes that ran at one moment, each as often as it did; moments at which the GIL was free; and at which
        it was held.

    Returns
    -------
    Gil
    """
    seen = [(Counter(prefixes), free, held) for prefixes, free, held in samples if prefixes and free + held > 0]
    moments = sum(free + held for _, free, held in seen)
    if not moments:
        return Gil(0, 0.0, 0.0, {})
    held = sum(held for _, _, held in seen)
    running = sum(ran.total() * (free + held) for ran, free, held in seen)
    here: Counter[str] = Counter()
    here_held: Counter[str] = Counter()
    for ran, free, held_then in seen:
        for prefix in ran:
            here[prefix] += free + held_then
            here_held[prefix] += held_then
    shares = _shares(_thinned(seen))
    known = {p: (shares[p], here_held[p] / n) for p, n in sorted(here.items()) if n >= _LEAST and p in shares}
    return Gil(moments, held / moments, min(1.0, held / running), known)


def _shares(seen: list[tuple[Counter[str], int, int]]) -> dict[str, float]:
    exposure: Counter[str] = Counter()
    for ran, free, held in seen:
        for prefix, times in ran.items():
            exposure[prefix] += times * (free + held)
    shares = dict.fromkeys(sorted(exposure), 0.5)
    for _ in range(_ROUNDS):
        charges = dict.fromkeys(shares, 0.0)
        for ran, _, held in seen:
            if not held:
                continue
            whole = sum(shares[prefix] * times for prefix, times in ran.items())
            if whole <= 0:
                continue
            for prefix, times in ran.items():
                charges[prefix] += held * shares[prefix] * times / whole
        shares = {prefix: min(1.0, charges[prefix] / exposure[prefix]) for prefix in shares}
    return shares


def _thinned(seen: list[tuple[Counter[str], int, int]]) -> list[tuple[Counter[str], int, int]]:
    """Every so-manieth where there are too many different ones, as with hundreds of workers for hours."""
    step = -(-sum(len(ran) for ran, _, _ in seen) // _WORK)
    if step <= 1:
        return seen
    return sorted(seen, key=lambda sample: -sample[1] - sample[2])[::step]
