"""The timeline as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mars._mars import Profile as Recording

__all__ = ["DTYPES", "to_pandas"]

#: How the native columns are read.
DTYPES = {
    **dict.fromkeys(("computation", "task", "lane", "group", "count"), "u4"),
    **dict.fromkeys(("queued", "start", "end", "cpu"), "f8"),
    **dict.fromkeys(("outcome", "kind"), "u1"),
    "bytes": "i8",
}


def to_pandas(recording: Recording) -> Any:
    """See `Profile.to_pandas`."""
    try:
        import numpy as np
        import pandas as pd
    except ImportError:
        raise ImportError("Profile.to_pandas needs pandas: python -m pip install pandas") from None
    # The columns first: of what is in them, names and keys are known from then on.
    columns = {name: np.frombuffer(data, DTYPES[name]) for name, data in recording.columns().items()}
    lanes = recording.threads()
    names = {number: name for number, name, *_ in lanes}
    lane_names = [names.get(number, "") for number in range(max(names, default=-1) + 1)]
    size = columns["bytes"]
    frame = pd.DataFrame(
        {
            "key": pd.Series(keys_of(recording, columns["computation"], columns["task"]), dtype=object),
            "prefix": _categories(recording.group_names(), columns["group"]),
            "computation": columns["computation"].astype("i8"),
            "worker": _categories(lane_names, columns["lane"]),
            "queued": columns["queued"],
            "start": columns["start"],
            "end": columns["end"],
            "duration": columns["end"] - columns["start"],
            "cpu": columns["cpu"],
            "bytes": pd.arrays.IntegerArray(size.copy(), size < 0),
            "outcome": _categories(list(recording.outcomes), columns["outcome"]),
        }
    )
    frame.attrs.update(began=recording.began, dropped=recording.dropped)
    return frame


def keys_of(recording: Recording, computation: Any, task: Any) -> Any:
    """The keys of tasks, as an array of objects."""
    import numpy as np

    keys = np.empty(len(task), object)
    order = np.argsort(computation, kind="stable")
    numbers, begins = np.unique(computation[order], return_index=True)
    for number, rows in zip(numbers.tolist(), np.split(order, begins[1:]), strict=False):
        all_keys = recording.keys(number)
        # Not `np.array`: keys that are tuples would make it a matrix.
        keys[rows] = np.fromiter(all_keys, object, len(all_keys))[task[rows]]
    return keys


def _categories(names: list[str], codes: Any) -> Any:
    """Texts by number; several numbers may stand for the same text."""
    import numpy as np
    import pandas as pd

    unique = {name: number for number, name in enumerate(dict.fromkeys(names))}
    numbers = np.array([unique[name] for name in names], "i8")
    return pd.Categorical.from_codes(numbers[codes], categories=list(unique)).remove_unused_categories()
