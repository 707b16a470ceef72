"""Ctrl-C, fork, and the end of the interpreter while objects are executed."""

from __future__ import annotations

import os
import sys

import pytest
from support import run, run_well, script

# The aim is 200 ms; the rest is for a machine that is busy with other things.
AT_ONCE = 1.2

# Of each program: with Dask's part of the package, and without, which arranges things of its own at import.
IMPORTS = {"remote alone": "import mars, mars.remote as mr", "with dask": "import mars.contrib.dask, mars.remote as mr"}

posix = pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
# CPython 3.12 and later warn of any fork in a process with threads.
FLAGS = ("-W", "ignore::DeprecationWarning")


@pytest.fixture(params=IMPORTS)
def imports(request: pytest.FixtureRequest) -> str:
    return IMPORTS[request.param]


@posix
@pytest.mark.parametrize("busy", ["may_end.wait(20)", "while not may_end.is_set(): pass"])
def test_ctrl_c_returns_at_once_and_what_has_finished_is_kept(imports: str, busy: str):
    source = f"""
    {imports}
    mars.new_session(n_workers=2)
    may_end = threading.Event()
    calls = []
    def first():
        calls.append("first")
        return 1
    def work(x):
        calls.append("work")
        say("started")
        {busy}
        return x + 1
    def last(x):
        calls.append("last")
        return x + 1
    one = mr.spawn(first)
    two = mr.spawn(work, args=(one,))
    three = mr.spawn(last, args=(two,))
    try:
        three.execute()
    except KeyboardInterrupt:
        say("raised", time.monotonic())
    say("kept", one.fetch(), calls)
    may_end.set()
    say("rest", three.execute().fetch(), calls)
    sys.exit(7)
    """
    with script(source) as running:
        running.read_until("started")
        sent = running.interrupt()
        assert float(running.read_until("raised").split()[1]) - sent < AT_ONCE
        assert running.read_until("kept") == "kept 1 ['first', 'work']"
        assert running.read_until("rest") == "rest 3 ['first', 'work', 'last']"
        assert running.finish() == (7, "")


@posix
def test_ctrl_c_reaches_a_main_thread_whose_execution_waits_for_that_of_another():
    source = """
    import mars, mars.remote as mr
    mars.new_session(n_workers=2)
    may_end, started = threading.Event(), threading.Event()
    def work():
        started.set()
        may_end.wait(20)
        return 1
    obj = mr.spawn(work)
    info = obj.execute(wait=False)
    started.wait()
    threading.Timer(0.2, say, args=("waiting",)).start()
    try:
        mr.spawn(abs, args=(obj,)).execute()
    except KeyboardInterrupt:
        say("raised", time.monotonic())
    may_end.set()
    say("other", info.result().fetch())
    """
    with script(source) as running:
        running.read_until("waiting")
        sent = running.interrupt()
        assert float(running.read_until("raised").split()[1]) - sent < AT_ONCE
        assert running.read_until("other") == "other 1"
        assert running.finish() == (0, "")


@posix
def test_ctrl_c_during_the_pause_before_a_retry():
    source = """
    import logging
    import mars, mars.remote as mr
    logging.disable()
    mars.new_session(n_workers=2, retry_delay=30)
    def work():
        say("started")
        raise ValueError
    obj = mr.spawn(work, retry_when_fail=True)
    threading.Timer(0.2, say, args=("waiting",)).start()
    try:
        obj.execute()
    except KeyboardInterrupt:
        say("raised", time.monotonic())
    """
    with script(source) as running:
        running.read_until("waiting")
        sent = running.interrupt()
        assert float(running.read_until("raised").split()[1]) - sent < AT_ONCE
        assert running.finish(within=3) == (0, "")


# What is under way when the interpreter exits.
UNDER_WAY = {
    "a function that waits": "mr.spawn(hang_here).execute(wait=False); started.acquire()",
    "a function that computes": "mr.spawn(spin).execute(wait=False); started.acquire()",
    "many small functions": """
for _ in range(4):
    mars.execute(*[mr.spawn(int) for _ in range(50_000)], wait=False)""",
    "many executions": """
for _ in range(2_000):
    mr.spawn(int).execute(wait=False)""",
    "many executions that were waited for": """
for _ in range(500):
    mr.spawn(int).execute(wait=False).result()""",
    "a retry": """
logging.disable()
mars.new_session(n_workers=2, retry_delay=30)
mr.spawn(fail, retry_when_fail=True).execute(wait=False)
started.acquire()""",
    "retries one after the other": """
logging.disable()
mars.new_session(n_workers=2, retry_delay=0)
for _ in range(10):
    mr.spawn(fail, retry_when_fail=1_000_000).execute(wait=False)
started.acquire()""",
    "an execution that waits for another": """
obj = mr.spawn(hang_here)
infos = [obj.execute(wait=False) for _ in range(3)]
started.acquire()""",
    "executions that wait for one that computes": """
obj = mr.spawn(spin)
infos = [obj.execute(wait=False) for _ in range(3)]
started.acquire()""",
    "nested executions": """
def nest(n):
    return mr.spawn(nest, args=(n - 1,)).execute().fetch() if n else hang_here()
mr.spawn(nest, args=(10,)).execute(wait=False)
started.acquire()""",
    "returned objects": """
def again():
    started.release()
    return mr.spawn(again)
mr.spawn(again).execute(wait=False)
for _ in range(50):
    started.acquire()""",
    "daemon threads that execute": """
def loop():
    while True:
        assert mr.spawn(abs, args=(mr.spawn(int),)).execute().fetch() == 0
        started.release()
for _ in range(6):
    threading.Thread(target=loop, daemon=True).start()
for _ in range(50):
    started.acquire()""",
    "daemon threads that execute in the background": """
def loop():
    while True:
        assert mr.spawn(abs, args=(mr.spawn(int),)).execute(wait=False).result().fetch() == 0
        started.release()
for _ in range(6):
    threading.Thread(target=loop, daemon=True).start()
for _ in range(50):
    started.acquire()""",
    "daemon threads that look at the progress": """
info = mr.spawn(hang_here).execute(wait=False)
def loop():
    while True:
        info.progress()
        started.release()
for _ in range(6):
    threading.Thread(target=loop, daemon=True).start()
for _ in range(50):
    started.acquire()""",
    "daemon threads that cancel": """
def loop():
    while True:
        mr.spawn(abs, args=(mr.spawn(int),)).execute(wait=False).cancel()
        started.release()
for _ in range(6):
    threading.Thread(target=loop, daemon=True).start()
for _ in range(50):
    started.acquire()""",
    "daemon threads that make and stop sessions": """
def loop():
    while True:
        with mars.new_session(n_workers=2, default=False):
            mr.spawn(int).execute(wait=False)
        started.release()
for _ in range(4):
    threading.Thread(target=loop, daemon=True).start()
for _ in range(20):
    started.acquire()""",
    "a daemon thread that waits": """
info = mr.spawn(hang_here).execute(wait=False)
threading.Thread(target=info.result, daemon=True).start()
started.acquire()""",
    "a callback that waits": """
mr.spawn(int).execute(wait=False).add_done_callback(lambda _: hang_here())
""",
    "a callback that computes": """
may_end = threading.Event()
info = mr.spawn(may_end.wait).execute(wait=False)
info.add_done_callback(lambda _: spin())
may_end.set()
started.acquire()""",
    "a function that prints": """
def chatter():
    started.release()
    while True:
        print("x" * 50)
mr.spawn(chatter).execute(wait=False)
started.acquire()""",
}


@pytest.mark.parametrize("under_way", UNDER_WAY)
def test_exit_is_quick_and_quiet_whatever_is_under_way(imports: str, under_way: str):
    source = f"""
    import logging
    {imports}
    mars.new_session(n_workers=2)
    started = threading.Semaphore(0)
    def hang_here():
        started.release()
        hang()
    def spin():
        started.release()
        while True:
            pass
    def fail():
        started.release()
        raise ValueError
    """
    done = run(source + UNDER_WAY[under_way].replace("\n", "\n    ") + "\n    sys.exit(3)", within=6)
    assert (done.returncode, done.stderr) == (3, "")


def test_exit_while_a_bar_is_shown(imports: str):
    pytest.importorskip("tqdm")
    source = f"""
    import io
    {imports}
    mars.new_session(n_workers=2)
    started = threading.Event()
    def work():
        started.set()
        hang()
    sys.stderr = io.StringIO()
    for _ in range(5):
        mr.spawn(work).execute(wait=False, show_progress=True)
    started.wait()
    sys.exit(3)
    """
    done = run(source, within=6)
    assert (done.returncode, done.stderr) == (3, "")


def test_function_that_ends_during_the_exit_while_others_wait_for_its_object():
    """Its worker may not touch the interpreter any more, nor keep it from the thread that exits."""
    source = """
    import atexit
    exiting, ended = threading.Event(), threading.Event()
    def last():
        exiting.set()
        ended.wait(0.5)
        say("last handler")
    atexit.register(last)  # before ours, and so called after it
    import mars.contrib.dask, mars.remote as mr
    mars.new_session(n_workers=4)
    started, came_further = threading.Event(), threading.Event()
    def work():
        started.set()
        exiting.wait()
        return 1
    obj = mr.spawn(work)
    infos = [obj.execute(wait=False)]
    started.wait()
    infos.append(mars.execute(obj, mr.spawn(came_further.set), wait=False))
    came_further.wait()
    """
    assert run_well(source, within=6) == ["last handler"]


def test_os_exit_leaves_at_once():
    source = """
    import mars.remote as mr
    started = threading.Event()
    mr.spawn(lambda: (started.set(), hang())).execute(wait=False)
    started.wait()
    os._exit(5)
    """
    done = run(source, within=6)
    assert (done.returncode, done.stdout, done.stderr) == (5, "", "")


def test_exit_handlers_spawn_execute_and_fetch(imports: str):
    source = f"""
    import atexit
    {imports}
    mars.new_session(n_workers=2)
    def handler():
        objects = [mr.spawn(abs, args=(mr.spawn(int, args=(i,)),)) for i in range(10)]
        say(sum(mars.execute(*objects).fetch()))
        say(mr.spawn(int, args=("7",)).execute(wait=False).result().fetch())
    atexit.register(handler)
    started = threading.Event()
    mr.spawn(lambda: (started.set(), hang())).execute(wait=False)
    started.wait()
    """
    assert run_well(source, within=6) == ["45", "7"]


def test_destructor_at_the_very_end_does_not_hang():
    source = """
    import mars.remote as mr
    mars.new_session(n_workers=2)
    class Last:
        def __init__(self):
            self.obj = mr.spawn(int).execute()
            self.pending = mr.spawn(abs, args=(self.obj,))
            self.itself = self
        def __del__(self):
            say("destructor")
            self.pending.execute()
    last = Last()
    """
    source = source.replace("import mars.remote as mr", "import mars, mars.remote as mr", 1)
    done = run(source, within=6)
    assert done.returncode == 0, done
    assert done.stdout.splitlines() in (["destructor"], [])


def test_threads_that_are_no_daemons_end_their_executions_first(imports: str):
    source = f"""
    {imports}
    mars.new_session(n_workers=2)
    begun = threading.Event()
    def work():
        begun.set()
        threading.main_thread().join()
        return 1
    obj = mr.spawn(abs, args=(mr.spawn(work),))
    threading.Thread(target=lambda: say(obj.execute().fetch())).start()
    begun.wait()
    """
    assert run_well(source, within=6) == ["1"]


IN_CHILD = """
import mars.contrib.dask, mars.remote as mr
mars.new_session(n_workers=2)
def in_child(function):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def check():
    objects = [mr.spawn(abs, args=(mr.spawn(int, args=(i,)),)) for i in range(10)]
    assert mars.execute(*objects).fetch() == list(range(10))
    assert mars.execute(*objects, wait=False).result(10).fetch() == list(range(10))
    barrier = threading.Barrier(2)
    assert sorted(mars.execute(*[mr.spawn(barrier.wait, args=(10,)) for _ in range(2)]).fetch()) == [0, 1]
"""

FORKS = {
    "while another thread executes for the first time": """
def first():
    mr.spawn(int).execute()
thread = threading.Thread(target=first)
thread.start()
said = in_child(check)
thread.join()
say(said)""",
    "an object prints": """
stop = threading.Event()
def prints():
    while not stop.is_set():
        print("x" * 100, file=sys.stderr)
sys.stderr = open(os.devnull, "w")
obj = mr.spawn(prints)
info = obj.execute(wait=False)
def child():
    stop.set()
    obj.execute()
    check()
said = [in_child(child) for _ in range(20)]
stop.set()
info.result(10)
say(max(said))""",
    "its session is stopped in the child": """
stop = threading.Event()
def busy():
    while not stop.is_set():
        mars.execute(*[mr.spawn(int) for _ in range(50)], wait=False).result(10)
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
def child():
    mars.stop_server()
    mars.new_session(n_workers=2)
    check()
said = [in_child(child) for _ in range(20)]
stop.set()
for thread in threads:
    thread.join()
say(max(said))""",
    "before anything": "say(in_child(check)); check()",
    "after an execution": "check(); say(in_child(check)); check()",
    "grandchild": "check(); say(in_child(lambda: (check(), in_child(check) and os._exit(9)))); check()",
    "from a function": """
say(max(mars.execute(*[mr.spawn(in_child, args=(check,)) for _ in range(3)]).fetch()))
check()""",
    "a result is there": """
calls = []
obj = mr.spawn(calls.append, args=(1,)).execute()
def child():
    assert obj.execute().fetch() is None and calls == [1]
    assert mr.spawn(repr, args=(obj,)).execute().fetch() == "None"
say(in_child(child))
""",
    "objects run in the parent": """
may_end, started = threading.Event(), threading.Semaphore(0)
parent = os.getpid()
def work(x):
    if os.getpid() == parent:
        started.release()
        may_end.wait(20)
    return x + os.getpid()
objects = [mr.spawn(work, args=(i,)) for i in range(4)]
top = mr.spawn(sum, args=(objects,))
infos = [top.execute(wait=False), top.execute(wait=False)]
started.acquire()
started.acquire()
def child():
    assert top.execute().fetch() == 6 + 4 * os.getpid()
    check()
say(in_child(child))
may_end.set()
assert infos[0].result(10).fetch() == infos[1].result(10).fetch() == 6 + 4 * parent
check()""",
    "the child stops the session": """
may_end, started = threading.Event(), threading.Event()
def work():
    started.set()
    may_end.wait(20)
    return 1
info = mr.spawn(work).execute(wait=False)
started.wait()
def child():
    mars.stop_server()
    check()
say(in_child(child))
may_end.set()
assert info.result(10).fetch() == 1
check()""",
    "a retry pauses in the parent": """
import logging
logging.disable()
mars.new_session(n_workers=2, retry_delay=0.05)
failed = threading.Event()
parent = os.getpid()
def work():
    if not failed.is_set():
        failed.set()
        raise ValueError
    return 5
obj = mr.spawn(work, retry_when_fail=True)
info = obj.execute(wait=False)
failed.wait()
def child():
    global obj
    failed.clear()
    assert obj.execute().fetch() == 5
say(in_child(child))
assert info.result(10).fetch() == 5
check()""",
    "many threads execute in the parent": """
stop = threading.Event()
def loop():
    while not stop.is_set():
        assert mr.spawn(abs, args=(mr.spawn(int),)).execute(wait=False).result().fetch() == 0
threads = [threading.Thread(target=loop) for _ in range(4)]
for thread in threads:
    thread.start()
say(max(in_child(check) for _ in range(20)))
stop.set()
for thread in threads:
    thread.join()
check()""",
}


@forks
@pytest.mark.parametrize("when", FORKS)
def test_forked_child_executes(when: str):
    assert run_well(IN_CHILD + FORKS[when], flags=FLAGS, within=20) == ["0"]


@forks
def test_forked_child_exits_as_any_process_while_its_parent_executes():
    source = (
        IN_CHILD
        + """
may_end, started = threading.Event(), threading.Event()
info = mr.spawn(lambda: (started.set(), may_end.wait(20))).execute(wait=False)
started.wait()
pid = os.fork()
if pid == 0:
    check()
    sys.exit(4)
say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
may_end.set()
assert info.result(10).fetch()
"""
    )
    assert run_well(source, flags=FLAGS, within=20) == ["4"]
