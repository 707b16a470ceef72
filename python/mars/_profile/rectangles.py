"""What is drawn of a timeline, in at most so many pieces."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mars._limits import format_bytes
from mars._profile.frame import DTYPES, keys_of
from mars._profile.text import cut, duration, key_text

if TYPE_CHECKING:
    from mars._mars import Profile as Recording

__all__ = ["Rectangles", "rectangles"]

#: A slice of tasks of several prefixes.
_SEVERAL = 2**32 - 1
#: Heights of a lane, and of a task inside of another in the height of that.
_HEIGHT = 0.8
_INNER = 0.7
#: Numbers of names before those of prefixes: kinds of what is no task.
_KINDS = ("waiting for the GIL", "moving results")


@dataclass(frozen=True)
class Rectangles:
    """Rectangles, by columns.

    Attributes
    ----------
    columns : dict of str to array
        ``y``, ``height``, ``left``, ``right``, ``line``, and texts to show.
    name : array
        By number: what each stands for in the legend.
    names : list of str
        The names.
    merged : int
        How many tasks share a rectangle with others.
    """

    columns: dict[str, Any]
    name: Any
    names: list[str]
    merged: int


def rectangles(recording: Recording, most: int) -> Rectangles:
    """The timeline in at most about `most` rectangles."""
    import numpy as np

    pieces = {name: np.frombuffer(data, DTYPES[name]) for name, data in recording.slices(most).items()}
    prefixes = [*recording.group_names(), "several prefixes"]
    rows = {number: row for row, (number, *_) in enumerate(sorted(recording.threads()))}
    group = pieces["group"].astype("i8")
    group[group == _SEVERAL] = len(prefixes) - 1
    kind, number = pieces["kind"], pieces["count"]
    task = kind == 0
    name = np.where(task, group + len(_KINDS), kind.astype("i8") - 1)
    names = [*_KINDS, *prefixes]
    left, right = pieces["start"], pieces["end"]
    outcomes = np.array([*recording.outcomes, ""], object)
    failed = task & (outcomes[pieces["outcome"]] == "failed")
    columns = {
        "y": np.array([rows.get(lane, 0) for lane in pieces["lane"].tolist()], "i8"),
        "height": _heights(pieces["lane"], left, right, task),
        "left": left,
        "right": right,
        "kind": kind,
        "line": np.where(failed, "red", "gray"),
        "prefix": np.array([cut(text) for text in names], object)[name],
        "seconds": _texts(map(duration, (right - left).tolist())),
        "key": _keys(recording, pieces, task, [cut(text) for text in _KINDS]),
        "bytes": _texts("-" if size < 0 else format_bytes(size) for size in pieces["bytes"].tolist()),
        "outcome": np.where(task, outcomes[pieces["outcome"]], ""),
    }
    return Rectangles(columns, name, names, int(number[task & (number > 1)].sum()))


def _texts(values: Any) -> Any:
    import numpy as np

    texts = list(values)
    return np.fromiter(texts, object, len(texts))


def _heights(lane: Any, left: Any, right: Any, task: Any) -> Any:
    """Tasks inside of others on the same thread are lower, so that both are seen."""
    import numpy as np

    heights = np.full(len(lane), _HEIGHT)
    around: defaultdict[int, list[float]] = defaultdict(list)
    for row in np.lexsort((-right, left)).tolist():
        ends = around[lane[row]]
        while ends and ends[-1] <= left[row]:
            ends.pop()
        heights[row] *= _INNER ** len(ends)
        if task[row]:
            ends.append(right[row])
    return heights


def _keys(recording: Recording, pieces: Any, task: Any, kinds: list[str]) -> Any:
    """What to call each: the key of a task, or how many they are."""
    import numpy as np

    texts = np.empty(len(task), object)
    for row in np.flatnonzero(~task).tolist():
        texts[row] = kinds[pieces["kind"][row] - 1]
    for row in np.flatnonzero(task & (pieces["count"] != 1)).tolist():
        texts[row] = f"{pieces['count'][row]:,} tasks"
    alone = np.flatnonzero(task & (pieces["count"] == 1))
    keys = keys_of(recording, pieces["computation"][alone], pieces["task"][alone])
    texts[alone] = _texts(map(key_text, keys))
    return texts
