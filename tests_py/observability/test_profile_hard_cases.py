"""Profiles in threads, tasks and forked children, of odd keys, at the end of the interpreter."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from pathlib import Path

import pytest
from observability.known import ROUNDED, is_there, layered, prefixes
from observability.trace_format import read
from support import WITHIN, eventually, inc, run_well

import mars
from mars.contrib.dask import mars_scheduler


def test_profile_inside_of_a_task():
    def work() -> dict[str, int]:
        with mars.profile() as profile:
            mars_scheduler({("inner", i): (inc, i) for i in range(10)}, [("inner", i) for i in range(10)])
        return prefixes(profile)

    (found,) = mars_scheduler({"outer": (work,)}, ["outer"])
    assert found["inner"] == 10


def test_two_profiles_at_the_same_time():
    with mars.profile() as one:
        mars_scheduler({"a": (inc, 1)}, "a")
        with mars.profile() as two:
            mars_scheduler({"b": (inc, 1)}, "b")
        mars_scheduler({"c": (inc, 1)}, "c")
    assert prefixes(one) == {"a": 1, "b": 1, "c": 1}
    assert prefixes(two) == {"b": 1}


def test_stopped_while_a_computation_goes_on():
    running, gate = threading.Event(), threading.Event()

    def wait(i: int) -> int:
        running.set()
        assert gate.wait(WITHIN)
        return i

    profile = mars.profile().start()
    graph = {"first": (inc, 1), "wait": (wait, "first"), "last": (inc, "wait")}
    thread = threading.Thread(target=mars_scheduler, args=(graph, "last"), kwargs={"num_workers": 1})
    thread.start()
    assert running.wait(WITHIN)
    profile.stop()
    before = str(profile.summary())
    gate.set()
    thread.join(WITHIN)
    assert prefixes(profile) == {"first": 1}
    assert str(profile.summary()) == before


def test_many_profiles_in_many_threads():
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                with mars.profile(max_events=50) as profile:
                    mars_scheduler({(f"p{number}", i): (inc, i) for i in range(100)}, (f"p{number}", 99))
                    mars_scheduler(layered(10), "total")
                assert prefixes(profile)[f"p{number}"] >= 1
                profile.summary()._repr_html_()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []


HOSTILE = [
    "</script><script>alert(1)</script>",
    '"quoted" \\ back\nnew\ttab\x00\x1f\x7f\u2028',
    "x" * 100_000,
    ("a", ("b", 1.5, None)),
    b"\xff\x00",
    1.5,
    frozenset({1}),
    "\ud800",
    "ключ-ü-鍵-🔑",
]


def test_hostile_keys(tmp_path: Path):
    with mars.profile() as profile:
        mars_scheduler({key: (inc, i) for i, key in enumerate(HOSTILE)}, HOSTILE)
    summary = profile.summary()
    assert summary.tasks == len(HOSTILE)
    assert "<script>" not in summary._repr_html_()
    assert len(read(profile.to_chrome_trace(tmp_path / "trace.json"), ROUNDED).slices) >= len(HOSTILE)
    if is_there("pandas"):
        assert set(profile.to_pandas().key) == set(HOSTILE)
    if is_there("bokeh"):
        profile.plot(filename=tmp_path / "page.html")
        assert "<script>alert" not in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_has_no_profile_of_its_parent():
    script = """
    import mars
    from mars.contrib.dask import mars_scheduler

    def work(n=50):
        return mars_scheduler({("x", i): (pow, i, 1) for i in range(n)}, [("x", i) for i in range(n)])

    def child():
        work()
        p.summary()
        p.stop()
        with mars.profile() as own:
            work(20)
        assert [(row.prefix, row.tasks) for row in own.summary().prefixes] == [("x", 20)], own.summary()
        assert [t for t in threading.enumerate() if t.name == "mars-profile"] == []
        os._exit(7)

    with mars.profile() as p:
        work()
        pid = os.fork()
        if pid == 0:
            child()
        say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        work()
    say(p.summary().tasks)
    """
    assert run_well(script, flags=("-W", "ignore::DeprecationWarning")) == ["7", "100"]


@pytest.mark.parametrize("how", ["p.stop()", "pass", "del p", "sys.exit(0)"])
def test_interpreter_ends_with_a_profile(how: str):
    script = f"""
    import mars
    from mars.contrib.dask import mars_scheduler

    p = mars.profile().start()
    mars_scheduler({{("x", i): (pow, i, 1) for i in range(50)}}, [("x", i) for i in range(50)])
    say(p.summary().tasks)
    {how}
    """
    assert run_well(script) == ["50"]


def test_interpreter_ends_while_tasks_run():
    script = """
    import mars
    from mars.contrib.dask import mars_scheduler

    p = mars.profile().start()
    running = threading.Event()

    def spin():
        running.set()
        while True:
            sum(range(1000))

    threading.Thread(target=mars_scheduler, args=({"x": (spin,)}, "x"), daemon=True).start()
    running.wait(20)
    say("end")
    """
    assert run_well(script) == ["end"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forks_while_it_looks_at_the_gil():
    """In whatever state a child finds locks of threads that it does not have."""
    script = """
    import mars
    from mars.contrib.dask import mars_scheduler

    def work(i):
        return sum(range(20_000))

    def child():
        p.stop()
        str(p.summary())
        with mars.profile() as own:
            mars_scheduler({("x", i): (work, i) for i in range(20)}, [("x", i) for i in range(20)])
        assert own.summary().tasks == 20
        os._exit(0)

    def compute():
        while not ended.is_set():
            mars_scheduler({("y", i): (work, i) for i in range(20)}, [("y", i) for i in range(20)])

    ended = threading.Event()
    with mars.profile() as p:
        thread = threading.Thread(target=compute)
        thread.start()
        worst = 0
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                child()
            worst = max(worst, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        ended.set()
        thread.join()
    say(worst)
    """
    assert run_well(script, flags=("-W", "ignore::DeprecationWarning")) == ["0"]


def test_keys_are_let_go_of_with_the_profile():
    class Key(str):
        __slots__ = ("__weakref__",)

    key = Key("key-1")
    reference = weakref.ref(key)
    with mars.profile() as profile:
        mars_scheduler({key: (inc, 1)}, key)
    del key
    assert profile.summary().tasks == 1
    del profile
    gc.collect()
    assert eventually(lambda: reference() is None)
