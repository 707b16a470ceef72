"""Peak of live results and live bytes: our order of tasks against ``dask.order``, on real graphs.

    python benchmarks/order_peaks.py                  # everything
    python benchmarks/order_peaks.py tensordot svd    # some of it
    python benchmarks/order_peaks.py --check          # status 1 if a ratio is above 1.05

Each graph is what ``dask.compute`` hands to a scheduler. Both orders are played
by one worker and by two that finish in turn, a free one taking the ready task
of lowest rank. Live is a result from when its task ends until its last
dependent has; asked-for results to the end; data nodes not at all. Bytes are
weighed by running every task once: buffers that results share count once. The
shapes of Dask's own tests of ``order`` have no bytes. Times are CPU
microseconds a task, ours with parsing the graph and making a dict of ranks.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import dask.order

from mars._mars import order as our_order
from order import cases, extract, shapes, simulate
from provenance import describe

LIMIT = 1.05
HEAD = (
    f"{'graph':<38} {'tasks':>6} | {'results, 1 worker':^18} | {'results, 2 workers':^18} "
    f"| {'KiB, 1 worker':^22} | {'KiB, 2 workers':^22} | {'µs a task':^12}\n"
    f"{'':<38} {'':>6} | {'dask':>5} {'ours':>5} {'ratio':>6} | {'dask':>5} {'ours':>5} {'ratio':>6} "
    f"| {'dask':>7} {'ours':>7} {'ratio':>6} | {'dask':>7} {'ours':>7} {'ratio':>6} | {'dask':>6} {'ours':>5}"
)


def graphs(names: list[str]) -> Iterator[extract.Graph]:
    """Weighed graphs of collections, then the shapes of Dask's tests."""
    for name, build in cases.CASES.items():
        if not names or name in names:
            yield extract.weigh(extract.from_collections(name, build()))
    if not names or "dask" in names:
        for name, dsk in shapes.dask_test_shapes().items():
            graph = extract.from_dsk(f"dask: {name}", dsk)
            if graph.dependencies:
                yield graph


def timed(order: Callable[[], Any], times: int) -> tuple[Any, float]:
    """What ``order`` returns, and the CPU seconds of its quickest run."""
    seconds = math.inf
    for _ in range(times):
        start = time.process_time()
        ranks = order()
        seconds = min(seconds, time.process_time() - start)
    return ranks, seconds


def compare(graph: extract.Graph) -> tuple[str, list[float]]:
    """One line of the table, and its ratios: results and bytes, with one worker, then with two."""
    theirs, their_seconds = timed(lambda: dask.order.order(graph.dsk), 2)
    ours, our_seconds = timed(lambda: our_order(graph.dsk, graph.keys), 5)
    line = f"{graph.name[:38]:<38} {len(graph.dependencies):>6}"
    results, sizes, ratios = "", "", []
    for workers in (1, 2):
        (dask_results, dask_bytes), (our_results, our_bytes) = (
            simulate.peaks(graph, ranks, workers) for ranks in (theirs, ours)
        )
        ratios.append(our_results / dask_results)
        results += f" | {dask_results:>5} {our_results:>5} {marked(ratios[-1])}"
        if graph.buffers is None:
            sizes += f" | {'':>22}"
        else:
            ratios.append(our_bytes / dask_bytes)
            sizes += f" | {dask_bytes // 1024:>7} {our_bytes // 1024:>7} {marked(ratios[-1])}"
    tasks = len(graph.dsk) / 1e6
    return f"{line}{results}{sizes} | {their_seconds / tasks:>6.1f} {our_seconds / tasks:>5.2f}", ratios


def marked(ratio: float) -> str:
    return f"{ratio:>5.2f}{'!' if ratio > LIMIT else ' '}"


def mean(ratios: list[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help='graphs to compare ("dask" for the shapes of its tests)')
    parser.add_argument("--check", action="store_true", help="fail if any ratio is above 1.05")
    options = parser.parse_args()
    warnings.simplefilter("ignore")

    print(HEAD)
    weighed: list[list[float]] = []
    plain: list[list[float]] = []
    for graph in graphs(options.names):
        line, ratios = compare(graph)
        (plain if graph.buffers is None else weighed).append(ratios)
        print(line, flush=True)
    print()
    if weighed:
        one, one_bytes, two, two_bytes = (mean(list(column)) for column in zip(*weighed, strict=True))
        print(f"{len(weighed)} graphs of collections, geometric means of the ratios:")
        print(f"  results {one:.3f} (two workers {two:.3f}), bytes {one_bytes:.3f} (two workers {two_bytes:.3f})")
    if plain:
        one, two = (mean(list(column)) for column in zip(*plain, strict=True))
        print(f"{len(plain)} shapes of Dask's tests:\n  results {one:.3f} (two workers {two:.3f})")
    above = sum(max(ratios) > LIMIT for ratios in weighed + plain)
    print(f"above {LIMIT}: {above}")
    for name, value in describe(" ".join(["python", *sys.argv])).items():
        print(f"{name}: {value}")
    return int(options.check and above > 0)


if __name__ == "__main__":
    sys.exit(main())
