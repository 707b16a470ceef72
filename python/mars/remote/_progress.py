"""A bar for one execution."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mars.remote._execution import ExecutionInfo

__all__ = ["Bar"]

#: Seconds between two looks at the counts.
_INTERVAL = 0.1


class Bar:
    """A bar in the terminal or the notebook.

    Raises
    ------
    ImportError
        tqdm is not installed.
    """

    def __init__(self) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise ImportError("show_progress=True needs tqdm: python -m pip install tqdm") from None
        self._tqdm = tqdm

    def show_until_done(self, info: ExecutionInfo) -> Any:
        """Show the execution until it has ended; its result.

        An exception in this thread, such as a KeyboardInterrupt, cancels the execution.
        """
        try:
            self._follow(info)
        except BaseException:
            info.cancel()
            raise
        return info.result()

    def show_meanwhile(self, info: ExecutionInfo) -> ExecutionInfo:
        """Show the execution from a thread of its own."""
        threading.Thread(target=self._follow, args=(info,), name="mars-progress", daemon=True).start()
        return info

    def _follow(self, info: ExecutionInfo) -> None:
        with self._tqdm(total=info.counts()[1], unit="task") as bar:
            while not info.wait(_INTERVAL):
                bar.update(info.counts()[0] - bar.n)
            bar.update(info.counts()[0] - bar.n)
