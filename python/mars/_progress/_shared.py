"""Which bar a computation is shown in: computations that overlap share one."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from mars import _config, _mars
from mars._progress._bar import Bar, any_open, ending
from mars._progress._screens import check_tqdm, screen_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from mars.remote._execution import ExecutionInfo

__all__ = ["Options", "Part", "alone", "begin", "join", "leave", "register", "state", "unregister"]

_log = logging.getLogger("mars")


class Options(NamedTuple):
    """How a bar looks; see `mars.progress`."""

    desc: str = ""
    leave: bool = True
    file: Any = None
    minimum: float = 0.0

    def bar(self, watch: Any, after: int | None = None, wanted: Callable[[Bar], bool] | None = None) -> Bar:
        """A bar that shows what `watch` counts."""
        return Bar(watch, screen_for(self.file, self.desc, self.leave), self.minimum, after=after, wanted=wanted)


class _Shared:
    """A bar over all computations of the process, with those who have asked for it."""

    def __init__(self, options: Options) -> None:
        self.bar = options.bar(_mars.Watch(), wanted=_is_open)
        self.file = options.file  # which keeps its identity as long as it is here
        self.users = 0


class _State:
    """The bars over all computations of the process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # what collects garbage in between may compute
        #: By the file that they go to.
        self.bars: dict[int, _Shared] = {}
        #: Which of them computations have opened by themselves.
        self.automatic: int | None = None
        #: The last one counts.
        self.registered: list[Options | None] = []
        self.warned = False


state = _State()


def _is_open(bar: Bar) -> bool:
    """Whether somebody shares it."""
    return any(shared.bar is bar for shared in state.bars.copy().values())


def _renew() -> None:
    """In a forked child: what was shown is the parent's."""
    state.lock = threading.RLock()
    state.bars.clear()
    state.automatic = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def register(options: Options | None) -> None:
    """Show each outermost computation from now on; None shows none."""
    with state.lock:
        state.registered.append(options)


def unregister(options: Options | None) -> None:
    """Take it back; a ValueError if it was not registered."""
    with state.lock:
        state.registered.remove(options)


def join(options: Options) -> int:
    """Open a bar over all that begins from now on, or join the one that goes to this file; what `leave` is given."""
    key = 0 if options.file is None or options.file is sys.stderr else id(options.file)
    with state.lock:
        first = key not in state.bars
        if first:
            state.bars[key] = _Shared(options)
        shared = state.bars[key]
        shared.users += 1
    if first:
        try:
            shared.bar.start()
        except BaseException:
            leave(key)
            raise
    return key


def leave(key: int, error: BaseException | None = None, *, wait: bool = True) -> None:
    """Leave a bar, which ends with the last of those who share it."""
    with state.lock:
        shared = state.bars.get(key)
        if shared is None:  # opened before this process was forked
            return
        if error is not None:
            shared.bar.failed(error)
        shared.users -= 1
        if shared.users:
            return
        del state.bars[key]
        if state.automatic == key:
            state.automatic = None
    shared.bar.end(wait=wait)


def alone(info: ExecutionInfo, after: int) -> Bar | None:
    """A bar for one execution, not yet started; None if another one shows it already."""
    if 0 in state.bars or (_mars.in_task() and any_open()):
        return None
    execution = info._execution
    return Options().bar(_Ended(info) if execution is None else _mars.Watch(execution), after)


class _Ended:
    """The counts of an execution that was over before anybody looked."""

    def __init__(self, info: ExecutionInfo) -> None:
        self._counts = (*info.counts(), 0)

    def counts(self) -> tuple[int, int, int]:
        return self._counts


class Part:
    """A computation that takes part in a bar that was not opened by ``with``, or only tells of its error.

    Parameters
    ----------
    key : int or None
        The bar; None if another one shows it.
    """

    __slots__ = ("_key",)

    def __init__(self, key: int | None) -> None:
        self._key = key

    def failed(self, error: BaseException) -> None:
        """It has raised this."""
        for shared in list(state.bars.values()):
            shared.bar.failed(error)

    def end_with(self, info: Future[Any]) -> None:
        """It has ended as this execution has, on whichever thread ends it."""
        error = ending(info)
        if error is not None:
            self.failed(error)
        self.end(wait=False)

    def end(self, *, wait: bool = True) -> None:
        """It has ended."""
        if self._key is not None:
            leave(self._key, wait=wait)


def begin() -> Part | None:
    """A computation begins. None if no bar shows it, or if it is inside of one that is shown."""
    options = _wanted()
    if (options is None and not state.bars) or _mars.in_task():
        return None
    with state.lock:
        if state.bars and state.automatic is None:
            return Part(None)
        if options is None:
            return None
        if state.automatic is None:
            state.automatic = join(options)
        else:
            state.bars[state.automatic].users += 1
        return Part(state.automatic)


def _wanted() -> Options | None:
    """What was registered last, or else the setting."""
    if state.registered:
        return state.registered[-1]
    if not _config.switched_on("progress"):
        return None
    try:
        check_tqdm("the setting mars.progress")
    except ImportError as error:
        if not state.warned:
            state.warned = True
            _log.warning("%s; no progress is shown", error)
        return None
    return Options()
