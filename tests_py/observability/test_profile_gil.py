"""Who held the interpreter lock is estimated from what ran at single moments."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from mars._profile.gil import estimate


def drawn(seed: int, shares: dict[str, float], mixes: list[tuple[str, ...]], each: int) -> list:
    """Samples of tasks that hold the lock in these shares of their time, one at a time."""
    generator = random.Random(seed)
    samples = []
    for mix in mixes:
        # Each would hold it by itself in its share; at most one does, the others wait meanwhile.
        held = sum(generator.random() < 1 - product(1 - shares[p] for p in mix) for _ in range(each))
        samples.append((mix, each - held, held))
    return samples


def product(factors) -> float:
    result = 1.0
    for factor in factors:
        result *= factor
    return result


def test_nothing_is_known_of_nothing():
    assert estimate([]).moments == 0
    assert estimate([((), 100, 50)]).moments == 0
    assert estimate([(("a",), 0, 0)]).by_prefix == {}


def test_one_task_alone():
    found = estimate([(("a",), 25, 75)])
    assert found.by_prefix == {"a": (0.75, 0.75)}
    assert (found.moments, found.held, found.held_by_some) == (100, 0.75, 0.75)


def test_two_of_one_kind_share_what_is_held():
    found = estimate([(("a", "a"), 0, 100)])
    assert found.by_prefix["a"] == (0.5, 1.0)
    assert (found.held, found.held_by_some) == (0.5, 1.0)


def test_free_moments_clear_all_that_ran():
    """What ran beside a task that holds it is not blamed, as it is seen to be innocent at other moments."""
    found = estimate([(("numpy", "python"), 0, 400), (("numpy", "numpy"), 400, 0), (("python",), 0, 100)]).by_prefix
    assert found["python"][0] == pytest.approx(1.0, abs=0.01)
    assert found["numpy"][0] == pytest.approx(0.0, abs=0.01)
    assert found["numpy"][1] == pytest.approx(0.5)  # somebody held it


def test_who_is_always_together_is_blamed_alike():
    found = estimate([(("a", "b"), 40, 60)]).by_prefix
    assert found["a"] == found["b"] == (0.3, 0.6)


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_found_again(seed: int):
    shares = {"load": 0.05, "parse": 0.6, "sum": 0.2}
    mixes = [("load",), ("load", "load"), ("load", "parse"), ("load", "sum"), ("parse",), ("sum", "sum"), ("sum",)]
    found = estimate(drawn(seed, shares, mixes, 400)).by_prefix
    assert {prefix: held for prefix, (held, _) in found.items()} == pytest.approx(shares, abs=0.12)


def test_result_depends_on_no_order():
    samples = drawn(1, {"a": 0.3, "b": 0.7, "c": 0.1}, [("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")], 50)
    shuffled = [(tuple(reversed(mix)), free, held) for mix, free, held in reversed(samples)]
    one, other = estimate(samples).by_prefix, estimate(shuffled).by_prefix
    assert one.keys() == other.keys()
    for prefix, figures in one.items():
        assert figures == pytest.approx(other[prefix])


def test_of_who_is_seen_seldom_nothing_is_said():
    found = estimate([(("a",), 5, 5), (("b",), 5, 4), (("a", "b"), 0, 0)])
    assert set(found.by_prefix) == {"a"}


def test_shares_are_shares():
    generator = random.Random(7)
    names = [f"p{i}" for i in range(20)]
    samples = [
        (tuple(sorted(generator.choices(names, k=8))), generator.randrange(5), generator.randrange(5))
        for _ in range(500)
    ]
    found = estimate(samples)
    assert all(0 <= held <= 1 and 0 <= some <= 1 for held, some in found.by_prefix.values())
    assert 0 <= found.held <= found.held_by_some <= 1
    assert len(found.by_prefix) == 20


def test_very_many_mixtures_are_thinned():
    """Which bounds the time that it takes, and hardly changes what comes out."""
    generator = random.Random(3)
    shares = {f"p{i}": i / 10 for i in range(8)}
    samples: Counter[tuple[tuple[str, ...], bool]] = Counter()
    for number in range(60_000):
        mix = (*sorted(generator.sample(sorted(shares), 5)), f"rare-{number}")
        samples[mix, generator.random() < sum(shares[p] for p in mix[:-1]) / 5] += 1
    found = estimate([(mix, int(not held), int(held)) for (mix, held) in samples]).by_prefix
    assert set(found) == set(shares)
    assert found["p7"][0] > found["p3"][0] > found["p0"][0]
