"""One run of one workload under one scheduler, in this process: what it took, wrote and answered.

    python benchmarks/children.py limited rechunk mars-limit 256MiB

Everything is over a baseline: the process after its imports, after a run of the
same workload on a few kilobytes, with the graph built.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORKERS = 2
# Beside what is resident, glibc reserves address space for each thread in steps of 64 MiB: one step
# more for each worker and for the thread that calls may be begun and hardly used.
RESERVED = 64 * 2**20 * (WORKERS + 1)
# Free memory between allocations, where only what may be written counts.
BETWEEN = 16 * 2**20
# Room for the page cache and for the kernel's own, which a cgroup counts too.
CACHED = 32 * 2**20
# The variable that names a cgroup to make others in.
GROUPS = "MARS_BENCH_CGROUP"
CONTENDERS = {
    "threads": "Dask's threads, which know no limit",
    "mars": "ours, no limit",
    "mars-fits": "ours, with a limit of four times the data",
    "mars-limit": "ours, with the limit",
    "cluster": "LocalCluster, one process of two threads, the same graph, the limit beside its baseline",
    "cluster-two": "the same, two processes of one thread",
    "cluster-p2p": "the same as cluster, with its own rechunk and shuffle in place of tasks",
}


@dataclass
class Io:
    """Bytes written by processes, the last that was seen of each: one that ends keeps its figure."""

    seen: dict[int, int] = field(default_factory=dict)

    def look(self, *processes: int) -> int:
        for process in processes:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{process}/io").read_text()
                found = dict(line.split(": ") for line in text.splitlines())
                # write_bytes has what was written through a mapping of a file
                self.seen[process] = max(int(found["wchar"]), int(found["write_bytes"]))
        return sum(self.seen.values())


def memory_of(process: int | str, name: str) -> int:
    """A field of /proc/.../status in bytes; 0 for a process that has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return 0


def family(process: int) -> list[int]:
    """This process and all that descend from it."""
    found = [process]
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [known for child in children.read_text().split() for known in family(int(child))]
    return found


def trim() -> None:
    """Give back what is free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


class Own:
    """This process alone, by the kernel's own high-water mark."""

    def __init__(self) -> None:
        trim()
        self.io, self.start = Io(), memory_of("self", "VmRSS")
        self.written_before = self.io.look(os.getpid())
        reset_peak()

    def found(self) -> dict[str, Any]:
        return {
            "peak": memory_of("self", "VmHWM") - self.start,
            "baseline": self.start,
            "written": self.io.look(os.getpid()) - self.written_before,
        }


class Family:
    """This process and its descendants, looked at every few milliseconds."""

    def __init__(self) -> None:
        trim()
        self.io, self.peak, self.restarts = Io(), 0, 0
        self.known = family(os.getpid())
        self.start = self.resident()
        self.written_before = self.io.look(*self.known)
        self.done = threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def resident(self) -> int:
        return sum(memory_of(process, "VmRSS") for process in self.known)

    def watch(self) -> None:
        known, turn = set(self.known), 0
        while not self.done.wait(0.002):
            turn += 1
            if turn % 25 == 0:
                self.known = family(os.getpid())
                self.restarts += len(set(self.known) - known)
                known |= set(self.known)
                self.io.look(*self.known)
            self.peak = max(self.peak, self.resident())

    def found(self) -> dict[str, Any]:
        self.done.set()
        return {
            "peak": self.peak - self.start,
            "baseline": self.start,
            "written": self.io.look(*self.known) - self.written_before,
            "restarts": self.restarts,
        }


def size_of(limit: int, scale: float) -> Any:
    """Parts of a sixteenth of the limit, as many as make ``scale`` times the limit."""
    from cases.limited import Size

    return Size(round(limit * scale), round(16 * scale))


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def cluster(contender: str, limit: int, folder: Path) -> Iterator[Any]:
    """A LocalCluster that may hold the limit over what its workers take when idle."""
    from distributed import Client, LocalCluster

    processes = WORKERS if contender == "cluster-two" else 1
    idle = memory_of("self", "VmRSS")  # all that a worker imports has been imported here
    with (
        LocalCluster(
            n_workers=processes,
            threads_per_worker=WORKERS // processes,
            processes=True,
            memory_limit=limit // processes + idle,
            local_directory=str(folder / "spill"),
            dashboard_address=None,
        ) as local,
        Client(local, set_as_default=contender == "cluster-p2p") as client,
    ):
        yield client


@contextlib.contextmanager
def scheduler(contender: str, limit: int, data: int, folder: Path) -> Iterator[dict[str, Any]]:
    """The arguments of ``compute``, and the configuration around it."""
    import dask

    method = "p2p" if contender == "cluster-p2p" else "tasks"
    chosen: dict[str, Any] = {"dataframe.shuffle.method": method, "array.rechunk.method": method}
    if contender.startswith("cluster"):
        with cluster(contender, limit, folder) as client, dask.config.set(chosen):
            yield {"scheduler": client}
        return
    if contender.startswith("mars"):
        from mars.contrib.dask import mars_scheduler

        if contender != "mars":
            amount = 4 * data if contender == "mars-fits" else limit
            chosen |= {"mars.memory-limit": amount, "mars.spill-dir": str(folder / "spill")}
        with dask.config.set(chosen):
            yield {"scheduler": mars_scheduler, "num_workers": WORKERS}
        return
    with dask.config.set(chosen):
        yield {"scheduler": contender, "num_workers": WORKERS}


def bound(hard: str, allowed: int) -> int:
    """Have the kernel refuse (RLIMIT_AS, RLIMIT_DATA) or kill (a cgroup) beyond ``allowed`` bytes from here on."""
    if hard in ("as", "data"):
        field, limit, room = {
            "as": ("VmSize", resource.RLIMIT_AS, RESERVED),
            "data": ("VmData", resource.RLIMIT_DATA, BETWEEN),
        }[hard]
        most = memory_of("self", field) + allowed + room
        resource.setrlimit(limit, (most, resource.RLIM_INFINITY))
        return most
    if hard == "cgroup":
        # Pages of before stay charged where they were: what is counted here is over the baseline.
        group = Path(os.environ[GROUPS]) / f"limit-{os.getpid()}"
        group.mkdir()
        most = allowed + CACHED
        second = (group / "memory.max").exists()
        (group / ("memory.max" if second else "memory.limit_in_bytes")).write_text(str(most))
        with contextlib.suppress(OSError):
            (group / ("memory.swap.max" if second else "memory.swappiness")).write_text("0")
        (group / "cgroup.procs").write_text(str(os.getpid()))
        return most
    return 0


def limited(
    workload: str,
    contender: str,
    limit: str = "256MiB",
    scale: str = "3",
    cap: str = "120",
    hard: str = "",
    allowed: str = "",
) -> dict[str, Any]:
    """One workload under one scheduler. ``hard`` is as, data, cgroup or nothing; ``allowed`` the bytes it lets."""
    import dask
    from dask.utils import parse_bytes

    from cases.limited import WARM, WORKLOADS

    found: dict[str, Any] = {"workload": workload, "contender": contender, "state": "finished"}
    case, bytes_limit = WORKLOADS[workload], int(parse_bytes(limit))
    size = size_of(bytes_limit, float(scale))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mars-limit-")))
        (folder / "spill").mkdir()
        if contender.startswith("cluster"):
            import distributed  # noqa: F401
        once(case.build, WARM, folder / "warm", {"scheduler": "sync"})
        how = stack.enter_context(scheduler(contender, bytes_limit, size.total, folder))
        for i in range(1 if "num_workers" in how else 2 * WORKERS):  # so that each process of a cluster has imported
            once(case.build, WARM, folder / f"warm-{i}", how)
        collection = case.build(size, folder)
        if hard:
            most = int(allowed) if allowed else round(bytes_limit * 1.15) + 6 * WORKERS * size.part
            found["bound"] = bound(hard, most)
        meter: Own | Family = Family() if contender.startswith("cluster") else Own()
        start = time.perf_counter()

        def late() -> None:
            found.update(meter.found(), state="timeout", wall=time.perf_counter() - start)
            print(json.dumps(found), flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)

        alarm = threading.Timer(float(cap), late)
        alarm.daemon = True
        alarm.start()
        result = None
        try:
            (result,) = dask.compute(collection, **how)
        except BaseException as error:
            found.update(state=type(error).__name__, error=str(error)[:300])
        alarm.cancel()
        found["wall"] = time.perf_counter() - start
        found.update(meter.found())
        found["output"] = sum(folder_bytes(path) for path in folder.glob("out.*"))
        found["written"] -= found["output"]
        # The directory has a lock as long as the process lives.
        spilled = (folder / "spill").rglob("*")
        found["left"] = len([path for path in spilled if path.is_file() and path.name != "lock"])
        for name in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            resource.setrlimit(name, (resource.getrlimit(name)[1],) * 2)
        if found["state"] == "finished":
            found["answer"] = case.answer(result, size, folder)
    return found


def once(build: Callable[..., Any], size: Any, folder: Path, how: dict[str, Any]) -> None:
    import dask

    folder.mkdir()
    dask.compute(build(size, folder), **how)


def limited_expected(workload: str, limit: str, scale: str) -> dict[str, Any]:
    """What the answer is, by numpy."""
    from dask.utils import parse_bytes

    from cases.limited import WORKLOADS

    return {"answer": WORKLOADS[workload].expected(size_of(int(parse_bytes(limit)), float(scale)))}


def limited_task(workload: str, limit: str, scale: str) -> dict[str, Any]:
    """The working set of the largest task: its inputs, and how far it raises the peak when it runs alone."""
    import dask
    from dask.callbacks import Callback
    from dask.sizeof import sizeof
    from dask.utils import parse_bytes

    from cases.limited import WARM, WORKLOADS

    case, size = WORKLOADS[workload], size_of(int(parse_bytes(limit)), float(scale))
    start, largest, whose = 0, 0, ""

    def before(key: Any, graph: Any, state: Any) -> None:
        nonlocal start
        ctypes.CDLL(None).malloc_trim(0)
        reset_peak()
        start = memory_of("self", "VmRSS")

    def after(key: Any, value: Any, graph: Any, state: Any, worker: Any) -> None:
        nonlocal largest, whose
        raised = memory_of("self", "VmHWM") - start
        inputs = sum(sizeof(state["cache"][name]) for name in state["dependencies"][key] if name in state["cache"])
        if raised + inputs > largest:
            largest, whose = raised + inputs, str(key)

    with tempfile.TemporaryDirectory(prefix="mars-limit-") as name, scheduler("sync", 0, 0, Path(name)) as how:
        once(case.build, WARM, Path(name) / "warm", how)
        collection = case.build(size, Path(name))
        with Callback(pretask=before, posttask=after):
            dask.compute(collection, **how)
    return {"task": largest, "key": whose, "part": size.part}
