"""What importing ``mars.contrib.dask`` arranges, once for the process."""

from __future__ import annotations

from dask import config

_OUR_FRAMES = r"mars[\\\/]contrib[\\\/]dask[\\\/]"


def hide_our_frames() -> None:
    """Let Dask leave our frames out of tracebacks, as it does its own.

    Adds to the default of Dask's setting ``admin.traceback.shorten``; a value
    that the user has set stays as it is.
    """
    shown = config.get("admin.traceback.shorten", default=None)
    if isinstance(shown, list) and _OUR_FRAMES not in shown:
        config.update_defaults({"admin": {"traceback": {"shorten": [*shown, _OUR_FRAMES]}}})
