"""persist in the background returns at once; persist on the engine returns when all is there."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask
import dask.bag as db
import pytest
from dask.delayed import Delayed
from support import SOON, add, eventually, inc

import mars
import mars.remote as mr
from mars.contrib.dask import convert_dask_collection, mars_background, mars_scheduler

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture(params=["mars", "threads", "sync", "mars-background"])
def scheduler(request: pytest.FixtureRequest) -> Iterator[str]:
    """Who uses what was persisted."""
    with ThreadPoolExecutor(2) as pool, dask.config.set({"pool": pool} if request.param == "threads" else {}):
        yield request.param


@pytest.fixture(params=[mars_background, "mars-background"], ids=["function", "name"])
def background(request: pytest.FixtureRequest) -> Any:
    return request.param


class Gate:
    """A task that counts its calls, and waits until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.begun = threading.Event()
        self.calls: list[Any] = []

    def __call__(self, name: Any, *_: Any) -> Any:
        self.calls.append(name)
        self.begun.set()
        assert self.opened.wait(SOON)
        return name

    # Dask asks for it wherever it makes a name from a function.
    def __dask_tokenize__(self) -> int:
        return id(self)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def open_gate(gate: Gate) -> Gate:
    gate.opened.set()
    return gate


class Broken(Exception):
    pass


def bag(function: Callable, count: int = 4) -> Any:
    return db.range(count, npartitions=count).map(function)


# -- In the background -----------------------------------------------------------------------------------------------


def test_it_returns_before_the_work_is_done_and_the_work_goes_on(gate: Gate, background: Any):
    persisted = dask.delayed(gate)("value").persist(scheduler=background)
    assert gate.begun.wait(SOON)  # nobody has asked for it
    assert not gate.opened.is_set()
    gate.opened.set()
    assert persisted.compute(scheduler="mars") == "value"
    assert gate.calls == ["value"]


def test_setting_is_enough(gate: Gate):
    with dask.config.set(scheduler="mars-background"):
        persisted = bag(gate).persist()
        assert gate.begun.wait(SOON)
        gate.opened.set()
        assert persisted.compute() == [0, 1, 2, 3]
    assert sorted(gate.calls) == [0, 1, 2, 3]


def test_result_is_right_with_any_scheduler_and_nothing_is_computed_twice(open_gate: Gate, scheduler: str):
    persisted = bag(open_gate, 6).persist(scheduler=mars_background)
    assert persisted.compute(scheduler=scheduler) == list(range(6))
    assert persisted.map(inc).sum().compute(scheduler=scheduler) == 21
    assert sorted(open_gate.calls) == list(range(6))


def test_part_that_is_under_way_is_waited_for(gate: Gate, scheduler: str):
    """Who needs it begins while it runs, and is given its value."""
    persisted = dask.delayed(gate)("value").persist(scheduler=mars_background)
    assert gate.begun.wait(SOON)
    here = contextvars.copy_context()  # with the session
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(here.run, lambda: (persisted + "!").compute(scheduler=scheduler))
        twice = eventually(lambda: len(gate.calls) > 1, within=0.2)
        gate.opened.set()
        assert waiting.result(SOON) == "value!"
    assert not twice
    assert gate.calls == ["value"]


def test_worker_does_not_wait_for_a_part_that_is_under_way(gate: Gate):
    """
    x <- both -> open      x is under way, and open, on the only worker, lets it end
    """
    persisted = dask.delayed(gate)("x").persist(scheduler=mars_background)
    assert gate.begun.wait(SOON)
    opens = dask.delayed(gate.opened.set)()
    both = dask.delayed(lambda x, _: x)(persisted, opens)
    assert both.compute(scheduler=mars_scheduler, num_workers=1) == "x"
    assert gate.calls == ["x"]


def test_part_that_has_not_begun_is_computed_once(gate: Gate):
    """One worker is held by the first part; what the others become nobody computes twice."""
    with mars.new_session(n_workers=1, default=False):
        persisted = bag(gate, 5).persist(scheduler=mars_background)
        assert gate.begun.wait(SOON)
        assert len(gate.calls) == 1
        gate.opened.set()
        assert persisted.compute(scheduler="mars", num_workers=4) == list(range(5))
    assert sorted(gate.calls) == list(range(5))


def test_persist_of_several_collections_shares_tasks(open_gate: Gate):
    shared = dask.delayed(open_gate)("shared")
    persisted = dask.persist(shared + "a", shared + "b", {"k": [shared + "c"]}, scheduler=mars_background)
    assert dask.compute(*persisted, scheduler="mars") == ("shareda", "sharedb", {"k": ["sharedc"]})
    assert open_gate.calls == ["shared"]


def test_persisted_collection_is_like_the_given_one(open_gate: Gate):
    lazy = bag(open_gate, 3)
    persisted = lazy.persist(scheduler=mars_background)
    assert type(persisted) is type(lazy)
    assert persisted.npartitions == 3
    assert persisted.__dask_keys__() == lazy.__dask_keys__()
    assert set(dict(persisted.dask)) == set(lazy.__dask_keys__())
    persisted.compute(scheduler="sync")


def test_arrays(scheduler: str):
    np = pytest.importorskip("numpy")
    da = pytest.importorskip("dask.array")
    data = np.arange(24).reshape(4, 6)
    persisted = (da.from_array(data, chunks=(2, 3)) + 1).persist(scheduler=mars_background)
    np.testing.assert_array_equal(persisted.compute(scheduler=scheduler), data + 1)
    assert persisted.T[:2].sum().compute(scheduler=scheduler) == (data + 1).T[:2].sum()


def test_unknown_chunks():
    np = pytest.importorskip("numpy")
    da = pytest.importorskip("dask.array")
    x = da.from_array(np.arange(7), chunks=3)
    persisted = x[x % 2 == 0].persist(scheduler=mars_background)
    np.testing.assert_array_equal(persisted.compute(scheduler="mars"), [0, 2, 4, 6])


def test_frames(scheduler: str):
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    data = pd.DataFrame({"a": range(10), "b": list("xy") * 5})
    lazy = dd.from_pandas(data, npartitions=3).assign(c=lambda part: part.a + 1)
    persisted = lazy.persist(scheduler=mars_background)
    assert persisted.divisions == lazy.divisions
    pd.testing.assert_frame_equal(persisted.compute(scheduler=scheduler), dd_expected(data), check_dtype=False)
    assert persisted.groupby("b").c.sum().compute(scheduler=scheduler).to_dict() == {"x": 25, "y": 30}


def dd_expected(data: Any) -> Any:
    expected = data.copy()
    expected["c"] = expected.a + 1
    expected["b"] = expected.b.astype("string[pyarrow]")
    return expected


def test_datasets(scheduler: str):
    np = pytest.importorskip("numpy")
    xr = pytest.importorskip("xarray")
    pytest.importorskip("dask.array")
    data = xr.Dataset({"t": (("x", "y"), np.ones((4, 5))), "u": ("x", np.arange(4))}, {"x": list("abcd")})
    persisted = data.chunk({"x": 2}).persist(scheduler=mars_background)
    with dask.config.set(scheduler=scheduler):
        xr.testing.assert_identical(persisted.compute(), data)


def test_persist_of_what_was_persisted(open_gate: Gate, background: Any):
    persisted = bag(open_gate).persist(scheduler=background).persist(scheduler=background)
    assert persisted.map(inc).persist(scheduler=background).compute(scheduler="mars") == [1, 2, 3, 4]
    assert sorted(open_gate.calls) == [0, 1, 2, 3]


def test_persisted_collections_are_arguments_of_functions(open_gate: Gate):
    persisted = bag(open_gate).persist(scheduler=mars_background)
    converted = convert_dask_collection(persisted)
    assert mr.spawn(lambda *values: values, args=(converted, [persisted])).execute().fetch() == (
        [0, 1, 2, 3],
        [[0, 1, 2, 3]],
    )
    assert sorted(open_gate.calls) == [0, 1, 2, 3]


def test_objects_in_a_collection_are_executed(open_gate: Gate):
    obj = mr.spawn(open_gate, args=(5,))
    persisted = dask.delayed(inc)(obj).persist(scheduler=mars_background)
    assert persisted.compute(scheduler="mars") == 6
    assert obj.fetch() == 5
    assert open_gate.calls == [5]


def test_without_optimisation(open_gate: Gate):
    persisted = bag(open_gate).persist(scheduler=mars_background, optimize_graph=False)
    assert persisted.compute(scheduler="mars") == [0, 1, 2, 3]
    assert sorted(open_gate.calls) == [0, 1, 2, 3]


def test_work_goes_on_in_the_default_session_and_stops_with_it(gate: Gate):
    session = mars.new_session(n_workers=1, default=False)
    with session:
        persisted = bag(gate).persist(scheduler=mars_background)
        assert gate.begun.wait(SOON)
    assert session.stopped
    gate.opened.set()
    assert len(gate.calls) == 1
    assert persisted.compute(scheduler="mars") == [0, 1, 2, 3]


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Reference counting alone has to free."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
def test_results_go_with_the_persisted_collection():
    watched: list[weakref.ref] = []

    class Value:
        pass

    def make() -> Value:
        value = Value()
        watched.append(weakref.ref(value))
        return value

    persisted = dask.delayed(make)().persist(scheduler=mars_background)
    assert persisted.compute(scheduler="mars") is watched[0]()
    assert persisted.compute(scheduler="mars") is watched[0]()
    del persisted
    assert eventually(lambda: watched[0]() is None)  # the thread that made it lets go of it too


def test_nothing_is_to_be_done_for_what_is_no_collection():
    assert dask.persist(7, [8], scheduler=mars_background) == (7, [8])


# -- Errors ----------------------------------------------------------------------------------------------------------


def fail(*_: object) -> None:
    raise Broken("on purpose")


def test_persist_raises_nothing_and_who_needs_the_part_does(scheduler: str):
    persisted = dask.delayed(fail)().persist(scheduler=mars_background)
    for _ in range(2):
        with pytest.raises(Broken, match="on purpose"):
            dask.delayed(add)(persisted, 1).compute(scheduler=scheduler)


def test_part_that_did_not_fail_can_be_used(scheduler: str):
    good, bad = dask.persist(dask.delayed(inc)(1), dask.delayed(fail)(), scheduler=mars_background)
    assert good.compute(scheduler=scheduler) == 2
    with pytest.raises(Broken):
        bad.compute(scheduler=scheduler)


def test_part_that_failed_is_tried_again_by_who_needs_it_next(scheduler: str):
    tries: list[int] = []

    def fail_at_first() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise Broken
        return "repaired"

    persisted = dask.delayed(fail_at_first)().persist(scheduler=mars_background)
    with contextlib.suppress(Broken):  # unless it had failed before this began
        persisted.compute(scheduler=scheduler)
    assert persisted.compute(scheduler=scheduler) == "repaired"
    assert len(tries) == 2


def test_graph_that_makes_no_sense_is_refused_at_once():
    broken = Delayed("x", {"x": (inc, "y"), "y": (inc, "x")})
    with pytest.raises(RuntimeError, match=r"[Cc]ycle"):
        broken.persist(scheduler=mars_background)


def test_unknown_options_are_refused_by_their_names(open_gate: Gate):
    with pytest.raises(TypeError, match="num_workers"):
        bag(open_gate).persist(scheduler=mars_background, num_workers=2)
    with pytest.raises(TypeError, match="surprise"):
        dask.persist(bag(open_gate), scheduler=mars_background, surprise=1)
    assert open_gate.calls == []


# -- Everything else as on the engine --------------------------------------------------------------------------------


def test_compute_waits_for_the_value(open_gate: Gate, background: Any):
    assert bag(open_gate).compute(scheduler=background) == [0, 1, 2, 3]
    assert dask.compute(dask.delayed(inc)(1), [2], scheduler=background, num_workers=1) == (2, [2])


def test_it_is_a_scheduler_for_raw_graphs():
    assert mars_background({"x": 1, "y": (inc, "x")}, ["y", ["x"]], num_workers=1) == (2, (1,))


def test_errors_of_compute_are_raised_as_by_the_engine(background: Any):
    with pytest.raises(Broken):
        dask.delayed(fail)().compute(scheduler=background)


# -- persist on the engine itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [mars_scheduler, "mars"], ids=["function", "name"])
def test_persist_on_the_engine_returns_when_all_is_there(engine: Any):
    assert not hasattr(mars_scheduler, "persist")
    done: list[int] = []
    persisted = bag(lambda x: done.append(x) or x).persist(scheduler=engine)
    assert sorted(done) == [0, 1, 2, 3]
    assert persisted.compute(scheduler="sync") == [0, 1, 2, 3]
    assert len(done) == 4


def test_persist_on_the_engine_raises_at_once():
    with pytest.raises(Broken):
        dask.delayed(fail)().persist(scheduler=mars_scheduler)


def test_what_the_engine_persisted_is_shared_by_mars_and_dask(open_gate: Gate, scheduler: str):
    persisted = bag(open_gate).persist(scheduler=mars_scheduler)
    assert mr.spawn(sum, args=(convert_dask_collection(persisted),)).execute().fetch() == 6
    assert mr.spawn(sum, args=(persisted.map(inc),)).execute().fetch() == 10
    assert persisted.sum().compute(scheduler=scheduler) == 6
    assert sorted(open_gate.calls) == [0, 1, 2, 3]


def test_what_was_persisted_is_the_very_value_for_both():
    persisted = dask.delayed(object)().persist(scheduler=mars_scheduler)
    ours = convert_dask_collection(persisted).execute().fetch()
    assert ours is persisted.compute(scheduler="sync")
    assert ours is persisted.compute(scheduler=mars_scheduler)
