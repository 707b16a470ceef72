"""How a memory limit is asked for, and which one counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import pytest
from spills import MB
from support import SOON, environment, program, run_well

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler
from mars.session import current_memory

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


def limit_of_a_compute() -> int | None:
    """The limit under which a task of a compute runs, as it sees it itself."""
    seen: list[Any] = []
    mars_scheduler({"x": (lambda: seen.append(current_memory()),)}, "x")
    return None if seen[0] is None else seen[0].limit


# -- Spellings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "limit"),
    [(20 * MB, 20 * MB), ("20MB", 20 * MB), ("16 MiB", 2**24), ("2e7", 20 * MB), (2e7, 20 * MB)],
)
def test_limit_given_as_argument(value: Any, limit: int):
    with mars.new_session(memory_limit=value) as session:
        assert session.memory is not None
        assert session.memory.limit == limit
        assert limit_of_a_compute() == limit


@pytest.mark.parametrize("value", ["20MB", 20 * MB])
def test_limit_of_the_configuration(value: Any):
    with dask.config.set({"mars.memory-limit": value}):
        assert limit_of_a_compute() == 20 * MB
        with mars.new_session() as session:
            assert session.memory is not None
            assert session.memory.limit == 20 * MB
    assert limit_of_a_compute() is None


@pytest.mark.parametrize("spelling", ["argument", "setting"])
@pytest.mark.parametrize("value", [0.25, "25%"])
def test_limit_as_a_share_of_the_memory(spelling: str, value: Any):
    """Of what this process may use, which is the whole machine at most."""
    if spelling == "argument":
        with mars.new_session(memory_limit=value):
            limit = limit_of_a_compute()
    else:
        with dask.config.set({"mars.memory-limit": value}):
            limit = limit_of_a_compute()
    assert limit is not None
    from mars._limits import available_memory

    assert limit == available_memory() // 4 <= PHYSICAL // 4


@pytest.mark.parametrize(("value", "limit"), [("20MB", "20000000"), ("20000000", "20000000"), ("16 MiB", "16777216")])
def test_limit_of_the_environment(value: str, limit: str):
    source = """
    import mars
    from mars.contrib.dask import mars_scheduler
    from mars.session import current_memory
    mars_scheduler({"x": (lambda: say(current_memory().limit),)}, "x")
    say(mars.new_session(default=False).memory.limit)
    """
    done = subprocess.run(
        [sys.executable, "-c", program(source)],
        env=environment(DASK_MARS__MEMORY_LIMIT=value),
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", [limit, limit])


@pytest.mark.parametrize("spelling", ["argument", "setting"])
def test_results_go_where_one_says(spelling: str, tmp_path: Path):
    """A directory is made there, also if its parent does not exist yet."""
    there = tmp_path / "new" / "spill"
    given = {"memory_limit": "1MiB", "spill_dir": there}
    settings = {} if spelling == "argument" else {"mars.memory-limit": "1MiB", "mars.spill-dir": str(there)}
    graph: dict = {("x", i): (bytes, 400_000) for i in range(8)}
    graph["all"] = (len, list(graph))
    with dask.config.set(settings), mars.new_session(n_workers=1, **({} if settings else given)) as session:
        assert mars_scheduler(graph, "all") == 8
        assert session.memory is not None
        assert session.memory.directory is not None
        assert session.memory.directory.parent == there


def test_results_go_to_the_temporary_directory_of_dask(tmp_path: Path):
    with dask.config.set({"temporary-directory": str(tmp_path / "dask")}):
        session = mars.new_session(memory_limit="1MiB", n_workers=1)
    graph: dict = {("x", i): (bytes, 400_000) for i in range(8)}
    graph["all"] = (len, list(graph))
    with session:
        mars_scheduler(graph, "all")
        assert session.memory is not None
        assert session.memory.directory is not None
        assert session.memory.directory.parent == tmp_path / "dask"


# -- Nonsense --------------------------------------------------------------------------------------------------------

NONSENSE = [
    ("memory_limit", "4 gigs", ValueError),
    ("memory_limit", "", ValueError),
    ("memory_limit", "150%", ValueError),
    ("memory_limit", 0, ValueError),
    ("memory_limit", -5, ValueError),
    ("memory_limit", 1000, ValueError),
    ("memory_limit", float("nan"), ValueError),
    ("memory_limit", 10**18, ValueError),
    ("memory_limit", True, TypeError),
    ("memory_limit", [20 * MB], TypeError),
    ("memory_limit", {"bytes": 20 * MB}, TypeError),
    ("spill_limit", "much", ValueError),
    ("spill_limit", -1, ValueError),
    ("spill_limit", 0.5, ValueError),
    ("spill_limit", False, TypeError),
    ("spill_dir", 7, TypeError),
    ("spill_dir", "", ValueError),
    ("spill_dir", sys.executable, ValueError),
    ("spill_dir", "/proc/nowhere", OSError),
]


@pytest.mark.parametrize(("option", "value", "error"), NONSENSE)
def test_nonsense_is_refused_at_once(option: str, value: Any, error: type[Exception]):
    options = {"memory_limit": "20MB", option: value}
    with pytest.raises(error) as caught:
        mars.new_session(**options)
    assert str(caught.value).find(option) >= 0
    assert repr(value).strip("'\"") in str(caught.value)


@pytest.mark.parametrize(("option", "value", "error"), NONSENSE)
def test_nonsense_in_settings_is_refused_before_anything_runs(option: str, value: Any, error: type[Exception]):
    calls: list[int] = []
    setting = f"mars.{option.replace('_', '-')}"
    with dask.config.set({"mars.memory-limit": "20MB", setting: value}):
        for use in (
            lambda: mars_scheduler({"x": (calls.append, 1)}, "x"),
            lambda: mars.new_session(default=False),
            lambda: mr.spawn(calls.append, args=(1,)).execute(),
        ):
            with pytest.raises(error) as caught:
                use()
            assert setting in str(caught.value)
            assert repr(value).strip("'\"") in str(caught.value)
    assert calls == []


@pytest.mark.parametrize(("option", "value"), [("spill_dir", "/tmp"), ("spill_limit", 0)])
def test_where_to_move_results_is_nothing_without_a_limit(option: str, value: Any):
    with pytest.raises(ValueError, match=f"{option} .* memory_limit"):
        mars.new_session(**{option: value})


# -- Which one counts ------------------------------------------------------------------------------------------------


def test_session_with_a_limit_wins_over_the_setting():
    with dask.config.set({"mars.memory-limit": "30MB"}):
        with mars.new_session(memory_limit="20MB"):
            assert limit_of_a_compute() == 20 * MB
        assert limit_of_a_compute() == 30 * MB


def test_setting_counts_in_a_session_without_a_limit():
    with mars.new_session(), dask.config.set({"mars.memory-limit": "30MB"}):
        assert limit_of_a_compute() == 30 * MB


def test_innermost_session_counts():
    with mars.new_session(memory_limit="20MB", default=False):
        with mars.new_session(memory_limit="30MB", default=False):
            assert limit_of_a_compute() == 30 * MB
        assert limit_of_a_compute() == 20 * MB
    assert limit_of_a_compute() is None


def test_stopped_session_limits_nothing():
    session = mars.new_session(memory_limit="20MB")
    assert limit_of_a_compute() == 20 * MB
    session.stop()
    assert limit_of_a_compute() is None


def test_computes_under_the_same_setting_share_one_limit():
    seen = set()
    for _ in range(3):
        with dask.config.set({"mars.memory-limit": "30MB"}):
            seen.add(id(current_memory()))
    assert len(seen) == 1


def test_limit_of_an_objects_session_counts_inside_of_it():
    """A task that computes does so under the limit of the session that runs it."""
    with mars.new_session(memory_limit="20MB", default=False):
        assert mr.spawn(limit_of_a_compute).execute().fetch() == 20 * MB


# -- Without one -----------------------------------------------------------------------------------------------------


def test_without_a_limit_there_is_no_memory_to_tell_of():
    with mars.new_session() as session:
        assert session.memory is None
        assert "memory_limit" not in repr(session)


def test_limit_is_told_in_the_representation():
    with mars.new_session(memory_limit="20MB") as session:
        assert "memory_limit=20.00 MB" in repr(session)


def test_without_a_limit_nothing_is_measured():
    """What measures and what pickles results is not even imported."""
    source = """
    import mars, mars.remote as mr
    import dask.array as da
    from mars.contrib.dask import mars_scheduler
    assert da.ones((500, 500), chunks=100).rechunk((500, 10)).sum().compute(scheduler=mars_scheduler) == 250_000
    assert mr.spawn(bytes, args=(100_000,)).execute().fetch() == bytes(100_000)
    say(*[name for name in sys.modules if name.startswith(("mars._sizes", "mars._pickles"))])
    with mars.new_session(memory_limit="20MB"):
        da.ones((500, 500), chunks=100).sum().compute(scheduler=mars_scheduler)
    say("mars._sizes" in sys.modules)
    """
    assert run_well(source) == ["", "True"]
