"""The benchmarks: one command, one table.

    python benchmarks/run.py                     everything, in about half an hour
    python benchmarks/run.py overhead --quick    one suite, in short
    python benchmarks/run.py --write             and keep it in RESULTS.md

Exit status 1 when a goal is missed and --check is given.
"""

from __future__ import annotations

import os

# As Dask's documentation advises; set before numpy starts its own threads.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import importlib.util
import sys
import time

import provenance
import report
from harness import Row, Settings
from suites import SUITES


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"suites: {', '.join(SUITES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, few runs")
    parser.add_argument("--rounds", type=int, help="interleaved runs (quick 3, else 7)")
    parser.add_argument("--cap", type=float, default=60.0, help="seconds a slow peer may take (60)")
    parser.add_argument("--cluster", action="store_true", help="beside a LocalCluster, if installed")
    parser.add_argument("--write", action="store_true", help="keep the figures")
    parser.add_argument("--check", action="store_true", help="fail when a goal is missed")
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(SUITES)
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    if options.cluster and importlib.util.find_spec("distributed") is None:
        parser.error("--cluster needs the package distributed")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    arguments = sys.argv[1:] if argv is None else argv
    facts = provenance.describe(" ".join(["python benchmarks/run.py", *arguments]))
    settings = Settings(
        quick=options.quick,
        rounds=options.rounds or (3 if options.quick else 7),
        cap=options.cap,
        cluster=options.cluster,
        say=lambda text: print(f"  {text}", file=sys.stderr, flush=True),
    )
    start = time.perf_counter()
    suites: dict[str, list[Row]] = {}
    for suite in SUITES:
        if not options.names or suite in options.names:
            suites[suite] = SUITES[suite](settings)
    facts["took"] = f"{time.perf_counter() - start:.0f} s"
    print(report.terminal(suites, facts))
    if options.write:
        report.write(suites, facts)
    missed = any(row.met is False for rows in suites.values() for row in rows)
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
