"""The interpreter exits at once, with its own status and without a word, whatever work was abandoned."""

from __future__ import annotations

import sys

import pytest
from support import run, run_well

BUSY = {
    "waiting": "hang()",
    "hashing": "import hashlib; hashlib.pbkdf2_hmac('sha512', b'x', b'y', 400_000_000)",
    "computing in Python": "while True: pass",
    "computing small graphs": "while True: mars_scheduler({'x': (int,), 'y': (str, 'x')}, 'y')",
    "many small tasks": "mars_scheduler({('x', i): (int,) for i in range(300_000)}, [('x', 0)])\n    work()",
}

TASKS = """
from mars.contrib.dask import mars_scheduler
running = threading.Semaphore(0)
def work():
    running.release()
    {busy}
def fail():
    running.acquire()
    raise ZeroDivisionError
graph = {{"fail": (fail,), **{{("work", i): (work,) for i in range(5)}}}}
"""

# How the work comes to be abandoned, and the exit status and last line of stderr that follow.
ENDINGS = {
    "error that is caught": (
        """
try:
    mars_scheduler(graph, list(graph), num_workers=2)
except ZeroDivisionError:
    sys.exit(3)
""",
        3,
        "",
    ),
    "error that nobody catches": ("mars_scheduler(graph, list(graph), num_workers=2)", 1, "ZeroDivisionError"),
    "daemon thread": (
        """
graph.pop("fail")
threading.Thread(target=mars_scheduler, args=(graph, list(graph)), daemon=True).start()
running.acquire()
sys.exit(3)
""",
        3,
        "",
    ),
    "end of the script": (
        """
graph.pop("fail")
threading.Thread(target=mars_scheduler, args=(graph, list(graph)), daemon=True).start()
running.acquire()
""",
        0,
        "",
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("busy", BUSY)
def test_abandoned_work_holds_up_nothing(busy: str, ending: str):
    how, status, last_line = ENDINGS[ending]
    done = run(TASKS.format(busy=BUSY[busy]) + how)
    assert done.returncode == status, done
    assert done.stdout == ""
    if last_line:
        lines = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
        assert lines[0].startswith("Traceback")
        assert lines[1].startswith(last_line)
    else:
        assert done.stderr == ""


def test_exit_after_ordinary_work_says_nothing():
    assert run_well("from mars.contrib.dask import mars_scheduler\nsay(mars_scheduler({'x': (int, 5)}, 'x'))") == ["5"]


def test_exit_status_of_a_task_is_that_of_the_process():
    done = run("from mars.contrib.dask import mars_scheduler\nmars_scheduler({'x': (sys.exit, 9)}, 'x')")
    assert (done.returncode, done.stdout, done.stderr) == (9, "", "")


def test_compute_while_the_interpreter_exits():
    """In an exit handler it works; in a destructor at the very end it does not hang or crash."""
    source = """
    import atexit
    from mars.contrib.dask import mars_scheduler
    def compute(name):
        graph = {("x", i): (int, 1) for i in range(10)}
        say(name, sum(mars_scheduler(graph, list(graph))))
    atexit.register(compute, "handler")
    class Last:
        def __del__(self, compute=compute):
            compute("destructor")
    last = Last()
    last.itself = last
    compute("script")
    """
    done = run(source)
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[:2] == ["script 10", "handler 10"]


def test_exit_handler_computes_after_work_was_abandoned():
    source = """
    import atexit
    from mars.contrib.dask import mars_scheduler
    def compute():
        graph = {("x", i): (int, 1) for i in range(10)}
        say("handler", sum(mars_scheduler(graph, list(graph))))
    atexit.register(compute)
    graph = {("work", i): (lambda: (running.release(), hang()),) for i in range(5)}
    running = threading.Semaphore(0)
    threading.Thread(target=mars_scheduler, args=(graph, list(graph)), daemon=True).start()
    running.acquire()
    """
    assert run_well(source) == ["handler 10"]


def test_exit_while_other_threads_start_computing():
    source = """
    from mars.contrib.dask import mars_scheduler
    started = threading.Semaphore(0)
    def caller():
        while True:
            mars_scheduler({"x": (int,), "y": (str, "x"), "z": (int,)}, ["y", "z"])
            started.release()
    for _ in range(8):
        threading.Thread(target=caller, daemon=True).start()
    for _ in range(50):
        started.acquire()
    """
    assert run_well(source) == []


def test_thread_that_an_exit_handler_waits_for_gets_an_error():
    """It would wait for ever if the thread were held up; a handler registered before ours runs after it."""
    source = """
    import atexit
    def late():
        def compute():
            try:
                mars_scheduler({"x": (abs, -1)}, "x")
            except RuntimeError:
                say("refused")
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
        say("joined")
    atexit.register(late)
    from mars.contrib.dask import mars_scheduler
    """
    done = run(source)
    assert done.returncode == 0, done
    # From CPython 3.12 on no thread starts any more at that time.
    if sys.version_info < (3, 12):
        assert done.stdout.splitlines() == ["refused", "joined"]


def test_thread_that_is_no_daemon_ends_its_compute_first():
    source = """
    from mars.contrib.dask import mars_scheduler
    begun = threading.Event()
    leaving = threading.Event()
    def work():
        begun.set()
        threading.main_thread().join()
        return 1
    threading.Thread(target=lambda: say(mars_scheduler({"x": (work,), "y": (str, "x")}, "y"))).start()
    begun.wait()
    """
    assert run_well(source) == ["1"]
