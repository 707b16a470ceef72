"""`show_versions` tells what a report needs, anywhere, and no secrets."""

from __future__ import annotations

import getpass
import io
import json
import platform
import re
import sys
import sysconfig
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dask
import dask.system
import pytest
from support import WITHIN, inc, run_well

import mars
import mars.remote as mr
from mars import _limits, _mars, _versions
from mars.contrib.dask import mars_scheduler


def shown() -> str:
    text = io.StringIO()
    mars.show_versions(text)
    return text.getvalue()


def report() -> dict[str, dict[str, str]]:
    """By title and name, what is told."""
    parts: dict[str, dict[str, str]] = {}
    for block in shown().rstrip().split("\n\n"):
        lines = block.splitlines()
        title = "" if not parts else lines.pop(0)
        if lines == ["none"]:
            lines = []
        parts[title] = dict(re.split("  +", line, maxsplit=1) for line in lines)  # type: ignore[misc]
    return parts


def test_it_goes_to_standard_output(capsys: pytest.CaptureFixture[str]):
    assert mars.show_versions() is None  # type: ignore[func-returns-value]
    printed, errors = capsys.readouterr()
    assert printed.startswith(f"dask-on-mars  {mars.__version__}, ")
    assert errors == ""


def test_the_machine_and_the_interpreter_are_told():
    told = report()[""]
    assert platform.python_version() in told["Python"]
    assert platform.machine() in told["system"]
    assert told["processors"].startswith(f"{dask.system.CPU_COUNT} of ")
    assert told["memory"].startswith(_limits.format_bytes(_limits._physical_memory()))
    assert told["runs"].startswith("as a script")


def test_the_build_is_told():
    build = _mars.build_info()
    assert build.keys() == {"profile", "rust", "target"}
    assert build["profile"] in ("release", "debug")
    assert build["rust"].startswith("rustc 1.")
    assert platform.machine() in build["target"]
    assert all(value in report()[""]["dask-on-mars"] for value in build.values())


@pytest.mark.skipif(not hasattr(sys, "_is_gil_enabled"), reason="there is always a GIL")
def test_the_gil_is_told():
    shown = report()[""]["Python"]
    assert ("free-threaded" in shown) == bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    if "free-threaded" in shown:
        assert shown.endswith("GIL on" if sys._is_gil_enabled() else "GIL off")


def test_a_container_with_less_memory_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_limits, "_group_limits", lambda: iter([512 * 10**6]))
    assert report()[""]["memory"].endswith(", this process may use 512.00 MB")


def test_packages_are_told_with_their_versions():
    told = report()["packages"]
    assert told["dask"] == dask.__version__
    assert list(told) == list(_versions._PACKAGES)
    for name, shown in told.items():
        try:
            assert shown == version(name)
        except PackageNotFoundError:
            assert shown == "not installed"


def test_packages_are_not_imported():
    heavy = ["numpy", "pandas", "pyarrow", "distributed", "bokeh", "sklearn", "scipy", "xarray", "zarr", "tqdm"]
    script = f"""
import io, mars
before = threading.active_count()
mars.show_versions(io.StringIO())
say([name for name in {heavy!r} if name in sys.modules], threading.active_count() - before)
"""
    assert run_well(script) == ["[] 0"]


def test_damaged_metadata_are_told_as_unknown(monkeypatch: pytest.MonkeyPatch):
    def damaged(name: str) -> None:
        if name == "dask":
            raise OSError("no metadata")
        raise PackageNotFoundError

    monkeypatch.setattr("importlib.metadata.version", damaged)
    told = report()["packages"]
    assert told["dask"] == "unknown"
    assert set(told.values()) == {"unknown", "not installed"}


def test_settings_are_told_with_where_they_are_from(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DASK_MARS__RETRIES", "7")
    with dask.config.set({"mars.n-workers": 3, "mars.retries": 7, "mars.nested": {"some_thing": None}}):
        told = report()["settings"]
    assert told == {
        "mars.n-workers": "3 (dask.config)",
        "mars.retries": "7 (environment)",
        "mars.nested.some-thing": "None (dask.config)",
    }
    assert report()["settings"] == {}


def test_other_settings_and_the_environment_are_not_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-in-environment")
    with dask.config.set({"gateway.auth.password": "hidden-in-configuration"}):
        assert "hidden" not in shown()


def test_home_directories_and_users_are_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/homes/somebody")
    monkeypatch.setattr(getpass, "getuser", lambda: "somebody")
    paths = {
        "a": "/homes/somebody",
        "b": "/homes/somebody/spill",
        "c": "/scratch/somebody/x",
        "d": "/homes/somebody2/x",
    }
    with dask.config.set({"mars": paths}):
        told = report()["settings"]
    assert [value.split()[0] for value in told.values()] == [
        "'~'",
        "'~/spill'",
        "'/scratch/<user>/x'",
        "'/homes/somebody2/x'",
    ]


@pytest.mark.parametrize("home", ["/", ""])
def test_a_user_without_home_or_name_is_told_as_well(monkeypatch: pytest.MonkeyPatch, home: str):
    def nobody() -> None:
        raise OSError("no such user")

    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(getpass, "getuser", nobody)
    with dask.config.set({"mars.spill-dir": "/scratch/x"}):
        assert report()["settings"]["mars.spill-dir"] == "'/scratch/x' (dask.config)"


def test_settings_that_make_no_sense_are_told(monkeypatch: pytest.MonkeyPatch):
    class Odd:
        def __repr__(self) -> str:
            raise ValueError("cannot be shown")

    with mars.new_session(), dask.config.set({"mars.n-workers": "many"}):
        assert "'many'" in shown()
    with dask.config.set({"mars": ["not", "a", "mapping"]}):
        assert "cannot be told" in shown()
    with dask.config.set({"mars.memory-limit": Odd()}):
        assert "cannot be told  ValueError: cannot be shown" in shown()


def test_the_session_is_told_and_none_is_made():
    mars.stop_server()
    assert report()["now"]["session"] == "none"
    assert mars.session._default.session is None
    with mars.new_session(n_workers=3, memory_limit="2 MiB", default=False) as session:
        told = report()["now"]
        assert told["session"] == repr(session)
        assert "2.10 MB" in told["memory"]
    mars_scheduler({"a": (inc, 1), "b": (inc, 1)}, ["a", "b"], num_workers=2)
    assert report()["now"]["worker threads"] == str(_mars.pool_size()) != "0"


def test_tasks_and_threads_may_ask():
    parts: list[Any] = []
    thread = threading.Thread(target=lambda: parts.append(report()))
    thread.start()
    thread.join(WITHIN)
    parts.append(mars_scheduler({"a": (report,)}, "a"))
    with mars.new_session(n_workers=1, default=False) as session:
        parts.append(mr.spawn(report).execute(session=session).fetch())
        log = mr.spawn(mars.show_versions)
        log.execute(session=session)
        printed = log.fetch_log()
        assert printed.startswith("dask-on-mars")
        assert session.session_id[:8] in printed
    assert [part[""] for part in parts] == [report()[""]] * 3


def test_it_works_without_dask():
    script = """
import json
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "dask":
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
os.environ["DASK_MARS__N_WORKERS"] = "3"
os.environ["DASK_OTHER__PASSWORD"] = "hidden"
import io, mars
text = io.StringIO()
mars.show_versions(text)
print(json.dumps(text.getvalue()))
"""
    (line,) = run_well(script)
    text = json.loads(line)
    assert "mars.n-workers  3 (environment)" in text
    assert "hidden" not in text
    assert "cannot be told" not in text


def test_an_installation_of_dask_that_is_broken_is_told(tmp_path: Path):
    (tmp_path / "dask.py").write_text("raise SyntaxError('broken')", encoding="utf-8")
    script = "sys.path.insert(0, sys.argv[1])\nimport mars\nmars.show_versions()"
    said = run_well(script, str(tmp_path))
    assert "cannot be told  SyntaxError: broken" in said
    assert said[0].startswith("dask-on-mars")
