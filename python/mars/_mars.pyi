from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Literal, final, overload

from mars.remote import ExecutableTuple, ExecutionInfo
from mars.session import Session

__all__ = [
    "Computation",
    "Execution",
    "Memory",
    "MemoryLimitError",
    "Object",
    "PrefixTotals",
    "Profile",
    "RunningTask",
    "SpillError",
    "Store",
    "Watch",
    "__version__",
    "build_info",
    "computations",
    "convert",
    "current_object",
    "execute",
    "execute_objects",
    "fetch_objects",
    "forecast",
    "in_task",
    "key_prefix",
    "order",
    "pool_size",
    "remove_spilled",
    "retire_pool",
    "shutdown",
    "spawn",
    "task_cancelled",
]

__version__: str

def execute(
    dsk: dict[Any, Any],
    keys: Any,
    limit: int,
    on_main_thread: bool,
    rerun_exceptions_locally: bool,
    observer: Any | None = None,
    memory: Memory | None = None,
) -> Any:
    """Compute `keys` of the graph `dsk`."""

def order(dsk: dict[Any, Any], keys: Any) -> dict[Any, int]:
    """The rank that the engine gives to each key that `keys` need."""

def forecast(
    dsk: dict[Any, Any],
    keys: Any,
    workers: int,
    given: dict[Any, int],
    known: dict[Any, int],
    size_of: Callable[[Any], int | None] | None = None,
) -> dict[str, Any]:
    """Foretell what computing `keys` of `dsk` comes to; runs nothing."""

def key_prefix(key: Any) -> str:
    """The prefix of a key, as ``dask.utils.key_split`` tells it."""

def shutdown() -> None:
    """Tell workers to touch the interpreter no more."""

def remove_spilled() -> None:
    """Remove everything from the disk that was moved there."""

def pool_size() -> int:
    """The number of worker threads; 0 before the first computation that needed one."""

def build_info() -> dict[str, str]:
    """How the native part was built: ``"profile"``, ``"rust"`` and ``"target"``."""

def retire_pool() -> None:
    """Let worker threads end when they have done what they have."""

class MemoryLimitError(MemoryError):
    """The results do not fit: not into the memory limit, nor on the disk or within its limit."""

class SpillError(OSError):
    """A result that was moved to disk cannot be read again."""

@final
class Memory:
    """A memory limit, shared by all that is computed under it."""

    def __new__(cls, limit: int, spill_dir: str | PathLike[str], spill_limit: int | None = None) -> Memory: ...
    @property
    def limit(self) -> int:
        """The limit, in bytes."""

    @property
    def in_memory(self) -> int:
        """Bytes of results in memory."""

    @property
    def most_in_memory(self) -> int:
        """The most that this ever was; beyond the limit where one task alone exceeds it."""

    @property
    def reserved(self) -> int:
        """Bytes kept free for what runs now."""

    @property
    def on_disk(self) -> int:
        """Bytes on disk now."""

    @property
    def written(self) -> int:
        """Bytes written so far."""

    @property
    def read(self) -> int:
        """Bytes read so far."""

    @property
    def directory(self) -> Path | None:
        """The directory that results are moved to; None before the first one is."""

    def clear(self) -> None:
        """Remove everything from the disk; what was there is lost."""

    def close(self) -> None:
        """The same, and move nothing there any more."""

    def __len__(self) -> int: ...

@final
class Object:
    """A lazy call, and where its result is once it was executed."""

    @property
    def key(self) -> str:
        """32 hexadecimal digits that no other object has."""

    @overload
    def execute(
        self, session: Session | None = None, wait: Literal[True] = True, show_progress: bool | None = None
    ) -> Object:
        """Run what has no result yet: this object and all that it needs, as one graph."""

    @overload
    def execute(
        self, session: Session | None = None, *, wait: Literal[False], show_progress: bool | None = None
    ) -> ExecutionInfo: ...
    @overload
    def execute(
        self, session: Session | None = None, wait: bool = True, show_progress: bool | None = None
    ) -> Object | ExecutionInfo: ...
    def fetch(self, session: Session | None = None) -> Any:
        """The value of an object that has been executed."""

    def to_object(self, session: Session | None = None) -> Any:
        """Execute if need be, and fetch."""

    def fetch_log(self, offsets: int | None = None, sizes: int | None = None) -> str:
        """What the function has printed so far."""

    @property
    def _stores(self) -> list[Store]: ...
    @property
    def _running_in(self) -> list[Store]: ...
    @property
    def _log(self) -> Any | None: ...
    def _keep_log(self, log: Any) -> Any: ...
    @property
    def __dask_optimize__(self) -> Callable[..., Any]: ...
    def __dask_graph__(self) -> dict[str, Any]: ...
    def __dask_keys__(self) -> list[str]: ...
    def __dask_layers__(self) -> tuple[str]: ...
    def __dask_tokenize__(self) -> str: ...
    def __dask_postcompute__(self) -> tuple[Any, tuple[Any, ...]]: ...
    def __dask_postpersist__(self) -> tuple[Any, tuple[Any, ...]]: ...
    @property
    def __dask_scheduler__(self) -> Callable[..., Any]: ...
    def __reduce__(self) -> Any: ...
    def __copy__(self) -> Object: ...
    def __deepcopy__(self, _memo: Any) -> Object: ...

@final
class Store:
    """The results of one session."""

    def __new__(cls, retries: int, retry_delay: float, memory: Memory | None = None) -> Store: ...
    def __len__(self) -> int: ...
    @property
    def memory(self) -> Memory | None: ...
    @property
    def retries(self) -> int: ...
    @property
    def retry_delay(self) -> float: ...
    @property
    def stopped(self) -> bool: ...
    def stop(self) -> bool: ...

@final
class Execution:
    """An execution that goes on in the background."""

    def counts(self) -> tuple[int, int]: ...
    def cancel(self) -> None: ...
    def join(self, on_main_thread: bool, timeout: float | None = None) -> bool: ...

@final
class Watch:
    """Counts the tasks of the computations that begin while it lives, or of one execution."""

    def __new__(cls, execution: Execution | None = None) -> Watch: ...
    def counts(self) -> tuple[int, int, int]:
        """How many tasks have finished, how many there are, and how many computations go on."""

@final
class Computation:
    """A computation that goes on."""

    @property
    def id(self) -> int: ...
    @property
    def outer(self) -> int | None: ...
    @property
    def seconds(self) -> float: ...
    @property
    def finished(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def ready(self) -> int: ...
    @property
    def workers(self) -> int: ...
    @property
    def stopping(self) -> bool: ...
    @property
    def holds(self) -> bool: ...
    @property
    def idle_seconds(self) -> float: ...
    @property
    def memory(self) -> Memory | None: ...
    @property
    def running(self) -> list[RunningTask]: ...

@final
class RunningTask:
    """A task that runs now."""

    @property
    def key(self) -> Any: ...
    @property
    def name(self) -> str: ...
    @property
    def prefix(self) -> str: ...
    @property
    def thread(self) -> int: ...
    @property
    def worker(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def dependents(self) -> list[str]: ...
    @property
    def dependent_count(self) -> int: ...

def computations() -> list[Computation]:
    """The computations that go on now, the oldest first."""

@final
class Profile:
    """Records every task of the process from its making until it is stopped."""

    def __new__(cls, max_events: int) -> Profile: ...
    def stop(self) -> None: ...
    @property
    def began(self) -> float: ...
    @property
    def seconds(self) -> float: ...
    @property
    def event_count(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def dropped_below(self) -> float: ...
    def prefixes(self) -> list[PrefixTotals]: ...
    def computations(self) -> list[tuple[int, int | None, float, float, int, int, int]]: ...
    def workers_time(self) -> dict[str, float]: ...
    def threads(self) -> list[tuple[int, str, int, float]]: ...
    def columns(self) -> dict[str, bytes]: ...
    @property
    def outcomes(self) -> tuple[str, str, str, str]: ...
    def group_names(self) -> list[str]: ...
    def keys(self, computation: int) -> list[Any]: ...
    def slices(self, budget: int) -> dict[str, bytes]: ...
    def write_trace(self, path: str | PathLike[str], budget: int, flows: bool) -> tuple[int, int]: ...
    def probe(self, seconds: float) -> None: ...
    def gil_samples(self) -> list[tuple[list[str], int, int]]: ...

@final
class PrefixTotals:
    """What tasks of one prefix have taken."""

    @property
    def prefix(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def longest(self) -> float: ...
    @property
    def cpu(self) -> float: ...
    @property
    def queued(self) -> float: ...
    @property
    def bytes(self) -> int: ...
    @property
    def sized(self) -> int: ...
    @property
    def nested(self) -> bool: ...

@overload
def spawn(
    func: Callable[..., Any],
    args: Any = (),
    kwargs: dict[str, Any] | None = None,
    retry_when_fail: bool | int = False,
    resolve_tileable_input: bool = False,
    n_output: None = None,
    **kw: Any,
) -> Object:
    """A call that is made later, when it is executed."""

@overload
def spawn(
    func: Callable[..., Any],
    args: Any = (),
    kwargs: dict[str, Any] | None = None,
    retry_when_fail: bool | int = False,
    resolve_tileable_input: bool = False,
    *,
    n_output: int,
    **kw: Any,
) -> ExecutableTuple: ...
def convert(collection: Any) -> Object:
    """The object that stands for the value of a Dask collection."""

@overload
def execute_objects(objects: list[Object], store: Store, limit: int, on_main_thread: bool, on_end: None = None) -> None:
    """Execute objects, at once or in the background."""

@overload
def execute_objects(
    objects: list[Object],
    store: Store,
    limit: int,
    on_main_thread: bool,
    on_end: Callable[[BaseException | None, bool], None],
) -> Execution: ...
def fetch_objects(objects: list[Object], store: Store) -> list[Any]:
    """The values of objects in the session of a store."""

def current_object() -> Object | None:
    """The object whose function the calling thread is in."""

def in_task() -> bool:
    """Whether the calling thread is in a task of any execution."""

def task_cancelled() -> bool:
    """Whether nobody waits any more for the task that the calling thread is in."""
