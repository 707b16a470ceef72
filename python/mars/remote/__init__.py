"""Spawn functions now, run them later, on the Mars engine.

>>> import mars.remote as mr
>>> def inc(x):
...     return x + 1
>>> one = mr.spawn(inc, args=(0,))
>>> mr.spawn(inc, args=(one,)).execute().fetch()
2

See Also
--------
mars.contrib.dask.convert_dask_collection : use a Dask collection as an argument.
mars.new_session : say how many workers run them.

Notes
-----
The interface is that of ``mars.remote`` (Mars 0.10).
"""

from __future__ import annotations

from mars._mars import Object, spawn

# Imported now, not when first needed: a child that is forked while another thread imports
# finds the module locked for ever.
from mars.remote import _log as _log
from mars.remote import _object as _object
from mars.remote import _values as _values
from mars.remote._execution import ExecutionInfo
from mars.remote._run_script import ScriptError, run_script
from mars.remote._tuple import ExecutableTuple

__all__ = ["ExecutableTuple", "ExecutionInfo", "Object", "ScriptError", "run_script", "spawn"]
