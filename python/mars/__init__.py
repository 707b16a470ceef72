"""Dask on Mars: a Rust engine that takes the place of Dask's local schedulers.

See Also
--------
mars.contrib.dask : run any Dask collection on the engine.
mars.remote : spawn functions and run them later.
"""

from mars._failure import Failure, failure, replay
from mars._mars import MemoryLimitError, SpillError, __version__
from mars._profile.profile import Profile, profile
from mars._progress import progress
from mars._report import dump
from mars._versions import show_versions
from mars.session import (
    Session,
    execute,
    fetch,
    fetch_log,
    get_default_session,
    new_session,
    stop_server,
)

__all__ = [
    "Failure",
    "MemoryLimitError",
    "Profile",
    "Session",
    "SpillError",
    "__version__",
    "dump",
    "execute",
    "failure",
    "fetch",
    "fetch_log",
    "get_default_session",
    "new_session",
    "profile",
    "progress",
    "replay",
    "show_versions",
    "stop_server",
]
