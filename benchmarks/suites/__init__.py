"""The suites, in the order of the table. Each is ``run(settings) -> list of rows``."""

from __future__ import annotations

from collections.abc import Callable

from harness import Row, Settings
from suites import end_to_end, latency, limit, memory, overhead, peaks, remote, watching, workers

SUITES: dict[str, Callable[[Settings], list[Row]]] = {
    "overhead": overhead.run,
    "memory": memory.run,
    "latency": latency.run,
    "remote": remote.run,
    "end-to-end": end_to_end.run,
    "workers": workers.run,
    "peaks": peaks.run,
    "limit": limit.run,
    "watching": watching.run,
}
