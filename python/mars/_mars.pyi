from typing import Any

__all__ = ["__version__", "execute", "order", "pool_size", "shutdown"]

__version__: str

def execute(
    dsk: dict[Any, Any],
    keys: Any,
    limit: int,
    on_main_thread: bool,
    rerun_exceptions_locally: bool,
    observer: Any | None = None,
) -> Any:
    """Compute `keys` of the graph `dsk`."""

def order(dsk: dict[Any, Any], keys: Any) -> dict[Any, int]:
    """The rank that the engine gives to each key that `keys` need."""

def shutdown() -> None:
    """Tell workers to touch the interpreter no more."""

def pool_size() -> int:
    """The number of worker threads; 0 before the first computation that needed one."""
