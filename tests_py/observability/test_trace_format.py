"""The reader of traces takes what is right and refuses what is broken."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from observability.trace_format import TraceError, parse, read

GOOD: dict[str, Any] = {
    "displayTimeUnit": "ms",
    "otherData": {"merged": 0},
    "traceEvents": [
        {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": "python"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 7, "args": {"name": "mars-0"}},
        {"ph": "M", "name": "thread_sort_index", "pid": 1, "tid": 7, "args": {"sort_index": 0}},
        {"ph": "X", "name": "outer", "cat": "task", "pid": 1, "tid": 7, "ts": 0.5, "dur": 10, "args": {"key": "a"}},
        {"ph": "X", "name": "inner", "cat": "task", "pid": 1, "tid": 7, "ts": 1, "dur": 2.5},
        {"ph": "X", "name": "next", "cat": "task", "pid": 1, "tid": 7, "ts": 10.5, "dur": 0},
        {"ph": "X", "name": "other", "cat": "task", "pid": 1, "tid": 8, "ts": 12, "dur": 3},
        {"ph": "s", "name": "needs", "cat": "flow", "id": 1, "pid": 1, "tid": 7, "ts": 2},
        {"ph": "f", "name": "needs", "cat": "flow", "id": 1, "pid": 1, "tid": 8, "ts": 12, "bp": "e"},
        {"ph": "i", "name": "stop", "pid": 1, "tid": 7, "ts": 3, "s": "p"},
        {"ph": "C", "name": "memory", "pid": 1, "tid": 0, "ts": 3, "args": {"bytes": 17}},
    ],
}
OUTER, INNER, NEXT, OTHER, BEGIN, END, INSTANT, COUNTER = range(3, 11)


def changed(number: int, **changes: Any) -> dict[str, Any]:
    """The good trace with one event changed; None removes a field."""
    trace = copy.deepcopy(GOOD)
    event = trace["traceEvents"][number] | changes
    trace["traceEvents"][number] = {name: value for name, value in event.items() if value is not None}
    return trace


def test_what_is_in_a_trace():
    trace = parse(json.dumps(GOOD))
    assert [(s.name, float(s.start), float(s.end), s.depth) for s in trace.slices] == [
        ("outer", 0.5, 10.5, 0),
        ("inner", 1.0, 3.5, 1),
        ("next", 10.5, 10.5, 0),
        ("other", 12.0, 15.0, 0),
    ]
    assert [(begin.name, end.name) for begin, end in trace.arrows] == [("inner", "other")]
    assert trace.thread_names == {(1, 7): "mars-0"}
    assert trace.process_names == {1: "python"}
    assert trace.slices[0].args == {"key": "a"}
    assert (len(trace.instants), len(trace.counters)) == (1, 1)
    assert trace.metadata["otherData"] == {"merged": 0}


def test_order_of_events_means_nothing():
    trace = copy.deepcopy(GOOD)
    trace["traceEvents"].reverse()
    assert [(begin.name, end.name) for begin, end in parse(json.dumps(trace)).arrows] == [("inner", "other")]


def test_flow_without_bp_ends_at_the_next_slice():
    assert parse(json.dumps(changed(END, bp=None, tid=7, ts=4))).arrows[0][1].name == "next"


def test_file_may_be_compressed(tmp_path: Path):
    (tmp_path / "t.json").write_text(json.dumps(GOOD))
    (tmp_path / "t.json.gz").write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert len(read(tmp_path / "t.json").slices) == len(read(tmp_path / "t.json.gz").slices) == 4


BROKEN: dict[str, Callable[[], Any]] = {
    "a list": lambda: GOOD["traceEvents"],
    "no events": dict,
    "events that are no list": lambda: {"traceEvents": {}},
    "an event that is no object": lambda: {"traceEvents": [1]},
    "a unit that is none": lambda: GOOD | {"displayTimeUnit": "s"},
    "no phase": lambda: changed(OUTER, ph=None),
    "an unknown phase": lambda: changed(OUTER, ph="Y"),
    "a phase that is no text": lambda: changed(OUTER, ph=[]),
    "no name": lambda: changed(OUTER, name=None),
    "a name that is no text": lambda: changed(OUTER, name=3),
    "no process": lambda: changed(OUTER, pid=None),
    "a thread that is no number": lambda: changed(OUTER, tid="mars-0"),
    "a thread that is a truth": lambda: changed(OUTER, tid=True),
    "no time": lambda: changed(OUTER, ts=None),
    "a time that is no number": lambda: changed(OUTER, ts="0"),
    "a negative time": lambda: changed(OUTER, ts=-1),
    "no duration": lambda: changed(OUTER, dur=None),
    "a negative duration": lambda: changed(OUTER, dur=-1),
    "a category that is no text": lambda: changed(OUTER, cat=["task"]),
    "args that are no object": lambda: changed(OUTER, args=[1]),
    "slices that overlap": lambda: changed(INNER, dur=10),
    "unknown metadata": lambda: changed(1, name="thread_colour"),
    "a thread without a name": lambda: changed(1, args={}),
    "a thread with two names": lambda: GOOD | {"traceEvents": [*GOOD["traceEvents"], GOOD["traceEvents"][1]]},
    "a sort index that is none": lambda: changed(2, args={"sort_index": "0"}),
    "a flow without an id": lambda: changed(BEGIN, id=None),
    "a flow without a category": lambda: changed(BEGIN, cat=None),
    "a flow that binds oddly": lambda: changed(END, bp="x"),
    "a flow that does not end": lambda: changed(END, ph="t"),
    "a flow that does not begin": lambda: changed(BEGIN, ph="t"),
    "a flow with two ids": lambda: changed(END, id=2),
    "a flow with two names": lambda: changed(END, name="feeds"),
    "a flow that ends before it begins": lambda: changed(BEGIN, ts=13, tid=8),
    "a flow from no slice": lambda: changed(BEGIN, tid=9),
    "a flow from beside a slice": lambda: changed(BEGIN, ts=11),
    "a flow to no slice": lambda: changed(END, ts=16),
    "a flow to nothing that comes next": lambda: changed(END, bp=None, ts=13),
    "an instant without a time": lambda: changed(INSTANT, ts=None),
    "an instant with an odd scope": lambda: changed(INSTANT, s="x"),
    "a counter without a number": lambda: changed(COUNTER, args={}),
    "a counter of texts": lambda: changed(COUNTER, args={"bytes": "17"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_traces_are_refused(name: str):
    with pytest.raises(TraceError):
        parse(json.dumps(BROKEN[name]()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        b"\xff{}",
        '{"traceEvents": []} and more',
        '{"traceEvents": [], "traceEvents": []}',
        '{"traceEvents": [{"ph": "X", "name": "x", "pid": 1, "tid": 1, "ts": NaN, "dur": 0}]}',
        '{"traceEvents": [{"ph": "X", "name": "x", "pid": 1, "tid": 1, "ts": 0, "dur": Infinity}]}',
    ],
)
def test_what_is_no_json_is_refused(text: str | bytes):
    with pytest.raises(TraceError):
        parse(text)


def test_overlap_by_a_nanosecond_is_seen():
    """Which floating point numbers of this size would not show."""
    begin = 10**15

    def text(*times: str) -> str:
        fields = '"ph": "X", "name": "x", "pid": 1, "tid": 1, "dur": 1.001'
        events = ", ".join(f'{{{fields}, "ts": {time}}}' for time in times)
        return f'{{"traceEvents": [{events}]}}'

    assert len(parse(text(f"{begin}.000", f"{begin + 1}.001")).slices) == 2
    with pytest.raises(TraceError):
        parse(text(f"{begin}.001", f"{begin + 1}.001"))
