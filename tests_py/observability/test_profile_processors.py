"""How busy processors were is told by the system, where it tells."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mars import _config
from mars._profile import processors
from mars._profile.processors import Load, Usage

STAT = """\
cpu  1000 0 0 1000 0 0 0 0 0 0
cpu0 10 20 30 40 50 60 70 80 900 900
cpu1 1 2 3 4 5 6 7 8 0 0
cpu10 100 0 0 0 0 0 0 0 0 0
intr 17
"""


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "cpu_count", lambda: 2)


@pytest.mark.parametrize(
    ("mine", "expected"), [({0, 1}, (396 - 99, 396)), ({1}, (27, 36)), ({10}, (100, 100)), ({7}, (0, 0))]
)
def test_only_processors_of_this_process_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mine: set[int], expected: tuple[int, int]
):
    (tmp_path / "stat").write_text(STAT)
    monkeypatch.setattr(processors, "_STAT", tmp_path / "stat")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: mine, raising=False)
    usage = Usage.now()
    assert (usage.busy, usage.ticks) == expected


@pytest.mark.parametrize("text", ["", "cpu0 a b c\n", "cpu0\n"])
def test_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str):
    (tmp_path / "stat").write_text(text)
    for path in (tmp_path / "stat", tmp_path / "nothing"):
        monkeypatch.setattr(processors, "_STAT", path)
        assert Usage.now()[2:] == (0, 0)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert Usage.now()[2:] == (0, 0)


def test_load():
    before = Usage(moment=100.0, cpu=5.0, busy=1000, ticks=2000)
    assert Usage(110.0, 9.0, 1150, 2200).since(before) == Load(processors=2, mine=0.4, all=1.5)
    assert Usage(110.0, 9.0, 1001, 2200).since(before) == Load(2, 0.4, 0.4)  # ticks are coarse
    assert Usage(110.0, 9.0, 1000, 2000).since(before) == Load(2, 0.4, 0.4)
    assert before.since(before) == Load(2, 0.0, 0.0)


def test_own_work_is_seen():
    before = Usage.now()
    threading.Event().wait(0.001)
    while Usage.now().cpu - before.cpu < 0.01:
        sum(range(1000))
    load = Usage.now().since(before)
    assert 0 < load.mine <= load.all
