"""Section 6: callbacks, and the diagnostics that are made of them."""

from __future__ import annotations

import threading
from operator import add
from typing import Any

import dask
import dask.local
import dask.threaded
import pytest
from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef
from dask.callbacks import Callback
from dask.diagnostics import CacheProfiler, Profiler, ProgressBar, ResourceProfiler
from support import inc

from mars.contrib.dask import mars_scheduler

GRAPH = {"a": 1, "b": (inc, "a"), "c": (inc, "a"), "d": (add, "b", "c")}


class Recorder(Callback):
    """Keeps every event, with the thread that it came on."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, Any]] = []
        self.graphs: list[dict] = []
        self.states: list[dict] = []
        self.threads: set[int] = set()

    def record(self, name: str, what: Any, graph: dict, state: dict | None = None) -> None:
        self.events.append((name, what))
        self.graphs.append(graph)
        if state is not None:
            self.states.append(state)
        self.threads.add(threading.get_ident())

    def _start(self, dsk: dict) -> None:
        self.record("start", None, dsk)

    def _start_state(self, dsk: dict, state: dict) -> None:
        self.record("start_state", None, dsk, state)

    def _pretask(self, key: Any, dsk: dict, state: dict) -> None:
        self.record("pretask", key, dsk, state)

    def _posttask(self, key: Any, result: Any, dsk: dict, state: dict, worker_id: Any) -> None:
        self.record("posttask", (key, result, worker_id), dsk, state)

    def _finish(self, dsk: dict, state: dict, errored: bool) -> None:
        self.record("finish", errored, dsk, state)

    def of(self, name: str) -> list[Any]:
        return [what for event, what in self.events if event == name]


# -- The hooks -------------------------------------------------------------------------------------------------------


def test_hooks_run_in_order_on_the_calling_thread():
    with Recorder() as recorder:
        assert mars_scheduler(GRAPH, "d") == 4
    names = [name for name, _ in recorder.events]
    assert names[:2] == ["start", "start_state"]
    assert names[-1] == "finish"
    assert sorted(recorder.of("pretask")) == ["b", "c", "d"]
    assert sorted((key, result) for key, result, _ in recorder.of("posttask")) == [("b", 2), ("c", 2), ("d", 4)]
    assert recorder.of("finish") == [False]
    assert recorder.threads == {threading.get_ident()}
    for key in "bcd":
        before = recorder.events.index(("pretask", key))
        after = next(i for i, (name, what) in enumerate(recorder.events) if name == "posttask" and what[0] == key)
        assert before < after


def test_task_is_announced_after_its_dependencies_are_done():
    graph: dict = {0: DataNode(0, 0)} | {i: Task(i, inc, TaskRef(i - 1)) for i in range(1, 20)}
    with Recorder() as recorder:
        mars_scheduler(graph, 19)
    happened = [(name, what[0] if name == "posttask" else what) for name, what in recorder.events if "task" in name]
    assert happened == [(name, i) for i in range(1, 20) for name in ("pretask", "posttask")]


def test_graph_is_one_dict_of_nodes_all_along():
    with Recorder() as recorder:
        mars_scheduler(GRAPH, "d")
    graph = recorder.graphs[0]
    assert type(graph) is dict
    assert all(other is graph for other in recorder.graphs)
    assert graph.keys() == GRAPH.keys()
    assert all(isinstance(node, GraphNode) for node in graph.values())
    assert isinstance(graph["b"], Task)


def test_state_is_one_live_dict_with_all_its_tables():
    with Recorder() as recorder:
        mars_scheduler(GRAPH, "d")
    state = recorder.states[0]
    assert all(other is state for other in recorder.states)
    for table in (
        "dependencies",
        "dependents",
        "waiting",
        "waiting_data",
        "cache",
        "ready",
        "running",
        "finished",
        "released",
    ):
        assert hasattr(state[table], "__len__"), table


def test_state_tells_what_is_running_and_finished():
    seen: list[tuple[str, str, set, set]] = []

    def before(key: str, _: dict, state: dict) -> None:
        seen.append(("pretask", key, set(state["running"]), set(state["finished"])))

    def after(key: str, _: Any, __: dict, state: dict, ___: Any) -> None:
        seen.append(("posttask", key, set(state["running"]), set(state["finished"])))

    with Callback(pretask=before, posttask=after):
        mars_scheduler(GRAPH, "d", num_workers=1)
    for name, key, running, finished in seen:
        assert (key in running) == (name == "pretask")
        assert (key in finished) == (name == "posttask")
    assert seen[-1][3] == {"b", "c", "d"}


def test_state_tells_what_waits_and_what_was_released():
    totals: list[int] = []
    released: list[set] = []

    def after(key: str, _: Any, __: dict, state: dict, ___: Any) -> None:
        totals.append(sum(len(state[table]) for table in ("ready", "waiting", "running", "finished")))
        released.append(set(state["released"]))

    with Callback(posttask=after):
        mars_scheduler(GRAPH, "d", num_workers=1)
    assert totals == [3, 3, 3]
    assert released[0] == set()
    assert {"b", "c"} <= released[-1]
    assert "d" not in released[-1]


def test_state_knows_the_dependencies_of_every_key():
    tables: list[dict] = []
    with Callback(start_state=lambda _, state: tables.append({key: set(state["dependencies"][key]) for key in "bcd"})):
        mars_scheduler(GRAPH, "d")
    assert tables == [{"b": {"a"}, "c": {"a"}, "d": {"b", "c"}}]


def test_constants_are_in_the_cache_from_the_start():
    found: list[dict] = []
    with Callback(start_state=lambda graph, state: found.append(dict(state["cache"]))):
        assert mars_scheduler({"x": 1}, "x") == 1
    assert found == [{"x": 1}]


def test_constants_are_no_tasks_and_aliases_are():
    with Recorder() as recorder:
        graph = {"a": 1, "data": DataNode("data", 2), "alias": "a", "also": Alias("also", "data"), "list": [1, 2]}
        assert mars_scheduler(graph, list(graph)) == (1, 2, 1, 2, [1, 2])
    assert sorted(recorder.of("pretask")) == ["alias", "also"]
    assert sorted(key for key, *_ in recorder.of("posttask")) == ["alias", "also"]


def test_keys_are_those_of_the_graph_given():
    graph: dict = {("x", 0): (inc, 1)} | {("x", i): (inc, ("x", i - 1)) for i in range(1, 10)}
    with Recorder() as recorder:
        mars_scheduler(graph, ("x", 9))
    assert set(recorder.of("pretask")) == set(graph)


def test_only_needed_tasks_are_announced():
    with Recorder() as recorder:
        mars_scheduler({**GRAPH, "other": (inc, "d")}, "b")
    assert recorder.of("pretask") == ["b"]


def test_worker_id_is_the_thread_that_ran_the_task():
    barrier = threading.Barrier(3)
    graph = {("x", i): (lambda: (barrier.wait(20), threading.get_ident())[1],) for i in range(3)}
    with Recorder() as recorder:
        mars_scheduler(graph, list(graph), num_workers=3)
    workers = {worker for _, _, worker in recorder.of("posttask")}
    assert len(workers) == 3
    assert all(result == worker for _, result, worker in recorder.of("posttask"))


# -- Which callbacks run ---------------------------------------------------------------------------------------------


def test_callbacks_of_the_keyword_take_the_place_of_the_active_ones():
    outer, inner = Recorder(), Recorder()
    with outer:
        mars_scheduler(GRAPH, "d", callbacks=[inner._callback])
    assert outer.events == []
    assert inner.of("finish") == [False]


def test_all_active_callbacks_run():
    first, second = Recorder(), Recorder()
    with first, second:
        mars_scheduler(GRAPH, "d")
    assert [name for name, _ in first.events] == [name for name, _ in second.events]


def test_registered_callback_runs_until_it_is_unregistered():
    recorder = Recorder()
    recorder.register()
    try:
        mars_scheduler(GRAPH, "d")
    finally:
        recorder.unregister()
    mars_scheduler(GRAPH, "d")
    assert len(recorder.of("start")) == 1


def test_nested_compute_reports_to_its_own_callbacks_only():
    outer, inner = Recorder(), Recorder()

    def nested(x: int) -> int:
        assert not Callback.active
        with inner:
            return mars_scheduler({"x": (add, 1, 2), "y": (add, "x", 3)}, "y") + x

    with outer:
        assert mars_scheduler({"a": (nested, 1), "b": (add, "a", 2)}, "b") == 9
    assert not Callback.active
    assert sorted(outer.of("pretask")) == ["a", "b"]
    assert sorted(inner.of("pretask")) == ["x", "y"]


# -- Errors ----------------------------------------------------------------------------------------------------------


def failing(error: type[BaseException]) -> dict:
    def fail() -> None:
        raise error

    return {"x": (fail,), "y": (inc, "x")}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_finish_is_called_with_the_error(error: type[BaseException]):
    with Recorder() as recorder, pytest.raises(error):
        mars_scheduler(failing(error), "y")
    assert recorder.of("finish") == [True]
    assert recorder.of("pretask") == ["x"]
    assert recorder.of("posttask") == []
    assert not Callback.active


@pytest.mark.parametrize("hook", ["start", "start_state", "pretask", "posttask", "finish"])
def test_error_of_a_hook_reaches_the_caller(hook: str):
    def broken(*_: object) -> None:
        raise ValueError("broken hook")

    with Callback(**{hook: broken}), pytest.raises(ValueError, match="broken hook"):
        mars_scheduler(GRAPH, "d")
    assert not Callback.active
    assert mars_scheduler(GRAPH, "d") == 4


@pytest.mark.parametrize("hook", ["start_state", "pretask", "posttask"])
def test_finish_is_called_when_a_hook_fails(hook: str):
    finished: list[bool] = []

    def broken(*_: object) -> None:
        raise ValueError("broken hook")

    with (
        Callback(**{hook: broken}, finish=lambda _, __, errored: finished.append(errored)),
        pytest.raises(ValueError, match="broken hook"),
    ):
        mars_scheduler(GRAPH, "d")
    assert finished == [True]


def test_finish_is_not_called_for_a_callback_whose_start_failed():
    finished: list[str] = []

    def broken(_: dict) -> None:
        raise ValueError("broken start")

    bad = (broken, None, None, None, lambda *_: finished.append("bad"))
    never = (None, None, None, None, lambda *_: finished.append("never started"))
    good = (lambda _: None, None, None, None, lambda *_: finished.append("good"))
    with pytest.raises(ValueError, match="broken start"):
        mars_scheduler(GRAPH, "d", callbacks=[good, bad, never])
    assert finished == ["good"]


def test_finish_is_called_for_an_error_in_the_graph():
    with Recorder() as recorder, pytest.raises(ValueError, match="Missing dependency"):
        mars_scheduler({"y": Task("y", inc, TaskRef("x"))}, "y")
    assert recorder.of("finish") == [True]


# -- What a callback may change --------------------------------------------------------------------------------------


def test_raw_value_put_in_by_start_is_used():
    """What `dask.cache.Cache` does."""

    def start(graph: dict) -> None:
        graph["b"] = 100

    with Callback(start=start):
        assert mars_scheduler(GRAPH, "d") == 102
    assert mars_scheduler(GRAPH, "d") == 4


def test_value_put_in_by_start_spares_what_led_to_it():
    ran: list[int] = []

    def start(graph: dict) -> None:
        graph["b"] = 100

    with Callback(start=start):
        assert mars_scheduler({"a": (ran.append, 1), "b": (inc, "a"), "c": (inc, "b")}, "c") == 101
    assert ran == []


def test_callback_may_compute():
    found: list[int] = []

    def pretask(*_: object) -> None:
        found.append(mars_scheduler({"x": (inc, 1)}, "x"))

    with Callback(pretask=pretask):
        assert mars_scheduler(GRAPH, "d") == 4
    assert found == [2, 2, 2]


# -- Diagnostics -----------------------------------------------------------------------------------------------------


@pytest.fixture
def engine_of_dask_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile must show our engine."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("Dask's own engine ran")

    for module in (dask.local, dask.threaded):
        monkeypatch.setattr(module, "get_async", never)


def tree() -> Any:
    return dask.delayed(sum)([dask.delayed(inc)(i) for i in range(10)])


@pytest.mark.usefixtures("engine_of_dask_refuses")
def test_progress_bar(capsys: pytest.CaptureFixture[str]):
    with ProgressBar(dt=0.01):
        assert tree().compute(scheduler=mars_scheduler) == 55
    assert "100% Completed" in capsys.readouterr().out


@pytest.mark.usefixtures("engine_of_dask_refuses")
def test_progress_bar_with_no_tasks(capsys: pytest.CaptureFixture[str]):
    with ProgressBar(dt=0.01):
        mars_scheduler({"x": 1, "y": 2}, ["x", "y"])
    assert "100% Completed" in capsys.readouterr().out


@pytest.mark.usefixtures("engine_of_dask_refuses")
def test_progress_bar_ends_when_a_task_fails(capsys: pytest.CaptureFixture[str]):
    with ProgressBar(dt=0.01), pytest.raises(ZeroDivisionError):
        mars_scheduler({"x": (inc, 1), "y": (lambda x: x / 0, "x")}, "y")
    assert "100% Completed" not in capsys.readouterr().out


@pytest.mark.usefixtures("engine_of_dask_refuses")
def test_profiler():
    with Profiler() as profiler:
        mars_scheduler(GRAPH, "d")
    assert {data.key for data in profiler.results} == {"b", "c", "d"}
    for data in profiler.results:
        assert isinstance(data.task, Task)
        assert profiler.start_time <= data.start_time <= data.end_time <= profiler.end_time


@pytest.mark.usefixtures("engine_of_dask_refuses")
def test_resource_profiler():
    pytest.importorskip("psutil")
    with ResourceProfiler(dt=0.01) as profiler:
        mars_scheduler({"x": (threading.Event().wait, 0.1)}, "x")
    assert profiler.results
    assert all(data.mem >= 0 for data in profiler.results)


@pytest.mark.usefixtures("engine_of_dask_refuses")
def test_cache_profiler():
    pytest.importorskip("cachey")
    with CacheProfiler() as profiler:
        mars_scheduler(GRAPH, "d")
    assert {data.key for data in profiler.results} == {"b", "c", "d"}
    freed = {data.key: data.free_time for data in profiler.results}
    assert freed["b"] <= freed["d"]
    assert freed["c"] <= freed["d"]


@pytest.mark.usefixtures("engine_of_dask_refuses")
def test_plots_of_a_profile(tmp_path: Any):
    pytest.importorskip("bokeh")
    with Profiler() as profiler, ResourceProfiler(dt=0.01) as resources, CacheProfiler() as cache:
        mars_scheduler(GRAPH, "d")
    page = tmp_path / "profile.html"
    dask.diagnostics.visualize([profiler, resources, cache], filename=str(page), show=False, save=True)
    assert page.stat().st_size > 1000


@pytest.mark.usefixtures("engine_of_dask_refuses")
def test_opportunistic_cache():
    pytest.importorskip("cachey")
    from dask.cache import Cache

    calls: list[int] = []

    def work(x: int) -> int:
        calls.append(x)
        return x + 1

    with Cache(1e9) as cache:
        for _ in range(2):
            assert mars_scheduler({"a": (work, 1), "b": (work, "a")}, "b") == 3
        assert sorted(cache.cache.data) == ["a", "b"]
    assert calls == [1, 2]


@pytest.mark.usefixtures("engine_of_dask_refuses")
def test_tqdm():
    import io

    tqdm = pytest.importorskip("tqdm")
    from tqdm.dask import TqdmCallback

    tqdm.tqdm.monitor_interval = 0  # its monitor is a thread that stays
    shown: list[tuple[int, int]] = []

    class Bar(tqdm.tqdm):
        def close(self) -> None:
            shown.append((self.n, self.total))
            super().close()

    with TqdmCallback(tqdm_class=Bar, file=io.StringIO()):
        assert tree().compute(scheduler=mars_scheduler) == 55
    assert shown
    assert shown[0][0] == shown[0][1] == 11
