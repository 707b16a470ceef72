"""Run Dask collections on the Mars engine.

Change one argument of ``compute``; everything else stays as it is:

>>> import dask
>>> from mars.contrib.dask import mars_scheduler
>>> @dask.delayed
... def inc(x):
...     return x + 1
>>> total = dask.delayed(sum)([inc(i) for i in range(10)])
>>> total.compute(scheduler=mars_scheduler)
55

or set it once, by function or by name:

>>> with dask.config.set(scheduler="mars"):
...     total.compute()
55
"""

from __future__ import annotations

try:
    import dask.base as _dask_base
except ModuleNotFoundError as error:
    if error.name not in ("dask", "dask.base"):
        raise
    raise ImportError(
        "mars.contrib.dask needs Dask, which is not installed. Install it with: "
        'python -m pip install "dask-on-mars[dask]"'
    ) from error

from mars.contrib.dask import _setup
from mars.contrib.dask._convert import convert_dask_collection
from mars.contrib.dask._explain import explain
from mars.contrib.dask._explanation import Explanation
from mars.contrib.dask.background import mars_background
from mars.contrib.dask.scheduler import mars_scheduler

__all__ = ["Explanation", "convert_dask_collection", "explain", "mars_background", "mars_scheduler"]

_dask_base.named_schedulers["mars"] = mars_scheduler
_dask_base.named_schedulers["mars-background"] = mars_background
_setup.hide_our_frames()
