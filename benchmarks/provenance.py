"""Where figures come from: the machine, the versions, the commit, the command."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "dask-on-mars",
    "dask",
    "distributed",
    "numpy",
    "pandas",
    "pyarrow",
    "xarray",
    "flox",
    "zarr",
    "scikit-learn",
)


def processor() -> str:
    """The processor's name, as Linux tells it, else as Python does."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return "memory unknown"
    return f"{size / 2**30:.0f} GiB"


def commit() -> str:
    """The commit that was measured, marked when the work tree differed from it."""

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", *args],
            check=False,
            cwd=Path(__file__).resolve().parent,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "--short=10", "HEAD")
    if not head:
        return "unknown (no git)"
    engine = git("status", "--porcelain", "--", "../src", "../python", "../Cargo.toml")
    return head + (" with changes" if engine else "")


def versions() -> str:
    found = [f"{platform.python_implementation()} {platform.python_version()}"]
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        found[0] += " free-threaded"
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)


def cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def load() -> str:
    """How busy the machine was: other work makes wall times doubtful."""
    try:
        return f"{os.getloadavg()[0]:.1f}"
    except OSError:
        return "unknown"


def describe(command: str) -> dict[str, str]:
    """Everything a reader needs in order to make the figures again."""
    return {
        "machine": f"{processor()}, {cores()} cores, {memory()}, {platform.system()}",
        "versions": versions(),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "command": command,
        "load at start": load(),
    }
