"""`retry_when_fail`: functions that are called again when they fail."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

import dask
import pytest
from support import eventually, inc

import mars
import mars.remote as mr


class Flaky:
    """Fails for so many calls, each time with an error of its own."""

    def __init__(self, failures: int, kind: Callable[[int], BaseException] = LookupError) -> None:
        self.failures = failures
        self.kind = kind
        self.errors: list[BaseException] = []
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.calls <= self.failures:
            error = self.kind(self.calls)
            self.errors.append(error)
            raise error
        return (self.calls, *args)


@pytest.fixture
def quick() -> Iterator[mars.Session]:
    """Three attempts more, as good as at once."""
    with mars.new_session(n_workers=2, retries=3, retry_delay=0.0001, default=False) as session:
        yield session


@pytest.fixture
def told() -> Iterator[list[logging.LogRecord]]:
    """What was logged, by whomever."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    yield records
    logging.getLogger().removeHandler(handler)


def pauses(records: list[logging.LogRecord]) -> list[float]:
    """In seconds, as logged."""
    assert all(isinstance(record.args, tuple) for record in records)
    return [record.args[-1] for record in records]  # type: ignore[misc, index]


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_function_is_called_until_it_succeeds(quick: mars.Session, failures: int):
    flaky = Flaky(failures)
    assert mr.spawn(flaky, args=(mr.spawn(int),), retry_when_fail=True).to_object() == (failures + 1, 0)
    assert flaky.calls == failures + 1


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_session_says_how_often(retries: int):
    flaky = Flaky(100)
    with (
        mars.new_session(n_workers=2, retries=retries, retry_delay=0, default=False),
        pytest.raises(LookupError),
    ):
        mr.spawn(flaky, retry_when_fail=True).execute()
    assert flaky.calls == retries + 1


def test_three_attempts_more_unless_told_otherwise():
    flaky = Flaky(100)
    with mars.new_session(n_workers=1, retry_delay=0, default=False), pytest.raises(LookupError):
        mr.spawn(flaky, retry_when_fail=True).execute()
    assert flaky.calls == 4


@pytest.mark.parametrize("times", [0, 1, 2, 7])
def test_number_says_how_often_whatever_the_session_says(quick: mars.Session, times: int):
    flaky = Flaky(100)
    with pytest.raises(LookupError):
        mr.spawn(flaky, retry_when_fail=times).execute()
    assert flaky.calls == times + 1


def test_settings_of_dask_say_how_often_and_how_soon(told: list[logging.LogRecord]):
    flaky = Flaky(100)
    with dask.config.set({"mars.retries": 2, "mars.retry-delay": 0.0001}):
        session = mars.new_session(n_workers=1, default=False)
    with session, pytest.raises(LookupError):
        mr.spawn(flaky, retry_when_fail=True).execute()
    assert flaky.calls == 3
    assert pauses(told) == [0.0001, 0.0002]


@pytest.mark.parametrize("retry", [False, None, 0])
def test_function_is_called_once_unless_asked_otherwise(quick: mars.Session, told: list[logging.LogRecord], retry: Any):
    flaky = Flaky(100)
    obj = mr.spawn(flaky) if retry is None else mr.spawn(flaky, retry_when_fail=retry)
    with pytest.raises(LookupError):
        obj.execute()
    assert flaky.calls == 1
    assert told == []


@pytest.mark.parametrize(
    ("retry", "kind"),
    [("yes", TypeError), (1.5, TypeError), ([3], TypeError), (-1, ValueError), (2**40, ValueError)],
    ids=repr,
)
def test_other_values_are_refused(retry: Any, kind: type[Exception]):
    with pytest.raises(kind) as raised:
        mr.spawn(inc, retry_when_fail=retry)
    assert str(raised.value) == f"retry_when_fail has to be True, False or a number of attempts, not {retry!r}"


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ({"retries": -1}, ValueError),
        ({"retries": 1.5}, TypeError),
        ({"retries": "3"}, TypeError),
        ({"retry_delay": -0.1}, ValueError),
        ({"retry_delay": float("inf")}, ValueError),
        ({"retry_delay": float("nan")}, ValueError),
        ({"retry_delay": "soon"}, TypeError),
        ({"retry_delay": True}, TypeError),
    ],
    ids=str,
)
def test_options_of_a_session_that_make_no_sense_are_refused(option: dict[str, Any], kind: type[Exception]):
    with pytest.raises(kind) as raised:
        mars.new_session(default=False, **option)
    ((name, value),) = option.items()
    assert name in str(raised.value)
    assert str(raised.value).endswith(f"not {value!r}")


# Errors.


def test_last_error_is_raised(quick: mars.Session):
    flaky = Flaky(100)
    with pytest.raises(LookupError) as raised:
        mr.spawn(flaky, retry_when_fail=True).execute()
    assert raised.value is flaky.errors[-1]
    assert len(flaky.errors) == 4


def test_each_failure_but_the_last_is_logged(quick: mars.Session, told: list[logging.LogRecord]):
    flaky = Flaky(100)
    obj = mr.spawn(flaky, retry_when_fail=True)
    with pytest.raises(LookupError):
        obj.execute()
    assert [(record.name, record.levelno) for record in told] == [("mars", logging.WARNING)] * 3
    assert [record.exc_info[1] for record in told if record.exc_info] == flaky.errors[:3]
    for attempt, record in enumerate(told, 1):
        assert repr(obj) in record.getMessage()
        assert f"attempt {attempt} of 3" in record.getMessage()


def test_pause_doubles_with_each_attempt(told: list[logging.LogRecord]):
    with mars.new_session(n_workers=1, retries=6, retry_delay=0.0005, default=False):
        mr.spawn(Flaky(6), retry_when_fail=True).execute()
    assert pauses(told) == [0.0005 * 2**i for i in range(6)]


def test_pause_is_the_same_for_a_number_of_attempts(quick: mars.Session, told: list[logging.LogRecord]):
    mr.spawn(Flaky(4), retry_when_fail=4).execute()
    assert pauses(told) == [0.0001 * 2**i for i in range(4)]


def test_no_pause_is_longer_than_a_minute(told: list[logging.LogRecord]):
    with mars.new_session(n_workers=1, retry_delay=1e300, default=False):
        info = mr.spawn(Flaky(9), retry_when_fail=True).execute(wait=False)
        assert eventually(lambda: bool(told))
        info.cancel()
    assert pauses(told) == [60]


def test_exceptions_that_cannot_be_pickled_are_retried(quick: mars.Session):
    class Unpicklable(Exception):
        def __init__(self, number: int) -> None:
            self.lock = threading.Lock()

    assert mr.spawn(Flaky(2, Unpicklable), retry_when_fail=True).to_object() == (3,)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException])
def test_what_is_no_exception_is_not_retried(
    quick: mars.Session, told: list[logging.LogRecord], kind: type[BaseException]
):
    flaky = Flaky(100, kind)
    with pytest.raises(kind) as raised:
        mr.spawn(flaky, retry_when_fail=True).execute()
    assert raised.value is flaky.errors[0]
    assert flaky.calls == 1
    assert told == []


# In a graph.


def test_dependencies_do_not_run_again(quick: mars.Session):
    calls: list[int] = []
    base = mr.spawn(lambda: calls.append(1) or 7)
    flaky = Flaky(2)
    above = mr.spawn(lambda value: value, args=(mr.spawn(flaky, args=(base,), retry_when_fail=True),))
    assert above.to_object() == (3, 7)
    assert calls == [1]


def test_only_the_function_that_asked_is_called_again(quick: mars.Session):
    fragile, tough = Flaky(1), Flaky(1)
    obj = mr.spawn(inc, args=(mr.spawn(fragile, args=(mr.spawn(tough, retry_when_fail=True),)),))
    with pytest.raises(LookupError):
        obj.execute()
    assert (fragile.calls, tough.calls) == (1, 2)


def test_attempts_are_counted_by_object(quick: mars.Session):
    flaky = [Flaky(i % 4) for i in range(50)]
    objects = [mr.spawn(f, retry_when_fail=True) for f in flaky]
    assert mars.execute(*objects).fetch() == [(i % 4 + 1,) for i in range(50)]


def test_executing_again_counts_from_the_start(quick: mars.Session):
    flaky = Flaky(5)
    obj = mr.spawn(flaky, retry_when_fail=True)
    with pytest.raises(LookupError):
        obj.execute()
    assert flaky.calls == 4
    assert obj.to_object() == (6,)


def test_pause_holds_no_worker(told: list[logging.LogRecord]):
    """One worker: the others run while it is pausing, for an hour if it were not for the limit."""
    with mars.new_session(n_workers=1, retry_delay=3600, default=False):
        flaky = Flaky(100)
        failing = mr.spawn(flaky, retry_when_fail=True)
        info = failing.execute(wait=False)
        assert eventually(lambda: bool(told))
        assert mr.spawn(inc, args=(1,)).to_object() == 2
        both = mars.execute(failing, mr.spawn(inc, args=(2,)), wait=False)
        others = [mr.spawn(inc, args=(i,)) for i in range(10)]
        assert mars.execute(*others).fetch() == list(range(1, 11))
        both.cancel()
        info.cancel()
        for cancelled in (both, info):
            with pytest.raises(CancelledError):
                cancelled.result(timeout=15)


@pytest.mark.parametrize("how", ["cancel", "stop"])
def test_pause_ends_with_the_execution(told: list[logging.LogRecord], how: str):
    session = mars.new_session(n_workers=1, retry_delay=3600, default=False)
    try:
        flaky = Flaky(100)
        info = mr.spawn(flaky, retry_when_fail=True).execute(session=session, wait=False)
        assert eventually(lambda: bool(told))
        if how == "cancel":
            assert info.cancel()
        else:
            session.stop()
        with pytest.raises(CancelledError):
            info.result(timeout=15)
        assert flaky.calls == 1
    finally:
        session.stop()


def test_object_that_is_pausing_is_wanted_by_another_execution(quick: mars.Session):
    """Whichever calls it next, it is called once at a time and its one result goes to both."""
    flaky = Flaky(2)
    obj = mr.spawn(flaky, retry_when_fail=True)
    infos = [mars.execute(mr.spawn(lambda value: value, args=(obj,)), wait=False) for _ in range(10)]
    assert [info.result().fetch() for info in infos] == [(3,)] * 10
    assert flaky.calls == 3


def test_outputs_are_retried_together(quick: mars.Session):
    """A result of the wrong length counts as a failure."""
    lengths = iter([1, 3, 2])
    first, second = mr.spawn(lambda: range(next(lengths)), n_output=2, retry_when_fail=True)
    assert mars.execute(first, second).fetch() == [0, 1]


def test_nested_execution_that_fails_is_a_failure_of_the_function(quick: mars.Session):
    flaky = Flaky(2)
    assert mr.spawn(lambda: mr.spawn(flaky).to_object(), retry_when_fail=True).to_object() == (3,)


def test_returned_object_retries_for_itself(quick: mars.Session):
    flaky = Flaky(2)
    assert mr.spawn(lambda: mr.spawn(flaky, retry_when_fail=True)).to_object() == (3,)


def test_log_goes_on_from_one_attempt_to_the_next(quick: mars.Session, capsys: pytest.CaptureFixture[str]):
    flaky = Flaky(2)

    def say() -> Any:
        print("attempt", flaky.calls)
        return flaky()

    obj = mr.spawn(say, retry_when_fail=True).execute()
    assert obj.fetch_log() == "attempt 0\nattempt 1\nattempt 2\n"


def test_error_that_was_retried_is_let_go_of(quick: mars.Session):
    class Value:
        pass

    watched: list[weakref.ref] = []

    def fail_once() -> int:
        if not watched:
            value = Value()
            watched.append(weakref.ref(value))
            raise LookupError(value)
        return len(watched)

    logging.getLogger("mars").disabled = True  # records keep errors for as long as pytest keeps records
    try:
        assert mr.spawn(fail_once, retry_when_fail=True).to_object() == 1
    finally:
        logging.getLogger("mars").disabled = False
    assert watched[0]() is None
