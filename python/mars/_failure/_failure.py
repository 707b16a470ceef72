"""What is known of a task that has failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Failure"]

_WHY_NOT = {
    "setting": "inputs are not kept unless the setting mars.keep-inputs is True before the computation begins: "
    'dask.config.set({"mars.keep-inputs": True}), or DASK_MARS__KEEP_INPUTS=True in the environment',
    "memory": "it failed for want of memory, and its inputs were let go of",
    "unread": "an input could not be read again",
    "not run": "the task itself has not failed: there was no room for it, or for its result",
    "pickled": "this is a copy that was pickled, and inputs do not travel: replay where it was computed",
    "attribute": "its exception takes no attributes, and nothing else tells how long to keep them",
}
#: Keys of these types are pickled; others may not be what pickle can take.
_PLAIN = (str, int, float, bytes, bool, type(None))


class Failure:
    """What is known of a task that has failed: the attribute ``mars`` of the exception that it raised.

    It holds descriptions, not the inputs themselves, unless the setting ``mars.keep-inputs`` says so. It can
    be pickled and copied with its exception.

    Attributes
    ----------
    key
        The key of the task in the Dask graph; None for an object of `mars.remote`.
    name : str
        What the notes of exceptions call the task.
    prefix : str
        What kind of task it is: what `dask.utils.key_split` makes of the key; for an object its function.
    chain : tuple of str
        Names of the tasks that needed it, the nearest first, up to what was asked for. Of more than 64
        those between are counted.
    dependencies : tuple of str
        Names of the tasks that it needed; beyond 64 they are counted.
    function : str or None
        The qualified name of the function that failed, or that the task would have called last.
    arguments : tuple of str
        What that function was called with: numbers and short texts as they are, of everything else type, shape,
        dtype, length and size. A task that failed before it called anything has its dependencies here.
    attempt : int
        How often it was tried, this time included.
    worker : str or None
        Name and `threading.get_ident` of the thread that it ran on; None if it has not run.
    outer : Failure or None
        Of the task in which the computation was made that this task belongs to, if it failed of this.
    inputs_kept : bool
        Whether `mars.replay` can run it again.

    Examples
    --------
    >>> import mars
    >>> from mars.contrib.dask import mars_scheduler
    >>> try:
    ...     mars_scheduler({"x": (divmod, 1, 0)}, "x")
    ... except ZeroDivisionError as error:
    ...     print(error.mars.function, error.mars.arguments)
    divmod ('1', '0')
    """

    key: Any
    name: str
    prefix: str
    chain: tuple[str, ...]
    dependencies: tuple[str, ...]
    function: str | None
    arguments: tuple[str, ...]
    attempt: int
    worker: str | None
    outer: Failure | None

    def __init__(self, /, **known: Any) -> None:
        self._replay: Callable[[], Any] | None = None
        self._why_not = ""
        #: Tells in which computation its own was made.
        self._made_in: int | None = None
        self.__dict__.update(known)

    @property
    def inputs_kept(self) -> bool:
        """Whether `mars.replay` can run it again."""
        return self._replay is not None

    def _like(self, **changes: Any) -> Failure:
        return Failure(**{**self.__dict__, **changes})

    def _without_inputs(self, why: str) -> Failure:
        return self._like(_replay=None, _why_not=self._why_not or why)

    def _why_not_replayed(self) -> str:
        return f"cannot replay task {self.name}: {_WHY_NOT.get(self._why_not, self._why_not)}"

    def _lines(self) -> list[tuple[str, str]]:
        """What there is to tell, with what it is."""
        lines = [("task", self.name)]
        if self.function is not None:
            lines.append(("called", self.function))
        if self.arguments:
            lines.append(("with", "; ".join(self.arguments)))
        if self.dependencies:
            lines.append(("needs", ", ".join(self.dependencies)))
        if self.chain:
            lines.append(("needed by", " <- ".join(self.chain)))
        where = "not run" if self.worker is None else f"attempt {self.attempt} on {self.worker}"
        lines.append(("ran", where))
        if self.outer is not None:
            lines.append(("inside", f"task {self.outer.name}"))
        lines.append(("inputs", "kept: mars.replay runs it again" if self.inputs_kept else "not kept"))
        return lines

    def __repr__(self) -> str:
        return f"<mars.Failure of task {self.name}: {self.function or self.prefix}>"

    def __str__(self) -> str:
        return "\n".join(f"{what + ':':<10} {text}" for what, text in self._lines())

    def _repr_html_(self) -> str:
        """For notebooks. It sets no colours, so that it can be read in dark and light."""
        from html import escape

        style = "text-align:left;vertical-align:top;padding:0.1em 0.8em 0.1em 0"
        rows = "".join(
            f'<tr><th style="{style}">{escape(what)}</th>'
            f'<td style="{style};white-space:pre-wrap;overflow-wrap:anywhere">{escape(text)}</td></tr>'
            for what, text in self._lines()
        )
        return f'<table style="border-collapse:collapse;color:inherit;background:transparent">{rows}</table>'

    def __copy__(self) -> Failure:
        return self

    def __deepcopy__(self, _memo: Any) -> Failure:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        known = {name: value for name, value in self.__dict__.items() if not name.startswith("_")}
        if not _is_plain(self.key):
            known["key"] = self.name
        return _unpickled, (known,)


def _unpickled(known: dict[str, Any]) -> Failure:
    return Failure(**known, _why_not="pickled")


def _is_plain(key: Any) -> bool:
    """Whether a key is made of such types that every process can read it."""
    pending = [key]
    while pending:
        part = pending.pop()
        if type(part) is tuple:
            pending += part
        elif type(part) not in _PLAIN:
            return False
    return True
