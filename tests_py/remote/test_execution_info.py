"""`execute(wait=False)` gives a future: of threads, of asyncio, inside tasks, and with a bar."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import WITHIN, Gate, eventually, inc, run_well, script

import mars
import mars.remote as mr


@pytest.fixture(autouse=True)
def session() -> Iterator[mars.Session]:
    with mars.new_session(n_workers=3, default=False) as session:
        yield session


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


def fail() -> None:
    raise ZeroDivisionError("on purpose")


def test_execute_returns_before_the_function_does(gate: Gate):
    obj = mr.spawn(gate)
    info = obj.execute(wait=False)
    assert isinstance(info, (mr.ExecutionInfo, concurrent.futures.Future))
    gate.wait_entered()
    assert (info.done(), info.running(), info.cancelled()) == (False, True, False)
    assert "running: 0 of 1" in repr(info)
    gate.opened.set()
    assert info.result(WITHIN) is obj
    assert (info.done(), info.running(), info.cancelled()) == (True, False, False)
    assert obj.fetch() == 1
    assert info.exception(WITHIN) is None


def test_result_is_what_was_executed():
    both = mr.ExecutableTuple([mr.spawn(inc, args=(1,)), mr.spawn(inc, args=(2,))])
    assert both.execute(wait=False).result(WITHIN).fetch() == [2, 3]
    assert mars.execute(*both, wait=False).result(WITHIN).fetch() == [2, 3]


def test_execution_of_what_has_a_result_is_done_at_once(gate: Gate):
    gate.opened.set()
    obj = mr.spawn(gate).execute()
    info = obj.execute(wait=False)
    assert info.result(WITHIN) is obj
    assert (info.progress(), info.counts(), gate.calls) == (1.0, (0, 0), 1)


def test_timeout_leaves_the_execution_as_it_is(gate: Gate):
    info = mr.spawn(gate).execute(wait=False)
    gate.wait_entered()
    for wait in (info.result, info.exception):
        with pytest.raises(TimeoutError):
            wait(timeout=0)
        with pytest.raises(TimeoutError):
            wait(0.01)
    assert info.wait(0.01) is False
    gate.opened.set()
    assert info.result(WITHIN).fetch() == 1
    assert info.wait(0) is True


def test_failure_is_the_very_exception_of_the_function():
    error = ZeroDivisionError("mine")

    def raise_it() -> None:
        raise error

    info = mr.spawn(raise_it).execute(wait=False)
    assert info.exception(WITHIN) is error
    with pytest.raises(ZeroDivisionError) as caught:
        info.result(WITHIN)
    assert caught.value is error
    assert (info.done(), info.cancelled()) == (True, False)
    assert "failed" in repr(info)
    assert info.progress() < 1


def test_cancel_starts_nothing_more_and_leaves_what_has_finished(gate: Gate):
    done = mr.spawn(inc, args=(1,))
    runs = mr.spawn(gate, args=(done,))
    never: list[int] = []
    rest = mr.spawn(never.append, args=(runs,))
    info = rest.execute(wait=False)
    gate.wait_entered()
    assert info.cancel() is True
    assert info.cancel() is True
    assert (info.done(), info.cancelled(), info.running()) == (True, True, False)
    for wait in (info.result, info.exception):
        with pytest.raises(concurrent.futures.CancelledError):
            wait(WITHIN)
    assert info.wait(0) is True
    assert "cancelled" in repr(info)
    assert done.fetch() == 2
    with pytest.raises(ValueError, match="being executed"):
        runs.fetch()
    gate.opened.set()
    assert runs.execute().fetch() == 1  # told by the function that went on
    assert never == []
    assert rest.execute().fetch() is None
    assert (never, gate.calls) == ([1], 1)


def test_cancel_before_anything_starts_runs_nothing(session: mars.Session, gate: Gate):
    """All workers are taken."""
    with mars.new_session(n_workers=1, default=False) as alone:
        first = mr.spawn(gate)
        never: list[int] = []
        chain = mr.spawn(never.append, args=(first,))
        infos = [chain.execute(wait=False, session=alone) for _ in range(3)]
        gate.wait_entered()
        assert [info.cancel() for info in infos] == [True] * 3
        gate.opened.set()
        assert first.execute(session=alone).fetch() == 1
        assert never == []


def test_cancel_after_the_end_says_no():
    for obj, error in ((mr.spawn(inc, args=(1,)), None), (mr.spawn(fail), ZeroDivisionError)):
        info = obj.execute(wait=False)
        assert isinstance(info.exception(WITHIN), error or type(None))
        assert info.cancel() is False
        assert not info.cancelled()


def test_cancel_inside_its_own_function():
    box: list[mr.ExecutionInfo] = []
    told = threading.Event()
    never: list[int] = []

    def cancel() -> bool:
        assert told.wait(WITHIN)
        return box[0].cancel()

    first = mr.spawn(cancel)
    box.append(mr.spawn(never.append, args=(first,)).execute(wait=False))
    told.set()
    with pytest.raises(concurrent.futures.CancelledError):
        box[0].result(WITHIN)
    assert first.execute().fetch() is True
    assert never == []


def test_stopping_the_session_cancels(gate: Gate):
    session = mars.new_session(n_workers=1, default=False)
    info = mr.spawn(gate).execute(session=session, wait=False)
    gate.wait_entered()
    session.stop()
    with pytest.raises(concurrent.futures.CancelledError):
        info.result(WITHIN)


def test_wait_and_as_completed_of_concurrent_futures_take_it():
    gates = [Gate() for _ in range(3)]
    infos = [mr.spawn(gate).execute(wait=False) for gate in gates]
    gates[1].opened.set()
    done, pending = concurrent.futures.wait(infos, WITHIN, concurrent.futures.FIRST_COMPLETED)
    assert (done, pending) == ({infos[1]}, {infos[0], infos[2]})
    completed = concurrent.futures.as_completed(infos, WITHIN)
    assert next(completed) is infos[1]
    gates[2].opened.set()
    assert next(completed) is infos[2]
    gates[0].opened.set()
    assert next(completed) is infos[0]
    failing = mr.spawn(fail).execute(wait=False)
    done, _ = concurrent.futures.wait([failing, *infos], WITHIN, concurrent.futures.FIRST_EXCEPTION)
    assert failing in done


def test_wait_of_concurrent_futures_is_woken_by_cancel(gate: Gate):
    info = mr.spawn(gate).execute(wait=False)
    gate.wait_entered()
    threading.Thread(target=info.cancel).start()
    assert concurrent.futures.wait([info], WITHIN).done == {info}


@pytest.mark.parametrize("end", ["finished", "failed", "cancelled"])
def test_callbacks_are_called_once_each_with_the_info(end: str, gate: Gate):
    obj = mr.spawn(fail if end == "failed" else inc, args=() if end == "failed" else (mr.spawn(gate),))
    info = (mr.spawn(fail, args=()) if end == "failed" else obj).execute(wait=False)
    called: list[Any] = []
    told = threading.Semaphore(0)
    for name in ("first", "second"):
        info.add_done_callback(lambda f, name=name: (called.append((name, f, f.done())), told.release()))
    if end == "cancelled":
        gate.wait_entered()
        info.cancel()
    gate.opened.set()
    assert told.acquire(timeout=WITHIN)
    assert told.acquire(timeout=WITHIN)
    info.add_done_callback(lambda f: called.append(("late", f, f.done())))
    assert sorted(name for name, _, _ in called) == ["first", "late", "second"]
    assert all(f is info and done for _, f, done in called)


def test_callback_that_fails_disturbs_nobody(gate: Gate, caplog: pytest.LogCaptureFixture):
    info = mr.spawn(gate).execute(wait=False)
    called = threading.Event()
    info.add_done_callback(lambda _: fail())
    info.add_done_callback(lambda _: called.set())
    gate.opened.set()
    assert called.wait(WITHIN)
    assert info.result(WITHIN).fetch() == 1
    assert mr.spawn(inc, args=(1,)).execute().fetch() == 2
    assert "on purpose" in caplog.text


def test_callback_may_execute_and_fetch(gate: Gate):
    info = mr.spawn(gate).execute(wait=False)
    values: list[Any] = []
    called = threading.Event()

    def callback(_: Any) -> None:
        values.append(mr.spawn(inc, args=(mr.spawn(inc, args=(1,)),)).execute().fetch())
        called.set()

    info.add_done_callback(callback)
    gate.opened.set()
    assert called.wait(WITHIN)
    assert values == [3]


def test_callback_may_cancel_another_execution_and_wait_for_its_end(gate: Gate):
    infos = [mr.spawn(gate).execute(wait=False) for _ in range(2)]
    said: list[Any] = []

    def callback(_: Any) -> None:
        said.append(infos[1].cancel())
        said.append(infos[1].wait(1))
        said.append(infos[1].cancelled())

    infos[0].add_done_callback(callback)
    assert infos[0].cancel()
    assert said == [True, True, True]


def test_callback_may_wait_for_another_execution():
    """The thread that calls it is the only worker, and helps; what it ends it must also tell."""
    source = """
    import mars, mars.remote as mr
    mars.new_session(n_workers=1)
    may_end, called = threading.Event(), threading.Event()
    def callback(_):
        say(mr.spawn(int, args=("7",)).execute(wait=False).result(timeout=None).fetch())
        called.set()
    info = mr.spawn(may_end.wait).execute(wait=False)
    info.add_done_callback(callback)
    may_end.set()
    say(called.wait(5))
    os._exit(0)
    """
    assert run_well(source) == ["7", "True"]


def test_it_is_awaitable():
    async def main() -> Any:
        info = mr.spawn(inc, args=(1,)).execute(wait=False)
        first = await info
        again = await info
        return first is again, first.fetch()

    assert asyncio.run(main()) == (True, 2)


def test_loop_goes_on_while_it_is_awaited(gate: Gate):
    async def main() -> list[str]:
        said: list[str] = []

        async def tick() -> None:
            await asyncio.to_thread(gate.wait_entered)
            said.append("tick")
            gate.opened.set()

        async def execute() -> None:
            await mr.spawn(gate).execute(wait=False)
            said.append("executed")

        await asyncio.gather(execute(), tick())
        return said

    assert asyncio.run(main()) == ["tick", "executed"]


def test_gather_of_many():
    async def main() -> list[Any]:
        infos = [mr.spawn(inc, args=(i,)).execute(wait=False) for i in range(50)]
        return [obj.fetch() for obj in await asyncio.gather(*infos)]

    assert asyncio.run(main()) == list(range(1, 51))


def test_gather_returns_failures_and_cancellations_as_asked(gate: Gate):
    async def main() -> list[Any]:
        cancelled = mr.spawn(gate).execute(wait=False)
        cancelled.cancel()
        failed = mr.spawn(fail).execute(wait=False)
        fine = mr.spawn(inc, args=(1,)).execute(wait=False)
        return await asyncio.gather(failed, cancelled, fine, return_exceptions=True)

    failed, cancelled, fine = asyncio.run(main())
    assert isinstance(failed, ZeroDivisionError)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert fine.fetch() == 2


def test_cancelled_asyncio_task_cancels_the_execution(gate: Gate):
    never: list[int] = []
    info = mr.spawn(never.append, args=(mr.spawn(gate),)).execute(wait=False)

    async def main() -> None:
        async def wait() -> None:
            await info

        task = asyncio.ensure_future(wait())
        await asyncio.to_thread(gate.wait_entered)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert info.cancelled()
    gate.opened.set()
    assert never == []


def test_timeout_of_asyncio_cancels_the_execution(gate: Gate):
    info = mr.spawn(gate).execute(wait=False)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(info, 0.01)

    asyncio.run(main())
    assert info.cancelled()


def test_progress_grows_by_one_task_at_a_time():
    begun, go = threading.Semaphore(0), threading.Semaphore(0)

    def step(_: Any) -> None:
        begun.release()
        assert go.acquire(timeout=WITHIN)

    obj: Any = None
    for _ in range(5):
        obj = mr.spawn(step, args=(obj,))
    info = obj.execute(wait=False)
    seen = []
    for _ in range(5):
        assert begun.acquire(timeout=WITHIN)
        seen.append((info.progress(), info.counts()))
        go.release()
    info.result(WITHIN)
    seen.append((info.progress(), info.counts()))
    assert seen == [(i / 5, (i, 5)) for i in range(6)]


def test_progress_counts_only_what_has_to_run(gate: Gate):
    known = mr.spawn(inc, args=(1,)).execute()
    info = mr.spawn(gate, args=(known,)).execute(wait=False)
    gate.wait_entered()
    assert (info.progress(), info.counts()) == (0.0, (0, 1))
    gate.opened.set()
    info.result(WITHIN)
    assert (info.progress(), info.counts()) == (1.0, (1, 1))


def test_counts_are_whole_as_soon_as_the_result_is_there():
    for _ in range(300):
        info = mr.spawn(inc, args=(1,)).execute(wait=False)
        info.result(WITHIN)
        assert (info.counts(), repr(info)) == ((1, 1), "<ExecutionInfo finished: 1 of 1 tasks>")


def test_counts_do_not_go_back_when_an_execution_fails():
    for _ in range(300):
        info = mr.spawn(lambda _: fail(), args=(mr.spawn(inc, args=(1,)),)).execute(wait=False)
        assert isinstance(info.exception(WITHIN), ZeroDivisionError)
        assert (info.counts(), info.progress()) == ((1, 2), 0.5)


def test_dropped_info_does_not_stop_the_work(gate: Gate):
    ended = threading.Event()
    obj = mr.spawn(lambda _: ended.set(), args=(mr.spawn(gate),))
    obj.execute(wait=False)
    gate.wait_entered()
    gate.opened.set()
    assert ended.wait(WITHIN)
    assert obj.execute().fetch() is None
    assert gate.calls == 1


def test_dropped_info_and_objects_do_not_stop_the_work(gate: Gate):
    ended = threading.Event()
    mr.spawn(lambda _: ended.set(), args=(mr.spawn(gate),)).execute(wait=False)
    gate.opened.set()
    assert ended.wait(WITHIN)


def test_many_threads_wait_for_one_execution(gate: Gate):
    info = mr.spawn(gate).execute(wait=False)
    values: list[Any] = []
    ways: list[Callable[[], Any]] = [info.result, info.wait, info.exception, lambda: info.result(WITHIN)]
    threads = [threading.Thread(target=lambda way=way: values.append(way())) for way in ways * 3]
    for thread in threads:
        thread.start()
    gate.wait_entered()
    gate.opened.set()
    for thread in threads:
        thread.join(WITHIN)
    assert len(values) == 12


# Ways for a function to wait for what it spawns, when it holds the only worker there is.
WAITS = {
    "execute": "return obj.execute().fetch()",
    "to_object": "return obj.to_object()",
    "result": "return obj.execute(wait=False).result().fetch()",
    "result with a timeout": "return obj.execute(wait=False).result(timeout=60).fetch()",
    "exception": "info = obj.execute(wait=False); info.exception(); return obj.fetch()",
    "wait": "info = obj.execute(wait=False); assert info.wait(); return obj.fetch()",
    "polling": """
    info = obj.execute(wait=False)
    while not info.wait(0.01):
        pass
    return obj.fetch()""",
    "asyncio.run": """
    async def main():
        return (await obj.execute(wait=False)).fetch()
    return asyncio.run(main())""",
    "asyncio.gather": """
    async def main():
        info, other = obj.execute(wait=False), mr.spawn(int).execute(wait=False)
        return (await asyncio.gather(info, other))[0].fetch()
    return asyncio.run(main())""",
    "concurrent.futures.wait": """
    concurrent.futures.wait([obj.execute(wait=False)])
    return obj.fetch()""",
    "concurrent.futures.as_completed": """
    return next(concurrent.futures.as_completed([obj.execute(wait=False)])).result().fetch()""",
    "callback": """
    ended = threading.Event()
    obj.execute(wait=False).add_done_callback(lambda _: ended.set())
    ended.wait()
    return obj.fetch()""",
    "progress bar": "return obj.execute(show_progress=True).fetch()",
    "returned object": "return obj",
    "executes what returns an object": "return mr.spawn(lambda: obj).execute().fetch()",
    "thread": """
    values = []
    thread = threading.Thread(target=lambda: values.append(obj.execute(session=session).fetch()))
    thread.start()
    thread.join()
    return values[0]""",
}


@pytest.mark.parametrize("way", WAITS)
def test_function_that_holds_the_only_worker_waits_for_what_it_spawns(way: str):
    if way == "progress bar":
        pytest.importorskip("tqdm")
    source = f"""
    import asyncio, concurrent.futures, io
    import mars.contrib.dask, mars.remote as mr
    session = mars.new_session(n_workers=1)
    if {way == "progress bar"}:
        sys.stderr = io.StringIO()
    def down(n):
        if n == 0:
            return 0
        obj = mr.spawn(lambda below: below + 1, args=(mr.spawn(down, args=(n - 1,)),))
        {textwrap.indent(WAITS[way], "    ").strip()}
    say(mr.spawn(down, args=(3,)).execute().fetch())
    """
    assert run_well(source, within=8) == ["3"]


def test_function_that_waits_for_its_own_execution_is_refused(gate: Gate):
    box: list[mr.ExecutionInfo] = []
    told = threading.Event()
    ways = ("result", "exception", "wait")

    def wait() -> list[str]:
        assert told.wait(WITHIN)
        refused = []
        for way in ways:
            with pytest.raises(RuntimeError, match="part of"):
                getattr(box[0], way)()
            refused.append(way)
        return refused

    box.append(mr.spawn(wait).execute(wait=False))
    told.set()
    assert box[0].result(WITHIN).fetch() == list(ways)


def refused(info: mr.ExecutionInfo) -> str:
    """What waiting for `info` comes to."""
    try:
        info.result()
    except RuntimeError as error:
        return "refused" if "wait" in str(error) else repr(error)
    return "waited"


def test_function_that_awaits_its_own_execution_is_refused():
    box: list[mr.ExecutionInfo] = []
    told = threading.Event()

    def wait() -> str:
        assert told.wait(WITHIN)

        async def main() -> None:
            await box[0]

        with pytest.raises(RuntimeError, match="part of"):
            asyncio.run(main())
        return "refused"

    box.append(mr.spawn(wait).execute(wait=False))
    told.set()
    assert box[0].result(WITHIN).fetch() == "refused"


def test_nested_function_on_another_worker_that_waits_for_the_outermost_execution_is_refused():
    box: list[mr.ExecutionInfo] = []
    told = threading.Event()
    side_by_side = threading.Barrier(2)

    def inner() -> str:
        side_by_side.wait(WITHIN)
        assert told.wait(WITHIN)
        return refused(box[0])

    def outer() -> list[str]:
        return mars.execute(mr.spawn(inner), mr.spawn(inner)).fetch()

    box.append(mr.spawn(outer).execute(wait=False))
    told.set()
    assert box[0].result(WITHIN).fetch() == ["refused", "refused"]


def test_returned_object_that_waits_for_the_execution_it_stands_for_is_refused():
    box: list[mr.ExecutionInfo] = []
    told = threading.Event()

    def returned() -> str:
        assert told.wait(WITHIN)
        return refused(box[0])

    box.append(mr.spawn(lambda: mr.spawn(returned)).execute(wait=False))
    told.set()
    assert box[0].result(WITHIN).fetch() == "refused"


@pytest.mark.parametrize("wait", [True, False])
def test_bar_shows_all_tasks(wait: bool, capfd: pytest.CaptureFixture[str]):
    pytest.importorskip("tqdm")
    objects = [mr.spawn(inc, args=(i,)) for i in range(7)]
    info = mars.execute(*objects, wait=wait, show_progress=True)
    values = info.fetch() if wait else info.result(WITHIN).fetch()
    assert values == list(range(1, 8))
    assert eventually(lambda: not any(t.name == "mars-progress" for t in threading.enumerate()))
    assert "7 of 7 tasks" in capfd.readouterr().err


def test_bar_of_a_failure_raises_it(capfd: pytest.CaptureFixture[str]):
    pytest.importorskip("tqdm")
    with pytest.raises(ZeroDivisionError):
        mr.spawn(lambda _: fail(), args=(mr.spawn(inc, args=(1,)),)).execute(show_progress=True)
    assert "1 of 2 tasks, failed" in capfd.readouterr().err


def test_bar_without_tqdm_says_what_to_install(monkeypatch: pytest.MonkeyPatch, gate: Gate):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match="pip install tqdm"):
        mr.spawn(gate).execute(show_progress=True)
    assert gate.calls == 0


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")
@pytest.mark.parametrize("way", ["obj.execute(show_progress=True)", "obj.execute(wait=False).result()"])
def test_ctrl_c_of_one_who_waits(way: str):
    """Under a bar it cancels, as `execute` does; of a future it leaves the execution as it is."""
    source = f"""
    import mars.contrib.dask, mars.remote as mr
    mars.new_session(n_workers=2)
    may_end = threading.Event()
    def work():
        say("started")
        may_end.wait(20)
        return 5
    first = mr.spawn(work)
    rest = []
    obj = mr.spawn(rest.append, args=(first,))
    try:
        {way}
    except KeyboardInterrupt:
        say("raised", time.monotonic())
    may_end.set()
    first.execute()
    say("first", first.fetch())
    if "wait=False" in {way!r}:
        obj.execute()
    say("rest", rest)
    """
    pytest.importorskip("tqdm")
    with script(source) as running:
        running.read_until("started")
        sent = running.interrupt()
        assert float(running.read_until("raised").split()[1]) - sent < 1.2
        assert running.read_until("first") == "first 5"
        assert running.read_until("rest") == ("rest [5]" if "wait=False" in way else "rest []")
        assert running.finish()[0] == 0
    assert running.lines.count("started") == 1
