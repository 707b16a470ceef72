"""Child processes compute: forked or spawned, from the main thread, from a task, or while a compute runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support import environment, run_well

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# CPython 3.12 and later warn of any fork in a process with threads.
FLAGS = ("-W", "ignore::DeprecationWarning")

COMMON = """
import dask
from mars.contrib.dask import mars_scheduler

def total(n=50):
    graph = {("x", i): (pow, i, 1) for i in range(n)}
    graph["sum"] = (sum, list(graph))
    return mars_scheduler(graph, "sum")

def at_once():
    barrier = threading.Barrier(2)
    return sorted(mars_scheduler({"a": (barrier.wait, 20), "b": (barrier.wait, 20)}, ["a", "b"], num_workers=2))

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
    assert total() == 1225
    assert at_once() == [0, 1]
"""

SCRIPTS = {
    "before the first compute": "say(in_child(check)); check()",
    "after a compute": "check(); say(in_child(check)); check()",
    "grandchild": """
def child():
    check()
    assert in_child(check) == 0
    check()
check()
say(in_child(child))
check()
""",
    "many children": "check(); say(max(in_child(check) for _ in range(5))); check()",
    "from a thread": """
check()
thread = threading.Thread(target=lambda: say(in_child(check)))
thread.start()
thread.join()
check()
""",
    "from a task": """
say(max(mars_scheduler({("x", i): (in_child, check) for i in range(4)}, [("x", i) for i in range(4)])))
check()
""",
    "while another thread computes": """
may_end = threading.Event()
running = threading.Semaphore(0)
def work():
    running.release()
    may_end.wait(20)
    return 1
graph = {("work", i): (work,) for i in range(4)}
results = []
other = threading.Thread(target=lambda: results.append(mars_scheduler(graph, list(graph), num_workers=2)))
other.start()
running.acquire()
running.acquire()
say(in_child(check))
may_end.set()
other.join()
assert results == [(1, 1, 1, 1)]
check()
""",
    "while other threads run small tasks": """
stop = threading.Event()
def compute():
    while not stop.is_set():
        total(20)
threads = [threading.Thread(target=compute) for _ in range(4)]
for thread in threads:
    thread.start()
say(max(in_child(check) for _ in range(20)))
stop.set()
for thread in threads:
    thread.join()
check()
""",
    "with abandoned work": """
asleep = threading.Event()
graph = {"sleep": (lambda: (asleep.set(), hang()),), "fail": (lambda: (asleep.wait(), 1 / 0),)}
try:
    mars_scheduler(graph, list(graph), num_workers=2)
except ZeroDivisionError:
    pass
say(in_child(check))
check()
""",
}


@pytest.mark.parametrize("when", SCRIPTS)
def test_forked_child_computes(when: str):
    assert run_well(COMMON + SCRIPTS[when], flags=FLAGS, within=40) == ["0"]


def test_forked_child_exits_as_any_process():
    source = (
        COMMON
        + """
check()
pid = os.fork()
if pid == 0:
    check()
    sys.exit(4)
say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    assert run_well(source, flags=FLAGS) == ["4"]


def test_child_forked_in_a_task_may_return_from_it():
    """The child unwinds the task and leaves through `SystemExit`, as `multiprocessing` does."""
    source = (
        COMMON
        + """
def task():
    pid = os.fork()
    if pid == 0:
        os._exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
say(*mars_scheduler({"a": (task,), "b": (task,)}, ["a", "b"]))
check()
"""
    )
    assert run_well(source, flags=FLAGS) == ["5 5"]


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pool_of_processes_computes(method: str, warm: bool, tmp_path: Path):
    """The parent computes, its children compute, and the parent computes tasks that ask its children."""
    import subprocess

    path = tmp_path / "main.py"
    path.write_text(
        f"""
import multiprocessing
from mars.contrib.dask import mars_scheduler

def total(n):
    graph = {{("x", i): (pow, i, 1) for i in range(n)}}
    graph["sum"] = (sum, list(graph))
    return mars_scheduler(graph, "sum")

if __name__ == "__main__":
    if {warm}:
        assert total(50) == 1225
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert pool.map(total, [10, 20, 30, 40]) == [45, 190, 435, 780]
        graph = {{("ask", i): (pool.apply, total, (i,)) for i in (10.0, 20.0) for i in [int(i)]}}
        assert mars_scheduler(graph, list(graph)) == (45, 190)
    assert total(50) == 1225
    print("done")
"""
    )
    done = subprocess.run(
        [sys.executable, *FLAGS, str(path)], env=environment(), capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_process_forked_while_it_computes_can_use_dask_processes():
    """`scheduler="processes"` inside a process that has a pool of ours."""
    source = (
        COMMON
        + """
import operator
if __name__ == "__main__":
    check()
    say(dask.delayed(operator.add)(1, 2).compute(scheduler="processes", num_workers=1))
    check()
"""
    )
    assert run_well(source, flags=FLAGS, within=50) == ["3"]
