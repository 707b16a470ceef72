"""Results that cannot be moved, that fail when they are moved or read, and that lie about what they are."""

from __future__ import annotations

import io
import logging
import threading
from typing import Any

import pytest
from spills import LEAST, MB, ballast, files, is_empty, move_out, small
from support import WITHIN, run_well

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler


class Large:
    """Something that is worth a file."""

    def __init__(self) -> None:
        self.data = b"x" * 50_000


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mars"]


# -- It cannot be moved ----------------------------------------------------------------------------------------------


class Holder(Large):
    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held


class Refuses(Large):
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ValueError("I stay here")


class OutOfMemory(Large):
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise MemoryError


class Speechless(Large):
    def __reduce_ex__(self, protocol: Any) -> Any:
        class Wordless(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no words")

        raise Wordless

    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Nonsense(Large):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return 7


def iterate() -> Any:
    yield b"x" * 50_000


UNMOVABLE = {
    "lock": lambda: Holder(threading.Lock()),
    "generator": lambda: Holder(iterate()),
    "file": lambda: Holder(io.TextIOWrapper(io.BytesIO())),
    "object of a session": lambda: Holder(mr.spawn(int)),
    "raises": Refuses,
    "runs out of memory": OutOfMemory,
    "error that cannot be shown": Speechless,
    "reduces to nonsense": Nonsense,
}


@pytest.mark.parametrize("kind", UNMOVABLE)
def test_what_cannot_be_moved_stays_and_is_told_once(kind: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "mars"), small() as session:
        results = [mr.spawn(UNMOVABLE[kind]).execute() for _ in range(5)]
        values = [obj.fetch() for obj in results]
        for _ in range(3):
            move_out(session)
        assert [obj.fetch() for obj in results] == values  # the same objects
        assert session.memory.in_memory >= 5 * 50_000
        (message,) = told(caplog)
        assert type(values[0]).__qualname__ in message
        assert "stay in memory" in message
        del results, values
        assert is_empty(session.memory)


def test_work_whose_results_all_stay_is_done(session: mars.Session):
    """Thirty megabytes under a limit of ten."""
    graph: dict = {("x", i): (lambda: Holder([threading.Lock(), bytes(MB)]),) for i in range(30)}
    graph["all"] = (lambda holders: sum(len(holder.held[1]) for holder in holders), list(graph))
    assert mars_scheduler(graph, "all") == 30 * MB
    assert session.memory is not None
    assert session.memory.written == 0
    assert is_empty(session.memory)


# -- Moving it ends the work -----------------------------------------------------------------------------------------


class Interrupts(Large):
    kind: type[BaseException] = KeyboardInterrupt

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise self.kind("while it was moved")


class Exits(Interrupts):
    kind = SystemExit


@pytest.mark.parametrize("kind", [Interrupts, Exits])
def test_interrupt_while_a_result_is_moved_ends_the_work(kind: type[Interrupts]):
    """And nothing else: the result is there, the session usable."""
    with small() as session:
        obj = mr.spawn(kind).execute()
        with pytest.raises(kind.kind, match="while it was moved"):
            move_out(session)
        assert type(obj.fetch()) is kind
        assert mr.spawn(len, args=("abc",)).execute().fetch() == 3
        assert session.memory.reserved == 0
        del obj
        move_out(session)
        assert is_empty(session.memory)


# -- It cannot be read -----------------------------------------------------------------------------------------------


def fail_to_read(*_: Any) -> None:
    raise ValueError("lost in translation")


class Unreadable(Large):
    def __reduce__(self) -> Any:
        return fail_to_read, (self.data,)


def test_result_that_cannot_be_read_is_an_error_wherever_it_is_needed():
    """Its own, and each time: there is no other value in its place."""
    with small() as session:
        obj = mr.spawn(Unreadable).execute()
        move_out(session)
        for _ in range(2):
            with pytest.raises(ValueError, match="lost in translation"):
                obj.fetch()
            with pytest.raises(ValueError, match="lost in translation"):
                mr.spawn(len, args=(obj,)).execute()
        assert session.memory.reserved == 0
        assert len(files(session.memory)) >= 1
        del obj
        assert is_empty(session.memory)


def test_error_of_a_result_that_cannot_be_read_names_it():
    with small() as session:
        obj = mr.spawn(Unreadable).execute()
        move_out(session)
        with pytest.raises(ValueError, match="lost in translation") as caught:
            mr.spawn(len, args=(obj,)).execute()
        told = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
        assert "disk" in told
        assert obj.key in told or "Unreadable" in told


# -- It lies ---------------------------------------------------------------------------------------------------------


class Liar(Large):
    """Says what it is told to say of its size."""

    def __init__(self, says: Any) -> None:
        super().__init__()
        self.says = says

    @property
    def nbytes(self) -> Any:
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says

    def __sizeof__(self) -> Any:
        return self.nbytes


LIES = [0, -1, 10**12, 2**63, 2**200, 0.5, float("nan"), "much", None, [], ValueError("none of it"), MemoryError()]


@pytest.mark.parametrize("says", LIES, ids=repr)
def test_work_is_done_whatever_results_say_of_their_size(session: mars.Session, says: Any):
    graph: dict = {("x", i): (Liar, says) for i in range(30)}
    graph |= {("len", i): (lambda x: len(x.data), ("x", i)) for i in range(30)}
    graph["all"] = (sum, [("len", i) for i in range(30)])
    graph["again"] = (lambda total, *xs: total + len(xs), "all", *[("x", i) for i in range(30)])
    assert mars_scheduler(graph, "again") == 30 * 50_000 + 30
    assert is_empty(session.memory)
    assert mars_scheduler({"x": (len, "abc")}, "x") == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupt_while_a_result_is_measured_ends_the_work(session: mars.Session, error: type[BaseException]):
    with pytest.raises(error, match="measured"):
        mars_scheduler({"x": (Liar, error("measured")), "y": (len, ["x"])}, "y")
    assert is_empty(session.memory)
    assert mars_scheduler({"x": (len, "abc")}, "x") == 3


def test_work_of_a_thousand_huge_sizes_goes_on_one_task_at_a_time(session: mars.Session):
    graph: dict = {("x", i): (Liar, 10**12) for i in range(300)}
    graph["all"] = (lambda xs: len(xs), list(graph))
    assert mars_scheduler(graph, "all") == 300
    assert is_empty(session.memory)


# -- It computes -----------------------------------------------------------------------------------------------------


class ComputesItsSize(Large):
    @property
    def nbytes(self) -> int:
        return mars_scheduler({"x": (len, "abc"), "y": (pow, "x", 10)}, "y")


def test_size_that_is_computed(session: mars.Session):
    graph: dict = {("x", i): (ComputesItsSize,) for i in range(300)}
    graph["all"] = (len, list(graph))
    assert mars_scheduler(graph, "all") == 300
    assert is_empty(session.memory)


def test_results_that_compute_while_they_are_moved():
    """What they compute needs room as well, while they wait for their own."""
    source = """
    import mars
    from mars.contrib.dask import mars_scheduler
    class Computes:
        def __init__(self, data=None):
            self.data = data or bytes(1_000_000)
        def __reduce__(self):
            graph = {("x", i): (bytes, 500_000) for i in range(4)}
            graph["all"] = (lambda xs: sum(map(len, xs)), list(graph))
            assert mars_scheduler(graph, "all", num_workers=2) == 2_000_000
            return Computes, (self.data,)
    graph = {("x", i): (Computes,) for i in range(20)}
    graph |= {("len", i): (lambda x: len(x.data), ("x", i)) for i in range(20)}
    graph["sum"] = (sum, [("len", i) for i in range(20)])
    graph["all"] = (lambda total, *xs: (total, len(xs)), "sum", *[("x", i) for i in range(20)])
    with mars.new_session(memory_limit=10_000_000) as session:
        say(*mars_scheduler(graph, "all", num_workers=2))
    """
    assert run_well(source) == ["20000000 20"]


class Blocks(Large):
    """Moved only when another task has run."""

    may_go = threading.Event()

    def __reduce__(self) -> Any:
        assert self.may_go.wait(WITHIN)
        return Large, ()


def test_other_work_goes_on_while_a_result_is_slow_to_move():
    """A worker moves it; the other one runs what needs no room."""
    Blocks.may_go.clear()
    with small(n_workers=2) as session:
        obj = mr.spawn(Blocks).execute()
        info = mr.spawn(ballast).execute(wait=False)
        assert mr.spawn(Blocks.may_go.set).execute().fetch() is None
        assert len(info.result(WITHIN).fetch()) > LEAST / 2
        assert type(obj.fetch()) is Large
        del obj, info
        assert is_empty(session.memory)
