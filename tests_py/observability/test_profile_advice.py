"""Threads or processes: each answer, with the figures that it is for."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mars._profile.advice import Observed, advise, divide
from mars._profile.processors import Load

#: Two workers that compute side by side with the GIL released.
GOOD = Observed(
    tasks=1000,
    mean=0.01,
    workers=2,
    total=20.0,
    parts={"tasks": 0.96, "no ready task": 0.02, "engine": 0.02},
    cores=1.9,
    load=Load(processors=8, mine=1.95, all=2.1),
    cpu=0.97,
    gil=True,
    sampled=True,
    moments=2000,
    held=0.04,
    held_by_some=0.07,
    culprit=("load", 0.05),
)
#: Two workers that compute in Python: one of them waits at any time.
PYTHON = dataclasses.replace(
    GOOD, cores=1.04, load=Load(8, 1.05, 1.1), cpu=0.52, held=0.5, held_by_some=0.98, culprit=("wordcount", 0.96)
)


def answer(seen: Observed, **changes: Any) -> tuple[str, str]:
    found = advise(dataclasses.replace(seen, **changes))
    return found.verdict, found.sentence


def test_threads_serve_this_well():
    assert answer(GOOD) == (
        "threads",
        "Threads serve this well: 93 % of task time ran with the GIL released, and 2 workers kept 1.9 cores busy.",
    )


def test_processes_would_help():
    assert answer(PYTHON) == (
        "processes",
        "Processes would help: tasks of `wordcount` held or waited for the GIL 96 % of their time, and 2 workers kept "
        "only 1.0 core busy.",
    )


def test_processes_would_help_although_no_prefix_was_seen_often_enough():
    assert answer(PYTHON, culprit=None) == (
        "processes",
        "Processes would help: tasks held or waited for the GIL 98 % of their time, and 2 workers kept only 1.0 core "
        "busy.",
    )


def test_name_of_a_prefix_keeps_to_a_line():
    _, sentence = answer(PYTHON, culprit=("a\n" * 100, 0.96))
    assert "\n" not in sentence
    assert len(sentence) < 200


def test_tasks_too_short_for_processes():
    verdict, sentence = answer(PYTHON, mean=12e-6)
    assert verdict == "larger tasks"
    assert "12.0 µs" in sentence
    assert "processes would not" in sentence


@pytest.mark.parametrize("gil", [True, False])
def test_tasks_that_are_nothing_beside_what_is_between_them(gil: bool):
    """Of these hardly one is seen at any moment."""
    parts = {"tasks": 0.05, "engine": 0.46, "GIL": 0.49}
    assert answer(GOOD, gil=gil, parts=parts, mean=5e-8, moments=1) == (
        "larger tasks",
        "Larger tasks would help, processes would not: 95 % of workers' time was spent between tasks, and a task takes "
        "0.05 µs on average, less than to send it to a process.",
    )


def test_nothing_ran():
    assert answer(GOOD, tasks=0, total=0.0) == (
        "not known",
        "Nothing to tell: no task ended while the profile was open.",
    )


def test_too_short_to_tell():
    assert answer(PYTHON, total=0.02) == (
        "not known",
        "Too short to tell: 20.0 ms of workers' time, and 250 ms are needed.",
    )


def test_too_few_moments_to_tell():
    assert answer(PYTHON, moments=7) == (
        "not known",
        "Too short to tell: the GIL was looked at 7 times while a task ran, and 20 are needed.",
    )


def test_busy_workers_need_no_moments():
    expected = ("threads", "Threads serve this well: 2 workers kept 1.9 cores busy.")
    assert answer(GOOD, moments=3) == answer(GOOD, sampled=False, moments=0) == expected


def test_gil_was_not_looked_at():
    assert answer(PYTHON, sampled=False, moments=0) == (
        "not known",
        "Not known: the profile was told not to look at the GIL (gil=False).",
    )


def test_no_gil():
    assert answer(GOOD, gil=False, moments=0, held=0.0, held_by_some=0.0) == (
        "threads",
        "This interpreter has no GIL: threads; 2 workers kept 1.9 cores busy.",
    )


def test_no_gil_is_known_from_the_first_task_on():
    assert answer(GOOD, gil=False, total=0.001) == ("threads", "This interpreter has no GIL: threads.")


@pytest.mark.parametrize("gil", [True, False])
def test_too_little_parallelism(gil: bool):
    verdict, sentence = answer(PYTHON, gil=gil, parts={"tasks": 0.3, "no ready task": 0.7})
    assert verdict == "more parallelism"
    assert sentence.startswith("Neither would help: 2 workers had no ready task 70 % of the time")


@pytest.mark.parametrize("gil", [True, False])
def test_memory_limit(gil: bool):
    parts = {"tasks": 0.5, "memory limit": 0.25, "moving results": 0.15, "no ready task": 0.1}
    verdict, sentence = answer(PYTHON, gil=gil, parts=parts)
    assert verdict == "more memory"
    assert sentence.startswith("Neither would help: 40 % of workers' time went to the memory limit")


def test_waiting_for_something_else():
    verdict, sentence = answer(GOOD, cpu=0.05, cores=0.1, load=Load(8, 0.1, 0.2))
    assert verdict == "more threads"
    assert "waited for something other than the GIL 92 % of their time" in sentence
    assert sentence.endswith("2 workers kept only 0.1 cores busy.")


def test_waiting_for_processors():
    """With threads that tasks have started, as linear algebra does."""
    assert answer(GOOD, cpu=0.2, cores=0.4, load=Load(8, 7.2, 7.5)) == (
        "threads",
        "Threads serve this: tasks waited for processors, of which 7.5 of 8 were busy.",
    )


def test_other_programs_are_told_of():
    """They take processors away, and a GIL that is free is got later."""
    assert answer(GOOD, cpu=0.2, cores=0.4, load=Load(8, 0.4, 7.5)) == (
        "threads",
        "Threads serve this: tasks waited for processors, of which 7.5 of 8 were busy. (Other programs kept 7.1 of "
        "8 processors busy meanwhile.)",
    )
    verdict, sentence = answer(PYTHON, load=Load(2, 1.0, 1.6))
    assert verdict == "processes"
    assert sentence.endswith(" 1.0 core busy. (Other programs kept 0.6 of 2 processors busy meanwhile.)")


def test_more_workers_than_processors():
    """They wait for processors, not for the GIL, and more threads would not help."""
    verdict, sentence = answer(
        GOOD, workers=16, load=Load(2, 1.9, 1.95), cpu=0.12, cores=1.9, held=0.01, held_by_some=0.1
    )
    assert verdict == "threads"
    assert "16 workers kept 1.9 cores busy" in sentence


def test_some_waiting_is_worth_a_word():
    verdict, sentence = answer(GOOD, cores=1.5, cpu=0.8, held=0.3, held_by_some=0.6)
    assert verdict == "threads"
    assert "19 % of workers' time was lost waiting for the GIL" in sentence


def test_waiting_between_tasks_counts():
    parts = {"tasks": 0.6, "GIL": 0.35, "engine": 0.05}
    assert answer(GOOD, parts=parts, cores=1.0)[0] == "processes"


def test_one_worker_that_holds_it():
    seen = dataclasses.replace(PYTHON, workers=1, cpu=1.0, cores=1.0, held=0.95, held_by_some=0.95)
    assert answer(seen) == (
        "processes",
        "There was one worker; more processes would help, more threads would not: tasks of `wordcount` held the GIL "
        "96 % of their time.",
    )
    assert answer(seen, mean=1e-5)[0] == "larger tasks"


def test_one_worker_that_releases_it():
    assert answer(GOOD, workers=1, cpu=1.0, cores=1.0, held=0.05, held_by_some=0.05) == (
        "more threads",
        "There was one worker; more threads would help: tasks held the GIL only 5 % of their time.",
    )


def test_one_worker_that_waits():
    verdict, sentence = answer(
        GOOD, workers=1, cpu=0.02, cores=0.02, load=Load(8, 0.1, 0.2), held=0.01, held_by_some=0.01
    )
    assert verdict == "more threads"
    assert "input or output" in sentence


def test_one_processor():
    assert answer(GOOD, load=Load(1, 0.98, 1.0), cpu=0.5, cores=0.98, held=0.3, held_by_some=0.4)[0] == "threads"


def test_what_workers_lost_is_named():
    parts = {"tasks": 0.55, "no ready task": 0.45}
    verdict, sentence = answer(GOOD, parts=parts, cores=1.05)
    assert verdict == "threads"
    assert sentence.endswith("what workers lost went mostly to: no ready task (45 %).")


def test_what_the_memory_limit_took_is_taken_together():
    parts = {"tasks": 0.54, "memory limit": 0.16, "moving results": 0.12, "engine": 0.18}
    _, sentence = answer(GOOD, parts=parts, cores=1.05)
    assert sentence.endswith("what workers lost went mostly to: memory limit (28 %).")


def test_tasks_that_slept_did_not_run():
    _, sentence = answer(GOOD, cpu=0.6, cores=1.2)
    assert sentence.startswith(
        "Threads serve this: 56 % of task time ran with the GIL released and 37 % waited for something else, and"
    )


def test_cpu_time_is_not_known():
    """Then moments alone have to do."""
    assert answer(PYTHON, cpu=None, cores=None)[0] == "processes"
    verdict, sentence = answer(GOOD, cpu=None, cores=None)
    assert verdict == "threads"
    assert sentence.endswith("and 2 workers ran them.")


@pytest.mark.parametrize(
    ("cpu", "held", "some", "expected"),
    [
        (0.97, 0.0, 0.0, (0.97, 0.0, 0.03)),  # computing without it
        (0.5, 0.5, 1.0, (0.0, 0.5, 0.0)),  # two that share it
        (0.0, 0.0, 0.0, (0.0, 0.0, 1.0)),  # waiting for a disk
        (0.1, 0.1, 0.3, (0.0, 0.2, 0.7)),  # waiting for a disk and a little for it
        (0.2, 0.4, 0.4, (0.0, 0.0, 0.6)),  # held while it waits
        (1.5, 0.1, 0.2, (0.9, 0.0, 0.0)),  # clocks are not exact
        (-0.1, 0.0, 0.0, (0.0, 0.0, 1.0)),
        (0.2, 0.3, 0.1, (0.0, 0.0, 0.7)),
    ],
)
def test_time_is_divided(cpu: float, held: float, some: float, expected: tuple[float, ...]):
    found = divide(cpu, held, some)
    assert found == pytest.approx(expected)
    assert sum(found) + held == pytest.approx(1.0)


def test_every_combination_has_an_answer():
    """And none of them fails, or speaks of shares beyond the whole."""
    for held in (0.0, 0.3, 1.0):
        for some in (held, 1.0):
            for cpu in (None, 0.0, 0.5, 1.0):
                for workers in (1, 2, 64):
                    for part in ("tasks", "no ready task", "GIL", "memory limit", "moving results", "engine"):
                        seen = dataclasses.replace(
                            GOOD,
                            cpu=cpu,
                            held=held,
                            held_by_some=some,
                            workers=workers,
                            parts={part: 1.0},
                            cores=None if cpu is None else workers * cpu,
                        )
                        for changes in ({}, {"gil": False}, {"mean": 0.0}, {"moments": 0}, {"load": Load(1, 0.5, 0.5)}):
                            verdict, sentence = answer(seen, **changes)
                            assert verdict
                            assert sentence.endswith((".", ".)"))
