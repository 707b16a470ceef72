"""The processes of a script: start them all, pass on what they print, and let none outlive the call.

One thread does it all, the calling one: it waits for the pipes of every process at once, so that what they
print is written by the thread that the caller's log belongs to, and no thread can be left behind.

What always holds:

- Each process leads a process group of its own. Ctrl-C in a terminal does not reach it, and what it starts can be
  ended with it.
- A process is not reaped before its group has been killed, so that no other process can have its number meanwhile.
- Each process holds on to a pipe that this process never closes before the end, and ends when the pipe does, or when
  it has another parent (`_script_child`).
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import importlib
import os
import pickle
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

__all__ = ["Script", "ScriptError", "check_system", "run_gang"]

# Seconds between two looks at whether the run was stopped.
POLL = 0.1
# Seconds that a process has to end, once it was asked to.
GRACE = 1.0
# Bytes that are read or written at once, and characters after which a line is passed on unfinished.
PIECE = 1 << 16
# Pieces that are read from a process that has ended: more than any pipe holds. What it started may print on.
LAST_PIECES = 16
# Characters of its output that the error of a process shows.
TAIL = 8_000

_CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_script_child.py")


class ScriptError(RuntimeError):
    """A process of a script has failed.

    Attributes
    ----------
    rank : int
        Which of the processes.
    returncode : int
        Its exit code; the negative number of the signal that killed it.
    output : str
        The end of what it printed, to standard output and standard error.
    """

    # All but the message have defaults: that is how exceptions are unpickled.
    def __init__(self, message: str, rank: int = 0, returncode: int = 1, output: str = "") -> None:
        super().__init__(message)
        self.rank = rank
        self.returncode = returncode
        self.output = output


@dataclass(frozen=True)
class Script:
    """What is to be run.

    Parameters
    ----------
    source
        The code; bytes may say their encoding, as in a file.
    name
        Its ``sys.argv[0]``.
    path
        Where it came from, absolute; None if it is in no file.
    """

    source: str | bytes
    name: str
    path: str | None = None


def check_system() -> None:
    """Refuse where scripts cannot be run.

    Raises
    ------
    RuntimeError
        The system has no process groups, or there is no Python to start.
    """
    if not hasattr(os, "killpg"):
        raise RuntimeError("run_script needs process groups, which this system does not have")
    if not sys.executable:
        raise RuntimeError("scripts need a Python to run them, and sys.executable does not name one")


def run_gang(
    script: Script,
    data: Mapping[str, Any],
    argv: Sequence[str],
    size: int,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Run a script in `size` processes at the same time, and wait for them all.

    Parameters
    ----------
    script
        What they run.
    data
        Globals of the script, by name.
    argv
        The script's arguments, without its own name.
    size
        How many processes; each has its number in the environment as ``RANK``,
        and `size` as ``WORLD_SIZE``.
    cancelled
        Asked again and again: whether to give up.

    Raises
    ------
    ScriptError
        A process has failed; the others were ended.
    TypeError
        Some of the data cannot be pickled; nothing was started.
    concurrent.futures.CancelledError
        `cancelled` said so; all processes were ended.
    """
    check_system()
    filename = script.path or f"<{script.name}>"
    search = [path for path in sys.path if isinstance(path, str)]
    head = (search, [script.name, *argv], filename, script.path, script.source)
    payload = [pickle.dumps(head, protocol=5), _pickled(data)]
    _Gang(size, cancelled).run(payload)


def _pickled(data: Mapping[str, Any]) -> bytes:
    """All variables in one pickle, so that what two of them share stays shared."""
    dumps = pickle.dumps
    with contextlib.suppress(ModuleNotFoundError):  # it also pickles lambdas, and classes of `__main__`
        dumps = importlib.import_module("cloudpickle").dumps
    try:
        return dumps(dict(data), protocol=5)
    except Exception:
        for name, value in data.items():
            try:
                dumps(value, protocol=5)
            except Exception as error:
                kind = type(value).__qualname__
                raise TypeError(f"data[{name!r}], of type {kind}, cannot be pickled for the script: {error}") from error
        raise


class _Gang:
    """Processes that start, run and end together."""

    def __init__(self, size: int, cancelled: Callable[[], bool]) -> None:
        self._size = size
        self._cancelled = cancelled
        self._owner = os.getpid()
        self._members: list[_Member] = []
        self._printers = {name: _Printer(name, prefixed=size > 1) for name in ("stdout", "stderr")}
        self._selector = selectors.DefaultSelector()

    def run(self, payload: list[bytes]) -> None:
        """Start everything, wait for everything, and leave nothing."""
        _living.add(self)
        try:
            for rank in range(self._size):
                member = _Member(rank, self._size, payload, self._selector, self._printers)
                self._members.append(member)
                member.listen()
            payload.clear()  # what is sent need not be kept until the end
            self._watch()
        except ScriptError:
            raise
        except BaseException:
            # Nobody reads on, and it may have been printing that failed.
            for printer in self._printers.values():
                printer.silent = True
            self._ask_to_end(self._members)
            raise
        finally:
            self._clean_up()
            _living.discard(self)

    def _watch(self) -> None:
        """Serve the processes until all have succeeded."""
        look = 0.0
        while not all(member.ended for member in self._members):
            now = time.monotonic()
            if now >= look:
                look = now + POLL
                if self._cancelled():
                    from concurrent.futures import CancelledError

                    raise CancelledError("the run that the script belonged to was stopped")
            self._serve(look - now)
            failed = next((member for member in self._members if member.failed), None)
            if failed is not None:
                # It has its time for exit handlers, the others are asked to end.
                self._ask_to_end([member for member in self._members if member is not failed])
                self._print_the_rest()
                raise failed.error(self._size)
        self._print_the_rest()

    def _serve(self, seconds: float) -> None:
        """Wait for anything to happen, at most for so many seconds, and do what it asks for."""
        for key, _ in self._selector.select(max(0.0, seconds)):
            key.data()
        for member in self._members:
            if not member.announces_its_end:
                member.look()
        for printer in self._printers.values():
            printer.flush()

    def _ask_to_end(self, members: list[_Member]) -> None:
        """Ask these to end, and wait a moment for all to do so."""
        for member in members:
            member.signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while not all(member.ended for member in self._members):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._serve(min(left, POLL))

    def _print_the_rest(self) -> None:
        for member in self._members:
            member.print_the_rest()
        for printer in self._printers.values():
            if self._size > 1:
                printer.end_line()
            printer.flush()

    def kill(self) -> None:
        """End the processes now; may be called by any thread of the process that started them."""
        if os.getpid() == self._owner:
            for member in list(self._members):
                member.signal(signal.SIGKILL)

    def _clean_up(self) -> None:
        self.kill()
        for member in self._members:
            member.close()
        self._selector.close()


# Adding and discarding are atomic: no lock, which a fork could leave locked for ever.
_living: set[_Gang] = set()


@atexit.register
def _kill_the_living() -> None:
    """At exit, end what other threads wait for; they may never run again."""
    for gang in list(_living):
        gang.kill()


class _Member:
    """One process of a gang: the pipes to it, and what is known of its end."""

    def __init__(
        self,
        rank: int,
        size: int,
        payload: list[bytes],
        selector: selectors.BaseSelector,
        printers: dict[str, _Printer],
    ) -> None:
        self.rank = rank
        self.returncode: int | None = None
        self.announces_its_end = False
        self._selector = selector
        self._err = printers["stderr"]
        self._tail = ""
        self._report = b""
        self._pidfd: int | None = None
        self._reaping = threading.Lock()
        report, theirs = os.pipe()
        self._report_pipe = open(report, "rb", buffering=0)  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [sys.executable, *_flags(), _CHILD, str(theirs)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(size)},
                pass_fds=(theirs,),
                process_group=0,
            )
        except BaseException:
            self._report_pipe.close()
            raise
        finally:
            os.close(theirs)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdin = self._process.stdin
        self._unsent = [memoryview(part) for part in payload]
        self._outputs = [
            _Output(self._process.stdout, self._print_to(printers["stdout"])),
            _Output(self._process.stderr, self._print_to(printers["stderr"])),
        ]

    def listen(self) -> None:
        """Have the selector call back when there is something to read, to write, or the end to note."""
        for pipe in (self._stdin, self._report_pipe, *(output.pipe for output in self._outputs)):
            os.set_blocking(pipe.fileno(), False)
        self._selector.register(self._stdin, selectors.EVENT_WRITE, self._send)
        self._when_readable(self._report_pipe, self._read_report)
        for output in self._outputs:
            self._when_readable(output.pipe, output.read)
        self._pidfd = _open_pidfd(self._process.pid)
        if self._pidfd is not None:
            self._selector.register(self._pidfd, selectors.EVENT_READ, self._end)
            self.announces_its_end = True

    @property
    def ended(self) -> bool:
        return self.returncode is not None

    @property
    def failed(self) -> bool:
        """Whether it has raised or ended badly; one that has raised may take its time to end."""
        return bool(self.returncode) or self._report.endswith(b"\0")

    def error(self, size: int) -> ScriptError:
        """The error of one that has failed and had its time to end."""
        how = f"exit code {self.returncode}"
        returncode = self.returncode
        if returncode is None or (returncode == 0 and self._report):  # threads or exit handlers have kept it
            returncode, how = 1, "an exception"
        elif returncode < 0:
            how = _signal_name(-returncode)
        message = f"the script failed in rank {self.rank} of {size}: {how}"
        if self._report:
            message += f"\n\n{self._report_text()}"
        if self._tail:
            message += f"\n\nThe end of its output:\n\n{self._tail}"
        return ScriptError(message.rstrip(), self.rank, returncode, self._tail)

    def signal(self, number: int) -> None:
        """Send a signal to the process and to all that it has started."""
        with self._reaping:
            if self._process.returncode is not None:
                return
            pid = self._process.pid
            with contextlib.suppress(ProcessLookupError, PermissionError):  # all of them have ended
                os.killpg(pid, number)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getpgid(pid) != pid:  # the script has left its group
                    os.kill(pid, number)

    def look(self) -> None:
        """See whether it has ended."""
        if self.returncode is None:
            self.returncode = self._peek(os.WNOHANG)

    def print_the_rest(self) -> None:
        """Print what is still in the pipes, and the traceback."""
        reads = [self._read_report, *(output.read for output in self._outputs)]
        for read in reads:
            for _ in range(LAST_PIECES):
                if not read():
                    break
        for output in self._outputs:
            output.finish()
        if self._report:
            self._err.end_line()
            self._err.write(self.rank, self._report_text() + "\n")

    def close(self) -> None:
        """Wait for the process, which was killed, and let go of everything."""
        self._stdin.close()  # which ends it too, by its own hand
        self._peek(0)
        with self._reaping:
            self._process.wait()
        if self._pidfd is not None:
            os.close(self._pidfd)
        for pipe in (self._report_pipe, *(output.pipe for output in self._outputs)):
            pipe.close()

    def _peek(self, options: int) -> int | None:
        """The return code of the process if it has ended, without reaping it where the system can do that."""
        if not hasattr(os, "waitid"):
            with self._reaping:
                return self._process.poll() if options & os.WNOHANG else self._process.wait()
        try:
            end = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | options)
        except ChildProcessError:  # the program waits for all its children, or lets the system do so
            return self._process.wait()
        if end is None:
            return None
        return end.si_status if end.si_code == os.CLD_EXITED else -end.si_status

    def _end(self) -> None:
        self.look()
        if self.returncode is not None and self._pidfd is not None:
            self._selector.unregister(self._pidfd)

    def _send(self) -> None:
        """Write what goes through; at the end the pipe stays open, for the process ends with it."""
        try:
            sent = os.write(self._stdin.fileno(), self._unsent[0][:PIECE])
        except BlockingIOError:
            return
        except BrokenPipeError:  # it has ended, and says why elsewhere
            self._unsent.clear()
        else:
            self._unsent[0] = self._unsent[0][sent:]
            if not self._unsent[0]:
                del self._unsent[0]
        if not self._unsent:
            self._selector.unregister(self._stdin)

    def _when_readable(self, pipe: IO[bytes], read: Callable[[], bytes | None]) -> None:
        def ready() -> None:
            if read() == b"":
                self._selector.unregister(pipe)

        self._selector.register(pipe, selectors.EVENT_READ, ready)

    def _read_report(self) -> bytes | None:
        piece = _read(self._report_pipe)
        self._report += piece or b""
        return piece

    def _report_text(self) -> str:
        return self._report.decode("utf-8", "backslashreplace").rstrip("\0\n")

    def _print_to(self, printer: _Printer) -> Callable[[str], None]:
        def show(text: str) -> None:
            self._tail = (self._tail + text)[-TAIL:]
            printer.write(self.rank, text)

        return show


class _Output:
    """One output stream of a process, passed on in whole lines as far as lines are of a reasonable length."""

    def __init__(self, pipe: IO[bytes], show: Callable[[str], None]) -> None:
        self.pipe = pipe
        self._show = show
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._line = ""

    def read(self) -> bytes | None:
        """Read what there is, without waiting; None if there is nothing, and no bytes at the end of the stream."""
        data = _read(self.pipe)
        text = self._line + self._decoder.decode(data or b"")
        cut = text.rfind("\n") + 1
        if len(text) - cut >= PIECE:
            cut = len(text)
        if cut:
            self._show(text[:cut])
        self._line = text[cut:]
        return data

    def finish(self) -> None:
        """Pass on what no newline came for."""
        rest = self._line + self._decoder.decode(b"", final=True)
        self._line = ""
        if rest:
            self._show(rest)


class _Printer:
    """Writes to ``sys.stdout`` or ``sys.stderr`` of the calling thread, whatever that is at the time.

    Lines of several processes never mix: one that is not finished when another process prints is broken there.
    """

    def __init__(self, name: str, prefixed: bool) -> None:
        self.silent = False
        self._name = name
        self._prefixed = prefixed
        self._unfinished: int | None = None  # the rank whose line it is
        self._written = False

    def write(self, rank: int, text: str) -> None:
        if self._prefixed:
            if self._unfinished not in (None, rank):
                self.end_line()
            prefix = f"[{rank}] "
            begin = "" if self._unfinished == rank else prefix
            end = "\n" if text.endswith("\n") else ""
            text = begin + text.removesuffix("\n").replace("\n", f"\n{prefix}") + end
        self._unfinished = None if text.endswith("\n") else rank
        self._write(text)

    def end_line(self) -> None:
        """Finish a line that was left open."""
        if self._unfinished is not None:
            self._write("\n")
        self._unfinished = None

    def flush(self) -> None:
        stream = getattr(sys, self._name, None)
        if self._written and stream is not None and not self.silent:
            stream.flush()
        self._written = False

    def _write(self, text: str) -> None:
        stream = getattr(sys, self._name, None)
        if stream is None or self.silent:
            return
        self._written = True
        try:
            stream.write(text)
        except UnicodeEncodeError as error:
            stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))


def _flags() -> list[str]:
    """The options that this interpreter was started with."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return flags


def _read(pipe: IO[bytes]) -> bytes | None:
    """What there is, up to a piece, without waiting; None if there is nothing, and no bytes at the end."""
    try:
        return os.read(pipe.fileno(), PIECE)
    except BlockingIOError:
        return None


def _open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends, where the system has such."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _signal_name(number: int) -> str:
    try:
        return f"killed by {signal.Signals(number).name}"
    except ValueError:
        return f"killed by signal {number}"
