"""Arrays in files: the graphs made for them read the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from handed import assert_same_value, handed

from mars.contrib.dask.materialize import materialize


def zarr_store(folder: Path) -> Any:
    zarr = pytest.importorskip("zarr")
    stored = zarr.create_array(str(folder / "x.zarr"), shape=(12, 8), chunks=(4, 4), dtype="i8")
    stored[:] = np.arange(96).reshape(12, 8)
    return da.from_zarr(str(folder / "x.zarr"))


def hdf5_file(folder: Path) -> Any:
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "x.h5", "w")
    file["x"] = np.arange(96).reshape(12, 8)
    return da.from_array(file["x"], chunks=(4, 4))


def npy_stack(folder: Path) -> Any:
    with dask.config.set(scheduler="sync"):
        da.to_npy_stack(str(folder / "stack"), da.arange(96, chunks=96).reshape(12, 8).rechunk((4, 8)))
    return da.from_npy_stack(str(folder / "stack"))


@pytest.mark.parametrize("stored", [zarr_store, hdf5_file, npy_stack])
def test_stored_arrays_read_back(stored: Any, tmp_path: Path) -> None:
    x = stored(tmp_path)
    dsk, keys = handed(x[1:9][2:5, ::3], (x + x.mean(axis=0)).max(), x)
    assert_same_value(dask.get(materialize(dsk), keys), dask.get(dsk.__dask_graph__(), keys))
