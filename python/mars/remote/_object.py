"""The methods of `Object` that are better said in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mars import session as sessions
from mars._mars import Object
from mars.remote._log import fetch_log

if TYPE_CHECKING:
    from mars.remote._execution import ExecutionInfo
    from mars.session import Session

__all__ = [
    "dask_graph",
    "dask_postcompute",
    "dask_postpersist",
    "dask_scheduler",
    "execute",
    "fetch",
    "fetch_log",
    "to_object",
]


def execute(obj: Object, session: Session | None, wait: bool, show_progress: bool | None) -> Object | ExecutionInfo:
    """``Object.execute``."""
    outcome: Object | ExecutionInfo = sessions.execute(obj, session=session, wait=wait, show_progress=show_progress)
    return outcome


def fetch(obj: Object, session: Session | None) -> Any:
    """``Object.fetch``."""
    return sessions.fetch(obj, session=session)


def to_object(obj: Object, session: Session | None) -> Any:
    """``Object.to_object``."""
    sessions.execute(obj, session=session)
    return sessions.fetch(obj, session=session)


def dask_graph(obj: Object) -> dict[str, Any]:
    """``Object.__dask_graph__``: one task, in which ``mars_scheduler`` finds the object."""
    from dask._task_spec import Task

    from mars.remote._values import resolve

    session = sessions.current_session()
    return {obj.key: Task(obj.key, resolve, obj, session and session.session_id)}


def dask_postcompute(obj: Object) -> tuple[Any, tuple[Any, ...]]:
    """``Object.__dask_postcompute__``."""
    from dask.delayed import single_key

    return single_key, ()


def dask_postpersist(obj: Object) -> tuple[Any, tuple[Any, ...]]:
    """``Object.__dask_postpersist__``: an object that was executed has its result."""
    return _persisted, (obj,)


class _Scheduler:
    """The scheduler of a Dask computation in which there are only objects.

    Dask refuses to compute collections together whose schedulers differ. Objects do not mind: this
    one is equal to any, so that the others' choice counts.
    """

    def __call__(self, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        from mars.contrib.dask import mars_scheduler

        return mars_scheduler(dsk, keys, **kwargs)

    def __eq__(self, other: object) -> bool:
        return callable(other)

    def __hash__(self) -> int:
        return 0


#: ``Object.__dask_scheduler__``.
dask_scheduler = _Scheduler()


def _persisted(dsk: Any, obj: Object, rename: Any = None) -> Object:
    return obj
