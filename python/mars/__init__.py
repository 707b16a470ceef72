"""Dask on Mars: a Rust engine that takes the place of Dask's local schedulers.

See Also
--------
mars.contrib.dask : run any Dask collection on the engine.
"""

from mars._mars import __version__

__all__ = ["__version__"]
