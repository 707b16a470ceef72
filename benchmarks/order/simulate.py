"""Plays tasks in the order of their ranks and measures the most that is live at once."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Any

from .extract import Graph


class Live:
    """Results that are live, and the bytes of the buffers they hold."""

    def __init__(self, graph: Graph) -> None:
        self.buffers = graph.buffers or {}
        self.sizes = graph.sizes or {}
        self.holders: dict[int, int] = {}
        self.results = self.most_results = 0
        self.bytes = self.most_bytes = 0

    def add(self, key: Any) -> None:
        self.results += 1
        for buffer in self.buffers.get(key, ()):
            self.holders[buffer] = self.holders.get(buffer, 0) + 1
            if self.holders[buffer] == 1:
                self.bytes += self.sizes[buffer]
        self.most_results = max(self.most_results, self.results)
        self.most_bytes = max(self.most_bytes, self.bytes)

    def release(self, key: Any) -> None:
        self.results -= 1
        for buffer in self.buffers.get(key, ()):
            self.holders[buffer] -= 1
            if not self.holders[buffer]:
                self.bytes -= self.sizes[buffer]


def peaks(graph: Graph, rank: dict[Any, int], workers: int) -> tuple[int, int]:
    """Peak number of live results and, if the graph was weighed, of live bytes.

    A free worker takes the ready task of lowest rank; tasks end in the order in
    which they began. A result is live from when its task ends until the last
    dependent has; an asked-for one to the end.
    """
    dependencies = graph.dependencies
    dependents: dict[Any, list[Any]] = {key: [] for key in dependencies}
    for key, above in dependencies.items():
        for dependency in above:
            dependents[dependency].append(key)
    missing = {key: len(above) for key, above in dependencies.items()}
    waiters = {key: len(below) for key, below in dependents.items()}
    for key in graph.keys:
        if key in waiters:
            waiters[key] += 1

    task_of = {rank[key]: key for key in dependencies}
    ready = [rank[key] for key in dependencies if not missing[key]]
    heapq.heapify(ready)
    running: deque[Any] = deque()
    live = Live(graph)
    while ready or running:
        while ready and len(running) < workers:
            running.append(task_of[heapq.heappop(ready)])
        key = running.popleft()
        live.add(key)
        for dependency in dependencies[key]:
            waiters[dependency] -= 1
            if not waiters[dependency]:
                live.release(dependency)
        for dependent in dependents[key]:
            missing[dependent] -= 1
            if not missing[dependent]:
                heapq.heappush(ready, rank[dependent])
    return live.most_results, live.most_bytes
