"""Progress bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mars._progress import _shared
from mars._progress._bar import newest
from mars._progress._screens import check_tqdm

if TYPE_CHECKING:
    from types import TracebackType

    from mars.remote._execution import ExecutionInfo

__all__ = ["OneExecution", "progress"]


class progress:
    """One bar over all computations that begin inside of it, in whichever thread.

    Shows how many of the tasks have finished, the remaining time at the present rate, how much of a memory limit is
    taken, and the prefixes of what runs. Computations inside of tasks count too, so that the total may grow.

    In a terminal the bar stays in its line. In a file it is a line every ten seconds, and one at the end. If something
    fails or is interrupted the bar says so, and stays where it was.

    Needs tqdm, and ipywidgets for a widget in notebooks.

    Parameters
    ----------
    desc : str, optional
        A word before the bar.
    leave : bool, default True
        Whether it stays when all has finished. What has not finished stays in any case.
    file : optional
        A stream of text. Default: standard error; in a notebook its cell.
    disable : bool, default False
        Show nothing; tqdm need not be there.
    minimum : float, default 0
        Seconds before anything is shown. What takes less is never shown.

    Raises
    ------
    ImportError
        tqdm is not installed.
    TypeError, ValueError
        An option makes no sense.

    Notes
    -----
    Where one bar is open, those that are opened meanwhile for the same `file` join it, in other threads and inside of
    tasks too. It has the looks of the first, and ends with the last of them.

    The bar never raises what goes wrong with its file: it says so once in the log ``mars``, and ends. A forked child
    shows nothing of what its parent has opened.

    `register` is that of ``dask.diagnostics.ProgressBar``, which can be used at the same time.

    Examples
    --------
    >>> import io, mars
    >>> import mars.remote as mr
    >>> file = io.StringIO()
    >>> with mars.progress("numbers", file=file):
    ...     _ = mars.execute([mr.spawn(abs, args=(x,)) for x in range(8)])
    >>> file.getvalue().split(", in ")[0]
    'numbers: 100%, 8 of 8 tasks'
    """

    def __init__(
        self,
        desc: str | None = None,
        *,
        leave: bool = True,
        file: Any = None,
        disable: bool = False,
        minimum: float = 0.0,
    ) -> None:
        if desc is not None and not isinstance(desc, str):
            raise TypeError(f"desc has to be a text, not {desc!r}")
        for name, value in (("leave", leave), ("disable", disable)):
            if not isinstance(value, bool):
                raise TypeError(f"{name} has to be True or False, not {value!r}")
        if file is not None and not callable(getattr(file, "write", None)):
            raise TypeError(f"file has to be a stream of text, not {file!r}")
        if isinstance(minimum, bool) or not isinstance(minimum, (int, float)):
            raise TypeError(f"minimum has to be a number of seconds, not {minimum!r}")
        if not 0 <= minimum < float("inf"):
            raise ValueError(f"minimum has to be a number of seconds of at least 0, not {minimum!r}")
        if not disable:
            check_tqdm("mars.progress")
        self._options = _shared.Options(desc or "", leave, file, float(minimum))
        self._disabled = disable
        self._open: list[int] = []

    def register(self) -> None:
        """Show a bar for each outermost computation from now on, as the setting ``mars.progress`` does.

        Computations that overlap share it. If several are registered, the last one counts.
        """
        _shared.register(None if self._disabled else self._options)

    def unregister(self) -> None:
        """Show no more of them.

        Raises
        ------
        ValueError
            It was not registered.
        """
        try:
            _shared.unregister(None if self._disabled else self._options)
        except ValueError:
            raise ValueError("this mars.progress was not registered") from None

    def __enter__(self) -> progress:
        if not self._disabled:
            self._open.append(_shared.join(self._options))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._open:
            _shared.leave(self._open.pop(), error)


class OneExecution:
    """The bar of ``show_progress=True``; made before the execution begins.

    Raises
    ------
    ImportError
        tqdm is not installed.
    """

    def __init__(self) -> None:
        check_tqdm("show_progress=True")
        self._after = newest()

    def until_done(self, info: ExecutionInfo) -> Any:
        """Show an execution until it has ended; its result.

        An exception in this thread, such as a KeyboardInterrupt, cancels the execution.
        """
        bar = None
        try:
            bar = _shared.alone(info, self._after)
            if bar is not None:
                bar.start()
            return info.result()
        except BaseException as error:
            info.cancel()
            if bar is not None:
                bar.failed(error)
            raise
        finally:
            if bar is not None:
                bar.end()

    def meanwhile(self, info: ExecutionInfo) -> ExecutionInfo:
        """Show an execution as long as it goes on."""
        bar = _shared.alone(info, self._after)
        if bar is not None:
            bar.start()
            info.add_done_callback(bar.end_with)
        return info
