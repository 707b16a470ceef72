"""The timeline as a data frame and as a trace: one row a task."""

from __future__ import annotations

import gzip
import logging
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from observability.made_up import Recording, Task, many, profile_of
from observability.trace_format import read


def test_one_row_for_each_task(monkeypatch: pytest.MonkeyPatch):
    pd = pytest.importorskip("pandas")
    tasks = [
        Task(("x", 0), "x", 1.0, 2.5, lane=0, computation=3, cpu=1.25, size=100, queued=0.5),
        Task(("x", 1), "x", 1.5, 2.0, lane=2, computation=3, cpu=math.nan, outcome="failed"),
        Task("y", "y", 3.0, 3.5, lane=2, computation=7, size=0, outcome="promised"),
    ]
    recording = Recording(tasks, lanes=[(0, "MainThread", 1, 1.5), (1, "mars", 2, 0.0), (2, "mars", 3, 1.0)], dropped=4)
    frame = profile_of(monkeypatch, recording).to_pandas()
    assert frame.to_dict("list") | {"cpu": frame.cpu.fillna(-1).tolist(), "bytes": frame.bytes.fillna(-1).tolist()} == {
        "key": [("x", 0), ("x", 1), "y"],
        "prefix": ["x", "x", "y"],
        "computation": [3, 3, 7],
        "worker": ["MainThread", "mars", "mars"],
        "queued": [0.5, 1.5, 3.0],
        "start": [1.0, 1.5, 3.0],
        "end": [2.5, 2.0, 3.5],
        "duration": [1.5, 0.5, 0.5],
        "cpu": [1.25, -1, 0.0],
        "bytes": [100, -1, 0],
        "outcome": ["finished", "failed", "promised"],
    }
    assert frame.bytes.dtype == pd.Int64Dtype()
    assert frame.bytes.isna().tolist() == [False, True, False]
    assert frame.attrs == {"began": 1_700_000_000.0, "dropped": 4}
    frame.loc[0, ["start", "bytes"]] = (0.0, 5)  # it is nobody else's
    assert frame.groupby("prefix", observed=True).duration.sum().to_dict() == {"x": 2.0, "y": 0.5}


def test_no_rows(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pandas")
    frame = profile_of(monkeypatch, Recording()).to_pandas()
    full = profile_of(monkeypatch, Recording([Task()])).to_pandas()
    assert frame.shape == (0, 11)
    assert frame.columns.tolist() == full.columns.tolist()
    assert frame.bytes.dtype == full.bytes.dtype


def test_keys_of_any_type(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pandas")
    keys: list[Any] = [("a", 1), ("b", 2), 1.5, b"\xff", frozenset({1}), "x" * 100_000, "\ud800", None]
    frame = profile_of(monkeypatch, Recording([Task(key, "p", i, i + 1) for i, key in enumerate(keys)])).to_pandas()
    assert frame.key.tolist() == keys
    assert frame.key.dtype == object


def test_millions_of_rows(monkeypatch: pytest.MonkeyPatch):
    np = pytest.importorskip("numpy")
    pytest.importorskip("pandas")
    rows, computations = 1_000_000, 2000
    begin = np.arange(rows) / 1e5
    each = rows // computations
    columns = {
        "computation": np.arange(rows, dtype="u4") % computations + 1,
        "task": np.arange(rows, dtype="u4") // computations,
        "lane": np.arange(rows, dtype="u4") % 3,
        "group": np.arange(rows, dtype="u4") % 2,
        "queued": begin,
        "start": begin,
        "end": begin + 1e-5,
        "cpu": begin * 0 + 1e-6,
        "bytes": np.arange(rows) % 10 - 1,
        "outcome": np.zeros(rows, "u1"),
    }
    recording = Recording([Task()], lanes=[(lane, f"mars-{lane}", lane, 0.0) for lane in range(3)])
    monkeypatch.setattr(recording, "columns", lambda: {name: column.tobytes() for name, column in columns.items()})
    monkeypatch.setattr(recording, "group_names", lambda: ["even", "odd"])
    monkeypatch.setattr(recording, "keys", lambda number: [(number, task) for task in range(each)])
    frame = profile_of(monkeypatch, recording).to_pandas()
    assert len(frame) == rows
    assert frame.key.iloc[123_456] == (123_456 % computations + 1, 123_456 // computations)
    assert frame.prefix.value_counts().to_dict() == {"even": rows // 2, "odd": rows // 2}
    assert frame.bytes.isna().sum() == rows // 10


def test_pandas_is_missing():
    code = """
import sys
sys.modules["pandas"] = None
import mars
from mars._profile.frame import to_pandas
try:
    to_pandas(None)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Profile.to_pandas needs pandas: python -m pip install pandas\n"


@pytest.mark.parametrize("name", ["trace.json", "trace", "trace.json.gz"])
def test_trace_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str):
    profile = profile_of(monkeypatch, Recording(many("a", 5, 1.0)))
    path = tmp_path / name
    path.write_text("something longer that was there before" * 100)
    assert profile.to_chrome_trace(path) is path
    assert [piece.name for piece in read(path).slices] == [f"a-0-{i}" for i in range(5)]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert profile.to_chrome_trace(str(path)) == str(path)


def test_same_trace_is_the_same_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    profile = profile_of(monkeypatch, Recording(many("a", 5, 1.0)))
    one, other = (Path(profile.to_chrome_trace(tmp_path / f"{i}.gz")) for i in range(2))
    assert one.read_bytes() == other.read_bytes()
    assert gzip.decompress(one.read_bytes()).startswith(b"{")


def test_merged_tasks_are_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    profile = profile_of(monkeypatch, Recording(many("a", 50, 1.0)))
    with caplog.at_level(logging.INFO, "mars"):
        profile.to_chrome_trace(tmp_path / "all.json")
        assert caplog.messages == []
        profile.to_chrome_trace(tmp_path / "some.json", max_events=10)
    assert caplog.messages == [
        f"{tmp_path / 'some.json'}: 40 short tasks are merged with others beside them, 10 slices are left; "
        "max_events sets how many"
    ]


def test_trace_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    profile = profile_of(monkeypatch, Recording(many("a", 5, 1.0)))
    with pytest.raises(FileNotFoundError, match=r"make it first.*nowhere"):
        profile.to_chrome_trace(tmp_path / "nowhere" / "trace.json")
    with pytest.raises(IsADirectoryError, match="needs the name of a file"):
        profile.to_chrome_trace(tmp_path)
    for bad, kind in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("many", TypeError), (True, ValueError)):
        with pytest.raises(kind, match="max_events has to be a whole number"):
            profile.to_chrome_trace(tmp_path / "trace.json", max_events=bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="flows has to be True or False, not 1"):
        profile.to_chrome_trace(tmp_path / "trace.json", flows=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        profile.to_chrome_trace(17)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_trace_into_the_current_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    profile_of(monkeypatch, Recording(many("a", 5, 1.0))).to_chrome_trace("trace.json.gz")
    assert len(read(tmp_path / "trace.json.gz").slices) == 5
