"""Peak memory of a whole process that computes one end-to-end case, by scheduler."""

from __future__ import annotations

from cases import every_case
from children import ask
from harness import Row, Settings, Spread

FACTOR = 1 / 1.05
MEBIBYTE = 2**20


def run(settings: Settings) -> list[Row]:
    rows: list[Row] = []
    sums = {"mars": 0.0, "threads": 0.0}
    for case in every_case():
        if case.alone or (settings.quick and not case.quick):
            continue
        settings.say(f"peaks: {case.name}")
        found: dict[str, list[float]] = {"mars": [], "threads": []}
        for _ in range(1 if settings.quick else 3):
            for name, values in found.items():
                answer = ask("case_peak", name, case.name)
                if answer:
                    values.append(answer["peak"] / MEBIBYTE)
        ours, peer = Spread.of(found["mars"]), Spread.of(found["threads"])
        sums["mars"] += ours.median
        sums["threads"] += peer.median
        rows.append(row(case.name, ours, peer, FACTOR))
    rows.append(row("sum", Spread.of([sums["mars"]]), Spread.of([sums["threads"]]), 1.0))
    return rows


def row(case: str, ours: Spread, peer: Spread, factor: float) -> Row:
    return Row(
        case,
        "peak MiB",
        ours,
        "threads",
        peer,
        peer.median / ours.median,
        factor=factor,
    )
