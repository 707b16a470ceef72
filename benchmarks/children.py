"""Measurements that need a process of their own: a fresh start, a peak, a time cap.

``ask(name, ...)`` runs ``python children.py name ...`` and reads one JSON object
back; None when it did not end within its cap.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import limits

HERE = Path(__file__).resolve().parent


def ask(name: str, *args: object, cap: float = 600.0) -> dict[str, Any] | None:
    """Run one of the functions below in a fresh process; None past ``cap`` seconds."""
    command = [sys.executable, str(HERE / "children.py"), name, *map(str, args)]
    try:
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=cap)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def attempt(name: str, *args: object, cap: float) -> dict[str, Any]:
    """The same, for one that may well fail: how it ended is in ``state``, the end of its log in ``log``.

    Past ``cap`` seconds it is ended. What it has started ends with it, and what it left in the temporary folder goes.
    """
    command = [sys.executable, str(HERE / "children.py"), name, *map(str, args)]
    with (
        tempfile.TemporaryDirectory(prefix="mars-bench-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "TMPDIR": folder},
        ) as child,
    ):
        late = False
        try:
            child.wait(cap)
        except subprocess.TimeoutExpired:
            late = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        out.seek(0)
        lines = out.read().splitlines()
        log.seek(0)
        tail = log.read()[-2_000:].decode(errors="replace")
    if lines and lines[-1].startswith(b"{"):
        found: dict[str, Any] = json.loads(lines[-1])
    elif late:
        found = {"state": "timeout"}
    elif child.returncode < 0:
        found = {"state": f"killed by {signal.Signals(-child.returncode).name}"}
    else:
        found = {"state": f"ended with {child.returncode}"}
    return {**found, "log": tail}


def scheduler_named(name: str) -> Any:
    """The callable behind a name of the tables: mars, threads or sync."""
    if name == "mars":
        from mars.contrib.dask import mars_scheduler

        return mars_scheduler
    import dask
    import dask.threaded

    return {"threads": dask.threaded.get, "sync": dask.get}[name]


def memory_now(field: str) -> int:
    """A field of /proc/self/status, in bytes: VmRSS now, VmHWM the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field} in /proc/self/status: these figures need Linux")


def reset_peak() -> None:
    """Give back what is free and let the peak start again from here."""
    import ctypes

    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def call_once(scheduler: str, shape: str, size: str, workers: str) -> dict[str, Any]:
    """CPU and wall seconds of one warm call on a graph of no-ops."""
    from graphs import SHAPES
    from harness import timed

    get = scheduler_named(scheduler)
    warm, warm_keys = SHAPES[shape](100)
    get(warm, warm_keys, num_workers=int(workers))
    graph, keys = SHAPES[shape](int(size))
    wall, cpu = timed(lambda: get(graph, keys, num_workers=int(workers)))
    return {"wall": wall, "cpu": cpu}


def graph_memory(scheduler: str, shape: str, size: str) -> dict[str, Any]:
    """How far one call raises the peak above what the graph itself holds."""
    from graphs import SHAPES

    get = scheduler_named(scheduler)
    warm, warm_keys = SHAPES[shape](1000)
    get(warm, warm_keys, num_workers=2)
    start = memory_now("VmRSS")
    graph, keys = SHAPES[shape](int(size))
    reset_peak()
    before = memory_now("VmRSS")
    get(graph, keys, num_workers=2)
    return {"added": memory_now("VmHWM") - before, "graph": before - start}


def first_compute(scheduler: str) -> dict[str, Any]:
    """What the first compute of a process costs above a warm one, import included."""
    import dask

    from graphs import noop

    values = [dask.delayed(noop)() for _ in range(3)]
    start = time.perf_counter()
    get = scheduler_named(scheduler)
    imported = time.perf_counter()
    values[0].compute(scheduler=get)
    first = time.perf_counter()
    values[1].compute(scheduler=get)
    second = time.perf_counter()
    values[2].compute(scheduler=get)
    warm = time.perf_counter() - second
    return {
        "import": imported - start,
        "added": first - start - warm,
        "warm": warm,
    }


def case_peak(scheduler: str, case: str) -> dict[str, Any]:
    """Peak RSS of a process that builds one end-to-end case and computes it once."""
    import dask

    from cases import find

    with find(case).built() as collection:
        get = scheduler_named(scheduler)
        dask.compute(*collection, scheduler=get)
    return {"peak": memory_now("VmHWM")}


def pending_objects(size: str) -> dict[str, Any]:
    """What spawned and not yet executed objects add to memory, their arguments included."""
    import mars.remote as mr
    from graphs import noop

    mr.spawn(noop, args=(0,))
    reset_peak()
    before = memory_now("VmRSS")
    objects = [mr.spawn(noop, args=(i,)) for i in range(int(size))]
    after = memory_now("VmRSS")
    return {"added": after - before, "count": len(objects)}


LOCAL = (
    call_once,
    graph_memory,
    first_compute,
    case_peak,
    pending_objects,
    limits.limited,
    limits.limited_expected,
    limits.limited_task,
)
CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {f.__name__: f for f in LOCAL}

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(json.dumps(CHILDREN[sys.argv[1]](*sys.argv[2:])))
