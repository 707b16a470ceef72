"""A forecast says what a run will come to, and runs nothing."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise
from operator import add
from typing import Any

import dask
import pytest
from dask.callbacks import Callback
from dask.delayed import Delayed
from dask.utils import key_split
from support import gil_is_on, inc

import mars.remote as mr
from mars._limits import available_memory
from mars.contrib.dask import Explanation, explain, mars_scheduler
from mars.contrib.dask._block_sizes import known_sizes
from mars.contrib.dask._explain import _graph_and_keys


class Ran(Callback):  # type: ignore[misc]
    """The keys of tasks that ran."""

    def __init__(self) -> None:
        super().__init__(pretask=lambda key, dsk, state: self.keys.append(key))
        self.keys: list[Any] = []


class Live:
    """Results that count how many of them are alive."""

    now = 0
    peak = 0

    def __init__(self, *_: Any) -> None:
        Live.now += 1
        Live.peak = max(Live.peak, Live.now)

    def __del__(self) -> None:
        Live.now -= 1


@pytest.fixture
def live() -> type[Live]:
    Live.now = Live.peak = 0
    return Live


def never(*_: Any) -> Any:
    raise AssertionError("a task was run")


def random_graph(seed: int, tasks: int, function: Callable[..., Any]) -> tuple[dict[str, Any], str]:
    """Tasks that need up to three of the last ten before them; the last one needs all that nobody else does."""
    generator = random.Random(seed)
    graph: dict[str, Any] = {}
    unused: set[str] = set()
    for i in range(tasks):
        near = [f"t-{j}" for j in range(max(0, i - 10), i)]
        needs = generator.sample(near, min(len(near), generator.randint(0, 3)))
        unused -= set(needs)
        unused.add(f"t-{i}")
        graph[f"t-{i}"] = (function, *needs)
    graph["end"] = (function, *sorted(unused))
    return graph, "end"


def array() -> Any:
    da = pytest.importorskip("dask.array")
    x = da.ones((40, 40), chunks=(10, 10)).map_blocks(lambda block: block + 1)
    return (x + x.T).sum(axis=0)


def bag() -> Any:
    db = pytest.importorskip("dask.bag")
    return db.range(100, npartitions=7).map(inc).fold(add)


def frame() -> Any:
    dd = pytest.importorskip("dask.dataframe")
    pd = pytest.importorskip("pandas")
    return dd.from_pandas(pd.DataFrame({"a": range(100), "b": 1.0}), npartitions=6).groupby("a").sum()


def delayed() -> Any:
    return dask.delayed(sum)([dask.delayed(inc)(i) for i in range(10)])


def dataset() -> Any:
    xr = pytest.importorskip("xarray")
    da = pytest.importorskip("dask.array")
    return xr.Dataset({"v": (("x", "y"), da.ones((40, 40), chunks=(10, 20)))}).mean("x")


def several() -> Any:
    return {"a": [array(), delayed()], "b": (bag(), 1)}


def joined() -> Any:
    """Arrays and objects that lead to one another."""
    return mr.spawn(sum, args=([mr.spawn(inc, args=(1,)), delayed()],))


COLLECTIONS = [array, bag, frame, delayed, dataset, several]


@pytest.mark.parametrize("make", COLLECTIONS)
def test_tasks_are_those_that_run(make: Callable[[], Any]) -> None:
    collections = make()
    forecast = explain(collections)
    graph, keys = _graph_and_keys(list(_leaves(collections)), True)
    ran = Ran()
    mars_scheduler(graph, keys, callbacks=[tuple(ran._callback)])
    assert forecast.tasks == len(ran.keys) > 0
    assert forecast.by_prefix == Counter(map(key_split, ran.keys))
    # A few keys are new each time a graph is made.
    assert set(map(key_split, forecast.critical_path)) <= set(map(key_split, ran.keys))


@pytest.mark.parametrize("make", COLLECTIONS)
def test_tasks_are_those_that_dask_shows_to_callbacks(make: Callable[[], Any]) -> None:
    collections = make()
    with Ran() as ran:
        forecast = explain(collections)
        assert ran.keys == []
        dask.compute(collections, scheduler=mars_scheduler)
    assert forecast.by_prefix == Counter(map(key_split, ran.keys))


def _leaves(collections: Any) -> Iterator[Any]:
    from dask.base import unpack_collections

    return iter(unpack_collections(collections)[0])


@pytest.mark.parametrize("seed", range(20))
def test_the_peak_of_one_worker_is_what_a_run_holds(seed: int, live: type[Live]) -> None:
    graph, end = random_graph(seed, 60, Live)
    forecast = explain(Delayed(end, graph), n_workers=1)
    assert live.peak == 0
    result = mars_scheduler(graph, end, num_workers=1)
    assert forecast.peak_results == forecast.serial_peak_results == live.peak
    assert forecast.tasks == 61
    del result


@pytest.mark.skipif(not gil_is_on(), reason="without a GIL results go some 50 ms later")
def test_the_peak_of_delayed_calls_is_what_a_run_holds(live: type[Live]) -> None:
    level = [dask.delayed(Live)(i) for i in range(64)]
    while len(level) > 1:
        level = [dask.delayed(Live)(*level[i : i + 2]) for i in range(0, len(level), 2)]
    forecast = explain(level[0], n_workers=1)
    level[0].compute(scheduler=mars_scheduler, num_workers=1)
    assert forecast.peak_results == live.peak == 8


def test_more_workers_hold_more() -> None:
    roots = [dask.delayed(never)(dask.delayed(never)(i)) for i in range(40)]
    total = dask.delayed(never)(roots)
    one, many = explain(total, n_workers=1), explain(total, n_workers=30)
    assert one.peak_results < many.peak_results
    assert many.serial_peak_results == one.peak_results
    assert "with one worker" in " ".join(str(many).split())
    assert "with one worker" not in str(one)


def test_nothing_is_run() -> None:
    db = pytest.importorskip("dask.bag")
    da = pytest.importorskip("dask.array")
    spawned = mr.spawn(never, args=(mr.spawn(never),))
    forecast = explain(
        dask.delayed(never)(dask.delayed(never)()),
        db.from_delayed([dask.delayed(never)()]).map(never),
        da.from_delayed(dask.delayed(never)(), (3,), dtype=float) + 1,
        spawned,
        n_workers=2,
        optimize_graph=False,
    )
    assert forecast.tasks > 7


def test_objects_are_explained_and_stay_as_they_are() -> None:
    wanted = joined()
    forecast = explain(wanted, mr.spawn(inc, args=(wanted,)))
    assert forecast.tasks >= 14
    assert wanted.execute().fetch() == 57
    assert explain(wanted).tasks < forecast.tasks  # what was executed is there


@pytest.mark.parametrize("nothing", [(), (1,), ([], {"a": "b"}, None)], ids=repr)
def test_what_is_no_collection_needs_no_task(nothing: tuple[Any, ...]) -> None:
    forecast = explain(*nothing)
    assert (forecast.tasks, forecast.by_prefix, forecast.critical_path) == (0, {}, ())
    assert (forecast.parallelism, forecast.width, forecast.peak_results) == (0.0, 0, 0)
    assert forecast.peak_key is None
    assert str(forecast) == "No task will run"
    assert "No task" in forecast._repr_html_()


def test_values_in_the_graph_are_told_apart() -> None:
    graph = {"data": bytes(1000), "x": (len, "data")}
    forecast = explain(Delayed("x", graph), sizes={"data": 5, "x": 1})
    assert (forecast.tasks, forecast.peak_results, forecast.peak_bytes) == (1, 1, 1)
    assert forecast.known_values == 1
    assert forecast.known_bytes >= 1000
    assert "1 value" in str(forecast)


def test_the_shape_of_a_graph_is_told() -> None:
    #  a   b
    #  |   |
    #  c   |   d
    #   \  |  /
    #      e
    graph = {"a": (never,), "b": (never,), "c": (never, "a"), "d": (never,), "e": (never, "c", "b", "d")}
    forecast = explain(Delayed("e", graph), n_workers=1)
    assert forecast.critical_path == ("a", "c", "e")
    assert (forecast.tasks, forecast.width) == (5, 3)
    assert forecast.parallelism == pytest.approx(5 / 3)
    assert (forecast.peak_results, forecast.peak_key) == (4, "e")
    assert (forecast.requested_results, forecast.requested_unknown) == (1, 1)


def test_sizes_of_array_blocks_are_known() -> None:
    da = pytest.importorskip("dask.array")
    x = da.ones((10, 7), chunks=(4, 5), dtype="float32")
    forecast = explain(x, n_workers=1)
    assert forecast.tasks == 7
    assert forecast.unknown_results == 0
    assert forecast.requested_bytes == x.nbytes
    assert forecast.peak_bytes == 2 * x.nbytes
    assert forecast.peak_bytes_key == forecast.peak_key


def test_known_sizes_are_those_of_results() -> None:
    da = pytest.importorskip("dask.array")
    x = da.random.random((40, 30), chunks=(11, 7))
    for collection in (x[5:30, ::2], x @ x.T, x.mean(axis=0), x.std(), x.reshape(1200), da.pad(x, 2), (x > 0.5).any()):
        graph, keys = _graph_and_keys([collection], True)
        known = known_sizes([collection], keys)
        sizes: dict[Any, int] = {}

        def note(key: Any, result: Any, *_: Any, sizes: dict[Any, int] = sizes) -> None:
            sizes[key] = getattr(result, "nbytes", -1)

        mars_scheduler(graph, keys, callbacks=[(None, None, None, note, None)])
        assert known.keys() >= set(keys)
        assert known.items() <= sizes.items()


def test_sizes_of_variables_are_known() -> None:
    xr = pytest.importorskip("xarray")
    da = pytest.importorskip("dask.array")
    variable = xr.DataArray(da.ones((40, 40), chunks=(10, 20)), dims=("x", "y"))
    for collection in (variable, xr.Dataset({"v": variable}), variable.variable):
        forecast = explain(collection, n_workers=1)
        assert forecast.peak_bytes == 2 * 40 * 40 * 8
        assert forecast.unknown_results == 0


def test_sizes_that_are_uncertain_are_unknown() -> None:
    da = pytest.importorskip("dask.array")
    x = da.ones(10, chunks=5)
    for uncertain in (x[x > 1], x.astype(object), da.ma.masked_equal(x, 1)):
        forecast = explain(uncertain)
        assert forecast.unknown_results == forecast.tasks
        assert "not known" in str(forecast)


def test_sizes_are_what_the_user_says() -> None:
    graph: dict[Any, Any] = {("a-1", i): (never,) for i in range(4)}
    graph.update({("a-2", i): (never, ("a-1", i)) for i in range(4)})
    graph["b-1"] = (never, *(("a-2", i) for i in range(4)))
    graph["b-2"] = (never, "b-1")
    wanted = Delayed("b-2", graph)
    assert explain(wanted, n_workers=1, sizes={"a": 10}).peak_bytes == 50
    assert explain(wanted, n_workers=1, sizes={"a": 10, "a-2": 0}).peak_bytes == 10
    assert explain(wanted, n_workers=1, sizes={"a": 10, ("a-2", 0): "1 kB"}).peak_bytes == 1040
    assert explain(wanted, n_workers=1, sizes={"b": 3, "b-2": 4.0}).peak_bytes == 7
    assert explain(wanted, n_workers=1, sizes={"b-1": None}).unknown_results == 10

    asked = []

    def size_of(key: Any) -> Any:
        asked.append(key)
        return 5 if key == "b-1" else None

    forecast = explain(wanted, n_workers=1, sizes=size_of)
    assert sorted(map(str, asked)) == sorted(map(str, graph))
    assert (forecast.peak_bytes, forecast.peak_unknown, forecast.unknown_results) == (5, 4, 9)
    assert "9 of 10 results of unknown size" in " ".join(str(forecast).split())


def test_the_user_knows_better_than_the_array() -> None:
    da = pytest.importorskip("dask.array")
    x = da.ones(10, chunks=5)
    assert explain(x, sizes={x.name: 1}, n_workers=1).peak_bytes == 80 + 2
    assert explain(x, sizes=lambda key: 0).peak_bytes == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"sizes": 5}, TypeError),
        ({"sizes": {"inc": []}}, TypeError),
        ({"sizes": {"inc": -1}}, ValueError),
        ({"sizes": {"inc": 2**64}}, ValueError),
        ({"sizes": {"inc": "much"}}, ValueError),
        ({"sizes": {"inc": float("nan")}}, ValueError),
        ({"sizes": lambda key: "much"}, ValueError),
        ({"memory_limit": "much"}, ValueError),
        ({"memory_limit": -1}, ValueError),
        ({"n_workers": 0}, ValueError),
    ],
    ids=map(str, range(10)),
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        explain(delayed(), **arguments)


def test_an_error_of_the_size_function_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        explain(delayed(), sizes=lambda key: 1 // 0)


def test_mistakes_in_the_graph_are_found() -> None:
    with pytest.raises(RuntimeError, match="Cycle"):
        explain(Delayed("x", {"x": (inc, "y"), "y": (inc, "x")}), optimize_graph=False)


def test_the_peak_is_compared_with_the_limit() -> None:
    wanted = delayed()
    sizes = {"inc": "1 MB", "sum": 1}
    assert explain(wanted, sizes=sizes).fits is None
    roomy = explain(wanted, sizes=sizes, memory_limit="1 GB")
    assert (roomy.memory_limit, roomy.fits) == (10**9, True)
    assert str(roomy).splitlines()[6].startswith("memory limit     1.00 GB: all fits")
    narrow = explain(wanted, sizes=sizes, memory_limit=10**6)
    assert narrow.fits is False
    assert "exceeded by 9.00 MB at the peak" in str(narrow)
    unsure = explain(wanted, sizes={"inc": 1}, memory_limit=10**6)
    assert unsure.fits is None
    assert "not known whether all fits" in " ".join(str(unsure).split())


def test_what_is_asked_for_has_to_fit() -> None:
    forecast = explain(delayed(), sizes={"inc": 1, "sum": "3 MB"}, memory_limit="1 MB")
    assert forecast.fits is False
    assert "what is asked for exceeds it by 2.00 MB" in " ".join(str(forecast).split())


def test_a_limit_is_given_as_to_a_session() -> None:
    half = explain(delayed(), memory_limit=0.5).memory_limit
    assert half == explain(delayed(), memory_limit="50%").memory_limit == available_memory() // 2
    assert explain(delayed(), memory_limit="900 TB").memory_limit == 9 * 10**14  # of another machine


@pytest.mark.parametrize(("setting", "limit"), [("2 GiB", 2**31), (10**8, 10**8), (None, None)])
def test_the_limit_is_the_one_that_is_set(setting: Any, limit: int | None) -> None:
    with dask.config.set({"mars.memory-limit": setting}):
        assert explain(delayed()).memory_limit == limit
        assert explain(delayed(), memory_limit=7).memory_limit == 7


def test_the_workers_are_those_of_compute() -> None:
    with dask.config.set(num_workers=3):
        assert explain(delayed()).n_workers == 3
        assert explain(delayed(), n_workers=5).n_workers == 5


def test_results_of_a_cache_are_not_computed_again() -> None:
    with dask.config.set(cache={"b": 5}):
        forecast = explain(Delayed("c", {"a": (never,), "b": (never, "a"), "c": (never, "b")}))
    assert (forecast.tasks, forecast.known_values) == (1, 1)


def test_optimisation_may_be_left_out() -> None:
    da = pytest.importorskip("dask.array")
    x = da.ones(10, chunks=5) + 1 + 2
    assert explain(x).tasks == 3
    assert explain(x, optimize_graph=False).tasks == 7


def test_a_table_is_printed() -> None:
    total = Delayed("sum-1", {"sum-1": (add, "load-1", "load-2"), "load-1": (inc, 1), "load-2": (inc, 2)})
    assert str(explain(total, sizes={"load": 2000}, n_workers=1, memory_limit="1 MB")) == (
        "3 tasks on 1 worker\n"
        "critical path    2 tasks: load → sum\n"
        "parallelism      1.5 on average, 2 at most\n"
        "live results     at most 3, first in 'sum-1'\n"
        "live bytes       at most 4.00 kB where known; 1 of 3 results of unknown size, 1\n"
        "                 of them live then\n"
        "asked for        1 result, of unknown size\n"
        "memory limit     1.00 MB: not known whether all fits, since not all sizes are\n"
        "\n"
        "2  load\n"
        "1  sum"
    )


NASTY = [
    "<script>alert('&')</script>",
    "x" * 300,
    "new\nline\x1b[31m",
    "",
    "漢字",
    "-",
    ("<b>" * 60, 1),
    *(f"name{chr(97 + i // 26)}{chr(97 + i % 26)}-1" for i in range(100)),
]


def nasty() -> Explanation:
    graph: dict[Any, Any] = dict.fromkeys(NASTY, (never,))
    chain: list[Any] = list(NASTY)
    graph.update({key: (never, before) for before, key in pairwise(chain)})
    return explain(Delayed(chain[-1], graph), optimize_graph=False)


def test_text_stays_within_a_terminal() -> None:
    lines = str(nasty()).split("\n")
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    assert lines[-1].startswith("… and ")
    assert lines[-1].endswith("tasks")
    assert "more prefixes" in lines[-1]


def test_html_shows_keys_as_text() -> None:
    class Parser(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.opened: list[str] = []
            self.seen: Counter[str] = Counter()
            self.text = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.opened.append(tag)
            self.seen[tag] += 1
            assert {name for name, _ in attrs} <= {"style"}

        def handle_endtag(self, tag: str) -> None:
            assert self.opened.pop() == tag

        def handle_data(self, data: str) -> None:
            self.text += data

    html = nasty()._repr_html_()
    parser = Parser()
    parser.feed(html)
    assert parser.opened == []
    assert set(parser.seen) == {"div", "strong", "table", "tr", "th", "td"}
    assert "script>alert('&')</script" in parser.text
    assert "color" not in html
    assert "http" not in html


def test_a_forecast_cannot_be_changed() -> None:
    forecast = explain(delayed())
    assert forecast == dataclasses.replace(forecast)
    with pytest.raises(dataclasses.FrozenInstanceError):
        forecast.tasks = 0  # type: ignore[misc]


def test_large_graphs_are_foretold() -> None:
    width, depth = 500, 400
    graph: dict[Any, Any] = {("t", 0, j): (never,) for j in range(width)}
    for i in range(1, depth):
        above = [("t", i - 1, j) for j in range(width)]
        graph.update({("t", i, j): (never, above[j], above[(j + 7) % width]) for j in range(width)})
    graph["end"] = (never, [("t", depth - 1, j) for j in range(width)])
    forecast = explain(Delayed("end", graph), n_workers=4, sizes={"t": 8, "end": 8}, optimize_graph=False)
    assert forecast.tasks == width * depth + 1
    assert len(forecast.critical_path) == depth + 1
    assert forecast.width == width
    assert forecast.peak_results < 3 * width
    assert forecast.peak_bytes == 8 * forecast.peak_results
