"""What comes back from the disk is what went there: fetched, and as an argument of a task."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spills import files, move_out, moved_and_read, small

import mars.remote as mr

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")

N = 20_000


def rng() -> Any:
    return np.random.default_rng(5)


def same_array(a: Any, b: Any) -> bool:
    """Type, dtype, layout, what may be done with it, and every byte."""
    flags = ("c_contiguous", "f_contiguous", "writeable", "aligned")
    assert type(a) is type(b)
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert [getattr(a.flags, flag) for flag in flags] == [getattr(b.flags, flag) for flag in flags]
    if a.dtype.hasobject:
        return a.tolist() == b.tolist() and [type(x) for x in a.flat] == [type(x) for x in b.flat]
    return (a == b).all() if a.dtype.char == "g" else a.tobytes() == b.tobytes()  # there is padding in a long double


# -- Arrays ----------------------------------------------------------------------------------------------------------


def read_only() -> Any:
    values = rng().random(N)
    values.flags.writeable = False
    return values


def structured() -> Any:
    values = np.zeros(N, dtype=[("x", "f8"), ("y", "i4"), ("name", "S8"), ("inner", [("a", "u1"), ("b", "u2", 3)])])
    values["x"] = rng().random(N)
    values["name"] = b"abc"
    return values


def with_nothing() -> Any:
    values = rng().random(N)
    values[::7] = np.nan
    values[3] = -0.0
    values[4] = np.inf
    return values


ARRAYS: dict[str, Callable[[], Any]] = {
    "floats": lambda: rng().random((100, N // 100)),
    "nans": with_nothing,
    "Fortran order": lambda: np.asfortranarray(rng().random((100, N // 100))),
    "transposed": lambda: np.ascontiguousarray(rng().random((100, N // 100))).T,
    "read-only": read_only,
    "big-endian": lambda: rng().random(N).astype(">f8"),
    "half": lambda: rng().random(N).astype("f2"),
    "long double": lambda: rng().random(N).astype("g"),
    "complex": lambda: rng().random(N) + 1j,
    "bools": lambda: rng().random(N) > 0.5,
    "datetimes": lambda: np.arange(N).astype("M8[ns]"),
    "timedeltas": lambda: np.arange(N).astype("m8[D]"),
    "not a time": lambda: np.full(N, "NaT", dtype="M8[s]"),
    "structured": structured,
    "records": lambda: structured().view(np.recarray),
    "bytes": lambda: np.array([b"ab", b"c"] * N),
    "strings": lambda: np.array(["ab", "ü"] * N),
    "strings of any length": lambda: np.array(["ab", "x" * 50] * N, dtype=np.dtypes.StringDType()),
    "objects": lambda: np.array([1, "two", 3.0, None, (4,)] * N, dtype=object),
    "no dimension": lambda: np.array("x" * N),
    "many small dimensions": lambda: rng().random((2,) * 14),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_array_comes_back(kind: str):
    expected = ARRAYS[kind]()
    for value in moved_and_read(ARRAYS[kind]):
        assert same_array(value, expected)


def test_masked_array_comes_back():
    def make() -> Any:
        return np.ma.masked_array(rng().random(N), mask=rng().random(N) > 0.3, fill_value=-9.0)

    expected = make()
    for value in moved_and_read(make):
        assert type(value) is np.ma.MaskedArray
        assert value.fill_value == -9.0
        assert value.mask.tobytes() == expected.mask.tobytes()
        assert value.data.tobytes() == expected.data.tobytes()


def test_memory_map_comes_back(tmp_path: Path):
    rng().random(N).tofile(tmp_path / "x")

    def make() -> Any:
        return np.memmap(tmp_path / "x", dtype="f8", mode="r") + 0  # a result of its own, of the class of the map

    expected = make()
    for value in moved_and_read(make):
        assert np.array_equal(value, expected)


def test_mapped_file_is_no_memory_to_be_moved(tmp_path: Path):
    rng().random(N).tofile(tmp_path / "x")
    with small() as session:
        obj = mr.spawn(np.memmap, args=(tmp_path / "x",), kwargs={"dtype": "f8", "mode": "r"}).execute()
        assert session.memory.in_memory < 5000  # the path and the like
        move_out(session)
        assert type(obj.fetch()) is np.memmap
        assert np.array_equal(obj.fetch(), rng().random(N))


def test_view_comes_back_without_what_it_looks_into():
    def make() -> Any:
        return rng().random((N, 5))[::2, 1:3]

    for value in moved_and_read(make):
        assert np.array_equal(value, make())
        assert value.base is None or getattr(value.base, "nbytes", value.nbytes) <= value.nbytes


def test_array_backwards_comes_back():
    for value in moved_and_read(lambda: rng().random((N, 2))[::-1, ::-1]):
        assert np.array_equal(value, rng().random((N, 2))[::-1, ::-1])


def test_array_that_came_back_can_be_written_to():
    def double_in_place(values: Any) -> Any:
        values *= 2
        return values

    with small() as session:
        obj = mr.spawn(ARRAYS["floats"]).execute()
        move_out(session)
        assert np.array_equal(mr.spawn(double_in_place, args=(obj,)).execute().fetch(), 2 * ARRAYS["floats"]())


# -- Frames ----------------------------------------------------------------------------------------------------------


def frame() -> Any:
    return pd.DataFrame(
        {
            "number": rng().random(N),
            "whole": np.arange(N),
            "text": pd.Series(["a", "ü" * 20, None, "d"] * (N // 4), dtype="str"),
            "object": pd.Series([1, "x", (2,), None] * (N // 4), dtype=object),
            "kind": pd.Categorical(["b", "a"] * (N // 2), categories=["b", "c", "a"], ordered=True),
            "when": pd.date_range("2020", periods=N, freq="s", tz="Europe/Berlin"),
            "span": pd.interval_range(0, N),
            "maybe": pd.array([1, None] * (N // 2), dtype="Int64"),
            "flag": pd.array([True, None] * (N // 2), dtype="boolean"),
        },
        index=pd.Index(np.arange(N)[::-1], name="row"),
    )


def arrow_frame() -> Any:
    pytest.importorskip("pyarrow")
    return frame()[["number", "whole", "text"]].convert_dtypes(dtype_backend="pyarrow").iloc[10 : N // 2]


FRAMES: dict[str, Callable[[], Any]] = {
    "columns of all kinds": frame,
    "Arrow": arrow_frame,
    "slice": lambda: frame().iloc[5:-5:3],
    "levels": lambda: frame().set_index(["whole", "text"])[["number"]].rename_axis(columns="names"),
    "duplicate labels": lambda: pd.DataFrame(rng().random((N, 3)), columns=["x", "x", "y"], index=[7] * N),
    "sparse": lambda: pd.DataFrame({"x": pd.arrays.SparseArray([0.0, 1.0] * N)}),
    "no columns": lambda: pd.DataFrame(index=pd.Index(rng().random(N))),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frame_comes_back(kind: str):
    expected = FRAMES[kind]()
    for value in moved_and_read(FRAMES[kind]):
        pd.testing.assert_frame_equal(value, expected, check_exact=True, check_freq=True, check_flags=True)


@pytest.mark.parametrize("column", ["number", "text", "kind", "when", "maybe"])
def test_series_comes_back(column: str):
    expected = frame()[column]
    for value in moved_and_read(lambda: frame()[column]):
        pd.testing.assert_series_equal(value, expected, check_exact=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: pd.MultiIndex.from_product([range(N // 4), list("abcd")], names=["n", "l"]),
        lambda: pd.date_range("2020", periods=N, freq="h"),
        lambda: pd.Index(["text"] * N + [None]),
        lambda: pd.CategoricalIndex(["b", "a"] * N),
    ],
)
def test_index_comes_back(make: Callable[[], Any]):
    expected = make()
    for value in moved_and_read(make):
        pd.testing.assert_index_equal(value, expected, exact=True)
        assert getattr(value, "freq", None) == getattr(expected, "freq", None)


def test_arrow_table_comes_back():
    pa = pytest.importorskip("pyarrow")

    def make() -> Any:
        return pa.table({"x": rng().random(N), "y": pa.array(["a", None] * (N // 2)).dictionary_encode()}).slice(5)

    for value in moved_and_read(make):
        assert value.equals(make(), check_metadata=True)


# -- Plain Python ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Record:
    number: int
    data: bytes


class Colour(enum.Enum):
    RED = 1


class Slotted:
    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = b"x" * N

    def __eq__(self, other: object) -> bool:
        return type(other) is Slotted and other.data == self.data

    __hash__ = None  # type: ignore[assignment]


PLAIN: dict[str, Callable[[], Any]] = {
    "bytes": lambda: rng().bytes(N),
    "bytearray": lambda: bytearray(rng().bytes(N)),
    "text": lambda: "aü\0\ud800🎈" * N,
    "huge number": lambda: (1 << 500_000) - 1,
    "list": lambda: list(range(N)),
    "tuple": lambda: tuple(map(float, range(N))),
    "set": lambda: set(range(N)),
    "frozenset": lambda: frozenset(map(str, range(N))),
    "dict": lambda: {i: [str(i)] for i in range(N)},
    "counter": lambda: collections.Counter(x % 5000 for x in range(N)),
    "deque": lambda: collections.deque(range(N), maxlen=N),
    "ordered": lambda: collections.OrderedDict.fromkeys(reversed(range(N))),
    "array": lambda: array.array("d", range(N)),
    "dates": lambda: [datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=i) for i in range(N)],
    "decimals": lambda: [decimal.Decimal(i) / 7 for i in range(5000)],
    "data class": lambda: Record(1, b"x" * N),
    "slots": Slotted,
    "enum in a list": lambda: [Colour.RED] * N,
    "exception": lambda: [ValueError("x" * N).args],
    "range and a lot": lambda: (range(10**9), b"x" * N),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_value_comes_back(kind: str):
    expected = PLAIN[kind]()
    for value in moved_and_read(PLAIN[kind]):
        assert type(value) is type(expected)
        assert value == expected
        if kind in ("dict", "counter", "ordered"):
            assert list(value) == list(expected)


def test_shared_parts_of_one_value_stay_shared():
    def make() -> list[Any]:
        part = rng().random(N)
        return [part, part, {"again": part}, part[:10]]

    for first, second, third, view in moved_and_read(make):
        assert first is second is third["again"]
        assert np.array_equal(first, rng().random(N))
        assert np.array_equal(view, first[:10])


def test_value_that_contains_itself_comes_back():
    def make() -> list[Any]:
        value: list[Any] = [b"x" * N]
        value.append(value)
        return value

    for value in moved_and_read(make):
        assert value[1] is value
        assert value[0] == b"x" * N


def test_deeply_nested_value_comes_back():
    """Deeper than pickle follows it: then it stays."""

    def make() -> list[Any]:
        value: list[Any] = []
        for _ in range(50_000):
            value = [value]
        return value

    with small() as session:
        obj = mr.spawn(make).execute()
        move_out(session)
        value, depth = obj.fetch(), 0
        while value:
            value, depth = value[0], depth + 1
        assert depth == 50_000
        del value


# -- What only cloudpickle knows -------------------------------------------------------------------------------------

pytest.importorskip("cloudpickle")


def test_lambda_comes_back():
    def make() -> Callable[[int], int]:
        data = b"x" * N
        return lambda x: x + len(data)

    for value in moved_and_read(lambda: (make(), b"x" * N)):
        assert value[0](1) == N + 1


def test_object_of_a_local_class_comes_back_as_one_of_that_class():
    class Local:
        def __init__(self) -> None:
            self.data = rng().random(N)

    for value in moved_and_read(Local):
        assert type(value) is Local
        assert np.array_equal(value.data, rng().random(N))


# -- Several results -------------------------------------------------------------------------------------------------


def test_views_of_one_array_come_back_each():
    def halves() -> Any:
        values = rng().random(N)
        return values[: N // 2], values[N // 2 :]

    with small() as session:
        first, second = mr.spawn(halves, n_output=2)
        mr.spawn(lambda a, b: None, args=(first, second)).execute()
        move_out(session)
        assert session.memory.on_disk > N * 8
        assert np.array_equal(np.concatenate([first.fetch(), second.fetch()]), rng().random(N))


def test_same_object_returned_by_two_tasks_is_counted_once_and_comes_back_twice():
    values = rng().random(N)
    with small() as session:
        one, two = mr.spawn(lambda: values), mr.spawn(lambda: values)
        one.execute()
        two.execute()
        assert values.nbytes <= session.memory.in_memory < 1.5 * values.nbytes
        move_out(session)
        assert session.memory.on_disk > 2 * values.nbytes
        assert np.array_equal(one.fetch(), values)
        assert np.array_equal(two.fetch(), values)


def test_result_that_contains_another_is_counted_without_it():
    with small() as session:
        part = mr.spawn(lambda: rng().random(N)).execute()
        before = session.memory.in_memory
        whole = mr.spawn(lambda part: {"part": part, "more": [1, 2]}, args=(part,)).execute()
        assert session.memory.in_memory - before < 2000
        move_out(session)
        assert np.array_equal(whole.fetch()["part"], part.fetch())
        assert whole.fetch()["more"] == [1, 2]


def test_small_results_stay():
    """A file each would cost more than it frees."""
    with small() as session:
        results = [mr.spawn(bytes, args=(100,)).execute() for _ in range(50)]
        move_out(session)
        assert len(files(session.memory)) <= 1  # what has moved them out
        assert session.memory.in_memory >= 50 * 100
        assert [obj.fetch() for obj in results] == [bytes(100)] * 50
