"""What the scheduler holds beside Dask's own graph, in bytes a task.

In a fresh process: build the graph, give free memory back, let the peak start
again, call the scheduler once, and read how far the peak rose.
"""

from __future__ import annotations

from children import ask
from graphs import SHAPES
from harness import Row, Settings, Spread

LIMIT = 200.0
OURS, DASKS = 500_000, 50_000


def run(settings: Settings) -> list[Row]:
    size = 100_000 if settings.quick else OURS
    shapes = ["tree"] if settings.quick else list(SHAPES)
    rounds = 1 if settings.quick else 3
    rows = []
    for shape in shapes:
        settings.say(f"memory: {shape} {size:,}")
        ours = [ask("graph_memory", "mars", shape, size) for _ in range(rounds)]
        small = DASKS if shape != "layered" else DASKS // 5
        peer = ask("graph_memory", "threads", shape, small, cap=settings.cap * 3)
        mine = Spread.of(o["added"] / size for o in ours if o)
        theirs = Spread.of([peer["added"] / small]) if peer else None
        graph = [o["graph"] / size for o in ours if o]
        rows.append(
            Row(
                f"{shape} {size:,}",
                "bytes a task",
                mine,
                f"threads, {small:,}",
                theirs,
                theirs.median / mine.median if theirs and mine.median else None,
                limit=LIMIT,
                note=f"the graph itself: {min(graph):,.0f}",
            )
        )
    return rows
