"""Objects under a memory limit: idle results go to disk, and are had from there."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask
import pytest
from spills import LEAST, ballast, files, holds, is_empty, move_out, small
from support import WITHIN, Gate, eventually

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler

#: So many bytes are worth a file, and several fit into a small session.
SIZE = 100_000


def block(i: int) -> bytes:
    return bytes([i]) * SIZE


def last(*blocks: bytes) -> int:
    return sum(block[-1] for block in blocks)


def test_idle_results_go_to_disk_and_are_fetched_from_there():
    with small() as session:
        objects = [mr.spawn(block, args=(i,)).execute() for i in range(30)]
        memory = session.memory
        assert memory.in_memory <= LEAST
        assert memory.on_disk >= 30 * SIZE - LEAST
        assert len(memory) == 30
        for _ in range(2):
            assert [obj.fetch() for obj in objects] == list(map(block, range(30)))
        assert mars.fetch(*objects[:3]) == [block(0), block(1), block(2)]


def test_dropped_results_free_memory_and_disk():
    with small() as session:
        objects = [mr.spawn(block, args=(i,)).execute() for i in range(30)]
        before = session.memory.on_disk
        del objects[15:]
        assert 0 < session.memory.on_disk < before
        assert len(session.memory) == 15
        del objects
        assert is_empty(session.memory)


def test_work_goes_on_from_moved_results():
    with small() as session:
        objects = [mr.spawn(block, args=(i,)).execute() for i in range(30)]
        sums = mars.execute(*[mr.spawn(last, args=(objects[i], objects[i + 1])) for i in range(29)])
        assert sums.fetch() == [2 * i + 1 for i in range(29)]
        assert session.memory.most_in_memory <= 2 * LEAST
        total = mr.spawn(last, args=tuple(objects)).execute()  # all of them at once: more than the limit
        assert total.fetch() == sum(range(30))
        del objects, sums, total
        assert is_empty(session.memory)


def test_executing_again_uses_what_is_on_disk():
    calls: list[int] = []

    def make(i: int) -> bytes:
        calls.append(i)
        return block(i)

    with small() as session:
        objects = [mr.spawn(make, args=(i,)).execute() for i in range(20)]
        move_out(session)
        mars.execute(*objects)
        assert calls == list(range(20))


def test_background_execution_under_the_limit():
    with small(n_workers=2) as session:
        objects = [mr.spawn(block, args=(i,)) for i in range(30)]
        total = mr.spawn(last, args=tuple(objects[:5]))
        info = mars.execute(*objects, total, wait=False)
        info.result(WITHIN)
        assert total.fetch() == sum(range(5))
        assert [obj.fetch()[0] for obj in objects] == list(range(30))
        assert session.memory.on_disk > 0
        del objects, total, info
        assert is_empty(session.memory)


def test_cancelled_execution_lets_go_of_what_it_has_moved():
    gate = Gate()
    with small(n_workers=2) as session:
        made = [mr.spawn(block, args=(i,)) for i in range(30)]
        end = mr.spawn(lambda _, *blocks: last(*blocks), args=(mr.spawn(gate, args=tuple(made)), *made))
        info = end.execute(wait=False)
        gate.wait_entered()
        assert session.memory.on_disk + session.memory.in_memory >= 30 * SIZE
        info.cancel()
        gate.opened.set()
        assert info.wait(WITHIN)
        del made, end, info
        gc.collect()
        assert is_empty(session.memory), holds(session.memory)


def test_session_stops_with_results_on_disk():
    with small() as session:
        objects = [mr.spawn(block, args=(i,)).execute() for i in range(30)]
        directory = session.memory.directory
        session.stop()
        assert not directory.exists()
        assert session.memory.on_disk == 0
        for obj in objects:
            with pytest.raises(ValueError, match="stopped"):
                obj.fetch()
        assert is_empty(session.memory)
    with small():
        assert objects[7].execute().fetch() == block(7)


def has_begun(memory: Any, info: Any) -> Any:
    return lambda: memory.on_disk > 0 or info.done()


def test_session_stops_while_results_are_moved(tmp_path: Any):
    for _ in range(10):
        session = mars.new_session(n_workers=2, memory_limit=LEAST, spill_dir=tmp_path, default=False)
        info = session.execute(*[mr.spawn(block, args=(i,)) for i in range(200)], wait=False)
        assert eventually(has_begun(session.memory, info))
        session.stop()
        assert info.wait(WITHIN)
        del info
        assert is_empty(session.memory), holds(session.memory)
    assert list(tmp_path.iterdir()) == []


def test_two_executions_read_the_same_moved_result_at_the_same_time():
    """One of them reads the file; both have the same object."""
    together = threading.Barrier(2)
    seen: list[Any] = []

    def look(value: bytes) -> None:
        together.wait(WITHIN)
        seen.append(value)

    with small(n_workers=2) as session:
        obj = mr.spawn(block, args=(3,)).execute()
        move_out(session)
        first = mr.spawn(look, args=(obj,)).execute(wait=False)
        second = mr.spawn(look, args=(obj,)).execute(wait=False)
        first.result(WITHIN)
        second.result(WITHIN)
        assert seen == [block(3), block(3)]
        assert seen[0] is seen[1]
        assert SIZE < session.memory.read < 2 * SIZE


def test_many_threads_fetch_and_execute_moved_results():
    with small(n_workers=2) as session:
        objects = [mr.spawn(block, args=(i,)).execute() for i in range(30)]

        def use(i: int) -> bool:
            obj = objects[i % 30]
            if i % 3:
                return obj.fetch(session=session) == block(i % 30)
            return mr.spawn(last, args=(obj,)).execute(session=session).fetch(session=session) == i % 30

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(use, range(300)))
        objects.clear()
        assert is_empty(session.memory)


def test_outputs_are_moved_each():
    with small() as session:
        outputs = mr.spawn(lambda: [block(i) for i in range(5)], n_output=5)
        outputs.execute()
        move_out(session)
        assert session.memory.on_disk >= 5 * SIZE
        assert outputs.fetch() == [block(i) for i in range(5)]
        assert mr.spawn(last, args=(outputs[1], outputs[4])).execute().fetch() == 5
        del outputs
        assert is_empty(session.memory)


def test_function_that_returns_objects_under_the_limit():
    def spread(n: int) -> Any:
        if n == 0:
            return block(7)
        return mr.spawn(lambda *blocks: blocks[0], args=tuple(mr.spawn(spread, args=(n - 1,)) for _ in range(3)))

    with small() as session:
        obj = mr.spawn(spread, args=(3,)).execute()
        assert obj.fetch() == block(7)
        move_out(session)
        assert obj.fetch() == block(7)
        del obj
        gc.collect()
        assert is_empty(session.memory)


def test_collection_given_to_a_function_is_computed_under_the_limit():
    da = pytest.importorskip("dask.array")
    x = da.ones((2000, 500), chunks=(100, 500))  # 8 MB
    with small() as session:
        far = x.map_blocks(lambda block: block + 1)  # not fused with what follows its sum
        obj = mr.spawn(lambda total: total + 1, args=((far - far.sum()).sum(),)).execute()
        assert obj.fetch() == x.size * (2 - 2 * x.size) + 1
        assert session.memory.written > LEAST
        assert session.memory.most_in_memory < 3 * LEAST
        del obj
        assert is_empty(session.memory)


def test_objects_in_a_dask_graph_come_from_the_disk():
    with small() as session:
        objects = [mr.spawn(block, args=(i,)).execute() for i in range(20)]
        move_out(session)
        total = dask.delayed(last)(*objects)
        assert total.compute(scheduler=mars_scheduler) == sum(range(20))
        del objects, total
        gc.collect()
        assert is_empty(session.memory)


class Link:
    """Can be in a cycle with an object whose result it is."""

    def __init__(self) -> None:
        self.data = b"x" * SIZE
        self.obj: Any = None


@pytest.mark.parametrize("moved", [True, False])
def test_collector_frees_results_in_cycles(moved: bool):
    with small() as session:
        memory = session.memory
        made = mr.spawn(block, args=(1,)).execute()
        link = mr.spawn(Link).execute()
        link.fetch().obj = [link, made]  # cannot be pickled, and keeps the other one
        if moved:
            move_out(session)
            assert memory.on_disk >= SIZE  # the other one
        assert memory.in_memory >= SIZE
        del link, made
        gc.collect()
        assert is_empty(memory)


def test_result_that_is_moved_is_not_kept_by_the_task_that_made_it():
    import weakref

    alive: list[weakref.ref] = []

    def make() -> Link:
        value = Link()
        alive.append(weakref.ref(value))
        return value

    with small() as session:
        obj = mr.spawn(make).execute()
        assert alive[0]() is not None
        move_out(session)
        assert alive[0]() is None
        assert obj.fetch().data == b"x" * SIZE


def test_failed_execution_is_tried_again_with_what_was_moved():
    attempts: list[int] = []

    def fail_once(*blocks: bytes) -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise ZeroDivisionError
        return last(*blocks)

    with small(retry_delay=0) as session:
        objects = [mr.spawn(block, args=(i,)).execute() for i in range(20)]
        obj = mr.spawn(fail_once, args=tuple(objects), retry_when_fail=True).execute()
        assert obj.fetch() == sum(range(20))
        assert len(attempts) == 2
        del objects, obj
        assert is_empty(session.memory)


def test_sessions_have_a_disk_each():
    with small() as one, small() as other:
        mine, theirs = mr.spawn(block, args=(1,)), mr.spawn(block, args=(2,))
        mine.execute(session=one)
        theirs.execute(session=other)
        move_out(one)
        move_out(other)
        assert one.memory.directory != other.memory.directory
        assert len(files(one.memory)) >= 1 <= len(files(other.memory))
        one.stop()
        assert theirs.fetch() == block(2)


def test_result_of_another_session_is_read_from_its_disk():
    with small() as one:
        obj = mr.spawn(block, args=(5,)).execute()
        move_out(one)
        with small() as other:
            value = obj.fetch()
            assert mr.spawn(last, args=(value,)).execute(session=other).fetch() == 5
            assert one.memory.on_disk >= SIZE


def test_ballast_is_what_the_sessions_of_these_tests_hold():
    assert LEAST / 2 < len(ballast()) <= LEAST
