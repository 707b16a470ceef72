"""The timeline as a file of Chrome's tracing."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mars._mars import Profile as Recording

__all__ = ["write_trace"]

_log = logging.getLogger("mars")


def write_trace(recording: Recording, path: str | os.PathLike[str], most: int, flows: bool) -> None:
    """See `Profile.to_chrome_trace`."""
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, "there is no such directory for the trace, make it first", str(target.parent)
        )
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "the trace needs the name of a file, this is a directory", str(target))
    if target.suffix == ".gz":
        with tempfile.TemporaryDirectory(prefix="mars-trace-") as directory:
            plain = Path(directory, "trace.json")
            slices, merged = recording.write_trace(str(plain), most, flows)
            # A copy of a trace is the same trace: no time in it.
            with (
                plain.open("rb") as source,
                target.open("wb") as file,
                gzip.GzipFile("", "wb", 6, file, 0) as packed,
            ):
                shutil.copyfileobj(source, packed, 2**20)
    else:
        slices, merged = recording.write_trace(str(target), most, flows)
    if merged:
        _log.warning(
            "%s: %s short tasks are merged with others beside them, %s slices are left; max_events sets how many",
            target,
            f"{merged:,}",
            f"{slices:,}",
        )
