"""The table: on the terminal, in RESULTS.md, and in short in the README.

``--write`` keeps the rows in results.json, suite by suite, each with its own
provenance, and renders RESULTS.md and the README's table from there; so one
suite can be measured again without the others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness import Row, Spread

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
STORE = HERE / "results.json"
README = HERE.parent / "README.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
HEAD = ("case", "measure", "mars", "peer", "peer's", "times", "goal", "")

# what the README shows: suite, case, measure, and Dask's scheduler beside it
HEADLINES = [
    ("overhead", "flat 10,000, 2 workers", "CPU µs a task", "threads 2"),
    ("overhead", "tree 10,000, 2 workers", "CPU µs a task", "threads 2"),
    ("overhead", "layered 10,000, 2 workers", "CPU µs a task", "threads 2"),
    ("latency", "one task, scheduler call", "wall µs", "sync"),
    ("end-to-end", "delayed flat 10,000", "wall s", "threads"),
    ("end-to-end", "delayed tree 100,000", "wall s", "threads"),
    ("end-to-end", "(x + x.T).mean() 10,000 chunks", "wall s", "threads"),
    ("end-to-end", "bag map-filter-sum 1,000", "wall s", "threads"),
    ("end-to-end", "dataframe shuffle 2,000,000", "wall s", "threads"),
    ("end-to-end", "xarray climatology, anomaly", "wall s", "threads"),
]

Suite = dict[str, Any]


def number(value: float) -> str:
    """Three digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 10 else f"{value:.1f}"


def spread(found: Spread | None) -> str:
    if found is None:
        return ""
    if found.runs == 1:
        return number(found.median)
    return f"{number(found.low)} / {number(found.median)} / {number(found.high)}"


def goal(row: Row) -> str:
    parts = []
    if row.limit is not None:
        parts.append(f"≤ {number(row.limit)}")
    if row.factor is not None:
        parts.append(f"≥ {number(row.factor)}×")
    return ", ".join(parts)


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table; the last cell says whether the goal is reached."""
    verdict = {True: "yes", False: "NO", None: ""}[row.met]
    times = "" if row.ratio is None else f"{number(row.ratio)}×"
    end = "; ".join(x for x in (verdict, row.note) if x)
    return (
        row.case,
        row.measure,
        spread(row.ours),
        row.peer_name,
        spread(row.peer),
        times,
        goal(row),
        end,
    )


def terminal(suites: dict[str, list[Row]], facts: dict[str, str]) -> str:
    """The whole table as aligned text."""
    body = {name: [cells(row) for row in rows] for name, rows in suites.items()}
    lines = [HEAD, *(line for found in body.values() for line in found)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD) - 1)]

    def text(line: tuple[str, ...]) -> str:
        left = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        return "  ".join([*left, line[-1]]).rstrip()

    out = [f"{key}: {value}" for key, value in facts.items()]
    out += ["spread: smallest / median / largest run", "", text(HEAD)]
    for name, found in body.items():
        out += ["", f"-- {name}", *map(text, found)]
    missed = sum(row.met is False for rows in suites.values() for row in rows)
    reached = sum(row.met is True for rows in suites.values() for row in rows)
    return "\n".join([*out, "", f"goals reached: {reached}, missed: {missed}"])


def markdown_table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> list[str]:
    def text(line: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"

    return [text(head), "|" + " --- |" * len(head), *map(text, lines)]


def stored() -> dict[str, Suite]:
    if not STORE.exists():
        return {}
    found: dict[str, Suite] = json.loads(STORE.read_text(encoding="utf-8"))
    return found


def rows_of(suite: Suite) -> list[Row]:
    return [Row.from_json(row) for row in suite["rows"]]


def write(suites: dict[str, list[Row]], facts: dict[str, str]) -> None:
    """Keep these suites' rows, and render every file that shows figures."""
    kept = stored()
    for name, rows in suites.items():
        kept[name] = {"facts": facts, "rows": [row.as_json() for row in rows]}
    STORE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    RESULTS.write_text(results_page(kept), encoding="utf-8")
    if README.exists():
        page = README.read_text(encoding="utf-8")
        if BEGIN in page:
            before, rest = page.split(BEGIN, 1)
            after = rest.split(END, 1)[1]
            table = "\n".join([BEGIN, *headlines(kept), END])
            README.write_text(before + table + after, encoding="utf-8")


def results_page(kept: dict[str, Suite]) -> str:
    out = [
        "## Figures",
        "",
        "Written by `python benchmarks/run.py --write`; `benchmarks/README.md` says what each",
        "measures. Spread: smallest / median / largest run. *times* is how many times less ours",
        "took than the peer; *goal* is a limit for ours (≤) or for times (≥).",
    ]
    if not kept:
        out += ["", "To be filled by `make bench`."]
    for name, suite in kept.items():
        facts = "  \n".join(f"{key}: {value}" for key, value in suite["facts"].items())
        lines = [cells(row) for row in rows_of(suite)]
        out += [
            "",
            f"### {name}",
            "",
            facts,
            "",
            *markdown_table((*HEAD[:-1], "reached"), lines),
        ]
    return "\n".join(out) + "\n"


def headlines(kept: dict[str, Suite]) -> list[str]:
    """The README's rows, with where they come from."""
    lines = []
    sources: dict[str, None] = {}
    for suite, case, measure, peer in HEADLINES:
        for row in rows_of(kept[suite]) if suite in kept else []:
            if (row.case, row.measure, row.peer_name) == (case, measure, peer):
                lines.append((case, measure, *(cells(row)[i] for i in (2, 4, 5))))
                facts = kept[suite]["facts"]
                names = ("machine", "versions", "commit", "date", "command")
                sources["; ".join(f"{name} {facts[name]}" for name in names)] = None
    if not lines:
        return ["", "To be filled by `make bench`.", ""]
    head = ("", "measure", "mars", "Dask", "times")
    spread_and_source = ["Smallest / median / largest of interleaved runs.", *(f"  \n{source}." for source in sources)]
    return ["", *markdown_table(head, lines), "", "".join(spread_and_source), ""]
