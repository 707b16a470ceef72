"""Several objects that are executed and fetched together."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mars._mars import Object

if TYPE_CHECKING:
    from mars.remote._execution import ExecutionInfo
    from mars.session import Session

__all__ = ["ExecutableTuple", "executable", "objects_in"]


class ExecutableTuple(tuple[Any, ...]):
    """Objects, and plain values among them, that are executed as one graph.

    Parameters
    ----------
    items : iterable, default ()
        Objects, Dask collections, executable tuples, lists and tuples of such, and plain
        values. A named tuple keeps its fields: they can be got as attributes, and `fetch`
        gives a named tuple of the same type.

    Examples
    --------
    >>> import mars.remote as mr
    >>> mr.ExecutableTuple([mr.spawn(pow, args=(2, i)) for i in range(4)]).execute().fetch()
    [1, 2, 4, 8]
    """

    raw_type: type | None

    def __new__(cls, items: Iterable[Any] = ()) -> ExecutableTuple:
        self = super().__new__(cls, map(_inner, items))
        self.raw_type = type(items) if isinstance(items, tuple) and hasattr(items, "_fields") else None
        if isinstance(items, ExecutableTuple):
            self.raw_type = items.raw_type
        return self

    def __getattr__(self, name: str) -> Any:
        fields = getattr(self.__dict__.get("raw_type"), "_fields", ())
        if name in fields:
            return self[fields.index(name)]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *getattr(self.raw_type, "_fields", ())})

    def __repr__(self) -> str:
        if self.raw_type is None:
            return f"ExecutableTuple({list(self)!r})"
        fields = zip(self.raw_type._fields, self, strict=True)  # type: ignore[attr-defined]
        return f"{self.raw_type.__name__}({', '.join(f'{name}={value!r}' for name, value in fields)})"

    def __reduce__(self) -> tuple[Any, ...]:
        items = tuple(self)
        return (ExecutableTuple, (items if self.raw_type is None else self.raw_type._make(items),))  # type: ignore[attr-defined]

    def execute(
        self, session: Session | None = None, wait: bool = True, show_progress: bool | None = None
    ) -> ExecutableTuple | ExecutionInfo:
        """Run what has no result yet, all as one graph.

        Parameters
        ----------
        session, wait, show_progress
            As for `Object.execute`.

        Returns
        -------
        ExecutableTuple or ExecutionInfo
            The tuple itself, or with ``wait=False`` what tells of the execution.
        """
        from mars.session import execute

        outcome: ExecutableTuple | ExecutionInfo = execute(
            self, session=session, wait=wait, show_progress=show_progress
        )
        return outcome

    def fetch(self, session: Session | None = None) -> Any:
        """The values, in order.

        Parameters
        ----------
        session
            As for `Object.fetch`.

        Returns
        -------
        list or named tuple
            Nested as the tuple is; plain values are as they were given.
        """
        from mars.session import fetch

        return fetch(self, session=session)

    def to_object(self, session: Session | None = None) -> Any:
        """Execute if need be, and fetch.

        Examples
        --------
        >>> import mars.remote as mr
        >>> mr.ExecutableTuple([mr.spawn(int), "as it is"]).to_object()
        [0, 'as it is']
        """
        self.execute(session=session)
        return self.fetch(session=session)

    def fetch_log(self, offsets: int | list[int] | None = None, sizes: int | list[int] | None = None) -> list[Any]:
        """What each function has printed; see `Object.fetch_log`.

        Parameters
        ----------
        offsets, sizes
            One for all, or a list of one for each.

        Returns
        -------
        list of str
            Nested as the tuple is; None for plain values.
        """
        from mars.remote._log import fetch_log

        logs: list[Any] = fetch_log(self, offsets, sizes)
        return logs

    def gather(self, values: list[Any]) -> Any:
        """Put values in the place of items."""
        return values if self.raw_type is None else self.raw_type._make(values)  # type: ignore[attr-defined]


def _inner(value: Any) -> Any:
    """An item of an executable tuple: what there is to execute in it can be executed."""
    if type(value) is Object or isinstance(value, (str, bytes, int, float, ExecutableTuple)) or value is None:
        return value
    if _is_dask_collection(value):
        from mars.contrib.dask import convert_dask_collection

        return convert_dask_collection(value)
    if isinstance(value, (list, tuple)):
        inner = ExecutableTuple(value)
        return inner if objects_in(inner) else value
    return value


def executable(value: Any) -> Object | ExecutableTuple:
    """`value` as something that can be executed.

    Raises
    ------
    TypeError
        It is neither an object nor a collection, nor a list or tuple of such.
    """
    if isinstance(value, (list, tuple)) and not isinstance(value, ExecutableTuple):
        return ExecutableTuple(value)
    value = _inner(value)
    if isinstance(value, (Object, ExecutableTuple)):
        return value
    raise TypeError(
        f"cannot execute or fetch {value!r:.200} of type {type(value).__name__}: "
        "it takes Objects, ExecutableTuples, Dask collections, and lists of such"
    )


def objects_in(value: Any) -> list[Object]:
    """The objects in an executable tuple, however deep, each tuple looked at once."""
    if type(value) is Object:
        return [value]
    if not isinstance(value, ExecutableTuple):
        return []
    if set(map(type, value)) == {Object}:
        return list(value)
    found: list[Object] = []
    seen: set[int] = set()
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if type(item) is Object:
            found.append(item)
        elif isinstance(item, ExecutableTuple) and id(item) not in seen:
            seen.add(id(item))
            pending.extend(reversed(item))
    return found


def _is_dask_collection(value: Any) -> bool:
    if "dask" not in sys.modules or not hasattr(type(value), "__dask_graph__"):
        return False
    from dask import is_dask_collection

    return bool(is_dask_collection(value))
