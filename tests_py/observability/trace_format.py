"""Reads traces of Chrome's format, and refuses those that are none.

What is asked for is in "Trace Event Format", in the form of an object: complete slices (X), metadata (M), flows
(s, t, f), instants (i) and counters (C). Numbers are read exactly, so that slices side by side are told from such that
overlap by a nanosecond.
"""

from __future__ import annotations

import gzip
import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

Number = int | Decimal
Thread = tuple[Number, Number]


class TraceError(ValueError):
    """This is no trace."""


@dataclass(eq=False)
class Slice:
    """A complete slice; times are in microseconds."""

    name: str
    category: str
    thread: Thread
    start: Number
    end: Number
    args: dict[str, Any]
    depth: int = 0


@dataclass
class Trace:
    """What is in a trace."""

    slices: list[Slice] = field(default_factory=list)
    #: The slices that each arrow starts and ends at.
    arrows: list[tuple[Slice, Slice]] = field(default_factory=list)
    thread_names: dict[Thread, str] = field(default_factory=dict)
    process_names: dict[Number, str] = field(default_factory=dict)
    instants: list[dict[str, Any]] = field(default_factory=list)
    counters: list[dict[str, Any]] = field(default_factory=list)
    #: All but the events.
    metadata: dict[str, Any] = field(default_factory=dict)


def read(path: str | PathLike[str], rounded: str = "0") -> Trace:
    """The trace in a file, compressed if its name ends in ``.gz``."""
    data = Path(path).read_bytes()
    return parse(gzip.decompress(data) if str(path).endswith(".gz") else data, rounded)


def parse(data: bytes | str, rounded: str = "0") -> Trace:
    """The trace that this is the text of; ends of slices may be off by `rounded` microseconds."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        found = json.loads(text, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_object)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TraceError(f"no JSON: {error}") from None
    return _check(found, Decimal(rounded))


def _check(found: Any, rounded: Decimal) -> Trace:
    _ask(isinstance(found, dict), "a trace is an object")
    events = found.get("traceEvents")
    _ask(isinstance(events, list), "a trace has a list of traceEvents")
    _ask(found.get("displayTimeUnit", "ms") in ("ms", "ns"), "displayTimeUnit is ms or ns")
    trace = Trace(metadata={name: value for name, value in found.items() if name != "traceEvents"})
    flows: dict[tuple[str, str, Any], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        _ask(isinstance(event, dict), "an event is an object", event)
        phase = event.get("ph")
        _ask(isinstance(phase, str) and phase in PHASES, "an event has a phase that is known", event)
        _common(event)
        PHASES[phase](event, trace, flows)
    lanes = _nest(trace.slices, rounded)
    for steps in flows.values():
        trace.arrows += _bind(steps, lanes)
    return trace


def _ask(fine: bool, what: str, event: Any = None) -> None:
    if not fine:
        raise TraceError(what if event is None else f"{what}: {event!r}")


def _no_number(text: str) -> Any:
    raise TraceError(f"{text} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    _ask(len(found) == len(pairs), "an object has each field once", pairs)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _common(event: dict[str, Any]) -> None:
    _ask(isinstance(event.get("name"), str), "an event has a name", event)
    for name in ("pid", "tid"):
        value = event.get(name)
        _ask(isinstance(value, int) and not isinstance(value, bool), f"an event has a {name}, a whole number", event)
    _ask(isinstance(event.get("cat", ""), str), "categories are a text", event)
    _ask(isinstance(event.get("args", {}), dict), "args are an object", event)
    if event["ph"] != "M":
        _ask(_is_number(event.get("ts")), "an event has a time", event)
        _ask(event["ts"] >= 0, "no time is negative", event)


def _thread(event: dict[str, Any]) -> Thread:
    return event["pid"], event["tid"]


def _slice(event: dict[str, Any], trace: Trace, _: Any) -> None:
    _ask(_is_number(event.get("dur")), "a slice has a duration", event)
    _ask(event["dur"] >= 0, "no duration is negative", event)
    start, end = event["ts"], event["ts"] + event["dur"]
    args = event.get("args", {})
    trace.slices.append(Slice(event["name"], event.get("cat", ""), _thread(event), start, end, args))


def _metadata(event: dict[str, Any], trace: Trace, _: Any) -> None:
    name, args = event["name"], event.get("args", {})
    if name in ("process_name", "thread_name"):
        _ask(isinstance(args.get("name"), str), f"{name} has a name", event)
        if name == "thread_name":
            _ask(_thread(event) not in trace.thread_names, "a thread is named once", event)
            trace.thread_names[_thread(event)] = args["name"]
        else:
            trace.process_names[event["pid"]] = args["name"]
    elif name in ("process_sort_index", "thread_sort_index"):
        _ask(_is_number(args.get("sort_index")), f"{name} has a sort_index", event)
    elif name == "process_labels":
        _ask(isinstance(args.get("labels"), str), "process_labels has labels", event)
    else:
        raise TraceError(f"there is no such metadata: {event!r}")


def _flow(event: dict[str, Any], _: Trace, flows: Any) -> None:
    _ask(isinstance(event.get("id"), (int, str)) and not isinstance(event["id"], bool), "a flow has an id", event)
    _ask(bool(event.get("cat")), "a flow has a category", event)
    if "bp" in event:
        _ask(event["bp"] == "e", "a flow binds to what encloses it or to what comes next", event)
    flows[event["cat"], event["name"], event["id"]].append(event)


def _instant(event: dict[str, Any], trace: Trace, _: Any) -> None:
    _ask(event.get("s", "t") in ("g", "p", "t"), "an instant has a scope", event)
    trace.instants.append(event)


def _counter(event: dict[str, Any], trace: Trace, _: Any) -> None:
    args = event.get("args", {})
    _ask(bool(args) and all(map(_is_number, args.values())), "a counter has numbers", event)
    trace.counters.append(event)


PHASES: dict[str, Callable[[dict[str, Any], Trace, Any], None]] = {
    "X": _slice,
    "M": _metadata,
    **dict.fromkeys("stf", _flow),
    "i": _instant,
    "C": _counter,
}


def _nest(slices: list[Slice], rounded: Decimal) -> dict[Thread, list[Slice]]:
    """The slices of each thread by their beginning; on one thread they are inside of each other or apart."""
    lanes: defaultdict[Thread, list[Slice]] = defaultdict(list)
    for piece in slices:
        lanes[piece.thread].append(piece)
    for lane in lanes.values():
        lane.sort(key=lambda piece: (piece.start, -piece.end))
        around: list[Slice] = []
        for piece in lane:
            while around and around[-1].end - rounded <= piece.start:
                around.pop()
            if around and piece.end > around[-1].end + rounded:
                raise TraceError(f"two slices of a thread overlap: {around[-1]} and {piece}")
            piece.depth = len(around)
            around.append(piece)
    return lanes


def _bind(steps: list[dict[str, Any]], lanes: dict[Thread, list[Slice]]) -> list[tuple[Slice, Slice]]:
    """The arrows of one flow, from slice to slice."""
    steps = sorted(steps, key=lambda step: (step["ts"], "stf".index(step["ph"])))
    phases = "".join(step["ph"] for step in steps)
    _ask(phases.count("s") == 1 and phases[0] == "s", "a flow begins once, before all else", steps)
    _ask(phases.count("f") == 1 and phases[-1] == "f", "a flow ends once, after all else", steps)
    bound = [_bound(step, lanes.get(_thread(step), [])) for step in steps]
    return list(pairwise(bound))


def _bound(step: dict[str, Any], lane: list[Slice]) -> Slice:
    """The slice that a step of a flow belongs to: the innermost around it, or, for an end, the next one."""
    moment = step["ts"]
    if step["ph"] == "f" and "bp" not in step:
        place = bisect_left(lane, moment, key=lambda piece: piece.start)
        _ask(place < len(lane), "a flow ends at a slice that comes next", step)
        return lane[place]
    for piece in reversed(lane[: bisect_right(lane, moment, key=lambda piece: piece.start)]):
        if piece.end >= moment:
            return piece
    raise TraceError(f"a flow has a slice around it: {step!r}")
