"""Totals of a profile: as figures, as text, in a notebook."""

from __future__ import annotations

import dataclasses
import math
from html.parser import HTMLParser

import pytest
from observability.made_up import Recording, Task, many, profile_of

from mars._profile.text import duration, percent

VOID = {"br", "hr", "img"}


class Page(HTMLParser):
    """Checks that tags are closed as they were opened, and keeps them and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.styles: set[str] = set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.styles |= {str(value) for _, value in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def two_workers() -> Recording:
    return Recording(
        [*many("load", 100, 0.05, cpu=0.9), *many("parse", 50, 0.1, lane=1, cpu=0.5)],
        seconds=5.0,
        time={"total": 10.0, "tasks": 9.0, "engine": 0.5, "no ready task": 0.5},
        samples=[(("load", "parse"), 600, 200), (("load",), 100, 0), ((), 50, 3), (("rare",), 1, 1)],
    )


def test_figures(monkeypatch: pytest.MonkeyPatch):
    found = profile_of(monkeypatch, two_workers()).summary()
    assert (found.tasks, found.failed, found.workers) == (150, 0, 2)
    assert (found.seconds, found.computing) == (5.0, 5.0)
    assert found.tasks_per_second == pytest.approx(30.0)
    assert found.cores == pytest.approx((4.5 + 2.5) / 5)
    assert found.worker_seconds == {
        "tasks": 9.0,
        "no ready task": 0.5,
        "GIL": 0.0,
        "memory limit": 0.0,
        "moving results": 0.0,
        "releasing results": 0.0,
        "engine": 0.5,
    }
    assert found.worker_shares["tasks"] == 0.9
    load, parse = found.prefixes
    assert (load.prefix, load.tasks, load.failed) == ("load", 100, 0)
    assert (load.seconds, load.mean, load.longest) == pytest.approx((5.0, 0.05, 0.05))
    assert load.share == pytest.approx(0.5)
    assert load.cpu == pytest.approx(0.9)
    assert (load.bytes, load.sized) == (None, 0)
    for row in (load, parse):
        assert row.held is not None
        assert row.released is not None
        assert row.waited is not None
        assert row.cpu is not None
        assert row.held + row.released + row.waited == pytest.approx(1.0)
    assert load.held < parse.held  # ran while it was free, and parse did not


def test_rows_make_a_data_frame(monkeypatch: pytest.MonkeyPatch):
    pd = pytest.importorskip("pandas")
    rows = profile_of(monkeypatch, two_workers()).summary().prefixes
    frame = pd.DataFrame(rows)
    assert frame.prefix.tolist() == ["load", "parse"]
    assert list(frame.columns) == [field.name for field in dataclasses.fields(rows[0])]


def test_results_and_failures(monkeypatch: pytest.MonkeyPatch):
    tasks = [
        Task("a-0", "a", 0, 1, size=1000),
        Task("a-1", "a", 1, 2, size=500),
        Task("a-2", "a", 2, 5, outcome="failed", queued=1.5),
        Task("b-0", "b", 5, 6, size=7),
        Task("b-1", "b", 6, 7),
    ]
    summary = profile_of(monkeypatch, Recording(tasks)).summary()
    a, b = summary.prefixes
    assert (a.tasks, a.failed, a.bytes, a.sized, a.longest, a.queued) == (3, 1, 1500, 2, 3, 0.5)
    assert (b.tasks, b.failed, b.bytes, b.sized) == (2, 0, 7, 1)
    assert summary.failed == 1
    text = str(summary)
    assert "5 tasks (1 failed) in 10.0 s" in text
    assert " 1.50 kB" in text
    assert "≥ 7 B" in text  # of one result the size is not known


def test_text(monkeypatch: pytest.MonkeyPatch):
    assert str(profile_of(monkeypatch, two_workers()).summary()).splitlines() == [
        "150 tasks in 5.00 s, 30 a second; 2 workers, 1.4 cores used",
        "Threads serve this well: 58 % of task time ran with the GIL released and 20 % waited for something",
        "else, and 2 workers kept 1.4 cores busy.",
        "",
        "prefix  tasks  failed   total     mean  longest  results  share   CPU  GIL held  released  waited",
        "load      100       0  5.00 s  50.0 ms  50.0 ms        -   50 %  90 %      <1 %      89 %    10 %",
        "parse      50       0  5.00 s   100 ms   100 ms        -   50 %  50 %      24 %      26 %    50 %",
        "",
        "workers' time      seconds  share",
        "tasks               9.00 s   90 %",
        "no ready task       500 ms    5 %",
        "GIL                   0 µs    0 %",
        "memory limit          0 µs    0 %",
        "moving results        0 µs    0 %",
        "releasing results     0 µs    0 %",
        "engine              500 ms    5 %",
    ]


def test_nothing_recorded(monkeypatch: pytest.MonkeyPatch):
    profile = profile_of(monkeypatch, Recording(seconds=0.0))
    summary = profile.summary()
    assert (summary.tasks, summary.tasks_per_second, summary.cores, summary.prefixes) == (0, 0.0, None, ())
    assert str(summary) == "No task ended in 0 µs\nNothing to tell: no task ended while the profile was open."
    assert repr(profile) == "<mars.Profile: 0 tasks in 0 µs>"
    Page(summary._repr_html_())


def test_tasks_without_a_duration(monkeypatch: pytest.MonkeyPatch):
    recording = Recording([Task(start=1.0, end=1.0)], time={"total": 0.0}, spans=[(1, None, 1.0, 0.0, 1, 1, 2)])
    summary = profile_of(monkeypatch, recording).summary()
    (row,) = summary.prefixes
    assert (row.mean, row.share, row.cpu) == (0.0, 0.0, None)
    assert "1 task" in str(summary)


def test_cpu_time_is_not_known(monkeypatch: pytest.MonkeyPatch):
    summary = profile_of(monkeypatch, Recording(many("a", 10, 0.1, cpu=math.nan), samples=[(("a",), 50, 50)])).summary()
    (row,) = summary.prefixes
    assert (summary.cores, row.cpu, row.held, row.released, row.waited) == (None, None, 0.5, None, None)
    assert "cores used" not in str(summary)


def test_time_outside_of_computations_does_not_count(monkeypatch: pytest.MonkeyPatch):
    """A profile that is open in a notebook records pauses of its user as well."""
    spans = [(1, None, 10.0, 2.0, 20, 20, 2), (2, None, 11.0, 2.0, 0, 0, 4), (3, 1, 10.5, 0.5, 0, 0, 8)]
    recording = Recording(many("a", 20, 0.1, cpu=0.9), seconds=100.0, spans=spans, time={"total": 6.0, "tasks": 2.0})
    summary = profile_of(monkeypatch, recording).summary()
    assert summary.computing == pytest.approx(3.0)  # from 10 to 13, once
    assert summary.cores == pytest.approx(0.6)
    assert summary.workers == 4  # those of a nested computation are no more
    assert "20 tasks in 3.00 s of 1 min 40 s" in str(summary)


def test_nested_tasks_are_counted_once(monkeypatch: pytest.MonkeyPatch):
    tasks = [
        Task("outer", "outer", 0.0, 10.0, lane=0, cpu=9.0),
        *(Task(f"inner-{i}", "inner", 1.0 + i, 2.0 + i, lane=0, computation=2, cpu=1.0) for i in range(8)),
        *(Task(f"inner-{i}", "inner", 1.0 + i, 2.0 + i, lane=1, computation=2, cpu=1.0) for i in range(8)),
        Task("deep", "deep", 1.25, 1.75, lane=1, computation=3, cpu=0.5),
    ]
    recording = Recording(
        tasks,
        nested=frozenset({"inner", "deep"}),
        time={"total": 20.0, "tasks": 18.0},
        spans=[(1, None, 0.0, 10.0, 1, 1, 2), (2, 1, 1.0, 8.0, 16, 16, 2), (3, 2, 1.25, 0.5, 1, 1, 2)],
    )
    summary = profile_of(monkeypatch, recording).summary()
    shares = {row.prefix: row.share for row in summary.prefixes}
    assert shares == pytest.approx({"outer": 2 / 20, "inner": 15.5 / 20, "deep": 0.5 / 20})
    # CPU time of what runs inside of others is in theirs; inner tasks on the other worker are inside of nothing.
    assert summary.cores == pytest.approx((9.0 + 8.0) / 10.0)
    assert [row.prefix for row in summary.prefixes if row.nested] == ["inner", "deep"]
    text = str(summary)
    assert "inner*" in text
    assert "outer*" not in text
    assert "* some ran inside of other tasks" in text


def test_dropped_tasks_are_told_of(monkeypatch: pytest.MonkeyPatch):
    recording = Recording(many("a", 5, 1.0), dropped=1234, dropped_below=2.5e-6)
    text = str(profile_of(monkeypatch, recording).summary())
    assert "1,234 tasks of less than 2.50 µs each are counted here and not in the timeline" in text


def test_many_prefixes(monkeypatch: pytest.MonkeyPatch):
    tasks = [Task(f"{i}", f"p{i}", i / 10, i / 10 + 0.1) for i in range(100)]
    summary = profile_of(monkeypatch, Recording(tasks)).summary()
    assert len(summary.prefixes) == 100
    text = str(summary)
    assert len(text.splitlines()) < 50
    assert "… and 75 more prefixes with 75 tasks, 37 % of workers' time" in text
    one_more = Recording([Task(f"{i}", f"p{i}", i, i + 1) for i in range(26)])
    assert "more prefixes" not in str(profile_of(monkeypatch, one_more).summary())


def test_figures_of_a_table_are_below_each_other(monkeypatch: pytest.MonkeyPatch):
    tasks = [
        Task(prefix, prefix, 0.0, end) for prefix, end in (("x" * 100, 1e-9), ("", 3e-4), ("a\nb\t", 4e5), ("ü", 7.0))
    ]
    lines = str(profile_of(monkeypatch, Recording(tasks)).summary()).splitlines()[3:8]
    assert len({len(line) for line in lines}) == 1
    assert max(map(len, lines)) < 140


def test_hostile_names_in_a_notebook(monkeypatch: pytest.MonkeyPatch):
    names = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</td></table>", "&lt;b&gt;", "\ud800"]
    tasks = [Task(name, name, i, i + 1.0, cpu=0.5) for i, name in enumerate(names)]
    samples = [((name,), 0, 500) for name in names]
    profile = profile_of(monkeypatch, Recording(tasks, samples=samples, time={"total": 5.0, "tasks": 5.0}))
    html = profile._repr_html_()
    assert html is not None
    page = Page(html)
    assert page.tags == {"div", "strong", "table", "tr", "th", "td"}
    assert "&lt;b&gt;" in page.texts
    html.encode()
    assert names[0] in page.texts


def test_html_has_the_table_and_the_sentence_and_no_colour(monkeypatch: pytest.MonkeyPatch):
    profile = profile_of(monkeypatch, two_workers())
    summary = profile.summary()
    html = profile._repr_html_()
    assert html is not None
    assert html == summary._repr_html_()
    page = Page(html)
    assert summary.advice in page.texts
    assert {"load", "90 %", "no ready task"} <= set(page.texts)
    assert page.styles == {"text-align:left", "white-space:nowrap"}  # no colours: readable in dark notebooks


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 µs"),
        (1e-9, "0 µs"),
        (1e-8, "0.01 µs"),
        (9.994e-6, "9.99 µs"),
        (9.996e-6, "10.0 µs"),
        (0.000_999_6, "1.00 ms"),
        (0.9996, "1.00 s"),
        (99.9, "99.9 s"),
        (100, "1 min 40 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (1e7, "2,777 h 47 min"),
    ],
)
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"), [(None, "-"), (0, "0 %"), (0.001, "<1 %"), (0.005, "<1 %"), (0.996, "100 %"), (12.3, "1230 %")]
)
def test_percents(share: float | None, text: str):
    assert percent(share) == text
