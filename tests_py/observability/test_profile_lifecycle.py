"""A profile begins, ends and leaves nothing behind, however it is used."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from observability.made_up import Recording, Task, profile_of
from support import WITHIN, eventually, gil_is_on, run_well

import mars
from mars import _mars


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    """What the next profile records."""
    recording = Recording([Task()])
    monkeypatch.setattr(_mars, "Profile", lambda max_events: recording)
    monkeypatch.setattr("mars._profile.profile.has_gil", lambda: True)
    return recording


def samplers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mars-profile"]


def test_thread_looks_until_the_end_of_the_block(recording: Recording):
    with mars.profile() as profile:
        (thread,) = samplers()
        assert thread.daemon
        assert recording.probed.wait(WITHIN)
        assert recording.stopped == 0
    assert samplers() == []
    assert recording.stopped == 1
    assert profile.summary().tasks == 1


def test_thread_looks_only_where_it_is_asked_to(recording: Recording):
    with mars.profile(gil=False):
        assert samplers() == []


def test_thread_looks_only_where_there_is_a_gil(recording: Recording, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mars._profile.profile.has_gil", lambda: False)
    recording.time = {"total": 1.0, "tasks": 1.0}
    with mars.profile() as profile:
        assert samplers() == []
    assert profile.summary().advice.startswith("This interpreter has no GIL")


def test_gil_is_the_interpreters():
    from mars._profile.sampler import has_gil

    assert has_gil() is gil_is_on()


def test_profile_is_used_once(recording: Recording):
    profile = mars.profile()
    with profile, pytest.raises(RuntimeError, match=r"records once: make another one with mars\.profile\(\)"):
        profile.start()
    with pytest.raises(RuntimeError, match="records once"), profile:
        raise AssertionError("it was entered")
    assert recording.stopped == 1
    assert profile.summary().tasks == 1


def test_many_threads_start_one_profile(recording: Recording):
    profile = mars.profile()
    barrier = threading.Barrier(8)
    refused: list[RuntimeError] = []

    def start() -> None:
        barrier.wait(WITHIN)
        try:
            profile.start()
        except RuntimeError as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(refused), len(samplers())) == (7, 1)
    profile.stop()


def test_start_and_stop(recording: Recording):
    profile = mars.profile()
    assert profile.start() is profile
    profile.stop()
    profile.stop()
    assert samplers() == []


def test_other_thread_stops_it(recording: Recording):
    with mars.profile() as profile:
        thread = threading.Thread(target=profile.stop)
        thread.start()
        thread.join(WITHIN)
        assert not thread.is_alive()
        assert samplers() == []
        assert repr(profile) == "<mars.Profile: 1 task in 10.0 s>"
    assert repr(profile) == "<mars.Profile: 1 task in 10.0 s>"


def test_many_threads_stop_it_at_once(recording: Recording):
    profile = mars.profile().start()
    threads = [threading.Thread(target=profile.stop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert samplers() == []


def test_exception_leaves_a_profile_that_can_be_read(recording: Recording):
    with pytest.raises(ZeroDivisionError), mars.profile() as profile:
        raise ZeroDivisionError
    assert samplers() == []
    assert profile.summary().tasks == 1


def test_profile_is_read_while_it_is_open(recording: Recording):
    with mars.profile() as profile:
        assert repr(profile) == "<mars.Profile: 1 task in 10.0 s, recording>"
        assert profile.summary().tasks == 1
        assert "<table>" in (profile._repr_html_() or "")


def test_before_the_start(recording: Recording, tmp_path: Any):
    profile = mars.profile()
    assert repr(profile) == "<mars.Profile: not started>"
    assert profile._repr_html_() is None
    for use in (profile.stop, profile.summary, lambda: profile.to_chrome_trace(tmp_path / "trace")):
        with pytest.raises(RuntimeError, match="has not been started: use it in a with block, or call start"):
            use()


def test_two_profiles_at_the_same_time(monkeypatch: pytest.MonkeyPatch):
    recordings: list[Recording] = []

    def record(max_events: int) -> Recording:
        recordings.append(Recording([Task()] * max_events))
        return recordings[-1]

    monkeypatch.setattr(_mars, "Profile", record)
    monkeypatch.setattr("mars._profile.profile.has_gil", lambda: True)
    with mars.profile(max_events=1) as one:
        with mars.profile(max_events=2) as two:
            assert len(samplers()) == 2
        assert len(samplers()) == 1
    assert [one.summary().tasks, two.summary().tasks] == [1, 2]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"max_events": 0}, ValueError, "max_events has to be a whole number from 1"),
        ({"max_events": 2**31}, ValueError, "max_events has to be a whole number from 1"),
        ({"max_events": 1e6}, TypeError, "max_events has to be a whole number of at least 1, not 1000000.0"),
        ({"max_events": "many"}, TypeError, "max_events has to be a whole number"),
        ({"max_events": True}, ValueError, "max_events has to be a whole number"),
        ({"gil": 1}, TypeError, "gil has to be True or False, not 1"),
        ({"gil": None}, TypeError, "gil has to be True or False, not None"),
        ({"events": 1}, TypeError, "events"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], kind: type[Exception], message: str):
    with pytest.raises(kind, match=message):
        mars.profile(**options)


def test_forgotten_profile_ends_its_thread(recording: Recording):
    mars.profile().start()
    gc.collect()
    assert eventually(lambda: samplers() == [])


def test_thread_holds_no_profile(recording: Recording):
    profile = mars.profile().start()
    reference = weakref.ref(profile)
    del profile
    gc.collect()
    assert eventually(lambda: reference() is None)


def test_no_thread_can_be_started(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with mars.profile() as profile:
        pass
    assert caplog.messages == [
        "mars.profile cannot tell who holds the GIL: its thread did not start (can't start new thread)"
    ]
    assert profile.summary().tasks == 1


FAKE = f"""
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
import mars
from mars import _mars
from observability.made_up import Recording, Task
_mars.Profile = lambda max_events: Recording([Task()])
"""


def test_open_profile_at_the_exit(monkeypatch: pytest.MonkeyPatch):
    assert run_well(FAKE + "p = mars.profile().start(); p.start = p; say('end')") == ["end"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_has_no_thread_and_does_not_wait_for_it():
    script = """
with mars.profile() as p:
    pid = os.fork()
    if pid == 0:
        assert [t for t in threading.enumerate() if t.name == "mars-profile"] == []
        p.stop()
        assert p.summary().tasks == 1
        with mars.profile() as other:
            other._recording.probed.wait(10)
        os._exit(7)
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run_well(FAKE + script, flags=("-W", "ignore::DeprecationWarning")) == ["7"]


def test_importing_mars_imports_nothing_for_it():
    code = "import sys, mars; print({'numpy', 'pandas', 'bokeh', 'gzip', 'mars._profile.summary'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_profile_of_gives_what_was_recorded(monkeypatch: pytest.MonkeyPatch):
    assert profile_of(monkeypatch, Recording([Task()] * 3), gil=False).summary().tasks == 3
