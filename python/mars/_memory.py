"""Memory limits: of sessions, and the one that is set in the configuration."""

from __future__ import annotations

import importlib
import logging
import os
from typing import Any

from mars import _config, _limits, _logs
from mars._mars import Memory

__all__ = ["configured", "make"]

_log = logging.getLogger("mars")

#: The limits that settings have asked for, by these settings; the last few.
_configured: dict[tuple[Any, ...], Memory] = {}
_KEPT = 8


def make(limit: Any, spill_dir: Any, spill_limit: Any, *, given: bool) -> Memory:
    """The memory of a limit.

    Parameters
    ----------
    limit
        Bytes, a text such as ``"4GB"``, or a fraction of the memory that there is.
    spill_dir, spill_limit
        As for `mars.new_session`.
    given : bool
        Whether an error has to speak of options, or of settings.

    Returns
    -------
    Memory

    Raises
    ------
    TypeError, ValueError, OSError
        A value makes no sense, or the directory cannot be written to.
    """
    # Here, not in the first task that needs them: a child forked while another thread imports
    # would find the module locked for ever.
    importlib.import_module("mars._sizes")
    importlib.import_module("mars._pickles")
    directory = _limits.spill_directory(_name("spill_dir", given), spill_dir)
    memory = Memory(
        _limits.memory_limit(_name("memory_limit", given), limit),
        directory,
        _limits.spill_limit(_name("spill_limit", given), spill_limit),
    )
    if _limits.in_memory_filesystem(directory):
        _log.warning(
            "results that do not fit into memory go to %s, which is in memory itself; choose another spill_dir",
            directory,
        )
    if _logs.spills.isEnabledFor(logging.DEBUG):
        size = _limits.format_bytes(memory.limit)
        _logs.tell(_logs.spills, logging.DEBUG, "memory limit of %s, results beyond it go to %s", size, directory)
    return memory


def _name(option: str, given: bool) -> str:
    return option if given else f"the setting mars.{option.replace('_', '-')}"


def configured() -> Memory | None:
    """The memory of the limit that the configuration sets, the same for the same settings.

    Returns
    -------
    Memory or None
        None if there is no limit.
    """
    limit = _config.setting("memory-limit")
    if limit is None:
        return None
    settings = (limit, _config.setting("spill-dir"), _config.setting("spill-limit"))
    known_by = (*settings, _config.temporary_directory())
    try:
        memory = _configured.get(known_by)
    except TypeError:  # what has no hash is no valid setting
        return make(*settings, given=False)
    if memory is None:
        memory = make(*settings, given=False)
        while len(_configured) >= _KEPT:
            _configured.pop(next(iter(_configured)))
        memory = _configured.setdefault(known_by, memory)  # another thread may have made it meanwhile
    return memory


def forget() -> None:
    """Make the limits of the configuration anew; in a forked child, which has none of its parent's results."""
    _configured.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
