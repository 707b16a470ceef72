"""What tells of an execution in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

from mars import _mars

if TYPE_CHECKING:
    from mars._mars import Execution

__all__ = ["ExecutionInfo"]

#: Told the error, if there was one, and whether it was cancelled.
OnEnd = Callable[[BaseException | None, bool], None]


class ExecutionInfo(Future[Any]):
    """An execution that was begun with ``wait=False``.

    A ``concurrent.futures.Future``, so that ``concurrent.futures.wait`` and ``as_completed`` take
    it, and awaitable in asyncio. Its result is what was executed: ``info.result().fetch()``.

    A thread that waits for it inside a task helps to run its tasks, so that executions may wait
    for each other to any depth.

    Examples
    --------
    >>> import mars.remote as mr
    >>> info = mr.spawn(sum, args=([1, 2, 3],)).execute(wait=False)
    >>> info.result().fetch()
    6
    >>> info.progress()
    1.0
    """

    def __init__(self, start: Callable[[OnEnd], Execution], outcome: Any) -> None:
        super().__init__()
        self._outcome = outcome
        self._counts: tuple[int, int] | None = None
        self._execution: Execution | None = None
        execution = start(self._end)
        self._execution = execution
        if super().done():  # before it was known here
            self._let_go()

    def _end(self, error: BaseException | None, cancelled: bool) -> None:
        """Called once, by the thread that ended it."""
        self._let_go()
        if cancelled:
            super().cancel()
            self.set_running_or_notify_cancel()
        elif error is not None:
            self.set_exception(error)
        else:
            self.set_result(self._outcome)
        self._outcome = None

    def _let_go(self) -> None:
        execution, self._execution = self._execution, None
        if execution is not None:
            self._counts = execution.counts()

    def progress(self) -> float:
        """How much is done.

        Returns
        -------
        float
            The share of tasks that have finished, from 0 to 1.
        """
        finished, total = self.counts()
        if super().done() and not self.cancelled() and super().exception() is None:
            return 1.0
        return finished / total if total else 0.0

    def counts(self) -> tuple[int, int]:
        """How many tasks have finished, and of how many.

        Returns
        -------
        tuple of int
            Tasks whose results were there before count in neither number.
        """
        execution = self._execution
        if execution is not None:
            return execution.counts()
        return self._counts or (0, 0)

    def running(self) -> bool:
        """Whether it goes on."""
        return not self.done()

    def cancel(self) -> bool:
        """Start nothing more.

        What has finished stays and can be fetched; what runs at this moment runs to its end.

        Returns
        -------
        bool
            Whether it is cancelled; False if it had ended before.
        """
        execution = self._execution
        if execution is not None:
            execution.cancel()
        return self.cancelled()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        Object or ExecutableTuple
            What was executed.

        Raises
        ------
        BaseException
            What a function raised.
        concurrent.futures.CancelledError
            It was cancelled, or its session has stopped.
        TimeoutError
            It has not ended in time.
        """
        return super().result(self._join(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end; the exception that a function raised, or None.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.

        Raises
        ------
        concurrent.futures.CancelledError
            It was cancelled, or its session has stopped.
        TimeoutError
            It has not ended in time.
        """
        return super().exception(self._join(timeout))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, whatever it is.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        bool
            Whether it has ended.
        """
        wait([self], self._join(timeout))
        return super().done()

    def _join(self, timeout: float | None) -> float | None:
        """Wait, and help; what is left of `timeout`."""
        execution = self._execution
        if execution is None:
            return timeout
        begin = time.monotonic()
        execution.join(threading.current_thread() is threading.main_thread(), timeout)
        return None if timeout is None else max(0.0, timeout - (time.monotonic() - begin))

    def __await__(self) -> Generator[Any, None, Any]:
        import asyncio  # takes as long as all else here; who awaits has it

        if _mars.in_task() and not super().done():
            # The loop holds a worker, which may be the only one. What is run here may run loops of its own.
            loop = asyncio.events._get_running_loop()
            asyncio.events._set_running_loop(None)
            try:
                self._join(None)
            finally:
                asyncio.events._set_running_loop(loop)
        return asyncio.wrap_future(self).__await__()

    def __repr__(self) -> str:
        finished, total = self.counts()
        if not super().done():
            state = "running"
        elif self.cancelled():
            state = "cancelled"
        else:
            state = "finished" if super().exception() is None else "failed"
        return f"<ExecutionInfo {state}: {finished} of {total} tasks>"
