"""An object is a Dask collection: wherever Dask takes one, its value arrives."""

from __future__ import annotations

import copy
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import add
from typing import Any

import dask
import dask.bag as db
import pytest
from dask._task_spec import Alias, DataNode, Dict, List, Task, TaskRef, Tuple
from dask.base import tokenize
from dask.callbacks import Callback
from dask.diagnostics import CacheProfiler, Profiler, ProgressBar
from support import SOON, inc

import mars
import mars.remote as mr
from mars.contrib.dask import convert_dask_collection, mars_scheduler

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture(params=[mars_scheduler, "mars", "threads", "sync"], ids=["function", "mars", "threads", "sync"])
def scheduler(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Ours, and those that know nothing of objects."""
    with ThreadPoolExecutor(2) as pool, dask.config.set({"pool": pool} if request.param == "threads" else {}):
        yield request.param


class Runs:
    """Counts calls by name."""

    def __init__(self) -> None:
        self.names: list[Any] = []

    def __call__(self, name: Any, value: Any = None) -> Any:
        self.names.append(name)
        return name if value is None else value

    # Dask asks for it wherever it makes a name from a function.
    def __dask_tokenize__(self) -> int:
        return id(self)


@pytest.fixture
def runs() -> Runs:
    return Runs()


class Value:
    """Something that a weak reference can watch."""


# -- Calls of Dask ---------------------------------------------------------------------------------------------------


def five() -> mr.Object:
    return mr.spawn(add, args=(2, 3))


def test_argument_of_delayed(scheduler: Any):
    assert dask.delayed(inc)(five()).compute(scheduler=scheduler) == 6
    assert dask.delayed(add_named)(five(), y=five()).compute(scheduler=scheduler) == 10


def test_arguments_of_delayed_in_containers(scheduler: Any):
    structure = dask.delayed(lambda x: x)([five(), (five(), {"k": {five()}})])
    assert structure.compute(scheduler=scheduler) == [5, (5, {"k": {5}})]


def test_delayed_of_an_object(scheduler: Any):
    assert dask.delayed(five()).compute(scheduler=scheduler) == 5
    assert (dask.delayed(five()) + 1).compute(scheduler=scheduler) == 6
    assert dask.delayed([five(), {"k": five()}]).compute(scheduler=scheduler) == [5, {"k": 5}]


def test_compute(scheduler: Any):
    assert dask.compute(five(), scheduler=scheduler) == (5,)


def test_compute_of_containers(scheduler: Any):
    given = ([five(), {"k": (five(), dask.delayed(inc)(five()))}], 7, five())
    assert dask.compute(*given, scheduler=scheduler) == ([5, {"k": (5, 6)}], 7, 5)


def test_compute_without_a_scheduler_runs_on_the_engine():
    """It is the default scheduler of objects, as threads are of arrays."""
    on: list[bool] = []

    def look() -> None:
        from mars._mars import in_task

        on.append(in_task())

    assert dask.compute(mr.spawn(look)) == (None,)
    assert on == [True]


def test_compute_gives_values_in_the_order_in_which_objects_and_calls_were_given(scheduler: Any):
    given = (five(), dask.delayed(inc)(1), mr.spawn(inc, args=(7,)), dask.delayed(inc)(3))
    assert dask.compute(*given, scheduler=scheduler) == (5, 2, 8, 4)


def test_compute_of_outputs(scheduler: Any):
    quotient, rest = mr.spawn(divmod, args=(17, 5), n_output=2)
    assert dask.compute(rest, [quotient], scheduler=scheduler) == (2, [3])


def test_persist_executes(scheduler: Any, runs: Runs):
    obj = mr.spawn(runs, args=("once",))
    (persisted,) = dask.persist(obj, scheduler=scheduler)
    assert persisted is obj
    assert obj.fetch() == "once"
    assert obj.execute().fetch() == "once"
    assert runs.names == ["once"]


def test_persist_with_other_collections(scheduler: Any, runs: Runs):
    obj = mr.spawn(runs, args=("once",))
    persisted, doubled = dask.persist(obj, dask.delayed(add)(obj, obj), scheduler=scheduler)
    assert (persisted.fetch(), doubled.compute(scheduler=scheduler)) == ("once", "onceonce")
    assert runs.names == ["once"]


def test_optimize(scheduler: Any):
    assert dask.compute(*dask.optimize(five(), dask.delayed(inc)(five())), scheduler=scheduler) == (5, 6)


def test_bag_from_delayed(scheduler: Any):
    parts = [mr.spawn(list, args=(range(n),)) for n in (3, 2)]
    assert db.from_delayed(parts).compute(scheduler=scheduler) == [0, 1, 2, 0, 1]
    assert db.from_delayed(parts).map(inc).sum().compute(scheduler=scheduler) == 9


def test_keyword_of_bag_map(scheduler: Any):
    assert db.range(4, npartitions=2).map(add_named, y=five()).compute(scheduler=scheduler) == [5, 6, 7, 8]


def add_named(x: Any, y: Any) -> Any:
    return x + y


@pytest.mark.parametrize("keyword", [False, True])
def test_argument_of_map_blocks(scheduler: Any, keyword: bool):
    np = pytest.importorskip("numpy")
    da = pytest.importorskip("dask.array")
    options = {"dtype": float, "meta": np.ones(0)}
    x = da.ones(4, chunks=2)
    lazy = x.map_blocks(add_named, y=five(), **options) if keyword else x.map_blocks(add_named, five(), **options)
    assert lazy.compute(scheduler=scheduler).tolist() == [6.0] * 4
    assert lazy.sum().compute(scheduler=scheduler) == 24


@pytest.mark.parametrize("wrapped", [False, True])
def test_array_from_delayed(scheduler: Any, wrapped: bool):
    np = pytest.importorskip("numpy")
    da = pytest.importorskip("dask.array")
    obj = mr.spawn(np.arange, args=(4,))
    lazy = da.from_delayed(dask.delayed(obj) if wrapped else obj, (4,), np.arange(1).dtype)
    assert (lazy + 1).compute(scheduler=scheduler).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("described", [False, True])
def test_frame_from_delayed(scheduler: Any, described: bool):
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    data = pd.DataFrame({"a": [1, 2]})
    parts = [mr.spawn(data.mul, args=(n,)) for n in (1, 10)]
    with dask.config.set(scheduler=scheduler):  # without meta the first part is computed at once
        lazy = dd.from_delayed(parts, meta=data) if described else dd.from_delayed(parts)
    assert lazy.compute(scheduler=scheduler).a.tolist() == [1, 2, 10, 20]
    assert lazy.a.sum().compute(scheduler=scheduler) == 33


def test_keyword_of_map_partitions():
    """Dask itself finds no collection there: only where the engine runs the graph does the value arrive."""
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    data = pd.DataFrame({"a": [1, 2]})
    lazy = dd.from_pandas(data, npartitions=2).map_partitions(add_named, y=five(), meta=data)
    assert lazy.compute(scheduler=mars_scheduler).a.tolist() == [6, 7]


# -- Raw graphs ------------------------------------------------------------------------------------------------------

RAW: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "value": (lambda obj: obj, 5),
    "legacy task": (lambda obj: (inc, obj), 6),
    "legacy task in a task": (lambda obj: (add, (inc, obj), obj), 11),
    "legacy list": (lambda obj: [obj, [obj, 1]], [5, [5, 1]]),
    "legacy task of a list": (lambda obj: (sum, [obj, obj, (inc, obj)]), 16),
    "legacy dict": (lambda obj: (dict, [["k", obj]]), {"k": 5}),
    "legacy tuple": (lambda obj: (obj, 1), (5, 1)),
    "legacy set": (lambda obj: {obj, 1}, {5, 1}),
    "node in a legacy task": (lambda obj: (inc, Task(None, inc, obj)), 7),
    "data": (lambda obj: DataNode("x", obj), 5),
    "task": (lambda obj: Task("x", inc, obj), 6),
    "keyword of a task": (lambda obj: Task("x", add_named, 1, y=obj), 6),
    "task in a task": (lambda obj: Task("x", inc, Task(None, inc, obj)), 7),
    "list": (lambda obj: List(obj, List(obj, 1)), [5, [5, 1]]),
    "tuple": (lambda obj: Tuple(obj, 1), (5, 1)),
    "dict": (lambda obj: Dict({"k": obj}), {"k": 5}),
    "data in a task": (lambda obj: Task("x", inc, DataNode(None, obj)), 6),
}


@pytest.mark.parametrize("form", RAW)
@pytest.mark.parametrize("num_workers", [1, 2])
def test_value_arrives_in_a_raw_graph(form: str, num_workers: int, runs: Runs):
    make, expected = RAW[form]
    obj = mr.spawn(runs, args=("once", 5))
    assert mars_scheduler({"x": make(obj)}, "x", num_workers=num_workers) == expected
    assert runs.names == ["once"]
    assert obj.fetch() == 5


def test_alias_of_a_key_whose_value_is_an_object():
    graph = {"a": five(), "b": Alias("b", "a"), "c": "b", "d": Task("d", add, TaskRef("b"), TaskRef("c"))}
    assert mars_scheduler(graph, ["a", ["b", "c"], "d"]) == (5, (5, 5), 10)


def test_object_in_a_fused_task():
    obj = five()
    inner = Task("inner", inc, obj)
    assert mars_scheduler({"x": Task.fuse(inner, Task("x", add, TaskRef("inner"), obj))}, "x") == 11


def test_key_that_is_equal_to_the_key_of_an_object_is_not_its_value():
    obj = five()
    assert mars_scheduler({obj.key: 1, "x": (add, obj.key, obj)}, ["x", obj.key]) == (6, 1)


def test_objects_in_what_nobody_asks_for_do_not_run(runs: Runs):
    graph = {"needed": (inc, 1), "not": (inc, mr.spawn(runs, args=("not needed",)))}
    assert mars_scheduler(graph, "needed") == 2
    assert runs.names == []


def test_graph_is_not_changed():
    obj = five()
    graph = {"x": (inc, obj), "y": Task("y", add, TaskRef("x"), obj), "z": [obj]}
    before = dict(graph)
    assert mars_scheduler(graph, ["y", "z"]) == (11, [5])
    assert graph == before
    assert graph["z"][0] is obj


def test_value_is_given_by_a_cache():
    assert mars_scheduler({"x": (inc, five()), "y": (inc, "x")}, "y", cache={"x": 10}) == 11


# -- One run, and what is left of it ---------------------------------------------------------------------------------


def test_object_that_many_tasks_use_runs_once(scheduler: Any, runs: Runs):
    obj = mr.spawn(runs, args=("once", 5))
    total = dask.delayed(sum)([dask.delayed(add)(obj, i) for i in range(20)])
    assert total.compute(scheduler=scheduler) == 290
    assert runs.names == ["once"]


def test_result_is_stored(scheduler: Any, runs: Runs):
    obj = mr.spawn(runs, args=("once", 5))
    lazy = dask.delayed(inc)(obj)
    assert lazy.compute(scheduler=scheduler) == 6
    assert obj.fetch() == 5
    assert lazy.compute(scheduler=scheduler) == 6
    assert obj.execute().to_object() == 5
    assert runs.names == ["once"]


def test_objects_behind_an_object_are_stored_too(scheduler: Any, runs: Runs):
    first = mr.spawn(runs, args=("first", 1))
    second = mr.spawn(add, args=(first, first))
    assert dask.delayed(inc)(second).compute(scheduler=scheduler) == 3
    assert (first.fetch(), second.fetch()) == (1, 2)
    assert runs.names == ["first"]


def test_object_that_was_executed_does_not_run_again(scheduler: Any, runs: Runs):
    obj = mr.spawn(runs, args=("once", 5)).execute()
    assert dask.delayed(inc)(obj).compute(scheduler=scheduler) == 6
    assert runs.names == ["once"]


def test_task_is_given_the_very_value_that_is_fetched(scheduler: Any):
    obj = mr.spawn(Value)
    given = dask.delayed(lambda x: [x])(obj).compute(scheduler=scheduler)
    assert given[0] is obj.fetch()


def test_objects_and_tasks_run_side_by_side():
    """Both meet at a barrier, which one run inside the other could not."""
    barrier = threading.Barrier(2)
    obj = mr.spawn(lambda: barrier.wait(SOON))
    graph = {"task": (barrier.wait, SOON), "both": (lambda *both: sorted(both), "task", obj)}
    assert mars_scheduler(graph, "both", num_workers=2) == [0, 1]


def test_object_waits_for_no_task_that_it_does_not_need():
    """The only worker takes the object's task among the others: nothing is computed in a task that waits."""
    inside: list[int] = []

    def depth() -> int:
        import sys

        count, frame = 0, sys._getframe()
        while frame is not None:
            count, frame = count + 1, frame.f_back  # type: ignore[assignment]
        inside.append(count)
        return count

    chain = mr.spawn(lambda: depth())
    for _ in range(5):
        chain = mr.spawn(lambda before: depth(), args=(chain,))
    mars_scheduler({"x": (inc, chain)}, "x", num_workers=1)
    assert len(inside) == 6
    assert max(inside) == min(inside)


def test_value_goes_with_its_object():
    obj = mr.spawn(Value)
    watched = mars_scheduler({"x": (weakref.ref, obj)}, "x")
    assert watched() is obj.fetch()
    del obj
    assert watched() is None


def test_value_of_an_object_that_only_the_graph_held_goes_with_the_graph():
    graph = {"x": (weakref.ref, mr.spawn(Value)), "y": (lambda watched: watched, "x")}
    watched = mars_scheduler(graph, "y")
    assert watched() is not None
    del graph
    assert watched() is None


def test_objects_run_in_the_session_of_the_with_block(session: mars.Session, scheduler: Any):
    obj = five()
    assert dask.delayed(inc)(obj).compute(scheduler=scheduler) == 6
    assert session.fetch(obj) == 5


def test_objects_run_in_each_session_of_its_own(session: mars.Session):
    obj = five()
    dask.delayed(inc)(obj).compute(scheduler=mars_scheduler)
    with mars.new_session(n_workers=1, default=False) as other:
        with pytest.raises(ValueError, match=obj.key):
            other.fetch(obj)
        assert dask.delayed(inc)(obj).compute(scheduler=mars_scheduler) == 6
        assert other.fetch(obj) == 5
    assert session.fetch(obj) == 5


# -- What it is to Dask ----------------------------------------------------------------------------------------------


def test_object_is_a_collection():
    assert dask.is_dask_collection(five())
    assert not dask.is_dask_collection(mr.Object)


def test_token_is_the_objects_own():
    obj, other = five(), five()
    assert tokenize(obj) == tokenize(obj)
    assert tokenize([obj, 1]) == tokenize([obj, 1])
    assert tokenize(obj) != tokenize(other)
    obj_token = tokenize(obj)
    obj.execute()
    assert tokenize(obj) == obj_token


def test_token_holds_where_all_have_to_be_deterministic():
    with dask.config.set({"tokenize.ensure-deterministic": True}):
        assert tokenize(five())


def test_pure_calls_of_one_object_are_one_task(runs: Runs):
    obj = five()
    calls = [dask.delayed(runs, pure=True)("pure", obj) for _ in range(2)]
    assert calls[0].key == calls[1].key
    assert dask.compute(*calls, scheduler=mars_scheduler) == (5, 5)
    assert runs.names == ["pure"]


def test_copy_is_the_object_itself():
    obj = five()
    assert copy.copy(obj) is obj
    assert copy.deepcopy([obj])[0] is obj


def test_object_cannot_be_sent_to_another_process():
    obj = five()
    with pytest.raises(TypeError, match=obj.key):
        pickle.dumps(obj)


# -- Errors ----------------------------------------------------------------------------------------------------------


class Broken(Exception):
    pass


def fail(*_: object) -> None:
    raise Broken("on purpose")


def test_error_of_an_object_names_it(scheduler: Any):
    obj = mr.spawn(fail)
    with pytest.raises(Broken, match="on purpose") as caught:
        dask.delayed(inc)(obj).compute(scheduler=scheduler)
    assert any(repr(obj) in note for note in caught.value.__notes__)


def test_error_of_an_object_behind_another_names_the_one_that_failed(scheduler: Any):
    broken = mr.spawn(fail)
    with pytest.raises(Broken) as caught:
        dask.compute(dask.delayed(inc)(mr.spawn(inc, args=(broken,))), scheduler=scheduler)
    assert any(f"fail: {broken!r}" in note for note in caught.value.__notes__)


def test_error_of_a_task_is_not_blamed_on_an_object():
    obj = five()
    with pytest.raises(Broken) as caught:
        mars_scheduler({"x": (fail, obj)}, "x")
    assert caught.value.__notes__ == ["mars: raised by task 'x'"]
    assert obj.fetch() == 5


def test_object_that_failed_runs_again_with_the_next_graph():
    broken = [True]

    def fail_once() -> int:
        if broken:
            raise Broken(broken.pop())
        return 5

    lazy = dask.delayed(inc)(mr.spawn(fail_once))
    with pytest.raises(Broken):
        lazy.compute(scheduler=mars_scheduler)
    assert lazy.compute(scheduler=mars_scheduler) == 6


def test_objects_that_finished_before_a_failure_stay(runs: Runs):
    good = mr.spawn(runs, args=("good", 5))
    bad = mr.spawn(fail, args=(good,))
    with pytest.raises(Broken):
        dask.delayed(inc)(bad).compute(scheduler=mars_scheduler)
    assert good.fetch() == 5
    assert dask.delayed(inc)(good).compute(scheduler=mars_scheduler) == 6
    assert runs.names == ["good"]


def test_retries_are_made_inside_a_dask_graph():
    attempts: list[int] = []

    def third_time() -> int:
        attempts.append(1)
        if len(attempts) < 3:
            raise Broken
        return 5

    with mars.new_session(retries=2, retry_delay=0, default=False):
        lazy = dask.delayed(inc)(mr.spawn(third_time, retry_when_fail=True))
        assert lazy.compute(scheduler=mars_scheduler) == 6
    assert len(attempts) == 3


@pytest.mark.parametrize("option", [{"rerun_exceptions_locally": True}, {}], ids=["argument", "configuration"])
def test_failing_object_is_run_again_on_the_calling_thread(option: dict):
    threads: list[threading.Thread] = []

    def fail_here() -> None:
        threads.append(threading.current_thread())
        raise Broken(len(threads))

    graph = {"a": (inc, 1), "x": (add, "a", mr.spawn(fail_here))}
    with dask.config.set(rerun_exceptions_locally=not option), pytest.raises(Broken) as caught:
        mars_scheduler(graph, "x", **option)
    assert caught.value.args == (2,)
    assert len(threads) == 2
    assert threads[1] is threading.main_thread()


def test_what_comes_of_running_it_again_counts_and_is_kept():
    attempts: list[int] = []

    def second_time() -> int:
        attempts.append(1)
        if len(attempts) < 2:
            raise Broken
        return 5

    obj = mr.spawn(second_time)
    assert mars_scheduler({"x": (inc, obj)}, "x", rerun_exceptions_locally=True) == 6
    assert obj.fetch() == 5
    assert len(attempts) == 2


# -- Callbacks -------------------------------------------------------------------------------------------------------


class Recorder(Callback):
    def __init__(self) -> None:
        super().__init__()
        self.started: list[Any] = []
        self.finished: dict[Any, Any] = {}
        self.ended: list[bool] = []
        self.released: set = set()

    def _pretask(self, key: Any, dsk: dict, state: dict) -> None:
        assert key in state["running"]
        self.started.append(key)

    def _posttask(self, key: Any, result: Any, dsk: dict, state: dict, worker_id: Any) -> None:
        assert key in state["finished"]
        self.finished[key] = result

    def _finish(self, dsk: dict, state: dict, errored: bool) -> None:
        self.ended.append(errored)
        self.released = set(state["released"])


def test_callbacks_are_told_of_objects_by_their_keys():
    first = five()
    second = mr.spawn(inc, args=(first,))
    with Recorder() as recorder:
        assert mars_scheduler({"x": (inc, second)}, "x") == 7
    assert recorder.finished == {first.key: 5, second.key: 6, "x": 7}
    assert recorder.started == [first.key, second.key, "x"]
    assert recorder.released == {first.key, second.key}
    assert recorder.ended == [False]
    assert first.fetch() == 5


def test_callbacks_are_not_told_of_objects_that_were_executed_before():
    obj = five().execute()
    with Recorder() as recorder:
        assert mars_scheduler({"x": (inc, obj)}, "x") == 6
    assert recorder.finished == {"x": 6}


def test_callbacks_are_told_of_the_failure_of_an_object():
    obj = mr.spawn(fail)
    with Recorder() as recorder, pytest.raises(Broken):
        mars_scheduler({"x": (inc, obj)}, "x")
    assert (recorder.started, recorder.finished, recorder.ended) == ([obj.key], {}, [True])


def test_callback_given_as_an_argument():
    recorder = Recorder()
    obj = five()
    assert dask.delayed(inc)(obj).compute(scheduler=mars_scheduler, callbacks=[recorder]) == 6
    assert recorder.finished[obj.key] == 5


def test_progress_bar_counts_objects(capsys: pytest.CaptureFixture[str]):
    chain = five()
    for _ in range(3):
        chain = mr.spawn(inc, args=(chain,))
    with ProgressBar(minimum=0, dt=0.01):
        assert dask.delayed(inc)(chain).compute(scheduler=mars_scheduler) == 9
    assert "100% Completed" in capsys.readouterr().out


@pytest.mark.parametrize("profiler", [Profiler, CacheProfiler])
def test_profiler_sees_objects(profiler: Any):
    first = five()
    second = mr.spawn(inc, args=(first,))
    lazy = dask.delayed(inc)(second)
    with profiler() as results:
        assert lazy.compute(scheduler=mars_scheduler) == 7
    assert {first.key, second.key, lazy.key} <= {result.key for result in results.results}


def test_failure_inside_a_callback_leaves_the_object_as_it_was():
    class Stop(Callback):
        def _pretask(self, key: Any, dsk: dict, state: dict) -> None:
            raise Broken("no more")

    obj = five()
    with Stop(), pytest.raises(Broken):
        mars_scheduler({"x": (inc, obj)}, "x")
    assert obj.execute().fetch() == 5


# -- Collections inside objects inside collections -------------------------------------------------------------------


def levels(runs: Runs, depth: int) -> Any:
    """delayed(object(delayed(... object(delayed(0)))))"""
    lazy = dask.delayed(runs)(("delayed", 0), 1)
    for level in range(depth):
        lazy = dask.delayed(add)(mr.spawn(lambda x, i=level: runs(("object", i), x + 1), args=(lazy,)), 1)
    return lazy


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_collections_in_objects_in_collections(scheduler: Any, depth: int, runs: Runs):
    assert levels(runs, depth).compute(scheduler=scheduler) == 1 + 2 * depth
    assert sorted(runs.names) == [("delayed", 0)] + [("object", i) for i in range(depth)]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_collections_in_objects_in_collections_in_an_execution(depth: int, runs: Runs):
    converted = convert_dask_collection(levels(runs, depth))
    assert mr.spawn(inc, args=(converted,)).execute().fetch() == 2 + 2 * depth
    assert sorted(runs.names) == [("delayed", 0)] + [("object", i) for i in range(depth)]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_collections_in_objects_in_collections_on_one_worker(depth: int, runs: Runs):
    assert levels(runs, depth).compute(scheduler=mars_scheduler, num_workers=1) == 1 + 2 * depth


def test_collection_that_objects_of_one_graph_share_runs_once(runs: Runs):
    """
    x = f(shared)    y = g(shared)    both in one Dask graph
    """
    shared = convert_dask_collection(dask.delayed(runs)("shared", 5))
    objects = [mr.spawn(add, args=(shared, i)) for i in range(3)]
    assert dask.delayed(sum)(objects).compute(scheduler=mars_scheduler) == 18
    assert runs.names == ["shared"]


def test_error_from_within_several_levels_reaches_the_caller():
    broken = mr.spawn(fail, args=(dask.delayed(inc)(1),))
    lazy = dask.delayed(inc)(mr.spawn(inc, args=(dask.delayed(inc)(broken),)))
    with pytest.raises(Broken) as caught:
        lazy.compute(scheduler=mars_scheduler)
    assert any(repr(broken) in note for note in caught.value.__notes__)


def test_function_of_an_object_may_compute_graphs_with_objects():
    def outer() -> Any:
        return dask.delayed(inc)(five()).compute(scheduler=mars_scheduler)

    assert mars_scheduler({"x": (inc, mr.spawn(outer))}, "x", num_workers=1) == 7


def test_object_that_is_returned_in_a_dask_graph_is_resolved():
    assert dask.delayed(inc)(mr.spawn(five)).compute(scheduler=mars_scheduler) == 6
