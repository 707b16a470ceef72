"""Sessions: where objects are executed, and where their results live.

A session is made at first use; who only executes and fetches never meets one.
"""

from __future__ import annotations

import atexit
import logging
import operator
import os
import threading
import uuid
import weakref
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from mars import _config, _limits, _logs, _mars, _memory, _progress, _watching

if TYPE_CHECKING:
    from types import TracebackType

    from mars._mars import Memory, Object, Store
    from mars._progress._shared import Part
    from mars.remote import ExecutableTuple, ExecutionInfo

__all__ = ["Session", "execute", "fetch", "fetch_log", "get_default_session", "new_session", "stop_server"]

#: Attempts after the first, and seconds before the first of them.
_RETRIES = 3
_RETRY_DELAY = 0.1
#: From here on a number is a mistake.
_MOST = 2**31


class Session:
    """A place where objects are executed, apart from others.

    Made by `new_session`. As a context manager it is the default inside the ``with``
    block, for this thread and what it executes, and stops at its end.

    Examples
    --------
    >>> import mars
    >>> import mars.remote as mr
    >>> with mars.new_session(n_workers=2) as session:
    ...     mr.spawn(len, args=("abc",)).execute().fetch()
    3
    >>> session.stopped
    True
    """

    #: The level at which it is told that it was made, and has stopped.
    _told_at = logging.INFO

    def __init__(
        self, *, n_workers: int | None, retries: int, retry_delay: float, memory: Memory | None, own_memory: bool
    ) -> None:
        self._n_workers = n_workers
        self._own_memory = own_memory
        self._store: Store = _mars.Store(retries, retry_delay, memory)
        self._tokens: list[Token[Session | None]] = []
        self.session_id = uuid.uuid4().hex
        _by_store[id(self._store)] = self
        _by_id[self.session_id] = self

    @property
    def n_workers(self) -> int:
        """How many tasks of one execution run at the same time, at most."""
        return _worker_count() if self._n_workers is None else self._n_workers

    @property
    def memory(self) -> Memory | None:
        """How much its results take, in memory and on disk; None if it has no memory limit."""
        return self._store.memory

    @property
    def stopped(self) -> bool:
        """Whether it has stopped: it executes nothing and has no results any more."""
        return self._store.stopped

    def execute(self, *objects: Any, wait: bool = True, show_progress: bool | None = None) -> Any:
        """Execute in this session; see `mars.execute`."""
        return execute(*objects, session=self, wait=wait, show_progress=show_progress)

    def fetch(self, *objects: Any) -> Any:
        """Fetch what this session has executed; see `mars.fetch`."""
        return fetch(*objects, session=self)

    def fetch_log(self, *objects: Any, offsets: Any = None, sizes: Any = None) -> Any:
        """What functions have printed; see `mars.fetch_log`."""
        return fetch_log(*objects, offsets=offsets, sizes=sizes)

    def as_default(self) -> Session:
        """Make it the default session, for all threads.

        Returns
        -------
        Session
            The session itself.
        """
        _check_running(self)
        _default.session = self
        return self

    def stop(self) -> None:
        """Cancel what is under way, let go of all results, and let idle threads end.

        Stopping again changes nothing.
        """
        if _default.session is self:
            _default.session = None
        results = len(self._store)
        was_running = self._store.stop()
        memory = self.memory if self._own_memory else None
        directory = None
        if memory is not None:
            directory = memory.directory
            memory.close()
        _mars.retire_pool()
        if memory is not None:
            _logs.removed(memory, directory, _logs.tell_later)
        if was_running:
            _logs.session_stopped(self, self._told_at, results)

    stop_server = stop
    close = stop

    def __enter__(self) -> Session:
        _check_running(self)
        self._tokens.append(_current.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current.reset(self._tokens.pop())
        if not self._tokens:
            self.stop()

    def __repr__(self) -> str:
        state = "stopped" if self.stopped else f"n_workers={self.n_workers}, results={len(self._store)}"
        if self.memory is not None and not self.stopped:
            state += f", memory_limit={_limits.format_bytes(self.memory.limit)}"
        return f"<mars.Session {self.session_id[:8]}: {state}>"


class _Default:
    """The default session of all threads."""

    session: Session | None = None
    lock = threading.Lock()


_default = _Default()


def _renew_lock() -> None:
    """In a forked child: the thread that had it may not be there."""
    _Default.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)

#: Inside a ``with`` block, and inside the functions that a session runs.
_current: ContextVar[Session | None] = ContextVar("mars_session", default=None)
#: Sessions that somebody holds, by the identity of their stores, and by their own names.
_by_store: weakref.WeakValueDictionary[int, Session] = weakref.WeakValueDictionary()
_by_id: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()


def _worker_count() -> int:
    count = _config.setting("n-workers")
    return _config.cpu_count() if count is None else _whole("the setting mars.n-workers", count, 1)


def _option(name: str, value: Any, default: Any) -> tuple[str, Any]:
    """The value of an option, and what an error calls it."""
    if value is not None:
        return name, value
    setting = name.replace("_", "-")
    return f"the setting mars.{setting}", _config.setting(setting, default)


def _whole(name: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} has to be a whole number of at least {least}, not {value!r}") from None
    if isinstance(value, bool) or not least <= number < _MOST:
        raise ValueError(f"{name} has to be a whole number from {least} to {_MOST - 1:,}, not {value!r}")
    return number


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} has to be a number of seconds, not {value!r}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = float("inf")
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{name} has to be a number of seconds of at least 0, not {value!r}")
    return seconds


def new_session(
    *,
    n_workers: int | None = None,
    retries: int | None = None,
    retry_delay: float | None = None,
    memory_limit: int | float | str | None = None,
    spill_dir: str | os.PathLike[str] | None = None,
    spill_limit: int | str | None = None,
    default: bool = True,
) -> Session:
    """Make a session.

    Parameters
    ----------
    n_workers : int, optional
        How many tasks of one execution run at the same time, at most. Default: the setting
        ``mars.n-workers`` of ``dask.config``, else the number of processors.
    retries : int, optional
        How often a function that was spawned with ``retry_when_fail=True`` is called again.
        Default: the setting ``mars.retries``, else 3.
    retry_delay : float, optional
        Seconds before the first of these attempts; each further pause is twice the one before,
        at most a minute. Default: the setting ``mars.retry-delay``, else 0.1.
    memory_limit : int, float or str, optional
        So much memory may the results of all computations in this session take: bytes, a text such
        as ``"4GB"``, or a share, as 0.6 or ``"60%"``, of what machine and container allow. What does not fit
        is held back or moved to disk; but what ``compute()`` returns has to fit. Default: the setting
        ``mars.memory-limit``, else no limit.
    spill_dir : str or os.PathLike, optional
        Where results beyond the limit are moved to; a private directory is made in it. Default: the setting
        ``mars.spill-dir``, else Dask's ``temporary-directory``, else that of the system.
    spill_limit : int or str, optional
        At most so many bytes on disk. Default: the setting ``mars.spill-limit``, else no limit.
    default : bool, default True
        Make it the default session.

    Returns
    -------
    Session

    Raises
    ------
    TypeError, ValueError
        An option is not known, or its value makes no sense; a limit above what the process may
        use, or below 1 MiB, makes none.
    OSError
        `spill_dir` cannot be written to.

    Examples
    --------
    >>> import mars
    >>> session = mars.new_session(n_workers=2, default=False)
    >>> session.n_workers
    2
    >>> session.stop()
    """
    session = _made(n_workers, retries, retry_delay, memory_limit, spill_dir, spill_limit)
    if default:
        session.as_default()
    options = {"spill_dir": spill_dir, "spill_limit": spill_limit, "default": default}
    _logs.session_made(session, session._told_at, **options)
    return session


def _made(
    n_workers: Any = None,
    retries: Any = None,
    retry_delay: Any = None,
    memory_limit: Any = None,
    spill_dir: Any = None,
    spill_limit: Any = None,
) -> Session:
    if n_workers is not None:
        n_workers = _whole("n_workers", n_workers, 1)
    return Session(
        n_workers=n_workers,
        retries=_whole(*_option("retries", retries, _RETRIES), 0),
        retry_delay=_seconds(*_option("retry_delay", retry_delay, _RETRY_DELAY)),
        memory=_memory_of(memory_limit, spill_dir, spill_limit),
        own_memory=not (memory_limit is spill_dir is spill_limit is None),
    )


def _memory_of(memory_limit: Any, spill_dir: Any, spill_limit: Any) -> Memory | None:
    if memory_limit is None and spill_dir is None and spill_limit is None:
        return _memory.configured()
    given = memory_limit is not None
    if not given:
        memory_limit = _config.setting("memory-limit")
    if memory_limit is None:
        name = "spill_limit" if spill_dir is None else "spill_dir"
        raise ValueError(f"{name} is about results that do not fit into memory_limit: give that one too")
    if spill_dir is None:
        spill_dir = _config.setting("spill-dir")
    if spill_limit is None:
        spill_limit = _config.setting("spill-limit")
    return _memory.make(memory_limit, spill_dir, spill_limit, given=given)


def get_default_session() -> Session:
    """The session in which things are executed when none is named.

    Inside a ``with`` block of a session that one; inside a function that is being executed the
    session which executes it; else the default of all threads, made if there is none.

    Returns
    -------
    Session
    """
    session = _current.get()
    if session is not None and not session.stopped:
        return session
    session = _default.session
    if session is not None and not session.stopped:
        return session
    # Not under the lock: handlers of loggers may come back here.
    made = _made()
    made._told_at = logging.DEBUG
    with _default.lock:
        session = _default.session
        if session is None or session.stopped:
            _default.session = session = made
    if session is made:
        _logs.session_made(made, made._told_at, default=True)
    return session


def current_session() -> Session | None:
    """The session of the ``with`` block, or of the function that is being executed."""
    session = _current.get()
    return None if session is None or session.stopped else session


def present_session() -> Session | None:
    """What `get_default_session` returns if it has not to make one."""
    session = current_session() or _default.session
    return None if session is None or session.stopped else session


def session_by_id(session_id: str | None) -> Session | None:
    """The session of this name, if there is one and it has not stopped."""
    session = None if session_id is None else _by_id.get(session_id)
    return None if session is None or session.stopped else session


def stop_server() -> None:
    """Stop the default session, if there is one: see `Session.stop`.

    The next thing to be executed makes another one.
    """
    session = _default.session
    if session is not None:
        session.stop()


def execute(*objects: Any, session: Session | None = None, wait: bool = True, show_progress: bool | None = None) -> Any:
    """Run what has no result yet of all these, as one graph.

    Parameters
    ----------
    *objects
        Objects, executable tuples, Dask collections, and lists of such.
    session : Session, optional
        Where to run. Default: the session that has executed all of them before, else the default
        session.
    wait : bool, default True
        False returns at once, while the work goes on.
    show_progress : bool, optional
        True shows a bar for it (needs tqdm), unless `mars.progress` shows it already; False shows none. Default: the
        setting ``mars.progress``.

    Returns
    -------
    Object, ExecutableTuple or ExecutionInfo
        What was given: one thing itself, several as an executable tuple. With ``wait=False``
        what tells of the execution.

    Raises
    ------
    TypeError
        Something cannot be executed.
    BaseException
        Whatever a function raises.

    Examples
    --------
    >>> import mars
    >>> import mars.remote as mr
    >>> mars.execute(mr.spawn(int), mr.spawn(str)).fetch()
    [0, '']
    """
    from mars.remote._tuple import ExecutableTuple, executable, objects_in

    wanted = executable(objects[0]) if len(objects) == 1 else ExecutableTuple(objects)
    if not isinstance(wait, bool):
        raise TypeError(f"wait has to be True or False, not {wait!r}")
    if show_progress not in (None, True, False):
        raise TypeError(f"show_progress has to be True, False or None, not {show_progress!r}")
    found = objects_in(wanted)
    where = _session_of(found) if session is None else _check_session(session)
    _check_running(where)
    part = _watching.begin(settings=_config.any_set(), bars=show_progress is None)
    if show_progress:
        bar = _progress.OneExecution()
        info = _begin(where, found, wanted)
        return bar.until_done(info) if wait else bar.meanwhile(info)
    return _execute(where, found, wanted, part, wait=wait)


def _execute(session: Session, objects: list[Object], outcome: Any, part: Part | None, *, wait: bool) -> Any:
    """Run, or begin to; `part` is told how it ends."""
    try:
        if wait:
            _run(session, objects)
            return outcome
        info = _begin(session, objects, outcome)
        if part is not None:
            info.add_done_callback(part.end_with)
            part = None
        return info
    except BaseException as error:
        if part is not None:
            part.failed(error)
        raise
    finally:
        if part is not None:
            part.end()


def _run(session: Session, objects: list[Object]) -> None:
    limit = session.n_workers
    if _logs.runs.isEnabledFor(logging.DEBUG):
        with _logs.Run("execution", objects, limit, session.memory):
            _run_now(session, objects, limit)
    else:
        _run_now(session, objects, limit)


def _run_now(session: Session, objects: list[Object], limit: int) -> None:
    on_main_thread = threading.current_thread() is threading.main_thread()
    token = _current.set(session)
    try:
        _mars.execute_objects(objects, session._store, limit, on_main_thread)
    finally:
        _current.reset(token)


def _begin(session: Session, objects: list[Object], outcome: Any) -> ExecutionInfo:
    from mars.remote._execution import ExecutionInfo

    limit = session.n_workers

    def start(on_end: Any) -> Any:
        token = _current.set(session)
        try:
            return _mars.execute_objects(objects, session._store, limit, False, on_end)
        finally:
            _current.reset(token)

    if not _logs.runs.isEnabledFor(logging.DEBUG):
        return ExecutionInfo(start, outcome)
    run = _logs.Run("background execution", objects, limit, session.memory)
    try:
        return ExecutionInfo(lambda on_end: start(run.ending(on_end)), outcome)
    except BaseException as error:
        run.end(error, False)
        raise


def fetch(*objects: Any, session: Session | None = None) -> Any:
    """The values of what has been executed.

    Parameters
    ----------
    *objects
        Objects, executable tuples, and lists of such.
    session : Session, optional
        The session that executed them. Default: for each the one that did so last.

    Returns
    -------
    object
        The value of one thing, or a list of the values of several.

    Raises
    ------
    ValueError
        Something has not been executed, not in this session, or the session has stopped.

    Examples
    --------
    >>> import mars
    >>> import mars.remote as mr
    >>> objects = [mr.spawn(abs, args=(x,)) for x in (-1, 2)]
    >>> _ = mars.execute(*objects)
    >>> mars.fetch(*objects)
    [1, 2]
    """
    from mars.remote._tuple import ExecutableTuple, executable

    wanted = executable(objects[0]) if len(objects) == 1 else ExecutableTuple(objects)
    return _values(wanted, None if session is None else _check_session(session))


def _values(wanted: Any, session: Session | None, known: dict[int, Any] | None = None) -> Any:
    """The values in the place of objects. `known` has those of the tuples met before."""
    from mars.remote._tuple import ExecutableTuple

    if isinstance(wanted, ExecutableTuple):
        known = {} if known is None else known
        if id(wanted) not in known:
            known[id(wanted)] = wanted.gather(_values_in(wanted, session, known))
        return known[id(wanted)]
    if not isinstance(wanted, _mars.Object):
        return wanted
    store = _last_store(wanted) if session is None else session._store
    if store is not None:
        try:
            return _mars.fetch_objects([wanted], store)[0]
        except LookupError:
            pass
    raise ValueError(_why_not_fetched(wanted, session))


def _values_in(wanted: ExecutableTuple, session: Session | None, known: dict[int, Any]) -> list[Any]:
    if set(map(type, wanted)) == {_mars.Object}:
        store = _last_store(wanted[0]) if session is None else session._store
        if store is not None:
            try:
                return _mars.fetch_objects(list(wanted), store)
            except LookupError:
                pass  # each has its own store, or there is an error to be told
    return [_values(item, session, known) for item in wanted]


def _last_store(obj: Object) -> Store | None:
    running = [store for store in obj._stores if not store.stopped]
    return running[-1] if running else None


def _why_not_fetched(obj: Object, session: Session | None) -> str:
    if session is not None and session.stopped:
        return f"cannot fetch {obj!r}: the session has stopped and has let go of its results"
    if obj._running_in:
        return f"cannot fetch {obj!r}: it is being executed; wait for what execute(wait=False) has returned"
    if not obj._stores:
        return f"cannot fetch {obj!r}: it has not been executed; call execute() first"
    if session is None:
        return f"cannot fetch {obj!r}: the session that executed it has stopped; execute it again"
    return f"cannot fetch {obj!r}: it has been executed in another session, not in {session!r}"


def fetch_log(*objects: Any, offsets: Any = None, sizes: Any = None) -> Any:
    """What the functions of objects have printed so far.

    Parameters
    ----------
    *objects
        Objects, executable tuples, and lists of such.
    offsets, sizes
        As for `Object.fetch_log`; one for all, or a list of one for each.

    Returns
    -------
    str or list of str
        One text for one object, a list for several.

    Examples
    --------
    >>> import mars
    >>> import mars.remote as mr
    >>> task = mr.spawn(print, args=("hello",)).execute()
    hello
    >>> mars.fetch_log(task)
    'hello\\n'
    """
    from mars.remote import _log
    from mars.remote._tuple import ExecutableTuple, executable

    wanted = executable(objects[0]) if len(objects) == 1 else ExecutableTuple(objects)
    return _log.fetch_log(wanted, offsets, sizes)


def _session_of(objects: list[Object]) -> Session:
    """The session that has executed all of these, or is about to; else the default one."""
    for store in reversed(_stores_of(objects[0]) if objects else []):
        session = _by_store.get(id(store))
        if session is None or session.stopped:
            continue
        if len(objects) == 1 or all(store in _stores_of(obj) for obj in objects):
            return session
    return get_default_session()


def _stores_of(obj: Object) -> list[Store]:
    return obj._stores + obj._running_in


def _check_session(session: Any) -> Session:
    if not isinstance(session, Session):
        raise TypeError(f"session has to be a mars.Session, not {session!r}")
    return session


def _check_running(session: Session) -> None:
    if session.stopped:
        raise ValueError(f"{session!r} has stopped: make another one with mars.new_session()")


def _current_store() -> Store:
    """The store of the session in which a Dask graph with objects in it is computed."""
    return get_default_session()._store


def _explicit_limit() -> int | None:
    """The ``n_workers`` that the current session was given, if there is such a session."""
    session = _current.get() or _default.session
    return None if session is None or session.stopped else session._n_workers


def current_memory() -> Memory | None:
    """The limit for what is computed now: that of the current session, if it was given one, else the configured one."""
    session = _current.get() or _default.session
    if session is not None and session._own_memory and not session.stopped:
        return session.memory
    return _memory.configured()


def _tell_totals() -> None:
    """Tell what is about to be removed from the disk with the process."""
    owned = [session.memory for session in list(_by_id.values()) if session._own_memory and not session.stopped]
    for memory in (*_memory._configured.values(), *owned):
        if memory is not None:
            _logs.removed(memory, memory.directory, _logs.tell)


# Before the handlers of loggers are closed, since `logging` has been imported.
atexit.register(_tell_totals)
