"""`run_script`: what it takes, when it runs, and what comes of it."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support import SOON, add, inc, script

import mars.remote as mr
from mars.remote import _run_script
from mars.remote._run_script import ScriptError, run_script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs process groups")


def source_file(tmp_path: Path, source: str) -> Path:
    path = tmp_path / "own script.py"
    path.write_text(source)
    return path


# Arguments.

BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "script of another type": ({"script": 5}, TypeError, "script must be a path or a file, not int"),
    "script that reads as something else": (
        {"script": type("Odd", (), {"read": lambda self: ["pass"]})()},
        TypeError,
        "script must have text or bytes, but its read() returned list",
    ),
    "script that is not there": ({"script": "missing.py"}, FileNotFoundError, "'missing.py'"),
    "script that is a folder": ({"script": os.sep}, IsADirectoryError, f"'{os.sep}'"),
    "data that are no dict": ({"data": [1]}, TypeError, "data must be a dict of values by name, not list"),
    "data with a name that is no text": ({"data": {1: 2}}, TypeError, "data must have names that are str, not 1"),
    "data with a name that is no name": ({"data": {"a b": 2}}, ValueError, "data has 'a b', which cannot be"),
    "data with a name that is a keyword": ({"data": {"class": 2}}, ValueError, "data has 'class', which cannot be"),
    "no workers": ({"n_workers": 0}, ValueError, "n_workers must be at least 1, not 0"),
    "half a worker": ({"n_workers": 0.5}, TypeError, "n_workers must be a whole number of at least 1, not 0.5"),
    "one argument alone": ({"command_argv": "-v"}, TypeError, "command_argv must be a list of str, not '-v'"),
    "numbers as arguments": ({"command_argv": ["-n", 1]}, TypeError, "command_argv must be a list of str"),
    "run_kwargs that are no dict": ({"run_kwargs": ["x"]}, TypeError, "run_kwargs must be a dict, not list"),
}


@pytest.mark.parametrize("case", BAD)
def test_argument_that_makes_no_sense_is_refused_before_anything_runs(case: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_run_script, "run_gang", None)
    arguments, kind, message = BAD[case]
    with pytest.raises(kind) as raised:
        run_script(**{"script": io.StringIO("pass"), **arguments})
    assert message in str(raised.value)


# Running.


def test_script_has_run_when_the_call_returns(tmp_path: Path):
    done = mr.run_script(
        source_file(tmp_path, "import pathlib; pathlib.Path(target).write_text(__name__)"),
        data={"target": str(tmp_path / "target")},
    )
    assert (tmp_path / "target").read_text() == "__main__"
    assert done.fetch() == {"status": "ok"}


@pytest.mark.parametrize("kind", ["str", "path", "text", "bytes", "open file"])
def test_script_may_be_a_path_or_a_file(kind: str, tmp_path: Path):
    """It knows its path if there is one."""
    source = "import sys; print(sys.argv, globals().get('__file__'), file=open(target, 'w'))"
    path = source_file(tmp_path, source)
    target = tmp_path / "target"
    arguments = {"data": {"target": str(target)}, "command_argv": ("-v", "x y")}
    if kind == "open file":
        with open(path, "rb") as file:
            mr.run_script(file, **arguments)
    else:
        scripts = {"str": str(path), "path": path, "text": io.StringIO(source), "bytes": io.BytesIO(source.encode())}
        mr.run_script(scripts[kind], **arguments)
    name = str(path) if kind in ("str", "path") else "script"
    known = None if kind in ("text", "bytes") else str(path)
    assert target.read_text() == f"{[name, '-v', 'x y']} {known}\n"


def test_objects_in_the_data_come_as_their_values():
    one = mr.spawn(inc, (0,))
    data = {"x": mr.spawn(add, (one, 2)), "nested": {"y": [one, mr.spawn(inc, (one,))]}}
    mr.run_script(io.StringIO("assert (x, nested) == (3, {'y': [1, 2]})"), data=data, n_workers=2)


def test_arrays_in_the_data():
    numpy = pytest.importorskip("numpy")
    data = {"x": numpy.arange(10), "y": mr.spawn(numpy.ones, (5,))}
    mr.run_script(io.StringIO("assert (x.sum(), y.sum()) == (45, 5)"), data=data)


def test_collections_in_the_data_come_as_their_values():
    dask = pytest.importorskip("dask")
    mr.run_script(io.StringIO("assert x == 3"), data={"x": dask.delayed(add)(1, 2)})


def test_script_has_the_default_session_of_its_process():
    mr.run_script(io.StringIO("import mars\nassert session is not None and session is mars.get_default_session()"))


def test_script_that_needs_no_session_imports_no_mars():
    mr.run_script(io.StringIO("import sys\nassert not [name for name in sys.modules if name.split('.')[0] == 'mars']"))


def test_session_and_keywords_reach_execute(monkeypatch: pytest.MonkeyPatch):
    """Whatever they are; and the result is that of ``execute``."""
    calls: list[Any] = []

    class Task:
        def execute(self, **keywords: Any) -> str:
            calls.append(keywords)
            return "executed"

    def spawn(function: Any, **keywords: Any) -> Task:
        calls.append(keywords["retry_when_fail"])
        return Task()

    monkeypatch.setattr(_run_script, "spawn", spawn)
    arguments = {"session": "mine", "retry_when_fail": True, "run_kwargs": {"option": 1}}
    assert run_script(io.StringIO("pass"), **arguments) == "executed"
    assert calls == [True, {"session": "mine", "option": 1}]


def test_output_is_in_the_log(capsys: pytest.CaptureFixture[str]):
    source = "import os, sys\nprint('out', os.environ['RANK'])\nprint('err', file=sys.stderr)"
    done = mr.run_script(io.StringIO(source), n_workers=2)
    assert sorted(done.fetch_log().splitlines()) == ["[0] err", "[0] out 0", "[1] err", "[1] out 1"]
    assert sorted(capsys.readouterr().out.splitlines()) == ["[0] out 0", "[1] out 1"]


@pytest.mark.parametrize("n_workers", [1, 3])
def test_failure_reaches_the_caller(n_workers: int):
    source = "import os\nprint('so far')\nif os.environ['RANK'] == '0':\n    raise ValueError('enough')"
    with pytest.raises(ScriptError) as raised:
        mr.run_script(io.StringIO(source), n_workers=n_workers)
    error = raised.value
    assert (error.rank, error.returncode, error.output) == (0, 1, "so far\n")
    assert f"rank 0 of {n_workers}" in str(error)
    assert "\n    raise ValueError('enough')\n" in str(error)


@pytest.mark.parametrize("retry", [True, False])
def test_failed_script_is_run_again_if_asked_to(retry: bool, tmp_path: Path):
    """In all its processes."""
    source = """
import os, pathlib, time
runs = pathlib.Path(folder, os.environ["RANK"])
with runs.open("a") as file:
    file.write(".")
deadline = time.monotonic() + 15
while len(list(pathlib.Path(folder).iterdir())) < 2:  # until both have begun
    assert time.monotonic() < deadline
    time.sleep(0.01)
assert os.environ["RANK"] == "0" or len(runs.read_text()) > 1
"""
    arguments = {"data": {"folder": str(tmp_path)}, "n_workers": 2, "retry_when_fail": retry}
    if retry:
        mr.run_script(io.StringIO(source), **arguments)
    else:
        with pytest.raises(ScriptError):
            mr.run_script(io.StringIO(source), **arguments)
    assert [(tmp_path / rank).read_text() for rank in "01"] == (["..", ".."] if retry else [".", "."])


def test_data_that_cannot_be_pickled_are_named():
    with pytest.raises(TypeError, match=r"data\['lock'\], of type lock, cannot be pickled"):
        mr.run_script(io.StringIO("pass"), data={"lock": threading.Lock()})


def test_script_may_run_scripts(tmp_path: Path):
    source = """
import io, mars.remote as mr
inner = "open(target, 'a').write('.')"
mr.run_script(io.StringIO(inner), data={"target": target}, n_workers=2)
"""
    mr.run_script(io.StringIO(source), data={"target": str(tmp_path / "target")})
    assert (tmp_path / "target").read_text() == ".."


def test_ctrl_c_ends_the_script():
    """The thread that waits for the processes sees that its run was stopped."""
    program = """
import io
import mars.remote as mr
source = '''
import os, socket, threading
meeting = socket.create_connection(("127.0.0.1", port), timeout=60)
meeting.sendall(b"!")
threading.Event().wait(3600)
'''
try:
    mr.run_script(io.StringIO(source), data={"port": int(sys.argv[1])}, n_workers=2)
except KeyboardInterrupt:
    say("raised")
hang()
"""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        script(program, str(server.getsockname()[1])) as running,
    ):
        server.settimeout(SOON)
        processes = [server.accept()[0] for _ in range(2)]
        for process in processes:
            process.settimeout(SOON)
            assert process.recv(1) == b"!"
        running.interrupt()
        running.read_until("raised")
        for process in processes:
            with process:
                assert process.recv(1) == b""


def test_system_without_process_groups_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "killpg")
    ran: list[int] = []
    with pytest.raises(RuntimeError, match="process groups"):
        mr.run_script(io.StringIO("pass"), data={"x": mr.spawn(ran.append, args=(1,))})
    assert ran == []
