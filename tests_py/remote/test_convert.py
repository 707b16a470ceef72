"""convert_dask_collection: the value that compute gives, from a graph that joins those of the functions."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from operator import add, mul
from typing import Any, ClassVar

import dask
import pytest
from dask._task_spec import Task
from dask.base import DaskMethodsMixin
from dask.core import flatten
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from support import SOON, eventually, inc

import mars
import mars.remote as mr
from mars import _mars
from mars.contrib.dask import _callbacks, convert_dask_collection, scheduler

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
da = pytest.importorskip("dask.array")
db = pytest.importorskip("dask.bag")
dd = pytest.importorskip("dask.dataframe")

pytestmark = [
    pytest.mark.usefixtures("session"),
    # What Dask says to every collection that leaves it out, whoever computes it.
    pytest.mark.filterwarnings("ignore:Collection .* does not define a `__dask_optimize__`:PendingDeprecationWarning"),
]


# -- What is converted -----------------------------------------------------------------------------------------------


class Bare:
    """The least that makes a Dask collection: no mixin, no optimizer."""

    def __init__(self, graph: dict, keys: list) -> None:
        self._graph, self._keys = graph, keys

    def __dask_graph__(self) -> Any:
        return self._graph

    def __dask_keys__(self) -> list:
        return self._keys

    def __dask_postcompute__(self) -> tuple:
        return bound, (type(self).__name__,)

    def __dask_postpersist__(self) -> tuple:
        return lambda graph: type(self)(graph, self._keys), ()

    __dask_scheduler__ = staticmethod(dask.get)


def bound(parts: Any, name: str) -> tuple:
    """What `Bare` computes to: its parts, as Dask hands them over."""
    return name, parts


class Doubling(Bare):
    """Its optimizer changes the values, so that it shows whether it was called."""

    @staticmethod
    def __dask_optimize__(dsk: Any, keys: Any, **kwargs: Any) -> dict:
        wanted = set(flatten(keys))
        return {key: Task(key, mul, 2, task) if key in wanted else task for key, task in dict(dsk).items()}


class NotOptimized(Bare):
    """Says that there is nothing to optimise."""

    __dask_optimize__ = None


class Layered(Bare):
    """Gives its graph in layers."""

    def __dask_graph__(self) -> HighLevelGraph:
        return HighLevelGraph.from_collections("layered", self._graph)

    def __dask_layers__(self) -> tuple:
        return ("layered",)


class Mixed(DaskMethodsMixin, Bare):
    """Has the methods of collections too."""


def two_parts(kind: type) -> Any:
    graph = {(kind.__name__, i): Task((kind.__name__, i), add, i, 10) for i in range(2)}
    return kind(graph, [list(graph)])


def legacy(kind: type) -> Any:
    """Tasks are tuples, values and names of other keys; one task is needed by nobody."""
    graph = {"one": 1, "two": (inc, "one"), "three": (add, "one", "two"), "alias": "three", "never": (divmod, 1, 0)}
    return kind(graph, ["two", ["alias", "one"]])


def numbers(*shape: int) -> Any:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape)


def array(*shape: int) -> Any:
    return da.from_array(numbers(*shape), chunks=2)


def unknown_chunks() -> Any:
    x = array(7, 3)
    return x[x[:, 0] % 2 == 0]


def structured() -> Any:
    return array(5).astype([("a", "f4"), ("b", "U3")])


def frame() -> Any:
    return pd.DataFrame(
        {
            "x": np.arange(10, dtype="i2"),
            "y": list("abcabcabca"),
            "z": pd.Categorical(list("uvuvuvuvuv"), categories=list("vuw")),
            "when": pd.date_range("2020-01-01", periods=10, tz="Europe/Paris"),
        },
        index=pd.Index(range(0, 20, 2), name="row"),
    )


def lazy_frame() -> Any:
    return dd.from_pandas(frame(), npartitions=3)


def dataset() -> Any:
    xr = pytest.importorskip("xarray")
    return xr.Dataset(
        {"t": (("x", "y"), numbers(4, 5) / 2), "n": ("x", np.arange(4), {"unit": "m"})},
        {"x": list("abcd"), "y": pd.date_range("2020-01-01", periods=5)},
        {"title": "numbers"},
    ).chunk({"x": 2, "y": 3})


Pair = namedtuple("Pair", "left right")

COLLECTIONS: dict[str, Callable[[], Any]] = {
    "delayed call": lambda: dask.delayed(inc)(dask.delayed(inc)(1)),
    "delayed None": lambda: dask.delayed(lambda: None)(),
    "delayed value": lambda: dask.delayed({"a": [1, (2, {3})]}),
    "delayed attribute": lambda: dask.delayed(3 + 4j).imag,
    "delayed method": lambda: dask.delayed("a-b").split("-"),
    "delayed structure": lambda: dask.delayed({"k": [dask.delayed(inc)(1), Pair(dask.delayed(inc)(2), {3})]}),
    "delayed output": lambda: dask.delayed(divmod, nout=2)(17, 5)[1],
    "delayed frame": lambda: dask.delayed(frame)(),
    "delayed of a collection": lambda: dask.delayed(list)(array(5)),
    "array, 0-d": lambda: array(5).sum(),
    "array, 0-d, of a value": lambda: da.from_array(np.array(7), chunks=()),
    "array, 1-d": lambda: array(5) + 1,
    "array, 2-d": lambda: array(5, 3).T,
    "array, 3-d": lambda: array(4, 3, 5)[::-1, [2, 0], 1:],
    "array, 4-d": lambda: array(3, 2, 4, 3).sum(axis=2, keepdims=True),
    "array, empty": lambda: da.ones((0, 3), chunks=2),
    "array, one chunk": lambda: da.ones((3, 2), chunks=-1),
    "array, uneven chunks": lambda: da.from_array(numbers(7, 4), chunks=((1, 4, 2), (3, 1))) * 2,
    "array, unknown chunks": unknown_chunks,
    "array, half precision": lambda: array(5).astype("f2"),
    "array, dates": lambda: array(5).astype("M8[D]"),
    "array, text": lambda: da.from_array(np.array(["a", "bcd", "ef"]), chunks=2),
    "array, objects": lambda: da.from_array(np.array([1, "a", None], dtype=object), chunks=2),
    "array, masked": lambda: da.ma.masked_array(array(6), mask=array(6) % 3 == 0, fill_value=-9),
    "array, structured": structured,
    "array, legacy": lambda: da.Array({("legacy", i): (np.full, 2, i) for i in range(3)}, "legacy", ((2,) * 3,), "i8"),
    "frame": lazy_frame,
    "frame, filtered": lambda: lazy_frame().query("x > 2"),
    "frame, one partition": lambda: lazy_frame().repartition(npartitions=1),
    "frame, empty": lambda: lazy_frame().query("x > 99"),
    "frame, groups": lambda: lazy_frame().groupby("y").x.agg(["sum", "max"]),
    "frame, shuffled": lambda: lazy_frame().set_index("x", divisions=[0, 4, 8, 9], shuffle_method="tasks"),
    "frame, merged": lambda: lazy_frame().merge(lazy_frame()[["x", "y"]], on="x", shuffle_method="tasks"),
    "series": lambda: lazy_frame().x,
    "series, categories": lambda: lazy_frame().z,
    "series, text": lambda: lazy_frame().y.str.upper(),
    "index": lambda: lazy_frame().index,
    "scalar": lambda: lazy_frame().x.sum(),
    "scalar, mean": lambda: lazy_frame().x.mean(),
    "frame from delayed": lambda: dd.from_delayed([dask.delayed(frame)()] * 2, meta=frame()),
    "frame from an array": lambda: dd.from_dask_array(array(6, 2), columns=["a", "b"]),
    "array from a frame": lambda: lazy_frame()[["x"]].values,
    "bag": lambda: db.range(7, npartitions=3).map(inc),
    "bag, filtered to nothing": lambda: db.range(7, npartitions=3).filter(lambda _: False),
    "bag of dicts": lambda: db.from_sequence([{"a": i} for i in range(5)], npartitions=2).pluck("a"),
    "item": lambda: db.range(7, npartitions=3).sum(),
    "item, frequencies": lambda: db.from_sequence("abcab", npartitions=2).frequencies(),
    "dataset": lambda: dataset() + 1,
    "data array": lambda: dataset().t.mean("x"),
    "data array, of one number": lambda: dataset().t.sum(),
    "protocol": lambda: two_parts(Bare),
    "protocol, optimizer": lambda: two_parts(Doubling),
    "protocol, no optimizer": lambda: two_parts(NotOptimized),
    "protocol, layers": lambda: two_parts(Layered),
    "protocol, mixin": lambda: two_parts(Mixed),
    "protocol, legacy graph": lambda: legacy(Bare),
    "protocol, legacy graph, mixin": lambda: legacy(Mixed),
    "delayed, legacy graph": lambda: Delayed("three", {"one": 1, "three": (add, "one", (inc, "one"))}),
}


def assert_identical(ours: Any, stock: Any) -> None:
    """The same value in every respect that a user can see."""
    assert type(ours) is type(stock)
    if isinstance(stock, (tuple, list)):
        assert len(ours) == len(stock)
        for mine, theirs in zip(ours, stock, strict=True):
            assert_identical(mine, theirs)
    elif isinstance(stock, dict):
        assert list(ours) == list(stock)
        assert_identical(list(ours.values()), list(stock.values()))
    elif isinstance(stock, np.ndarray):
        assert (ours.dtype, ours.shape, ours.flags.f_contiguous) == (stock.dtype, stock.shape, stock.flags.f_contiguous)
        np.testing.assert_array_equal(np.ma.getdata(ours), np.ma.getdata(stock))
        np.testing.assert_array_equal(np.ma.getmaskarray(ours), np.ma.getmaskarray(stock))
        assert getattr(ours, "fill_value", None) == getattr(stock, "fill_value", None)
    elif isinstance(stock, pd.DataFrame):
        pd.testing.assert_frame_equal(ours, stock, check_exact=True, check_index_type="exact", check_freq=True)
    elif isinstance(stock, pd.Series):
        pd.testing.assert_series_equal(ours, stock, check_exact=True, check_index_type="exact")
    elif isinstance(stock, pd.Index):
        pd.testing.assert_index_equal(ours, stock, exact=True)
    elif hasattr(stock, "identical"):
        assert ours.identical(stock)
        assert ours.chunks == stock.chunks
    else:
        assert ours == stock
        assert getattr(ours, "dtype", None) == getattr(stock, "dtype", None)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_value_is_exactly_what_compute_gives(name: str):
    collection = COLLECTIONS[name]()
    (expected,) = dask.compute(collection, scheduler="sync")
    assert_identical(convert_dask_collection(collection).execute().fetch(), expected)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_function_is_given_exactly_what_compute_gives(name: str):
    collection = COLLECTIONS[name]()
    (expected,) = dask.compute(collection, scheduler="sync")
    given = mr.spawn(lambda *values, **named: [values, named], args=(collection, [collection]), kwargs={"k": 1})
    assert_identical(given.execute().fetch(), [(expected, [expected]), {"k": 1}])


# What Dask says to `dask.compute` of both kinds, which is not what was called here.
MIXED = "ignore:Computing mixed collections:UserWarning"


@pytest.mark.filterwarnings(MIXED)
def test_collections_of_all_kinds_are_executed_together():
    collections = [make() for make in COLLECTIONS.values()]
    expected = [dask.compute(collection, scheduler="sync")[0] for collection in collections]
    objects = mr.ExecutableTuple(map(convert_dask_collection, collections))
    assert_identical(objects.execute().fetch(), expected)


KINDS: dict[str, Callable[[], Any]] = {
    "delayed": lambda: dask.delayed(inc)(1),
    "array": lambda: array(5).sum(),
    "bag": lambda: db.range(3, npartitions=2),
    "frame": lambda: lazy_frame().x.sum(),
    "protocol": lambda: two_parts(NotOptimized),
}


@pytest.mark.filterwarnings(MIXED)
@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_argument_is_given_its_own_value(kind: str, other: str):
    """
    f(a, b, a')    with a and a' of one kind
    """
    collections = [KINDS[kind](), KINDS[other](), dask.delayed(inc)(9), KINDS[kind]()]
    expected = [dask.compute(collection, scheduler="sync")[0] for collection in collections]
    assert_identical(mr.spawn(lambda *values: list(values), args=tuple(collections)).execute().fetch(), expected)


def test_function_of_a_frame_and_an_array_gives_no_advice_on_calling_compute():
    """Its caller has not called ``dask.compute`` and cannot separate the calls."""
    parts = (lazy_frame().x.sum(), array(6).sum(), dask.delayed(inc)(1))
    spawned = mr.spawn(lambda *values: int(sum(values)), args=parts)
    assert spawned.execute().fetch() == 45 + 15 + 2


def test_persisted_collections_keep_their_values():
    made: list[int] = []
    x = da.map_blocks(lambda: made.append(1) or np.ones(2), chunks=((2,) * 3,), dtype=float, meta=np.ones(0))
    (persisted,) = dask.persist(x, scheduler="sync")
    assert_identical(convert_dask_collection(persisted).execute().fetch(), np.ones(6))
    assert len(made) == 3


# -- What is not converted -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (3, "int"),
        (None, "NoneType"),
        ([1, 2], "list"),
        ("text", "str"),
        (np.ones(2), "ndarray"),
        (pd.DataFrame({"a": [1]}), "DataFrame"),
        (da.Array, "type"),
        (inc, "function"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_what_is_no_collection_is_refused_by_its_type(value: Any, name: str):
    with pytest.raises(TypeError, match=rf"(?s)not a Dask collection.*of type {name}$"):
        convert_dask_collection(value)


def test_list_of_collections_is_no_collection():
    with pytest.raises(TypeError, match="of type list"):
        convert_dask_collection([dask.delayed(inc)(1)])


def test_collection_without_a_graph_is_none():
    with pytest.raises(TypeError, match="of type Bare"):
        convert_dask_collection(Bare(None, []))  # type: ignore[arg-type]


def test_dataset_in_memory_is_no_collection():
    with pytest.raises(TypeError, match="of type Dataset"):
        convert_dask_collection(dataset().compute(scheduler="sync"))


def test_text_of_the_refusal_is_short():
    with pytest.raises(TypeError) as caught:
        convert_dask_collection("long " * 10_000)
    assert len(str(caught.value)) < 400


def test_object_is_returned_as_it_is():
    converted = convert_dask_collection(dask.delayed(inc)(1))
    assert convert_dask_collection(converted) is converted


def test_object_names_itself():
    converted = convert_dask_collection(dask.delayed(inc)(1))
    assert repr(converted) == f"Object <op=DaskCollection, key={converted.key}>"


# -- Lazy ------------------------------------------------------------------------------------------------------------


class Runs:
    """Counts calls by name."""

    def __init__(self) -> None:
        self.names: list[Any] = []

    def __call__(self, name: Any, value: Any = None, *_: Any) -> Any:
        self.names.append(name)
        return name if value is None else value

    # Dask asks for it wherever it makes a name from a function.
    def __dask_tokenize__(self) -> int:
        return id(self)


@pytest.fixture
def runs() -> Runs:
    return Runs()


def counted_array(runs: Runs, chunks: int = 4) -> Any:
    return da.map_blocks(
        lambda block_info: runs(block_info[None]["chunk-location"][0], np.ones(2)),
        chunks=((2,) * chunks,),
        dtype=float,
        meta=np.ones(0),
    )


def test_nothing_runs_before_the_object_is_executed(runs: Runs):
    x = counted_array(runs)
    lazy = [convert_dask_collection(x), convert_dask_collection(dask.delayed(runs)("call"))]
    used = mr.spawn(runs, args=("spawned", [*lazy, x, {"k": x.sum()}]))
    assert runs.names == []
    used.execute()
    assert sorted(map(str, runs.names)) == ["0", "1", "2", "3", "call", "spawned"]


def test_executing_again_runs_nothing(runs: Runs):
    converted = convert_dask_collection(counted_array(runs)).execute()
    mr.spawn(runs, args=("spawned", converted)).execute()
    converted.execute()
    assert sorted(map(str, runs.names)) == ["0", "1", "2", "3", "spawned"]


def test_graph_is_not_made_before_the_object_is_executed():
    made: list[str] = []

    class Lazy(Bare):
        def __dask_graph__(self) -> Any:
            made.append("graph")
            return super().__dask_graph__()

        @staticmethod
        def __dask_optimize__(dsk: Any, keys: Any, **kwargs: Any) -> Any:
            made.append("optimized")
            return dsk

    spawned = mr.spawn(list, args=(convert_dask_collection(two_parts(Lazy)),))
    assert "optimized" not in made
    spawned.execute()
    assert made.count("optimized") == 1


# -- Optimised as compute would --------------------------------------------------------------------------------------


class Source:
    """Numbers that notice how many of them are read; Dask copies it, so the class does."""

    shape, dtype, ndim = (8, 8), np.dtype("f8"), 2
    read: ClassVar[list[Any]] = []

    def __getitem__(self, index: Any) -> Any:
        result = np.ones(self.shape)[index]
        Source.read.append(result.shape)
        return result


def test_slices_are_pushed_into_the_source():
    x = da.from_array(Source(), chunks=(8, 8))[:2, :3].sum()
    Source.read.clear()
    assert convert_dask_collection(x).execute().fetch() == 6
    assert Source.read == [(2, 3)]


def test_columns_are_pushed_into_the_source(runs: Runs):
    def read(part: int, columns: Any = None) -> Any:
        runs(columns)
        data = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
        return data if columns is None else data[columns]

    lazy = dd.from_map(read, [0, 1], meta=pd.DataFrame({"a": [1], "b": [1]}))
    assert convert_dask_collection(lazy["a"].sum()).execute().fetch() == 6
    assert runs.names == [["a"], ["a"]]


def test_what_nobody_needs_is_left_out(runs: Runs):
    x = counted_array(runs)
    assert convert_dask_collection(x[:3].sum()).execute().fetch() == 3
    assert sorted(runs.names) == [0, 1]


def test_optimizer_is_called_once_for_a_collection_that_is_used_often():
    asked: list[Any] = []

    class Asking(Bare):
        @staticmethod
        def __dask_optimize__(dsk: Any, keys: Any, **kwargs: Any) -> Any:
            asked.append(sorted(key for key in dsk if isinstance(key, tuple)))
            return dsk

    converted = convert_dask_collection(two_parts(Asking))
    assert mr.spawn(len, args=([converted, converted, dask.delayed(inc)(1)],)).execute().fetch() == 3
    assert asked == [[("Asking", 0), ("Asking", 1)]]


# -- One graph -------------------------------------------------------------------------------------------------------


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each call of the engine."""
    called: list[str] = []

    def counting(name: str, function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            called.append(name)
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(_mars, "execute_objects", counting("objects", _mars.execute_objects))
    monkeypatch.setattr(scheduler, "execute", counting("graph", scheduler.execute))
    monkeypatch.setattr(_callbacks, "execute", counting("graph", _callbacks.execute))
    monkeypatch.setattr(dask, "compute", counting("compute", dask.compute))
    monkeypatch.setattr(dask.threaded, "get", counting("threads", dask.threaded.get))
    monkeypatch.setattr(dask.local, "get_async", counting("local", dask.local.get_async))
    return called


def of_everything() -> mr.Object:
    """A function of functions of collections of several kinds."""
    first = mr.spawn(lambda value: value, args=(array(6).sum(),))
    parts = [db.range(7, npartitions=3).sum(), {"k": (first, dask.delayed(inc)(1))}]
    return mr.spawn(
        lambda a, b, more: int(a + sum(b["k"]) + more), args=(*parts, convert_dask_collection(array(3).max()))
    )


EVERYTHING = 21 + 15 + 2 + 2


def test_collections_and_functions_are_one_run(contexts: list[str]):
    assert of_everything().execute().fetch() == EVERYTHING
    assert contexts == ["objects"]


def test_collections_and_functions_are_one_run_in_the_background(contexts: list[str]):
    info = of_everything().execute(wait=False)
    assert info.result().fetch() == EVERYTHING
    assert contexts == ["objects"]


def test_objects_in_a_dask_graph_are_part_of_its_run(contexts: list[str]):
    assert scheduler.mars_scheduler({"x": (inc, mr.spawn(inc, args=(mr.spawn(inc, args=(1,)),)))}, "x") == 4
    assert contexts == ["graph"]


def test_collections_of_objects_in_a_dask_graph_are_part_of_its_run(contexts: list[str]):
    obj = mr.spawn(inc, args=(dask.delayed(inc)(1),))
    assert scheduler.mars_scheduler({"x": (inc, obj)}, "x") == 4
    assert contexts == ["graph"]


def test_collections_of_objects_of_collections_are_one_run(contexts: list[str]):
    obj = mr.spawn(inc, args=(dask.delayed(inc)(1),))
    assert mr.spawn(inc, args=(dask.delayed(inc)(obj),)).execute().fetch() == 5
    assert contexts == ["objects"]


@pytest.mark.parametrize("chunks", [1, 5, 40])
def test_tasks_of_chunks_are_counted_among_those_of_the_execution(runs: Runs, chunks: int):
    """No single task computes the collection: its tasks are there themselves."""
    x = counted_array(runs, chunks)
    info = mr.spawn(len, args=(convert_dask_collection(x),)).execute(wait=False)
    assert info.result().fetch() == 2 * chunks
    finished, total = info.counts()
    assert finished == total >= chunks + 1


def test_function_of_one_collection_does_not_wait_for_another(session: mars.Session):
    """
    early = f(a)    late = g(b)      b waits until f has run
    """
    ran = threading.Event()
    early = mr.spawn(lambda a: ran.set(), args=(dask.delayed(inc)(1),))
    late = mr.spawn(lambda b: b, args=(dask.delayed(ran.wait)(SOON),))
    assert mars.execute(late, early).fetch() == [True, None]


def test_chunks_of_one_collection_run_while_a_function_does():
    """Both meet at a barrier: neither has to wait for the other to be done."""
    barrier = threading.Barrier(2)
    chunk = dask.delayed(lambda: barrier.wait(SOON))()
    spawned = mr.spawn(lambda: barrier.wait(SOON))
    assert sorted(mars.execute(convert_dask_collection(chunk), spawned).fetch()) == [0, 1]


def test_task_that_two_collections_share_runs_once(runs: Runs):
    shared = dask.delayed(runs)("shared", 5)
    first, second = (convert_dask_collection(dask.delayed(add)(shared, i)) for i in range(2))
    assert mr.spawn(add, args=(first, second)).execute().fetch() == 11
    assert runs.names == ["shared"]


def test_chunks_that_two_arrays_share_run_once(runs: Runs):
    x = counted_array(runs)
    assert mr.ExecutableTuple([x.sum(), mr.spawn(float, args=((x * 2).sum(),))]).execute().fetch() == [8, 16]
    assert sorted(runs.names) == [0, 1, 2, 3]


def test_task_that_collections_of_two_kinds_share_runs_once(runs: Runs):
    part = dask.delayed(runs)("part", 5)
    assert mr.ExecutableTuple([part + 1, Bare(dict(part.dask), [part.key])]).execute().fetch() == [6, ("Bare", [5])]
    assert runs.names == ["part"]


def test_collection_that_is_converted_twice_runs_once(runs: Runs):
    x = counted_array(runs)
    first, second = convert_dask_collection(x), convert_dask_collection(x)
    assert first is not second
    assert mr.spawn(lambda a, b, c: float((a + b + c).sum()), args=(first, second, x)).execute().fetch() == 24
    assert sorted(runs.names) == [0, 1, 2, 3]


def test_object_of_a_collection_that_several_use_runs_once(runs: Runs):
    converted = convert_dask_collection(counted_array(runs))
    users = [mr.spawn(lambda x, i: float(x.sum()) + i, args=(converted, i)) for i in range(10)]
    assert mars.execute(*users).fetch() == [8.0 + i for i in range(10)]
    assert sorted(runs.names) == [0, 1, 2, 3]


def test_all_users_are_given_the_same_value():
    converted = convert_dask_collection(array(6))
    first, second = mars.execute(*[mr.spawn(lambda x: x, args=(converted,)) for _ in range(2)]).fetch()
    assert first is second is converted.fetch()


def test_collection_that_two_executions_need_at_the_same_time_runs_once():
    """The second begins while the first is in the only task of the collection."""
    calls: list[int] = []
    begun, release = threading.Event(), threading.Event()

    def hold() -> str:
        calls.append(1)
        begun.set()
        assert release.wait(SOON)
        return "value"

    converted = convert_dask_collection(dask.delayed(hold)())
    first = converted.execute(wait=False)
    assert begun.wait(SOON)
    second = mr.spawn(str.upper, args=(converted,)).execute(wait=False)
    twice = eventually(lambda: len(calls) > 1, within=0.2)
    release.set()
    assert (first.result(SOON).fetch(), second.result(SOON).fetch()) == ("value", "VALUE")
    assert not twice
    assert calls == [1]


def test_collections_with_equal_values_keep_apart():
    """Arguments that look like keys of the other collection are no keys."""
    x = convert_dask_collection(dask.delayed(list)([1, 2], dask_key_name="x"))
    y = convert_dask_collection(dask.delayed(str)("x", dask_key_name="y"))
    assert mr.spawn(lambda *values: values, args=(x, y, "x", ["y"])).execute().fetch() == ([1, 2], "x", "x", ["y"])


def test_collection_that_was_executed_is_not_computed_again_for_a_later_one(runs: Runs):
    x = convert_dask_collection(dask.delayed(runs)("x"))
    x.execute()
    y = dask.delayed(runs)("y")
    assert mr.spawn(lambda *values: values, args=(x, y)).execute().fetch() == ("x", "y")
    assert runs.names == ["x", "y"]


def test_failed_task_leaves_what_others_have_made(runs: Runs):
    broken = [True]

    def fail_once() -> str:
        if broken:
            raise OSError(broken.pop())
        return "repaired"

    good = mr.spawn(runs, args=("good",))
    bad = mr.spawn(lambda *values: values, args=(good, dask.delayed(fail_once)()))
    good.execute()
    with pytest.raises(OSError):
        bad.execute()
    assert bad.execute().fetch() == ("good", "repaired")
    assert runs.names == ["good"]


# -- Wherever a collection may be ------------------------------------------------------------------------------------


@dataclass
class Record:
    name: str
    value: Any


NESTINGS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda x: x,
    "list": lambda x: [0, x],
    "tuple": lambda x: (x, 0),
    "dict": lambda x: {"k": x},
    "named tuple": lambda x: Pair(x, 0),
    "dataclass": lambda x: Record("n", x),
    "executable tuple": lambda x: mr.ExecutableTuple([x, 0]),
    "all of it": lambda x: [{"k": (Pair(0, [Record("n", {"k": [x]})]), x)}],
}


@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("where", ["args", "kwargs", "not a tuple"])
def test_collection_is_found_in_the_arguments(nesting: str, where: str):
    make = NESTINGS[nesting]
    lazy, value = make(dask.delayed(inc)(1)), make(2)
    if isinstance(value, mr.ExecutableTuple):
        value = list(value)
    if where == "kwargs":
        spawned = mr.spawn(lambda **named: named["x"], kwargs={"x": lazy})
    elif where == "args":
        spawned = mr.spawn(lambda x: x, args=(lazy,))
    elif nesting in ("tuple", "named tuple"):
        spawned = mr.spawn(lambda *values: type(value)(*values) if nesting == "named tuple" else values, args=lazy)
    else:
        spawned = mr.spawn(lambda x: x, args=lazy)
    assert_identical_plain(spawned.execute().fetch(), value)


def assert_identical_plain(ours: Any, expected: Any) -> None:
    assert type(ours) is type(expected)
    assert ours == expected


def test_collection_as_a_key_and_in_a_set():
    lazy = dask.delayed(inc)(1)
    assert mr.spawn(lambda x: x, args=([{lazy: "value"}, {lazy}, frozenset([lazy])],)).execute().fetch() == [
        {2: "value"},
        {2},
        frozenset([2]),
    ]


def test_collection_that_is_a_container_too_is_a_collection():
    """Dask asks first whether something is a collection; so do we."""

    @dataclass
    class Both(Bare):
        part: int

        def __dask_graph__(self) -> Any:
            return {"part": Task("part", inc, self.part)}

        def __dask_keys__(self) -> list:
            return ["part"]

    expected = ("Both", [2])
    assert dask.compute(Both(1), scheduler="sync") == (expected,)
    assert convert_dask_collection(Both(1)).execute().fetch() == expected
    assert mr.spawn(lambda x: x, args=(Both(1),)).execute().fetch() == expected


def test_mars_executes_collections_as_they_are():
    assert mars.execute(dask.delayed(inc)(1)).fetch() == 2
    assert mars.execute(dask.delayed(inc)(1), [array(3).sum(), 7]).fetch() == [2, [3, 7]]


def test_result_that_is_a_collection_stays_one():
    """Only objects are resolved: what a function returns may be a recipe for somebody else."""
    returned = mr.spawn(lambda: dask.delayed(inc)(1)).execute().fetch()
    assert dask.is_dask_collection(returned)


def test_collection_of_a_nested_function():
    def outer(n: int) -> int:
        inner = [mr.spawn(add, args=(dask.delayed(inc)(i), i)) for i in range(n)]
        return sum(mars.execute(*inner).fetch())

    assert mr.spawn(outer, args=(dask.delayed(inc)(4),)).execute().fetch() == sum(2 * i + 1 for i in range(5))


def test_error_of_a_chunk_reaches_the_caller_with_the_names_of_those_who_needed_it():
    def broken(block: Any) -> Any:
        raise ZeroDivisionError("in a chunk")

    x = array(4).map_blocks(broken, dtype=float, meta=np.ones(0))
    spawned = mr.spawn(inc, args=(x.sum(),))
    with pytest.raises(ZeroDivisionError, match="in a chunk") as caught:
        spawned.execute()
    (note,) = caught.value.__notes__
    assert spawned.key in note


def test_graph_that_cannot_be_made_raises_where_it_is_executed():
    class Broken(Bare):
        def __dask_postcompute__(self) -> Any:
            raise LookupError("no graph today")

    converted = convert_dask_collection(two_parts(Broken))
    with pytest.raises(LookupError, match="no graph today"):
        converted.execute()


# -- What is kept ----------------------------------------------------------------------------------------------------


class Chunk(np.ndarray):
    """An array that a weak reference can watch."""


class Living:
    """How many of the values that it made live at the same time."""

    def __init__(self) -> None:
        self._values: list[weakref.ref] = []
        self.most = 0

    def make(self, *_: Any) -> Any:
        value = np.ones(10).view(Chunk)
        self._values.append(weakref.ref(value))
        self.most = max(self.most, self.count())
        return value

    def count(self) -> int:
        return sum(value() is not None for value in self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __dask_tokenize__(self) -> int:
        return id(self)


def test_chunks_go_as_soon_as_they_are_reduced():
    living = Living()
    x = da.map_blocks(living.make, da.ones(320, chunks=10), dtype=float, meta=np.ones(0))
    total = mr.spawn(float, args=(x.sum(),))
    with mars.new_session(n_workers=1, default=False) as session:
        assert total.execute(session).fetch() == 320
    assert len(living) == 32
    assert living.most <= 5
    assert living.count() == 0


def test_value_of_a_collection_goes_with_the_last_object_that_needs_it():
    gc.collect()
    living = Living()
    user = mr.spawn(len, args=(convert_dask_collection(dask.delayed(living.make)()),))
    assert user.execute().fetch() == 10
    assert (len(living), living.count()) == (1, 0)


def test_value_of_a_collection_lives_with_its_object():
    living = Living()
    converted = convert_dask_collection(dask.delayed(living.make)()).execute()
    assert living.count() == 1
    del converted
    assert living.count() == 0


def test_object_that_was_never_executed_lets_its_collection_go():
    collection = two_parts(Bare)
    watched = weakref.ref(collection)
    converted = convert_dask_collection(collection)
    spawned = mr.spawn(len, args=(converted,))
    del collection, converted
    assert watched() is not None
    del spawned
    assert watched() is None
