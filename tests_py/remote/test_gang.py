"""The processes of a script: what they find, what comes back from them, and that none is left."""

from __future__ import annotations

import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import SOON, run_well, script

from mars.remote import _gang
from mars.remote._gang import ScriptError, run_gang

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs process groups")

# As for Ctrl-C in a computation.
AT_ONCE = 1.2

# A script that starts with this reports at a `Meeting`; its connection lasts for as long as it lives.
COME = """\
import os, socket, subprocess, sys, threading, time
meeting = socket.create_connection(("127.0.0.1", port), timeout=60)
meeting.sendall(os.environ["RANK"].encode())
def hang():
    threading.Event().wait(3600)
"""

# So does a process that a script starts with this; its `RANK` is 1.
START_COMPANION = f"""
import os, subprocess, sys
source = f"port = {{port}}\\n" + {COME!r} + "hang()"
companion = subprocess.Popen([sys.executable, "-c", source], env={{**os.environ, "RANK": "1"}})
"""


class Meeting:
    """Where processes report: proof that they run, and of their end."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(SOON)
        self.port = self._server.getsockname()[1]
        self.connections: dict[int, socket.socket] = {}

    def wait_for(self, processes: int) -> None:
        """Wait until so many more have come."""
        for _ in range(processes):
            connection, _ = self._server.accept()
            connection.settimeout(SOON)
            rank = int(connection.recv(1))
            assert rank not in self.connections
            self.connections[rank] = connection

    def release(self) -> None:
        """Let those go on that wait for a word."""
        for connection in self.connections.values():
            connection.sendall(b"go")

    def all_ended(self) -> bool:
        """Whether all that came have ended, or do so soon."""
        for connection in self.connections.values():
            try:
                if connection.recv(10):
                    return False
            except ConnectionResetError:
                continue
            except TimeoutError:
                return False
        return True

    def close(self) -> None:
        for connection in (self._server, *self.connections.values()):
            connection.close()


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    meeting = Meeting()
    yield meeting
    meeting.close()


def gang(source: str | bytes, size: int = 1, *argv: str, cancelled: Any = lambda: False, **data: Any) -> None:
    run_gang(_gang.Script(source, "script"), data, argv, size, cancelled)


def gang_of_file(path: Path, source: str, size: int = 1, **data: Any) -> None:
    path.write_text(source)
    run_gang(_gang.Script(source, path.name, str(path)), data, [], size)


def failure(source: str | bytes, size: int = 1, **data: Any) -> ScriptError:
    with pytest.raises(ScriptError) as raised:
        gang(source, size, **data)
    return raised.value


# What a script finds.


def test_data_are_globals_of_the_script():
    gang("assert (x, y[0], f(-3)) == (1, 'a', 3)", x=1, y=["a"], f=abs)


def test_data_may_be_arrays():
    numpy = pytest.importorskip("numpy")
    gang(
        "assert x.sum() == 499_999_500_000 and x is y\nx[0] = 1",
        2,
        **dict.fromkeys("xy", numpy.arange(1_000_000)),
    )


def test_data_may_have_the_name_session():
    gang("assert session == 'mine'", session="mine")


def test_script_is_the_main_module(capsys: pytest.CaptureFixture[str]):
    gang(
        """
import pickle, sys
class Own: pass
assert __name__ == "__main__" and sys.modules["__main__"].__dict__ is globals()
assert type(pickle.loads(pickle.dumps(Own()))) is Own
assert "__file__" not in globals()
assert "annotations" not in globals() and (lambda: 0).__code__.co_flags & 0x1000000 == 0
print(sys.argv)
""",
        1,
        "--epochs",
        "2",
    )
    assert capsys.readouterr() == ("['script', '--epochs', '2']\n", "")


def test_script_in_a_file_knows_its_path_and_its_neighbours(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "neighbour.py").write_text("name = 'found'")
    gang_of_file(tmp_path / "own.py", "import neighbour, sys\nprint(neighbour.name, sys.argv, __file__)")
    assert capsys.readouterr() == (f"found ['own.py'] {tmp_path / 'own.py'}\n", "")


def test_script_in_a_file_may_start_processes_of_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = """
import multiprocessing
def double(x):
    return 2 * x
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [1, 2]))
"""
    gang_of_file(tmp_path / "own.py", source)
    assert capsys.readouterr() == ("[2, 4]\n", "")


@pytest.mark.parametrize("size", [1, 3])
def test_each_process_knows_its_rank(size: int, capsys: pytest.CaptureFixture[str]):
    gang("import os; print(os.environ['RANK'], os.environ['WORLD_SIZE'])", size)
    lines = [line.removeprefix(f"[{line[-3]}] ") for line in capsys.readouterr().out.splitlines()]
    assert sorted(lines) == [f"{rank} {size}" for rank in range(size)]


def test_all_processes_run_at_the_same_time(meeting: Meeting):
    """Each waits for a word that is said when all have come."""
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(gang, COME + "assert meeting.recv(2) == b'go'", 4, port=meeting.port)
        meeting.wait_for(4)
        assert not run.done()
        meeting.release()
        run.result(SOON)
    assert sorted(meeting.connections) == [0, 1, 2, 3]


def test_gangs_run_at_the_same_time(meeting: Meeting):
    with ThreadPoolExecutor(3) as pool:
        source = COME + "assert meeting.recv(2) == b'go'"
        runs = [
            pool.submit(gang, f"import os; os.environ['RANK'] = '{i}'\n" + source, port=meeting.port) for i in "012"
        ]
        meeting.wait_for(3)
        meeting.release()
        for run in runs:
            run.result(SOON)


def test_state_of_the_caller_is_untouched():
    before = dict(os.environ), list(sys.argv), os.getcwd(), list(sys.path), dict(sys.modules)["__main__"]
    gang(
        "import os, sys; os.environ['NEW'] = os.environ['RANK']; sys.argv.clear(); sys.path.clear(); os.chdir('/')",
        2,
    )
    after = dict(os.environ), list(sys.argv), os.getcwd(), list(sys.path), dict(sys.modules)["__main__"]
    assert after == before
    assert "RANK" not in os.environ


def test_environment_and_search_path_of_the_caller_reach_the_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "only_here.py").write_text("x = 5")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("GREETING", "hello")
    gang("import only_here, os; assert (only_here.x, os.environ['GREETING']) == (5, 'hello')")


def test_standard_input_is_empty():
    gang("import os, sys; assert sys.stdin.read() == '' and os.read(0, 1) == b''")


def test_flags_of_the_interpreter_reach_the_script():
    source = """
    from mars.remote._gang import Script, run_gang
    run_gang(Script("import sys; print(sys.flags.optimize, sys.flags.dont_write_bytecode)", "script"), {}, [], 1)
    """
    assert run_well(source, flags=("-OO", "-B")) == ["2 1"]


# What comes back.


def test_output_is_that_of_the_script(capsys: pytest.CaptureFixture[str]):
    gang("import sys; print('a\\n\\nb'); print('error', file=sys.stderr); print('unfinished', end='')")
    assert capsys.readouterr() == ("a\n\nb\nunfinished", "error\n")


def test_output_of_several_is_whole_lines_with_ranks(capsys: pytest.CaptureFixture[str]):
    """In the order of each process, though they are written in pieces, and the last has no end."""
    source = """
import os, sys
for i in range(300):
    sys.stdout.write(f"{i} ")
    sys.stdout.flush()
    sys.stdout.write("of\\n" + os.environ["RANK"] + "\\n")
print("end", end="")
"""
    gang(source, 3)
    lines = capsys.readouterr().out.split("\n")
    assert lines.pop() == ""
    for rank in range(3):
        own = [line.removeprefix(f"[{rank}] ") for line in lines if line.startswith(f"[{rank}] ")]
        assert own == [line for i in range(300) for line in (f"{i} of", f"{rank}")] + ["end"]


def test_output_comes_while_the_script_runs_and_from_the_calling_thread(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
):
    """The script goes on when its first line has been written."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    writers = set()

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            writers.add(threading.get_ident())
            if text == "first\n":
                meeting.wait_for(1)
                meeting.release()
            return super().write(text)

    log = Log()
    monkeypatch.setattr(sys, "stdout", log)
    gang("print('first')\n" + COME + "assert meeting.recv(2) == b'go'\nprint('second')", port=meeting.port)
    assert log.getvalue() == "first\nsecond\n"
    assert writers == {threading.get_ident()}


@pytest.mark.parametrize("size", [1, 2])
def test_huge_output_without_a_newline_comes_in_pieces(size: int, monkeypatch: pytest.MonkeyPatch):
    pieces: list[str] = []

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            pieces.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Log())
    gang("import sys\nfor i in range(40): sys.stdout.write(chr(0x20ac) * 50_000)", size)
    out = "".join(pieces)
    assert out.count("€") == size * 2_000_000
    assert max(map(len, pieces)) <= 2 * _gang.PIECE
    if size == 1:
        assert out == "€" * 2_000_000
    else:
        assert {line[:5] for line in out.splitlines()} == {"[0] €", "[1] €"}


def test_output_that_is_no_text(capsys: pytest.CaptureFixture[str]):
    gang("import os; os.write(1, b'\\xff\\xfe ok\\n'); os.write(2, b'\\xe2\\x82')")
    assert capsys.readouterr() == ("\\xff\\xfe ok\n", "\\xe2\\x82")


def test_output_that_the_caller_cannot_encode(monkeypatch: pytest.MonkeyPatch):
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    gang("print('price: 5 €')")
    assert buffer.getvalue() == b"price: 5 \\u20ac\n"


@pytest.mark.parametrize("code", ["0", "None", ""])
def test_exit_with_success_is_success(code: str):
    gang(f"import sys; sys.exit({code})")


@pytest.mark.parametrize(
    ("exit_call", "returncode"),
    [("sys.exit(3)", 3), ("sys.exit('gave up')", 1), ("os._exit(7)", 7), ("exit(True)", 1)],
)
def test_exit_with_another_code_is_failure(exit_call: str, returncode: int, capsys: pytest.CaptureFixture[str]):
    error = failure(f"import os, sys; print('so far', flush=True); {exit_call}")
    assert (error.rank, error.returncode) == (0, returncode)
    assert f"rank 0 of 1: exit code {returncode}\n" in str(error)
    assert error.output.startswith("so far\n")
    assert "Traceback" not in str(error)
    assert ("gave up" in error.output) == ("gave up" in exit_call) == ("gave up" in capsys.readouterr().err)


def test_killed_process_is_failure():
    error = failure("import os, signal; print('so far'); os.kill(os.getpid(), signal.SIGKILL)")
    assert (error.rank, error.returncode, error.output) == (0, -signal.SIGKILL, "so far\n")
    assert "killed by SIGKILL" in str(error)


FAILING = """\
# coding: utf-8
def outer(x):
    return inner(x)  # é

def inner(x):
    raise ValueError(f"not {x}")

print("so far")
outer(5)
"""

TRACEBACK = """\
Traceback (most recent call last):
  File "{name}", line 9, in <module>
    outer(5)
  File "{name}", line 3, in outer
    return inner(x)  # é
  File "{name}", line 6, in inner
    raise ValueError(f"not {{x}}")
ValueError: not 5
"""


def unmarked(text: str) -> str:
    """Without the lines of marks under parts of expressions, which differ between versions."""
    return "".join(line for line in text.splitlines(keepends=True) if line.strip("[]0123456789 ^~\n"))


@pytest.mark.parametrize("kind", ["text", "bytes", "bytes in latin-1", "file"])
def test_traceback_is_that_of_the_script(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "own.py" if kind == "file" else None
    source = FAILING if kind == "text" else FAILING.encode()
    if path:
        path.write_text(FAILING)
    if kind == "bytes in latin-1":
        source = FAILING.replace("utf-8", "latin-1").encode("latin-1")
    with pytest.raises(ScriptError) as raised:
        run_gang(_gang.Script(source, "script", str(path) if path else None), {}, [], 1)
    error = raised.value
    expected = TRACEBACK.format(name=path or "<script>")
    assert (error.rank, error.returncode, error.output) == (0, 1, "so far\n")
    assert unmarked(str(error)) == (
        f"the script failed in rank 0 of 1: exit code 1\n{expected}The end of its output:\nso far"
    )
    out, err = capsys.readouterr()
    assert (out, unmarked(err)) == ("so far\n", expected)


@pytest.mark.parametrize("size", [1, 2])
def test_traceback_begins_a_line(size: int, capsys: pytest.CaptureFixture[str]):
    failure("import os, sys\nsys.stderr.write('unfinished')\nif os.environ['RANK'] == '0': raise KeyError", size)
    prefix = "[0] " if size > 1 else ""
    assert f"{prefix}unfinished\n{prefix}Traceback" in capsys.readouterr().err


def test_traceback_has_causes():
    error = failure("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e")
    assert "ZeroDivisionError: division by zero\n\nThe above exception was" in str(error)
    assert "_script_child" not in str(error)


def test_script_that_is_no_python():
    error = failure("x = 1\nx = = 2")
    assert 'File "<script>", line 2\n    x = = 2\n' in str(error)
    assert "SyntaxError" in str(error)
    assert "Traceback" not in str(error)


@pytest.mark.parametrize(
    "definition",
    [
        "class Odd(Exception):\n    def __init__(self, a, b): self.lock = __import__('threading').Lock()",
        "class Odd(Exception):\n    def __init__(self, a, b): pass\n    def __str__(self): raise ZeroDivisionError",
        "class Odd(BaseException):\n    def __init__(self, a, b): self.args = ('\\udcff' * 1_000_000,)",
    ],
    ids=["not picklable", "not printable", "not encodable and long"],
)
def test_error_may_be_of_any_kind(definition: str):
    error = failure(f"{definition}\nraise Odd(1, 2)")
    assert "\nraise Odd" not in str(error)
    assert "\n    raise Odd(1, 2)\n" in str(error)
    assert "Odd" in str(error)
    assert len(str(error)) < 1_000_000


def test_hook_for_errors_is_called(capsys: pytest.CaptureFixture[str]):
    failure("import sys\nsys.excepthook = lambda *error: print('hooked', error[0].__name__)\n1 / 0")
    assert capsys.readouterr().out == "hooked ZeroDivisionError\n"


def test_output_of_an_error_is_its_end():
    error = failure("for i in range(100_000): print(i)\nraise ValueError")
    assert error.output.endswith("\n99998\n99999\n")
    assert len(error.output) == _gang.TAIL


def test_error_names_the_rank_that_failed():
    error = failure("import os\nassert os.environ['RANK'] != '2'", 4)
    assert error.rank == 2
    assert "rank 2 of 4" in str(error)
    assert "AssertionError" in str(error)


def test_error_can_be_pickled():
    error = failure("print('x'); raise SystemExit(4)")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is ScriptError
    assert (str(copy), copy.rank, copy.returncode, copy.output) == (str(error), 0, 4, "x\n")


def test_data_that_cannot_be_pickled_are_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(TypeError, match=r"data\['lock'\], of type lock, cannot be pickled"):
        gang("pass", 2, fine=1, lock=threading.Lock())


class Unloadable:
    def __reduce__(self) -> Any:
        return int, ("not a number",)


def test_data_that_cannot_be_unpickled_fail():
    error = failure("print('started')", x=Unloadable())
    assert "ValueError: invalid literal for int()" in str(error)
    assert error.output == ""


# The end.


def test_failing_process_ends_the_others(meeting: Meeting):
    source = COME + "if os.environ['RANK'] == '1':\n    meeting.recv(2)\n    raise ValueError('enough')\nhang()"
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(failure, source, 3, port=meeting.port)
        meeting.wait_for(3)
        meeting.connections[1].sendall(b"go")
        error = run.result(SOON)
    assert (error.rank, error.returncode) == (1, 1)
    assert "ValueError: enough" in str(error)
    assert meeting.all_ended()


@pytest.mark.parametrize(
    "how", ["signal.signal(signal.SIGTERM, signal.SIG_IGN)", "os.kill(os.getpid(), signal.SIGSTOP)"]
)
def test_process_that_will_not_end_is_killed(how: str, meeting: Meeting):
    """It does not listen, or is stopped and cannot."""
    source = f"""{COME}
import signal
if os.environ["RANK"] == "1":
    meeting.recv(2)
    sys.exit(5)
{how}
hang()
"""
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(failure, source, 2, port=meeting.port)
        meeting.wait_for(2)
        meeting.connections[1].sendall(b"go")
        assert run.result(SOON).returncode == 5
    assert meeting.all_ended()


def test_ending_processes_may_say_so(meeting: Meeting, capsys: pytest.CaptureFixture[str]):
    source = (
        COME
        + """
import signal
def end(*_):
    print("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
meeting.sendall(b"!")
if os.environ["RANK"] == "1":
    meeting.recv(2)
    sys.exit(5)
hang()
"""
    )
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(failure, source, 2, port=meeting.port)
        meeting.wait_for(2)
        assert meeting.connections[0].recv(1) == b"!"
        meeting.connections[1].sendall(b"go")
        assert run.result(SOON).rank == 1
    assert "[0] saved\n" in capsys.readouterr().out


def test_failing_process_whose_threads_go_on_is_killed(meeting: Meeting):
    error = failure(COME + "threading.Thread(target=hang).start()\nraise ValueError('enough')", port=meeting.port)
    assert (error.returncode, "ValueError: enough" in str(error)) == (1, True)
    meeting.wait_for(1)
    assert meeting.all_ended()


@pytest.mark.parametrize("how", ["pass", "sys.exit(3)"])
def test_what_a_script_has_started_ends_with_the_call(how: str, meeting: Meeting):
    """Though it has the pipes of the script, and so does not let them end."""
    with ThreadPoolExecutor(1) as pool:
        source = START_COMPANION + COME + f"meeting.recv(2)\n{how}"
        run = pool.submit(gang if how == "pass" else failure, source, port=meeting.port)
        meeting.wait_for(2)
        meeting.connections[0].sendall(b"go")
        run.result(SOON)
    assert meeting.all_ended()


@pytest.mark.parametrize("group", ["pass", "os.setpgid(0, os.getpgid(os.getppid()))"], ids=["own group", "left group"])
def test_cancelled_run_ends_all(group: str, meeting: Meeting, capsys: pytest.CaptureFixture[str]):
    """They are asked to end first; nobody reads what they say to that."""
    source = f"""{COME}
import signal
{group}
def end(*_):
    meeting.sendall(b"asked")
    print("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
meeting.sendall(b"!")
hang()
"""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(gang, source, 3, cancelled=stop.is_set, port=meeting.port)
        meeting.wait_for(3)
        for connection in meeting.connections.values():
            assert connection.recv(1) == b"!"
        began = time.monotonic()
        stop.set()
        with pytest.raises(CancelledError):
            run.result(SOON)
        assert time.monotonic() - began < AT_ONCE
    for connection in meeting.connections.values():
        assert connection.recv(5) == b"asked"
    assert meeting.all_ended()
    assert capsys.readouterr() == ("", "")


def test_run_that_prints_all_the_time_can_be_cancelled(monkeypatch: pytest.MonkeyPatch):
    printing: set[str] = set()

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            printing.add(text[:4])
            return len(text)

    monkeypatch.setattr(sys, "stdout", Log())
    with pytest.raises(CancelledError):
        gang("while True: print('x' * 1000)", 2, cancelled=lambda: printing >= {"[0] ", "[1] "})


def test_cancelled_before_it_begins(meeting: Meeting):
    with pytest.raises(CancelledError):
        gang("hang()", cancelled=lambda: True)


def test_cancelled_while_the_data_are_on_their_way():
    """The script never reads them, so that they fill the pipe."""
    answers = iter([False, True])
    with pytest.raises(CancelledError):
        gang("pass", cancelled=lambda: next(answers), x=Sleeper(), y=bytes(10_000_000))


class Sleeper:
    def __reduce__(self) -> Any:
        return time.sleep, (3600,)


def test_error_while_printing_kills_all(meeting: Meeting, monkeypatch: pytest.MonkeyPatch):
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            meeting.wait_for(2)
            raise OSError("no space left")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="no space left"):
        gang(COME + "print(1)\nhang()", 2, port=meeting.port)
    assert meeting.all_ended()


def test_process_that_cannot_start_leaves_none(meeting: Meeting, monkeypatch: pytest.MonkeyPatch):
    """The second one fails; the first was waiting for the data."""
    start = subprocess.Popen
    started: list[subprocess.Popen[bytes]] = []

    def fail_later(*args: Any, **kwargs: Any) -> Any:
        if started:
            raise BlockingIOError("too many processes")
        started.append(start(*args, **kwargs))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", fail_later)
    with pytest.raises(BlockingIOError, match="too many processes"):
        gang("hang()", 2)
    assert started[0].returncode is not None


# A program with a gang, which is spoken to from outside.
PROGRAM = f"""
from mars.remote._gang import Script, run_gang
source = {COME!r} + "hang()"
def work(source=source, size=2):
    run_gang(Script(source, "script"), {{"port": int(sys.argv[1])}}, [], size)
"""


def test_ctrl_c_kills_all(meeting: Meeting):
    source = """
try:
    work()
except KeyboardInterrupt:
    say("raised", time.monotonic())
sys.exit(7)
"""
    with script(PROGRAM + source, str(meeting.port)) as running:
        meeting.wait_for(2)
        sent = running.interrupt()
        assert float(running.read_until("raised").split()[1]) - sent < AT_ONCE
        assert running.finish() == (7, "")
    assert meeting.all_ended()


def test_ctrl_c_in_a_terminal_does_not_reach_the_script(meeting: Meeting):
    """It goes to the whole process group there."""
    with script(
        "os.setpgrp()" + PROGRAM + "signal.signal(signal.SIGINT, lambda *_: say('got'))\nwork()", str(meeting.port)
    ) as running:
        meeting.wait_for(2)
        os.killpg(running.process.pid, signal.SIGINT)
        running.read_until("got")
        running.process.send_signal(signal.SIGTERM)
        assert running.finish() == (-signal.SIGTERM, "")
    assert meeting.all_ended()


@pytest.mark.parametrize("busy", ["hang()", "while True: pass", "while True: print('x' * 1000)"])
def test_killed_parent_takes_all_with_it(busy: str, meeting: Meeting):
    with script(PROGRAM + f"work({COME + busy!r})", str(meeting.port)) as running:
        meeting.wait_for(2)
        running.process.kill()
        assert meeting.all_ended()


def test_killed_parent_takes_what_the_script_has_started(meeting: Meeting):
    with script(PROGRAM + f"work({START_COMPANION!r} + source, 1)", str(meeting.port)) as running:
        meeting.wait_for(2)
        running.process.kill()
        assert meeting.all_ended()


# It goes on when it gets a signal.
WAITING = """
may_go = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: may_go.set())
released = source.removesuffix("hang()") + "assert meeting.recv(2) == b'go'"
thread = threading.Thread(target=work, args=(released,), daemon=len(sys.argv) > 2)
thread.start()
may_go.wait()
"""


def test_exit_of_the_interpreter_ends_what_a_daemon_waits_for(meeting: Meeting):
    """Though one call keeps the interpreter lock to itself for half a minute or more."""
    waiting = WAITING.replace("assert meeting.recv(2) == b'go'", "sum(range(3_000_000_000))")
    with script(PROGRAM + waiting, str(meeting.port), "daemon") as running:
        meeting.wait_for(2)
        running.process.send_signal(signal.SIGUSR1)
        assert running.finish() == (0, "")
        assert meeting.all_ended()


def test_exit_of_the_interpreter_waits_for_a_thread_that_is_no_daemon(meeting: Meeting):
    with script(PROGRAM + WAITING + "say('exit')", str(meeting.port)) as running:
        meeting.wait_for(2)
        running.process.send_signal(signal.SIGUSR1)
        running.read_until("exit")
        meeting.release()
        assert running.finish() == (0, "")


def test_exit_of_a_forked_process_leaves_the_gang_of_its_parent(meeting: Meeting):
    source = """
import warnings
warnings.simplefilter("ignore")  # of any fork in a process with threads
pid = os.fork()
if pid == 0:
    sys.exit(3)
say("forked", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
thread.join()
"""
    with script(PROGRAM + WAITING + source, str(meeting.port)) as running:
        meeting.wait_for(2)
        running.process.send_signal(signal.SIGUSR1)
        assert running.read_until("forked") == "forked 3"
        meeting.release()
        assert running.finish() == (0, "")


# A forked process, whose `RANK` is 2, has copies of all that its parent has open. It ends when it is told.
FORK_A_HOLDER = f"""
import warnings
warnings.simplefilter("ignore")  # of any fork in a process with threads
if os.fork() == 0:
    os.environ["RANK"] = "2"
    port = int(sys.argv[1])
    exec({COME + "meeting.recv(2)"!r})
    os._exit(0)
"""


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_all_end_though_a_forked_process_holds_the_pipes(how: str, meeting: Meeting):
    then = "sys.exit()" if how == "exit" else "hang()"
    with script(PROGRAM + WAITING + FORK_A_HOLDER + then, str(meeting.port), "daemon") as running:
        meeting.wait_for(2)
        running.process.send_signal(signal.SIGUSR1)
        meeting.wait_for(1)
        if how == "kill":
            running.process.kill()
        assert running.process.wait(SOON) == (0 if how == "exit" else -signal.SIGKILL)
        with meeting.connections.pop(2) as holder:
            assert meeting.all_ended()
            holder.sendall(b"go")
            assert holder.recv(1) == b""


def test_nothing_is_left_of_many_gangs():
    source = """
    import io
    from mars.remote._gang import Script, ScriptError, _living, run_gang
    def descriptors():
        return sorted(os.listdir("/proc/self/fd"))
    def work():
        run_gang(Script("pass", "script"), {}, [], 2)
        try:
            run_gang(Script("1 / 0", "script"), {}, [], 2)
        except ScriptError:
            pass
    sys.stderr, stderr = io.StringIO(), sys.stderr
    work()
    before = descriptors()
    for _ in range(5):
        work()
    sys.stderr = stderr
    assert descriptors() == before
    assert threading.active_count() == 1
    assert not _living
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        say("none")
    """
    assert run_well(source, flags=("-W", "error")) == ["none"]
