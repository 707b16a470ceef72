"""Settings come from Dask's configuration; nothing needs Dask until it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import dask
import pytest
from support import run_well

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler


@pytest.fixture(autouse=True)
def no_default_session() -> Iterator[None]:
    mars.stop_server()
    yield
    mars.stop_server()


class Broken(Exception):
    pass


# -- dask.config -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mars.n-workers", "mars.n_workers"])
def test_number_of_workers(name: str):
    with dask.config.set({name: 3}), mars.new_session(default=False) as session:
        assert session.n_workers == 3


def test_number_of_workers_is_that_of_the_processors_if_nothing_says_otherwise():
    with mars.new_session(default=False) as session:
        assert session.n_workers == dask.system.CPU_COUNT


def test_argument_comes_before_the_setting():
    with dask.config.set({"mars.n-workers": 3}), mars.new_session(n_workers=2, default=False) as session:
        assert session.n_workers == 2


def test_setting_counts_when_something_is_executed():
    """A session that was given no number follows the configuration."""
    with mars.new_session(default=False) as session:
        with dask.config.set({"mars.n-workers": 5}):
            assert session.n_workers == 5
        assert session.n_workers == dask.system.CPU_COUNT


def test_default_session_has_the_settings():
    with dask.config.set({"mars.n-workers": 4}):
        assert mars.get_default_session().n_workers == 4


def attempts_of(session: mars.Session) -> int:
    """How often a function that always fails is called."""
    attempts: list[int] = []

    def fail() -> None:
        attempts.append(1)
        raise Broken

    with pytest.raises(Broken):
        mr.spawn(fail, retry_when_fail=True).execute(session=session)
    return len(attempts)


def test_number_of_retries():
    with dask.config.set({"mars.retries": 5, "mars.retry-delay": 0}), mars.new_session(default=False) as session:
        assert attempts_of(session) == 6
    with dask.config.set({"mars.retries": 0}), mars.new_session(default=False) as session:
        assert attempts_of(session) == 1


def test_number_of_retries_is_three_if_nothing_says_otherwise():
    with mars.new_session(retry_delay=0, default=False) as session:
        assert attempts_of(session) == 4


def test_retries_of_the_session_come_before_the_setting():
    with dask.config.set({"mars.retries": 5}), mars.new_session(retries=1, retry_delay=0, default=False) as session:
        assert attempts_of(session) == 2


@pytest.mark.parametrize("delay", [0, 0.002])
def test_delay_of_retries_is_reported_with_each_attempt(delay: float, caplog: pytest.LogCaptureFixture):
    """The first pause is the delay, each further one twice the one before."""
    left = [True] * 3

    def fail_at_first() -> str:
        if left:
            raise Broken(left.pop())
        return "at last"

    with dask.config.set({"mars.retry-delay": delay}), mars.new_session(default=False) as session:
        assert session.execute(mr.spawn(fail_at_first, retry_when_fail=True)).fetch() == "at last"
    assert [record.args[3] for record in caplog.records] == [delay * 2**i for i in range(3)]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("n-workers", 0, ValueError),
        ("n-workers", -2, ValueError),
        ("n-workers", True, ValueError),
        ("n-workers", 1.5, TypeError),
        ("n-workers", "many", TypeError),
        ("retries", -1, ValueError),
        ("retries", "often", TypeError),
        ("retries", 1.5, TypeError),
        ("retry-delay", -1, ValueError),
        ("retry-delay", "soon", TypeError),
        ("retry-delay", float("nan"), ValueError),
    ],
    ids=repr,
)
def test_nonsense_is_refused_by_the_name_of_the_setting(name: str, value: Any, kind: type[Exception]):
    runs: list[int] = []
    with dask.config.set({f"mars.{name}": value}), pytest.raises(kind, match=rf"mars\.{name}") as caught:
        mr.spawn(lambda: runs.append(1)).execute()
    assert repr(value) in str(caught.value)
    assert runs == []
    assert mr.spawn(int).execute().fetch() == 0


@pytest.mark.parametrize(("value", "kind"), [(0, ValueError), ("many", TypeError)], ids=repr)
def test_nonsense_is_refused_by_the_name_of_the_setting_in_a_dask_graph(value: Any, kind: type[Exception]):
    with dask.config.set({"mars.n-workers": value}), pytest.raises(kind, match=r"mars\.n-workers"):
        mars_scheduler({"x": (int,)}, "x")


def test_setting_may_be_taken_back():
    """None is no value, as elsewhere in Dask's configuration."""
    with dask.config.set({"mars.n-workers": None, "mars.retries": None, "mars.retry-delay": None}):
        assert mars.get_default_session().n_workers == dask.system.CPU_COUNT


# -- The environment -------------------------------------------------------------------------------------------------

SETTINGS = """
import mars, mars.remote as mr
session = mars.get_default_session()
attempts = []
def fail():
    attempts.append(1)
    raise OSError
try:
    mr.spawn(fail, retry_when_fail=True).execute()
except OSError:
    pass
say(session.n_workers, len(attempts))
"""


def test_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DASK_MARS__N_WORKERS", "7")
    monkeypatch.setenv("DASK_MARS__RETRIES", "2")
    monkeypatch.setenv("DASK_MARS__RETRY_DELAY", "0.001")
    assert run_well("import logging; logging.disable()\n" + SETTINGS) == ["7 3"]


def test_nonsense_in_the_environment_names_the_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DASK_MARS__N_WORKERS", "many")
    (line,) = run_well(
        "import mars\ntry:\n    mars.get_default_session().n_workers\nexcept TypeError as e:\n    say(e)"
    )
    assert "mars.n-workers" in line
    assert "'many'" in line


# -- Without Dask ----------------------------------------------------------------------------------------------------

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""
WITHOUT_DASK = BLOCKER.format(blocked={"dask", "numpy", "pandas", "distributed", "toolz"})


@pytest.mark.parametrize("module", ["mars", "mars.remote", "mars.session"])
def test_import_needs_no_dask(module: str):
    assert run_well(f"{WITHOUT_DASK}import {module}\nsay('imported')") == ["imported"]


def test_functions_run_without_dask():
    script = """
import mars, mars.remote as mr
def inc(x):
    return x + 1
def outer():
    return mr.spawn(inc, args=(mr.spawn(inc, args=(1,)),)).execute().fetch()
quotient, rest = mr.spawn(divmod, args=(17, 5), n_output=2)
say(mars.execute(mr.spawn(outer), quotient, [rest, 7]).fetch())
say(mr.spawn(outer, args=()).execute(wait=False).result().fetch())
with mars.new_session(n_workers=2) as session:
    say(session.n_workers, mr.spawn(inc, args=([{"k": mr.spawn(int)}][0]["k"],)).execute().fetch())
say(mars.get_default_session().n_workers)
try:
    mr.spawn(lambda: 1 / 0).execute()
except ZeroDivisionError as error:
    say(type(error).__name__, len(error.__notes__))
"""
    processors = len(os.sched_getaffinity(0))
    assert run_well(WITHOUT_DASK + script) == ["[3, 3, [2, 7]]", "3", "2 1", str(processors), "ZeroDivisionError 1"]


def test_retries_are_made_without_dask():
    script = "import logging; logging.disable()\n" + SETTINGS.replace(
        "get_default_session()", "new_session(retry_delay=0)"
    )
    processors = len(os.sched_getaffinity(0))
    assert run_well(WITHOUT_DASK + script) == [f"{processors} 4"]


def test_converting_without_dask_says_what_to_install():
    script = "try:\n    from mars.contrib.dask import convert_dask_collection\nexcept ImportError as e:\n    say(e)"
    (line,) = run_well(WITHOUT_DASK + script)
    assert "pip install" in line
    assert "dask" in line


@pytest.mark.parametrize("statement", ["import mars", "import mars.remote", "from mars.remote import spawn"])
def test_import_brings_in_neither_dask_nor_numpy(statement: str):
    script = f"import sys\n{statement}\nsay(sorted({{'dask', 'numpy', 'pandas', 'distributed'}} & set(sys.modules)))"
    assert run_well(script) == ["[]"]


def test_running_functions_brings_in_no_numpy():
    script = """
import sys
import mars.remote as mr
assert mr.spawn(sum, args=([mr.spawn(int), 1],)).execute().fetch() == 1
say(sorted({'numpy', 'pandas', 'distributed', 'dask.array', 'dask.dataframe'} & set(sys.modules)))
"""
    assert run_well(script) == ["[]"]
