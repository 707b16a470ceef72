"""`fetch_log`: what a function has printed, and nothing else."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from typing import Any

import pytest
from support import SOON

import mars
import mars.remote as mr

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def shown(capsys: Capture) -> Capture:
    """What is shown is looked at where it matters, and kept out of the report elsewhere."""
    return capsys


class Printer:
    """A function that prints a line, stops until it is told to go on, and so on."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        self.printed = [threading.Event() for _ in lines]
        self.may_go_on = [threading.Event() for _ in lines]

    def __call__(self) -> None:
        for line, printed, may_go_on in zip(self.lines, self.printed, self.may_go_on, strict=True):
            print(line)
            printed.set()
            assert may_go_on.wait(SOON)

    def wait(self, line: int = 0) -> None:
        assert self.printed[line].wait(SOON)

    def finish(self) -> None:
        for event in self.may_go_on:
            event.set()


@contextmanager
def running(printer: Printer) -> Iterator[mr.Object]:
    """An object whose function has printed its first line."""
    obj = mr.spawn(printer)
    info = obj.execute(wait=False)
    try:
        printer.wait()
        yield obj
    finally:
        printer.finish()
        assert info.result(timeout=SOON) is obj


def executed(function: Callable[..., Any], *args: Any) -> mr.Object:
    obj = mr.spawn(function, args=args)
    obj.execute()
    return obj


# What is in it.


def test_standard_output_and_error_in_order(session: mars.Session):
    def say() -> None:
        print("one")
        print("two", file=sys.stderr)
        sys.stdout.write("three")
        sys.stderr.write("four\n")
        sys.stdout.writelines(["five\n", "six\n"])
        print("seven", "eight", sep="-", end="!", flush=True)

    assert executed(say).fetch_log() == "one\ntwo\nthreefour\nfive\nsix\nseven-eight!"


def test_output_is_shown_too(session: mars.Session, shown: Capture):
    def say() -> None:
        print("out")
        print("err", file=sys.stderr)

    executed(say)
    assert shown.readouterr() == ("out\n", "err\n")


@pytest.mark.parametrize("text", ["", "käse ∑ 🚀\n", "a\r\nb\rc\n", "\x00\t", "x" * 1_000_000])
def test_any_text_arrives_as_it_is(session: mars.Session, text: str):
    assert executed(print, text).fetch_log() == text + "\n"


def test_log_of_what_prints_nothing_is_empty(session: mars.Session):
    obj = mr.spawn(int)
    assert obj.fetch_log() == ""
    obj.execute()
    assert obj.fetch_log() == ""
    assert obj.fetch_log(offsets=0, sizes=10) == ""


def test_logging_to_standard_error_is_in_it(session: mars.Session):
    def say() -> None:
        handler = logging.StreamHandler()
        logger = logging.Logger("apart")
        logger.addHandler(handler)
        logger.warning("logged")

    assert executed(say).fetch_log() == "logged\n"


def test_each_object_has_its_own_log(session: mars.Session):
    """Two that print in turns, line by line."""
    turns = [threading.Event() for _ in range(21)]

    def say(name: str, first: int) -> None:
        for i in range(first, 20, 2):
            assert turns[i].wait(SOON)
            print(name, i)
            turns[i + 1].set()

    objects = [mr.spawn(say, args=("even", 0)), mr.spawn(say, args=("odd", 1))]
    turns[0].set()
    mars.execute(*objects)
    even, odd = mars.fetch_log(*objects)
    assert even == "".join(f"even {i}\n" for i in range(0, 20, 2))
    assert odd == "".join(f"odd {i}\n" for i in range(1, 20, 2))


def test_dependencies_print_into_their_own_logs(session: mars.Session):
    first = mr.spawn(print, args=("first",))
    second = mr.spawn(print, args=("second", first))
    second.execute()
    assert (first.fetch_log(), second.fetch_log()) == ("first\n", "second None\n")


def test_other_threads_print_into_no_log(session: mars.Session, shown: Capture):
    def say() -> None:
        print("mine")
        thread = threading.Thread(target=print, args=("another thread's",))
        thread.start()
        thread.join()

    assert executed(say).fetch_log() == "mine\n"
    assert shown.readouterr().out == "mine\nanother thread's\n"


def test_main_thread_prints_into_no_log(session: mars.Session, shown: Capture):
    with running(Printer("mine")) as obj:
        print("main thread's")
    assert obj.fetch_log() == "mine\n"
    assert shown.readouterr().out == "mine\nmain thread's\n"


def test_nested_executions_print_into_their_own_logs(session: mars.Session):
    inner = mr.spawn(print, args=("inner",))

    def say() -> None:
        print("before")
        inner.execute()
        print("after")

    assert executed(say).fetch_log() == "before\nafter\n"
    assert inner.fetch_log() == "inner\n"


@pytest.mark.parametrize("n_workers", [1, 2])
def test_nested_executions_to_any_depth_print_into_their_own_logs(n_workers: int):
    objects: dict[int, mr.Object] = {}

    def say(depth: int) -> None:
        print("before", depth)
        if depth:
            objects[depth - 1] = mr.spawn(say, args=(depth - 1,))
            objects[depth - 1].execute()
        print("after", depth)

    with mars.new_session(n_workers=n_workers, default=False):
        objects[10] = executed(say, 10)
        assert [objects[i].fetch_log() for i in range(11)] == [f"before {i}\nafter {i}\n" for i in range(11)]


def test_returned_object_prints_into_its_own_log(session: mars.Session):
    inner = mr.spawn(print, args=("inner",))

    def say() -> mr.Object:
        print("outer")
        return inner

    assert executed(say).fetch_log() == "outer\n"
    assert inner.fetch_log() == "inner\n"


def test_function_that_fails_keeps_its_log(session: mars.Session):
    def say() -> None:
        print("before")
        raise LookupError

    obj = mr.spawn(say)
    for times in (1, 2):
        with pytest.raises(LookupError):
            obj.execute()
        assert obj.fetch_log() == "before\n"
        assert obj.fetch_log(offsets=0) == "before\n" * times


def test_outputs_of_one_call_share_a_log(session: mars.Session):
    def say() -> tuple[int, int]:
        print("both")
        return 1, 2

    first, second = mr.spawn(say, n_output=2)
    first.execute()
    assert second.fetch_log() == "both\n"
    assert first.fetch_log() == ""
    assert first.fetch_log(offsets=0) == second.fetch_log(offsets=0) == "both\n"


def test_outputs_of_several_calls_do_not(session: mars.Session):
    calls = [mr.spawn(lambda i=i: print(i) or [i], n_output=1) for i in range(2)]
    mars.execute(*calls)
    assert mars.fetch_log(*calls) == [["0\n"], ["1\n"]]


def test_log_is_there_after_the_session_has_stopped():
    with mars.new_session(n_workers=1, default=False):
        obj = executed(print, "text")
    assert obj.fetch_log() == "text\n"


# Where it is read.


def test_calls_continue_where_the_last_stopped(session: mars.Session):
    obj = executed(
        print,
        "0123456789",
    )
    assert obj.fetch_log(sizes=3) == "012"
    assert obj.fetch_log(sizes=2) == "34"
    assert obj.fetch_log(sizes=0) == ""
    assert obj.fetch_log() == "56789\n"
    assert obj.fetch_log() == ""


def test_offsets_say_where_to_begin(session: mars.Session):
    obj = executed(print, "0123456789")
    assert obj.fetch_log(offsets=8) == "89\n"
    assert obj.fetch_log(offsets=0) == "0123456789\n"
    assert obj.fetch_log(offsets=2, sizes=3) == "234"
    assert obj.fetch_log(sizes=1) == "5"
    assert obj.fetch_log(0, 2) == "01"


def test_offsets_and_sizes_count_characters(session: mars.Session):
    assert executed(print, "äöü€🚀x").fetch_log(offsets=3, sizes=2) == "€🚀"


def test_offset_beyond_the_end_gives_nothing_and_skips_nothing(session: mars.Session):
    """What is printed later is where the last call stopped, which cannot be beyond the end."""
    printer = Printer("one", "two")
    with running(printer) as obj:
        assert obj.fetch_log(offsets=1000) == ""
        printer.may_go_on[0].set()
        printer.wait(1)
        assert obj.fetch_log() == "two\n"


@pytest.mark.parametrize("option", ["offsets", "sizes"])
@pytest.mark.parametrize(("value", "kind"), [(-1, ValueError), (1.5, TypeError), ("1", TypeError)])
def test_offsets_and_sizes_that_make_no_sense_are_refused(option: str, value: Any, kind: type[Exception]):
    with pytest.raises(kind) as raised:
        mr.spawn(int).fetch_log(**{option: value})
    assert str(raised.value).startswith(f"{option} has to be")
    assert str(raised.value).endswith(f"not {value!r}")


def test_one_text_for_one_object_and_a_list_for_several(session: mars.Session):
    one, two = executed(print, "one"), executed(print, "two")
    assert mars.fetch_log(one) == "one\n"
    assert mars.fetch_log(one, two, offsets=0) == ["one\n", "two\n"]
    assert mars.fetch_log([one, [two]], offsets=[1, [2]], sizes=1) == ["n", ["o"]]
    assert session.fetch_log(one, two, offsets=0, sizes=[1, 2]) == ["o", "tw"]


def test_what_has_no_log_is_refused():
    with pytest.raises(TypeError, match="of type int"):
        mars.fetch_log(5)


# While it runs.


def test_log_is_read_while_the_function_runs(session: mars.Session):
    printer = Printer("one", "two", "three")
    with running(printer) as obj:
        assert obj.fetch_log() == "one\n"
        assert obj.fetch_log() == ""
        printer.may_go_on[0].set()
        printer.wait(1)
        assert obj.fetch_log() == "two\n"
        assert obj.fetch_log(offsets=0) == "one\ntwo\n"
    assert obj.fetch_log() == "three\n"


def test_log_is_read_by_the_function_itself(session: mars.Session):
    def say() -> str:
        print("mine")
        return obj.fetch_log()

    obj = mr.spawn(say)
    assert obj.to_object() == "mine\n"


def test_log_is_read_by_another_thread(session: mars.Session):
    logs: list[str] = []
    with running(Printer("one")) as obj:
        thread = threading.Thread(target=lambda: logs.append(obj.fetch_log()))
        thread.start()
        thread.join(SOON)
    assert logs == ["one\n"]


# Streams.


def restores_streams(test: Callable[..., None]) -> Callable[..., None]:
    """A test at whose end the streams are those of its begin."""

    @wraps(test)
    def checked(**fixtures: Any) -> None:
        before = sys.stdout, sys.stderr
        try:
            test(**fixtures)
            assert (sys.stdout, sys.stderr) == before
        finally:
            sys.stdout, sys.stderr = before

    return checked


@restores_streams
def test_streams_are_restored_after_an_execution(session: mars.Session):
    before = sys.stdout, sys.stderr
    executed(print, "text")
    assert (sys.stdout, sys.stderr) == before
    with pytest.raises(ZeroDivisionError):
        executed(divmod, 1, 0)
    assert (sys.stdout, sys.stderr) == before
    with running(Printer("text")):
        pass
    assert (sys.stdout, sys.stderr) == before


@restores_streams
def test_streams_are_restored_after_executions_that_overlap(session: mars.Session):
    first, second = Printer("first"), Printer("second")
    with running(first) as one:
        with running(second) as two:
            pass
        print("main thread's")
    assert mars.fetch_log(one, two) == ["first\n", "second\n"]


@restores_streams
def test_output_is_redirected_as_anywhere_else(session: mars.Session, shown: Capture):
    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(text):
        obj = executed(lambda: print("out") or print("err", file=sys.stderr))
    assert obj.fetch_log() == text.getvalue() == "out\nerr\n"
    assert shown.readouterr() == ("", "")


@restores_streams
def test_what_a_function_redirects_is_not_in_its_log(session: mars.Session):
    def say() -> str:
        with redirect_stdout(io.StringIO()) as text:
            print("hidden")
        print("shown")
        return text.getvalue()

    obj = executed(say)
    assert (obj.fetch(), obj.fetch_log()) == ("hidden\n", "shown\n")


@restores_streams
def test_what_a_function_redirects_to_the_other_stream_is_in_its_log_once(session: mars.Session, shown: Capture):
    def say() -> None:
        with redirect_stdout(sys.stderr):
            print("text")

    assert executed(say).fetch_log() == "text\n"
    assert shown.readouterr() == ("", "text\n")


@restores_streams
def test_text_is_logged_once_whatever_a_function_wraps_its_stream_in(session: mars.Session, shown: Capture):
    """As libraries that colour text or draw bars do; an execution begins meanwhile."""

    class Wrapper(io.TextIOBase):
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def write(self, text: str) -> int:
            return self.stream.write(text.upper())

    def say() -> None:
        with redirect_stdout(Wrapper(sys.stdout)):
            print("one")
            mr.spawn(int).execute()
            print("two")

    assert executed(say).fetch_log() == "ONE\nTWO\n"
    assert shown.readouterr().out == "ONE\nTWO\n"


@restores_streams
def test_what_a_function_redirects_is_not_in_its_log_even_if_it_executes_meanwhile(session: mars.Session):
    def say() -> str:
        with redirect_stdout(io.StringIO()) as text:
            mr.spawn(int).execute()
            print("hidden")
        return text.getvalue()

    obj = executed(say)
    assert (obj.fetch(), obj.fetch_log()) == ("hidden\n", "")


@restores_streams
def test_function_that_starts_after_the_caller_stopped_redirecting_has_a_log(session: mars.Session, shown: Capture):
    """As where the output of a notebook's cell is captured, in which an execution begins."""
    printer = Printer("one")
    first = mr.spawn(printer)
    second = mr.spawn(print, args=("two", first))
    with redirect_stdout(io.StringIO()) as text:
        info = second.execute(wait=False)
        printer.wait()
    printer.finish()
    info.result(timeout=SOON)
    assert text.getvalue() == first.fetch_log() == "one\n"
    assert shown.readouterr().out == second.fetch_log() == "two None\n"


@restores_streams
def test_function_that_starts_while_the_caller_redirects_has_a_log(session: mars.Session, shown: Capture):
    printer = Printer("one")
    first = mr.spawn(printer)
    second = mr.spawn(print, args=("two", first))
    info = second.execute(wait=False)
    printer.wait()
    with redirect_stdout(io.StringIO()) as text:
        printer.finish()
        info.result(timeout=SOON)
    mr.spawn(int).execute()
    assert shown.readouterr().out == first.fetch_log() == "one\n"
    assert text.getvalue() == second.fetch_log() == "two None\n"


@restores_streams
def test_streams_are_whole_if_the_caller_redirects_until_after_the_end(session: mars.Session, shown: Capture):
    """What was put back is the stream of the execution; it shows text once, and the next execution takes it away."""
    printer = Printer("one")
    obj = mr.spawn(printer)
    info = obj.execute(wait=False)
    printer.wait()
    with redirect_stdout(io.StringIO()):
        printer.finish()
        info.result(timeout=SOON)
    print("two")
    other = executed(print, "three")
    assert shown.readouterr().out == "one\ntwo\nthree\n"
    assert (obj.fetch_log(), other.fetch_log()) == ("one\n", "three\n")


@restores_streams
def test_stream_that_a_function_keeps_can_be_used_later(session: mars.Session, shown: Capture):
    obj = mr.spawn(lambda: sys.stdout).execute()
    print("later", file=obj.fetch())
    assert shown.readouterr().out == "later\n"
    assert obj.fetch_log() == ""


@restores_streams
def test_stream_that_refuses_text_refuses_it_in_functions_too(session: mars.Session):
    def say() -> None:
        sys.stdout.write(5)  # type: ignore[arg-type]

    with pytest.raises(TypeError):
        executed(say)


@restores_streams
def test_there_may_be_no_streams_at_all(session: mars.Session):
    """As in a program without a console."""
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = None  # type: ignore[assignment]
    try:
        obj = executed(print, "text")
        assert (sys.stdout, sys.stderr) == (None, None)
    finally:
        sys.stdout, sys.stderr = before
    assert obj.fetch() is None


@restores_streams
def test_streams_have_what_streams_have(session: mars.Session):
    def look() -> tuple:
        stream = sys.stdout
        stream.flush()
        return stream.encoding, stream.isatty(), stream.writable(), stream.closed

    expected = look()
    assert executed(look).fetch() == expected
    assert executed(lambda: sys.stdout.write("four")).fetch() == 4
