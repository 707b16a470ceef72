"""The timeline as an interactive plot."""

from __future__ import annotations

import os
import tempfile
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mars._profile.text import count, cut, duration

if TYPE_CHECKING:
    from mars._mars import Profile as Recording

__all__ = ["deliver", "import_bokeh", "timeline"]

#: So many prefixes have a colour and a line in the legend of their own; those that took the most time.
_NAMED = 20
_OTHERS = "other prefixes"
#: What is no task: its kind, name and colour.
_GAPS = {1: ("waiting for the GIL", "#d0d0d0"), 2: ("moving results", "#909090")}
_TOOLTIPS = [
    ("key", "@key"),
    ("prefix", "@prefix"),
    ("seconds", "@seconds"),
    ("started at", "@left{0.000000} s"),
    ("bytes", "@bytes"),
    ("outcome", "@outcome"),
]


def import_bokeh() -> Any:
    """bokeh's plotting, or an error that says how to get it."""
    try:
        from bokeh import plotting
    except ImportError:
        raise ImportError("a plot of a profile needs bokeh: python -m pip install bokeh") from None
    return plotting


def deliver(figure: Any, filename: str | os.PathLike[str] | None, show: bool | None) -> None:
    """Save it, show it, or neither."""
    plotting = import_bokeh()
    from bokeh.io.state import curstate
    from bokeh.resources import CDN

    notebook = bool(curstate().notebook)
    if filename is not None:
        plotting.save(figure, os.fspath(filename), resources=CDN, title="Profile")
    if show is None:
        show = notebook
    if not show:
        return
    if notebook:
        plotting.show(figure)
        return
    import webbrowser

    if filename is None:
        # It has to outlive this process: the browser reads it when it likes.
        handle, filename = tempfile.mkstemp(prefix="mars-profile-", suffix=".html")
        os.close(handle)
        plotting.save(figure, filename, resources=CDN, title="Profile")
    webbrowser.open(Path(filename).resolve().as_uri())


def timeline(recording: Recording, most: int, *, palette: str = "Category20", **kwargs: Any) -> Any:
    """The figure of `Profile.plot`."""
    plotting = import_bokeh()
    from bokeh import palettes
    from bokeh.models import HoverTool, Legend

    from mars._profile.rectangles import rectangles

    if palette not in palettes.all_palettes:
        raise ValueError(f"palette has to be one of bokeh.palettes.all_palettes, not {palette!r}")
    drawn = rectangles(recording, most)
    lanes = recording.threads()
    options = {
        "title": _title(recording, drawn.merged, len(lanes)),
        "tools": "hover,save,reset,xwheel_zoom,xpan,box_zoom",
        "toolbar_location": "above",
        "width": 1000,
        "height": 140 + 26 * min(max(len(lanes), 2), 32),
        "x_range": (0.0, recording.seconds or 1.0),
        # The first worker is at the top, as in a list.
        "y_range": (max(len(lanes), 1) - 0.5, -0.5),
        "output_backend": "webgl",
    }
    figure = plotting.figure(**(options | kwargs))
    colors = cycle(dict.fromkeys(_colors(palettes.all_palettes[palette])))
    items = []
    for name, data in _layers(drawn):
        color = _GAPS.get(data["kind"][0], ("", None))[1] or ("#bab0ac" if name == _OTHERS else next(colors))
        renderer = figure.hbar(
            y="y",
            left="left",
            right="right",
            height="height",
            source=plotting.ColumnDataSource(data),
            fill_color=color,
            line_color="line",
            line_width=0.5,
        )
        items.append((cut(name), [renderer]))
    if items:
        figure.add_layout(Legend(items=items, click_policy="hide", label_text_font_size="9pt", spacing=0), "right")
    else:
        figure.hbar(y=[], left=[], right=[], height=[])  # without any glyph bokeh complains
    figure.yaxis.ticker = list(range(len(lanes)))
    figure.yaxis.major_label_overrides = {row: cut(name) for row, (_, name, *_) in enumerate(sorted(lanes))}
    figure.grid.grid_line_color = None
    figure.xaxis.axis_label = "Time (s)"
    figure.yaxis.axis_label = "Worker"
    for hover in figure.select(HoverTool):
        hover.tooltips = _TOOLTIPS
        hover.point_policy = "follow_mouse"
    return figure


def _colors(palette: Any) -> list[str]:
    """The colours of bokeh's palette: the largest one, evenly spread if there are far too many."""
    colors = list(palette[max(palette)])
    return colors[:: max(1, len(colors) // _NAMED)]


def _layers(drawn: Any) -> list[tuple[str, dict[str, Any]]]:
    """Data for each line of the legend; prefixes that took the most time come first."""
    import numpy as np

    spent = np.bincount(drawn.name, drawn.columns["right"] - drawn.columns["left"], len(drawn.names))
    order = sorted(np.unique(drawn.name).tolist(), key=lambda number: (-spent[number], number))
    tasks = [number for number in order if number >= len(_GAPS)]
    named, others = (tasks, []) if len(tasks) <= _NAMED + 1 else (tasks[:_NAMED], tasks[_NAMED:])
    layers = [(drawn.names[number], drawn.name == number) for number in named]
    if others:
        layers.append((_OTHERS, np.isin(drawn.name, others)))
    layers += [(drawn.names[number], drawn.name == number) for number in order if number < len(_GAPS)]
    return [(name, {field: values[rows] for field, values in drawn.columns.items()}) for name, rows in layers]


def _title(recording: Recording, merged: int, workers: int) -> str:
    tasks = recording.event_count
    text = f"{count(tasks, 'task')} on {count(workers, 'thread')} in {duration(recording.seconds)}"
    if merged:
        text += f"; {merged:,} short ones are merged with others side by side"
    if recording.dropped:
        text += f"; {recording.dropped:,} of less than {duration(recording.dropped_below)} are left out"
    return text
