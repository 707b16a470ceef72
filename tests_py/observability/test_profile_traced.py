"""Traces and plots of computations whose tasks are known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from observability.known import ROUNDED, layered
from observability.trace_format import read
from support import inc

import mars
from mars.contrib.dask import mars_scheduler


def test_reading_while_it_goes_on(tmp_path: Path):
    seen: list[int] = []
    with mars.profile() as profile:

        def look(i: int) -> int:
            seen.append(profile.summary().tasks)
            str(profile.summary())
            profile.to_chrome_trace(tmp_path / f"{i}.json", flows=True)
            return i

        mars_scheduler({("look", i): (look, i) for i in range(5)}, [("look", i) for i in range(5)], num_workers=1)
    assert seen == sorted(seen)
    for i in range(5):
        read(tmp_path / f"{i}.json", ROUNDED)


def test_trace_has_every_task_and_every_edge(tmp_path: Path):
    with mars.profile() as profile:
        mars_scheduler(layered(40), "total", num_workers=3)
    trace = read(profile.to_chrome_trace(tmp_path / "trace.json.gz", flows=True), ROUNDED)
    tasks = [piece for piece in trace.slices if piece.category == "task"]
    assert Counter(piece.name for piece in tasks) == {"load": 40, "size": 40, "pair": 40, "total": 1}
    assert {piece.args["outcome"] for piece in tasks} == {"finished"}
    assert len({piece.args["key"] for piece in tasks}) == 121
    edges = Counter((maker.name, reader.name) for maker, reader in trace.arrows)
    assert edges == {("load", "size"): 40, ("size", "pair"): 80, ("pair", "total"): 40}
    for maker, reader in trace.arrows:
        assert maker.start <= reader.start
    assert {piece.thread for piece in trace.slices} <= set(trace.thread_names)


def test_trace_without_flows_has_none(tmp_path: Path):
    with mars.profile() as profile:
        mars_scheduler(layered(4), "total")
    assert read(profile.to_chrome_trace(tmp_path / "trace.json"), ROUNDED).arrows == []


def test_trace_of_nothing(tmp_path: Path):
    with mars.profile() as profile:
        pass
    assert read(profile.to_chrome_trace(tmp_path / "trace.json", flows=True), ROUNDED).slices == []


def test_merged_trace_has_all_tasks(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with mars.profile() as profile:
        mars_scheduler(layered(1000), "total", num_workers=2)
    trace = read(profile.to_chrome_trace(tmp_path / "trace.json", flows=True, max_events=200), ROUNDED)
    assert len(trace.slices) < 600
    told = sum(piece.args.get("tasks", 1) for piece in trace.slices if piece.category == "task")
    assert told >= 3001
    assert "short tasks are merged" in caplog.text


def test_nested_tasks_nest_in_a_trace(tmp_path: Path):
    def outer(i: int) -> int:
        return mars_scheduler({("inner", j): (inc, j) for j in range(5)}, ("inner", i), num_workers=1)

    with mars.profile() as profile:
        mars_scheduler({("outer", i): (outer, i) for i in range(5)}, [("outer", i) for i in range(5)], num_workers=1)
    trace = read(profile.to_chrome_trace(tmp_path / "trace.json", flows=True), ROUNDED)
    assert {piece.name for piece in trace.slices if piece.category == "task" and piece.depth == 0} >= {"outer"}
    assert {piece.depth for piece in trace.slices if piece.name == "outer"} == {0}


def test_plot_has_every_task():
    pytest.importorskip("bokeh")
    with mars.profile() as profile:
        mars_scheduler(layered(40), "total", num_workers=2)
    figure = profile.plot()
    legend = {item.label.value: item.renderers[0].data_source.data for item in figure.right[0].items}
    assert {name: len(legend[name]["key"]) for name in ("load", "size", "pair", "total")} == {
        "load": 40,
        "size": 40,
        "pair": 40,
        "total": 1,
    }
    assert set(legend["load"]["key"]) == {f"('load', {i})" for i in range(40)}
    assert len(figure.yaxis[0].major_label_overrides) >= 1
    few = profile.plot(max_rects=20)
    assert "are merged" in few.title.text
