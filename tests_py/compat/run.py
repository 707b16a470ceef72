"""Run Dask's own test suites on mars_scheduler and compare with the stock baseline.

    python tests_py/compat/run.py                    all of it (about an hour on two cores)
    python tests_py/compat/run.py --quick            a representative part, under ten minutes
    python tests_py/compat/run.py core bag           some suites
    python tests_py/compat/run.py core -- -k order   with arguments for pytest
    python tests_py/compat/run.py --stock --record   make the baseline anew

Every test that passes with Dask's own schedulers has to pass with ours. A failure
that the baseline does not know is run again with Dask's own scheduler to be judged.
Exit status 1 when any test passes there and not here.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from compare import Verdict, judge, keep_as_baseline, report
from selection import in_sample
from swap_record import WORSE, read

from suites import SUITES, Suite

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline"
SCHEDULER = "mars.contrib.dask:mars_scheduler"
SITE = Path(sysconfig.get_paths()["purelib"])


def run_suite(suite: Suite, options: argparse.Namespace, scheduler: str, results: Path, tests: list[str]) -> None:
    """One pytest run in an empty folder; its output goes beside its results."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "SWAP_SCHEDULER": scheduler,
        "SWAP_SAMPLE": str(sample_of(suite, options)) if not tests else "1",
        "SWAP_RESULTS": str(results),
        # a baseline leaves out only what no local scheduler could decide
        "SWAP_DESELECT": "distributed,network" if not scheduler else options.deselect,
        **dict(suite.environment),
    }
    command = [sys.executable, "-m", "pytest", "-c", str(HERE / "dask.ini"), f"--rootdir={SITE}"]
    command += ["-p", "dask_root", "-p", "no:asyncio", "-p", "swap_scheduler"]
    command += ["-n", str(suite.jobs or options.jobs), "--max-worker-restart=200"]
    command += [f"--timeout={options.timeout}", "--timeout-method=thread", "-q", "--tb=short"]
    command += ["--runslow"] if options.slow else []
    command += [argument.format(site=SITE) for argument in suite.arguments]
    command += options.pytest
    command += [str(SITE / test) for test in tests or suite.paths]
    results.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="compat-") as folder, log_of(results).open("w") as log:
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    if not results.exists():
        raise SystemExit(f"{suite.name}: pytest left no results; see {log_of(results)}")


def log_of(results: Path) -> Path:
    return results.with_name(results.name.removesuffix(".json.gz") + ".log")


def sample_of(suite: Suite, options: argparse.Namespace) -> int:
    return options.sample or (suite.quick if options.quick else suite.whole)


def settle(suite: Suite, verdict: Verdict, options: argparse.Namespace, out: Path) -> None:
    """Judge failures that the baseline does not know: run just those with stock."""
    tests = [nodeid for nodeid in verdict.unknown if not nodeid.startswith("collect::")]
    stock: dict[str, dict[str, str]] = {}
    if tests:
        results = out / f"{suite.name}-stock.json.gz"
        run_suite(suite, options, "", results, tests)
        stock = read(results)["tests"]
    for nodeid in list(verdict.unknown):
        message = verdict.unknown.pop(nodeid)
        if stock.get(nodeid, {}).get("outcome") in WORSE:
            verdict.failing_in_both.append(nodeid)
        else:
            verdict.regressions[nodeid] = message


def check(suite: Suite, options: argparse.Namespace, out: Path) -> tuple[int, int, int]:
    """Run one suite swapped; how many tests passed, regressed and were skipped."""
    results = out / f"{suite.name}.json.gz"
    run_suite(suite, options, options.scheduler, results, [])
    found = read(results)
    path = BASELINE / f"{suite.name}.json.gz"
    baseline = read(path) if path.exists() else {"meta": {"sample": 1}, "tests": {}}
    sample = sample_of(suite, options)
    chosen = not options.pytest
    verdict = judge(baseline["tests"], found, lambda nodeid: chosen and in_sample(nodeid, sample))
    settle(suite, verdict, options, out)
    print("\n".join(report(verdict, found)), flush=True)
    if not found["runs"].get("swapped"):
        verdict.regressions["<suite>"] = "the swapped scheduler was never called"
        print("  the swapped scheduler was never called")
    outcomes = [test["outcome"] for test in found["tests"].values()]
    passed = sum(outcome in ("passed", "xpassed", "xfailed") for outcome in outcomes)
    return passed, len(verdict.regressions) + len(verdict.absent), outcomes.count("skipped")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--quick", action="store_true", help="a representative part")
    parser.add_argument("--sample", type=int, help="every N-th test of each suite")
    parser.add_argument("--scheduler", default=SCHEDULER, help="module:callable")
    parser.add_argument("--deselect", default="", help="categories to leave out (all), or none")
    parser.add_argument("--jobs", type=int, default=2, help="pytest-xdist workers")
    parser.add_argument("--timeout", type=int, default=300, help="seconds for one test")
    parser.add_argument("--slow", action="store_true", help="tests that Dask marks slow, too")
    parser.add_argument("--stock", action="store_true", help="run with Dask's own schedulers")
    parser.add_argument("--record", action="store_true", help="with --stock: keep as the baseline")
    parser.add_argument("--out", type=Path, default=Path("compat-out"), help="results and logs")
    arguments = sys.argv[1:] if argv is None else argv
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:at])
    options.pytest = arguments[at + 1 :]
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    totals = [0, 0, 0]
    for name, suite in SUITES.items():
        if options.suites and name not in options.suites:
            continue
        sample = sample_of(suite, options)
        print(f"{name}{f': one test in {sample}' if sample > 1 else ''}", flush=True)
        start = time.perf_counter()
        if options.stock:
            results = out / f"{name}.json.gz"
            run_suite(suite, options, "", results, [])
            if options.record:
                keep_as_baseline(results, BASELINE / results.name)
        else:
            totals = [a + b for a, b in zip(totals, check(suite, options, out), strict=True)]
        print(f"  took {time.perf_counter() - start:.0f} s", flush=True)
    if not options.stock:
        print(f"{totals[0]} passed, {totals[1]} failed, {totals[2]} skipped")
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
