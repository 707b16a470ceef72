"""The profile as users have it: what it records is native, what it shows is in the modules beside this one."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Self

from mars import _mars
from mars._profile import processors
from mars._profile.sampler import Sampler, has_gil
from mars.session import _whole

if TYPE_CHECKING:
    import os
    from types import TracebackType

    from mars._mars import Profile as Recording
    from mars._profile.summary import Summary

__all__ = ["Profile", "profile"]


def profile(*, max_events: int = 1_000_000, gil: bool = True) -> Profile:
    """Record every task of the process while a ``with`` block runs.

    All computations are recorded, whichever thread began them, and those inside of tasks too. Several profiles may
    be open at the same time.

    Parameters
    ----------
    max_events : int, default 1,000,000
        At most this many tasks are kept one by one, at some 60 bytes each. Beyond it the shortest ones are only
        counted; the totals of `Profile.summary` are of all tasks.
    gil : bool, default True
        Look 200 times a second whether the interpreter lock is free and what runs at that moment, from a thread of
        its own. The summary needs it to tell whether processes would help. Without effect on an interpreter
        that has no such lock.

    Returns
    -------
    Profile
        To be used in one ``with`` block, or with `Profile.start` and `Profile.stop`.

    Raises
    ------
    TypeError, ValueError
        An option makes no sense.

    Examples
    --------
    >>> import mars
    >>> import mars.remote as mr
    >>> with mars.profile() as p:
    ...     _ = mars.execute(*[mr.spawn(len, args=("abc",)) for _ in range(10)])
    >>> p.summary().tasks
    10
    """
    if not isinstance(gil, bool):
        raise TypeError(f"gil has to be True or False, not {gil!r}")
    return Profile(max_events=_whole("max_events", max_events, 1), gil=gil)


class Profile:
    """What all tasks of the process did while it was open. Made by `mars.profile`.

    It may be read while it is open, and after an exception has left the block.

    Examples
    --------
    >>> import mars
    >>> mars.profile()
    <mars.Profile: not started>
    """

    def __init__(self, *, max_events: int, gil: bool) -> None:
        self._max_events = max_events
        self._gil = gil
        #: Taken by the first start and never given back.
        self._unused = threading.Lock()
        self._recording: Recording | None = None
        self._sampler: Sampler | None = None
        self._had_gil = True
        self._at_start = self._at_stop = processors.Usage()
        self._stopped = False

    def start(self) -> Self:
        """Begin to record; what a ``with`` block does at its beginning.

        Returns
        -------
        Profile
            The profile itself.

        Raises
        ------
        RuntimeError
            It was started before.

        Examples
        --------
        >>> import mars
        >>> p = mars.profile().start()
        >>> p.stop()
        """
        if not self._unused.acquire(blocking=False):
            raise RuntimeError("a profile records once: make another one with mars.profile()")
        self._had_gil = has_gil()
        self._at_start = processors.Usage.now()
        recording = _mars.Profile(self._max_events)
        if self._gil and self._had_gil:
            sampler = Sampler(recording)
            # It must not go on for a profile that nobody can stop any more.
            weakref.finalize(self, sampler.tell_to_end).atexit = False
            sampler.start()
            self._sampler = sampler
        self._recording = recording
        return self

    def stop(self) -> None:
        """Record no more. Stopping again changes nothing.

        Computations that go on are not recorded any further. Any thread may call it.

        Raises
        ------
        RuntimeError
            It was never started.
        """
        recording = self._recorded()
        if not self._stopped:
            self._at_stop = processors.Usage.now()
            self._stopped = True
        recording.stop()
        if self._sampler is not None:
            self._sampler.end()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def summary(self) -> Summary:
        """Totals by prefix and by what workers did, and whether processes would serve better than threads.

        Returns
        -------
        Summary
            Printed, or shown in a notebook, it is a table; its attributes are the figures.

        Raises
        ------
        RuntimeError
            The profile was never started.

        Examples
        --------
        >>> import mars
        >>> import mars.remote as mr
        >>> with mars.profile() as p:
        ...     _ = mr.spawn(abs, args=(-1,)).execute()
        >>> [(row.prefix, row.tasks) for row in p.summary().prefixes]
        [('abs()', 1)]
        """
        from mars._profile.summary import summarize

        recording = self._recorded()
        now = self._at_stop if self._stopped else processors.Usage.now()
        return summarize(recording, gil=self._had_gil, sampled=self._gil, load=now.since(self._at_start))

    def to_pandas(self) -> Any:
        """One row for each task in the timeline, in the order in which they started.

        Returns
        -------
        pandas.DataFrame
            With the columns ``key``, ``prefix``, ``computation`` (1, 2, 3, ... in the order in which computations
            began in this process), ``worker`` (the name of the thread), ``queued`` (when the task was ready),
            ``start`` and ``end`` (seconds since the profile began), ``duration`` and ``cpu`` (seconds; the latter
            NaN where it is not known), ``bytes`` (of the result; missing where it is not known) and ``outcome``:
            ``"finished"``, ``"failed"``, ``"promised"`` where the result comes later, from another computation or
            from calling a function that failed again, or ``"again"`` where it came to nothing and is run once more.
            Its ``attrs`` have ``began``, a time as of `time.time`, and ``dropped``, the number of short tasks that
            are in no row.

        Raises
        ------
        ImportError
            pandas is not installed.
        RuntimeError
            The profile was never started.

        Examples
        --------
        >>> import mars
        >>> import mars.remote as mr
        >>> with mars.profile() as p:
        ...     _ = mr.spawn(abs, args=(-1,)).execute()
        >>> p.to_pandas()[["prefix", "outcome"]].values.tolist()  # doctest: +SKIP
        [['abs()', 'finished']]
        """
        from mars._profile.frame import to_pandas

        return to_pandas(self._recorded())

    def to_chrome_trace(
        self, path: str | os.PathLike[str], *, flows: bool = False, max_events: int = 100_000
    ) -> str | os.PathLike[str]:
        """Write the timeline in the format of Chrome's tracing, which ``ui.perfetto.dev`` opens too.

        Parameters
        ----------
        path : str or os.PathLike
            The file; one that is there is overwritten. If the name ends in ``.gz`` it is compressed, which Perfetto
            reads as it is.
        flows : bool, default False
            Draw an arrow from each task to those that need its result.
        max_events : int, default 100,000
            At most about this many slices. Beyond it short tasks side by side are merged into one slice; the
            logger ``mars`` and the metadata of the file say so.

        Returns
        -------
        str or os.PathLike
            `path`.

        Raises
        ------
        OSError
            The file cannot be written.
        TypeError, ValueError
            An option makes no sense.
        RuntimeError
            The profile was never started.

        Examples
        --------
        >>> import mars, os, tempfile
        >>> import mars.remote as mr
        >>> with mars.profile() as p:
        ...     _ = mr.spawn(abs, args=(-1,)).execute()
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = p.to_chrome_trace(os.path.join(directory, "trace.json.gz"))
        ...     os.path.getsize(path) > 0
        True
        """
        from mars._profile.trace import write_trace

        recording = self._recorded()
        if not isinstance(flows, bool):
            raise TypeError(f"flows has to be True or False, not {flows!r}")
        write_trace(recording, path, _whole("max_events", max_events, 1), flows)
        return path

    def plot(
        self,
        filename: str | os.PathLike[str] | None = None,
        show: bool | None = None,
        max_rects: int = 20_000,
        **kwargs: Any,
    ) -> Any:
        """An interactive timeline: one lane for each worker, one colour for each prefix.

        Click on a prefix in the legend to hide its tasks; point at a task to see its key.

        Parameters
        ----------
        filename : str or os.PathLike, optional
            Save it there as a page of HTML. Default: it is not saved.
        show : bool, optional
            Show it in the notebook, or else in a browser. Default: in a notebook for which
            ``bokeh.io.output_notebook()`` was called.
        max_rects : int, default 20,000
            At most about this many rectangles. Beyond it short tasks side by side are drawn as one; the title says so.
        **kwargs
            ``palette``, one of bokeh's by its name, and options of ``bokeh.plotting.figure`` such as ``title``,
            ``width`` and ``height``, as for Dask's profilers.

        Returns
        -------
        bokeh.plotting.figure

        Raises
        ------
        ImportError
            bokeh is not installed.
        TypeError, ValueError
            An option makes no sense.
        RuntimeError
            The profile was never started.

        Notes
        -----
        ``dask.diagnostics.visualize`` takes profiles as well and stacks them with those of Dask.
        """
        from mars._profile.plot import deliver, import_bokeh

        import_bokeh()
        if show is not None and not isinstance(show, bool):
            raise TypeError(f"show has to be True, False or None, not {show!r}")
        figure = self._plot(max_rects=max_rects, **kwargs)
        deliver(figure, filename, show)
        return figure

    def _plot(self, *, max_rects: int = 20_000, **kwargs: Any) -> Any:
        """What ``dask.diagnostics.visualize`` asks a profiler for."""
        from mars._profile.plot import timeline

        return timeline(self._recorded(), _whole("max_rects", max_rects, 1), **kwargs)

    def __repr__(self) -> str:
        recording = self._recording
        if recording is None:
            return "<mars.Profile: not started>"
        from mars._profile.text import count, duration

        tasks = count(sum(totals.count for totals in recording.prefixes()), "task")
        return f"<mars.Profile: {tasks} in {duration(recording.seconds)}{', recording' if not self._stopped else ''}>"

    def _repr_html_(self) -> str | None:
        """The summary; before the start there is none, and ``repr`` is shown."""
        return None if self._recording is None else self.summary()._repr_html_()

    def _recorded(self) -> Recording:
        if self._recording is None:
            raise RuntimeError("the profile has not been started: use it in a with block, or call start()")
        return self._recording
