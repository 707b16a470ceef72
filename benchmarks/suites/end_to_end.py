"""``compute()`` as users call it, on collections already built, beside Dask threads.

Results are compared once, in the unmeasured first round. The geometric mean is
over the cases with chunks of a usual size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import dask

from cases import Case, every_case, same
from harness import Call, Row, Runs, Settings, Spread, compared, geometric_mean, interleave
from mars.contrib.dask import mars_scheduler

LINEAR = 1.5


def run(settings: Settings) -> list[Row]:
    rows: list[Row] = []
    usual: list[float] = []
    flats: dict[str, Spread] = {}
    with cluster(settings) as client:
        for case in every_case():
            if settings.quick and not case.quick:
                continue
            settings.say(f"end-to-end: {case.name}")
            found = measured(case, settings, client)
            rows += found
            if case.usual and found[0].ratio:
                usual.append(found[0].ratio)
            if case.name.startswith("delayed flat") and found[0].ours:
                flats[case.name] = found[0].ours
    rows += growth(flats)
    mean = geometric_mean(usual)
    rows.append(
        Row(
            f"geometric mean of {len(usual)} with usual chunks",
            "ratio",
            None,
            "threads",
            ratio=mean,
            factor=1.0,
        )
    )
    return rows


@contextlib.contextmanager
def cluster(settings: Settings) -> Iterator[Any]:
    """A LocalCluster of one process with two threads, where asked for and installed."""
    if not settings.cluster:
        yield None
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as local,
        Client(local, set_as_default=False) as client,
    ):
        yield client


def measured(case: Case, settings: Settings, client: Any) -> list[Row]:
    with case.built() as collection:
        calls: dict[str, Call] = {"mars": partial(dask.compute, *collection, scheduler=mars_scheduler)}
        if not case.alone:
            calls["threads"] = partial(dask.compute, *collection, scheduler="threads")
            if not same(calls["mars"](), calls["threads"]()):
                raise SystemExit(f"{case.name}: the results differ")
            if client is not None:
                calls["LocalCluster"] = partial(dask.compute, *collection, scheduler=client)
        runs = interleave(
            calls,
            settings.rounds if case.usual else min(3, settings.rounds),
            warm=["mars"] if case.alone else [],
        )
    return [
        compared(
            case.name,
            "wall s",
            runs["mars"],
            peer,
            runs.get(peer),
            factor=case.factor if peer == "threads" else None,
            note=case.alone,
        )
        for peer in ("threads", "LocalCluster")
        if peer == "threads" or peer in runs
    ]


def growth(flats: dict[str, Spread]) -> list[Row]:
    """Whether 100,000 delayed calls cost ten times what 10,000 do."""
    small, large = (flats.get(f"delayed flat {n}") for n in ("10,000", "100,000"))
    if small is None or large is None:
        return []
    ratio = Runs(wall=[large.median / small.median / 10])
    return [
        compared(
            "delayed flat 100,000 over 10,000, a task",
            "wall ratio",
            ratio,
            "",
            None,
            limit=LINEAR,
        )
    ]
