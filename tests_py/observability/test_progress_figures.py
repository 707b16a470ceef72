"""What a bar says: rate, remaining time and words, whatever the counts and however little room there is."""

from __future__ import annotations

import pytest

from mars._progress import _text
from mars._progress._meter import Meter, View


def metered(*samples: tuple[float, int, int, int]) -> View:
    """What is shown after these samples: seconds, finished, all, computations."""
    meter = Meter(0.0)
    for sample in samples:
        meter.sample(*sample)
    return meter.view()


def test_rate_and_remaining_time_of_a_steady_computation():
    view = metered(*[(i / 10, i, 400, 1) for i in range(201)])
    assert view.rate == pytest.approx(10)
    assert view.left == pytest.approx(20)
    assert view.elapsed == pytest.approx(20)


def test_remaining_time_follows_a_total_that_grows():
    steady = [(i / 10, i, 400, 1) for i in range(201)]
    view = metered(*steady, (20.1, 201, 1201, 2))
    assert view.rate == pytest.approx(10)
    assert view.left == pytest.approx(100)


def test_time_between_computations_counts_for_nothing():
    first = [(i / 10, i, 100, 1) for i in range(1, 101)]
    pause = [(10 + i / 10, 100, 100, 0) for i in range(1, 5000)]
    view = metered(*first, *pause)
    assert view.elapsed == pytest.approx(10, abs=0.2)
    after = metered(*first, *pause, *[(509.9 + i / 10, 100 + i, 200, 1) for i in range(1, 51)])
    assert after.rate == pytest.approx(10, rel=0.05)


def test_time_begins_with_the_first_computation():
    view = metered(*[(float(i), 0, 0, 0) for i in range(100)], (100.0, 0, 10, 1), (101.0, 1, 10, 1))
    assert view.elapsed == pytest.approx(2)


def test_recent_tasks_weigh_more():
    slow = [(float(i), i, 10_000, 1) for i in range(61)]
    fast = [(60 + i / 10, 60 + 10 * i, 10_000, 1) for i in range(1, 601)]
    view = metered(*slow, *fast)
    assert view.rate is not None
    assert 80 < view.rate <= 100


def test_rate_of_tasks_that_take_minutes_stays():
    view = metered(*[(float(i), i // 60, 100, 1) for i in range(60 * 60)])
    assert view.rate is not None
    assert 1 / 120 < view.rate < 1 / 40


def test_no_rate_before_the_first_task_has_finished():
    view = metered((1.0, 0, 10, 1), (2.0, 0, 10, 1))
    assert (view.rate, view.left) == (None, None)
    assert "<?" in _text.around_bar(view, "", 80)[1]


VIEWS = {
    "begin": View(0, 10, 0.0),
    "middle": View(450, 1000, 12.0, 37.5, 14.7, (48_000_000, 64_000_000), ("inc", "add", "read-parquet", "sum")),
    "huge": View(123_456_789, 987_654_321, 1e7, 1234567.8, 700.0, (10**12, 10**15), ("x" * 500,)),
    "wide characters": View(4, 10, 12.0, 1.0, 6.0, None, ("計算" * 20, "読む")),
    "finished": View(1000, 1000, 27.1, 36.9, end="finished"),
    "failed": View(450, 1000, 12.0, end="failed"),
    "interrupted": View(450, 1000, 12.0, end="interrupted"),
    "slow": View(1, 10, 5000.0, 0.0002, 45_000.0),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("desc", ["", "load", "長い説明" * 10, "{desc}"])
def test_words_leave_room_for_the_bar(name: str, desc: str):
    for columns in range(40, 200):
        left, right = _text.around_bar(VIEWS[name], desc, columns)
        assert _text.width(left) + _text.width(right) < columns


def test_a_narrow_terminal_has_the_counts_or_how_it_ended():
    assert _text.around_bar(VIEWS["middle"], "load", 19) == (" 45%|", "| 450/1000")
    assert _text.around_bar(VIEWS["failed"], "load", 19) == (" 45%|", "|failed")
    assert _text.around_bar(VIEWS["interrupted"], "load", 24) == (" 45%|", "|interrupted")


def test_a_wide_terminal_has_it_all():
    left, right = _text.around_bar(VIEWS["middle"], "load", 120)
    assert left == "load:  45%|"
    assert right == "| 450/1000 [00:12<00:14, 37.5 tasks/s, 48/64 MB, inc, add, read-parquet, ..]"


def test_only_what_is_complete_has_a_hundred_percent():
    assert _text.percent(View(999_999, 1_000_000, 1.0)) == 99
    assert _text.percent(View(1_000_000, 1_000_000, 1.0)) == 100


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "middle",
            "load: 45%, 450 of 1000 tasks, 00:12, 00:14 left, 37.5 tasks/s, 48/64 MB; inc, add, read-parquet, ..",
        ),
        ("finished", "load: 100%, 1000 of 1000 tasks, in 27.1 s, 36.9 tasks/s"),
        ("failed", "load: 45%, 450 of 1000 tasks, failed after 12.0 s"),
        ("slow", "load: 10%, 1 of 10 tasks, 1:23:20, 12:30:00 left, 1:23:20/task"),
    ],
)
def test_lines_in_a_file(name: str, line: str):
    assert _text.whole_line(VIEWS[name], "load") == line


@pytest.mark.parametrize("text", ["a\nb\r\tc", "\x1b[31mred\x1b[0m", "\ud800", "a\u202eb", "\x00"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", None, "no such encoding"])
def test_odd_characters_do_no_harm(text: str, encoding: str | None):
    shown = _text.clean(text, encoding)
    assert shown.isprintable()
    shown.encode("ascii" if encoding in ("ascii", "no such encoding") else "utf-8")
