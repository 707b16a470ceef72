"""Tasks are grouped by the prefix that Dask itself would give to their keys."""

from __future__ import annotations

import random
from typing import Any

import pytest
from dask.utils import key_split

from mars import _mars

KEYS = [
    "x",
    "x-1",
    "x-1-2-3",
    "hello-world-1",
    "sum-aggregate-0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "ae05086432ca935f6eba409a8ecd4896",
    "ae05086432ca935f6eba409a8ecd489",
    "AE05086432CA935F6EBA409A8ECD4896",
    "(ae05086432ca935f6eba409a8ecd4896)",
    "<module.submodule.myclass object at 0xdaf372",
    "<>",
    "<.>",
    "<\x1ca.b\x1d>",
    "< \x85\u2003a.b>",
    "x-abcdefab",
    "x-download",
    "x-upload",
    "x-dönlöäd",
    "x-ünlöäd",
    "_(x)",
    "('x-2', 1)",
    '("x-2", 1)',
    "_x-y-1",
    "_-y",
    "-",
    "-x",
    "--",
    "x--y",
    "",
    " ",
    "é-è-1",
    "ª-²-1",
    "x-\u0345y",  # alphabetic to Unicode, and to Rust, but no letter
    "x-\u2160",
    "\u2160x-y",
    "ⅷ-abc",
    "漢字-かな-1",
    b"hello-world-1",
    b"",
    ("x-2", 1),
    (("x-2", 1), 2),
    ((b"x-2", 1), 2),
    (1, 2),
    (None,),
    ((1,),),
    None,
    1,
    1.5,
    True,
    frozenset(),
    object(),
]


@pytest.mark.parametrize("key", KEYS, ids=[f"key-{i}" for i in range(len(KEYS))])
def test_prefixes_are_those_of_dask(key: Any) -> None:
    assert _mars.key_prefix(key) == key_split(key)


def test_prefixes_of_random_texts_are_those_of_dask() -> None:
    generator = random.Random(1)
    pieces = [*"-_'()\"<>., afgz09AZé²\u0345\u2160\x1c\u2003", "-", "-", "abcdefab", "data", "deadbeef" * 4, "download"]
    for _ in range(20_000):
        key = "".join(generator.choices(pieces, k=generator.randint(0, 9)))
        assert _mars.key_prefix(key) == key_split(key), key
        assert _mars.key_prefix((key, 0)) == key_split(key), key
        assert _mars.key_prefix(key.encode()) == key_split(key), key


def test_prefixes_of_any_key_are_those_of_dask(tmp_path_factory: pytest.TempPathFactory) -> None:
    hypothesis = pytest.importorskip("hypothesis")
    hypothesis.configuration.set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))
    st = hypothesis.strategies
    # No surrogates: they are no text for Rust.
    text = st.text(st.characters(exclude_categories=["Cs"]))
    words = st.lists(st.one_of(text, st.from_regex("[a-g]{7,9}", fullmatch=True), st.uuids().map(lambda u: u.hex)))
    key = st.one_of(text, words.map("-".join), text.map(str.encode), st.integers(), st.none())
    keys = st.recursive(key, lambda inner: st.lists(inner, min_size=1, max_size=3).map(tuple))

    @hypothesis.settings(max_examples=500, deadline=None, database=None)
    @hypothesis.given(keys)
    def check(key: Any) -> None:
        assert _mars.key_prefix(key) == key_split(key)

    check()


@pytest.mark.parametrize("key", [(), ((),), b"\xff", "\ud800", ("\ud800", 1)], ids=ascii)
def test_what_is_no_text_has_no_prefix(key: Any) -> None:
    assert _mars.key_prefix(key) == "Other"


def test_text_of_a_class_of_its_own_is_text() -> None:
    class Name(str):
        pass

    assert _mars.key_prefix(Name("x-1")) == "x"
    assert _mars.key_prefix((Name("x-1"), 0)) == "x"
