"""The timeline as a plot: what is drawn, and where it goes."""

from __future__ import annotations

import subprocess
import sys
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from observability.made_up import Recording, Task, many, profile_of

pytest.importorskip("bokeh")
pytest.importorskip("numpy")


def drawn(figure: Any) -> dict[str, Any]:
    """The data of each line of the legend."""
    legend = figure.right[0]
    return {item.label.value: item.renderers[0].data_source.data for item in legend.items}


def test_one_rectangle_for_each_task(monkeypatch: pytest.MonkeyPatch):
    tasks = [
        Task(("load", 0), "load", 0.0, 2.0, lane=4, size=1000),
        Task(("load", 1), "load", 1.0, 3.0, lane=7, outcome="failed"),
        Task("sum", "sum", 3.0, 3.5, lane=4, size=8),
    ]
    recording = Recording(tasks, lanes=[(7, "mars-1", 11, 0.0), (4, "mars-0", 10, 0.0)], gaps=((7, 0.0, 0.5, 1),))
    figure = profile_of(monkeypatch, recording).plot()
    lines = drawn(figure)
    assert list(lines) == ["load", "sum", "waiting for the GIL"]  # what took the most time comes first
    load = {name: list(values) for name, values in lines["load"].items()}
    assert load["y"] == [0, 1]
    assert (load["left"], load["right"]) == ([0.0, 1.0], [2.0, 3.0])
    assert load["key"] == ["('load', 0)", "('load', 1)"]
    assert load["prefix"] == ["load", "load"]
    assert load["seconds"] == ["2.00 s", "2.00 s"]
    assert load["bytes"] == ["1.00 kB", "-"]
    assert load["outcome"] == ["finished", "failed"]
    assert load["line"] == ["gray", "red"]
    assert list(lines["waiting for the GIL"]["outcome"]) == [""]
    assert figure.yaxis[0].major_label_overrides == {0: "mars-0", 1: "mars-1"}
    assert (figure.x_range.start, figure.x_range.end) == (0.0, 10.0)
    assert figure.title.text == "3 tasks on 2 threads in 10.0 s"


def test_merged_tasks(monkeypatch: pytest.MonkeyPatch):
    recording = Recording([*many("a", 50, 0.1), *many("b", 50, 0.1, lane=1)], dropped=7, dropped_below=1e-6)
    figure = profile_of(monkeypatch, recording).plot(max_rects=10)
    assert "90 short ones are merged" in figure.title.text
    assert "7 of less than 1.00 µs are left out" in figure.title.text
    keys = [key for data in drawn(figure).values() for key in data["key"]]
    assert len(keys) == 12
    assert "45 tasks" in keys


def test_merged_tasks_of_several_prefixes(monkeypatch: pytest.MonkeyPatch):
    recording = Recording(sorted(many("a", 50, 0.1) + many("b", 50, 0.1, begin=5.0), key=lambda t: t.start))
    lines = drawn(profile_of(monkeypatch, recording).plot(max_rects=10))
    assert list(lines) == ["several prefixes", "a"]
    assert list(lines["several prefixes"]["key"]) == ["90 tasks"]


def test_tasks_inside_of_others_are_lower(monkeypatch: pytest.MonkeyPatch):
    tasks = [Task("outer", "outer", 0.0, 9.0), Task("inner", "inner", 1.0, 8.0), Task("deep", "deep", 2.0, 3.0)]
    tasks += [Task("beside", "beside", 9.0, 9.5), Task("other", "other", 1.0, 8.0, lane=1)]
    lines = drawn(profile_of(monkeypatch, Recording(tasks)).plot())
    heights = {name: data["height"][0] for name, data in lines.items()}
    assert heights["outer"] > heights["inner"] > heights["deep"]
    assert heights["outer"] == heights["beside"] == heights["other"]


def test_nothing_to_draw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    figure = profile_of(monkeypatch, Recording(seconds=0.0)).plot(filename=tmp_path / "empty.html")
    assert figure.title.text == "0 tasks on 0 threads in 0 µs"
    assert (tmp_path / "empty.html").stat().st_size > 0


def test_many_prefixes_share_a_colour(monkeypatch: pytest.MonkeyPatch):
    tasks = [Task(f"{i}", f"p{i}", i / 100, (i + 1 + i / 1000) / 100, lane=i % 3) for i in range(500)]
    lines = drawn(profile_of(monkeypatch, Recording(tasks)).plot())
    assert len(lines) == 21
    assert list(lines)[:2] == ["p499", "p498"]
    assert list(lines)[-1] == "other prefixes"
    assert len(lines["other prefixes"]["key"]) == 480
    assert lines["other prefixes"]["prefix"][0] == "p0"


def test_colours_differ(monkeypatch: pytest.MonkeyPatch):
    tasks = [Task(f"{i}", f"p{i}", i, i + 1) for i in range(10)]
    for palette in ("Category20", "Viridis", "Turbo"):
        legend = profile_of(monkeypatch, Recording(tasks)).plot(palette=palette).right[0]
        assert len({item.renderers[0].glyph.fill_color for item in legend.items}) == 10


def test_options_of_the_figure(monkeypatch: pytest.MonkeyPatch):
    profile = profile_of(monkeypatch, Recording([Task()]))
    figure = profile.plot(title="Mine", width=300, height=222, tools="pan,hover")
    assert (figure.title.text, figure.width, figure.height, len(figure.tools)) == ("Mine", 300, 222, 2)
    with pytest.raises(ValueError, match=r"palette has to be one of .* not 'Nothing'"):
        profile.plot(palette="Nothing")
    with pytest.raises(AttributeError, match="colour"):
        profile.plot(colour="red")
    for bad, kind in ((0, ValueError), (1.5, TypeError)):
        with pytest.raises(kind, match="max_rects has to be a whole number"):
            profile.plot(max_rects=bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="show has to be True, False or None, not 1"):
        profile.plot(show=1)  # type: ignore[arg-type]


def test_page_with_hostile_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    class Odd:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    bad = "</script><script>alert(1)</script>"
    tasks = [
        Task(key, prefix, i, i + 1)
        for i, (key, prefix) in enumerate(
            [(bad, bad), ("\ud800", "\ud800"), (("x" * 10_000, 1), "x" * 10_000), (Odd(), ""), (b"\xff", "a\nb")]
        )
    ]
    recording = Recording(tasks, lanes=[(0, bad, 1, 0.0)])
    figure = profile_of(monkeypatch, recording).plot(filename=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert len(page) < 100_000
    assert [tip for tip in figure.hover[0].tooltips if "safe" in tip[1]] == []  # bokeh escapes what is shown
    keys = [key for data in drawn(figure).values() for key in data["key"]]
    assert "<Odd without a text>" in keys


def test_nothing_is_left_behind_unless_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    profile = profile_of(monkeypatch, Recording([Task()]))
    profile.plot()
    profile.plot(show=False)
    assert (list(tmp_path.iterdir()), opened) == ([], [])
    profile.plot("page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert opened == []
    profile.plot("page.html", show=True)
    assert opened == [(tmp_path / "page.html").as_uri()]


def test_browser_gets_a_temporary_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    profile_of(monkeypatch, Recording([Task()])).plot(show=True)
    (page,) = tmp_path.iterdir()
    assert opened == [page.as_uri()]


def test_notebook_shows_it_in_place(monkeypatch: pytest.MonkeyPatch):
    from bokeh import plotting
    from bokeh.io.state import State

    shown: list[Any] = []
    monkeypatch.setattr(State, "notebook", property(lambda self: True))
    monkeypatch.setattr(plotting, "show", shown.append)
    profile = profile_of(monkeypatch, Recording([Task()]))
    figure = profile.plot()
    profile.plot(show=False)
    assert shown == [figure]


def test_stacked_with_profilers_of_dask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from dask.diagnostics import ResourceProfiler, visualize

    resources = ResourceProfiler(dt=1)
    profile = profile_of(monkeypatch, Recording(many("a", 5, 1.0)))
    page = tmp_path / "page.html"
    visualize([profile, resources], filename=str(page), show=False, save=True)
    assert page.stat().st_size > 0
    assert visualize(profile, show=False, save=False, width=400).width == 400


def test_bokeh_is_missing():
    code = """
import sys
sys.modules["bokeh"] = None
import mars
try:
    mars.profile().plot()
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a plot of a profile needs bokeh: python -m pip install bokeh\n"
