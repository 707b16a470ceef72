"""Several threads and executions want the same objects: each function runs once, and no wait is for ever."""

from __future__ import annotations

import concurrent.futures
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import WITHIN, Gate, inc, run_well

import mars
import mars.remote as mr


@pytest.fixture(autouse=True)
def session() -> Iterator[mars.Session]:
    with mars.new_session(n_workers=4, default=False) as session:
        yield session


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


def side_by_side(*calls: Callable[[], Any]) -> list[Any]:
    """What these return or raise, each called in a thread of its own, all begun at the same time."""
    barrier = threading.Barrier(len(calls))
    futures: list[concurrent.futures.Future[Any]] = [concurrent.futures.Future() for _ in calls]

    def call(function: Callable[[], Any], future: concurrent.futures.Future[Any]) -> None:
        try:
            barrier.wait(WITHIN)
            future.set_result(function())
        except BaseException as error:
            future.set_result(error)

    for arguments in zip(calls, futures, strict=True):
        threading.Thread(target=call, args=arguments, daemon=True).start()
    assert not concurrent.futures.wait(futures, WITHIN).not_done
    return [future.result() for future in futures]


def waiting_execution(shared: Any) -> mr.ExecutionInfo:
    """An execution in the background that has come to `shared`, which another one runs."""
    came_further = threading.Event()
    info = mars.execute(shared, mr.spawn(came_further.set), wait=False)
    assert came_further.wait(WITHIN)
    return info


def is_refusal(value: Any) -> bool:
    return isinstance(value, RuntimeError) and "wait" in str(value)


@pytest.mark.parametrize("n_workers", [1, 4])
def test_one_object_executed_by_many_threads_runs_once(n_workers: int):
    with mars.new_session(n_workers=n_workers, default=False) as session:
        for _ in range(20):
            calls: list[object] = []

            def function(calls: list[object] = calls) -> object:
                calls.append(object())
                return calls[-1]

            obj = mr.spawn(function)
            values = side_by_side(*[lambda obj=obj: obj.execute(session=session).fetch()] * 8)
            assert values == calls * 8


@pytest.mark.parametrize("n_workers", [1, 4])
def test_overlapping_graphs_of_many_threads_run_each_function_once(n_workers: int):
    """Layers of objects, each made of two of the layer below; every thread wants another one at the top."""
    with mars.new_session(n_workers=n_workers, default=False) as session:
        for _ in range(5):
            calls: Counter[tuple[int, int]] = Counter()

            def function(name: tuple[int, int], *below: int, calls: Counter[tuple[int, int]] = calls) -> int:
                calls[name] += 1
                return 1 + sum(below)

            layer = [mr.spawn(function, args=((0, i),)) for i in range(8)]
            for depth in range(1, 6):
                layer = [
                    mr.spawn(function, args=((depth, i), layer[i], layer[(i + 1) % 8]), kwargs={"calls": calls})
                    for i in range(8)
                ]
            values = side_by_side(*[lambda obj=obj: obj.execute(session=session).fetch() for obj in layer])
            assert values == [63] * 8
            assert set(calls.values()) == {1}
            assert len(calls) == 48


def test_who_waits_for_an_object_of_another_execution_does_the_rest_meanwhile(gate: Gate):
    """With one worker taken by the other execution, and one place of its own."""
    shared = mr.spawn(gate)
    first = shared.execute(wait=False)
    gate.wait_entered()
    ran = threading.Event()
    with mars.new_session(n_workers=1, default=False):
        rest = [mr.spawn(ran.set), mr.spawn(lambda x: x + 1, args=(shared,))]
    second = mars.execute(*rest, wait=False)
    assert ran.wait(WITHIN)
    assert not second.done()
    gate.opened.set()
    assert first.result(WITHIN).fetch() == 1
    assert second.result(WITHIN).fetch() == [None, 2]
    assert gate.calls == 1


def test_foreground_and_background_share_what_they_need(gate: Gate):
    shared = mr.spawn(gate)
    calls: list[int] = []
    left = mr.spawn(lambda x: calls.append(x), args=(shared,))
    right = mr.spawn(lambda x: calls.append(x), args=(shared,))
    info = mars.execute(left, right, wait=False)
    gate.wait_entered()
    opener = threading.Thread(target=gate.opened.set)
    opener.start()
    mars.execute(right, left)
    opener.join()
    assert info.result(WITHIN).fetch() == [None, None]
    assert (gate.calls, calls) == (1, [1, 1])


def test_failure_is_told_to_all_who_wait(gate: Gate):
    error = ZeroDivisionError("on purpose")
    calls: list[int] = []

    def function() -> None:
        calls.append(gate())
        raise error

    obj = mr.spawn(function)
    waiting = [obj.execute(wait=False)]
    gate.wait_entered()
    waiting += [waiting_execution(obj), waiting_execution(obj), waiting_execution(mr.spawn(inc, args=(obj,)))]
    gate.opened.set()
    assert all(info.exception(WITHIN) is error for info in waiting)
    assert calls == [1]
    assert isinstance(side_by_side(lambda: obj.execute(session=mars.get_default_session()))[0], ZeroDivisionError)
    assert calls == [1, 2]


def test_each_who_waits_is_told_a_failure_with_notes_of_its_own(gate: Gate):
    """The exception is one and the same: what says where it came from stays short however many wait."""

    def function() -> None:
        gate()
        raise ZeroDivisionError

    obj = mr.spawn(function)
    infos = [obj.execute(wait=False)]
    gate.wait_entered()
    infos += [waiting_execution(obj) for _ in range(10)]
    gate.opened.set()
    errors = [info.exception(WITHIN) for info in infos]
    assert len({id(error) for error in errors}) == 1
    assert errors[0] is not None
    assert len(errors[0].__notes__) == len(set(errors[0].__notes__)) == 1


def test_execution_that_failed_leaves_shared_objects_to_others(gate: Gate):
    shared = mr.spawn(gate)
    failing = mars.execute(shared, mr.spawn(lambda: 1 / 0), wait=False)
    gate.wait_entered()
    other = mr.spawn(inc, args=(shared,)).execute(wait=False)
    assert isinstance(failing.exception(WITHIN), ZeroDivisionError)
    gate.opened.set()
    assert other.result(WITHIN).fetch() == 2
    assert gate.calls == 1


def test_cancel_leaves_an_object_that_runs_to_the_others(gate: Gate):
    shared = mr.spawn(gate)
    first = shared.execute(wait=False)
    gate.wait_entered()
    second = mr.spawn(inc, args=(shared,)).execute(wait=False)
    assert first.cancel()
    assert not second.done()
    gate.opened.set()
    assert second.result(WITHIN).fetch() == 2
    assert gate.calls == 1


def test_cancel_of_one_who_waits_does_not_disturb_the_one_who_runs(gate: Gate):
    shared = mr.spawn(gate)
    first = shared.execute(wait=False)
    gate.wait_entered()
    second = mr.spawn(inc, args=(shared,)).execute(wait=False)
    assert second.cancel()
    gate.opened.set()
    assert first.result(WITHIN).fetch() == 1
    assert gate.calls == 1


def stopped_while_shared_runs(how: str, shared: Any, begun: threading.Event) -> mr.ExecutionInfo:
    """An execution that waits for `shared` while the one that runs it is stopped."""
    may_fail = threading.Event()

    def fail() -> None:
        assert may_fail.wait(WITHIN)
        raise KeyError("elsewhere")

    others = [mr.spawn(fail)] if how == "failure elsewhere" else []
    info = mars.execute(shared, *others, wait=False)
    assert begun.wait(WITHIN)
    waiting = waiting_execution(shared)
    if how == "failure elsewhere":
        may_fail.set()
        assert isinstance(info.exception(WITHIN), KeyError)
    else:
        assert info.cancel()
    return waiting


@pytest.mark.parametrize("how", ["cancel", "failure elsewhere"])
def test_object_whose_nested_execution_was_stopped_with_another_execution_is_run_again(how: str, gate: Gate):
    """Only the first execution was stopped: who waits for the object in the second knows nothing of that."""
    begun = threading.Event()
    nested = mr.spawn(gate)

    def function() -> int:
        begun.set()
        return nested.execute().fetch()

    second = stopped_while_shared_runs(how, mr.spawn(function), gate.entered)
    gate.opened.set()
    assert second.result(WITHIN).fetch()[0] == 1
    assert gate.calls == 1


@pytest.mark.parametrize("how", ["cancel", "failure elsewhere"])
def test_object_with_retries_is_tried_again_for_those_who_wait(how: str, gate: Gate):
    calls: list[int] = []

    def function() -> int:
        calls.append(gate())
        if len(calls) == 1:
            raise ValueError("the first time")
        return len(calls)

    with mars.new_session(n_workers=4, retry_delay=0, default=False):
        second = stopped_while_shared_runs(how, mr.spawn(function, retry_when_fail=2), gate.entered)
        gate.opened.set()
        assert second.result(WITHIN).fetch()[0] == 2


@pytest.mark.parametrize("how", ["cancel", "failure elsewhere"])
def test_object_that_returned_an_object_is_made_for_those_who_wait(how: str, gate: Gate):
    second = stopped_while_shared_runs(how, mr.spawn(lambda: mr.spawn(gate)), gate.entered)
    gate.opened.set()
    assert second.result(WITHIN).fetch()[0] >= 1


def test_object_whose_function_executes_itself_is_refused():
    def function() -> Any:
        return obj.execute().fetch()

    obj = mr.spawn(function)
    with pytest.raises(RuntimeError, match="waits for itself"):
        obj.execute()
    with pytest.raises(RuntimeError, match="waits for itself"):
        obj.execute(wait=False).result(WITHIN)


def test_object_that_returns_itself_is_refused():
    box: list[Any] = []
    box.append(mr.spawn(lambda: box[0]))
    with pytest.raises(RuntimeError, match="waits for itself"):
        box[0].execute()


def test_objects_that_return_each_other_are_refused():
    ring: list[Any] = []
    for i in range(4):
        ring.append(mr.spawn(lambda i=i: ring[(i + 1) % 4]))
    values = side_by_side(*[lambda obj=obj: obj.execute(session=mars.get_default_session()) for obj in ring])
    assert all(is_refusal(value) for value in values), values


def test_object_that_returns_what_is_made_from_itself_is_refused():
    box: list[Any] = []
    box.append(mr.spawn(lambda: mr.spawn(inc, args=(box[0],))))
    with pytest.raises(RuntimeError, match="waits for itself"):
        box[0].execute()


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("way", ["execute", "returned", "argument", "background"])
def test_functions_that_execute_each_other_in_a_ring_are_refused(size: int, way: str, session: mars.Session):
    """All begin before any executes the next, so that each waits for the function of another thread."""
    barrier = threading.Barrier(size)
    ring: list[Any] = []

    def function(i: int) -> Any:
        barrier.wait(WITHIN)
        following = ring[(i + 1) % size]
        if way == "argument":
            following = mr.spawn(inc, args=(following,))
        elif way == "returned":
            return following
        elif way == "background":
            return following.execute(wait=False).result().fetch()
        return following.execute().fetch()

    ring.extend(mr.spawn(function, args=(i,)) for i in range(size))
    with mars.new_session(n_workers=8, default=False) as session:
        values = side_by_side(*[lambda obj=obj: obj.execute(session=session).fetch() for obj in ring])
    assert all(is_refusal(value) for value in values), values


def test_ring_within_one_execution_is_refused():
    barrier = threading.Barrier(2)
    ring: list[Any] = []

    def function(i: int) -> Any:
        barrier.wait(WITHIN)
        return ring[1 - i].execute().fetch()

    ring.extend(mr.spawn(function, args=(i,)) for i in range(2))
    with pytest.raises(RuntimeError, match="waits for itself"):
        mars.execute(*ring)


@pytest.mark.parametrize("first", ["the function waits", "the execution comes to the object"])
def test_wait_for_an_execution_that_needs_the_waiting_object_is_refused(first: str, session: mars.Session):
    came_further = threading.Event()

    def function() -> str:
        info = mars.execute(obj, mr.spawn(came_further.set), wait=False)
        if first != "the function waits":
            assert came_further.wait(WITHIN)
        try:
            info.result()
        except RuntimeError as error:
            return str(error)
        return "waited"

    obj = mr.spawn(function)
    assert "wait" in obj.execute(wait=False).result(WITHIN).fetch()


def test_wait_for_an_execution_whose_nested_function_needs_the_waiting_object_is_refused():
    """One nested function keeps its caller's thread, the other one is on another worker."""
    on_its_way, refused = threading.Event(), threading.Event()

    def here() -> None:
        assert refused.wait(WITHIN)

    def there() -> str:
        on_its_way.set()
        try:
            return waiting.execute().fetch()
        except RuntimeError as error:
            return str(error)
        finally:
            refused.set()

    needs_it = mr.spawn(lambda: mars.execute(mr.spawn(here), mr.spawn(there)).fetch()[1])

    def wait() -> str:
        info = needs_it.execute(wait=False)
        assert on_its_way.wait(WITHIN)
        try:
            return info.result().fetch()
        except RuntimeError as error:
            return str(error)
        finally:
            refused.set()

    waiting = mr.spawn(wait)
    assert "wait" in waiting.execute(wait=False).result(WITHIN).fetch()


def test_who_has_given_up_waiting_is_not_waited_for():
    """A function looked at an execution for a moment: that this waits for the function afterwards is no ring."""
    looked, may_end = threading.Event(), threading.Event()
    infos: list[mr.ExecutionInfo] = []

    def look() -> str:
        infos.append(needs_it.execute(wait=False))
        with pytest.raises(TimeoutError):
            infos[0].result(0)
        looked.set()
        assert may_end.wait(WITHIN)
        return "looked"

    def need_it() -> Any:
        assert looked.wait(WITHIN)
        try:
            return mars.execute(looking, mr.spawn(may_end.set)).fetch()[0]
        finally:
            may_end.set()

    looking, needs_it = mr.spawn(look), mr.spawn(need_it)
    looking.execute()
    assert infos[0].result(WITHIN).fetch() == "looked"


def test_object_that_returns_an_object_is_made_while_all_workers_wait_for_it():
    """In a process of its own, whose only worker is the one that waits."""
    source = """
    import mars.contrib.dask, mars.remote as mr
    mars.new_session(n_workers=1)
    returns = mr.spawn(lambda: mr.spawn(int))
    waits = mr.spawn(lambda: returns.execute().fetch())
    say(*mars.execute(returns, waits).fetch())
    """
    assert run_well(source, within=8) == ["0 0"]


def test_sessions_do_not_share_runs(gate: Gate):
    """The same object at the same time in two sessions: each runs it, and each has its own result."""
    gates = [Gate(), Gate()]
    turns = iter(gates)
    obj = mr.spawn(lambda: next(turns)())
    with mars.new_session(n_workers=2, default=False) as one, mars.new_session(n_workers=2, default=False) as two:
        infos = []
        for session, its_gate in zip((one, two), gates, strict=True):
            infos.append(obj.execute(session=session, wait=False))
            its_gate.wait_entered()
        for its_gate, info in zip(reversed(gates), reversed(infos), strict=True):
            its_gate.opened.set()
            info.result(WITHIN)
        assert [obj.fetch(session=session) for session in (one, two)] == [1, 1]


def test_chains_executed_in_several_sessions_at_once():
    """While one session has just made a result and lets go of the arguments, others begin."""
    sessions = [mars.new_session(n_workers=1, default=False) for _ in range(3)]
    for _ in range(200):
        chain = [mr.spawn(inc, args=(0,))]
        for _ in range(5):
            chain.append(mr.spawn(inc, args=(chain[-1],)))
        values = side_by_side(*[lambda s=s, top=chain[-1]: top.execute(session=s).fetch(session=s) for s in sessions])
        assert values == [6, 6, 6]
    for session in sessions:
        session.stop()


def test_stopped_session_lets_all_who_wait_go(gate: Gate):
    session = mars.new_session(n_workers=2, default=False)
    shared = mr.spawn(gate)
    background = mr.spawn(inc, args=(shared,)).execute(session=session, wait=False)
    gate.wait_entered()
    stopping = threading.Event()

    def wait() -> Any:
        stopping.set()
        return mr.spawn(inc, args=(shared,)).execute(session=session)

    def stop() -> None:
        assert stopping.wait(WITHIN)
        session.stop()

    waited, _ = side_by_side(wait, stop)
    assert isinstance(waited, (concurrent.futures.CancelledError, ValueError))  # too late to begin
    assert "stopped" in str(waited)
    with pytest.raises(concurrent.futures.CancelledError):
        background.result(WITHIN)
    gate.opened.set()
    assert shared.execute().fetch() == 2  # in another session, once more
    assert gate.calls == 2


def test_sessions_stopped_while_many_threads_execute():
    for _ in range(5):
        session = mars.new_session(n_workers=2, default=False)
        executed = threading.Semaphore(0)

        def work(session: mars.Session = session, executed: threading.Semaphore = executed) -> None:
            while True:
                obj = mr.spawn(inc, args=(mr.spawn(inc, args=(0,)),))
                obj.execute(session=session)
                assert obj.fetch(session=session) == 2
                executed.release()

        def stop(session: mars.Session = session, executed: threading.Semaphore = executed) -> None:
            for _ in range(40):
                assert executed.acquire(timeout=WITHIN)
            session.stop()

        *errors, stopped = side_by_side(*[work] * 4, stop)
        assert stopped is None
        assert all(isinstance(error, (concurrent.futures.CancelledError, ValueError)) for error in errors), errors
        assert all("stopped" in str(error) for error in errors), errors


@pytest.mark.parametrize("n_workers", [1, 2, 5])
@pytest.mark.parametrize("seed", range(6))
def test_random_graphs_retries_failures_and_cancels(seed: int, n_workers: int):
    """Threads execute random parts of random graphs in all ways; at the end all that can be made is made, once."""
    rng = random.Random(seed * 100 + n_workers)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with mars.new_session(n_workers=n_workers, retries=2, retry_delay=0.0005, default=False) as session:
            for _ in range(8):
                random_graph(rng, session)
    finally:
        sys.setswitchinterval(interval)


def random_graph(rng: random.Random, session: mars.Session) -> None:
    successes: Counter[int] = Counter()
    attempts: Counter[int] = Counter()
    lock = threading.Lock()
    objects: list[Any] = []
    kinds: list[str] = []
    fails: list[bool] = []

    def function(i: int, *below: int) -> Any:
        kind = kinds[i]
        with lock:
            attempts[i] += 1
            first = attempts[i] == 1
        if kind == "fails" or (kind == "retried" and first):
            raise ArithmeticError(i)
        if kind == "executes" and i > 1:
            objects[i - 1].execute()
        with lock:
            successes[i] += 1
        if kind == "returns" and i > 1:
            return objects[i // 2]
        if kind == "spawns":
            return mr.spawn(inc, args=(mr.spawn(inc, args=(i,)),))
        return i + len(below)

    count = rng.randrange(4, 25)
    for i in range(count):
        below = rng.sample(range(i), min(i, rng.randrange(4)))
        kind = rng.choices(
            ["plain", "fails", "retried", "executes", "returns", "spawns"], weights=[8, 0.4, 1, 1, 1, 1]
        )[0]
        needs = set(below)
        if i > 1 and kind in ("executes", "returns"):
            needs.add(i - 1 if kind == "executes" else i // 2)
        kinds.append(kind)
        fails.append(kind == "fails" or any(fails[j] for j in needs))
        objects.append(mr.spawn(function, args=(i, *(objects[j] for j in below)), retry_when_fail=kind == "retried"))

    def caller(seed: int) -> Callable[[], None]:
        own = random.Random(seed)

        def call() -> None:
            for _ in range(6):
                wanted = [objects[own.randrange(count)] for _ in range(own.randrange(1, 4))]
                way = own.choice(["wait", "background", "cancel", "drop"])
                try:
                    if way == "wait":
                        mars.execute(*wanted, session=session)
                        continue
                    info = mars.execute(*wanted, session=session, wait=False)
                    if way == "cancel":
                        info.cancel()
                    if way != "drop":
                        info.result(WITHIN)
                except (ArithmeticError, concurrent.futures.CancelledError):
                    pass

        return call

    outcomes = side_by_side(*[caller(rng.random()) for _ in range(5)])
    assert outcomes == [None] * 5
    for i, obj in enumerate(objects):
        if fails[i]:
            with pytest.raises(ArithmeticError):
                obj.execute(session=session)
        else:
            obj.execute(session=session)
    for i in range(count):
        if kinds[i] == "fails" or fails[i]:
            continue
        if kinds[i] in ("plain", "retried", "executes"):
            assert successes[i] == 1, (i, kinds[i], successes[i])
        else:  # cancelled while what it returned was made, it is called again
            assert successes[i] >= 1


def test_printing_while_executions_begin_and_end():
    """Each of them changes what `sys.stdout` is; a `print` that is under way still has the one before."""
    source = """
    import mars.contrib.dask, mars.remote as mr
    mars.new_session(n_workers=2)
    stop = threading.Event()
    def loop():
        while not stop.is_set():
            mr.spawn(int).execute(wait=False).result()
    threads = [threading.Thread(target=loop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5_000):
        print("x", "y")
    stop.set()
    for thread in threads:
        thread.join()
    """
    assert run_well(source) == ["x y"] * 5_000
